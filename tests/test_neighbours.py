"""Precision, recall, density, coverage and the kernel distance against plain definitions."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from tests.truths import normal
from triptych.evaluation import neighbours as module
from triptych.evaluation.kernel import kernel_distance
from triptych.evaluation.neighbours import neighbours, radii

# Five points on a line, their balls for k = 1, and three generated ones.
REAL = torch.tensor([[0.0], [1.0], [3.0], [7.0], [15.0]])
FAKE = torch.tensor([[0.5], [0.7], [30.0]])


def test_shares_by_hand() -> None:
    """Balls reach 1, 1, 2, 4, 8 around the real points, 0.2, 0.2, 29.3 around the others."""
    assert radii(REAL, 1).tolist() == [1, 1, 2, 4, 8]
    torch.testing.assert_close(radii(FAKE, 1).flatten(), torch.tensor([0.2, 0.2, 29.3]))
    found = neighbours(REAL, FAKE, k=1)
    assert found.precision == pytest.approx(2 / 3)  # 30 lies in no ball
    assert found.recall == pytest.approx(4 / 5)  # 30 reaches down to 0.7
    assert found.density == pytest.approx((2 + 2 + 0) / 3)  # 0.5 and 0.7 in the balls of 0 and 1
    assert found.coverage == pytest.approx(2 / 5)


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
    real, fake = normal(40, 3), 0.8 * normal(30, 3, seed=1) + 0.5
    found = neighbours(real, fake, k=3)
    exact = plain(real, fake, 3)
    assert [found.precision, found.recall, found.density, found.coverage] == pytest.approx(exact)
    assert len(set(exact)) == 4


def test_equal_sets_are_precise_and_covered() -> None:
    x = normal(200, 4)
    found = neighbours(x, x.clone())
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert found.density == pytest.approx(6 / 5)  # every ball holds its centre and 5 neighbours


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


def test_kernel_distance_agrees_with_torchmetrics() -> None:
    from torchmetrics.image.kid import poly_mmd

    x, y = normal(300, 16), 0.5 + normal(300, 16, seed=1)
    theirs = poly_mmd(x, y, degree=3, gamma=None, coef=1.0)
    assert kernel_distance(x, y).value == pytest.approx(float(theirs), rel=1e-9)


def test_kernel_distance_leaves_groups_out_of_rows_and_columns() -> None:
    """Its interval is that of a jackknife which starts anew each time."""
    from triptych.evaluation.intervals import group_numbers, jackknife

    x, y = normal(60, 5), normal(50, 5, seed=1)
    left_out = [
        [kernel_distance(x[group_numbers(60) != g], y).value for g in range(20)],
        [kernel_distance(x, y[group_numbers(50) != g]).value for g in range(20)],
    ]
    value = kernel_distance(x, y)
    exact = jackknife(value.value, left_out, least=-float("inf"))
    assert (value.low, value.high) == pytest.approx((exact.low, exact.high))


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
