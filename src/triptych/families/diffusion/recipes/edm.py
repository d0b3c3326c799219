"""`diffusion:edm`: preconditioning, noise distribution and Heun sampler of arXiv:2206.00364."""

from __future__ import annotations

from triptych.config import ImageShape, Size
from triptych.families.diffusion.denoisers import Preconditioned
from triptych.families.diffusion.model import Diffusion
from triptych.families.diffusion.recipes import PatchDiffusion, assemble, whole_patch
from triptych.families.protocol import Recipe

LARGE = 32  # side above which finer patches are worth their work at `base`


def build(settings: PatchDiffusion, shape: ImageShape) -> Diffusion:
    """The network predicts a mixture of noise and image that has unit size at every level."""
    return assemble(settings, shape, Preconditioned)


def defaults(size: Size, shape: ImageShape) -> PatchDiffusion:
    """Patches keep the work at 16x16, at `base` for images above 32x32 at twice that side."""
    patch = whole_patch(shape)
    if size == "tiny":
        return PatchDiffusion(patch=patch)
    if size == "small":
        return PatchDiffusion(patch=patch, widths=(64, 128, 192), blocks=2, batch_size=128)
    if shape.resolution > LARGE:
        return PatchDiffusion(patch=patch // 2, widths=(128, 256, 256), blocks=3, batch_size=256)
    return PatchDiffusion(patch=patch, widths=(192, 256, 256), blocks=3, batch_size=256)


RECIPE = Recipe(
    summary="EDM: preconditioned denoiser on patches",
    settings=PatchDiffusion,
    defaults=defaults,
    build=build,
    conditional=True,
)
