"""The mixture of probabilistic PCA against SciPy's densities, autograd and exact eigenvectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from scipy.special import logsumexp
from torch import Tensor

from tests.making import tf32, tf32_set
from triptych.nn.mppca import (
    COVARIANCE_WEIGHT,
    MEAN_WEIGHT,
    MPPCA,
    in_full_precision,
    leading_directions,
)

SIZE = (2, 4, 3)
D = 24


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(rank: int = 5, groups: int = 3, count: int = 300) -> tuple[MPPCA, Tensor, Tensor]:
    """A fitted mixture in float64, its images and their groups."""
    rng = seeded()
    numbers = torch.arange(count) % groups
    means = torch.randn(groups, D, generator=rng, dtype=torch.float64)
    scale = torch.logspace(0, -1, D, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(D, D, generator=rng, dtype=torch.float64)).Q
    noise = torch.randn(count, D, generator=rng, dtype=torch.float64) * scale @ turn
    images = (0.3 * means[numbers] + 0.2 * noise).view(count, *SIZE)
    mixture = MPPCA(SIZE, groups, rank).double()
    mixture.fit(images, numbers, seeded(1))
    return mixture, images, numbers


def gaussian(mixture: MPPCA, row: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of one group's noisy images, written out in full."""
    basis = mixture.basis.numpy()
    axes = basis @ mixture.axes[row].numpy()
    inside = axes @ np.diag(mixture.variances[row].numpy()) @ axes.T
    outside = mixture.rest.item() * (np.eye(D) - basis @ basis.T)
    mean = mixture.mean.numpy() + basis @ mixture.centres[row].numpy()
    return mean, inside + outside + sigma**2 * np.eye(D)


def test_gpus_compute_the_mixture_without_tf32() -> None:
    """Here a tensor that takes itself for one of a GPU."""
    inside = []

    @in_full_precision
    def watched(mixture: MPPCA, x: Tensor) -> Tensor:
        inside.append(tf32()[1])
        assert not torch.is_autocast_enabled("cuda")
        return x

    class OfGPU(Tensor):
        is_cuda = True

    with tf32_set("tf32", "tf32"):
        watched(made()[0], torch.ones(2).as_subclass(OfGPU))
        watched(made()[0], torch.ones(2))
    assert inside == ["ieee", "tf32"]


@pytest.mark.parametrize("rank", [1, 5, D])
def test_densities_are_those_of_the_gaussians_written_out(rank: int) -> None:
    mixture, images, _ = made(rank)
    x = images[:6] + 0.1
    for sigma in (0.0, 0.4):
        noise = torch.full((6,), sigma, dtype=torch.float64)
        exact = np.stack(
            [
                stats.multivariate_normal(*gaussian(mixture, k, sigma)).logpdf(x.flatten(1))
                for k in range(3)
            ],
            axis=1,
        )
        found = mixture.log_densities(x, noise)
        np.testing.assert_allclose(found, exact, rtol=1e-8)
        whole = logsumexp(exact, axis=1, b=mixture.shares.numpy())
        np.testing.assert_allclose(mixture.log_density(x, noise), whole, rtol=1e-8)


@pytest.mark.parametrize("row", [0, 2, 3])
def test_the_clean_image_is_the_conditional_mean(row: int) -> None:
    """Of clean and noisy image together: m + S (S + sigma^2 I)^-1 (x - m); the last row is all."""
    mixture, images, _ = made()
    x, sigma = images[:4] - 0.2, torch.tensor([0.05, 0.3, 1.0, 40.0], dtype=torch.float64)
    weights = torch.eye(4, dtype=torch.float64)[row].expand(4, 4)
    found = mixture.denoise(x, sigma, weights).flatten(1)
    for image, level, clean in zip(x.flatten(1).numpy(), sigma.tolist(), found, strict=True):
        mean, noisy = gaussian(mixture, row, level)
        covariance = noisy - level**2 * np.eye(D)
        exact = mean + covariance @ np.linalg.solve(noisy, image - mean)
        np.testing.assert_allclose(clean, exact, rtol=1e-7, atol=1e-9)


def test_inside_the_basis_it_is_the_mean_of_a_distribution_without_a_rest() -> None:
    """As with r = 0: nothing but m lies outside the basis, whatever the noisy image holds."""
    mixture, images, _ = made()
    x, sigma = images[:4] - 0.2, torch.full((4,), 0.3, dtype=torch.float64)
    weights = torch.eye(4, dtype=torch.float64)[1].expand(4, 4)
    inside = mixture.denoise(x, sigma, weights, inside=True)
    mixture.rest.zero_()
    torch.testing.assert_close(inside, mixture.denoise(x, sigma, weights))
    centred = inside.flatten(1) - mixture.mean
    torch.testing.assert_close(centred, centred @ mixture.basis @ mixture.basis.T)


def test_denoising_follows_the_score_of_its_density() -> None:
    """Tweedie: E[clean | x] = x + sigma^2 d log p(x) / dx, by autograd."""
    mixture, images, _ = made(groups=1)
    x = images[:5].clone().requires_grad_()
    sigma = torch.full((5,), 0.3, dtype=torch.float64)
    (slope,) = torch.autograd.grad(mixture.log_density(x, sigma).sum(), x)
    weights = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(5, 2)
    torch.testing.assert_close(mixture.denoise(x, sigma, weights), x + 0.09 * slope)


def covariance(mixture: MPPCA, row: int) -> Tensor:
    """Of one group's coordinates."""
    axes = mixture.axes[row]
    return axes @ mixture.variances[row].diag() @ axes.T


def test_groups_have_their_own_means_and_covariances_drawn_to_the_common_ones() -> None:
    mixture, images, numbers = made(count=30)
    y = (images.flatten(1) - images.flatten(1).mean(0)) @ mixture.basis
    apart = torch.zeros_like(y)
    for k in range(3):
        own = y[numbers == k]
        centre = own.sum(0) / (len(own) + MEAN_WEIGHT)
        torch.testing.assert_close(mixture.centres[k], centre)
        apart[numbers == k] = own - centre
    common = torch.einsum("ni,nj->ij", apart, apart) / len(apart)
    for k in range(3):
        own, weight = apart[numbers == k], COVARIANCE_WEIGHT
        products = torch.einsum("ni,nj->ij", own, own)
        expected = (products + weight * common) / (len(own) + weight)
        torch.testing.assert_close(covariance(mixture, k), expected)
    torch.testing.assert_close(covariance(mixture, 3), y.T.cov(correction=0))
    total = images.flatten(1).var(0, correction=0).sum()
    kept = y.var(0, correction=0).sum()
    torch.testing.assert_close(mixture.rest, (total - kept) / (D - 5))
    assert mixture.shares.tolist() == pytest.approx([1 / 3] * 3)


def test_a_group_without_images_has_the_common_mean_and_no_share() -> None:
    mixture, images, numbers = made()
    wider = MPPCA(SIZE, 5, 5).double()
    wider.fit(images, numbers, seeded(1))
    assert wider.shares[3:].tolist() == [0, 0]
    assert wider.centres[3].abs().max() == 0
    noise = torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(
        wider.log_density(images[:3], noise), mixture.log_density(images[:3], noise)
    )


def one_hot(*rows: int) -> Tensor:
    return torch.eye(4, dtype=torch.float64)[list(rows)]


def test_encoding_a_drawn_image_gives_back_its_numbers() -> None:
    mixture, _, _ = made()
    z = torch.randn(4, 5, generator=seeded(7), dtype=torch.float64)
    weights = one_hot(0, 1, 2, 3)
    torch.testing.assert_close(mixture.encode(mixture(z, weights), weights), z)


@pytest.mark.parametrize("row", [0, 2, 3])
def test_draws_have_the_moments_of_their_group(row: int) -> None:
    """As if r were 0. The map is affine: it is known from where it takes 0 and the unit vectors."""
    mixture, _, _ = made()
    mixture.rest.zero_()
    mean, exact = gaussian(mixture, row, 0.0)
    z = torch.cat([torch.zeros(1, 5), torch.eye(5)]).double()
    images = mixture(z, one_hot(*[row] * 6)).flatten(1)
    np.testing.assert_allclose(images[0], mean, atol=1e-12)
    slopes = (images[1:] - images[0]).numpy()
    np.testing.assert_allclose(slopes.T @ slopes, exact, atol=1e-12)


def test_numbers_of_images_of_a_group_are_standard_normal() -> None:
    """Their second moments are 1, but for what the common covariance adds."""
    mixture, images, numbers = made(count=9000)
    for k in range(3):
        own = images[numbers == k]
        z = mixture.encode(own, one_hot(*[k] * len(own)))
        torch.testing.assert_close(z.T.cov(), torch.eye(5).double(), atol=0.02, rtol=0)
        assert z.mean(0).abs().max() < 0.02


def test_the_flow_is_the_path_that_denoising_leads_along() -> None:
    """dx/dsigma = (x - D(x)) / sigma, integrated by SciPy; the way back is its inverse."""
    mixture, images, numbers = made()
    weights = torch.eye(4, dtype=torch.float64)[numbers[:3]]
    x = images[:3] + 2.0 * torch.randn(3, *SIZE, generator=seeded(3), dtype=torch.float64)

    def slope(sigma: float, flat: np.ndarray) -> np.ndarray:
        noisy = torch.from_numpy(flat).view(3, *SIZE)
        level = torch.full((3,), sigma, dtype=torch.float64)
        clean = mixture.denoise(noisy, level, weights, inside=True)
        return ((noisy - clean) / sigma).flatten().numpy()

    found = mixture.flow(x, 2.0, 0.3, weights)
    exact = integrate.solve_ivp(slope, (2.0, 0.3), x.flatten(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.flatten(), exact.y[:, -1], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(mixture.flow(found, 0.3, 2.0, weights), x)


def test_between_two_groups_lies_the_average_of_both() -> None:
    mixture, images, _ = made()
    mixture.eval()
    x, sigma = images[:1], torch.tensor([0.3], dtype=torch.float64)
    z = torch.randn(1, 5, generator=seeded(7), dtype=torch.float64)
    path = 0.3 * one_hot(0) + 0.7 * one_hot(2)
    for f in (
        lambda weights: mixture.denoise(x, sigma, weights),
        lambda weights: mixture(z, weights),
    ):
        ends = 0.3 * f(one_hot(0)) + 0.7 * f(one_hot(2))
        torch.testing.assert_close(f(path), ends)
        assert (f(one_hot(0)) - f(one_hot(2))).abs().max() > 0.01


def test_the_basis_of_many_images_is_found_from_some_of_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not from the first ones, which may be of one class: here the last ones vary most."""
    x = torch.zeros(400, D, dtype=torch.float64)
    x[:200, 0] = 0.1 * torch.randn(200, generator=seeded(), dtype=torch.float64)
    x[200:, 7] = torch.randn(200, generator=seeded(), dtype=torch.float64)
    monkeypatch.setattr("triptych.nn.mppca.ENOUGH", 100)
    mixture = MPPCA(SIZE, 1, 1).double()
    mixture.fit(x.view(-1, *SIZE), torch.zeros(400, dtype=torch.int64), seeded(1))
    assert mixture.basis[7].abs().item() > 0.99


def test_the_basis_is_that_of_the_leading_eigenvectors() -> None:
    x = torch.randn(400, 60, generator=seeded(), dtype=torch.float64) * torch.logspace(
        0, -2, 60, dtype=torch.float64
    )
    x -= x.mean(0)
    found = leading_directions(x, 7, seeded(3))
    exact = torch.linalg.eigh(x.T @ x).eigenvectors.flip(1)[:, :7]
    torch.testing.assert_close(
        (found.T @ exact).abs(), torch.eye(7, dtype=torch.float64), atol=1e-4, rtol=0
    )
    torch.testing.assert_close(found.T @ found, torch.eye(7, dtype=torch.float64))
    assert leading_directions(x[:5], 7, seeded()).shape == (60, 7)  # fewer images than directions
