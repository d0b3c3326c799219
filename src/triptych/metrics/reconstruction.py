"""How close reconstructions come to their originals, both uint8 [N,C,H,W]."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from triptych.metrics import Metric, NotDefinedError
from triptych.metrics.intervals import NORMAL, Estimate, mean_interval
from triptych.records import Note

PEAK = 255.0
WINDOW, STD = 11, 1.5  # pixels a side that SSIM looks at together, and their weights' deviation
C1, C2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2  # against small denominators (Wang's K1 and K2)
ALL_EQUAL = Note("all_reconstructions_equal")
SMALL = Note("ssim_too_small", {"pixels": WINDOW})
CHUNK = 32  # images whose windowed moments are held at once


def reconstruction_psnr(originals: Tensor, reconstructions: Tensor) -> Estimate:
    """Peak signal-to-noise ratio in dB, of each image, then their mean.

    It is infinite for equal images. Where some are equal they count as if one value of one pixel
    were one level off, which is the most that others can reach, and the estimate says so; where
    all are, NotDefinedError.
    """
    difference = originals.double() - reconstructions.double()
    mean_square = difference.square().flatten(1).mean(1)
    equal = mean_square == 0
    if equal.all():
        raise NotDefinedError(ALL_EQUAL)
    least = 1 / originals[0].numel()
    estimate = mean_interval(10 * (PEAK**2 / mean_square.clamp(min=least)).log10())
    if not equal.any():
        return estimate
    ratio = 10 * math.log10(PEAK**2 / least)
    counts = {"n": int(equal.sum()), "images": len(equal), "ratio": ratio}
    return replace(estimate, note=Note("reconstructions_equal", {**counts}))


def reconstruction_ssim(originals: Tensor, reconstructions: Tensor) -> Estimate:
    """Structural similarity of each image, then their mean: 1 when equal.

    NotDefinedError where a side is smaller than 11 pixels.
    """
    if min(originals.shape[2:]) < WINDOW:
        raise NotDefinedError(SMALL)
    pairs = zip(torch.split(originals, CHUNK), torch.split(reconstructions, CHUNK), strict=True)
    return mean_interval(torch.cat([similarity(x.double(), y.double()) for x, y in pairs]))


def similarity(x: Tensor, y: Tensor) -> Tensor:
    """Mean over windows and channels of the index of each pair (Wang et al. 2004, eq. 13): [N].

    x, y: images on 0 to 255, float64 [N,C,H,W]
    (IEEE Transactions on Image Processing 13, pages 600-612)
    """
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = windowed_mean(
        torch.cat([x, y, x * x, y * y, x * y])
    ).chunk(5)  # eq. 14
    variance_x = (mean_xx - mean_x**2).clamp(min=0)  # eq. 15, as E[x^2] - E[x]^2
    variance_y = (mean_yy - mean_y**2).clamp(min=0)
    covariance = mean_xy - mean_x * mean_y  # eq. 16
    above = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    below = (mean_x**2 + mean_y**2 + C1) * (variance_x + variance_y + C2)
    return (above / below).flatten(1).mean(1)


def windowed_mean(x: Tensor) -> Tensor:
    """Mean under each Gaussian window that lies wholly inside: [N,C,H,W] -> [N,C,H-10,W-10].

    The paper's windows slide over the image and never leave it; mirrored borders would count the
    pixels there twice, which are often all alike. The window is a product of one along each axis.
    On a CPU sums of shifted images are many times faster than a convolution in float64.
    """
    height, width = x.shape[2:]
    half = WINDOW // 2
    window = torch.arange(-half, half + 1, dtype=torch.float64).div(STD).square().div(-2).exp()
    weights = (window / window.sum()).tolist()
    height, width = height - 2 * half, width - 2 * half
    rows = torch.zeros_like(x[:, :, :height])
    means = torch.zeros_like(rows[..., :width])
    for shift, weight in enumerate(weights):
        rows.add_(x[:, :, shift : shift + height], alpha=weight)
    for shift, weight in enumerate(weights):
        means.add_(rows[..., shift : shift + width], alpha=weight)
    return means


def nearness(originals: Tensor, reconstructions: Tensor) -> dict[str, float]:
    """PSNR in dB and SSIM by their short names, those that are defined."""
    measures: dict[str, Callable[[Tensor, Tensor], Estimate]] = {
        "psnr": reconstruction_psnr,
        "ssim": reconstruction_ssim,
    }
    near = {}
    for name, measure in measures.items():
        with suppress(NotDefinedError):
            near[name] = measure(originals, reconstructions).value
    return near


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
