"""Precision, recall, density, coverage and the kernel distance against plain definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.truths import coverage, independent, normal
from triptych.metrics import NotDefinedError
from triptych.metrics import kernel_distance as kernels
from triptych.metrics import prdc as module
from triptych.metrics.intervals import group_numbers
from triptych.metrics.kernel_distance import Kernels, kernel_distance, kernel_value
from triptych.metrics.prdc import (
    Neighbours,
    balls_around,
    neighbours,
    squared_radii,
    subsets,
)

# Five points on a line, their balls for k = 1, and three generated ones.
REAL = torch.tensor([[0.0], [1.0], [3.0], [7.0], [15.0]])
FAKE = torch.tensor([[0.5], [0.7], [30.0]])


def test_shares_by_hand() -> None:
    """Balls reach 1, 1, 2, 4, 8 around the real points, 0.2, 0.2, 29.3 around the others."""
    assert reach(REAL, 1).tolist() == [1, 1, 2, 4, 8]
    torch.testing.assert_close(reach(FAKE, 1).float(), torch.tensor([0.2, 0.2, 29.3]))
    found = neighbours(REAL, FAKE, k=1, intervals=False)
    assert found.precision.value == pytest.approx(2 / 3)  # 30 lies in no ball
    assert found.recall.value == pytest.approx(4 / 5)  # 30 reaches down to 0.7
    assert found.density.value == pytest.approx((2 + 2 + 0) / 3)  # 0.5, 0.7 in the balls of 0, 1
    assert found.coverage.value == pytest.approx(2 / 5)


def reach(points: Tensor, k: int) -> Tensor:
    """Radius of each point's ball."""
    everything = torch.ones(1, len(points), dtype=torch.bool)
    return squared_radii(points, k, everything)[0][0].sqrt()


def values(found: Neighbours) -> list[float]:
    shares = (found.precision, found.recall, found.density, found.coverage)
    return [share.value for share in shares]


def plain(real: Tensor, fake: Tensor, k: int) -> list[float]:
    """The definitions, pair by pair."""

    def far(a: Tensor, b: Tensor) -> float:
        return float(((a - b) ** 2).sum().sqrt())

    def reach(points: Tensor) -> list[float]:
        return [
            sorted(far(p, q) for j, q in enumerate(points) if j != i)[k - 1]
            for i, p in enumerate(points)
        ]

    around_real, around_fake = reach(real), reach(fake)
    inside = [[far(x, y) <= r for x, r in zip(real, around_real, strict=True)] for y in fake]
    precision = sum(any(row) for row in inside) / len(fake)
    density = sum(map(sum, inside)) / (k * len(fake))
    coverage = sum(any(row[i] for row in inside) for i in range(len(real))) / len(real)
    recall = sum(
        any(far(x, y) <= r for y, r in zip(fake, around_fake, strict=True)) for x in real
    ) / len(real)
    return [precision, recall, density, coverage]


@pytest.mark.parametrize("rows", [7, 1024])
def test_shares_are_their_definitions(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In chunks as at once, real and generated not to be swapped."""
    monkeypatch.setattr(module, "ROWS", rows)
    monkeypatch.setattr(module, "COLUMNS", rows)
    real, fake = normal(40, 3), 0.8 * normal(30, 3, seed=1) + 0.5
    exact = plain(real, fake, 3)
    assert values(neighbours(real, fake, k=3)) == pytest.approx(exact)
    assert values(neighbours(real, fake, k=3, intervals=False)) == pytest.approx(exact)
    assert len(set(exact)) == 4


def clipped_by_definition(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, float]:
    """Pair by pair, in NumPy and SciPy: clipped density, and coverage as it is before calibration.

    Calibrated by the mean of min(J, k) / k for J of SciPy's beta-binomial distribution.
    """
    among = np.linalg.norm(real[:, None] - real, axis=2)
    np.fill_diagonal(among, np.inf)
    radii = np.sort(among, axis=1)[:, k - 1]
    least = np.minimum(radii, np.median(radii))
    apart = np.linalg.norm(real[:, None] - fake, axis=2)
    ours, theirs = (np.minimum((d <= least[:, None]).sum(0) / k, 1).mean() for d in (apart, among))
    filled = np.minimum((apart <= radii[:, None]).sum(1) / k, 1).mean()
    count, n = len(fake), len(real)
    curve = []
    for m in range(count + 1):
        j = np.arange(m + 1)
        curve.append((np.minimum(j, k) / k * stats.betabinom.pmf(j, m, k, n - k)).sum())
    share = np.interp(filled, curve, np.arange(count + 1) / count)
    return min(1.0, ours / theirs), float(share)


@pytest.mark.parametrize("rows", [7, 1024])
def test_clipped_numbers_are_their_definitions(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", rows)
    real, fake = normal(60, 3), 0.8 * normal(45, 3, seed=1) + 0.7
    fake[30:] += 20
    for k in (2, 5):
        expected = clipped_by_definition(real.numpy(), fake.numpy(), k)
        for intervals in (True, False):
            found = neighbours(real, fake, k=k, intervals=intervals)
            pair = found.clipped_density.value, found.clipped_coverage.value
            assert pair == pytest.approx(expected, rel=1e-6)
        assert 0 < expected[0] < 1 and 0 < expected[1] < 1 and expected[0] != expected[1]


def test_halves_of_clipped_numbers_are_measured_as_if_they_were_alone() -> None:
    """Each half has its own median ball, its own score among real images and its own curve."""
    real, fake = normal(60, 3), 0.8 * normal(50, 3, seed=1) + 0.9
    fake[35:] += 20
    halves = subsets(60, "real")[1:], subsets(50, "generated")[1:]
    alone = np.array(
        [
            [clipped_by_definition(real[kept].numpy(), fake.numpy(), 2) for kept in halves[0]],
            [clipped_by_definition(real.numpy(), fake[kept].numpy(), 2) for kept in halves[1]],
        ]
    )  # [side,half,number]
    assert alone.max() < 1
    margins = stats.t.ppf(0.975, 20) * np.sqrt(alone.var(axis=1, ddof=1).sum(0))
    found = neighbours(real, fake, k=2)
    for each, margin in zip((found.clipped_density, found.clipped_coverage), margins, strict=True):
        assert each.high == pytest.approx(min(1, each.value + margin), rel=1e-4)
        assert each.low == pytest.approx(max(0, each.value - margin), rel=1e-4, abs=1e-6)


def test_a_share_of_good_samples_scores_that_share() -> None:
    """The others lie far away: linear from 0 to 1, where coverage itself is 0.73 at 0.3."""
    for share in (0.0, 0.3, 0.6, 1.0):
        scores = []
        for seed in range(4):
            real, samples = normal(300, 6, seed=seed), normal(300, 6, seed=100 + seed)
            samples[round(share * 300) :] += 1000
            found = neighbours(real, samples, intervals=False)
            scores.append((found.clipped_density.value, found.clipped_coverage.value))
        assert np.mean(scores, axis=0) == pytest.approx([share, share], abs=0.05)
    assert found.coverage.value > 0.9


def test_an_outlier_s_ball_lends_no_worth_to_what_is_nowhere() -> None:
    """Density counts samples in the huge ball around one far real image, clipped density none."""
    real = torch.cat([normal(99, 2), torch.tensor([[100.0, 0.0]])])
    samples = 50 + normal(100, 2, seed=1)
    samples[:, 1] = 0
    found = neighbours(real, samples, intervals=False)
    assert found.density.value == pytest.approx(1 / 5) and found.precision.value == 1
    assert found.clipped_density.value == 0


def test_images_near_to_many_do_not_make_up_for_bad_ones() -> None:
    """Half of the samples in the densest place, half nowhere: each good one counts as one, no more.

    So the clipped density is half of what the best samples would get.
    """
    real = normal(200, 2)
    samples = torch.cat([0.05 * normal(100, 2, seed=1), 1000 + normal(100, 2, seed=2)])
    found = neighbours(real, samples, intervals=False)
    best = 1 / balls_around(real, 5, torch.ones(1, 200, dtype=torch.bool)).selfhood.item()
    assert found.density.value > 0.55
    assert found.clipped_density.value == pytest.approx(best / 2, rel=0.01)
    assert found.clipped_coverage.value < 0.2  # and they fill little


def test_intervals_of_clipped_numbers_hold_the_expected_value() -> None:
    found = [
        neighbours(normal(150, 8, seed=2 * repeat), 1.3 * normal(150, 8, seed=2 * repeat + 1) + 0.4)
        for repeat in range(100)
    ]
    for name in ("clipped_density", "clipped_coverage"):
        estimates = [getattr(each, name) for each in found]
        assert 0.91 <= coverage(estimates) <= 1.0, name
        assert all(0 <= e.low <= e.value <= e.high <= 1 for e in estimates)


def test_halves_are_measured_as_if_they_were_alone() -> None:
    """Their spread is that of the definitions on each half, the other side being whole."""
    real, fake = normal(60, 3), 0.8 * normal(50, 3, seed=1) + 0.5
    halves = {"real": subsets(60, "real")[1:], "fake": subsets(50, "generated")[1:]}
    for kept in halves.values():
        assert kept.sum(1).tolist() == [len(kept[0]) // 2] * len(kept)
        assert (kept[::2] ^ kept[1::2]).all()
    alone = torch.tensor(
        [
            [plain(real[kept], fake, 2) for kept in halves["real"]],
            [plain(real, fake[kept], 2) for kept in halves["fake"]],
        ],
        dtype=torch.float64,
    )  # [side,half,share]
    angles = alone.clamp(max=1).sqrt().asin().var(1).sum(0).sqrt()
    found = neighbours(real, fake, k=2)
    quantile = stats.t.ppf(0.975, 20)
    for place, share in ((0, found.precision), (1, found.recall), (3, found.coverage)):
        ends = [np.arcsin(np.sqrt(end)) for end in (share.low, share.high)]
        centre = np.arcsin(np.sqrt(share.value))
        assert centre - ends[0] == pytest.approx(quantile * angles[place].item())
        assert ends[1] == pytest.approx(min(np.pi / 2, 2 * centre - ends[0]))
    margin = quantile * alone[:, :, 2].var(1).sum().sqrt().item()
    assert found.density.high - found.density.value == pytest.approx(margin)


@pytest.mark.parametrize(
    ("count", "dimensions"), [(200, 8), pytest.param(300, 4, marks=pytest.mark.sweep)]
)
def test_intervals_hold_the_expected_value(count: int, dimensions: int) -> None:
    found = [
        neighbours(
            normal(count, dimensions, seed=2 * repeat),
            0.9 * normal(count, dimensions, seed=2 * repeat + 1) + 0.15,
        )
        for repeat in range(200)
    ]
    for name in ("precision", "recall", "density", "coverage"):
        held = coverage([getattr(each, name) for each in found])
        assert 0.92 <= held <= 0.995, name  # of 0.95 so many in 200 by chance


def test_equal_sets_are_precise_and_covered() -> None:
    x = normal(200, 4)
    found = neighbours(x, x.clone())
    density = 6 / 5  # every ball holds its centre and 5 neighbours
    assert values(found) == pytest.approx([1, 1, density, 1])


def test_they_agree_with_scikit_learn_s_distances() -> None:
    """The published code's way: full distance matrices and partitions of them."""
    from sklearn.metrics import pairwise_distances

    real, fake = normal(300, 6), normal(250, 6, seed=1) * 1.2
    apart = pairwise_distances(real, fake)
    around = [np.partition(pairwise_distances(x), 5, axis=1)[:, 5] for x in (real, fake)]
    expected = [
        (apart < around[0][:, None]).any(0).mean(),
        (apart < around[1][None]).any(1).mean(),
        (apart < around[0][:, None]).sum(0).mean() / 5,
        (apart.min(1) < around[0]).mean(),
    ]
    assert values(neighbours(real, fake)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "one_mode", [True, False], ids=["half of the modes are lost", "half of the samples are noise"]
)
def test_swapping_the_sides_swaps_precision_and_recall(one_mode: bool) -> None:
    """A model of one mode is precise and recalls half; one with noise recalls all, half precise."""
    modes = torch.cat([normal(100, 4), normal(100, 4, seed=1) + 50])
    other = (
        normal(200, 4, seed=2)
        if one_mode
        else torch.cat(
            [normal(50, 4, seed=2), normal(50, 4, seed=3) + 50, 1000 * normal(100, 4, seed=4)]
        )
    )
    found, swapped = neighbours(modes, other), neighbours(other, modes)
    assert swapped.precision.value == found.recall.value
    assert swapped.recall.value == found.precision.value
    if one_mode:
        assert found.precision.value > 0.9 > 0.55 > found.recall.value
    else:
        assert found.recall.value > 0.85 > 0.55 > found.precision.value


def test_kernel_distance_is_its_definition() -> None:
    """Mean over pairs of different images, written as loops; signs and factors as they are."""
    x, y = normal(9, 4), 1.5 * normal(7, 4, seed=1)

    def k(a: Tensor, b: Tensor) -> float:
        return float((a @ b / 4 + 1) ** 3)

    def within(points: Tensor) -> float:
        pairs = list(itertools.permutations(points, 2))
        return sum(k(a, b) for a, b in pairs) / len(pairs)

    between = sum(k(a, b) for a, b in itertools.product(x, y)) / (9 * 7)
    assert kernel_distance(x, y).value == pytest.approx(within(x) + within(y) - 2 * between)


@pytest.mark.parametrize("rows", [7, 16, 1024])
def test_what_is_kept_of_the_real_side_changes_no_number(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64 by NumPy, from whole matrices with each pair twice: values and all left out."""
    monkeypatch.setattr(kernels, "ROWS", rows)
    x, y = 3 + normal(50, 4).float(), 3 + 1.2 * normal(67, 4, seed=1).float()
    a, b = x.double().numpy(), y.double().numpy()

    def mean(p: np.ndarray, q: np.ndarray, same: bool) -> float:
        every = (p @ q.T / 4 + 1) ** 3
        count = len(p) * (len(q) - 1) if same else every.size
        return float(every.sum() - same * np.trace(every)) / count

    def plain(p: np.ndarray, q: np.ndarray) -> float:
        return mean(p, p, True) + mean(q, q, True) - 2 * mean(p, q, False)

    known = Kernels.within(y)
    exact = pytest.approx(plain(a, b), rel=1e-9)
    assert kernel_value(x, y) == kernel_value(x, y, known) == exact
    found = kernel_distance(x, y, known)
    assert found.value == exact
    groups = group_numbers(50).numpy(), group_numbers(67).numpy()
    assert found.left_out["samples"] == pytest.approx(
        [plain(a[groups[0] != g], b) for g in range(20)], rel=1e-9
    )
    assert found.left_out["reference"] == pytest.approx(
        [plain(a, b[groups[1] != g]) for g in range(20)], rel=1e-9
    )


def test_kernel_distance_agrees_with_torchmetrics() -> None:
    poly_mmd = independent("torchmetrics.image.kid").poly_mmd
    x, y = normal(300, 16), 0.5 + normal(300, 16, seed=1)
    theirs = poly_mmd(x, y, degree=3, gamma=None, coef=1.0)
    assert kernel_distance(x, y).value == pytest.approx(float(theirs), rel=1e-9)


def test_the_kernel_distance_s_interval_holds_the_expected_value() -> None:
    estimates = [
        kernel_distance(
            0.9 * normal(200, 8, seed=2 * repeat) + 0.15, normal(200, 8, seed=2 * repeat + 1)
        )
        for repeat in range(200)
    ]
    truth = sum(e.value for e in estimates) / 200
    assert 0.91 <= coverage(estimates, truth) <= 0.98


def test_the_kernel_distance_s_interval_is_a_jackknife_s() -> None:
    """(G - 1) / G times the squares of what leaving a group out does, summed over both sides.

    Efron and Stein 1981; what is left out is held against NumPy above. A distance below
    zero is one, for it has no bias: its interval is not cut there.
    """
    found = kernel_distance(normal(60, 5), normal(50, 5, seed=1))
    sides = np.array([found.left_out["samples"], found.left_out["reference"]])  # [2,20]
    of_sides = 19 / 20 * ((sides - sides.mean(1, keepdims=True)) ** 2).sum(1)
    degrees = 19 * of_sides.sum() ** 2 / (of_sides**2).sum()  # Satterthwaite 1946
    margin = stats.t.ppf(0.975, degrees) * math.sqrt(of_sides.sum())
    assert (found.low, found.high) == pytest.approx((found.value - margin, found.value + margin))
    assert found.low < 0 < found.high


def test_the_kernel_distance_is_unbiased() -> None:
    """Over many pairs of equal distributions its mean is 0, within 4 standard errors."""
    values = torch.tensor(
        [
            kernel_distance(normal(20, 3, seed=i), normal(20, 3, seed=1000 + i)).value
            for i in range(200)
        ]
    )
    assert values.min() < 0 < values.max()
    assert abs(values.mean().item()) < 4 * values.std().item() / 200**0.5


def test_balls_of_copies_have_no_size() -> None:
    """Whether a sample lies in one would hang on rounding; a few copies are no such case."""
    generated, row = normal(40, 128), 1e3 * normal(1, 128)
    with pytest.raises(NotDefinedError, match="no_neighborhoods"):
        neighbours(row.repeat(40, 1), generated)
    with pytest.raises(NotDefinedError, match="no_neighborhoods"):
        neighbours(torch.cat([row.repeat(25, 1), normal(15, 128)]), generated)
    with pytest.raises(NotDefinedError, match="no_neighborhoods"):
        neighbours(torch.zeros(40, 128), generated)
    generated, real = normal(40, 5), normal(40, 5, seed=1)
    some = torch.cat([real[:1].repeat(10, 1), real[10:]])
    assert 0 < neighbours(some, generated).density.value < 2
    assert neighbours(real, 9 * normal(1, 5).repeat(40, 1)).precision.value == 0
