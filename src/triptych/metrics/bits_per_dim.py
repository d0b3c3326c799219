"""Nats of images as bits per dimension, the unit that families share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from triptych.config import ImageShape
from triptych.metrics import Metric, named

NATS_PER_BIT = math.log(2)
GROUPS = 20  # of images that are left out in turn, to compare models on the same images


def in_units(nats: Tensor, shape: ImageShape) -> dict[str, float]:
    """Mean over images, nats [N], in bits per dimension and nats, with the mean's 95 % interval."""
    mean = nats.mean().item()
    margin = 1.96 * nats.std().item() / math.sqrt(len(nats))
    found = {}
    for unit, size in {"bits_per_dim": shape.dimensions * NATS_PER_BIT, "nats": 1.0}.items():
        found[unit] = mean / size
        found[f"{unit}_low"], found[f"{unit}_high"] = (mean - margin) / size, (mean + margin) / size
    return found


def without_each_group(nats: Tensor, shape: ImageShape, groups: int = GROUPS) -> list[float]:
    """Means in bits per dimension without each group of the images, nats [N].

    Image i is in group i modulo their number: the same for every model that is measured on them.
    """
    groups = min(groups, len(nats))
    group = torch.arange(len(nats)) % groups
    sums = nats.new_zeros(groups).index_add(0, group, nats)
    kept = (nats.sum() - sums) / (len(nats) - group.bincount())
    return (kept / (shape.dimensions * NATS_PER_BIT)).tolist()


METRICS = named(
    Metric(name="bits_per_dim", better="lower", group="abilities", unit="bits per dimension")
)
