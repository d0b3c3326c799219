"""NumPy arrays of images: `.npy` holds one stack, `.npz` several with labels and parts.

A stack is (N,H,W), (N,H,W,C) or (N,C,H,W) of whole numbers, floats or bool with C = 1 or 3. Which
numbers become black and white, `ranges` decides from all of them. Four axes are read with the
channels last wherever the last axis fits, else with the channels first. Stacks are read some
images at a time. Only in Fortran order, where an image's pixels lie far apart, a stack is held
whole while it is read.
"""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from triptych.data.decode import PIXEL_CAP
from triptych.data.sources import (
    PART_NAMES,
    Columns,
    Item,
    PartName,
    Source,
    as_input_error,
    printable,
)
from triptych.data.sources.layout import (
    CLASS_NAMES,
    IMAGE_NAMES,
    LABEL_NAMES,
    PART_COLUMNS,
    UNLABELED,
    abridged,
    class_of,
    given_name,
    places_of_ones,
    usual,
)
from triptych.data.sources.levels import parts_from
from triptych.data.sources.metadata import labels_from, parts_of_cells
from triptych.errors import InputError
from triptych.records import Note

IMAGES, LABELS = "images", "labels"  # what the arrays of a .npy are called
SECOND = "second"  # one that cannot be labels
BLOCK_BYTES = 4 << 20  # of images, read at once
KEYS_SHOWN = 20  # in messages: a file may hold an array for each image
SHAPES = "save arrays (N,H,W), (N,H,W,C) or (N,C,H,W)"
LARGEST = 8  # bytes of a number; longer floats are not the same on every machine


@dataclass(frozen=True)
class Stored:
    """One array in a file, its header read.

    member: of the .npz; None in a .npy
    start:  where its numbers begin, in bytes
    """

    path: Path
    member: zipfile.ZipInfo | None
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int

    @property
    def stack(self) -> bool:
        """Whether it has the axes of images, of whatever numbers."""
        return len(self.shape) in (3, 4) and self.dtype.kind in "biuf"

    @property
    def readable(self) -> bool:
        """Whether its numbers can be pixels as well."""
        return self.stack and self.dtype.itemsize <= LARGEST

    @property
    def bytes(self) -> bool:
        """Whether its numbers are those that most images are of."""
        return self.stack and self.dtype in (np.uint8, np.bool_)

    @property
    def channels_first(self) -> bool:
        """Whether the axes are (N,C,H,W): only where the last one cannot be the channels."""
        return len(self.shape) == 4 and self.shape[1] in (1, 3) and self.shape[3] not in (1, 3)


@dataclass(frozen=True)
class Piece:
    """A stack of images with its labels [N] and its part, if any."""

    images: Stored
    labels: list[Any] | None
    part: PartName | None
    name: str  # as its items show it


def read_arrays(path: Path, columns: Columns) -> Source:
    """`.npy`; or `.npz` with `images`, its only stack, or one a part, and labels if any."""
    notes: list[Note] = []
    with damage_named(path):
        arrays = {stored.key: stored for stored in headers(path)}
    parts = stacks(arrays, columns.image, path)
    alone = len(parts) == 1  # one part alone is not a part
    pieces = []
    used = set(parts)  # arrays that are images or labels
    for key, part in parts.items():
        check_stack(arrays[key])
        column = label_array(arrays, key, part, columns, used)
        labels = None
        if column is not None:
            used.add(column.key)
            labels = labels_of(column, arrays[key].shape[0], columns, notes)
        name = printable(path.name if alone else f"{path.name}:{key}")
        pieces.append(Piece(arrays[key], labels, None if alone else part, name))
    own: list[PartName | None] | None = None
    if alone and (column := part_array(arrays, pieces[0].images)) is not None:
        own, note = parts_of_cells(read_texts(column), column.key, printable(path.name))
        notes.append(note)
        used.add(column.key)
    refuse_kinds(pieces, path)
    classes = class_names(arrays, pieces) if columns.labeled else None
    if classes is not None:
        used.add(classes.key)
    if columns.labeled:
        notes += notes_on(pieces, [stored for key, stored in arrays.items() if key not in used])
    others = [
        stored
        for key, stored in arrays.items()
        if key not in parts and ((stored.stack and 0 not in stored.shape) or key == SECOND)
    ]
    if others and columns.image is None:
        notes.append(Note("stacks_passed_over", {"arrays": listed(others)}))
    named: dict[PartName, list[str]] = {}
    for piece in pieces:
        if piece.part is not None:
            named.setdefault(piece.part, []).append(piece.images.key)
    if named:
        notes.insert(0, parts_from(named))

    def items() -> Iterator[Item]:
        for piece in pieces:
            for item, part in zip_longest(piece_items(piece), own or ()):
                yield item if part is None else replace(item, part=part)

    names = None if classes is None else tuple(map(given_name, read_texts(classes)))
    return Source(items, sum(piece.images.shape[0] for piece in pieces), names, tuple(notes))


def part_array(arrays: dict[str, Stored], images: Stored) -> Stored | None:
    """The array of texts that puts each image in a part, if there is one."""
    texts = [
        stored.key
        for stored in arrays.values()
        if stored.dtype.kind in "US" and one_each(stored, images.shape[0])
    ]
    name = usual(texts, PART_COLUMNS)
    return None if name is None else arrays[name]


def refuse_kinds(pieces: list[Piece], path: Path) -> None:
    """Refuse labels that are numbers in one stack and names in another."""
    labels = [label for piece in pieces for label in piece.labels or () if label is not None]
    if len({type(label) for label in labels}) > 1:
        raise InputError(f"{path} has labels of several kinds", "save numbers or names in all")


def notes_on(pieces: list[Piece], others: list[Stored]) -> list[Note]:
    """Which stacks have no labels where others do, and which other arrays could be theirs."""
    bare = [piece.images for piece in pieces if piece.labels is None]
    notes = []
    if 0 < len(bare) < len(pieces):
        notes.append(Note("stacks_without_labels", {"arrays": listed(bare)}))
    counts = {images.shape[0] for images in bare}
    likely = [
        stored
        for stored in others
        if stored.dtype.kind in "biuUS" and any(one_each(stored, count) for count in counts)
    ]
    if likely:
        notes.append(Note("arrays_passed_over", {"arrays": listed(likely)}))
    return notes


def listed(arrays: list[Stored]) -> str:
    """The arrays' keys, separated by commas."""
    return keys_of(stored.key for stored in arrays)


def keys_of(keys: Iterable[str]) -> str:
    """The first keys, separated by commas, and how many more there are."""
    return abridged(list(map(printable, keys)), shown=KEYS_SHOWN)


def piece_items(piece: Piece) -> Iterator[Item]:
    """The images of one stack."""
    index = 0
    for block in blocks(piece.images):
        for image in block:
            label = None if piece.labels is None else piece.labels[index]
            yield Item(f"{piece.name}[{index}]", image, label, piece.part)
            index += 1


# The file


def damage_named(path: Path) -> AbstractContextManager[None]:
    """Inside, whatever zipfile, zlib and numpy raise about a file becomes an InputError."""
    return as_input_error(path, "is damaged", "write it again with numpy")


@contextmanager
def stream(path: Path, member: zipfile.ZipInfo | None) -> Iterator[IO[bytes]]:
    """The bytes of a file, or of a member of an archive."""
    if member is None:
        with path.open("rb") as file:
            yield file
    else:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            yield file


def headers(path: Path) -> list[Stored]:
    """The arrays of a file, without their contents.

    A `.npy` may hold several, saved one after another; the second one are labels if it can be.
    """
    found: list[Stored] = []
    with path.open("rb") as file:
        while file.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
            file.seek(-len(npy.MAGIC_PREFIX), os.SEEK_CUR)
            array = headers_of_stream(file, path)
            if len(found) == 1 and array:
                fits = one_each(array[0], found[0].shape[0] if found[0].shape else 0)
                array = [replace(array[0], key=LABELS if fits else SECOND)]
            found += array
            if not array or len(found) > 1 or array[0].dtype.hasobject:
                return found
            file.seek(array[0].dtype.itemsize * math.prod(array[0].shape), os.SEEK_CUR)
        if found:
            return found
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                with archive.open(member) as file:
                    found += headers_of_stream(file, path, member)
    return found


def headers_of_stream(
    file: IO[bytes], path: Path, member: zipfile.ZipInfo | None = None
) -> list[Stored]:
    """The array in an open file or member, if it is one that numbers and texts are stored in.

    ValueError where it does not hold what its header promises.
    """
    key = member.filename.removesuffix(".npy") if member else IMAGES
    size = member.file_size if member else path.stat().st_size
    version = npy.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = npy.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = npy.read_array_header_2_0(file)
    else:  # only structured arrays need a later one
        return []
    if min(shape, default=0) < 0:
        raise ValueError(f"'{key}' is of shape {shape}")
    if not dtype.hasobject and size - file.tell() < dtype.itemsize * math.prod(shape):
        raise ValueError(f"'{key}' ends early")
    return [Stored(path, member, key, shape, dtype, fortran, file.tell())]


def blocks(stored: Stored) -> Iterator[np.ndarray]:
    """The images of a stack, (n,H,W) or (n,H,W,3) at a time, each block its own memory."""
    image_bytes = math.prod(stored.shape[1:]) * stored.dtype.itemsize
    at_once = max(1, BLOCK_BYTES // image_bytes)
    with damage_named(stored.path), stream(stored.path, stored.member) as file:
        file.seek(stored.start)
        # In Fortran order each image is spread over the whole file, so the stack is read at once;
        # it is not mapped, for a mapped file that is cut meanwhile ends the process.
        whole = fill(file, stored.shape[::-1], stored.dtype).T if stored.fortran else None
        for first in range(0, stored.shape[0], at_once):
            count = min(at_once, stored.shape[0] - first)
            if whole is None:
                block = fill(file, (count, *stored.shape[1:]), stored.dtype)
            else:
                block = np.ascontiguousarray(whole[first : first + count])
            if stored.dtype == np.bool_:
                block = (block.view(np.uint8) != 0).astype(np.uint8) * 255
            block = block.astype(block.dtype.newbyteorder("="), copy=False)
            if stored.channels_first:
                block = np.ascontiguousarray(np.moveaxis(block, 1, -1))
            yield block[..., 0] if block.ndim == 4 and block.shape[3] == 1 else block


def fill(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """An array of the next bytes of a stream; ValueError if there are too few."""
    array = np.empty(shape, dtype)
    rest = memoryview(array.reshape(-1).view(np.uint8).data)
    while rest:
        got = file.readinto(rest)  # type: ignore[attr-defined]
        if not got:
            raise ValueError("it ends early")
        rest = rest[got:]
    return array


# The images


def part_of_key(key: str, words: Collection[str]) -> PartName | None:
    """The part that a key such as `x_train` or `test_images` tells.

    >>> part_of_key("X_train", {"x"}), part_of_key("mask_train", {"x"})
    ('train', None)
    """
    tokens = re.split(r"[-_. /]+", key.lower())
    parts = [token for token in tokens if token in PART_NAMES]
    others = [token for token in tokens if token not in PART_NAMES]
    return PART_NAMES[parts[0]] if len(parts) == 1 and set(others) <= set(words) else None


def stacks(arrays: dict[str, Stored], asked: str | None, path: Path) -> dict[str, PartName | None]:
    """The keys of the images, each with the part it tells.

    `images` are for training where other stacks are named as the held-out parts.
    """
    if asked is not None:
        if asked not in arrays:
            raise InputError(f"no array '{asked}' in {path}", f"there are {keys_of(arrays)}")
        return {asked: part_of_key(asked, IMAGE_NAMES)}
    every = {key: stored for key, stored in arrays.items() if stored.stack}
    parts = {key: part for key in every if (part := part_of_key(key, IMAGE_NAMES))}
    one_each_part = len(set(parts.values())) == len(parts)
    if IMAGES in every:
        held_out = one_each_part and "train" not in parts.values()
        return {IMAGES: "train", **parts} if parts and held_out else {IMAGES: None}
    if parts and one_each_part:
        return dict(parts)
    named = [key for key in every if key.lower() in IMAGE_NAMES]
    fitting = named if len(named) == 1 else [key for key in every if every[key].bytes]
    fitting = fitting or list(every)
    if not fitting:
        any_pickled = any(stored.dtype.hasobject for stored in arrays.values())
        pickled = "; pickled objects are never read" if any_pickled else ""
        raise InputError(f"no images in {path}{pickled}", SHAPES)
    if len(fitting) > 1:
        raise InputError(
            f"several arrays of images in {path}",
            f"name one with --image-column: {keys_of(fitting)}",
        )
    return {fitting[0]: None}


def check_stack(stored: Stored) -> None:
    """Refuse what holds no pixels, with what to do about it."""
    path, shape, dtype = stored.path, stored.shape, stored.dtype
    if not stored.stack or 0 in shape:
        raise InputError(f"no images in {path} ('{stored.key}' is {dtype} {shape})", SHAPES)
    if not stored.readable:
        raise InputError(
            f"no images in {path} ('{stored.key}' is {dtype})",
            "save them as float64: x.astype(float)",
        )
    if len(shape) == 3 and shape[2] in (1, 3, 4):
        raise InputError(
            f"no images in {path} ('{stored.key}' is {shape}, a single picture)", SHAPES
        )
    if len(shape) == 4 and shape[3] not in (1, 3) and not stored.channels_first:
        channels = min(shape[1], shape[3])
        mend = "put them over white and save three" if channels == 4 else "save one or three"
        raise InputError(f"{path} has {channels} channels", mend)
    if math.prod(shape[1:]) > 3 * PIXEL_CAP:
        raise InputError(
            f"the images of {path} are of shape {shape[1:]}",
            f"make them smaller than {PIXEL_CAP:,} pixels",
        )


# The labels


def label_array(
    arrays: dict[str, Stored],
    key: str,
    part: PartName | None,
    columns: Columns,
    used: Collection[str],
) -> Stored | None:
    """The labels of the images under a key: asked for, of the same part, or of a usual name.

    used: the keys of images, and of labels of other images
    """
    path, count = arrays[key].path, arrays[key].shape[0]
    if not columns.labeled:
        return None
    # the images' own key is no label, be it called `data` or `y`
    names = [name for name in arrays if name != key]
    words = (columns.label.lower(),) if columns.label else LABEL_NAMES
    own = [name for name in names if part and part_of_key(name, words) == part]
    asked = columns.label if columns.label in names else None
    fitting = [name for name in names if one_each(arrays[name], count)]
    free = [name for name in names if name not in used]
    guessed = usual(fitting, LABEL_NAMES) or usual(free, LABEL_NAMES)
    name = own[0] if own else asked if columns.label else guessed
    if name is None:
        if columns.label:
            raise InputError(
                f"no array '{columns.label}' in {path}", f"there are {keys_of(arrays)}"
            )
        return None
    stored = arrays[name]
    matrix = len(stored.shape) == 2 and stored.shape[0] == count
    if stored.dtype.kind in "biuUS" and not one_each(stored, count) and not matrix:
        raise of_another_shape(stored, count)
    return stored


def of_another_shape(stored: Stored, count: int) -> InputError:
    """The error that labels are not one an image."""
    return InputError(
        f"{stored.path} has {count} images and labels of shape {stored.shape}",
        "save one label an image, or leave labels out with --label-column none",
    )


def one_each(stored: Stored, count: int) -> bool:
    """Whether an array has the shape of so many labels."""
    return stored.shape in ((count,), (count, 1))


def labels_of(stored: Stored, count: int, columns: Columns, notes: list[Note]) -> list[Any] | None:
    """The labels; None, with a note, where they are neither whole numbers nor names."""
    labels = None
    if stored.dtype.kind in "biufUS" and one_each(stored, count):
        labels = read_labels(stored)
    elif stored.dtype.kind in "biuf" and len(stored.shape) == 2 and stored.shape[0] == count:
        labels = places_of_ones(read_whole(stored))
        if labels is None and stored.dtype.kind != "f":
            raise of_another_shape(stored, count)
    if labels is None:
        if columns.label:
            held = f"{stored.dtype} {stored.shape}, no whole numbers, names or one-hot rows"
            raise InputError(
                f"the labels '{stored.key}' of {stored.path} are {held}",
                "save numbers 0, 1, ... or names",
            )
        values = {"name": printable(stored.key), "type": str(stored.dtype)}
        notes.append(Note("labels_left_out", {**values}))
    else:
        notes.append(labels_from(stored.key, printable(stored.path.name)))
    return labels


def read_whole(stored: Stored) -> np.ndarray:
    """All numbers or texts of an array that is not large."""
    with damage_named(stored.path), stream(stored.path, stored.member) as file:
        file.seek(stored.start)
        if stored.fortran:
            return fill(file, stored.shape[::-1], stored.dtype).T
        return fill(file, stored.shape, stored.dtype)


def read_labels(stored: Stored) -> list[Any] | None:
    """Whole numbers or names, one an image; None where the numbers are not whole."""
    if stored.dtype.kind in "US":
        return [class_of(text) for text in read_texts(stored)]
    values = read_whole(stored).reshape(-1)
    if stored.dtype.kind == "f" and not (np.isfinite(values) & (values == np.floor(values))).all():
        return None
    return [int(value) for value in values.tolist()]


def read_texts(stored: Stored) -> list[str]:
    """The texts of an array of them."""
    values = read_whole(stored).reshape(-1)
    if stored.dtype.kind == "S":
        return [value.decode("utf-8", "replace") for value in values.tolist()]
    texts: list[str] = values.tolist()
    return texts


def class_names(arrays: dict[str, Stored], pieces: list[Piece]) -> Stored | None:
    """The array that names the classes 0..K-1 of labels that are their numbers, if there is one."""
    labels = [label for piece in pieces for label in piece.labels or ()]
    name = usual(arrays, CLASS_NAMES)
    if name is None or not labels or not all(isinstance(label, int) for label in labels):
        return None
    stored = arrays[name]
    fits = stored.dtype.kind in "US" and len(stored.shape) == 1
    enough = fits and min(labels) >= UNLABELED and max(labels) < stored.shape[0]
    return stored if enough else None
