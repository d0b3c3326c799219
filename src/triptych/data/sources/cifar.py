"""CIFAR-10, the binary version: a tar of six files of records, read without unpacking.

A record is one byte of label and 3072 of pixels: 32x32 of red, then green, then blue.
Source: https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np

from triptych.data.sources.base import Item, PartName, Source
from triptych.errors import InputError

SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE
CLASSES = 10
CHUNK = 1 << 20  # bytes
BATCH = re.compile(r"data_batch_[1-5]\.bin|test_batch\.bin")


def read_cifar(path: Path, labelled: bool) -> Source:
    """Both parts, in the archive's order; InputError when it is damaged."""
    with opened(path) as archive:
        count = sum(member.size // RECORD for member in batches(archive, path))
    if count == 0:
        raise InputError(f"no images in {path}", "fetch it again")

    def items() -> Iterator[Item]:
        with opened(path) as archive:
            for member in batches(archive, path):
                name = PurePosixPath(member.name).name
                part: PartName = "test" if name.startswith("test") else "train"
                for index, (label, pixels) in enumerate(records(archive, member, path)):
                    yield Item(f"{name}[{index}]", pixels, label if labelled else None, part)

    return Source(items, count)


@contextmanager
def opened(path: Path) -> Iterator[tarfile.TarFile]:
    """The archive as a stream; whatever it says of damage is an InputError."""
    try:
        # Unpacked by gzip, since tarfile's own streams ignore the checksum at the end.
        with gzip.open(path) as file, tarfile.open(fileobj=file, mode="r|") as archive:
            yield archive
            while file.read(CHUNK):
                pass
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise damaged(path, str(error)) from error


def batches(archive: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    """The members that hold images, each to be read before the next is asked for."""
    for member in archive:
        if member.isreg() and BATCH.fullmatch(PurePosixPath(member.name).name):
            if member.size % RECORD:
                raise damaged(path, f"{member.name} has half a record")
            yield member


def records(
    archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path
) -> Iterator[tuple[int, np.ndarray]]:
    """Labels and pixels uint8 (H,W,3) of one member."""
    file = archive.extractfile(member)
    data = file.read() if file is not None else b""
    if len(data) != member.size:
        raise damaged(path, f"{member.name} is cut")
    table = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    if table.size and table[:, 0].max() >= CLASSES:
        raise damaged(path, f"{member.name} has a label above {CLASSES - 1}")
    planes = table[:, 1:].reshape(-1, 3, SIDE, SIDE)
    for label, image in zip(table[:, 0].tolist(), planes, strict=True):
        yield label, np.ascontiguousarray(image.transpose(1, 2, 0))


def damaged(path: Path, why: str) -> InputError:
    """What to raise."""
    return InputError(f"{path} is damaged ({why})", "fetch it again")
