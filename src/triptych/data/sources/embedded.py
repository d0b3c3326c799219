"""The embedded set as a source: it is drawn, never downloaded."""

from __future__ import annotations

from collections.abc import Iterator

from triptych.data import street_digits
from triptych.data.sources.base import Columns, Item, Origin, PartName, Source

NAME = "street-digits"
COUNTS: dict[street_digits.Split, int] = {"train": 20_000, "test": 4_000}


def find(columns: Columns) -> Origin:
    """street-digits: a test part of its own, ten classes."""
    identity = {"source": NAME, "drawing": street_digits.VERSION, "labels": columns.labelled}
    return Origin(NAME, identity, lambda progress: read(columns))


def read(columns: Columns) -> Source:
    """Items of both splits, drawn while they are asked for."""

    def items() -> Iterator[Item]:
        for split, count in COUNTS.items():
            part: PartName = split
            index = 0
            for images, labels in street_digits.draw_blocks(split, count):
                for image, label in zip(images, labels.tolist(), strict=True):
                    known = label if columns.labelled else None
                    yield Item(f"{split}[{index}]", image.transpose(1, 2, 0), known, part)
                    index += 1

    return Source(items, sum(COUNTS.values()), classes=tuple("0123456789"))
