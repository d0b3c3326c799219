"""IDX, the format of MNIST: gzip around a big-endian header and bytes.

The header is a magic number (8 for uint8, then the number of axes) and the length of each axis,
four bytes each; images are (N,H,W), labels (N,).
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from triptych.data.sources.base import Item, Source
from triptych.errors import InputError

UINT8 = 8
BLOCK = 1024  # images read at a time


def read_idx(images: Path, labels: Path | None) -> Source:
    """The images of one file with the labels of another; InputError when one is damaged."""
    with opened(images) as file:
        count, height, width = header(file, 3, images)
    if 0 in (count, height, width):
        raise InputError(f"no images in {images}", "name a file that holds some")
    numbers = None if labels is None else read_labels(labels)
    if numbers is not None and len(numbers) != count:
        raise InputError(
            f"{images} has {count} images and {labels} {len(numbers)} labels",
            "name two files that belong together",
        )

    def items() -> Iterator[Item]:
        with opened(images) as file:
            header(file, 3, images)
            for start in range(0, count, BLOCK):
                held = min(BLOCK, count - start)
                block = read_exactly(file, held * height * width, images)
                for offset, pixels in enumerate(block.reshape(held, height, width)):
                    index = start + offset
                    label = None if numbers is None else int(numbers[index])
                    yield Item(f"{images.name}[{index}]", pixels, label, None)
            check_end(file, images)

    return Source(items, count)


def read_labels(path: Path) -> np.ndarray:
    """uint8 (N,)."""
    with opened(path) as file:
        (count,) = header(file, 1, path)
        labels = read_exactly(file, count, path)
        check_end(file, path)
    return labels


def header(file: gzip.GzipFile, axes: int, path: Path) -> tuple[int, ...]:
    """The lengths of the axes."""
    start = file.read(4 + 4 * axes)
    if len(start) < 4 + 4 * axes or start[:4] != bytes((0, 0, UINT8, axes)):
        raise InputError(f"{path} is no IDX file of {axes} axes", "fetch it again")
    return struct.unpack(f">{axes}I", start[4:])


def read_exactly(file: gzip.GzipFile, count: int, path: Path) -> np.ndarray:
    """uint8 (count,), writable."""
    data = bytearray(file.read(count))
    if len(data) != count:
        raise InputError(f"{path} is shorter than its header says", "fetch it again")
    return np.frombuffer(data, np.uint8)


def check_end(file: gzip.GzipFile, path: Path) -> None:
    """Reading past the last byte verifies gzip's own checksum, too."""
    if file.read(1):
        raise InputError(f"{path} is longer than its header says", "fetch it again")


@contextmanager
def opened(path: Path) -> Iterator[gzip.GzipFile]:
    """The unpacked bytes; whatever gzip says of damage is an InputError."""
    try:
        with gzip.open(path, "rb") as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is damaged ({error})", "fetch it again") from error
