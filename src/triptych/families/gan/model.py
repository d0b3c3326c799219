"""The generative adversarial network (arXiv:1406.2661): a generator against a critic.

Each player is an objective of its own: it registers the network it moves and borrows the
other, so neither step can move its opponent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from triptych.config import ImageShape, Optimiser
from triptych.families.base import (
    Batch,
    Borrowed,
    GenerativeModel,
    Latent,
    Objective,
    widened,
)
from triptych.nn.spectral import iterate_spectral_norms
from triptych.seeding import ImageStreams

CriticLoss = Callable[[Tensor, Tensor], Tensor]  # scores of real and fake, each [B] -> scalar
GeneratorLoss = Callable[[Tensor], Tensor]  # scores of fake [B] -> scalar


class GAN(GenerativeModel):
    """generator: z [B,D] -> image [B,C,H,W];  critic: image -> score [B], high for real."""

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        *,
        latent: int,
        critic_loss: CriticLoss,
        generator_loss: GeneratorLoss,
        critic_optimiser: Optimiser,
        generator_optimiser: Optimiser,
        shape: ImageShape,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.critic = critic
        self.latent = latent
        self.critic_loss = critic_loss
        self.generator_loss = generator_loss
        self.critic_optimiser = critic_optimiser
        self.generator_optimiser = generator_optimiser
        self.shape = shape

    def objectives(self) -> Sequence[Objective]:
        """The critic steps first, then the generator (arXiv:1406.2661, Algorithm 1)."""
        return [CriticObjective(self), GeneratorObjective(self)]

    def networks(self) -> Sequence[nn.Module]:
        """Both."""
        return [self.generator, self.critic]

    def draw_latent(self, count: int, rng: ImageStreams, labels: Tensor | None = None) -> Latent:
        """z ~ N(0, I): [count,D]."""
        return Latent({"z": rng.normal(self.latent)}, path="straight")

    def decode(self, latent: Latent, rng: ImageStreams) -> Tensor:
        """One generator call: [N,C,H,W]."""
        return widened(self.generator(latent.tensors["z"]))

    @property
    def network_calls(self) -> int:
        """One."""
        return 1


class CriticObjective(Objective):
    """Tell real from fake; moves the critic alone."""

    name = "critic"

    def __init__(self, model: GAN) -> None:
        super().__init__()
        self.critic = model.critic
        self.generator = Borrowed(model.generator)
        self.loss = model.critic_loss
        self.latent = model.latent
        self.optimiser = model.critic_optimiser

    def prepare(self) -> None:
        """One power iteration a step (arXiv:1802.05957, Algorithm 1)."""
        iterate_spectral_norms(self.critic)

    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The latents of the fake images, [count,D]."""
        return {"z": torch.randn(count, self.latent, generator=generator)}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The critic's loss and its two mean scores."""
        fake = self.generator.detached(batch.noise["z"])  # the generator must not move
        real_score = widened(self.critic(batch.images))
        fake_score = widened(self.critic(fake))
        return {
            "total": self.loss(real_score, fake_score),
            "real_score": real_score.mean(),
            "fake_score": fake_score.mean(),
        }


class GeneratorObjective(Objective):
    """Make the critic take fake for real; moves the generator alone."""

    name = "generator"

    def __init__(self, model: GAN) -> None:
        super().__init__()
        self.generator = model.generator
        self.critic = Borrowed(model.critic)
        self.loss = model.generator_loss
        self.latent = model.latent
        self.optimiser = model.generator_optimiser

    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """The latents of the fake images, [count,D]."""
        return {"z": torch.randn(count, self.latent, generator=generator)}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The generator's loss."""
        fake_score = widened(self.critic.frozen(self.generator(batch.noise["z"])))
        return {"total": self.loss(fake_score)}
