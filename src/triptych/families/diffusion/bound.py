"""The discrete variational bound on -log P(8-bit image), term by term.

With x_t = x + sigma_t * noise at levels sigma_1 < ... < sigma_T (arXiv:2006.11239, eq. 5, in
the signal-to-noise form of arXiv:2107.00630, eq. 11-13):

    prior           KL(q(x_T | x) || N(0, prior_std^2))
    diffusion       sum over t = 2..T of (1/sigma_{t-1}^2 - 1/sigma_t^2) / 2 * |x - denoised(x_t)|^2
    reconstruction  -log P(x | x_1)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from triptych.families.diffusion.denoisers import with_anchor
from triptych.families.diffusion.samplers import Denoise
from triptych.families.pixels import log_posterior_of_noisy, log_probability
from triptych.seeding import ImageStreams

# (pixels, noisy, denoised, sigma_1), each [N,C,H,W] but the last -> log P(pixel), elementwise
Decoder = Callable[[Tensor, Tensor, Tensor, float], Tensor]


def gaussian_decoder(pixels: Tensor, noisy: Tensor, denoised: Tensor, sigma: float) -> Tensor:
    """DDPM's last step: N(denoised, beta_1) in bins (arXiv:2006.11239, eq. 13).

    There beta_1 = 1 - abar_1 = sigma^2 / (1 + sigma^2).
    """
    std = torch.tensor(sigma / math.sqrt(1 + sigma**2))
    return log_probability(pixels, denoised, std)


def posterior_decoder(pixels: Tensor, noisy: Tensor, denoised: Tensor, sigma: float) -> Tensor:
    """Which of the 256 values the noise started from (arXiv:2107.00630, eq. 8)."""
    return log_posterior_of_noisy(pixels, noisy, sigma)


@dataclass(frozen=True)
class VariationalBound:
    """Estimates the bound without bias from a few random levels per image.

    sigmas:   rising, [T]
    draws:    levels tried per image (all of them if at least T-1)
    residual: where the denoiser's own error is one that no small noise helps: see `anchored`
    """

    sigmas: Tensor
    prior_std: float
    decoder: Decoder
    draws: int = 16
    residual: float | None = None

    def terms(self, denoise: Denoise, images: Tensor, rng: ImageStreams) -> dict[str, Tensor]:
        """Nats, each [N], float64."""
        denoise = with_anchor(denoise, self.residual)
        return {
            "prior": self._prior(images),
            "diffusion": self._diffusion(denoise, images, rng),
            "reconstruction": self._reconstruction(denoise, images, rng),
        }

    def _prior(self, images: Tensor) -> Tensor:
        """KL between two Gaussians, in closed form."""
        ratio = (self.sigmas[-1].item() / self.prior_std) ** 2
        mean_square = (images.double() / self.prior_std) ** 2
        return 0.5 * (ratio + mean_square - 1 - math.log(ratio)).flatten(1).sum(1)

    def _diffusion(self, denoise: Denoise, images: Tensor, rng: ImageStreams) -> Tensor:
        sigmas = self.sigmas.double()
        weights = 0.5 * (sigmas[:-1] ** -2 - sigmas[1:] ** -2)  # of t = 2..T
        count = len(weights)
        draws = min(self.draws, count)
        # One level from each of `draws` equal strata: unbiased, and steadier than free draws.
        # With a stratum per level its middle, where rounding cannot slip to the level below.
        middle = torch.full((1, draws), 0.5, dtype=torch.float64)
        offsets = rng.uniform(draws).double().cpu() if draws < count else middle
        strata = (torch.arange(draws) + offsets) / draws
        levels = (strata * count).long().clamp(max=count - 1).expand(len(images), draws)
        total = torch.zeros(len(images), dtype=torch.float64, device=images.device)
        for level in levels.unbind(1):
            sigma = sigmas[1:][level].to(images)
            noisy = images + sigma.view(-1, 1, 1, 1) * self._noise(images, rng)
            denoised = denoise(noisy, sigma)
            error = (images - denoised).double().flatten(1).square().sum(1)
            total += weights[level].to(error) * error
        return total * count / draws

    def _reconstruction(self, denoise: Denoise, images: Tensor, rng: ImageStreams) -> Tensor:
        sigma = self.sigmas[0]
        noisy = images + sigma.item() * self._noise(images, rng)
        denoised = denoise(noisy, sigma.to(images).expand(len(images)))
        return -self.decoder(images, noisy, denoised, sigma.item()).flatten(1).sum(1)

    def _noise(self, images: Tensor, rng: ImageStreams) -> Tensor:
        return rng.normal(*images.shape[1:]).to(images)
