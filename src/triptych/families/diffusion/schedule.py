"""Noise levels. Everywhere in this family a noisy image is x + sigma * noise.

A variance-preserving process, sqrt(abar) x + sqrt(1 - abar) noise, is the same thing seen
through a scale: divide by sqrt(abar) and sigma = sqrt((1 - abar) / abar).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

JUMPS = (0.4, 3.0)  # deviations of noise


def linear_beta_sigmas(steps: int, beta_first: float, beta_last: float) -> Tensor:
    """sigma_t of DDPM's linear schedule, t = 1..T (arXiv:2006.11239, section 4): [T], rising."""
    betas = torch.linspace(beta_first, beta_last, steps, dtype=torch.float64)
    abar = torch.cumprod(1 - betas, dim=0)  # eq. 4
    return ((1 - abar) / abar).sqrt()


def power_sigmas(steps: int, sigma_min: float, sigma_max: float, rho: float) -> Tensor:
    """Falling levels from sigma_max to sigma_min, then 0 (arXiv:2206.00364, eq. 5): [steps+1]."""
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    top, bottom = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    return torch.cat([(top + ramp * (bottom - top)) ** rho, torch.zeros(1, dtype=torch.float64)])


def log_sigmas(steps: int, sigma_min: float, sigma_max: float) -> Tensor:
    """Rising levels, evenly spaced in their logarithm: [steps]."""
    ends = torch.tensor([sigma_min, sigma_max], dtype=torch.float64).log()
    return torch.linspace(ends[0].item(), ends[1].item(), steps, dtype=torch.float64).exp()


def spaced_sigmas(sigmas: Tensor, steps: int) -> Tensor:
    """Falling levels picked evenly from a rising table, its top included, then 0: [steps+1]."""
    index = torch.linspace(len(sigmas) - 1, 0, steps).round().long()
    return torch.cat([sigmas[index], torch.zeros(1, dtype=sigmas.dtype)])


def jump_sigmas(steps: int, sigma_max: float) -> Tensor:
    """Levels of a consistency sampler: sigma_max, then levels within JUMPS, then 0: [steps+1].

    The inner ones are evenly spaced in the logarithm. There, noise hides details, not the whole,
    so that another jump still improves the image.
    """
    low, high = (math.log(level) for level in JUMPS)
    inner = torch.linspace(high, low, steps + 1, dtype=torch.float64)[1:-1].exp()
    top, bottom = (torch.tensor([level], dtype=torch.float64) for level in (sigma_max, 0.0))
    return torch.cat([top, inner, bottom])
