"""What denoisers are trained by: weighted denoising, and DDPM's prediction of the noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.config import ImageShape, OptimizerConfig
from triptych.families.diffusion.conditioning import Conditioning, shares_of
from triptych.families.diffusion.denoisers import Denoiser, NoisePredictor
from triptych.families.labels import hide_some
from triptych.families.protocol import Batch, Objective

Weight = Callable[[Tensor], Tensor]  # of the squared error at noise levels [B] -> [B]


class WeightedDenoisingLoss(Objective):
    """Squared error of the denoised image, weighted by noise level (arXiv:2206.00364, eq. 8).

    matrices:              of the network, which may have a rate of their own
    noise_mean, noise_std: of log sigma in training
    kinds:                 what the network is told of an image
    weight:                lambda(sigma)
    """

    name = "denoiser"

    def __init__(
        self,
        denoiser: Denoiser,
        shape: ImageShape,
        *,
        matrices: Sequence[nn.Parameter],
        noise_mean: float,
        noise_std: float,
        optimiser: OptimizerConfig,
        kinds: Conditioning | None,
        weight: Weight,
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.shape = shape
        self.noise_mean, self.noise_std = noise_mean, noise_std
        self.labels = partial(kinds_shown, kinds)
        self.weight = weight
        self.optimiser = optimiser
        if optimiser.matrix_rate is not None:
            self.matrices = matrices

    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """As `level_noise`."""
        return level_noise(count, self.shape, generator)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """lambda(sigma) |D(x + sigma n; sigma) - x|^2, mean over pixels and images."""
        sigma = (self.noise_mean + self.noise_std * batch.noise["level"]).exp()
        noisy = batch.images + sigma.view(-1, 1, 1, 1) * batch.noise["gaussian"]
        denoised = self.denoiser(noisy, sigma, self.labels(batch))
        error = (denoised - batch.images).square().flatten(1).mean(1)
        return {"total": (self.weight(sigma) * error).mean()}


def velocity_weight(sigma: Tensor) -> Tensor:
    """1 / t^2: what an error of the clean image is as one of the velocity."""
    return ((1 + sigma) / sigma) ** 2


def level_noise(count: int, shape: ImageShape, generator: torch.Generator) -> dict[str, Tensor]:
    """Normal numbers for the level, one per stratum, [count]; Gaussian noise [count,C,H,W].

    Uniform numbers [count] tell whose kind is hidden (arXiv:2207.12598, Algorithm 1).
    """
    return {
        "level": stratified_normal(count, generator),
        "gaussian": torch.randn(count, *shape.size, generator=generator),
        "hidden": torch.rand(count, generator=generator),
    }


def kinds_shown(kinds: Conditioning | None, batch: Batch) -> Tensor | None:
    """What the network is told of a batch, of which some is hidden: [B,kinds+1], or None."""
    if kinds is None:
        return None
    numbers = kinds.of(batch.images, batch.labels)
    return shares_of(kinds, hide_some(numbers, batch.noise["hidden"], kinds.count), batch.images)


def stratified_normal(count: int, generator: torch.Generator) -> Tensor:
    """Standard normal numbers, one from each of `count` equal slices of probability: [count].

    A batch then always holds every kind of noise level, which steadies the loss.
    """
    offset = torch.rand(count, generator=generator, dtype=torch.float64)
    share = (torch.arange(count) + offset) / count
    return torch.special.ndtri(share.clamp(1e-6, 1 - 1e-6)).float()


class HuberNoiseLoss(Objective):
    """Smooth L1 between the noise and its prediction at a uniform random step."""

    name = "denoiser"

    def __init__(self, denoiser: Denoiser, shape: ImageShape, optimiser: OptimizerConfig) -> None:
        super().__init__()
        assert isinstance(denoiser, NoisePredictor)
        self.denoiser = denoiser
        self.shape = shape
        self.optimiser = optimiser

    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """t uniform on 0..T-1, [count], and Gaussian noise, [count,C,H,W]."""
        return {
            "t": torch.randint(len(self.denoiser.sigmas), (count,), generator=generator),
            "gaussian": torch.randn(count, *self.shape.size, generator=generator),
        }

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Huber loss with delta 1."""
        sigma = self.denoiser.sigmas[batch.noise["t"]].to(batch.images)
        noise = batch.noise["gaussian"]
        noisy = batch.images + sigma.view(-1, 1, 1, 1) * noise
        return {"total": F.smooth_l1_loss(self.denoiser.predict_noise(noisy, sigma), noise)}
