"""A comparison as the report reads it: JSON files turned into small frozen objects.

Nothing here judges or words anything. What a writer may leave out is None or empty here;
a number that is not finite counts as left out, so that no page ever shows "nan".
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from triptych import files
from triptych.comparison.significance import Measured
from triptych.errors import InputError

MOST_RESULTS = 2**25  # bytes: every pair of models in every number
MOST_LOG = 2**26  # bytes; ours have a hundred lines per phase

# What results of 0.1 do not say of their metrics.
EARLIER_GROUPS = {
    "distance": ("frechet_distance", "kernel_distance"),
    "samples": (
        "precision", "recall", "density", "coverage", "recognisable", "label_balance",
        "sharpness", "memorised",
    ),
    "abilities": (
        "bits_per_dim", "reconstruction_psnr", "reconstruction_ssim", "path_length",
        "path_uniformity", "probe_accuracy",
    ),
}  # fmt: skip
EARLIER_MOVE = {
    "frechet_distance", "precision", "recall", "density", "coverage", "memorised", "label_balance",
}  # fmt: skip

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Metric(Measured):
    """One measured number of one model; `value` is None when it is not defined."""

    name: str
    n: int | None = None  # images measured
    unit: str = ""
    features: str = ""
    reference: str = ""  # train, test, validation or none
    method: str = ""
    note: str = ""
    group: str = ""  # of the tables; earlier results do not say it
    moves_with_n: bool | None = None  # whether the expected value does

    @property
    def defined(self) -> bool:
        """Whether there is a number to show."""
        return self.value is not None and self.kind != "not defined"

    @property
    def table(self) -> str:
        """The table that shows it."""
        earlier = (group for group, names in EARLIER_GROUPS.items() if self.name in names)
        return self.group or next(earlier, "other")

    @property
    def needs_equal_n(self) -> bool:
        """Whether only values at the same number of images are compared."""
        return self.name in EARLIER_MOVE if self.moves_with_n is None else self.moves_with_n


@dataclass(frozen=True, kw_only=True)
class Losses:
    """One "losses" line of log.jsonl: loss terms after so many images."""

    images: float
    images_per_second: float | None
    losses: Mapping[str, float]  # "objective/term" -> mean since the line before
    phase: float = 0  # images are counted from 0 in each


@dataclass(frozen=True, kw_only=True)
class Diagnosed:
    """One "diagnosis" or "score" line of log.jsonl: numbers by name, after so many images."""

    images: float
    numbers: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One entry of figures/curves.json: lines over one axis, and the place of the choice."""

    name: str
    across: tuple[float, ...]
    lines: Mapping[str, tuple[float, ...]]
    log: bool = False
    mark: float | None = None


@dataclass(frozen=True, kw_only=True)
class Log:
    """What the page shows of a log.jsonl."""

    losses: tuple[Losses, ...] = ()
    diagnoses: tuple[Diagnosed, ...] = ()
    chosen: float | None = None  # images seen by the weights that were chosen among snapshots
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Run:
    """One trained model: what it is, what it scored, what it cost, where its pictures lie."""

    name: str
    model: str  # family:recipe
    seed: int | None = None  # None where several trainings stand in one row
    trainings: tuple[str, ...] = ()  # the names of those
    metrics: tuple[Metric, ...] = ()
    cost: Mapping[str, float | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    log: tuple[Losses, ...] = ()
    diagnoses: tuple[Diagnosed, ...] = ()
    chosen: float | None = None
    curves: tuple[Curve, ...] = ()
    record: Json = field(default_factory=dict)  # run.json as it stands
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
        return str(self.record.get("variant") or "")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Models under one contract.

    runs:      a row each; several trainings of a model are one row of means
    trainings: every single training, where there are more of them than rows
    """

    folder: Path
    contract: Json
    runs: tuple[Run, ...]
    trainings: tuple[Run, ...] = ()

    @property
    def differences(self) -> tuple[str, ...]:
        """What differs between runs that should be equal, in words."""
        return texts(self.contract.get("differences"))

    @property
    def forced(self) -> bool:
        """Whether the user asked to compare unequal runs."""
        return bool(self.contract.get("forced", False))


def load_comparison(folder: Path) -> Comparison:
    """Read COMPARISON/contract.json, COMPARISON/results.json and every run that they name.

    Raises InputError, with the path and the mend, when one of the two files is missing or corrupt.
    """
    contract = read_required(folder / "contract.json")
    path = folder / "results.json"
    results = read_required(path, MOST_RESULTS)
    models = load_runs(results.get("models", results.get("runs")), folder, contract, path)
    trained = load_runs(results.get("runs"), folder, contract, path) if "models" in results else ()
    return Comparison(folder=folder, contract=contract, runs=models, trainings=trained)


def load_runs(found: object, folder: Path, contract: Json, path: Path) -> tuple[Run, ...]:
    """The runs of a list in results.json, whose path is named where it cannot be read."""
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise corrupt(path)
    places = texts(contract.get("runs"))
    try:
        return tuple(
            load_run(result, find_folder(folder, places, index, str(result.get("run", ""))))
            for index, result in enumerate(found)
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise corrupt(path) from error


def own_costs(cost: dict[str, float | None]) -> dict[str, float | None]:
    """The costs of a run; memory of a process that trained others as well has a name of its own."""
    if (cost.pop("peak_memory_of", None) or 1) > 1 and "peak_memory_bytes" in cost:
        cost["process_memory_bytes"] = cost.pop("peak_memory_bytes")
    return cost


def load_run(result: Json, folder: Path | None) -> Run:
    """One entry of results.json, with run.json and log.jsonl beside it where they exist."""
    record = read_optional(folder / "run.json") if folder else {}
    cost = mapping(result.get("cost"))
    seed = number(record.get("seed"))
    log = load_log(folder / "log.jsonl") if folder else Log()
    trainings = texts(result.get("runs"))
    return Run(
        name=str(result.get("run") or (folder.name if folder else "")),
        model=str(result["model"]),
        seed=None if seed is None or trainings else int(seed),
        trainings=trainings,
        metrics=tuple(load_metric(each) for each in result.get("metrics", [])),
        cost=own_costs({key: number(value) for key, value in cost.items()}),
        warnings=tuple(dict.fromkeys((*texts(result.get("warnings")), *log.warnings))),
        log=log.losses,
        diagnoses=log.diagnoses,
        chosen=log.chosen,
        curves=load_curves(folder / "figures" / "curves.json") if folder else (),
        record=record,
        folder=folder,
    )


def load_metric(entry: Json) -> Metric:
    """One entry of "metrics"; a value that is not a number makes the file corrupt."""
    value = entry.get("value")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(f"metric value is not a number: {value!r}")
    count = number(entry.get("n"))
    words = ("unit", "better", "features", "reference", "kind", "method", "note", "group")
    moves = entry.get("moves_with_n")
    return Metric(
        name=str(entry["name"]),
        value=number(value),
        low=number(entry.get("low")),
        high=number(entry.get("high")),
        n=None if count is None else int(count),
        floor=number(entry.get("floor")),
        left_out={k: all_numbers(v) for k, v in mapping(entry.get("left_out")).items()},
        values=all_numbers(entry.get("values")),
        moves_with_n=moves if isinstance(moves, bool) else None,
        **{word: str(entry.get(word) or "") for word in words},
    )


def load_log(path: Path) -> Log:
    """Losses, diagnoses and warnings; other events and a torn last line are passed over."""
    lines: list[Losses] = []
    diagnoses: list[Diagnosed] = []
    warned: list[str] = []
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
        if entry.get("event") == "warning" and entry.get("message"):
            warned.append(str(entry["message"]))
        if images is not None and entry.get("event") == "diagnosis":
            diagnoses.append(Diagnosed(images=images, numbers=numbers(entry.get("numbers"))))
        if images is not None and entry.get("event") == "score":
            found = numbers({"score": entry.get("value")})
            diagnoses.append(Diagnosed(images=images, numbers=found))
        if entry.get("event") == "choice":
            chosen = images
        if images is None or entry.get("event") != "losses":
            continue
        lines.append(
            Losses(
                images=images,
                images_per_second=number(entry.get("images_per_second")),
                losses=numbers(entry.get("losses")),
                phase=number(entry.get("phase")) or 0,
            )
        )
    return Log(
        losses=tuple(lines), diagnoses=tuple(diagnoses), chosen=chosen, warnings=tuple(warned)
    )


def load_curves(path: Path) -> tuple[Curve, ...]:
    """Those that hold a number for every place; others are passed over."""
    found = []
    for name, entry in read_optional(path).items():
        given = mapping(entry)
        across = all_numbers(given.get("across"))
        lines = {key: all_numbers(values) for key, values in mapping(given.get("lines")).items()}
        if across and lines and all(len(values) == len(across) for values in lines.values()):
            mark, log = number(given.get("mark")), given.get("log") is True
            found.append(Curve(name=name, across=across, lines=lines, log=log, mark=mark))
    return tuple(found)


def all_numbers(values: object) -> tuple[float, ...]:
    """A list of numbers; empty where anything else is in it."""
    found = [number(value) for value in values] if isinstance(values, list) else []
    known = tuple(value for value in found if value is not None)
    return known if len(known) == len(found) else ()


def find_folder(base: Path, places: tuple[str, ...], index: int, name: str) -> Path | None:
    """The folder of a result: the place of that name, else the one at the same position.

    None when there is no such folder: the page is then made without its pictures.
    """
    named = [place for place in places if place == name]
    named = named or [place for place in places if Path(place).name == name]
    if not named and index < len(places):
        named = [places[index]]
    try:
        return base / named[0] if named and (base / named[0]).is_dir() else None
    except (OSError, ValueError):  # a name that no file system takes
        return None


def read_required(path: Path, most: int = files.MOST_JSON) -> Json:
    """A JSON object of so many bytes that has to be there; raises InputError with the mend."""
    if not path.is_file():
        raise InputError(f"{path} is missing", "make the comparison with `triptych compare` first")
    try:
        content = files.parse_json(files.read_bytes(path, most))
    except (OSError, ValueError) as error:
        raise corrupt(path) from error
    if not isinstance(content, dict):
        raise corrupt(path)
    return content


def read_optional(path: Path) -> Json:
    """A JSON object, empty when the file is missing or unreadable."""
    try:
        content = files.parse_json(files.read_bytes(path, files.MOST_JSON))
    except (OSError, ValueError):
        return {}
    return mapping(content)


def corrupt(path: Path) -> InputError:
    """The error of a file that is there and cannot be used."""
    return InputError(f"{path} cannot be read as a comparison", "run `triptych compare` again")


def number(value: object) -> float | None:
    """A finite number, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) <= sys.float_info.max else None


def numbers(value: object) -> dict[str, float]:
    """The finite numbers of a JSON object, by name."""
    found = {str(key): number(each) for key, each in mapping(value).items()}
    return {key: each for key, each in found.items() if each is not None}


def mapping(value: object) -> Json:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def texts(value: object) -> tuple[str, ...]:
    """The items of a JSON list as strings; empty when it is no list."""
    return tuple(str(each) for each in value) if isinstance(value, list) else ()


def data_name(comparison: Comparison) -> str:
    """The data's name, as the contract has it."""
    data = comparison.contract.get("data")
    name = data.get("name") if isinstance(data, dict) else None
    return str(name or "?")
