"""Images that a user names file by file: all are read, and brought to what a model takes.

Nothing is divided or stored, and a bad file is refused, not skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from triptych import images
from triptych.config import ImageShape
from triptych.data.decode import decode, fit_square, quietly, read_file
from triptych.data.sources import BadImageError, UnreadableError, printable
from triptych.data.sources.folder import explore, other_suffixes
from triptych.data.sources.layout import KINDS, is_image, no_images, suffix_of
from triptych.errors import InputError
from triptych.options import Fit
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


def read_image_files(paths: Sequence[Path], shape: ImageShape, fit: Fit) -> ImageFiles:
    """Image files, in their order; a folder stands for all images in and below it, by name.

    Grey pictures get three equal channels where the shape has three. Where it has one, coloured
    pictures are turned grey, with a note.
    InputError names the first file that is no image that can be read.
    """
    paths = [file for path in paths for file in files_of(path)]
    if not paths:
        raise InputError("no image named", "give image files, or folders of them")
    pictures: list[np.ndarray] = []
    bad: list[tuple[Path, BadImageError]] = []
    colored = 0
    with quietly():
        for path in paths:
            try:
                pixels = decode(read_file(path))
            except BadImageError as error:
                bad.append((path, error))
                continue
            colored += shape.channels == 1 and is_colored(pixels)
            pictures.append(fitted(pixels, shape, fit))
    if bad:
        raise refusal(bad, len(paths))
    return ImageFiles(
        images=images.from_array(np.stack(pictures)),
        names=tuple(printable(str(path)) for path in paths),
        notes=(Note("turned_grey", {"n": colored, "images": len(paths)}),) if colored else (),
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


def fitted(pixels: np.ndarray, shape: ImageShape, fit: Fit) -> np.ndarray:
    """uint8 (H,W) or (H,W,3) -> uint8 (resolution,resolution,channels).

    Grey is Pillow's: 0.299 of red, 0.587 of green and 0.114 of blue, so equal channels keep theirs.
    """
    if shape.channels == 1 and pixels.ndim == 3:
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    square = fit_square(pixels, shape.resolution, fit)
    if square.ndim == 2:
        square = np.stack([square] * shape.channels, axis=-1)
    return square
