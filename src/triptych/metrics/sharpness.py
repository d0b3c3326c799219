"""Sharpness: how strong the finest detail is, beside that of real images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from triptych.metrics import Metric, NotDefinedError
from triptych.metrics.intervals import JACKKNIFE, Estimate, jackknife, without_each_group
from triptych.records import Note

CHUNK = 1024
NO_EDGES = Note("no_edges")
LEAST = 1e-3  # grey levels: one value of 512 x 512 pixels in colour that is one level off has more


def laplacian_rms(images: Tensor) -> Tensor:
    """Root-mean-square of the 4-neighbour Laplacian of the channel mean: [N] from uint8 images."""
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    levels = []
    for chunk in torch.split(images, CHUNK):
        grey = chunk.float().mean(dim=1, keepdim=True)
        levels.append(F.conv2d(grey, kernel[None, None]).square().flatten(1).mean(1).sqrt())
    return torch.cat(levels).double()


def sharpness(images: Tensor, real: Tensor) -> Estimate:
    """Sharpness of uint8 images [N,C,H,W] beside real ones [M,C,H,W]."""
    return relative_detail(laplacian_rms(images), laplacian_rms(real))


def relative_detail(ours: Tensor, theirs: Tensor) -> Estimate:
    """Median Laplacian of images over the real images' median; 1 is as sharp as real.

    ours, theirs: `laplacian_rms` of both, [N] and [M]
    NotDefinedError where real images are flat, or so many of them that a few decide.
    """

    def ratio(top: Tensor, bottom: Tensor) -> float:
        if bottom.median() < LEAST:
            raise NotDefinedError(NO_EDGES)
        return (top.median() / bottom.median()).item()

    return jackknife(
        ratio(ours, theirs),
        {
            "samples": without_each_group(lambda kept: ratio(kept, theirs), ours),
            "reference": without_each_group(lambda kept: ratio(ours, kept), theirs),
        },
    )


METRIC = Metric(
    name="sharpness",
    better="floor",
    group="samples",
    order=20,
    images_only=True,
    needs=("images", "test_detail"),
    unit="ratio to real",
    method=JACKKNIFE,
    compute=lambda samples, real: relative_detail(
        laplacian_rms(samples["images"]), real["test_detail"]
    ),
    floor=1.0,  # by definition
)
