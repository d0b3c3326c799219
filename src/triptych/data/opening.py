"""From what the user wrote after `--data` to images in three parts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from triptych.data import sources, splits, store, street_digits
from triptych.data.dataset import ImageData, Part
from triptych.data.decode import FITS, BadImageError, Fit, decode, fit_square, quietly
from triptych.data.sources import Item, Source
from triptych.errors import InputError

VERSION = 2  # raised whenever the same source would give other pixels or parts
RESOLUTIONS = (16, 32, 64, 128)
LEAST_IMAGES = 20  # below, no part holds enough to mean anything
STREET_DIGITS_COUNTS: dict[street_digits.Split, int] = {"train": 20_000, "test": 4_000}
BLOCK = 1024  # items decoded together

Progress = Callable[[int, int], None]  # done, of how many


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How to read a source."""

    resolution: int = 32
    fit: Fit = "stretch"
    strict: bool = False
    image_column: str | None = None
    label_column: str | None = None

    def __post_init__(self) -> None:
        if self.resolution not in RESOLUTIONS:
            known = ", ".join(map(str, RESOLUTIONS))
            raise InputError(f"no resolution {self.resolution}", f"choose from {known}")
        if self.fit not in FITS:
            raise InputError(f"no fit '{self.fit}'", f"choose from {', '.join(FITS)}")


def open_images(
    data: str = "street-digits",
    options: DataOptions | None = None,
    progress: Progress | None = None,
) -> ImageData:
    """Images of a named set or a path, decoded once and kept in the user's cache.

    Raises InputError when there is nothing to read, too little, or one class only.
    """
    options = options or DataOptions()
    identity = identify(data, options)
    key = store.entry_key(identity)
    entry = store.load(key)
    if entry is None:
        arrays, facts = prepare(data, options, progress or (lambda done, count: None))
        facts["fingerprint"] = store.fingerprint(arrays)
        store.save(key, arrays, facts)
        entry = store.load(key) or (arrays, facts)
    arrays, facts = entry
    return assemble(data, options, arrays, facts)


def identify(data: str, options: DataOptions) -> dict[str, Any]:
    """Everything that the prepared pixels depend on."""
    common = {"version": VERSION, "resolution": options.resolution, "fit": options.fit}
    if data == "street-digits":
        return common | {"source": data, "drawing": street_digits.VERSION}
    path = Path(data).expanduser()
    if not data.strip() or not path.exists():
        raise InputError(
            f"no data '{data}'", "name street-digits, a folder of images, a .parquet or a .npz file"
        )
    digest = hashlib.blake2b(digest_size=16)
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if not file.exists():
            continue  # a link to nothing
        stat = file.stat()
        digest.update(f"{file.relative_to(path)}|{stat.st_size}|{stat.st_mtime_ns}\n".encode())
    return common | {
        "source": str(path.resolve()),
        "files": digest.hexdigest(),
        "columns": [options.image_column, options.label_column],
        "strict": options.strict,
    }


def prepare(
    data: str, options: DataOptions, progress: Progress
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays `images` (N,C,H,W), `labels` and `parts` (N,), and facts about them."""
    if data == "street-digits":
        return draw_street_digits(options, progress)
    path = Path(data).expanduser()
    source = sources.read(path, options.image_column, options.label_column)
    return gather(source, options, progress, name=data_name(path))


def data_name(path: Path) -> str:
    """The file's or folder's name; the folder's for names like train-00000-of-00001.parquet."""
    path = path.resolve()
    if sources.part_of_file(path):
        return path.parent.name
    return path.name if path.is_dir() else path.stem


def draw_street_digits(
    options: DataOptions, progress: Progress
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The embedded set; a test part of its own, validation from the training part."""
    total = sum(STREET_DIGITS_COUNTS.values())
    drawn, before = [], 0
    for split, count in STREET_DIGITS_COUNTS.items():

        def report(done: int, start: int = before) -> None:
            progress(start + done, total)

        drawn.append(street_digits.draw_many(split, count, progress=report))
        before += count
    images = np.concatenate([pair[0] for pair in drawn])
    if options.resolution != images.shape[-1]:
        resized = [
            fit_square(np.moveaxis(image, 0, -1), options.resolution, options.fit)
            for image in images
        ]
        images = np.moveaxis(np.stack(resized), -1, 1)
    given = [split for split, count in STREET_DIGITS_COUNTS.items() for _ in range(count)]
    parts = [
        splits.assign(splits.pixel_digest(image), part, has_test=True, has_validation=False)
        for image, part in zip(images, given, strict=True)
    ]
    arrays = {
        "images": np.ascontiguousarray(images),
        "labels": np.concatenate([pair[1] for pair in drawn]),
        "parts": np.array(parts, dtype=np.int8),
    }
    return arrays, {"name": "street-digits", "classes": list("0123456789"), "notes": []}


@dataclass
class Gathered:
    """What came of a source's items, kept in their order."""

    images: list[np.ndarray] = field(default_factory=list)
    labels: list[str | int | None] = field(default_factory=list)
    given: list[str | None] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    shapes: set[tuple[int, ...]] = field(default_factory=set)


def gather(
    source: Source, options: DataOptions, progress: Progress, name: str
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Decode every item of a source and divide them into parts."""
    found = Gathered()
    items = source.items()
    with quietly(), ThreadPoolExecutor() as pool:
        done = 0
        while block := list(islice(items, BLOCK)):
            for item, outcome in zip(
                block, pool.map(lambda item: read_item(item, options), block), strict=True
            ):
                collect(found, item, outcome)
            done += len(block)
            progress(done, source.count)
    if found.bad and options.strict:
        raise InputError(
            f"{len(found.bad)} bad images, first {found.bad[0]}", "mend or remove them"
        )
    if len(found.images) < LEAST_IMAGES:
        first_bad = f" ({len(found.bad)} bad, first {found.bad[0]})" if found.bad else ""
        raise InputError(
            f"{len(found.images)} readable images in {name}{first_bad} are too few",
            f"give at least {LEAST_IMAGES}",
        )
    labels, classes = number_labels(found.labels, source.classes)
    given = set(found.given)
    parts = [
        splits.assign(digest, part, "test" in given, "validation" in given)
        for digest, part in zip(found.digests, found.given, strict=True)
    ]
    notes = describe_gathering(found, options)
    kept = splits.without_leaks(found.digests, parts)
    if len(kept) < len(parts):
        notes.append(f"{len(parts) - len(kept)} copies of held-out images were left out")
    # By pixels, not by name: the first images of a part are then a fair choice of it.
    order = sorted(kept, key=lambda i: (parts[i], found.digests[i], labels[i]))
    arrays = {
        "images": stack([found.images[i] for i in order]),
        "labels": labels[order],
        "parts": np.array(parts, dtype=np.int8)[order],
    }
    return arrays, {"name": name, "classes": classes, "notes": notes}


def read_item(item: Item, options: DataOptions) -> tuple[np.ndarray, bytes, tuple[int, ...]] | str:
    """Pixels at the asked size, digest and size of the full image; or why it is bad."""
    try:
        full = decode(item.content) if isinstance(item.content, bytes) else item.content
    except BadImageError as error:
        return str(error)
    return fit_square(full, options.resolution, options.fit), splits.pixel_digest(full), full.shape


def collect(
    found: Gathered, item: Item, outcome: tuple[np.ndarray, bytes, tuple[int, ...]] | str
) -> None:
    """Add one item, good or bad."""
    if isinstance(outcome, str):
        found.bad.append(f"{item.name}: {outcome}")
        return
    pixels, digest, shape = outcome
    found.images.append(pixels)
    found.digests.append(digest)
    found.shapes.add(shape[:2])
    found.labels.append(item.label)
    found.given.append(item.part)


def number_labels(
    labels: list[str | int | None], names: tuple[str, ...] | None
) -> tuple[np.ndarray, list[str] | None]:
    """Labels as 0..K-1 (-1 throughout where there are none) and the K class names."""
    if any(label is None for label in labels):
        return np.full(len(labels), -1, dtype=np.int64), None
    if names is not None:
        if not all(isinstance(label, int) and 0 <= label < len(names) for label in labels):
            raise InputError("labels outside the named classes", "mend the label column")
        numbers = np.array(labels, dtype=np.int64)
        classes = list(names)
    else:
        known = sorted(set(labels), key=lambda label: (isinstance(label, str), label))
        index = {label: number for number, label in enumerate(known)}
        numbers = np.array([index[label] for label in labels], dtype=np.int64)
        classes = [str(label) for label in known]
    if len(np.unique(numbers)) < 2:
        raise InputError(
            f"all {len(labels)} images have one class, '{classes[numbers[0]]}'",
            "name the folder that holds the images themselves, or use --label-column none",
        )
    return numbers, classes


def stack(images: list[np.ndarray]) -> np.ndarray:
    """(H,W) and (H,W,3) images -> (N,C,H,W); one channel where all are grey."""
    if all(is_grey(image) for image in images):
        return np.stack([image if image.ndim == 2 else image[..., 0] for image in images])[:, None]
    coloured = (np.stack([i] * 3) if i.ndim == 2 else np.moveaxis(i, -1, 0) for i in images)
    return np.stack(list(coloured))


def is_grey(image: np.ndarray) -> bool:
    """One channel, or three that agree."""
    return image.ndim == 2 or bool((image == image[..., :1]).all())


def describe_gathering(found: Gathered, options: DataOptions) -> list[str]:
    """What was done that the user should know."""
    notes = []
    if found.bad:
        share = len(found.bad) / (len(found.bad) + len(found.images))
        listed = "; ".join(found.bad[:5]) + ("; ..." if len(found.bad) > 5 else "")
        notes.append(f"skipped {len(found.bad)} bad images ({share:.1%}): {listed}")
    side = options.resolution
    if found.shapes != {(side, side)}:
        sizes = sorted(found.shapes)
        shown = f"{sizes[0][1]}x{sizes[0][0]}"
        if len(sizes) > 1:
            shown += f" to {sizes[-1][1]}x{sizes[-1][0]}"
        notes.append(f"resized from {shown} to {side}x{side} by --fit {options.fit}")
    copies = len(found.digests) - len(set(found.digests))
    if copies:
        notes.append(f"{copies} images are exact copies of others")
    return notes


def assemble(
    data: str, options: DataOptions, arrays: dict[str, np.ndarray], facts: dict[str, Any]
) -> ImageData:
    """The stored arrays as three parts."""
    labelled = facts["classes"] is not None

    def part(name: str) -> Part:
        rows = np.flatnonzero(arrays["parts"] == splits.PARTS.index(name))
        if len(rows) == 0:
            raise InputError(f"no {name} images in {data}", "give more images")
        contiguous = bool(len(rows) == rows[-1] - rows[0] + 1)
        index: Any = slice(rows[0], rows[-1] + 1) if contiguous else rows
        labels = torch.from_numpy(arrays["labels"][index]) if labelled else None
        return Part(torch.from_numpy(arrays["images"][index]), labels)

    return ImageData(
        name=facts["name"],
        source=data,
        fingerprint=facts["fingerprint"],
        fit=options.fit,
        classes=tuple(facts["classes"]) if labelled else None,
        notes=tuple(facts["notes"]),
        train=part("train"),
        validation=part("validation"),
        test=part("test"),
        image_column=options.image_column,
        label_column=options.label_column,
    )
