"""From what is asked to a comparison: models trained in turns, and measured under one contract."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from triptych import files, hardware
from triptych.comparison.contract import (
    Conditions,
    differences,
    features_used,
    marks,
    measured_differently,
    samples_measured,
    trained_on_other_data,
)
from triptych.comparison.seeds import all_differences, average, by_model
from triptych.comparison.turns import train_in_turns
from triptych.config import Budget
from triptych.console import Console
from triptych.data.dataset import ImageData
from triptych.data.open import open_images, tell_notes
from triptych.errors import InputError
from triptych.evaluation.evaluate import Measure, check_measurement, measurer, plan_measurement
from triptych.evaluation.legibility import warn_told_anyway
from triptych.evaluation.outputs import EVALUATION_SEED
from triptych.families import registry
from triptych.hardware import Machine
from triptych.options import (
    DEFAULT_BUDGETS,
    DEFAULT_DATA,
    CompareRequest,
    DataOptions,
    TrainingOptions,
    TrainRequest,
)
from triptych.records import (
    ComparisonResults,
    ContractRecord,
    EvaluationRecord,
    JsonObject,
    Note,
    ResultsRecord,
    RunRecord,
    read_record,
)
from triptych.run import Run, run_data
from triptych.tasks import figures
from triptych.training.resolve import (
    ResolvedRequest,
    Variant,
    check_output,
    pick_size,
    resolve,
    run_name,
)
from triptych.training.run_folder import RUNS, RunFolder
from triptych.training.train import Training, training_in
from triptych.words import english

CONTRACT = "contract.json"
RESULTS = "results.json"


def compare(
    asked: CompareRequest, data: ImageData | None, machine: Machine, console: Console
) -> Path:
    """Train what must be trained, measure all alike; the folder of contract.json and results.json.

    data: images that are open already; else those that are asked for
    InputError on what cannot be compared, before anything is made.
    """
    size = pick_size(asked.size, machine.device)
    models = asked.models or tuple(registry.FAMILIES)
    finished = [RunFolder(Path(model)) for model in models if is_run(model)]
    variants = [Variant.parse(model) for model in models if not is_run(model)]
    usual = finished[0].read().budget.asked if finished and not variants else DEFAULT_BUDGETS[size]
    asked = replace(asked, models=models, size=size, budget=asked.budget or usual)
    images = data or data_to_compare(asked, finished, variants, machine, console)
    check_measurement(asked.count, asked.features, images, machine)
    requests = make_requests(variants, asked, images)
    identity = identity_of(asked, images)
    folder = agreed_folder(asked, identity, images, requests, machine)
    more = check_finished(finished, requests, images, machine, asked.force)
    tell_notes(images, console)
    plan = plan_measurement(asked.count, asked.features, images, machine, console)
    if plan.labels and any(request.labels for request in requests):
        warn_told_anyway(plan.labels.legibility, console)
    folders = finished + train_all(requests, folder, machine, console)
    measure = measurer(images, plan, machine, console)
    if machine.group.is_main:
        files.make_folder(folder)
        contract = make_contract(
            folder,
            folders,
            asked.force,
            more,
            command=asked.command(),
            request=identity,
            data=images.describe(),
            evaluation=EvaluationRecord(
                count=plan.count, features=plan.features, seed=EVALUATION_SEED
            ),
            device=machine.device,
            precision=machine.precision,
            threads=machine.threads,
            versions=hardware.versions(),
            hardware=hardware.describe(),
        )
        for note in contract.differences:
            console.say(f"note: {english(note)}")
        write_results(folder, folders, measure)
        real = images.test.images[: figures.SIDE**2]
        figures.save(folder / "figures", "real", real, figures.SIDE)
    else:  # these measure their share; the first one writes
        for run in folders:
            measure(run)
    machine.group.barrier()
    return folder


def is_run(model: str) -> bool:
    """Whether this names a folder and not a model."""
    return Path(model).is_dir() or "/" in model


def data_to_compare(
    asked: CompareRequest,
    finished: Sequence[RunFolder],
    variants: Sequence[Variant],
    machine: Machine,
    console: Console,
) -> ImageData:
    """The data asked for; else those of a finished run, if nothing is trained; else the usual."""
    if asked.data is None and finished and not variants:
        return run_data(Run(finished[0].path, machine), None, None, console)
    return open_images(asked.data or DEFAULT_DATA, asked.part(DataOptions), console)


def make_requests(
    variants: Sequence[Variant], asked: CompareRequest, data: ImageData
) -> list[ResolvedRequest]:
    """A request for every model with every seed; InputError on a model named twice."""
    for variant in variants:
        if variants.count(variant) > 1:
            raise InputError(f"{variant} is named twice", "use --seeds to train it several times")
    shared = vars(asked.part(TrainingOptions))
    return [
        resolve(TrainRequest(**shared, model=str(variant), seed=seed), data=data)
        for variant in variants
        for seed in range(asked.seeds)
    ]


def identity_of(asked: CompareRequest, data: ImageData) -> JsonObject:
    """What must agree for a comparison to be gone on with; options count where they are used."""
    more = {"set": list(asked.set), "conditional": asked.conditional, "features": asked.features}
    return {
        "models": list(asked.models),
        "data": data.fingerprint,
        "flip": data.augment.flip,
        "crop": data.augment.crop,
        "budget": Budget.parse(asked.budget or "").asked,
        "size": asked.size,
        "seeds": asked.seeds,
        **{name: value for name, value in more.items() if value},
    }


def agreed_folder(
    asked: CompareRequest,
    identity: JsonObject,
    data: ImageData,
    requests: Sequence[ResolvedRequest],
    machine: Machine,
) -> Path:
    """The folder of a comparison, the same for all processes; InputError unless it may be used."""
    group = machine.group
    folder = Path(group.broadcast(lambda: str(asked.out or comparison_folder(identity, data))))
    group.broadcast(lambda: check_folder(folder, identity))
    for request in requests:
        group.broadcast(partial(check_output, RunFolder(folder / run_name(request)), request))
    return folder


def comparison_folder(identity: JsonObject, data: ImageData) -> Path:
    """runs/compare-<data>-<budget>: the one with this identity if there is one, else a new one."""

    def usable(candidate: Path) -> bool:
        try:
            check_folder(candidate, identity)
        except InputError:
            return False
        return True

    return files.first_free(RUNS / f"compare-{data.name}-{identity['budget']}", usable)


def check_folder(out: Path, identity: JsonObject) -> None:
    """InputError unless the folder is absent, empty, or this very comparison."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file", "name a folder with --out")
    contract = out / CONTRACT
    if out.is_dir() and not contract.exists() and all(map(may_be_ours, files.visible(out))):
        return  # stopped while training: each run is checked when it goes on
    if contract.is_file():
        values = files.read_json(contract, "name another --out")
        theirs = values.get("request") if isinstance(values, dict) else None
        if theirs != identity:
            raise InputError(f"{out} holds another comparison", "name another --out")
    elif out.is_dir() and files.visible(out):
        raise InputError(f"{out} exists and is not a comparison of ours", "name another --out")


def may_be_ours(path: Path) -> bool:
    """Whether a comparison may have made this before it was stopped: a run, or its empty folder."""
    return path.is_dir() and (RunFolder(path).is_run() or not any(path.iterdir()))


def read_finished(folders: Sequence[RunFolder]) -> dict[str, RunRecord]:
    """run.json by folder name, or by path where names repeat.

    Raises InputError on an unfinished run, or one that is named twice.
    """
    paths = [folder.path.resolve() for folder in folders]
    names = [path.name for path in paths]
    records = {}
    for folder, path in zip(folders, paths, strict=True):
        if paths.count(path) > 1:
            raise InputError(f"{folder.path} is named twice", "name each run once")
        record = folder.read()
        if not record.done:
            raise InputError(
                f"{folder.path} is not trained to its end", "finish it with the same train command"
            )
        records[path.name if names.count(path.name) == 1 else str(folder.path)] = record
    return records


def check_finished(
    folders: Sequence[RunFolder],
    requests: Sequence[ResolvedRequest],
    data: ImageData,
    machine: Machine,
    force: bool,
) -> list[Note]:
    """Compare finished runs with each other and with what is to be trained, before it is.

    Returns notes on runs of other data, when forced; InputError on what forbids comparing.
    """
    if not folders and not requests:
        raise InputError("no model named", "name models, or folders of finished runs")
    finished = read_finished(folders)
    more = trained_on_other_data(finished, data.fingerprint)
    conditions = {name: Conditions.of_run(record) for name, record in finished.items()}
    if requests:  # all have the same
        conditions["new runs"] = Conditions.of_request(requests[0], data, machine)
    refuse_unequal(conditions, force, more)
    for name, record in finished.items():
        if (record.data.channels, record.data.resolution) != data.shape.size[:2]:
            raise InputError(
                f"{name} makes images of another size than {data.name}",
                "compare it on its own data",
            )
    return more


def refuse_unequal(
    runs: dict[str, Conditions], force: bool, more: Sequence[Note] = ()
) -> list[Note]:
    """What differs (and what `more` says), when forced; InputError naming it otherwise."""
    unequal = [*differences(runs), *more]
    if unequal and not force:
        wrong = "these runs cannot be compared, " + "; ".join(map(english, unequal))
        raise InputError(wrong, "--force shows them")
    return unequal


def train_all(
    requests: Sequence[ResolvedRequest], folder: Path, machine: Machine, console: Console
) -> list[RunFolder]:
    """Train each into a folder of its own inside a comparison's, in turns."""

    def open_training(request: ResolvedRequest) -> AbstractContextManager[Training]:
        out = folder / run_name(request)
        return training_in(request, out, machine, console)

    for request, name in zip(requests, names_of(requests), strict=True):
        console.say(english(Note("training_for", {"model": name, "budget": request.budget.asked})))
    train_in_turns(requests, open_training, machine, console)
    return [RunFolder(folder / run_name(request)) for request in requests]


def names_of(requests: Sequence[ResolvedRequest]) -> list[str]:
    """What each is called while it trains: with its variant, and its seed where there are some."""
    several = len({request.seed for request in requests}) > 1
    names = []
    for request in requests:
        words = [request.variant] * bool(request.variant) + [f"seed {request.seed}"] * several
        names.append(f"{request.name} ({', '.join(words)})" if words else str(request.name))
    return names


def make_contract(
    out: Path, folders: Sequence[RunFolder], force: bool, more: Sequence[Note], **held_equal: Any
) -> ContractRecord:
    """Write and return contract.json of finished runs.

    more:       notes on what else differs
    held_equal: the fields of the record that runs do not say
    InputError when they may not be compared, for what run.json says or for what `more` says.
    """
    runs = read_finished(folders)
    conditions = {name: Conditions.of_run(record) for name, record in runs.items()}
    unequal = refuse_unequal(conditions, force, more)
    first = next(iter(runs.values()))
    contract = ContractRecord(
        triptych=hardware.own_version(),
        size=first.size,
        budget=first.budget,
        seeds=tuple(sorted({record.seed for record in runs.values()})),
        runs=tuple(os.path.relpath(folder.path, out) for folder in folders),
        differences=(*unequal, *marks(runs)),
        forced=bool(unequal),
        **held_equal,
    )
    files.write_json(out / CONTRACT, contract.to_json())
    return contract


def write_results(out: Path, folders: Sequence[RunFolder], measure: Measure) -> None:
    """results.json of the comparison and of every run: what `measure` gives, in order."""
    results = []
    for folder in folders:
        results.append(replace(measure(folder), run=os.path.relpath(folder.path, out)))
        files.write_json(folder.results, results[-1].to_json())
    write_comparison(out, folders, results)


def write_comparison(
    out: Path, folders: Sequence[RunFolder], results: Sequence[ResultsRecord]
) -> None:
    """results.json: the runs, several trainings of a model as one, and what models differ by."""
    groups = by_model(results, [folder.read() for folder in folders])
    models = tuple(average(group) for group in groups)
    content = ComparisonResults(
        runs=tuple(results),
        models=models if len(models) < len(results) else None,
        differences=tuple(all_differences(models)),
    )
    files.write_json(out / RESULTS, content.to_json())


def join(out: Path, folders: Sequence[RunFolder], force: bool) -> None:
    """A comparison of runs that were evaluated already; InputError where one was not."""
    results = [read_results(folder) for folder in folders]
    runs = read_finished(folders)
    first, measured_on = next(iter(runs.values())), results[0].data
    same = first.data.fingerprint == measured_on.fingerprint
    more = measured_differently(dict(zip(runs, results, strict=True)))
    more += trained_on_other_data(runs, measured_on.fingerprint)
    paths = [str(folder.path) for folder in folders]
    make_contract(
        out,
        folders,
        force,
        more,
        command=" ".join(["triptych report", *paths]),
        request={"runs": paths},
        data=first.data if same else measured_on,  # which says less of itself
        evaluation=EvaluationRecord(
            count=samples_measured(results[0]),
            features=features_used(results[0]),
            seed=EVALUATION_SEED,
        ),
        device=first.device,
        precision=first.precision,
        threads=first.threads,
        versions=first.versions,
        hardware=first.hardware,
    )
    named = [
        replace(result, run=os.path.relpath(folder.path, out))
        for result, folder in zip(results, folders, strict=True)
    ]
    write_comparison(out, folders, named)


def read_comparison(folder: Path) -> ComparisonResults:
    """results.json of a comparison; InputError where it is missing or damaged."""
    path, mend = folder / RESULTS, "make the comparison with `triptych compare` again"
    return read_record(ComparisonResults, files.read_json(path, mend), path, mend)


def read_results(folder: RunFolder) -> ResultsRecord:
    """results.json of a run; InputError where it is missing or damaged."""
    mend = "measure it with `triptych evaluate`"
    folder.read()
    return read_record(ResultsRecord, files.read_json(folder.results, mend), folder.results, mend)
