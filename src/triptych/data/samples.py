"""Images that a generator made elsewhere, read to be measured against a data set.

All of them are samples: nothing is divided, no copy is removed, and their order stays. They are
brought to the data's size by the same resize as the data. What cannot be compared is refused:
another number of channels, numbers that are no bytes, labels that are no classes of the data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Self

import numpy as np
import torch
from torch import Tensor

from triptych.config import ImageShape
from triptych.data import ranges
from triptych.data.dataset import ImageData, choose_rows
from triptych.data.describe import note_bad
from triptych.data.ingest import (
    LEAVES_OUT,
    Counts,
    Prepared,
    Reading,
    decided,
    describe_sizes,
    file_notes,
    outside_classes,
    prepare_all,
)
from triptych.data.ranges import Bounds, NumberSummary
from triptych.data.sources import Item, Progress, Source, printable
from triptych.data.sources.layout import UNLABELED
from triptych.data.sources.memory import Label, as_stack, label_list
from triptych.errors import InputError
from triptych.files import kind_of
from triptych.options import Fit
from triptych.records import Note

BINARY: Bounds = (0, 1)
SLACK = 0.05  # by which floats may pass the ends of a range and still be taken to be of it
CHOSEN = "samples_chosen"  # the note on a choice of them
NAMED = 5  # classes that a message names
TO_BYTES = ".round().clip(0, 255).astype('uint8')"
WITHOUT_LABELS = "or leave their labels out with --ignore-labels"


@dataclass(frozen=True, kw_only=True)
class SampleFormat:
    """What samples must be to be measured against a data set.

    shape:   channels and side of its images
    fit:     how these were brought to that side
    ranges:  which of its numbers became black and white, by their type
    classes: their names, if it has any
    """

    shape: ImageShape
    fit: Fit
    ranges: dict[str, Bounds] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None

    @classmethod
    def of(cls, data: ImageData) -> Self:
        """That of the data's images."""
        return cls(shape=data.shape, fit=data.fit, ranges=data.ranges, classes=data.classes)

    def reading(self) -> Reading:
        """How files are read. Bytes are plain ones, unless those of the data are all 0 or 1."""
        bounds = {kind: ends for kind, ends in self.ranges.items() if kind != ranges.BYTE}
        if self.ranges.get(ranges.BYTE) != BINARY:
            bounds[ranges.BYTE] = ranges.BYTES
        return Reading(self.shape.resolution, self.fit, None, bounds)


@dataclass(frozen=True, eq=False)
class SampleImages:
    """Samples as they are measured.

    images: uint8 [N,C,H,W]
    labels: class numbers of the data, int64 [N]; None where they have none
    held:   how many images their source holds
    notes:  what was done with them that the user should know
    """

    images: Tensor
    labels: Tensor | None
    held: int
    notes: tuple[Note, ...]


@dataclass
class Collected:
    """What the blocks of a source gave."""

    planes: list[np.ndarray] = field(default_factory=list)
    channels: list[int] = field(default_factory=list)
    labels: list[str | int | None] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    bad: list[tuple[str, str]] = field(default_factory=list)
    summaries: dict[str, NumberSummary] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    first_animated: str = ""
    single: int = 0
    items: int = 0

    def add(self, items: list[Item], prepared: Prepared, resolution: int) -> None:
        """Add a block."""
        start = 0
        for channels in prepared.channels.tolist():
            stop = start + channels * resolution**2
            plane = prepared.pixels[start:stop].reshape(channels, resolution, resolution)
            self.planes.append(plane)
            start = stop
        self.channels += prepared.channels.tolist()
        self.labels += [items[owner].label for owner in prepared.owners.tolist()]
        self.sizes.update(map(tuple, prepared.sizes.tolist()))
        self.bad += [(items[each.owner].name + each.page, each.reason) for each in prepared.bad]
        self.single += prepared.single
        if prepared.counts.animated and not self.first_animated:
            self.first_animated = items[prepared.counts.first_animated].name
        self.counts += prepared.counts
        self.items += len(items)
        for kind, summary in prepared.summaries.items():
            self.summaries[kind] = self.summaries.get(kind, NumberSummary()) + summary


def read_samples(
    source: Source,
    name: str,
    wanted: SampleFormat,
    count: int | None = None,
    *,
    labeled: bool = True,
    strict: bool = False,
    progress: Progress = lambda done, total: None,
) -> SampleImages:
    """The images of a source as samples, in its order; where it holds more, a fixed choice of them.

    count:   at most so many; None for all
    labeled: whether labels are heeded
    strict:  refuse bad files instead of leaving them out
    InputError where they cannot be measured against images of the wanted format.
    """
    if wanted.shape.is_point:
        raise InputError("samples from elsewhere are of images, not of points", "name runs")
    name = printable(name)
    kept = np.ones(source.count, dtype=bool)
    if count is not None and source.count > count:
        kept = np.isin(np.arange(source.count), choose_rows(source.count, count, "samples"))

    def collect(reading: Reading) -> Collected:
        collected, wished = Collected(), int(kept.sum())
        for items, prepared in prepare_all(chosen(source, kept), wished, reading):
            collected.add(items, prepared, reading.resolution)
            progress(collected.items, max(collected.items, wished))
        return collected

    reading = wanted.reading()
    collected = collect(reading)
    refuse_numbers(collected.summaries, name, reading)
    bounds = decided(collected.summaries, reading)
    if any(bounds[kind] != reading.bounds_of(kind) for kind in bounds):
        collected = collect(replace(reading, bounds=bounds))
    if collected.bad and strict:
        first = ": ".join(collected.bad[0])
        raise InputError(
            f"{len(collected.bad)} bad images in {name}, first {first}", "mend or remove them"
        )
    if not collected.planes:
        bad = f" ({len(collected.bad)} bad, first {': '.join(collected.bad[0])})"
        raise InputError(f"no samples in {name}{bad if collected.bad else ''}", "give some images")
    refuse_channels(collected, name, wanted.shape)
    images = np.empty((len(collected.planes), *wanted.shape.size), np.uint8)
    for image, plane in zip(images, collected.planes, strict=True):
        image[:] = plane  # grey ones among coloured ones get three equal channels
    labels = class_numbers(collected.labels, source, name, wanted.classes) if labeled else None
    held = source.count if len(kept) > kept.sum() else len(images)
    notes = (*of_source(source), *notes_on(collected, wanted, held))
    return SampleImages(torch.from_numpy(images), labels, held, notes)


def chosen(source: Source, kept: np.ndarray) -> Iterator[Item]:
    """The items that are kept; of a source that gives more than it said, the others too."""
    items = source.items()
    yield from compress(items, kept.tolist())
    if kept.all():
        yield from items


def refuse_numbers(summaries: ranges.Summaries, name: str, reading: Reading) -> None:
    """InputError on numbers that are neither bytes nor of a type whose range the data tell.

    What is black and what is white must not be guessed from samples: a darker set would be
    brightened, and measured as if it were a brighter one.
    """
    for kind, summary in summaries.items():
        is_float = np.dtype(kind).kind == "f"
        if kind == ranges.BYTE or (kind in reading.bounds and not is_float):
            continue
        if summary.minimum > summary.maximum:
            raise InputError(f"the samples in {name} hold no finite number", "save them as uint8")
        low, high = summary.minimum, summary.maximum
        wrong = f"the samples in {name} are {kind} from {low:.6g} to {high:.6g}"
        raise InputError(wrong, conversion(low, high, is_float))


def conversion(low: float, high: float, is_float: bool) -> str:
    """How numbers of that range become bytes."""
    if is_float and low >= -SLACK and high <= 1 + SLACK:
        return f"save them as uint8: (x * 255){TO_BYTES}"
    if is_float and low >= -1 - 2 * SLACK and high <= 1 + 2 * SLACK:
        return f"save them as uint8: ((x + 1) * 127.5){TO_BYTES}"
    if low >= 0 and high <= 255:
        return f"save them as uint8: x{TO_BYTES}"
    return "save them as uint8, 0 for black and 255 for white"


def refuse_channels(collected: Collected, name: str, shape: ImageShape) -> None:
    """InputError on coloured samples for grey data, and on grey ones for coloured data."""
    count = len(collected.planes)
    colored = sum(channels > 1 for channels in collected.channels)
    if shape.channels == 1 and colored:
        raise InputError(
            f"{colored} of {count} samples in {name} are coloured, and the data are grey",
            "save grey samples",
        )
    if shape.channels == 3 and collected.single == count:
        raise InputError(
            f"the samples in {name} have one channel, and the data are coloured",
            "save samples of three channels",
        )


def class_numbers(
    labels: Sequence[str | int | None],
    source: Source,
    name: str,
    classes: tuple[str, ...] | None,
) -> Tensor | None:
    """The data's class numbers [N] of labels; None where some sample, or the data, have none."""
    nothing = (None,) if source.classes is None else (None, UNLABELED)
    if classes is None or any(label in nothing for label in labels):
        return None
    known = range(len(source.classes or ()))
    numbered = [label for label in labels if source.classes is not None and isinstance(label, int)]
    if strangers := [label for label in numbered if label not in known]:
        raise outside_classes(strangers, f"samples in {name}", len(known))
    names = [
        str(label) if source.classes is None or isinstance(label, str) else source.classes[label]
        for label in labels
        if label is not None
    ]
    numbers = {each: number for number, each in enumerate(classes)}
    unknown = [each for each in dict.fromkeys(names) if each not in numbers]
    if unknown:
        more = ", ..." if len(classes) > NAMED else ""
        raise InputError(
            f"label '{unknown[0]}' of the samples in {name} is no class of the data",
            f"label them by {', '.join(classes[:NAMED])}{more}, {WITHOUT_LABELS}",
        )
    return torch.tensor([numbers[each] for each in names])


def of_source(source: Source) -> list[Note]:
    """What the source left out."""
    return [note for note in source.notes if note.code in LEAVES_OUT]


def notes_on(collected: Collected, wanted: SampleFormat, held: int) -> Iterator[Note]:
    """What was done with samples."""
    count, side = len(collected.planes), wanted.shape.resolution
    yield from file_notes(collected.counts, collected.first_animated)
    if held > count:
        yield Note(CHOSEN, {"n": count, "held": held})
    if collected.bad:
        yield note_bad(collected.bad, count + len(collected.bad))
    if set(collected.sizes) != {(side, side)}:
        sizes = describe_sizes(collected.sizes)
        ends = [sizes.smallest, sizes.largest][: sizes.different]
        original = "..".join(f"{width}x{height}" for width, height in ends)
        yield Note(
            "samples_resized",
            {"sizes": original, "resolution": f"{side}x{side}", "fit": wanted.fit},
        )


# Samples that are held in memory


def source_of_arrays(images: object, labels: object, name: str) -> Source:
    """Samples as Python holds them, as a source.

    images: an array or a tensor of them, or batches of either; a batch may be a pair of images and
            labels. Arrays are read as files of them are; tensors with the channels first wherever
            these can be the channels.
    labels: names of classes or their numbers, one for each image, or None
    """
    stacks: list[np.ndarray] = []
    given: list[Label] = [] if labels is None else label_list(labels, name)
    if isinstance(images, np.ndarray | Tensor):
        stacks.append(as_stack(images, name))
    elif isinstance(images, Iterable) and not isinstance(images, str | bytes | Mapping):
        for batch in images:
            pair = isinstance(batch, tuple | list) and len(batch) in (1, 2)
            stacks.append(as_stack(batch[0] if pair else batch, name))
            if pair and len(batch) == 2 and labels is None:
                given += label_list(batch[1], name)
    else:
        raise InputError(
            f"{name} are not images but {kind_of(images)}",
            "give a path, an array, a tensor, batches of them, or a torch module",
        )
    count = sum(map(len, stacks))
    if not count:
        raise InputError(f"no samples in {name}", "give some images")
    if given and len(given) != count:
        raise InputError(f"{count} samples and {len(given)} labels", "give one label an image")

    def items() -> Iterator[Item]:
        rows = (image for stack in stacks for image in stack)
        for index, image in enumerate(rows):
            yield Item(f"{name}[{index}]", image, given[index] if given else None, None)

    return Source(items, count)
