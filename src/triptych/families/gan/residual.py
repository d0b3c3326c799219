"""GANs of residual networks: what such recipes have in common."""

from __future__ import annotations

from dataclasses import dataclass

from triptych.config import ImageShape, Optimiser, Settings
from triptych.families.gan.inversion import Inversion
from triptych.families.gan.model import GAN, Game
from triptych.nn.residual import Backbone, ResidualCritic, ResidualGenerator


@dataclass(frozen=True, kw_only=True)
class ResidualSettings(Settings):
    """Defaults for `tiny`; recipes add their penalty and their rates."""

    batch_size: int = 32
    average: float | None = 0.05
    latent: int = 64
    networks: Backbone = Backbone()
    augment: bool = False
    inversion: Inversion = Inversion()
    critic: Optimiser = Optimiser(learning_rate=1e-3, betas=(0.0, 0.99))
    generator: Optimiser = Optimiser(learning_rate=1e-3, betas=(0.0, 0.99))


def build_residual(settings: ResidualSettings, shape: ImageShape, game: Game) -> GAN:
    """Two networks that mirror each other."""
    sizes = shape.channels, shape.resolution, settings.networks, shape.classes
    return GAN(
        ResidualGenerator(settings.latent, *sizes),
        ResidualCritic(*sizes),
        latent=settings.latent,
        game=game,
        critic_optimiser=settings.critic,
        generator_optimiser=settings.generator,
        inversion=settings.inversion,
        shape=shape,
    )
