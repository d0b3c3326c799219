"""Lengths of paths whose geometry is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.truths import normal
from triptych.metrics import NotDefinedError
from triptych.metrics.paths import path_length, path_uniformity


def half_circles(points: int, even: bool = True) -> Tensor:
    """Three half circles of different size in the plane: [3,points,2]."""
    share = torch.linspace(0, 1, points, dtype=torch.float64)
    angle = math.pi * (share if even else share**2)
    circle = torch.stack([angle.cos(), angle.sin()], dim=1)
    return torch.stack([circle, 2 * circle + 1, 5 * circle])


def test_straight_even_paths_have_length_one_and_no_spread() -> None:
    ends = normal(2, 7, 1, 12)
    share = torch.linspace(0, 1, 16, dtype=torch.float64)[:, None]
    straight = torch.lerp(ends[0], ends[1], share)
    length, spread = path_length(straight), path_uniformity(straight)
    assert length.value == pytest.approx(1) and spread.value == pytest.approx(0, abs=1e-12)


def test_a_half_circle_is_half_pi_long() -> None:
    found = path_length(half_circles(400))
    assert found.value == pytest.approx(math.pi / 2, rel=1e-4)


def test_uneven_steps_spread_as_computed() -> None:
    """Steps of a quadratic pace grow as 1, 3, 5, ...: their deviation over their mean is known."""
    points = 50
    steps = torch.arange(points - 1, dtype=torch.float64) * 2 + 1
    expected = (steps.std(correction=0) / steps.mean()).item()
    line = torch.linspace(0, 1, points, dtype=torch.float64)[:, None] ** 2
    found = path_uniformity(torch.stack([line, 3 * line]))
    assert found.value == pytest.approx(expected)
    even = path_uniformity(half_circles(20))
    assert even.value == pytest.approx(0, abs=1e-12)
    uneven = path_uniformity(half_circles(20, even=False))
    assert uneven.value > 0.4


def test_paths_that_lead_nowhere_are_left_out_or_not_defined() -> None:
    nowhere = torch.zeros(5, 16, 3)
    for compute in (path_length, path_uniformity):
        with pytest.raises(NotDefinedError, match="paths_stand_still"):
            compute(nowhere)
    closed = torch.tensor([[0.0], [1.0], [2.0], [0.0]]).double().repeat(3, 1, 1)
    with pytest.raises(NotDefinedError, match="paths_stand_still"):
        path_length(closed)  # they come back to where they began
    mixed = torch.cat([half_circles(100), torch.ones(1, 100, 2, dtype=torch.float64)])
    found = path_length(mixed)
    assert found.value == pytest.approx(math.pi / 2, rel=1e-3)


def test_paths_that_wait_at_an_end_lead_somewhere() -> None:
    """The ends are the first and the last point, whatever the second and the last but one are."""
    waits = torch.tensor([[0.0, 0.0, 1.0, 3.0], [0.0, 2.0, 3.0, 3.0]]).double()[:, :, None]
    assert path_length(waits).value == pytest.approx(1)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_lengths_have_no_unit(scale: float) -> None:
    found = path_length(scale * half_circles(400))
    assert found.value == pytest.approx(math.pi / 2, rel=1e-4)


def test_every_path_s_steps_are_held_against_its_own() -> None:
    """An even path of long steps beside one of steps 1 and 3, whose deviation over mean is 1/2."""
    paths = torch.tensor([[0.0, 100.0, 200.0], [0.0, 1.0, 4.0]]).double()[:, :, None]
    assert path_uniformity(paths).value == pytest.approx((0 + 0.5) / 2)
