"""Annealed importance sampling where p(x) is known: a linear generator under Gaussian noise."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from tests.truths import normal
from triptych.families.gan import ais
from triptych.families.gan.ais import Annealed, State, hamiltonian_step, log_weights, schedule
from triptych.seeding import ImageStreams

PIXELS, LATENT, STD = 256, 6, 0.3
WEIGHT = normal(PIXELS, LATENT, seed=1) / 4
CHAINS = 24


def drawn(count: int = CHAINS) -> tuple[Tensor, Tensor]:
    """z and x = Wz + noise."""
    z = normal(count, LATENT, seed=2)
    return z, z @ WEIGHT.T + STD * normal(count, PIXELS, seed=3)


def target_of(x: Tensor, std: float = STD) -> Annealed:
    """log N(x; Wz, std^2 I), under a standard normal prior."""

    def log_likelihood(z: Tensor) -> Tensor:
        squares = ((x - z @ WEIGHT.T) / std).square().sum(1)
        return -0.5 * squares - PIXELS * (math.log(std) + 0.5 * math.log(2 * math.pi))

    return Annealed(log_likelihood)


def exact(x: Tensor, std: float = STD) -> Tensor:
    """log N(x; 0, W W^T + std^2 I)."""
    covariance = WEIGHT @ WEIGHT.T + std**2 * torch.eye(PIXELS, dtype=torch.float64)
    return MultivariateNormal(torch.zeros(PIXELS, dtype=torch.float64), covariance).log_prob(x)


def streams(count: int = CHAINS, seed: int = 0) -> ImageStreams:
    return ImageStreams(seed, "annealing", range(count))


def test_the_schedule_goes_from_nothing_to_all() -> None:
    betas = schedule(50)
    assert (betas[0], betas[-1], len(betas)) == (0, 1, 51)
    steps = [b - a for a, b in pairwise(betas)]
    assert min(steps) > 0 and steps[0] < steps[-1] < max(steps)


def test_it_finds_the_marginal_likelihood() -> None:
    """Within half a nat on average, from below; the way back from above."""
    z, x = drawn()
    truth = exact(x)
    prior = normal(CHAINS, LATENT, seed=4)
    below = log_weights(target_of(x), prior, streams(), 600)
    assert abs((below - truth).mean()) < 0.5
    # x's own z is one draw of its posterior.
    above = -log_weights(target_of(x), z, streams(seed=1), 600, backwards=True)
    assert abs((above - truth).mean()) < 0.5
    error = (below.std() + above.std()) / CHAINS**0.5
    assert below.mean() < truth.mean() + 2 * error
    assert above.mean() > truth.mean() - 2 * error


def test_it_finds_the_marginal_likelihood_under_a_prior_of_exemplars() -> None:
    """Two Gaussians: p(x) is the mean of what each of them gives."""
    ends = torch.tensor([[-0.5], [0.5]], dtype=torch.float64).expand(2, LATENT)
    width = 0.6
    z = ends[torch.arange(CHAINS) % 2] + width * normal(CHAINS, LATENT, seed=2)
    x = z @ WEIGHT.T + STD * normal(CHAINS, PIXELS, seed=3)
    covariance = width**2 * WEIGHT @ WEIGHT.T + STD**2 * torch.eye(PIXELS, dtype=torch.float64)
    each = [MultivariateNormal(end @ WEIGHT.T, covariance).log_prob(x) for end in ends]
    truth = torch.stack(each).logsumexp(0) - math.log(2)

    def log_prior(at: Tensor) -> Tensor:
        return (-0.5 * torch.cdist(at, ends).square() / width**2).logsumexp(1)

    target = Annealed(target_of(x).log_likelihood, log_prior)
    begun = ends[torch.arange(CHAINS) // 2 % 2] + width * normal(CHAINS, LATENT, seed=4)
    below = log_weights(target, begun, streams(), 300)
    above = -log_weights(target, z, streams(seed=1), 300, backwards=True)
    assert abs((below - truth).mean()) < 1
    assert abs((above - truth).mean()) < 1
    plain = log_weights(target_of(x), begun, streams(), 300)
    assert abs((plain - truth).mean()) > 1.5


@pytest.mark.sweep
def test_the_gap_closes_with_more_temperatures() -> None:
    z, x = drawn()
    gaps = []
    for temperatures in (10, 60, 360):
        below = log_weights(target_of(x), normal(CHAINS, LATENT, seed=4), streams(), temperatures)
        above = -log_weights(target_of(x), z, streams(seed=1), temperatures, backwards=True)
        gaps.append((above - below).mean().item())
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2] > 0


def test_weights_average_to_the_likelihood() -> None:
    """E w = p(x) however few the temperatures: many chains of one image, in a narrow world."""
    x = drawn(1)[1]
    chains = 4000
    some = x[:, :4].expand(chains, -1)

    def log_likelihood(at: Tensor) -> Tensor:
        squares = (some - at @ WEIGHT[:4].T).square().sum(1)
        return -0.5 * squares - 2 * math.log(2 * math.pi)

    covariance = WEIGHT[:4] @ WEIGHT[:4].T + torch.eye(4, dtype=torch.float64)
    truth = MultivariateNormal(torch.zeros(4, dtype=torch.float64), covariance).log_prob(x[0, :4])
    target, prior = Annealed(log_likelihood), normal(chains, LATENT, seed=5)
    found = log_weights(target, prior, streams(chains), 8)
    weights = (found - truth).exp()
    assert abs(weights.mean().item() - 1) < 4 * weights.std().item() / chains**0.5
    assert weights.std() > 0.01


@pytest.mark.parametrize(("beta", "centre", "width"), [(0.3, 0, 1), (1.0, 0, 1), (0.6, 2.0, 0.5)])
def test_a_step_leaves_its_target_as_it_is(beta: float, centre: float, width: float) -> None:
    """Exact draws of p(z) p(x | z)^beta keep their mean and covariance over many steps.

    Of a standard normal prior, as by default, and of another Gaussian.
    """
    count = 4000
    x = drawn(1)[1][:, :3].expand(count, -1)
    weight = WEIGHT[:3]

    def log_likelihood(z: Tensor) -> Tensor:
        return -0.5 * ((x - z @ weight.T) / 0.5).square().sum(1)

    def log_prior(z: Tensor) -> Tensor:
        return -0.5 * ((z - centre) / width).square().sum(1)

    target = Annealed(log_likelihood) if centre == 0 else Annealed(log_likelihood, log_prior)
    precision = torch.eye(LATENT, dtype=torch.float64) / width**2 + beta * 4 * weight.T @ weight
    covariance = torch.linalg.inv(precision)
    mean = covariance @ (beta * 4 * weight.T @ x[0] + centre / width**2)
    z = mean + normal(count, LATENT, seed=6) @ torch.linalg.cholesky(covariance).T
    rng, shares = streams(count), []
    state = State.at(target, z)
    for _ in range(10):
        size = torch.full((count,), 0.4, dtype=torch.float64)
        state, accepted = hamiltonian_step(target, state, beta, size, rng)
        shares.append(accepted.double().mean().item())
    assert 0.3 < sum(shares) / 10 < 0.9999
    z, error = state.z, 4 * covariance.diag().sqrt() / count**0.5
    assert ((z.mean(0) - mean).abs() < error).all()
    torch.testing.assert_close(z.T.cov(), covariance, atol=0.06, rtol=0)


class Given:
    """Stands in for streams: the momentum, the size of the step, and the chance of acceptance."""

    def __init__(self, momentum: Tensor, chances: list[Tensor]) -> None:
        self.momentum, self.chances = momentum, iter(chances)

    def normal(self, *shape: int) -> Tensor:
        return self.momentum

    def uniform(self) -> Tensor:
        return next(self.chances)


def test_a_proposal_is_the_leapfrog_of_a_harmonic_oscillator() -> None:
    """H = |z|^2 / 2 + |m|^2 / 2: each leap is linear, (z, m) -> M (z, m) with

    M = [[1 - e^2/2, e], [-e (1 - e^2/4), 1 - e^2/2]] (arXiv:1206.1901, eq. 2.28 to 2.30), and a
    proposal is taken where log u lies below what H loses on the way.
    """
    count, size = 500, 0.9
    z, momentum = normal(count, LATENT), normal(count, LATENT, seed=1)
    chance = torch.rand(count, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    given = Given(momentum, [torch.zeros(count), chance])  # the whole size of the step
    target = Annealed(lambda at: 0.0 * at.sum(1))
    start = State.at(target, z)
    sizes = torch.full((count,), size, dtype=torch.float64)
    found, accepted = hamiltonian_step(
        target,
        start,
        1.0,
        sizes,
        given,  # type: ignore[arg-type]
    )
    half = 1 - size**2 / 2
    leap = torch.tensor([[half, size], [-size * (1 - size**2 / 4), half]], dtype=torch.float64)
    way = torch.linalg.matrix_power(leap, ais.LEAPFROGS)
    end, end_momentum = (way[i, 0] * z + way[i, 1] * momentum for i in (0, 1))
    energies = [0.5 * (a**2 + b**2).sum(1) for a, b in ((z, momentum), (end, end_momentum))]
    taken = chance.log() < energies[0] - energies[1]
    assert 0 < taken.sum() < count
    assert torch.equal(accepted, taken)
    torch.testing.assert_close(found.z, torch.where(taken[:, None], end, z))


def test_a_chain_depends_on_its_own_image_alone() -> None:
    _, x = drawn()
    prior = normal(CHAINS, LATENT, seed=4)
    whole = log_weights(target_of(x), prior, streams(), 10)
    own = ImageStreams(0, "annealing", [7])
    alone = log_weights(target_of(x[7:8]), prior[7:8], own, 10)
    torch.testing.assert_close(alone, whole[7:8])


def test_steps_that_explode_are_not_taken() -> None:
    _, x = drawn()
    z = normal(CHAINS, LATENT, seed=4)
    size = torch.full((CHAINS,), 1e6, dtype=torch.float64)
    before = State.at(target_of(x), z)
    after, accepted = hamiltonian_step(target_of(x), before, 1.0, size, streams())
    assert not accepted.any()
    for name in ("z", "value", "slope", "log_prior", "prior_slope"):
        assert torch.equal(getattr(after, name), getattr(before, name))


def test_step_sizes_stay_where_the_wanted_share_is_accepted() -> None:
    wanted = ais.WANTED
    grown = ais.FASTER**wanted * ais.SLOWER ** (1 - wanted)
    assert grown == pytest.approx(1)
