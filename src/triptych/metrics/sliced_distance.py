"""The sliced distance: how far two sets of features are apart along many directions.

W^2 = mean over directions u of the integral over t in [0, 1] of (F^-1(t) - G^-1(t))^2

F and G are the distributions of u.x and u.y, of which F^-1 and G^-1 are the quantile functions: so
each term is the squared Wasserstein distance in one dimension. The directions are unit vectors,
drawn once and the same for everything. This is MIND (arXiv:2605.06797) without its constant factor
of three times the number of features. No Gaussian is fitted, so sets of equal means and
covariances are told apart.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from triptych.metrics import Metric
from triptych.metrics.intervals import JACKKNIFE, Estimate, LeftOut, group_numbers, jackknife
from triptych.seeding import generator

DIRECTIONS = 1000
CHUNK = 100  # directions at once: their sorted numbers stay in the processor's cache

Floats = NDArray[np.float64]
T = TypeVar("T")


@cache
def directions(dimensions: int) -> Floats:
    """The unit vectors of this many features, each a row: [DIRECTIONS,d]."""
    rng = generator(0, "directions", dimensions)
    drawn = torch.randn(DIRECTIONS, dimensions, generator=rng, dtype=torch.float64)
    return (drawn / drawn.norm(dim=1, keepdim=True)).numpy()


class Projected:
    """One set along some directions: numbers of each direction in rising order, [P,N].

    groups: which group of the jackknife each number is left out with, [P,N]
    """

    def __init__(self, numbers: Floats, groups: NDArray[np.int64] | None) -> None:
        if groups is None:
            self.sorted = np.sort(numbers, axis=1)
            return
        order = np.argsort(numbers, axis=1)
        self.sorted = np.take_along_axis(numbers, order, axis=1)
        self.groups = groups.astype(np.uint8)[order]

    def without(self, group: int) -> Floats:
        """The numbers that are not of a group, in rising order: [P,N'].

        Each direction has as many, so they are rows again.
        """
        return self.sorted[self.groups != group].reshape(len(self.sorted), -1)

    def averages(self, cells: int) -> Floats:
        """Means of the quantile function over equal parts of [0, 1]: [P,cells].

        The quantile function of N numbers is a staircase of N equally wide steps. Its integral from
        0 to t is piecewise linear, and differences of that are exact for any number of parts.
        """
        count = self.sorted.shape[1]
        if cells == count:
            return self.sorted
        edges = np.arange(cells + 1) * count / cells
        step = np.minimum(edges.astype(np.int64), count - 1)
        below = np.cumsum(self.sorted, axis=1) - self.sorted
        integral = below[:, step] + (edges - step) * self.sorted[:, step]
        means: Floats = np.diff(integral, axis=1) * cells / count
        return means


def apart(ours: Floats, theirs: Floats, of_theirs: float) -> float:
    """Sum over directions of the squared distance, from one set's sorted numbers [P,N].

    theirs:    the other set's `averages` over N parts: where one staircase is level, only the
               other's mean over that step enters the product of both
    of_theirs: sum over directions of the mean square of the other set's numbers
    """
    squares, products = (np.einsum("pn,pn->", ours, other) for other in (ours, theirs))
    return float(squares - 2 * products) / ours.shape[1] + of_theirs


def mean_squares(numbers: Floats) -> float:
    """Sum over directions of the mean square: [P,N] -> a number."""
    return float(np.einsum("pn,pn->", numbers, numbers)) / numbers.shape[1]


def along_directions(
    work: Callable[[Projected, Projected], T], features: Tensor, reference: Tensor, grouped: bool
) -> list[T]:
    """What `work` makes of both sets along all directions, a few at a time.

    They are around the mean of the reference: moving both sets changes no distance, and squares
    lose fewer digits near zero. Torch's threads share the directions, since NumPy sorts with one.
    """
    centre = reference.double().mean(0)
    sets = [(x.double() - centre).numpy() for x in (features, reference)]
    groups = [group_numbers(len(x)).numpy() if grouped else None for x in sets]
    along = directions(features.shape[1])

    def chunk(first: int) -> T:
        rows = along[first : first + CHUNK]
        return work(*(Projected(rows @ x.T, each) for x, each in zip(sets, groups, strict=True)))

    with ThreadPoolExecutor(torch.get_num_threads(), "directions") as pool:
        return list(pool.map(chunk, range(0, len(along), CHUNK)))


def of_all(ours: Projected, theirs: Projected) -> float:
    """Sum over directions of the squared distance of all numbers; never below zero."""
    averages = theirs.averages(ours.sorted.shape[1])
    return max(0.0, apart(ours.sorted, averages, mean_squares(theirs.sorted)))


def without_each(ours: Projected, theirs: Projected) -> Floats:
    """Sums over directions of the squared distance without each group of ours, [G]."""
    of_theirs = mean_squares(theirs.sorted)
    averages: dict[int, Floats] = {}  # groups differ by one image at most: two sizes of the rest
    distances = []
    for group in range(int(ours.groups.max()) + 1):
        rest = ours.without(group)
        count = rest.shape[1]
        if count not in averages:
            averages[count] = theirs.averages(count)
        distances.append(max(0.0, apart(rest, averages[count], of_theirs)))
    return np.array(distances)


def sliced_value(features: Tensor, reference: Tensor) -> float:
    """Distance between two sets of features [N,d] and [M,d], without an interval."""
    return sum(along_directions(of_all, features, reference, False)) / DIRECTIONS


def sliced_distance(features: Tensor, reference: Tensor) -> Estimate:
    """Distance between two sets of features [N,d] and [M,d], at least 2 each, with its interval.

    The interval is of the expected value at these counts: few images bias the distance upwards,
    which its floor shows.
    """

    def all_three(ours: Projected, theirs: Projected) -> tuple[float, Floats, Floats]:
        return of_all(ours, theirs), without_each(ours, theirs), without_each(theirs, ours)

    values, samples, real = zip(
        *along_directions(all_three, features, reference, True), strict=True
    )
    left_out: LeftOut = {
        "samples": (np.sum(samples, axis=0) / DIRECTIONS).tolist(),
        "reference": (np.sum(real, axis=0) / DIRECTIONS).tolist(),
    }
    return jackknife(sum(values) / DIRECTIONS, left_out)


METRICS = [
    Metric(
        name="sliced_distance",
        better="lower",
        group="distance",
        order=3,
        needs=("features", "test_features"),
        moves_with_n=True,
        method=JACKKNIFE,
        compute=lambda samples, real: sliced_distance(samples["features"], real["test_features"]),
        floor=lambda others, real: sliced_value(others["features"], real["test_features"]),
    ),
    Metric(
        name="sliced_distance",
        better="lower",
        group="distance",
        order=6,
        needs=("features", "train_features", "matched_test_features"),
        reference="train",
        moves_with_n=True,
        method=JACKKNIFE,
        compute=lambda samples, real: sliced_distance(samples["features"], real["train_features"]),
        # Against the training images, test images are the other real ones.
        floor=lambda _, real: sliced_value(real["matched_test_features"], real["train_features"]),
    ),
]
