"""From a source to an entry of the store: decode, number the classes, divide, write.

Worker processes decode block by block. Only digests, sizes and labels are in memory: pixels wait
in a file until every image's part and the set's number of channels are known, and are written in
order.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, compress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from triptych.data import splits, store, workers
from triptych.data.decode import fit_square, quietly, read_pixels
from triptych.data.sources import BadImageError, Item, PartName, Progress, Source, UnreadableError
from triptych.data.sources.layout import UNLABELED, in_order
from triptych.errors import InputError
from triptych.hardware import usable_cores
from triptych.options import Fit
from triptych.records import Note
from triptych.words import without_repeats

LEAST_IMAGES = 20  # below, no part holds enough to mean anything
FEW_MISSING = 0.05  # of the labels: then the images without one are left out, else all labels
FEW_A_CLASS = 5  # images; with fewer to a class, the labels may not be classes

Label = str | int | None
BLOCK = 256  # items prepared together,
BLOCK_BYTES = 1 << 24  # or fewer where they are large
WORTH_WORKERS = 3000  # items; for fewer, starting processes costs more than it saves
FAINT = 16  # grey levels between an image's darkest and lightest value: it shows hardly anything
BLOCK_SECONDS = 300  # that a block may take,
SECONDS = 10  # and one image may take in a process of its own, after its block failed
CHUNK_BYTES = 1 << 24  # written at a time


@dataclass
class Gathered:
    """Labels, parts, sizes and bad images of a source's items, in order; pixels are spooled.

    unlabeled: the first image without a label of each part that is given, by name
    """

    labels: list[Label] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    unlabeled: dict[int, str] = field(default_factory=dict)
    bad: list[tuple[str, str]] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    faint: int = 0
    unread: int = 0

    def add(self, items: list[Item], prepared: Prepared, good: np.ndarray) -> None:
        """Add a block: labels and parts of its good items, names and reasons of its bad ones."""
        for item, is_good in zip(items, good.tolist(), strict=True):
            if is_good:
                if item.label is None or item.label == UNLABELED:
                    self.unlabeled.setdefault(part_number(item.part), item.name)
                self.labels.append(item.label)
                self.given.append(part_number(item.part))
        self.bad += [(items[index].name, reason) for index, reason in prepared.bad.items()]
        self.faint += prepared.faint
        self.unread += prepared.unread
        self.sizes.update(map(tuple, prepared.sizes[good].tolist()))


def part_number(part: PartName | None) -> int:
    """The number of a part in PARTS, or NOT_GIVEN."""
    return splits.NOT_GIVEN if part is None else splits.PARTS.index(part)


def parts_among(given: np.ndarray) -> tuple[str, ...]:
    """The parts among these numbers, sorted by name."""
    return tuple(sorted(splits.PARTS[number] for number in set(given.tolist()) if number >= 0))


def gather(
    source: Source, name: str, resolution: int, fit: Fit, folder: Path, progress: Progress
) -> store.Ingested:
    """Write a source's images as arrays into a folder.

    InputError where the images are too few, or the labels cannot be used.
    """
    gathered = Gathered()
    spool = Spool(folder / "spool", resolution)
    try:
        done = 0
        for items, prepared in prepare_all(source.items(), source.count, resolution, fit):
            gathered.add(items, prepared, spool.append(prepared))
            done += len(items)
            progress(done, max(done, source.count))
        digests, given = spool.digests, np.array(gathered.given, dtype=np.int8)
        kept, label_notes = settle_labels(gathered, source.classes)
        refuse_too_few(digests[kept], gathered, name)
        labels, classes = number_labels(gathered.labels, source.classes)
        parts = np.full(len(given), splits.TRAIN, dtype=np.int8)
        parts[kept] = splits.assign(digests[kept], given[kept])
        keep, copies = kept.copy(), 0
        keep[kept], copies = splits.without_leaks(digests[kept], parts[kept])
        refuse_empty_parts(parts, kept, keep, given, gathered, name)
        # By pixels, not by name: the first images of a part are then a fair choice of it.
        order = np.lexsort((labels, digests[:, 1], digests[:, 0], parts))
        order = order[keep[order]]
        content = write_arrays(folder, spool, order, labels[order], parts[order])
    finally:
        spool.close()
    return store.Ingested(
        name=name,
        classes=None if classes is None else tuple(classes),
        files=len(gathered.labels) + len(gathered.bad),
        bad=tuple(gathered.bad),
        copies=copies,
        crossing=int((kept & ~keep).sum()),
        faint=gathered.faint,
        unread=gathered.unread,
        sizes=describe_sizes(gathered.sizes),
        given_parts=parts_among(given[kept]),
        notes=without_repeats([*source.notes, *label_notes]),
        content=content,
    )


def refuse_too_few(digests: np.ndarray, gathered: Gathered, name: str) -> None:
    """InputError when the different good images are too few to divide."""
    count, different = len(digests), len(np.unique(digests[:, 0]))
    if different < LEAST_IMAGES:
        readable = f"{different} different among {count}" if different < count else str(count)
        raise InputError(
            f"{readable} readable images in {name}{but_bad(gathered)} are too few",
            f"give at least {LEAST_IMAGES}{' that differ' if different < count else ''}",
        )


def but_bad(gathered: Gathered) -> str:
    """The number of bad images and the first of them, for messages; "" for none."""
    return f" ({len(gathered.bad)} bad, first {': '.join(gathered.bad[0])})" if gathered.bad else ""


def refuse_empty_parts(
    parts: np.ndarray,
    kept: np.ndarray,
    keep: np.ndarray,
    given: np.ndarray,
    gathered: Gathered,
    name: str,
) -> None:
    """InputError when a part has no image, saying why that is.

    kept:  which images are used, bool (N,)
    keep:  of these, which are no copies to be left out, bool (N,)
    given: the parts in which the source puts images, as numbers (N,)
    """
    named = parts_among(given[kept])
    for number, part in enumerate(splits.PARTS):
        before, after = int((parts[kept] == number).sum()), int((parts[keep] == number).sum())
        if before and not after:
            raise InputError(
                f"all {before} {part} images of {name} are copies of images nearer to training",
                "give others, or leave the copies out of the training images",
            )
        if not before and part == "train" and named:
            raise InputError(
                f"all images of {name}{but_bad(gathered)} are given as {' or '.join(named)}",
                "add a train folder, or name the folder below to have it divided",
            )
        if not before:
            raise InputError(
                f"the training images of {name}{but_bad(gathered)} are too few to leave a "
                f"{part} part",
                "give more, or give that part too",
            )


def settle_labels(
    gathered: Gathered, names: tuple[str, ...] | None
) -> tuple[np.ndarray, list[Note]]:
    """Which images are used, bool (N,), and what was done about labels that are missing.

    A held-out part without any label beside labelled training images is left out, and so are a
    few images without one. Where more are missing, or there is but one class, no label is used:
    `gathered.labels` are then None throughout.
    """
    labels = gathered.labels
    nothing = {None} if names is None else {None, UNLABELED}
    whole = nothing.isdisjoint(labels)
    missing = np.array([not whole and label in nothing for label in labels])
    kept, notes = np.ones(len(labels), dtype=bool), []
    if missing.all():
        gathered.labels = [None] * len(labels)
        return kept, []
    given = np.array(gathered.given)
    for number, part in enumerate(splits.PARTS):
        own = given == number
        if number != splits.TRAIN and own.any() and missing[own].all() and not missing[~own].all():
            kept &= ~own
            notes.append(Note("unlabeled_part_left_out", {"part": part, "n": int(own.sum())}))
    bare = missing & kept
    if bare.any():
        few = bare.sum() <= FEW_MISSING * kept.sum()
        first = gathered.unlabeled[int(given[bare][0])]
        values = {"n": int(bare.sum()), "images": int(kept.sum())}
        note = Note(
            "unlabeled_left_out" if few else "images_without_label", {"first": first, **values}
        )
        if not few:
            gathered.labels = [None] * len(labels)
            return np.ones(len(labels), dtype=bool), [note]
        kept &= ~bare
        notes.append(note)
    distinct = set(labels) if whole else set(compress(labels, kept.tolist()))
    if len(distinct) == 1:
        (only,) = distinct
        name = names[only] if names is not None and isinstance(only, int) else str(only)
        gathered.labels = [None] * len(labels)
        return np.ones(len(labels), dtype=bool), [Note("one_class", {"name": name})]
    if len(distinct) * FEW_A_CLASS > kept.sum():
        notes.append(Note("many_labels", {"labels": len(distinct), "images": int(kept.sum())}))
    return kept, notes


def number_labels(
    labels: list[Label], names: tuple[str, ...] | None
) -> tuple[np.ndarray, list[str] | None]:
    """Labels as 0..K-1 (-1 where one is missing) and the K class names; None without any label.

    Where some labels are numbers and some are text, all are text. Names that are numbers come in
    the order of these.
    """
    distinct = set(labels) - {None}
    if not distinct:
        return np.full(len(labels), -1, dtype=np.int64), None
    if names is not None:
        numbers = np.array([-1 if label is None else label for label in labels])
        if numbers.dtype.kind != "i" or numbers.max() >= len(names) or numbers.min() < -1:
            raise InputError("labels outside the named classes", "mend the label column")
        return numbers.astype(np.int64), list(names)
    classes = in_order({str(label) for label in distinct})
    number = {name: place for place, name in enumerate(classes)}
    index = {None: -1} | {label: number[str(label)] for label in distinct}
    return np.array([index[label] for label in labels], dtype=np.int64), classes


def describe_sizes(sizes: Counter[tuple[int, int]]) -> store.ImageSizes:
    """The summary of sizes (height, width) and how many images have each."""
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    shapes = [width / height for height, width in sizes]
    (height, width), count = sizes.most_common(1)[0]
    return store.ImageSizes(
        different=len(sizes),
        smallest=by_area[0][::-1],
        largest=by_area[-1][::-1],
        usual=(width, height),
        of_usual_size=count,
        narrowest=round(min(shapes), 3),
        widest=round(max(shapes), 3),
    )


@dataclass(frozen=True)
class Prepared:
    """A block of images after decoding and resizing, packed: it travels between processes.

    pixels:   uint8, image after image, (C,H,W) each
    channels: int8 (n,); 1 for grey (also where three channels agree), 3 for colour, 0 for bad
    digests:  of the full-size pixels, big-endian uint64 (n,2)
    sizes:    full height and width, int32 (n,2)
    faint:    how many are nearly of one colour
    bad:      why items are bad, by their index in the block
    unread:   how many of these the system failed to read
    """

    pixels: np.ndarray
    channels: np.ndarray
    digests: np.ndarray
    sizes: np.ndarray
    faint: int
    bad: dict[int, str]
    unread: int


def prepare(work: tuple[list[Item], int, Fit]) -> Prepared:
    """Decode and resize a block. work: its items, the resolution, and the fit."""
    items, resolution, fit = work
    planes: list[np.ndarray] = []
    channels = np.zeros(len(items), dtype=np.int8)
    digests = np.zeros(len(items), dtype=splits.DIGEST)
    sizes = np.zeros((len(items), 2), dtype=np.int32)
    bad: dict[int, str] = {}
    unread = 0
    with quietly():
        for index, item in enumerate(items):
            try:
                full = read_pixels(item.content)
            except BadImageError as error:
                bad[index] = str(error)
                unread += isinstance(error, UnreadableError)
                continue
            if full.ndim == 3 and is_grey(full):
                full = full[..., 0]
            pixels = fit_square(full, resolution, fit)
            channels[index] = 1 if pixels.ndim == 2 else 3
            digests[index] = np.frombuffer(splits.pixel_digest(full), dtype=">u8")
            sizes[index] = full.shape[:2]
            planes.append(pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
    packed = np.concatenate([plane.reshape(-1) for plane in planes] or [np.empty(0, np.uint8)])
    return Prepared(packed, channels, digests, sizes, count_faint(packed, planes), bad, unread)


def count_faint(packed: np.ndarray, planes: list[np.ndarray]) -> int:
    """How many images have no two pixel values further apart than FAINT."""
    if not planes:
        return 0
    starts = np.cumsum([0, *(plane.size for plane in planes[:-1])])
    apart = np.maximum.reduceat(packed, starts) - np.minimum.reduceat(packed, starts)
    return int((apart <= FAINT).sum())


def is_grey(pixels: np.ndarray) -> bool:
    """Whether the three channels of (H,W,3) are equal; most coloured images differ in row 0."""
    return all(
        bool((rows[..., 0] == rows[..., channel]).all())
        for rows in (pixels[:1], pixels)
        for channel in (1, 2)
    )


def prepare_all(
    items: Iterator[Item], count: int, resolution: int, fit: Fit
) -> Iterator[tuple[list[Item], Prepared]]:
    """Every block of items, prepared; by worker processes where there are many items.

    A file that kills its worker, or keeps it busy for too long, is then a bad image.
    """
    first = next(items, None)
    if first is None:
        return
    blocks = in_blocks(chain([first], items))
    if count < WORTH_WORKERS or isinstance(first.content, np.ndarray):
        for block in blocks:
            yield block, prepare((block, resolution, fit))
        return
    given: list[list[Item]] = []

    def works() -> Iterator[tuple[list[Item], int, Fit]]:
        for block in blocks:
            given.append(block)
            yield block, resolution, fit

    for outcome in workers.in_order(prepare, works(), usable_cores(), BLOCK_SECONDS):
        block = given.pop(0)
        if isinstance(outcome, Prepared):
            yield block, outcome
        else:
            yield from prepare_singly(block, resolution, fit)


def prepare_singly(
    block: list[Item], resolution: int, fit: Fit
) -> Iterator[tuple[list[Item], Prepared]]:
    """Every item of a block in a worker process, so that only the harmful one is bad."""
    works = (([item], resolution, fit) for item in block)
    nothing: tuple[list[Item], int, Fit] = ([], resolution, fit)
    outcomes = workers.in_order(prepare, chain([nothing], works), workers=1, seconds=SECONDS)
    if not isinstance(next(outcomes), Prepared):  # no process of ours lives here
        yield block, prepare((block, resolution, fit))
        return
    for item, outcome in zip(block, outcomes, strict=True):
        if not isinstance(outcome, Prepared):
            died = UnreadableError(f"ended the process that read it, or took over {SECONDS} s")
            outcome = prepare(([Item(item.name, died, item.label, item.part)], resolution, fit))
        yield [item], outcome


def size_of(content: object) -> int:
    """The bytes of an item's content in memory; 0 for a path."""
    if isinstance(content, np.ndarray):
        return content.nbytes
    return len(content) if isinstance(content, bytes) else 0


def in_blocks(items: Iterator[Item]) -> Iterator[list[Item]]:
    """Lists of up to BLOCK items and about BLOCK_BYTES bytes."""
    block: list[Item] = []
    size = 0
    for item in items:
        block.append(item)
        size += size_of(item.content)
        if len(block) == BLOCK or size > BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


class Spool:
    """A growing file of images, one plane for grey ones and three for coloured ones."""

    def __init__(self, path: Path, resolution: int) -> None:
        self.path = path
        self.resolution = resolution
        self._file: BinaryIO = path.open("w+b", buffering=0)
        self._channels: list[np.ndarray] = []
        self._digests: list[np.ndarray] = []

    def append(self, prepared: Prepared) -> np.ndarray:
        """Write the good images of a block; returns which are good, bool (n,)."""
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
        """The images at these indices, uint8 (n,C,H,W) at a time; C is 1 where all are grey."""
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

    order: indices in the spool; its labels int64 and parts int8, (N,) each
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
