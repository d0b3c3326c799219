"""`gan:r1`: the first GAN's loss, kept smooth by R1 and R2 (arXiv:1406.2661, 1801.04406)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from triptych.config import ImageShape, OptimizerConfig, Size
from triptych.families.gan.losses import (
    GANLoss,
    Penalty,
    cross_entropy_discriminator,
    cross_entropy_generator,
)
from triptych.families.gan.model import GAN
from triptych.families.gan.recipes import ConvolutionalSettings, build_convolutional, sized
from triptych.families.grouped_exemplars import EXEMPLARS
from triptych.families.protocol import Recipe
from triptych.nn.convgan import ConvolutionalDiscriminator

RANK = 128  # directions of the mixture, and numbers in the latent


@dataclass(frozen=True, kw_only=True)
class R1GAN(ConvolutionalSettings):
    """Defaults for `tiny`."""

    gamma: float = 0.1  # weight of R1 and R2
    penalty_every: int = 8  # of so many steps one pays it, so many times as much
    discriminator: OptimizerConfig = OptimizerConfig(learning_rate=8e-4, betas=(0.0, 0.99))
    generator: OptimizerConfig = OptimizerConfig(learning_rate=4e-4, betas=(0.0, 0.99))


def build(settings: R1GAN, shape: ImageShape) -> GAN:
    """The discriminator pays for its slope on real and on fake images."""
    loss = GANLoss(
        discriminator=cross_entropy_discriminator,
        generator=cross_entropy_generator,
        penalty=Penalty(kind="zero", weight=settings.gamma, every=settings.penalty_every),
        augmented=settings.augment,
    )
    return build_convolutional(settings, shape, loss, ConvolutionalDiscriminator)


def defaults(size: Size, shape: ImageShape) -> R1GAN:
    """At `tiny`, whose trainings are short, the generator begins at a mixture of 100 groups.

    Its draws begin around training images, in the mixture's latents.
    """
    settings = sized(R1GAN(), size)
    if size != "tiny":
        return settings
    rank = min(RANK, shape.dimensions)
    return replace(settings, groups=100, mppca_rank=rank, latent=rank, exemplars=EXEMPLARS)


RECIPE = Recipe(
    summary="cross-entropy with R1 and R2, plain networks",
    settings=R1GAN,
    defaults=defaults,
    build=build,
    conditional=True,
    augments_few=True,
    channels_last=True,
)
