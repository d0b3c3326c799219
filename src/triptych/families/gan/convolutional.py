"""GANs of plain convolutional networks: what such recipes have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from triptych.config import ImageShape, Optimiser, Settings, Size
from triptych.families.gan.inversion import Inversion
from triptych.families.gan.model import GAN, Game
from triptych.nn.convgan import ConvolutionalCritic, UpsamplingGenerator


@dataclass(frozen=True, kw_only=True)
class ConvolutionalSettings(Settings):
    """Defaults for `tiny`; the critic is the faster learner (arXiv:1706.08500)."""

    batch_size: int = 32  # in a short training many small steps beat few large ones
    average: float | None = 0.05
    latent: int = 128
    width: int = 32
    augment: bool = False
    inversion: Inversion = Inversion()
    critic: Optimiser = Optimiser(learning_rate=8e-4, betas=(0.0, 0.9))
    generator: Optimiser = Optimiser(learning_rate=4e-4, betas=(0.0, 0.9))


S = TypeVar("S", bound=ConvolutionalSettings)


def sized(settings: S, size: Size) -> S:
    """Wider networks, larger batches and lower rates at the larger sizes."""
    if size == "tiny":
        return settings
    return replace(
        settings,
        batch_size=64,
        width=64 if size == "small" else 128,
        critic=replace(settings.critic, learning_rate=settings.critic.learning_rate / 2),
        generator=replace(settings.generator, learning_rate=settings.generator.learning_rate / 2),
    )


def build_convolutional(
    settings: ConvolutionalSettings,
    shape: ImageShape,
    game: Game,
    critic: type[ConvolutionalCritic],
) -> GAN:
    """Two networks of the same widths."""
    sizes = shape.channels, shape.resolution, settings.width, shape.classes
    return GAN(
        UpsamplingGenerator(settings.latent, *sizes),
        critic(*sizes),
        latent=settings.latent,
        game=game,
        critic_optimiser=settings.critic,
        generator_optimiser=settings.generator,
        inversion=settings.inversion,
        shape=shape,
    )
