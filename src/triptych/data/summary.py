"""What `triptych data` tells of a data set."""

from __future__ import annotations

from typing import Any

import torch

from triptych import images
from triptych.data.dataset import ImageData


def summarise(data: ImageData) -> dict[str, Any]:
    """Facts, mean and deviation of each channel on [0, 1], and images of each class."""
    pixels = data.train.images
    sample = pixels[torch.linspace(0, len(pixels) - 1, min(len(pixels), 5000)).long()]
    channels = sample.double().div(images.LEVELS - 1).transpose(0, 1).flatten(1)
    return {
        **data.describe(),
        "mean": [round(value, 4) for value in channels.mean(1).tolist()],
        "deviation": [round(value, 4) for value in channels.std(1).tolist()],
        "histogram": histogram(data),
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


def contact_sheet(data: ImageData, count: int = 144) -> images.Grid:
    """Training images spread over the whole part, twelve a row."""
    index = torch.linspace(0, len(data.train) - 1, min(count, len(data.train))).long()
    return images.grid(data.train.images[index], columns=12)
