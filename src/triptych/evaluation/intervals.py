"""95 % intervals of the expected value at the sample count at hand.

The plain bootstrap repeats images and so changes what distances and neighbours measure; the
delete-group jackknife only leaves images out (Shao and Wu 1989, Annals of Statistics 17).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

GROUPS = 20
Z = 1.959963984540054  # the normal distribution's 97.5 % point


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


def group_numbers(count: int, groups: int = GROUPS) -> Tensor:
    """Which group each of `count` images is left out with: 0..groups-1, [count]."""
    return torch.arange(count) % min(groups, count)


def jackknife(value: float, left_out: Sequence[Sequence[float]], least: float = 0.0) -> Estimate:
    """Interval around `value` from its values with one group left out, for each sample drawn.

    left_out: one sequence per independent sample (generated, reference), each of G values;
    their variances add. `least` is a bound that the quantity cannot pass.
    """
    variance, degrees = 0.0, 0
    for values in left_out:
        count = len(values)
        mean = sum(values) / count
        variance += (count - 1) / count * sum((v - mean) ** 2 for v in values)
        degrees += count - 1
    margin = float(stats.t.ppf(0.975, degrees)) * math.sqrt(variance)
    return Estimate(value, max(least, value - margin), value + margin)


def jackknife_statistic(
    statistic: Callable[[Tensor], float], values: Tensor, least: float = 0.0
) -> Estimate:
    """The same for a statistic of one sample's rows, [N, ...]."""
    group = group_numbers(len(values))
    left_out = [statistic(values[group != g]) for g in range(int(group.max()) + 1)]
    return jackknife(statistic(values), [left_out], least)


def wilson(successes: int, count: int) -> Estimate:
    """Interval of a share (Wilson 1927, eq. 2); right at shares near 0 and 1 too."""
    share = successes / count
    centre = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    spread = math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    margin = Z * spread / (1 + Z**2 / count)
    low = 0.0 if successes == 0 else max(0.0, centre - margin)  # rounding aside
    high = 1.0 if successes == count else min(1.0, centre + margin)
    return Estimate(share, low, high)


def mean_interval(values: Tensor) -> Estimate:
    """Mean and its normal interval, [N] with N at least 2."""
    values = values.double()
    mean = values.mean().item()
    margin = Z * values.std().item() / math.sqrt(len(values))
    return Estimate(mean, mean - margin, mean + margin)
