"""Nats of images as bits per dimension, the unit that families share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from triptych.config import ImageShape
from triptych.metrics import Metric, Tensors
from triptych.metrics.intervals import Estimate
from triptych.records import TermRecord

NATS_PER_BIT = math.log(2)
GROUPS = 20  # of images that are left out in turn, to compare models on the same images


def in_units(nats: Tensor, shape: ImageShape) -> TermRecord:
    """Mean over images, nats [N], in bits per dimension and nats, with the mean's 95 % interval."""
    mean = nats.mean().item()
    margin = 1.96 * nats.std().item() / math.sqrt(len(nats))
    size = shape.dimensions * NATS_PER_BIT
    return TermRecord(
        bits_per_dim=mean / size,
        bits_per_dim_low=(mean - margin) / size,
        bits_per_dim_high=(mean + margin) / size,
        nats=mean,
        nats_low=mean - margin,
        nats_high=mean + margin,
    )


def without_each_group(nats: Tensor, shape: ImageShape, groups: int = GROUPS) -> list[float]:
    """Means in bits per dimension without each group of the images, nats [N].

    Image i is in group i modulo their number: the same for every model that is measured on them.
    """
    groups = min(groups, len(nats))
    group = torch.arange(len(nats)) % groups
    sums = nats.new_zeros(groups).index_add(0, group, nats)
    kept = (nats.sum() - sums) / (len(nats) - group.bincount())
    return (kept / (shape.dimensions * NATS_PER_BIT)).tolist()


def bits_per_dim(nats: Tensor, shape: ImageShape) -> Estimate:
    """The mean over images and its interval, from at least -log P of each, [N]."""
    mean = in_units(nats, shape)
    return Estimate(
        mean.bits_per_dim,
        mean.bits_per_dim_low,
        mean.bits_per_dim_high,
        {"reference": without_each_group(nats, shape)},
    )


def compute(outputs: Tensors, real: Tensors) -> Estimate:
    """Bits per dimension of the likelihood images, from nats of each."""
    channels, side = real["likelihood_images"].shape[1:3]
    return bits_per_dim(outputs["nats"], ImageShape(channels=channels, resolution=side))


METRIC = Metric(
    name="bits_per_dim",
    better="lower",
    group="abilities",
    order=0,
    needs=("nats", "likelihood_images"),
    unit="bits per dimension",
    compute=compute,
)
