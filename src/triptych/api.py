"""The front door: every verb of the command line as a function, and a trained run as an object.

This is where the layers meet: comparison is handed a way to train and to measure.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from triptych import config, files, hardware, images
from triptych.comparison import compare as comparing
from triptych.comparison.compare import Variant, data_to_compare
from triptych.comparison.contract import trained_on_other_data
from triptych.comparison.turns import train_in_turns
from triptych.config import Budget, Size
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
from triptych.options import DEFAULT_BUDGETS, DEFAULT_DATA, DataOptions
from triptych.pages.language import check_language
from triptych.run import Run, check_count, run_data
from triptych.tasks import figures
from triptych.training import posthoc_ema
from triptych.training.resolve import (
    Request,
    check_output,
    differing_versions,
    make_request,
    pick_size,
    request_to_repeat,
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


def train(
    model: str,
    data: str | ImageData = DEFAULT_DATA,
    *,
    budget: str | None = None,
    size: str | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    overrides: Sequence[str] = (),
    conditional: bool = False,
    teacher: Path | str | None = None,
    on_trouble: str = "rewind",
    options: DataOptions | None = None,
    machine: Machine | None = None,
    console: Console = QUIET,
) -> Run:
    """Train one model; the same call on the same `out` goes on where it stopped.

    conditional: tell the model the labels, so that a class can be asked of it
    teacher:     the finished run that a model of few steps starts from
    on_trouble:  what to do when losses stay not finite: "rewind" goes back to a checkpoint at half
                 the learning rate, "stop" gives up
    """
    machine = machine or hardware.pick()
    size = pick_size(size, machine.device)
    request = make_request(
        model,
        data,
        budget,
        size,
        seed,
        overrides,
        options,
        console,
        on_trouble=on_trouble,
        conditional=conditional,
        teacher=teacher,
    )
    folder = Path(out) if out is not None else free_folder(request, machine)
    tell_notes(request.data, console)
    return Run(train_folder(request, folder, machine, console).path, machine)


def repeat(
    run: Path | str,
    out: Path | str,
    *,
    data: str | ImageData | None = None,
    options: DataOptions | Mapping[str, Any] | None = None,
    machine: Machine | None = None,
    console: Console = QUIET,
) -> Run:
    """Train a finished run again: bit by bit the same on the same kind of machine.

    Progress and threads follow what the run recorded, whatever the clock says now.
    data, options: where its images are now, as `run_data` takes them
    InputError where the run cannot be followed, or the data are not the same.
    """
    machine = machine or hardware.pick()
    source = Run(run, machine)
    opened = run_data(source, data, options, console)
    request, machine = request_to_repeat(source.folder, opened, machine)
    for sentence in differing_versions(source.facts):
        console.say(f"note: {sentence}")
    return Run(train_folder(request, Path(out), machine, console).path, machine)


def train_folder(request: Request, out: Path, machine: Machine, console: Console) -> RunFolder:
    """Train a request into a folder."""
    return train_request(request, out, machine, console)


def free_folder(request: Request, machine: Machine) -> Path:
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


def evaluate(
    runs: Sequence[Path | str],
    data: str | ImageData | None = None,
    *,
    count: int | None = None,
    features: str | None = None,
    options: DataOptions | Mapping[str, Any] | None = None,
    machine: Machine | None = None,
    console: Console = QUIET,
) -> list[dict[str, Any]]:
    """Measure runs on held-out images; writes results.json and figures into each.

    features: what distances are measured on: labels, patches, inception or dinov2; labels where
              the data have them, else patches
    options:  as `run_data` takes them
    """
    machine = machine or hardware.pick()
    planned = []
    for run in [Run(path, machine) for path in runs]:
        opened = run_data(run, data, options, console)
        plan = plan_measurement(count, features, opened, machine)
        planned.append((run.folder, opened, plan))
    measures: dict[str, Callable[[RunFolder], dict[str, Any]]] = {}
    found = []
    for folder, opened, plan in planned:
        if opened.fingerprint not in measures:
            measures[opened.fingerprint] = measurer(opened, plan, machine, console)
        found.append(measures[opened.fingerprint](folder) | {"run": folder.path.name})
        if machine.group.is_main:
            files.write_json(folder.results, found[-1])
    machine.group.barrier()
    return found


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


def compare(
    models: Sequence[str | Path] = registry.FAMILIES,
    data: str | ImageData | None = None,
    *,
    budget: str | None = None,
    size: str | None = None,
    seeds: int = 1,
    overrides: Sequence[str] = (),
    conditional: bool = False,
    count: int | None = None,
    features: str | None = None,
    out: Path | str | None = None,
    language: str = "en",
    force: bool = False,
    options: DataOptions | None = None,
    machine: Machine | None = None,
    console: Console = QUIET,
    command: str = "triptych compare",
) -> Path:
    """Train what must be trained, measure all alike, write the report; returns its path.

    Finished runs are taken as they are; where there are only such, the data are theirs. The same
    call on the same `out` resumes.

    models:      families, recipes, `MODEL,KEY=VALUE` for one with other settings, run folders
    overrides:   settings of all models that are trained
    conditional: tell all of them the labels
    features:    as `evaluate` takes them
    """
    from triptych.pages import page

    check_language(language)
    machine = machine or hardware.pick()
    size = pick_size(size, machine.device)
    budget = budget or DEFAULT_BUDGETS[size]
    folders = [RunFolder(Path(model)) for model in models if comparing.is_run(model)]
    variants = [Variant.parse(str(model)) for model in models if not comparing.is_run(model)]
    own = Run(folders[0].path, machine) if data is None and folders and not variants else None
    opened = data_to_compare(data, own, options, console)
    plan = plan_measurement(count, features, opened, machine)
    requests = make_requests(variants, opened, budget, size, seeds, overrides, conditional)
    told = {"set": list(overrides), "conditional": conditional, "features": features}
    identity = comparing.identity(models, opened, Budget.parse(budget).asked, size, seeds, told)
    group = machine.group
    folder = agreed_folder(out, identity, opened, requests, group)
    more = check_finished(folders, requests, opened, machine, force)
    tell_notes(opened, console)
    folders += train_all(requests, folder, machine, console)
    measure = measurer(opened, plan, machine, console)
    place, measured_on = comparing.this_machine(machine), opened.describe()
    if group.is_main:
        contract = partial(comparing.write_contract, folder, folders, identity, command, vars(plan))
        agreed = partial(contract, measured_on, place, force, more)
        write_comparison(folder, folders, agreed, measure, opened, language, console)
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
    requests: Sequence[Request], folder: Path, machine: Machine, console: Console
) -> list[RunFolder]:
    """Train each into a folder of its own inside a comparison's, in turns."""

    def open_training(request: Request) -> AbstractContextManager[Training]:
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
    requests: Sequence[Request],
    group: Group,
) -> Path:
    """The folder of a comparison, the same for all processes; InputError unless it may be used."""
    folder = Path(group.broadcast(lambda: str(out or comparison_folder(identity, data))))
    group.broadcast(lambda: comparing.check_output(folder, identity))
    for request in requests:
        group.broadcast(partial(check_output, RunFolder(folder / run_name(request)), request))
    return folder


def make_requests(
    variants: Sequence[Variant],
    data: ImageData,
    budget: str,
    size: Size,
    seeds: int,
    overrides: Sequence[str],
    conditional: bool,
) -> list[Request]:
    """Every model with every seed."""
    if seeds < 1:
        raise InputError(f"--seeds {seeds} is too few", "give 1 or more")
    for variant in variants:
        if variants.count(variant) > 1:
            raise InputError(f"{variant} is named twice", "use --seeds to train it several times")
    return [
        make_request(
            str(variant.name),
            data,
            budget,
            variant.size or size,
            seed,
            (*overrides, *variant.overrides),
            None,
            conditional=conditional or variant.conditional,
            variant=",".join(variant.told),
        )
        for variant in variants
        for seed in range(seeds)
    ]


def check_finished(
    folders: Sequence[RunFolder],
    requests: Sequence[Request],
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
    language: str = "en",
    course: bool = False,
    force: bool = False,
    out: Path | str | None = None,
) -> Path:
    """Write the page of a comparison again, or of finished and evaluated runs.

    Runs that differ are refused unless forced; their page goes to `out`, or report.html here.
    """
    from triptych.pages.page import write_page

    check_language(language)
    folders = [Path(path) for path in paths]
    target = None if out is None else Path(out)
    if len(folders) == 1 and (folders[0] / comparing.CONTRACT).is_file():
        return write_page(folders[0], target, language=language, course=course)
    if not folders:
        raise InputError("no folder named", "give a comparison, or runs that were evaluated")
    runs = [RunFolder(path) for path in folders]
    with tempfile.TemporaryDirectory() as scratch:
        comparing.join(Path(scratch), runs, force)
        page = target or Path("report.html")
        return write_page(Path(scratch), page, language=language, course=course)


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
