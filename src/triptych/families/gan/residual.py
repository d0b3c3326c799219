"""GANs of residual networks: what such recipes have in common."""

from __future__ import annotations

from dataclasses import dataclass

from triptych.config import ImageShape, Optimiser
from triptych.families.gan.model import GAN, Game
from triptych.families.gan.players import PlayerSettings, build_players
from triptych.nn.residual import Backbone, ResidualCritic, ResidualGenerator


@dataclass(frozen=True, kw_only=True)
class ResidualSettings(PlayerSettings):
    """Defaults for `tiny`; recipes add their penalty and their rates."""

    latent: int = 64
    networks: Backbone = Backbone()
    critic: Optimiser = Optimiser(learning_rate=1e-3, betas=(0.0, 0.99))
    generator: Optimiser = Optimiser(learning_rate=1e-3, betas=(0.0, 0.99))


def build_residual(settings: ResidualSettings, shape: ImageShape, game: Game) -> GAN:
    """Two networks that mirror each other."""
    sizes = shape.channels, shape.resolution, settings.networks, shape.classes
    generator = ResidualGenerator(settings.latent, *sizes)
    return build_players(settings, shape, game, generator, ResidualCritic(*sizes))
