"""The sliced distance against brute force, assignments by SciPy, and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import Tensor

from tests.truths import coverage, normal
from triptych.metrics import sliced_distance as module
from triptych.metrics.frechet_distance import frechet_value
from triptych.metrics.intervals import group_numbers, jackknife
from triptych.metrics.sliced_distance import Projected, directions, sliced_distance, sliced_value

REPEATS = 200


@pytest.fixture
def few_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for what holds with any directions."""
    few = directions(8)[:60]
    all_directions = directions.__wrapped__  # kept ones must not be those of so few
    monkeypatch.setattr(module, "DIRECTIONS", len(few))
    monkeypatch.setattr(module, "directions", lambda d: all_directions(d)[: len(few)])


def by_copies(x: Tensor, y: Tensor) -> float:
    """Each set repeated until both are equally large; sorted, they are matched one by one."""
    a, b = x.double().numpy(), y.double().numpy()
    size = np.lcm(len(a), len(b))
    squares = [
        np.mean(
            (np.repeat(np.sort(a @ u), size // len(a)) - np.repeat(np.sort(b @ u), size // len(b)))
            ** 2
        )
        for u in module.directions(x.shape[1])[: module.DIRECTIONS]
    ]
    return float(np.mean(squares))


@pytest.mark.parametrize(("ours", "theirs"), [(40, 40), (31, 44), (7, 100), (60, 20)])
def test_sets_of_any_sizes_are_matched_along_their_quantiles(ours: int, theirs: int) -> None:
    x, y = 3 + normal(ours, 5).float(), 3 + 1.5 * normal(theirs, 5, seed=1).float()
    exact = pytest.approx(by_copies(x, y), rel=1e-9)
    assert sliced_value(x, y) == sliced_distance(x, y).value == exact
    assert sliced_value(y, x) == exact  # nobody comes first


def test_sorting_is_the_best_assignment() -> None:
    """Along a direction, SciPy's assignment of points to points moves them as far in squares."""
    x, y = normal(12, 3), 1 + 2 * normal(12, 3, seed=1)
    costs = []
    for u in torch.from_numpy(directions(3)):
        squares = cdist((x @ u)[:, None], (y @ u)[:, None], "sqeuclidean")
        costs.append(squares[linear_sum_assignment(squares)].mean())
    assert sliced_value(x, y) == pytest.approx(np.mean(costs), rel=1e-9)


def test_what_is_left_out_is_what_starting_anew_gives() -> None:
    x, y = 2 + normal(50, 4), 1.3 * normal(67, 4, seed=1)
    found = sliced_distance(x, y)
    for group in (0, 7, 19):  # of 2 or 3 images, and of 3 or 4
        ours, theirs = group_numbers(50) != group, group_numbers(67) != group
        assert found.left_out["samples"][group] == pytest.approx(by_copies(x[ours], y), rel=1e-9)
        assert found.left_out["reference"][group] == pytest.approx(
            by_copies(x, y[theirs]), rel=1e-9
        )
    again = jackknife(found.value, found.left_out)
    assert (found.low, found.high) == (again.low, again.high)


def test_a_shift_is_its_square_over_the_number_of_features() -> None:
    """Each direction sees u.s of it, whose mean square over all directions is |s|^2 / d."""
    x, shift = normal(50, 6), torch.tensor([3.0, 0, 0, -4, 0, 0])
    along = torch.from_numpy(directions(6)) @ shift.double()
    assert sliced_value(x + shift, x) == pytest.approx(along.square().mean().item(), rel=1e-9)
    assert sliced_value(x + shift, x) == pytest.approx(25 / 6, rel=0.12)
    assert sliced_value(x, x) == 0
    assert sliced_value(1e4 + x, 1e4 + x[torch.randperm(50)]) < 1e-12


def test_gaussians_of_other_widths_come_to_the_closed_form() -> None:
    """Along any direction N(0, 1) and N(0, 4) are 1 apart, up to what 10,000 numbers say."""
    assert sliced_value(normal(20_000, 3), 2 * normal(20_000, 3, seed=1)) == pytest.approx(
        1, abs=0.03
    )


def test_equal_means_and_covariances_do_not_hide_a_difference() -> None:
    """Uniform numbers of deviation 1 beside normal ones: the Frechet distance sees nothing."""
    uniform = (torch.rand(3000, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1) * 3**0.5
    ours, others, real = uniform.double(), normal(3000, 2, seed=2), normal(3000, 2, seed=1)
    assert frechet_value(ours, real) < 3 * frechet_value(others, real)
    assert sliced_value(ours, real) > 10 * sliced_value(others, real)


def test_directions_are_unit_vectors_and_always_the_same() -> None:
    first = directions(7)
    directions.cache_clear()
    assert np.array_equal(first, directions(7)) and first.shape == (1000, 7)
    np.testing.assert_allclose((first**2).sum(1), 1)
    assert np.abs(first.mean(0)).max() < 5 / (7 * 1000) ** 0.5


def test_averages_of_a_staircase() -> None:
    """Of 1, 2, 4 over two parts: (1 + 2 / 2) / 1.5 and (2 / 2 + 4) / 1.5."""
    three = Projected(np.array([[4.0, 1.0, 2.0]]), None)
    assert three.averages(2)[0] == pytest.approx([2 / 1.5, 5 / 1.5])
    assert three.averages(6)[0] == pytest.approx([1, 1, 2, 2, 4, 4])
    assert three.averages(1)[0] == pytest.approx([7 / 3])


def test_chunks_change_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = normal(40, 5), 1 + normal(30, 5, seed=1)
    whole = sliced_distance(x, y)
    monkeypatch.setattr(module, "CHUNK", 7)
    parts = sliced_distance(x, y)
    assert parts.value == pytest.approx(whole.value, rel=1e-12)
    assert parts.left_out["samples"] == pytest.approx(whole.left_out["samples"], rel=1e-12)


@pytest.mark.usefixtures("few_directions")
@pytest.mark.parametrize(
    ("count", "dimensions", "shift", "scale"), [(200, 8, 0.15, 0.9), (300, 4, 0.3, 1.3)]
)
def test_the_interval_holds_the_expected_value(
    count: int, dimensions: int, shift: float, scale: float
) -> None:
    """Of the value at this count, which lies above that of the distributions themselves."""
    found = [
        sliced_distance(
            scale * normal(count, dimensions, seed=2 * repeat) + shift,
            normal(count, dimensions, seed=2 * repeat + 1),
        )
        for repeat in range(REPEATS)
    ]
    assert 0.92 <= coverage(found) <= 0.98
    truth = shift**2 + (1 - scale) ** 2
    assert 1.03 * truth < sum(each.value for each in found) / REPEATS < 2 * truth


@pytest.mark.usefixtures("few_directions")
def test_between_equals_the_bias_falls_as_one_over_n() -> None:
    """So values of other counts are not compared."""
    means = [
        sum(sliced_value(normal(n, 4, seed=r), normal(n, 4, seed=500 + r)) for r in range(40)) / 40
        for n in (100, 400)
    ]
    assert means[0] / means[1] == pytest.approx(4, rel=0.25)
