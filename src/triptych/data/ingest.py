"""From a source to an entry of the store: decode, number the classes, divide, write.

Worker processes decode block by block. Only digests, sizes and labels are in memory: pixels wait
in a file until every image's part and the set's number of channels are known, and are written in
order.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, compress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from triptych.data import ranges, splits, store, workers
from triptych.data.decode import RAW_FILE, Picture, quietly, read_pictures
from triptych.data.ranges import Bounds, NumberSummary
from triptych.data.sources import (
    BadImageError,
    Item,
    PartName,
    Progress,
    Source,
    UnreadableError,
    printable,
)
from triptych.data.sources.layout import RAW, UNLABELED, in_order
from triptych.errors import InputError
from triptych.hardware import usable_cores
from triptych.options import Fit
from triptych.records import Note
from triptych.words import english, without_repeats

LEAST_IMAGES = 20  # below, no part holds enough to mean anything
FEW_MISSING = 0.05  # of the labels: then the images without one are left out, else all labels
FEW_COLOURED = 0.05  # of the images, which may be strays among grey ones
FEW_A_CLASS = 5  # images; with fewer to a class, the labels may not be classes

# Notes of readers on what lies in a source and is none of its items
LEAVES_OUT = (
    "archive_cut_short", "files_beside_archives", "files_beside_tables", "files_left_out",
    "files_passed_over", "files_without_part", "folders_beside_train", "images_beside_train",
    "images_not_listed", "links_passed_over", "mask_files_left_out", "masks_left_out",
    "own_folders_passed_over", "parquet_passed_over", "partly_converted",
    "parts_from_column_some", "splits_left_out", "stacks_passed_over",
)  # fmt: skip

Label = str | int | None
BLOCK = 256  # items prepared together,
BLOCK_BYTES = 1 << 24  # or fewer where they are large,
STACKS, STACKS_A_BLOCK = (".tif", ".tiff"), 4  # or may hold many images each
WORTH_WORKERS = 3000  # items; for fewer, starting processes costs more than it saves,
WORTH_BYTES = 1 << 26  # unless the files are so large together
FAINT = 16  # grey levels between an image's darkest and lightest value: it shows hardly anything
BLOCK_SECONDS = 300  # that a block may take,
SECONDS = 10  # and one image may take in a process of its own, after its block failed
CHUNK_BYTES = 1 << 24  # written at a time


@dataclass
class Gathered:
    """Labels, parts, sizes and bad images of a source's items, in order; pixels are spooled.

    owners:    the number of each image's item, of which some hold several
    unlabeled: the first image without a label of each part that is given, by name
    """

    labels: list[Label] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    items: int = 0
    unlabeled: dict[int, str] = field(default_factory=dict)
    bad: list[tuple[str, str]] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    faint: int = 0
    unread: int = 0
    to_retry: list[str] = field(default_factory=list)
    counts: Counts = field(default_factory=lambda: Counts())
    first_animated: str = ""
    first_coloured: str = ""
    summaries: dict[str, NumberSummary] = field(default_factory=dict)

    def add(self, items: list[Item], prepared: Prepared) -> None:
        """Add a block: labels and parts of its images, names and reasons of its bad ones."""
        for owner in prepared.owners.tolist():
            item = items[owner]
            if item.label is None or item.label == UNLABELED:
                self.unlabeled.setdefault(part_number(item.part), item.name)
            self.labels.append(item.label)
            self.given.append(part_number(item.part))
            self.owners.append(self.items + owner)
        self.items += len(items)
        self.bad += [(items[bad.owner].name + bad.page, bad.reason) for bad in prepared.bad]
        self.faint += prepared.faint
        self.unread += prepared.unread
        self.to_retry += [items[bad.owner].name for bad in prepared.bad if bad.unread]
        self.sizes.update(map(tuple, prepared.sizes.tolist()))
        if prepared.counts.animated and not self.first_animated:
            self.first_animated = items[prepared.counts.first_animated].name
        self.counts += prepared.counts
        if not self.first_coloured and (coloured := prepared.owners[prepared.channels > 1]).size:
            self.first_coloured = items[coloured[0]].name
        for kind, summary in prepared.summaries.items():
            self.summaries[kind] = self.summaries.get(kind, NumberSummary()) + summary


def part_number(part: PartName | None) -> int:
    """The number of a part in PARTS, or NOT_GIVEN."""
    return splits.NOT_GIVEN if part is None else splits.PARTS.index(part)


def parts_among(given: np.ndarray) -> tuple[str, ...]:
    """The parts among these numbers, sorted by name."""
    return tuple(sorted(splits.PARTS[number] for number in set(given.tolist()) if number >= 0))


def gather(
    source: Source, name: str, reading: Reading, folder: Path, progress: Progress
) -> store.Ingested:
    """Write a source's images as arrays into a folder.

    InputError where the images are too few, or the labels cannot be used.
    """
    spool = Spool(folder / "spool", reading.resolution)
    try:
        gathered = decode_all(source, reading, spool, progress)
        bounds = decided(gathered.summaries, reading)
        if any(bounds[kind] != reading.bounds_of(kind) for kind in bounds):
            spool.clear()  # once more, now that all the numbers are known
            reading = replace(reading, bounds=bounds)
            gathered = decode_all(source, reading, spool, progress)
            bounds = {kind: reading.bounds_of(kind) for kind in gathered.summaries}
        digests, given = spool.digests, np.array(gathered.given, dtype=np.int8)
        kept, label_notes = settle_labels(gathered, source.classes)
        left_out = [note for note in source.notes if note.code in LEAVES_OUT]
        refuse_too_few(digests[kept], gathered, name, [*left_out, *label_notes])
        labels, classes = number_labels(gathered.labels, source.classes, name)
        parts = np.full(len(given), splits.TRAIN, dtype=np.int8)
        owners = np.array(gathered.owners, dtype=np.int64)
        parts[kept] = splits.assign(digests[kept], given[kept], owners[kept])
        keep, copies = kept.copy(), 0
        keep[kept], copies = splits.without_leaks(digests[kept], parts[kept])
        refuse_empty_parts(parts, kept, keep, given, gathered, name)
        # By pixels, not by name: the first images of a part are then a fair choice of it.
        order = np.lexsort((labels, digests[:, 1], digests[:, 0], parts))
        order = order[keep[order]]
        channels = spool.channels[order]
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
        notes=without_repeats(
            [
                *source.notes,
                *label_notes,
                *ranges.notes(gathered.summaries, bounds, reading.given is not None),
                *file_notes(gathered.counts, gathered.first_animated),
                *page_notes(owners[kept], parts[kept]),
                *colour_notes(channels, gathered.first_coloured),
            ]
        ),
        ranges={kind: bounds[kind] for kind in sorted(bounds)},
        content=content,
        to_retry=tuple(dict.fromkeys(gathered.to_retry)),
    )


def decode_all(source: Source, reading: Reading, spool: Spool, progress: Progress) -> Gathered:
    """All images of a source into the spool, and what else is learned of them."""
    gathered = Gathered()
    done = 0
    for items, prepared in prepare_all(source.items(), source.count, reading):
        gathered.add(items, prepared)
        spool.append(prepared)
        done += len(items)
        progress(done, max(done, source.count))
    return gathered


def decided(summaries: ranges.Summaries, reading: Reading) -> dict[str, Bounds]:
    """The range of each type of numbers: the user's, one that is known, or as all of them show."""
    return {
        kind: reading.given or reading.bounds.get(kind) or ranges.decide(kind, summary)
        for kind, summary in summaries.items()
    }


def file_notes(counts: Counts, first_animated: str) -> list[Note]:
    """What was done with files that hold more than plain pixels."""
    found = []
    if counts.animated:
        found.append(Note("first_frames", {"n": counts.animated, "first": first_animated}))
    if counts.transparent:
        found.append(Note("transparent", {"n": counts.transparent}))
    if counts.invisible:
        found.append(Note("transparent_wholly", {"n": counts.invisible}))
    if counts.converted:
        found.append(Note("profiles_converted", {"n": counts.converted}))
    if counts.broken:
        found.append(Note("profiles_broken", {"n": counts.broken}))
    if counts.passed_over:
        found.append(Note("pages_passed_over", {"n": counts.passed_over}))
    return found


def page_notes(owners: np.ndarray, parts: np.ndarray) -> list[Note]:
    """How many images are pages of files of several, and whether those are in one part each.

    owners: the number of each image's file, ascending, int (N,)
    parts:  int8 (N,)
    """
    _, starts, counts = np.unique(owners, return_index=True, return_counts=True)
    stacks = counts > 1
    if not stacks.any():
        return []
    values = {"n": int(counts[stacks].sum()), "files": int(stacks.sum())}
    if (np.minimum.reduceat(parts, starts) == np.maximum.reduceat(parts, starts)).all():
        return [Note("pages_together", {**values})]
    return [Note("pages_apart", {**values, "least": splits.LEAST_FILES})]


def colour_notes(channels: np.ndarray, first: str) -> list[Note]:
    """That a few coloured images make a set of grey ones a coloured one.

    channels: 1 or 3 of each image, (N,); first: the name of the first coloured one
    """
    coloured = int((channels > 1).sum())
    if not 0 < coloured <= FEW_COLOURED * len(channels):
        return []
    return [Note("few_coloured", {"n": coloured, "images": len(channels), "first": first})]


def refuse_too_few(
    digests: np.ndarray, gathered: Gathered, name: str, left_out: list[Note]
) -> None:
    """InputError when the different good images are too few to divide; with what was left out."""
    count, different = len(digests), len(np.unique(digests[:, 0]))
    if different < LEAST_IMAGES:
        readable = f"{different} different among {count}" if different < count else str(count)
        raise InputError(
            f"{readable} readable images in {name}{but_bad(gathered)} are too few"
            + "".join(f" ({english(note)})" for note in left_out),
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
        values = {"labels": len(distinct), "images": int(kept.sum()), "least": FEW_A_CLASS}
        notes.append(Note("many_labels", {**values}))
    return kept, notes


def number_labels(
    labels: list[Label], names: tuple[str, ...] | None, source_name: str
) -> tuple[np.ndarray, list[str] | None]:
    """Labels as 0..K-1 (-1 where one is missing) and the K class names; None without any label.

    Where some labels are numbers and some are text, all are text. Names that are numbers come in
    the order of these. InputError where the classes are named and a label is none of them, or two
    have one name.
    """
    distinct = set(labels) - {None}
    if not distinct:
        return np.full(len(labels), -1, dtype=np.int64), None
    if names is not None:
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            wrong = f"two classes of {source_name} are called '{printable(twice)}'"
            raise InputError(wrong, "give each a name of its own")
        known = {None, *range(-1, len(names))}
        if strangers := [label for label in labels if label not in known]:
            raise outside_classes(strangers, f"images of {source_name}", len(names))
        numbers = [-1 if label is None else label for label in labels]
        return np.array(numbers, dtype=np.int64), list(names)
    classes = in_order({str(label) for label in distinct})
    number = {name: place for place, name in enumerate(classes)}
    index = {None: -1} | {label: number[str(label)] for label in distinct}
    return np.array([index[label] for label in labels], dtype=np.int64), classes


def outside_classes(strangers: Sequence[Label], images: str, classes: int) -> InputError:
    """The error that labels are no numbers of the named classes; images: whose labels they are."""
    first = printable(str(strangers[0]))
    return InputError(
        f"{len(strangers)} {images} have labels outside 0 to {classes - 1}, the named classes "
        f"(the first is {first})",
        "mend the labels, or name more classes",
    )


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
class Reading:
    """How images are read.

    given:  the range that the user gave, for numbers of every type
    bounds: else the ranges by type; of others it is the type's own
    """

    resolution: int
    fit: Fit
    given: Bounds | None = None
    bounds: Mapping[str, Bounds] = field(default_factory=dict)

    def bounds_of(self, kind: str) -> Bounds:
        """The range of a type of numbers."""
        return self.given or self.bounds.get(kind) or ranges.assumed(kind)


@dataclass(frozen=True)
class Counts:
    """How many files hold more than plain pixels.

    animated:       files with further frames, and the index of the first in its block
    converted:      images that a colour profile brought to sRGB
    broken:         images whose profile cannot be used
    passed_over:    pages that are small copies or masks
    transparent:    images with pixels that are not opaque
    invisible:      of these, images that are wholly transparent
    """

    animated: int = 0
    first_animated: int = 0
    converted: int = 0
    broken: int = 0
    passed_over: int = 0
    transparent: int = 0
    invisible: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            animated=self.animated + other.animated,
            first_animated=self.first_animated if self.animated else other.first_animated,
            converted=self.converted + other.converted,
            broken=self.broken + other.broken,
            passed_over=self.passed_over + other.passed_over,
            transparent=self.transparent + other.transparent,
            invisible=self.invisible + other.invisible,
        )


@dataclass(frozen=True)
class Bad:
    """A bad image: the index of its item in the block, its page as "[3]" if any, and why.

    unread: whether the system failed to read it
    """

    owner: int
    page: str
    reason: str
    unread: bool = False


@dataclass(frozen=True)
class Prepared:
    """A block of items after decoding and resizing, packed: it travels between processes.

    pixels:    uint8, image after image, (C,H,W) each
    channels:  int8 (n,); 1 for grey (also where three channels agree), 3 for colour
    digests:   of the full-size pixels, big-endian uint64 (n,2)
    sizes:     full height and width, int32 (n,2)
    owners:    the index of each image's item, of which some hold several, int32 (n,)
    single:    how many are stored with one channel
    faint:     how many are nearly of one colour
    bad:       the images that are bad
    unread:    how many of these the system failed to read
    counts:    of what the files hold besides
    summaries: of the numbers before they became uint8, by their type
    """

    pixels: np.ndarray
    channels: np.ndarray
    digests: np.ndarray
    sizes: np.ndarray
    owners: np.ndarray
    single: int
    faint: int
    bad: tuple[Bad, ...]
    unread: int
    counts: Counts
    summaries: dict[str, NumberSummary]


def prepare(work: tuple[list[Item], Reading]) -> Prepared:
    """Decode and resize a block. work: its items, and how."""
    items, reading = work
    block = Block(reading)
    with quietly():
        for owner, item in enumerate(items):
            try:
                if item.name.lower().endswith(RAW):
                    raise BadImageError(RAW_FILE)
                pictures = read_pictures(item.content)
            except BadImageError as error:
                block.add_bad(error, owner, "")
                continue
            block.passed_over += pictures.passed_over
            for page, picture in enumerate(pictures.each):
                if isinstance(picture, Picture):
                    block.add(picture, owner)
                else:
                    block.add_bad(picture, owner, f"[{page}]" if pictures.total > 1 else "")
    return block.prepared()


class Block:
    """What becomes of a block's images, one after another."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.numbers = ranges.Summarizer(reading.bounds_of)
        self.planes: list[np.ndarray] = []
        self.channels: list[int] = []
        self.digests: list[bytes] = []
        self.sizes: list[tuple[int, ...]] = []
        self.owners: list[int] = []
        self.bad: list[Bad] = []
        self.single = self.unread = self.converted = self.broken = self.passed_over = 0
        self.transparent = self.invisible = 0
        self.animated: list[int] = []  # indices of items

    def add(self, picture: Picture, owner: int) -> None:
        """Add an image."""
        full = picture.pixels
        self.single += full.ndim == 2
        if full.ndim == 3 and is_grey(full):
            full = full[..., 0]
            picture = picture._replace(pixels=full)
        bounds = self.numbers.add(full, picture.seen)
        pixels = picture.square(bounds, self.reading.resolution, self.reading.fit)
        self.planes.append(pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
        self.channels.append(1 if pixels.ndim == 2 else 3)
        self.digests.append(splits.pixel_digest(digested(picture)))
        self.sizes.append(full.shape[:2])
        self.owners.append(owner)
        if picture.animated:
            self.animated.append(owner)
        self.transparent += picture.alpha[0] < 1
        self.invisible += picture.alpha[1] == 0
        if picture.profile is not None:
            self.converted += picture.profile_state == "converted"
            self.broken += picture.profile_state == "broken"

    def add_bad(self, error: BadImageError, owner: int, page: str) -> None:
        """Add an image that is bad."""
        unread = isinstance(error, UnreadableError)
        self.bad.append(Bad(owner, page, str(error), unread))
        self.unread += unread

    def prepared(self) -> Prepared:
        """All of them."""
        flat = [plane.reshape(-1) for plane in self.planes]
        packed = np.concatenate(flat or [np.empty(0, np.uint8)])
        return Prepared(
            pixels=packed,
            channels=np.array(self.channels, dtype=np.int8),
            digests=np.frombuffer(b"".join(self.digests), dtype=">u8").reshape(-1, 2),
            sizes=np.array(self.sizes, dtype=np.int32).reshape(-1, 2),
            owners=np.array(self.owners, dtype=np.int32),
            single=self.single,
            faint=count_faint(packed, self.planes),
            bad=tuple(self.bad),
            unread=self.unread,
            counts=Counts(
                animated=len(self.animated),
                first_animated=self.animated[0] if self.animated else 0,
                converted=self.converted,
                broken=self.broken,
                passed_over=self.passed_over,
                transparent=self.transparent,
                invisible=self.invisible,
            ),
            summaries=self.numbers.summaries,
        )


def digested(picture: Picture) -> np.ndarray:
    """The pixels that tell an image from others, in one order of bytes everywhere."""
    pixels = picture.pixels
    if pixels.dtype == np.uint8:
        return pixels
    if picture.opacity is not None:  # as colour that is hidden
        opacity = picture.opacity.reshape(*pixels.shape[:2], *[1] * (pixels.ndim - 2))
        pixels = np.concatenate([pixels, np.broadcast_to(opacity, pixels.shape)], axis=0)
    return pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)


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
    items: Iterator[Item], count: int, reading: Reading
) -> Iterator[tuple[list[Item], Prepared]]:
    """Every block of items, prepared; by worker processes where there are many items.

    A file that kills its worker, or keeps it busy for too long, is then a bad image.
    """
    first = next(items, None)
    if first is None:
        return
    blocks = in_blocks(chain([first], items))
    head = next(blocks)
    blocks = chain([head], blocks)
    expected = count * sum(map(bytes_of, head)) / len(head)
    small = count < WORTH_WORKERS and expected < WORTH_BYTES
    if small or isinstance(first.content, np.ndarray):
        for block in blocks:
            yield block, prepare((block, reading))
        return
    given: list[list[Item]] = []

    def works() -> Iterator[tuple[list[Item], Reading]]:
        for block in blocks:
            given.append(block)
            yield block, reading

    for outcome in workers.in_order(prepare, works(), usable_cores(), BLOCK_SECONDS):
        block = given.pop(0)
        if isinstance(outcome, Prepared):
            yield block, outcome
        else:
            yield from prepare_singly(block, reading)


def prepare_singly(block: list[Item], reading: Reading) -> Iterator[tuple[list[Item], Prepared]]:
    """Every item of a block in a worker process, so that only the harmful one is bad."""
    works = (([item], reading) for item in block)
    nothing: tuple[list[Item], Reading] = ([], reading)
    outcomes = workers.in_order(prepare, chain([nothing], works), workers=1, seconds=SECONDS)
    if not isinstance(next(outcomes), Prepared):  # no process of ours lives here
        yield block, prepare((block, reading))
        return
    for item, outcome in zip(block, outcomes, strict=True):
        if not isinstance(outcome, Prepared):
            died = UnreadableError(f"ended the process that read it, or took over {SECONDS} s")
            outcome = prepare(([Item(item.name, died, item.label, item.part)], reading))
        yield [item], outcome


def any_readable(source: Source, names: Sequence[str], reading: Reading) -> bool:
    """Whether any of the items of these names, which could not be read once, can be read now.

    Files that cannot even be opened need no process of their own.
    """
    wanted = set(names)
    items = [
        item
        for item in source.items()
        if item.name in wanted
        and not (isinstance(item.content, Path) and not os.access(item.content, os.R_OK))
    ]
    tried = prepare_singly(items, reading) if items else ()
    return any(not prepared.unread for _, prepared in tried)


def size_of(item: Item) -> int:
    """The bytes of an item's content in memory; of a TIFF, what its pages may take as well."""
    if item.name.lower().endswith(STACKS):
        return BLOCK_BYTES // STACKS_A_BLOCK + 1
    return bytes_of(item)


def bytes_of(item: Item) -> int:
    """The bytes of an item's content, in memory or on the disk."""
    content = item.content
    if isinstance(content, Path):
        with suppress(OSError):
            return content.stat().st_size
    if isinstance(content, np.ndarray):
        return content.nbytes
    if isinstance(content, Image.Image):
        return content.width * content.height * len(content.getbands())
    return len(content) if isinstance(content, bytes) else 0


def in_blocks(items: Iterator[Item]) -> Iterator[list[Item]]:
    """Lists of up to BLOCK items and about BLOCK_BYTES bytes."""
    block: list[Item] = []
    size = 0
    for item in items:
        block.append(item)
        size += size_of(item)
        if len(block) == BLOCK or size > BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


class Spool:
    """A growing file of images, one plane for grey ones and three for coloured ones.

    InputError where the cache, in which it lies, is full.
    """

    @store.as_cache_error()
    def __init__(self, path: Path, resolution: int) -> None:
        self.path = path
        self.resolution = resolution
        self._file: BinaryIO = path.open("w+b", buffering=0)
        self._channels: list[np.ndarray] = []
        self._digests: list[np.ndarray] = []

    @store.as_cache_error()
    def append(self, prepared: Prepared) -> None:
        """Write the images of a block."""
        if self._file.write(prepared.pixels.data) != prepared.pixels.nbytes:  # no room for the rest
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        self._channels.append(prepared.channels)
        self._digests.append(prepared.digests)

    @store.as_cache_error()
    def clear(self) -> None:
        """Forget all images."""
        self._file.seek(0)
        self._file.truncate()
        self._channels, self._digests = [], []

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

    @store.as_cache_error()
    def close(self) -> None:
        """Remove the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)


@store.as_cache_error()
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
