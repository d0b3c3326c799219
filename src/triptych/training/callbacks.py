"""Whoever watches a training from outside: what a callback is told, when, and under which names.

Callbacks are called at the moments at which the log is written anyway: a hundred times a phase for
losses, at each picture and at each diagnosis. They are handed copies, so that nothing that they do
changes what is trained. One that fails is named once, in the terminal and in log.jsonl, and is
called no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from triptych.console import Console
from triptych.errors import ANYTHING, InputError, first_line
from triptych.files import kind_of
from triptych.images import Grid
from triptych.records import (
    DiagnosisEvent,
    Event,
    LossesEvent,
    Note,
    Rewound,
    RunRecord,
    Scored,
    Warned,
)
from triptych.training.log import LOG, RunLog
from triptych.words import english

Status = Literal["done", "stopped", "failed"]

# What is logged, by key, and what it is; words in capitals stand for names of the model's.
KEYS = {
    "loss/OBJECTIVE/TERM": "mean loss since the log point before",
    "learning_rate/OBJECTIVE/OPTIMIZER": "learning rate of the next step",
    "train/images_per_second": "real images per second since the log point before",
    "train/seconds": "seconds of training so far",
    "train/phase": "phase of the training: 0, or 1 while a GAN's encoder is trained",
    "train/memory_bytes": "the most memory that was taken so far, in bytes",
    "snapshot/score": "kernel distance of a snapshot's samples to validation images",
    "diagnosis/NUMBER": "a number of a diagnosis",
    "diagnosis/health": "health of the model, 0 where nothing is learned",
    "final/images": "real images that were seen in all",
    "final/seconds": "seconds of the whole training",
    "final/images_per_second": "real images per second of the whole training",
    "final/memory_bytes": "the most memory that the training took, in bytes",
    "final/rewinds": "returns to a checkpoint after trouble",
}
SAMPLES, ADVICE, CONFIG = "samples", "diagnosis/advice", "config"  # what is no number


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """The run that a callback is told of, by which it tells several runs apart.

    folder: of the run
    record: its run.json: model, settings, data, seed, hardware
    """

    folder: Path
    record: RunRecord


@dataclass(frozen=True, kw_only=True)
class Moment:
    """How far a training is.

    images:  real images seen, over all phases
    seconds: of training so far, over all interruptions
    """

    images: int
    seconds: float


class Callback:
    """What is called along a training; a subclass overrides what it wants to hear of.

    A method is called between two steps, in the training's own thread and in the first process
    alone, and training waits until it returns. An exception is named in one line, and the callback
    is dropped; the training goes on. Where several models are trained in turns, calls for
    different runs alternate: `run.folder` tells them apart.
    """

    def start(self, run: RunInfo, at: Moment) -> None:
        """A process begins with a run, or goes on with it at a moment after image 0."""

    def log(self, run: RunInfo, at: Moment, numbers: Mapping[str, float]) -> None:
        """Numbers by the keys of `KEYS`; a loss that was not finite is nan."""

    def samples(self, run: RunInfo, at: Moment, grid: Grid) -> None:
        """The picture that goes into the run's samples folder; `grid.pixels` is uint8 [C,H,W]."""

    def diagnosis(
        self, run: RunInfo, at: Moment, numbers: Mapping[str, float], advice: Sequence[str]
    ) -> None:
        """What a checkup of the model gave; or a warning, which has sentences and no numbers.

        advice: English sentences
        """

    def end(self, run: RunInfo, at: Moment, numbers: Mapping[str, float], status: Status) -> None:
        """The process leaves the run.

        numbers: what the training took, where it is done; else none
        status:  done; stopped, to be gone on with; or failed
        """


def as_callbacks(value: object) -> tuple[Callback, ...]:
    """Callbacks that are given as a list or the like; one alone stands for a list of one."""
    each = tuple(value) if isinstance(value, Iterable) else (value,)
    for one in each:
        if not isinstance(one, Callback):
            kind = f"the class {one.__name__}" if isinstance(one, type) else kind_of(one)
            raise InputError(
                f"callbacks takes objects of triptych.Callback, not {kind}",
                "make one: Mine()" if isinstance(one, type) else "subclass it",
            )
    return tuple(one for one in each if isinstance(one, Callback))


def numbers_of(event: Event) -> dict[str, float]:
    """The numbers of a line of the log, by the keys of `KEYS`."""
    if isinstance(event, LossesEvent):
        numbers = {f"loss/{name}": number(value) for name, value in event.losses.items()}
        numbers |= {f"learning_rate/{name}": rate for name, rate in event.learning_rates.items()}
        if event.memory_bytes is not None:
            numbers["train/memory_bytes"] = float(event.memory_bytes)
        return numbers | {
            "train/images_per_second": event.images_per_second,
            "train/seconds": event.seconds,
            "train/phase": float(event.phase),
        }
    if isinstance(event, DiagnosisEvent):
        numbers = {f"diagnosis/{name}": number(value) for name, value in event.numbers.items()}
        return numbers | {"diagnosis/health": number(event.vital)}
    return {"snapshot/score": number(event.value)} if isinstance(event, Scored) else {}


def number(value: float | None) -> float:
    """The number, where None stands for one that is not finite."""
    return float("nan") if value is None else float(value)


def sentences_of(event: Event) -> list[str]:
    """What a line of the log says in words: advice and warnings, in English."""
    if isinstance(event, DiagnosisEvent):
        return [english(note) for note in event.advice]
    if isinstance(event, Rewound):
        return [f"{english(event.note)}: {english(Note('rewound', {'n': event.to}))}"]
    return [english(event.note)] if isinstance(event, Warned) else []


def final_numbers(record: RunRecord) -> dict[str, float]:
    """What a training took; nothing of one that is not done."""
    if not record.done:
        return {}
    numbers = {
        "final/images": float(record.images_seen),
        "final/seconds": number(record.train_seconds),
        "final/images_per_second": number(record.images_per_second),
        "final/rewinds": float(record.rewinds),
    }
    if record.peak_memory_bytes is not None:
        numbers["final/memory_bytes"] = float(record.peak_memory_bytes)
    return numbers


def hyperparameters(record: RunRecord) -> dict[str, str | int | float | bool]:
    """What was trained on what, flat: `settings/NAME` are the recipe's."""
    data, budget = record.data, record.budget
    asked = {
        "model": record.model,
        "size": record.size,
        "seed": record.seed,
        "budget": budget.asked,
        "planned_images": record.planned_images,
        "data": data.name,
        "data_fingerprint": data.fingerprint,
        "resolution": data.resolution,
        "channels": data.channels,
        "training_images": data.train,
        "conditional": record.labels is not None,
        "device": record.device,
        "precision": record.precision,
        "triptych": record.triptych,
    }
    return {name: plain(value) for name, value in (asked | flat(record.settings)).items()}


def flat(settings: Mapping[str, Any], prefix: str = "settings") -> dict[str, Any]:
    """Settings within settings under joined names.

    >>> flat({"ema": 0.1, "optimizer": {"learning_rate": 0.01}})
    {'settings/ema': 0.1, 'settings/optimizer/learning_rate': 0.01}
    """
    values: dict[str, Any] = {}
    for name, value in settings.items():
        inner = f"{prefix}/{name}"
        values |= flat(value, inner) if isinstance(value, Mapping) else {inner: value}
    return values


def plain(value: object) -> str | int | float | bool:
    """A value that every tracker takes; others as text."""
    return value if isinstance(value, str | int | float | bool) else str(value)


class Callbacks:
    """The callbacks of one run, each of which is called until it fails.

    callbacks: with the names that a failure is told under
    """

    def __init__(
        self, run: RunInfo, callbacks: Iterable[tuple[str, Callback]], console: Console
    ) -> None:
        self.run, self.console = run, console
        self.callbacks = list(callbacks)
        self.log = RunLog(run.folder / LOG)

    def start(self, at: Moment) -> None:
        """The run begins, or goes on."""
        for name, callback in self.callbacks[:]:
            with self.guarded(name, callback, at):
                callback.start(self.run, at)

    def event(self, event: Event, at: Moment) -> None:
        """A line of the log was written."""
        numbers, sentences = numbers_of(event), sentences_of(event)
        diagnosed = isinstance(event, DiagnosisEvent) or bool(sentences)
        if not diagnosed and not numbers:
            return
        for name, callback in self.callbacks[:]:
            with self.guarded(name, callback, at):
                if diagnosed:
                    callback.diagnosis(self.run, at, dict(numbers), list(sentences))
                else:
                    callback.log(self.run, at, dict(numbers))

    def samples(self, at: Moment, grid: Grid) -> None:
        """A picture of samples was drawn."""
        for name, callback in self.callbacks[:]:
            with self.guarded(name, callback, at):
                callback.samples(self.run, at, Grid(grid.pixels.clone()))

    def end(self, at: Moment, record: RunRecord, status: Status) -> None:
        """The process leaves the run; nobody is called afterwards."""
        self.run = replace(self.run, record=record)
        for name, callback in self.callbacks[:]:
            with self.guarded(name, callback, at):
                callback.end(self.run, at, final_numbers(record), status)
        self.callbacks = []

    @contextmanager
    def guarded(self, name: str, callback: Callback, at: Moment) -> Iterator[None]:
        """Inside, what a callback raises drops it, and is told in one line."""
        try:
            yield
        except ANYTHING as error:
            self.callbacks = [pair for pair in self.callbacks if pair[1] is not callback]
            note = Note("callback_dropped", {"name": name, "reason": first_line(error)})
            self.console.say(f"  warning: {english(note)}")
            with suppress(OSError):  # a full disk may be what stopped it
                self.log.write(Warned(images=at.images, note=note))
