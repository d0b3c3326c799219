"""Several runs under one contract: what must agree, and the files that say so."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from triptych import files, hardware
from triptych.comparison.contract import (
    differences,
    features_used,
    marks,
    measured_differently,
    samples_measured,
    trained_on_other_data,
)
from triptych.comparison.seeds import all_differences, by_model, together
from triptych.config import Budget
from triptych.console import Console
from triptych.data.dataset import ImageData
from triptych.data.open import open_images
from triptych.errors import InputError
from triptych.evaluation.outputs import EVALUATION_SEED
from triptych.hardware import Machine
from triptych.options import DEFAULT_DATA, CompareRequest, DataOptions
from triptych.run import Run, run_data
from triptych.training.run_folder import RunFolder

SCHEMA = 1
CONTRACT = "contract.json"
RESULTS = "results.json"
NUMBERS = ("value", "low", "high", "floor")  # of a metric
PLACE = ("device", "precision", "threads", "versions", "hardware")


def read_finished(folders: Sequence[RunFolder]) -> dict[str, dict[str, Any]]:
    """run.json by folder name, or by path where names repeat.

    Raises InputError on an unfinished run, or one that is named twice.
    """
    paths = [folder.path.resolve() for folder in folders]
    twice = [
        folder.path for folder, path in zip(folders, paths, strict=True) if paths.count(path) > 1
    ]
    if twice:
        raise InputError(f"{twice[0]} is named twice", "name each run once")
    names = [path.name for path in paths]
    found = {}
    for folder, path in zip(folders, paths, strict=True):
        facts = folder.read()
        if facts.get("status") != "done":
            raise InputError(
                f"{folder.path} is not trained to its end", "finish it with the same train command"
            )
        found[path.name if names.count(path.name) == 1 else str(folder.path)] = facts
    return found


def is_run(model: str | Path) -> bool:
    """Whether this names a folder and not a model."""
    return isinstance(model, Path) or Path(model).is_dir()


def refuse_unequal(
    runs: dict[str, dict[str, Any]], force: bool, more: Sequence[str] = ()
) -> list[str]:
    """What differs (and what `more` says), when forced; InputError naming it otherwise."""
    found = [*differences(runs), *more]
    if found and not force:
        raise InputError("these runs cannot be compared, " + "; ".join(found), "--force shows them")
    return found


def identity(asked: CompareRequest, data: ImageData) -> dict[str, Any]:
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


def check_output(out: Path, request: dict[str, Any]) -> None:
    """InputError unless the folder is absent, empty, or this very comparison."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file", "name a folder with --out")
    contract = out / CONTRACT
    if out.is_dir() and not contract.exists() and all(map(may_be_ours, files.visible(out))):
        return  # stopped while training: each run is checked when it goes on
    if contract.is_file():
        theirs = files.read_json(contract, "name another --out").get("request")
        if theirs != request:
            raise InputError(f"{out} holds another comparison", "name another --out")
    elif out.is_dir() and files.visible(out):
        raise InputError(f"{out} exists and is not a comparison of ours", "name another --out")


def may_be_ours(path: Path) -> bool:
    """Whether a comparison may have made this before it was stopped: a run, or its empty folder."""
    return path.is_dir() and (RunFolder(path).is_run() or not any(path.iterdir()))


def this_machine(machine: Machine) -> dict[str, Any]:
    """Where a measurement is made, as contract.json has it."""
    return {
        "device": machine.device,
        "precision": machine.precision,
        "threads": machine.threads,
        "versions": hardware.versions(),
        "hardware": hardware.describe(),
    }


def write_contract(
    out: Path,
    folders: list[RunFolder],
    request: dict[str, Any],
    command: str,
    measured: Mapping[str, Any],
    data: dict[str, Any],
    place: dict[str, Any],
    force: bool,
    more: Sequence[str] = (),
) -> list[str]:
    """contract.json of finished runs; returns the sentences that mark the page.

    measured: how many samples were, and on which features
    data:     what was measured on
    place:    what `this_machine` gives, of where
    Raises InputError when they may not be compared, for what run.json says or for what `more` says.
    """
    runs = read_finished(folders)
    unequal = refuse_unequal(runs, force, more)
    first = next(iter(runs.values()))
    sentences = unequal + marks(runs)
    contract = {
        "schema": SCHEMA,
        "triptych": hardware.own_version(),
        "command": command,
        "request": request,
        "data": data,
        "size": first["size"],
        "budget": first["budget"],
        "seeds": sorted({facts["seed"] for facts in runs.values()}),
        "evaluation": {**measured, "seed": EVALUATION_SEED},
        **place,
        "runs": [os.path.relpath(folder.path, out) for folder in folders],
        "differences": sentences,
        "forced": bool(unequal),
    }
    files.write_json(out / CONTRACT, contract)
    return sentences


def write_results(
    out: Path, folders: list[RunFolder], measure: Callable[[RunFolder], dict[str, Any]]
) -> list[dict[str, Any]]:
    """results.json of the comparison: what `measure` finds for every run, in order."""
    results = []
    for folder in folders:
        found = measure(folder) | {"run": os.path.relpath(folder.path, out)}
        files.write_json(folder.results, found)
        results.append(found)
    write_together(out, folders, results)
    return results


def write_together(
    out: Path, folders: Sequence[RunFolder], results: Sequence[dict[str, Any]]
) -> None:
    """results.json: the runs, several trainings of a model as one, and what models differ by."""
    models = [together(group) for group in by_model(results, [f.read() for f in folders])]
    content: dict[str, Any] = {"schema": SCHEMA, "runs": results}
    if len(models) < len(results):
        content["models"] = models
    content["differences"] = all_differences(models)
    files.write_json(out / RESULTS, content)


def join(out: Path, folders: list[RunFolder], force: bool) -> None:
    """A comparison of runs that were evaluated already; InputError where one was not."""
    results = [read_results(folder) for folder in folders]
    runs = read_finished(folders)
    first, measured_on = next(iter(runs.values())), results[0]["data"]
    same = first["data"]["fingerprint"] == measured_on["fingerprint"]
    data = first["data"] if same else measured_on  # which says less of itself
    place = {key: first[key] for key in PLACE}
    request = {"runs": [str(folder.path) for folder in folders]}
    command = "triptych report " + " ".join(request["runs"])
    more = measured_differently(dict(zip(runs, results, strict=True)))
    more += trained_on_other_data(runs, measured_on["fingerprint"])
    measured = {"count": samples_measured(results[0]), "features": features_used(results[0])}
    write_contract(out, folders, request, command, measured, data, place, force, more)
    for found, folder in zip(results, folders, strict=True):
        found["run"] = os.path.relpath(folder.path, out)
    write_together(out, folders, results)


def read_results(folder: RunFolder) -> dict[str, Any]:
    """results.json of a run; InputError where it is missing or damaged."""
    mend = "measure it with `triptych evaluate`"
    folder.read()
    found = files.read_json(folder.results, mend)
    if not is_measured(found):
        raise InputError(f"{folder.results} is damaged", mend)
    return found


def is_measured(found: Any) -> bool:
    """Whether this is what `evaluate` writes, as far as a comparison relies on it."""
    if not isinstance(found, dict) or not isinstance(found.get("data"), dict):
        return False
    metrics = found.get("metrics")
    return (
        isinstance(found["data"].get("fingerprint"), str)
        and isinstance(found.get("model"), str)
        and isinstance(found.get("cost"), dict)
        and isinstance(metrics, list)
        and all(isinstance(m, dict) and isinstance(m.get("name"), str) for m in metrics)
        and all(type(m.get("n")) is int for m in metrics)
        and all(isinstance(m.get(k), int | float | None) for m in metrics for k in NUMBERS)
    )


def data_to_compare(
    data: str | ImageData | None, own: Run | None, options: DataOptions | None, console: Console
) -> ImageData:
    """The data asked for, else those of a finished run, else the embedded ones."""
    if isinstance(data, ImageData):
        return data
    if data is None and own is not None:
        return run_data(own, None, None, console)
    return open_images(data or DEFAULT_DATA, options, console)
