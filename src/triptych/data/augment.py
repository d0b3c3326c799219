"""Augmentation of training batches: mirrored images and small shifts.

Both are off by default: a mirrored 2 is no 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from triptych.options import check_crop


@dataclass(frozen=True)
class Augment:
    """Random changes of training images, drawn per image.

    flip: half of the images are mirrored left to right
    crop: images are moved by up to this many pixels each way, their borders reflected
    """

    flip: bool = False
    crop: int = 0

    def __post_init__(self) -> None:
        check_crop(self.crop, self.crop + 1)

    def __bool__(self) -> bool:
        return self.flip or self.crop > 0

    def check(self, resolution: int) -> None:
        """InputError where images of that side are too small for the crop."""
        check_crop(self.crop, resolution)

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """Random changes: mirrored (0 or 1), pixels down, pixels right: int64 [count,3]."""
        mirrored = torch.randint(1 + self.flip, (count, 1), generator=rng)
        moved = torch.randint(-self.crop, self.crop + 1, (count, 2), generator=rng)
        return torch.cat([mirrored, moved], dim=1)


OFF = Augment()


def changed(images: Tensor, drawn: Tensor) -> Tensor:
    """Images [B,C,H,W] of any type, each shifted, then mirrored as `drawn` says: the same shape.

    drawn: from `Augment.draw`, on the same device, [B,3]; shifts are smaller than H and W
    """
    batch, channels, height, width = images.shape
    mirrored, down, right = drawn.unsqueeze(-1).unbind(1)  # each [B,1]
    y = torch.arange(height, device=images.device).expand(batch, -1)
    x = torch.arange(width, device=images.device).expand(batch, -1)
    x = torch.where(mirrored > 0, width - 1 - x, x)
    rows, columns = reflected(y - down, height), reflected(x - right, width)
    source = rows.unsqueeze(2) * width + columns.unsqueeze(1)  # which pixel comes here: [B,H,W]
    source = source.view(batch, 1, -1).expand(-1, channels, -1)
    return images.reshape(batch, channels, -1).gather(2, source).view(images.shape)


def reflected(indices: Tensor, size: int) -> Tensor:
    """Indices outside 0..size-1, by at most size - 1, mirrored about 0 and size - 1.

    >>> reflected(torch.tensor([-2, -1, 0, 3, 4, 5]), 4).tolist()
    [2, 1, 0, 3, 2, 1]
    """
    last = size - 1
    return last - (last - indices.abs()).abs()
