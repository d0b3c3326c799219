"""One file per recipe, found by its name; here is what recipes on patches share.

They differ in how the network's output becomes a clean image, and in their numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypedDict

from torch import Tensor, nn

from triptych.config import ImageShape, OptimizerConfig, Settings
from triptych.families.conditioning import Conditioning, make_conditioning, make_mixture
from triptych.families.diffusion.denoisers import CleanPredictor, ClosedFormStart, Denoiser
from triptych.families.diffusion.likelihood import (
    FlowLikelihood,
    VariationalBound,
    posterior_decoder,
)
from triptych.families.diffusion.losses import Weight, WeightedDenoisingLoss
from triptych.families.diffusion.model import Diffusion, Process
from triptych.families.diffusion.samplers import ALL_LEVELS, Sampling
from triptych.families.diffusion.schedule import log_sigmas, power_sigmas
from triptych.families.grouped_exemplars import check_exemplars
from triptych.nn.unet import PatchUNet

BOUND_LEVELS = 1000
FLOW_LEVELS = 64
LEAST_NOISE = 0.005  # where likelihoods begin: below, a denoiser knows no more than 8-bit steps say


@dataclass(frozen=True, kw_only=True)
class PatchDiffusion(Settings):
    """Noise levels are deviations on the [-1, 1] scale of pixels."""

    ema: float | None = 0.05
    ema_wide: float | None = 0.1
    patch: int = 2
    widths: tuple[int, ...] = (32, 64, 96)
    blocks: int = 1
    attention: tuple[bool, ...] = (False, True, True)
    sigma_data: float = 0.5  # deviation of the data
    sigma_min: float = 0.002  # smallest noise: invisible
    sigma_max: float = 80.0  # largest: the image is drowned
    sigma_start: float | None = None  # where sampling starts after the mixture's flow; or sigma_max
    exemplars: int = 0  # training images that draws begin at, before the mixture's flow; 0: none
    rho: float = 7.0  # above 1 spends more steps near sigma_min
    noise_mean: float = -0.8  # of log sigma in training
    noise_std: float = 1.2
    weight_cap: float | None = None  # largest weight of a noise level, in units of the highest's
    sampler: str = "dpm-solver++"
    steps: int = 10
    inverse_steps: int = 0  # least number of steps where images are encoded
    groups: int = 100  # found among training images, for a model without labels; 0: none
    mppca_rank: int = 0  # of the mixture in closed form that the network adds to; 0: none
    guidance: float = 1.7  # towards the class or group
    guided: tuple[float, float] = ALL_LEVELS  # the noise levels between which that is so
    features_at: float = 0.8  # noise level at which the network gives features
    optimizer: OptimizerConfig = OptimizerConfig(
        learning_rate=2e-3, betas=(0.9, 0.99), warmup=0.1, decay="linear", muon_lr=0.02
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_noise(self)


def check_noise(settings: Settings) -> None:
    """ValueError where the noise levels of a recipe, of whatever network, cannot be."""
    values = vars(settings)
    if not 0 < values["sigma_min"] < values["sigma_max"]:
        raise ValueError("sigma_min must be above 0 and below sigma_max")
    for name in ("rho", "sigma_data", "noise_std", "features_at"):
        if values[name] <= 0:
            raise ValueError(f"{name} must be above 0, got {values[name]:g}")


def unit_target_weight(sigma: Tensor, sigma_data: float, cap: float | None = None) -> Tensor:
    """lambda(sigma), which makes every level's target unit size (arXiv:2206.00364, table 1).

    Capped, it stops chasing noise that cannot be seen (as in arXiv:2303.09556).
    """
    weight = 1 + (sigma_data / sigma) ** 2
    if cap is not None:
        weight = weight.clamp(max=cap)
    return weight / sigma_data**2


def patch_network(
    settings: PatchDiffusion,
    shape: ImageShape,
    conditioning: Conditioning | None,
    predicts_clean: bool,
) -> PatchUNet | ClosedFormStart:
    """The U-Net, which may begin at a mixture where it predicts the clean image.

    ValueError where the patches and levels do not divide the image's side, or where the settings
    ask for a mixture that cannot be had.
    """
    if settings.mppca_rank < 0:
        raise ValueError(f"mppca_rank must be 0 or more, got {settings.mppca_rank}")
    if settings.mppca_rank and not predicts_clean:
        raise ValueError("mppca_rank takes a network that predicts the clean image: diffusion:x0")
    start = settings.sigma_start
    if start is not None and not settings.mppca_rank:
        raise ValueError(
            "no mixture leads to sigma_start: set sigma_start=none, exemplars=0 and steps=10 too"
        )
    check_exemplars(settings.exemplars)
    if settings.exemplars and start is None:
        raise ValueError("exemplars need a sigma_start, where draws begin: set exemplars=0 too")
    if start is not None and not settings.sigma_min < start <= settings.sigma_max:
        raise ValueError(f"sigma_start must lie between sigma_min and sigma_max, got {start:g}")
    coarsest = settings.patch * 2 ** (len(settings.widths) - 1)
    if shape.resolution % coarsest:
        raise ValueError(f"patch and widths need a resolution divisible by {coarsest}")
    network = PatchUNet(
        shape.channels,
        patch=settings.patch,
        widths=settings.widths,
        blocks=settings.blocks,
        attention=settings.attention,
        classes=None if conditioning is None else conditioning.count,
        hints=shape.channels if settings.mppca_rank else 0,
    )
    if not settings.mppca_rank:
        return network
    mixture = make_mixture(shape, conditioning, settings.mppca_rank)
    return ClosedFormStart(network, mixture, settings.sigma_data)


class CommonParts(TypedDict):
    """The arguments that all models on patches give to `NoiseToImage`."""

    process: Process
    sampling: Sampling
    shape: ImageShape
    conditioning: Conditioning | None
    features_at: float


def common_parts(
    settings: PatchDiffusion, shape: ImageShape, conditioning: Conditioning | None
) -> CommonParts:
    """The arguments of `NoiseToImage` besides its denoiser and objective."""
    guidance = 1.0 if conditioning is None else settings.guidance
    start, top = settings.sigma_start, settings.sigma_max
    levels = partial(
        power_sigmas, sigma_min=settings.sigma_min, sigma_max=start or top, rho=settings.rho
    )
    return {
        "process": Process(levels=levels, prior_std=top, start=start),
        "sampling": Sampling(
            name=settings.sampler,
            steps=settings.steps,
            guidance=guidance,
            guided=settings.guided,
            inverse_steps=settings.inverse_steps,
        ),
        "shape": shape,
        "conditioning": conditioning,
        "features_at": settings.features_at,
    }


def assemble(
    settings: PatchDiffusion,
    shape: ImageShape,
    denoiser: Callable[[nn.Module, float], Denoiser],
    weight: Weight | None = None,
    residual: float | None = None,
) -> Diffusion:
    """A patch U-Net made a denoiser by `denoiser(network, sigma_data)`.

    weight:   of the training loss; `unit_target_weight` by default
    residual: of the likelihoods: see `anchored`
    """
    conditioning, prior_std = make_conditioning(shape, settings.groups), settings.sigma_max
    network = patch_network(settings, shape, conditioning, denoiser is CleanPredictor)
    weight = weight or partial(
        unit_target_weight, sigma_data=settings.sigma_data, cap=settings.weight_cap
    )
    rising = partial(log_sigmas, sigma_min=LEAST_NOISE, sigma_max=prior_std)
    return Diffusion(
        denoiser(network, settings.sigma_data),
        objective=partial(
            WeightedDenoisingLoss,
            matrices=network.inner_matrices(),
            noise_mean=settings.noise_mean,
            noise_std=settings.noise_std,
            optimizer=settings.optimizer,
            conditioning=conditioning,
            weight=weight,
        ),
        likelihoods={
            "variational": VariationalBound(
                rising(BOUND_LEVELS), prior_std, posterior_decoder, residual=residual
            ),
            "ode": FlowLikelihood(rising(FLOW_LEVELS).tolist(), prior_std, residual),
        },
        exemplars=0 if conditioning is None else settings.exemplars,
        **common_parts(settings, shape, conditioning),
    )


def whole_patch(shape: ImageShape, side: int = 16) -> int:
    """The patch size that makes the network's picture `side` x `side`."""
    return max(1, shape.resolution // side)
