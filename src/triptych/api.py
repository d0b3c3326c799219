"""The front door: every verb of the command line as a function, and a trained run as an object.

This is where the layers meet: comparison is handed a way to train and to measure.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych import files, hardware
from triptych.comparison import compare as comparing
from triptych.comparison import hand_over
from triptych.console import Console, console_for
from triptych.data import open as opening
from triptych.data.augment import Augment
from triptych.data.dataset import ImageData
from triptych.data.open import check_read_as, tell_notes
from triptych.data.sources.memory import Held, holds_images
from triptych.errors import InputError
from triptych.evaluation import saved_reference
from triptych.evaluation.evaluate import (
    Ground,
    Measure,
    MeasureSamples,
    check_measurement,
    draw_samples,
    format_for,
    measurer,
    most_samples,
    plan_measurement,
    sample_measurer,
)
from triptych.evaluation.legibility import known_legibility, warn_told_anyway
from triptych.evaluation.reference import read_real
from triptych.evaluation.samples import (
    Samples,
    SampleSource,
    are_samples,
    folder_name,
    open_samples,
    samples_of,
)
from triptych.export import check_sampler, check_target, write_run, writer
from triptych.families import registry
from triptych.files import as_path, as_paths
from triptych.hardware import Machine
from triptych.options import (
    DEFAULT_DATA,
    CompareRequest,
    DataOptions,
    ExportRequest,
    MeasureRequest,
    MeasuringOptions,
    Options,
    PushRequest,
    ReadingOptions,
    ReferenceRequest,
    TrainRequest,
    as_asked,
    as_data,
    as_number,
    takes,
)
from triptych.records import Measured, Note, ReferenceRecord, ResultsRecord
from triptych.run import Data, Run, run_data
from triptych.training import posthoc_ema, trackers
from triptych.training.callbacks import Callback, as_callbacks
from triptych.training.origin import goes_on_from
from triptych.training.resolve import (
    ResolvedRequest,
    differing_versions,
    reading_of,
    request_to_repeat,
    resolve,
    run_name,
)
from triptych.training.run_folder import RUNS, RunFolder
from triptych.training.snapshots import scorer
from triptych.training.train import train as train_request
from triptych.words import check_language, english

if TYPE_CHECKING:
    from triptych.pages.shown import Report

WIDTHS = (0.04, 0.05, 0.07, 0.1, 0.13, 0.16, 0.2)
SCORED = 500  # samples of each
UNNAMED = "street-digits, or the images of `origin`"  # of data; None is a mistake, and refused


PathLike = str | os.PathLike[str]


def load(path: PathLike) -> Run:
    """A trained run; InputError when a file is missing or altered."""
    return Run(path)


@takes(DataOptions)
def open_images(
    data: Data = DEFAULT_DATA,
    options: ReadingOptions | None = None,
    *,
    labels: Any = None,
    classes: Sequence[str] | None = None,
    test: Any = None,
    name: str | None = None,
    console: Console | None = None,
    quiet: bool = False,
    **more: Any,
) -> ImageData:
    """Images in three parts, as every verb takes them for its `data`; decoded once and kept.

    data:    what `--data` takes; or an array (N,H,W[,C]) or tensor (N,C,H,W), a list of arrays or
             Pillow images, a `torch.utils.data.Dataset` of images or of (image, label), a Hugging
             Face `Dataset`; a pair (images, labels); or {"train": ..., "test": ...} of any of them
    options: all of the options below, as one record
    labels:  of images that Python holds, one each: numbers, names or one-hot rows
    classes: the names of the numbers 0, 1, ...; a data set's own by default
    test:    images of a test part, as `data`; else a tenth becomes one
    name:    of images that Python holds, as reports show it
    quiet:   no messages and no bars
    InputError on floats without a `range`, on labels of another number, and on what are no images.
    """
    if options is not None and more:
        wrong = f"{', '.join(more)} beside the options, which are all in one record"
        raise InputError(wrong, "give one or the other")
    asked, console = options or DataOptions.of(**more), console_for(console, quiet)
    if holds_images(data):
        return opening.open_images(Held(data, labels, classes, test, name), asked, console)
    for value, option in ((labels, "labels"), (classes, "classes"), (test, "test"), (name, "name")):
        if value is not None:
            wrong = f"{option} is for images that Python holds, and {as_data(data)} is a name"
            raise InputError(wrong, "leave it out")
    return opening.open_images(as_data(data), asked, console)


def open_held(
    data: Data | None, asked: Mapping[str, Any] | DataOptions, console: Console
) -> Data | None:
    """Images that Python holds, opened as a verb is asked to; other data as they are.

    asked: the keywords of the verb, or its request
    """
    if not holds_images(data):
        return data
    names = {each.name for each in fields(DataOptions)}
    given = asked if isinstance(asked, Mapping) else vars(asked)
    reading = DataOptions.of(**{name: given[name] for name in names if name in given})
    return opening.open_images(Held(data), reading, console)


def check_alone(
    request: Options, options: Iterable[str] = (), data: Data | None = None, **named: object
) -> None:
    """InputError on other arguments beside a request, which holds all that is asked.

    data:  only images that Python holds, which no request does, may stand beside one without data
    named: arguments that were not given where they are empty
    """
    beside = [*options, *(name for name, value in named.items() if value)]
    if data is not None:
        is_held = isinstance(data, ImageData) or holds_images(data)
        if not is_held or getattr(request, "data", None) is not None:
            beside.append("data")
    if beside:
        wrong = f"{', '.join(beside)} beside a request, which holds all that is asked"
        raise InputError(wrong, "give one or the other")


def held_by_origin(
    data: Data, options: Mapping[str, Any], machine: Machine | None, console: Console
) -> ImageData:
    """Images that Python holds, read as those of the run that a training goes on from."""
    names = {each.name for each in fields(ReadingOptions)}
    reading = ReadingOptions.of(**{n: value for n, value in options.items() if n in names})
    origin = Run(as_path(options["origin"], "origin"), machine)
    images = run_data(origin, data, reading, console)
    return replace(
        images, augment=Augment(flip=options.get("flip", False), crop=options.get("crop", 0))
    )


@takes(TrainRequest)
def train(
    model: str | TrainRequest,
    data: Data = UNNAMED,
    *,
    callbacks: Callback | Sequence[Callback] = (),
    machine: Machine | None = None,
    console: Console | None = None,
    quiet: bool = False,
    **options: Any,
) -> Run:
    """Train one model; the same call on the same `out` goes on where it stopped.

    model:     or all that is asked, as one request
    callbacks: are told of the training along its way
    machine:   to run on; else the options of it decide
    quiet:     no messages and no bars
    """
    console, watching = console_for(console, quiet), as_callbacks(callbacks)
    if isinstance(model, TrainRequest):
        check_alone(model, options, None if data is UNNAMED else data)
    if holds_images(data) and options.get("origin") is not None:
        data = held_by_origin(data, options, machine, console)
    data = open_held(data, model if isinstance(model, TrainRequest) else options, console)
    if not isinstance(model, TrainRequest):
        named = {} if data is UNNAMED else {"data": as_data(source_of(data))}
        model = TrainRequest.of(model=model, **named, **options)
    trackers.prepare(model.log_to, console)
    machine = machine or hardware.pick_for(model)
    request = resolve_training(model, opened(data, model), machine, console)
    folder = free_folder(request, machine) if model.out is None else model.out
    tell_notes(request.data, console)
    if request.labels:  # as far as it is known: to find out takes as long as a short training
        warn_told_anyway(known_legibility(request.data), console)
    code = "training_into" if registry.is_trained(request.name.family) else "fitting_into"
    into = Note(code, {"model": str(request.name), "run": str(folder)})
    console.say(english(into))
    if request.origin is not None:
        console.say(f"note: {english(goes_on_from(request.origin.chain(())))}")
    return Run(train_request(request, folder, machine, console, watching).path, machine)


def resolve_training(
    asked: TrainRequest, data: ImageData | None, machine: Machine, console: Console
) -> ResolvedRequest:
    """All that is asked of a training, checked; nothing is made.

    data: images that are open already. A training that goes on from a run has that run's images
          where none are named, flipped and shifted as they were.
    """
    if asked.origin is not None and data is None:
        origin = Run(asked.origin, machine)
        own = origin.record.data
        data = run_data(origin, asked.data, asked.part(ReadingOptions), console)
        flip, crop = (own.flip, own.crop) if asked.data is None else (False, 0)
        augment = replace(data.augment, flip=asked.flip or flip, crop=asked.crop or crop)
        data = replace(data, augment=augment)
    return resolve(asked, machine.device, data, console, machine.precision)


def source_of(data: Data | None) -> str | os.PathLike[str] | None:
    """What the user named, of images that are open already too."""
    return data.source if isinstance(data, ImageData) else data


def opened(data: Data | None, asked: ReadingOptions) -> ImageData | None:
    """Images that are open already; InputError where they were not read as is asked for."""
    if not isinstance(data, ImageData):
        return None
    check_read_as(data, asked)
    return data


@takes(ReadingOptions)
def repeat(
    run: PathLike,
    out: PathLike,
    *,
    data: Data | None = None,
    machine: Machine | None = None,
    console: Console | None = None,
    quiet: bool = False,
    **options: Any,
) -> Run:
    """Train a finished run again: bit for bit the same on the same kind of machine.

    Progress and threads follow what the run recorded, whatever the clock says now.
    data:  where its images are now
    quiet: no messages and no bars
    InputError where the run cannot be followed, or the data are not the same.
    """
    console = console_for(console, quiet)
    machine = machine or hardware.pick()
    source, target = Run(as_path(run, "run"), machine), as_path(out, "out")
    images = run_data(source, data, ReadingOptions.of(**options), console)
    request, machine = request_to_repeat(source.folder, images, machine)
    for note in differing_versions(source.record):
        console.say(f"note: {english(note)}")
    return Run(train_request(request, target, machine, console).path, machine)


def free_folder(request: ResolvedRequest, machine: Machine) -> Path:
    """Under runs/, the same for all processes: where this run was stopped, else a new folder."""

    def usable(path: Path) -> bool:
        if not path.exists():
            return True
        try:
            record = RunFolder(path).read()
        except InputError:
            return False
        return not record.done and record.identity == request.identity()

    def find() -> str:
        return str(files.first_free(RUNS / run_name(request), usable))

    return Path(machine.group.broadcast(find))


@takes(MeasureRequest)
def evaluate(
    runs: PathLike | Sequence[PathLike] | MeasureRequest,
    data: Data | None = None,
    *,
    machine: Machine | None = None,
    console: Console | None = None,
    quiet: bool = False,
    **options: Any,
) -> Measured:
    """Measure runs on held-out images; writes results.json and figures into each.

    Samples from elsewhere are measured too, against the images or the reference that `data` names;
    their results go to `out`, for what the user made is never written into.

    runs:  or all that is asked, as one request
    quiet: no messages and no bars
    """
    console = console_for(console, quiet)
    if isinstance(runs, MeasureRequest):
        check_alone(runs, options, data)
        asked, data = runs, runs.data if data is None else data
    elif holds_images(data):  # which each run reads as its own
        asked = MeasureRequest.of(runs=runs, **options)
    else:
        asked = MeasureRequest.of(runs=runs, data=source_of(data), **options)
    if not asked.runs:
        raise InputError("no run named", "give folders that `triptych train` made, or samples")
    machine = machine or hardware.pick_for(asked)
    named = [text for text in asked.runs if are_samples(text)]
    trained = [text for text in asked.runs if text not in named]
    if trained and not named:
        refuse_options_of_samples(asked)
    write_samples = samples_to_measure(named, asked, data, machine, console)
    of_runs = iter(evaluate_runs(trained, asked, data, machine, console))
    of_samples = iter(write_samples())
    return Measured(next(of_samples if text in named else of_runs) for text in asked.runs)


def refuse_options_of_samples(asked: MeasureRequest) -> None:
    """InputError on options that do nothing to runs."""
    if asked.out is not None:
        raise InputError(
            "--out is for samples from elsewhere, results of a run are written into it",
            "leave it out, or copy the run first",
        )
    if asked.ignore_labels:
        raise InputError(
            "--ignore-labels is for samples from elsewhere, a run knows its own labels",
            "leave it out",
        )


def evaluate_runs(
    paths: Sequence[str],
    asked: MeasureRequest,
    data: Data | None,
    machine: Machine,
    console: Console,
) -> list[ResultsRecord]:
    """The results of runs, which are written into them."""
    planned = []
    for run in [Run(path, machine) for path in paths]:
        images = run_data(run, data, asked.part(ReadingOptions), console)
        check_measurement(asked.count, asked.features, images, machine)
        planned.append((run.folder, images))
    every = {images.fingerprint: images for _, images in planned}
    plans = {
        fingerprint: plan_measurement(asked.count, asked.features, images, machine, console)
        for fingerprint, images in every.items()
    }
    measures: dict[str, Measure] = {}
    results = []
    for folder, images in planned:
        if images.fingerprint not in measures:
            plan = plans[images.fingerprint]
            measures[images.fingerprint] = measurer(images, plan, machine, console)
        results.append(replace(measures[images.fingerprint](folder), run=folder.path.name))
        if machine.group.is_main:
            files.write_json(folder.results, results[-1].to_json())
    machine.group.barrier()
    return results


def samples_to_measure(
    named: Sequence[str],
    asked: MeasureRequest,
    data: Data | None,
    machine: Machine,
    console: Console,
) -> Callable[[], list[ResultsRecord]]:
    """Read samples from elsewhere; what comes back measures them and writes their results.

    InputError on what cannot be measured, before anything is made.
    """
    if not named:
        return list
    if data is None:
        raise InputError(
            f"{named[0]} is no run, and there is nothing to measure samples against",
            "name real images by --data, or a folder that `triptych train` made",
        )
    ground = ground_of(data, asked.part(ReadingOptions), console)
    most = most_samples(asked.count, asked.features, ground, machine)
    wanted = format_for(ground)
    sources = [SampleSource.parse(text) for text in named]
    folders = measured_folders(sources, asked.out)
    options = {"labeled": not asked.ignore_labels, "strict": asked.strict}
    opened = [open_samples(source, wanted, most, machine, console, **options) for source in sources]

    def measure_all() -> list[ResultsRecord]:
        measure_samples = sample_measurer(asked.count, asked.features, ground, machine, console)
        return [
            write_measured(samples, measure_samples, folder, machine, console)
            for samples, folder in zip(opened, folders, strict=True)
        ]

    return measure_all


def measured_folders(sources: Sequence[SampleSource], out: Path | None) -> list[Path]:
    """Where the results of samples go; InputError where that is somebody else's place."""
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two sets of samples are called {name}", "name them: NAME=PATH")
    if out is not None:
        folders = [out] if len(names) == 1 else [out / folder_name(name) for name in names]
        for folder in folders:
            if not is_measured_folder(folder):
                raise InputError(
                    f"{folder} is there already and holds no measurement of samples",
                    "name another --out",
                )
        return folders
    return [
        files.first_free(RUNS / f"{folder_name(source.name)}-measured", partial(holds, source))
        for source in sources
    ]


def holds(source: SampleSource, path: Path) -> bool:
    """Whether a folder is free, or holds what was measured of this very source."""
    if not path.exists():
        return True
    try:
        samples = comparing.read_measured(path).samples
    except InputError:
        return False
    return samples is not None and samples.source == source.text


def is_measured_folder(path: Path) -> bool:
    """Whether results of samples may go there: it is absent, empty, or holds such already."""
    if not path.is_dir():
        return not path.exists()
    inside = {each.name for each in files.visible(path)}
    return inside <= {comparing.RESULTS, comparing.FIGURES} and (
        comparing.RESULTS in inside or not inside
    )


def write_measured(
    samples: Samples,
    measure_samples: MeasureSamples,
    folder: Path,
    machine: Machine,
    console: Console,
) -> ResultsRecord:
    """Measure samples and write results.json and figures into a folder."""
    evaluation = measure_samples(samples)
    if machine.group.is_main:
        files.make_folder(folder)
        files.write_json(folder / comparing.RESULTS, evaluation.results.to_json())
        draw_samples(folder / comparing.FIGURES, samples, evaluation)
        into = Note("samples_measured_into", {"name": samples.name, "folder": str(folder)})
        console.say(english(into))
    machine.group.barrier()
    return evaluation.results


def ground_of(data: Data, options: ReadingOptions, console: Console) -> Ground:
    """The images that samples are measured against, or a saved reference."""
    if isinstance(data, ImageData):
        check_read_as(data, options)
        return data
    if holds_images(data):
        return opening.open_images(Held(data), options, console)
    if saved_reference.is_reference(data):
        return saved_reference.read(files.expanded(as_data(data)))
    return opening.open_images(as_data(data), options, console)


@takes(MeasuringOptions)
def measure(
    images: Any,
    data: Data = DEFAULT_DATA,
    *,
    labels: Any = None,
    name: str = "",
    latent: int | None = None,
    machine: Machine | None = None,
    console: Console | None = None,
    quiet: bool = False,
    **options: Any,
) -> ResultsRecord:
    """Measure samples that were made elsewhere, by all that takes no model; nothing is written.

    images: uint8 (N,H,W) or (N,H,W,C), a tensor (N,C,H,W), batches of either, a torch module
            z -> images on [-1, 1], or what `triptych evaluate` takes: a folder, a file, a generator
    data:   real images, or a file that `save_reference` wrote
    labels: names of the data's classes, one a sample, where a model was asked for them
    name:   to be shown by
    latent: the length of z, where a module does not tell it
    quiet:  no messages and no bars
    """
    console = console_for(console, quiet)
    asked = MeasuringOptions.of(**options)
    machine = machine or hardware.pick_for(asked)
    ground = ground_of(data, asked.part(ReadingOptions), console)
    samples = samples_of(
        images,
        labels,
        name,
        format_for(ground),
        most_samples(asked.count, asked.features, ground, machine),
        machine,
        console,
        latent=latent,
        labeled=not asked.ignore_labels,
        strict=asked.strict,
    )
    measure_samples = sample_measurer(asked.count, asked.features, ground, machine, console)
    return measure_samples(samples).results


@takes(ReferenceRequest)
def save_reference(
    data: Data | ReferenceRequest,
    out: PathLike = "",
    *,
    machine: Machine | None = None,
    console: Console | None = None,
    quiet: bool = False,
    **options: Any,
) -> ReferenceRecord:
    """Keep real images as a reference without their pixels: one file, to measure against again.

    data:  or all that is asked, as one request
    quiet: no messages and no bars
    """
    console = console_for(console, quiet)
    if isinstance(data, ReferenceRequest):
        check_alone(data, options, out=out)
        asked, images = data, None
    else:
        data = open_held(data, options, console)
        asked = ReferenceRequest.of(data=source_of(data), out=as_path(out, "out"), **options)
        images = opened(data, asked)
    machine = machine or hardware.pick_for(asked)
    images = images or opening.open_images(asked.data, asked.part(ReadingOptions), console)
    tell_notes(images, console)
    plan = plan_measurement(asked.count, asked.features, images, machine, console)
    with machine.fastest_threads():
        real = read_real(images, plan.count, plan.features, plan.labels, machine, console)
    return saved_reference.write(real, asked.out)


@takes(CompareRequest)
def compare(
    models: PathLike | Sequence[PathLike] | CompareRequest = (),
    data: Data | None = None,
    *,
    callbacks: Callback | Sequence[Callback] = (),
    machine: Machine | None = None,
    console: Console | None = None,
    quiet: bool = False,
    **options: Any,
) -> Report:
    """Train what must be trained, measure all alike, write the report.

    What comes back shows itself in a notebook, and stands for the report's path.
    Finished runs are taken as they are; where there are only such, the data are theirs. The same
    call on the same `out` resumes.
    models:    or all that is asked, as one request
    callbacks: are told of every training along its way
    quiet:     no messages and no bars
    """
    from triptych.pages import page
    from triptych.pages.shown import Report

    console, watching = console_for(console, quiet), as_callbacks(callbacks)
    if isinstance(models, CompareRequest):
        check_alone(models, options, data)
        asked, data = models, open_held(data, models, console)
    else:
        data = open_held(data, options, console)
        asked = CompareRequest.of(models=models, data=source_of(data), **options)
    check_language(asked.lang)
    machine = machine or hand_over.head(asked)
    if asked.on is not None and watching:
        raise InputError("callbacks stay in this process, and --on trains in others", "use log_to")
    trackers.prepare(asked.log_to, console)
    images = opened(data, asked)
    if images is not None:  # so that the command that is recorded reads them so too
        asked = replace(asked, **reading_of(images) | {"strict": asked.strict})
    folder = comparing.compare(asked, images, machine, console, watching)
    if machine.group.is_main:
        with console.bar("  writing the page"):
            page.write_page(folder, language=asked.lang, course=asked.course)
    machine.group.barrier()
    return Report(folder / page.PAGE, asked.lang)


def report(
    paths: PathLike | Sequence[PathLike],
    *,
    lang: str = "en",
    course: bool = False,
    force: bool = False,
    out: PathLike | None = None,
    format: str = "html",
    eyes: PathLike | None = None,
    console: Console | None = None,
    quiet: bool = False,
) -> Path:
    """Write the page of a comparison again, or of finished and evaluated runs.

    Runs that differ are refused unless forced; their page goes to `out`, or report.FORMAT here,
    where it replaces the page of a report alone.
    format: html, md (Markdown) or tex (LaTeX), whose pictures go into a folder beside the page
    eyes:   blind tests to be shown too, a file that the live page exported
    quiet:  no bar
    """
    from triptych.pages.formats import check_replaceable, check_target
    from triptych.pages.page import write_page

    check_language(lang)
    folders = as_paths(paths, "paths")
    target = None if out is None else as_path(out, "out")
    tests = None if eyes is None else as_path(eyes, "eyes")
    write = partial(write_page, language=lang, course=course, format=format, eyes=tests)
    check_target(target or Path(f"report.{format}"), format)
    if target is not None and not target.parent.exists():
        raise InputError(f"there is no folder {target.parent}", "make it, or name another --out")
    if not folders:
        raise InputError("no folder named", "give a comparison, or runs that were evaluated")
    with console_for(console, quiet).bar("  writing the page"):
        if len(folders) == 1 and (folders[0] / comparing.CONTRACT).is_file():
            return write(folders[0], target)
        for path in folders:
            if (path / comparing.CONTRACT).is_file():
                raise InputError(f"{path} is a comparison", "name it alone, or name its runs")
        if target is None:
            check_replaceable(Path(f"report.{format}"), format)
        runs = [RunFolder(path) for path in folders]
        with tempfile.TemporaryDirectory() as scratch:
            comparing.join(Path(scratch), runs, force)
            return write(Path(scratch), target or Path(f"report.{format}"))


@takes(PushRequest)
def push(
    path: PathLike | PushRequest,
    name: str = "",
    *,
    machine: Machine | None = None,
    console: Console | None = None,
    quiet: bool = False,
    **options: Any,
) -> str:
    """Put a finished run or a comparison on the Hugging Face Hub; gives its address there.

    It goes with a card that is filled from its records. Paths of this machine stay here.
    path:  or all that is asked, as one request
    quiet: no messages and no bars
    InputError before anything is sent: without a token, on a bad name, without licences.
    """
    from triptych.export import hub

    if isinstance(path, PushRequest):
        check_alone(path, options, name=name)
        asked = path
    else:
        asked = PushRequest.of(path=as_path(path, "path"), name=name, **options)
    return hub.push(asked, machine or hardware.pick(), console_for(console, quiet))


def pull(name: str, out: PathLike, *, console: Console | None = None, quiet: bool = False) -> Path:
    """Fetch what `push` put on the Hub under owner/name into the new folder `out`.

    A run is loaded by `triptych.load`, of a comparison each of its folders.
    quiet: no messages and no bars
    InputError where there is none, or where it is not as it was written.
    """
    from triptych.export import hub

    return hub.pull(as_asked(name, "name", str), as_path(out, "out"), console_for(console, quiet))


@dataclass(frozen=True)
class Averaged:
    """What `average` wrote.

    run:    the folder that was written
    width:  of the average that it uses
    scores: kernel distances to validation images by width, where widths were compared
    """

    run: Path
    width: float
    scores: dict[float, float]


def average(
    run: PathLike,
    out: PathLike,
    width: float | None = None,
    *,
    data: Data | None = None,
    machine: Machine | None = None,
    console: Console | None = None,
    quiet: bool = False,
) -> Averaged:
    """Write a run with the weights of `run` averaged at another relative width.

    width: the deviation of the average's moments as a share of the training; None compares some
           of them by their samples' kernel distance to the validation images of `data`, the
           run's own by default
    quiet: no messages and no bars
    InputError where the run kept no averages, or they make none of this width.
    """
    console = console_for(console, quiet)
    machine = machine or hardware.pick()
    source, target = Run(as_path(run, "run"), machine), RunFolder(as_path(out, "out"))
    if target.path.exists():
        raise InputError(f"{target.path} is there already", "name a new folder")
    if width is not None and not 0 < (width := as_number(width, "width")) < posthoc_ema.WIDEST:
        raise InputError(f"--width {width:g} is no share of a training", "give 0.02 to 0.25")
    scores: dict[float, float] = {}
    if width is None:
        scores = compare_widths(source, data, machine, console)
        width = min(scores, key=scores.__getitem__)
    weights = posthoc_ema.averaged(source.folder, width, source.model.state_dict())
    posthoc_ema.write_run(source.folder, target, width, weights)
    return Averaged(target.path, width, scores)


def compare_widths(
    source: Run, data: Data | None, machine: Machine, console: Console
) -> dict[float, float]:
    """The score of each width, with the same noise; the model ends with its own weights."""
    opened = run_data(source, data, None, console)
    score = scorer(opened, source.labels)
    if score is None:
        raise InputError("there are too few validation images to compare by", "give --width")
    own = {name: tensor.clone() for name, tensor in source.model.state_dict().items()}
    scores = {}
    with console.bar("  comparing", len(WIDTHS)) as bar:
        for number, width in enumerate(WIDTHS, start=1):
            source.model.load_state_dict(posthoc_ema.averaged(source.folder, width, own))
            scores[width] = score(source.model, SCORED, machine)
            bar.update(number)
    source.model.load_state_dict(own)
    return scores


@takes(ExportRequest)
def export_run(
    path: PathLike | ExportRequest,
    out: PathLike = "",
    format: str = "pt2",
    *,
    console: Console | None = None,
    quiet: bool = False,
    **options: Any,
) -> Path:
    """Write a run in a form that other programs open without this package; returns the folder.

    path:  of the run; or all that is asked, as one request
    out:   a folder that is new or empty; it is complete or absent afterwards
    quiet: no messages and no bars
    InputError where the run is not finished, or where it has no such form.
    """
    if isinstance(path, ExportRequest):
        check_alone(path, options, out=out, format=format != "pt2")
        asked = path
    else:
        asked = ExportRequest.of(path=path, out=as_path(out, "out"), format=format, **options)
    writer(asked.format)
    check_target(asked.out)
    run = Run(asked.path, hardware.pick("cpu", "fp32"))
    sampler = (asked.sampler, asked.steps, asked.eta, asked.guidance)
    if any(value is not None for value in sampler):
        check_sampler(run, asked.format)
    run.model = run.with_sampler(*sampler)
    with run.machine.own_threads():
        write_run(run, asked.out, asked.format, console_for(console, quiet))
    return asked.out
