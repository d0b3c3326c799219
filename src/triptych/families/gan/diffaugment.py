"""Differentiable augmentation of all images that the discriminator sees (arXiv:2006.10738).

Real and fake images are augmented alike. The generator learns from gradients through the
augmentation. Its own images do not imitate it, as long as the augmentation can be undone in
distribution. Every image has its own random numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

NUMBERS = 7  # uniform ones for each image
SHIFT = 1 / 8  # of the side, at most, each way
HOLE = 1 / 2  # of the side


def augment(images: Tensor, chance: Tensor) -> Tensor:
    """Colour, then translation, then cutout (arXiv:2006.10738, section 4).

    images: [B,C,H,W], black is -1
    chance: uniform on [0, 1), [B,7]
    """
    numbers = chance.view(len(images), NUMBERS, 1, 1, 1).unbind(1)
    x = color(images, *numbers[:3])
    x = translate(x, chance[:, 3], chance[:, 4])
    return cut(x, chance[:, 5], chance[:, 6])


def color(x: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Brightness by -1/2 to 1/2, saturation by 0 to 2, contrast by 1/2 to 3/2."""
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + 2 * saturation * (x - grey)
    level = x.mean((1, 2, 3), keepdim=True)
    return level + (contrast + 0.5) * (x - level)


def translate(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Images [B,C,H,W] moved by whole pixels; pixels from outside are 0, as in the paper.

    A shift is a product with a matrix of zeros and ones: on CPUs this is faster than gathering.
    """
    return shifts(down, x.shape[2]).to(x.dtype) @ x @ shifts(right, x.shape[3]).to(x.dtype).mT


def shifts(chance: Tensor, side: int) -> Tensor:
    """[B] -> [B,1,side,side]: row i of the result is row i - shift of what it multiplies."""
    most = round(SHIFT * side)
    shift = (chance * (2 * most + 1)).floor() - most
    position = torch.arange(side, device=chance.device)
    return (position[:, None] - position == shift.view(-1, 1, 1, 1)).float()


def cut(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Images [B,C,H,W] with a square of 0, half as wide as the image, anywhere in it."""
    rows, columns = outside(down, x.shape[2]), outside(right, x.shape[3])
    keep = rows[:, None, :, None] | columns[:, None, None, :]
    return x * keep.to(x.dtype)


def outside(chance: Tensor, side: int) -> Tensor:
    """[B] -> [B,side]: which rows (or columns) lie outside the square of 0, bool."""
    hole = round(HOLE * side)
    first = (chance * (side + 1)).floor()[:, None] - hole // 2
    position = torch.arange(side, device=chance.device)
    return (position < first) | (position >= first + hole)
