"""How close reconstructions come to their originals, both uint8 [N,C,H,W]."""

from __future__ import annotations

import torch
from torch import Tensor

from triptych.metrics import Metric, NotDefinedError
from triptych.metrics.intervals import NORMAL, Estimate, mean_interval
from triptych.records import Note

PEAK = 255.0
WINDOW = 11  # pixels a side that SSIM looks at together
SMALL = Note("ssim_too_small", {"pixels": WINDOW})
CHUNK = 32  # images whose windowed moments are held at once


def reconstruction_psnr(originals: Tensor, reconstructions: Tensor) -> Estimate:
    """Peak signal-to-noise ratio in dB, of each image, then their mean."""
    difference = originals.double() - reconstructions.double()
    mean_square = difference.square().flatten(1).mean(1).clamp(min=1e-10)
    return mean_interval(10 * (PEAK**2 / mean_square).log10())


def reconstruction_ssim(originals: Tensor, reconstructions: Tensor) -> Estimate:
    """Structural similarity of each image, then their mean: 1 when equal.

    NotDefinedError where a side is smaller than 11 pixels.
    Gaussian window of 11 x 11 pixels (Wang et al. 2004, IEEE Transactions on Image Processing 13).
    """
    if min(originals.shape[2:]) < WINDOW:
        raise NotDefinedError(SMALL)
    # Imported late: it takes most of a second, and only evaluation needs it.
    from torchmetrics.functional.image import structural_similarity_index_measure

    pairs = zip(torch.split(originals, CHUNK), torch.split(reconstructions, CHUNK), strict=True)
    each = []
    for ours, theirs in pairs:
        similarity = structural_similarity_index_measure(
            theirs.double(), ours.double(), kernel_size=WINDOW, data_range=PEAK, reduction="none"
        )
        assert isinstance(similarity, Tensor)  # a pair only where the whole map is asked for
        each.append(similarity)
    return mean_interval(torch.cat(each))


METRICS = [
    Metric(
        name="reconstruction_psnr",
        better="higher",
        group="abilities",
        order=10,
        needs=("reconstructions", "originals"),
        unit="dB",
        method=NORMAL,
        compute=lambda ours, real: reconstruction_psnr(real["originals"], ours["reconstructions"]),
    ),
    Metric(
        name="reconstruction_ssim",
        better="higher",
        group="abilities",
        order=11,
        needs=("reconstructions", "originals"),
        method=NORMAL,
        compute=lambda ours, real: reconstruction_ssim(real["originals"], ours["reconstructions"]),
    ),
]
