"""From a model's name, data and a budget to a run folder; the same call again resumes."""

from __future__ import annotations

import math
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from triptych import config, files, hardware, images
from triptych.console import Bar, Console
from triptych.data.batches import Batches
from triptych.data.dataset import Part
from triptych.distributed import ALONE, processes_here
from triptych.errors import InputError, InterruptedRunError
from triptych.families import registry
from triptych.families.labels import Labels
from triptych.families.protocol import GenerativeModel
from triptych.hardware import MOST_THREADS, Machine, counts_to_try, usable_cores
from triptych.records import (
    Deadline,
    Done,
    Note,
    Progress,
    RunRecord,
    Speed,
    Started,
    ThreadChanges,
)
from triptych.seeding import ImageStreams
from triptych.tasks import sample
from triptych.tasks.figures import FIGURE_SEED
from triptych.training import checkpoint, resolve, trackers
from triptych.training.calibration import (
    MOST_CHECKPOINTS,
    Planned,
    images_at_once,
    may_try_threads,
    measure_speed,
    note_few,
    planned_images,
)
from triptych.training.callbacks import Callback, Callbacks, Moment, RunInfo, Status
from triptych.training.compilation import may_try, try_compiled, uncompiled
from triptych.training.ema import as_used
from triptych.training.log import RunLog
from triptych.training.loop import (
    Clock,
    Job,
    TrainingLoop,
    progress_of,
    stop_signals,
    take_up,
)
from triptych.training.monitor import Checkups, last_advice
from triptych.training.origin import Origin, start_at
from triptych.training.plan import Plan
from triptych.training.posthoc_ema import Keeper
from triptych.training.resolve import (
    ResolvedRequest,
    check_machine,
    check_output,
    machine_options,
    note_augmented,
)
from triptych.training.run_folder import (
    WEIGHTS,
    RunFolder,
    alone_in,
    load_model,
    model_metadata,
    save_weights,
)
from triptych.training.snapshots import Selection, note_last, scorer
from triptych.training.state import AT_FIRST, TrainingState
from triptych.training.threads import Threads
from triptych.words import english

SETTLED_BY = 2_048  # training images, or fewer:
SETTLED_SHARE = 1 / 64  # of the planned ones, so that it takes under 0.5 % of the time
LEAST_SETTLED = 16
SETTLED_NUMBERS = 2**24  # pixels' values, 64 MB
SURVEYED, SURVEYED_NUMBERS = 20_000, 2**26  # training images, or fewer large ones: 256 MB


def train(
    request: ResolvedRequest,
    out: Path,
    machine: Machine,
    console: Console,
    callbacks: Sequence[Callback] = (),
) -> RunFolder:
    """Train to the end of the budget, going on where an earlier call stopped.

    callbacks: told of it beside the trackers of the request
    Raises InputError on an output folder that holds something else, or that another process
    trains into.
    """
    hardware.forget_peak_memory()
    if request.origin is not None and request.budget.amount == 0:
        return copy_origin(request, request.origin, out, machine, console, callbacks)
    if not registry.is_trained(request.name.family):
        return fit(request, out, machine, console, callbacks)
    with (
        training_in(request, out, machine, console, callbacks) as training,
        console.bar(f"  {out.name}") as bar,
        stop_signals(machine.group) as received,
    ):
        try:
            training.advance(math.inf, received, bar)
        except InterruptedRunError:
            machine.group.barrier()  # who leaves first would have the others killed
            raise
        # One that came while the run was finished: of several models none is begun then.
        if number := machine.group.all_reduce_max(received[0] if received else 0):
            raise InterruptedRunError(number)
    return training.folder


@contextmanager
def training_in(
    request: ResolvedRequest,
    out: Path,
    machine: Machine,
    console: Console,
    callbacks: Sequence[Callback] = (),
) -> Iterator[Training]:
    """A training, begun or taken up, in a folder that no other job trains into meanwhile."""
    request = replace(request, command=request.command + machine_options(machine))
    with held(request, out, machine) as folder:
        timed = request.budget.unit == "seconds" and request.follow is None
        with machine.fastest_threads() if timed else machine.own_threads():
            training = Training(request, folder, machine, console, callbacks)
        with training.telling_its_end():
            yield training


@contextmanager
def held(request: ResolvedRequest, out: Path, machine: Machine) -> Iterator[RunFolder]:
    """A folder that is absent, empty, or this very run, and that no other job writes into."""
    folder, group = RunFolder(out), machine.group
    group.broadcast(lambda: check_output(folder, request))
    with alone_in(folder.path) if group.is_main else nullcontext():
        group.broadcast(lambda: check_output(folder, request))  # nobody came between
        yield folder
        group.barrier()  # until the first one has written everything


def fit(
    request: ResolvedRequest,
    out: Path,
    machine: Machine,
    console: Console,
    callbacks: Sequence[Callback] = (),
) -> RunFolder:
    """The run of a model that is not trained: all that it has, it finds before training.

    The first process fits and writes; where an earlier call was killed, it begins anew.
    """
    request = replace(request, command=request.command + machine_options(machine))
    with held(request, out, machine) as folder:
        if machine.group.is_main and folder.is_run() and folder.read().done:
            tell_done(folder, console)
        elif machine.group.is_main:
            with machine.own_threads():
                fit_into(folder, request, machine, console, callbacks)
    return folder


def copy_origin(
    request: ResolvedRequest,
    origin: Origin,
    out: Path,
    machine: Machine,
    console: Console,
    callbacks: Sequence[Callback] = (),
) -> RunFolder:
    """The run of a training that goes on for no image: it has all that its origin has.

    The first process writes; where an earlier call was killed, it begins anew.
    """
    request = replace(request, command=request.command + machine_options(machine))
    with held(request, out, machine) as folder:
        if machine.group.is_main and folder.is_run() and folder.read().done:
            tell_done(folder, console)
        elif machine.group.is_main:
            copy_into(folder, request, origin, machine, console, callbacks)
    return folder


def copy_into(
    folder: RunFolder,
    request: ResolvedRequest,
    origin: Origin,
    machine: Machine,
    console: Console,
    callbacks: Sequence[Callback],
) -> None:
    """Write weights, averages and last checkpoint; the record first and, as done, last."""
    clock = Clock()
    clock.start()
    model, _ = load_model(origin.folder)
    carries = origin.carries(request.settings)
    repeated = request.follow is not None  # by a command that takes no budget
    record = record_of(
        request,
        machine,
        planned_images=0,
        checkpoints=1,
        command=request.command + ("" if repeated else f" --budget {request.budget.asked}"),
        origins=origin.chain(() if carries else (Note("averages_anew"),)),
        carried=origin.age if carries else 0,
    )
    folder.write(record)
    for kept in (folder.averages, folder.checkpoints):
        shutil.rmtree(kept, ignore_errors=True)
    if carries and origin.folder.averages.is_dir():
        copy_files(origin.folder.averages, folder.averages)
    if carries and origin.state is not None:
        files.make_folder(folder.checkpoints)
        copy_files(origin.state, folder.checkpoints / origin.state.name)
    watching = watchers(request, folder, record, callbacks, console)
    finish_untrained(folder, record, model, request, machine, clock, watching)


def copy_files(source: Path, target: Path) -> None:
    """A folder of files under another name; OSError as `files.writing`."""
    with files.writing(target, sum(file.stat().st_size for file in source.iterdir())):
        shutil.copytree(source, target)


def fit_into(
    folder: RunFolder,
    request: ResolvedRequest,
    machine: Machine,
    console: Console,
    callbacks: Sequence[Callback],
) -> None:
    """Fit and write everything, the record first and, as done, last."""
    clock = Clock()
    clock.start()
    try:
        model = registry.build(request.name, request.settings, request.shape, request.seed)
    except ValueError as error:
        raise not_made(request, error) from error
    seen = fit_before_training(model, request.data.train, request.seed)
    record = record_of(request, machine, planned_images=seen, checkpoints=1, kimg=seen / 1000)
    folder.write(record)
    watching = watchers(request, folder, record, callbacks, console)
    finish_untrained(folder, record, model, request, machine, clock, watching)


def finish_untrained(
    folder: RunFolder,
    record: RunRecord,
    model: GenerativeModel,
    request: ResolvedRequest,
    machine: Machine,
    clock: Clock,
    watching: Callbacks,
) -> None:
    """The log, a picture and the weights of a model that took no steps; its run is then done."""
    seen = record.planned_images
    log = RunLog(folder.log)
    log.cut(0)
    log.write(Started(event="start", images=0, threads=machine.threads))
    alone = replace(machine, group=ALONE)
    grid = sample.quick_grid(
        registry.place(model, machine.device).eval(), FIGURE_SEED, alone, request.labels
    )
    picture = images.grid(grid)
    picture.save(folder.samples / f"{seen:09d}.png")
    metadata = model_metadata(request.name, record.settings, request.shape)
    digest = save_weights(folder.weights, model.state_dict(), metadata)
    log.write(Done(images=seen))
    done = replace(record, **ending(record, seen, clock.seconds()), digests={WEIGHTS: digest})
    folder.write(done)
    at = Moment(images=seen, seconds=clock.seconds())
    watching.start(Moment(images=0, seconds=0.0))
    watching.samples(at, picture)
    watching.end(at, done, "done")


def watchers(
    request: ResolvedRequest,
    folder: RunFolder,
    record: RunRecord,
    callbacks: Sequence[Callback],
    console: Console,
) -> Callbacks:
    """The trackers that are asked for, and what the caller gave."""
    given = [(type(callback).__name__, callback) for callback in callbacks]
    named = trackers.make(request.log_to, console)
    return Callbacks(RunInfo(folder=folder.path, record=record), [*named, *given], console)


def ending(record: RunRecord, images: int, seconds: float) -> dict[str, Any]:
    """What run.json of a run that is done says of its end, after so many seconds."""
    return {
        "status": "done",
        "images_seen": images,
        "kimg": images / 1000,
        "train_seconds": round(seconds, 3),
        "images_per_second": round(images / seconds, 1),
        "peak_memory_bytes": hardware.peak_memory_bytes(record.device),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def tell_done(folder: RunFolder, console: Console) -> None:
    """Say that nothing is left to do."""
    done_before = Note("trained_already", {"run": str(folder.path)})
    console.say(f"  {english(done_before)}")


class Training:
    """A run on its way: begun or taken up from its folder, advanced, paused, and finished.

    loop:  None once it is done
    clock: seconds of the run, from the moment that it is begun here
    together: how many trainings this process holds, of which peak memory is then
    """

    def __init__(
        self,
        request: ResolvedRequest,
        folder: RunFolder,
        machine: Machine,
        console: Console,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.request, self.folder, self.console = request, folder, console
        self.clock, self.together = Clock(), 1
        self.ends_as: Status = "stopped"  # where it is left before it is done
        self.loop: TrainingLoop | None = None
        self.clock.start()
        written = machine.group.broadcast(
            lambda: folder.read().to_json() if folder.is_run() else None
        )
        record = None if written is None else RunRecord.read(written)
        done = record is not None and record.done
        if machine.group.is_main:
            folder.tidy(done)
        machine.group.barrier()
        if done:
            tell_done(folder, console)
            return
        if record is not None:
            machine = self.as_recorded(record, machine)
        batches, state = share_batches(request, machine), fresh_state(request, machine)
        if record is None:
            record, machine = self.begin(state, batches, machine)
        self.record, self.machine = record, machine
        progress = resume(state, folder, self.clock, console)
        plans, threads = plans_of(record, progress, state), self.threads(progress)
        wanted = callbacks if machine.group.is_main else ()
        alone = request if machine.group.is_main else replace(request, log_to=())
        self.callbacks = watchers(alone, folder, record, wanted, console)
        job = job_of(self, state, batches, plans, threads)
        RunLog(folder.log, machine.group.is_main).write(
            Started(
                event="resume" if state.seen else "start",
                images=state.seen,
                threads=machine.threads,
                processes=machine.group.size,
            )
        )
        self.clock.pause()
        self.loop = TrainingLoop(state, job, self.clock)
        self.callbacks.start(self.loop.reached())  # off the clock: a tracker may take a while

    def begin(
        self, state: TrainingState, batches: Batches, machine: Machine
    ) -> tuple[RunRecord, Machine]:
        """A run that is new, measured and planned: what is written of it, and the machine then."""
        machine = fitting_machine(self.request, state, batches, machine)
        if "microbatch" in machine.choices:
            self.console.say(f"  note: {english(machine.choices['microbatch'])}")
        planned, machine = self.plan(state, batches, machine)
        self.tell_notes(planned, batches, state.anew)
        written = machine.group.broadcast(lambda: begin(
            self.request, self.folder, planned, state, machine, self.clock.seconds()
        ).to_json())  # fmt: skip
        if planned.speed is not None:
            self.clock.costs |= costs_of(planned.speed)
        return RunRecord.read(written), machine

    def as_recorded(self, record: RunRecord, machine: Machine) -> Machine:
        """The machine, used as when the run began; its clock has the seconds of then."""
        check_machine(self.folder, record, machine)
        drawn = len(self.folder.pictures())
        self.clock = Clock(before=record.calibration_seconds, pictures=max(0, drawn - 1))
        if record.calibration is not None:
            self.clock.costs |= costs_of(record.calibration)
        return replace(
            machine,
            microbatch=record.microbatch,
            threads=record.threads if "threads" in machine.choices else machine.threads,
            compile=record.compile,
        )

    @property
    def done(self) -> bool:
        """Whether the run is trained to its end."""
        return self.loop is None

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return self.clock.seconds()

    @property
    def progress(self) -> float:
        """Of the first phase, or 1 where that is over."""
        loop = self.loop
        if loop is None or loop.state.phase > 0:
            return 1.0
        return loop.plan.progress(loop.state.seen)

    def advance(
        self, seconds: float = math.inf, received: Sequence[int] = (), bar: Bar | None = None
    ) -> bool:
        """Train on for so many seconds, or to the end, which finishes the run; whether it is done.

        received: signals, as `loop.stop_signals` gathers them
        """
        if self.loop is None:
            return True
        try:
            if not self.loop.advance(seconds, received, bar):
                return False
            last = self.loop.job.threads.changes[-1][2]  # what is fastest now, and is recorded
            with replace(self.machine, threads=last).own_threads():
                self.clock.start()
                self.finish(self.loop)
        except (InterruptedRunError, KeyboardInterrupt):
            raise
        except BaseException:
            self.ends_as = "failed"
            raise
        self.clock.pause()
        self.callbacks.end(self.loop.reached(), self.record, "done")
        self.loop = None
        return True

    @contextmanager
    def telling_its_end(self) -> Iterator[None]:
        """Callbacks hear of the end of what is done inside, however it comes."""
        try:
            yield
        finally:
            if self.loop is not None:  # else it is done, of which they have heard
                self.callbacks.end(self.loop.reached(), self.record, self.ends_as)

    def save(self) -> None:
        """A checkpoint of this moment, unless the run is done."""
        if self.loop is not None and self.loop.state.seen > 0:
            self.loop.save()

    def plan(
        self, state: TrainingState, batches: Batches, machine: Machine
    ) -> tuple[Planned, Machine]:
        """The first plan, and the machine with what is fastest on it."""
        request, group = self.request, machine.group
        if request.follow is not None:
            return Planned(images=request.follow.planned, checkpoints=MOST_CHECKPOINTS), machine

        def measure() -> Speed:
            nonlocal machine
            speed = calibrate(request, state, batches, machine)
            if may_try(machine, request.budget):
                on = partial(calibrate, request, state, batches)
                machine, speed = try_compiled(state, machine, speed, on)
            return speed

        with self.console.bar("  measuring the speed"):
            planned = planned_images(
                request.budget,
                len(request.data.train),
                request.settings.batch_size,
                measure,
                lambda: group.broadcast(self.clock.seconds),
            )
        # Each process went by its own clock: the first one's plan holds for all.
        images, checkpoints = group.broadcast(lambda: [planned.images, planned.checkpoints])
        planned = replace(planned, images=images, checkpoints=checkpoints)
        speed = planned.speed
        if speed is not None and speed.tried:
            times = ", ".join(f"{n}: {1000 * s:.3g} ms" for n, s in speed.tried.items())
            fastest = Note("fastest_threads", {"n": speed.threads, "times": times})
            choices = machine.choices | {"threads": fastest}
            machine = replace(machine, threads=speed.threads, choices=choices)
        return planned, machine

    def tell_notes(self, planned: Planned, batches: Batches, anew: Sequence[Note]) -> None:
        """What the user should know of what is planned."""
        few = note_few(planned.images, batches.batch_size)
        last = note_last(planned.images, self.request.settings.select)
        for note in filter(None, (few, last, note_augmented(self.request), *anew)):
            self.console.say(f"  note: {english(note)}")

    def threads(self, progress: Progress | None) -> Threads:
        """The counts of this run's steps: what is recorded, and what may yet be tried."""
        machine, most = self.machine, max(MOST_THREADS, usable_cores())
        along = self.record.threads_along
        recorded = (along if progress is None else progress.threads) or along
        if self.request.follow is not None:
            return Threads([], list(self.request.follow.threads))
        ours = "threads" in machine.choices
        changes: ThreadChanges = ((0, 0, machine.threads),)
        if ours and progress is not None and recorded:
            try:
                changes = Threads.read(recorded, most)
            except ValueError as error:
                raise InputError(
                    f"{self.folder.path} cannot be gone on with ({error})", "train it anew"
                ) from error
        timed = self.record.deadline is not None and ours
        many = replace(machine, threads=max(usable_cores() // processes_here(), 1))
        may = timed and may_try_threads(many)
        speed = self.record.calibration
        tried = {} if speed is None else speed.tried
        usual = tried.get(str(machine.threads), math.inf) if progress is None else math.inf
        return Threads(counts_to_try(many.threads) if may else [], changes, usual)

    def record_plans(self, plans: Sequence[Plan], threads: Threads) -> None:
        """Write the plans and the changes of threads into run.json."""
        self.record = with_plans(self.record, plans, threads)
        if self.machine.group.is_main:
            self.folder.write(self.record)

    def finish(self, loop: TrainingLoop) -> None:
        """The weights to use, and the end of run.json; checkpoints are no longer needed."""
        if not self.machine.group.is_main:
            return
        state, request, folder = loop.state, self.request, self.folder
        images = loop.job.plans[0].end
        planned = self.record.planned_images
        digest = finish_weights(state, request, folder, self.machine, images, planned)
        RunLog(folder.log).write(Done(images=images))
        self.record = replace(
            with_plans(self.record, loop.job.plans, loop.job.threads),
            **ending(self.record, images, self.clock.seconds()),
            peak_memory_of=self.together,
            rewinds=state.rewinds,
            digests={WEIGHTS: digest},
            advice=last_advice(folder.log),
        )
        folder.write(self.record)  # from here on the run is done
        folder.tidy(done=True)


def job_of(
    training: Training,
    state: TrainingState,
    batches: Batches,
    plans: list[Plan],
    threads: Threads,
) -> Job:
    """The job of the training loop: what stays the same over the training."""
    request, folder, machine = training.request, training.folder, training.machine
    console, record, first = training.console, training.record, plans[0]
    checkups = Checkups(state, request.data, first, request.seed, machine, console)
    score = scorer(request.data, request.labels) if request.settings.select else None
    keep = Keeper(state, folder, first, machine.group.is_main)
    select = Selection(state, folder, first, machine, console, score)
    keep.forget_later()
    select.forget_later()
    return Job(
        batches=batches,
        seed=request.seed,
        plans=plans,
        threads=threads,
        deadline=record.deadline,
        checkpoints=record.checkpoints,
        folder=folder,
        machine=machine,
        console=console,
        draw_grid=lambda seen: save_grid(state, folder, request.labels, machine, seen),
        diagnose=checkups,
        diagnoses=checkups.times,
        callbacks=training.callbacks,
        select=select,
        keep=keep,
        begin_again=lambda state: begin_again(state, request, machine),
        record_plans=lambda: training.record_plans(plans, threads),
        on_trouble=request.on_trouble,
    )


def costs_of(speed: Speed) -> dict[str, float]:
    """Seconds of what is no step, as the calibration found them."""
    return {"picture": speed.grid, "checkpoint": speed.checkpoint}


def with_plans(record: RunRecord, plans: Sequence[Plan], threads: Threads) -> RunRecord:
    """run.json with progress and threads along the training."""
    first, *later = (tuple(plan.points) for plan in plans)
    changes = tuple(threads.changes)
    return replace(record, plan=first, later_plans=tuple(later), threads_along=changes)


def plans_of(record: RunRecord, progress: Progress | None, state: TrainingState) -> list[Plan]:
    """Of all phases: the checkpoint's where there is one, else the first ones of run.json.

    InputError where what is recorded makes no plans.
    """
    planned, timed = record.planned_images, record.timed
    lengths = state.phases(planned)
    recorded = () if progress is None else progress.plans
    if not recorded and record.follows is None:
        plans = [Plan.straight(length, timed) for length in lengths]
    else:
        try:
            recorded = recorded or (record.plan or (), *record.later_plans)
            plans = [
                Plan.read(points, length, timed)
                for points, length in zip(recorded, lengths, strict=True)
            ]
        except ValueError as error:
            raise InputError(
                f"this run cannot be gone on with ({error})", "train it anew"
            ) from error
    plans[0].carried = record.carried  # averages are of the first phase alone
    return plans


def share_batches(request: ResolvedRequest, machine: Machine) -> Batches:
    """This process's rows of every batch; InputError where they cannot be shared out."""
    group, size = machine.group, request.settings.batch_size
    if group.size > len(request.data.train):
        raise InputError(
            f"{group.size} processes, but {len(request.data.train)} training images",
            "start fewer processes",
        )
    if size % group.size:
        raise InputError(
            f"a batch of {size} cannot be shared by {group.size} processes",
            f"use --set batch_size={-(-size // group.size) * group.size}",
        )
    return Batches(
        request.data.train,
        size,
        request.seed,
        machine.device,
        request.data.augment,
        group.rank,
        group.size,
    )


def fitting_machine(
    request: ResolvedRequest, state: TrainingState, batches: Batches, machine: Machine
) -> Machine:
    """The machine with as many images at once as fit into its memory.

    Raises InputError where a batch would have to be split that cannot be, or where nothing fits.
    """
    name, share = request.name, batches.own
    whole = registry.recipe(name).batch_statistics  # BatchNorm must see all of a batch
    if machine.microbatch is not None:
        if whole and machine.microbatch < share:
            raise InputError(
                f"{name} normalises over its whole batch, which --microbatch would split",
                "leave it out, or lower --set batch_size",
            )
        return machine
    if machine.compile:  # for batches of two sizes that never come again
        state = fresh_state(request, replace(machine, compile=False))
    fits = images_at_once(state, batches, request.seed, machine)
    fits = -machine.group.all_reduce_max(-fits)  # the smallest of all processes
    if fits == share:
        return machine
    if whole or fits == 0:
        raise InputError(
            f"{share} images of {name} do not fit into memory, {fits} would",
            "lower --set batch_size" if fits else "choose a smaller --size",
        )
    split = Note("batch_split", {"n": fits, "batch": share})
    return replace(machine, microbatch=fits, choices=machine.choices | {"microbatch": split})


def fresh_state(request: ResolvedRequest, machine: Machine) -> TrainingState:
    """A model as the seed makes it, or as its origin left it, on the device, ready to train.

    Raises InputError where the settings make no network or no optimizer.
    """
    try:
        model = registry.build(request.name, request.settings, request.shape, request.seed)
        if request.teacher is not None:
            resolve.start_from(model, request.teacher)
        elif request.origin is None:
            fit_before_training(model, request.data.train, request.seed)
        registry.place(model, machine.device).train()
        if machine.compile:
            for network in model.networks():
                network.compile()
        state = TrainingState(
            model, request.settings, machine.group, machine.captures, machine.precision
        )
        if request.origin is not None:
            start_at(state, request.origin, request.settings)
        return state
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise not_made(request, error) from error


def not_made(request: ResolvedRequest, error: Exception) -> InputError:
    """What to raise where the settings make no network or no optimizer."""
    wrong = f"these settings make no {request.name} ({error})"
    return InputError(wrong, "change them with --set")


def begin_again(state: TrainingState, request: ResolvedRequest, machine: Machine) -> None:
    """Bring a state back to where it began."""
    fresh = fresh_state(request, machine)
    state.load(fresh.tensors(), AT_FIRST)


def begin(
    request: ResolvedRequest,
    folder: RunFolder,
    planned: Planned,
    state: TrainingState,
    machine: Machine,
    seconds: float,
) -> RunRecord:
    """Write run.json, the first file in the folder, after so many seconds of the training."""
    speed, follow = planned.speed, request.follow
    origin, lengths = request.origin, state.phases(planned.images)
    if follow is not None:
        timed, plans = follow.timed, follow.plans(lengths)
        threads = Threads([], follow.threads)
    else:
        timed = request.budget.unit == "seconds"
        plans = [Plan.straight(length, timed) for length in lengths]
        threads = Threads([], [(0, 0, machine.threads)])
    record = record_of(
        request,
        machine,
        planned_images=planned.images,
        timed=timed,
        deadline=None if speed is None else deadline_of(request, speed),
        follows=None if follow is None else follow.run,
        checkpoints=planned.checkpoints,
        calibration=speed,
        calibration_seconds=seconds,
        kimg=planned.images / 1000,
        command=command_to_repeat(request, folder, planned, machine),
        origins=() if origin is None else origin.chain(state.anew),
        carried=0 if origin is None else origin.carried(request.settings, planned.images),
    )
    record = with_plans(record, plans, threads)
    folder.write(record)
    return record


def record_of(request: ResolvedRequest, machine: Machine, **planned: Any) -> RunRecord:
    """run.json of a run that begins.

    planned: the fields that tell how long it will be
    """
    usual: dict[str, Any] = {"calibration_seconds": 0.0, "command": request.command}
    return RunRecord(
        **usual | planned,
        triptych=hardware.own_version(),
        model=str(request.name),
        family=request.name.family,
        recipe=request.name.recipe,
        variant=request.variant,
        size=request.size,
        settings=config.to_json(request.settings),
        data=request.data.describe(),
        labels=request.labels,
        teacher=None if request.teacher is None else str(request.teacher.path.resolve()),
        budget=request.budget,
        seed=request.seed,
        identity=request.identity(),
        status="running",
        versions=hardware.versions(),
        hardware=hardware.describe(),
        device=machine.device,
        precision=machine.precision,
        threads=machine.threads,
        compile=machine.compile,
        microbatch=machine.microbatch,
        processes=machine.group.size,
        choices=machine.choices,
    )


def deadline_of(request: ResolvedRequest, speed: Speed) -> Deadline:
    """The seconds asked for, and those by which the rest is planned."""
    seconds, per_image = request.budget.amount, tuple(speed.per_image)
    return Deadline(seconds=seconds, per_image=per_image, finishing=speed.finishing)


def command_to_repeat(
    request: ResolvedRequest, folder: RunFolder, planned: Planned, machine: Machine
) -> str:
    """What trains the same weights again: the images where they were asked for, else the record."""
    if request.follow is not None or request.budget.unit == "seconds":
        return f"triptych repeat {shlex.quote(str(folder.path))} --out NEW"
    command = f"{request.command} --budget {planned.images / 1000!r}kimg"
    if machine.microbatch is not None and "--microbatch" not in request.command:
        command += f" --microbatch {machine.microbatch}"
    return command


def calibrate(
    request: ResolvedRequest, state: TrainingState, batches: Batches, machine: Machine
) -> Speed:
    """Measure how fast a fresh state trains, and bring it back to where it was."""
    first = {
        part: {name: tensor.clone() for name, tensor in tensors.items()}
        for part, tensors in state.tensors().items()
    }
    with tempfile.TemporaryDirectory() as scratch:
        progress = progress_of(state, seconds=0.0, log_bytes=0)

        def finish(images: int) -> None:
            fit_after_training(state, request.data.train, images, request.seed, machine)
            if fits_after_training(state):
                sample_grid(state, request.labels, machine)

        try:
            return measure_speed(
                state,
                batches,
                request.seed,
                machine,
                request.budget.amount,
                lambda: sample_grid(state, request.labels, machine).save(Path(scratch, "grid.png")),
                lambda: checkpoint.save(Path(scratch), state.tensors(), progress),
                finish,
            )
        finally:
            state.load(first, AT_FIRST)


def resume(
    state: TrainingState, folder: RunFolder, clock: Clock, console: Console
) -> Progress | None:
    """Go on from the newest checkpoint, if there is one."""
    progress = take_up(state, folder, console)
    log = RunLog(folder.log, state.group.is_main)
    if progress is None:
        if log.size():
            console.say(f"  {english(Note('no_checkpoint'))}")
        log.cut(0)
        return None
    clock.before = progress.seconds
    log.cut(progress.log_bytes)
    console.say(f"  {english(Note('going_on', {'images': state.seen}))}")
    return progress


def sample_grid(state: TrainingState, labels: Labels | None, machine: Machine) -> images.Grid:
    """A few samples of the weights as they would be used now."""
    with as_used(state.model, state.ema) as model, uncompiled(machine):
        return images.grid(sample.quick_grid(model, FIGURE_SEED, machine, labels))


def save_grid(
    state: TrainingState, folder: RunFolder, labels: Labels | None, machine: Machine, seen: int
) -> images.Grid:
    """The picture of the samples after so many images; all processes draw, the first one saves."""
    grid = sample_grid(state, labels, machine)
    if state.group.is_main:
        folder.samples.mkdir(exist_ok=True)  # without its parent: a run that vanished stays so
        grid.save(folder.samples / f"{seen:09d}.png")
    return grid


def fits_after_training(state: TrainingState) -> bool:
    """Whether the model fits something in closed form after training."""
    return type(state.model).fit_after_training is not GenerativeModel.fit_after_training


def finish_weights(
    state: TrainingState,
    request: ResolvedRequest,
    folder: RunFolder,
    machine: Machine,
    images: int,
    planned: int,
) -> str:
    """Fit what is fitted after training, write the weights to use; their digest.

    images, planned: seen in the first phase, and how many had been planned for it
    """
    fit_after_training(state, request.data.train, planned, request.seed, machine)
    if fits_after_training(state) and state.group.size == 1:
        save_grid(state, folder, request.labels, machine, images)  # as it is used
    metadata = model_metadata(request.name, folder.read().settings, request.shape)
    return save_weights(folder.weights, state.weights_to_use(), metadata)


def fit_before_training(model: GenerativeModel, part: Part, seed: int) -> int:
    """Show a fresh model some training images, where it wants to see any; how many it saw."""
    if type(model).fit_before_training is GenerativeModel.fit_before_training:
        return 0
    count = max(1, min(SURVEYED, SURVEYED_NUMBERS // part.images[0].numel()))
    some = part.choose(count, "surveyed", seed)
    model.fit_before_training(some.images, seed, some.labels)
    return len(some)


def fit_after_training(
    state: TrainingState, part: Part, planned: int, seed: int, machine: Machine
) -> None:
    """Bring what a model sets in closed form to its optimum, in the weights to use."""
    most = min(SETTLED_BY, int(SETTLED_SHARE * planned))
    count = min(max(LEAST_SETTLED, most), max(1, SETTLED_NUMBERS // part.images[0].numel()))
    some = part.choose(count, "settled", seed)
    labels = None if some.labels is None else some.labels.to(machine.device)
    rng = ImageStreams(seed, "settle", range(len(some)), machine.device)
    with as_used(state.model, state.ema) as model:
        with machine.autocast(), uncompiled(machine):
            model.fit_after_training(images.to_float(some.images.to(machine.device)), rng, labels)
        if state.ema is not None:
            for name, tensor in model.state_dict().items():
                state.ema.state[name].copy_(tensor)
