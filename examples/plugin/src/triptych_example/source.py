"""Images of an IDX file of bytes with three axes, as MNIST's own files are, without labels.

The first four bytes are 0, 0, 8 (unsigned bytes) and 3 (axes); three big-endian numbers of four
bytes follow, the count, the height and the width; then the pixels, row by row.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from triptych.data.sources import Columns, Item, Source, as_input_error

MAGIC = bytes([0, 0, 8, 3])
HEADER = 16  # bytes


def read(path: Path, columns: Columns) -> Source:
    """The images of a file as undecoded items; InputError where it is not of this format."""
    with as_input_error(path, "is no IDX file of images", "name another file"):
        with path.open("rb") as file:
            header = file.read(HEADER)
        if header[:4] != MAGIC or len(header) < HEADER:
            raise ValueError("its first bytes are of another format")
        count, height, width = map(int, np.frombuffer(header, ">u4", offset=4))
        if path.stat().st_size != HEADER + count * height * width:
            raise ValueError(f"it should hold {count} images of {width} x {height}")

    def items() -> Iterator[Item]:
        pixels = np.memmap(path, np.uint8, "r", HEADER, (count, height, width))
        for number, image in enumerate(pixels):
            yield Item(f"image {number}", np.array(image), label=None, part=None)

    return Source(items, count)
