"""From what a user asks to be trained to a request, of which everything is checked and resolved.

Nothing is made or changed here. A request also comes from a finished run, to train it again, and
may start from a trained model, its teacher.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import torch

from triptych import config, files, hardware
from triptych.config import NO_BUDGET, Budget, ImageShape, Size
from triptych.console import QUIET, Console
from triptych.data.dataset import ImageData
from triptych.data.open import open_images
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.capabilities import Learns
from triptych.families.labels import Labels
from triptych.families.protocol import GenerativeModel
from triptych.families.registry import ModelName
from triptych.hardware import MOST_THREADS, Machine, usable_cores
from triptych.options import (
    COURSE_BUDGET,
    DEFAULT_BUDGETS,
    DEFAULT_DATA,
    DEFAULT_FIT,
    DEFAULT_RESOLUTION,
    MACHINE,
    DataOptions,
    OnTrouble,
    TrainRequest,
)
from triptych.records import JsonObject, Note, Points, RunRecord, ThreadChanges
from triptych.training.origin import Origin, check_fits
from triptych.training.plan import Plan
from triptych.training.run_folder import RunFolder, labels_of, load_model
from triptych.training.threads import Threads
from triptych.words import english


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a finished run recorded of its way, for a training that follows it.

    run:    its folder
    points: breakpoints of each phase's plan; none of a plan that goes straight
    """

    run: str
    planned: int
    timed: bool
    points: list[Points]
    threads: ThreadChanges

    def plans(self, lengths: list[int]) -> list[Plan]:
        """Of each phase; InputError where they are not of this model.

        lengths: images that had been planned for each
        """
        if not self.points:
            return [Plan.straight(length, self.timed) for length in lengths]
        if len(self.points) != len(lengths):
            raise InputError(
                f"{self.run} cannot be followed: it has {len(self.points)} phases", "train it anew"
            )
        return [
            Plan.read(points, length, self.timed)
            for points, length in zip(self.points, lengths, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class ResolvedRequest:
    """What is to be trained, all of it settled."""

    name: ModelName
    size: Size
    settings: Any
    data: ImageData
    budget: Budget
    seed: int
    command: str  # as it could be typed again, without budget and output folder
    on_trouble: OnTrouble = "rewind"  # when steps stay without finite losses or gradients
    labels: Labels | None = None  # that the model is told in training, where it is conditional
    teacher: RunFolder | None = None  # the finished run that training starts from
    origin: Origin | None = None  # the finished run that it goes on from
    follow: Recorded | None = None  # the plan to follow instead of making one
    variant: str = ""  # what sets it apart from the plain recipe, in the user's words
    log_to: tuple[str, ...] = ()  # trackers; no part of what the run is

    def __post_init__(self) -> None:
        images, batch_size = len(self.data.train), self.settings.batch_size
        if batch_size > images:
            raise InputError(
                f"{images:,} training images do not fill a batch of {batch_size:,}",
                f"give more, or use --set batch_size={images}",
            )
        if self.teacher is not None:
            check_teacher(self.shape, self.teacher)
        if self.origin is not None:
            check_fits(self.origin, self.name, self.settings, self.shape)

    @property
    def shape(self) -> ImageShape:
        """What the model must know of the data."""
        classes = None if self.labels is None else len(self.labels.names)
        return replace(self.data.shape, classes=classes)

    def identity(self) -> JsonObject:
        """What must agree for a run to be resumed."""
        begun = {} if self.teacher is None else {"teacher": self.teacher.read().digests}
        begun |= {} if self.origin is None else self.origin.identity()
        followed = (
            {}
            if self.follow is None
            else {"plan": [[list(point) for point in phase] for phase in self.follow.points]}
        )
        return (
            begun
            | followed
            | {
                "model": str(self.name),
                "settings": config.to_json(self.settings),
                "data fingerprint": self.data.fingerprint,
                "resolution": self.data.shape.resolution,
                "flips": self.data.augment.flip,
                "crops": self.data.augment.crop,
                "seed": self.seed,
                "use of labels": "none" if self.labels is None else "conditional",
                "budget": self.budget.asked,
            }
        )


def note_augmented(request: ResolvedRequest) -> Note | None:
    """What to say where the discriminator is shown changed images because there are few."""
    count = len(request.data.train)
    if not registry.recipe(request.name).augments_few or not request.settings.augment:
        return None
    return Note("few_images_augmented", {"n": count, "least": registry.FEW_IMAGES})


def with_later_settings(identity: JsonObject, request: ResolvedRequest) -> JsonObject:
    """A recorded identity with the settings that came after it, as its run was without them.

    What a setting is in its class is what recipes did before there was one.
    """
    theirs, ours = identity.get("settings"), request.settings
    if identity.get("model") != str(request.name) or not isinstance(theirs, dict):
        return identity
    kept = [f for f in fields(ours) if f.name not in theirs and f.default is not MISSING]
    usual = config.to_json(replace(ours, **{f.name: f.default for f in kept}))
    return identity | {"settings": theirs | {f.name: usual[f.name] for f in kept}}


def check_output(folder: RunFolder, request: ResolvedRequest) -> None:
    """InputError unless the folder is absent, empty, or this very run."""
    path = folder.path
    for part in (path, folder.checkpoints, folder.samples):
        if part.is_symlink() and part != path:
            raise InputError(f"{part} is a link", "remove it, or name another --out")
        if part.exists() and not part.is_dir():
            raise InputError(f"{part} is a file", "name a folder with --out")
    if folder.is_run():
        recorded = with_later_settings(folder.read().identity, request)
        wanted: JsonObject = {"origin": None} | request.identity()
        for what, ours in wanted.items():
            theirs = recorded.get(what)
            if theirs != ours:
                unnamed = what == "origin" or isinstance(ours, dict | list)
                shown = "" if unnamed else f" ({theirs}, not {ours})"
                other = f"another {what}{shown}"
                if what == "settings" and isinstance(theirs, dict):
                    other = f"other settings ({named_differences(theirs, ours)})"
                raise InputError(f"{path} holds a run of {other}", "name another --out")
    elif path.exists() and files.visible(path):
        raise InputError(f"{path} exists and is not a run of ours", "name another --out")


def named_differences(theirs: JsonObject, ours: JsonObject) -> str:
    """The settings in which two runs differ, with the values of the first.

    >>> named_differences({"ema": 0.1, "width": 32}, {"ema": 0.05, "width": 32})
    'ema=0.1'
    """
    names = [name for name in ours if theirs.get(name) != ours[name]]
    return ", ".join(
        name if isinstance(theirs.get(name), dict) else f"{name}={theirs.get(name)}"
        for name in names
    )


def check_machine(folder: RunFolder, record: RunRecord, machine: Machine) -> None:
    """InputError where a run would go on with other arithmetic than it began with."""
    asked: dict[str, Any] = {"device": machine.device, "precision": machine.precision}
    if "compile" not in machine.choices:
        asked["compile"] = machine.compile
    if machine.microbatch is not None:
        asked["microbatch"] = machine.microbatch
    for what, ours in asked.items():
        theirs = getattr(record, what)
        if theirs != ours:
            option = f"--{what}" if what == "compile" else f"--{what} {theirs}"
            raise InputError(
                f"{folder.path} was begun with {what} {theirs}, not {ours}",
                f"go on with {option}" if theirs else f"leave --{what} out",
            )


def settings_of_student(name: ModelName, usual: Any, teacher: RunFolder | None) -> Any:
    """The recipe's usual settings, with the teacher's sizes where there is one.

    InputError where one is missing, not wanted, or of another kind.
    """
    take_over = registry.recipe(name).take_over
    if teacher is None:
        if take_over is not None:
            raise InputError(f"{name} starts from a trained model", "name it: --teacher RUN")
        return usual
    if take_over is None:
        raise InputError(f"{name} starts from no trained model", "leave out --teacher")
    record = teacher.read()
    theirs = ModelName.parse(record.model)
    settings = config.from_json(registry.recipe(theirs).settings, record.settings)
    try:
        return take_over(usual, str(theirs), settings)
    except ValueError as error:
        raise InputError(
            f"{teacher.path} cannot teach {name}: {error}", "name another run"
        ) from error


def check_teacher(shape: ImageShape, teacher: RunFolder) -> None:
    """InputError unless the teacher makes images of this shape, and of as many classes."""
    record = teacher.read()
    labels = labels_of(record)
    classes = None if labels is None else len(labels.names)
    theirs = ImageShape(
        channels=record.data.channels, resolution=record.data.resolution, classes=classes
    )
    if theirs.size != shape.size:
        raise InputError(
            f"{teacher.path} makes images of {theirs.size}, the data have {shape.size}",
            "name a run on these data",
        )
    if theirs.classes != shape.classes:
        was = "without labels" if classes is None else f"with {classes} classes"
        raise InputError(
            f"{teacher.path} was trained {was}",
            "leave out --conditional" if classes is None else "use --conditional on the same data",
        )


def start_from(model: GenerativeModel, teacher: RunFolder) -> None:
    """Load the teacher's model, from which a fresh model learns."""
    trained, _ = load_model(teacher)
    assert isinstance(model, Learns)  # what `take_over` stands for
    model.learn_from(trained)


def labels_for_training(name: ModelName, data: ImageData) -> Labels:
    """The classes a conditional model is trained on; InputError where data or model have none."""
    registry.require_conditional(name)
    if data.classes is None or data.train.labels is None:
        raise InputError(f"{data.name} has no labels", "leave out --conditional")
    return Labels.counted(data.classes, data.train.labels)


def pick_size(size: str | None, device: str | None = None) -> Size:
    """The size asked for, else by hardware: small or base by a CUDA GPU's memory, else tiny."""
    if size is None:
        if device == "cpu" or not hardware.find_gpu()[0]:
            return "tiny"
        memory = torch.cuda.get_device_properties(0).total_memory
        return "base" if memory > 30e9 else "small"
    if size not in config.SIZES:
        raise InputError(f"no size '{size}'", f"choose from {', '.join(config.SIZES)}")
    return size


def resolve(
    asked: TrainRequest,
    device: str | None = None,
    data: ImageData | None = None,
    console: Console = QUIET,
    precision: str | None = None,
) -> ResolvedRequest:
    """Everything checked that can be checked before anything is made.

    device: on which it is trained, which decides the size that is not asked for
    precision: in which it is trained; with the device it decides what a brief training is
    data:   images that are open already, as those of an origin are; else those that `asked` names
    """
    variant = Variant.parse(asked.model)
    name, asked = variant.name, variant.apply_to(asked)
    if asked.origin is not None:
        return resolve_going_on(asked, asked.origin, variant, data, console)
    size = pick_size(asked.size, device)
    budget = budget_for(name, size, asked.budget, console)
    source = DEFAULT_DATA if asked.data is None else asked.data
    opened = data or open_images(source, asked.part(DataOptions), console)
    name = registry.fitting(name, opened.shape)
    teacher = None if asked.teacher is None else RunFolder(Path(asked.teacher))
    usual = registry.defaults(
        name,
        size,
        opened.shape,
        len(opened.train),
        budget,
        hardware.is_fast(device, precision),
    )
    usual = settings_of_student(name, usual, teacher)
    return ResolvedRequest(
        name=name,
        size=size,
        settings=config.override(usual, asked.set),
        data=opened,
        budget=budget,
        seed=asked.seed or 0,
        command=replace(asked, size=size, **reading_of(opened)).command(
            (*MACHINE, "budget", "out", "log_to")
        ),
        on_trouble=asked.on_trouble,
        labels=labels_for_training(name, opened) if asked.conditional else None,
        teacher=teacher,
        variant=",".join(variant.words),
        log_to=asked.log_to,
    )


def resolve_going_on(
    asked: TrainRequest,
    path: Path,
    variant: Variant,
    data: ImageData | None,
    console: Console,
) -> ResolvedRequest:
    """The same of a training that goes on from the finished run at a path.

    What is not asked for is as it was there: size, seed, settings, whether labels are used, the
    teacher, whose run must still be there.
    """
    record = RunFolder(path).read()
    source = record.data.source if asked.data is None else asked.data
    images = data or open_images(source, asked.part(DataOptions), console)
    name = registry.fitting(variant.name, images.shape)
    origin = Origin.open(path, name)
    if asked.size not in (None, record.size):
        raise InputError(f"{path} is of size {record.size}, not {asked.size}", "leave out --size")
    if asked.teacher is not None:
        raise InputError("--teacher begins a training, --from goes on with one", "leave one out")
    conditional = asked.conditional or record.labels is not None
    usual = COURSE_BUDGET if name.recipe == "course" else DEFAULT_BUDGETS[record.size]
    return ResolvedRequest(
        name=name,
        size=record.size,
        settings=config.override(origin.settings, asked.set),
        data=images,
        budget=Budget.parse(usual if asked.budget is None else asked.budget, least_zero=True),
        seed=record.seed if asked.seed is None else asked.seed,
        command=replace(asked, **reading_if_named(asked, images)).command(
            (*MACHINE, "budget", "out", "log_to")
        ),
        on_trouble=asked.on_trouble,
        labels=labels_for_training(name, images) if conditional else None,
        teacher=None if record.teacher is None else RunFolder(Path(record.teacher)),
        origin=origin,
        variant=",".join(variant.words) or record.variant,
        log_to=asked.log_to,
    )


def reading_if_named(asked: TrainRequest, images: ImageData) -> dict[str, Any]:
    """How images were read that are named beside an origin; nothing of the origin's own."""
    return {"strict": False} if asked.data is None else reading_of(images)


def budget_for(name: ModelName, size: Size, asked: str | None, console: Console) -> Budget:
    """The budget asked for, else the usual one; none, which is said, of what is not trained."""
    usual = COURSE_BUDGET if name.recipe == "course" else DEFAULT_BUDGETS[size]
    budget = Budget.parse(usual if asked is None else asked)
    if registry.is_trained(name.family):
        return budget
    if asked is not None:
        unspent = Note("budget_not_spent", {"model": str(name), "budget": budget.asked})
        console.say(f"note: {english(unspent)}")
    return NO_BUDGET


def reading_of(data: ImageData) -> dict[str, Any]:
    """The options with which images are read as these were, where they are not the usual ones."""
    resolution = data.shape.resolution
    usual = data.shape.is_point or resolution == DEFAULT_RESOLUTION
    return {
        "data": None if data.source == DEFAULT_DATA else data.source,
        "resolution": None if usual else resolution,
        "fit": None if data.fit == DEFAULT_FIT else data.fit,
        "image_column": data.image_column,
        "label_column": data.label_column,
        "range": data.range,
        "flip": data.augment.flip,
        "crop": data.augment.crop,
        "strict": False,
    }


@dataclass(frozen=True)
class Variant:
    """A model with what sets it apart from its plain recipe.

    Written MODEL[,KEY=VALUE ...], as in `gan:r1,ema=0.1`; `size=small` and `conditional` stand
    for those options.
    """

    name: ModelName
    words: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Variant:
        """InputError on an unknown model."""
        model, *words = re.split(r",(?![^\[]*\])", text)  # not at commas inside brackets
        return cls(ModelName.parse(model), tuple(words))

    def __str__(self) -> str:
        return ",".join([str(self.name), *self.words])

    def apply_to(self, asked: TrainRequest) -> TrainRequest:
        """The request with these words as its options."""
        settings = [w for w in self.words if not w.startswith("size=") and w != "conditional"]
        sizes = [w.removeprefix("size=") for w in self.words if w.startswith("size=")]
        return replace(
            asked,
            model=str(self.name),
            size=cast("Size", sizes[0]) if sizes else asked.size,  # checked where it is made
            conditional=asked.conditional or "conditional" in self.words,
            set=(*asked.set, *settings),
        )


def run_name(request: ResolvedRequest) -> str:
    """What a run is called where the user named no folder."""
    safe = re.sub(r"[^A-Za-z0-9._=+-]", "-", request.variant)
    parts = (request.name.family, request.name.recipe, safe, f"s{request.seed}")
    return "-".join(part for part in parts if part)


def machine_options(machine: Machine) -> str:
    """What the user asked of the machine, as options; what was picked is left to be picked."""
    asked = {
        "device": machine.device,
        "precision": machine.precision,
        "threads": machine.threads,
    }
    words = "".join(f" --{k} {v}" for k, v in asked.items() if k not in machine.choices)
    if machine.microbatch is not None:
        words += f" --microbatch {machine.microbatch}"
    asked_to = machine.compile and "compile" not in machine.choices
    return words + (" --compile" if asked_to else "")


def request_to_repeat(
    folder: RunFolder, data: ImageData, machine: Machine
) -> tuple[ResolvedRequest, Machine]:
    """What trains a finished run again, and the machine as it was then.

    InputError where the data differ, or the run was written in a way that cannot be followed.
    """
    record = folder.read()
    mend = f"train it anew: {record.command or 'triptych train'}"
    if data.fingerprint != record.data.fingerprint:
        raise InputError(f"{data.source} is not what {folder.path} was trained on", "give --data")
    if record.rewinds and record.timed:
        raise InputError(f"{folder.path} went back on its way, which cannot be followed", mend)
    if record.processes != machine.group.size:
        raise InputError(
            f"{folder.path} was trained by {record.processes} processes",
            "start as many with torchrun",
        )
    augment = replace(data.augment, flip=record.data.flip, crop=record.data.crop)
    name = ModelName.parse(record.model)
    teacher = record.teacher
    if teacher is None and registry.recipe(name).take_over is not None:
        raise InputError(f"{folder.path} does not say what its teacher was", mend)
    try:
        follow = recorded(folder, record)
        origin = recorded_origin(folder, record, name)
        request = ResolvedRequest(
            name=name,
            size=record.size,
            settings=config.from_json(registry.recipe(name).settings, record.settings),
            data=replace(data, augment=augment),
            budget=record.budget,
            seed=record.seed,
            command=f"triptych repeat {shlex.quote(str(folder.path))} --out NEW",
            labels=labels_of(record),
            teacher=None if teacher is None else RunFolder(Path(teacher)),
            origin=origin,
            follow=follow,
            variant=record.variant,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{folder.path} cannot be followed ({error})", mend) from error
    check_machine(folder, record, machine)
    threads, microbatch = follow.threads[0][2], record.microbatch
    return request, replace(machine, threads=threads, microbatch=microbatch, compile=record.compile)


def recorded_origin(folder: RunFolder, record: RunRecord, name: ModelName) -> Origin | None:
    """What a run went on from; InputError where that is gone, or is not what it was."""
    if not record.origins:
        return None
    then = record.origins[0]
    origin = Origin.open(Path(then.run), name)
    if (origin.record.digests, origin.digest) != (then.digests, then.state):
        raise InputError(
            f"{then.run} is not what {folder.path} went on from", "bring back what it was"
        )
    return origin


def recorded(folder: RunFolder, record: RunRecord) -> Recorded:
    """The plan and threads of a run; those of earlier versions went straight through their images.

    ValueError where they make none.
    """
    planned, threads = record.planned_images, record.threads_along
    points = [] if record.plan is None else [record.plan, *record.later_plans]
    most = max(MOST_THREADS, usable_cores())
    for phase in points:
        Plan.read(phase, planned, timed=True)
    return Recorded(
        run=str(folder.path),
        planned=planned,
        timed=record.timed,
        points=points,
        threads=Threads.read(threads or ((0, 0, record.threads),), most),
    )


def differing_versions(record: RunRecord) -> list[Note]:
    """Notes on versions and the processor, where they are not those of the run."""
    ours, theirs = hardware.versions(), record.versions
    notes = [
        Note("other_version", {"name": name, "then": str(theirs.get(name)), "now": ours[name]})
        for name in ours
        if theirs.get(name) != ours[name]
    ]
    same = record.hardware.get("processor") == hardware.describe()["processor"]
    return notes if same else [*notes, Note("other_processor")]
