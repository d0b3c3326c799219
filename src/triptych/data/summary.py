"""What `triptych data` tells of a data set."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from triptych import images
from triptych.data import describing
from triptych.data.dataset import ImageData

MEASURED = 20_000  # training images that mean and deviation are taken of, at most
COLUMNS = 12
ROWS = 12


def summarise(data: ImageData) -> dict[str, Any]:
    """Facts, mean and deviation of each channel on [0, 1], and images of each class."""
    index = spread(len(data.train), MEASURED)
    channels = data.train.images[index].transpose(0, 1).flatten(1).double().div(images.LEVELS - 1)
    known = ("files", "bad", "copies", "crossing", "sizes")
    return {
        **data.describe(),
        **{name: data.facts[name] for name in known},
        "mean": [round(value, 4) for value in channels.mean(1).tolist()],
        "deviation": [round(value, 4) for value in channels.std(1).tolist()],
        "measured": len(index),
        "histogram": histogram(data),
        "plan": describing.plan(data),
    }


def histogram(data: ImageData) -> dict[str, int]:
    """Images of each class in all parts; empty where there are no labels."""
    if data.classes is None:
        return {}
    labels = [part.labels for part in (data.train, data.validation, data.test)]
    counts = torch.cat([part for part in labels if part is not None]).bincount(
        minlength=len(data.classes)
    )
    return dict(zip(data.classes, counts.tolist(), strict=True))


def contact_sheet(data: ImageData) -> images.Grid:
    """Training images, twelve a row; a row a class where there are classes (the first twelve)."""
    labels = data.train.labels
    if labels is None:
        index = spread(len(data.train), ROWS * COLUMNS)
        return images.grid(data.train.images[index], COLUMNS)
    there = labels.bincount().nonzero()[:ROWS, 0]
    rows = [(labels == label).nonzero()[:COLUMNS, 0] for label in there]
    pictures = [images.fill_row(data.train.images[row], COLUMNS) for row in rows]
    return images.grid(torch.cat(pictures), COLUMNS)


def spread(count: int, most: int) -> Tensor:
    """Up to `most` places spread evenly over 0..count-1, int64."""
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).long()
