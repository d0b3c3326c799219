"""From a budget to a plan: how fast training goes here, found by a few steps that are thrown away.

A budget in images or epochs needs no such thing. One in seconds begins with the plan made here,
and is planned anew on the way (`plan`).
"""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from triptych.config import Budget, ImageShape, Size
from triptych.console import Bar
from triptych.data.batches import Batches
from triptych.data.dataset import Part
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.registry import ModelName
from triptych.hardware import Machine, counts_to_try
from triptych.seeding import generator
from triptych.training.loop import GRID_SHARES
from triptych.training.plan import Plan
from triptych.training.state import TrainingState
from triptych.training.threads import fastest, quickest, try_counts

WARM_UP_ROUNDS = 2
LATER_ROUNDS = 5  # measured of each later phase
MEASURED_SHARE = 0.02  # of the budget goes into measuring the speed, within these bounds
LEAST_SECONDS, MOST_SECONDS = 0.5, 3.0
TRIED_SHARE, MOST_TRIED_SECONDS = 0.03, 2.0  # and into trying thread counts
# An interruption loses a twentieth, or more where writing so often would cost over 1 % of the time.
LEAST_CHECKPOINTS, MOST_CHECKPOINTS = 2, 20
CHECKPOINT_SHARE = 0.01
LEAST_ROUNDS = 5  # a model that was moved less often than this has learned nothing
FEW_ROUNDS = 100  # and less often than this, hardly anything
PROBED = ImageShape(channels=3, resolution=32)  # of the images that steps are timed on at any time
PROBED_IMAGES = 1000


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What was measured, in seconds.

    per_image: of each phase
    shares:    images of each phase over the planned ones
    grid, checkpoint, finishing: of a picture, of a checkpoint, of what follows the last phase
    threads:   the fastest count
    tried:     seconds of a step with each count that was tried
    """

    per_image: list[float]
    shares: list[float]
    grid: float
    checkpoint: float
    finishing: float
    threads: int
    tried: dict[str, float]

    @property
    def per_planned(self) -> float:
        """Of all phases together for each planned image."""
        return sum(map(operator.mul, self.per_image, self.shares))


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The first plan, and how it was found.

    images:      of phase 0
    checkpoints: in phase 0, at even distances
    speed:       under a budget in seconds
    """

    images: int
    checkpoints: int
    speed: Speed | None = None


def planned_images(
    budget: Budget,
    train_size: int,
    batch_size: int,
    measure: Callable[[], Speed],
    spent: Callable[[], float] = lambda: 0.0,
) -> Planned:
    """Whole batches that the budget pays for; InputError when that is too few to mean anything.

    measure: how fast it goes; asked where the budget is in seconds
    spent:   seconds of the training so far, which count
    """
    if budget.unit != "seconds":
        images = budget.amount * (1 if budget.unit == "images" else train_size)
        rounds = math.floor(images / batch_size + 1e-9)
        if rounds < LEAST_ROUNDS:
            mend = f"give at least {LEAST_ROUNDS * batch_size / 1000:g}kimg"
            raise too_short(budget, rounds, batch_size, mend)
        return Planned(images=rounds * batch_size, checkpoints=MOST_CHECKPOINTS)
    speed = measure()
    affordable = int(CHECKPOINT_SHARE * budget.amount / speed.checkpoint)
    checkpoints = max(LEAST_CHECKPOINTS, min(MOST_CHECKPOINTS, affordable))
    extras = speed.grid * len(GRID_SHARES) + speed.checkpoint * checkpoints + speed.finishing
    extras += spent()
    rounds = math.floor((budget.amount - extras) / (speed.per_planned * batch_size))
    if rounds < LEAST_ROUNDS:
        least = extras + LEAST_ROUNDS * batch_size * speed.per_planned
        raise too_short(
            budget, rounds, batch_size, f"give at least {math.ceil(1.2 * least)}s on this machine"
        )
    return Planned(images=rounds * batch_size, checkpoints=checkpoints, speed=speed)


def too_short(budget: Budget, rounds: int, batch_size: int, mend: str) -> InputError:
    """What to say of a budget that buys next to no steps."""
    return InputError(
        f"the budget {budget.asked} pays for {max(rounds, 0)} steps of {batch_size} images, "
        "too few to learn anything",
        mend,
    )


def note_few(images: int, batch_size: int) -> str | None:
    """What to say of a budget that hardly means anything."""
    rounds = images // batch_size
    if rounds >= FEW_ROUNDS:
        return None
    enough = FEW_ROUNDS * batch_size / 1000
    return f"note: {rounds} steps teach a model hardly anything, {enough:g}kimg would be the least"


def measure_speed(
    state: TrainingState,
    batches: Batches,
    seed: int,
    machine: Machine,
    seconds: float,
    draw_grid: Callable[[], object],
    save_checkpoint: Callable[[], object],
    finish: Callable[[int], object],
) -> Speed:
    """Seconds of everything a run does, by a state that is brought back to its start afterwards.

    seconds: of the budget
    finish:  does what follows the last phase, for a training of so many images
    """
    far = Plan.straight(10**9)  # keeps the rate schedule at its start

    def timed(work: Callable[[], object]) -> float:
        machine.finish()
        started = time.perf_counter()
        work()
        machine.finish()
        return time.perf_counter() - started

    def rounds(count: int) -> None:
        for _ in range(count):
            state.round(batches, seed, far, machine)

    size = batches.batch_size
    chosen, tried = try_threads(machine, seconds, lambda: timed(lambda: rounds(1)))
    torch.set_num_threads(chosen)  # the caller sets back what was
    wanted = min(max(seconds * MEASURED_SHARE, LEAST_SECONDS), MOST_SECONDS)
    rounds(WARM_UP_ROUNDS)
    estimate = timed(lambda: rounds(WARM_UP_ROUNDS)) / WARM_UP_ROUNDS
    # As many rounds in all processes: the first one's clock decides.
    count = machine.group.told(lambda: max(WARM_UP_ROUNDS, round(wanted / estimate)))
    first = timed(lambda: rounds(count)) / count / size
    grid, saving = timed(draw_grid), timed(save_checkpoint)
    finishing = timed(lambda: finish(int(seconds / first))) + saving
    per_image, shares = [first], state.shares()
    for _ in shares:
        state.next_phase()
        rounds(WARM_UP_ROUNDS)
        per_image.append(timed(lambda: rounds(LATER_ROUNDS)) / LATER_ROUNDS / size)
    measured: dict[str, Any] = {
        "per_image": per_image,
        "shares": [1.0, *(shares[phase] for phase in sorted(shares))],
        "grid": grid,
        "checkpoint": saving,
        "finishing": finishing,
        "threads": chosen,
        "tried": {str(count): value for count, value in tried.items()},
    }
    return Speed(**machine.group.told(lambda: measured))


def try_threads(
    machine: Machine, seconds: float, step: Callable[[], float]
) -> tuple[int, dict[int, float]]:
    """The fastest count of threads, and seconds of a step with each that was tried.

    seconds: of the budget, of which this takes a small part
    """
    if not may_try_threads(machine):
        return machine.threads, {}

    def with_threads(count: int) -> float:
        torch.set_num_threads(count)
        return step()

    limit = min(TRIED_SHARE * seconds, MOST_TRIED_SECONDS)
    present = torch.get_num_threads()  # the fastest as far as is known, so it comes first
    counts = sorted(counts_to_try(machine.threads), key=lambda count: count != present)
    tried = try_counts(counts, with_threads, limit)
    return fastest(tried), {count: quickest(values) for count, values in tried.items()}


def steps_now(machine: Machine, size: Size, bar: Bar) -> dict[str, dict[int, float]]:
    """Seconds of a step of each family's default recipe now, by the number of threads, on noise.

    Empty where the number is not ours to choose. Takes about a second for each.
    """
    found = {}
    names = [ModelName.parse(family) for family in registry.FAMILIES]
    for done, name in enumerate(names if may_try_threads(machine) else []):
        bar.update(done, len(names), str(name))
        settings = registry.defaults(name, size, PROBED, PROBED_IMAGES)
        state = TrainingState(registry.build(name, settings, PROBED, seed=0), settings)
        shape, rng = (PROBED_IMAGES, *PROBED.size), generator(0, "probe")
        noise = Part(torch.randint(256, shape, dtype=torch.uint8, generator=rng), None)
        batches = Batches(noise, settings.batch_size, seed=0)

        def step(state: TrainingState = state, batches: Batches = batches) -> float:
            started = time.perf_counter()
            state.round(batches, 0, Plan.straight(10**9), machine)
            return time.perf_counter() - started

        torch.set_num_threads(machine.threads)  # the caller sets back what was
        _, tried = try_threads(machine, MOST_TRIED_SECONDS / TRIED_SHARE, step)
        found[str(name)] = dict(sorted(tried.items()))
    return found


def may_try_threads(machine: Machine) -> bool:
    """Whether the count is ours to choose: not the user's, and no other process has to agree."""
    ours = "threads" in machine.choices and machine.group.size == 1
    return ours and machine.device == "cpu" and machine.threads > 1
