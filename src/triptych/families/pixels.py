"""Probabilities of 8-bit pixels: densities on [-1, 1] integrated over each value's bin.

Families share this axis, so that their bits per dimension can be compared.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.special import log_ndtr

from triptych.images import BIN_WIDTH, LEVELS, to_float64

EDGE = 1 - BIN_WIDTH / 4  # beyond it a pixel is 0 or 255, whose bin reaches to infinity


def log_probability(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """log P(8-bit pixel) under N(mean, std^2) cut into bins (arXiv:2006.11239, eq. 13).

    pixels: 8-bit values on [-1, 1]; all three broadcast; nats, elementwise, float64.
    """
    pixels, mean, std = to_float64(pixels), to_float64(mean), to_float64(std)
    upper = (pixels - mean + BIN_WIDTH / 2) / std
    lower = (pixels - mean - BIN_WIDTH / 2) / std
    inside = log_normal_mass(lower, upper)
    at_bottom, at_top = log_ndtr(upper), log_ndtr(-lower)
    return torch.where(pixels < -EDGE, at_bottom, torch.where(pixels > EDGE, at_top, inside))


def log_normal_mass(lower: Tensor, upper: Tensor) -> Tensor:
    """log(Phi(upper) - Phi(lower)) without cancellation far from zero."""
    # Phi is accurate in its lower tail: mirror what lies in the upper one.
    mirror = lower > 0
    low = torch.where(mirror, -upper, lower)
    high = torch.where(mirror, -lower, upper)
    log_high, log_low = log_ndtr(high), log_ndtr(low)
    return log_high + torch.log1p(-(log_low - log_high).exp())


def log_posterior_of_noisy(pixels: Tensor, noisy: Tensor, std: float) -> Tensor:
    """log P(8-bit pixel | pixel + N(0, std^2)), every value equally likely before.

    The decoder of arXiv:2107.00630, eq. 8 (there p(x | z_0)); elementwise, nats, float64.
    """
    values = torch.linspace(-1, 1, LEVELS, dtype=torch.float64, device=noisy.device)
    # [..., 256] is too much for a batch at once, but a row of images is not.
    rows = [
        torch.logsumexp(-((row.double()[..., None] - values) ** 2) / (2 * std**2), dim=-1)
        for row in noisy
    ]
    return -((noisy - pixels).double() ** 2) / (2 * std**2) - torch.stack(rows)
