"""Differences between models with their intervals: what decides whether one is better.

Two models measured against the same real images share what the choice of those images does to
both, so the interval of their difference is not that of two strangers. From nothing but entries of
results.json; better is what this module says, nothing else.

A page compares every pair of models in every number. Each comparison alone errs one time in twenty
where there is nothing to find, so `held` decides them together (Holm 1979, Scandinavian Journal of
Statistics 6): the chance that any of them is wrong is at most one in twenty. That something is as
good as real images is another claim than that no difference was found, and has another test:
`equivalent` (Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from triptych.records import EXTRAPOLATED, MetricRecord

LEVEL = 0.975  # of each side of a 95 % interval
ROUNDING = 1e-9  # of a number, by sums in another order
ERROR = 0.05  # the chance of a wrong finding: of one comparison alone, of all of a page together
BOUNDS = ("lower bound", "upper bound")
# Found on two feature sets, of which neither may say the opposite of the other.
DISTANCES = ("frechet_distance", "kernel_distance", "sliced_distance")
# Of numbers whose floor is what a model without that fault has: below it none is better.
NOTHING_BELOW = ("memorised", "copied")

# Equivalence: how far from real images a whole interval may reach and still be called as good.
SHARPNESS_MARGIN = 0.1  # times the sharpness of real images, on both sides
RECOGNISED_MARGIN = 0.05  # of all samples, below the share of real images that is recognised
FLOOR_MARGIN = 1.25  # times the floor of a distance: the usual limit of bioequivalence
POWER = 0.8  # with which the smallest difference is seen that is told beside "not decided"

# How much a number varies from one training to the next, as a share of itself: the larger deviation
# of ten trainings of gan:r3 and of gan:course, 3 minutes each (benchmarks/results/gans_seeds.json).
TRAINING_SPREAD = {
    "frechet_distance": 0.23,
    "kernel_distance": 0.31,
    "precision": 0.09,
    "recall": 0.37,
    "density": 0.15,
    "coverage": 0.17,
    "recognisable": 0.11,
    "label_balance": 0.27,
    "sharpness": 0.11,
    "reconstruction_psnr": 0.05,
}
SPREAD_DEGREES = 9  # degrees of freedom of a deviation that ten trainings gave

Better = Literal["first", "second", "undecided"]


@dataclass(frozen=True)
class Difference:
    """How much worse the first is than the second: below zero it is better. 95 % interval.

    p:        the chance of a difference as large as this, or larger, where there is none
    beyond:   the same, where each was trained anew; None where nobody knows how trainings spread
    together: the number of comparisons that it was decided among
    disputed: whether the same distance on other features says the opposite
    """

    value: float
    low: float
    high: float
    p: float = 1.0
    beyond: float | None = None
    together: int = 1
    disputed: bool = False

    @property
    def better(self) -> Better:
        """Which of the two, as far as these trainings go: decided only where chance is ruled out.

        Alone, that is where the interval excludes zero.
        """
        if self.p > ERROR or self.disputed:
            return "undecided"
        return "first" if self.value < 0 else "second"

    def beside(self, others: Iterable[Difference | None]) -> Difference:
        """The same, disputed where one of the others, on other features, says the opposite."""
        return replace(self, disputed=any(each and self.contradicted_by(each) for each in others))

    def contradicted_by(self, other: Difference) -> bool:
        """Whether another difference of the same two has the other sign, beyond its interval.

        By that interval alone, for a contradiction asks for less proof than a finding.
        """
        return other.low > 0 > self.value or other.high < 0 < self.value

    @property
    def lasting(self) -> bool:
        """Whether another training of each would not turn it, by what is known of trainings."""
        return self.beyond is not None and self.beyond <= ERROR


def held(apart: Sequence[Difference | None]) -> list[Difference | None]:
    """The same differences, decided together: their p adjusted so that ERROR holds for all.

    Holm (1979): the smallest p is multiplied by their number m, the next one by m - 1 and so on,
    and none becomes smaller than the one before it. It holds however they depend on one another.
    """
    count = sum(each is not None for each in apart)
    p = holm([each.p if each else None for each in apart])
    beyond = holm([each.beyond if each else None for each in apart])
    return [
        None if each is None else replace(each, p=p[i] or 0.0, beyond=beyond[i], together=count)
        for i, each in enumerate(apart)
    ]


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p of each, at most 1; None stays None and is not counted.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    order = sorted((p, index) for index, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        adjusted[index] = largest
    return adjusted


def equivalent(metric: MetricRecord, low: float, high: float) -> bool:
    """Whether the whole interval lies within a margin: two one-sided tests (Schuirmann 1987)."""
    if metric.low is None or metric.high is None:
        return False
    return low <= metric.low and metric.high <= high


def beside_floor(metric: MetricRecord) -> Literal["below", "above", "across"]:
    """On which side of its floor a number is beyond chance; across where that is not decided.

    The floor may be of few real images and vary as the number does. Then the interval of their
    difference decides, as of two independent numbers (Zou and Donner 2008, eq. 4); a floor without
    an interval is taken as it is. Across too where there is no number, no interval, or no floor.
    """
    value, low, high, floor = metric.value, metric.low, metric.high, metric.floor
    if value is None or low is None or high is None or floor is None:
        return "across"
    floor_low = floor if metric.floor_low is None else metric.floor_low
    floor_high = floor if metric.floor_high is None else metric.floor_high
    if value - floor > math.hypot(value - low, floor_high - floor):
        return "above"
    if floor - value > math.hypot(high - value, floor - floor_low):
        return "below"
    return "across"


def smallest_seen(metric: MetricRecord) -> float | None:
    """The smallest difference from a fixed value that its interval would have shown.

    With the chance POWER; from the interval's width, so it needs no knowledge of the method but
    that over several trainings it is Student's.
    """
    if metric.low is None or metric.high is None:
        return None
    from scipy import special

    degrees = len(metric.values or ()) - 1 if metric.interval == "Student" else math.inf
    reach = 1 + float(special.stdtrit(degrees, POWER)) / quantile(degrees)
    return reach * (metric.high - metric.low) / 2


def difference(first: MetricRecord, second: MetricRecord) -> Difference | None:
    """None where they cannot be compared: not defined, without intervals, or unlike bounds.

    With several trainings each, by Welch's interval of their means (1947, Biometrika 34); else
    with each group of images left out for both, where they keep such values; else, and for
    nearness to a floor, from their intervals as if they were independent (Zou and Donner 2008,
    Statistics in Medicine 27, eq. 4).
    """
    a, b = badness(first), badness(second)
    if a is None or b is None or not may_be_compared(first, second, a.value - b.value):
        return None
    value = a.value - b.value
    folded = is_folded(first)  # distances from the floor have no deviation of their own
    ours, theirs = first.values or (), second.values or ()
    several = len(ours) > 1 and len(theirs) > 1
    if several and not folded:
        error, degrees = welch(of_all(first, ours), of_all(second, theirs))
        if error > 0:  # trainings that all agree to the last digit tell nothing of their spread
            p = two_sided(value, error, degrees)
            margin = quantile(degrees) * error
            return Difference(value, value - margin, value + margin, p, p)
    if not several and not folded and pairs_up(first, second):
        error, degrees = paired(first, second)
        margin = quantile(degrees) * error
        p = two_sided(value, error, degrees)
        beyond = luck_of_training(first, second)
        return Difference(value, value - margin, value + margin, p, beyond)
    low = math.hypot(a.value - a.low, b.high - b.value)
    high = math.hypot(a.high - a.value, b.value - b.low)
    # Intervals over trainings are Student's, with as many degrees as the fewer trainings have; that
    # of a single result beside them is its own.
    counts = [len(values) for values in (ours, theirs) if len(values) > 1]
    degrees = min(counts) - 1 if counts else math.inf
    p = two_sided(value, (low if value > 0 else high) / quantile(degrees), degrees)
    beyond = p if several else luck_of_training(first, second)
    return Difference(value, value - low, value + high, p, beyond)


def may_be_compared(first: MetricRecord, second: MetricRecord, value: float) -> bool:
    """Whether what they are lets this difference be read: a bound says something on one side alone.

    Bounds by one method are compared as they are. Of others, one that is at most something is below
    one that is at least, or exactly, something more; nothing else follows.

    value: how much worse the first is, as measured
    """
    bounds = [metric.kind in BOUNDS for metric in (first, second)]
    if not any(bounds) or (first.kind, first.method) == (second.kind, second.method):
        return True
    better, worse = (first, second) if value < 0 else (second, first)
    at_most, at_least = BOUNDS[::-1] if first.better == "lower" else BOUNDS
    return better.kind != at_least and worse.kind != at_most


def luck_of_training(first: MetricRecord, second: MetricRecord) -> float | None:
    """The p of a difference between single trainings, by what trainings are known to differ by.

    Sampling and training vary independently; on the scale of logarithms, for the spread is a share
    of the value. None where nobody measured it, or where a value is not positive.
    """
    spread = TRAINING_SPREAD.get(first.name)
    a, b = badness(first), badness(second)
    if spread is None or a is None or b is None:
        return None
    pair = [(metric, metric.value or 0.0) for metric in (first, second)]
    if min(value for _, value in pair) <= 0:
        return None
    errors = [
        ((m.high or 0.0) - (m.low or 0.0)) / 2 / quantile(math.inf) / v for m, v in pair
    ]  # of samples, relative
    relative = [math.hypot(error, spread) for error in errors]
    if is_folded(first):
        by = [share * value for share, (_, value) in zip(relative, pair, strict=True)]
        return two_sided(a.value - b.value, math.hypot(*by), SPREAD_DEGREES)
    ratio = math.log(pair[0][1] / pair[1][1])
    return two_sided(ratio, math.hypot(*relative), SPREAD_DEGREES)


def two_sided(value: float, error: float, degrees: float) -> float:
    """The chance of a value as far from zero, or farther, by Student's distribution; 1 at no error.

    An error of zero, or of what rounding leaves of it, is none that anybody knows.
    """
    from scipy import special

    if error <= ROUNDING * abs(value):
        return 1.0
    return 2 * float(special.stdtr(degrees, -abs(value) / error))


def higher(first: MetricRecord, second: MetricRecord) -> Difference | None:
    """By how much the first is the lower one of two values: `better` names the higher one.

    None where they cannot be compared. For quantities that are best at their floor, as sharpness.
    """
    return difference(replace(first, better="higher"), replace(second, better="higher"))


def number_key(metric: MetricRecord) -> tuple[object, ...]:
    """What must agree for the numbers of two models to be compared; bounds may be by any method."""
    count = metric.n if metric.moves_with_n else None
    return metric.name, metric.method == EXTRAPOLATED, metric.features, metric.reference, count


def is_folded(metric: MetricRecord) -> bool:
    """Whether it is worse by its distance from a floor, or above it alone."""
    return metric.better == "floor" or metric.name in NOTHING_BELOW


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
    if metric.name in NOTHING_BELOW:
        return [max(0.0, value - (metric.floor or 0.0)) for value in values]
    return list(values)


def paired(first: MetricRecord, second: MetricRecord) -> tuple[float, float]:
    """Standard error of the difference by the delete-group jackknife, and degrees of freedom.

    Those are Satterthwaite's (1946, Biometrics Bulletin 2): where one side varies most, they are
    that side's, infinite where none does.

    Samples are each model's own, so their variances add; real images are the same for both, so
    each group of them is left out on both sides at once.
    """
    shares: list[tuple[float, int]] = []  # of the variance, and degrees of freedom
    theirs_left_out = second.left_out or {}
    for side, values_of_first in (first.left_out or {}).items():
        ours = of_all(first, values_of_first)
        theirs = of_all(second, theirs_left_out[side])
        together = side == "reference" and len(ours) == len(theirs)
        sets = [[a - b for a, b in zip(ours, theirs, strict=True)]] if together else [ours, theirs]
        for values in sets:
            variance = (len(values) - 1) ** 2 / len(values) * variance_of(values)
            shares.append((variance, len(values) - 1))
    return satterthwaite(shares)


def welch(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Standard error of the difference of two means, and degrees of freedom (infinite at none)."""
    return satterthwaite([(variance_of(v) / len(v), len(v) - 1) for v in (first, second)])


def satterthwaite(shares: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Root of a sum of variances, each with its degrees of freedom, and the degrees of the sum."""
    total = sum(variance for variance, _ in shares)
    if total == 0:
        return 0.0, math.inf
    return math.sqrt(total), total**2 / sum(variance**2 / count for variance, count in shares)


def quantile(degrees: float) -> float:
    """Of Student's distribution: how many deviations reach to the end of a 95 % interval."""
    # Imported late: the report needs it only where models are compared.
    from scipy import special

    return float(special.stdtrit(degrees, LEVEL))


def variance_of(values: Sequence[float]) -> float:
    """Unbiased variance of at least two values."""
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)
