"""A plain convolutional generator and critic without batch statistics.

What a network says of an image does not depend on its neighbours.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from triptych.nn.blocks import DoublingConvolution
from triptych.nn.convnets import LEAK
from triptych.nn.dcgan import stage_widths


class ConvolutionalCritic(nn.Module):
    """Halving convolutions (as arXiv:1802.05957, table 3): [B,C,H,W] -> score [B].

    classes: where it is told the labels, by a projection (arXiv:1802.05637, eq. 3)
    """

    def __init__(
        self, channels: int, resolution: int, width: int, classes: int | None = None
    ) -> None:
        super().__init__()
        widths = stage_widths(resolution, width)[::-1]
        stages: list[nn.Module] = []
        for inputs, outputs in pairwise((channels, *widths)):
            stages += [
                self.constrained(nn.Conv2d(inputs, outputs, 4, 2, 1)),
                nn.LeakyReLU(LEAK),
            ]
        stages += [
            self.constrained(nn.Conv2d(widths[-1], widths[-1], 3, 1, 1)),
            nn.LeakyReLU(LEAK),
            nn.Flatten(),
        ]
        self.stages = nn.Sequential(*stages)
        self.head = self.constrained(nn.Linear(widths[-1] * 16, 1))
        self.label = None
        if classes is not None:
            self.label = self.constrained(nn.Linear(classes + 1, widths[-1] * 16, bias=False))

    def constrained(self, layer: nn.Conv2d | nn.Linear) -> nn.Module:
        """The layer as it is used; here free."""
        return layer

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """[B,C,H,W], shares of the classes [B,classes+1] -> [B]."""
        features = self.stages(x)
        score = self.head(features).flatten()
        if self.label is None or labels is None:
            return score
        return score + (self.label(labels) * features).sum(1)


class PixelNorm(nn.Module):
    """Divide each pixel's features by their root mean square (arXiv:1710.10196, 4.2)."""

    def forward(self, x: Tensor) -> Tensor:
        """[B,C,H,W] -> the same."""
        return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-8)


class UpsamplingGenerator(nn.Module):
    """Nearest doubling, 3x3 convolutions, PixelNorm; Tanh at the end: z [B,D] -> [B,C,H,W].

    classes: where it is told the labels, by more numbers beside z (arXiv:1411.1784)
    """

    def __init__(
        self,
        latent: int,
        channels: int,
        resolution: int,
        width: int,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        widths = stage_widths(resolution, width)
        self.label = None if classes is None else nn.Linear(classes + 1, latent, bias=False)
        stages: list[nn.Module] = [
            nn.Linear(latent if classes is None else 2 * latent, widths[0] * 16),
            nn.Unflatten(1, (widths[0], 4, 4)),
            PixelNorm(),
            nn.LeakyReLU(LEAK),
        ]
        for inputs, outputs in pairwise(widths):
            stages += [
                nn.Identity(),  # weights keep the names that they have in saved runs
                DoublingConvolution(inputs, outputs),
                PixelNorm(),
                nn.LeakyReLU(LEAK),
            ]
        stages += [nn.Identity(), DoublingConvolution(widths[-1], channels), nn.Tanh()]
        self.stages = nn.Sequential(*stages)

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """z [B,D], shares of the classes [B,classes+1] -> [B,C,H,W] on [-1, 1]."""
        if self.label is not None and labels is not None:
            z = torch.cat([z, self.label(labels)], dim=1)
        return self.stages(z)
