"""What all variational autoencoders share (arXiv:1312.6114): posterior, bounds, loss.

Every latent is standard normal before an image is seen. An image moves it to a normal posterior
with its own mean and variance, one latent after another: each may look at those before it.

    log p(x) >= E log p(x | latents) - KL,   KL = sum over latents of KL(q || N(0, I))
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from triptych.config import OptimizerConfig
from triptych.families.capabilities import (
    MEAN_PIXELS,
    BoundsLikelihood,
    Diagnoses,
    Diagnosis,
    Encodes,
    NoisyPixels,
    Represents,
    mean_terms,
)
from triptych.families.conditioning import Conditioning, Groups, condition_shares
from triptych.families.latent import Latent
from triptych.families.protocol import GenerativeModel, Objective
from triptych.families.vae import monitor
from triptych.families.vae.losses import NegativeElbo, Posterior
from triptych.seeding import ImageStreams

IMPORTANCE_SAMPLES = 100  # K of the course's test log-likelihood


class VAE(GenerativeModel, Encodes, Represents, BoundsLikelihood, Diagnoses, NoisyPixels):
    """A VAE of any depth.

    latents:      shape of each latent, the first decoded first
    conditioning: the condition of an image; None for unconditional networks
    optimizer:    of all its weights
    """

    bounds: ClassVar[Mapping[str, int]] = {"elbo": 1, "importance": IMPORTANCE_SAMPLES}
    latents: dict[str, tuple[int, ...]]
    optimizer: OptimizerConfig
    warm_up: float = 0.0  # share of the planned images over which the KL's weight rises to 1
    join: float = 0.0  # share of them after which all latents take part
    guess_weight: float = 1.0  # of losses beside the bound, where there are any
    learns_pixels: bool = True  # how wide their distribution is
    pixel_noise: bool = False
    samples_note = MEAN_PIXELS

    def __init__(self) -> None:
        super().__init__()
        self.conditioning: Conditioning | None = None  # no default of the class: it hides modules

    @abstractmethod
    def encode_features(self, images: Tensor) -> Any:
        """The features of images [B,C,H,W] that the posteriors need, computed once."""

    @abstractmethod
    def posterior(
        self,
        features: Any,
        noise: dict[str, Tensor] | None,
        labels: Tensor | None = None,
        share: float = 1.0,
    ) -> Posterior:
        """Posteriors, draws mean + std * noise (the means without noise), decoder's output.

        features: what `encode_features` returned
        labels:   [B,classes+1] shares of the classes or groups, the last one unknown
        share:    of the planned images seen, for latents that take part later than others
        """

    @abstractmethod
    def decode_latents(self, latents: dict[str, Tensor], labels: Tensor | None = None) -> Tensor:
        """The decoder's output at these latents: parameters of the pixels' distribution."""

    @abstractmethod
    def log_pixels(self, images: Tensor, output: Tensor) -> Tensor:
        """log P(8-bit images | latents), nats: [B]."""

    @abstractmethod
    def mean_pixels(self, output: Tensor) -> Tensor:
        """The expected image, [B,C,H,W]."""

    @abstractmethod
    def draw_pixels(self, output: Tensor, rng: ImageStreams) -> Tensor:
        """A draw from the pixels' distribution, [B,C,H,W]."""

    def objectives(self) -> Sequence[Objective]:
        """One: the negative evidence lower bound, which trains all weights."""
        return [NegativeElbo(self, self.optimizer)]

    def training_log_pixels(self, images: Tensor, output: Tensor) -> Tensor:
        """What training maximizes: `log_pixels`, or a density in its stead: [B]."""
        return self.log_pixels(images, output)

    def least_distortion(self, images: Tensor) -> Tensor:
        """The least -log P(image | latents) that a decoder could reach, nats, [B]; by default 0."""
        return torch.zeros(len(images), device=images.device)

    def draw_latent(self, count: int, rng: ImageStreams, labels: Tensor | None = None) -> Latent:
        """All latents from N(0, I), each [count, ...]."""
        drawn = {name: rng.normal(*shape) for name, shape in self.latents.items()}
        conditioning = self.conditioning
        numbers = None if conditioning is None else conditioning.draw(rng, labels)
        like = next(iter(drawn.values()))
        return Latent(drawn, path="straight", labels=condition_shares(conditioning, numbers, like))

    def condition(self, images: Tensor, labels: Tensor | None = None) -> Tensor | None:
        """The networks' second input for images [B,C,H,W], [B,classes+1]; None without one.

        labels: their class numbers [B], None where they are unknown; a group is found by the image
        """
        conditioning = self.conditioning
        numbers = None if conditioning is None else conditioning.of(images, labels)
        return condition_shares(conditioning, numbers, images)

    def decode(self, latent: Latent, rng: ImageStreams) -> Tensor:
        """The expected image, or a draw of its pixels under `with_pixel_noise`: [N,C,H,W]."""
        output = self.decode_latents(latent.tensors, latent.labels)
        return self.draw_pixels(output, rng) if self.pixel_noise else self.mean_pixels(output)

    def with_pixel_noise(self) -> Self:
        """The same networks; `decode` draws pixels."""
        other = copy(self)
        other.pixel_noise = True
        return other

    @property
    def network_calls(self) -> int:
        """One decoder call."""
        return 1

    def encode(self, images: Tensor) -> Latent:
        """The posterior means, labels unknown."""
        labels = self.condition(images)
        means = self.posterior_means(self.encode_features(images), labels)
        return Latent(means, path="straight", labels=labels)

    def posterior_means(self, features: Any, labels: Tensor | None) -> dict[str, Tensor]:
        """The means of `posterior` without noise, of each latent [B, ...]."""
        return self.posterior(features, None, labels).means

    def represent(self, images: Tensor) -> Tensor:
        """The posterior means, those decoded first at the front: [N,F]."""
        means = self.encode(images).tensors.values()
        return torch.cat([mean.flatten(1) for mean in means], dim=1)

    def negative_bound(
        self, images: Tensor, rng: ImageStreams, method: str, draws: int | None = None
    ) -> dict[str, Tensor]:
        """-ELBO as reconstruction and each level's KL, or the importance-weighted bound.

        A model with groups uses each image's own group: P(x) >= P(group) P(x | group).

        draws: of each image's latents; by default 1 for the ELBO, which averages them, else 100
        """
        features = self.encode_features(images)
        labels = self.condition(images)
        group = {}
        if isinstance(self.conditioning, Groups) and labels is not None:
            group["group"] = self.conditioning.neg_log_prior(labels.argmax(1))
        if method == "importance":
            weights = [
                self._log_weight(images, features, labels, rng)
                for _ in range(draws or IMPORTANCE_SAMPLES)
            ]
            bound = torch.logsumexp(torch.stack(weights), dim=0) - math.log(len(weights))
            return {"importance_weighted": -bound, **group}
        terms = mean_terms(self._elbo(images, features, labels, rng) for _ in range(draws or 1))
        return {**terms, **group}

    def diagnose(
        self, seen: Tensor, unseen: Tensor, rng: ImageStreams, share: float = 1.0
    ) -> Diagnosis:
        """Finds collapsed latents, a decoder that ignores its latents, and over-fitting."""
        return monitor.diagnose(self, seen, unseen, rng, share)

    def _elbo(
        self, images: Tensor, features: Any, labels: Tensor | None, rng: ImageStreams
    ) -> dict[str, Tensor]:
        posterior = self.posterior(features, self._noise(rng), labels)
        return {"reconstruction": -self.log_pixels(images, posterior.output), **posterior.kl()}

    def _log_weight(
        self, images: Tensor, features: Any, labels: Tensor | None, rng: ImageStreams
    ) -> Tensor:
        """log p(x, latents) / q(latents | x) at one draw, nats (arXiv:1509.00519, eq. 8): [N]."""
        noise = self._noise(rng)
        posterior = self.posterior(features, noise, labels)
        return self.log_pixels(images, posterior.output) + posterior.log_ratio(noise)

    def _noise(self, rng: ImageStreams) -> dict[str, Tensor]:
        return {name: rng.normal(*shape) for name, shape in self.latents.items()}
