"""Whether samples are training images learnt by heart.

Held-out images tell how near an image may come to a training image without having been copied:
99 % of them are farther than some distance from their nearest one. A model that has memorised
nothing puts about 1 % of its samples nearer than that.

That number cannot see fewer copies than its own 1 %, nor tell a copy from a typical image that is
near to many. A copy is near to one image alone: its distance to the nearest training image over
that to the second nearest is small, below a third in arXiv:2310.02664 (section 2). What that sees
of true copies is measured on reconstructions of training images, as a control. And of a model whose
prior is made of encoded training images it is asked whether a sample's nearest training image is
the very one around which it was drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from triptych.metrics import Metric, NotDefinedError
from triptych.metrics.intervals import (
    JACKKNIFE,
    WILSON,
    Estimate,
    jackknife,
    wilson,
    without_each_group,
)
from triptych.metrics.prdc import squared_distances
from triptych.records import Note

COINCIDE = Note("held_out_coincide")
HELD_OUT_SHARE = 0.01  # of held-out images that are nearer to a training image than the rest
COPY_RATIO = 1 / 3  # of the distances to the nearest and to the second nearest training image
ROWS, COLUMNS = 512, 8192  # distances that are held at once


@dataclass(frozen=True)
class Nearest:
    """The nearest training image of each image: its distance [N] and its number [N]; on the CPU.

    second: the distance of the second nearest, [N], infinite where there is but one
    """

    distance: Tensor
    index: Tensor
    second: Tensor

    @property
    def ratio(self) -> Tensor:
        """Of the two distances, 0 to 1: [N]; 1 where both are 0, for copies of copies."""
        ratio = self.distance / self.second
        return ratio.where(self.second > 0, 1.0)


def nearest(features: Tensor, training: Tensor) -> Nearest:
    """features [N,d] among those of the training images [M,d], on any device that both are on."""
    distances, indices, seconds = [], [], []
    for rows in torch.split(features, ROWS):
        best = rows.new_full((len(rows), 2), torch.inf, dtype=torch.float64)
        where = rows.new_zeros((len(rows), 2), dtype=torch.int64)
        for first in range(0, len(training), COLUMNS):
            block = training[first : first + COLUMNS]
            closest = squared_distances(rows, block).topk(min(2, len(block)), largest=False)
            both = torch.cat([best, closest.values], dim=1)
            indices_of_both = torch.cat([where, closest.indices + first], dim=1)
            best, order = both.sort(dim=1, stable=True)
            best, where = best[:, :2], indices_of_both.gather(1, order[:, :2])
        apart = rows.double()[:, None] - training[where].double()  # exactly 0 for copies
        lengths = apart.norm(dim=2).where(best.isfinite(), torch.inf)
        distances.append(lengths[:, 0])
        seconds.append(lengths[:, 1])
        indices.append(where[:, 0])
    return Nearest(*(torch.cat(each).cpu() for each in (distances, indices, seconds)))


def threshold(held_out: Tensor) -> float:
    """The distance below which 1 % of held-out images are from their nearest training image.

    Weibull's quantile (Hyndman and Fan 1996, The American Statistician 50, definition 6): of all
    such images, not of those at hand, 1 % are expected below it. With fewer than 99 it is the
    smallest distance, below which more are expected: `expected_share`.
    """
    place = HELD_OUT_SHARE * (len(held_out) + 1) - 1  # among sorted ones, from 0
    last = max(1, len(held_out) - 1)
    return torch.quantile(held_out, min(1.0, max(0.0, place / last))).item()


def expected_share(held_out: Tensor) -> float:
    """The share below `threshold` of images that are no nearer to training images than [M] are."""
    return max(HELD_OUT_SHARE, 1 / (len(held_out) + 1))


def memorised(samples: Tensor, held_out: Tensor) -> Estimate:
    """Share of samples nearer to training images than 99 % of held-out images are.

    samples, held_out: distances to the nearest training image, [N] and [M]
    NotDefinedError where so many held-out images have no distance to theirs that none is nearer.
    """
    if threshold(held_out) == 0:
        raise NotDefinedError(COINCIDE)

    def share(ours: Tensor, theirs: Tensor) -> float:
        return (ours < threshold(theirs)).double().mean().item()

    estimate = jackknife(
        share(samples, held_out),
        {
            "samples": without_each_group(lambda kept: share(kept, held_out), samples),
            "reference": without_each_group(lambda kept: share(samples, kept), held_out),
        },
    )
    # Where no sample is near, or all are, leaving some out changes nothing: that proves little.
    alone = wilson(round(estimate.value * len(samples)), len(samples))
    low, high = min(estimate.low, alone.low), min(1.0, max(estimate.high, alone.high))
    return Estimate(estimate.value, low, high)


def copied(ratios: Tensor) -> Estimate:
    """Share of images much nearer to one training image than to any other, from ratios [N]."""
    return wilson(int((ratios < COPY_RATIO).sum().item()), len(ratios))


def own_exemplar(own: Tensor) -> Estimate:
    """Share of samples whose nearest training image is their own exemplar, from 1 or 0 [N]."""
    return wilson(int(own.sum().item()), len(own))


MEMORISED = Metric(
    name="memorised",
    better="lower",
    group="samples",
    order=30,
    needs=("nearest_distances", "test_nearest_distances"),
    reference="train",
    images_only=True,
    unit="share",
    moves_with_n=True,
    method=JACKKNIFE,
    compute=lambda samples, real: memorised(
        samples["nearest_distances"], real["test_nearest_distances"]
    ),
    floor=lambda _, real: expected_share(real["test_nearest_distances"]),
)

METRICS = [
    MEMORISED,
    Metric(
        name="copied",
        better="lower",
        group="samples",
        order=31,
        needs=("nearest_ratios",),
        reference="train",
        images_only=True,
        unit="share",
        method=WILSON,
        compute=lambda samples, real: copied(samples["nearest_ratios"]),
        floor=lambda others, _: copied(others["nearest_ratios"]),  # of test images
    ),
    Metric(
        name="copied_control",
        better="",
        group="samples",
        order=32,
        needs=("control_ratios",),
        reference="train",
        images_only=True,
        unit="share",
        method=WILSON,
        compute=lambda samples, _: copied(samples["control_ratios"]),
    ),
    Metric(
        name="own_exemplar",
        better="",
        group="samples",
        order=33,
        needs=("own_exemplars",),
        reference="train",
        images_only=True,
        unit="share",
        method=WILSON,
        compute=lambda samples, _: own_exemplar(samples["own_exemplars"]),
    ),
]
