"""A data set: images in three parts, memory-mapped uint8 tensors, with their labels."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from triptych import notebook
from triptych.config import ImageShape
from triptych.data.augment import Augment
from triptych.data.ranges import BYTE, BYTES, Bounds
from triptych.data.store import Ingested
from triptych.images import grid
from triptych.options import Fit
from triptych.records import DataRecord, Note
from triptych.seeding import generator
from triptych.words import english

IMAGES_SHOWN, POINTS_SHOWN = 16, 500  # of the training part, in a notebook
CLASSES_SHOWN = 20


@dataclass(frozen=True, eq=False)
class Part:
    """One part of a data set.

    images: uint8 [N,C,H,W]
    labels: class numbers int64 [N], or None
    """

    images: Tensor
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.images)

    def choose(self, count: int, purpose: str, seed: int = 0) -> Part:
        """At most `count` random images with labels; seed and purpose determine which."""
        if count >= len(self):
            return self
        rows = choose_rows(len(self), count, purpose, seed)
        return Part(self.images[rows], None if self.labels is None else self.labels[rows])


def choose_rows(size: int, count: int, purpose: str, seed: int = 0) -> Tensor:
    """The indices of the images that `Part.choose` takes: int64 [min(count, size)]."""
    if count >= size:
        return torch.arange(size)
    return torch.randperm(size, generator=generator(seed, purpose))[: max(count, 0)]


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageData:
    """A data set for models: images of one size and number of channels, in three fixed parts.

    Models see `train`; choices are made on `validation`; `test` is for the final numbers.
    """

    name: str  # as the report shows it
    source: str  # as the user wrote it
    fingerprint: str  # of pixels, labels and membership
    fit: Fit
    classes: tuple[str, ...] | None
    notes: tuple[Note, ...]  # what was done that the user should know
    train: Part
    validation: Part
    test: Part
    path: str | None = None  # absolute, where the source is a file or folder
    image_column: str | None = None  # as the user named them, where the source has columns
    label_column: str | None = None
    range: str | None = None  # LOW,HIGH as the user gave it
    ranges: dict[str, Bounds] = field(default_factory=dict)  # black and white, by numbers' type
    augment: Augment = Augment()  # how training varies the images
    ingested: Ingested | None = None  # None for images that were not read from a source

    @property
    def shape(self) -> ImageShape:
        """The channels and the side of all images."""
        _, channels, resolution, _ = self.train.images.shape
        return ImageShape(channels=channels, resolution=resolution)

    def __repr__(self) -> str:
        parts = f"train={len(self.train)}, validation={len(self.validation)}, test={len(self.test)}"
        return f"ImageData({self.name!r}, {parts})"

    def _repr_html_(self) -> str:
        channels, side = self.shape.channels, self.shape.resolution
        rows = [
            [
                "images",
                "points" if self.shape.is_point else f"{side} x {side}, {channels} channels",
            ],
            ["train", f"{len(self.train):,}"],
            ["validation", f"{len(self.validation):,}"],
            ["test", f"{len(self.test):,}"],
        ]
        if self.classes:
            more = ", ..." if len(self.classes) > CLASSES_SHOWN else ""
            names = ", ".join(self.classes[:CLASSES_SHOWN]) + more
            rows.append([f"{len(self.classes)} classes", names])
        shown = self.train.choose(POINTS_SHOWN if self.shape.is_point else IMAGES_SHOWN, "shown")
        return notebook.block(
            notebook.heading(self.name),
            notebook.table(rows),
            *(notebook.line(english(note)) for note in self.notes),
            notebook.picture(grid(shown.images)._repr_png_(), f"images of {self.name}"),
        )

    def describe(self) -> DataRecord:
        """The data's record, as run.json and contract.json hold it."""
        return DataRecord(
            name=self.name,
            source=self.source,
            place=self.path,
            fingerprint=self.fingerprint,
            resolution=self.shape.resolution,
            channels=self.shape.channels,
            fit=self.fit,
            image_column=self.image_column,
            label_column=self.label_column,
            range=self.range,
            ranges={k: ends for k, ends in self.ranges.items() if (k, ends) != (BYTE, BYTES)},
            flip=self.augment.flip,
            crop=self.augment.crop,
            train=len(self.train),
            validation=len(self.validation),
            test=len(self.test),
            classes=tuple(self.classes) if self.classes else None,
            notes=tuple(self.notes),
        )
