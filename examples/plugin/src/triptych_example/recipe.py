"""`vae:mine`: a small VAE with a learned pixel deviation (arXiv:2006.13202)."""

from __future__ import annotations

from dataclasses import dataclass

from triptych.config import ImageShape, OptimizerConfig, Settings, Size
from triptych.families.protocol import Recipe
from triptych.families.vae.gaussian import GaussianEncoder, GaussianVAE
from triptych.nn.convnets import StridedEncoder, UpsamplingDecoder


@dataclass(frozen=True, kw_only=True)
class MySettings(Settings):
    """What `--set` changes. Each width is a stage that halves the picture."""

    ema: float | None = 0.1  # span of the averaged weights, as a share of the training
    latent: int = 32
    widths: tuple[int, ...] = (16, 32, 64)
    first_std: float = 0.2  # of the pixels on [-1, 1]; it is learned
    optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=2e-3, warmup=0.02, decay="cosine", clip_norm=200.0
    )


def build(settings: MySettings, shape: ImageShape) -> GaussianVAE:
    """Fresh networks for images of this shape; Triptych seeds their first weights."""
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
        warm_up=0.0,
    )


def defaults(size: Size, shape: ImageShape) -> MySettings:
    """Wider networks at the larger sizes."""
    if size == "tiny":
        return MySettings()
    return MySettings(batch_size=128, latent=64, widths=(64, 128, 256))


RECIPE = Recipe(
    summary="an example of another package: a small VAE with a learned pixel deviation",
    settings=MySettings,
    defaults=defaults,
    build=build,
    channels_last=True,
)
