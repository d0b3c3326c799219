"""A critic whose layers are 1-Lipschitz by spectral normalisation, and a generator to match.

No batch statistics: what a network says of an image does not depend on its neighbours.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from triptych.nn.blocks import Upsample
from triptych.nn.convnets import LEAK
from triptych.nn.dcgan import stage_widths


class SpectralCritic(nn.Module):
    """Convolutions of unit spectral norm (arXiv:1802.05957, table 3): [B,C,H,W] -> score [B]."""

    def __init__(self, channels: int, resolution: int, width: int) -> None:
        super().__init__()
        widths = stage_widths(resolution, width)[::-1]
        stages: list[nn.Module] = []
        for inputs, outputs in pairwise((channels, *widths)):
            stages += [
                spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1)),
                nn.LeakyReLU(LEAK),
            ]
        stages += [
            spectral_norm(nn.Conv2d(widths[-1], widths[-1], 3, 1, 1)),
            nn.LeakyReLU(LEAK),
            nn.Flatten(),
        ]
        self.stages = nn.Sequential(*stages)
        self.head = spectral_norm(nn.Linear(widths[-1] * 16, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> [B]."""
        return self.head(self.stages(x)).flatten()


class PixelNorm(nn.Module):
    """Divide each pixel's features by their root mean square (arXiv:1710.10196, 4.2)."""

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> the same."""
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


class UpsamplingGenerator(nn.Module):
    """Nearest doubling, 3x3 convolutions, PixelNorm; Tanh at the end: z [B,D] -> [B,C,H,W]."""

    def __init__(self, latent: int, channels: int, resolution: int, width: int) -> None:
        super().__init__()
        widths = stage_widths(resolution, width)
        stages: list[nn.Module] = [
            nn.Linear(latent, widths[0] * 16),
            nn.Unflatten(1, (widths[0], 4, 4)),
            PixelNorm(),
            nn.LeakyReLU(LEAK),
        ]
        for inputs, outputs in pairwise(widths):
            stages += [
                Upsample(),
                nn.Conv2d(inputs, outputs, 3, padding=1),
                PixelNorm(),
                nn.LeakyReLU(LEAK),
            ]
        stages += [Upsample(), nn.Conv2d(widths[-1], channels, 3, padding=1), nn.Tanh()]
        self.stages = nn.Sequential(*stages)

    def forward(self, z: Tensor) -> Tensor:
        """z [B,D] -> [B,C,H,W] on [-1, 1]."""
        return self.stages(z)
