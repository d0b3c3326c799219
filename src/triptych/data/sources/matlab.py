"""MATLAB files (.mat, up to version 7) as SVHN uses them: images X and labels y.

X is (H,W,C,N) or (H,W,N) of any type of numbers, y holds N whole numbers or names. MATLAB counts
from one, so SVHN's labels run from 1 to 10, and 10 is the digit 0. Users of SciPy save (N,H,W),
which is told by its last two axes.
Source: http://ufldl.stanford.edu/housenumbers
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from triptych.data.sources import Columns, Item, Source, as_input_error, printable, refused
from triptych.data.sources.layout import (
    IMAGE_NAMES,
    LABEL_NAMES,
    class_of,
    places_of_ones,
    usual,
)
from triptych.data.sources.metadata import labels_from
from triptych.errors import InputError
from triptych.records import Note

DIGITS = tuple(str(digit) for digit in range(10))
LOGICAL = "logical"
NUMBERS = {  # types of MATLAB; doubles that are whole may be stored as whole numbers
    LOGICAL, "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
    "single", "double",
}  # fmt: skip
BLOCK = 256  # images turned to (N,H,W,C) at a time
AS_SVHN = Note("read_as_svhn")
Shape = tuple[int, ...]
Variables = dict[str, tuple[Shape, str]]  # shape and type of each array
DAMAGED = ("is damaged", "write or fetch it again")
DENSEST = 1032  # zlib packs no tighter, so a file that promises more is damaged


def read_matlab(path: Path, columns: Columns, digits: bool | None = None) -> Source:
    """The images of a file; `digits` says that the labels are SVHN's, None finds out.

    One array is in memory while the items are read. InputError when there are no images.
    """
    shapes = variables(path)
    fitting = [name for name in shapes if holds_images(*shapes[name])]
    image_name = pick(path, shapes, columns.image, fitting, IMAGE_NAMES)
    if image_name is None and len(fitting) == 1:
        (image_name,) = fitting
    if image_name is None:
        raise InputError(
            f"no images in {path}", f"name one of its arrays: {', '.join(shapes) or 'it has none'}"
        )
    shape = check_images(path, image_name, *shapes[image_name])
    others = {name: variable for name, variable in shapes.items() if name != image_name}
    first = comes_first(shape, [math.prod(other) for other, _ in others.values()])
    count = shape[0 if first else -1]
    labels, classes = None, None
    notes: list[Note] = []
    if first:
        written = " × ".join(map(str, shape))
        values = {"name": printable(image_name), "shape": written}
        notes.append(Note("images_first", {**values, "n": count}))
    if columns.labeled:
        fitting = [name for name in others if math.prod(others[name][0]) == count]
        name = pick(path, others, columns.label, fitting, LABEL_NAMES)
        if name is not None:
            labels = read_labels(path, name, count)
            notes.append(labels_from(name, printable(path.name)))
    if isinstance(labels, np.ndarray) and (digits or (digits is None and is_svhn(labels))):
        labels, classes = labels % 10, DIGITS
    labels = labels.tolist() if isinstance(labels, np.ndarray) else labels

    def items() -> Iterator[Item]:
        images = load(path, image_name)
        if images.shape != shape or images.dtype.kind not in "biuf":
            raise damaged(path, f"{image_name} is not what its header says")
        images = np.moveaxis(images, 0, -1) if first else images
        for start in range(0, count, BLOCK):
            block = np.ascontiguousarray(np.moveaxis(images[..., start : start + BLOCK], -1, 0))
            block = block.astype(block.dtype.newbyteorder("="), copy=False)
            if shapes[image_name][1] == LOGICAL:
                block = (block != 0) * np.uint8(255)
            for index, pixels in enumerate(block, start):
                label = None if labels is None else labels[index]
                squeezed = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
                yield Item(f"{printable(path.name)}[{index}]", squeezed, label, None)

    if classes and digits is None:
        notes.append(AS_SVHN)
    return Source(items, count, classes, tuple(notes) if digits is None else ())


def variables(path: Path) -> Variables:
    """Shape and type of every array, from the headers alone."""
    from scipy.io import whosmat

    with guarded(path):
        return {name: (tuple(shape), kind) for name, shape, kind in whosmat(str(path))}


def load(path: Path, name: str) -> np.ndarray:
    """One array."""
    from scipy.io import loadmat

    with guarded(path):
        return np.asarray(loadmat(str(path), variable_names=[name])[name])


def pick(
    path: Path, shapes: Variables, asked: str | None, fitting: list[str], wanted: tuple[str, ...]
) -> str | None:
    """The array that the user named, else one of a usual name; fitting ones go first."""
    if asked is not None and asked not in shapes:
        raise InputError(f"no array '{asked}' in {path}", f"there are {', '.join(shapes)}")
    return asked or usual(fitting, wanted) or usual(shapes, wanted)


def holds_images(shape: Shape, kind: str) -> bool:
    """Whether an array has the axes and the type of images."""
    return kind in NUMBERS and (len(shape) == 3 or (len(shape) == 4 and shape[2] in (1, 3)))


def comes_first(shape: Shape, sizes: list[int]) -> bool:
    """Whether an array is (N,H,W): only its last two axes are equal, and no labels say otherwise.

    sizes: of the file's other arrays
    """
    square = len(shape) == 3 and shape[1] == shape[2] != shape[0]
    return square and (shape[0] in sizes or shape[-1] not in sizes)


def check_images(path: Path, name: str, shape: Shape, kind: str) -> Shape:
    """The shape, if these are images."""
    if not holds_images(shape, kind):
        raise InputError(
            f"{name} in {path} is {kind} of shape {shape}", "save numbers (H,W,C,N) or (H,W,N)"
        )
    size = math.prod(shape)
    if size == 0:
        raise InputError(f"no images in {path}", "name a file that holds some")
    with guarded(path):
        stored = path.stat().st_size
    if size > DENSEST * stored:
        raise damaged(path, f"{name} cannot have shape {shape} in so small a file")
    return shape


def read_labels(path: Path, name: str, count: int) -> np.ndarray | list[str | None]:
    """Whole numbers (N,), or N names, which MATLAB keeps as cells or as rows of letters.

    Of a one-hot matrix, (N,K) or (K,N), the places of the ones.
    """
    labels = load(path, name)
    if labels.ndim == 2 and min(labels.shape) > 1 and labels.dtype.kind in "biuf":
        rows = labels if labels.shape[0] == count else labels.T
        places = places_of_ones(rows) if len(rows) == count else None
        if places is not None:
            return np.array(places)
    if labels.size != count:
        raise InputError(
            f"{path} has {count} images and {name} of shape {labels.shape}",
            "save one label an image, or leave them out with --label-column none",
        )
    texts = [cell_text(cell) for cell in labels.reshape(-1)] if labels.dtype.kind in "UO" else []
    if texts and None not in texts:
        return [class_of(text or "") for text in texts]
    whole = labels.dtype.kind in "iu" or (
        labels.dtype.kind == "f" and bool((labels == np.round(labels)).all())
    )
    if not whole or not np.isfinite(labels).all():
        raise InputError(
            f"{name} in {path} holds no whole numbers or names",
            "save numbers or names, or leave them out with --label-column none",
        )
    return labels.reshape(-1).astype(np.int64)


def cell_text(cell: object) -> str | None:
    """The text of a cell, which is an array of it, or of none where it is empty; else None."""
    if isinstance(cell, np.ndarray) and cell.dtype.kind == "U" and cell.size < 2:
        return str(cell.item()) if cell.size else ""
    return str(cell) if isinstance(cell, str) else None


def is_svhn(labels: np.ndarray) -> bool:
    """Whether they run from 1 to 10."""
    return bool(labels.min() == 1 and labels.max() == 10)


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Inside, whatever SciPy raises becomes an InputError, and its warnings are silenced."""
    with as_input_error(path, *DAMAGED), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except NotImplementedError as error:  # what SciPy says of version 7.3, which is HDF5
            raise InputError(
                f"{path} is in MATLAB's format 7.3", "save it again with save(..., '-v7')"
            ) from error


def damaged(path: Path, why: str) -> InputError:
    """The InputError for a damaged file."""
    return refused(path, ValueError(why), *DAMAGED)
