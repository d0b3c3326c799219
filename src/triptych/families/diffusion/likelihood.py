"""Likelihoods: a variational bound, term by term, and the density along the noise-free path.

The bound on -log P(8-bit image) has, with x_t = x + sigma_t * noise at levels
sigma_1 < ... < sigma_T (arXiv:2006.11239, eq. 5, in the signal-to-noise form of arXiv:2107.00630,
eq. 11-13):

    prior           KL(q(x_T | x) || N(0, prior_std^2))
    diffusion       sum over t = 2..T of (1/sigma_{t-1}^2 - 1/sigma_t^2) / 2 * |x - denoised(x_t)|^2
    reconstruction  -log P(x | x_1)

The noise-free path is a flow that can be run both ways. On it, in s = log sigma,
dx/ds = x - D(x; sigma); a density changes along it by d log p/ds = -div(x - D) = div D - d, d being
the number of pixels (arXiv:2011.13456, eq. 39 and appendix D.2). The divergence is estimated
without bias from one vector of random signs.

The solver follows y = c x, c = (sigma^2 + r^2)^(-1/2), which is constant for Gaussian data of
deviation r: dy/ds = c (r^2 c^2 x - D). Both ends of the path are then flat: few steps suffice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from triptych.families.diffusion.denoisers import with_anchor
from triptych.families.diffusion.samplers import Denoise
from triptych.families.pixels import log_posterior_of_noisy, log_probability
from triptych.seeding import ImageStreams

# (pixels, noisy, denoised, sigma_1), each [N,C,H,W] but the last -> log P(pixel), elementwise
Decoder = Callable[[Tensor, Tensor, Tensor, float], Tensor]
TYPICAL = 0.5  # r: about the deviation of images on [-1, 1]


def gaussian_decoder(pixels: Tensor, noisy: Tensor, denoised: Tensor, sigma: float) -> Tensor:
    """DDPM's last step: N(denoised, beta_1) in bins (arXiv:2006.11239, eq. 13).

    There beta_1 = 1 - abar_1 = sigma^2 / (1 + sigma^2).
    """
    std = torch.tensor(sigma / math.sqrt(1 + sigma**2))
    return log_probability(pixels, denoised, std)


def posterior_decoder(pixels: Tensor, noisy: Tensor, denoised: Tensor, sigma: float) -> Tensor:
    """log P of each of the 256 values, given the noisy pixel (arXiv:2107.00630, eq. 8)."""
    return log_posterior_of_noisy(pixels, noisy, sigma)


@dataclass(frozen=True)
class VariationalBound:
    """Estimates the bound without bias from a few random levels per image.

    sigmas:   rising, [T]
    draws:    levels drawn per image (all of them if at least T-1)
    residual: deviation of the denoiser's error at small noise: see `anchored`
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


def log_density(
    denoise: Denoise, x: Tensor, sigmas: list[float], prior_std: float, rng: ImageStreams
) -> Tensor:
    """log p of noisy images x [N,C,H,W] at the lowest of these rising levels: nats, float64 [N].

    At the highest level the images are taken as N(0, prior_std^2). Heun's method in log sigma.
    """
    signs = torch.where(rng.uniform(*x.shape[1:]) < 0.5, -1.0, 1.0).to(x)
    total = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for sigma, sigma_next in pairwise(sigmas):
        step = math.log(sigma_next / sigma)
        c, c_next = (1 / math.hypot(level, TYPICAL) for level in (sigma, sigma_next))
        y = c * x
        slope, change = slopes(denoise, x, sigma, signs)
        slope_next, change_next = slopes(denoise, (y + step * slope) / c_next, sigma_next, signs)
        x = (y + step * (slope + slope_next) / 2) / c_next
        total += step * (change + change_next) / 2
    scaled = (x.double() / prior_std).flatten(1)
    constant = math.log(prior_std) + 0.5 * math.log(2 * math.pi)
    return total - (0.5 * scaled**2 + constant).sum(1)


def slopes(denoise: Denoise, x: Tensor, sigma: float, signs: Tensor) -> tuple[Tensor, Tensor]:
    """dy/ds, [N,C,H,W], and an estimate of div(x - D), [N], float64."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = x.clone().requires_grad_()
        levels = torch.full((len(x),), sigma, dtype=x.dtype, device=x.device)
        denoised = denoise(leaf, levels)
        (gradient,) = torch.autograd.grad((denoised * signs.clone()).sum(), leaf)
    c = 1 / math.hypot(sigma, TYPICAL)
    slope = c * ((TYPICAL * c) ** 2 * x - denoised.detach())
    return slope, x[0].numel() - (gradient * signs).double().flatten(1).sum(1)


@dataclass(frozen=True)
class FlowLikelihood:
    """Estimates -log P(8-bit image) by the density of the image with a little noise on it.

    With y = x + sigma_1 noise drawn by q(y | x), and P(x | y) as in the variational bound,
    -log P(x) <= E[log q(y | x) - log p(y) - log P(x | y)] (arXiv:1511.01844, section 3.1).

    sigmas:   rising from sigma_1
    residual: as `VariationalBound` takes it
    """

    sigmas: list[float]
    prior_std: float
    residual: float | None = None

    def terms(self, denoise: Denoise, images: Tensor, rng: ImageStreams) -> dict[str, Tensor]:
        """Nats, each [N], float64; they hold the estimate of a divergence, so they are no bound."""
        sigma, noise = self.sigmas[0], rng.normal(*images.shape[1:]).to(images)
        noisy = images + sigma * noise
        # log q of the noise that was drawn, not its mean: most of what varies then cancels.
        drawn = -0.5 * (noise.double() ** 2 + math.log(2 * math.pi * sigma**2)).flatten(1).sum(1)
        denoise = with_anchor(denoise, self.residual)
        density = log_density(denoise, noisy, self.sigmas, self.prior_std, rng)
        decoded = log_posterior_of_noisy(images, noisy, sigma).flatten(1).sum(1)
        return {"flow": drawn - density, "reconstruction": -decoded}
