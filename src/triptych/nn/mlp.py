"""Small networks for points of the plane, which are images of one pixel with two channels."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.nn.unet import LevelEmbedding, zero

LEVEL_WIDTH = 32  # features of the noise level


def layers(inputs: int, width: int, depth: int) -> list[nn.Module]:
    """So many linear layers of a width, each with SiLU after it."""
    widths = [inputs, *[width] * depth]
    return [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.SiLU())]


def point_features(width: int, depth: int) -> nn.Sequential:
    """[B,2,1,1] -> [B,width]."""
    return nn.Sequential(nn.Flatten(), *layers(2, width, depth))


def point_decoder(latent: int, width: int, depth: int) -> nn.Sequential:
    """z [B,D] -> [B,2,1,1]."""
    last = nn.Linear(width, 2)
    return nn.Sequential(*layers(latent, width, depth), last, nn.Unflatten(1, (2, 1, 1)))


class PointScore(nn.Module):
    """[B,2,1,1] -> [B]: one number for each point."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.stages = nn.Sequential(point_features(width, depth), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """x [B,2,1,1] -> [B]."""
        score: Tensor = self.stages(x)
        return score[:, 0]


class PointDenoisingNetwork(nn.Module):
    """(x [B,2,1,1], noise level [B]) -> [B,2,1,1]: residual layers, each shifted by the level."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.embed = LevelEmbedding(LEVEL_WIDTH)
        self.stem = nn.Linear(2, width)
        self.inner = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.shifts = nn.ModuleList(nn.Linear(LEVEL_WIDTH, width) for _ in range(depth))
        self.head = zero(nn.Linear(width, 2))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """x [B,2,1,1], level [B] -> [B,2,1,1]."""
        return self.head(F.silu(self.features(x, level)))[:, :, None, None]

    def features(self, x: Tensor, level: Tensor) -> Tensor:
        """What the last layer reads, [B,width]."""
        embedding = self.embed(level)
        h = self.stem(torch.flatten(x, 1))
        for inner, shift in zip(self.inner, self.shifts, strict=True):
            h = h + inner(F.silu(h + shift(embedding)))
        return h
