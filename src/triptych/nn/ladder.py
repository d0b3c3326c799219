"""The layers of a ladder VAE: a bottom-up encoder and a top-down decoder.

Pictures are [B,C,H,W]; a level is all blocks at one resolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.nn.blocks import DoublingConvolution


class Bottleneck(nn.Module):
    """SiLU, convolution, SiLU, 1x1 convolution: [B,C,H,W] -> [B,C',H,W].

    The first convolution is 3x3, or 1x1 where the picture is a single pixel.
    scale: factor of the last layer's initial weights
    """

    def __init__(
        self, inputs: int, inner: int, outputs: int, side: int, scale: float = 1.0
    ) -> None:
        super().__init__()
        kernel = 1 if side == 1 else 3
        last = nn.Conv2d(inner, outputs, 1)
        with torch.no_grad():
            last.weight.mul_(scale)
        self.first = nn.Conv2d(inputs, inner, kernel, padding=kernel // 2)
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,C',H,W]."""
        return self.last(F.silu(self.first(F.silu(x))))


class Residual(Bottleneck):
    """x + bottleneck(x)."""

    def __init__(self, width: int, inner: int, side: int, scale: float) -> None:
        super().__init__(width, inner, width, side, scale)

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> the same."""
        return x + super().forward(x)


def shrink(inputs: int, outputs: int, side: int, to: int) -> nn.Conv2d:
    """A convolution that halves a picture's side, or reduces it to a single pixel (to = 1)."""
    if to == 1:
        return nn.Conv2d(inputs, outputs, side)
    return nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)


class Grow(nn.Module):
    """SiLU, then a linear map from one pixel to a picture, or a picture's doubling.

    [B,C,side,side] -> [B,C',to,to]
    """

    def __init__(self, inputs: int, outputs: int, side: int, to: int) -> None:
        super().__init__()
        self.change = (
            nn.ConvTranspose2d(inputs, outputs, to)
            if side == 1
            else DoublingConvolution(inputs, outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,side,side] -> [B,C',to,to]."""
        return self.change(F.silu(x))


class Start(nn.Module):
    """Adds learned features, the same for all images, to a single pixel: [B,C,1,1]."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.picture = nn.Parameter(torch.zeros(outputs, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,1,1] -> the same."""
        return x + self.picture
