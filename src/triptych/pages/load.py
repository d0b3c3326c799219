"""A comparison as the report reads it: its records, and what lies beside them.

Nothing here judges or words anything. What a log or a curve may leave out is None or empty here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

from triptych import files
from triptych.errors import InputError
from triptych.records import (
    BASELINE,
    ComparisonResults,
    ContractRecord,
    ExtractorRecord,
    JsonObject,
    MetricRecord,
    Note,
    Record,
    ResultsRecord,
    RunRecord,
    SamplesRecord,
    read_notes,
)
from triptych.words import without_repeats

MOST_LOG = 2**26  # bytes; ours have a hundred lines per phase
R = TypeVar("R", bound=Record)


@dataclass(frozen=True, kw_only=True)
class Losses:
    """One "losses" line of log.jsonl: loss terms after so many images."""

    images: float
    images_per_second: float | None
    losses: Mapping[str, float]  # "objective/term" -> mean since the line before
    phase: float = 0  # images are counted from 0 in each
    seconds: float | None = None  # of training so far


@dataclass(frozen=True, kw_only=True)
class Diagnosed:
    """One "diagnosis" or "score" line of log.jsonl: numbers by name, after so many images.

    advice: what was amiss then
    """

    images: float
    numbers: Mapping[str, float]
    advice: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One entry of figures/curves.json: lines over one axis, and the x of the choice."""

    name: str
    across: tuple[float, ...]
    lines: Mapping[str, tuple[float, ...]]
    log: bool = False
    mark: float | None = None
    places: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # own ones of lines


@dataclass(frozen=True, kw_only=True)
class Log:
    """What the page shows of a log.jsonl."""

    losses: tuple[Losses, ...] = ()
    diagnoses: tuple[Diagnosed, ...] = ()
    chosen: float | None = None  # images seen by the weights that were chosen among snapshots
    warnings: tuple[Note, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Run:
    """One trained model: what it is, what it scored, what it cost, where its pictures lie.

    Where several trainings stand in one row, metrics and costs are of all, warnings and advice too;
    the record, the folder and all curves are those of the first.
    """

    name: str
    model: str  # family:recipe
    seed: int | None = None  # None where several trainings stand in one row
    trainings: tuple[str, ...] = ()  # the names of those
    metrics: tuple[MetricRecord, ...] = ()
    cost: Mapping[str, float | None] = field(default_factory=dict)
    extractor: ExtractorRecord | None = None  # None where it is not known
    warnings: tuple[Note, ...] = ()
    log: tuple[Losses, ...] = ()
    diagnoses: tuple[Diagnosed, ...] = ()
    chosen: float | None = None
    curves: tuple[Curve, ...] = ()
    record: RunRecord | None = None  # None where run.json is missing or damaged
    samples: SamplesRecord | None = None  # of what was trained elsewhere
    folder: Path | None = None

    @property
    def family(self) -> str:
        """The part of the model before the colon."""
        return self.model.split(":")[0]

    @property
    def recipe(self) -> str:
        """The part of the model after the colon."""
        return self.model.partition(":")[2]

    @property
    def variant(self) -> str:
        """What sets it apart from its plain recipe, in the user's words."""
        return self.record.variant if self.record else ""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Models under one contract.

    runs:      a row each; several trainings of a model are one row of means
    trainings: every single training, where there are more of them than rows
    baseline:  what no training gives, which is none of the models; None where there is none
    unmeasured_baseline: why there is none, where there was to be one
    """

    folder: Path
    contract: ContractRecord
    runs: tuple[Run, ...]
    trainings: tuple[Run, ...] = ()
    baseline: Run | None = None
    unmeasured_baseline: Note | None = None

    @property
    def unequal(self) -> bool:
        """Whether runs differ in what should be equal."""
        return self.contract.forced or bool(self.contract.differences)


def trained_here(runs: Sequence[Run]) -> tuple[Run, ...]:
    """The runs of which more is known than samples."""
    return tuple(run for run in runs if run.samples is None)


def times_trained(runs: Sequence[Run]) -> Literal["once", "several", "mixed"]:
    """Whether each model was trained once, each several times, or only some of them several times.

    Samples from elsewhere say nothing of trainings and are left out.
    """
    several = {len(run.trainings) > 1 for run in trained_here(runs)}
    return "mixed" if len(several) > 1 else "once" if several == {False} else "several"


def load_comparison(folder: Path) -> Comparison:
    """Read COMPARISON/contract.json, COMPARISON/results.json and every run that they name.

    Raises InputError, with the path and the mend, when one of the two files is missing or corrupt.
    """
    contract = read_required(ContractRecord, folder / "contract.json")
    results = read_required(ComparisonResults, folder / "results.json", files.MOST_RESULTS)
    runs = load_runs(results.runs, folder, contract)
    models = runs if results.models is None else load_runs(results.models, folder, contract)
    baseline, why_not = None, None
    if results.baseline is not None:
        why_not = results.baseline.note
        if results.baseline.results is not None:
            run_folder = find_folder(folder, (BASELINE,), 0, BASELINE)
            baseline = load_run(results.baseline.results, run_folder)
    return Comparison(
        folder=folder,
        contract=contract,
        runs=models if results.models is None else tuple(of_all(m, runs) for m in models),
        trainings=() if results.models is None else runs,
        baseline=baseline,
        unmeasured_baseline=why_not,
    )


def load_runs(
    results: Sequence[ResultsRecord], folder: Path, contract: ContractRecord
) -> tuple[Run, ...]:
    """Each result of a comparison's folder with what lies beside it."""
    return tuple(
        load_run(result, find_folder(folder, contract.runs, index, result.run))
        for index, result in enumerate(results)
    )


def of_all(model: Run, trainings: Sequence[Run]) -> Run:
    """A model's row with what all of its trainings were warned and advised of."""
    own = [run for run in trainings if run.name in model.trainings]
    advised = (
        replace(each, numbers={})  # no point of the first one's charts
        for run in own
        for each in run.diagnoses
        if run.name != model.name and each.advice
    )
    return replace(
        model,
        warnings=without_repeats(w for run in (model, *own) for w in run.warnings),
        diagnoses=(*model.diagnoses, *advised),
    )


def own_costs(cost: dict[str, float | None]) -> dict[str, float | None]:
    """The costs of a run; memory of a process that trained others as well has a name of its own."""
    if (cost.pop("peak_memory_of", None) or 1) > 1 and "peak_memory_bytes" in cost:
        cost["process_memory_bytes"] = cost.pop("peak_memory_bytes")
    return cost


def load_run(result: ResultsRecord, folder: Path | None) -> Run:
    """One result, with run.json, log.jsonl and curves beside it where they exist."""
    record = load_record(folder / "run.json") if folder else None
    log = load_log(folder / "log.jsonl") if folder else Log()
    rewound = [Note("rewinds", {"n": record.rewinds})] if record and record.rewinds else []
    return Run(
        name=result.run or (folder.name if folder else ""),
        model=result.model,
        seed=None if record is None or result.runs else record.seed,
        trainings=result.runs or (),
        metrics=result.metrics,
        cost=own_costs(asdict(result.cost)),
        extractor=result.extractor,
        warnings=without_repeats((*result.warnings, *log.warnings, *rewound)),
        log=log.losses,
        diagnoses=log.diagnoses,
        chosen=log.chosen,
        curves=load_curves(folder / "figures" / "curves.json") if folder else (),
        record=record,
        samples=result.samples,
        folder=folder,
    )


def load_log(path: Path) -> Log:
    """Losses, diagnoses and warnings; other events and a torn last line are passed over.

    Of what a training gave up by going back, the advice stays and the numbers go. Why it went back
    is a warning.
    """
    lines: list[Losses] = []
    diagnoses: list[Diagnosed] = []
    warned: list[Note] = []
    chosen = None
    try:
        text = files.read_bytes(path, MOST_LOG).decode(errors="replace")
    except (OSError, ValueError):
        return Log()
    for line in text.splitlines():
        try:
            entry = files.parse_json(line.encode())
        except ValueError:
            continue
        entry = mapping(entry)
        images = number(entry.get("images"))
        # Their words were in "message" before 0.2.
        if entry.get("event") in ("warning", "rewind"):
            warned += read_notes([entry.get("note", entry.get("message"))])
        if images is not None and entry.get("event") == "diagnosis":
            advice = read_notes(entry.get("advice"))
            found = numbers(entry.get("numbers"))
            diagnoses.append(Diagnosed(images=images, numbers=found, advice=advice))
        if images is not None and entry.get("event") == "score":
            score = numbers({"score": entry.get("value")})
            diagnoses.append(Diagnosed(images=images, numbers=score))
        if entry.get("event") == "choice":
            chosen = images
        back = number(entry.get("to")) if entry.get("event") == "rewind" else None
        if back is not None:  # what came after it was given up
            phase = number(entry.get("phase")) or 0
            lines = [each for each in lines if each.phase < phase or each.images <= back]
            diagnoses = [
                each if phase > 0 or each.images <= back else replace(each, numbers={})
                for each in diagnoses
            ]
        if images is None or entry.get("event") != "losses":
            continue
        lines.append(
            Losses(
                images=images,
                images_per_second=number(entry.get("images_per_second")),
                losses=numbers(entry.get("losses")),
                phase=number(entry.get("phase")) or 0,
                seconds=number(entry.get("seconds")),
            )
        )
    return Log(
        losses=tuple(lines), diagnoses=tuple(diagnoses), chosen=chosen, warnings=tuple(warned)
    )


def load_curves(path: Path) -> tuple[Curve, ...]:
    """The curves whose lines hold a number for every x; others are passed over."""
    curves = []
    for name, entry in read_optional(path).items():
        given = mapping(entry)
        across = all_numbers(given.get("across"))
        lines, places = (
            {key: all_numbers(values) for key, values in mapping(given.get(part)).items()}
            for part in ("lines", "places")
        )
        whole = [*lines.values(), *places.values()]
        if across and lines and all(len(values) == len(across) for values in whole):
            mark, log = number(given.get("mark")), given.get("log") is True
            curves.append(
                Curve(name=name, across=across, lines=lines, log=log, mark=mark, places=places)
            )
    return tuple(curves)


def all_numbers(values: object) -> tuple[float, ...]:
    """A list of numbers; empty where anything else is in it."""
    items = values if isinstance(values, list) else []
    finite = tuple(each for each in map(number, items) if each is not None)
    return finite if len(finite) == len(items) else ()


def find_folder(base: Path, paths: tuple[str, ...], index: int, name: str) -> Path | None:
    """The folder of a result: the path of that name, else the one at the same position.

    None when there is no such folder: the page is then made without its pictures.
    """
    named = [path for path in paths if path == name]
    named = named or [path for path in paths if Path(path).name == name]
    named = named or [*paths[index : index + 1]]
    try:
        return base / named[0] if named and (base / named[0]).is_dir() else None
    except (OSError, ValueError):  # a name that no file system takes
        return None


def read_required(kind: type[R], path: Path, most: int = files.MOST_JSON) -> R:
    """The record of a file that has to be there; raises InputError with the mend."""
    if not path.is_file():
        raise InputError(f"{path} is missing", "make the comparison with `triptych compare` first")
    try:
        return kind.read(files.parse_json(files.read_bytes(path, most)))
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read as a comparison ({error})"
        raise InputError(message, "run `triptych compare` again") from error


def load_record(path: Path) -> RunRecord | None:
    """run.json; None where it is missing or damaged."""
    try:
        return RunRecord.read(files.parse_json(files.read_bytes(path, files.MOST_JSON)))
    except (OSError, ValueError):
        return None


def load_results(path: Path) -> ResultsRecord | None:
    """results.json of a run; None where it is missing or damaged."""
    try:
        return ResultsRecord.read(files.parse_json(files.read_bytes(path, files.MOST_RESULTS)))
    except (OSError, ValueError):
        return None


def read_optional(path: Path) -> JsonObject:
    """A JSON object, empty when the file is missing or unreadable."""
    try:
        return mapping(files.parse_json(files.read_bytes(path, files.MOST_JSON)))
    except (OSError, ValueError):
        return {}


def number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= sys.float_info.max else None


def numbers(value: object) -> dict[str, float]:
    """The finite numbers of a JSON object, by name."""
    items = ((str(key), number(each)) for key, each in mapping(value).items())
    return {key: each for key, each in items if each is not None}


def mapping(value: object) -> JsonObject:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}
