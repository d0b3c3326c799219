"""All numbers of one trained model, as results.json holds them."""

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
from triptych.evaluation.generation import MEASURED, describe, generation_entries, worst_offenders
from triptych.evaluation.outputs import ABILITIES
from triptych.evaluation.reference import Real
from triptych.families.base import GenerativeModel, Iterative
from triptych.seeding import ImageStreams
from triptych.tasks import sample
from triptych.training.run_folder import labels_of

SCHEMA = 1
FEW = 2000  # samples below which the interval matters more than the value
OFFENDERS = 10  # samples nearest to training images that are shown
EVALUATION_SEED = 1_000_003  # samples shown in figures are not the ones that are measured
MEASURED_ON = ("name", "fingerprint", "train", "validation", "test")
TOLD = "told the labels in training: samples are of all classes, by their shares in the data"
OTHER_DATA = "measured on other data than it was trained on: its training images may be among them"


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
    model: GenerativeModel, facts: dict[str, Any], real: Real, console: Console
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
        metrics = generation_entries(generated, real, model.said_of_samples, tell)
        for doing, entries in ABILITIES.items():
            tell(doing)
            metrics += entries(model, facts["family"], real, EVALUATION_SEED)
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
