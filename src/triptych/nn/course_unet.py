"""The U-Net of the course practical: 8.1 M parameters, attention at every level.

Full attention in the middle, linear attention elsewhere; 4x4 stride-2 (transposed)
convolutions between levels; base width 32 and multipliers (1, 2, 4, 8).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from triptych.nn.blocks import (
    LinearAttention,
    SelfAttention,
    SinusoidalEmbedding,
    TimeResidualBlock,
    by_regions,
)


class CourseUNet(nn.Module):
    """Noise predictor of the course DDPM: (x [B,C,H,W], t [B]) -> [B,C,H,W]."""

    def __init__(
        self, channels: int, width: int = 32, multipliers: tuple[int, ...] = (1, 2, 4, 8)
    ) -> None:
        super().__init__()
        embedding = 4 * width
        self.stem = nn.Conv2d(channels, width // 3 * 2, 7, padding=3)
        self.time = nn.Sequential(
            SinusoidalEmbedding(width),
            nn.Linear(width, embedding),
            nn.GELU(),
            nn.Linear(embedding, embedding),
        )
        widths = [width // 3 * 2, *(width * m for m in multipliers)]
        levels = list(pairwise(widths))
        self.down = nn.ModuleList(
            DownLevel(inputs, outputs, embedding, last=outputs == widths[-1])
            for inputs, outputs in levels
        )
        middle = widths[-1]
        self.middle_first = TimeResidualBlock(middle, middle, embedding)
        self.middle_attention = SelfAttention(middle)
        self.middle_second = TimeResidualBlock(middle, middle, embedding)
        self.up = nn.ModuleList(
            UpLevel(outputs, inputs, embedding) for inputs, outputs in reversed(levels[1:])
        )
        self.head = nn.Sequential(
            TimeResidualBlock(width, width, None), nn.Conv2d(width, channels, 1)
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x [B,C,H,W], t [B] in 0..T-1 -> predicted noise [B,C,H,W]."""
        return self.head(self.states(x, t)[-1])

    def features(self, x: Tensor, t: Tensor) -> Tensor:
        """Of the last level but one on the way up, by regions: [B,F].

        As of the other U-Net, of which a linear probe reads most there (arXiv:2303.09769).
        """
        return by_regions(self.states(x, t)[-2])

    def states(self, x: Tensor, t: Tensor) -> list[Tensor]:
        """The outputs of the middle and of each upward level, the finest last."""
        embedding = self.time(t)
        x = self.stem(x)
        skips = []
        for level in self.down:
            x, skip = level(x, embedding)
            skips.append(skip)
        x = self.middle_first(x, embedding)
        x = self.middle_second(self.middle_attention(x), embedding)
        states = [x]
        for level in self.up:
            x = level(torch.cat([x, skips.pop()], dim=1), embedding)
            states.append(x)
        return states


class DownLevel(nn.Module):
    """Two residual blocks, attention, halving; also returns the skip for the upward level."""

    def __init__(self, inputs: int, outputs: int, embedding: int, last: bool) -> None:
        super().__init__()
        self.first = TimeResidualBlock(inputs, outputs, embedding)
        self.second = TimeResidualBlock(outputs, outputs, embedding)
        self.attention = LinearAttention(outputs)
        self.halve = nn.Identity() if last else nn.Conv2d(outputs, outputs, 4, 2, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> tuple[Tensor, Tensor]:
        """[B,C,H,W] -> ([B,C',H/2,W/2], skip [B,C',H,W])."""
        x = self.attention(self.second(self.first(x, embedding), embedding))
        return self.halve(x), x


class UpLevel(nn.Module):
    """Two residual blocks on the joined input, attention, doubling."""

    def __init__(self, inputs: int, outputs: int, embedding: int) -> None:
        super().__init__()
        self.first = TimeResidualBlock(2 * inputs, outputs, embedding)
        self.second = TimeResidualBlock(outputs, outputs, embedding)
        self.attention = LinearAttention(outputs)
        self.enlarge = nn.ConvTranspose2d(outputs, outputs, 4, 2, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """[B,2C,H,W] -> [B,C',2H,2W]."""
        x = self.attention(self.second(self.first(x, embedding), embedding))
        return self.enlarge(x)
