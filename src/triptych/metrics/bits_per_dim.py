"""Nats of images as bits per dimension, the unit that families share."""

from __future__ import annotations

import math

from torch import Tensor

from triptych.config import ImageShape
from triptych.metrics import Metric, Tensors
from triptych.metrics.intervals import Estimate, group_numbers, margin_of_mean
from triptych.records import TermRecord

NATS_PER_BIT = math.log(2)


def in_units(nats: Tensor, shape: ImageShape) -> TermRecord:
    """Mean over images, nats [N], in bits per dimension and nats, with the mean's 95 % interval."""
    mean = nats.mean().item()
    margin = margin_of_mean(nats)
    size = shape.dimensions * NATS_PER_BIT
    return TermRecord(
        bits_per_dim=mean / size,
        bits_per_dim_low=(mean - margin) / size,
        bits_per_dim_high=(mean + margin) / size,
        nats=mean,
        nats_low=mean - margin,
        nats_high=mean + margin,
    )


def without_each_group(nats: Tensor, shape: ImageShape) -> list[float]:
    """Means in bits per dimension without each group of the images, nats [N]."""
    group = group_numbers(len(nats))
    sums = nats.new_zeros(int(group.max()) + 1).index_add(0, group, nats)
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
