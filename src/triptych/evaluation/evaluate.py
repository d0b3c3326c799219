"""All numbers of one trained model: metrics of samples, abilities and costs, for results.json."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import count

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from triptych import images
from triptych.console import Bar, Console
from triptych.data.dataset import ImageData
from triptych.evaluation.extractors import Labels, check_name, labels_of_data, pick_name
from triptych.evaluation.legibility import share_named
from triptych.evaluation.outputs import (
    EVALUATION_SEED,
    Outputs,
    quality_by_calls,
    worst_offenders,
)
from triptych.evaluation.reference import Reference, count_samples, make, read_real
from triptych.families.capabilities import DrawsAroundExemplars, Iterative
from triptych.families.protocol import GenerativeModel
from triptych.hardware import Machine
from triptych.metrics import Metric, NotDefinedError, entry
from triptych.metrics.intervals import Estimate
from triptych.records import (
    CostRecord,
    ExtractorRecord,
    MeasuredOn,
    MetricRecord,
    Note,
    ResultsRecord,
    RunRecord,
)
from triptych.run import check_count
from triptych.seeding import ImageStreams
from triptych.tasks import figures, sample
from triptych.training.run_folder import RunFolder, labels_of, load_model
from triptych.words import english

FEW = 2000  # samples below which the interval matters more than the value
OFFENDERS = 10  # samples nearest to training images that are shown
CONDITIONAL = Note("labels_given")
PRIOR = Note("prior_of_training_images")  # what is drawn begins at one of them
OTHER_DATA = Note("other_data")
NOT_FINITE = Note("not_finite_value")


Measure = Callable[[RunFolder], ResultsRecord]


@dataclass(frozen=True, eq=False)
class Plan:
    """How many samples are measured, and on which features; the data's classifier, if any."""

    count: int
    features: str
    labels: Labels | None


def check_measurement(
    count: int | None, features: str | None, data: ImageData, machine: Machine
) -> None:
    """InputError on what cannot be measured so, as far as that takes no time."""
    if count is not None:
        check_count(count)
    count_samples(count, data, machine.device)
    check_name(features, data)


def plan_measurement(
    count: int | None, features: str | None, data: ImageData, machine: Machine, console: Console
) -> Plan:
    """Train the data's classifier, unless it is there, and choose by what it is worth.

    Says where labels cannot be told; InputError on features that need them nevertheless.
    """
    check_measurement(count, features, data, machine)
    with machine.fastest_threads():
        labels = labels_of_data(data, machine, console)
    plan = Plan(count_samples(count, data, machine.device), pick_name(features, labels), labels)
    for note in warnings_on_labels(plan.labels, plan.features):
        console.say(f"note: {english(note)}")
    return plan


def warnings_on_labels(labels: Labels | None, features: str) -> list[Note]:
    """What follows where labels cannot be told."""
    if labels is None or labels.legibility.usable:
        return []
    return [
        Note("measured_without_labels", share_named(labels.legibility) | {"features": features})
    ]


def measurer(data: ImageData, plan: Plan, machine: Machine, console: Console) -> Measure:
    """A function from a run's folder to its results, which draws its figures too.

    The real side is read once, here.
    """
    with machine.fastest_threads():
        real = read_real(data, plan.count, plan.features, plan.labels, machine, console)

    def measure_run(folder: RunFolder) -> ResultsRecord:
        with machine.fastest_threads():
            model, record = load_model(folder, machine.device)
            name = f"{record.model} ({folder.path.name})"  # which tells variants and seeds
            console.say(f"  {english(Note('measuring', {'model': name}))}")
            evaluation = evaluate(model, record, real, console)
            draw(folder, model, record, evaluation, real, console)
        return evaluation.results

    return measure_run


def draw(
    folder: RunFolder,
    model: GenerativeModel,
    record: RunRecord,
    evaluation: Evaluation,
    real: Reference,
    console: Console,
) -> None:
    """The figures of a run; all processes draw, the first one saves."""
    target = folder.figures if real.machine.group.is_main else None
    labels = labels_of(record)
    by_calls = quality_by_calls(model, real, labels, console)
    curves = {} if by_calls is None else {"quality_by_calls": by_calls}
    test = real.data.test.images
    with console.bar(f"  drawing {record.model}", figures.DRAWN) as bar:
        figures.draw_figures(model, test, target, real.machine, labels, curves, telling(bar))
    pairs = images.interleave(*evaluation.nearest, columns=OFFENDERS)
    figures.save(target, "nearest", pairs, OFFENDERS)


def finite(estimate: Estimate) -> Estimate:
    """The estimate itself; NotDefinedError where it is infinite, or no number."""
    if all(map(math.isfinite, (estimate.value, estimate.low, estimate.high))):
        return estimate
    raise NotDefinedError(NOT_FINITE)


def measure(metric: Metric, outputs: Outputs) -> MetricRecord:
    """The entry of one metric: a number, or why it is not defined."""
    real, output = outputs.real, outputs.by_name[metric.needs[0]]
    note, estimate, floor = output.note, None, None
    try:
        theirs = make(real.tensors, metric.needs)  # first: a missing label spares the model's part
        ours = make({name: each.make for name, each in outputs.by_name.items()}, metric.needs)
        estimate = finite(metric.compute(ours, theirs))
        note = estimate.note or note
        floor = real.floor(metric)
    except NotDefinedError as reason:
        note = reason.note
    record = entry(metric, estimate, output.n, floor=floor, features=output.features, note=note)
    return replace(record, **(output.otherwise if estimate is None else output.more()))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """results.json of a run, and its samples nearest to training images with those images."""

    results: ResultsRecord
    nearest: tuple[Tensor, Tensor]


def telling(bar: Bar) -> Callable[[str], None]:
    """Takes what is done next, and moves the bar by one each time but the first."""
    steps = count()
    return lambda doing: bar.update(next(steps), note=doing)


def evaluate(
    model: GenerativeModel, record: RunRecord, real: Reference, console: Console
) -> Evaluation:
    """Measure a model. `record` is its run.json."""
    labels, machine = labels_of(record), real.machine
    started = time.perf_counter()
    with console.bar(f"  sampling {record.model}", real.count) as bar:
        samples = sample.sample(
            model, real.count, EVALUATION_SEED, machine, labels=labels, report=bar.update
        )
    seconds = time.perf_counter() - started
    outputs, metrics = Outputs(model, samples, real, labels), []
    with console.bar(f"  measuring {record.model}", len(real.metrics)) as bar:
        for done, metric in enumerate(real.metrics):
            bar.update(done, note=metric.name.replace("_", " "))
            metrics.append(measure(metric, outputs))
    measured_on = real.data.describe()
    warnings = [] if labels is None else [CONDITIONAL]
    if record.data.fingerprint != measured_on.fingerprint:
        warnings.append(OTHER_DATA)
    warnings += warnings_on_labels(real.labels, real.extractor.name)
    if real.seen and real.labels is not None:
        values = {"n": real.seen, "images": len(real.other)}
        warnings.append(Note("floor_of_training_images", {**values}))
    if isinstance(model, DrawsAroundExemplars):
        warnings.append(PRIOR)
    warnings += record.advice  # of the last diagnosis in training
    if real.count < FEW:
        warnings.append(Note("few_samples", {"n": real.count, "enough": FEW}))
    results = ResultsRecord(
        model=record.model,
        data=MeasuredOn(**{key.name: getattr(measured_on, key.name) for key in fields(MeasuredOn)}),
        metrics=tuple(metrics),
        extractor=ExtractorRecord(
            name=real.extractor.name,
            accuracy=real.accuracy,
            legibility=None if real.labels is None else real.labels.legibility,
        ),
        cost=CostRecord(
            parameters=parameters(model),
            train_seconds=record.train_seconds,
            images_seen=record.images_seen,
            train_images_per_second=record.images_per_second,
            flops_per_image=flops_per_image(model, machine.device),
            sample_seconds_per_image=seconds / real.count,
            network_calls=model.network_calls,
            peak_memory_bytes=record.peak_memory_bytes,
            peak_memory_of=record.peak_memory_of,
            **outputs.code,
        ),
        warnings=tuple(warnings),
    )
    return Evaluation(results, worst_offenders(outputs, OFFENDERS))


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
