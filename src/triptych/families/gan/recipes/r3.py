"""`gan:r3`: relativistic pairing, R1 and R2, residual networks (arXiv:2501.05441)."""

from __future__ import annotations

from dataclasses import dataclass

from triptych.config import ImageShape, Optimiser, Settings, Size
from triptych.families.base import Recipe
from triptych.families.gan.inversion import Inversion
from triptych.families.gan.losses import pairing_critic, pairing_generator
from triptych.families.gan.model import GAN, Game
from triptych.families.gan.penalties import Penalty
from triptych.nn.residual import Backbone, ResidualCritic, ResidualGenerator


@dataclass(frozen=True, kw_only=True)
class R3GAN(Settings):
    """Defaults for `tiny`."""

    batch_size: int = 32
    average: float | None = 0.05
    latent: int = 64
    networks: Backbone = Backbone()
    gamma: float = 1.0  # weight of R1 and R2
    penalty_every: int = 1
    augment: bool = False
    inversion: Inversion = Inversion()
    critic: Optimiser = Optimiser(learning_rate=1e-3, betas=(0.0, 0.99))
    generator: Optimiser = Optimiser(learning_rate=1e-3, betas=(0.0, 0.99))


def build(settings: R3GAN, shape: ImageShape) -> GAN:
    """Two networks that mirror each other."""
    sizes = shape.channels, shape.resolution, settings.networks, shape.classes
    return GAN(
        ResidualGenerator(settings.latent, *sizes),
        ResidualCritic(*sizes),
        latent=settings.latent,
        game=Game(
            critic=pairing_critic,
            generator=pairing_generator,
            paired=True,
            penalty=Penalty(kind="zero", weight=settings.gamma, every=settings.penalty_every),
            augmented=settings.augment,
        ),
        critic_optimiser=settings.critic,
        generator_optimiser=settings.generator,
        inversion=settings.inversion,
        shape=shape,
    )


def defaults(size: Size, shape: ImageShape) -> R3GAN:
    """Wider and deeper networks, larger batches and lower rates at the larger sizes."""
    if size == "tiny":
        return R3GAN()
    rate = Optimiser(learning_rate=2e-4, betas=(0.0, 0.99))
    wide = {"small": 64, "base": 96}[size]
    return R3GAN(
        batch_size={"small": 64, "base": 128}[size],
        networks=Backbone(width=wide, most=8 * wide, blocks=2, expand=2.0),
        critic=rate,
        generator=rate,
    )


RECIPE = Recipe(
    summary="relativistic pairing with R1 and R2, residual networks without norms",
    settings=R3GAN,
    defaults=defaults,
    build=build,
    conditional=True,
    selects=True,
)
