"""Where images come from: a stream of items, each still undecoded, with label and part.

A reader is a function path -> Source. It opens nothing but that path and keeps the order of
the files' names, so that the same data give the same stream everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from triptych.data.decode import SUFFIXES
from triptych.errors import InputError

PartName = Literal["train", "validation", "test"]
PART_NAMES: dict[str, PartName] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Item:
    """One image before decoding.

    content: the file's bytes, or pixels uint8 (H,W) or (H,W,C)
    label:   its class, by name or number, or None
    part:    the part its source puts it in, or None
    """

    name: str
    content: bytes | np.ndarray
    label: str | int | None
    part: PartName | None


@dataclass(frozen=True)
class Source:
    """A stream of items that can be started again, its length and its class names if known."""

    items: Callable[[], Iterator[Item]]
    count: int
    classes: tuple[str, ...] | None = None


def read(path: Path, image_column: str | None = None, label_column: str | None = None) -> Source:
    """The source at a path; InputError when there is nothing to read."""
    if not path.exists():
        raise InputError(f"no file or folder {path}", "check the path")
    if path.is_dir():
        if parquet_files(path):
            return read_parquet(path, image_column, label_column)
        return read_folder(path, label_column != "none")
    if path.suffix == ".parquet":
        return read_parquet(path, image_column, label_column)
    if path.suffix in (".npz", ".npy"):
        return read_arrays(path, label_column != "none")
    raise InputError(
        f"cannot read {path.name}", "give a folder of images, a .parquet, .npz or .npy file"
    )


def read_folder(folder: Path, with_labels: bool = True) -> Source:
    """Images in a folder; sub-folders are parts (train, test, validation) and then classes."""
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not hidden(path, folder)
    )
    if not paths:
        raise InputError(
            f"no images in {folder}", f"put {', '.join(SUFFIXES[:4])} files there or name another"
        )

    def place(path: Path) -> tuple[PartName | None, str | None]:
        folders = list(path.relative_to(folder).parts[:-1])
        part = PART_NAMES.get(folders[0].lower()) if folders else None
        inner = folders[1:] if part else folders
        return part, inner[-1] if inner else None

    labels = {place(path)[1] for path in paths}
    labelled = with_labels and None not in labels  # one image outside class folders: no classes

    def items() -> Iterator[Item]:
        for path in paths:
            part, label = place(path)
            name = path.relative_to(folder).as_posix()
            try:
                content = path.read_bytes()
            except OSError as error:
                raise InputError(
                    f"cannot read {path} ({error.strerror})", "mend or remove it"
                ) from error
            yield Item(name, content, label if labelled else None, part)

    return Source(items, len(paths))


def hidden(path: Path, folder: Path) -> bool:
    """Whether the path lies in or is something that starts with a dot."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def read_arrays(path: Path, with_labels: bool = True) -> Source:
    """`.npy`, or `.npz` with `images` (or its only stack of images) and `labels` if any."""
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = {"images": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except Exception as error:  # zipfile, zlib and numpy each raise their own
        raise InputError(f"{path} is damaged ({error})", "write it again with numpy") from error
    stacks = {name: a for name, a in arrays.items() if a.ndim in (3, 4) and a.dtype == np.uint8}
    images = stacks.get("images", next(iter(stacks.values()), None))
    if images is None or images.size == 0:
        raise InputError(
            f"no images in {path}", "save uint8 arrays (N,H,W), (N,H,W,C) or (N,C,H,W)"
        )
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
        images = np.moveaxis(images, 1, -1)
    if images.ndim == 4 and images.shape[3] not in (1, 3):
        raise InputError(f"{path} has {images.shape[3]} channels", "save one or three")
    labels = arrays.get("labels", arrays.get("y")) if with_labels else None
    if labels is not None and labels.shape != (len(images),):
        raise InputError(
            f"{path} has {len(images)} images and labels of shape {labels.shape}",
            "save one label an image",
        )

    def items() -> Iterator[Item]:
        for index, image in enumerate(images):
            label = None if labels is None else labels[index].item()
            squeezed = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
            yield Item(f"{path.name}[{index}]", squeezed, label, None)

    return Source(items, len(images))


def parquet_files(path: Path) -> list[Path]:
    """The parquet files at or below a path, sorted."""
    return [path] if path.is_file() else sorted(path.rglob("*.parquet"))


def read_parquet(path: Path, image_column: str | None, label_column: str | None) -> Source:
    """Parquet as the Hub writes it: images as bytes or {bytes, path}, labels as numbers."""
    import pyarrow.parquet as pq

    files = parquet_files(path)
    try:
        opened = [pq.ParquetFile(file) for file in files]
    except Exception as error:  # pyarrow raises its own kinds and OSError
        raise InputError(f"{path} is no readable parquet ({error})", "fetch it again") from error
    schema = opened[0].schema_arrow
    image_name = pick_column(schema.names, image_column, ("image", "img", "images", "bytes"), path)
    label_name = None
    if label_column != "none":
        label_name = pick_column(
            schema.names, label_column, ("label", "labels", "fine_label"), path, needed=False
        )
    count = sum(file.metadata.num_rows for file in opened)
    if count == 0:
        raise InputError(f"no images in {path}", "name a file that holds some")
    several = len({part_of_file(file) for file in files}) > 1

    def items() -> Iterator[Item]:
        for file, parquet in zip(files, opened, strict=True):
            part = part_of_file(file) if several else None
            yield from parquet_items(parquet, path, file.name, image_name, label_name, part)

    return Source(items, count, class_names(schema, label_name))


def parquet_items(
    parquet: Any,
    path: Path,
    name: str,
    image_name: str,
    label_name: str | None,
    part: PartName | None,
) -> Iterator[Item]:
    """The rows of one file."""
    columns = [image_name] + ([label_name] if label_name else [])
    row = 0
    try:
        for batch in parquet.iter_batches(batch_size=1024, columns=columns):
            images = batch.column(0).to_pylist()
            labels = batch.column(1).to_pylist() if label_name else [None] * len(images)
            for image, label in zip(images, labels, strict=True):
                content = image.get("bytes") if isinstance(image, dict) else image
                if not isinstance(content, bytes | None):
                    raise InputError(
                        f"column '{image_name}' of {path} holds no images",
                        "name another with --image-column",
                    )
                yield Item(f"{name}[{row}]", content or b"", label, part)
                row += 1
    except InputError:
        raise
    except Exception as error:  # pyarrow raises its own kinds and OSError
        raise InputError(f"{path} is damaged ({error})", "fetch it again") from error


def part_of_file(file: Path) -> PartName | None:
    """`test-00000-of-00001.parquet` is of the test part."""
    return PART_NAMES.get(file.stem.split("-")[0].lower())


def pick_column(
    names: list[str],
    asked: str | None,
    usual: tuple[str, ...],
    path: Path,
    needed: bool = True,
) -> str:
    """The column the user asked for, else the first usual one; empty if none is needed."""
    if asked is not None:
        if asked not in names:
            raise InputError(f"no column '{asked}' in {path}", f"there are {', '.join(names)}")
        return asked
    found = next((name for name in usual if name in names), None)
    if found is None and needed:
        raise InputError(
            f"no image column in {path}", f"name one with --image-column: {', '.join(names)}"
        )
    return found or ""


def class_names(schema: Any, label_name: str | None) -> tuple[str, ...] | None:
    """Class names from the metadata that the Hub writes, if they are there."""
    metadata = (schema.metadata or {}).get(b"huggingface")
    if not metadata or not label_name:
        return None
    try:
        features = json.loads(metadata)["info"]["features"]
        return tuple(features[label_name]["names"])
    except (KeyError, TypeError, ValueError):
        return None
