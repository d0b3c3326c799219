"""All numbers of one trained model: metrics of samples, abilities and costs, for results.json."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from triptych.console import Bar, Console
from triptych.evaluation.outputs import (
    ABILITIES,
    EVALUATION_SEED,
    Generated,
    describe,
    worst_offenders,
)
from triptych.evaluation.reference import MOST_TRAINING, Reference
from triptych.families.capabilities import Iterative
from triptych.families.protocol import GenerativeModel
from triptych.metrics import entry
from triptych.metrics.frechet_distance import enough_to_extrapolate, frechet_distance
from triptych.metrics.intervals import Estimate, extrapolated
from triptych.metrics.kernel_distance import kernel_distance
from triptych.metrics.labels import label_balance, recognisable
from triptych.metrics.memorised import HELD_OUT_SHARE, memorised
from triptych.metrics.prdc import enough_for_neighbours, neighbours
from triptych.metrics.sharpness import sharpness
from triptych.seeding import ImageStreams
from triptych.tasks import sample
from triptych.training.run_folder import labels_of

SCHEMA = 1
FEW = 2000  # samples below which the interval matters more than the value
OFFENDERS = 10  # samples nearest to training images that are shown
MEASURED_ON = ("name", "fingerprint", "train", "validation", "test")
TOLD = "told the labels in training: samples are of all classes, by their shares in the data"
OTHER_DATA = "measured on other data than it was trained on: its training images may be among them"
MEASURED = 3  # times that `generation_entries` tells what is measured next
JACKKNIFE, HALVES = "delete-group jackknife", "random halves"
EXTRAPOLATED = "extrapolated"
FEW_TO_EXTRAPOLATE = "fewer than twice as many images as features"
FEW_NEIGHBOURS = "fewer images than nearest neighbours are looked for among"
NO_LABELS = "the data have no labels: no classifier can be trained on them"
NOT_ALL = "training images looked among"  # the report knows these in French


def generation_entries(
    generated: Generated,
    real: Reference,
    said: str,
    tell: Callable[[str], None] = lambda doing: None,
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


def distance_entries(generated: Generated, real: Reference) -> list[dict[str, Any]]:
    """Frechet and kernel distance to both references; Frechet's to the test images extrapolated."""
    features, n, found = generated.features, real.count, []
    for reference in ("test", "train"):
        theirs = real.features[reference]
        about: dict[str, Any] = {"reference": reference, "features": real.extractor.name}
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


def neighbour_entries(generated: Generated, real: Reference) -> list[dict[str, Any]]:
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
            reference="test",
            floor=real.floors.neighbours.get(name),
            features=real.extractor.name,
            method=HALVES,
            note="" if estimate is not None else f"{FEW_NEIGHBOURS}: {n}",
        )
        for name, estimate in found.items()
    ]


def label_entries(generated: Generated, real: Reference) -> list[dict[str, Any]]:
    """What the data's classifier reads in samples: whether it is sure, and how often each class."""
    sure = balance = None
    sure_floor = balance_floor = None
    if generated.reading is not None:
        ours = generated.reading.probabilities
        test, other = (real.readings[name].probabilities for name in ("test", "other"))
        sure, sure_floor = recognisable(ours), recognisable(test).value
        balance, balance_floor = label_balance(ours, test), label_balance(other, test).value
    n, note = real.count, NO_LABELS if generated.reading is None else ""
    about: dict[str, Any] = {"features": "labels", "note": note}
    return [
        entry(
            "recognisable",
            sure,
            n,
            reference="none",
            floor=sure_floor,
            method="Wilson",
            **about,
        ),
        entry(
            "label_balance",
            balance,
            n,
            reference="test",
            floor=balance_floor,
            method=JACKKNIFE,
            **about,
        ),
    ]


def sharpness_entry(generated: Generated, real: Reference, said: str) -> dict[str, Any]:
    """Ratio to real; its floor is 1 by definition."""
    return entry(
        "sharpness",
        sharpness(generated.images, real.test),
        real.count,
        reference="test",
        floor=1.0,
        method=JACKKNIFE,
        note=said,
    )


def memorised_entry(generated: Generated, real: Reference) -> dict[str, Any]:
    """Share of samples suspiciously near to a training image; its floor is 1 % by definition."""
    found = memorised(generated.nearest.distance, real.held_out_nearest.distance)
    all_there = len(real.data.train) <= MOST_TRAINING
    return entry(
        "memorised",
        found,
        real.count,
        reference="train",
        floor=HELD_OUT_SHARE,
        features=real.extractor.name,
        method=JACKKNIFE,
        note="" if all_there else f"{NOT_ALL}: {MOST_TRAINING}",
    )


@dataclass(frozen=True, eq=False)
class Evaluation:
    """results.json of a run, and its samples nearest to training images with those images."""

    results: dict[str, Any]
    nearest: tuple[Tensor, Tensor]


def telling(bar: Bar) -> Callable[[str], None]:
    """Takes what is done next, and moves the bar by one each time but the first."""
    steps = count()
    return lambda doing: bar.update(next(steps), note=doing)


def evaluate(
    model: GenerativeModel, facts: dict[str, Any], real: Reference, console: Console
) -> Evaluation:
    """Measure a model. `facts` is its run.json."""
    labels, machine = labels_of(facts), real.machine
    started = time.perf_counter()
    with console.bar(f"  sampling {facts['model']}", real.count) as bar:
        samples = sample.sample(
            model, real.count, EVALUATION_SEED, machine, labels=labels, report=bar.update
        )
    seconds = time.perf_counter() - started
    with console.bar(f"  measuring {facts['model']}", 1 + MEASURED + len(ABILITIES)) as bar:
        tell = telling(bar)
        tell("nearest training images")
        generated = describe(samples, real)
        metrics = generation_entries(generated, real, model.samples_note, tell)
        for doing, entries in ABILITIES.items():
            tell(doing)
            metrics += entries(model, real, EVALUATION_SEED)
    measured_on = real.data.describe()
    warnings = [] if labels is None else [TOLD]
    if facts["data"]["fingerprint"] != measured_on["fingerprint"]:
        warnings.append(OTHER_DATA)
    warnings += facts.get("advice", [])  # of the last diagnosis in training
    if real.count < FEW:
        warnings.append(f"fewer than {FEW:,} samples: read the interval, not the value")
    results = {
        "schema": SCHEMA,
        "model": facts["model"],
        "data": {key: measured_on[key] for key in MEASURED_ON},
        "metrics": metrics,
        "extractor": {"name": real.extractor.name, "accuracy": real.accuracy},
        "cost": {
            "parameters": parameters(model),
            "train_seconds": facts["train_seconds"],
            "images_seen": facts["images_seen"],
            "train_images_per_second": facts["images_per_second"],
            "flops_per_image": flops_per_image(model, machine.device),
            "sample_seconds_per_image": seconds / real.count,
            "network_calls": model.network_calls,
            "peak_memory_bytes": facts["peak_memory_bytes"],
            "peak_memory_of": facts.get("peak_memory_of", 1),
        },
        "warnings": warnings,
    }
    return Evaluation(results, worst_offenders(generated, real, OFFENDERS))


def parameters(model: GenerativeModel) -> int:
    """Numbers that training moves, in all networks."""
    return sum(parameter.numel() for parameter in model.parameters())


def flops_per_image(model: GenerativeModel, device: str) -> int:
    """Floating-point operations (two per multiply-add) that decode one sample.

    A chain is counted on one call of its network, times the calls.
    """
    calls = model.network_calls
    single = model.with_sampler(steps=1) if isinstance(model, Iterative) else model
    rng = ImageStreams(0, "flops", range(1), device)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        single.decode(single.draw_latent(1, rng), rng)
    return counter.get_total_flops() * calls // single.network_calls
