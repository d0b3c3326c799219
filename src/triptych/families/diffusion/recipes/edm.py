"""`diffusion:edm`: preconditioning, noise distribution and Heun sampler of arXiv:2206.00364."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from triptych.config import ImageShape, Optimiser, Settings, Size
from triptych.families.base import Batch, Objective, Recipe
from triptych.families.diffusion.bound import VariationalBound, posterior_decoder
from triptych.families.diffusion.denoisers import Denoiser, Preconditioned
from triptych.families.diffusion.model import Diffusion, Sampling
from triptych.families.diffusion.schedule import log_sigmas, power_sigmas
from triptych.nn.unet import PatchUNet


@dataclass(frozen=True, kw_only=True)
class EDM(Settings):
    """Defaults for `tiny`; pixels live on [-1, 1]."""

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
    sampler: str = "heun"
    steps: int = 10
    optimiser: Optimiser = Optimiser(
        learning_rate=2e-3, betas=(0.9, 0.99), warmup=0.1, decay="linear"
    )


class WeightedDenoisingLoss(Objective):
    """Squared error of the denoised image, weighted to unit size (arXiv:2206.00364, eq. 8)."""

    name = "denoiser"

    def __init__(self, denoiser: Denoiser, shape: ImageShape, settings: EDM) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.shape = shape
        self.settings = settings
        self.optimiser = settings.optimiser

    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Normal numbers for the level, one per stratum, [count]; Gaussian noise [count,C,H,W]."""
        return {
            "level": stratified_normal(count, generator),
            "gaussian": torch.randn(count, *self.shape.size, generator=generator),
        }

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """lambda(sigma) |D(x + sigma n; sigma) - x|^2 per pixel, lambda of table 1."""
        settings = self.settings
        sigma = (settings.noise_mean + settings.noise_std * batch.noise["level"]).exp()
        noisy = batch.images + sigma.view(-1, 1, 1, 1) * batch.noise["gaussian"]
        weight = (sigma**2 + settings.sigma_data**2) / (sigma * settings.sigma_data) ** 2
        error = (self.denoiser(noisy, sigma) - batch.images).square().flatten(1).mean(1)
        return {"total": (weight * error).mean()}


def stratified_normal(count: int, generator: torch.Generator) -> Tensor:
    """Standard normal numbers, one from each of `count` equal slices of probability: [count].

    A batch then always holds every kind of noise level, which steadies the loss.
    """
    offset = torch.rand(count, generator=generator, dtype=torch.float64)
    share = (torch.arange(count) + offset) / count
    return torch.special.ndtri(share.clamp(1e-6, 1 - 1e-6)).float()


def build(settings: EDM, shape: ImageShape) -> Diffusion:
    """A patch U-Net under EDM's preconditioning."""
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
    bound_levels = log_sigmas(1000, settings.sigma_min, settings.sigma_max)
    return Diffusion(
        Preconditioned(network, settings.sigma_data),
        prior_std=settings.sigma_max,
        levels=levels,
        sampling=Sampling(name=settings.sampler, steps=settings.steps),
        objective=partial(WeightedDenoisingLoss, settings=settings),
        bound=VariationalBound(bound_levels, settings.sigma_max, posterior_decoder),
        shape=shape,
    )


def defaults(size: Size, shape: ImageShape) -> EDM:
    """Patches keep the work at 16x16 at `tiny`, finer and wider networks above."""
    patch = max(1, shape.resolution // 16)
    if size == "tiny":
        return EDM(patch=patch)
    if size == "small":
        return EDM(patch=patch, widths=(64, 128, 192), blocks=2, batch_size=128)
    return EDM(patch=max(1, patch // 2), widths=(128, 256, 256), blocks=3, batch_size=256)


RECIPE = Recipe(
    summary="EDM: preconditioned denoiser on patches, Heun in 19 network calls",
    settings=EDM,
    defaults=defaults,
    build=build,
)
