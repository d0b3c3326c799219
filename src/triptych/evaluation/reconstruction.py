"""How close reconstructions come to their originals, both uint8 [N,C,H,W]."""

from __future__ import annotations

from torch import Tensor

from triptych.evaluation.intervals import Estimate, mean_interval

PEAK = 255.0


def reconstruction_psnr(originals: Tensor, reconstructions: Tensor) -> Estimate:
    """Peak signal-to-noise ratio in dB, of each image, then their mean."""
    difference = originals.double() - reconstructions.double()
    mean_square = difference.square().flatten(1).mean(1).clamp(min=1e-10)
    return mean_interval(10 * (PEAK**2 / mean_square).log10())
