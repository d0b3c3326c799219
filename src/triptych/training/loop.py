"""The one training loop. Everything in it happens at counts of images seen."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal, NoReturn

from triptych import hardware
from triptych.console import Bar, Console
from triptych.data.batches import Batches
from triptych.distributed import Group
from triptych.errors import InterruptedRunError, TrainingFailedError
from triptych.hardware import Machine
from triptych.training import checkpoint
from triptych.training.folder import RunFolder
from triptych.training.log import RunLog
from triptych.training.posthoc import Keeper
from triptych.training.selection import Selection
from triptych.training.state import Tally, TrainingState

LOG_POINTS = 100  # per phase
PATIENCE = 20  # steps in a row that may be left out before it is trouble
REWINDS = 5  # returns to before the trouble, each at half the learning rate, then it is given up
GRID_SHARES = (0.0, 1 / 16, 1 / 4, 1 / 2, 1.0)  # of the planned images
GRID_COST = 0.015  # of the time: those on the way are left out where they would take more


OnTrouble = Literal["rewind", "stop"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do when, in images seen."""

    planned: int
    seed: int
    checkpoints: int  # per phase

    def due(self, before: int, now: int, times: int, length: int) -> bool:
        """Whether one of `times` equal parts of `length` ended between two counts."""
        return before * times // length != now * times // length


@dataclass
class Clock:
    """Seconds of training, over interruptions; pictures since the last one, and seconds of each."""

    before: float = 0.0
    started: float = 0.0
    lap: float = 0.0
    pictures: int = 0
    per_picture: float = 0.0

    def start(self) -> None:
        """Go on."""
        self.started = self.lap = time.perf_counter()

    def seconds(self) -> float:
        """All so far."""
        return self.before + time.perf_counter() - self.started

    def lap_seconds(self) -> float:
        """Since the last call, or the start."""
        now = time.perf_counter()
        lap, self.lap = now - self.lap, now
        return lap


@dataclass(frozen=True, kw_only=True)
class Job:
    """The fixed parts of one training."""

    batches: Batches
    plan: Plan
    folder: RunFolder
    machine: Machine
    console: Console
    draw_grid: Callable[[int], None]  # images seen -> a picture in the run's samples folder
    diagnose: Callable[[int, RunLog], str]  # images seen before this round, the log -> trouble
    select: Selection
    keep: Keeper
    begin_again: Callable[[TrainingState], None]  # brings a state back to its first weights
    on_trouble: OnTrouble = "rewind"


def run(state: TrainingState, job: Job, clock: Clock) -> None:
    """Train from where the state is to the end of its last phase.

    Raises InterruptedRunError after saving when a signal came to any process,
    TrainingFailedError when steps stay without finite losses or gradients.
    """
    group = job.machine.group
    log = RunLog(job.folder.log, group.first)
    lengths = state.phases(job.plan.planned)
    clock.start()
    if state.seen == 0 and state.phase == 0:
        picture(state, lengths[0], clock, job)
    with job.console.bar(f"  {job.folder.path.name}") as bar, stop_signals(group) as received:
        while state.phase < len(lengths):
            length, before = lengths[state.phase], state.seen
            if before >= length:
                state.next_phase()
                if state.phase == 1:
                    job.select.choose(log)
                continue
            state.round(job.batches, job.plan.seed, length, job.machine)
            stop = group.largest(received[0] if received else 0)
            if job.plan.due(before, state.seen, LOG_POINTS, length):
                lost = report_losses(state, log, clock, job, bar)
                if lost and not stop:
                    rewind(not_finite(lost, state, job), state, log, clock, job)
                    continue
            if state.phase == 0 and any(
                before < share * length <= state.seen for share in GRID_SHARES
            ):
                picture(state, length, clock, job)
            trouble = job.diagnose(before, log)
            if trouble and may_go_back(trouble, state, job):
                rewind(trouble, state, log, clock, job)
                if not stop:
                    continue
                leave(stop, group)
            job.select(before, log)
            job.keep(before)
            times = max(1, job.plan.checkpoints * length // lengths[0])
            due = job.plan.due(before, state.seen, times, length)
            if stop or (due and not any(state.in_a_row.values())):  # not amid trouble
                save(state, log, clock, job)
            if stop:
                leave(stop, group)
            bar.update(state.seen, length)


def leave(stop: int, group: Group) -> NoReturn:
    """End for a signal, all processes at once: who leaves first would have the others killed."""
    group.wait()
    raise InterruptedRunError(stop)


def picture(state: TrainingState, length: int, clock: Clock, job: Job) -> None:
    """The samples of this moment, unless such pictures take more than their share of the time."""
    share = state.seen / length
    if 0 < share < 1:
        whole = clock.seconds() / share
        too_dear = (clock.pictures + 1) * clock.per_picture > GRID_COST * whole
        if job.machine.group.largest(too_dear):
            return
    began = time.perf_counter()
    job.draw_grid(state.seen)
    clock.per_picture = time.perf_counter() - began
    clock.pictures += 1


def not_finite(lost: list[str], state: TrainingState, job: Job) -> str:
    """What is wrong; TrainingFailedError when going back is not wanted or was done often enough."""
    names = ", ".join(lost)
    if job.on_trouble == "stop" or state.rewinds >= REWINDS:
        raise TrainingFailedError(
            f"training stopped at image {state.seen}: the last {PATIENCE} steps of the {names} "
            "were not finite; lower the learning rate with --set"
        )
    return f"the {names} stayed not finite"


def may_go_back(trouble: str, state: TrainingState, job: Job) -> bool:
    """Whether to go back to before a trouble that still leaves a model.

    TrainingFailedError when the user would rather stop.
    """
    if job.on_trouble == "stop":
        raise TrainingFailedError(
            f"training stopped at image {state.seen}: {trouble}; lower the learning rate with "
            "--set, or leave out --on-trouble stop"
        )
    return state.rewinds < REWINDS


def rewind(trouble: str, state: TrainingState, log: RunLog, clock: Clock, job: Job) -> None:
    """Go back to a checkpoint, or to the start, and on at half the learning rate.

    One that was gone back to before has not helped, so it is the turn of the one before it.
    """
    where, rewinds, group = state.seen, state.rewinds + 1, job.machine.group
    if group.first:
        checkpoint.drop_returned(job.folder.checkpoints)
    group.wait()
    if take_up(state, job.folder, job.console) is None:
        job.begin_again(state)
    state.rewinds, state.in_a_row = rewinds, {}
    message = f"{trouble}: back to image {state.seen}, half the learning rate"
    log.write("rewind", images=where, to=state.seen, message=message)
    job.console.say(f"  warning: {message}")
    save(state, log, clock, job, returned=True)


def take_up(
    state: TrainingState, folder: RunFolder, console: Console
) -> checkpoint.Progress | None:
    """Bring the state to the newest checkpoint that verifies; how far that was, if there is one.

    Every process reads it; TrainingFailedError where they do not find the same.
    """
    progress, passed_over = checkpoint.newest(folder.checkpoints, state.load, state.most_bytes())
    for message in passed_over:
        console.say(f"  {message}")
    if state.group.told(lambda: progress) != progress:
        raise TrainingFailedError(
            f"process {state.group.rank} finds other checkpoints in {folder.path} than the first "
            "one: put the folder where all machines see it"
        )
    state.group.wait()  # until all have read it
    return progress


def save(state: TrainingState, log: RunLog, clock: Clock, job: Job, returned: bool = False) -> None:
    """A checkpoint of this very moment.

    returned: it is one gone back to, or of the midst of trouble: trouble leads to one before it
    """
    if not job.machine.group.first:
        return
    progress = progress_of(state, clock, log.size(), returned)
    checkpoint.save(job.folder.checkpoints, state.tensors(), progress)


def progress_of(
    state: TrainingState, clock: Clock, log_bytes: int, returned: bool = False
) -> checkpoint.Progress:
    """How far training has come, as a checkpoint tells it."""
    return {
        "phase": state.phase,
        "seen": state.seen,
        "rewinds": state.rewinds,
        "in_a_row": state.in_a_row,
        "returned": returned or any(state.in_a_row.values()),
        "seconds": clock.seconds(),
        "log_bytes": log_bytes,
    }


def report_losses(state: TrainingState, log: RunLog, clock: Clock, job: Job, bar: Bar) -> list[str]:
    """Write the mean losses since the last log point; name steps that were not finite.

    Returns the objectives that have had too many of those in a row.
    """
    losses, masked = state.tally.read(job.machine.group)
    seconds = clock.seconds()
    speed = state.tally.images / clock.lap_seconds()
    state.tally = Tally()
    log.write(
        "losses",
        images=state.seen,
        phase=state.phase,
        seconds=round(seconds, 3),
        images_per_second=round(speed, 1),
        memory_bytes=hardware.peak_memory_bytes(job.machine.device),
        losses=losses,
    )
    for name, count in masked.items():
        if not count:
            continue
        message = f"{count} steps of the {name} up to image {state.seen} were not finite"
        log.write("warning", images=state.seen, message=f"{message} and were left out")
        job.console.say(f"  warning: {message} and were left out")
    shown = "  ".join(f"{n.split('/')[0]} {v:.4g}" for n, v in losses.items() if "/total" in n)
    bar.update(state.seen, note=f"{speed:,.0f} images/s  {shown}")
    return state.lost(losses, masked, PATIENCE)


@contextmanager
def stop_signals(group: Group) -> Iterator[list[int]]:
    """A list that a first Ctrl-C, SIGTERM or closed terminal enters; a second ends us at once.

    In a group a second one is not heeded: torchrun passes on what the terminal sent already,
    and kills by itself who does not leave in time.
    """
    received: list[int] = []
    kept: dict[int, signal.Handlers | Callable[[int, FrameType | None], Any] | int | None] = {}
    # The system's own action, unlike one of Python's, need not wait for an operation to end.
    second = signal.SIG_DFL if group.size == 1 else signal.SIG_IGN

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for caught in kept:
            signal.signal(caught, second)

    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
                kept[number] = signal.signal(number, note)
    except ValueError:  # not the main thread: whoever runs there handles its own signals
        yield received
        return
    try:
        yield received
    finally:
        for caught, handler in kept.items():
            signal.signal(caught, handler)
