"""The losses of denoisers: weighted denoising, and DDPM's prediction of the noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.config import ImageShape, OptimizerConfig
from triptych.families.conditioning import Conditioning, condition_shares
from triptych.families.diffusion.denoisers import Denoiser, NoisePredictor
from triptych.families.labels import hide_some
from triptych.families.protocol import Batch, Objective

Weight = Callable[[Tensor], Tensor]  # of the squared error at noise levels [B] -> [B]


class WeightedDenoisingLoss(Objective):
    """Squared error of the denoised image, weighted by noise level (arXiv:2206.00364, eq. 8).

    matrices:              inner weights of the network, for Muon
    noise_mean, noise_std: of log sigma in training
    conditioning:          the condition of an image; None for an unconditional network
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
        optimizer: OptimizerConfig,
        conditioning: Conditioning | None,
        weight: Weight,
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.shape = shape
        self.noise_mean, self.noise_std = noise_mean, noise_std
        self.labels = partial(batch_condition, conditioning)
        self.weight = weight
        self.optimizer = optimizer
        if optimizer.muon_lr is not None:
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
    """1 / t^2: turns a squared error of the clean image into one of the velocity."""
    return ((1 + sigma) / sigma) ** 2


def level_noise(count: int, shape: ImageShape, generator: torch.Generator) -> dict[str, Tensor]:
    """Normal numbers for the level, one per stratum, [count]; Gaussian noise [count,C,H,W].

    Uniform numbers [count] decide whose condition is hidden (arXiv:2207.12598, Algorithm 1).
    """
    return {
        "level": stratified_normal(count, generator),
        "gaussian": torch.randn(count, *shape.size, generator=generator),
        "hidden": torch.rand(count, generator=generator),
    }


def batch_condition(conditioning: Conditioning | None, batch: Batch) -> Tensor | None:
    """The condition of a batch, hidden for some images: [B,classes+1]; or None."""
    if conditioning is None:
        return None
    numbers = conditioning.of(batch.images, batch.labels)
    numbers = hide_some(numbers, batch.noise["hidden"], conditioning.count)
    return condition_shares(conditioning, numbers, batch.images)


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

    def __init__(self, denoiser: Denoiser, shape: ImageShape, optimizer: OptimizerConfig) -> None:
        super().__init__()
        assert isinstance(denoiser, NoisePredictor)
        self.denoiser = denoiser
        self.shape = shape
        self.optimizer = optimizer

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
