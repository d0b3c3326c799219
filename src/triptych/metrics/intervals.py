"""95 % intervals of the expected value at the sample count at hand.

The plain bootstrap repeats images and so changes what distances and neighbours measure; the
delete-group jackknife only leaves images out (Shao and Wu 1989, Annals of Statistics 17).

An estimate keeps its values without each group. So two models that were measured against the same
real images can be compared with each group left out for both, and what that group does to both
cancels (`comparison.differences`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from scipy import stats
from torch import Tensor

from triptych.records import Note
from triptych.seeding import generator

GROUPS = 20
# Methods, as entries of results.json name them.
JACKKNIFE, WILSON = "delete-group jackknife", "Wilson"
NORMAL = "normal"  # as files call Student's interval of a mean: their entries are matched by it
Z = 1.959963984540054  # the normal distribution's 97.5 % point

Side = Literal["samples", "reference"]  # whose images are left out: generated or real ones
LeftOut = Mapping[Side, Sequence[float]]


@dataclass(frozen=True)
class Estimate:
    """A number, its 95 % interval, and its values without each group of either side's images.

    note: what must be known to read it right
    """

    value: float
    low: float
    high: float
    left_out: LeftOut = field(default_factory=dict)
    note: Note | None = None


def group_numbers(count: int, groups: int = GROUPS) -> Tensor:
    """Which group each of `count` images is left out with: 0..groups-1, [count].

    Mixed by a fixed key: of images sorted by class each twentieth would make groups that are more
    alike than chance makes them, and intervals too narrow. The same count has the same groups, so
    that real images are left out alike for all models.
    """
    order = torch.randperm(count, generator=generator(0, "groups left out", count))
    return order % min(groups, count)


def jackknife(value: float, left_out: LeftOut, least: float = 0.0) -> Estimate:
    """Interval around `value` from its values with one group left out, for each side.

    The sides are independent: their variances add. `least` is a bound that the quantity cannot
    pass.
    """
    parts = []
    for values in left_out.values():
        count = len(values)
        mean = sum(values) / count
        parts.append(((count - 1) / count * sum((v - mean) ** 2 for v in values), count - 1))
    variance = sum(part for part, _ in parts)
    # The degrees of a sum of variances (Satterthwaite 1946, Biometrics Bulletin 2): few images of
    # one side are not made up for by many of the other.
    spread = sum(part**2 / degrees for part, degrees in parts if degrees)
    degrees = variance**2 / spread if spread else 1.0
    margin = float(stats.t.ppf(0.975, degrees)) * math.sqrt(variance)
    return Estimate(value, max(least, value - margin), value + margin, left_out)


def extrapolated(estimate: Estimate) -> Estimate:
    """What an estimate would be with infinitely many images on both sides; may pass its bound.

    Its bias falls as 1/n, so its values at n and at n (G - 1) / G images give the limit (Quenouille
    1956, Biometrika 43; for Frechet distances by fewer and smaller subsets arXiv:1911.07023, sec.
    4). The interval is as wide as the estimate's own.
    """
    shift = 0.0
    for values in estimate.left_out.values():
        shift -= (len(values) - 1) * (sum(values) / len(values) - estimate.value)
    moved = {side: [v + shift for v in values] for side, values in estimate.left_out.items()}
    return jackknife(estimate.value + shift, moved, least=-math.inf)


def jackknife_statistic(
    statistic: Callable[[Tensor], float], values: Tensor, side: Side, least: float = 0.0
) -> Estimate:
    """The same for a statistic of one side's rows, [N, ...]."""
    return jackknife(statistic(values), {side: without_each_group(statistic, values)}, least)


def without_each_group(statistic: Callable[[Tensor], float], values: Tensor) -> list[float]:
    """A statistic of rows [N, ...] without each group of them."""
    group = group_numbers(len(values))
    return [statistic(values[group != g]) for g in range(int(group.max()) + 1)]


def wilson(successes: int, count: int) -> Estimate:
    """Interval of a share (Wilson 1927, eq. 2); right at shares near 0 and 1 too."""
    interval = stats.binomtest(successes, count).proportion_ci(method="wilson")
    return Estimate(successes / count, float(interval.low), float(interval.high))


def wilson_of_share(share: float, count: float) -> Estimate:
    """The same from a share and how many independent images it is worth, which need not be whole.

    So that a share of other than independent images has an interval on the right scale, which is
    never empty (Kish 1965: the effective size of a sample).
    """
    spread = Z**2 / count
    middle = (share + spread / 2) / (1 + spread)
    margin = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    return Estimate(share, max(0.0, middle - margin), min(1.0, middle + margin))


def margin_of_mean(values: Tensor) -> float:
    """Half the width of the 95 % interval of a mean of values [N] (Student 1908)."""
    deviation = values.double().std().item() / math.sqrt(len(values))
    return float(stats.t.ppf(0.975, len(values) - 1)) * deviation


def mean_interval(values: Tensor) -> Estimate:
    """Mean over real images and its interval, Student's, [N] with N at least 2."""
    values = values.double()
    mean, margin = values.mean().item(), margin_of_mean(values)
    left_out = without_each_group(lambda x: x.mean().item(), values)
    return Estimate(mean, mean - margin, mean + margin, {"reference": left_out})
