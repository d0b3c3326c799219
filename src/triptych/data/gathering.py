"""From a source to an entry of the store: decode, number the classes, divide, write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from triptych.data import splits
from triptych.data.decode import Fit
from triptych.data.prepare import Prepared, prepare_all
from triptych.data.sources.base import Item, PartName, Progress, Source
from triptych.data.spool import Spool, write_arrays
from triptych.errors import InputError

LEAST_IMAGES = 20  # below, no part holds enough to mean anything
ENOUGH_IMAGES = 60  # with so many, each part has an image but for one time in 250
FEW_A_CLASS = 5  # images; with fewer to a class, the labels may not be classes

Label = str | int | None


@dataclass
class Gathered:
    """What came of a source's items, in their order; pixels are in the spool."""

    labels: list[Label] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    faint: int = 0
    unread: int = 0

    def add(self, items: list[Item], prepared: Prepared, good: np.ndarray) -> None:
        """Take the labels of a block's good items and the names of its bad ones."""
        for item, is_good in zip(items, good.tolist(), strict=True):
            if is_good:
                self.labels.append(item.label)
                self.given.append(place_of(item.part))
        self.bad += [(items[place].name, reason) for place, reason in prepared.bad.items()]
        self.faint += prepared.faint
        self.unread += prepared.unread
        self.sizes.update(map(tuple, prepared.sizes[good].tolist()))


def place_of(part: PartName | None) -> int:
    """Where a part stands in PARTS."""
    return splits.NOT_GIVEN if part is None else splits.PARTS.index(part)


def gather(
    source: Source, name: str, resolution: int, fit: Fit, folder: Path, progress: Progress
) -> tuple[str, dict[str, Any]]:
    """Write a source's images as arrays into a folder; returns their fingerprint and facts.

    Raises InputError when there are too few, or the labels are of no use.
    """
    found = Gathered()
    spool = Spool(folder / "spool", resolution)
    try:
        done = 0
        for items, prepared in prepare_all(source.items(), source.count, resolution, fit):
            found.add(items, prepared, spool.append(prepared))
            done += len(items)
            progress(done, max(done, source.count))
        refuse_too_few(found, name)
        labels, classes = number_labels(found, source.classes)
        digests = spool.digests
        parts = splits.assign(digests, np.array(found.given, dtype=np.int8))
        keep, copies = splits.without_leaks(digests, parts)
        refuse_empty_parts(parts, keep, found, name)
        # By pixels, not by name: the first images of a part are then a fair choice of it.
        order = np.lexsort((labels, digests[:, 1], digests[:, 0], parts))
        order = order[keep[order]]
        content = write_arrays(folder, spool, order, labels[order], parts[order])
    finally:
        spool.close()
    facts = {
        "name": name,
        "classes": classes,
        "files": len(found.labels) + len(found.bad),
        "bad": found.bad,
        "copies": copies,
        "crossing": int((~keep).sum()),
        "faint": found.faint,
        "unread": found.unread,
        "sizes": describe_sizes(found.sizes),
        "given_parts": sorted({splits.PARTS[place] for place in found.given if place >= 0}),
        "notes": list(dict.fromkeys([*source.notes, *label_notes(found.labels, classes)])),
    }
    return content, facts


def refuse_too_few(found: Gathered, name: str) -> None:
    """InputError when the good images are too few to divide."""
    if len(found.labels) < LEAST_IMAGES:
        raise InputError(
            f"{len(found.labels)} readable images in {name}{but_bad(found)} are too few",
            f"give at least {LEAST_IMAGES}",
        )


def but_bad(found: Gathered) -> str:
    """How many were bad, for messages that would mislead without."""
    return f" ({len(found.bad)} bad, first {': '.join(found.bad[0])})" if found.bad else ""


def refuse_empty_parts(parts: np.ndarray, keep: np.ndarray, found: Gathered, name: str) -> None:
    """InputError when a part has no image, saying why that is."""
    given = sorted({splits.PARTS[place] for place in found.given if place >= 0})
    for place, part in enumerate(splits.PARTS):
        before, after = int((parts == place).sum()), int((parts[keep] == place).sum())
        if before and not after:
            raise InputError(
                f"all {before} {part} images of {name} are copies of images nearer to training",
                "give others, or leave the copies out of the training images",
            )
        if not before and part == "train" and given:
            raise InputError(
                f"all images of {name}{but_bad(found)} are given as {' or '.join(given)}",
                "add a train folder, or name the folder below to have it divided",
            )
        if not before:
            raise InputError(
                f"{len(parts)} images in {name}{but_bad(found)} leave no {part} part",
                f"give more: about {ENOUGH_IMAGES} do",
            )


def number_labels(
    found: Gathered, names: tuple[str, ...] | None
) -> tuple[np.ndarray, list[str] | None]:
    """Labels as 0..K-1 (-1 throughout where any is missing) and the K class names.

    Where some labels are numbers and some are text, all are text.
    """
    labels = found.labels
    known = set(labels)
    if None in known or (names is not None and -1 in known):  # -1 is the Hub's "no label"
        return np.full(len(labels), -1, dtype=np.int64), None
    if names is not None:
        if not all(isinstance(label, int) and 0 <= label < len(names) for label in known):
            raise InputError("labels outside the named classes", "mend the label column")
        numbers = np.array(labels, dtype=np.int64)
        classes = list(names)
    else:
        if any(isinstance(label, str) for label in known):
            labels = [str(label) for label in labels]
            known = set(labels)
        ordered = sorted(known)  # type: ignore[type-var] # all numbers or all text
        index = {label: number for number, label in enumerate(ordered)}
        numbers = np.array([index[label] for label in labels], dtype=np.int64)
        classes = [str(label) for label in ordered]
    if len(known) < 2:
        raise InputError(
            f"all {len(labels)} images{but_bad(found)} have one class, '{classes[numbers[0]]}'",
            "name the folder that holds the images themselves, or use --label-column none",
        )
    return numbers, classes


def label_notes(labels: Sequence[Label], classes: list[str] | None) -> list[str]:
    """What is odd about the labels."""
    known = {label for label in labels if label is not None and label != -1}
    if classes is None and known:
        missing = sum(label is None or label == -1 for label in labels)
        return [f"images without a label, so all labels were left out: {missing}"]
    if classes is not None and len(known) * FEW_A_CLASS > len(labels):
        return [
            "many labels for few images, use --label-column none if they are no classes: "
            f"{len(known)} for {len(labels)}"
        ]
    return []


def describe_sizes(sizes: Counter[tuple[int, int]]) -> dict[str, Any]:
    """How large the images were, as [width, height]: how many sizes, extremes, the usual one."""
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    shapes = [width / height for height, width in sizes]
    usual = sizes.most_common(1)[0]
    return {
        "different": len(sizes),
        "smallest": by_area[0][::-1],
        "largest": by_area[-1][::-1],
        "usual": usual[0][::-1],
        "of_usual_size": usual[1],
        "narrowest": round(min(shapes), 3),  # width over height
        "widest": round(max(shapes), 3),
    }
