"""How fast training goes on a busy machine, by how OpenMP's waiting threads wait.

    python benchmarks/busy.py --out benchmarks/results/busy.json
    python benchmarks/busy.py --table benchmarks/results/busy.json

A thread that has done its part of an operation waits for the others. In GNU OpenMP, which the
PyTorch wheels bring, it first spins, for GOMP_SPINCOUNT turns, and then sleeps. A spinning thread
keeps a core from whoever has work to do; one that sleeps must be woken. Measured are whole training
steps of every family's default and course recipe, on a quiet machine and beside one and two busy
programs, which the benchmark starts and ends.

Every setting has a process of its own, which lives for the whole benchmark, since GOMP_SPINCOUNT is
read when torch is loaded. Out of its turn it waits for its standard input and costs nothing.
Settings take turns innermost, so that a drifting machine is the same for all of them. A cell is one
warm-up step and then as many steps as fit into --seconds, at least one: a step may be far slower
than the cell is long.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from neighbors import (
    Neighbors,
    last_words,
    parser_of,
    plain_environment,
    quartiles,
    quiet_signals,
    taken,
    write,
)
from triptych.console import Console


@dataclass(frozen=True)
class Setting:
    """How threads wait.

    spins:   GOMP_SPINCOUNT; None leaves it unset
    threads: of torch; None means all cores
    """

    spins: int | None
    threads: int | None = None


MODELS = "vae:ladder", "vae:course", "gan:r1", "gan:course", "diffusion:x0", "diffusion:course"
ONE_THREAD, QUIET = "one thread", "quiet"
SETTINGS = {
    "default": Setting(None),
    **{str(spins): Setting(spins) for spins in (100_000, 10_000, 1000, 100, 0)},
    ONE_THREAD: Setting(1000, threads=1),
}
CONDITIONS = {QUIET: 0, "one busy program": 1, "two busy programs": 2}
FAR = 10**9  # images in a training's plan: keeps learning rates at their start
LIMIT = 600.0  # seconds of a cell, after which its neighbors end by themselves
HOW = (
    "Images per second of whole training steps as the commands run them (size tiny, embedded "
    "street-digits). A cell is one warm-up step, then as many steps as fit into `seconds`, at "
    "least one. One process per setting; rounds, then conditions, then models, then settings take "
    "turns. A busy program is a Python loop of one thread, of our priority but for `nice`, in our "
    "session unless `apart`. Medians and quartiles are over rounds; `to_quiet_one_thread` divides "
    "the median by that of one thread on the quiet machine."
)


# A process that trains.

Step = Callable[[], int]  # one training step -> images seen


def make_steps(models: Sequence[str], threads: int | None) -> tuple[dict[str, Step], Any]:
    """A training step of each model, and the machine that `hardware.pick` gave.

    All that this file takes from the inside of triptych is here: `hardware.keep_memory` and `pick`,
    `opening.open_images`, `registry`, `Batches`, and `TrainingState.step` with its plan.
    """
    from triptych import hardware

    hardware.keep_memory()  # before torch is imported, as the command does
    from triptych.data.batches import Batches
    from triptych.data.open import open_images
    from triptych.families import registry
    from triptych.training.plan import Plan
    from triptych.training.state import TrainingState

    plan = Plan.straight(FAR)
    machine = hardware.pick("cpu", threads=threads)
    data = open_images("street-digits")

    def one_step(state: TrainingState, batches: Batches) -> int:
        state.step(batches, 0, plan, machine)
        return batches.batch_size

    steps: dict[str, Step] = {}
    for model in models:
        name = registry.ModelName.parse(model)
        settings = registry.defaults(name, "tiny", data.shape, len(data.train))
        network = registry.build(name, settings, data.shape, seed=0).train()
        batches = Batches(data.train, settings.batch_size, 0, "cpu", data.augment)
        steps[model] = partial(one_step, TrainingState(network, settings), batches)
    return steps, machine


def train_for(step: Step, seconds: float) -> dict[str, float]:
    """Images and seconds of the steps that fit, after one that does not count."""
    step()
    images = steps = 0
    elapsed, started = 0.0, time.perf_counter()
    while steps == 0 or elapsed * (steps + 1) / steps <= seconds:
        images += step()
        steps += 1
        elapsed = time.perf_counter() - started
    return {"images": images, "seconds": round(elapsed, 4), "steps": steps}


def work(threads: int | None, models: Sequence[str]) -> None:
    """Read `MODEL SECONDS`, train, answer in one line of JSON; until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent heeds it
    steps, machine = make_steps(models, threads)
    print(json.dumps({"threads": machine.threads, "precision": machine.precision}), flush=True)
    for line in sys.stdin:
        model, seconds = line.split()
        print(json.dumps(train_for(steps[model], float(seconds))), flush=True)


# The process that asks.


class Worker:
    """A `work` of its own, seen from here."""

    def __init__(self, name: str, models: Sequence[str]) -> None:
        setting = SETTINGS[name]
        spins = {} if setting.spins is None else {"GOMP_SPINCOUNT": str(setting.spins)}
        self.name = name
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 # closed by `end`
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work", str(setting.threads or 0), *models],
            env=plain_environment() | spins,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def train(self, model: str, seconds: float) -> dict[str, float]:
        """Have it take a turn."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `answer` says why
            self.process.stdin.write(f"{model} {seconds}\n")
            self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """What it says next; RuntimeError with its last words where it has ended."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.name} failed: {last_words(self.errors)}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        with contextlib.suppress(BrokenPipeError):  # a request that it no longer reads
            self.process.communicate()
        self.errors.close()


@dataclass(frozen=True)
class Cell:
    """One turn: a model trained with one setting in one condition."""

    condition: str
    model: str
    setting: str
    images: int
    seconds: float
    steps: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure. `nice` and `apart` are as `Neighbors` takes them."""

    models: Sequence[str]
    settings: Sequence[str]
    seconds: float
    rounds: int
    nice: int
    apart: bool


def measure(plan: Plan, out: Any, console: Console) -> dict[str, Any]:
    """All rounds; the result is written to `out` after each."""
    told = {"seconds": plan.seconds, "nice": plan.nice, "apart": plan.apart}
    result: dict[str, Any] = {"how": HOW, **taken(), **told}
    cells: list[Cell] = []
    total = plan.rounds * len(CONDITIONS) * len(plan.models) * len(plan.settings)
    with contextlib.ExitStack() as stack:
        workers = {}
        for name in plan.settings:
            workers[name] = Worker(name, plan.models)
            stack.callback(workers[name].end)
        console.say(f"starting {len(workers)} processes")
        result["workers"] = {name: worker.answer() for name, worker in workers.items()}
        bar = stack.enter_context(console.bar("measuring", total))
        for number in range(1, plan.rounds + 1):
            console.say(f"round {number} of {plan.rounds}")
            for condition, model, name in itertools.product(CONDITIONS, plan.models, plan.settings):
                bar.update(len(cells), total, f"{condition}, {model}, {name}")
                cells.append(one_cell(workers[name], condition, model, plan))
            result |= {"rounds": number, "models": summarize(cells)}
            write(out, result)
    return result


def one_cell(worker: Worker, condition: str, model: str, plan: Plan) -> Cell:
    """One turn, its neighbors busy from before its first step to after its last."""
    with Neighbors(LIMIT, plan.nice, plan.apart) as neighbors:
        neighbors.start(CONDITIONS[condition])
        answer: dict[str, Any] = worker.train(model, plan.seconds)
        neighbors.check()
    return Cell(condition, model, worker.name, **answer)


def summarize(cells: Sequence[Cell]) -> dict[str, Any]:
    """model -> condition -> setting -> images per second over the rounds, and its ratio."""
    turns: dict[str, dict[str, dict[str, list[Cell]]]] = {}
    for cell in cells:
        of_model = turns.setdefault(cell.model, {}).setdefault(cell.condition, {})
        of_model.setdefault(cell.setting, []).append(cell)
    summary: dict[str, Any] = {}
    for model, conditions in turns.items():
        base = conditions[QUIET].get(ONE_THREAD)
        unit = None if base is None else statistics.median(map(speed, base))
        summary[model] = {
            condition: {name: entry(own, unit) for name, own in settings.items()}
            for condition, settings in conditions.items()
        }
    return summary


def speed(cell: Cell) -> float:
    """Images per second."""
    return cell.images / cell.seconds


def entry(cells: Sequence[Cell], unit: float | None) -> dict[str, Any]:
    """The numbers of one model, condition and setting. `unit` is one thread's speed in quiet."""
    speeds = [speed(cell) for cell in cells]
    median = statistics.median(speeds)
    return {
        "images_per_second": round(median, 2),
        "quartiles": [round(value, 2) for value in quartiles(speeds)],
        "to_quiet_one_thread": None if unit is None else round(median / unit, 3),
        "steps": [cell.steps for cell in cells],
    }


def table(result: dict[str, Any]) -> str:
    """Images per second (and to one thread in quiet), a column per model, in Markdown."""
    models = result["models"]
    lines = ["| | " + " | ".join(f"`{model}`" for model in models) + " |"]
    lines.append("|---" * (len(models) + 1) + "|")
    first = next(iter(models.values()))
    for condition, settings in first.items():
        for name in settings:
            row = [text_of(model[condition][name]) for model in models.values()]
            lines.append(f"| {condition}: {name} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def text_of(numbers: dict[str, Any]) -> str:
    """One cell of the table."""
    speed = numbers["images_per_second"]
    shown = f"{speed:,.0f}" if speed >= 100 else f"{speed:.3g}"
    ratio = numbers["to_quiet_one_thread"]
    return shown if ratio is None else f"{shown} ({ratio:.2f})"


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        work(int(sys.argv[2]) or None, sys.argv[3:])
        return
    parser = parser_of(__doc__, rounds=3, out="busy.json")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a cell")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    asked = parser.parse_args()
    if asked.table:
        print(table(json.loads(asked.table.read_text())))
        return
    plan = Plan(
        models=asked.models,
        settings=asked.settings,
        seconds=asked.seconds,
        rounds=asked.rounds,
        nice=asked.nice,
        apart=asked.apart,
    )
    with quiet_signals():
        print(table(measure(plan, asked.out, Console())))


if __name__ == "__main__":
    main()
