"""Where images come from: one file per kind of source, and `find`, which picks among them.

Finding an `Origin` is cheap and reads no image: it tells what the pixels depend on, which is
enough to open images that were stored before. Reading it gives a `Source`: undecoded items with
label and part, in the same order on every machine. An error is one line, with the system's reason
where there is one.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from triptych.errors import InputError
from triptych.records import Note

PartName = Literal["train", "validation", "test"]
PART_NAMES: dict[str, PartName] = {
    "train": "train", "training": "train", "entrainement": "train", "entraînement": "train",
    "validation": "validation", "val": "validation", "valid": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
MEMORY = "memory:"  # begins the name of images that Python held
NO_LABELS = "none"  # what --label-column says when labels are to be left out

Progress = Callable[[int, int], None]  # done, of how many
LONGEST = 200  # letters of a reason


def printable(name: str) -> str:
    r"""The name with all that cannot be shown on one line, or misleads, as backslash escapes.

    Bytes that are no UTF-8, which Python keeps as lone surrogates, become their hexadecimals.

    >>> printable("a\nb\udcff.png")
    'a\\nb\\xff.png'
    """
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(map(escaped, name))


def escaped(letter: str) -> str:
    """One letter, or its escape; a backslash is doubled, so that no two names become one."""
    if "\udc80" <= letter <= "\udcff":
        return f"\\x{ord(letter) - 0xDC00:02x}"
    if letter.isprintable() and letter != "\\":
        return letter
    return letter.encode("unicode_escape").decode("ascii")


class BadImageError(Exception):
    """This is no image that can be read; the message is the reason."""


class UnreadableError(BadImageError):
    """The system failed to read it, perhaps only this time; the message is the reason."""


@dataclass(frozen=True)
class Item:
    """One image before decoding.

    content: a file's bytes, a file to read, pixels (H,W) or (H,W,3) of any type of numbers, a
             loaded Pillow image, or why it is bad
    label:   its class, by name or number, or None
    part:    the part in which its source puts it, or None
    """

    name: str
    content: bytes | Path | np.ndarray | Image.Image | BadImageError
    label: str | int | None
    part: PartName | None


@dataclass(frozen=True)
class Source:
    """A stream of items that can be started again.

    count:   how many items will come
    classes: the names of the classes, where labels are their numbers 0..K-1
    notes:   what the reader did that the user should know
    """

    items: Callable[[], Iterator[Item]]
    count: int
    classes: tuple[str, ...] | None = None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Columns:
    """The columns that the user named; None: the source finds them itself."""

    image: str | None = None
    label: str | None = None  # NO_LABELS leaves labels out, of every source

    @property
    def labeled(self) -> bool:
        """Whether labels are wanted."""
        return self.label != NO_LABELS


@dataclass(frozen=True)
class Origin:
    """Where data come from, before anything is read.

    name:     as the report shows it
    identity: JSON values that change whenever the images do, cheap to find
    read:     opens the source; it reports the progress of downloads before the first item
    """

    name: str
    identity: Mapping[str, object]
    read: Callable[[Progress], Source]


@contextmanager
def as_input_error(path: Path, wrong: str, mend: str) -> Iterator[None]:
    """Inside, whatever a library raises about a file becomes an InputError of one line.

    wrong, mend: the message where the file can be read but its content is wrong
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # each library raises its own kinds
        raise refused(path, error, wrong, mend) from error


def refused(path: Path, error: Exception, wrong: str, mend: str) -> InputError:
    """The InputError for a library's error about a file."""
    name = printable(str(path))
    # what the file says may lead a reader to before its start, which is EINVAL
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return InputError(f"cannot read {name} ({os.strerror(error.errno or 0)})", "check it")
    reason = " ".join(str(error).split())[:LONGEST] or type(error).__name__
    return InputError(f"{name} {wrong} ({reason})", mend)
