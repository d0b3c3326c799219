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


def measured(prefix: str, features: str, order: int, reference: str) -> list[Metric]:
    """Both numbers of one kind of path."""
    return [
        Metric(
            name=f"{prefix}path_length",
            better="lower",
            group="abilities",
            order=order,
            needs=(features,),
            reference=reference,
            unit="ratio to straight",
            method=NORMAL,
            compute=lambda samples, _: path_length(samples[features]),
        ),
        Metric(
            name=f"{prefix}path_uniformity",
            better="lower",
            group="abilities",
            order=order + 1,
            needs=(features,),
            reference=reference,
            method=NORMAL,
            compute=lambda samples, _: path_uniformity(samples[features]),
        ),
    ]


# Between real images for what a model makes of these; between draws for what it draws, which is
# what "a path between two latent points" asks of, and which a model without an encoder has too.
METRICS = [
    *measured("", "path_features", 20, "test"),
    *measured("drawn_", "drawn_path_features", 22, "none"),
]
