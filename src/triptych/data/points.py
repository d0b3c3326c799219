"""Points of the plane from a CSV file, as images of one pixel with two channels.

So everything that takes images takes points. A coordinate is kept as one of 256 values on a square
that both axes share, and the images of points are uint8 [N,2,1,1]: x, then y.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from triptych import files
from triptych.config import POINT
from triptych.data import splits, store
from triptych.data.dataset import ImageData, Part
from triptych.data.ranges import Bounds, converted
from triptych.data.sources import printable
from triptych.data.sources.find import path_of
from triptych.errors import InputError
from triptych.images import LEVELS
from triptych.options import DEFAULT_FIT, ReadingOptions, parse_range
from triptych.records import Note

SUFFIX = ".csv"
AXES = ("x", "y")
NO_AXES = ("", "id", "index", "label", "class")  # first columns: of a table's rows, or of labels
SEPARATORS = (";", "\t", ",")  # between the numbers of a line; else spaces
MARGIN = 0.1  # of the points' extent, left free on each side of them
LEAST, MOST = 20, 1_000_000  # points
MOST_BYTES = 64 << 20
SHAPE = "write one point a line, as 0.5,-1.2"


def is_points(data: str) -> bool:
    """Whether the user's words name a file of points."""
    try:
        return data.lower().endswith(SUFFIX) and files.expanded(data).is_file()
    except (OSError, ValueError):  # a name that no file system takes
        return False


def open_points(
    data: str, options: ReadingOptions, square: Mapping[str, Bounds] | None = None
) -> ImageData:
    """The points of a CSV file; InputError where it holds none.

    The user's range is that of both axes; else a square around all points, with some margin.

    square: the range of each axis by which other points were read, for these to be read by
    """
    refuse_options(options)
    path = path_of(data)
    points, others = read_points(path)
    ranges = given_ranges(options) or dict(square or square_around(points))
    images = np.stack(
        [converted(points[:, axis], ranges[name]) for axis, name in enumerate(AXES)], axis=1
    )
    images = images.reshape(len(points), *POINT.size)
    parts, order = parts_of(points)
    fingerprint = store.Fingerprint()
    for name, array in (("images", images[order]), ("parts", parts[order])):
        fingerprint.begin(name, array.dtype, array.shape)
        fingerprint.add(array)

    notes = notes_on(points, ranges, others)

    def part(name: str) -> Part:
        rows = order[parts[order] == splits.PARTS.index(name)]
        return Part(torch.from_numpy(images[rows]), None)

    return ImageData(
        name=printable(path.stem).strip() or "points",
        source=data,
        path=os.path.realpath(path),
        fingerprint=fingerprint.hexdigest()[: store.FINGERPRINT_DIGITS],
        fit=DEFAULT_FIT,
        classes=None,
        notes=notes,
        train=part("train"),
        validation=part("validation"),
        test=part("test"),
        range=options.range,
        ranges=ranges,
        ingested=ingested(path, points, ranges, notes, fingerprint.hexdigest()),
    )


def refuse_options(options: ReadingOptions) -> None:
    """InputError on options that are for images alone."""
    asked = dict.fromkeys(("resolution", "fit", "image_column", "label_column", "flip", "crop"))
    given = [name for name in asked if getattr(options, name, None)]
    if given:
        option = given[0].replace("_", "-")
        raise InputError(f"--{option} is for images, not for points", "leave it out")


def ingested(
    path: Path,
    points: np.ndarray,
    ranges: Mapping[str, Bounds],
    notes: tuple[Note, ...],
    content: str,
) -> store.Ingested:
    """What was learned of the points while they were read, as of images of one pixel."""
    size, count = (POINT.resolution, POINT.resolution), len(points)
    sizes = store.ImageSizes(
        different=1,
        smallest=size,
        largest=size,
        usual=size,
        of_usual_size=count,
        narrowest=1.0,
        widest=1.0,
    )
    return store.Ingested(
        name=path.stem,
        classes=None,
        files=count,
        bad=(),
        copies=count - len(np.unique(points, axis=0)),
        crossing=0,
        faint=0,
        unread=0,
        sizes=sizes,
        given_parts=(),
        notes=notes,
        ranges=dict(ranges),
        content=content,
    )


def read_points(path: Path) -> tuple[np.ndarray, int]:
    """Two numbers of each line, float64 (N,2), and how many more columns there are.

    They are those of the columns x and y, where a first line without numbers names these, else the
    first two. Lines that begin with # are comments. InputError, with the line, on anything else.
    """
    name = printable(path.name)
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{name} is larger than {MOST_BYTES >> 20} MiB", "give fewer points")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is no text", SHAPE) from error
    numbered = [
        (number, line)
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    typical = "".join(line for _, line in numbered[1:2])  # the first may be names
    separator = next((each for each in SEPARATORS if each in typical), None)
    try:
        rows = [(number, cells_of(line, separator)) for number, line in numbered]
    except csv.Error as error:  # of a cell with an image, say
        raise InputError(f"{name} is no table of points ({error})", SHAPE) from error
    columns = (0, 1)
    if rows and not any(map(is_number, rows[0][1])):
        columns, rows = columns_named(rows[0][1]), rows[1:]
    if not LEAST <= len(rows) <= MOST:
        raise InputError(f"{name} holds {len(rows):,} points", f"give {LEAST} to {MOST:,}")
    points = []
    for number, cells in rows:
        point = numbers_of(cells, columns)
        if point is None:
            raise InputError(f"line {number} of {name} is no point", SHAPE)
        points.append(point)
    if len(set(map(tuple, points))) < LEAST:
        raise InputError(f"{name} holds copies of few points", f"give {LEAST} different ones")
    return np.array(points), max(len(cells) for _, cells in rows) - len(AXES)


def columns_named(names: Sequence[str]) -> tuple[int, int]:
    """Which columns are x and y, by the names of all; the first two where none are called so.

    A first column of another purpose is passed over, where two are left.

    >>> columns_named(["label", "Y", "X"]), columns_named(["", "lon", "lat"])
    ((2, 1), (1, 2))
    >>> columns_named(["ID", "lon", "lat"]), columns_named(["label", "u"])
    ((1, 2), (0, 1))
    """
    lower = [name.lower() for name in names]
    if set(AXES) <= set(lower):
        return lower.index(AXES[0]), lower.index(AXES[1])
    no_axis = lower[0] in NO_AXES and len(names) > len(AXES)
    return (1, 2) if no_axis else (0, 1)


def cells_of(line: str, separator: str | None) -> list[str]:
    """The cells of a line, without quotes and spaces around them.

    A comma inside of a cell is a decimal one, as spreadsheets of some languages write.

    >>> cells_of("1,5; -2", ";"), cells_of('"3,5","4"', ","), cells_of("5  6", None)
    (['1.5', '-2'], ['3.5', '4'], ['5', '6'])
    """
    if separator is None:
        cells = line.split()
    else:
        cells = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    return [cell.strip().strip('"').replace(",", ".") for cell in cells]


def is_number(cell: str) -> bool:
    """Whether a cell is a number, finite or not."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def numbers_of(cells: Sequence[str], columns: tuple[int, int]) -> list[float] | None:
    """The finite numbers of two columns; None where these are none."""
    try:
        numbers = [float(cells[column]) for column in columns]
    except (ValueError, IndexError):
        return None
    return numbers if np.isfinite(numbers).all() else None


def given_ranges(options: ReadingOptions) -> dict[str, Bounds] | None:
    """The range that the user gave, of both axes; None without one."""
    if options.range is None:
        return None
    return dict.fromkeys(AXES, parse_range(options.range))


def square_around(points: np.ndarray) -> dict[str, Bounds]:
    """A square around points (N,2), with a margin; its side is 1 where all are one and the same.

    InputError where doubles do not hold it.
    """
    low, high = points.min(0), points.max(0)
    middle, half = low / 2 + high / 2, float((high / 2 - low / 2).max())
    half = (1 + 2 * MARGIN) * half if half > 0 else 0.5
    square = {
        name: (centre - half, centre + half)
        for name, centre in zip(AXES, middle.tolist(), strict=True)
    }
    if not all(np.isfinite(high - low) and high > low for low, high in square.values()):
        raise InputError("these coordinates are too large", "subtract their mean, or scale them")
    return square


def parts_of(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of each point (N,2), int8 (N,), and an order that is not the file's.

    A point's own numbers decide, so that copies are in one part; two that only round to the same
    values are none. Points often lie sorted in files, and whoever takes the first ones shall get
    any.
    """
    different, inverse = np.unique(points, axis=0, return_inverse=True)
    digests = np.array([np.frombuffer(splits.pixel_digest(row), ">u8") for row in different])
    digests = digests.astype(splits.DIGEST.base)[inverse.reshape(-1)]
    parts = splits.assign(digests, np.full(len(points), splits.NOT_GIVEN, dtype=np.int8))
    seed = int.from_bytes(hashlib.blake2b(points.tobytes(), digest_size=8).digest())
    return parts, np.random.default_rng(seed).permutation(len(points))


def notes_on(points: np.ndarray, ranges: Mapping[str, Bounds], others: int) -> tuple[Note, ...]:
    """How coordinates are kept, and what was cut off or passed over."""
    (left, right), (bottom, top) = (ranges[name] for name in AXES)
    ends = {"left": left, "right": right, "bottom": bottom, "top": top}
    notes = [Note("points_kept", {**ends, "levels": LEVELS, "step": (right - left) / (LEVELS - 1)})]
    outside = ((points < (left, bottom)) | (points > (right, top))).any(1).sum()
    if outside:
        notes.append(Note("points_outside", {"n": int(outside), "of": len(points)}))
    if others > 0:
        notes.append(Note("columns_passed_over", {"n": others}))
    return tuple(notes)


def coordinates(points: Tensor, ranges: Mapping[str, Sequence[float]]) -> Tensor:
    """Points uint8 [N,2,1,1] in the units of their file, float64 [N,2]."""
    low, high = torch.tensor([ranges[name] for name in AXES], dtype=torch.float64).T
    return low + points.flatten(1).double() / (LEVELS - 1) * (high - low)
