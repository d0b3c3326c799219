"""`diffusion:points`: EDM (arXiv:2206.00364) for points of the plane."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from triptych.config import ImageShape, OptimizerConfig, Settings, Size
from triptych.families.diffusion.denoisers import Preconditioned
from triptych.families.diffusion.likelihood import (
    FlowLikelihood,
    VariationalBound,
    posterior_decoder,
)
from triptych.families.diffusion.losses import WeightedDenoisingLoss
from triptych.families.diffusion.model import Process
from triptych.families.diffusion.monitor import DiagnosedDiffusion
from triptych.families.diffusion.recipes import (
    BOUND_LEVELS,
    FLOW_LEVELS,
    LEAST_NOISE,
    check_noise,
    unit_target_weight,
)
from triptych.families.diffusion.samplers import Sampling
from triptych.families.diffusion.schedule import log_sigmas, power_sigmas
from triptych.families.protocol import Recipe
from triptych.nn.mlp import PointDenoisingNetwork


@dataclass(frozen=True, kw_only=True)
class PointDiffusion(Settings):
    """Noise levels are deviations on the scale on which all points lie between -1 and 1."""

    batch_size: int = 512
    ema: float | None = 0.05
    width: int = 48
    depth: int = 2
    sigma_data: float = 0.5  # deviation of the data
    sigma_min: float = 0.004  # smallest noise: half of the distance of two neighbouring values
    sigma_max: float = 10.0  # largest: nothing of the points is left
    rho: float = 7.0  # above 1 spends more steps near sigma_min
    noise_mean: float = -1.2  # of log sigma in training
    noise_std: float = 1.2
    sampler: str = "heun"
    steps: int = 20
    features_at: float = 0.2  # noise level at which the network gives features
    optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=1e-2, betas=(0.9, 0.99), warmup=0.05, decay="linear"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_noise(self)


def build(settings: PointDiffusion, shape: ImageShape) -> DiagnosedDiffusion:
    """Residual layers of one width."""
    top, low = settings.sigma_max, settings.sigma_min
    rising = partial(log_sigmas, sigma_min=LEAST_NOISE, sigma_max=top)
    levels = partial(power_sigmas, sigma_min=low, sigma_max=top, rho=settings.rho)
    return DiagnosedDiffusion(
        Preconditioned(PointDenoisingNetwork(settings.width, settings.depth), settings.sigma_data),
        process=Process(levels=levels, prior_std=top),
        sampling=Sampling(name=settings.sampler, steps=settings.steps),
        objective=partial(
            WeightedDenoisingLoss,
            matrices=(),
            noise_mean=settings.noise_mean,
            noise_std=settings.noise_std,
            optimizer=settings.optimizer,
            conditioning=None,
            weight=partial(unit_target_weight, sigma_data=settings.sigma_data),
        ),
        likelihoods={
            "variational": VariationalBound(rising(BOUND_LEVELS), top, posterior_decoder),
            "ode": FlowLikelihood(rising(FLOW_LEVELS).tolist(), top),
        },
        features_at=settings.features_at,
        shape=shape,
    )


def defaults(size: Size, shape: ImageShape) -> PointDiffusion:
    """The same at every size."""
    return PointDiffusion()


RECIPE = Recipe(
    summary="for points of the plane (.csv): some ten thousand weights, EDM",
    settings=PointDiffusion,
    defaults=defaults,
    build=build,
    points=True,
)
