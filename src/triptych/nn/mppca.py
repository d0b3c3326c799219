"""A mixture of probabilistic PCA in closed form: what images are before any training.

Of group k, with the coordinates y = U^T (x - m):

    p(x | k) = N(y; c_k, A_k diag(v_k) A_k^T) N((I - U U^T)(x - m); 0, r I)

(Tipping and Bishop 1999, Neural Computation 11, with one basis U for all groups: the R leading
principal directions of all images; for images arXiv:1805.12462). m is the mean of all images; c_k
is the mean of the group's coordinates, the columns of A_k are the eigenvectors of their covariance
and v_k its eigenvalues; r is one variance for all other directions. A further row of c, A and v,
the last, describes all images together: it serves where the group is unknown. Each group is a
Gaussian, so denoising, density, encoding and drawing have closed forms, and noise of deviation
sigma just adds sigma^2 to every variance.

Images are [N,C,H,W] on [-1, 1]; D = C*H*W. Groups are told as weights [N,K+1], one-hot. Between two
groups, on a path from one to the other, what each of them gives is averaged by its weight.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from triptych.hardware import without_tf32

MEAN_WEIGHT = 2.0  # images that the common mean counts for in a group's mean
COVARIANCE_WEIGHT = 10.0  # images that the common covariance counts for in a group's
ENOUGH = 10_000  # images, of which the basis is found
ROUNDS = 4  # of the subspace iteration
SPARE = 16  # directions more than are kept, by which the iteration gets there sooner
LEAST = 1e-6  # variance of a direction, on [-1, 1]: far below what 8 bits can show


def in_full_precision(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The method without autocast or TF32: what these round is then divided by small deviations.

    torch.compile, which cannot follow switches, leaves TF32 as it is.
    """

    @functools.wraps(method)
    def precise(self: MPPCA, first: Tensor, *others: Any, **named: Any) -> Tensor:
        if first.is_cuda and not torch.compiler.is_compiling():
            with without_tf32(), torch.autocast("cuda", enabled=False):
                return method(self, first, *others, **named)
        if not torch.is_autocast_enabled(first.device.type):
            return method(self, first, *others, **named)
        with torch.autocast(first.device.type, enabled=False):
            return method(self, first, *others, **named)

    return precise


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
        self.register_buffer("axes", torch.eye(rank).repeat(groups + 1, 1, 1))
        self.register_buffer("variances", torch.ones(groups + 1, rank))
        self.register_buffer("rest", torch.ones(()))
        self.register_buffer("shares", torch.full((groups,), 1 / groups))
        self.mean: Tensor  # m [D]
        self.basis: Tensor  # U [D,R]
        self.centres: Tensor  # c [K+1,R]
        self.axes: Tensor  # A [K+1,R,R]
        self.variances: Tensor  # v [K+1,R]
        self.rest: Tensor  # r
        self.shares: Tensor  # p(k) [K]

    @torch.no_grad()
    def fit(self, images: Tensor, groups: Tensor, rng: torch.Generator) -> None:
        """Find the mixture of images [N,C,H,W], which belong to these groups: int64 [N].

        Mean and covariance of a small group lean on those of all images.
        """
        x = images.flatten(1)
        self.mean.copy_(x.mean(0))
        x = x - self.mean
        some = x[:: len(x) // ENOUGH + 1]
        self.basis.copy_(leading_directions(some, self.basis.shape[1], rng))
        y = x @ self.basis
        beyond = (x.square().sum() - y.square().sum()) / len(x)
        others = max(1, x.shape[1] - self.basis.shape[1])
        self.rest.copy_((beyond / others).clamp(min=LEAST))
        count, sizes = len(self.shares), torch.bincount(groups, minlength=len(self.shares))
        sums = torch.zeros_like(self.centres[:-1]).index_add_(0, groups, y)
        centres = sums / (sizes[:, None] + MEAN_WEIGHT)
        apart = y - centres[groups]
        common = apart.T @ apart / len(x)
        own = (apart[groups == k] for k in range(count))
        covariances = torch.stack(
            [
                (part.T @ part + COVARIANCE_WEIGHT * common) / (len(part) + COVARIANCE_WEIGHT)
                for part in own
            ]
            + [y.T @ y / len(x)]  # of all images, whose mean is 0
        )
        variances, axes = torch.linalg.eigh(covariances)
        self.centres.copy_(torch.cat([centres, torch.zeros_like(y[:1])]))
        self.axes.copy_(axes)
        self.variances.copy_(variances.clamp(min=LEAST))
        self.shares.copy_(sizes / len(x))

    def unknown(self, like: Tensor) -> Tensor:
        """The weights of N images whose group is unknown, [N,K+1]; like: [N, ...]."""
        weights = like.new_zeros(like.shape[0], len(self.centres))
        weights[:, -1] = 1
        return weights

    @in_full_precision
    def coordinates(self, x: Tensor) -> Tensor:
        """y = U^T (x - m) of images [N,C,H,W]: [N,R]."""
        return (x.flatten(1) - self.mean) @ self.basis

    @in_full_precision
    def image(self, y: Tensor) -> Tensor:
        """m + U y, the image in the basis at coordinates [N,R]: [N,C,H,W]."""
        return (self.mean + y @ self.basis.T).view(-1, *self.size)

    @in_full_precision
    def denoise(self, x: Tensor, sigma: Tensor, weights: Tensor, inside: bool = False) -> Tensor:
        """The expected clean image of x [N,C,H,W] with noise of deviation sigma [N].

        weights: of the groups, [N,K+1]
        inside:  its part in the basis alone, as if r were 0: one variance for all other directions
                 is too large for the finest, and a sampler would fill them with grain

        E[y | x, k] = c_k + A_k diag(v_k / (v_k + sigma^2)) A_k^T (U^T (x - m) - c_k), and
        r / (r + sigma^2) of what lies outside the basis (Tipping and Bishop 1999, section 3.3).
        """
        noise = sigma.square()[:, None]
        y = self.coordinates(x)
        clean = self.along_axes(
            y, weights, lambda own, variances: own * variances / (variances + noise)
        )
        if inside:
            return self.image(clean)
        passed = self.rest / (self.rest + noise)
        outside = x.flatten(1) - self.mean - y @ self.basis.T
        return self.image(clean) + (passed * outside).view_as(x)

    @in_full_precision
    def flow(self, x: Tensor, sigma: float, sigma_next: float, weights: Tensor) -> Tensor:
        """Follow the noise-free path of `denoise`, of its part in the basis, to another level.

        x [N,C,H,W] with noise of deviation sigma -> [N,C,H,W] with sigma_next.

        dx/dsigma = (x - D(x)) / sigma (arXiv:2206.00364, eq. 3 with sigma(t) = t) has a closed form
        where D is linear: along an axis of variance v the distance from c_k grows as
        sqrt(v + sigma^2), and outside the basis as sigma. The way back is its exact inverse.
        """

        def scaled(own: Tensor, variances: Tensor) -> Tensor:
            return own * ((variances + sigma_next**2) / (variances + sigma**2)).sqrt()

        y = self.coordinates(x)
        outside = x.flatten(1) - self.mean - y @ self.basis.T
        inside = self.image(self.along_axes(y, weights, scaled))
        return inside + (sigma_next / sigma * outside).view_as(x)

    def encode(self, x: Tensor, weights: Tensor) -> Tensor:
        """Images [N,C,H,W] as standard normal numbers z of their group [N,R].

        z = diag(v_k)^(-1/2) A_k^T (U^T (x - m) - c_k), the posterior mean as r goes to 0.
        """
        return self.encode_coordinates(self.coordinates(x), weights)

    @in_full_precision
    def encode_coordinates(self, y: Tensor, weights: Tensor) -> Tensor:
        """As `encode`, of coordinates [N,R]: [N,R]."""
        k = weights.argmax(1)
        own = torch.bmm((y - self.centres[k])[:, None], self.axes[k])[:, 0]
        return own / self.variances[k].sqrt()

    def forward(self, z: Tensor, weights: Tensor) -> Tensor:
        """m + U (c_k + A_k diag(v_k)^(1/2) z), images of z [N,R] and of groups: [N,C,H,W]."""
        return self.image(self.decode_coordinates(z, weights))

    @in_full_precision
    def encode_in(self, y: Tensor, k: int) -> Tensor:
        """As `encode_coordinates`, of coordinates [N,R] that are all taken for group k: [N,R]."""
        return (y - self.centres[k]) @ self.axes[k] / self.variances[k].sqrt()

    @in_full_precision
    def decode_in(self, z: Tensor, k: int) -> Tensor:
        """As `decode_coordinates`, of latents [N,R] that are all of group k: [N,R]."""
        return self.centres[k] + (self.variances[k].sqrt() * z) @ self.axes[k].T

    @in_full_precision
    def decode_coordinates(self, z: Tensor, weights: Tensor) -> Tensor:
        """c_k + A_k diag(v_k)^(1/2) z, the coordinates of these images: [N,R]."""
        return self.in_groups(
            weights,
            lambda k: (self.axes[k], self.centres[k], self.variances[k].sqrt() * z),
        )

    def along_axes(
        self, y: Tensor, weights: Tensor, change: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """c_k + A_k change(A_k^T (y - c_k), v_k) of coordinates [N,R]: [N,R]."""

        def changed(k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            axes, centres = self.axes[k], self.centres[k]
            own = torch.bmm((y - centres)[:, None], axes)[:, 0]
            return axes, centres, change(own, self.variances[k])

        return self.in_groups(weights, changed)

    def in_groups(
        self, weights: Tensor, of: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
    ) -> Tensor:
        """c_k + A_k t_k, averaged over the two groups of most weight: [N,R].

        of: groups k [N] -> A_k [N,R,R], c_k [N,R], t_k [N,R]

        In training every image has one group, and the second is left out.
        """
        shares, groups = weights.topk(1 if self.training else 2, dim=1)
        total = torch.zeros((), dtype=weights.dtype, device=weights.device)
        for share, k in zip((shares / shares.sum(1, keepdim=True)).T, groups.T, strict=True):
            axes, centres, along = of(k)
            y = centres + torch.bmm(axes, along[:, :, None])[:, :, 0]
            total = total + share[:, None] * y
        return total

    @in_full_precision
    def log_densities(self, x: Tensor, sigma: Tensor) -> Tensor:
        """log p(x | k) under noise in nats: x [N,C,H,W], sigma [N] -> [N,K]."""
        centred, y = x.flatten(1) - self.mean, self.coordinates(x)
        noise = sigma.square()[:, None]
        inside = []
        for centre, axes, variances in zip(self.centres, self.axes, self.variances, strict=True):
            noisy = variances + noise
            inside.append((((y - centre) @ axes).square() / noisy + noisy.log()).sum(1))
        dimensions, rank = self.basis.shape
        squares = centred.square().sum(1, keepdim=True) - y.square().sum(1, keepdim=True)
        rest = self.rest + noise
        outside = squares.clamp(min=0) / rest + (dimensions - rank) * rest.log()
        constant = dimensions * math.log(2 * math.pi)
        return -0.5 * (torch.stack(inside[:-1], dim=1) + outside + constant)

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
