"""`gan:points`: a GAN of points of the plane, by the loss and penalty of `gan:r1`."""

from __future__ import annotations

from dataclasses import dataclass

from triptych.config import ImageShape, OptimizerConfig, Size
from triptych.families.gan.inversion import Inversion
from triptych.families.gan.losses import (
    GANLoss,
    Penalty,
    cross_entropy_discriminator,
    cross_entropy_generator,
)
from triptych.families.gan.model import GAN
from triptych.families.gan.recipes import PlayerSettings, build_players
from triptych.families.protocol import Recipe
from triptych.nn.mlp import PointScore, point_decoder


@dataclass(frozen=True, kw_only=True)
class PointGAN(PlayerSettings):
    """`gamma` is on the scale on which all points lie between -1 and 1."""

    batch_size: int = 512
    select: bool = False
    latent: int = 2
    width: int = 64
    depth: int = 2
    gamma: float = 0.02  # weight of R1 and R2; without it the generator can collapse
    penalty_every: int = 4  # of so many steps one pays it, so many times as much
    inversion: Inversion = Inversion(share=0.1)
    discriminator: OptimizerConfig = OptimizerConfig(learning_rate=4e-3, betas=(0.0, 0.99))
    generator: OptimizerConfig = OptimizerConfig(learning_rate=1e-3, betas=(0.0, 0.99))


def build(settings: PointGAN, shape: ImageShape) -> GAN:
    """Layers of one width in both networks."""
    loss = GANLoss(
        discriminator=cross_entropy_discriminator,
        generator=cross_entropy_generator,
        penalty=Penalty(kind="zero", weight=settings.gamma, every=settings.penalty_every),
    )
    generator = point_decoder(settings.latent, settings.width, settings.depth)
    discriminator = PointScore(settings.width, settings.depth)
    return build_players(settings, shape, loss, generator, discriminator, conditioning=None)


def defaults(size: Size, shape: ImageShape) -> PointGAN:
    """The same at every size."""
    return PointGAN()


RECIPE = Recipe(
    summary="for points of the plane (.csv): some ten thousand weights, R1 and R2",
    settings=PointGAN,
    defaults=defaults,
    build=build,
    points=True,
)
