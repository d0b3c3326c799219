"""`gan:hinge`: a spectrally normalised critic under the hinge loss (arXiv:1802.05957)."""

from __future__ import annotations

from dataclasses import dataclass

from triptych.config import ImageShape, Optimiser, Settings, Size
from triptych.families.base import Recipe
from triptych.families.gan.inversion import Inversion
from triptych.families.gan.losses import hinge_critic, hinge_generator
from triptych.families.gan.model import GAN, Game
from triptych.nn.convgan import UpsamplingGenerator
from triptych.nn.spectral import SpectralCritic


@dataclass(frozen=True, kw_only=True)
class HingeGAN(Settings):
    """Defaults for `tiny`."""

    batch_size: int = 32  # in a short training many small steps beat few large ones
    average: float | None = 0.05
    latent: int = 128
    width: int = 32
    augment: bool = False
    inversion: Inversion = Inversion()
    critic: Optimiser = Optimiser(learning_rate=8e-4, betas=(0.0, 0.9))
    generator: Optimiser = Optimiser(learning_rate=4e-4, betas=(0.0, 0.9))


def build(settings: HingeGAN, shape: ImageShape) -> GAN:
    """Two networks of the same widths, the critic the faster learner (arXiv:1706.08500)."""
    return GAN(
        UpsamplingGenerator(
            settings.latent, shape.channels, shape.resolution, settings.width, shape.classes
        ),
        SpectralCritic(shape.channels, shape.resolution, settings.width, shape.classes),
        latent=settings.latent,
        game=Game(critic=hinge_critic, generator=hinge_generator, augmented=settings.augment),
        critic_optimiser=settings.critic,
        generator_optimiser=settings.generator,
        inversion=settings.inversion,
        shape=shape,
    )


def defaults(size: Size, shape: ImageShape) -> HingeGAN:
    """Wider networks, larger batches and lower rates at the larger sizes."""
    if size == "tiny":
        return HingeGAN()
    return HingeGAN(
        batch_size=64,
        width=64 if size == "small" else 128,
        critic=Optimiser(learning_rate=4e-4, betas=(0.0, 0.9)),
        generator=Optimiser(learning_rate=2e-4, betas=(0.0, 0.9)),
    )


RECIPE = Recipe(
    summary="spectral normalisation and the hinge loss",
    settings=HingeGAN,
    defaults=defaults,
    build=build,
    conditional=True,
    augments_few=True,
    selects=True,
    channels_last=True,
)
