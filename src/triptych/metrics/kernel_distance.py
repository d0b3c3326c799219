"""The kernel distance: squared maximum mean discrepancy of two sets of features, unbiased.

d = mean of k(x, x') + mean of k(y, y') - 2 mean of k(x, y), pairs of one set being of two
different images (arXiv:1206.6880 as arXiv:1801.01401, eq. 4). It may come out below zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from triptych.metrics import Metric, threads_for
from triptych.metrics.intervals import JACKKNIFE, Estimate, LeftOut, group_numbers, jackknife

ROWS = 1024  # whose kernels are held at once


def polynomial(x: Tensor, y: Tensor) -> Tensor:
    """(x.y / d + 1)^3 of all pairs (arXiv:1801.01401, eq. 5): [N,d], [M,d] -> [N,M]."""
    base = (x @ y.T).div_(x.shape[1]).add_(1)
    return base.pow_(3)


def grouped(x: Tensor) -> Tensor:
    """1 where a row of [N,d] is left out with a group, else 0: [N,G], float64."""
    return F.one_hot(group_numbers(len(x))).double().to(x.device)


@dataclass(frozen=True)
class Kernels:
    """Sums of kernels by group of rows and group of columns, [G,H], and the groups' sizes."""

    sums: Tensor
    rows: Tensor
    columns: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> Kernels:
        """Of all pairs of two sets, [N,d] and [M,d]."""
        rows, columns = (grouped(each) for each in (x, y))
        y = y.double()
        sums = rows.new_zeros(rows.shape[1], columns.shape[1])
        for part, group in zip(torch.split(x, ROWS), torch.split(rows, ROWS), strict=True):
            sums += group.T @ (polynomial(part.double(), y) @ columns)
        return cls(sums, rows.sum(0), columns.sum(0))

    @classmethod
    def within(cls, x: Tensor) -> Kernels:
        """Of the pairs of different images of one set, [N,d]; each is computed once."""
        groups, x = grouped(x), x.double()
        sums = groups.new_zeros(groups.shape[1], groups.shape[1])
        for first in range(0, len(x), ROWS):
            here, later = slice(first, first + ROWS), slice(first + ROWS, None)
            square = polynomial(x[here], x[here]).fill_diagonal_(0)
            sums += groups[here].T @ (square @ groups[here])
            beyond = groups[here].T @ (polynomial(x[here], x[later]) @ groups[later])
            sums += beyond + beyond.T
        return cls(sums, groups.sum(0), groups.sum(0))

    def total(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Sum over the groups that are kept, 1 or 0 each."""
        return rows @ self.sums @ columns

    def mean(self) -> float:
        """Mean kernel of different images of one set; only for sums made by `within`."""
        count = self.rows.sum()
        return (self.sums.sum() / (count * (count - 1))).item()


def kernel_value(
    features: Tensor, reference: Tensor, kernels_within: Kernels | None = None
) -> float:
    """Distance between two sets of features [N,d] and [M,d], at least 2 each; no interval.

    kernels_within: `Kernels.within` the reference
    """
    within = Kernels.within(features).mean() + (kernels_within or Kernels.within(reference)).mean()
    theirs = reference.double()
    parts = torch.split(features.double(), ROWS)
    between = sum(polynomial(part, theirs).sum().item() for part in parts)
    return within - 2 * between / (len(features) * len(reference))


def kernel_distance(
    features: Tensor, reference: Tensor, kernels_within: Kernels | None = None
) -> Estimate:
    """Distance between two sets of features [N,d] and [M,d], at least 2 each, with its interval.

    kernels_within: `Kernels.within` the reference
    """
    with threads_for(features.shape[1] * len(features) * len(reference)):
        own = [Kernels.within(features), kernels_within or Kernels.within(reference)]
        cross = Kernels.of(features, reference)

    def distance(kept: list[Tensor]) -> float:
        counts = [keep @ kernels.rows for keep, kernels in zip(kept, own, strict=True)]
        means = [
            kernels.total(keep, keep) / (count * (count - 1))
            for kernels, keep, count in zip(own, kept, counts, strict=True)
        ]
        between = cross.total(*kept) / (counts[0] * counts[1])
        return (means[0] + means[1] - 2 * between).item()

    everything = [torch.ones_like(kernels.rows) for kernels in own]
    left_out = []
    for which, kernels in enumerate(own):
        values = []
        for group in range(len(kernels.rows)):
            kept = [keep.clone() for keep in everything]
            kept[which][group] = 0
            values.append(distance(kept))
        left_out.append(values)
    by_side: LeftOut = {"samples": left_out[0], "reference": left_out[1]}
    return jackknife(distance(everything), by_side, least=-float("inf"))


# The same for every model: of test and training images, of test images on the second features, and
# of test images in the processor's memory, where they were on a GPU.
within_reference = lru_cache(maxsize=4)(Kernels.within)


def to_reference(features: Tensor, reference: Tensor) -> tuple[Tensor, Tensor, Kernels]:
    """With what is known of the reference."""
    return features, reference, within_reference(reference)


METRICS = [
    Metric(
        name="kernel_distance",
        better="lower",
        group="distance",
        order=2,
        on_gpu=True,
        needs=("features", "test_features"),
        method=JACKKNIFE,
        compute=lambda samples, real: kernel_distance(
            *to_reference(samples["features"], real["test_features"])
        ),
        floor=lambda others, real: kernel_value(
            *to_reference(others["features"], real["test_features"])
        ),
    ),
    Metric(
        name="kernel_distance",
        better="lower",
        group="distance",
        order=5,
        on_gpu=True,
        needs=("features", "train_features", "matched_test_features"),
        reference="train",
        method=JACKKNIFE,
        compute=lambda samples, real: kernel_distance(
            *to_reference(samples["features"], real["train_features"])
        ),
        # Against the training images, test images are the other real ones.
        floor=lambda _, real: kernel_value(
            *to_reference(real["matched_test_features"], real["train_features"])
        ),
    ),
]
