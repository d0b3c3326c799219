"""Where pictures go: one PNG grid, a film, arrays in an .npz, a folder of PNGs; of points, a CSV.

Arrays and folders tell the classes of samples too, in the form in which they are read as data.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import features
from torch import Tensor

from triptych import files, images
from triptych.console import QUIET, Console
from triptych.data.sources.layout import KINDS, SUFFIXES, UNREAD, class_of, suffix_of
from triptych.data.sources.metadata import NAME_COLUMN, TABLES
from triptych.distributed import speaks
from triptych.errors import InputError
from triptych.options import FILMS, FPS, FilmOptions, PictureOptions

WRITTEN = (".png", ".npz")
POINTS = ".csv"
# suffixes that name a kind of file, but none that we write; any other ending is a folder's name
OTHERS = (*SUFFIXES, *UNREAD, *KINDS, ".csv", ".gz", ".h5", ".hdf5", ".html", ".json", ".mp4",
          ".pdf", ".pkl", ".pt", ".pth", ".safetensors", ".toml", ".txt")  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A checked output path.

    kind:   ".png", ".gif", ".webp", ".npz", ".csv" for points, or nothing for a folder
    scale:  how many times pictures are enlarged
    fps:    frames a second of a film
    frames: whether a folder gets a picture of each moment, not one of each path
    """

    path: Path
    kind: str
    scale: int = 1
    fps: float = FPS
    frames: bool = False

    def check_room(self, shape: Sequence[int], bands: int = 1, back: bool = True) -> None:
        """InputError where pictures of images to come would be too large.

        shape: (N,C,H,W), or (N,points,C,H,W) of paths
        bands: how many such tensors stand in one picture
        back:  whether a film returns the way it came
        A grid that is not enlarged may be of any size.
        """
        moments = max(1, shape[1]) if len(shape) == 5 else 1
        count = max(1, shape[0])
        if self.kind in FILMS or self.frames:
            size = images.grid_size((count, *shape[-3:]), images.columns_for(count))
            frames = (max(1, 2 * moments - 2) if back else moments) if self.kind in FILMS else 1
        elif self.scale == 1 or self.kind in (".npz", POINTS):
            return
        else:
            columns = moments if len(shape) == 5 else images.columns_for(count)
            together = count * bands if self.kind == ".png" else 1  # a folder has one a file
            size = images.grid_size((together * moments, *shape[-3:]), columns)
            frames = 1
        images.check_size(*size, self.scale, frames, self.kind)

    def write(
        self,
        named: dict[str, Tensor],
        labels: Tensor | None = None,
        classes: Sequence[str] = (),
        back: bool = True,
        console: Console = QUIET,
    ) -> None:
        """Write uint8 images (N,C,H,W), or rows of them (N,points,C,H,W), by name.

        labels:  class numbers [N] of the images under every name, where they have classes
        classes: the names of all classes, by their numbers
        back:    whether a film of them returns the way it came
        Of several processes the first one writes. Raises InputError where the system does not
        let us.
        """
        if self.kind in FILMS or self.frames:
            [rows] = named.values()
            self.write_film(images.film(rows, back=back), console)
        else:
            self._written(lambda: self._write(named, labels, classes))

    def write_film(self, film: images.Film, console: Console = QUIET) -> None:
        """Write a film into a .gif or .webp, or its frames into a folder."""
        if not self.kind:
            self._written(lambda: film.save_frames(self.path, self.scale))
            return
        with console.bar("  writing", len(film)) as bar:
            self._written(lambda: film.save(self.path, self.scale, self.fps, bar.update))

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
            as_grid(list(named.values())).save(self.path, self.scale)
        else:
            self.path.mkdir(exist_ok=True)
            rows = []
            for name, tensor in named.items():
                for index, picture in enumerate(tensor):
                    pictures = picture if picture.ndim == 4 else picture[None]
                    columns = len(pictures)
                    file = self.path / f"{name}-{index:05d}.png"
                    images.grid(pictures, columns=columns).save(file, self.scale)
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
    columns = images.columns_for(len(tensors[0]))
    if len(tensors) == 1:
        return images.grid(tensors[0], columns)
    return images.grid(images.interleave(*tensors, columns=columns), columns)


def check(
    path: Path,
    asked: PictureOptions | None = None,
    *,
    points: bool = False,
    moving: bool = False,
) -> Target:
    """The target, if it can be written; InputError otherwise, before any work is done.

    points: whether it may be a CSV file of points
    moving: whether it may be a film
    Only the suffix of a kind of file is one: `samples-t0.8` is a folder.
    """
    kind = suffix_of(path.name)
    written = (*WRITTEN, *(FILMS if moving else ()), *((POINTS,) if points else ()))
    if kind in OTHERS and kind not in written:
        pictures = ".png, .gif, .webp or .npz" if moving else ".png or .npz"
        raise InputError(
            f"cannot write {kind} files",
            f"end --out in {pictures}, or name a folder without such an ending",
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
    target = Target(path, kind)
    if asked is not None:
        target = replace(target, scale=asked.scale)
        if asked.scale > 1 and kind in (".npz", POINTS):
            raise InputError(f"a {kind} file holds no enlarged images", "leave out --scale")
    if isinstance(asked, FilmOptions):
        target = with_film(target, asked, moving)
    return target


def check_folder(path: Path) -> None:
    """InputError on a path for a folder that ends as a kind of file does."""
    kind = suffix_of(path.name)
    if kind in OTHERS:
        raise InputError(f"--out is a folder, and {path} ends as a {kind} file", "name a folder")


def with_film(target: Target, asked: FilmOptions, moving: bool) -> Target:
    """The target with what is asked of a film; InputError where it will be none."""
    if asked.fps is not None and target.kind not in FILMS:
        raise InputError("--fps is for a .gif or .webp", "leave it out, or end --out in one")
    if asked.frames and (target.kind or not moving):
        wrong = "--frames is for a folder of what moves"
        raise InputError(wrong, "leave it out" if target.kind else "leave out --frames")
    if target.kind == ".webp" and not features.check("webp"):
        raise InputError("the installed Pillow writes no .webp files", "end --out in .gif")
    return replace(target, fps=asked.fps or FPS, frames=asked.frames)
