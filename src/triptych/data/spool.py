"""Prepared images on their way into the store: appended as they come, then written in order.

Only digests, sizes and labels are in memory; pixels wait in a file until every image's part and
the set's number of channels are known.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from triptych.data import splits, store
from triptych.data.prepare import Prepared

CHUNK_BYTES = 1 << 24  # written at a time


class Spool:
    """A growing file of images, one plane for grey ones and three for coloured ones."""

    def __init__(self, path: Path, resolution: int) -> None:
        self.path = path
        self.resolution = resolution
        self._file: BinaryIO = path.open("w+b", buffering=0)
        self._channels: list[np.ndarray] = []
        self._digests: list[np.ndarray] = []

    def append(self, prepared: Prepared) -> np.ndarray:
        """Keep the good images of a block; returns which they are, bool (n,)."""
        if self._file.write(prepared.pixels.data) != prepared.pixels.nbytes:  # no room for the rest
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        good = prepared.channels > 0
        self._channels.append(prepared.channels[good])
        self._digests.append(prepared.digests[good])
        return good

    @property
    def channels(self) -> np.ndarray:
        """1 or 3 of every image, int8 (N,)."""
        return np.concatenate([*self._channels, np.empty(0, np.int8)])

    @property
    def digests(self) -> np.ndarray:
        """Of every image at full size, big-endian uint64 (N,2)."""
        return np.concatenate([*self._digests, np.empty(0, splits.DIGEST)])

    def chunks(self, order: np.ndarray) -> Iterator[np.ndarray]:
        """The images named by `order`, uint8 (n,C,H,W) at a time; C is 1 where all are grey."""
        channels = self.channels.astype(np.int64)
        plane = self.resolution**2
        offsets = (np.cumsum(channels) - channels) * plane
        most = int(channels[order].max(initial=1))
        rows = max(1, CHUNK_BYTES // (most * plane))
        for start in range(0, len(order), rows):
            chosen = order[start : start + rows]
            chunk = np.empty((len(chosen), most, self.resolution, self.resolution), np.uint8)
            for image, offset, own in zip(
                chunk, offsets[chosen].tolist(), channels[chosen].tolist(), strict=True
            ):
                self._file.seek(offset)
                size = self._file.readinto(image[:own])  # type: ignore[attr-defined] # unbuffered
                if size != own * plane:
                    raise OSError(errno.EIO, "it ends too early", str(self.path))
                image[own:] = image[:1]
            yield chunk

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)


def write_arrays(
    folder: Path, spool: Spool, order: np.ndarray, labels: np.ndarray, parts: np.ndarray
) -> str:
    """Write images.npy, labels.npy and parts.npy in that order; returns their fingerprint.

    order: places in the spool; labels int64 and parts int8 go with it, (N,) each
    """
    fingerprint = store.Fingerprint()
    most = int(spool.channels[order].max(initial=1))
    shape = (len(order), most, spool.resolution, spool.resolution)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    fingerprint.begin("images", np.dtype(np.uint8), shape)
    with (folder / "images.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for chunk in spool.chunks(order):
            file.write(chunk.data)
            fingerprint.add(chunk)
    for name, array in (("labels", labels), ("parts", parts)):
        np.save(folder / f"{name}.npy", array)
        fingerprint.begin(name, array.dtype, array.shape)
        fingerprint.add(array)
    return fingerprint.hexdigest()
