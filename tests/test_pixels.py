"""Probabilities of 8-bit pixels are probabilities, and SciPy's to the last digits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from tests.truths import normal
from triptych.config import ImageShape
from triptych.families.pixels import log_normal_mass, log_posterior_of_noisy, log_probability
from triptych.images import BIN_WIDTH, to_float
from triptych.metrics.bits_per_dim import bits_per_dim, in_units

LEVELS = np.arange(256) * 2 / 255 - 1
VALUES = torch.from_numpy(LEVELS)  # [256], float64
MEANS = (-30.0, -1.0, -0.999, -0.3, 0.0, 2 / 255, 0.77, 1.0, 5.0)
STDS = (1e-3, 1e-2, 0.1, 1.0, 40.0)


def mass(mean: float, std: float) -> Tensor:
    """log P of each of the 256 values."""
    mean_and_std = torch.tensor([mean, std], dtype=torch.float64)
    return log_probability(VALUES, *mean_and_std)


def exact_mass(mean: float, std: float) -> np.ndarray:
    """Phi differences, each from the tail where they do not cancel; edges reach to infinity."""
    edges = np.concatenate([[-np.inf], (LEVELS[1:] + LEVELS[:-1]) / 2, [np.inf]])
    below, above = norm.cdf(edges, mean, std), norm.sf(edges, mean, std)
    return np.where(edges[:-1] > mean, above[:-1] - above[1:], below[1:] - below[:-1])


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("std", STDS)
def test_the_256_values_share_all_of_the_probability(mean: float, std: float) -> None:
    assert mass(mean, std).logsumexp(0).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("mean", [-1.3, -0.3, 0.0, 0.5, 1.2])
@pytest.mark.parametrize("std", [0.01, 0.1, 1.0, 40.0])
def test_probability_is_scipy_s(mean: float, std: float) -> None:
    found, exact = mass(mean, std), exact_mass(mean, std)
    kept = exact > 1e-290
    np.testing.assert_allclose(found[kept].exp(), exact[kept], rtol=1e-8)


def test_pixels_as_networks_see_them_lose_next_to_nothing() -> None:
    """Float32 pixels lie up to 2e-7 beside the exact grid, of bins 8e-3 wide."""
    pixels = to_float(torch.arange(256, dtype=torch.uint8))
    found = log_probability(pixels, torch.tensor(0.1), torch.tensor(0.2))
    torch.testing.assert_close(found, mass(0.1, 0.2), rtol=1e-4, atol=0)


def test_far_tails_stay_finite_and_ordered() -> None:
    """30 units = 30,000 deviations away: log P falls with the distance, about -d^2 / 2."""
    found = mass(-30.0, 1e-3)
    assert found.isfinite().all()
    assert (found.diff() < 0).all()
    nearest_edge = 30 + LEVELS[100] - BIN_WIDTH / 2
    assert found[100].item() == pytest.approx(-0.5 * (nearest_edge / 1e-3) ** 2, rel=1e-6)


def test_edge_bins_reach_to_infinity() -> None:
    """Half of a Gaussian centred on the edge of the last bin but one lies in the edge bin."""
    edge = 1 - BIN_WIDTH / 2
    assert mass(edge, 0.3)[255].item() == pytest.approx(math.log(0.5), abs=1e-6)
    assert mass(-edge, 0.3)[0].item() == pytest.approx(math.log(0.5), abs=1e-6)
    assert mass(9.0, 0.3)[255].item() == pytest.approx(0, abs=1e-12)


def test_mass_between_two_points_is_symmetric() -> None:
    lower = torch.tensor([1.0, -2.0, 30.0], dtype=torch.float64)
    upper = lower + 0.5
    torch.testing.assert_close(log_normal_mass(lower, upper), log_normal_mass(-upper, -lower))
    assert log_normal_mass(lower, upper)[2].item() == pytest.approx(
        norm.logsf(30) + math.log1p(-math.exp(norm.logsf(30.5) - norm.logsf(30))), rel=1e-12
    )


@pytest.mark.parametrize("std", [2e-3, 0.02, 0.5, 80.0])
def test_posterior_of_a_noisy_pixel_is_bayes_rule(std: float) -> None:
    """P(value | noisy) = N(noisy; value, std^2) / sum over the 256 values of the same."""
    clean = VALUES[torch.randint(256, (6,), generator=torch.Generator().manual_seed(0))]
    noisy = (clean + std * normal(6))[:, None].expand(6, 256)
    found = log_posterior_of_noisy(VALUES.expand(6, 256), noisy, std)
    torch.testing.assert_close(
        found.exp().sum(1), torch.ones(6, dtype=torch.float64), rtol=1e-12, atol=0
    )
    density = norm.pdf(noisy.numpy(), LEVELS, std)
    np.testing.assert_allclose(
        found.exp(), density / density.sum(1, keepdims=True), rtol=1e-8, atol=1e-12
    )


@pytest.mark.parametrize(("channels", "resolution"), [(1, 28), (3, 32)])
def test_values_that_nothing_is_known_of_take_eight_bits(channels: int, resolution: int) -> None:
    """An image of D = C * H * W values, each one of 256 alike, has -log P = D log 256 nats."""
    shape = ImageShape(channels=channels, resolution=resolution)
    nats = torch.full((5,), channels * resolution**2 * math.log(256), dtype=torch.float64)
    assert in_units(nats, shape).bits_per_dim == pytest.approx(8)
    assert bits_per_dim(nats, shape).left_out["reference"] == pytest.approx([8.0] * 5)
