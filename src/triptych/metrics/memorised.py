"""Whether samples are training images learnt by heart.

Held-out images tell how near an image may come to a training image without having been copied:
99 % of them are farther than some distance from their nearest one. A model that has memorised
nothing puts about 1 % of its samples nearer than that.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from triptych.metrics import Metric, NotDefinedError
from triptych.metrics.intervals import (
    JACKKNIFE,
    Estimate,
    jackknife,
    wilson,
    without_each_group,
)
from triptych.metrics.prdc import squared_distances
from triptych.records import Note

COINCIDE = Note("held_out_coincide")
HELD_OUT_SHARE = 0.01  # of held-out images that are nearer to a training image than the rest
ROWS, COLUMNS = 512, 8192  # distances that are held at once


@dataclass(frozen=True)
class Nearest:
    """The nearest training image of each image: its distance [N] and its number [N]."""

    distance: Tensor
    index: Tensor


def nearest(features: Tensor, training: Tensor) -> Nearest:
    """features [N,d] among those of the training images [M,d]."""
    distances, indices = [], []
    for rows in torch.split(features, ROWS):
        best = torch.full((len(rows),), torch.inf, dtype=torch.float64)
        where = torch.zeros(len(rows), dtype=torch.int64)
        for first in range(0, len(training), COLUMNS):
            closest = squared_distances(rows, training[first : first + COLUMNS]).min(1)
            where = torch.where(closest.values < best, closest.indices + first, where)
            best = torch.minimum(best, closest.values)
        apart = rows.double() - training[where].double()  # exactly 0 for copies
        distances.append(apart.norm(dim=1))
        indices.append(where)
    return Nearest(torch.cat(distances), torch.cat(indices))


def threshold(held_out: Tensor) -> float:
    """The distance below which 1 % of held-out images are from their nearest training image."""
    return torch.quantile(held_out, HELD_OUT_SHARE).item()


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


METRIC = Metric(
    name="memorised",
    better="lower",
    group="samples",
    order=30,
    needs=("nearest_distances", "test_nearest_distances"),
    reference="train",
    unit="share",
    moves_with_n=True,
    method=JACKKNIFE,
    compute=lambda samples, real: memorised(
        samples["nearest_distances"], real["test_nearest_distances"]
    ),
    floor=HELD_OUT_SHARE,  # by definition
)
