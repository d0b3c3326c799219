"""The prior of a mixture's latents: its density written out, and how its noise is found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import logsumexp
from torch import Tensor

from triptych.families.grouped_exemplars import GroupedExemplars
from triptych.nn.mppca import MPPCA

R, K, SIZE = 3, 2, (1, 4, 4)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(count: int = 400, most: int = 300) -> tuple[MPPCA, GroupedExemplars, Tensor, Tensor]:
    """Bent groups in float64, no Gaussians: one direction is the square of another."""
    u = torch.randn(count, 16, generator=seeded(), dtype=torch.float64) * torch.logspace(0, -2, 16)
    u[:, 1] = u[:, 0].square() - 1
    groups = torch.arange(count) % K
    images = (5.0 * u + groups[:, None]).view(count, *SIZE)
    mixture = MPPCA(SIZE, K, R).double()
    mixture.fit(images, groups, seeded(1))
    prior = GroupedExemplars(mixture, most).double()
    prior.fit(mixture, images, groups, seeded(2))
    return mixture, prior, images, groups


def one_hot(*rows: int) -> Tensor:
    return torch.eye(K + 1, dtype=torch.float64)[list(rows)]


def test_the_density_is_the_mean_of_gaussians_around_the_group_s_exemplars() -> None:
    _, prior, _, _ = made()
    z = torch.randn(4, R, generator=seeded(5), dtype=torch.float64)
    found = prior.log_density(z, one_hot(0, 1, 0, 1))
    for row, k in enumerate((0, 1, 0, 1)):
        a = prior.kept[k].numpy()
        own = prior.exemplars[prior.groups == k].numpy()
        each = [
            stats.multivariate_normal(a * n, np.diag(1 - a**2)).logpdf(z[row].numpy()) for n in own
        ]
        assert found[row].item() == pytest.approx(logsumexp(each) - np.log(len(own)), rel=1e-8)
        assert prior.log_density_in(z[row : row + 1], k).item() == pytest.approx(found[row].item())


def test_densities_have_gradients_where_a_group_has_no_exemplars() -> None:
    """That of N(0, I) there, and elsewhere those of autograd through the plain sum."""
    _, prior, _, _ = made()
    z = torch.randn(3, R, generator=seeded(5), dtype=torch.float64, requires_grad=True)
    prior.log_density(z, one_hot(0, 2, 1)).sum().backward()
    assert z.grad is not None and torch.isfinite(z.grad).all()
    torch.testing.assert_close(z.grad[1], -z.detach()[1])
    apart = z.detach()[0].clone().requires_grad_()
    a, own = prior.kept[0], prior.exemplars[prior.groups == 0]
    squares = ((apart - a * own) ** 2 / (1 - a**2)).sum(1)
    (-0.5 * squares).logsumexp(0).backward()
    torch.testing.assert_close(z.grad[0], apart.grad)


def test_a_group_that_is_unknown_and_a_prior_without_a_fit_are_standard_normal() -> None:
    mixture, prior, _, _ = made()
    z = torch.randn(4, R, generator=seeded(5), dtype=torch.float64)
    standard = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(prior.log_density(z, one_hot(2, 2, 2, 2)), standard)
    torch.testing.assert_close(prior.log_density(z, None), standard)
    fresh = GroupedExemplars(mixture, 10).double()
    torch.testing.assert_close(fresh.log_density(z, one_hot(0, 1, 0, 1)), standard)
    noise = torch.randn(4, R, generator=seeded(6), dtype=torch.float64)
    choices = torch.rand(4, 2, generator=seeded(7), dtype=torch.float64)
    assert torch.equal(fresh.draw(choices, noise, one_hot(0, 1, 0, 1)), noise)
    assert torch.equal(prior.draw(choices, noise, None), noise)
    assert fresh.kept_numbers == 0
    torch.testing.assert_close(fresh.log_density_in(z, 0), standard)
    assert fresh.exemplars_drawn(choices, one_hot(0, 1, 0, 1)).tolist() == [-1] * 4


def test_draws_are_of_the_density() -> None:
    """By the mean of exp(f) under both, f linear; and by the exemplars of the group alone."""
    _, prior, _, _ = made()
    count = 40_000
    choices = torch.rand(count, 2, generator=seeded(7), dtype=torch.float64)
    noise = torch.randn(count, R, generator=seeded(8), dtype=torch.float64)
    z = prior.draw(choices, noise, one_hot(*[1] * count))
    own, a = prior.exemplars[prior.groups == 1], prior.kept[1]
    torch.testing.assert_close(z.mean(0), a * own.mean(0), atol=0.02, rtol=0)
    expected = a**2 * own.var(0, correction=0) + 1 - a**2
    torch.testing.assert_close(z.var(0), expected, atol=0.03, rtol=0)
    bent = lambda values: (values[:, 0] ** 2 * values[:, 1]).mean()  # noqa: E731 # third moment
    first = a * own
    exact = ((first[:, 0] ** 2 + 1 - a[0] ** 2) * first[:, 1]).mean()
    assert bent(z).item() == pytest.approx(exact.item(), abs=0.05)
    drawn = prior.exemplars_drawn(choices, one_hot(*[1] * count))
    assert set(prior.groups[drawn].tolist()) == {1}
    assert drawn.unique().numel() == len(own)


def test_variance_is_kept_in_every_direction() -> None:
    """Of exemplars whose variance is 1, at whatever noise; a plain kernel estimate adds to it."""
    mixture, prior, _, _ = made()
    for noise in (0.05, 0.5, 5.0):
        prior.kept.zero_()[:-1] = prior.shares_at(mixture, noise)
        choices = torch.rand(20_000, 2, generator=seeded(7), dtype=torch.float64)
        e = torch.randn(20_000, R, generator=seeded(8), dtype=torch.float64)
        z = prior.draw(choices, e, one_hot(*[0] * 20_000))
        own = prior.exemplars[prior.groups == 0].var(0)
        assert ((z.var(0) - 1).abs() < 0.04 + (own - 1).abs()).all()


def test_what_varies_much_is_kept_and_what_varies_little_drawn_anew() -> None:
    mixture, prior, _, _ = made()
    v = mixture.variances[:-1]
    ratio = v * (1 / prior.kept[:-1] - 1)  # s^2, of every group and direction
    torch.testing.assert_close(ratio, ratio[:1, :1].expand_as(ratio))
    assert prior.kept[-1].abs().max() == 0


def test_draws_are_as_far_from_exemplars_as_those_from_each_other() -> None:
    mixture, prior, images, groups = made()
    y = mixture.coordinates(images)
    used = torch.cdist(prior.exemplars, mixture.encode(images, one_hot(*groups.tolist()))) < 1e-9
    y = y[used.any(0)]
    apart = torch.cdist(y, y).fill_diagonal_(torch.inf).amin(1).median()
    choices = torch.rand(5_000, 2, generator=seeded(7), dtype=torch.float64)
    e = torch.randn(5_000, R, generator=seeded(8), dtype=torch.float64)
    k = torch.arange(5_000) % K
    weights = one_hot(*k.tolist())
    drawn = mixture.coordinates(mixture(prior.draw(choices, e, weights), weights))
    assert torch.cdist(drawn, y).amin(1).median() == pytest.approx(apart.item(), rel=0.15)


def test_nearly_equal_images_do_not_make_draws_repeat_the_others() -> None:
    """Where most images have a twin, as frames of a film have, the median says nothing."""
    _, _, some, _ = made(count=280)
    images = torch.cat([some, some[160:] + 1e-3])
    groups = torch.arange(280).remainder(K)
    groups = torch.cat([groups, groups[160:]])
    mixture = MPPCA(SIZE, K, R).double()
    mixture.fit(images, groups, seeded(1))
    prior = GroupedExemplars(mixture, 400).double()
    prior.fit(mixture, images, groups, seeded(2))
    choices = torch.rand(5_000, 2, generator=seeded(7), dtype=torch.float64)
    e = torch.randn(5_000, R, generator=seeded(8), dtype=torch.float64)
    weights = one_hot(*(torch.arange(5_000) % K).tolist())
    begun = prior.exemplars_drawn(choices, weights)
    drawn = mixture.coordinates(mixture(prior.draw(choices, e, weights), weights))
    used = prior.groups.clamp(min=0).tolist()
    y = mixture.coordinates(mixture(prior.exemplars, one_hot(*used)))
    nearest = torch.cdist(drawn, y).argmin(1)
    assert (nearest == begun).double().mean() == pytest.approx(0.5, abs=0.06)


def test_images_are_found_among_their_exemplars() -> None:
    mixture, prior, images, groups = made(count=300)
    y = mixture.coordinates(images)
    at = prior.exemplars_at(mixture, y)
    torch.testing.assert_close(
        prior.exemplars[at], mixture.encode(images, one_hot(*groups.tolist()))
    )
    assert torch.equal(prior.groups[at], groups)
    assert prior.exemplars_at(mixture, y[:4] + 0.1).tolist() == [-1] * 4
    middle, few, _, _ = made(count=40)  # of 300 places
    nowhere = middle.decode_coordinates(torch.zeros(1, R, dtype=torch.float64), one_hot(0))
    assert few.exemplars_at(middle, torch.cat([nowhere, 0 * nowhere])).tolist() == [-1, -1]


def test_in_float32_too_an_image_is_found_to_be_its_exemplar() -> None:
    """Where coordinates are far longer than they are apart."""
    mixture, prior, images, _ = made(count=300)
    y = mixture.coordinates(images).float()
    mixture, prior = mixture.float(), prior.float()
    mixture.centres += 300
    at = prior.exemplars_at(mixture, y + 300)
    assert torch.equal(at.sort().values, torch.arange(300))


def test_of_too_many_images_random_ones_are_kept_and_one_makes_no_prior() -> None:
    mixture, prior, images, groups = made(count=400, most=50)
    assert (prior.groups >= 0).sum() == 50 and prior.kept_numbers == 150
    assert (prior.groups == 0).sum() not in (0, 50)
    lone = GroupedExemplars(mixture, 10).double()
    lone.fit(mixture, images[:1], groups[:1], seeded())
    assert lone.kept_numbers == 0
