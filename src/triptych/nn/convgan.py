"""A plain convolutional generator and discriminator, and a 1-Lipschitz discriminator.

They have no batch statistics: the output for an image does not depend on the rest of the batch.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from triptych.nn.blocks import DoublingConvolution
from triptych.nn.convnets import LEAK
from triptych.nn.dcgan import stage_widths

FIRST_ITERATIONS = 15  # bring random vectors near the singular ones


class SpectralNorm(nn.Module):
    """W / sigma(W), sigma the largest singular value of W as [out, in * area].

    sigma = left^T W right, by power iteration (arXiv:1802.05957, eq. 8 and Algorithm 1). The
    vectors move in `iterate` alone, so that what a step computes does not depend on how often
    the network is called in it.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        self.register_buffer("left", F.normalize(torch.randn(matrix.shape[0]), dim=0))
        self.register_buffer("right", F.normalize(torch.randn(matrix.shape[1]), dim=0))
        self.left: Tensor
        self.right: Tensor
        for _ in range(FIRST_ITERATIONS):
            self.iterate(weight)

    @torch.no_grad()
    def iterate(self, weight: Tensor) -> None:
        """One power iteration."""
        matrix = weight.flatten(1)
        self.left.copy_(F.normalize(matrix @ self.right, dim=0))
        self.right.copy_(F.normalize(matrix.mT @ self.left, dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with spectral norm 1; elementwise, so autocast leaves it in full precision.

        Averaged vectors are shorter than 1.
        """
        sigma = (self.left[:, None] * weight.flatten(1) * self.right).sum()
        return weight * (self.left.norm() * self.right.norm() / sigma)


def spectral_norm(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """The layer with its weight kept at spectral norm 1."""
    return parametrize.register_parametrization(layer, "weight", SpectralNorm(layer.weight))


def iterate_spectral_norms(network: nn.Module) -> None:
    """One power iteration of every layer that has one."""
    for module in network.modules():
        if isinstance(module, parametrize.ParametrizationList) and isinstance(
            module[0], SpectralNorm
        ):
            module[0].iterate(module.original)


class ConvolutionalDiscriminator(nn.Module):
    """Halving convolutions (as arXiv:1802.05957, table 3): [B,C,H,W] -> score [B].

    classes: for a conditional network, by a projection (arXiv:1802.05637, eq. 3)
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
        """The layer as the network uses it; here unconstrained."""
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

    classes: for a conditional network, by D further inputs beside z (arXiv:1411.1784)
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


class SpectralDiscriminator(ConvolutionalDiscriminator):
    """All layers of unit spectral norm (arXiv:1802.05957, table 3): [B,C,H,W] -> score [B]."""

    def constrained(self, layer: nn.Conv2d | nn.Linear) -> nn.Module:
        """The layer with its weight kept at spectral norm 1."""
        return spectral_norm(layer)
