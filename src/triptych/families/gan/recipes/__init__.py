"""One file per recipe, found by its name; here is what recipes of the same networks share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from torch import nn

from triptych.config import ImageShape, OptimizerConfig, Settings, Size
from triptych.families.conditioning import Conditioning, make_conditioning, make_mixture
from triptych.families.gan.inversion import Inversion
from triptych.families.gan.losses import GANLoss
from triptych.families.gan.model import GAN
from triptych.families.grouped_exemplars import check_exemplars
from triptych.nn.convgan import ConvolutionalDiscriminator, UpsamplingGenerator
from triptych.nn.refiner import RefiningGenerator
from triptych.nn.resnet_gan import Backbone, ResidualDiscriminator, ResidualGenerator


@dataclass(frozen=True, kw_only=True)
class PlayerSettings(Settings):
    """Recipes add their networks' sizes, their penalty and their rates."""

    batch_size: int = 32  # in a short training many small steps beat few large ones
    ema: float | None = 0.05
    select: bool = True
    latent: int = 128
    augment: bool = False
    inversion: Inversion = Inversion()
    discriminator: OptimizerConfig
    generator: OptimizerConfig


def build_players(
    settings: PlayerSettings,
    shape: ImageShape,
    loss: GANLoss,
    generator: nn.Module,
    discriminator: nn.Module,
    conditioning: Conditioning | None,
    exemplars: int = 0,
) -> GAN:
    """The two networks under these settings."""
    return GAN(
        generator,
        discriminator,
        latent=settings.latent,
        loss=loss,
        discriminator_optimizer=settings.discriminator,
        generator_optimizer=settings.generator,
        inversion=settings.inversion,
        shape=shape,
        conditioning=conditioning,
        exemplars=exemplars,
    )


@dataclass(frozen=True, kw_only=True)
class ConvolutionalSettings(PlayerSettings):
    """Defaults for `tiny`; the discriminator is the faster learner (arXiv:1706.08500)."""

    width: int = 32
    groups: int = 0  # found among training images, for a model without labels; 0: none
    mppca_rank: int = 0  # of the mixture in closed form that the generator begins at; 0: none
    exemplars: int = 0  # training images that draws begin at, in the mixture's latents; 0: none
    discriminator: OptimizerConfig = OptimizerConfig(learning_rate=8e-4, betas=(0.0, 0.9))
    generator: OptimizerConfig = OptimizerConfig(learning_rate=4e-4, betas=(0.0, 0.9))


S = TypeVar("S", bound=ConvolutionalSettings)


def sized(settings: S, size: Size) -> S:
    """Wider networks, larger batches and lower rates at the larger sizes."""
    if size == "tiny":
        return settings
    return replace(
        settings,
        batch_size=64,
        width=64 if size == "small" else 128,
        discriminator=replace(
            settings.discriminator, learning_rate=settings.discriminator.learning_rate / 2
        ),
        generator=replace(settings.generator, learning_rate=settings.generator.learning_rate / 2),
    )


def build_convolutional(
    settings: ConvolutionalSettings,
    shape: ImageShape,
    loss: GANLoss,
    discriminator: type[ConvolutionalDiscriminator],
) -> GAN:
    """Two networks of the same widths; the generator may begin at a mixture.

    ValueError where the settings ask for groups or a mixture that cannot be had.
    """
    groups, rank = settings.groups, settings.mppca_rank
    if groups < 0:
        raise ValueError(f"groups must be 0 or more, got {groups}")
    if not 0 <= rank <= shape.dimensions:
        raise ValueError(f"mppca_rank must be 0 to {shape.dimensions}, got {rank}")
    check_exemplars(settings.exemplars)
    if settings.exemplars and not rank:
        raise ValueError("exemplars have a mixture's latents: set mppca_rank, or exemplars=0 too")
    if rank and settings.latent != rank:
        raise ValueError(f"latent must be as large as mppca_rank, {rank}, got {settings.latent}")
    conditioning = make_conditioning(shape, groups)
    count = None if conditioning is None else conditioning.count
    sizes = shape.channels, shape.resolution, settings.width, count
    generator = (
        RefiningGenerator(make_mixture(shape, conditioning, rank), settings.width, count)
        if rank
        else UpsamplingGenerator(settings.latent, *sizes)
    )
    return build_players(
        settings,
        shape,
        loss,
        generator,
        discriminator(*sizes),
        conditioning,
        0 if conditioning is None else settings.exemplars,
    )


@dataclass(frozen=True, kw_only=True)
class ResidualSettings(PlayerSettings):
    """Defaults for `tiny`; recipes add their penalty and their rates."""

    latent: int = 64
    networks: Backbone = Backbone()
    discriminator: OptimizerConfig = OptimizerConfig(learning_rate=1e-3, betas=(0.0, 0.99))
    generator: OptimizerConfig = OptimizerConfig(learning_rate=1e-3, betas=(0.0, 0.99))


def build_residual(settings: ResidualSettings, shape: ImageShape, loss: GANLoss) -> GAN:
    """Two networks that mirror each other."""
    sizes = shape.channels, shape.resolution, settings.networks, shape.classes
    generator, discriminator = (
        ResidualGenerator(settings.latent, *sizes),
        ResidualDiscriminator(*sizes),
    )
    conditioning = make_conditioning(shape, groups=0)
    return build_players(settings, shape, loss, generator, discriminator, conditioning)
