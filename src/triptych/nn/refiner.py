"""A generator that begins at the mixture in closed form and learns what it leaves out.

    image = tanh(atanh(linear) + network(linear, z, group)),   linear = mixture(z, group)

The network is a small U-Net on patches. Its last layer is zero at first, so training begins at the
mixture's own images, which have the right mean and covariance in each group; a GAN of this size
needs tens of thousands of images to find them.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.nn.blocks import DoublingConvolution
from triptych.nn.convgan import PixelNorm
from triptych.nn.convnets import LEAK
from triptych.nn.mppca import MPPCA
from triptych.nn.unet import zero

PATCH = 2  # side of the squares that become channels
SIDE = 8  # of the coarsest picture, where z and the group enter
LARGEST = 0.98  # of the linear image's values: atanh has no end at 1


def stage(layer: nn.Conv2d) -> nn.Sequential:
    """A convolution, PixelNorm, LeakyReLU."""
    return nn.Sequential(layer, PixelNorm(), nn.LeakyReLU(LEAK))


class RefiningGenerator(nn.Module):
    """z [B,D], shares of the groups [B,K+1] or nothing -> image [B,C,H,W] on [-1, 1].

    mixture: of images [C,H,W], with K groups and rank D
    width:   channels of the finest picture; each coarser one has twice as many
    groups:  K, or None for a generator that is told no groups
    """

    def __init__(self, mixture: MPPCA, width: int, groups: int | None = None) -> None:
        super().__init__()
        self.mixture = mixture
        channels, resolution, _ = mixture.size
        latent = mixture.basis.shape[1]
        sides = [resolution // PATCH]
        while sides[-1] > SIDE:
            sides.append(sides[-1] // 2)
        widths = [width * 2**i for i in range(len(sides))]
        self.bottom = widths[-1], sides[-1], sides[-1]
        inside = widths[-1] * sides[-1] ** 2
        self.stem = stage(nn.Conv2d(channels * PATCH**2, width, 3, padding=1))
        self.halve = nn.ModuleList(
            stage(nn.Conv2d(a, b, 4, stride=2, padding=1)) for a, b in pairwise(widths)
        )
        self.latent = nn.Linear(latent, inside)
        self.label = None if groups is None else nn.Linear(groups + 1, inside, bias=False)
        self.middle = stage(nn.Conv2d(widths[-1], widths[-1], 3, padding=1))
        self.enlarge = nn.ModuleList(
            stage(DoublingConvolution(b, a)) for b, a in pairwise(reversed(widths))
        )
        self.join = nn.ModuleList(
            stage(nn.Conv2d(a, a, 3, padding=1)) for a in reversed(widths[:-1])
        )
        # No pixel shuffle: what each place in a patch learns by itself shows as a grid of dots.
        self.head = zero(DoublingConvolution(width, channels))

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """The mixture's image, refined: [B,C,H,W]; where no labels are given, of all groups."""
        linear = self.mixture(z, self.weights(labels, z)).clamp(-LARGEST, LARGEST)
        return torch.tanh(torch.atanh(linear) + self.refine(linear, z, labels))

    def refine(self, linear: Tensor, z: Tensor, labels: Tensor | None) -> Tensor:
        """What is added to the linear image's atanh: [B,C,H,W]."""
        h = self.stem(F.pixel_unshuffle(linear, PATCH))
        skips = []
        for halve in self.halve:
            skips.append(h)
            h = halve(h)
        condition = self.latent(z)
        if self.label is not None and labels is not None:
            condition = condition + self.label(labels.to(z.dtype))
        h = self.middle(h + condition.view(-1, *self.bottom))
        for enlarge, join in zip(self.enlarge, self.join, strict=True):
            h = join(enlarge(h) + skips.pop())
        return self.head(h)

    def encode(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """z [N,D] of images [N,C,H,W] by the mixture alone, exact as long as the head is zero.

        Only for images in the mixture's basis, and where nothing is clamped.
        """
        return self.mixture.encode(x, self.weights(labels, x))

    def weights(self, labels: Tensor | None, like: Tensor) -> Tensor:
        """The shares of the groups as the mixture takes them: by default all groups together."""
        return (self.mixture.unknown(like) if labels is None else labels).to(like.dtype)
