"""A prior that is fitted to latents after training: a mixture of Gaussians around exemplars.

    p(z) = sum over exemplars n and covariances s of  weight_n share_s N(z; z_n, covariance_s)

with the posterior means z_n of training images (Exemplar VAE, arXiv:2004.04795, eq. 5; there all
covariances are isotropic). A VAE's latents never fill N(0, I), so draws from that decode to odd
images (arXiv:1903.05789, section 4). The covariances maximize the likelihood of each exemplar
under all others, itself left out, so that the prior cannot merely repeat its exemplars.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from triptych.families.grouped_exemplars import LOG_2PI, pick
from triptych.images import to_float64

FIRST_SHARES_OF_COVARIANCE = (0.1, 0.02, 0.3, 0.005)  # of all latents together, for each kind
KINDS = len(FIRST_SHARES_OF_COVARIANCE)
STEPS = 12  # of the fit, after which the densities no longer change visibly
SAME = 0.1  # of the distance to the next exemplar: nearer than that is the same latent
JITTER = 1e-4  # least variance, in units of the latents' mean one


class ExemplarPrior(nn.Module):
    """N(0, I) until it is fitted; with classes, one mixture for each class.

    size: D, numbers of a latent; most: exemplars kept; kinds: number of covariances
    """

    def __init__(self, size: int, most: int, kinds: int, classes: int = 0) -> None:
        super().__init__()
        self.register_buffer("exemplars", torch.zeros(most, size))
        weights = torch.eye(1, most).repeat(classes + 1, 1)  # all on the first one, at 0
        self.register_buffer("weights", weights)
        self.register_buffer("shares", torch.eye(1, kinds)[0])
        self.register_buffer("factors", torch.eye(size).repeat(kinds, 1, 1))
        self.exemplars: Tensor  # [N,D]
        self.weights: Tensor  # [classes+1,N], 0 for those of other classes; last of any class
        self.shares: Tensor  # [S]
        self.factors: Tensor  # [S,D,D], lower triangular: covariance = factor @ factor.T

    @property
    def kept_numbers(self) -> int:
        """Numbers in the exemplars that take part; 0 before the fit, when the prior is N(0, I)."""
        count = int(self.weights[-1].count_nonzero().item())
        return count * self.exemplars.shape[1] if count > 1 else 0  # a fit takes at least 2

    def weights_for(self, labels: Tensor | None, count: int) -> Tensor:
        """The weight of each exemplar in the prior of each of `count` latents: [count,N].

        labels: shares of the classes and of "unknown" [count,classes+1]; None: all unknown
        """
        if labels is None:
            return self.weights[-1].expand(count, -1)
        return labels.to(self.weights.dtype) @ self.weights

    def log_density(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        """log p(z | labels), nats: [B,D] -> [B]."""
        log_weights = self.weights_for(labels, z.shape[0]).log()
        kinds = [
            share.log() + (log_weights + log_normal(z, self.exemplars, factor)).logsumexp(1)
            for share, factor in zip(self.shares, self.factors, strict=True)
        ]
        return torch.logsumexp(torch.stack(kinds), dim=0)

    def draw(self, choices: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Latents from two uniform numbers each [B,2] and Gaussian noise [B,D]: [B,D]."""
        exemplar = self.exemplars_drawn(choices, labels)
        shares = to_float64(self.shares.expand(noise.shape[0], -1))
        kind = pick(shares, choices[:, 1]).to(noise.device)
        moved = torch.einsum("bij,bj->bi", self.factors[kind], noise.to(self.factors.dtype))
        return self.exemplars[exemplar] + moved

    def exemplars_drawn(self, choices: Tensor, labels: Tensor | None = None) -> Tensor:
        """The exemplar that the first of two uniform numbers [B,2] chooses: [B]."""
        weights = to_float64(self.weights_for(labels, choices.shape[0]))
        return pick(weights, choices[:, 0]).to(choices.device)

    def exemplars_at(self, z: Tensor) -> Tensor:
        """The exemplar that each latent [B,D] is, give or take rounding: [B]; -1 for no one's.

        An exemplar's own latent, found again in other batches, is far nearer to it than to others.
        """
        apart = torch.cdist(to_float64(z), to_float64(self.exemplars))
        apart = apart.masked_fill((self.weights[-1] == 0).to(apart.device), torch.inf)
        near, index = apart.topk(2, largest=False)
        return index[:, 0].where(near[:, 0] < SAME * near[:, 1], -1).to(z.device)

    @torch.no_grad()
    def fit(self, means: Tensor, variance: Tensor, classes: Tensor | None = None) -> None:
        """Take posterior means as exemplars and fit the covariances to all but each one itself.

        means:    [N,D], of which the first `most` are used
        variance: mean posterior variances [D]
        classes:  class numbers [N]; a class without any exemplar has the weights of all
        """
        z = to_float64(means[: len(self.exemplars)])
        count = len(z)
        if count < 2:
            return
        spread = torch.cov(z.T)
        least = torch.diag(to_float64(variance) + JITTER * spread.diagonal().mean())
        kinds = len(self.shares)
        shares = torch.full((kinds,), 1 / kinds, dtype=torch.float64, device=z.device)
        covariances = [
            share * spread + least for share in FIRST_SHARES_OF_COVARIANCE[: len(shares)]
        ]
        for _ in range(STEPS):
            factors = [torch.linalg.cholesky(c) for c in covariances]
            shares, covariances = improved(z, shares, factors, least)
        self.exemplars.zero_()[:count] = z.to(self.exemplars)
        self.weights.zero_()[:, :count] = 1 / count
        self.shares.copy_(shares)
        self.factors.copy_(torch.stack([torch.linalg.cholesky(c) for c in covariances]))
        if classes is None:
            return
        for number in range(len(self.weights) - 1):
            own = (classes[:count] == number).to(self.weights.dtype)
            if own.any():
                self.weights[number, :count] = own / own.sum()


def improved(
    z: Tensor, shares: Tensor, factors: list[Tensor], least: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """One step of expectation and maximisation: new shares, new covariances.

    The responsibility of exemplar j and kind s for z_i, j other than i, weighs the outer product
    of z_i - z_j; `least`, the latents' posterior variance, is added to each covariance.
    """
    log_joint = torch.stack(
        [
            share.log() + log_normal(z, z, factor).fill_diagonal_(-torch.inf)
            for share, factor in zip(shares, factors, strict=True)
        ]
    ).float()  # [S,N,N]
    responsible = (log_joint - log_joint.logsumexp((0, 2), keepdim=True)).exp().double()
    totals = responsible.sum((1, 2))
    covariances = []
    for weights, total in zip(responsible, totals, strict=True):
        crossed = z.T @ weights @ z
        own = (z.T * (weights.sum(1) + weights.sum(0))) @ z
        covariances.append((own - crossed - crossed.T) / total.clamp(min=1e-6) + least)
    return totals / totals.sum(), covariances


def log_normal(z: Tensor, means: Tensor, factor: Tensor) -> Tensor:
    """log N(z_i; mean_j, factor @ factor.T), nats: [B,D], [N,D], [D,D] -> [B,N]."""
    white_z = torch.linalg.solve_triangular(factor, z.T, upper=False).T
    white_means = torch.linalg.solve_triangular(factor, means.T, upper=False).T
    squared = torch.cdist(white_z, white_means).square()
    log_determinant = factor.diagonal().log().sum()
    return -0.5 * (squared + z.shape[1] * LOG_2PI) - log_determinant
