"""From a model's name, data and a budget to a run folder; the same call again resumes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import Tensor

import triptych
from triptych import config, files, hardware, images
from triptych.console import Console
from triptych.data.batches import Batches
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.base import GenerativeModel
from triptych.hardware import Machine
from triptych.training import checkpoint, teaching
from triptych.training.average import as_used
from triptych.training.budget import (
    PlannedImages,
    Speed,
    measure_rounds,
    note_few,
    planned_images,
)
from triptych.training.checking import check_machine, check_output
from triptych.training.diagnosing import Checkups, last_advice, settle, survey
from triptych.training.fitting import images_at_once
from triptych.training.folder import SCHEMA, WEIGHTS, RunFolder, model_metadata, save_weights
from triptych.training.lock import alone_in
from triptych.training.log import RunLog
from triptych.training.loop import Clock, Job, Plan, progress_of, run, take_up
from triptych.training.posthoc import Keeper
from triptych.training.request import Request, note_augmented
from triptych.training.selection import Score, Selection, note_last
from triptych.training.state import TrainingState

Draw = Callable[[GenerativeModel, Machine], Tensor]  # a few samples, uint8 [N,C,H,W]


def train(
    request: Request,
    out: Path,
    machine: Machine,
    console: Console,
    draw: Draw,
    score: Score | None = None,
) -> RunFolder:
    """Train to the end of the budget, going on where an earlier call stopped.

    score: chooses among snapshots, for recipes that have it so
    Raises InputError on an output folder that holds something else, or that another process
    trains into.
    """
    folder = RunFolder(out)
    group = machine.group
    group.told(lambda: check_output(folder, request))
    with alone_in(folder.path) if group.first else nullcontext():
        group.told(lambda: check_output(folder, request))  # nobody came between
        train_together(request, folder, machine, console, draw, score)
        group.wait()  # until the first one has written everything
    return folder


def train_together(
    request: Request,
    folder: RunFolder,
    machine: Machine,
    console: Console,
    draw: Draw,
    score: Score | None,
) -> None:
    """As `train`, in a folder that no other job trains into."""
    hardware.forget_peak_memory()
    group = machine.group
    facts = group.told(lambda: folder.read() if folder.is_run() else None)
    if group.first:
        folder.tidy(done=facts is not None and facts["status"] == "done")
    group.wait()
    if facts is not None and facts["status"] == "done":
        console.say(f"  {folder.path} is trained already")
        return
    batches = share_batches(request, machine)
    if facts is None:
        machine = fitting_machine(request, batches, machine)
        if "microbatch" in machine.choices:
            console.say(f"  images at once: {machine.choices['microbatch']}")
        with console.bar("  measuring the speed"):
            planned = plan_images(request, batches, machine, draw)
        selects = registry.recipe(request.name).selects
        few, last = note_few(planned.images, batches.batch_size), note_last(planned.images, selects)
        for note in filter(None, (few, last, note_augmented(request))):
            console.say(f"  {note}")
        facts = group.told(lambda: begin(request, folder, planned, machine))
    else:
        check_machine(folder, facts, machine)
        machine = replace(machine, microbatch=facts.get("microbatch"))
    state = fresh_state(request, machine)
    clock = Clock(before=facts["calibration_seconds"])
    resume(state, folder, clock, console)
    job = job_of(request, folder, facts, state, batches, machine, console, draw, score)
    RunLog(folder.log, group.first).write(
        "resume" if state.seen else "start",
        images=state.seen,
        threads=machine.threads,
        processes=group.size,
    )
    run(state, job, clock)
    if group.first:
        finish(state, folder, facts, clock, request, machine, draw)


def job_of(
    request: Request,
    folder: RunFolder,
    facts: dict[str, Any],
    state: TrainingState,
    batches: Batches,
    machine: Machine,
    console: Console,
    draw: Draw,
    score: Score | None,
) -> Job:
    """What stays the same over the training. `facts` is run.json."""
    planned = facts["planned_images"]
    return Job(
        batches=batches,
        plan=Plan(
            planned=planned,
            seed=request.seed,
            checkpoints=facts["checkpoints"],
        ),
        folder=folder,
        machine=machine,
        console=console,
        draw_grid=lambda seen: save_grid(state, folder, draw, machine, seen),
        diagnose=Checkups(state, request.data, planned, request.seed, machine, console),
        keep=Keeper(state, folder, planned, machine.group.first),
        select=Selection(
            state,
            folder,
            planned,
            machine,
            console,
            score if registry.recipe(request.name).selects else None,
        ),
        begin_again=lambda state: begin_again(state, request, machine),
        on_trouble=request.on_trouble,
    )


def share_batches(request: Request, machine: Machine) -> Batches:
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


def fitting_machine(request: Request, batches: Batches, machine: Machine) -> Machine:
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
    state = fresh_state(request, replace(machine, compile=False))  # as it is used but once
    fits = images_at_once(state, batches, request.seed, machine)
    fits = -machine.group.largest(-fits)  # the smallest of all processes
    if fits == share:
        return machine
    if whole or fits == 0:
        raise InputError(
            f"{share} images of {name} do not fit into memory, {fits} would",
            "lower --set batch_size" if fits else "choose a smaller --size",
        )
    why = f"{fits}: a batch of {share} does not fit into memory"
    return replace(machine, microbatch=fits, choices=machine.choices | {"microbatch": why})


def fresh_state(request: Request, machine: Machine) -> TrainingState:
    """A model as the seed makes it, on the device, ready to train.

    Raises InputError where the settings make no network or no optimiser.
    """
    try:
        model = registry.build(request.name, request.settings, request.shape, request.seed)
        if request.teacher is None:
            survey(model, request.data.train, request.seed)
        else:
            teaching.start_from(model, request.teacher)
        model.to(machine.device).train()
        if machine.compile:
            for network in model.networks():
                network.compile()
        return TrainingState(model, request.settings, machine.group)
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise InputError(
            f"these settings make no {request.name} ({error})", "change them with --set"
        ) from error


def begin_again(state: TrainingState, request: Request, machine: Machine) -> None:
    """Bring a state back to where the seed began."""
    fresh = fresh_state(request, machine)
    state.load(fresh.tensors(), {"phase": 0, "seen": 0, "rewinds": 0, "in_a_row": {}})


def begin(
    request: Request, folder: RunFolder, planned: PlannedImages, machine: Machine
) -> dict[str, Any]:
    """Write run.json, the first file in the folder."""
    command = f"{request.command} --budget {planned.images / 1000!r}kimg"
    if machine.microbatch is not None and "--microbatch" not in request.command:
        command += f" --microbatch {machine.microbatch}"
    facts = {
        "schema": SCHEMA,
        "triptych": triptych.__version__,
        "model": str(request.name),
        "family": request.name.family,
        "recipe": request.name.recipe,
        "variant": request.variant,
        "size": request.size,
        "settings": config.to_json(request.settings),
        "data": request.data.describe(),
        "labels": None if request.labels is None else config.to_json(request.labels),
        "budget": config.to_json(request.budget),
        "planned_images": planned.images,
        "checkpoints": planned.checkpoints,
        "calibration": planned.found,
        "calibration_seconds": planned.seconds,
        "seed": request.seed,
        "identity": request.identity(),
        "status": "running",
        "images_seen": 0,
        "train_seconds": None,
        "kimg": planned.images / 1000,
        "command": command,
        "versions": hardware.versions(),
        "hardware": hardware.describe(),
        "device": machine.device,
        "precision": machine.precision,
        "threads": machine.threads,
        "compile": machine.compile,
        "microbatch": machine.microbatch,
        "processes": machine.group.size,
        "choices": machine.choices,
    }
    files.write_json(folder.facts, facts)
    return facts


def plan_images(request: Request, batches: Batches, machine: Machine, draw: Draw) -> PlannedImages:
    """Turn the budget into images; seconds are measured on a model that is then thrown away."""

    def measure() -> Speed:
        state = fresh_state(request, machine)
        with tempfile.TemporaryDirectory() as scratch:
            progress = progress_of(state, Clock(), log_bytes=0)
            return measure_rounds(
                state,
                batches,
                request.seed,
                machine,
                request.budget.amount,
                lambda: sample_grid(state, draw, machine).save(Path(scratch) / "grid.png"),
                lambda: checkpoint.save(Path(scratch), state.tensors(), progress),
            )

    planned = planned_images(
        request.budget, len(request.data.train), request.settings.batch_size, measure
    )
    # Each process went by its own clock: the first one's plan holds for all.
    return PlannedImages(**machine.group.told(lambda: asdict(planned)))


def resume(state: TrainingState, folder: RunFolder, clock: Clock, console: Console) -> None:
    """Go on from the newest checkpoint, if there is one."""
    progress = take_up(state, folder, console)
    log = RunLog(folder.log, state.group.first)
    if progress is None:
        if log.size():
            console.say("  no checkpoint to go on from: starting again from image 0")
        log.cut(0)
        return
    clock.before = progress["seconds"]
    log.cut(progress["log_bytes"])
    console.say(f"  going on from image {state.seen:,}")


def sample_grid(state: TrainingState, draw: Draw, machine: Machine) -> images.Grid:
    """A few samples of the weights as they would be used now."""
    with as_used(state.model, state.average) as model:
        return images.grid(draw(model, machine))


def save_grid(
    state: TrainingState, folder: RunFolder, draw: Draw, machine: Machine, seen: int
) -> None:
    """The picture of the samples after so many images; all processes draw, the first one saves."""
    grid = sample_grid(state, draw, machine)
    if state.group.first:
        folder.samples.mkdir(exist_ok=True)  # without its parent: a run that vanished stays so
        grid.save(folder.samples / f"{seen:09d}.png")


def finish(
    state: TrainingState,
    folder: RunFolder,
    facts: dict[str, Any],
    clock: Clock,
    request: Request,
    machine: Machine,
    draw: Draw,
) -> None:
    """The weights to use, the last facts; checkpoints are no longer needed."""
    settle(state, request.data.train, facts["planned_images"], request.seed, machine)
    if type(state.model).settle is not GenerativeModel.settle and state.group.size == 1:
        save_grid(state, folder, draw, machine, facts["planned_images"])  # as it is used
    metadata = model_metadata(request.name, request.settings, request.shape)
    digest = save_weights(folder.weights, state.weights_to_use(), metadata)
    seconds = clock.seconds()
    RunLog(folder.log).write("done", images=facts["planned_images"])
    files.write_json(  # from here on the run is done
        folder.facts,
        facts
        | {
            "status": "done",
            "images_seen": facts["planned_images"],
            "train_seconds": round(seconds, 3),
            "images_per_second": round(facts["planned_images"] / seconds, 1),
            "peak_memory_bytes": hardware.peak_memory_bytes(facts["device"]),
            "digests": {WEIGHTS: digest},
            "advice": last_advice(folder.log),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
    )
    folder.tidy(done=True)
