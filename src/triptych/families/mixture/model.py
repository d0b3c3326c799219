"""A mixture of probabilistic PCA as a model: every ability in closed form, and nothing trained.

Groups of images are found by k-means, or are the classes; each is a Gaussian in the leading
principal directions of all images (`nn/mppca.py`, Tipping and Bishop 1999, Neural Computation 11).
A sample is a group, drawn as often as it occurs, and numbers z of that group: standard normal ones,
or such as lie around those of a training image (`grouped_exemplars`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from triptych.config import ImageShape
from triptych.families.capabilities import (
    MEAN_PIXELS,
    BoundsLikelihood,
    Encodes,
    Represents,
    mean_terms,
)
from triptych.families.conditioning import Conditioning, condition_shares, fit_before_training
from triptych.families.grouped_exemplars import DrawsAroundGroups, GroupedExemplars, log_standard
from triptych.families.latent import Latent
from triptych.families.protocol import GenerativeModel, Objective, to_float32
from triptych.images import BIN_WIDTH
from triptych.nn.mppca import MPPCA
from triptych.seeding import ImageStreams


class Mixture(GenerativeModel, Encodes, Represents, BoundsLikelihood, DrawsAroundGroups):
    """The mixture over groups or classes.

    exemplars: training images that draws begin at; 0 for N(0, I)

    Its images lie in the basis: what the rest variance adds is noise of each pixel, which the
    likelihood has and samples are shown without.
    """

    bounds: ClassVar[Mapping[str, int]] = {"dequantised": 1}
    samples_note = MEAN_PIXELS

    def __init__(
        self, mixture: MPPCA, conditioning: Conditioning, shape: ImageShape, exemplars: int = 0
    ) -> None:
        super().__init__()
        self.mixture, self.conditioning, self.shape = mixture, conditioning, shape
        self.prior = GroupedExemplars(mixture, exemplars) if exemplars else None

    def objectives(self) -> Sequence[Objective]:
        """None: nothing is trained."""
        return []

    def networks(self) -> Sequence[nn.Module]:
        """None."""
        return []

    def fit_before_training(self, images: Tensor, seed: int, labels: Tensor | None = None) -> None:
        """Find the groups, the mixture and the prior, which is all that there is to find."""
        groups = fit_before_training(self.conditioning, self.mixture, images, seed, labels)
        self.fit_prior(images, groups, seed)

    def draw_latent(self, count: int, rng: ImageStreams, labels: Tensor | None = None) -> Latent:
        """z of the prior, [count,R], and a group by its frequency, or the class that is asked for.

        Between two draws of a group from N(0, I) the great circle gives draws again.
        """
        z, shares = self.draw_noise(count, rng, labels)
        if self.prior is not None:
            z = self.prior.draw(rng.uniform(1), z, shares)
        return Latent({"z": z}, "spherical", shares)

    def draw_noise(
        self, count: int, rng: ImageStreams, labels: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Gaussian numbers [count,R], and the groups."""
        z = rng.normal(self.mixture.basis.shape[1])
        return z, self.shares(self.conditioning.draw(rng, labels), z)

    @property
    def exemplar_mixture(self) -> MPPCA:
        """Its own."""
        return self.mixture

    def decode(self, latent: Latent, rng: ImageStreams) -> Tensor:
        """The image in the basis, [N,C,H,W]."""
        assert latent.labels is not None
        z = latent.tensors["z"]
        return self.mixture(z, latent.labels.to(z.dtype))

    @property
    def network_calls(self) -> int:
        """One product of matrices."""
        return 1

    def encode(self, images: Tensor) -> Latent:
        """The images' groups, and their z in these; the class is taken as unknown.

        Decoded, it is the image's projection on the basis.
        """
        shares = self.shares(self.conditioning.of(images, None), images)
        return Latent({"z": self.mixture.encode(images, shares)}, "spherical", shares)

    def shares(self, numbers: Tensor | None, like: Tensor) -> Tensor:
        """Of the groups of these numbers [N], None where they are unknown: [N,K+1]."""
        shares = condition_shares(self.conditioning, numbers, like)
        assert shares is not None  # there is at least one group
        return shares

    def represent(self, images: Tensor) -> Tensor:
        """The coordinates in the basis, which are the same for all groups, [N,R]."""
        return to_float32(self.mixture.coordinates(images))

    def negative_bound(
        self, images: Tensor, rng: ImageStreams, method: str, draws: int | None = None
    ) -> dict[str, Tensor]:
        """-log p(x + u) - D log(bin width) under uniform noise u as wide as a grey level, [N].

        By Jensen's inequality it is on average at least -log P(8-bit image), the mass of p in the
        pixels' bins (arXiv:1511.01844, section 3.1). p is the exact density of all groups together.
        """
        # Autocast leaves float64 alone, and distances lose no digits where little lies outside.
        precise = copy.deepcopy(self.mixture).double()
        prior = None if self.prior is None else copy.deepcopy(self.prior).double()
        no_noise = torch.zeros(len(images), dtype=torch.float64, device=images.device)

        def terms() -> dict[str, Tensor]:
            uniform = rng.uniform(*images.shape[1:]).to(no_noise) - 0.5
            x = images.double() + BIN_WIDTH * uniform
            densities = precise.log_densities(x, no_noise)
            if prior is not None:
                densities = densities + log_ratios(prior, precise, x)
            density = torch.logsumexp(densities + precise.shares.log(), dim=1)
            return {"dequantised": -density - images[0].numel() * math.log(BIN_WIDTH)}

        return mean_terms(terms() for _ in range(draws or 1))


def log_ratios(prior: GroupedExemplars, mixture: MPPCA, x: Tensor) -> Tensor:
    """log p(z | k) - log N(z; 0, I), z being the latent of images [N,C,H,W] in group k: [N,K].

    By so much the prior changes the density of the images: z and what lies outside the basis are
    independent, and the way from one to the other is the same.
    """
    y = mixture.coordinates(x)
    latents = [mixture.encode_in(y, k) for k in range(len(mixture.shares))]
    ratios = [prior.log_density_in(z, k) - log_standard(z) for k, z in enumerate(latents)]
    return torch.stack(ratios, dim=1)
