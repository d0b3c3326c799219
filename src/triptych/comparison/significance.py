"""Differences between models with their intervals: what decides whether one is better.

Two models measured against the same real images share what the choice of those images does to
both, so the interval of their difference is not that of two strangers. From nothing but entries of
results.json; better is what this module says, nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from triptych.records import MetricRecord

LEVEL = 0.975  # of each side of a 95 % interval
BOUNDS = ("lower bound", "upper bound")


@dataclass(frozen=True)
class Difference:
    """How much worse the first is than the second: below zero it is better. 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def better(self) -> Literal["first", "second", "undecided"]:
        """Which of the two: decided only where the interval excludes zero."""
        if self.high < 0:
            return "first"
        return "second" if self.low > 0 else "undecided"


def difference(first: MetricRecord, second: MetricRecord) -> Difference | None:
    """None where they cannot be compared: not defined, without intervals, or bound and value.

    With several trainings each, by Welch's interval of their means (1947, Biometrika 34); else
    with each group of images left out for both, where they keep such values; else, and for
    nearness to a floor, from their intervals as if they were independent (Zou and Donner 2008,
    Statistics in Medicine 27, eq. 4).
    """
    if first.kind in BOUNDS and second.kind not in BOUNDS:
        return None
    if second.kind in BOUNDS and first.kind not in BOUNDS:
        return None
    a, b = badness(first), badness(second)
    if a is None or b is None:
        return None
    value = a.value - b.value
    folded = first.better == "floor"  # distances from the floor have no deviation of their own
    ours, theirs = first.values or (), second.values or ()
    if len(ours) > 1 and len(theirs) > 1 and not folded:
        margin = welch(of_all(first, ours), of_all(second, theirs))
        return Difference(value, value - margin, value + margin)
    if not folded and pairs_up(first, second):
        margin = paired(first, second)
        return Difference(value, value - margin, value + margin)
    low = math.hypot(a.value - a.low, b.high - b.value)
    high = math.hypot(a.high - a.value, b.value - b.low)
    return Difference(value, value - low, value + high)


def higher(
    first: MetricRecord, second: MetricRecord
) -> Literal["first", "second", "undecided"] | None:
    """Which of two values is the higher one, by the interval of their difference.

    None where they cannot be compared. For quantities that are best at their floor, as sharpness.
    """
    apart = difference(replace(first, better="higher"), replace(second, better="higher"))
    return None if apart is None else apart.better


def pairs_up(first: MetricRecord, second: MetricRecord) -> bool:
    """Whether both keep values without groups of the same sides' images."""
    ours, theirs = first.left_out or {}, second.left_out or {}
    groups = [*ours.values(), *theirs.values()]
    return bool(groups) and set(ours) == set(theirs) and all(len(each) > 1 for each in groups)


@dataclass(frozen=True)
class Span:
    """A value with its interval on a scale where lower is better."""

    value: float
    low: float
    high: float


def badness(metric: MetricRecord) -> Span | None:
    """How bad it is: itself, its negative, or how far it is from the floor."""
    if metric.value is None or metric.low is None or metric.high is None:
        return None
    if not metric.defined or metric.better not in ("lower", "higher", "floor"):
        return None
    if metric.better == "floor" and metric.floor is None:
        return None
    ends = [of_all(metric, [end])[0] for end in (metric.low, metric.high)]
    inside = metric.better == "floor" and metric.low <= (metric.floor or 0.0) <= metric.high
    return Span(of_all(metric, [metric.value])[0], 0.0 if inside else min(ends), max(ends))


def of_all(metric: MetricRecord, values: Sequence[float]) -> list[float]:
    """Values on the scale where lower is better."""
    if metric.better == "higher":
        return [-value for value in values]
    if metric.better == "floor":
        return [abs(value - (metric.floor or 0.0)) for value in values]
    return list(values)


def paired(first: MetricRecord, second: MetricRecord) -> float:
    """Half the interval's width by the delete-group jackknife.

    Samples are each model's own, so their variances add; real images are the same for both, so
    each group of them is left out on both sides at once.
    """
    variance, degrees = 0.0, 0
    theirs_left_out = second.left_out or {}
    for side, values_of_first in (first.left_out or {}).items():
        ours = of_all(first, values_of_first)
        theirs = of_all(second, theirs_left_out[side])
        together = side == "reference" and len(ours) == len(theirs)
        sets = [[a - b for a, b in zip(ours, theirs, strict=True)]] if together else [ours, theirs]
        for values in sets:
            variance += (len(values) - 1) ** 2 / len(values) * variance_of(values)
            degrees += len(values) - 1
    return quantile(degrees) * math.sqrt(variance)


def welch(first: Sequence[float], second: Sequence[float]) -> float:
    """Half the width of the interval of the difference of two means."""
    shares = [variance_of(values) / len(values) for values in (first, second)]
    total = sum(shares)
    if total == 0:
        return 0.0
    counts = len(first) - 1, len(second) - 1
    degrees = total**2 / sum(s**2 / count for s, count in zip(shares, counts, strict=True))
    return quantile(degrees) * math.sqrt(total)


def quantile(degrees: float) -> float:
    """Of Student's distribution: how many deviations reach to the end of a 95 % interval."""
    # Imported late: the report needs it only where models are compared.
    from scipy import special

    return float(special.stdtrit(degrees, LEVEL))


def variance_of(values: Sequence[float]) -> float:
    """Unbiased variance of at least two values."""
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)
