"""The generative adversarial network (arXiv:1406.2661): a generator against a critic.

Each player is an objective of its own: it registers the network it moves and borrows the
other, so neither step can move its opponent. A conditional GAN's two networks take the shares of
the classes as a second input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from triptych.config import ImageShape, Optimiser
from triptych.families.capabilities import (
    Diagnoses,
    Diagnosis,
    Encodes,
    EstimatesLikelihood,
    Refines,
    Represents,
)
from triptych.families.gan import ais, monitor
from triptych.families.gan.diffaugment import NUMBERS, augment
from triptych.families.gan.inversion import Inversion, InversionObjective, Inverter, refine
from triptych.families.gan.losses import Penalty, between, one_centred, zero_centred
from triptych.families.labels import class_shares, hide_some
from triptych.families.latent import Latent
from triptych.families.protocol import Batch, Borrowed, GenerativeModel, Objective, widened
from triptych.nn.convgan import iterate_spectral_norms
from triptych.seeding import ImageStreams

NO_NOISE = ImageStreams(0, "none", ())  # a generator adds none
CriticLoss = Callable[[Tensor, Tensor], Tensor]  # scores of real and fake, each [B] -> scalar
GeneratorLoss = Callable[[Tensor], Tensor]  # scores of fake, or their margin, [B] -> scalar


@dataclass(frozen=True, kw_only=True)
class Game:
    """What each player wants.

    paired:       the generator's loss is of the margin D(G(z)) - D(x), else of D(G(z))
    penalty:      that the critic pays besides
    critic_steps: in each round, before the generator's one
    augmented:    the critic sees changed images: `augment`
    """

    critic: CriticLoss
    generator: GeneratorLoss
    paired: bool = False
    penalty: Penalty | None = None
    critic_steps: int = 1
    augmented: bool = False

    def __post_init__(self) -> None:
        if self.critic_steps < 1:
            raise ValueError(f"critic_steps must be at least 1, got {self.critic_steps}")


class GAN(GenerativeModel, Encodes, Refines, Represents, EstimatesLikelihood, Diagnoses):
    """generator: z [B,D] -> image [B,C,H,W];  critic: image -> score [B], high for real."""

    estimates: ClassVar[Mapping[str, int]] = {"ais": 300}

    def __init__(
        self,
        generator: nn.Module,
        critic: nn.Module,
        *,
        latent: int,
        game: Game,
        critic_optimiser: Optimiser,
        generator_optimiser: Optimiser,
        inversion: Inversion,
        shape: ImageShape,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.critic = critic
        self.latent = latent
        self.game = game
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
        return [CriticObjective(self), GeneratorObjective(self), InversionObjective(self)]

    def networks(self) -> Sequence[nn.Module]:
        """All, but for a critic whose gradient is penalised."""
        critic = [] if self.game.penalty else [self.critic]
        return [self.generator, *critic, self.encoder]

    def known(self, labels: Tensor | None, count: int, device: torch.device | str) -> list[Tensor]:
        """What the networks take besides: `class_shares`, or nothing."""
        shares = class_shares(labels, self.shape.classes, count, device)
        return [] if shares is None else [shares]

    def draw_latent(self, count: int, rng: ImageStreams, labels: Tensor | None = None) -> Latent:
        """z ~ N(0, I): [count,D]."""
        shares = class_shares(labels, self.shape.classes, count, rng.device)
        return Latent({"z": rng.normal(self.latent)}, path="straight", labels=shares)

    def decode(self, latent: Latent, rng: ImageStreams) -> Tensor:
        """One generator call: [N,C,H,W]."""
        known = [] if latent.labels is None else [latent.labels]
        return widened(self.generator(latent.tensors["z"], *known))

    @property
    def network_calls(self) -> int:
        """One."""
        return 1

    def encode(self, images: Tensor) -> Latent:
        """The encoder's answer, refined: [N,D]."""
        known = self.known(None, len(images), images.device)
        z = widened(self.encoder(images))
        if self.steps:
            z = refine(self.generator, images, z, known, self.steps)
        return Latent({"z": z}, path="straight", labels=known[0] if known else None)

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
        return widened(self.encoder.features(images))

    def noise_for(self, images: Tensor) -> float:
        """The root mean square of what refined inversions leave."""
        left = self.decode(self.encode(images), NO_NOISE) - images
        return left.square().mean().sqrt().item()

    def estimate_likelihood(
        self, images: Tensor, rng: ImageStreams, std: float, temperatures: int
    ) -> Tensor:
        """Annealed importance sampling, labels unknown."""
        known = self.known(None, len(images), images.device)
        chains = (known, std, temperatures, self.latent, rng)
        return ais.estimate(self.generator, images, *chains)

    def simulated_bounds(
        self, rng: ImageStreams, std: float, temperatures: int
    ) -> tuple[Tensor, Tensor]:
        """Bidirectional Monte Carlo."""
        known = self.known(None, len(rng), rng.device)
        return ais.simulated_bounds(self.generator, known, std, temperatures, self.latent, rng)

    def diagnose(
        self, seen: Tensor, unseen: Tensor, rng: ImageStreams, share: float = 1.0
    ) -> Diagnosis:
        """A critic that teaches nothing, a generator that collapsed, a critic that over-fits."""
        return monitor.diagnose(self, seen, unseen, rng, share)


class Player(Objective):
    """What both players do with a batch.

    The model is borrowed whole for its game and sizes; its networks are not registered by that.
    """

    def __init__(self, model: GAN) -> None:
        super().__init__()
        self._model = (model,)

    @property
    def game(self) -> Game:
        """Of the model."""
        return self._model[0].game

    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """z of the fake images; what hides labels, mixes pairs and changes images."""
        model = self._model[0]
        drawn = {"z": torch.randn(count, model.latent, generator=generator)}
        if model.shape.classes is not None:
            drawn["hidden"] = torch.rand(count, generator=generator)
        if self.game.penalty is not None and self.game.penalty.kind == "one":
            drawn["mix"] = torch.rand(count, generator=generator)
        if self.game.augmented:
            drawn["changed_real"] = torch.rand(count, NUMBERS, generator=generator)
            drawn["changed_fake"] = torch.rand(count, NUMBERS, generator=generator)
        return drawn

    def known(self, batch: Batch) -> list[Tensor]:
        """The classes of the real images, which the fake ones take too; some are hidden."""
        model = self._model[0]
        labels = hide_some(batch.labels, batch.noise.get("hidden"), model.shape.classes)
        return model.known(labels, len(batch.images), batch.images.device)

    def shown(self, images: Tensor, batch: Batch, kind: str) -> Tensor:
        """Images as the critic sees them."""
        return augment(images, batch.noise[f"changed_{kind}"]) if self.game.augmented else images


class CriticObjective(Player):
    """Tell real from fake; moves the critic alone."""

    name = "critic"

    def __init__(self, model: GAN) -> None:
        super().__init__(model)
        self.critic = model.critic
        self.generator = Borrowed(model.generator)
        self.optimiser = model.critic_optimiser
        self.repeats = model.game.critic_steps

    def prepare(self) -> None:
        """One power iteration a step (arXiv:1802.05957, Algorithm 1)."""
        iterate_spectral_norms(self.critic)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The critic's loss, its two mean scores, and what it pays for its gradient."""
        known, penalty = self.known(batch), self.game.penalty
        real = batch.images
        fake = widened(self.generator.detached(batch.noise["z"], *known))  # it must not move
        due = penalty is not None and batch.number % penalty.every == 0
        if due:
            real, fake = real.detach().requires_grad_(), fake.requires_grad_()
        real_score = self.score(self.shown(real, batch, "real"), known)
        fake_score = self.score(self.shown(fake, batch, "fake"), known)
        loss = self.game.critic(real_score, fake_score)
        paid: dict[str, Tensor] = {}
        if due and penalty is not None:
            if penalty.kind == "zero":
                paid = {"r1": zero_centred(real_score, real), "r2": zero_centred(fake_score, fake)}
            else:
                x = between(real, fake, batch.noise["mix"])
                paid = {"slope": one_centred(self.score(x, known), x)}
            weight = penalty.weight * penalty.every
            loss = loss + weight * torch.stack(list(paid.values())).sum()
        means = {"real_score": real_score.mean(), "fake_score": fake_score.mean()}
        return {"total": loss, **means, **paid}

    def score(self, images: Tensor, known: list[Tensor]) -> Tensor:
        """[B], in float32 or better."""
        return widened(self.critic(images, *known))


class GeneratorObjective(Player):
    """Make the critic take fake for real; moves the generator alone."""

    name = "generator"

    def __init__(self, model: GAN) -> None:
        super().__init__(model)
        self.generator = model.generator
        self.critic = Borrowed(model.critic)
        self.optimiser = model.generator_optimiser

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The generator's loss."""
        known = self.known(batch)
        fake = self.shown(self.generator(batch.noise["z"], *known), batch, "fake")
        score = widened(self.critic.frozen(fake, *known))
        if self.game.paired:
            real = self.shown(batch.images, batch, "real")
            score = score - widened(self.critic.detached(real, *known))
        return {"total": self.game.generator(score)}
