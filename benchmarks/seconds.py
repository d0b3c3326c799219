"""Does training take the seconds that were asked for, though the machine becomes busy or quiet?

    python benchmarks/seconds.py --out benchmarks/results/seconds.json
    python benchmarks/seconds.py --how compare --out benchmarks/results/seconds_compare.json
    python benchmarks/seconds.py --table benchmarks/results/seconds.json

Every family's default recipe is trained by the command, under budgets in seconds, while the machine
is quiet, while a neighbor (a busy program of one thread) comes at half of the expected time, and
while one that was there from the beginning leaves at half. `--how train` calls `triptych train` for
one family after another, and half is that of each training; `--how compare` calls `triptych
compare`, and half is that of all three trainings together. It also measures the models, but that
is not counted, and on 100 samples alone.

Recorded are the seconds that run.json says (`train_seconds`), those between the moments when the
run's folder appeared and when its run.json said that it was done (`clock_seconds`, looked at five
times a second), the images, the threads and the plan.

A training whose number of images was decided before the neighbor came may last very long. So a
neighbor leaves by itself after --patience times the expected seconds. Trainings that it should have
been beside until then are marked (`neighbor_stayed`, ">" in the table): they would have taken
longer.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neighbors import (
    Neighbors,
    last_words,
    parser_of,
    plain_environment,
    quiet_signals,
    taken,
    write,
)
from triptych.config import Budget
from triptych.console import Bar, Console

FAMILIES = "vae", "gan", "diffusion"
QUIET, COMES, LEAVES = CONDITIONS = "quiet", "neighbor comes", "neighbor leaves"
POLL = 0.2  # seconds between two looks at the folders
START = 60.0  # seconds that a command has to come to its first training, at most
HOW = (
    "Each family's default recipe (size tiny, embedded street-digits) trained by the command under "
    "a budget in seconds, on a quiet machine, beside a busy program of one thread that comes at "
    "half of the expected time, and beside one that leaves then: half of each training where `how` "
    "is train, of all three where it is compare. Rounds, then budgets, then conditions take turns. "
    "Medians are over rounds; `to_asked` is train_seconds over the asked seconds, `spread` the "
    "largest over the smallest train_seconds of one comparison, `images_to_quiet` the median "
    "number of images over that on the quiet machine."
)
RECORDED = "model", "train_seconds", "calibration_seconds", "images_seen", "threads", "precision"


@dataclass(frozen=True, kw_only=True)
class Command:
    """One call of triptych that trains `models` into folders inside `place`, one after another."""

    arguments: Sequence[str]
    place: Path
    models: Sequence[str]
    expected: float  # seconds of all its trainings


def commands(how: str, budget: str, folder: Path) -> Iterator[Command]:
    """What trains every family once."""
    seconds = Budget.parse(budget).amount
    same = "--budget", budget, "--size", "tiny", "--device", "cpu", "--quiet", "--out"
    if how == "compare":
        arguments = ["compare", *FAMILIES, "--count", "100", *same, str(folder)]
        yield Command(
            arguments=arguments, place=folder, models=FAMILIES, expected=len(FAMILIES) * seconds
        )
        return
    for family in FAMILIES:
        place = folder / family
        arguments = ["train", family, *same, str(place / "run")]
        yield Command(arguments=arguments, place=place, models=[family], expected=seconds)


@dataclass
class View:
    """A command's trainings as they are seen from outside: when each folder began and was done."""

    place: Path
    begun: dict[Path, float] = field(default_factory=dict)
    done: dict[Path, float] = field(default_factory=dict)
    facts: dict[Path, dict[str, Any]] = field(default_factory=dict)  # run.json of those done
    stayed: dict[Path, bool] = field(default_factory=dict)  # no neighbor had ended by itself

    def look(self, stayed: bool) -> None:
        """Take in what is there now. `stayed` is kept for what is done since the last look."""
        now = time.monotonic()
        if not self.place.is_dir():
            return
        for folder in self.place.iterdir():
            if folder in self.done or not folder.is_dir():
                continue
            self.begun.setdefault(folder, now)
            with contextlib.suppress(OSError, ValueError):  # not written yet
                facts = json.loads((folder / "run.json").read_text())
                if facts["status"] == "done":
                    self.done[folder], self.facts[folder] = now, facts
                    self.stayed[folder] = stayed

    def elapsed(self) -> float:
        """Seconds since the first training began; 0 before."""
        return time.monotonic() - min(self.begun.values()) if self.begun else 0.0


def train(
    command: Command, condition: str, neighbors: Neighbors, tick: Callable[[float], None]
) -> list[dict[str, Any]]:
    """Run a command to its end; a record of each of its trainings."""
    view = View(command.place)
    with tempfile.TemporaryFile("w+") as errors, neighbors:
        if condition == LEAVES:
            neighbors.start(1)
        process = subprocess.Popen(
            [sys.executable, "-m", "triptych", *command.arguments],
            env=plain_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        try:
            changed_at = watch(process, view, command, condition, neighbors, tick)
            neighbors.end()  # measuring is not counted
            process.wait()
        finally:
            stop(process)
        problem = last_words(errors) if process.returncode else None
    records = [record(view, folder) | {"changed_at": changed_at} for folder in view.done]
    families = {r["model"].partition(":")[0] for r in records}
    missing = [model for model in command.models if model not in families]
    lost = {"failed": problem, "changed_at": changed_at}
    return records + [{"model": model} | lost for model in missing]


def watch(
    process: subprocess.Popen[bytes],
    view: View,
    command: Command,
    condition: str,
    neighbors: Neighbors,
    tick: Callable[[float], None],
) -> float | None:
    """Until all is trained; the neighbor comes or leaves at half. Returns when that was."""
    changed_at = None
    while process.poll() is None and len(view.done) < len(command.models):
        time.sleep(POLL)
        view.look(neighbors.running())
        elapsed = view.elapsed()
        tick(min(elapsed, command.expected))
        if changed_at is None and elapsed >= command.expected / 2 and condition != QUIET:
            changed_at = round(elapsed, 2)
            if condition == COMES:
                neighbors.start(1)
            elif neighbors.running():
                neighbors.end()
    view.look(neighbors.running())
    return changed_at


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a command that we leave before it has ended: gently, then not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def record(view: View, folder: Path) -> dict[str, Any]:
    """What is kept of one finished training."""
    facts = view.facts[folder]
    seconds: float = facts["budget"]["amount"]
    return {
        **{name: facts[name] for name in RECORDED},
        "asked_seconds": seconds,
        "to_asked": round(facts["train_seconds"] / seconds, 4),
        "clock_seconds": round(view.done[folder] - view.begun[folder], 1),
        "neighbor_stayed": view.stayed[folder],
        "plan": facts.get("plans", facts.get("plan")),
    }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure. `nice` and `apart` are as `Neighbors` takes them."""

    how: str
    budgets: Sequence[str]
    conditions: Sequence[str]
    rounds: int
    patience: float
    nice: int
    apart: bool

    @property
    def seconds(self) -> float:
        """Asked of all trainings together."""
        once = sum(Budget.parse(budget).amount for budget in self.budgets)
        return once * len(FAMILIES) * len(self.conditions) * self.rounds


def measure(plan: Plan, out: Path, console: Console) -> dict[str, Any]:
    """All rounds; the result is written to `out` after each."""
    told = {"how_trained": plan.how, "nice": plan.nice, "apart": plan.apart}
    result: dict[str, Any] = {"how": HOW, **taken(), **told, "patience": plan.patience}
    trainings: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch, console.bar("training", plan.seconds) as bar:
        spent = 0.0
        for number in range(1, plan.rounds + 1):
            console.say(f"round {number} of {plan.rounds}")
            for budget, condition in itertools.product(plan.budgets, plan.conditions):
                turn = {"round": number, "budget": budget, "condition": condition}
                folder = Path(scratch) / f"{number}-{budget}-{condition.replace(' ', '-')}"
                for command in commands(plan.how, budget, folder):
                    records = take_turn(command, condition, plan, bar, spent)
                    trainings += [turn | one for one in records]
                    spent += command.expected
            result |= {"rounds": number, "summary": summarize(trainings), "trainings": trainings}
            write(out, result)
    return result


def take_turn(
    command: Command, condition: str, plan: Plan, bar: Bar, spent: float
) -> list[dict[str, Any]]:
    """One command in one condition. `spent` is the expected seconds of all before it."""
    neighbors = Neighbors(START + plan.patience * command.expected, plan.nice, plan.apart)
    note = f"{command.arguments[0]} {' '.join(command.models)}, {condition}"

    def tick(elapsed: float) -> None:
        bar.update(spent + elapsed, plan.seconds, note)

    return train(command, condition, neighbors, tick)


def summarize(trainings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """budget -> condition -> spread, and model -> medians over the rounds."""
    summary: dict[str, Any] = {}
    turns = {(one["budget"], one["condition"]): None for one in trainings}  # in their order
    for budget, condition in turns:
        own = [t for t in trainings if (t["budget"], t["condition"]) == (budget, condition)]
        quiet = [t for t in trainings if (t["budget"], t["condition"]) == (budget, QUIET)]
        summary.setdefault(budget, {})[condition] = {
            "spread": spread(own),
            "models": {m: entry(of_family(own, m), of_family(quiet, m)) for m in FAMILIES},
        }
    return summary


def of_family(trainings: Sequence[dict[str, Any]], family: str) -> list[dict[str, Any]]:
    """Those of one family."""
    return [one for one in trainings if one["model"].partition(":")[0] == family]


def spread(trainings: Sequence[dict[str, Any]]) -> float | None:
    """Largest over smallest train_seconds of one round, the median over rounds."""
    rounds: dict[int, list[float]] = {}
    for one in trainings:
        if "failed" not in one:
            rounds.setdefault(one["round"], []).append(one["train_seconds"])
    ratios = [max(own) / min(own) for own in rounds.values() if len(own) == len(FAMILIES)]
    return round(statistics.median(ratios), 3) if ratios else None


def entry(trainings: Sequence[dict[str, Any]], quiet: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The numbers of one family under one budget in one condition."""
    own = [one for one in trainings if "failed" not in one]
    numbers: dict[str, Any] = {
        "failed": len(trainings) - len(own),
        "neighbor_left_early": sum(not one["neighbor_stayed"] for one in own),
    }
    if not own:
        return numbers
    images = statistics.median(one["images_seen"] for one in own)
    usual = [one["images_seen"] for one in quiet if "failed" not in one]
    ratios = [one["to_asked"] for one in own]
    return numbers | {
        "train_seconds": round(statistics.median(one["train_seconds"] for one in own), 2),
        "clock_seconds": round(statistics.median(one["clock_seconds"] for one in own), 1),
        "to_asked": round(statistics.median(ratios), 3),
        "to_asked_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "images_seen": images,
        "images_to_quiet": round(images / statistics.median(usual), 3) if usual else None,
    }


def table(result: dict[str, Any]) -> str:
    """True over asked seconds and images to those in quiet, a column per family, in Markdown."""
    lines = ["| | " + " | ".join(FAMILIES) + " | spread |", "|---" * (len(FAMILIES) + 2) + "|"]
    for budget, conditions in result["summary"].items():
        for condition, numbers in conditions.items():
            row = [text_of(numbers["models"][family]) for family in FAMILIES]
            wide = "-" if numbers["spread"] is None else f"{numbers['spread']:.2f}"
            lines.append(f"| {budget}, {condition} | " + " | ".join(row) + f" | {wide} |")
    return "\n".join(lines)


def text_of(numbers: dict[str, Any]) -> str:
    """One cell of the table."""
    if "to_asked" not in numbers:
        return "failed"
    more = ">" if numbers["neighbor_left_early"] else ""
    images = numbers["images_to_quiet"]
    of_quiet = "" if images is None else f", {images:.2f} of the images"
    some = f", {numbers['failed']} failed" if numbers["failed"] else ""
    return f"{more}{numbers['to_asked']:.2f}{of_quiet}{some}"


def main() -> None:
    parser = parser_of(__doc__, rounds=3, out="seconds.json")
    parser.add_argument("--budgets", nargs="+", default=["30s", "75s"])
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=CONDITIONS)
    parser.add_argument("--how", choices=("train", "compare"), default="train")
    parser.add_argument("--patience", type=float, default=5.0, help="times the expected seconds")
    asked = parser.parse_args()
    if asked.table:
        print(table(json.loads(asked.table.read_text())))
        return
    for budget in asked.budgets:
        if Budget.parse(budget).unit != "seconds":
            parser.error(f"{budget} is no budget in seconds")
    plan = Plan(
        how=asked.how,
        budgets=asked.budgets,
        conditions=asked.conditions,
        rounds=asked.rounds,
        patience=asked.patience,
        nice=asked.nice,
        apart=asked.apart,
    )
    with quiet_signals():
        print(table(measure(plan, asked.out, Console())))


if __name__ == "__main__":
    main()
