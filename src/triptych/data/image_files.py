"""Images that a user names file by file: all are read, and brought to what a model takes.

Nothing is divided or stored, and a bad file is refused, not skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from triptych import images
from triptych.config import ImageShape
from triptych.data import ranges
from triptych.data.decode import quietly, read_pictures
from triptych.data.ingest import Reading, decided
from triptych.data.ranges import Summarizer
from triptych.data.sources import BadImageError, UnreadableError, printable
from triptych.data.sources.folder import explore, other_suffixes
from triptych.data.sources.layout import KINDS, is_image, no_images, suffix_of
from triptych.errors import InputError
from triptych.records import Note


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Images read from files.

    images: uint8 [N,C,H,W]
    names:  of the files, in the same order
    notes:  what was done with them that the user should know
    """

    images: Tensor
    names: tuple[str, ...]
    notes: tuple[Note, ...]


def read_image_files(paths: Sequence[Path], shape: ImageShape, reading: Reading) -> ImageFiles:
    """Image files, in their order; a folder stands for all images in and below it, by name.

    Grey pictures get three equal channels where the shape has three. Where it has one, coloured
    pictures are turned grey, with a note.
    reading: with the ranges that are known; those of other types follow from all the files together
    InputError names the first file that is no image that can be read.
    """
    paths = [file for path in paths for file in files_of(path)]
    if not paths:
        raise InputError("no image named", "give image files, or folders of them")
    numbers = Summarizer(reading.bounds_of)
    opened = read_all(paths, shape, reading, numbers)
    bounds = decided(numbers.summaries, reading)
    if any(bounds[kind] != reading.bounds_of(kind) for kind in bounds):
        reading = replace(reading, bounds=bounds)  # once more, now that all numbers are known
        numbers = Summarizer(reading.bounds_of)
        opened = read_all(paths, shape, reading, numbers)
    more = ranges.notes(numbers.summaries, bounds, reading.given is not None)
    return replace(opened, notes=(*opened.notes, *more))


def read_all(
    paths: Sequence[Path], shape: ImageShape, reading: Reading, numbers: Summarizer
) -> ImageFiles:
    """The images of all files, of a TIFF every page; their numbers are added to `numbers`."""
    squares: list[np.ndarray] = []
    names: list[str] = []
    bad: list[tuple[Path, BadImageError]] = []
    colored = 0
    with quietly():
        for path in paths:
            try:
                pictures = read_pictures(path)
                for page, picture in enumerate(pictures.each):
                    if isinstance(picture, BadImageError):
                        raise picture
                    bounds = numbers.add(picture.pixels, picture.seen)
                    square = picture.square(bounds, reading.resolution, reading.fit)
                    colored += shape.channels == 1 and is_colored(square)
                    squares.append(with_channels(square, shape.channels))
                    own = f"[{page}]" if pictures.total > 1 else ""
                    names.append(printable(str(path)) + own)
            except BadImageError as error:
                bad.append((path, error))
    if bad:
        raise refusal(bad, len(paths))
    return ImageFiles(
        images=images.from_array(np.stack(squares)),
        names=tuple(names),
        notes=(Note("turned_grey", {"n": colored, "images": len(names)}),) if colored else (),
    )


def files_of(path: Path) -> Iterator[Path]:
    """The path itself, or the images in and below a folder, by name."""
    if not path.is_dir():
        yield path
        return
    walked = explore(path)
    for name, reason in walked.unreadable.items():
        closed = printable(str(path / name))
        raise InputError(f"cannot read {closed} ({reason})", "check its permissions")
    names = [file.name for file in walked.files if is_image(file.name)]
    if not names:
        raise no_images(printable(str(path)), other_suffixes(walked), is_folder=True)
    yield from (path / name for name in names)


def refusal(bad: Sequence[tuple[Path, BadImageError]], count: int) -> InputError:
    """The error that names the first bad file of so many."""
    path, error = bad[0]
    name = printable(str(path))
    if len(bad) > 1:
        wrong = f"{len(bad)} of {count} images are bad, first {name}: {error}"
        return InputError(wrong, "mend them or leave them out")
    if isinstance(error, UnreadableError):
        return InputError(f"{name} {error}", "check the path")
    if suffix_of(path.name) in KINDS:
        return InputError(f"{name} is no image but may hold many", "name it by --data")
    return InputError(f"{name} is bad: {error}", "give another image")


def is_colored(pixels: np.ndarray) -> bool:
    """Whether the channels of uint8 (H,W) or (H,W,3) differ anywhere."""
    return pixels.ndim == 3 and bool((pixels != pixels[..., :1]).any())


def with_channels(square: np.ndarray, channels: int) -> np.ndarray:
    """uint8 (H,W) or (H,W,3) -> (H,W,channels).

    Grey is Pillow's: 0.299 of red, 0.587 of green and 0.114 of blue, so equal channels keep theirs.
    """
    if channels == 1 and square.ndim == 3:
        square = np.asarray(Image.fromarray(square).convert("L"))
    return np.stack([square] * channels, axis=-1) if square.ndim == 2 else square
