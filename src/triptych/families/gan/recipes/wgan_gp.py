"""`gan:wgan-gp`: the Wasserstein distance with a gradient penalty (arXiv:1704.00028)."""

from __future__ import annotations

from dataclasses import dataclass

from triptych.config import ImageShape, OptimizerConfig, Size
from triptych.families.gan.losses import GANLoss, Penalty, hinge_generator, wasserstein_critic
from triptych.families.gan.model import GAN
from triptych.families.gan.recipes import ResidualSettings, build_residual
from triptych.families.protocol import Recipe
from triptych.nn.resnet_gan import Backbone


@dataclass(frozen=True, kw_only=True)
class WassersteinGAN(ResidualSettings):
    """The paper's weight, steps and betas; the rate for `tiny`."""

    latent: int = 128
    penalty: float = 10.0
    penalty_every: int = 1  # of so many steps one pays it, so many times as much
    discriminator_steps: int = 5
    discriminator: OptimizerConfig = OptimizerConfig(learning_rate=4e-4, betas=(0.0, 0.9))
    generator: OptimizerConfig = OptimizerConfig(learning_rate=4e-4, betas=(0.0, 0.9))


def build(settings: WassersteinGAN, shape: ImageShape) -> GAN:
    """Networks without batch statistics, as the penalty asks (arXiv:1704.00028, section 4)."""
    loss = GANLoss(
        discriminator=wasserstein_critic,
        generator=hinge_generator,
        penalty=Penalty(kind="one", weight=settings.penalty, every=settings.penalty_every),
        discriminator_steps=settings.discriminator_steps,
        augmented=settings.augment,
    )
    return build_residual(settings, shape, loss)


def defaults(size: Size, shape: ImageShape) -> WassersteinGAN:
    """Wider and deeper networks, larger batches and the paper's rate at the larger sizes."""
    if size == "tiny":
        return WassersteinGAN()
    rate = OptimizerConfig(learning_rate=1e-4, betas=(0.0, 0.9))
    wide = {"small": 64, "base": 96}[size]
    return WassersteinGAN(
        batch_size=64,
        networks=Backbone(width=wide, most=4 * wide, blocks=2),
        discriminator=rate,
        generator=rate,
    )


RECIPE = Recipe(
    summary="the Wasserstein distance with a gradient penalty",
    settings=WassersteinGAN,
    defaults=defaults,
    build=build,
    conditional=True,
    augments_few=True,
)
