"""The Frechet distance between Gaussians fitted to two sets of features.

d^2 = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))   (arXiv:1706.08500, eq. 6)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from triptych.metrics import Metric, NotDefinedError, Tensors, threads_for
from triptych.metrics.intervals import (
    JACKKNIFE,
    Estimate,
    LeftOut,
    extrapolated,
    group_numbers,
    jackknife,
)
from triptych.records import EXTRAPOLATED, Note


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

    def gaussian(self) -> Gaussian:
        """With this mean and the unbiased covariance."""
        mean = self.total / self.count
        covariance = (self.products - self.count * torch.outer(mean, mean)) / (self.count - 1)
        return Gaussian(mean, covariance)


@dataclass(frozen=True)
class Gaussian:
    """Mean [d] and covariance [d,d], float64."""

    mean: Tensor
    covariance: Tensor

    def root(self) -> Tensor:
        """R with R R^T = covariance, [d,d]."""
        factor, failed = torch.linalg.cholesky_ex(self.covariance)
        if not failed:
            return factor
        values, vectors = torch.linalg.eigh(self.covariance)  # singular: fewer images than features
        return vectors * values.clamp(min=0).sqrt()


def distance(first: Gaussian, second: Gaussian, root: Tensor | None = None) -> float:
    """Squared Frechet distance between two Gaussians.

    tr (S1 S2)^(1/2) is the sum of the roots of the eigenvalues of R1^T S2 R1 with R1 R1^T = S1,
    which is symmetric: no matrix root of a non-symmetric product, and singular covariances are
    fine.

    root: of the first covariance, where it is known
    """
    root = first.root() if root is None else root
    eigenvalues = torch.linalg.eigvalsh(root.T @ second.covariance @ root)
    cross = eigenvalues.clamp(min=0).sqrt().sum()
    traces = first.covariance.trace() + second.covariance.trace()
    return max(0.0, ((first.mean - second.mean).square().sum() + traces - 2 * cross).item())


def frechet_value(features: Tensor, reference: Tensor) -> float:
    """Distance between two sets of features [N,d] and [M,d], without an interval."""
    ours, theirs = (Moments.of(x).gaussian() for x in centered(features, reference))
    return distance(ours, theirs)


def centered(features: Tensor, reference: Tensor) -> list[Tensor]:
    """Both sets around the mean of the reference, float64.

    Distances do not change when both sets are moved; sums of squares lose fewer digits at zero.
    """
    centre = reference.double().mean(0)
    return [x.double() - centre for x in (features, reference)]


def frechet_distance(features: Tensor, reference: Tensor) -> Estimate:
    """Distance between two sets of features [N,d] and [M,d] with its interval.

    The interval is of the expected value at these counts: few samples bias the distance upwards,
    which its floor shows, and which `intervals.extrapolated` takes away.
    """
    sets = centered(features, reference)
    with threads_for(features.shape[1] ** 3):
        whole = [Moments.of(x) for x in sets]
        gaussians = [moments.gaussian() for moments in whole]
        left_out: list[list[float]] = []
        for x, moments, other in zip(sets, whole, reversed(gaussians), strict=True):
            group = group_numbers(len(x))
            root = other.root()  # of the side that stays as it is
            left_out.append(
                [
                    distance(other, moments.without(Moments.of(x[group == g])).gaussian(), root)
                    for g in range(int(group.max()) + 1)
                ]
            )
        by_side: LeftOut = {"samples": left_out[0], "reference": left_out[1]}
        return jackknife(distance(gaussians[0], gaussians[1]), by_side)


def enough_to_extrapolate(count: int, reference: Tensor) -> bool:
    """Whether so many samples and reference features [M,d] tell the limit of their distance.

    Tested down to twice as many images as features: there it is a tenth too low, the distance
    itself eight times too high.
    """
    return min(count, len(reference)) >= 2 * reference.shape[1]


shared = lru_cache(maxsize=1)(frechet_distance)  # by the distance and its limit


def limit(features: Tensor, reference: Tensor) -> Estimate:
    """The distance to infinitely many images; NotDefinedError where there are too few of them."""
    if not enough_to_extrapolate(len(features), reference):
        raise NotDefinedError(Note("few_to_extrapolate", {"n": len(features)}))
    return extrapolated(shared(features, reference))


def to_test(samples: Tensors, real: Tensors) -> tuple[Tensor, Tensor]:
    """The features of samples, or of others in their place, and of the test reference."""
    return samples["features"], real["test_features"]


METRICS = [
    Metric(
        name="frechet_distance",
        better="lower",
        group="distance",
        order=0,
        needs=("features", "test_features"),
        moves_with_n=True,
        method=JACKKNIFE,
        compute=lambda samples, real: shared(*to_test(samples, real)),
        floor=lambda others, real: frechet_value(*to_test(others, real)),
    ),
    Metric(
        name="frechet_distance",
        better="lower",
        group="distance",
        order=1,
        needs=("features", "test_features"),
        moves_with_n=True,
        method=EXTRAPOLATED,
        compute=lambda samples, real: limit(*to_test(samples, real)),
        floor=lambda others, real: limit(*to_test(others, real)).value,
    ),
    Metric(
        name="frechet_distance",
        better="lower",
        group="distance",
        order=4,
        needs=("features", "train_features", "matched_test_features"),
        reference="train",
        moves_with_n=True,
        method=JACKKNIFE,
        compute=lambda samples, real: frechet_distance(samples["features"], real["train_features"]),
        # Against the training images, test images are the other real ones.
        floor=lambda _, real: frechet_value(real["matched_test_features"], real["train_features"]),
    ),
]
