"""The Frechet distance against SciPy, torchmetrics and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor

from tests.truths import coverage, independent, normal
from triptych.metrics.frechet_distance import (
    Gaussian,
    Moments,
    distance,
    frechet_distance,
    frechet_value,
)
from triptych.metrics.intervals import (
    Estimate,
    extrapolated,
    group_numbers,
    jackknife,
    without_each_group,
)

REPEATS = 200


def mixed(seed: int, count: int = 300, d: int = 6) -> Tensor:
    """Correlated Gaussian features with a mean of their own."""
    return normal(count, d, seed=seed) @ normal(d, d, seed=seed + 100) + normal(d, seed=seed + 200)


def test_frechet_distance_is_the_formula_with_scipys_root() -> None:
    a, b = mixed(1), mixed(2, count=250)
    cov_a, cov_b = np.cov(a.numpy(), rowvar=False), np.cov(b.numpy(), rowvar=False)
    means = a.numpy().mean(0) - b.numpy().mean(0)
    root = linalg.sqrtm(cov_a @ cov_b).real
    expected = means @ means + np.trace(cov_a + cov_b - 2 * root)
    assert frechet_distance(a, b).value == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_is_torchmetrics_fid() -> None:
    _compute_fid = independent("torchmetrics.image.fid")._compute_fid
    a, b = mixed(3), mixed(4)
    expected = _compute_fid(a.mean(0), torch.cov(a.T), b.mean(0), torch.cov(b.T))
    assert frechet_distance(a, b).value == pytest.approx(expected.item(), rel=1e-6)


def test_distance_of_known_gaussians() -> None:
    """Commuting covariances: |m1 - m2|^2 + sum of (s1 - s2)^2."""
    turn = torch.linalg.qr(normal(4, 4)).Q
    s1, s2 = torch.tensor([1.0, 2, 3, 0]).double(), torch.tensor([2.0, 2, 0, 5]).double()
    means = normal(4, seed=1), normal(4, seed=2)
    cov1, cov2 = (turn @ torch.diag(s**2) @ turn.T for s in (s1, s2))
    expected = (means[0] - means[1]).square().sum() + (s1 - s2).square().sum()
    found = distance(Gaussian(means[0], cov1), Gaussian(means[1], cov2))
    assert found == pytest.approx(expected.item(), rel=1e-9)


def test_distance_to_itself_is_zero_also_when_singular() -> None:
    a = mixed(5)
    assert frechet_distance(a, a.clone()).value == pytest.approx(0, abs=1e-6)
    flat = torch.cat([a, a[:, :3]], dim=1)  # rank 6 of 9
    assert frechet_distance(flat, flat.clone()).value == pytest.approx(0, abs=1e-6)
    few = mixed(6, count=4, d=20)  # fewer images than features
    shifted = frechet_distance(few, few + 2.0)
    assert shifted.value == pytest.approx(4 * 20, rel=1e-6)
    assert math.isfinite(shifted.low) and math.isfinite(shifted.high)


def test_moments_without_a_group_are_those_of_the_rest() -> None:
    x = mixed(7) + 50  # a large mean: where differences of sums could lose digits
    kept = Moments.of(x).without(Moments.of(x[40:90])).gaussian()
    again = Moments.of(torch.cat([x[:40], x[90:]])).gaussian()
    torch.testing.assert_close(kept.mean, again.mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(kept.covariance, again.covariance, rtol=1e-8, atol=1e-8)
    expected = np.cov(np.delete(x.numpy(), range(40, 90), axis=0), rowvar=False)
    np.testing.assert_allclose(kept.covariance, expected, rtol=1e-8)
    assert distance(kept, again) == pytest.approx(0, abs=1e-6)


def test_what_is_left_out_is_what_starting_anew_gives() -> None:
    """Moments less a group, a root that is kept: the same as the distance of the rest."""
    a, b = mixed(8, count=100) + 30, mixed(9, count=80)
    found = frechet_distance(a, b).left_out
    assert [len(values) for values in found.values()] == [20, 20]
    for group in (0, 7, 19):
        of_rest = group_numbers(100) != group, group_numbers(80) != group
        assert found["samples"][group] == pytest.approx(frechet_value(a[of_rest[0]], b), rel=1e-8)
        assert found["reference"][group] == pytest.approx(frechet_value(a, b[of_rest[1]]), rel=1e-8)


def test_floors_lose_no_digits_far_from_zero() -> None:
    """Without an interval as with one: both sets lie around 1e7, where squares hold few digits."""
    a, b = mixed(5, count=60), mixed(6, count=70)
    near = frechet_value(a, b)
    assert frechet_value(a + 1e7, b + 1e7) == pytest.approx(near, rel=1e-6)
    assert frechet_distance(a + 1e7, b + 1e7).value == pytest.approx(near, rel=1e-6)


def test_features_far_from_zero_keep_their_digits() -> None:
    """Single numbers, moved by 1e6: (mean difference)^2 + (difference of deviations)^2."""
    a, b = normal(50, 1) + 1e6 + 0.5, 2 * normal(60, 1, seed=1) + 1e6
    exact = (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2
    assert frechet_distance(a, b).value == pytest.approx(exact.item(), rel=1e-8)


def shifted_pair(repeat: int, count: int = 400) -> tuple[Tensor, Tensor]:
    """Samples N(0.15, 0.9^2) and real ones N(0, 1) in 16 dimensions."""
    return normal(count, 16, seed=2 * repeat) * 0.9 + 0.15, normal(count, 16, seed=2 * repeat + 1)


SHIFTED = 16 * (0.15**2 + 0.1**2)


@pytest.fixture(scope="module")
def shifted() -> list[Estimate]:
    return [frechet_distance(*shifted_pair(repeat)) for repeat in range(REPEATS)]


def test_the_interval_holds_the_expected_value(shifted: list[Estimate]) -> None:
    assert 0.92 <= coverage(shifted) <= 0.98


def test_between_equals_the_interval_is_wide_rather_than_narrow() -> None:
    """The jackknife counts interactions twice (Efron and Stein 1981): there is nothing else."""
    estimates = [
        frechet_distance(normal(200, 6, seed=2 * r), normal(200, 6, seed=2 * r + 1))
        for r in range(REPEATS)
    ]
    assert coverage(estimates) >= 0.95


def test_extrapolation_takes_the_bias_away(shifted: list[Estimate]) -> None:
    """At 400 images the distance is 1.7 times the truth; extrapolated it holds the truth."""
    limits = [extrapolated(estimate) for estimate in shifted]
    assert sum(e.value for e in shifted) / REPEATS > 1.6 * SHIFTED
    assert sum(e.value for e in limits) / REPEATS == pytest.approx(SHIFTED, abs=0.02)
    assert coverage(shifted, SHIFTED) < 0.1
    assert 0.92 <= coverage(limits, SHIFTED) <= 0.98


def test_extrapolation_is_exact_where_the_bias_falls_as_one_over_n() -> None:
    """The biased variance of n values is (n - 1) / n of the unbiased one."""
    values = normal(40, seed=5)

    def variance(x: Tensor) -> float:
        return x.var(correction=0).item()

    left_out = without_each_group(variance, values[:20])  # one of twenty at a time
    found = extrapolated(jackknife(variance(values[:20]), {"samples": left_out}))
    assert found.value == pytest.approx(values[:20].var().item(), rel=1e-9)


def test_the_distance_of_many_features_is_that_of_scipys_root() -> None:
    """At 512 of them, to a millionth; benchmarks/metrics.py has 2,048, and how long both take."""
    a, b = (Moments.of(normal(1200, 512, seed=s) * (1 + s)).gaussian() for s in (0, 1))
    root = linalg.sqrtm((a.covariance @ b.covariance).numpy()).real
    means = (a.mean - b.mean).square().sum()
    expected = means + a.covariance.trace() + b.covariance.trace() - 2 * np.trace(root)
    assert distance(a, b) == pytest.approx(expected.item(), rel=1e-6)
