"""GANs of plain convolutional networks: what such recipes have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from triptych.config import ImageShape, Optimiser, Size
from triptych.families.gan.model import GAN, Game
from triptych.families.gan.players import PlayerSettings, build_players
from triptych.nn.convgan import ConvolutionalCritic, UpsamplingGenerator


@dataclass(frozen=True, kw_only=True)
class ConvolutionalSettings(PlayerSettings):
    """Defaults for `tiny`; the critic is the faster learner (arXiv:1706.08500)."""

    width: int = 32
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
    generator = UpsamplingGenerator(settings.latent, *sizes)
    return build_players(settings, shape, game, generator, critic(*sizes))
