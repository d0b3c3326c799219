"""How long interpolations between images are, and how even their steps.

features: of the images along each path, ends included, [N,points,d]
"""

from __future__ import annotations

import torch
from torch import Tensor

from triptych.metrics import Metric, named
from triptych.metrics.intervals import Estimate, mean_interval

LEAST = 1e-6  # share of the mean end-to-end distance below which a path goes nowhere


def steps(features: Tensor) -> Tensor:
    """Distances between neighbours on each path: [N,points-1], float64."""
    return features.double().diff(dim=1).norm(dim=2)


def usable(features: Tensor) -> Tensor:
    """Paths whose ends differ: [N], bool."""
    ends = (features[:, -1] - features[:, 0]).double().norm(dim=1)
    return ends > LEAST * ends.mean().clamp(min=torch.finfo(torch.float32).tiny)


def path_length(features: Tensor) -> Estimate | None:
    """Summed distance of the steps over the distance between the ends, 1 when straight; mean.

    None where fewer than two paths lead anywhere.
    """
    there = features[usable(features)]
    if len(there) < 2:
        return None
    ends = (there[:, -1] - there[:, 0]).double().norm(dim=1)
    return mean_interval(steps(there).sum(1) / ends)


def path_uniformity(features: Tensor) -> Estimate | None:
    """Deviation of a path's steps over their mean, 0 when all are alike; mean over paths.

    None where fewer than two paths lead anywhere.
    """
    there = steps(features[usable(features)])
    if len(there) < 2:
        return None
    return mean_interval(there.std(dim=1, correction=0) / there.mean(dim=1))


METRICS = named(
    Metric(name="path_length", better="lower", group="abilities", unit="ratio to straight"),
    Metric(name="path_uniformity", better="lower", group="abilities"),
)
