"""A finished run as the start of another training: its weights, averages and moments.

A run that is done keeps one checkpoint, of the end of its first phase (`run_folder.tidy`). Going on
begins there: at the last weights, the averages and the optimizers' moments. Without it, as where
somebody removed it, training begins at the weights to use, and averages and moments begin anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from triptych import config, files, hardware
from triptych.config import ImageShape, Settings
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.registry import ModelName
from triptych.records import JsonObject, Note, OriginRecord, RunRecord
from triptych.training import checkpoint, tensorfile
from triptych.training.run_folder import RunFolder, labels_of, load_model
from triptych.training.state import AT_FIRST, TrainingState, check_alike

AVERAGES = {"average": "ema", "wide": "ema_wide"}  # a checkpoint's files -> the settings of widths


@dataclass(frozen=True)
class Origin:
    """The run that a training goes on from.

    record: its run.json
    state:  its last checkpoint, of the end of its first phase; None where it has none
    """

    folder: RunFolder
    record: RunRecord
    state: Path | None

    @classmethod
    def open(cls, path: Path, name: ModelName) -> Self:
        """The run at a path; InputError unless it is done, and of this recipe, which is trained."""
        folder = RunFolder(path)
        record = folder.read()
        if not registry.is_trained(record.family):
            raise InputError(f"{path} is {record.model}, which is not trained", "leave out --from")
        if record.model != str(name):
            raise InputError(
                f"{path} is {record.model}, not {name}",
                f"train {record.model}, or name another run",
            )
        if not record.done:
            raise InputError(
                f"{path} is not trained to its end", "finish it with the same train command"
            )
        return cls(folder, record, checkpoint.end_of_first_phase(folder.checkpoints))

    @property
    def shape(self) -> ImageShape:
        """What its model knows of its data."""
        data, labels = self.record.data, labels_of(self.record)
        return ImageShape(
            channels=data.channels,
            resolution=data.resolution,
            classes=None if labels is None else len(labels.names),
        )

    @cached_property
    def settings(self) -> Any:
        """Of its recipe."""
        recipe = registry.recipe(ModelName.parse(self.record.model))
        return config.from_json(recipe.settings, self.record.settings)

    @cached_property
    def digest(self) -> str | None:
        """Of its last checkpoint: of the list of its files' digests."""
        return None if self.state is None else files.sha256(self.state / checkpoint.MANIFEST)

    @property
    def age(self) -> int:
        """Images over which its averages go."""
        return self.record.carried + self.record.images_seen

    def summary(self) -> JsonObject:
        """What a command shows of it before anything is trained."""
        record = self.record
        return {
            "run": str(self.folder.path),
            "data": record.data.name,
            "images_seen": record.total_images,
            "train_seconds": record.total_seconds,
            "last_checkpoint": None if self.state is None else self.state.name,
        }

    def identity(self) -> JsonObject:
        """What must agree for a training that goes on from it to be resumed."""
        return {"origin": self.record.digests, "last checkpoint of the origin": [self.digest]}

    def carries(self, settings: Settings) -> bool:
        """Whether the averages go on: only if both have the widths that they had."""
        theirs = self.settings
        alike = (settings.ema, settings.ema_wide) == (theirs.ema, theirs.ema_wide)
        return alike and self.state is not None

    def carried(self, settings: Settings, planned: int) -> int:
        """Images that stand for it in averages that go on over so many planned ones.

        At most as many as these, so that a brief training on other data is not lost among the
        weights from before it. A profile without a unit may be shortened like that.
        """
        return min(self.age, planned) if self.carries(settings) else 0

    def chain(self, notes: tuple[Note, ...]) -> tuple[OriginRecord, ...]:
        """What run.json says of it and of all that it went on from itself.

        notes: what could not be taken over
        """
        record = self.record
        own = OriginRecord(
            run=str(self.folder.path.resolve()),
            digests=record.digests,
            state=self.digest,
            images_seen=record.images_seen,
            train_seconds=record.train_seconds or 0.0,
            budget=record.budget,
            data=record.data.name,
            fingerprint=record.data.fingerprint,
            notes=notes,
        )
        return (own, *record.origins)


def goes_on_from(origins: Sequence[OriginRecord]) -> Note:
    """What is told of a run that went on from these, the latest first."""
    return Note(
        "goes_on_from",
        {
            "run": Path(origins[0].run).name,
            "images": sum(origin.images_seen for origin in origins),
            "seconds": round(sum(origin.train_seconds for origin in origins), 1),
            "data": ", ".join(dict.fromkeys(origin.data for origin in reversed(origins))),
        },
    )


def check_fits(origin: Origin, name: ModelName, settings: Any, shape: ImageShape) -> None:
    """InputError unless the networks are the origin's, named by what makes them others.

    They are where the same seed makes the same first weights. A setting that acts through these
    alone would do nothing here, and is refused too.
    """
    path, theirs = origin.folder.path, origin.shape
    if theirs.size != shape.size:
        raise InputError(
            f"{path} makes images of {theirs.size}, the data have {shape.size}",
            f"name data of that size, or use --resolution {theirs.resolution}",
        )
    if (settings, shape) == (origin.settings, theirs):
        return
    first = first_weights(name, origin.settings, theirs)
    if shape.classes != theirs.classes and not same(
        first, first_weights(name, origin.settings, shape)
    ):
        was, is_now = of_classes(theirs), of_classes(shape)
        raise InputError(
            f"{path} was trained {was}, which its networks are made for, not {is_now}",
            "leave out --conditional" if theirs.classes is None else "name data with as many",
        )
    for setting, changed in one_by_one(origin.settings, settings):
        if not same(first, first_weights(name, changed, theirs)):
            raise InputError(
                f"the networks of {path} are made with {setting}",
                "leave it as it is, or train without --from",
            )
    if not same(first, first_weights(name, settings, shape)):
        raise InputError(
            f"the networks of {path} are others than these settings make",
            "leave out --set, or train without --from",
        )


def of_classes(shape: ImageShape) -> str:
    """Whether a model is told labels, in words."""
    return "without labels" if shape.classes is None else f"with {shape.classes} classes"


def first_weights(name: ModelName, settings: Any, shape: ImageShape) -> dict[str, Tensor] | None:
    """Of an untrained model; None where there is no such model."""
    try:
        return registry.build(name, settings, shape, seed=0).state_dict()
    except (ValueError, IndexError, ZeroDivisionError):
        return None


def same(first: dict[str, Tensor] | None, second: dict[str, Tensor] | None) -> bool:
    """Whether two models have the same names, shapes and values."""
    if first is None or second is None or first.keys() != second.keys():
        return False
    return all(
        mine.shape == theirs.shape and torch.equal(mine, theirs)
        for mine, theirs in ((first[name], second[name]) for name in first)
    )


def one_by_one(theirs: Any, ours: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each setting that differs, as it was, and their settings with this one alone as it is now."""
    for each in fields(theirs):
        before, now = getattr(theirs, each.name), getattr(ours, each.name)
        if before == now:
            continue
        if is_dataclass(before) and type(before) is type(now):
            for name, inner in one_by_one(before, now, f"{prefix}{each.name}."):
                yield name, replace(theirs, **{each.name: inner})
            continue
        try:
            yield f"{prefix}{each.name}={before}", replace(theirs, **{each.name: now})
        except ValueError:
            continue  # it is not allowed alone


def start_at(state: TrainingState, origin: Origin, settings: Settings) -> None:
    """Bring a fresh state to the origin's end, at image 0 of its own.

    Later phases and what is fitted after training are done anew, whatever the origin had of them.
    InputError where its files are not what it wrote.
    """
    first = state.tensors()
    if origin.state is None:
        model, _ = load_model(origin.folder)
        first["model"] = model.state_dict()
        first |= dict.fromkeys(state.averages, first["model"])
        notes = [Note("origin_without_state", {"run": origin.folder.path.absolute().name})]
    else:
        notes = take_over(first, state, origin, settings)
    try:
        state.load(first, AT_FIRST)
    except tensorfile.DAMAGE as error:
        if hardware.of_the_machine(error):
            raise
        raise damaged(origin, error) from error
    state.images_before, state.anew = origin.record.total_images, tuple(notes)


def take_over(
    first: dict[str, dict[str, Tensor]], state: TrainingState, origin: Origin, settings: Settings
) -> list[Note]:
    """Put what the origin's last checkpoint holds in place of what a fresh state has.

    Returns notes on what begins anew.
    """
    assert origin.state is not None
    notes = []
    try:
        theirs, _ = checkpoint.load(origin.state, state.most_bytes())
        first["model"] = theirs["model"]
    except tensorfile.DAMAGE as error:
        raise damaged(origin, error) from error
    going_on = origin.carries(settings)
    for part in state.averages:
        first[part] = theirs.get(part, {}) if going_on else theirs["model"]
    if state.averages and not going_on:
        notes.append(Note("averages_anew"))
    for optimizer in state.optimizers:
        part = f"optimiser-{optimizer.objective.name}"
        if optimizer.objective.phase > 0:
            continue
        scale = optimizer.scale_tensors()
        moments = {k: v for k, v in theirs.get(part, {}).items() if not k.startswith("loss_scale/")}
        try:
            check_alike(moments | scale, optimizer.expected(moments | scale), part)
            first[part] = moments | scale
        except ValueError:
            notes.append(Note("moments_anew", {"objective": optimizer.objective.name}))
    return notes


def damaged(origin: Origin, error: BaseException) -> InputError:
    """What to raise where the last checkpoint is not what was written."""
    return InputError(
        f"{origin.state} is damaged ({tensorfile.reason(error)})",
        "remove it to go on from the weights alone",
    )
