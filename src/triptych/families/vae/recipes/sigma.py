"""`vae:sigma`: the practical's networks with a learned pixel deviation (arXiv:2006.13202).

One number more than `vae:course`, and the model stops trading detail for a unit-variance
prior; after training the number goes to its optimum in closed form. GroupNorm in place of
BatchNorm in the encoder, a higher rate that decays, averaged weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from triptych.config import ImageShape, OptimizerConfig, Settings, Size
from triptych.families.protocol import Recipe
from triptych.families.vae.gaussian import GaussianEncoder, GaussianVAE
from triptych.nn.convnets import StridedEncoder, UpsamplingDecoder


@dataclass(frozen=True, kw_only=True)
class SigmaVAE(Settings):
    """Defaults for `tiny`."""

    ema: float | None = 0.1
    latent: int = 64
    first_std: float = 0.14  # about where it ends; from 1, Adam would be a thousand steps away
    widths: tuple[int, ...] = (32, 64, 128, 256)
    warm_up: float = 0.0  # share of the planned images over which the KL's weight rises
    optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=2e-3, warmup=0.02, decay="cosine", clip_norm=200.0
    )


def build(settings: SigmaVAE, shape: ImageShape) -> GaussianVAE:
    """The course's shapes; GroupNorm in the encoder, no norm in the decoder, as there."""
    features = StridedEncoder(shape.channels, shape.resolution, settings.widths, norm="group")
    decoder = UpsamplingDecoder(
        settings.latent, shape.channels, shape.resolution, settings.widths[::-1]
    )
    return GaussianVAE(
        GaussianEncoder(features, features.features, settings.latent),
        decoder,
        latent=settings.latent,
        std=settings.first_std,
        learn_std=True,
        shape=shape,
        optimizer=settings.optimizer,
        warm_up=settings.warm_up,
    )


def defaults(size: Size, shape: ImageShape) -> SigmaVAE:
    """Wider networks and latents at the larger sizes."""
    if size == "tiny":
        return SigmaVAE()
    factor = 2 if size == "small" else 4
    return SigmaVAE(
        batch_size=128,
        latent=64 * factor,
        widths=tuple(width * factor for width in (32, 64, 128, 256)),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup=0.02, decay="cosine", clip_norm=200.0),
    )


RECIPE = Recipe(
    summary="learned pixel deviation: sharper, and a far better likelihood",
    settings=SigmaVAE,
    defaults=defaults,
    build=build,
    channels_last=True,
)
