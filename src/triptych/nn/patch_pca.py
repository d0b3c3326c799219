"""A picture of latents in closed form: probabilistic PCA of the patches of a residual image.

The residual is the image minus a prediction of it. Over all images its patches d are about N(0, S),
with eigenvectors u and eigenvalues l of S. The leading directions are latents and the others noise
of their mean r (Tipping and Bishop 1999, section 3.2):

    d = U diag(s) e + noise,   e ~ N(0, I),   noise ~ N(0, r I),   s^2 = l - r
    e | d ~ N(s / (s^2 + r) * U^T d, r / (s^2 + r))

Residuals are larger at an edge than on a plain, and smaller as predictions get better. So features
that are known before the latents widen or narrow s at each place.

A patch's numbers are those of `pixel_unshuffle`: [B,C,H,W] -> [B,P,side,side], P = C * patch^2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.images import LEVELS, to_float64

LARGEST_SHARE = 2 / 3  # of a patch's directions; the others tell how much noise there is
LEAST = (2 / (LEVELS - 1)) ** 2 / 12  # variance on [-1, 1]: of the error of rounding to 8 bits
LARGEST_LOG_SCALE = 4.0  # to either side, of the factor of s


class PatchPCA(nn.Module):
    """The latents' closed form, and the layer that adapts it. Until `fit`, of independent numbers.

    width: channels of the features
    rank:  latents at each place, at least 1
    """

    def __init__(self, width: int, channels: int, patch: int, rank: int) -> None:
        super().__init__()
        size = channels * patch**2
        self.patch, self.rank = patch, rank
        self.register_buffer("directions", torch.eye(size, rank))
        self.register_buffer("stds", torch.ones(rank))
        self.register_buffer("rest", torch.ones(()))
        self.directions: Tensor  # U [P,L]
        self.stds: Tensor  # s [L]
        self.rest: Tensor  # r
        self.log_scale = nn.Conv2d(width, rank, 1)
        assert self.log_scale.bias is not None
        nn.init.zeros_(self.log_scale.weight)
        nn.init.zeros_(self.log_scale.bias)

    @staticmethod
    def max_rank(channels: int, patch: int) -> int:
        """The largest rank at which other directions tell the noise; 0 for a single number."""
        return int(LARGEST_SHARE * channels * patch**2)

    @torch.no_grad()
    def fit(self, residual: Tensor) -> None:
        """Find U, s and r of residual images [N,C,H,W]."""
        d = to_float64(F.pixel_unshuffle(residual, self.patch).transpose(0, 1).flatten(1))
        values, vectors = torch.linalg.eigh(d @ d.T / d.shape[1])
        values = values.flip(0)
        rest = values[self.rank :].mean().clamp(min=LEAST)
        self.directions.copy_(vectors.flip(1)[:, : self.rank])
        self.stds.copy_((values[: self.rank] - rest).clamp(min=LEAST).sqrt())
        self.rest.copy_(rest)

    def prior_stds(self, h: Tensor) -> Tensor:
        """s at each place, [B,L,side,side]."""
        log_scale = self.log_scale(F.silu(h)).to(self.stds.dtype)
        scale = log_scale.clamp(-LARGEST_LOG_SCALE, LARGEST_LOG_SCALE).exp()
        return self.stds[:, None, None] * scale

    def posterior_moments(self, h: Tensor, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of e given residual images: each [B,L,side,side]."""
        s = self.prior_stds(h)
        variance = s**2 + self.rest
        along = per_place(self.directions.T, F.pixel_unshuffle(residual, self.patch))
        return s / variance * along, (self.rest / variance).log()

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        """What latents e [B,L,side,side] add to the prediction, [B,C,H,W]."""
        return F.pixel_shuffle(per_place(self.directions, self.prior_stds(h) * e), self.patch)


def per_place(matrix: Tensor, pictures: Tensor) -> Tensor:
    """A matrix [Q,P] times the numbers of each place, [B,P,...] -> [B,Q,...], in full precision."""
    if not torch.is_autocast_enabled(pictures.device.type):  # so that an export holds no context
        return torch.einsum("qp,bpij->bqij", matrix, pictures)
    with torch.autocast(pictures.device.type, enabled=False):
        return torch.einsum("qp,bpij->bqij", matrix, pictures)
