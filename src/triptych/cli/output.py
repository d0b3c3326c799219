"""Where pictures go: one PNG grid, arrays in an .npz, a folder of PNGs; of points, a CSV file.

Arrays and folders tell the classes of samples too, in the form in which they are read as data.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from triptych import files, images
from triptych.data.sources.layout import KINDS, SUFFIXES, UNREAD, class_of, suffix_of
from triptych.data.sources.metadata import NAME_COLUMN, TABLES
from triptych.distributed import speaks
from triptych.errors import InputError

WRITTEN = (".png", ".npz")
POINTS = ".csv"
# suffixes that name a kind of file, but none that we write; any other ending is a folder's name
OTHERS = (*SUFFIXES, *UNREAD, *KINDS, ".csv", ".gz", ".h5", ".hdf5", ".html", ".json", ".mp4",
          ".pdf", ".pkl", ".pt", ".pth", ".safetensors", ".toml", ".txt")  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A checked output path.

    kind: ".png", ".npz", ".csv" for points, or nothing for a folder
    """

    path: Path
    kind: str

    def write(
        self,
        named: dict[str, Tensor],
        labels: Tensor | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        """Write uint8 images (N,C,H,W), or rows of them (N,points,C,H,W), by name.

        labels:  class numbers [N] of the images under every name, where they have classes
        classes: the names of all classes, by their numbers
        Of several processes the first one writes. Raises InputError where the system does not
        let us.
        """
        self._written(lambda: self._write(named, labels, classes))

    def write_points(self, points: Tensor) -> None:
        """Write points [N,2] in a CSV file, as they are read as data."""
        rows = [("x", "y"), *((f"{x:.12g}", f"{y:.12g}") for x, y in points.tolist())]
        self._written(lambda: files.write_bytes(self.path, as_csv(rows)))

    def _written(self, write: Callable[[], object]) -> None:
        """Write, as the first of several processes, into a folder that is made."""
        if not speaks():
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write()
        except OSError as error:
            raise InputError(
                f"cannot write {self.path} ({error.strerror})", "name another --out"
            ) from error

    def _write(
        self, named: dict[str, Tensor], labels: Tensor | None, classes: Sequence[str]
    ) -> None:
        if self.kind == ".npz":
            arrays = {name: images.to_array(tensor) for name, tensor in named.items()}
            if labels is not None:
                arrays |= {"labels": labels.numpy(), "classes": np.array(classes, dtype=str)}
            packed = io.BytesIO()
            np.savez_compressed(packed, allow_pickle=False, **arrays)
            files.write_bytes(self.path, packed.getvalue())
        elif self.kind == ".png":
            as_grid(list(named.values())).save(self.path)
        else:
            self.path.mkdir(exist_ok=True)
            rows = []
            for name, tensor in named.items():
                for index, picture in enumerate(tensor):
                    pictures = picture if picture.ndim == 4 else picture[None]
                    columns = len(pictures)
                    file = self.path / f"{name}-{index:05d}.png"
                    images.grid(pictures, columns=columns).save(file)
                    if labels is not None:
                        rows.append((file.name, classes[int(labels[index])]))
            if rows:
                files.write_bytes(self.path / TABLES[0], table(rows))


def table(rows: Sequence[tuple[str, str]]) -> bytes:
    """A metadata.csv that names the class of each file."""
    return as_csv([(NAME_COLUMN, "label"), *((file, as_read(name)) for file, name in rows)])


def as_csv(rows: Iterable[Sequence[str]]) -> bytes:
    """Rows of texts as a CSV file."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def as_read(name: str) -> str:
    r"""What is read as a class of this name: reading escapes what cannot be shown.

    >>> as_read("owl"), as_read("a\\\\b"), as_read("a\\nb")
    ('owl', 'a\\b', 'a\nb')
    """
    if "\\" not in name:
        return name
    try:
        plain = name.encode("latin-1", "backslashreplace").decode("unicode_escape")
    except UnicodeDecodeError:
        return name
    return plain if class_of(plain) == name else name


def as_grid(tensors: list[Tensor]) -> images.Grid:
    """One grid: paths as rows, or rows of the first tensor each above those of the others."""
    if tensors[0].ndim == 5:
        return images.grid(tensors[0])
    columns = 8 if len(tensors[0]) <= 64 else 16
    if len(tensors) == 1:
        return images.grid(tensors[0], columns)
    return images.grid(images.interleave(*tensors, columns=columns), columns)


def check(path: Path, points: bool = False) -> Target:
    """The target, if it can be written; InputError otherwise, before any work is done.

    points: whether it may be a CSV file of points
    Only the suffix of a kind of file is one: `samples-t0.8` is a folder.
    """
    kind = suffix_of(path.name)
    written = (*WRITTEN, POINTS) if points else WRITTEN
    if kind in OTHERS and kind not in written:
        raise InputError(
            f"cannot write {kind} files",
            "end --out in .png or .npz, or name a folder without such an ending",
        )
    kind = kind if kind in written else ""
    if path.is_dir():
        if kind or any(path.iterdir()):
            raise InputError(f"{path} is a folder that is not empty", "name another --out")
    elif not kind and path.exists():
        raise InputError(f"{path} is a file", "name a folder, a .png or an .npz")
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"cannot write to {parent}", "name another --out")
    return Target(path, kind)
