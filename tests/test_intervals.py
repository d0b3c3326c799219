"""Intervals against closed forms and SciPy, and against repetition: do they hold the truth?"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from tests.truths import normal
from triptych.config import ImageShape
from triptych.metrics.bits_per_dim import in_units
from triptych.metrics.bits_per_dim import without_each_group as bits_without
from triptych.metrics.intervals import (
    GROUPS,
    extrapolated,
    group_numbers,
    jackknife,
    jackknife_statistic,
    mean_interval,
    wilson,
    without_each_group,
)


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    """Leaving out one of n values gives exactly the classical interval (Efron and Stein 1981)."""
    values = normal(12, seed=3)
    found = jackknife_statistic(lambda x: x.mean().item(), values, "samples", -math.inf)
    margin = stats.t.ppf(0.975, 11) * values.std().item() / math.sqrt(12)
    assert found.value == pytest.approx(values.mean().item())
    assert found.high - found.value == pytest.approx(margin, rel=1e-9)
    assert found.value - found.low == pytest.approx(margin, rel=1e-9)


def test_jackknife_in_groups_is_about_the_standard_error() -> None:
    values = [normal(400, seed=s) + 9 for s in range(100)]
    found = [jackknife_statistic(lambda x: x.mean().item(), x, "samples") for x in values]
    margins = sum((e.high - e.low) / 2 for e in found) / len(found)
    assert margins == pytest.approx(stats.t.ppf(0.975, 19) / math.sqrt(400), rel=0.05)


def test_two_samples_add_their_variances() -> None:
    left = [1.0, 2.0, 3.0, 4.0]
    one = jackknife(9, {"samples": left})
    two = jackknife(9, {"samples": left, "reference": left})
    ratio = stats.t.ppf(0.975, 6) / stats.t.ppf(0.975, 3) * math.sqrt(2)
    assert (two.high - 9) / (one.high - 9) == pytest.approx(ratio)
    assert jackknife(1.0, {"samples": left}).low == 0.0  # a distance is never below zero


def test_few_samples_are_not_made_up_for_by_many_real_images() -> None:
    """Where one side alone varies, its own number of values tells how sure its variance is."""
    still = [1e-6 * number for number in range(20)]
    found = jackknife(9, {"samples": [-1.0, 0.0, 1.0], "reference": still})
    alone = jackknife(9, {"samples": [-1.0, 0.0, 1.0]})
    assert found.high == pytest.approx(alone.high, rel=1e-6)
    assert alone.high - 9 == pytest.approx(stats.t.ppf(0.975, 2) * math.sqrt(4 / 3))
    assert jackknife(9, {"samples": [1.0, 1.0]}).high == 9


def test_the_limit_of_a_bias_that_falls_as_one_over_n_is_found() -> None:
    """T(n) = 3 + c/n exactly, of 12 images in 12 groups; the limit may lie below 0.

    Quenouille 1956: 12 T(12) - 11 T(11) is 3. All values move with it, the interval's width stays.
    """
    for limit in (3.0, -3.0):
        without = [limit + 5 / 11] * 11 + [limit + 5 / 11]
        before = jackknife(limit + 5 / 12, {"samples": without}, -math.inf)
        found = extrapolated(before)
        assert found.value == pytest.approx(limit) and found.low == pytest.approx(limit)
    spread = [2.9, 3.1] * 6
    before = jackknife(3.0, {"samples": spread}, -math.inf)
    found = extrapolated(replace(before, value=3.2))
    shift = 11 * 0.2  # minus (G - 1) times how far the mean without groups is from the value
    assert found.value == pytest.approx(3.2 + shift)
    assert found.left_out["samples"] == pytest.approx([v + shift for v in spread])
    assert found.high - found.value == pytest.approx(before.high - before.value)


def test_groups_are_equal_and_mixed() -> None:
    assert sorted(group_numbers(45).bincount().tolist()) == [2] * 15 + [3] * 5
    assert sorted(group_numbers(7).tolist()) == list(range(7))
    assert torch.equal(group_numbers(400), group_numbers(400))
    assert group_numbers(400)[:20].unique().numel() < 20  # no twenty in a row are in all groups


def test_images_sorted_by_class_have_no_narrower_intervals() -> None:
    """Each twentieth of them makes groups whose means hardly differ: intervals next to nothing.

    Groups that are mixed once for all are a draw themselves, so the width is right within chance.
    """
    widths = []
    for seed in range(60):
        values = normal(400, seed=seed)
        both = values, values.sort().values
        spans = [jackknife_statistic(lambda x: x.mean().item(), v, "samples", -9) for v in both]
        widths.append([each.high - each.low for each in spans])
    mixed, in_order = torch.tensor(widths).mean(0).tolist()
    assert 0.7 < in_order / mixed < 1.4


@pytest.mark.parametrize(("successes", "count"), [(0, 10), (3, 10), (10, 10), (431, 2000)])
def test_wilson_s_ends_are_the_shares_that_the_count_just_bears_out(
    successes: int, count: int
) -> None:
    """Wilson 1927: the roots p of (share - p)^2 = z^2 p (1 - p) / n, here by polynomial roots."""
    share, z = successes / count, stats.norm.ppf(0.975)
    low, high = np.sort(np.roots([1 + z**2 / count, -2 * share - z**2 / count, share**2]))
    found = wilson(successes, count)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    assert found.value == share


def test_mean_interval_is_scipys() -> None:
    """Student's: of five images the normal one would hold the mean in 88 % of the cases alone."""
    for count in (300, 5, 2):
        values = normal(count, seed=5)
        error = stats.sem(values.numpy())
        low, high = stats.t.interval(0.95, count - 1, values.mean().item(), error)
        found = mean_interval(values)
        assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
        bits = in_units(values, ImageShape(channels=1, resolution=1))
        assert (bits.nats_low, bits.nats_high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize("count", [7, 45])
def test_bits_leave_out_the_same_groups(count: int) -> None:
    """What tasks, which know no evaluation, keep of a likelihood: the mean of the rest, in bits."""
    nats, shape = 900 * normal(count, seed=4).abs(), ImageShape(channels=3, resolution=16)
    bits = nats / (768 * math.log(2))
    expected = without_each_group(lambda kept: kept.mean().item(), bits)
    assert bits_without(nats, shape) == pytest.approx(expected)
    assert len(expected) == min(count, GROUPS)
