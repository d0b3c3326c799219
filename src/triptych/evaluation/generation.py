"""Metrics of generated images: how far they are from real ones, and in what they differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from triptych.evaluation.classifier import Reading
from triptych.evaluation.entries import entry
from triptych.evaluation.reference import MOST_TRAINING, Real
from triptych.metrics.frechet_distance import enough_to_extrapolate, frechet_distance
from triptych.metrics.intervals import Estimate, extrapolated
from triptych.metrics.kernel_distance import kernel_distance
from triptych.metrics.labels import label_balance, recognisable
from triptych.metrics.memorised import HELD_OUT_SHARE, Nearest, memorised, nearest
from triptych.metrics.prdc import enough_for_neighbours, neighbours
from triptych.metrics.sharpness import sharpness

MEASURED = 3  # times that `generation_entries` tells what is measured next
JACKKNIFE, HALVES = "delete-group jackknife", "random halves"
EXTRAPOLATED = "extrapolated"
FEW_TO_EXTRAPOLATE = "fewer than twice as many images as features"
FEW_NEIGHBOURS = "fewer images than nearest neighbours are looked for among"
NO_LABELS = "the data have no labels: no classifier can be trained on them"
NOT_ALL = "training images looked among"  # the report knows these in French


@dataclass(frozen=True, eq=False)
class Generated:
    """Samples, uint8 [N,C,H,W], and what is known of them.

    nearest: the training images nearest to them
    reading: what the data's classifier makes of them; None where there is none
    """

    images: Tensor
    features: Tensor
    nearest: Nearest
    reading: Reading | None


def describe(samples: Tensor, real: Real) -> Generated:
    """By the extractor that described the real images."""
    reading = None if real.labels is None else real.labels.read(samples, real.machine)
    if reading is not None and real.extractor is real.labels:
        features = reading.features
    else:
        features = real.extractor(samples, real.machine)
    return Generated(samples, features, nearest(features, real.training_features), reading)


def generation_entries(
    generated: Generated, real: Real, said: str, tell: Callable[[str], None] = lambda doing: None
) -> list[dict[str, Any]]:
    """All of them.

    said: of the model's samples
    tell: takes what is measured next, MEASURED times
    """
    tell("distances")
    found = distance_entries(generated, real)
    tell("neighbours")
    found += neighbour_entries(generated, real)
    tell("labels, sharpness, memory")
    found += label_entries(generated, real)
    return [*found, sharpness_entry(generated, real, said), memorised_entry(generated, real)]


def distance_entries(generated: Generated, real: Real) -> list[dict[str, Any]]:
    """Frechet and kernel distance to both references; Frechet's to the test images extrapolated."""
    features, n, found = generated.features, real.count, []
    for reference in ("test", "train"):
        theirs = real.features[reference]
        about: dict[str, Any] = {
            "better": "lower",
            "reference": reference,
            "features": real.extractor.name,
        }
        floor: float | None = real.floors.frechet[reference]
        distance = frechet_distance(features, theirs)
        found.append(entry("frechet_distance", distance, n, floor=floor, method=JACKKNIFE, **about))
        if reference == "test":
            enough = enough_to_extrapolate(n, theirs)
            limit = extrapolated(distance) if enough else None
            note = "" if enough else f"{FEW_TO_EXTRAPOLATE}: {n}"
            floor = real.floors.limit
            about_limit = about | {"method": EXTRAPOLATED, "note": note}
            found.append(entry("frechet_distance", limit, n, floor=floor, **about_limit))
        floor = real.floors.kernel[reference]
        distance = kernel_distance(features, theirs, real.kernels[reference])
        found.append(entry("kernel_distance", distance, n, floor=floor, method=JACKKNIFE, **about))
    return found


def neighbour_entries(generated: Generated, real: Real) -> list[dict[str, Any]]:
    """Precision, recall, density and coverage, among as many test images as there are samples."""
    n, test = real.count, real.features["test"][: real.count]
    names = ("precision", "recall", "density", "coverage")
    found: dict[str, Estimate | None] = dict.fromkeys(names)
    if enough_for_neighbours(n):
        found |= vars(neighbours(test, generated.features))
    return [
        entry(
            name,
            estimate,
            n,
            unit="" if name == "density" else "share",
            better="higher",
            reference="test",
            floor=real.floors.neighbours.get(name),
            features=real.extractor.name,
            method=HALVES,
            note="" if estimate is not None else f"{FEW_NEIGHBOURS}: {n}",
        )
        for name, estimate in found.items()
    ]


def label_entries(generated: Generated, real: Real) -> list[dict[str, Any]]:
    """What the data's classifier reads in samples: whether it is sure, and how often each class."""
    sure = balance = None
    sure_floor = balance_floor = None
    if generated.reading is not None:
        ours = generated.reading.probabilities
        test, other = (real.readings[name].probabilities for name in ("test", "other"))
        sure, sure_floor = recognisable(ours), recognisable(test).value
        balance, balance_floor = label_balance(ours, test), label_balance(other, test).value
    n, note = real.count, NO_LABELS if generated.reading is None else ""
    about: dict[str, Any] = {"unit": "share", "features": "labels", "note": note}
    return [
        entry(
            "recognisable",
            sure,
            n,
            better="higher",
            reference="none",
            floor=sure_floor,
            method="Wilson",
            **about,
        ),
        entry(
            "label_balance",
            balance,
            n,
            better="lower",
            reference="test",
            floor=balance_floor,
            method=JACKKNIFE,
            **about,
        ),
    ]


def sharpness_entry(generated: Generated, real: Real, said: str) -> dict[str, Any]:
    """Ratio to real; its floor is 1 by definition."""
    return entry(
        "sharpness",
        sharpness(generated.images, real.test),
        real.count,
        unit="ratio to real",
        better="floor",
        reference="test",
        floor=1.0,
        method=JACKKNIFE,
        note=said,
    )


def memorised_entry(generated: Generated, real: Real) -> dict[str, Any]:
    """Share of samples suspiciously near to a training image; its floor is 1 % by definition."""
    found = memorised(generated.nearest.distance, real.held_out_nearest.distance)
    all_there = len(real.data.train) <= MOST_TRAINING
    return entry(
        "memorised",
        found,
        real.count,
        unit="share",
        better="lower",
        reference="train",
        floor=HELD_OUT_SHARE,
        features=real.extractor.name,
        method=JACKKNIFE,
        note="" if all_there else f"{NOT_ALL}: {MOST_TRAINING}",
    )


def worst_offenders(generated: Generated, real: Real, count: int) -> tuple[Tensor, Tensor]:
    """The samples nearest to a training image, and those images: uint8 [count,C,H,W] each."""
    order = generated.nearest.distance.argsort()[:count]
    return generated.images[order], real.training.images[generated.nearest.index[order]]
