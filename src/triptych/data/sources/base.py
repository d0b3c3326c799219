"""What a source is: where data come from, and the stream of images that comes out of it.

Finding an `Origin` is cheap and touches no image: it tells what the pixels depend on, which is
enough to open what was stored before. Reading it gives a `Source`: items in the same order
everywhere, each still undecoded, with label and part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

PartName = Literal["train", "validation", "test"]
PART_NAMES: dict[str, PartName] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
NO_LABELS = "none"  # what --label-column says when labels are to be left out

Progress = Callable[[int, int], None]  # done, of how many


class BadImageError(Exception):
    """This is not an image we read; the message is the reason."""


class UnreadableError(BadImageError):
    """The system did not let us read it, this time; the message is the reason."""


@dataclass(frozen=True)
class Item:
    """One image before decoding.

    content: a file's bytes, a file to read, pixels uint8 (H,W) or (H,W,3), or why it is bad
    label:   its class, by name or number, or None
    part:    the part its source puts it in, or None
    """

    name: str
    content: bytes | Path | np.ndarray | BadImageError
    label: str | int | None
    part: PartName | None


@dataclass(frozen=True)
class Source:
    """A stream of items that can be started again.

    count:   how many items will come
    classes: the names of the classes, where labels are their numbers 0..K-1
    notes:   what the reader did that the user should know, a sentence each
    """

    items: Callable[[], Iterator[Item]]
    count: int
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Columns:
    """What the user asked of sources that have columns; None: found out."""

    image: str | None = None
    label: str | None = None  # NO_LABELS leaves labels out, of every source

    @property
    def labelled(self) -> bool:
        """Whether labels are wanted."""
        return self.label != NO_LABELS


@dataclass(frozen=True)
class Origin:
    """Where data come from, before anything is read.

    name:     as the report shows it
    identity: plain values that everything which will be read depends on, cheap to find
    read:     opens it, telling the progress of what takes long before the first item
    """

    name: str
    identity: dict[str, Any]
    read: Callable[[Progress], Source]
