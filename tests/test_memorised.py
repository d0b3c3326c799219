"""Memorised samples: found where they are, one in a hundred where there are none."""

from __future__ import annotations

import pytest
import torch

from tests.truths import coverage, normal
from triptych.metrics import NotDefinedError
from triptych.metrics import memorised as module
from triptych.metrics.memorised import copied, expected_share, memorised, nearest, own_exemplar


@pytest.mark.parametrize("rows", [7, 512])
def test_nearest_is_the_nearest(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In chunks as at once; SciPy's distances."""
    from scipy.spatial.distance import cdist

    monkeypatch.setattr(module, "ROWS", rows)
    monkeypatch.setattr(module, "COLUMNS", rows)
    x, training = normal(30, 5), normal(40, 5, seed=1)
    found, apart = nearest(x, training), cdist(x, training)
    assert found.distance.tolist() == pytest.approx(apart.min(1))
    assert found.index.tolist() == apart.argmin(1).tolist()
    apart.sort(axis=1)
    assert found.second.tolist() == pytest.approx(apart[:, 1])
    assert found.ratio.tolist() == pytest.approx(apart[:, 0] / apart[:, 1])
    assert nearest(x, training[:1]).ratio.tolist() == [0] * 30  # there is no second one


def test_of_equal_training_images_the_first_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they are searched one after the other."""
    monkeypatch.setattr(module, "COLUMNS", 2)
    training = torch.tensor([[5.0], [1.0], [1.0], [1.0], [5.0]])
    assert nearest(torch.tensor([[0.0], [6.0]]), training).index.tolist() == [1, 0]


def test_as_near_as_one_in_a_hundred_is_not_nearer() -> None:
    """Held-out images all at distance 1: a sample at 1 is as near as they are."""
    held_out, samples = torch.ones(50).double(), torch.tensor([1.0] * 9 + [0.5]).double()
    assert memorised(samples, held_out).value == pytest.approx(0.1)


def test_a_share_s_interval_ends_at_one() -> None:
    """Held-out images whose nearest hundredth is near 1 or at 3: most samples lie between."""
    held_out = torch.cat([torch.ones(1), torch.full((149,), 3.0)]).double()
    samples = torch.cat([torch.full((95,), 2.0), torch.full((5,), 9.0)]).double()
    found = memorised(samples, held_out)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high == 1


def test_a_model_that_draws_from_the_data_memorises_one_in_a_hundred() -> None:
    training = normal(500, 6)
    fresh, held_out = (nearest(normal(2000, 6, seed=s), training).distance for s in (1, 2))
    found = memorised(fresh, held_out)
    assert found.low <= 0.01 <= found.high
    assert found.value == pytest.approx(0.01, abs=0.006)


def test_copies_are_counted() -> None:
    """Three in ten samples are training images, hardly changed."""
    training = normal(500, 6)
    held_out = nearest(normal(2000, 6, seed=1), training).distance
    copies = training[:300] + 1e-3 * normal(300, 6, seed=2)
    samples = torch.cat([copies, normal(700, 6, seed=3)])
    found = memorised(nearest(samples, training).distance, held_out)
    assert found.value == pytest.approx(0.3 + 0.7 * 0.01, abs=0.01)
    assert found.low > 0.2
    copied = nearest(copies, training)
    assert copied.index.tolist() == list(range(300))


def test_held_out_images_at_no_distance_leave_nothing_to_compare_with() -> None:
    """Features of copies coincide exactly, however long they are."""
    training = 1e3 * normal(50, 128).float()
    held_out = nearest(training[:40], training).distance
    assert held_out.tolist() == [0] * 40
    with pytest.raises(NotDefinedError, match="held_out_coincide"):
        memorised(torch.rand(30, dtype=torch.float64), held_out)
    one_in_two_hundred = torch.cat([torch.zeros(1), torch.rand(199)]).double()
    assert memorised(torch.zeros(30).double(), one_in_two_hundred).value == 1


def test_nothing_near_leaves_room_for_a_little() -> None:
    """None of 500 samples: Wilson's upper end z^2 / (n + z^2), not zero."""
    found = memorised(torch.full((500,), 9.0), torch.rand(500, dtype=torch.float64))
    assert (found.value, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(1.959964**2 / (500 + 1.959964**2), rel=1e-6)


def test_the_interval_holds_the_expected_value() -> None:
    """Threshold and share both vary: distances uniform for held-out images, nearer for samples."""
    estimates = []
    for repeat in range(200):
        rng = torch.Generator().manual_seed(repeat)
        samples, held_out = torch.rand(2, 1000, generator=rng, dtype=torch.float64)
        estimates.append(memorised(samples**1.5, held_out))
    assert 0.91 <= coverage(estimates) <= 0.98


def test_few_copies_are_seen_by_the_ratio_where_the_share_is_blind() -> None:
    """1 in 200 samples is a copy: below the 1 % that `memorised` gives to whom copies nothing."""
    training = normal(500, 12)
    held_out = nearest(normal(2000, 12, seed=1), training)
    copies = training[:10] + 1e-3 * normal(10, 12, seed=2)
    samples = nearest(torch.cat([copies, normal(1990, 12, seed=3)]), training)
    share = memorised(samples.distance, held_out.distance)
    assert share.low < 0.01  # no finding
    found, floor = copied(samples.ratio), copied(held_out.ratio)
    assert found.value == pytest.approx(0.005) and floor.value == 0
    assert found.low > 0.002  # Wilson's, and above the floor


def test_typical_samples_are_near_to_many_and_copies_of_none() -> None:
    """Near the mean: by `memorised` 15 % are as near as the nearest 1 % of held-out images."""
    training = normal(500, 12)
    held_out = nearest(normal(2000, 12, seed=1), training).distance
    typical = nearest(0.3 * normal(500, 12, seed=2), training)
    assert memorised(typical.distance, held_out).value > 0.1
    assert copied(typical.ratio).value == 0


def test_copies_of_copies_are_no_copies_of_one_image() -> None:
    training = normal(20, 3).repeat(2, 1)
    assert nearest(training[:5], training).ratio.tolist() == [1] * 5


def test_shares_of_own_exemplars_have_intervals() -> None:
    found = own_exemplar(torch.tensor([True] * 90 + [False] * 10))
    assert found.value == 0.9 and 0.82 < found.low < 0.9 < found.high < 0.95


@pytest.mark.parametrize("count", [20, 99, 150, 2000])
def test_so_many_are_below_as_is_said(count: int) -> None:
    """Of uniform numbers a threshold is the share below it: its mean is the floor."""
    drawn = torch.rand(4000, count, generator=torch.Generator().manual_seed(count)).double()
    below = torch.tensor([module.threshold(row) for row in drawn])
    error = below.std().item() / len(below) ** 0.5
    assert below.mean().item() == pytest.approx(expected_share(drawn[0]), abs=4 * error)
    assert expected_share(drawn[0]) == (0.01 if count >= 99 else 1 / (count + 1))
    floor = module.MEMORISED.floor
    assert callable(floor)
    assert floor({}, {"test_nearest_distances": drawn[0]}) == expected_share(drawn[0])
