"""What a run of ours does outside the forward and backward passes and the optimizer's step.

The functions that a run goes through are wrapped with a stopwatch that gives each moment to the
innermost of them, so the parts add up to the whole run.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import triptych
from peers_networks import noise_images
from triptych.console import Console
from triptych.data.dataset import ImageData, Part
from triptych.hardware import Machine
from triptych.training import loop, train
from triptych.training.ema import EMA
from triptych.training.optimizer import ObjectiveOptimizer
from triptych.training.state import RunningMeans, TrainingState

BARE = ("forward", "backward", "optimiser step")
ONCE_IN_A_WHILE = ("checkpoints", "log", "grids")  # so many in a run, however long it is
LENGTHS = {"75s": 75, "10m": 600, "1h": 3600}
# What is wrapped, and which part of a run it is.
PARTS: tuple[tuple[Any, str, str], ...] = (
    (ObjectiveOptimizer, "forward", "forward"),
    (ObjectiveOptimizer, "backward", "backward"),
    (TrainingState, "batch", "batch and noise"),
    (EMA, "update", "average of weights"),
    (ObjectiveOptimizer, "step", "norm, mask and rate"),
    (RunningMeans, "add", "tally"),
    (TrainingState, "step", "rest of the round"),
    (ObjectiveOptimizer, "gradients", "rest of the round"),
    (loop, "report_losses", "log"),
    (loop, "save", "checkpoints"),
    (train, "finish", "checkpoints"),
    (train, "save_grid", "grids"),
    (train, "run", "rest of the loop"),
)


@dataclass
class Stopwatch:
    """Seconds of each part, without those of the parts within it."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    inside: list[str] = field(default_factory=list)
    since: float = 0.0

    def turn(self) -> None:
        """Give the time since the last turn to the innermost part."""
        now = time.perf_counter()
        if self.inside:
            self.seconds[self.inside[-1]] += now - self.since
        self.since = now

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, watched."""

        def watched(*args: Any, **options: Any) -> Any:
            self.turn()
            self.inside.append(part)
            self.calls[part] += 1
            try:
                return function(*args, **options)
            finally:
                self.turn()
                self.inside.pop()

        return watched

    def forget(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, before which all is set to nothing: the speed was measured till then."""

        def fresh(*args: Any, **options: Any) -> Any:
            self.seconds.clear()
            self.calls.clear()
            return function(*args, **options)

        return fresh


def watch(watch: Stopwatch) -> None:
    """Wrap what this process will run."""
    for owner, name, part in PARTS:
        setattr(owner, name, watch.timed(part, getattr(owner, name)))
    train.run = watch.forget(train.run)
    begin = ObjectiveOptimizer.__init__

    def watched_optimisers(mover: ObjectiveOptimizer, *args: Any, **options: Any) -> None:
        begin(mover, *args, **options)
        for optimizer in mover.optimizers.values():
            for name in ("step", "zero_grad"):
                setattr(optimizer, name, watch.timed("optimiser step", getattr(optimizer, name)))

    ObjectiveOptimizer.__init__ = watched_optimisers  # type: ignore[method-assign]


def noise_data() -> ImageData:
    """Random images as a data set."""
    images = noise_images()
    return ImageData(
        name="noise",
        source="noise",
        fingerprint="0" * 16,
        fit="none",
        classes=None,
        notes=(),
        train=Part(images, None),
        validation=Part(images[:64], None),
        test=Part(images[:64], None),
    )


def measure(model: str, budget: str, machine: Machine) -> dict[str, Any]:
    """Train for a budget, then say where the time went; once in a process."""
    stopwatch = Stopwatch()
    watch(stopwatch)
    with tempfile.TemporaryDirectory() as folder:
        run = triptych.train(
            model,
            noise_data(),
            budget=budget,
            out=Path(folder) / "run",
            machine=machine,
            console=Console(),
        )
        images = run.record.images_seen
    seconds = stopwatch.seconds
    bare = sum(seconds[part] for part in BARE)
    seldom = sum(seconds[part] for part in ONCE_IN_A_WHILE)
    rounds = sum(seconds.values()) - seldom  # all that is done in every round
    return {
        "images": images,
        "rounds": stopwatch.calls["batch and noise"],
        "seconds": {part: round(value, 4) for part, value in sorted(seconds.items())},
        "outside_bare_step": round((rounds - bare) / bare, 4),
        "share_of_rounds": {
            part: round(value / rounds, 4)
            for part, value in sorted(seconds.items())
            if part not in ONCE_IN_A_WHILE
        },
        "checkpoints_log_grids_seconds": round(seldom, 3),
        "checkpoints_log_grids_share": {
            "this run": round(seldom / (seldom + rounds), 4),
            **{text: round(seldom / length, 4) for text, length in LENGTHS.items()},
        },
    }
