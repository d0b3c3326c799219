"""`gan:r1`: the first loss, kept smooth by R1 and R2 (arXiv:1406.2661, 1801.04406)."""

from __future__ import annotations

from dataclasses import dataclass

from triptych.config import ImageShape, Optimiser, Settings, Size
from triptych.families.base import Recipe
from triptych.families.gan.inversion import Inversion
from triptych.families.gan.losses import cross_entropy_critic, cross_entropy_generator
from triptych.families.gan.model import GAN, Game
from triptych.families.gan.penalties import Penalty
from triptych.nn.convgan import ConvolutionalCritic, UpsamplingGenerator


@dataclass(frozen=True, kw_only=True)
class R1GAN(Settings):
    """Defaults for `tiny`."""

    batch_size: int = 32  # in a short training many small steps beat few large ones
    average: float | None = 0.05
    latent: int = 128
    width: int = 32
    augment: bool = False
    gamma: float = 0.1  # weight of R1 and R2
    penalty_every: int = 8  # of so many steps one pays it, so many times as much
    inversion: Inversion = Inversion()
    critic: Optimiser = Optimiser(learning_rate=8e-4, betas=(0.0, 0.99))
    generator: Optimiser = Optimiser(learning_rate=4e-4, betas=(0.0, 0.99))


def build(settings: R1GAN, shape: ImageShape) -> GAN:
    """Two plain networks of the same widths, the critic the faster learner (arXiv:1706.08500)."""
    sizes = shape.channels, shape.resolution, settings.width, shape.classes
    return GAN(
        UpsamplingGenerator(settings.latent, *sizes),
        ConvolutionalCritic(*sizes),
        latent=settings.latent,
        game=Game(
            critic=cross_entropy_critic,
            generator=cross_entropy_generator,
            penalty=Penalty(kind="zero", weight=settings.gamma, every=settings.penalty_every),
            augmented=settings.augment,
        ),
        critic_optimiser=settings.critic,
        generator_optimiser=settings.generator,
        inversion=settings.inversion,
        shape=shape,
    )


def defaults(size: Size, shape: ImageShape) -> R1GAN:
    """Wider networks, larger batches and lower rates at the larger sizes."""
    if size == "tiny":
        return R1GAN()
    return R1GAN(
        batch_size=64,
        width=64 if size == "small" else 128,
        critic=Optimiser(learning_rate=4e-4, betas=(0.0, 0.99)),
        generator=Optimiser(learning_rate=2e-4, betas=(0.0, 0.99)),
    )


RECIPE = Recipe(
    summary="cross-entropy with R1 and R2, plain networks",
    settings=R1GAN,
    defaults=defaults,
    build=build,
    conditional=True,
    augments_few=True,
    selects=True,
    channels_last=True,
)
