"""How close reconstructions come to their originals, both uint8 [N,C,H,W]."""

from __future__ import annotations

import torch
from torch import Tensor

from triptych.metrics import Metric, named
from triptych.metrics.intervals import Estimate, mean_interval

PEAK = 255.0
WINDOW = 11  # pixels a side that SSIM looks at together
CHUNK = 32  # images whose windowed moments are held at once


def reconstruction_psnr(originals: Tensor, reconstructions: Tensor) -> Estimate:
    """Peak signal-to-noise ratio in dB, of each image, then their mean."""
    difference = originals.double() - reconstructions.double()
    mean_square = difference.square().flatten(1).mean(1).clamp(min=1e-10)
    return mean_interval(10 * (PEAK**2 / mean_square).log10())


def reconstruction_ssim(originals: Tensor, reconstructions: Tensor) -> Estimate:
    """Structural similarity of each image, then their mean: 1 when equal. Sides of 11 at least.

    Gaussian window of 11 x 11 pixels (Wang et al. 2004, IEEE Transactions on Image Processing 13).
    """
    # Imported late: it takes most of a second, and only evaluation needs it.
    from torchmetrics.functional.image import structural_similarity_index_measure

    pairs = zip(torch.split(originals, CHUNK), torch.split(reconstructions, CHUNK), strict=True)
    each = []
    for ours, theirs in pairs:
        found = structural_similarity_index_measure(
            theirs.double(), ours.double(), kernel_size=WINDOW, data_range=PEAK, reduction="none"
        )
        assert isinstance(found, Tensor)  # a pair only where the whole map is asked for
        each.append(found)
    return mean_interval(torch.cat(each))


METRICS = named(
    Metric(name="reconstruction_psnr", better="higher", group="abilities", unit="dB"),
    Metric(name="reconstruction_ssim", better="higher", group="abilities"),
)
