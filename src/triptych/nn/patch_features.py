"""Features without labels or learned weights: responses of fixed random filters to small patches.

The filters act on three bands of a Laplacian pyramid (Burt and Adelson 1983, IEEE Transactions on
Communications 31). Their responses are rectified and averaged over a grid of cells, so the features
describe texture at three scales, and layout. Without the bands large structures would dominate and
noise would average out. Random networks distinguish images well enough to compare generators where
no trained network suits the images (arXiv:2002.09797, section 4.2).
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from triptych import images
from triptych.seeding import generator

FILTERS, SIDE = 32, 4  # number and side of the filters at each scale
SCALES = 3
GRID = 3  # cells along a side, over which responses are averaged
CHUNK = 256  # images at once
LEAST = 0.1  # of the mean deviation: features that hardly vary must not dominate


class Patches:
    """Features, standardized by their mean and deviation over reference images.

    reference: uint8 [N,C,H,W], sides of 16 at least
    """

    def __init__(self, reference: Tensor) -> None:
        self.filters = orthogonal(reference.shape[1])
        self.fit(self.raw(reference))

    def fit(self, raw: Tensor) -> None:
        """Take mean and deviation from raw features [N,F]."""
        self.mean, std = raw.mean(0), raw.std(0)
        self.std = std.clamp(min=LEAST * std.mean().item() + 1e-6)

    @classmethod
    def with_features(cls, reference: Tensor) -> tuple[Self, Tensor]:
        """Those of reference images, and what these images are by them, [N,F]: filtered once."""
        patches = cls.__new__(cls)
        patches.filters = orthogonal(reference.shape[1])
        raw = patches.raw(reference)
        patches.fit(raw)
        return patches, patches.standardized(raw)

    @classmethod
    def restored(cls, filters: Tensor, mean: Tensor, std: Tensor) -> Self:
        """Those of reference images that are not at hand, from what was kept of them."""
        patches = cls.__new__(cls)
        patches.filters, patches.mean, patches.std = filters, mean, std
        return patches

    def raw(self, pixels: Tensor) -> Tensor:
        """uint8 [N,C,H,W] -> [N,F]."""
        return torch.cat([self._raw(part) for part in torch.split(pixels, CHUNK)])

    def _raw(self, pixels: Tensor) -> Tensor:
        x, features = images.to_float(pixels), []
        filters = self.filters.to(x.device)
        for _ in range(SCALES):
            coarse = F.avg_pool2d(x, 2)
            band = x - F.interpolate(coarse, x.shape[2:], mode="bilinear", align_corners=False)
            answers = F.conv2d(band, filters, padding=SIDE // 2)
            features += [
                F.adaptive_avg_pool2d(F.relu(a), GRID).flatten(1) for a in (answers, -answers)
            ]
            x = coarse
        return torch.cat([*features, F.adaptive_avg_pool2d(x, GRID).flatten(1)], dim=1)

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 [N,C,H,W] -> [N,F], about standard normal for images like the reference."""
        return self.standardized(self.raw(pixels))

    def standardized(self, raw: Tensor) -> Tensor:
        """Raw features [N,F] by mean and deviation of the reference."""
        return (raw - self.mean.to(raw.device)) / self.std.to(raw.device)


def orthogonal(channels: int) -> Tensor:
    """Random filters of unit length, orthogonal in groups: [FILTERS,channels,SIDE,SIDE]."""
    width = channels * SIDE**2
    filters: list[Tensor] = []
    rng = generator(0, "patches", channels)
    while sum(map(len, filters)) < FILTERS:
        filters.append(torch.linalg.qr(torch.randn(width, width, generator=rng)).Q)
    return torch.cat(filters)[:FILTERS].view(FILTERS, channels, SIDE, SIDE)
