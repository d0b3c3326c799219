"""Several trainings side by side, in turns of a few seconds.

Whatever happens to the machine then happens to all of them, so that a busy minute makes no model
look worse than another. The one that has trained the shortest time is next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial

from triptych import hardware
from triptych.console import Console
from triptych.errors import ANYTHING, InterruptedRunError
from triptych.hardware import Machine
from triptych.records import Note
from triptych.training.calibration import forecast_bytes
from triptych.training.loop import stop_signals
from triptych.training.resolve import ResolvedRequest
from triptych.training.train import Training
from triptych.words import english

TURN = 3.0  # seconds
USABLE = 0.8  # of the free memory, for all trainings together

Open = Callable[[ResolvedRequest], AbstractContextManager[Training]]


def train_in_turns(
    requests: Sequence[ResolvedRequest], open_training: Open, machine: Machine, console: Console
) -> None:
    """Train all to their ends; one after another where they do not fit into memory together.

    open_training: begins or takes up the training of a request
    Raises InterruptedRunError on a signal, after all of them were saved; what else a training
    raises, after the others were.
    """
    if len(requests) > 1 and not fit_together(requests, machine):
        console.say(english(Note("one_after_another")))
        for request in requests:
            train_together([request], open_training, machine, console)
    elif requests:
        train_together(requests, open_training, machine, console)


def fit_together(requests: Sequence[ResolvedRequest], machine: Machine) -> bool:
    """Whether all states, and the largest step of any of them, fit into the free memory.

    Where steps are CUDA graphs, each training's graphs keep the memory of its own steps.
    """
    forecasts = [forecast_bytes(request, machine) for request in requests]
    of_steps = sum if machine.captures else max
    wanted = sum(kept for kept, _ in forecasts) + of_steps(step for _, step in forecasts)
    fits = wanted <= USABLE * hardware.free_memory_bytes(machine.device)
    return not machine.group.all_reduce_max(not fits)


def seconds_of(trainings: Sequence[Training]) -> list[float]:
    """Seconds of each training so far."""
    return [training.seconds for training in trainings]


def train_together(
    requests: Sequence[ResolvedRequest], open_training: Open, machine: Machine, console: Console
) -> None:
    """Train some that are held in memory at once."""
    hardware.forget_peak_memory()
    with ExitStack() as stack:
        trainings = [stack.enter_context(open_training(request)) for request in requests]
        for training in trainings:
            training.together = len(trainings)
        names = [training.folder.path.name for training in trainings]
        whole = "training" if len(trainings) == 1 else f"training {len(trainings)} models in turns"
        bars = stack.enter_context(console.bars([whole, *names]))
        received = stack.enter_context(stop_signals(machine.group))
        while waiting := [training for training in trainings if not training.done]:
            # Each process went by its own clock: the first one's says whose turn it is.
            spent = machine.group.broadcast(partial(seconds_of, waiting))
            training = waiting[spent.index(min(spent))]
            turn = TURN if len(waiting) > 1 else math.inf
            try:
                training.advance(turn, received, bars[1 + trainings.index(training)])
            except InterruptedRunError:  # in all processes
                refused: list[OSError] = []
                for paused in trainings:
                    if paused is not training:  # which has saved itself
                        try:
                            paused.save()
                        except OSError as error:  # a full disk: the others may yet fit
                            refused.append(error)
                machine.group.barrier()  # who leaves first would have the others killed
                if refused:
                    raise refused[0] from None
                raise
            except BaseException:
                for paused in trainings:
                    if paused is not training:
                        with suppress(*ANYTHING):  # a full disk may be what ended it
                            paused.save()
                raise
            bars[0].update(sum(each.progress for each in trainings), len(trainings))
        # One that came while the last of them was written: nothing is left to save.
        if number := machine.group.all_reduce_max(received[0] if received else 0):
            raise InterruptedRunError(number)
