"""From items to pixels of the size models use: what worker processes do, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from triptych.data import splits, workers
from triptych.data.decode import Fit, fit_square, quietly, read_pixels
from triptych.data.sources.base import BadImageError, Item, UnreadableError
from triptych.hardware import usable_cores

BLOCK = 256  # items prepared together,
BLOCK_BYTES = 1 << 24  # or fewer where they are large
WORTH_WORKERS = 3000  # items; for fewer, starting processes costs more than it saves
FAINT = 16  # grey levels between an image's darkest and lightest value: it shows hardly anything
BLOCK_SECONDS = 300  # that a block may take,
SECONDS = 10  # and one image may take in a process of its own, after its block failed


@dataclass(frozen=True)
class Prepared:
    """A block of images after decoding and resizing, packed: it travels between processes.

    pixels:   uint8, image after image, (C,H,W) each
    channels: int8 (n,); 1 for grey (also where three channels agree), 3 for colour, 0 for bad
    digests:  of the full-size pixels, big-endian uint64 (n,2)
    sizes:    full height and width, int32 (n,2)
    faint:    how many are nearly of one colour
    bad:      why some are bad, by place in the block
    unread:   how many of these the system did not let us read
    """

    pixels: np.ndarray
    channels: np.ndarray
    digests: np.ndarray
    sizes: np.ndarray
    faint: int
    bad: dict[int, str]
    unread: int


def prepare(work: tuple[list[Item], int, Fit]) -> Prepared:
    """Decode and resize a block of items, to a resolution by a fit."""
    items, resolution, fit = work
    planes: list[np.ndarray] = []
    channels = np.zeros(len(items), dtype=np.int8)
    digests = np.zeros(len(items), dtype=splits.DIGEST)
    sizes = np.zeros((len(items), 2), dtype=np.int32)
    bad: dict[int, str] = {}
    unread = 0
    with quietly():
        for place, item in enumerate(items):
            try:
                full = read_pixels(item.content)
            except BadImageError as error:
                bad[place] = str(error)
                unread += isinstance(error, UnreadableError)
                continue
            if full.ndim == 3 and is_grey(full):
                full = full[..., 0]
            pixels = fit_square(full, resolution, fit)
            channels[place] = 1 if pixels.ndim == 2 else 3
            digests[place] = np.frombuffer(splits.pixel_digest(full), dtype=">u8")
            sizes[place] = full.shape[:2]
            planes.append(pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1))
    packed = np.concatenate([plane.reshape(-1) for plane in planes] or [np.empty(0, np.uint8)])
    return Prepared(packed, channels, digests, sizes, count_faint(packed, planes), bad, unread)


def count_faint(packed: np.ndarray, planes: list[np.ndarray]) -> int:
    """How many images have no two values further apart than FAINT."""
    if not planes:
        return 0
    starts = np.cumsum([0, *(plane.size for plane in planes[:-1])])
    apart = np.maximum.reduceat(packed, starts) - np.minimum.reduceat(packed, starts)
    return int((apart <= FAINT).sum())


def is_grey(pixels: np.ndarray) -> bool:
    """Whether the three channels of (H,W,3) agree; in most coloured images one row tells."""
    return all(
        bool((rows[..., 0] == rows[..., channel]).all())
        for rows in (pixels[:1], pixels)
        for channel in (1, 2)
    )


def prepare_all(
    items: Iterator[Item], count: int, resolution: int, fit: Fit
) -> Iterator[tuple[list[Item], Prepared]]:
    """Every block of items with what became of it; in worker processes where that pays.

    There, a file that kills its worker, or keeps it busy without end, is one more bad image.
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
    """Item by item in a process of their own: only the culprit is bad."""
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
    """Bytes in memory."""
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
