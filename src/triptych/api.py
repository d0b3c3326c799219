"""The front door: every verb of the command line as a function, and a trained run as an object.

This is where the layers meet: comparison is handed a way to train and to measure.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from triptych import config, files, hardware, images
from triptych.comparison import compare as comparing
from triptych.comparison.compare import data_to_compare
from triptych.comparison.contract import trained_on_other_data
from triptych.comparison.turns import train_in_turns
from triptych.console import QUIET, Console
from triptych.data.dataset import ImageData
from triptych.data.open import tell_notes
from triptych.distributed import Group
from triptych.errors import InputError
from triptych.evaluation import evaluate as evaluating
from triptych.evaluation.extractors import pick_name
from triptych.evaluation.outputs import quality_by_calls
from triptych.evaluation.reference import count_samples, read_real
from triptych.families import registry
from triptych.hardware import Machine
from triptych.options import (
    DEFAULT_BUDGETS,
    DEFAULT_DATA,
    CompareRequest,
    DataOptions,
    MeasureRequest,
    ReadingOptions,
    TrainingOptions,
    TrainRequest,
    takes,
)
from triptych.pages.language import check_language
from triptych.run import Run, check_count, run_data
from triptych.tasks import figures
from triptych.training import posthoc_ema
from triptych.training.resolve import (
    ResolvedRequest,
    Variant,
    check_output,
    differing_versions,
    pick_size,
    request_to_repeat,
    resolve,
    run_name,
)
from triptych.training.run_folder import RunFolder, labels_of, load_model
from triptych.training.snapshots import scorer
from triptych.training.train import Training, training_in
from triptych.training.train import train as train_request

RUNS = Path("runs")
WIDTHS = (0.04, 0.05, 0.07, 0.1, 0.13, 0.16, 0.2)
SCORED = 500  # samples of each


def load(path: Path | str) -> Run:
    """A trained run; InputError when a file is missing or altered."""
    return Run(path)


@takes(TrainRequest)
def train(
    model: str | TrainRequest,
    data: str | ImageData = DEFAULT_DATA,
    *,
    machine: Machine | None = None,
    console: Console = QUIET,
    **options: Any,
) -> Run:
    """Train one model; the same call on the same `out` goes on where it stopped.

    model:   or all that is asked, as one request
    machine: to run on; else the options of it decide
    """
    if not isinstance(model, TrainRequest):
        model = TrainRequest.of(model=model, data=source_of(data), **options)
    machine = machine or hardware.pick_for(model)
    request = resolve(model, machine.device, opened(data), console)
    folder = Path(model.out) if model.out is not None else free_folder(request, machine)
    tell_notes(request.data, console)
    console.say(f"training {request.name} into {folder}")
    return Run(train_request(request, folder, machine, console).path, machine)


def source_of(data: str | ImageData | None) -> str | None:
    """What the user named, of images that are open already too."""
    return data.source if isinstance(data, ImageData) else data


def opened(data: str | ImageData | None) -> ImageData | None:
    """Images that are open already."""
    return data if isinstance(data, ImageData) else None


@takes(ReadingOptions)
def repeat(
    run: Path | str,
    out: Path | str,
    *,
    data: str | ImageData | None = None,
    machine: Machine | None = None,
    console: Console = QUIET,
    **options: Any,
) -> Run:
    """Train a finished run again: bit by bit the same on the same kind of machine.

    Progress and threads follow what the run recorded, whatever the clock says now.
    data: where its images are now
    InputError where the run cannot be followed, or the data are not the same.
    """
    machine = machine or hardware.pick()
    source = Run(run, machine)
    images = run_data(source, data, ReadingOptions.of(**options), console)
    request, machine = request_to_repeat(source.folder, images, machine)
    for sentence in differing_versions(source.facts):
        console.say(f"note: {sentence}")
    return Run(train_request(request, Path(out), machine, console).path, machine)


def free_folder(request: ResolvedRequest, machine: Machine) -> Path:
    """Under runs/, the same for all processes: where this run was stopped, else a new folder."""

    def usable(path: Path) -> bool:
        if not path.exists():
            return True
        try:
            facts = RunFolder(path).read()
        except InputError:
            return False
        return facts["status"] != "done" and facts["identity"] == request.identity()

    def find() -> str:
        return str(files.first_free(RUNS / run_name(request), usable))

    return Path(machine.group.broadcast(find))


@takes(MeasureRequest)
def evaluate(
    runs: Sequence[Path | str] | MeasureRequest,
    data: str | ImageData | None = None,
    *,
    machine: Machine | None = None,
    console: Console = QUIET,
    **options: Any,
) -> list[dict[str, Any]]:
    """Measure runs on held-out images; writes results.json and figures into each.

    runs: or all that is asked, as one request
    """
    if isinstance(runs, MeasureRequest):
        asked, data = runs, runs.data
    else:
        asked = MeasureRequest.of(runs=tuple(runs), data=source_of(data), **options)
    if not asked.runs:
        raise InputError("no run named", "give folders that `triptych train` made")
    machine = machine or hardware.pick_for(asked)
    planned = []
    for run in [Run(path, machine) for path in asked.runs]:
        images = run_data(run, data, asked.part(ReadingOptions), console)
        plan = plan_measurement(asked.count, asked.features, images, machine)
        planned.append((run.folder, images, plan))
    measures: dict[str, Callable[[RunFolder], dict[str, Any]]] = {}
    results = []
    for folder, images, plan in planned:
        if images.fingerprint not in measures:
            measures[images.fingerprint] = measurer(images, plan, machine, console)
        results.append(measures[images.fingerprint](folder) | {"run": folder.path.name})
        if machine.group.is_main:
            files.write_json(folder.results, results[-1])
    machine.group.barrier()
    return results


@dataclass(frozen=True)
class Plan:
    """How many samples are measured, and on which features."""

    count: int
    features: str


def plan_measurement(
    count: int | None, features: str | None, data: ImageData, machine: Machine
) -> Plan:
    """InputError on what cannot be measured so, before anything is made."""
    if count is not None:
        check_count(count)
    return Plan(count_samples(count, data, machine.device), pick_name(features, data))


def measurer(
    data: ImageData, plan: Plan, machine: Machine, console: Console
) -> Callable[[RunFolder], dict[str, Any]]:
    """A function from a run's folder to its results; the real side is read once."""
    with machine.fastest_threads():
        real = read_real(data, plan.count, plan.features, machine, console)

    def measure(folder: RunFolder) -> dict[str, Any]:
        with machine.fastest_threads():
            return measure_here(folder)

    def measure_here(folder: RunFolder) -> dict[str, Any]:
        model, facts = load_model(folder, machine.device)
        console.say(f"  measuring {facts['model']}")
        found = evaluating.evaluate(model, facts, real, console)
        drawn = folder.figures if machine.group.is_main else None
        labels = labels_of(facts)
        by_calls = quality_by_calls(model, real, labels, console)
        more = {} if by_calls is None else {"quality_by_calls": by_calls}
        with console.bar(f"  drawing {facts['model']}", figures.DRAWN) as bar:
            figures.draw_figures(
                model,
                data.test.images,
                drawn,
                machine,
                labels,
                more,
                evaluating.telling(bar),
            )
        pairs = images.interleave(*found.nearest, columns=evaluating.OFFENDERS)
        figures.save(drawn, "nearest", pairs, evaluating.OFFENDERS)
        return found.results

    return measure


@takes(CompareRequest)
def compare(
    models: Sequence[str | Path] | CompareRequest = (),
    data: str | ImageData | None = None,
    *,
    machine: Machine | None = None,
    console: Console = QUIET,
    **options: Any,
) -> Path:
    """Train what must be trained, measure all alike, write the report; returns its path.

    Finished runs are taken as they are; where there are only such, the data are theirs. The same
    call on the same `out` resumes.
    models: or all that is asked, as one request
    """
    from triptych.pages import page

    if isinstance(models, CompareRequest):
        asked, data = models, models.data
    else:
        names = tuple(map(str, models))
        asked = CompareRequest.of(models=names, data=source_of(data), **options)
    check_language(asked.lang)
    machine = machine or hardware.pick_for(asked)
    size = pick_size(asked.size, machine.device)
    asked = replace(
        asked,
        models=asked.models or tuple(registry.FAMILIES),
        budget=asked.budget or DEFAULT_BUDGETS[size],
        size=size,
    )
    folders = [RunFolder(Path(model)) for model in asked.models if comparing.is_run(model)]
    variants = [Variant.parse(model) for model in asked.models if not comparing.is_run(model)]
    own = Run(folders[0].path, machine) if data is None and folders and not variants else None
    images = data_to_compare(data, own, asked.part(DataOptions), console)
    plan = plan_measurement(asked.count, asked.features, images, machine)
    requests = make_requests(variants, asked, images)
    identity = comparing.identity(asked, images)
    group = machine.group
    folder = agreed_folder(asked.out, identity, images, requests, group)
    more = check_finished(folders, requests, images, machine, asked.force)
    tell_notes(images, console)
    folders += train_all(requests, folder, machine, console)
    measure = measurer(images, plan, machine, console)
    place, measured_on = comparing.this_machine(machine), images.describe()
    if group.is_main:
        command = asked.command()
        contract = partial(comparing.write_contract, folder, folders, identity, command, vars(plan))
        agreed = partial(contract, measured_on, place, asked.force, more)
        write_comparison(folder, folders, agreed, measure, images, asked.lang, console)
    else:  # these measure their share; the first one writes
        for run in folders:
            measure(run)
    group.barrier()
    return folder / page.PAGE


def write_comparison(
    folder: Path,
    folders: list[RunFolder],
    contract: Callable[[], list[str]],
    measure: Callable[[RunFolder], dict[str, Any]],
    data: ImageData,
    language: str,
    console: Console,
) -> None:
    """The contract, what `measure` finds for every run, the real images and the page."""
    from triptych.pages import page

    files.make_folder(folder)
    for sentence in contract():
        console.say(f"note: {sentence}")
    comparing.write_results(folder, folders, measure)
    figures.save(folder / "figures", "real", data.test.images[: figures.SIDE**2], figures.SIDE)
    page.write_page(folder, language=language)


def train_all(
    requests: Sequence[ResolvedRequest], folder: Path, machine: Machine, console: Console
) -> list[RunFolder]:
    """Train each into a folder of its own inside a comparison's, in turns."""

    def open_training(request: ResolvedRequest) -> AbstractContextManager[Training]:
        out = folder / run_name(request)
        return training_in(request, out, machine, console)

    for request in requests:
        variant = f" ({request.variant})" if request.variant else ""
        console.say(f"training {request.name}{variant} for {request.budget.asked}")
    train_in_turns(requests, open_training, machine, console)
    return [RunFolder(folder / run_name(request)) for request in requests]


def agreed_folder(
    out: Path | str | None,
    identity: dict[str, Any],
    data: ImageData,
    requests: Sequence[ResolvedRequest],
    group: Group,
) -> Path:
    """The folder of a comparison, the same for all processes; InputError unless it may be used."""
    folder = Path(group.broadcast(lambda: str(out or comparison_folder(identity, data))))
    group.broadcast(lambda: comparing.check_output(folder, identity))
    for request in requests:
        group.broadcast(partial(check_output, RunFolder(folder / run_name(request)), request))
    return folder


def make_requests(
    variants: Sequence[Variant], asked: CompareRequest, data: ImageData
) -> list[ResolvedRequest]:
    """Every model with every seed."""
    for variant in variants:
        if variants.count(variant) > 1:
            raise InputError(f"{variant} is named twice", "use --seeds to train it several times")
    shared = vars(asked.part(TrainingOptions))
    return [
        resolve(TrainRequest(**shared, model=str(variant), seed=seed), data=data)
        for variant in variants
        for seed in range(asked.seeds)
    ]


def check_finished(
    folders: Sequence[RunFolder],
    requests: Sequence[ResolvedRequest],
    data: ImageData,
    machine: Machine,
    force: bool,
) -> list[str]:
    """Compare finished runs with each other and with what is to be trained, before it is.

    Returns sentences on runs of other data, when forced; InputError on what forbids comparing.
    """
    if not folders and not requests:
        raise InputError("no model named", "name models, or folders of finished runs")
    finished = comparing.read_finished(folders)
    more = trained_on_other_data(finished, data.fingerprint)
    compared = dict(finished)
    if requests:
        compared["new runs"] = {
            "data": data.describe(),
            "device": machine.device,
            "precision": machine.precision,
            "budget": config.to_json(requests[0].budget),  # all have the same
        }
    comparing.refuse_unequal(compared, force, more)
    for name, facts in finished.items():
        theirs = facts["data"]["channels"], facts["data"]["resolution"]
        if theirs != (data.shape.channels, data.shape.resolution):
            raise InputError(
                f"{name} makes images of another size than {data.name}",
                "compare it on its own data",
            )
    return more


def comparison_folder(identity: dict[str, Any], data: ImageData) -> Path:
    """runs/compare-<data>-<budget>: the one with this identity if there is one, else a new one."""

    def usable(candidate: Path) -> bool:
        try:
            comparing.check_output(candidate, identity)
        except InputError:
            return False
        return True

    return files.first_free(RUNS / f"compare-{data.name}-{identity['budget']}", usable)


def report(
    paths: Sequence[Path | str],
    *,
    lang: str = "en",
    course: bool = False,
    force: bool = False,
    out: Path | str | None = None,
) -> Path:
    """Write the page of a comparison again, or of finished and evaluated runs.

    Runs that differ are refused unless forced; their page goes to `out`, or report.html here.
    """
    from triptych.pages.page import write_page

    check_language(lang)
    folders = [Path(path) for path in paths]
    target = None if out is None else Path(out)
    if len(folders) == 1 and (folders[0] / comparing.CONTRACT).is_file():
        return write_page(folders[0], target, language=lang, course=course)
    if not folders:
        raise InputError("no folder named", "give a comparison, or runs that were evaluated")
    runs = [RunFolder(path) for path in folders]
    with tempfile.TemporaryDirectory() as scratch:
        comparing.join(Path(scratch), runs, force)
        page = target or Path("report.html")
        return write_page(Path(scratch), page, language=lang, course=course)


@dataclass(frozen=True)
class Averaged:
    """run:    the folder that was written
    width:  of the average that it uses
    scores: kernel distances to validation images by width, where widths were compared
    """

    run: Path
    width: float
    scores: dict[float, float]


def average(
    run: Path | str,
    out: Path | str,
    width: float | None = None,
    *,
    data: str | ImageData | None = None,
    machine: Machine | None = None,
    console: Console = QUIET,
) -> Averaged:
    """Write a run with the weights of `run` averaged at another relative width.

    width: the deviation of the average's moments as a share of the training; None compares some
           of them by their samples' kernel distance to the validation images of `data`, the
           run's own by default
    InputError where the run kept no averages, or they make none of this width.
    """
    machine = machine or hardware.pick()
    source, target = Run(run, machine), RunFolder(Path(out))
    if target.path.exists():
        raise InputError(f"{target.path} is there already", "name a new folder")
    if width is not None and not 0 < width < posthoc_ema.WIDEST:
        raise InputError(f"--width {width:g} is no share of a training", "give 0.02 to 0.25")
    scores: dict[float, float] = {}
    if width is None:
        scores = compare_widths(source, data, machine, console)
        width = min(scores, key=scores.__getitem__)
    weights = posthoc_ema.averaged(source.folder, width, source.model.state_dict())
    posthoc_ema.write_run(source.folder, target, width, weights)
    return Averaged(target.path, width, scores)


def compare_widths(
    source: Run, data: str | ImageData | None, machine: Machine, console: Console
) -> dict[float, float]:
    """The score of each width, with the same noise; the model ends with its own weights."""
    opened = run_data(source, data, None, console)
    score = scorer(opened, source.labels)
    if score is None:
        raise InputError("there are too few validation images to compare by", "give --width")
    own = {name: tensor.clone() for name, tensor in source.model.state_dict().items()}
    found = {}
    with console.bar("  comparing", len(WIDTHS)) as bar:
        for number, width in enumerate(WIDTHS, start=1):
            source.model.load_state_dict(posthoc_ema.averaged(source.folder, width, own))
            found[width] = score(source.model, SCORED, machine)
            bar.update(number)
    source.model.load_state_dict(own)
    return found
