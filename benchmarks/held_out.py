"""Real images put aside before anything is measured, for benchmarks that need real samples.

They are of the training part, so that validation and test images stay as they are, and neither the
data's classifier nor any reference holds them.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from triptych.comparison.significance import beside_floor
from triptych.data.dataset import ImageData, Part
from triptych.records import MetricRecord
from triptych.seeding import generator


def put_aside(data: ImageData, count: int) -> tuple[ImageData, Part]:
    """The data without `count` of their training images, and these images, in random order."""
    order = torch.randperm(len(data.train), generator=generator(0, "put aside"))
    aside, rest = (rows_of(data.train, rows) for rows in (order[:count], order[count:]))
    fingerprint = f"{data.fingerprint}-without-{count}"  # another set: it has another classifier
    return replace(data, train=rest, fingerprint=fingerprint), aside


def rows_of(part: Part, rows: torch.Tensor) -> Part:
    """Some images with their labels."""
    return Part(part.images[rows], None if part.labels is None else part.labels[rows])


def differs(metric: MetricRecord) -> bool:
    """Whether a number is on the worse side of its floor beyond chance.

    Of what is best at its floor both sides are worse, but for real_or_fake: that a network guesses
    wrongly more often than not is chance.
    """
    sides = {"lower": ("above",), "higher": ("below",), "floor": ("above", "below")}
    worse = ("above",) if metric.name == "real_or_fake" else sides.get(metric.better, ())
    return beside_floor(metric) in worse
