"""Mirror images and small shifts: what a batch may be changed by without changing what it shows.

Both are off unless asked for: a mirrored 2 is no 2.
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
        """InputError when the images are too small."""
        check_crop(self.crop, resolution)

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """What happens to each image: mirrored or not, pixels down and right: int64 [count,3]."""
        mirrored = torch.randint(1 + self.flip, (count, 1), generator=rng)
        moved = torch.randint(-self.crop, self.crop + 1, (count, 2), generator=rng)
        return torch.cat([mirrored, moved], dim=1)


OFF = Augment()


def changed(images: Tensor, drawn: Tensor) -> Tensor:
    """Every image shifted by its own numbers of pixels, then mirrored where its first says so.

    images: [B,C,H,W] of any type
    drawn:  of `Augment.draw`, on the same device; shifts smaller than H and W, [B,3]
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


def reflected(places: Tensor, size: int) -> Tensor:
    """Places up to size - 1 outside of 0..size-1, mirrored about the first and the last of these.

    >>> reflected(torch.tensor([-2, -1, 0, 3, 4, 5]), 4).tolist()
    [2, 1, 0, 3, 2, 1]
    """
    last = size - 1
    return last - (last - places.abs()).abs()
