"""`vae:course`: the practical's VAE, blurry on purpose (unit pixel deviation, BatchNorm)."""

from __future__ import annotations

from dataclasses import dataclass

from triptych.config import ImageShape, OptimizerConfig, Settings, Size
from triptych.families.protocol import Recipe
from triptych.families.vae.gaussian import GaussianEncoder, GaussianVAE
from triptych.nn.convnets import StridedEncoder, UpsamplingDecoder


@dataclass(frozen=True, kw_only=True)
class CourseVAE(Settings):
    """The assignment's numbers."""

    latent: int = 32
    widths: tuple[int, ...] = (32, 64, 128, 256)
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-4)


def build(settings: CourseVAE, shape: ImageShape) -> GaussianVAE:
    """Strided encoder with BatchNorm, upsampling decoder without norm."""
    features = StridedEncoder(shape.channels, shape.resolution, settings.widths, norm="batch")
    decoder = UpsamplingDecoder(
        settings.latent, shape.channels, shape.resolution, settings.widths[::-1]
    )
    return GaussianVAE(
        GaussianEncoder(features, features.features, settings.latent),
        decoder,
        latent=settings.latent,
        std=1.0,
        learn_std=False,
        shape=shape,
        optimizer=settings.optimizer,
    )


def defaults(size: Size, shape: ImageShape) -> CourseVAE:
    """The same at every size."""
    return CourseVAE()


RECIPE = Recipe(
    summary="the practical's VAE: unit pixel deviation, latent 32",
    settings=CourseVAE,
    defaults=defaults,
    build=build,
    channels_last=True,
    batch_statistics=True,
)
