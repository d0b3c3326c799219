"""The fitted prior against scikit-learn, brute force and latents whose density is known."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from sklearn.neighbors import KernelDensity
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from tests.truths import normal
from triptych.families.vae.exemplar_prior import STEPS, ExemplarPrior, improved, log_normal, pick

D = 3


def fitted(count: int = 60, kinds: int = 2, most: int = 80) -> tuple[ExemplarPrior, Tensor]:
    """Of latents that lie in two clouds."""
    z = normal(count, D)
    z[: count // 2, 0] += 6
    prior = ExemplarPrior(D, most, kinds).double()
    prior.fit(z, torch.full((D,), 0.01).double())
    return prior, z


def test_before_it_is_fitted_it_is_standard_normal() -> None:
    prior, z = ExemplarPrior(D, 5, 2).double(), normal(7, D)
    exact = Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(prior.log_density(z), exact, rtol=1e-12, atol=1e-12)
    noise = normal(7, D, seed=1)
    assert torch.equal(prior.draw(torch.rand(7, 2), noise), noise)


def test_the_density_is_the_mixture_s() -> None:
    prior, z = fitted()
    x = normal(4, D, seed=3)
    each = [
        share.log() + MultivariateNormal(centre, scale_tril=factor).log_prob(x) - math.log(len(z))
        for share, factor in zip(prior.shares, prior.factors, strict=True)
        for centre in z
    ]
    exact = torch.stack(each).logsumexp(0)
    torch.testing.assert_close(prior.log_density(x), exact, rtol=1e-10, atol=0)


def test_one_round_kind_is_a_kernel_density() -> None:
    z, x = normal(30, D), normal(5, D, seed=1)
    prior = ExemplarPrior(D, 30, 1).double()
    prior.exemplars.copy_(z)
    prior.weights.fill_(1 / 30)
    prior.factors.copy_(0.4 * torch.eye(D)[None])
    exact = KernelDensity(bandwidth=0.4).fit(z.numpy()).score_samples(x.numpy())
    torch.testing.assert_close(prior.log_density(x), torch.from_numpy(exact))


def test_it_sums_to_one() -> None:
    """By importance sampling with a wide normal."""
    prior, z = fitted()
    wide = MultivariateNormal(z.mean(0), 2 * torch.cov(z.T))
    torch.manual_seed(0)
    x = wide.sample((20_000,))
    ratio = (prior.log_density(x) - wide.log_prob(x)).exp()
    assert abs(ratio.mean().item() - 1) < 4 * ratio.std().item() / math.sqrt(20_000)
    assert ratio.std() < 3


def left_out(z: Tensor, shares: Tensor, factors: list[Tensor]) -> Tensor:
    """Sum over exemplars of their log density under all others."""
    kinds = [
        share.log() + log_normal(z, z, f).fill_diagonal_(-torch.inf)
        for share, f in zip(shares, factors, strict=True)
    ]
    return torch.stack(kinds).logsumexp((0, 2)).sum()


def test_every_step_raises_what_others_say_of_each_exemplar() -> None:
    """Expectation-maximisation; without posterior variance it never falls."""
    z = normal(50, D)
    nothing = torch.zeros(D, D).double()
    shares = torch.tensor([0.5, 0.5]).double()
    covariances = [0.5 * torch.cov(z.T), 0.1 * torch.cov(z.T)]
    seen = []
    for _ in range(STEPS):
        factors = [torch.linalg.cholesky(c) for c in covariances]
        seen.append(left_out(z, shares, factors).item())
        shares, covariances = improved(z, shares, factors, nothing)
    gains = [b - a for a, b in pairwise(seen)]
    assert min(gains) > -1e-3
    assert gains[0] > 1
    assert sum(shares).item() == 1.0 or abs(sum(shares).item() - 1) < 1e-12


def test_the_covariances_are_the_weighted_outer_products() -> None:
    """Of every pair of exemplars and each kind, also of a kind that takes part in little."""
    z, shares = normal(6, D), torch.tensor([0.999, 0.001]).double()
    factors = [s * torch.linalg.cholesky(torch.cov(z.T)) for s in (1.0, 0.9)]
    found_shares, found = improved(z, shares, factors, torch.eye(D).double())
    kinds = [MultivariateNormal(torch.zeros(D).double(), scale_tril=f) for f in factors]
    totals, exact = [0.0, 0.0], [torch.zeros(D, D).double() for _ in kinds]
    for i in range(6):
        joint = {
            (kind, j): shares[kind] * kinds[kind].log_prob(z[i] - z[j]).exp()
            for kind in (0, 1)
            for j in range(6)
            if j != i
        }
        for (kind, j), weight in joint.items():
            responsible = weight / sum(joint.values())
            exact[kind] += responsible * torch.outer(z[i] - z[j], z[i] - z[j])
            totals[kind] += responsible.item()
    assert totals[1] < 0.01
    assert found_shares.tolist() == pytest.approx([total / 6 for total in totals], rel=1e-5)
    for kind in (0, 1):
        expected = exact[kind] / totals[kind] + torch.eye(D)
        torch.testing.assert_close(found[kind], expected, rtol=1e-5, atol=1e-6)


def test_latents_that_were_not_seen_are_as_likely_as_a_gaussian_s_own() -> None:
    """Fitted to one Gaussian's draws, it comes close to that Gaussian on others, and no closer."""
    torch.manual_seed(0)
    covariance = torch.tensor([[1.0, 0.8, 0.0], [0.8, 1.0, 0.0], [0.0, 0.0, 0.05]]).double()
    truth = MultivariateNormal(torch.zeros(D).double(), covariance)
    seen, unseen = truth.sample((400,)), truth.sample((2000,))
    prior = ExemplarPrior(D, 400, 2).double()
    prior.fit(seen, torch.full((D,), 1e-4).double())
    short = (truth.log_prob(unseen) - prior.log_density(unseen)).mean().item()
    assert 0 < short < 0.1
    plain = Normal(0.0, 1.0).log_prob(unseen).sum(1)
    assert (truth.log_prob(unseen) - plain).mean() > 1


def test_draws_have_its_moments() -> None:
    prior, z = fitted()
    torch.manual_seed(0)
    drawn = prior.draw(torch.rand(40_000, 2).double(), torch.randn(40_000, D).double())
    own = sum(
        share * factor @ factor.T for share, factor in zip(prior.shares, prior.factors, strict=True)
    )
    exact = torch.cov(z.T, correction=0) + own
    torch.testing.assert_close(torch.cov(drawn.T), exact, rtol=0.05, atol=0.05)
    torch.testing.assert_close(drawn.mean(0), z.mean(0), rtol=0, atol=0.06)


def test_indices_come_by_their_weights_and_never_from_empty_places() -> None:
    weights = torch.tensor([0.25, 0.75, 0.0]).expand(5, -1)
    uniform = torch.tensor([0.0, 0.2499, 0.2501, 0.999999, 1.0])
    assert pick(weights, uniform).tolist() == [0, 0, 1, 1, 1]
    assert pick(weights[:1], torch.tensor([0.25])).tolist() == [1]  # [0, 1/4) is the first one's
    others = torch.tensor([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert pick(others, torch.zeros(3)).tolist() == [1, 0, 2]
    assert pick(others, torch.ones(3)).tolist() == [2, 0, 2]


def test_the_first_number_chooses_the_exemplar_and_the_second_its_kind() -> None:
    """Two exemplars, two kinds of covariance of half the weight each."""
    prior = ExemplarPrior(1, 2, 2).double()
    prior.exemplars.copy_(torch.tensor([[0.0], [100.0]]))
    prior.weights.fill_(0.5)
    prior.shares.fill_(0.5)
    prior.factors.copy_(torch.tensor([[[1.0]], [[10.0]]]))
    choices = torch.tensor([[0.1, 0.1], [0.1, 0.9], [0.9, 0.1], [0.9, 0.9]]).double()
    drawn = prior.draw(choices, torch.ones(4, 1).double())
    assert drawn[:, 0].tolist() == [1, 10, 101, 110]


def test_one_latent_is_too_few_and_changes_nothing() -> None:
    prior = ExemplarPrior(D, 4, 2)
    before = {name: tensor.clone() for name, tensor in prior.state_dict().items()}
    prior.fit(torch.randn(1, D), torch.ones(D))
    assert all(torch.equal(t, before[n]) for n, t in prior.state_dict().items())


def test_fewer_exemplars_than_places() -> None:
    prior, z = fitted(count=10, most=80)
    assert prior.weights.count_nonzero() == 10
    assert torch.equal(prior.exemplars[:10], z)
    assert prior.log_density(z).isfinite().all()


def test_classes_have_their_own_exemplars() -> None:
    """Each class's mixture is of its own; shares of classes mix; an absent class has them all."""
    z = normal(12, D)
    classes = torch.tensor([0, 1, 2] * 4)
    prior = ExemplarPrior(D, 20, 2, classes=4).double()
    prior.fit(z, torch.full((D,), 0.01).double(), classes)
    x, one_hot = normal(5, D, seed=1), torch.eye(5)  # in the networks' precision

    def density(weights: Tensor) -> Tensor:
        kinds = [
            share.log() + (weights.log() + log_normal(x, z, factor)).logsumexp(1)
            for share, factor in zip(prior.shares, prior.factors, strict=True)
        ]
        return torch.stack(kinds).logsumexp(0)

    of_one = density((classes == 1).double() / 4)
    of_all = density(torch.full((12,), 1 / 12).double())
    torch.testing.assert_close(prior.log_density(x, one_hot[1].expand(5, -1)), of_one)
    for row in (3, 4):
        torch.testing.assert_close(prior.log_density(x, one_hot[row].expand(5, -1)), of_all)
    torch.testing.assert_close(prior.log_density(x), of_all)
    half = 0.5 * (one_hot[1] + one_hot[4]).expand(5, -1)
    mixed = torch.stack([of_one, of_all]).logsumexp(0) - math.log(2)
    torch.testing.assert_close(prior.log_density(x, half), mixed)
    still = torch.zeros(200, D).double()
    choices = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    drawn = prior.draw(choices, still, one_hot[2].expand(200, -1))
    nearest = torch.cdist(drawn, z).argmin(1)
    assert sorted(set(nearest.tolist())) == [2, 5, 8, 11]
