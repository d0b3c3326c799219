"""A critic whose layers are 1-Lipschitz by spectral normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from triptych.nn.convgan import ConvolutionalCritic

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


class SpectralCritic(ConvolutionalCritic):
    """All layers of unit spectral norm (arXiv:1802.05957, table 3): [B,C,H,W] -> score [B]."""

    def constrained(self, layer: nn.Conv2d | nn.Linear) -> nn.Module:
        """The layer with its weight kept at spectral norm 1."""
        return spectral_norm(layer)
