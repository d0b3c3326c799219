"""All numbers of one trained model: metrics of samples, abilities and costs, for results.json."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from triptych import images
from triptych.console import Bar, Console
from triptych.data.dataset import ImageData
from triptych.data.samples import SampleFormat
from triptych.errors import InputError
from triptych.evaluation.extractors import Labels, check_name, labels_of_data, pick_name
from triptych.evaluation.legibility import share_named
from triptych.evaluation.outputs import (
    EVALUATION_SEED,
    NO_MODEL,
    Outputs,
    OutputsWithoutModel,
    SampleOutputs,
    quality_by_calls,
    worst_offenders,
)
from triptych.evaluation.reference import RealSide, Reference, count_samples, read_real
from triptych.evaluation.samples import Samples
from triptych.evaluation.saved_reference import ReferenceFile, format_of, open_reference
from triptych.families.capabilities import Iterative, exemplar_numbers
from triptych.families.grouped_exemplars import GroupedExemplars
from triptych.families.protocol import GenerativeModel
from triptych.hardware import Machine
from triptych.metrics import Metric, NotDefinedError, all_metrics, entry
from triptych.metrics.intervals import Estimate
from triptych.options import DEFAULT_COUNTS
from triptych.records import (
    ELSEWHERE,
    CostRecord,
    ExtractorRecord,
    MetricRecord,
    Note,
    ResultsRecord,
    RunRecord,
    as_json,
)
from triptych.run import check_count
from triptych.seeding import ImageStreams
from triptych.tasks import at_once, figures, sample
from triptych.training.origin import goes_on_from
from triptych.training.run_folder import RunFolder, labels_of, load_model
from triptych.words import english

FEW = 2000  # samples below which the interval matters more than the value
OFFENDERS = 10  # samples nearest to training images that are shown
CONDITIONAL = Note("labels_given")
PRIOR = Note("prior_of_training_images")  # what is drawn begins at one of them
LABELLED = Note("samples_have_labels")
OTHER_DATA = Note("other_data")
NOT_FINITE = Note("not_finite_value")
IMAGES_ONLY = Note("images_only")


Measure = Callable[[RunFolder], ResultsRecord]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """results.json, and the samples nearest to training images with those images.

    nearest: None where the training images are not at hand
    """

    results: ResultsRecord
    nearest: tuple[Tensor, Tensor] | None


MeasureSamples = Callable[[Samples], Evaluation]


@dataclass(frozen=True)
class MeasuringSampler:
    """A sampler that stands in for a recipe's own while samples are measured."""

    name: str
    steps: int


@dataclass(frozen=True, eq=False)
class Plan:
    """How many samples are measured, and on which features; the data's classifier, if any.

    samplers: by the model's name, of models that are not sampled by their own while measuring
    """

    count: int
    features: str
    labels: Labels | None
    samplers: Mapping[str, MeasuringSampler] = field(default_factory=dict)


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
    samples = count_samples(count, data, machine.device)
    plan = Plan(samples, pick_name(features, data, labels), labels)
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


# Samples from elsewhere

Ground = ImageData | ReferenceFile  # what they are measured against


def format_for(ground: Ground) -> SampleFormat:
    """What samples must be to be measured against it."""
    return (
        format_of(ground.record) if isinstance(ground, ReferenceFile) else SampleFormat.of(ground)
    )


def most_samples(count: int | None, features: str | None, ground: Ground, machine: Machine) -> int:
    """How many samples are measured where there are enough of them.

    InputError on what cannot be measured so, as far as that takes no time.
    """
    if isinstance(ground, ImageData):
        check_measurement(count, features, ground, machine)
        return count_samples(count, ground, machine.device)
    if count is not None:
        check_count(count)
    if features not in (None, ground.record.features):
        raise InputError(
            f"{ground.path} holds no features '{features}'",
            f"leave out --features, it measures on {ground.record.features}",
        )
    usual = DEFAULT_COUNTS["cuda" if machine.device.startswith("cuda") else "cpu"]
    return min(count or usual, ground.record.count)


def sample_measurer(
    count: int | None, features: str | None, ground: Ground, machine: Machine, console: Console
) -> MeasureSamples:
    """A function from samples to their numbers; the real side is read once for each count."""
    sides: dict[int, RealSide] = {}
    if isinstance(ground, ImageData):
        plan = plan_measurement(count, features, ground, machine, console)

    def real_side(count: int) -> RealSide:
        if isinstance(ground, ReferenceFile):
            return open_reference(ground, count, machine, all_metrics(console.say))
        return read_real(ground, count, plan.features, plan.labels, machine, console)

    def measure_samples(samples: Samples) -> Evaluation:
        count = len(samples.images)
        with machine.fastest_threads():
            if count not in sides:
                sides[count] = real_side(count)
            console.say(f"  {english(Note('measuring', {'model': samples.name}))}")
            return evaluate_samples(samples, sides[count], console)

    return measure_samples


def measurer(data: ImageData, plan: Plan, machine: Machine, console: Console) -> Measure:
    """A function from a run's folder to its results, which draws its figures too.

    The real side is read once, here.
    """
    return measurers(data, plan, machine, console)[0]


def measurers(
    data: ImageData, plan: Plan, machine: Machine, console: Console
) -> tuple[Measure, MeasureSamples]:
    """The same, and a function from as many samples to their numbers, on the same real side."""
    with machine.fastest_threads():
        real = read_real(data, plan.count, plan.features, plan.labels, machine, console)

    def measure_run(folder: RunFolder) -> ResultsRecord:
        with machine.fastest_threads():
            model, record = load_model(folder, machine.device)
            name = f"{record.model} ({folder.path.name})"  # which tells variants and seeds
            console.say(f"  {english(Note('measuring', {'model': name}))}")
            model, notes = with_measuring_sampler(model, plan.samplers.get(record.model))
            evaluation = evaluate(model, record, real, console, notes)
            draw(folder, model, record, evaluation, real, console)
        return evaluation.results

    def measure_samples(samples: Samples) -> Evaluation:
        with machine.fastest_threads():
            console.say(f"  {english(Note('measuring', {'model': samples.name}))}")
            return evaluate_samples(samples, real, console)

    return measure_run, measure_samples


def with_measuring_sampler(
    model: GenerativeModel, sampler: MeasuringSampler | None
) -> tuple[GenerativeModel, list[Note]]:
    """The model by that sampler, and the note that says so; as it is where there is none.

    InputError where it has no such sampler.
    """
    if sampler is None or not isinstance(model, Iterative):
        return model, []
    calls = model.network_calls
    model = model.with_sampler(sampler.name, sampler.steps)
    of_steps = {"n": sampler.steps, "calls": model.network_calls, "usual": calls}
    return model, [Note("measured_by_sampler", {"sampler": sampler.name, **of_steps})]


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
    draw_nearest(target, evaluation)


def draw_nearest(target: Path | None, evaluation: Evaluation) -> None:
    """Samples above their nearest training images, where these are at hand."""
    if evaluation.nearest is not None:
        pairs = images.interleave(*evaluation.nearest, columns=OFFENDERS)
        figures.save(target, "nearest", pairs, OFFENDERS)


def draw_samples(target: Path | None, samples: Samples, evaluation: Evaluation) -> None:
    """The figures of samples from elsewhere, and why there are no others."""
    figures.save(target, "samples", samples.images[: figures.SIDE**2], figures.SIDE)
    draw_nearest(target, evaluation)
    for name in ("reconstruction", "interpolation"):
        figures.write(target, name, {"defined": False, "note": as_json(NO_MODEL)})


def finite(estimate: Estimate) -> Estimate:
    """The estimate itself; NotDefinedError where it is infinite, or no number."""
    if all(map(math.isfinite, (estimate.value, estimate.low, estimate.high))):
        return estimate
    raise NotDefinedError(NOT_FINITE)


def measure(metric: Metric, outputs: SampleOutputs) -> MetricRecord:
    """The entry of one metric: a number, or why it is not defined."""
    real, output = outputs.against, outputs.by_name[metric.needs[0]]
    note, estimate, floor = output.note, None, None
    try:
        if metric.images_only and images.is_points(outputs.images):
            raise NotDefinedError(IMAGES_ONLY)
        if output.lacking is not None:
            raise NotDefinedError(output.lacking)
        theirs = real.made(metric)  # first: a missing label spares the model's part
        ours = outputs.made(metric)
        estimate = finite(metric.compute(ours, theirs))
        note = estimate.note or note
        floor = real.floor(metric)
    except NotDefinedError as reason:
        note = reason.note
    record = entry(metric, estimate, output.n, floor=floor, features=output.features, note=note)
    return replace(record, **(output.otherwise if estimate is None else output.more()))


def telling(bar: Bar) -> Callable[[str], None]:
    """Takes what is done next, and moves the bar by one each time but the first."""
    steps = count()
    return lambda doing: bar.update(next(steps), note=doing)


def evaluate(
    model: GenerativeModel,
    record: RunRecord,
    real: Reference,
    console: Console,
    notes: Sequence[Note] = (),
) -> Evaluation:
    """Measure a model. `record` is its run.json, `notes` tell how it is sampled."""
    labels, machine = labels_of(record), real.machine
    with console.bar(f"  sampling {record.model}", real.count) as bar:
        # The first call of a network finds its kernels, which is no cost of a sample.
        few = min(at_once(machine), real.count)
        sample.sample(model, few, EVALUATION_SEED, machine, labels=labels)
        started = time.perf_counter()
        samples = sample.sample(
            model, real.count, EVALUATION_SEED, machine, labels=labels, report=bar.update
        )
    seconds = time.perf_counter() - started
    outputs = Outputs(model, samples, real, labels)
    metrics = measure_all(outputs, record.model, console)
    warnings = [*notes, *([] if labels is None else [CONDITIONAL])]
    if record.origins:
        warnings.append(goes_on_from(record.origins))
    if record.data.fingerprint != real.measured_on.fingerprint:
        warnings.append(OTHER_DATA)
    warnings += warnings_on_labels(real.labels, real.extractor.name)
    warnings += warnings_on_floors(real)
    if exemplar_numbers(model):
        warnings.append(PRIOR)
    warnings += record.advice  # of the last diagnosis in training
    warnings += warnings_on_count(real.count)
    results = ResultsRecord(
        model=record.model,
        data=real.measured_on,
        metrics=metrics,
        extractor=extractor_record(real),
        cost=CostRecord(
            parameters=parameters(model),
            train_seconds=record.total_seconds,
            images_seen=record.total_images,
            train_images_per_second=speed_of(record),
            flops_per_image=flops_per_image(model, machine.device),
            sample_seconds_per_image=seconds * machine.group.size / real.count,
            network_calls=model.network_calls,
            peak_memory_bytes=record.peak_memory_bytes,
            peak_memory_of=record.peak_memory_of,
            exemplar_numbers=exemplar_numbers(model),
            **outputs.encoding_costs,
        ),
        warnings=tuple(warnings),
    )
    return Evaluation(results, worst_offenders(outputs, OFFENDERS))


def evaluate_samples(samples: Samples, real: RealSide, console: Console) -> Evaluation:
    """Measure samples that were made elsewhere by all that takes no model; they have no cost."""
    for note in samples.notes:
        console.say(f"note: {samples.name}: {english(note)}")
    outputs = OutputsWithoutModel(samples.images, real)
    metrics = measure_all(outputs, samples.name, console)
    warnings = [] if samples.labels is None else [LABELLED]
    warnings += samples.notes
    warnings += warnings_on_labels(real.labels, real.extractor.name)
    warnings += warnings_on_floors(real)
    warnings += warnings_on_count(real.count)
    results = ResultsRecord(
        model=f"{ELSEWHERE}:{samples.name}",
        run=samples.name,
        data=real.measured_on,
        metrics=metrics,
        extractor=extractor_record(real),
        cost=CostRecord(),
        warnings=tuple(warnings),
        samples=samples.record(),
    )
    return Evaluation(results, worst_offenders(outputs, OFFENDERS))


def measure_all(outputs: SampleOutputs, name: str, console: Console) -> tuple[MetricRecord, ...]:
    """The entries of all metrics, those on the second feature set last.

    name: what is measured, for the bar
    """
    plan = [(metric, outputs) for metric in outputs.against.metrics]
    if (second := outputs.against.second) is not None:
        others: SampleOutputs = OutputsWithoutModel(outputs.images, second)
        if second.labels is outputs.against.labels:
            others.reading = outputs.reading  # one pass of the classifier over the samples
        plan += [(metric, others) for metric in second.metrics]
    entries = []
    with console.bar(f"  measuring {name}", len(plan)) as bar:
        for done, (metric, measured) in enumerate(plan):
            bar.update(done, note=metric.name.replace("_", " "))
            entries.append(measure(metric, measured))
    return tuple(entries)


def warnings_on_floors(real: RealSide) -> list[Note]:
    """What must be said where the classifier has seen images behind the floors."""
    if not real.seen or real.labels is None:
        return []
    values = {"n": real.seen, "images": len(real.others["features"]())}
    return [Note("floor_of_training_images", {**values})]


def warnings_on_count(count: int) -> list[Note]:
    """What must be said where so few samples were measured."""
    return [Note("few_samples", {"n": count, "enough": FEW})] if count < FEW else []


def speed_of(record: RunRecord) -> float | None:
    """Images a second of a training and of all that it went on from; None where none was seen."""
    if not record.total_images or not record.total_seconds:
        return None
    return round(record.total_images / record.total_seconds, 1)


def extractor_record(real: RealSide) -> ExtractorRecord:
    """What the distances are found on, and what the data's classifier is worth."""
    return ExtractorRecord(
        name=real.extractor.name,
        accuracy=real.accuracy,
        legibility=None if real.labels is None else real.labels.legibility,
        key=None if real.labels is None or real.no_labels else real.labels.key,
    )


def parameters(model: GenerativeModel) -> int:
    """Numbers that training moves, in all networks; those that are stored where it moves none.

    Encodings of training images are none of these: `exemplar_numbers` counts them.
    """
    moved = sum(parameter.numel() for parameter in model.parameters())
    if moved:
        return moved
    priors = [part for part in model.modules() if isinstance(part, GroupedExemplars)]
    kept = sum(buffer.numel() for prior in priors for buffer in prior.buffers())
    return sum(buffer.numel() for buffer in model.buffers()) - kept


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
