"""The condition of a network: the class of an image, or a group found among unlabelled images.

An unconditional model must learn which classes there are before it can draw any of them well. A
conditional one learns each class by itself, and classifier-free guidance can strengthen it. Where
there are no labels, k-means finds groups of images that look alike (arXiv:2210.06462).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.config import ImageShape
from triptych.families.labels import class_shares
from triptych.images import to_float, to_float64
from triptych.nn.mppca import MPPCA
from triptych.seeding import ImageStreams, generator

SIDE = 16  # of the small grey pictures by which images are compared
LEAST = 40  # images in a group, on average: with fewer the group would identify the image
ROUNDS = 15  # of k-means
CHUNK = 500  # images described at once
DIRECT = 25  # groups at most, whose distances are taken without a product of matrices


@dataclass(frozen=True)
class Classes:
    """The condition is the label of the data. count: of the classes."""

    count: int

    def of(self, images: Tensor, labels: Tensor | None) -> Tensor | None:
        """The condition of images [N,C,H,W]: their labels [N] as they are."""
        return labels

    def draw(self, rng: ImageStreams, labels: Tensor | None) -> Tensor | None:
        """The condition of samples: the labels [N] that were asked for."""
        return labels


class Groups(nn.Module):
    """The condition is one of at most `count` groups, found by `find`.

    Before `find` there are no groups: every image's group is unknown, number `count`.
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
        """Find the groups of images [N,C,H,W]: k-means (Lloyd 1982) from k-means++ (2007)."""
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
        """[N,C,H,W] -> [N,D]: small grey pictures of mean 0 and length 1, whatever the scale."""
        grey = images.to(self.centres.dtype).mean(1, keepdim=True)
        small = F.adaptive_avg_pool2d(grey, self.side).flatten(1)
        return F.normalize(small - small.mean(1, keepdim=True), dim=1)

    @staticmethod
    def far_apart(x: Tensor, count: int, rng: torch.Generator) -> Tensor:
        """Rows of x [N,D], drawn by their squared distance to earlier ones: [count,D]."""
        row = int(torch.randint(len(x), (), generator=rng))
        rows, apart = [row], torch.full((len(x),), torch.inf, device=x.device)
        for _ in range(count - 1):
            apart = torch.minimum(apart, (x - x[rows[-1]]).square().sum(1))
            ends = to_float64(apart).cumsum(0)
            target = torch.rand((), generator=rng, dtype=torch.float64).to(ends) * ends[-1]
            rows.append(int(torch.searchsorted(ends, target).clamp(max=len(x) - 1)))
        return x[rows]

    def of(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The number of each image's group, [N]; images [N,C,H,W]."""
        occupied = self.counts > 0
        # torch's own choice, but by the groups alone: a program for any number of images keeps it.
        way = "use_mm" if self.count > DIRECT else "donot_use_mm"
        distances = torch.cdist(
            self.described(images), self.centres, compute_mode=f"{way}_for_euclid_dist"
        )
        nearest = distances.where(occupied, torch.inf).argmin(1)
        return nearest.where(occupied.any(), self.count)

    def draw(self, rng: ImageStreams, labels: Tensor | None = None) -> Tensor:
        """A random group for every stream, with the frequencies of the training images: [N]."""
        ends = to_float64(self.counts.cumsum(0))
        places = to_float64(rng.uniform()) * ends[-1]
        return torch.searchsorted(ends, places, right=True).to(self.counts.device)

    def neg_log_prior(self, numbers: Tensor) -> Tensor:
        """-log of the frequencies of these groups [N]; 0 for the unknown one: nats, float64 [N]."""
        shares = to_float64(self.counts) / self.counts.sum().clamp(min=1)
        return -shares.log()[numbers.clamp(max=self.count - 1)].where(numbers < self.count, 0.0)


Conditioning = Classes | Groups


def make_conditioning(shape: ImageShape, groups: int) -> Conditioning | None:
    """The data's classes for a conditional model, else so many groups, else None."""
    if shape.classes is not None:
        return Classes(shape.classes)
    return Groups(groups, shape.resolution) if groups else None


def make_mixture(shape: ImageShape, conditioning: Conditioning | None, rank: int) -> MPPCA:
    """A mixture over the conditions, to be fitted by `fit_before_training`."""
    return MPPCA(shape.size, 1 if conditioning is None else conditioning.count, rank)


def fit_before_training(
    conditioning: Conditioning | None,
    mixture: MPPCA | None,
    images: Tensor,
    seed: int,
    labels: Tensor | None = None,
) -> Tensor | None:
    """Find the groups, where the condition is a group, and the mixture, where there is one.

    Returns the conditions of the images, [N]; None where there are none.

    images: uint8 [N,C,H,W]
    labels: their class numbers [N], where the data have labels
    """
    if isinstance(conditioning, Groups):
        conditioning.find(images, seed)
    numbers = None if conditioning is None else conditioning.of(images, labels)
    if mixture is not None:
        groups = torch.zeros(len(images), dtype=torch.int64) if numbers is None else numbers
        mixture.fit(to_float(images), groups, generator(seed, "mixture"))
    return numbers


def condition_shares(
    conditioning: Conditioning | None, numbers: Tensor | None, like: Tensor
) -> Tensor | None:
    """The network's second input, [N,classes+1]; None where it is unconditional.

    numbers: of classes or groups, [N]; None where all are unknown
    like:    a tensor [N, ...] of the wanted type and device
    """
    count = None if conditioning is None else conditioning.count
    shares = class_shares(numbers, count, like.shape[0], like.device)
    return None if shares is None else shares.to(like.dtype)
