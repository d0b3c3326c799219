"""`gan:r3`: relativistic pairing, R1 and R2, residual networks (arXiv:2501.05441)."""

from __future__ import annotations

from dataclasses import dataclass

from triptych.config import ImageShape, OptimizerConfig, Size
from triptych.families.gan.losses import GANLoss, Penalty, pairing_discriminator, pairing_generator
from triptych.families.gan.model import GAN
from triptych.families.gan.recipes import ResidualSettings, build_residual
from triptych.families.protocol import Recipe
from triptych.nn.resnet_gan import Backbone


@dataclass(frozen=True, kw_only=True)
class R3GAN(ResidualSettings):
    """Defaults for `tiny`."""

    gamma: float = 1.0  # weight of R1 and R2
    penalty_every: int = 1  # of so many steps one pays it, so many times as much


def build(settings: R3GAN, shape: ImageShape) -> GAN:
    """The discriminator pays for its slope on real and on fake images."""
    loss = GANLoss(
        discriminator=pairing_discriminator,
        generator=pairing_generator,
        paired=True,
        penalty=Penalty(kind="zero", weight=settings.gamma, every=settings.penalty_every),
        augmented=settings.augment,
    )
    return build_residual(settings, shape, loss)


def defaults(size: Size, shape: ImageShape) -> R3GAN:
    """Wider and deeper networks, larger batches and lower rates at the larger sizes."""
    if size == "tiny":
        return R3GAN()
    rate = OptimizerConfig(learning_rate=2e-4, betas=(0.0, 0.99))
    wide = {"small": 64, "base": 96}[size]
    return R3GAN(
        batch_size={"small": 64, "base": 128}[size],
        networks=Backbone(width=wide, most=8 * wide, blocks=2, expand=2.0),
        discriminator=rate,
        generator=rate,
    )


RECIPE = Recipe(
    summary="relativistic pairing with R1 and R2, residual networks without norms",
    settings=R3GAN,
    defaults=defaults,
    build=build,
    conditional=True,
    augments_few=True,
)
