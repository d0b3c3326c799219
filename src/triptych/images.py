"""Pixels: the only place where their range changes; grids and image files.

Outside the networks an image is uint8 [C,H,W]; inside it is float on [-1, 1].
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from triptych import files
from triptych.config import POINT

LEVELS = 256  # values an 8-bit pixel can take
BIN_WIDTH = 2 / (LEVELS - 1)  # distance between neighbouring values on [-1, 1]
INK = 0.45  # share of the light that is left where a point lies
FLOAT64_DEVICES = ("cpu", "cuda")
COLUMNS = 8  # of a grid
SEEN = 96  # pixels of a screen that an image takes about, in a notebook
MOST_PIXELS = 4_000_000  # of an enlarged picture


def to_float(pixels: Tensor) -> Tensor:
    """uint8 -> float32 on [-1, 1], same shape."""
    return pixels.to(torch.float32).mul_(BIN_WIDTH).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Float on [-1, 1] -> uint8, rounded to nearest and clamped, same shape."""
    scaled = images.detach().to(torch.float32).add(1).div_(BIN_WIDTH)
    return scaled.round_().clamp_(0, LEVELS - 1).to(torch.uint8)


def to_float64(x: Tensor) -> Tensor:
    """x in float64, same shape; on the processor where the device may have none.

    Apple's GPUs have none, Intel's not all.
    """
    return (x if x.device.type in FLOAT64_DEVICES else x.cpu()).double()


@dataclass(frozen=True)
class Grid:
    """Images laid out in rows; shows itself in a notebook, small images enlarged.

    pixels: uint8 [C,H,W]
    side:   of one image, the longer one, in pixels
    """

    pixels: Tensor
    side: int = SEEN

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a PNG; parents are made."""
        path = files.as_path(path, "path")
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, png(self.pixels))
        return path

    def _repr_png_(self) -> bytes:
        return png(enlarge(self.pixels, times_to_be_seen(self.side, *self.pixels.shape[1:])))


def png(pixels: Tensor) -> bytes:
    """uint8 [C,H,W] as a PNG file."""
    buffer = io.BytesIO()
    to_pil(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def enlarge(pixels: Tensor, times: int) -> Tensor:
    """Every pixel of uint8 [...,H,W] as a square of `times` by `times`: the nearest neighbour."""
    return pixels.repeat_interleave(times, -2).repeat_interleave(times, -1)


def times_to_be_seen(side: int, height: int, width: int) -> int:
    """How many times a picture of images of that side is enlarged on a screen.

    >>> [times_to_be_seen(side, 64, 64) for side in (8, 16, 32, 64, 128)]
    [12, 6, 3, 2, 1]
    >>> times_to_be_seen(32, 8498, 272)  # two thousand images
    1
    """
    times = max(1, round(SEEN / side))
    return min(times, max(1, int((MOST_PIXELS / (height * width)) ** 0.5)))


def grid(images: Tensor, columns: int | None = None, gap: int = 2) -> Grid:
    """uint8 [N,C,H,W] -> one picture, row by row, white between the images.

    Rows of images [N,points,C,H,W], as `Run.interpolate` gives them, are its rows. Points of the
    plane, [N,2,1,1], are shown in it, all together.
    columns: images in a row, 8 by default, or as many as there are in a row already
    """
    if images.ndim == 5:
        columns = columns or images.shape[1]
        images = images.flatten(0, 1)
    count, channels, height, width = images.shape
    if is_points(images):
        return Grid(scatter(images))
    columns = min(columns or COLUMNS, count)
    rows = -(-count // columns)
    pixels = torch.full(
        (channels, rows * (height + gap) - gap, columns * (width + gap) - gap),
        LEVELS - 1,
        dtype=torch.uint8,
    )
    for index, image in enumerate(images.cpu()):
        top = index // columns * (height + gap)
        left = index % columns * (width + gap)
        pixels[:, top : top + height, left : left + width] = image
    return Grid(pixels, max(height, width))


def is_points(images: Tensor) -> bool:
    """Whether these [...,C,H,W] are points of the plane: one pixel, whose channels are x and y."""
    return tuple(images.shape[-3:]) == POINT.size


def scatter(points: Tensor) -> Tensor:
    """Points uint8 [N,2,1,1] as dots of the plane, y upwards: uint8 grey [1,256,256].

    A dot is a square of three pixels, and the darker the more points it is of.
    """
    x, y = points.flatten(1).long().cpu().T
    cells = (LEVELS - 1 - y) * LEVELS + x
    counts = torch.bincount(cells, minlength=LEVELS**2).view(1, 1, LEVELS, LEVELS).float()
    near = functional.max_pool2d(counts, 3, stride=1, padding=1)[0]
    return ((LEVELS - 1) * INK ** near.clamp(max=8)).round().to(torch.uint8)


def interleave(*bands: Tensor, columns: int) -> Tensor:
    """Rows of the first images, each above those of the others; rows filled with white.

    uint8 [N,C,H,W] each -> [M,C,H,W] for a grid of that many columns; points of the plane, which
    lie in one picture, are joined alone
    """
    if is_points(bands[0]):
        return torch.cat(bands)
    rows = zip(*(torch.split(band, columns) for band in bands), strict=True)
    return torch.cat([fill_row(row, columns) for together in rows for row in together])


def fill_row(row: Tensor, columns: int) -> Tensor:
    """A row of images filled with white ones to its full length."""
    white = row.new_full((columns - len(row), *row.shape[1:]), LEVELS - 1)
    return torch.cat([row, white])


def to_pil(pixels: Tensor) -> Image.Image:
    """uint8 [C,H,W] with one or three channels -> a Pillow image."""
    array = pixels.cpu().numpy()
    return Image.fromarray(array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1))


def from_array(array: np.ndarray) -> Tensor:
    """uint8 (N,H,W,C), as files hold it -> uint8 [N,C,H,W]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 1)))


def to_array(images: Tensor) -> np.ndarray:
    """uint8 [...,C,H,W] -> uint8 (...,H,W,C), as files hold it."""
    return np.ascontiguousarray(np.moveaxis(images.cpu().numpy(), -3, -1))
