"""The variational autoencoder with Gaussian latent and pixels (arXiv:1312.6114).

z ~ N(0, I);  x | z ~ N(decoder(z), std^2 I);  q(z | x) = N(mean(x), diag(exp(log_variance(x))))
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from triptych.config import ImageShape, Optimiser
from triptych.families.base import (
    Batch,
    BoundsLikelihood,
    Encodes,
    GenerativeModel,
    Latent,
    Objective,
    widened,
)
from triptych.families.pixels import log_probability
from triptych.seeding import ImageStreams

LOG_2PI = math.log(2 * math.pi)
IMPORTANCE_SAMPLES = 100  # K of the course's test log-likelihood


class GaussianEncoder(nn.Module):
    """Features, then two linear heads: x [B,C,H,W] -> mean, log-variance, each [B,D]."""

    def __init__(self, features: nn.Module, width: int, latent: int) -> None:
        super().__init__()
        self.features = features  # x [B,C,H,W] -> [B,width]
        self.mean = nn.Linear(width, latent)
        self.log_variance = nn.Linear(width, latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B,C,H,W] -> mean [B,D], log-variance [B,D] clamped to [-30, 20], float32."""
        h = self.features(x)
        return widened(self.mean(h)), widened(self.log_variance(h)).clamp(-30, 20)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, diag(exp(log_variance))) || N(0, I)), nats (arXiv:1312.6114, B): [B]."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)


def gaussian_log_density(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log N(x; mean, exp(log_std)^2 I) summed over all but the first axis, nats: [B]."""
    squared = ((x - mean) / log_std.exp()) ** 2
    return -0.5 * (squared + 2 * log_std + LOG_2PI).flatten(1).sum(1)


class GaussianVAE(GenerativeModel, Encodes, BoundsLikelihood):
    """A VAE whose pixel deviation is fixed or learned.

    encoder: x [B,C,H,W] -> mean, log-variance, each [B,D]
    decoder: z [B,D] -> mean image [B,C,H,W]
    std:     the pixels' deviation on [-1, 1]; where it is learned, its start
    """

    bounds = ("elbo", "importance")

    def __init__(
        self,
        encoder: GaussianEncoder,
        decoder: nn.Module,
        *,
        latent: int,
        std: float,
        learn_std: bool,
        shape: ImageShape,
        optimiser: Optimiser,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.latent = latent
        self.shape = shape
        self.optimiser = optimiser
        if learn_std:
            self.log_std = nn.Parameter(torch.tensor(math.log(std)))
        else:
            self.register_buffer("log_std", torch.tensor(math.log(std)))

    def objectives(self) -> Sequence[Objective]:
        """The evidence lower bound moves everything."""
        return [NegativeElbo(self, self.optimiser)]

    def networks(self) -> Sequence[nn.Module]:
        """Both."""
        return [self.encoder, self.decoder]

    def draw_latent(self, count: int, rng: ImageStreams, labels: Tensor | None = None) -> Latent:
        """z ~ N(0, I): [count,D]."""
        return Latent({"z": rng.normal(self.latent)}, path="straight")

    def decode(self, latent: Latent, rng: ImageStreams) -> Tensor:
        """The mean image, without pixel noise: [N,C,H,W]."""
        return widened(self.decoder(latent.tensors["z"]))

    @property
    def network_calls(self) -> int:
        """One decoder call."""
        return 1

    def encode(self, images: Tensor) -> Latent:
        """The posterior mean."""
        mean, _ = self.encoder(images)
        return Latent({"z": mean}, path="straight")

    def negative_bound(self, images: Tensor, rng: ImageStreams, method: str) -> dict[str, Tensor]:
        """-ELBO as reconstruction + kl, or the importance-weighted bound (arXiv:1509.00519)."""
        mean, log_variance = self.encoder(images)
        if method == "importance":
            weights = [
                self._log_weight(images, mean, log_variance, rng) for _ in range(IMPORTANCE_SAMPLES)
            ]
            bound = torch.logsumexp(torch.stack(weights), dim=0) - math.log(len(weights))
            return {"importance_weighted": -bound}
        z = mean + (log_variance / 2).exp() * rng.normal(self.latent)
        return {
            "reconstruction": -self._log_pixels(images, z),
            "kl": gaussian_kl(mean, log_variance).double(),
        }

    def _log_weight(
        self, images: Tensor, mean: Tensor, log_variance: Tensor, rng: ImageStreams
    ) -> Tensor:
        """log p(x, z) / q(z | x) at one z ~ q, nats (arXiv:1509.00519, eq. 8): [N]."""
        noise = rng.normal(self.latent)
        z = mean + (log_variance / 2).exp() * noise
        log_prior = -0.5 * (z**2 + LOG_2PI).sum(1)
        log_posterior = -0.5 * (noise**2 + log_variance + LOG_2PI).sum(1)
        return self._log_pixels(images, z) + log_prior - log_posterior

    def _log_pixels(self, images: Tensor, z: Tensor) -> Tensor:
        """log P(8-bit image | z), nats: [N]."""
        decoded = widened(self.decoder(z))
        return log_probability(images, decoded, self.log_std.exp()).flatten(1).sum(1)


class NegativeElbo(Objective):
    """Mean over images of -log N(x; decoder(z), std^2) + KL (arXiv:1312.6114, eq. 10)."""

    name = "bound"

    def __init__(self, model: GaussianVAE, optimiser: Optimiser) -> None:
        super().__init__()
        self.model = model
        self.optimiser = optimiser

    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Standard normal numbers of the posterior sample, [count,D]."""
        return {"posterior": torch.randn(count, self.model.latent, generator=generator)}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Nats per image."""
        mean, log_variance = self.model.encoder(batch.images)
        z = mean + (log_variance / 2).exp() * batch.noise["posterior"]
        decoded = widened(self.model.decoder(z))
        log_density = gaussian_log_density(batch.images, decoded, self.model.log_std)
        reconstruction = -log_density.mean()
        kl = gaussian_kl(mean, log_variance).mean()
        return {"total": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}
