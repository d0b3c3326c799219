"""The Frechet distance between Gaussians fitted to two sets of features.

d^2 = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))   (arXiv:1706.08500, eq. 6)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from triptych.evaluation.intervals import Estimate, group_numbers, jackknife


@dataclass(frozen=True)
class Moments:
    """Sums from which mean and covariance follow, so that groups can be left out cheaply.

    count: N;  total: sum of x [d];  products: sum of x x^T [d,d];  all float64
    """

    count: int
    total: Tensor
    products: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """features [N,d]."""
        x = features.double()
        return cls(len(x), x.sum(0), x.T @ x)

    def without(self, other: Moments) -> Moments:
        """The moments of the images that `other` does not hold."""
        return Moments(
            self.count - other.count, self.total - other.total, self.products - other.products
        )

    def mean(self) -> Tensor:
        """[d]."""
        return self.total / self.count

    def covariance(self) -> Tensor:
        """Unbiased, [d,d]."""
        mean = self.mean()
        return (self.products - self.count * torch.outer(mean, mean)) / (self.count - 1)


def gaussian_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> float:
    """Squared Frechet distance between two Gaussians, float64.

    tr (S1 S2)^(1/2) is the sum of the roots of the eigenvalues of S1^(1/2) S2 S1^(1/2), which
    is symmetric: no matrix root of a non-symmetric product, and singular covariances are fine.
    """
    values, vectors = torch.linalg.eigh(cov1)
    root = vectors * values.clamp(min=0).sqrt()  # S1 = root root^T
    eigenvalues = torch.linalg.eigvalsh(root.T @ cov2 @ root)
    cross = eigenvalues.clamp(min=0).sqrt().sum()
    distance = (mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * cross
    return max(0.0, distance.item())


def distance(first: Moments, second: Moments) -> float:
    """Squared Frechet distance between the Gaussians with these moments."""
    return gaussian_distance(first.mean(), first.covariance(), second.mean(), second.covariance())


def frechet_distance(features: Tensor, reference: Tensor) -> Estimate:
    """Distance between two sets of features [N,d] and [M,d] with its interval.

    The interval is of the expected value at these counts: few samples bias the distance upwards,
    which its floor shows.
    """
    sets = [features.double(), reference.double()]
    whole = [Moments.of(x) for x in sets]
    left_out: list[list[float]] = []
    for which, x in enumerate(sets):
        group = group_numbers(len(x))
        other = whole[1 - which]
        left_out.append(
            [
                distance(whole[which].without(Moments.of(x[group == g])), other)
                for g in range(int(group.max()) + 1)
            ]
        )
    return jackknife(distance(*whole), left_out)
