"""Nats of images as bits per dimension, the unit that families share."""

from __future__ import annotations

import math

from torch import Tensor

from triptych.config import ImageShape

NATS_PER_BIT = math.log(2)


def in_units(nats: Tensor, shape: ImageShape) -> dict[str, float]:
    """Mean over images, nats [N], in bits per dimension and nats, with the mean's 95 % interval."""
    mean = nats.mean().item()
    margin = 1.96 * nats.std().item() / math.sqrt(len(nats))
    found = {}
    for unit, size in {"bits_per_dim": shape.dimensions * NATS_PER_BIT, "nats": 1.0}.items():
        found[unit] = mean / size
        found[f"{unit}_low"], found[f"{unit}_high"] = (mean - margin) / size, (mean + margin) / size
    return found
