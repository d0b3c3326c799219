"""The loss of a VAE, and the terms of its bound."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from triptych.config import ImageShape, OptimizerConfig
from triptych.families.conditioning import Classes, Conditioning
from triptych.families.labels import hide_some
from triptych.families.protocol import Batch, Objective

LOG_2PI = math.log(2 * math.pi)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, diag(exp(log_variance))) || N(0, I)), nats (arXiv:1312.6114, B): [B]."""
    each = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)
    return each.flatten(1).sum(1)


@dataclass(frozen=True)
class Posterior:
    """The posterior of each latent, one draw from it, and the decoder's output at that draw.

    means, log_variances: of each latent, by its name, [B, ...]
    latents:              the draws, by the same names
    output:               parameters of the pixels' distribution
    estimates:            KL at the draw, nats [B], of latents whose prior is not N(0, I)
    guesses:              predicted images and the log of their error's deviation: `guess_losses`
    """

    means: dict[str, Tensor]
    log_variances: dict[str, Tensor]
    latents: dict[str, Tensor]
    output: Tensor
    estimates: dict[str, Tensor] = field(default_factory=dict)
    guesses: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def kl(self) -> dict[str, Tensor]:
        """KL of each level, nats, [B]; latents called LEVEL.NUMBER belong to one level."""
        terms: dict[str, Tensor] = {}
        for name, mean in self.means.items():
            level, _, number = name.partition(".")
            term = f"kl_{level}" if number else "kl"
            nats = self.estimates.get(name)
            if nats is None:
                nats = gaussian_kl(mean, self.log_variances[name])
            terms[term] = terms[term] + nats if term in terms else nats
        return terms

    def log_ratio(self, noise: dict[str, Tensor]) -> Tensor:
        """log N(latents; 0, I) - log q(latents | x), nats, where `noise` drew them: [B]."""
        each = [
            -self.estimates[name]
            if name in self.estimates
            else 0.5 * (noise[name] ** 2 + self.log_variances[name] - latent**2).flatten(1).sum(1)
            for name, latent in self.latents.items()
        ]
        return torch.stack(each).sum(0)


class Autoencoder(Protocol):
    """The members of a VAE that the loss and the monitor use; `model.VAE` describes them."""

    latents: dict[str, tuple[int, ...]]
    conditioning: Conditioning | None
    warm_up: float
    join: float
    guess_weight: float
    learns_pixels: bool
    shape: ImageShape

    def encode_features(self, images: Tensor) -> Any:
        """The features of images that the posteriors need."""

    def posterior(
        self,
        features: Any,
        noise: dict[str, Tensor] | None,
        labels: Tensor | None = None,
        share: float = 1.0,
    ) -> Posterior:
        """Posteriors, draws and the decoder's output."""

    def decode_latents(self, latents: dict[str, Tensor], labels: Tensor | None = None) -> Tensor:
        """The parameters of the pixels' distribution."""

    def log_pixels(self, images: Tensor, output: Tensor) -> Tensor:
        """log P(8-bit images | latents), nats: [B]."""

    def training_log_pixels(self, images: Tensor, output: Tensor) -> Tensor:
        """What training maximizes: [B]."""

    def least_distortion(self, images: Tensor) -> Tensor:
        """Nats that images cost even at the best mean: [B]."""

    def condition(self, images: Tensor, labels: Tensor | None = None) -> Tensor | None:
        """Shares of the classes or groups [count,classes+1]; None for a model without them."""


class NegativeElbo(Objective):
    """Mean over images of -log p(x | latents) + KL (arXiv:1312.6114, eq. 10), nats.

    The KL's weight may rise from 0 (arXiv:1602.02282, section 2.3).
    """

    name = "bound"

    def __init__(self, model: Autoencoder, optimizer: OptimizerConfig) -> None:
        super().__init__()
        self.model = model
        self.optimizer = optimizer

    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Standard normal numbers of every latent; uniform ones that hide labels."""
        drawn = {
            name: torch.randn(count, *shape, generator=generator)
            for name, shape in self.model.latents.items()
        }
        if isinstance(self.model.conditioning, Classes):
            drawn["hidden"] = torch.rand(count, generator=generator)
        return drawn

    def regime(self, progress: float, step_index: int) -> Hashable:
        """Whether all latents take part."""
        return progress >= self.model.join

    def scalars(self, progress: float) -> dict[str, float]:
        """The KL's weight."""
        warm_up = self.model.warm_up
        return {"kl_weight": min(1.0, progress / warm_up) if warm_up else 1.0}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Nats per image; the KL's terms without their weight."""
        model = self.model
        labels = batch.labels
        if isinstance(model.conditioning, Classes):
            labels = hide_some(labels, batch.noise["hidden"], model.conditioning.count)
        condition = model.condition(batch.images, labels)
        posterior = model.posterior(
            model.encode_features(batch.images), batch.noise, condition, batch.progress
        )
        reconstruction = -model.training_log_pixels(batch.images, posterior.output).mean()
        kl = {name: nats.mean() for name, nats in posterior.kl().items()}
        weight = (batch.scalars or self.scalars(batch.progress))["kl_weight"]
        total = reconstruction + weight * torch.stack(list(kl.values())).sum()
        guesses = guess_losses(batch.images, posterior.guesses)
        if guesses:
            total = total + model.guess_weight * torch.stack(list(guesses.values())).sum()
        return {"total": total, "reconstruction": reconstruction, **kl, **guesses}


def guess_losses(images: Tensor, guesses: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Mean over images of -log N(image; guess, deviation^2) without its constant, nats.

    This is no part of the bound. It makes the first latents describe the whole image before later
    ones explain the rest, as deep supervision does (arXiv:1409.5185). Latents that do so from the
    start need none of it, and pay for it: their posterior becomes narrower than the bound asks for.
    """
    return {
        name: (0.5 * ((images - guess) * (-log_std).exp()) ** 2 + log_std).flatten(1).sum(1).mean()
        for name, (guess, log_std) in guesses.items()
    }
