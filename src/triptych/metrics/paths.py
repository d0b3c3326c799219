"""How long interpolations between images are, and how even their steps.

features: of the images along each path, ends included, [N,points,d]
"""

from __future__ import annotations

import torch
from torch import Tensor

from triptych.metrics import Metric, NotDefinedError
from triptych.metrics.intervals import NORMAL, Estimate, mean_interval
from triptych.records import Note

NOWHERE = Note("paths_stand_still")
LEAST = 1e-6  # share of the mean end-to-end distance below which a path goes nowhere


def steps(features: Tensor) -> Tensor:
    """Distances between neighbours on each path: [N,points-1], float64."""
    return features.double().diff(dim=1).norm(dim=2)


def usable(features: Tensor) -> Tensor:
    """The paths whose ends differ; NotDefinedError where they are fewer than two."""
    ends = (features[:, -1] - features[:, 0]).double().norm(dim=1)
    usable = features[ends > LEAST * ends.mean().clamp(min=torch.finfo(torch.float32).tiny)]
    if len(usable) < 2:
        raise NotDefinedError(NOWHERE)
    return usable


def path_length(features: Tensor) -> Estimate:
    """Summed distance of the steps over the distance between the ends, 1 when straight; mean."""
    there = usable(features)
    ends = (there[:, -1] - there[:, 0]).double().norm(dim=1)
    return mean_interval(steps(there).sum(1) / ends)


def path_uniformity(features: Tensor) -> Estimate:
    """Deviation of a path's steps over their mean, 0 when all are alike; mean over paths."""
    there = steps(usable(features))
    return mean_interval(there.std(dim=1, correction=0) / there.mean(dim=1))


METRICS = [
    Metric(
        name="path_length",
        better="lower",
        group="abilities",
        order=20,
        needs=("path_features",),
        unit="ratio to straight",
        method=NORMAL,
        compute=lambda samples, _: path_length(samples["path_features"]),
    ),
    Metric(
        name="path_uniformity",
        better="lower",
        group="abilities",
        order=21,
        needs=("path_features",),
        method=NORMAL,
        compute=lambda samples, _: path_uniformity(samples["path_features"]),
    ),
]
