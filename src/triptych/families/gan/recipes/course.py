"""`gan:course`: the practical's GAN, which is DCGAN (arXiv:1511.06434)."""

from __future__ import annotations

from dataclasses import dataclass

from triptych.config import ImageShape, OptimizerConfig, Settings, Size
from triptych.families.gan.inversion import Inversion
from triptych.families.gan.losses import (
    GANLoss,
    cross_entropy_discriminator,
    cross_entropy_generator,
)
from triptych.families.gan.model import GAN
from triptych.families.protocol import Recipe
from triptych.nn.dcgan import DCGANDiscriminator, DCGANGenerator


@dataclass(frozen=True, kw_only=True)
class CourseGAN(Settings):
    """The DCGAN paper's numbers."""

    latent: int = 100
    width: int = 64
    inversion: Inversion = Inversion()
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=2e-4, betas=(0.5, 0.999))


def build(settings: CourseGAN, shape: ImageShape) -> GAN:
    """Two networks that mirror each other, the same rate for both."""
    return GAN(
        DCGANGenerator(settings.latent, shape.channels, shape.resolution, settings.width),
        DCGANDiscriminator(shape.channels, shape.resolution, settings.width),
        latent=settings.latent,
        loss=GANLoss(discriminator=cross_entropy_discriminator, generator=cross_entropy_generator),
        discriminator_optimizer=settings.optimizer,
        generator_optimizer=settings.optimizer,
        inversion=settings.inversion,
        shape=shape,
    )


def defaults(size: Size, shape: ImageShape) -> CourseGAN:
    """The same at every size."""
    return CourseGAN()


RECIPE = Recipe(
    summary="the practical's GAN: DCGAN with cross-entropy",
    settings=CourseGAN,
    defaults=defaults,
    build=build,
    channels_last=True,
    batch_statistics=True,
)
