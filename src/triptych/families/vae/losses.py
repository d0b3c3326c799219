"""What a VAE is trained by, and the terms of its bound."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from triptych.config import ImageShape, OptimizerConfig
from triptych.families.labels import hide_some
from triptych.families.protocol import Batch, Objective

LOG_2PI = math.log(2 * math.pi)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, diag(exp(log_variance))) || N(0, I)), nats (arXiv:1312.6114, B): [B]."""
    each = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)
    return each.flatten(1).sum(1)


@dataclass(frozen=True)
class Inferred:
    """What a VAE makes of images: a draw from each latent's posterior, and the decoder's answer.

    means, log_variances: of each latent, [B, ...]
    latents:              the draws, by the same names
    output:               what the pixels' distribution is made of
    estimates:            KL at the draw, nats [B], of latents whose prior is no N(0, I)
    guesses:              of the image, and the log of their deviation, by name: see `guess_loss`
    """

    means: dict[str, Tensor]
    log_variances: dict[str, Tensor]
    latents: dict[str, Tensor]
    output: Tensor
    estimates: dict[str, Tensor] = field(default_factory=dict)
    guesses: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def kl(self) -> dict[str, Tensor]:
        """Nats of each level, [B]: latents called LEVEL.NUMBER are one level's."""
        found: dict[str, Tensor] = {}
        for name, mean in self.means.items():
            level, _, number = name.partition(".")
            term = f"kl_{level}" if number else "kl"
            nats = self.estimates.get(name)
            if nats is None:
                nats = gaussian_kl(mean, self.log_variances[name])
            found[term] = found[term] + nats if term in found else nats
        return found

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
    """What the loss and the monitor need of a VAE; `model.VAE` says what each one is."""

    latents: dict[str, tuple[int, ...]]
    classes: int | None
    warm_up: float
    learns_pixels: bool
    shape: ImageShape

    def encode_features(self, images: Tensor) -> Any:
        """All that the posteriors will ask of the images."""

    def infer(
        self,
        seen: Any,
        noise: dict[str, Tensor] | None,
        labels: Tensor | None = None,
        share: float = 1.0,
    ) -> Inferred:
        """Posteriors, draws and the decoder's answer."""

    def render(self, latents: dict[str, Tensor], labels: Tensor | None = None) -> Tensor:
        """The decoder's answer to latents."""

    def log_pixels(self, images: Tensor, output: Tensor) -> Tensor:
        """log P(8-bit images | latents), nats: [B]."""

    def training_log_pixels(self, images: Tensor, output: Tensor) -> Tensor:
        """What training raises: [B]."""

    def least_distortion(self, images: Tensor) -> Tensor:
        """Nats that images cost even at the best mean: [B]."""

    def condition(
        self, labels: Tensor | None, count: int, device: torch.device | str
    ) -> Tensor | None:
        """Shares of the classes, where the networks are told them."""


class NegativeElbo(Objective):
    """Mean over images of -log p(x | latents) + KL (arXiv:1312.6114, eq. 10), nats.

    The KL's weight may rise from 0 (arXiv:1602.02282, section 2.3).
    """

    name = "bound"

    def __init__(self, model: Autoencoder, optimiser: OptimizerConfig) -> None:
        super().__init__()
        self.model = model
        self.optimiser = optimiser

    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Standard normal numbers of every latent; uniform ones that hide labels."""
        drawn = {
            name: torch.randn(count, *shape, generator=generator)
            for name, shape in self.model.latents.items()
        }
        if self.model.classes is not None:
            drawn["hidden"] = torch.rand(count, generator=generator)
        return drawn

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Nats per image; the KL's terms without their weight."""
        model = self.model
        labels = hide_some(batch.labels, batch.noise.get("hidden"), model.classes)
        condition = model.condition(labels, len(batch.images), batch.images.device)
        found = model.infer(
            model.encode_features(batch.images), batch.noise, condition, batch.progress
        )
        reconstruction = -model.training_log_pixels(batch.images, found.output).mean()
        kl = {name: nats.mean() for name, nats in found.kl().items()}
        weight = min(1.0, batch.progress / model.warm_up) if model.warm_up else 1.0
        total = reconstruction + weight * torch.stack(list(kl.values())).sum()
        guesses = guess_losses(batch.images, found.guesses)
        if guesses:
            total = total + torch.stack(list(guesses.values())).sum()
        return {"total": total, "reconstruction": reconstruction, **kl, **guesses}


def guess_losses(images: Tensor, guesses: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Mean over images of -log N(image; guess, deviation^2) without its constant, nats.

    No part of the bound: it has the first latents tell what the whole image looks like, before
    later ones explain the rest, as deep supervision does (arXiv:1409.5185).
    """
    return {
        name: (0.5 * ((images - guess) * (-log_std).exp()) ** 2 + log_std).flatten(1).sum(1).mean()
        for name, (guess, log_std) in guesses.items()
    }
