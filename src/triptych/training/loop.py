"""The one training loop, which can be advanced and paused.

Everything in it happens at counts of images seen, but for the moments at which a budget in seconds
is planned anew (`plan.MOMENTS`).
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch

from triptych import hardware
from triptych.console import Bar, Console
from triptych.data.batches import Batches
from triptych.distributed import Group
from triptych.errors import InterruptedRunError, TrainingFailedError
from triptych.hardware import Machine
from triptych.images import Grid
from triptych.notebook import is_interactive
from triptych.options import OnTrouble
from triptych.records import Deadline, Event, LossesEvent, Note, Progress, Rewound, Warned
from triptych.training import checkpoint
from triptych.training.callbacks import Callbacks, Moment
from triptych.training.log import RunLog
from triptych.training.plan import Plan, next_moment, seconds_after
from triptych.training.posthoc_ema import Keeper
from triptych.training.run_folder import RunFolder
from triptych.training.snapshots import PLACES, Selection
from triptych.training.state import TrainingState
from triptych.training.threads import Threads
from triptych.words import english

LOG_POINTS = 100  # per phase
PATIENCE = 20  # steps in a row that may be left out before it is trouble
REWINDS = 5  # returns to before the trouble, each at half the learning rate, then it is given up
GRID_SHARES = (0.0, 1 / 64, 1 / 32, *(sixteenths / 16 for sixteenths in range(1, 17)))
GRID_COST = 0.015  # of the time: those on the way are left out where they would take more
BRIEF, BRIEF_GRID_COST = 30, 0.05  # seconds of a training that is there to be watched; and of that
NOTHING_DUE = 1e-3  # seconds
LEAST_PACED, LEAST_PACED_SHARE = 3, 0.01  # steps, and asked seconds, that a pace is taken from


def grids_within(seconds: float, cost: float, asked: float | None) -> int:
    """How many pictures on the way stay within their share of so much training.

    cost:  seconds of a picture
    asked: seconds of the whole training, where its budget is in seconds
    """
    most = len(GRID_SHARES)
    share = BRIEF_GRID_COST if asked is not None and asked <= BRIEF else GRID_COST
    return int(min(most, share * seconds / cost)) if cost > 0 else most


@dataclass
class Clock:
    """Seconds of one training over all interruptions, less its pauses.

    pictures: on the way: neither the first nor the last
    costs:    seconds of the last picture, score, diagnosis and checkpoint
    """

    before: float = 0.0
    started: float | None = None
    lap: float = 0.0
    pictures: int = 0
    costs: dict[str, float] = field(default_factory=dict)

    def start(self) -> None:
        """Go on."""
        self.started = time.perf_counter()

    def pause(self) -> None:
        """Stand still until the next `start`."""
        self.before, self.started = self.seconds(), None

    def seconds(self) -> float:
        """All so far."""
        running = 0.0 if self.started is None else time.perf_counter() - self.started
        return self.before + running

    def lap_seconds(self) -> float:
        """Seconds that the clock has run since the last call."""
        now = self.seconds()
        lap, self.lap = now - self.lap, now
        return lap

    @contextmanager
    def timing(self, kind: str) -> Iterator[None]:
        """What is done inside is no step; most times it finds nothing due, which tells no cost."""
        began = self.seconds()
        try:
            yield
        finally:
            spent = self.seconds() - began
            if spent > NOTHING_DUE:
                self.costs[kind] = spent


@dataclass
class Paced:
    """Steps since the budget was last planned, and their seconds, but for those of trials."""

    steps: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """The fixed parts of one training.

    plans:    of each phase; revised where there is a deadline
    threads:  of every step; tried anew where there is a deadline
    deadline: of a budget in seconds
    """

    batches: Batches
    seed: int
    plans: Sequence[Plan]
    threads: Threads
    deadline: Deadline | None
    checkpoints: int  # in phase 0, at equal parts of progress
    folder: RunFolder
    machine: Machine
    console: Console
    draw_grid: Callable[[int], Grid]  # images seen -> a picture in the run's samples folder
    diagnose: Callable[[int, RunLog], Note | None]  # images before this round, the log -> trouble
    diagnoses: int  # in phase 0, at equal parts of progress
    select: Selection
    keep: Keeper
    begin_again: Callable[[TrainingState], None]  # brings a state back to its first weights
    record_plans: Callable[[], None]  # into run.json, after they were revised
    callbacks: Callbacks
    on_trouble: OnTrouble = "rewind"


class TrainingLoop:
    """A state on its way through the phases of a job.

    slowdown: seconds that a step takes now over those that it took in the calibration
    warm_up:  rounds that tell no pace yet: they load kernels, capture graphs, compile
    """

    def __init__(self, state: TrainingState, job: Job, clock: Clock) -> None:
        self.state, self.job, self.clock = state, job, clock
        self.log = RunLog(job.folder.log, job.machine.group.is_main, self.tell_callbacks)
        self.slowdown, self.warm_up = 1.0, state.warm_up
        clock.lap = clock.seconds()
        self.moment = math.inf
        if job.deadline is not None:
            self.moment = next_moment(clock.seconds() / job.deadline.seconds)
        self.paced = Paced()
        self.refused: str | None = None  # why rounds are no CUDA graphs, once that was said

    @property
    def ended(self) -> bool:
        """Whether all phases are over."""
        return self.state.phase >= len(self.job.plans)

    @property
    def plan(self) -> Plan:
        """The plan of the present phase."""
        return self.job.plans[self.state.phase]

    def reached(self) -> Moment:
        """How far training is, over all phases."""
        before = sum(plan.end for plan in self.job.plans[: self.state.phase])
        return Moment(images=before + self.state.seen, seconds=self.clock.seconds())

    def tell_callbacks(self, event: Event) -> None:
        """Hand on a line of the log."""
        self.job.callbacks.event(event, self.reached())

    def advance(
        self, seconds: float = math.inf, received: Sequence[int] = (), bar: Bar | None = None
    ) -> bool:
        """Train on for so many seconds, or to the end; returns whether that is reached.

        received: signals, as `stop_signals` gathers them
        Raises InterruptedRunError after saving when a signal came to any process,
        TrainingFailedError when steps stay without finite losses or gradients.
        """
        state, job, bar = self.state, self.job, bar or Bar()
        self.clock.start()
        until, over = self.clock.seconds() + seconds, False
        with job.machine.own_threads(), self.pausing():
            if state.seen == 0 and state.phase == 0:
                self.picture()
            while not self.ended and not over:
                if state.seen >= self.plan.end:
                    self.next_phase()
                    continue
                before = state.seen
                self.step()
                stop, due, over = self.agree(received, until)
                if self.tend(before, stop, bar):  # went back
                    continue
                if due:
                    self.replan()
                    job.threads.try_again()
                self.show(bar)
        return self.ended

    def step(self) -> None:
        """One round of all objectives, with the threads of this moment."""
        state, job = self.state, self.job
        count = job.threads.at(state.phase, state.seen)
        if torch.get_num_threads() != count:
            torch.set_num_threads(count)
        trying, began = job.threads.trying, time.perf_counter()
        state.step(job.batches, job.seed, self.plan, job.machine)
        seconds = time.perf_counter() - began
        job.threads.took(seconds, state.phase, state.seen)
        if self.warm_up:
            self.warm_up -= 1
        elif not trying:
            self.paced.steps += 1
            self.paced.seconds += time.perf_counter() - began

    def agree(self, received: Sequence[int], until: float) -> tuple[int, bool, bool]:
        """The same in all processes: the signal that ends them, or 0; whether it is time to plan
        anew; whether this turn is over. The first one's clock decides.
        """
        now, deadline = self.clock.seconds(), self.job.deadline
        due = False
        if deadline is not None and self.state.phase == 0:
            reached = max(now / deadline.seconds, self.plan.progress(self.state.seen))
            due = reached >= self.moment and self.can_pace()
        group, asked = self.job.machine.group, 4 * (received[0] if received else 0)
        asked = group.all_reduce_max(asked + (2 * due + (now >= until) if group.is_main else 0))
        return asked // 4, bool(asked & 2), bool(asked & 1)

    def tend(self, before: int, stop: int, bar: Bar) -> bool:
        """What is due between `before` images and now, but for steps; whether training went back.

        Raises InterruptedRunError, after saving, where it is to `stop`.
        """
        state, job, plan = self.state, self.job, self.plan
        if plan.ended(before, state.seen, LOG_POINTS):
            lost = self.report_losses(bar)
            if lost and not stop:
                self.rewind(self.not_finite(lost))
                return True
        if state.phase == 0 and plan.passed(before, state.seen, GRID_SHARES):
            self.picture()
        with self.clock.timing("diagnosis"):
            trouble = job.diagnose(before, self.log)
        if trouble and self.may_go_back(trouble):
            self.rewind(trouble)
            if not stop:
                return True
            raise InterruptedRunError(stop)
        with self.clock.timing("score"):
            job.select(before, self.log)
        job.keep(before)
        times = max(1, job.checkpoints * plan.planned // job.plans[0].planned)
        due = plan.ended(before, state.seen, times)
        if stop or (due and not any(state.in_a_row.values())):  # not amid trouble
            self.save()
        if stop:
            raise InterruptedRunError(stop)
        return False

    def next_phase(self) -> None:
        """Later phases build on the weights that the first one chose.

        The end of the first one is kept, for trainings that go on from this one.
        """
        self.take_pace()
        last = self.job.folder.checkpoints / checkpoint.name_of(progress_of(self.state, 0.0, 0))
        if self.state.phase == 0 and not last.is_dir():
            self.save()
        self.state.next_phase()
        self.warm_up = self.state.warm_up
        if self.state.phase == 1:
            self.job.select.choose(self.log)
        if not self.ended:
            self.replan()
            self.job.threads.try_again()

    def can_pace(self) -> bool:
        """Whether enough steps were made since the last time to tell how fast they are."""
        deadline, paced = self.job.deadline, self.paced
        least = LEAST_PACED_SHARE * deadline.seconds if deadline is not None else 0.0
        return paced.steps >= LEAST_PACED and paced.seconds >= least

    def take_pace(self) -> None:
        """Learn from the steps since the last time how slow they are, where they are enough."""
        deadline = self.job.deadline
        if deadline is not None and self.can_pace():
            images = self.paced.steps * self.state.batch_size
            per_image = deadline.per_image[self.state.phase]
            self.slowdown = self.paced.seconds / images / per_image
        self.paced = Paced()

    def replan(self) -> None:
        """Under a budget in seconds, plan the rest of this phase by the latest pace."""
        state, job, clock = self.state, self.job, self.clock
        if job.deadline is None:
            return
        job.machine.finish()
        self.take_pace()
        per_image = job.deadline.per_image[state.phase]
        share = clock.seconds() / job.deadline.seconds
        self.moment = next_moment(max(share, self.plan.progress(state.seen)))
        remaining = job.deadline.seconds - clock.seconds() - self.still_aside()
        remaining -= self.slowdown * seconds_after(job.deadline, job.plans, state.phase)
        rounds = max(1, math.floor(remaining / (self.slowdown * per_image) / state.batch_size))
        rounds = job.machine.group.broadcast(lambda: rounds)  # by the first one's clock
        self.plan.revise(state.seen, state.seen + rounds * state.batch_size)
        job.record_plans()

    def still_aside(self) -> float:
        """Seconds that pictures, scores, diagnoses and checkpoints of this phase will yet take."""
        job, plan, seen, clock = self.job, self.plan, self.state.seen, self.clock
        if self.state.phase > 0:
            return 0.0
        progress = plan.progress(seen)
        ahead = sum(share > progress for share in GRID_SHARES)
        asked = 0.0 if job.deadline is None else job.deadline.seconds
        affordable = grids_within(asked, clock.costs.get("picture", 0.0), asked) - clock.pictures
        times = {
            "picture": min(ahead, 1 + max(0, affordable)),  # the last one is always drawn
            "score": sum(moment > progress for moment in PLACES) if job.select.count else 0,
            "diagnosis": job.diagnoses - plan.part(seen, job.diagnoses),
            "checkpoint": job.checkpoints - plan.part(seen, job.checkpoints),
        }
        return sum(count * clock.costs.get(kind, 0.0) for kind, count in times.items())

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """Stop the clock at the end, once the device has finished its work."""
        try:
            yield
        finally:
            self.job.machine.finish()
            self.clock.pause()

    def picture(self) -> None:
        """The samples of this moment, unless pictures take more than their share of the time.

        They may take it of the time so far, so that a few of them lie all along the way.
        """
        clock, progress = self.clock, self.plan.progress(self.state.seen)
        if 0 < progress < 1:
            asked = None if self.job.deadline is None else self.job.deadline.seconds
            affordable = grids_within(clock.seconds(), clock.costs.get("picture", 0.0), asked)
            if self.job.machine.group.all_reduce_max(clock.pictures >= affordable):
                return
            clock.pictures += 1
        with clock.timing("picture"):
            grid = self.job.draw_grid(self.state.seen)
        self.job.callbacks.samples(self.reached(), grid)

    def not_finite(self, lost: list[str]) -> Note:
        """What is wrong; TrainingFailedError where going back is not wanted, or no more."""
        names = ", ".join(lost)
        if self.job.on_trouble == "stop" or self.state.rewinds >= REWINDS:
            raise TrainingFailedError(
                f"training stopped at image {self.state.seen}: the last {PATIENCE} steps of the "
                f"{names} were not finite; lower the learning rate with --set"
            )
        return Note("not_finite", {"objectives": names, "n": PATIENCE})

    def may_go_back(self, trouble: Note) -> bool:
        """Whether to go back to before a trouble that still leaves a model.

        TrainingFailedError when the user would rather stop.
        """
        if self.job.on_trouble == "stop":
            raise TrainingFailedError(
                f"training stopped at image {self.state.seen}: {english(trouble)}; lower the "
                "learning rate with --set, or leave out --on-trouble stop"
            )
        return self.state.rewinds < REWINDS

    def rewind(self, trouble: Note) -> None:
        """Go back to a checkpoint, or to the start, and on at half the learning rate.

        One that was gone back to before has not helped, so it is the turn of the one before it.
        """
        state, job = self.state, self.job
        where, rewinds, group = state.seen, state.rewinds + 1, job.machine.group
        if group.is_main:
            checkpoint.drop_returned(job.folder.checkpoints)
        group.barrier()
        if take_up(state, job.folder, job.console) is None:
            job.begin_again(state)
        state.rewinds, state.in_a_row = rewinds, {}
        back = english(Note("rewound", {"n": state.seen}))
        job.threads.rest()
        job.threads.record(state.phase, state.seen, job.threads.at(state.phase, state.seen))
        self.log.write(Rewound(images=where, to=state.seen, note=trouble, phase=state.phase))
        job.console.say(f"  warning: {english(trouble)}: {back}")
        self.paced, self.warm_up = Paced(), state.warm_up
        job.keep.forget_later()
        job.select.forget_later()
        self.replan()
        self.save(returned=True)

    def save(self, returned: bool = False) -> None:
        """A checkpoint of this very moment.

        returned: it is one gone back to, or of the midst of trouble: trouble leads to one before it
        """
        if not self.job.machine.group.is_main:
            return
        with self.clock.timing("checkpoint"):
            progress = progress_of(
                self.state,
                self.clock.seconds(),
                self.log.size(),
                self.job.plans,
                self.job.threads,
                returned,
            )
            checkpoint.save(self.job.folder.checkpoints, self.state.tensors(), progress)

    def report_losses(self, bar: Bar) -> list[str]:
        """Write the mean losses since the last log point; name steps that were not finite.

        Returns the objectives that have had too many of those in a row.
        """
        state = self.state
        self.tell_refused()
        losses, masked = state.tally.read(self.job.machine.group)
        seconds = self.clock.seconds()
        speed = state.tally.images / max(self.clock.lap_seconds(), 1e-9)
        state.tally.clear()
        self.log.write(
            LossesEvent(
                images=state.seen,
                phase=state.phase,
                seconds=round(seconds, 3),
                images_per_second=round(speed, 1),
                memory_bytes=hardware.peak_memory_bytes(self.job.machine.device),
                losses=dict(losses),
                learning_rates=state.learning_rates(self.plan),
            )
        )
        for name, count in masked.items():
            if not count:
                continue
            note = Note("steps_left_out", {"n": count, "objective": name, "images": state.seen})
            self.log.write(Warned(images=state.seen, note=note))
            self.job.console.say(f"  warning: {english(note)}")
        shown = "  ".join(f"{n.split('/')[0]} {v:.4g}" for n, v in losses.items() if "/total" in n)
        bar.note(f"{speed:,.0f} images/s  {shown}")
        return state.lost(losses, masked, PATIENCE)

    def tell_refused(self) -> None:
        """Say once why rounds are no CUDA graphs, where they should be."""
        refused = None if self.state.graphs is None else self.state.graphs.refused
        if refused == self.refused or refused is None:
            return
        self.refused = refused
        note = Note("not_captured", {"why": refused})
        self.log.write(Warned(images=self.state.seen, note=note))
        self.job.console.say(f"  note: {english(note)}")

    def show(self, bar: Bar) -> None:
        """How far it is: of the asked seconds where there are such, else of the images."""
        if self.job.deadline is not None:
            bar.update(self.clock.seconds(), self.job.deadline.seconds)
        elif not self.ended:
            bar.update(self.state.seen, self.plan.end)


def take_up(state: TrainingState, folder: RunFolder, console: Console) -> Progress | None:
    """Bring the state to the newest checkpoint that verifies; how far that was, if there is one.

    Every process reads it; TrainingFailedError where they do not find the same.
    """
    progress, passed_over = checkpoint.newest(folder.checkpoints, state.load, state.most_bytes())
    for note in passed_over:
        console.say(f"  warning: {english(note)}")
    ours = json.dumps(None if progress is None else progress.to_json())
    if state.group.broadcast(lambda: ours) != ours:
        raise TrainingFailedError(
            f"process {state.group.rank} finds other checkpoints in {folder.path} than the first "
            "one: put the folder where all machines see it"
        )
    state.group.barrier()  # until all have read it
    return progress


def progress_of(
    state: TrainingState,
    seconds: float,
    log_bytes: int,
    plans: Sequence[Plan] = (),
    threads: Threads | None = None,
    returned: bool = False,
) -> Progress:
    """How far training has come, as a checkpoint tells it."""
    return Progress(
        phase=state.phase,
        seen=state.seen,
        rewinds=state.rewinds,
        in_a_row=dict(state.in_a_row),
        returned=returned or any(state.in_a_row.values()),
        seconds=seconds,
        log_bytes=log_bytes,
        plans=tuple(tuple(plan.points) for plan in plans),
        threads=() if threads is None else tuple(threads.changes),
    )


# By name, for no system has all: a terminal that closes is SIGHUP, on Windows SIGBREAK.
STOPPING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
# Of a process that was started so: nohup, a background job, a worker that its head asks to stop.
MAY_BE_IGNORED = ("SIGINT", "SIGHUP")


@contextmanager
def stop_signals(group: Group) -> Iterator[list[int]]:
    """A list that a first Ctrl-C, SIGTERM or closed terminal enters; a second ends us at once.

    Where somebody types into this process, a second Ctrl-C ends the call alone, by
    KeyboardInterrupt: what else a notebook's kernel holds must not be lost.
    A terminal closes once, however often that is told. In a group no second one is heeded:
    torchrun passes on what the terminal sent already, and kills who does not leave in time.
    """
    received: list[int] = []
    kept: dict[int, signal.Handlers | Callable[[int, FrameType | None], Any] | int | None] = {}
    # The system's own action, unlike one of Python's, need not wait for an operation to end.
    second = signal.SIG_DFL if group.size == 1 else signal.SIG_IGN
    typed = is_interactive()

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for caught, before in kept.items():
            # A shell and the system both tell of one terminal that closes.
            again = signal.SIG_IGN if caught == getattr(signal, "SIGHUP", None) else second
            ends_call = typed and group.size == 1 and before is signal.default_int_handler
            signal.signal(caught, before if ends_call else again)

    try:
        for name in STOPPING:
            number = getattr(signal, name, None)
            if number is None:  # another system's
                continue
            if name in MAY_BE_IGNORED and signal.getsignal(number) == signal.SIG_IGN:
                continue
            kept[number] = signal.signal(number, note)
    except ValueError:  # not the main thread: whoever runs there handles its own signals
        yield received
        return
    try:
        yield received
    finally:
        for caught, handler in kept.items():
            signal.signal(caught, handler)
