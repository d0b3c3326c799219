"""`diffusion:flow`: flow matching on straight paths (arXiv:2210.02747, 2209.03003)."""

from __future__ import annotations

from dataclasses import replace

from triptych.config import ImageShape, Size
from triptych.families.diffusion.denoisers import VelocityPredictor
from triptych.families.diffusion.losses import velocity_weight
from triptych.families.diffusion.model import Diffusion
from triptych.families.diffusion.recipes import PatchDiffusion, assemble, edm
from triptych.families.protocol import Recipe


def build(settings: PatchDiffusion, shape: ImageShape) -> Diffusion:
    """The network predicts the velocity from image to noise."""
    return assemble(settings, shape, VelocityPredictor, weight=velocity_weight)


def defaults(size: Size, shape: ImageShape) -> PatchDiffusion:
    """EDM's networks under logit-normal times (arXiv:2403.03206).

    t = sigma / (1 + sigma), so that logit t is log sigma.
    """
    return replace(edm.defaults(size, shape), noise_mean=0.0, noise_std=1.0)


RECIPE = Recipe(
    summary="flow matching: velocities on straight paths, on patches",
    settings=PatchDiffusion,
    defaults=defaults,
    build=build,
    conditional=True,
)
