"""`diffusion:course`: the practical's DDPM (arXiv:2006.11239), 1000 slow steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from triptych.config import ImageShape, OptimizerConfig, Settings, Size
from triptych.families.diffusion.denoisers import NoisePredictor
from triptych.families.diffusion.likelihood import (
    FlowLikelihood,
    VariationalBound,
    gaussian_decoder,
)
from triptych.families.diffusion.losses import HuberNoiseLoss
from triptych.families.diffusion.model import Diffusion, Process
from triptych.families.diffusion.samplers import Sampling
from triptych.families.diffusion.schedule import linear_beta_sigmas, spaced_sigmas
from triptych.families.protocol import Recipe
from triptych.nn.course_unet import CourseUNet

FLOW_LEVELS = 64


@dataclass(frozen=True, kw_only=True)
class CourseDDPM(Settings):
    """The assignment's numbers."""

    steps: int = 1000  # T
    beta_first: float = 1e-4
    beta_last: float = 0.02
    width: int = 32
    sampler: str = "ancestral"
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-4)


def build(settings: CourseDDPM, shape: ImageShape) -> Diffusion:
    """The course U-Net under DDPM's linear schedule."""
    sampling = Sampling(name=settings.sampler, steps=settings.steps)
    sigmas = linear_beta_sigmas(settings.steps, settings.beta_first, settings.beta_last)
    prior_std = (1 + sigmas[-1] ** 2).sqrt().item()  # N(0, I) in variance-preserving scale
    return Diffusion(
        NoisePredictor(CourseUNet(shape.channels, settings.width), sigmas),
        process=Process(levels=partial(spaced_sigmas, sigmas), prior_std=prior_std),
        sampling=sampling,
        objective=partial(HuberNoiseLoss, optimizer=settings.optimizer),
        likelihoods={
            "variational": VariationalBound(sigmas, prior_std, gaussian_decoder),
            "ode": FlowLikelihood(
                spaced_sigmas(sigmas, FLOW_LEVELS)[:-1].flip(0).tolist(), prior_std
            ),
        },
        features_at=0.8,
        shape=shape,
    )


def defaults(size: Size, shape: ImageShape) -> CourseDDPM:
    """The same at every size."""
    return CourseDDPM()


RECIPE = Recipe(
    summary="the practical's DDPM: 1000 ancestral steps",
    settings=CourseDDPM,
    defaults=defaults,
    build=build,
    quick_sampling=("dpm-solver++", 25),  # docs/practical.md has what it costs in quality
)
