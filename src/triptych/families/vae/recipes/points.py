"""`vae:points`: a VAE of points of the plane, with a learned deviation (arXiv:2006.13202)."""

from __future__ import annotations

from dataclasses import dataclass

from triptych.config import ImageShape, OptimizerConfig, Settings, Size
from triptych.families.protocol import Recipe
from triptych.families.vae.gaussian import GaussianEncoder, GaussianVAE
from triptych.nn.mlp import point_decoder, point_features


@dataclass(frozen=True, kw_only=True)
class PointVAE(Settings):
    """`std` is on the scale on which all points lie between -1 and 1."""

    batch_size: int = 512
    ema: float | None = 0.1
    latent: int = 2
    width: int = 64
    depth: int = 2
    std: float = 0.1  # deviation of a point around the decoder's; where it is learned, its start
    learn_std: bool = True  # false with std=1: latents pay for nothing, and the posterior collapses
    warm_up: float = 0.0  # share of the planned points over which the KL's weight rises
    optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=5e-3, warmup=0.02, decay="cosine", clip_norm=200.0
    )


def build(settings: PointVAE, shape: ImageShape) -> GaussianVAE:
    """Layers of one width in both networks."""
    width, depth = settings.width, settings.depth
    return GaussianVAE(
        GaussianEncoder(point_features(width, depth), width, settings.latent),
        point_decoder(settings.latent, width, depth),
        latent=settings.latent,
        std=settings.std,
        learn_std=settings.learn_std,
        shape=shape,
        optimizer=settings.optimizer,
        warm_up=settings.warm_up,
    )


def defaults(size: Size, shape: ImageShape) -> PointVAE:
    """The same at every size."""
    return PointVAE()


RECIPE = Recipe(
    summary="for points of the plane (.csv): some ten thousand weights, learned deviation",
    settings=PointVAE,
    defaults=defaults,
    build=build,
    points=True,
)
