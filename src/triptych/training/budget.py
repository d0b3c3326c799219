"""From a budget to a number of images, decided once.

A wall-clock budget is measured on a copy of the model that is then thrown away, so training
itself depends on the number alone and can be repeated exactly.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from triptych.config import Budget
from triptych.data.batches import Batches
from triptych.errors import InputError
from triptych.hardware import Machine
from triptych.training.loop import GRID_SHARES
from triptych.training.state import TrainingState

WARM_UP_ROUNDS = 3
LATER_ROUNDS = 10  # measured of each later phase
MEASURED_SHARE = 0.05  # of the budget goes into measuring, within these bounds
LEAST_SECONDS, MOST_SECONDS = 1.0, 10.0
# An interruption loses a twentieth, or more where writing so often would cost over 1 % of the time.
LEAST_CHECKPOINTS, MOST_CHECKPOINTS = 2, 20
CHECKPOINT_SHARE = 0.01
LEAST_ROUNDS = 5  # a model that was moved less often than this has learned nothing
FEW_ROUNDS = 100  # and less often than this, hardly anything


@dataclass(frozen=True)
class Speed:
    """Seconds of one round and its share of later phases, of a grid of samples, of a checkpoint."""

    round: float
    grid: float
    checkpoint: float


@dataclass(frozen=True, kw_only=True)
class PlannedImages:
    """How many images to see, and how that was found."""

    images: int
    checkpoints: int  # at even distances on the way
    seconds: float  # spent on finding all this; part of the training's cost
    found: dict[str, Any]


def planned_images(
    budget: Budget,
    train_size: int,
    batch_size: int,
    measure: Callable[[], Speed],
) -> PlannedImages:
    """Whole batches that the budget pays for; InputError when that is too few to mean anything.

    measure: how fast it goes; asked where the budget is in seconds
    """
    started = time.perf_counter()
    checkpoints = MOST_CHECKPOINTS
    found: dict[str, Any] = {}
    if budget.unit == "images":
        images = budget.amount
    elif budget.unit == "epochs":
        images = budget.amount * train_size
    else:
        speed = measure()
        spent = time.perf_counter() - started
        affordable = int(CHECKPOINT_SHARE * budget.amount / speed.checkpoint)
        checkpoints = max(LEAST_CHECKPOINTS, min(checkpoints, affordable))
        extras = speed.grid * len(GRID_SHARES) + speed.checkpoint * checkpoints
        images = (budget.amount - spent - extras) / speed.round * batch_size
        found = {
            "seconds_per_round": speed.round,
            "seconds_for_extras": extras,
            "seconds_of_calibration": spent,
        }
    rounds = math.floor(images / batch_size + 1e-9)
    if rounds < LEAST_ROUNDS:
        raise InputError(
            f"the budget {budget.asked} pays for {max(rounds, 0)} steps of {batch_size} images, "
            "too few to learn anything",
            f"give at least {LEAST_ROUNDS * batch_size / 1000:g}kimg",
        )
    return PlannedImages(
        images=rounds * batch_size,
        checkpoints=checkpoints,
        seconds=time.perf_counter() - started,
        found=found,
    )


def note_few(images: int, batch_size: int) -> str | None:
    """What to say of a budget that hardly means anything."""
    rounds = images // batch_size
    if rounds >= FEW_ROUNDS:
        return None
    enough = FEW_ROUNDS * batch_size / 1000
    return f"note: {rounds} steps teach a model hardly anything, {enough:g}kimg would be the least"


def measure_rounds(
    state: TrainingState,
    batches: Batches,
    seed: int,
    machine: Machine,
    seconds: float,
    draw_grid: Callable[[], object],
    save_checkpoint: Callable[[], object],
) -> Speed:
    """Seconds of everything a run does, after a warm-up."""
    wanted = min(max(seconds * MEASURED_SHARE, LEAST_SECONDS), MOST_SECONDS)
    far = 10**9  # planned images: keeps the rate schedule at its start

    def timed(work: Callable[[], object]) -> float:
        machine.finish()
        started = time.perf_counter()
        work()
        machine.finish()
        return time.perf_counter() - started

    def rounds(count: int) -> None:
        for _ in range(count):
            state.round(batches, seed, far, machine)

    rounds(WARM_UP_ROUNDS)
    # As many rounds in all processes: the first one's clock decides.
    estimate = timed(lambda: rounds(WARM_UP_ROUNDS)) / WARM_UP_ROUNDS
    count = machine.group.told(lambda: max(WARM_UP_ROUNDS, round(wanted / estimate)))
    per_round = timed(lambda: rounds(count)) / count
    grid, saving = timed(draw_grid), timed(save_checkpoint)
    for _, share in sorted(state.shares().items()):
        state.next_phase()
        rounds(WARM_UP_ROUNDS)
        per_round += share * timed(lambda: rounds(LATER_ROUNDS)) / LATER_ROUNDS
    found = Speed(per_round, grid, saving)
    return Speed(**machine.group.told(lambda: asdict(found)))
