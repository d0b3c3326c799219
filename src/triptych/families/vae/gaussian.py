"""The VAE with one latent vector and Gaussian pixels (arXiv:1312.6114).

z ~ N(0, I);  x | z ~ N(decoder(z), std^2 I);  q(z | x) = N(mean(x), diag(exp(log_variance(x))))
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from triptych.config import ImageShape, OptimizerConfig
from triptych.families.pixels import EDGE, log_probability
from triptych.families.protocol import to_float32
from triptych.families.vae.losses import LOG_2PI, Posterior
from triptych.families.vae.model import VAE
from triptych.images import BIN_WIDTH, to_float64
from triptych.seeding import ImageStreams

CHUNK = 64  # images at once
ROUNDING = BIN_WIDTH / math.sqrt(12)  # deviation of a uniform error in a bin


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
        return to_float32(self.mean(h)), to_float32(self.log_variance(h)).clamp(-30, 20)


def gaussian_log_density(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log N(x; mean, exp(log_std)^2 I) summed over all but the first axis, nats: [B]."""
    squared = ((x - mean) / log_std.exp()) ** 2
    return -0.5 * (squared + 2 * log_std + LOG_2PI).flatten(1).sum(1)


class GaussianVAE(VAE):
    """A VAE whose pixel deviation is fixed or learned.

    encoder: x [B,C,H,W] -> mean, log-variance, each [B,D]
    decoder: z [B,D] -> mean image [B,C,H,W]
    std:     the pixels' deviation on [-1, 1]; where it is learned, its start
    """

    def __init__(
        self,
        encoder: GaussianEncoder,
        decoder: nn.Module,
        *,
        latent: int,
        std: float,
        learn_std: bool,
        shape: ImageShape,
        optimizer: OptimizerConfig,
        warm_up: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.latents = {"z": (latent,)}
        self.shape = shape
        self.optimizer = optimizer
        self.warm_up = warm_up
        self.learns_pixels = learn_std
        if learn_std:
            self.log_std = nn.Parameter(torch.tensor(math.log(std)))
        else:
            self.register_buffer("log_std", torch.tensor(math.log(std)))

    def networks(self) -> Sequence[nn.Module]:
        """The encoder and the decoder."""
        return [self.encoder, self.decoder]

    def encode_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the posterior, each [B,D]."""
        mean, log_variance = self.encoder(images)
        return mean, log_variance

    def posterior(
        self,
        features: tuple[Tensor, Tensor],
        noise: dict[str, Tensor] | None,
        labels: Tensor | None = None,
        share: float = 1.0,
    ) -> Posterior:
        """One latent, z [B,D]."""
        mean, log_variance = features
        z = mean if noise is None else mean + (log_variance / 2).exp() * noise["z"]
        return Posterior({"z": mean}, {"z": log_variance}, {"z": z}, self.decode_latents({"z": z}))

    def decode_latents(self, latents: dict[str, Tensor], labels: Tensor | None = None) -> Tensor:
        """The mean image, [B,C,H,W]."""
        return to_float32(self.decoder(latents["z"]))

    def training_log_pixels(self, images: Tensor, output: Tensor) -> Tensor:
        """The log density, nats, [B], with which the course trains."""
        return gaussian_log_density(images, output, self.log_std)

    def log_pixels(self, images: Tensor, output: Tensor) -> Tensor:
        """The log of the Gaussian's mass in the pixels' bins, nats, [B]."""
        return log_probability(images, output, self.log_std.exp()).flatten(1).sum(1)

    def least_distortion(self, images: Tensor) -> Tensor:
        """The cost of pixels that equal their mean, nats, [B]; black and white may cost nothing."""
        each = -log_probability(images.new_zeros(()), images.new_zeros(()), self.log_std.exp())
        return (images.abs() < EDGE).flatten(1).sum(1).to(each.device) * each

    @torch.no_grad()
    def fit_after_training(
        self, images: Tensor, rng: ImageStreams, labels: Tensor | None = None
    ) -> None:
        """Set a learned deviation to the bound's optimum (arXiv:2006.13202, section 3).

        std^2 = mean of (x - decoder(z))^2 over images and pixels, z drawn from each posterior;
        std is not below the error of rounding to 8 bits.
        """
        if not self.learns_pixels:
            return
        total = to_float64(images.new_zeros(()))
        noise = rng.normal(*self.latents["z"]).to(images.dtype)
        for x, z in zip(torch.split(images, CHUNK), torch.split(noise, CHUNK), strict=True):
            labels = self.condition(x)
            posterior = self.posterior(self.encode_features(x), {"z": z}, labels)
            total += (to_float64(x - posterior.output) ** 2).sum()
        std = (total / images.numel()).sqrt().clamp(min=ROUNDING)
        self.log_std.copy_(std.log())

    def mean_pixels(self, output: Tensor) -> Tensor:
        """The decoder's output itself, [B,C,H,W]."""
        return output

    def draw_pixels(self, output: Tensor, rng: ImageStreams) -> Tensor:
        """The output plus noise of the pixels' deviation."""
        return output + self.log_std.exp() * rng.normal(*self.shape.size)
