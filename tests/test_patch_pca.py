"""PCA of patches against SciPy's densities, NumPy's eigenvectors and Bayes' theorem written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from tests.truths import normal
from triptych.nn.patch_pca import LEAST, PatchPCA, per_place

CHANNELS, PATCH, SIDE, KEPT, WIDTH = 3, 2, 4, 5, 6
SIZE = CHANNELS * PATCH**2


def residuals(count: int = 50) -> Tensor:
    """Images whose patches depend on their own pixels and on nothing else, [N,3,8,8]."""
    mix = normal(SIZE, SIZE, seed=1) * torch.logspace(-0.5, -2, SIZE, dtype=torch.float64)
    patches = torch.einsum("pq,nqij->npij", mix, normal(count, SIZE, SIDE, SIDE, seed=2))
    return torch.nn.functional.pixel_shuffle(patches, PATCH)


def fitted(count: int = 50) -> tuple[PatchPCA, Tensor]:
    pca = PatchPCA(WIDTH, CHANNELS, PATCH, KEPT).double()
    pca.fit(residuals(count))
    return pca, residuals(count)


def patches_of(images: Tensor) -> np.ndarray:
    """Rows of patches, cut out one by one: [N*side*side,12], in the order of `pixel_unshuffle`."""
    rows = [
        image[:, PATCH * i : PATCH * (i + 1), PATCH * j : PATCH * (j + 1)].flatten().numpy()
        for image in images
        for i in range(SIDE)
        for j in range(SIDE)
    ]
    return np.stack(rows)


def test_it_is_probabilistic_pca_of_the_patches() -> None:
    """U diag(s^2) U^T + r I keeps the leading eigenvectors and values of their second moments."""
    pca, residual = fitted()
    rows = patches_of(residual)
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    rest = values[:-KEPT].mean()
    assert pca.rest.item() == pytest.approx(rest)
    factor = (pca.directions * pca.stds).numpy()
    leading = vectors[:, -KEPT:]
    exact = leading @ np.diag(values[-KEPT:] - rest) @ leading.T
    np.testing.assert_allclose(factor @ factor.T, exact, rtol=1e-6, atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("adapted", [False, True])
def test_the_posterior_is_that_of_bayes(adapted: bool) -> None:
    """log p(d | e) + log p(e) - log q(e | d) is log p(d), whatever e: SciPy's at every place."""
    pca, residual = fitted()
    if adapted:
        torch.nn.init.normal_(pca.log_scale.weight, std=0.5)
    h, residual = normal(2, WIDTH, SIDE, SIDE, seed=3), residual[:2]
    s = pca.prior_stds(h)
    assert adapted != torch.equal(s, pca.stds[:, None, None].expand_as(s))
    mean, log_variance = pca.posterior_moments(h, residual)
    e = normal(*mean.shape, seed=4)
    predicted = pca(h, e)
    rest = pca.rest.item()
    for i in range(SIDE):
        for j in range(SIDE):
            at = (0, slice(None), i, j)
            box = (
                slice(0, 1),
                slice(None),
                slice(PATCH * i, PATCH * (i + 1)),
                slice(PATCH * j, PATCH * (j + 1)),
            )
            d, given = residual[box].flatten().numpy(), predicted[box].flatten().numpy()
            factor = (pca.directions * s[at]).numpy()
            covariance = factor @ factor.T + rest * np.eye(SIZE)
            evidence = stats.multivariate_normal(np.zeros(SIZE), covariance).logpdf(d)
            like = stats.norm(given, np.sqrt(rest)).logpdf(d).sum()
            prior = stats.norm.logpdf(e[at].numpy()).sum()
            spread = (log_variance[at] / 2).exp().numpy()
            posterior = stats.norm(mean[at].numpy(), spread).logpdf(e[at].numpy()).sum()
            assert like + prior - posterior == pytest.approx(evidence, rel=1e-9)


def test_of_nothing_residual_it_is_as_narrow_as_8_bits() -> None:
    pca = PatchPCA(WIDTH, CHANNELS, PATCH, KEPT).double()
    pca.fit(torch.zeros(4, CHANNELS, 8, 8, dtype=torch.float64))
    assert pca.rest.item() == pytest.approx((1 / 255) ** 2 / 3) == pytest.approx(LEAST)
    mean, log_variance = pca.posterior_moments(normal(1, WIDTH, SIDE, SIDE), residuals()[:1])
    assert mean.isfinite().all() and log_variance.isfinite().all()


@pytest.mark.parametrize(
    ("channels", "patch", "rank"), [(3, 2, 8), (1, 2, 2), (3, 1, 2), (1, 1, 0)]
)
def test_a_third_of_a_patch_tells_the_noise(channels: int, patch: int, rank: int) -> None:
    assert PatchPCA.max_rank(channels, patch) == rank


def test_lower_precision_does_not_reach_the_directions() -> None:
    matrix, pictures = normal(3, 4).float(), normal(2, 4, 5, 5).float()
    exact = torch.einsum("qp,bpij->bqij", matrix, pictures)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(per_place(matrix, pictures), exact)
