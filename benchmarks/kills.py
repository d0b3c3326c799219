"""Trainings killed at random moments: is what is left whole, is little lost, is the end the same?

Prints one JSON document. Every life is a fork of this process, which has imported all it needs
and started no thread, so that a life costs milliseconds; it trains through the same function as
`triptych train`. A third of the kills come at a random moment, a third within a random number of
milliseconds after a file was begun to be written, a third at once when one was. After each, all
that a reader can see in the run is read. When enough lives have ended, one goes on to the end,
and its weights and losses are compared with those of a run that was never killed.

    python benchmarks/kills.py --out benchmarks/results/kills.json
"""

import argparse
import json
import math
import mmap
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import torch

from triptych import files, hardware
from triptych.config import ImageShape
from triptych.console import QUIET
from triptych.data.dataset import ImageData, Part
from triptych.errors import InputError
from triptych.hardware import Machine
from triptych.options import TrainRequest
from triptych.training import calibration, checkpoint, loop, resolve
from triptych.training import train as training
from triptych.training.run_folder import RunFolder, load_model
from triptych.training.state import TrainingState

SHAPE = ImageShape(channels=1, resolution=16)
SETTINGS = {
    "vae:course": ("widths=8,8", "latent=4", "batch_size=16"),
    "gan:hinge": ("width=8", "latent=8", "batch_size=16"),
    "diffusion:x0": ("widths=8,16", "attention=false,false", "steps=2", "batch_size=16"),
}
ROUNDS = 4  # steps between two checkpoints
KILLS_PER_RUN = 25
MOST_BYTES = 10**8


def noise_images(seed: int = 0) -> ImageData:
    """Images that are in memory already: opening others might start threads."""
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (160, *SHAPE.size), generator=rng, dtype=torch.uint8)
    parts = [Part(rows, None) for rows in pixels.split((128, 16, 16))]
    return ImageData(
        name="noise",
        source="noise",
        fingerprint="0" * 16,
        fit="stretch",
        classes=None,
        notes=(),
        train=parts[0],
        validation=parts[1],
        test=parts[2],
    )


def make_request(model: str, intervals: int) -> resolve.ResolvedRequest:
    planned = intervals * ROUNDS * 16 / 1000
    asked = TrainRequest(
        model=model, budget=f"{planned}kimg", size="tiny", set=tuple(SETTINGS[model])
    )
    return resolve.resolve(asked, data=noise_images())


class Trace:
    """What a life tells its parent until it is killed: rounds lived, phase and images seen."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, 24)

    def write(self, rounds: int, phase: int, seen: int) -> None:
        self.memory[:24] = struct.pack("3q", rounds, phase, seen)

    def read(self) -> tuple[int, int, int]:
        return struct.unpack("3q", self.memory[:24])  # type: ignore[return-value]


def live(request: resolve.ResolvedRequest, out: Path, machine: Machine, trace: Trace) -> NoReturn:
    """One life: trains on, tells of every round, ends without a word to anybody."""
    one_round, begun = TrainingState.step, TrainingState.load
    lived = 0

    def told(state: TrainingState, *arguments: Any) -> None:
        nonlocal lived
        one_round(state, *arguments)
        lived += 1
        trace.write(lived, state.phase, state.seen)

    def loaded(state: TrainingState, *arguments: Any) -> None:
        begun(state, *arguments)
        trace.write(lived, state.phase, state.seen)

    TrainingState.step, TrainingState.load = told, loaded  # type: ignore[method-assign,assignment]
    try:
        training.train(request, out, machine, QUIET)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def half_written(out: Path) -> list[Path]:
    """What a life is writing just now, or left."""
    places = (out, out / "checkpoints", out / "samples")
    found: list[Path] = []
    for place in places:
        try:
            found += [place / n for n in os.listdir(place) if n.endswith(".tmp")]  # noqa: PTH208
        except OSError:  # not yet, or no longer
            continue
    return found


def kill(child: int, out: Path, way: str, rng: random.Random, usual: float) -> tuple[int, bool]:
    """Kill a life in one of three ways: its exit status, and whether it was writing."""
    deadline = time.perf_counter() + rng.uniform(0, usual)
    known = set(half_written(out)) if way != "any" else set()
    skipped = rng.randrange(3)  # files written that are let be
    ended, status = 0, 0
    while not ended:
        if way == "any" and time.perf_counter() > deadline:
            break
        fresh = set(half_written(out)) - known if way != "any" else set()
        if fresh and skipped:
            known |= fresh
            skipped -= 1
        elif fresh:
            time.sleep(rng.uniform(0, 0.02) if way == "soon" else 0)
            break
        ended, status = os.waitpid(child, os.WNOHANG)
    if not ended:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    return status, bool(half_written(out))


def reads(out: Path) -> Iterator[str]:
    """What of a run cannot be read by whoever comes next; nothing, it is hoped."""
    folder = RunFolder(out)
    if folder.is_run():
        try:
            if folder.read().status == "done":
                load_model(folder)
        except InputError as error:
            yield str(error)
    for path in checkpoint.complete(folder.checkpoints):
        try:
            checkpoint.load(path, MOST_BYTES)
        except Exception as error:
            yield f"{path.name}: {error!r}"


def is_done(out: Path) -> bool:
    """Whether the run was killed after its end: then it needs no checkpoint."""
    folder = RunFolder(out)
    return folder.is_run() and folder.read().status == "done"


def newest_seen(out: Path) -> tuple[int, int]:
    """Phase and images of the newest checkpoint."""
    found = checkpoint.complete(out / "checkpoints")
    phase, seen = found[-1].name.split("-") if found else ("0", "0")
    return int(phase), int(seen)


def losses(out: Path) -> list[tuple[int, dict[str, float]]]:
    """The log without times and memory."""
    events = map(json.loads, (out / "log.jsonl").read_text().splitlines())
    return [(e["images"], e["losses"]) for e in events if e["event"] == "losses"]


class Family:
    """All kills of one model."""

    def __init__(self, model: str, kills: int, intervals: int, scratch: Path, seed: int) -> None:
        self.request = make_request(model, intervals)
        self.kills, self.scratch = kills, scratch
        self.rng = random.Random(f"{model} {seed}")
        self.machine = hardware.pick("cpu", "fp32", threads=1)
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.most_lost = 0.0

    def life(self, out: Path, way: str, usual: float) -> bool:
        """One life, killed if it lasts; whether it came to the end of the training."""
        trace = Trace()
        before = set(half_written(out))
        child = os.fork()
        if child == 0:
            live(self.request, out, self.machine, trace)
        if way == "never":
            _, status = os.waitpid(child, 0)
            writing = False
        else:
            status, writing = kill(child, out, way, self.rng, usual)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):
                self.problems.append(f"a life ended by itself with {os.WEXITSTATUS(status)}")
            return True
        self.counts["kills"] += 1
        self.counts["while writing"] += writing
        rounds, phase, seen = trace.read()
        self.problems += reads(out)
        if rounds:
            left = before & set(half_written(out))
            self.problems += [f"{path.name} outlived the next start" for path in left]
        kept_phase, kept = newest_seen(out)
        if kept_phase == phase and seen and not is_done(out):
            interval = ROUNDS * self.request.settings.batch_size
            self.most_lost = max(self.most_lost, (seen - kept) / interval)
        return False

    def run(self) -> dict[str, Any]:
        started = time.perf_counter()
        whole = self.scratch / "whole"
        self.life(whole, "never", 0)
        usual = (time.perf_counter() - started) / 4
        expected = files.sha256(whole / "model.safetensors"), losses(whole), names(whole)
        ways = ("any", "soon", "at once")
        number = 0
        while self.counts["kills"] < self.kills and not self.problems:
            out, number = self.scratch / f"run-{number}", number + 1
            done = False
            for _ in range(KILLS_PER_RUN):
                if done or self.counts["kills"] == self.kills:
                    break
                done = self.life(out, self.rng.choice(ways), usual)
            while not done:
                done = self.life(out, "never", 0)
            self.counts["finished after kills"] += 1
            found = files.sha256(out / "model.safetensors"), losses(out), names(out)
            for what, ours, theirs in zip(
                ("weights", "log", "files"), found, expected, strict=True
            ):
                if ours != theirs:
                    self.problems.append(f"{what} of {out.name} differ from a run never killed")
            shutil.rmtree(out)
        if self.most_lost > 1:
            self.problems.append("more than an interval was lost")
        return {
            "model": str(self.request.name),
            **self.counts,
            "most intervals lost": round(self.most_lost, 3),
            "problems": self.problems,
            "seconds": round(time.perf_counter() - started, 1),
        }


def names(out: Path) -> list[str]:
    """All files of a run."""
    return sorted(str(path.relative_to(out)) for path in out.rglob("*"))


def warm_up(request: resolve.ResolvedRequest, machine: Machine) -> None:
    """Import what a life would, then make sure that a fork copies the only thread there is."""
    training.fresh_state(replace(request, seed=1), machine)
    threads = len(list(Path("/proc/self/task").iterdir()))
    assert threads == 1, f"{threads} threads: set OMP_NUM_THREADS=1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="of each model")
    parser.add_argument("--intervals", type=int, default=20, help="checkpoints of a run")
    parser.add_argument("--models", nargs="*", default=list(SETTINGS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    results = []
    for model in chosen.models:
        with tempfile.TemporaryDirectory() as scratch:
            family = Family(model, chosen.kills, chosen.intervals, Path(scratch), chosen.seed)
            calibration.MOST_CHECKPOINTS = chosen.intervals
            loop.GRID_COST = math.inf  # else it depends on the time which pictures are drawn
            warm_up(family.request, family.machine)
            results.append(family.run())
        print(json.dumps(results[-1]), file=sys.stderr)
    text = json.dumps({"versions": hardware.versions(), "models": results}, indent=2)
    print(text)
    if chosen.out:
        chosen.out.write_text(text + "\n")
    sys.exit(any(result["problems"] for result in results))


if __name__ == "__main__":
    main()
