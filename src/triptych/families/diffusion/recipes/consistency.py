"""`diffusion:consistency`: a trained model tuned to sample in a few calls (arXiv:2406.14548)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import nn

from triptych.config import ImageShape, Size
from triptych.families.base import Recipe
from triptych.families.diffusion.consistency import (
    ConsistencyLoss,
    ConsistencyModel,
    ConsistencySettings,
    Teacher,
)
from triptych.families.diffusion.denoisers import (
    AnchoredPredictor,
    OnUnitScale,
    Preconditioned,
    VelocityPredictor,
)
from triptych.families.diffusion.model import Process
from triptych.families.diffusion.patches import (
    PatchDiffusion,
    common_parts,
    kinds_of,
    patch_network,
)
from triptych.families.diffusion.recipes.x0 import RESIDUAL
from triptych.families.diffusion.schedule import jump_sigmas

TEACHERS: dict[str, Callable[[nn.Module, float], OnUnitScale]] = {
    "edm": Preconditioned,
    "flow": VelocityPredictor,
    "x0": partial(AnchoredPredictor, residual=RESIDUAL),
}
TAKEN_OVER = (
    "patch",
    "widths",
    "blocks",
    "attention",
    "groups",
    "sigma_data",
    "sigma_min",
    "sigma_max",
    "rho",
    "features_at",
)


def build(settings: ConsistencySettings, shape: ImageShape) -> ConsistencyModel:
    """The teacher's network and what its output means; ValueError for a teacher of no such kind."""
    if settings.teacher not in TEACHERS:
        raise ValueError(f"teacher must be one of {', '.join(TEACHERS)}, got {settings.teacher}")
    kinds, teacher = kinds_of(settings, shape), Teacher(settings.led)
    network, top = patch_network(settings, shape, kinds), settings.sigma_max
    process = Process(levels=partial(jump_sigmas, sigma_max=top), prior_std=top)
    return ConsistencyModel(
        TEACHERS[settings.teacher](network, settings.sigma_data),
        objective=partial(
            ConsistencyLoss, network=network, settings=settings, kinds=kinds, teacher=teacher
        ),
        teacher=teacher,
        **common_parts(settings, shape, kinds) | {"process": process},
    )


def take_over(
    settings: ConsistencySettings, teacher: str, theirs: PatchDiffusion
) -> ConsistencySettings:
    """The teacher's networks, levels and guidance."""
    family, _, recipe = teacher.partition(":")
    if family != "diffusion" or recipe not in TEACHERS:
        raise ValueError(f"it is {teacher}, not one of {', '.join(TEACHERS)} of diffusion")
    kept = {name: getattr(theirs, name) for name in TAKEN_OVER}
    return replace(settings, teacher=recipe, led=theirs.guidance, **kept)


def defaults(size: Size, shape: ImageShape) -> ConsistencySettings:
    """Of the teacher's sizes, which replace these."""
    return ConsistencySettings()


RECIPE = Recipe(
    summary="a trained model tuned to sample in 1 to 4 calls: --teacher RUN",
    settings=ConsistencySettings,
    defaults=defaults,
    build=build,
    conditional=True,
    take_over=take_over,
)
