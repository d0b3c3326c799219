"""What trackers cost: seconds of training by image beside each, over those beside none.

    python benchmarks/trackers.py --out benchmarks/results/trackers.json

One model is trained in the process of the benchmark, anew for every cell: beside no tracker, and
beside each one that is installed. The cells of a round take turns, each round in another order. A
cell is a whole training with its hundred log points, pictures, diagnoses and checkpoints, from a
started tracker to the last weights. What is outside of the training's own clock is told apart: to
import the package (once a process), and to begin and end a run of it. A ratio is the median over
rounds of the cell's seconds by image over those of the cell beside none in the same round, with
the quartiles.

A machine that is not quite idle moves such a ratio by several percent, so the cost is counted too:
the seconds for which the training hands something over, and the processor's seconds of the
tracker's thread and of the processes that it starts and ends. Their share of the training's
seconds, the latter spread over its threads, is what a training can lose by them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import resource
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from triptych import hardware
from triptych.console import QUIET
from triptych.data.open import open_images
from triptych.hardware import Machine
from triptych.options import DEFAULT_DATA, TRACKERS, DataOptions, TrainRequest
from triptych.training import trackers
from triptych.training.resolve import resolve
from triptych.training.train import train

NONE = "none"
NEEDED = {"mlflow": ("mlflow", "sqlalchemy", "alembic"), "csv": ()}


SPENT: Counter[str] = Counter()  # seconds of the cell that is measured


def counted(kind: str, clock: Callable[[], float], call: Any) -> Any:
    """The call, its seconds by that clock added up."""

    def wrapped(*given: Any) -> Any:
        began = clock()
        try:
            return call(*given)
        finally:
            SPENT[kind] += clock() - began

    return wrapped


def count_all() -> None:
    """From here on all that trackers take during a training is counted."""
    plain = trackers.Beside.hand
    handing: list[bool] = []  # not empty while a log point, a picture or a diagnosis is handed over

    def told(method: Any) -> Any:
        def wrapped(*given: Any) -> None:
            handing.append(True)
            method(*given)
            handing.pop()

        return counted("handed over", time.perf_counter, wrapped)

    def hand(self: trackers.Beside, call: Any) -> None:
        plain(self, counted("thread", time.thread_time, call) if handing else call)

    for name in ("log", "samples", "diagnosis"):
        setattr(trackers.Beside, name, told(getattr(trackers.Beside, name)))
    trackers.Beside.hand = hand  # type: ignore[method-assign]


def of_processes() -> float:
    """Processor's seconds of the processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def installed(name: str) -> bool:
    return all(importlib.util.find_spec(module) for module in NEEDED.get(name, (name,)))


def seconds_to_import(names: list[str]) -> dict[str, float]:
    spent = {}
    for name in names:
        began = time.perf_counter()
        trackers.prepare([name], QUIET)
        spent[name] = round(time.perf_counter() - began, 3)
    return spent


def cell(asked: TrainRequest, data: Any, machine: Machine, folder: Path) -> dict[str, float]:
    """Seconds of one training and, apart, of all that is not on its clock."""
    request = resolve(asked, machine.device, data, precision=machine.precision)
    SPENT.clear()
    began, processes = time.perf_counter(), of_processes()
    record = train(request, folder, machine, QUIET).read()
    whole = time.perf_counter() - began
    dropped = (folder / "log.jsonl").read_text().count("callback_dropped")
    assert not dropped, f"{asked.log_to} failed: see {folder / 'log.jsonl'}"
    assert record.train_seconds is not None
    return {
        "seconds_per_image": record.train_seconds / record.images_seen,
        "besides": whole - record.train_seconds,
        "counted": (
            SPENT["handed over"] + (SPENT["thread"] + of_processes() - processes) / machine.threads
        )
        / record.train_seconds,
    }


def summary(values: list[float]) -> dict[str, float]:
    low, middle, high = (
        statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else 3 * values
    )
    return {"median": round(middle, 5), "low": round(low, 5), "high": round(high, 5)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=DEFAULT_DATA)
    parser.add_argument("--model", default="vae:ladder")
    parser.add_argument("--budget", default="20kimg")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    names = [name for name in TRACKERS if installed(name)]
    count_all()
    machine, order = hardware.pick(), random.Random(0)
    data = open_images(options.data, DataOptions(resolution=options.resolution))
    cells: dict[str, list[dict[str, float]]] = {name: [] for name in (NONE, *names)}
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {"TRACKIO_DIR": f"{scratch}/trackio", "WANDB_MODE": "offline"}
        imports = seconds_to_import(names)
        for number in range(-1, options.rounds):  # the first round warms up
            for name in order.sample(list(cells), len(cells)):
                asked = TrainRequest(
                    model=options.model,
                    budget=options.budget,
                    size="tiny",
                    set=tuple(options.set),
                    log_to=() if name == NONE else (name,),
                )
                measured = cell(asked, data, machine, Path(scratch) / f"{number}-{name}")
                if number >= 0:
                    cells[name].append(measured)
                    print(number, name, json.dumps(measured), flush=True)
    base = [each["seconds_per_image"] for each in cells[NONE]]
    results = {
        "how": {
            "model": options.model,
            "data": options.data,
            "budget": options.budget,
            "rounds": options.rounds,
            "threads": machine.threads,
            "precision": machine.precision,
            "hardware": hardware.describe(),
            "versions": hardware.versions(),
            "load": [round(load, 2) for load in os.getloadavg()],
        },
        "seconds_to_import": imports,
        "seconds_per_image_beside_none": summary(base),
        "trackers": {
            name: {
                "ratio": summary(
                    [
                        ours["seconds_per_image"] / none
                        for ours, none in zip(cells[name], base, strict=True)
                    ]
                ),
                "counted_share": summary([ours["counted"] for ours in cells[name]]),
                "seconds_to_begin_and_end": summary(
                    [
                        ours["besides"] - none["besides"]
                        for ours, none in zip(cells[name], cells[NONE], strict=True)
                    ]
                ),
            }
            for name in names
        },
    }
    options.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
