"""What `triptych data` tells of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from triptych import images
from triptych.data import describing
from triptych.data.dataset import ImageData
from triptych.data.store import cache_folder

MEASURED = 20_000  # training images that mean and deviation are taken of, at most
CHUNK = 256  # images at a time
COLUMNS = 12
ROWS = 12
TILE = 64  # pixels that an image takes at least


def summarise(data: ImageData) -> dict[str, Any]:
    """Facts, mean and deviation of each channel on [0, 1], and images of each class."""
    index = spread(len(data.train), MEASURED)
    mean, deviation = moments(data.train.images, index)
    known = ("files", "bad", "copies", "crossing", "sizes")
    return {
        **data.describe(),
        **{name: data.facts[name] for name in known},
        "mean": [round(value, 4) for value in mean.tolist()],
        "deviation": [round(value, 4) for value in deviation.tolist()],
        "measured": len(index),
        "histogram": histogram(data),
        "plan": describing.plan(data),
        "contact_sheet_rows": sheet_rows(data),
    }


def moments(pixels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel on [0, 1] over some images, float64 [C] each."""
    total = torch.zeros(2, pixels.shape[1], dtype=torch.float64)  # of values, and of their squares
    for start in range(0, len(index), CHUNK):
        rows = index[start : start + CHUNK]
        values = pixels[rows].transpose(0, 1).flatten(1).double().div(images.LEVELS - 1)
        total += torch.stack([values.sum(1), values.square().sum(1)])
    mean, square = total / (len(index) * pixels.shape[2] * pixels.shape[3])
    return mean, (square - mean.square()).clamp(min=0).sqrt()


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
        pictures = data.train.images[spread(len(data.train), ROWS * COLUMNS)]
    else:
        there = labels.bincount().nonzero()[:ROWS, 0]
        rows = [(labels == label).nonzero()[:COLUMNS, 0] for label in there]
        filled = [images.fill_row(data.train.images[row], COLUMNS) for row in rows]
        pictures = torch.cat(filled)
    times = max(1, TILE // data.shape.resolution)
    enlarged = pictures.repeat_interleave(times, 2).repeat_interleave(times, 3)
    return images.grid(enlarged, COLUMNS)


def contact_sheet_place(data: ImageData) -> Path:
    """Where the sheet goes unless told otherwise: never among the images themselves."""
    name = f"data-{data.name.replace('/', '-')}.png"
    if data.place is not None and Path.cwd().is_relative_to(data.place):
        return cache_folder() / "sheets" / name
    return Path("runs") / name


def sheet_rows(data: ImageData) -> str:
    """What the rows of the contact sheet are."""
    if data.classes is None or data.train.labels is None:
        return "training images"
    there = len(data.train.labels.unique())  # type: ignore[no-untyped-call]
    return "a row a class" if there <= ROWS else f"a row a class, {ROWS} of {there} classes"


def spread(count: int, most: int) -> Tensor:
    """Up to `most` places spread evenly over 0..count-1, int64."""
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).long()
