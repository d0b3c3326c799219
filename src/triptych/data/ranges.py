"""Numbers of any type -> uint8: which of them become black and white, decided once for a source.

Every image adds to a summary of the numbers of its type. From the summary of all images follows
the range (low, high) of that type: low becomes 0, high becomes 255, linearly. A user's own range
(`--range LOW,HIGH`) stands above it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from triptych.records import Note

Number = int | float
Bounds = tuple[Number, Number]  # what becomes 0, and what becomes 255
BYTES: Bounds = (0, 255)
BYTE = "uint8"
PADDING = 0.05  # of a usual range's width: what floats may lie beyond it, as resampling leaves them
USUAL_FLOATS: tuple[Bounds, ...] = ((0, 1), (-0.5, 0.5), (-1, 1))
GREY_LEVELS = 16  # floats on 0..255 that are no other range have one above this
DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners give
FULL_TYPES = ("int8", "int16", "int32")  # with all bits used, their whole range is meant
CUT_SHARE = 0.01  # of the values beyond an end; more deserve a warning
TABLE_BITS = 16  # numbers of so many bits are looked up
CHUNK = 1 << 20  # numbers computed at a time


@dataclass(frozen=True, kw_only=True)
class NumberSummary:
    """The numbers of one type in some images.

    minimum, maximum: of the finite ones; the first is above the second where there are none
    whole:            whether all finite ones are whole
    values:           how many there are that are finite
    not_finite:       how many are NaN or infinite
    below, above:     how many lie beyond the ends of the range that they were converted by
    """

    minimum: Number = float("inf")
    maximum: Number = float("-inf")
    whole: bool = True
    values: int = 0
    not_finite: int = 0
    below: int = 0
    above: int = 0

    def __add__(self, other: NumberSummary) -> NumberSummary:
        return NumberSummary(
            minimum=min(self.minimum, other.minimum),
            maximum=max(self.maximum, other.maximum),
            whole=self.whole and other.whole,
            values=self.values + other.values,
            not_finite=self.not_finite + other.not_finite,
            below=self.below + other.below,
            above=self.above + other.above,
        )


Summaries = Mapping[str, NumberSummary]  # by the type's name, such as "uint16"


class Summarizer:
    """Adds up the numbers of images, type by type."""

    def __init__(self, bounds_of: Callable[[str], Bounds]) -> None:
        self.bounds_of = bounds_of  # the range by which a type is converted
        self.summaries: dict[str, NumberSummary] = {}
        self.plain = False  # whether bytes are known to be plain ones

    def add(self, pixels: np.ndarray, seen: np.ndarray | None = None) -> Bounds:
        """Add an image's numbers (those where `seen`, (H,W)); returns the range of its type."""
        if self.plain and pixels.dtype == np.uint8:
            return BYTES
        kind = pixels.dtype.name
        bounds = self.bounds_of(kind)
        summary = summarize(pixels if seen is None else pixels[seen], bounds)
        before = self.summaries.get(kind)
        self.summaries[kind] = summary if before is None else before + summary
        # Of bytes that stay bytes only one question is open: whether any is above 1.
        self.plain = self.plain or (kind == BYTE and bounds == BYTES and summary.maximum > 1)
        return bounds


def summarize(pixels: np.ndarray, bounds: Bounds) -> NumberSummary:
    """The summary of one image's numbers."""
    if pixels.size == 0:
        return NumberSummary()
    if pixels.dtype == np.uint8 and bounds == BYTES:
        return NumberSummary(minimum=0, maximum=int(pixels.max()), values=pixels.size)
    low, high = pixels.min(), pixels.max()
    missing, whole = 0, True
    if pixels.dtype.kind == "f":
        if not (np.isfinite(low) and np.isfinite(high)):
            finite = np.isfinite(pixels)
            missing, pixels = int(pixels.size - finite.sum()), pixels[finite]
            if pixels.size == 0:
                return NumberSummary(not_finite=missing)
            low, high = pixels.min(), pixels.max()
        whole = bool((pixels == np.rint(pixels)).all())
    minimum, maximum = low.item(), high.item()
    return NumberSummary(
        minimum=minimum,
        maximum=maximum,
        whole=whole,
        values=pixels.size,
        not_finite=missing,
        below=int((pixels < bounds[0]).sum()) if minimum < bounds[0] else 0,
        above=int((pixels > bounds[1]).sum()) if maximum > bounds[1] else 0,
    )


def assumed(kind: str) -> Bounds:
    """The range of a type before its numbers are known.

    >>> assumed("uint8"), assumed("int16"), assumed("float32")
    ((0, 255), (-32768, 32767), (0, 1))
    """
    if np.dtype(kind).kind == "f":
        return (0, 1)
    limits = np.iinfo(kind)
    return int(limits.min), int(limits.max)


def decide(kind: str, summary: NumberSummary) -> Bounds:
    """The range that the numbers of a type show.

    >>> decide("uint16", NumberSummary(minimum=7, maximum=3000, values=9))
    (0, 4095)
    >>> decide("float32", NumberSummary(minimum=-0.98, maximum=1.0, whole=False, values=9))
    (-1, 1)
    """
    low, high = summary.minimum, summary.maximum
    if low > high:  # no finite number
        return assumed(kind)
    if np.dtype(kind).kind != "f":
        return of_signed(kind, low, high) if low < 0 else (0, top(high))
    usual = next((bounds for bounds in USUAL_FLOATS if within(low, high, bounds)), None)
    if usual is not None:
        return usual
    if high > GREY_LEVELS and within(low, high, BYTES):
        return BYTES
    if summary.whole and low >= 0:
        return 0, top(high)
    return (low, high) if low < high else (low, low + max(1, math.ulp(low)))


def within(low: Number, high: Number, bounds: Bounds) -> bool:
    """Whether numbers lie in a range, but for a little beyond its ends."""
    little = PADDING * (bounds[1] - bounds[0])
    return bounds[0] - little <= low and high <= bounds[1] + little


def top(maximum: Number) -> int:
    """The largest whole number of the bits that this one uses, rounded up to a usual depth."""
    bits = int(maximum).bit_length()
    if bits <= 1:
        return 1
    return int((1 << next((depth for depth in DEPTHS if bits <= depth), bits)) - 1)


def of_signed(kind: str, low: Number, high: Number) -> Bounds:
    """The range of whole numbers some of which are negative."""
    limits = np.iinfo(kind)
    half = limits.max // 2
    if kind in FULL_TYPES and (high > half or low < -half - 1):  # the highest bit is used
        return int(limits.min), int(limits.max)
    return (low, high) if low < high else (low, low + 1)


def to_uint8(pixels: np.ndarray, bounds: Bounds) -> np.ndarray:
    """Pixels with `bounds` as 0 and 255: rounded to the nearest, cut; what is not finite is 0."""
    if pixels.dtype == np.uint8 and bounds == BYTES:
        return pixels
    if pixels.dtype.kind != "f" and 8 * pixels.itemsize <= TABLE_BITS:
        return table(pixels.dtype, bounds)[pixels.view(f"u{pixels.itemsize}")]
    flat = pixels.reshape(-1)
    found = np.empty(flat.shape, np.uint8)
    for start in range(0, len(flat), CHUNK):
        found[start : start + CHUNK] = converted(flat[start : start + CHUNK], bounds)
    return found.reshape(pixels.shape)


@lru_cache(maxsize=8)
def table(dtype: np.dtype[Any], bounds: Bounds) -> np.ndarray:
    """What becomes of every number of a type, by its bits: uint8 [256] or [65536], kept."""
    every = np.arange(1 << (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}").view(dtype)
    return converted(every, bounds)


def converted(numbers: np.ndarray, bounds: Bounds) -> np.ndarray:
    """The same of a few numbers."""
    low, high = bounds
    levels = numbers.astype(np.float64)
    levels[~np.isfinite(levels)] = low
    levels -= low
    levels *= 255
    levels /= high - low  # after the product: halves are exact
    return levels.clip(0, 255, out=levels).round(out=levels).astype(np.uint8)


def notes(summaries: Summaries, bounds: Mapping[str, Bounds], given: bool) -> list[Note]:
    """What the user should know of the ranges, type by type."""
    found = []
    for kind, summary in sorted(summaries.items()):
        if given or bounds[kind] != BYTES or kind != BYTE:
            found.append(note_range(kind, summary, bounds[kind], given))
        for code, count, end in (
            ("cut_to_black", summary.below, bounds[kind][0]),
            ("cut_to_white", summary.above, bounds[kind][1]),
        ):
            if count > CUT_SHARE * summary.values:
                share = count / summary.values
                values = {"share": share, "most": CUT_SHARE, "end": end, "type": kind}
                found.append(Note(code, {**values}))
        if summary.not_finite:
            found.append(Note("not_finite_values", {"n": summary.not_finite, "type": kind}))
    return found


def note_range(kind: str, summary: NumberSummary, bounds: Bounds, given: bool) -> Note:
    """The note on the range of one type, with its bits where it follows from them."""
    values = {"type": kind, "low": bounds[0], "high": bounds[1]}
    if given:
        return Note("range_given", values)
    bits = int(bounds[1] + 1).bit_length() - 1 if isinstance(bounds[1], int) else 0
    if bounds[0] == 0 and bounds[1] == (1 << bits) - 1 and np.dtype(kind).kind != "f":
        used = max(1, int(summary.maximum).bit_length())
        return Note("range_of_bits", {**values, "bits": used})
    if summary.minimum > summary.maximum:
        return Note("range_without_numbers", values)
    return Note("range_taken", {**values, "minimum": summary.minimum, "maximum": summary.maximum})
