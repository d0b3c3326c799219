"""street-digits, the embedded data set: drawn pictures made to look like SVHN's cropped digits.

An item is a colour picture of 32x32 pixels and the digit at its centre. Item i of a split is a
pure function of (VERSION, split, i): it has its own counter-based random stream, so neither the
batch nor the number of processes can change it. The look follows Netzer et al., "Reading Digits in
Natural Images with Unsupervised Feature Learning" (2011); no photograph is copied. An item is made
in three steps: glyphs -> scene -> photograph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray

from triptych.data import workers
from triptych.data.sources import Columns, Item, Origin, PartName, Source
from triptych.data.street_digits.scene import SIDE, draw_scene, photograph
from triptych.hardware import usable_cores

VERSION = 1  # raised whenever one pixel would change; part of the cache key

Split = Literal["train", "test"]
Items = tuple[NDArray[np.uint8], NDArray[np.int64]]
SPLIT_NUMBER: dict[Split, int] = {"train": 0, "test": 1}
BLOCK = 256  # items a worker draws between two answers
WORTH_A_WORKER = 1000  # items; for fewer, starting a process costs more than it saves
NAME = "street-digits"
COUNTS: dict[Split, int] = {"train": 20_000, "test": 4_000}


def stream(split: Split, index: int) -> Generator:
    """The random stream of one item."""
    if split not in SPLIT_NUMBER:
        raise ValueError(f'split must be "train" or "test", not {split!r}')
    if index < 0:
        raise ValueError(f"index must be 0 or more, not {index}")
    # The low counter words count the draws of one item; the high ones name the item.
    counter = np.array([0, 0, index, SPLIT_NUMBER[split]], np.uint64)
    return Generator(Philox(counter=counter, key=VERSION))


def draw(split: Split, indices: Sequence[int] | range) -> Items:
    """Draw some items: images uint8 [N,3,32,32] and labels int64 [N] in 0..9.

    Image i depends on (split, i) alone. Raises ValueError for a negative index or another split.
    """
    images = np.empty((len(indices), 3, SIDE, SIDE), np.uint8)
    labels = np.empty(len(indices), np.int64)
    for row, index in enumerate(indices):
        rng = stream(split, int(index))
        labels[row] = int(10 * rng.random())
        images[row] = photograph(rng, draw_scene(rng, int(labels[row])))
    return images, labels


def draw_blocks(split: Split, count: int, processes: int | None = None) -> Iterator[Items]:
    """Items 0..count-1, a block at a time, drawn by worker processes.

    processes: None means one per usable core; with 1, or few items, all is drawn in this process
    """
    stream(split, 0)  # refuses a wrong split before any process starts
    if count < 0:
        raise ValueError(f"count must be 0 or more, not {count}")
    blocks = [(split, range(i, min(i + BLOCK, count))) for i in range(0, count, BLOCK)]
    wanted = usable_cores() if processes is None else processes
    wanted = min(wanted, count // WORTH_A_WORKER)
    if wanted < 2:
        yield from map(draw_block, blocks)
        return
    for block, outcome in zip(blocks, workers.in_order(draw_block, blocks, wanted), strict=True):
        yield draw_block(block) if isinstance(outcome, workers.WorkerDiedError) else outcome


def draw_block(block: tuple[Split, range]) -> Items:
    """The function of a worker: `draw` one block."""
    return draw(*block)


def draw_many(split: Split, count: int, processes: int | None = None) -> Items:
    """Items 0..count-1 at once; the same arrays as draw(split, range(count))."""
    drawn = [draw(split, []), *draw_blocks(split, count, processes)]
    images, labels = zip(*drawn, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def find(columns: Columns) -> Origin:
    """The origin of street-digits, which has a test part and ten classes."""
    identity = {"source": NAME, "drawing": VERSION, "labels": columns.labeled}
    return Origin(NAME, identity, lambda progress: read(columns))


def read(columns: Columns) -> Source:
    """Items of both splits, drawn while they are asked for."""

    def items() -> Iterator[Item]:
        for split, count in COUNTS.items():
            part: PartName = split
            index = 0
            for images, labels in draw_blocks(split, count):
                for image, label in zip(images, labels.tolist(), strict=True):
                    digit = label if columns.labeled else None
                    yield Item(f"{split}[{index}]", image.transpose(1, 2, 0), digit, part)
                    index += 1

    return Source(items, sum(COUNTS.values()), classes=tuple("0123456789"))
