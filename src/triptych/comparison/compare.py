"""From what is asked to a comparison: models trained in turns, and measured under one contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

from triptych import config, files, hardware
from triptych.comparison import hand_over
from triptych.comparison.contract import (
    Conditions,
    chooses,
    differences,
    features_used,
    hardware_kind,
    marks,
    measured_differently,
    samples_measured,
    trained_on_other_data,
    whole_budget,
)
from triptych.comparison.forecast import forecast
from triptych.comparison.seeds import all_differences, average, by_model
from triptych.comparison.turns import train_in_turns
from triptych.config import Budget, ImageShape
from triptych.console import Console
from triptych.data.dataset import ImageData
from triptych.data.open import open_images, tell_notes
from triptych.errors import InputError, first_line
from triptych.evaluation.evaluate import (
    Ground,
    Measure,
    MeasureSamples,
    MeasuringSampler,
    Plan,
    check_measurement,
    draw_samples,
    format_for,
    measurers,
    most_samples,
    plan_measurement,
    sample_measurer,
)
from triptych.evaluation.legibility import warn_told_anyway
from triptych.evaluation.outputs import EVALUATION_SEED
from triptych.evaluation.reference import MOST_REFERENCES
from triptych.evaluation.samples import (
    Samples,
    SampleSource,
    are_samples,
    folder_name,
    open_samples,
)
from triptych.evaluation.saved_reference import NO_IMAGES, is_reference
from triptych.evaluation.saved_reference import read as read_reference
from triptych.families import registry
from triptych.families.capabilities import Iterative
from triptych.families.registry import ModelName
from triptych.hardware import Machine
from triptych.options import (
    COURSE_RECIPE,
    DEFAULT_BUDGETS,
    DEFAULT_DATA,
    CompareRequest,
    DataOptions,
    TrainingOptions,
    TrainRequest,
)
from triptych.records import (
    BASELINE,
    BaselineRecord,
    ComparisonResults,
    ContractRecord,
    DataRecord,
    EvaluationRecord,
    JsonObject,
    MeasuredOn,
    Note,
    ResultsRecord,
    RunRecord,
    SamplesRecord,
    as_json,
    read_record,
)
from triptych.run import Run, run_data
from triptych.tasks import figures
from triptych.training.callbacks import Callback
from triptych.training.resolve import (
    ResolvedRequest,
    Variant,
    check_output,
    pick_size,
    resolve,
    run_name,
)
from triptych.training.run_folder import RUNS, RunFolder
from triptych.training.train import Training, train, training_in
from triptych.words import english

CONTRACT = "contract.json"
RESULTS = "results.json"
FIGURES, TABLES = "figures", "tables"  # of the page, inside the comparison
BASELINE_MODEL = "mixture:mppca"
SELECT = "select"  # the setting by which a model is the best of several snapshots


@dataclass(frozen=True)
class Entries:
    """What is compared, by how it comes about.

    variants: models to be trained
    finished: runs that are trained already
    sources:  of samples from elsewhere
    """

    variants: list[Variant]
    finished: list[RunFolder]
    sources: list[SampleSource]

    @classmethod
    def parse(cls, models: Sequence[str]) -> Self:
        """From the user's words."""
        own = [model for model in models if not is_samples(model)]
        return cls(
            [Variant.parse(model) for model in own if not is_run(model)],
            [RunFolder(files.expanded(model)) for model in own if is_run(model)],
            [SampleSource.parse(model) for model in models if is_samples(model)],
        )


def compare(
    asked: CompareRequest,
    data: ImageData | None,
    machine: Machine,
    console: Console,
    callbacks: Sequence[Callback] = (),
) -> Path:
    """Train what must be trained, measure all alike; the folder of contract.json and results.json.

    data: images that are open already; else those that are asked for, or a saved reference
    callbacks: told of every training
    InputError on what cannot be compared, before anything is made.
    """
    check_course(asked)
    hand_over.check(asked, machine)
    size = pick_size(asked.size, machine.device)
    models = asked.models or (
        course_models() if asked.course else tuple(registry.trained_families())
    )
    entries = Entries.parse(models)
    if asked.on is not None and not (entries.variants or entries.finished):
        raise InputError("--on hands over models and runs, and there are none", "leave it out")
    usual = DEFAULT_BUDGETS[size]
    if entries.finished and not entries.variants:
        budgets = [each.read().budget for each in entries.finished]
        usual = next((each.asked for each in budgets if each.amount), usual)
    asked = replace(
        asked, models=models, size=size, budget=usual if asked.budget is None else asked.budget
    )
    if data is None and is_reference(asked.data):
        return compare_on_reference(asked, entries, machine, console)
    images = data or data_to_compare(asked, entries, machine, console)
    return compare_on_images(asked, entries, images, machine, console, callbacks)


def compare_on_images(
    asked: CompareRequest,
    entries: Entries,
    data: ImageData,
    machine: Machine,
    console: Console,
    callbacks: Sequence[Callback] = (),
) -> Path:
    """The folder of a comparison on real images; models are trained on them."""
    check_measurement(asked.count, asked.features, data, machine)
    workers = hand_over.workers_machine(asked, machine)
    asked, requests = choosing_alike(asked, entries, data, workers, console)
    samplers = measuring_samplers(asked, requests)
    paths = folders_of_samples(entries.sources, requests)
    samples = read_all_samples(entries.sources, asked, data, machine, console)
    identity = identity_of(asked, data, samples)
    folder = agreed_folder(asked, identity, data.name, requests, machine)
    kind = hardware_kind(machine.device, hardware.describe()) if asked.on is None else None
    more = check_finished(
        entries.finished, requests, data, workers, asked.force, bool(samples), kind
    )
    tell_notes(data, console)
    count = smallest(samples, asked.count or MOST_REFERENCES) if samples else asked.count
    plan = plan_measurement(count, asked.features, data, machine, console)
    plan = replace(plan, samplers=samplers)
    by_path = {path: s.choose(plan.count) for path, s in zip(paths, samples, strict=True)}
    if asked.course:
        trained = [each for each in requests if is_trained(folder / run_name(each))]
        console.say(english(forecast(requests, trained, samplers, plan.count, machine)))
    if plan.labels and any(request.labels for request in requests):
        warn_told_anyway(plan.labels.legibility, console)
    runs = list(entries.finished)
    measured: dict[Path, ResultsRecord] = {}  # by an engine, and
    made: JsonObject = {}  # where it trained
    if asked.on is None:
        runs += train_all(requests, folder, machine, console, callbacks)
    else:
        runs += [RunFolder(folder / run_name(each)) for each in requests]
        measured, made = by_engine(asked, entries, requests, folder, data, plan, workers, console)
    measure_here, measure_samples = measurers(data, plan, machine, console)

    def measure(run: RunFolder) -> ResultsRecord:
        return measured[run.path] if run.path in measured else measure_here(run)

    wanted = wants_baseline(asked, entries, data.shape)
    baseline = partial(make_baseline, wanted, data, folder, measure, machine, console)
    if machine.group.is_main:
        evaluation = evaluation_of(plan.count, plan.features)
        held_equal = conditions_of(asked, identity, data.describe(), evaluation, machine) | made
        tell_contract(folder, runs, by_path, console, force=asked.force, more=more, **held_equal)
        results = write_all_samples(folder, by_path, measure_samples)
        write_results(folder, runs, measure, results, baseline)
        real = data.test.images[: figures.shown(data.shape)]
        figures.save(folder / FIGURES, "real", real, figures.SIDE)
    else:  # these measure their share; the first one writes
        for each in by_path.values():
            measure_samples(each)
        for run in runs:
            measure(run)
        baseline()
    machine.group.barrier()
    return folder


def choosing_alike(
    asked: CompareRequest, entries: Entries, data: ImageData, machine: Machine, console: Console
) -> tuple[CompareRequest, list[ResolvedRequest]]:
    """The trainings, and what was asked with the choice among snapshots settled for all alike."""
    requests = make_requests(entries.variants, asked, data, machine)
    if choose_unlike(asked, requests, entries.finished):
        asked = replace(asked, set=(*asked.set, f"{SELECT}=false"))
        console.say(f"note: {english(Note('last_weights_of_all'))}")
        requests = make_requests(entries.variants, asked, data, machine)
    return asked, requests


def by_engine(
    asked: CompareRequest,
    entries: Entries,
    requests: Sequence[ResolvedRequest],
    folder: Path,
    data: ImageData,
    plan: Plan,
    workers: Machine,
    console: Console,
) -> tuple[dict[Path, ResultsRecord], JsonObject]:
    """Have an engine train and measure: results by their run, and where they were trained.

    The second stands in the contract in place of this machine; empty where nothing is trained.
    """
    works = len(requests) + len(entries.finished)
    asks = asks_of(entries.variants, asked)
    with hand_over.crew_for(asked, folder, data, works, workers, console) as crew:
        measured = hand_over.train_and_measure(
            asks, requests, entries.finished, plan, crew, asked.force
        )
    if not requests:
        return measured, {}
    last = RunFolder(folder / run_name(requests[-1]))
    return measured, where_trained(last.read()) | {"notes": (crew.note,)}


def compare_on_reference(
    asked: CompareRequest, entries: Entries, machine: Machine, console: Console
) -> Path:
    """The folder of a comparison of samples alone, against a file that `triptych reference` wrote.

    InputError where there are runs or models to be trained: both take the images themselves.
    """
    if entries.variants or entries.finished:
        raise InputError(
            f"{asked.data} holds no images, which models are trained on and runs measured with",
            "name the images by --data, or compare samples alone",
        )
    file = read_reference(files.expanded(asked.data or ""))
    paths = folders_of_samples(entries.sources, [])
    samples = read_all_samples(entries.sources, asked, file, machine, console)
    data = file.record.data
    identity = {
        "models": list(asked.models),
        "data": data.fingerprint,
        "reference": file.record.digest,
        "samples": [each.fingerprint for each in samples],
    }
    folder = agreed_folder(asked, identity, data.name, [], machine)
    count = smallest(samples, file.record.count)
    by_path = {path: s.choose(count) for path, s in zip(paths, samples, strict=True)}
    measure_samples = sample_measurer(count, asked.features, file, machine, console)
    if machine.group.is_main:
        evaluation = evaluation_of(count, file.record.features)
        held_equal = conditions_of(asked, identity, data, evaluation, machine)
        tell_contract(folder, [], by_path, console, force=asked.force, more=[], **held_equal)
        results = write_all_samples(folder, by_path, measure_samples)
        write_comparison(folder, [], list(results.values()))
        no_images = {"defined": False, "note": as_json(NO_IMAGES)}
        figures.write(folder / FIGURES, "real", no_images)
    else:
        for each in by_path.values():
            measure_samples(each)
    machine.group.barrier()
    return folder


def smallest(samples: Sequence[Samples], most: int) -> int:
    """As many samples as every set has, at most `most`: numbers that move with n share one n."""
    return min([most, *(len(each.images) for each in samples)])


def evaluation_of(count: int, features: str | None) -> EvaluationRecord:
    """How all are measured: so many samples, on these features."""
    return EvaluationRecord(count=count, features=features, seed=EVALUATION_SEED)


def conditions_of(
    asked: CompareRequest,
    identity: JsonObject,
    data: DataRecord | MeasuredOn,
    evaluation: EvaluationRecord,
    machine: Machine,
) -> JsonObject:
    """The fields of a contract that are the same for all that is compared here and now."""
    return {
        "command": asked.command(("models",) if asked.course else ()),
        "request": identity,
        "data": data,
        "evaluation": evaluation,
        "device": machine.device,
        "precision": machine.precision,
        "threads": machine.threads,
        "versions": hardware.versions(),
        "hardware": hardware.describe(),
    }


def wants_baseline(
    asked: CompareRequest, entries: Entries, shape: ImageShape
) -> TrainRequest | None:
    """The request of the baseline; None where there is to be none, or a mixture is compared.

    It is a mixture of images, so that there is none of points.
    """
    families = [variant.name.family for variant in entries.variants]
    families += [folder.read().family for folder in entries.finished]
    compared = ModelName.parse(BASELINE_MODEL).family in families
    if asked.no_baseline or shape.is_point or compared:
        return None
    shared = vars(asked.part(DataOptions))
    return TrainRequest(**shared, model=BASELINE_MODEL, size=asked.size)


def make_baseline(
    wanted: TrainRequest | None,
    data: ImageData,
    folder: Path,
    measure: Measure,
    machine: Machine,
    console: Console,
) -> BaselineRecord | None:
    """The mixture of the training images, fitted once and measured as the models are.

    It takes no setting and no labels, so that it is the same in all comparisons on these data.
    Where it cannot be fitted or measured, the record says why, and the comparison goes on.
    """
    if wanted is None:
        return None
    try:
        into = folder / BASELINE
        request = baseline_request(wanted, data, RunFolder(into))
        console.say(english(Note("fitting_into", {"model": str(request.name), "run": str(into)})))
        run = train(request, into, machine, console)
        results = replace(measure(run), run=BASELINE)
        if machine.group.is_main:
            files.write_json(run.results, results.to_json())
        return BaselineRecord(results=results)
    except (InputError, ValueError, RuntimeError) as error:
        if machine.group.size > 1:  # the other processes wait for this one
            raise
        note = Note("baseline_failed", {"reason": first_line(error)})
        console.say(f"note: {english(note)}")
        return BaselineRecord(note=note)


def baseline_request(wanted: TrainRequest, data: ImageData, kept: RunFolder) -> ResolvedRequest:
    """The settings are those of the run that is there, which an earlier version may have made."""
    request = resolve(wanted, data=data)
    if not kept.is_run():
        return request
    record = kept.read()
    if record.model != str(request.name):
        return request
    return replace(request, settings=config.from_json(type(request.settings), record.settings))


def tell_contract(
    folder: Path,
    runs: Sequence[RunFolder],
    samples: Mapping[str, Samples],
    console: Console,
    *,
    force: bool,
    more: Sequence[Note],
    **held_equal: Any,
) -> None:
    """Write contract.json into a folder that may be new, and say what differs."""
    files.make_folder(folder)
    records = {path: each.record() for path, each in samples.items()}
    contract = make_contract(folder, runs, force, more, records, **held_equal)
    for note in contract.differences:
        console.say(f"note: {english(note)}")


def check_course(asked: CompareRequest) -> None:
    """InputError on models beside --course, and on its options without it."""
    if asked.course and asked.models:
        raise InputError(
            f"--course trains the practical's own recipes, and {asked.models[0]} is named too",
            "leave out --course or the models",
        )
    for name in ("sampler", "steps"):
        if getattr(asked, name) is not None and not asked.course:
            raise InputError(
                f"--{name} is for the models of --course",
                "add --course, or leave it out",
            )


def is_trained(path: Path) -> bool:
    """Whether a folder holds a run that is trained to its end."""
    folder = RunFolder(path)
    return folder.is_run() and folder.read().done


def course_models() -> tuple[str, ...]:
    """The practical's recipes, one of each family that has one."""
    families = [f for f in registry.FAMILIES if COURSE_RECIPE in registry.own_recipes(f)]
    return tuple(f"{family}:{COURSE_RECIPE}" for family in families)


def measuring_samplers(
    asked: CompareRequest, requests: Sequence[ResolvedRequest]
) -> dict[str, MeasuringSampler]:
    """Which of the practical's models are not sampled by their own sampler while measuring.

    A sampler that is asked for takes the recipe's own steps, unless they are asked for too.
    InputError on a sampler or a number of steps that there is not, before anything is trained.
    """
    samplers = {}
    for request in requests if asked.course else []:
        quick = registry.recipe(request.name).quick_sampling
        model = registry.build(request.name, request.settings, request.shape, request.seed)
        if quick is None or not isinstance(model, Iterative):
            continue
        usual = len(model.noise_levels()) - 1 if asked.sampler else quick[1]
        steps = usual if asked.steps is None else asked.steps
        samplers[str(request.name)] = MeasuringSampler(asked.sampler or quick[0], steps)
        model.with_sampler(asked.sampler or quick[0], steps)  # says what it has not
    return samplers


def is_samples(model: str) -> bool:
    """Whether this names samples from elsewhere; a model's name is a model, whatever lies there."""
    family = model.partition(":")[0].partition(",")[0]
    return family not in registry.FAMILIES and are_samples(model)


def folders_of_samples(
    sources: Sequence[SampleSource], requests: Sequence[ResolvedRequest]
) -> list[str]:
    """Where the results of samples go in the comparison; InputError where two are named alike."""
    folders = [folder_name(source.name) for source in sources]
    taken = {run_name(request) for request in requests} | {FIGURES, TABLES, BASELINE}
    for source, folder in zip(sources, folders, strict=True):
        if folders.count(folder) > 1:
            raise InputError(
                f"two sets of samples are called {source.name}", "name them: NAME=PATH"
            )
        if folder in taken:
            raise InputError(
                f"samples cannot be called {source.name} here", "give another name: NAME=PATH"
            )
    return folders


def read_all_samples(
    sources: Sequence[SampleSource],
    asked: CompareRequest,
    ground: Ground,
    machine: Machine,
    console: Console,
) -> list[Samples]:
    """The samples that are named, before anything is trained."""
    if not sources:
        return []
    most, wanted = most_samples(asked.count, asked.features, ground, machine), format_for(ground)
    options = {"labeled": not asked.ignore_labels, "strict": asked.strict}
    return [open_samples(source, wanted, most, machine, console, **options) for source in sources]


def write_all_samples(
    folder: Path, samples: Mapping[str, Samples], measure_samples: MeasureSamples
) -> dict[str, ResultsRecord]:
    """results.json and figures of samples, each in a folder of their own; results by path."""
    results = {}
    for path, each in samples.items():
        evaluation = measure_samples(each)
        files.make_folder(folder / path)
        files.write_json(folder / path / RESULTS, evaluation.results.to_json())
        draw_samples(folder / path / FIGURES, each, evaluation)
        results[path] = replace(evaluation.results, run=path)
    return results


def is_run(model: str) -> bool:
    """Whether this names a folder and not a model; of one word a model's name is a model."""
    path, family = files.expanded(model), model.partition(":")[0].partition(",")[0]
    return family not in registry.FAMILIES and (path.is_dir() or "/" in model)


def data_to_compare(
    asked: CompareRequest, entries: Entries, machine: Machine, console: Console
) -> ImageData:
    """The data asked for; else those of a finished run, if nothing is trained; else the usual."""
    if asked.data is None and entries.finished and not entries.variants:
        return run_data(Run(entries.finished[0].path, machine), None, None, console)
    if asked.data is None and not entries.variants:
        raise InputError("samples are compared on real images, which are not named", "give --data")
    return open_images(asked.data or DEFAULT_DATA, asked.part(DataOptions), console)


def make_requests(
    variants: Sequence[Variant],
    asked: CompareRequest,
    data: ImageData,
    machine: Machine,
) -> list[ResolvedRequest]:
    """A request for every model with every seed; InputError on a model named twice."""
    for variant in variants:
        if variants.count(variant) > 1:
            raise InputError(f"{variant} is named twice", "use --seeds to train it several times")
    requests = [
        resolve(each, machine.device, data, precision=machine.precision)
        for each in asks_of(variants, asked)
    ]
    folders = [run_name(request) for request in requests]
    for folder in folders:  # of points, a family and its recipe for points are the same
        if folders.count(folder) > 1:
            raise InputError(f"two models would be {folder}", "name each once")
    return requests


def asks_of(variants: Sequence[Variant], asked: CompareRequest) -> list[TrainRequest]:
    """What is asked of the training of every model with every seed."""
    shared = vars(asked.part(TrainingOptions))
    return [
        TrainRequest(**shared, model=str(variant), seed=seed)
        for variant in variants
        for seed in range(asked.seeds)
    ]


def choose_unlike(
    asked: CompareRequest, requests: Sequence[ResolvedRequest], finished: Sequence[RunFolder]
) -> bool:
    """Whether some models would choose among snapshots, unasked, and others would not.

    Where somebody asked for it of one model or of all, it stays so, and is marked.
    """
    words = [*asked.set, *(word for each in requests for word in each.variant.split(","))]
    if any(word.strip().startswith(f"{SELECT}=") for word in words):
        return False
    ours = [bool(each.settings.select) for each in trained_of(requests)]
    records = [folder.read() for folder in finished]
    theirs = [chooses(record) for record in records if registry.is_trained(record.family)]
    return any(ours) and not all(ours + theirs)


def identity_of(
    asked: CompareRequest, data: ImageData, samples: Sequence[Samples] = ()
) -> JsonObject:
    """What must agree for a comparison to be gone on with; options count where they are used."""
    more = {"set": list(asked.set), "conditional": asked.conditional, "features": asked.features}
    more["samples"] = [each.fingerprint for each in samples]
    more |= {"course": asked.course, "sampler": asked.sampler, "steps": asked.steps}
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
    data_name: str,
    requests: Sequence[ResolvedRequest],
    machine: Machine,
) -> Path:
    """The folder of a comparison, the same for all processes; InputError unless it may be used."""
    group = machine.group
    folder = Path(group.broadcast(lambda: str(asked.out or comparison_folder(identity, data_name))))
    group.broadcast(lambda: check_folder(folder, identity))
    for request in requests:
        group.broadcast(partial(check_output, RunFolder(folder / run_name(request)), request))
    return folder


def comparison_folder(identity: JsonObject, data_name: str) -> Path:
    """runs/compare-<data>-<budget>: the one with this identity if there is one, else a new one.

    Where nothing can be trained, there is no budget.
    """

    def usable(candidate: Path) -> bool:
        try:
            check_folder(candidate, identity)
        except InputError:
            return False
        return True

    budget = f"-{identity['budget']}" if "budget" in identity else ""
    return files.first_free(RUNS / files.portable_name(f"compare-{data_name}{budget}"), usable)


def check_folder(out: Path, identity: JsonObject) -> None:
    """InputError unless the folder can be made, is empty, or this very comparison."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file", "name a folder with --out")
    files.check_can_make(out)
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
    samples: bool = False,
    kind: str | None = None,
) -> list[Note]:
    """Compare finished runs with each other and with what is to be trained, before it is.

    samples: whether there are samples from elsewhere besides
    kind:    of the hardware that will train, where that is decided
    Returns notes on runs of other data, when forced; InputError on what forbids comparing.
    """
    if not folders and not requests and not samples:
        raise InputError("no model named", "name models, or folders of finished runs")
    finished = read_finished(folders)
    more = trained_on_other_data(finished, data.fingerprint)
    conditions = {name: Conditions.of_run(record) for name, record in finished.items()}
    for request in (trained_of(requests) or requests)[:1]:  # all trained ones have the same
        conditions["new runs"] = Conditions.of_request(request, data, machine, kind)
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
    requests: Sequence[ResolvedRequest],
    folder: Path,
    machine: Machine,
    console: Console,
    callbacks: Sequence[Callback] = (),
) -> list[RunFolder]:
    """Train each into a folder of its own inside a comparison's, in turns.

    What is not trained is fitted before, which takes seconds.
    """
    trained = trained_of(requests)

    def open_training(request: ResolvedRequest) -> AbstractContextManager[Training]:
        out = folder / run_name(request)
        return training_in(request, out, machine, console, callbacks)

    for request, name in zip(requests, names_of(requests), strict=True):
        if request in trained:
            training = Note("training_for", {"model": name, "budget": request.budget.asked})
            console.say(english(training))
        else:
            into = folder / run_name(request)
            console.say(english(Note("fitting_into", {"model": name, "run": str(into)})))
            train(request, into, machine, console, callbacks)
    train_in_turns(trained, open_training, machine, console)
    return [RunFolder(folder / run_name(request)) for request in requests]


def trained_of(requests: Sequence[ResolvedRequest]) -> list[ResolvedRequest]:
    """Those whose models are trained."""
    return [each for each in requests if registry.is_trained(each.name.family)]


def names_of(requests: Sequence[ResolvedRequest]) -> list[str]:
    """What each is called while it trains: with its variant, and its seed where there are some."""
    several = len({request.seed for request in requests}) > 1
    names = []
    for request in requests:
        words = [request.variant] * bool(request.variant) + [f"seed {request.seed}"] * several
        names.append(f"{request.name} ({', '.join(words)})" if words else str(request.name))
    return names


def make_contract(
    out: Path,
    folders: Sequence[RunFolder],
    force: bool,
    more: Sequence[Note],
    samples: Mapping[str, SamplesRecord] | None = None,
    **held_equal: Any,
) -> ContractRecord:
    """Write and return contract.json of finished runs, and of samples from elsewhere.

    more:       notes on what else differs
    samples:    by the path of their results from there
    held_equal: the fields of the record that runs do not say
    InputError when they may not be compared, for what run.json says or for what `more` says.
    """
    runs = read_finished(folders)
    conditions = {name: Conditions.of_run(record) for name, record in runs.items()}
    unequal = refuse_unequal(conditions, force, more)
    trained = (record for record in runs.values() if registry.is_trained(record.family))
    first = next(trained, None)
    contract = ContractRecord(
        triptych=hardware.own_version(),
        size=None if first is None else first.size,
        budget=None if first is None else whole_budget(first),
        seeds=tuple(sorted({record.seed for record in runs.values()})),
        runs=(*(files.relative_path(folder.path, out) for folder in folders), *(samples or ())),
        differences=(*unequal, *marks(runs, samples)),
        forced=bool(unequal),
        **held_equal,
    )
    files.write_json(out / CONTRACT, contract.to_json())
    return contract


def write_results(
    out: Path,
    folders: Sequence[RunFolder],
    measure: Measure,
    samples: Mapping[str, ResultsRecord] | None = None,
    baseline: Callable[[], BaselineRecord | None] = lambda: None,
) -> None:
    """results.json of the comparison and of every run: what `measure` gives, in order.

    samples:  results of samples from elsewhere, which come last
    baseline: makes it, once all else is measured
    """
    results = []
    for folder in folders:
        results.append(replace(measure(folder), run=files.relative_path(folder.path, out)))
        files.write_json(folder.results, results[-1].to_json())
    write_comparison(out, folders, [*results, *(samples or {}).values()], baseline())


def write_comparison(
    out: Path,
    folders: Sequence[RunFolder],
    results: Sequence[ResultsRecord],
    baseline: BaselineRecord | None = None,
) -> None:
    """results.json: the runs, several trainings of a model as one, and what models differ by.

    folders: of the first results; the others are of samples from elsewhere
    """
    records = [folder.read() for folder in folders]
    groups = by_model(results, [*records, *[None] * (len(results) - len(records))])
    models = tuple(average(group) for group in groups)
    content = ComparisonResults(
        runs=tuple(results),
        models=models if len(models) < len(results) else None,
        differences=tuple(all_differences(models)),
        baseline=baseline,
    )
    files.write_json(out / RESULTS, content.to_json())


def join(out: Path, folders: Sequence[RunFolder], force: bool) -> None:
    """A comparison of runs that were evaluated already; InputError where one was not."""
    measured = [folder.path for folder in folders if is_measurement(folder.path)]
    paths = [str(folder.path) for folder in folders]
    folders = [folder for folder in folders if folder.path not in measured]
    results = [read_results(folder) for folder in folders]
    of_samples = {files.relative_path(path, out): read_measured(path) for path in measured}
    runs = read_finished(folders)
    first = next(iter(runs.values()), None)
    one = [*results, *of_samples.values()][0]
    measured_on = one.data
    same = first is not None and first.data.fingerprint == measured_on.fingerprint
    named = dict(zip(runs, results, strict=True)) | of_samples  # by path: names may be the same
    more = measured_differently(named)
    more += trained_on_other_data(runs, measured_on.fingerprint)
    make_contract(
        out,
        folders,
        force,
        more,
        {path: each.samples for path, each in of_samples.items() if each.samples is not None},
        command=" ".join(["triptych report", *paths]),
        request={"runs": paths},
        data=first.data if first and same else measured_on,  # which says less of itself
        evaluation=evaluation_of(samples_measured(one), features_used(one)),
        **where_trained(first),
    )
    all_named = [
        replace(result, run=files.relative_path(folder.path, out))
        for result, folder in zip(results, folders, strict=True)
    ]
    all_named += [replace(result, run=path) for path, result in of_samples.items()]
    write_comparison(out, folders, all_named)


def where_trained(record: RunRecord | None) -> JsonObject:
    """What a contract says of the machine of a run; nothing without one.

    Results of samples do not tell where they were measured, and it need not have been here.
    """
    if record is None:
        nothing = dict.fromkeys(("device", "precision", "threads"))
        return {**nothing, "versions": {}, "hardware": {}}
    names = ("device", "precision", "threads", "versions", "hardware")
    return {name: getattr(record, name) for name in names}


def is_measurement(path: Path) -> bool:
    """Whether a folder holds what was measured of samples from elsewhere, and no run."""
    return not RunFolder(path).is_run() and (path / RESULTS).is_file()


def read_measured(folder: Path) -> ResultsRecord:
    """results.json of samples from elsewhere; InputError where it is missing or damaged."""
    path, mend = folder / RESULTS, "measure them with `triptych evaluate`"
    values = files.read_json(path, mend, files.MOST_RESULTS)
    return read_record(ResultsRecord, values, path, mend)


def read_comparison(folder: Path) -> ComparisonResults:
    """results.json of a comparison; InputError where it is missing or damaged."""
    path, mend = folder / RESULTS, "make the comparison with `triptych compare` again"
    values = files.read_json(path, mend, files.MOST_RESULTS)
    return read_record(ComparisonResults, values, path, mend)


def read_results(folder: RunFolder) -> ResultsRecord:
    """results.json of a run; InputError where it is missing or damaged."""
    mend = "measure it with `triptych evaluate`"
    folder.read()
    values = files.read_json(folder.results, mend, files.MOST_RESULTS)
    return read_record(ResultsRecord, values, folder.results, mend)
