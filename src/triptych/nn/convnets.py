"""Plain convolutional encoders, decoders and discriminators, with one norm or another.

Every stage halves or doubles the picture, so a resolution of 2^k has k-2 stages above 4x4.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from triptych.nn.blocks import DoublingConvolution, GroupNorm

Norm = Literal["batch", "group", "none"]
LEAK = 0.2  # slope of LeakyReLU below zero


def normalize(norm: Norm, channels: int) -> nn.Module:
    """The norm layer for so many channels."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "group":
        return GroupNorm(min(8, channels // 4), channels)
    return nn.Identity()


class StridedEncoder(nn.Module):
    """4x4 stride-2 convolutions, LeakyReLU, then the norm; flattened: [B,C,H,W] -> [B,F]."""

    def __init__(self, channels: int, resolution: int, widths: tuple[int, ...], norm: Norm) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for inputs, outputs in pairwise((channels, *widths)):
            stages += [
                nn.Conv2d(inputs, outputs, 4, stride=2, padding=1),
                nn.LeakyReLU(LEAK),
                normalize(norm, outputs),
            ]
        self.stages = nn.Sequential(*stages, nn.Flatten())
        self.features = widths[-1] * (resolution >> len(widths)) ** 2  # F

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B,F]."""
        return self.stages(x)


class UpsamplingDecoder(nn.Module):
    """A linear layer, then nearest doubling and 3x3 convolutions: z [B,D] -> [B,C,H,W].

    widths: channels from the smallest picture upwards; nothing squashes the output.
    """

    def __init__(
        self, latent: int, channels: int, resolution: int, widths: tuple[int, ...]
    ) -> None:
        super().__init__()
        side = resolution >> len(widths)
        stages: list[nn.Module] = [
            nn.Linear(latent, widths[0] * side**2),
            nn.ReLU(),
            nn.Unflatten(1, (widths[0], side, side)),
        ]
        for inputs, outputs in pairwise(widths):
            stages += [
                nn.Identity(),  # weights keep the names that they have in saved runs
                DoublingConvolution(inputs, outputs),
                nn.LeakyReLU(LEAK),
            ]
        stages += [nn.Identity(), DoublingConvolution(widths[-1], channels)]
        self.stages = nn.Sequential(*stages)

    def forward(self, z: Tensor) -> Tensor:
        """z [B,D] -> [B,C,H,W]."""
        return self.stages(z)
