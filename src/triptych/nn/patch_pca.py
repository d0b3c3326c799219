"""A picture of latents in closed form: probabilistic PCA of what a prediction leaves of patches.

Let d be a patch of an image minus the prediction of that image. Over all patches and images it is
about N(0, S), with eigenvectors u and eigenvalues l of S. Of these the leading ones are latents and
the others noise of their mean r (Tipping and Bishop 1999, section 3.2):

    d = U diag(s) e + noise,   e ~ N(0, I),   noise ~ N(0, r I),   s^2 = l - r
    e | d ~ N(k / s * U^T d, 1 - k),   k = s^2 / (s^2 + r)

What is left differs from place to place: more at an edge than on a plain, and less as predictions
get better. So features that are known before the latents widen or narrow s at each place.

A patch's numbers are those of `pixel_unshuffle`: [B,C,H,W] -> [B,P,side,side], P = C * patch^2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.images import LEVELS

MOST_KEPT = 2 / 3  # of a patch's numbers; the others tell how much noise there is
LEAST = (2 / (LEVELS - 1)) ** 2 / 12  # variance on [-1, 1]: of the error of rounding to 8 bits
WIDEST = 4.0  # |log| of the factor of s


class PatchPCA(nn.Module):
    """The latents' closed form, and the layer that adapts it. Until `fit`, of independent numbers.

    width: channels of the features
    count: latents at each place, at least 1
    """

    def __init__(self, width: int, channels: int, patch: int, count: int) -> None:
        super().__init__()
        size = channels * patch**2
        self.patch, self.count = patch, count
        self.register_buffer("directions", torch.eye(size, count))
        self.register_buffer("stds", torch.ones(count))
        self.register_buffer("rest", torch.ones(()))
        self.directions: Tensor  # U [P,L]
        self.stds: Tensor  # s [L]
        self.rest: Tensor  # r
        self.factor = nn.Conv2d(width, count, 1)
        assert self.factor.bias is not None
        nn.init.zeros_(self.factor.weight)
        nn.init.zeros_(self.factor.bias)

    @staticmethod
    def most(channels: int, patch: int) -> int:
        """The largest `count` that leaves directions to tell the noise by; 0 where none is left."""
        return int(MOST_KEPT * channels * patch**2)

    @torch.no_grad()
    def fit(self, left: Tensor) -> None:
        """Find U, s and r of images minus their predictions, [N,C,H,W]."""
        d = F.pixel_unshuffle(left, self.patch).transpose(0, 1).flatten(1).double()
        values, vectors = torch.linalg.eigh(d @ d.T / d.shape[1])
        values, count = values.flip(0), len(self.stds)
        rest = values[count:].mean().clamp(min=LEAST)
        self.directions.copy_(vectors.flip(1)[:, :count])
        self.stds.copy_((values[:count] - rest).clamp(min=LEAST).sqrt())
        self.rest.copy_(rest)

    def prior_stds(self, h: Tensor) -> Tensor:
        """s at each place, [B,L,side,side]."""
        factor = self.factor(F.silu(h)).to(self.stds.dtype)
        return self.stds[:, None, None] * factor.clamp(-WIDEST, WIDEST).exp()

    def posterior_moments(self, h: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of e for images minus their predictions: each [B,L,side,side]."""
        s = self.prior_stds(h)
        kept = s**2 / (s**2 + self.rest)
        along = per_place(self.directions.T, F.pixel_unshuffle(left, self.patch))
        return kept / s * along, (self.rest / (s**2 + self.rest)).log()

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        """What latents e [B,L,side,side] add to the prediction, [B,C,H,W]."""
        return F.pixel_shuffle(per_place(self.directions, self.prior_stds(h) * e), self.patch)


def per_place(matrix: Tensor, pictures: Tensor) -> Tensor:
    """A matrix [Q,P] times the numbers of each place, [B,P,...] -> [B,Q,...], in full precision."""
    with torch.autocast(pictures.device.type, enabled=False):
        return torch.einsum("qp,bpij->bqij", matrix, pictures)
