"""Prepared images on disk, shared between processes and memory-mapped.

    data/<content>/images.npy, labels.npy, parts.npy    arrays, named by their own digest
    data/<key>.json                                     source and settings -> `Ingested`

A folder of arrays is written aside and renamed, so it is complete or absent. The same images from
another source, or under another name, are stored once.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import platformdirs
from filelock import FileLock, Timeout

from triptych import files
from triptych.data.ranges import Bounds
from triptych.errors import InputError
from triptych.records import Note, read_notes

ARRAYS = ("images", "labels", "parts")
FINGERPRINT_DIGITS = 16
NO_RESERVE = 0x4000 if sys.platform == "linux" else 0  # which Python 3.11 does not name


@dataclass(frozen=True, kw_only=True)
class ImageSizes:
    """The sizes of a source's images before resizing, as (width, height) in pixels.

    different:         how many different sizes there are
    smallest, largest: by area
    usual:             the most frequent size, which `of_usual_size` images have
    narrowest, widest: least and greatest width over height
    """

    different: int
    smallest: tuple[int, int]
    largest: tuple[int, int]
    usual: tuple[int, int]
    of_usual_size: int
    narrowest: float
    widest: float


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """What was learned of a source while its images were stored.

    name:        of the source, as the report shows it
    classes:     their names; None without labels
    files:       how many images were read, bad ones included: files, rows, or pages of stacks
    bad:         the name of each bad image, and why it is bad
    copies:      images that equal another one
    crossing:    of these, held-out images left out because they equal one nearer to training
    faint:       images of hardly any contrast
    unread:      bad images that the system could not read, perhaps only that time
    to_retry:    the names of the items that these are of
    given_parts: the parts that the source itself names
    notes:       what the user should know
    ranges:      which numbers became black and white, by their type
    content:     digest of the stored arrays, which names their folder
    """

    name: str
    classes: tuple[str, ...] | None
    files: int
    bad: tuple[tuple[str, str], ...]
    copies: int
    crossing: int
    faint: int
    unread: int
    sizes: ImageSizes
    given_parts: tuple[str, ...]
    notes: tuple[Note, ...]
    ranges: dict[str, Bounds]
    content: str
    to_retry: tuple[str, ...] = ()


Entry = tuple[dict[str, np.ndarray], Ingested]  # arrays by name


def cache_folder() -> Path:
    """`$TRIPTYCH_CACHE`, else the system's place for what may be made again."""
    asked = os.environ.get("TRIPTYCH_CACHE")
    return (
        files.expanded(asked)
        if asked
        else platformdirs.user_cache_path("triptych", appauthor=False)
    )


def data_folder() -> Path:
    """The folder of prepared images."""
    return cache_folder() / "data"


def entry_key(identity: dict[str, object]) -> str:
    """The name of an entry: a digest of everything its pixels depend on."""
    text = json.dumps(identity, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def load(key: str) -> Entry | None:
    """Arrays (mapped, copied where written to) and record of an entry; None if it is unusable."""
    try:
        parsed = json.loads((data_folder() / f"{key}.json").read_text(encoding="utf-8"))
        values, notes = frozen(parsed), read_notes(parsed["notes"])
        ingested = Ingested(**values | {"sizes": ImageSizes(**values["sizes"]), "notes": notes})
        arrays = load_arrays(data_folder() / ingested.content)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return None if arrays is None else (arrays, ingested)


def frozen(value: Any) -> Any:
    """A JSON value with tuples for lists."""
    if isinstance(value, dict):
        return {name: frozen(each) for name, each in value.items()}
    return tuple(map(frozen, value)) if isinstance(value, list) else value


def load_arrays(folder: Path) -> dict[str, np.ndarray] | None:
    """The mapped arrays of a folder, or None where they are missing, cut or do not fit."""
    try:
        arrays = {name: map_array(folder / f"{name}.npy") for name in ARRAYS}
    except (OSError, ValueError):
        return None
    return arrays if len({len(array) for array in arrays.values()}) == 1 else None


def map_array(path: Path) -> np.ndarray:
    """An array of a .npy file, in place; a page that is written to becomes a copy.

    numpy's own mapping of this kind has the system set memory aside for copying all of it, which
    it refuses for files larger than memory.
    """
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise ValueError(f"version {version} of the format is not ours")
        header = np.lib.format.read_array_header_1_0(file)
        shape, _, dtype = header
        mapped = map_privately(file)
        count = int(np.prod(shape))
        return np.frombuffer(mapped, dtype, count, offset=file.tell()).reshape(shape)


def map_privately(file: BinaryIO) -> mmap.mmap:
    """All of a file, whose pages are copied when they are written to.

    Windows has no flags, and sets memory aside for all copies.
    """
    if sys.platform == "win32":
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", NO_RESERVE)
    return mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)


@contextmanager
def as_cache_error() -> Iterator[None]:
    """Inside, what the system refuses is told as an InputError about the cache."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot keep images in {data_folder()} ({error.strerror or error})",
            "make room, or name another folder in TRIPTYCH_CACHE",
        ) from error


@contextmanager
def preparing(key: str) -> Iterator[Path]:
    """An empty folder for the arrays of an entry; one process at a time, the others wait.

    Raises InputError where the cache cannot be written, or is full. What is raised inside is not
    changed: it may be a fault of the source.
    """
    parent, locks = data_folder(), cache_folder() / "locks"
    aside = parent / f".{key}.{os.getpid()}"
    with ExitStack() as stack:
        with as_cache_error():
            parent.mkdir(parents=True, exist_ok=True)
            locks.mkdir(exist_ok=True)
            stack.enter_context(FileLock(locks / f"{key}.lock"))
            remove_left_over(parent, locks, key)
            aside.mkdir()
        stack.callback(shutil.rmtree, aside, ignore_errors=True)
        yield aside


def remove_left_over(parent: Path, locks: Path, own: str) -> None:
    """Remove what killed processes left behind: of our own entry, and of those nobody prepares."""
    for folder in parent.glob(".*.*"):
        key = folder.name.split(".")[1]
        lock = nullcontext() if key == own else FileLock(locks / f"{key}.lock", timeout=0)
        with suppress(Timeout), lock:
            shutil.rmtree(folder, ignore_errors=True)


@as_cache_error()
def publish(key: str, aside: Path, ingested: Ingested) -> None:
    """Move complete arrays to the folder that their content names, and write the entry."""
    final = data_folder() / ingested.content
    if load_arrays(final) is None:
        shutil.rmtree(final, ignore_errors=True)  # damaged
        for name in ARRAYS:
            files.sync(aside / f"{name}.npy")
        try:
            files.replace(aside, final)
        except OSError:  # the same images came from another source, this very moment
            if load_arrays(final) is None:
                raise
    files.write_json(data_folder() / f"{key}.json", asdict(ingested))


class Fingerprint:
    """SHA-256 of pixels, labels and membership, fed piece by piece in the order of ARRAYS."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def begin(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        """Start the next array, by its name, type and shape."""
        self._digest.update(f"{name}{dtype}{shape}".encode())

    def add(self, piece: np.ndarray) -> None:
        """Add the array's next rows."""
        self._digest.update(np.ascontiguousarray(piece).data)

    def hexdigest(self) -> str:
        """The digest of all that was added, 64 hexadecimal digits."""
        return self._digest.hexdigest()
