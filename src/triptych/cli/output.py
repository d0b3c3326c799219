"""Where pictures go: one PNG grid, arrays in an .npz, or a folder of PNGs."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from triptych import files, images
from triptych.distributed import speaks
from triptych.errors import InputError


@dataclass(frozen=True)
class Target:
    """A checked output path."""

    path: Path

    def write(self, named: dict[str, Tensor], labels: Tensor | None = None) -> None:
        """Write uint8 images (N,C,H,W), or rows of them (N,points,C,H,W), by name.

        labels: class numbers [N] of conditional models' samples, which an .npz holds too
        Of several processes the first one writes. Raises InputError where the system does not
        let us.
        """
        if not speaks():
            return
        try:
            self._write(named, labels)
        except OSError as error:
            raise InputError(
                f"cannot write {self.path} ({error.strerror})", "name another --out"
            ) from error

    def _write(self, named: dict[str, Tensor], labels: Tensor | None) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.suffix == ".npz":
            arrays = {name: images.to_array(tensor) for name, tensor in named.items()}
            if labels is not None:
                arrays["labels"] = labels.numpy()
            packed = io.BytesIO()
            np.savez_compressed(packed, allow_pickle=False, **arrays)
            files.write_bytes(self.path, packed.getvalue())
        elif self.path.suffix == ".png":
            as_grid(list(named.values())).save(self.path)
        else:
            self.path.mkdir(exist_ok=True)
            for name, tensor in named.items():
                for index, picture in enumerate(tensor):
                    pictures = picture if picture.ndim == 4 else picture[None]
                    columns = len(pictures)
                    file = self.path / f"{name}-{index:05d}.png"
                    images.grid(pictures, columns=columns).save(file)


def as_grid(tensors: list[Tensor]) -> images.Grid:
    """One grid: paths as rows, or rows of the first tensor each above those of the others."""
    if tensors[0].ndim == 5:
        return images.grid(tensors[0].flatten(0, 1), columns=tensors[0].shape[1])
    columns = 8 if len(tensors[0]) <= 64 else 16
    if len(tensors) == 1:
        return images.grid(tensors[0], columns)
    return images.grid(images.interleave(*tensors, columns=columns), columns)


def check(path: Path) -> Target:
    """The target, if it can be written; InputError otherwise, before any work is done."""
    if path.suffix and path.suffix not in (".png", ".npz"):
        raise InputError(f"cannot write {path.suffix} files", "end --out in .png or .npz")
    if path.is_dir():
        if path.suffix or any(path.iterdir()):
            raise InputError(f"{path} is a folder that is not empty", "name another --out")
    elif not path.suffix and path.exists():
        raise InputError(f"{path} is a file", "name a folder, a .png or an .npz")
    parent = next(p for p in path.absolute().parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise InputError(f"cannot write to {parent}", "name another --out")
    return Target(path)
