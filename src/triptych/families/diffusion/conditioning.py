"""What kind of image a network is told it looks at: a class that has a name, or a found group.

A model of all images at once must learn what kinds there are before it can draw any well. Told
of which kind an image is, it learns each by itself, and its samples can be led away from what all
kinds share. Where nobody has named any, k-means finds groups that look alike (arXiv:2210.06462).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.families.labels import class_shares
from triptych.seeding import ImageStreams, generator

SIDE = 16  # of the small grey pictures by which images are compared
LEAST = 40  # of them in a group, on average: fewer would tell the network the image itself
ROUNDS = 15  # of k-means
CHUNK = 500  # images described at once


@dataclass(frozen=True)
class Classes:
    """The labels of the data."""

    count: int

    def of(self, images: Tensor, labels: Tensor | None) -> Tensor | None:
        """What is known of the images [N,C,H,W]: their labels [N]."""
        return labels

    def draw(self, rng: ImageStreams, labels: Tensor | None) -> Tensor | None:
        """The classes that were asked for, [N]."""
        return labels


class Groups(nn.Module):
    """Which of at most `count` groups an image belongs to, and how often each occurs.

    Before `find` has been called there are none: every image's group is unknown.
    """

    def __init__(self, count: int, resolution: int) -> None:
        super().__init__()
        self.count = count
        self.side = min(SIDE, resolution)
        self.register_buffer("centres", torch.zeros(count, self.side**2))
        self.register_buffer("counts", torch.zeros(count, dtype=torch.int64))
        self.centres: Tensor
        self.counts: Tensor

    def find(self, images: Tensor, seed: int) -> None:
        """k-means (Lloyd 1982) of images [N,C,H,W], from centres far apart (k-means++, 2007)."""
        x = torch.cat([self.described(part) for part in torch.split(images, CHUNK)])
        count = max(1, min(self.count, len(x) // LEAST))
        centres = self.far_apart(x, count, generator(seed, "groups"))
        for _ in range(ROUNDS):
            nearest = torch.cdist(x, centres).argmin(1)
            sums = torch.zeros_like(centres).index_add_(0, nearest, x)
            sizes = torch.bincount(nearest, minlength=count)[:, None]
            centres = torch.where(sizes > 0, sums / sizes.clamp(min=1), centres)
        self.centres[:count] = centres
        self.counts[:count] = torch.bincount(torch.cdist(x, centres).argmin(1), minlength=count)

    def described(self, images: Tensor) -> Tensor:
        """Small grey pictures without brightness or contrast, of any scale: [N,C,H,W] -> [N,D]."""
        grey = images.to(self.centres.dtype).mean(1, keepdim=True)
        small = F.adaptive_avg_pool2d(grey, self.side).flatten(1)
        return F.normalize(small - small.mean(1, keepdim=True), dim=1)

    @staticmethod
    def far_apart(x: Tensor, count: int, rng: torch.Generator) -> Tensor:
        """Rows of x, each drawn by its squared distance to those before: [count,D]."""
        row = int(torch.randint(len(x), (), generator=rng))
        rows, apart = [row], torch.full((len(x),), torch.inf, device=x.device)
        for _ in range(count - 1):
            apart = torch.minimum(apart, (x - x[rows[-1]]).square().sum(1))
            ends = apart.double().cumsum(0)
            target = torch.rand((), generator=rng, dtype=torch.float64).to(ends) * ends[-1]
            rows.append(int(torch.searchsorted(ends, target).clamp(max=len(x) - 1)))
        return x[rows]

    def of(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The group of each image [N,C,H,W], or the number after the last while none are known."""
        occupied = self.counts > 0
        distances = torch.cdist(self.described(images), self.centres)
        nearest = distances.where(occupied, torch.inf).argmin(1)
        return nearest.where(occupied.any(), self.count)

    def draw(self, rng: ImageStreams, labels: Tensor | None = None) -> Tensor:
        """A group for every stream, as often as each occurs: [N]."""
        ends = self.counts.cumsum(0).double()
        places = rng.uniform().to(ends) * ends[-1]
        return torch.searchsorted(ends, places, right=True)

    def neg_log_prior(self, numbers: Tensor) -> Tensor:
        """-log of how often each of these groups occurs, nats, float64: [N]."""
        shares = self.counts.double() / self.counts.sum().clamp(min=1)
        return -shares.log()[numbers.clamp(max=self.count - 1)].where(numbers < self.count, 0.0)


Conditioning = Classes | Groups


def shares_of(kinds: Conditioning | None, numbers: Tensor | None, like: Tensor) -> Tensor | None:
    """Kinds [N] as the network is told them, [N,kinds+1]; None where it is told none.

    numbers: None where the kind of none of them is known
    like:    of its type and device, [N, ...]
    """
    shares = class_shares(numbers, None if kinds is None else kinds.count, len(like), like.device)
    return None if shares is None else shares.to(like.dtype)
