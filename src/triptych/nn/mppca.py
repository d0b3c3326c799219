"""A mixture of probabilistic PCA in closed form: what images are before any training.

Of group k, with the coordinates y = U^T (x - m):

    p(x | k) = N(y; c_k, diag(v_k)) N((I - U U^T)(x - m); 0, r I)

(Tipping and Bishop 1999, Neural Computation 11, with one basis U for all groups: the R leading
principal directions of all images; for images arXiv:1805.12462). m is the mean of all images, c_k
and v_k are means and variances of the group's coordinates, r is one variance for all other
directions. A further row of c and v, the last, describes all images together: it serves where the
group is unknown. Each group is a Gaussian in one basis, so denoising and density have closed forms,
and noise of deviation sigma just adds sigma^2 to every variance.

Images are [N,C,H,W] on [-1, 1]; D = C*H*W.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

MEAN_WEIGHT = 2.0  # images that the common mean counts for in a group's mean
VARIANCE_WEIGHT = 10.0  # images that the common variances count for in a group's
ROUNDS = 4  # of the subspace iteration
SPARE = 16  # directions more than are kept, by which the iteration gets there sooner
LEAST = 1e-6  # variance of a direction, on [-1, 1]: far below what 8 bits can show


class MPPCA(nn.Module):
    """The mixture. Until `fit` it is a standard normal distribution of every group.

    groups: K
    rank:   R; at most D
    """

    def __init__(self, size: tuple[int, int, int], groups: int, rank: int) -> None:
        super().__init__()
        self.size, dimensions = size, math.prod(size)
        rank = min(rank, dimensions)
        self.register_buffer("mean", torch.zeros(dimensions))
        self.register_buffer("basis", torch.eye(dimensions, rank))
        self.register_buffer("centres", torch.zeros(groups + 1, rank))
        self.register_buffer("variances", torch.ones(groups + 1, rank))
        self.register_buffer("rest", torch.ones(()))
        self.register_buffer("shares", torch.full((groups,), 1 / groups))
        self.mean: Tensor  # m [D]
        self.basis: Tensor  # U [D,R]
        self.centres: Tensor  # c [K+1,R]
        self.variances: Tensor  # v [K+1,R]
        self.rest: Tensor  # r
        self.shares: Tensor  # p(k) [K]

    @torch.no_grad()
    def fit(self, images: Tensor, groups: Tensor, rng: torch.Generator) -> None:
        """Find the mixture of images [N,C,H,W], which belong to these groups: int64 [N].

        Means and variances of a small group lean on those of all images.
        """
        x = images.flatten(1)
        self.mean.copy_(x.mean(0))
        x = x - self.mean
        self.basis.copy_(leading_directions(x, self.basis.shape[1], rng))
        y = x @ self.basis
        beyond = (x.square().sum() - y.square().sum()) / len(x)
        others = max(1, x.shape[1] - self.basis.shape[1])
        self.rest.copy_((beyond / others).clamp(min=LEAST))
        count = len(self.shares)
        sizes = torch.bincount(groups, minlength=count)[:, None]
        centres = torch.zeros_like(self.centres[:-1]).index_add_(0, groups, y)
        centres /= sizes + MEAN_WEIGHT
        apart = (y - centres[groups]).square()
        squares = torch.zeros_like(centres).index_add_(0, groups, apart)
        variances = squares + VARIANCE_WEIGHT * apart.mean(0)
        variances /= sizes + VARIANCE_WEIGHT
        everything = y.square().mean(0, keepdim=True)  # y has mean 0
        self.centres.copy_(torch.cat([centres, torch.zeros_like(everything)]))
        self.variances.copy_(torch.cat([variances, everything]).clamp(min=LEAST))
        self.shares.copy_(sizes[:, 0] / len(x))

    def denoise(self, x: Tensor, sigma: Tensor, weights: Tensor, inside: bool = False) -> Tensor:
        """The expected clean image of x [N,C,H,W] with noise of deviation sigma [N].

        weights: of the groups and of "unknown", one-hot [N,K+1]; between two of them means and
                 variances are mixed, so that a path between two groups is smooth
        inside:  its part in the basis alone, as if r were 0: one variance for all other directions
                 is too large for the finest, and a sampler would fill them with grain

        E[y | x, k] = c_k + v_k / (v_k + sigma^2) (U^T (x - m) - c_k), and r / (r + sigma^2) of what
        lies outside the basis (Tipping and Bishop 1999, section 3.3).
        """
        centred = x.flatten(1) - self.mean
        y = centred @ self.basis
        noise = sigma.square()[:, None]
        centres, variances = weights @ self.centres, weights @ self.variances
        outside = torch.zeros_like(noise) if inside else self.rest / (self.rest + noise)
        clean = centres + variances / (variances + noise) * (y - centres)
        clean = self.mean + outside * centred + (clean - outside * y) @ self.basis.T
        return clean.view_as(x)

    def log_densities(self, x: Tensor, sigma: Tensor) -> Tensor:
        """log p(x | k) under noise in nats: x [N,C,H,W], sigma [N] -> [N,K]."""
        centred = x.flatten(1) - self.mean
        y = centred @ self.basis
        noise = sigma.square()[:, None]
        variances = self.variances[:-1] + noise[:, :, None]  # [N,K,R]
        inside = ((y[:, None] - self.centres[:-1]).square() / variances + variances.log()).sum(2)
        dimensions, rank = self.basis.shape
        squares = centred.square().sum(1, keepdim=True) - y.square().sum(1, keepdim=True)
        rest = self.rest + noise
        outside = squares.clamp(min=0) / rest + (dimensions - rank) * rest.log()
        return -0.5 * (inside + outside + dimensions * math.log(2 * math.pi))

    def log_density(self, x: Tensor, sigma: Tensor) -> Tensor:
        """log p(x) under noise in nats, [N]."""
        return torch.logsumexp(self.log_densities(x, sigma) + self.shares.log(), dim=1)


def leading_directions(x: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """The leading principal directions of centred rows [N,D], orthonormal: [D,count].

    By subspace iteration from random directions (arXiv:0909.4061, Algorithm 4.4), which never
    makes the D x D covariance; what lies at its end is nearly, not exactly, the leading space.
    """
    width = min(count + SPARE, x.shape[1])
    start = torch.randn(x.shape[1], width, generator=rng).to(x)
    directions = torch.linalg.qr(start).Q
    for _ in range(ROUNDS):
        directions = torch.linalg.qr(x.T @ (x @ directions)).Q
    seen = x @ directions
    vectors = torch.linalg.eigh(seen.T @ seen).eigenvectors
    return directions @ vectors.flip(1)[:, :count]
