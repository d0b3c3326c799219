"""What the recipes on patches share: settings, loss and assembly around one U-Net.

They differ in how the network's output becomes a clean image, and in their numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from triptych.config import ImageShape, Optimiser, Settings
from triptych.families.base import Batch, Objective
from triptych.families.diffusion.bound import VariationalBound, posterior_decoder
from triptych.families.diffusion.denoisers import Denoiser
from triptych.families.diffusion.model import Diffusion, Sampling
from triptych.families.diffusion.schedule import log_sigmas, power_sigmas
from triptych.nn.unet import PatchUNet

BOUND_LEVELS = 1000


@dataclass(frozen=True, kw_only=True)
class PatchDiffusion(Settings):
    """Noise levels are deviations on the [-1, 1] scale of pixels."""

    average: float | None = 0.05
    patch: int = 2
    widths: tuple[int, ...] = (32, 64, 96)
    blocks: int = 1
    attention: tuple[bool, ...] = (False, True, True)
    sigma_data: float = 0.5  # deviation of the data
    sigma_min: float = 0.002  # smallest noise: invisible
    sigma_max: float = 80.0  # largest: the image is drowned
    rho: float = 7.0  # above 1 spends more steps near sigma_min
    noise_mean: float = -0.8  # of log sigma in training
    noise_std: float = 1.2
    weight_cap: float | None = None  # largest weight of a noise level, in units of the highest's
    sampler: str = "heun"
    steps: int = 10
    optimiser: Optimiser = Optimiser(
        learning_rate=2e-3, betas=(0.9, 0.99), warmup=0.1, decay="linear", matrix_rate=0.02
    )


class WeightedDenoisingLoss(Objective):
    """Squared error of the denoised image, weighted by noise level (arXiv:2206.00364, eq. 8).

    The weight makes every level's target unit size; capped, it stops chasing noise that cannot
    be seen (as in arXiv:2303.09556).
    """

    name = "denoiser"

    def __init__(
        self, denoiser: Denoiser, shape: ImageShape, network: PatchUNet, settings: PatchDiffusion
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.shape = shape
        self.settings = settings
        self.optimiser = settings.optimiser
        if settings.optimiser.matrix_rate is not None:
            self.matrices = network.inner_matrices()

    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Normal numbers for the level, one per stratum, [count]; Gaussian noise [count,C,H,W]."""
        return {
            "level": stratified_normal(count, generator),
            "gaussian": torch.randn(count, *self.shape.size, generator=generator),
        }

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """lambda(sigma) |D(x + sigma n; sigma) - x|^2, mean over pixels and images."""
        settings = self.settings
        sigma = (settings.noise_mean + settings.noise_std * batch.noise["level"]).exp()
        noisy = batch.images + sigma.view(-1, 1, 1, 1) * batch.noise["gaussian"]
        weight = 1 + (settings.sigma_data / sigma) ** 2  # lambda(sigma) sigma_data^2, table 1
        if settings.weight_cap is not None:
            weight = weight.clamp(max=settings.weight_cap)
        error = (self.denoiser(noisy, sigma) - batch.images).square().flatten(1).mean(1)
        return {"total": (weight * error).mean() / settings.sigma_data**2}


def stratified_normal(count: int, generator: torch.Generator) -> Tensor:
    """Standard normal numbers, one from each of `count` equal slices of probability: [count].

    A batch then always holds every kind of noise level, which steadies the loss.
    """
    offset = torch.rand(count, generator=generator, dtype=torch.float64)
    share = (torch.arange(count) + offset) / count
    return torch.special.ndtri(share.clamp(1e-6, 1 - 1e-6)).float()


def assemble(
    settings: PatchDiffusion,
    shape: ImageShape,
    denoiser: Callable[[nn.Module, float], Denoiser],
    bound_from: float,
    residual: float | None = None,
) -> Diffusion:
    """A patch U-Net made a denoiser by `denoiser(network, sigma_data)`.

    bound_from, residual: the likelihood bound's lowest level, and its `residual`
    Raises ValueError where the patches and the levels do not divide the picture.
    """
    coarsest = settings.patch * 2 ** (len(settings.widths) - 1)
    if shape.resolution % coarsest:
        raise ValueError(f"patch and widths need a resolution divisible by {coarsest}")
    network = PatchUNet(
        shape.channels,
        patch=settings.patch,
        widths=settings.widths,
        blocks=settings.blocks,
        attention=settings.attention,
    )
    levels = partial(
        power_sigmas, sigma_min=settings.sigma_min, sigma_max=settings.sigma_max, rho=settings.rho
    )
    bound = VariationalBound(
        log_sigmas(BOUND_LEVELS, bound_from, settings.sigma_max),
        settings.sigma_max,
        posterior_decoder,
        residual=residual,
    )
    return Diffusion(
        denoiser(network, settings.sigma_data),
        prior_std=settings.sigma_max,
        levels=levels,
        sampling=Sampling(name=settings.sampler, steps=settings.steps),
        objective=partial(WeightedDenoisingLoss, network=network, settings=settings),
        bound=bound,
        shape=shape,
    )


def whole_patch(shape: ImageShape, side: int = 16) -> int:
    """The patch that brings the work down to `side` x `side`."""
    return max(1, shape.resolution // side)
