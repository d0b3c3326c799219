"""The generative adversarial network (arXiv:1406.2661): a generator against a critic.

Each player is an objective of its own: it registers the network it moves and borrows the
other, so neither step can move its opponent. A conditional GAN's two networks take the shares of
the classes as a second input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import ClassVar

import torch
from torch import Tensor, nn

from triptych.config import ImageShape, OptimizerConfig
from triptych.families.capabilities import (
    Diagnoses,
    Diagnosis,
    Encodes,
    EstimatesLikelihood,
    Refines,
    Represents,
)
from triptych.families.gan import ais, monitor
from triptych.families.gan.inversion import Inversion, InversionObjective, Inverter, refine
from triptych.families.gan.losses import (
    CriticObjective,
    GANLoss,
    GeneratorObjective,
    Players,
)
from triptych.families.labels import class_shares
from triptych.families.latent import Latent
from triptych.families.protocol import GenerativeModel, Objective, to_float32
from triptych.seeding import ImageStreams

NO_NOISE = ImageStreams(0, "none", ())  # a generator adds none


class GAN(GenerativeModel, Encodes, Refines, Represents, EstimatesLikelihood, Diagnoses):
    """generator: z [B,D] -> image [B,C,H,W];  critic: image -> score [B], high for real."""

    estimates: ClassVar[Mapping[str, int]] = {"ais": 300}
    lacks: ClassVar[Mapping[str, str]] = {
        "likelihood": "a GAN has no explicit density: its likelihood is not defined"
    }

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        *,
        latent: int,
        loss: GANLoss,
        critic_optimiser: OptimizerConfig,
        generator_optimiser: OptimizerConfig,
        inversion: Inversion,
        shape: ImageShape,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.critic = critic
        self.latent = latent
        self.loss = loss
        self.critic_optimiser = critic_optimiser
        self.generator_optimiser = generator_optimiser
        self.shape = shape
        self.encoder = Inverter(latent, shape, inversion.width)
        self.inversion = inversion
        self.steps = inversion.steps

    def objectives(self) -> Sequence[Objective]:
        """The critic steps first, then the generator (arXiv:1406.2661, Algorithm 1).

        Once both are done, the encoder learns to invert the generator.
        """
        players = self.players
        return [
            CriticObjective(players, self.loss, self.critic_optimiser),
            GeneratorObjective(players, self.loss, self.generator_optimiser),
            InversionObjective(self.encoder, players, self.inversion),
        ]

    def networks(self) -> Sequence[nn.Module]:
        """All, but for a critic whose gradient is penalised."""
        critic = [] if self.loss.penalty else [self.critic]
        return [self.generator, *critic, self.encoder]

    @property
    def players(self) -> Players:
        """Both networks, and what is put into them."""
        return Players(
            generator=self.generator,
            critic=self.critic,
            latent=self.latent,
            classes=self.shape.classes,
        )

    def condition(self, count: int, device: torch.device | str) -> list[Tensor]:
        """What the networks take besides, of images whose classes nobody knows."""
        return self.players.condition(None, count, device)

    def draw_latent(self, count: int, rng: ImageStreams, labels: Tensor | None = None) -> Latent:
        """z ~ N(0, I): [count,D]."""
        shares = class_shares(labels, self.shape.classes, count, rng.device)
        return Latent({"z": rng.normal(self.latent)}, path="straight", labels=shares)

    def decode(self, latent: Latent, rng: ImageStreams) -> Tensor:
        """One generator call: [N,C,H,W]."""
        condition = [] if latent.labels is None else [latent.labels]
        return to_float32(self.generator(latent.tensors["z"], *condition))

    @property
    def network_calls(self) -> int:
        """One."""
        return 1

    def encode(self, images: Tensor) -> Latent:
        """The encoder's answer, refined: [N,D]."""
        condition = self.condition(len(images), images.device)
        z = to_float32(self.encoder(images))
        if self.steps:
            z = refine(self.generator, images, z, condition, self.steps)
        return Latent({"z": z}, path="straight", labels=condition[0] if condition else None)

    @property
    def refining_steps(self) -> int:
        """As the recipe has it, unless others were asked for."""
        return self.steps

    def with_refinement(self, steps: int) -> GAN:
        """The same networks."""
        other = copy(self)
        other.steps = steps
        return other

    def represent(self, images: Tensor) -> Tensor:
        """What the encoder sees, before it becomes a latent: [N,F]."""
        return to_float32(self.encoder.features(images))

    def noise_for(self, images: Tensor) -> float:
        """The root mean square of what refined inversions leave."""
        errors = self.decode(self.encode(images), NO_NOISE) - images
        return errors.square().mean().sqrt().item()

    def estimate_likelihood(
        self, images: Tensor, rng: ImageStreams, std: float, temperatures: int
    ) -> Tensor:
        """Annealed importance sampling, labels unknown."""
        condition = self.condition(len(images), images.device)
        chains = (condition, std, temperatures, self.latent, rng)
        return ais.estimate(self.generator, images, *chains)

    def simulated_bounds(
        self, rng: ImageStreams, std: float, temperatures: int
    ) -> tuple[Tensor, Tensor]:
        """Bidirectional Monte Carlo."""
        condition = self.condition(len(rng), rng.device)
        return ais.simulated_bounds(self.generator, condition, std, temperatures, self.latent, rng)

    def diagnose(
        self, seen: Tensor, unseen: Tensor, rng: ImageStreams, share: float = 1.0
    ) -> Diagnosis:
        """A critic that teaches nothing, a generator that collapsed, a critic that over-fits."""
        count = len(seen) + len(unseen)
        fake = self.decode(self.draw_latent(count, rng), rng)
        return monitor.diagnose(self.players, self.loss, fake, seen, unseen, share)
