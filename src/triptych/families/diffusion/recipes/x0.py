"""`diffusion:x0`: the network predicts the clean image; best samples after a short training."""

from __future__ import annotations

from dataclasses import replace

from triptych.config import ImageShape, Size
from triptych.families.diffusion.denoisers import CleanPredictor
from triptych.families.diffusion.model import Diffusion
from triptych.families.diffusion.recipes import PatchDiffusion, assemble, edm
from triptych.families.grouped_exemplars import EXEMPLARS
from triptych.families.protocol import Brief, Recipe

RESIDUAL = 0.07  # deviation of the prediction's own error on [-1, 1], from validation images


def build(settings: PatchDiffusion, shape: ImageShape) -> Diffusion:
    """A patch U-Net whose output is the image in units of its deviation."""
    return assemble(settings, shape, CleanPredictor, residual=RESIDUAL)


def defaults(size: Size, shape: ImageShape) -> PatchDiffusion:
    """EDM's networks; training leans to large noise, sampling stops where noise is just visible.

    At `tiny`, whose trainings are short, the network begins at the mixture in closed form, which
    knows the groups from the first image on. Above the noise at which an image's group is known the
    network has little to add, so sampling follows the mixture's own path down to there. Guided at
    all levels its colours go too far.
    """
    settings = edm.defaults(size, shape)
    settings = replace(
        settings,
        sigma_min=0.02,
        noise_mean=0.3,
        noise_std=1.2,
        weight_cap=4.0,
        optimizer=replace(settings.optimizer, muon_lr=0.01),
    )
    if size != "tiny":
        return settings
    return replace(
        settings,
        mppca_rank=128,
        guidance=1.5,
        guided=(0.25, 1.5),
        sigma_start=3.0,
        exemplars=EXEMPLARS,
        steps=7,
        inverse_steps=14,
    )


def brief(
    settings: PatchDiffusion, size: Size, shape: ImageShape, images: int | None
) -> PatchDiffusion:
    """What few images taught helps most in few large steps: small ones make grain."""
    if size != "tiny":
        return settings
    return replace(settings, sigma_start=1.4, steps=3, guidance=2.0)


RECIPE = Recipe(
    summary="clean-image prediction on patches, samples in 4, 9 or 20 network calls",
    settings=PatchDiffusion,
    defaults=defaults,
    build=build,
    conditional=True,
    brief=(Brief(brief, images=50_000, seconds=(150, 100)),),
)
