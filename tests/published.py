"""Files in the formats of the named sets, and the images that come out of them."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

from triptych.data.sources import Item, Source


def pixels(count: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Noise that tells apart rows, columns, channels and images: uint8 (N,...)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def labels_for(count: int, seed: int = 0) -> np.ndarray:
    """0..9 in any order, every class there."""
    return np.random.default_rng(seed).permutation(np.arange(count) % 10)


def matlab_bytes(**arrays: Any) -> bytes:
    """A compressed .mat, the same every second: SciPy writes the time at its start."""
    buffer = io.BytesIO()
    savemat(buffer, arrays, do_compression=True)
    return b"MATLAB 5.0 MAT-file".ljust(116) + buffer.getvalue()[116:]


def svhn_bytes(images: np.ndarray, labels: np.ndarray) -> bytes:
    """As published: X (H,W,C,N), y (N,1) where 10 is the digit 0."""
    ones = np.where(labels == 0, 10, labels).astype(np.uint8)
    return matlab_bytes(X=np.moveaxis(images, 0, -1), y=ones[:, None])


def idx_bytes(array: np.ndarray) -> bytes:
    """A gzipped IDX file."""
    lengths = struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(bytes((0, 0, 8, array.ndim)) + lengths + array.astype(np.uint8).tobytes())


def cifar_bytes(batches: dict[str, tuple[np.ndarray, np.ndarray]]) -> bytes:
    """The archive, with the other files that it holds."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:

        def add(name: str, content: bytes) -> None:
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

        add("batches.meta.txt", b"airplane\n")
        for name, (images, labels) in batches.items():
            planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
            add(name, np.hstack([labels[:, None].astype(np.uint8), planes]).tobytes())
        add("readme.html", b"<html>")
    return buffer.getvalue()


def listed(source: Source) -> list[Item]:
    """All items, as many as were promised; the stream can be started again."""
    items = list(source.items())
    assert len(items) == source.count
    for first, second in zip(items, source.items(), strict=True):
        assert first.name == second.name
        assert np.array_equal(array(first), array(second))
    return items


def array(item: Item) -> np.ndarray:
    """Its pixels."""
    assert isinstance(item.content, np.ndarray)
    assert item.content.dtype == np.uint8
    return item.content


def assert_same(
    items: list[Item], images: np.ndarray, labels: np.ndarray | None, part: str | None
) -> None:
    """Pixel by pixel, in order."""
    assert len(items) == len(images)
    for index, item in enumerate(items):
        assert np.array_equal(array(item), images[index])
        assert item.label == (None if labels is None else int(labels[index]))
        assert item.part == part
        assert item.name.endswith(f"[{index}]")


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
