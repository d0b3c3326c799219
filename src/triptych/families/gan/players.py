"""What recipes of averaged players have in common, whatever their networks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from triptych.config import ImageShape, Optimiser, Settings
from triptych.families.gan.inversion import Inversion
from triptych.families.gan.model import GAN, Game


@dataclass(frozen=True, kw_only=True)
class PlayerSettings(Settings):
    """Recipes add their networks' sizes, their penalty and their rates."""

    batch_size: int = 32  # in a short training many small steps beat few large ones
    average: float | None = 0.05
    latent: int = 128
    augment: bool = False
    inversion: Inversion = Inversion()
    critic: Optimiser
    generator: Optimiser


def build_players(
    settings: PlayerSettings,
    shape: ImageShape,
    game: Game,
    generator: nn.Module,
    critic: nn.Module,
) -> GAN:
    """The two networks under these settings."""
    return GAN(
        generator,
        critic,
        latent=settings.latent,
        game=game,
        critic_optimiser=settings.critic,
        generator_optimiser=settings.generator,
        inversion=settings.inversion,
        shape=shape,
    )
