"""Losses of the generator and the discriminator, gradient penalties, and the two objectives.

Losses are functions of the discriminator's scores, each [B] -> scalar. Penalties keep its gradient
small where the images are. An image's score may not depend on other images: then the gradient of
the sum of scores holds each image's own gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.config import OptimizerConfig
from triptych.families.conditioning import Classes, Conditioning, condition_shares
from triptych.families.gan.diffaugment import NUMBERS, augment
from triptych.families.grouped_exemplars import GroupedExemplars
from triptych.families.labels import hide_some
from triptych.families.protocol import Batch, FrozenView, Objective, to_float32
from triptych.nn.convgan import iterate_spectral_norms
from triptych.nn.refiner import RefiningGenerator
from triptych.seeding import ImageStreams

TINY = 1e-12  # under a root, whose slope at 0 has no end
DiscriminatorLoss = Callable[
    [Tensor, Tensor], Tensor
]  # scores of real and fake, each [B] -> scalar
GeneratorLoss = Callable[[Tensor], Tensor]  # scores of fake, or their margin, [B] -> scalar


def cross_entropy_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """-log D(x) - log(1 - D(G(z))), scores being logits (arXiv:1406.2661, eq. 1)."""
    loss = F.binary_cross_entropy_with_logits
    return loss(real, torch.ones_like(real)) + loss(fake, torch.zeros_like(fake))


def cross_entropy_generator(fake: Tensor) -> Tensor:
    """-log D(G(z)), the form that does not saturate (arXiv:1406.2661, section 3)."""
    return F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """max(0, 1 - D(x)) + max(0, 1 + D(G(z))) (arXiv:1802.05957, eq. 16)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """-D(G(z)) (arXiv:1802.05957, eq. 17)."""
    return -fake.mean()


def wasserstein_critic(real: Tensor, fake: Tensor) -> Tensor:
    """D(G(z)) - D(x) (arXiv:1701.07875, eq. 2)."""
    return fake.mean() - real.mean()


def pairing_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(D(x) - D(G(z))), of pairs of images (arXiv:2501.05441, eq. 2)."""
    return pairing_generator(real - fake)


def pairing_generator(margin: Tensor) -> Tensor:
    """-log sigmoid(D(G(z)) - D(x)), given that margin (arXiv:2501.05441, eq. 2)."""
    return F.softplus(-margin).mean()


def squared_gradients(scores: Tensor, images: Tensor) -> Tensor:
    """||grad D(x)||^2 of each image, differentiable with respect to the weights: [B].

    scores: D(x), [B], of images [B,C,H,W] that ask for gradients
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1)


def zero_centered(scores: Tensor, images: Tensor) -> Tensor:
    """1/2 E ||grad D(x)||^2: R1 on real images, R2 on fake ones (arXiv:1801.04406, eq. 9, 10)."""
    return 0.5 * squared_gradients(scores, images).mean()


def one_centered(scores: Tensor, images: Tensor) -> Tensor:
    """E (||grad D(x)|| - 1)^2 (arXiv:1704.00028, eq. 3), on `between` real and fake images."""
    return ((squared_gradients(scores, images) + TINY).sqrt() - 1).square().mean()


def between(real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """Points on the lines between pairs of images, [B,C,H,W], which require gradients.

    share: of the real image in each point, [B]
    """
    return torch.lerp(fake, real, share.view(-1, 1, 1, 1)).detach().requires_grad_()


@dataclass(frozen=True, kw_only=True)
class Penalty:
    """A gradient penalty: its kind, its weight, and at which steps it is computed.

    kind:   "zero" is gamma (R1 + R2); "one" is lambda times the one-centred penalty on lines
    weight: gamma or lambda
    every:  it is computed once in so many steps, with so many times the weight
            (arXiv:1912.04958, appendix B)
    """

    kind: Literal["zero", "one"]
    weight: float
    every: int = 1

    def __post_init__(self) -> None:
        if self.weight < 0 or self.every < 1:
            raise ValueError(f"a penalty needs weight >= 0 and every >= 1: {self}")


@dataclass(frozen=True, kw_only=True)
class GANLoss:
    """The losses of the discriminator and the generator, and what belongs to them.

    paired:              the generator's loss takes the margin D(G(z)) - D(x), else D(G(z))
    penalty:             added to the discriminator's loss
    discriminator_steps: in each round, before the generator's single step
    augmented:           the discriminator sees augmented images: `augment`
    """

    discriminator: DiscriminatorLoss
    generator: GeneratorLoss
    paired: bool = False
    penalty: Penalty | None = None
    discriminator_steps: int = 1
    augmented: bool = False

    def __post_init__(self) -> None:
        if self.discriminator_steps < 1:
            raise ValueError(
                f"discriminator_steps must be at least 1, got {self.discriminator_steps}"
            )


@dataclass(frozen=True, kw_only=True)
class Players:
    """The two networks and the sizes of their inputs.

    generator:     z [B,D], and shares of the classes or groups where it is conditional
                   -> image [B,C,H,W]
    discriminator: image [B,C,H,W], and the shares -> score [B], high for real
    latent:        D
    conditioning:  the condition of an image, for conditional networks; else None
    prior:         of z where it knows training images; None for N(0, I)
    """

    generator: nn.Module
    discriminator: nn.Module
    latent: int
    conditioning: Conditioning | None
    prior: GroupedExemplars | None = None

    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """What `latents` needs: Gaussian numbers, and uniform ones that choose exemplars."""
        drawn = {"z": torch.randn(count, self.latent, generator=generator)}
        if self.prior is not None:
            drawn["choices"] = torch.rand(count, 1, generator=generator)
        return drawn

    def draw_noise(self, rng: ImageStreams) -> dict[str, Tensor]:
        """The same from the streams of images."""
        drawn = {"z": rng.normal(self.latent)}
        if self.prior is not None:
            drawn["choices"] = rng.uniform(1)
        return drawn

    def latents(self, noise: Mapping[str, Tensor], condition: list[Tensor]) -> Tensor:
        """z of the prior, [N,D], from the random numbers of `noise` and the condition of each."""
        if self.prior is None:
            return noise["z"]
        return self.prior.draw(noise["choices"], noise["z"], condition[0] if condition else None)

    def condition(self, numbers: Tensor | None, like: Tensor) -> list[Tensor]:
        """Further inputs of the networks: one tensor of `condition_shares`, or none."""
        shares = condition_shares(self.conditioning, numbers, like)
        return [] if shares is None else [shares]

    def condition_of(self, images: Tensor) -> list[Tensor]:
        """The same for images [N,C,H,W] alone: their own groups are known, classes are not."""
        conditioning = self.conditioning
        numbers = None if conditioning is None else conditioning.of(images, None)
        return self.condition(numbers, images)

    def closed_form(self, images: Tensor, condition: list[Tensor]) -> Tensor | None:
        """Latents of images by the generator's mixture, [N,D]; None where it has none."""
        if not isinstance(self.generator, RefiningGenerator):
            return None
        return self.generator.encode(images, *condition)


class PlayerObjective(Objective):
    """What both objectives share. Each registers the network that it trains, and no other."""

    def __init__(self, players: Players, loss: GANLoss, optimizer: OptimizerConfig) -> None:
        super().__init__()
        self.players, self.loss, self.optimizer = players, loss, optimizer

    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Numbers for z; uniform ones that hide labels, mix pairs and augment images.

        Groups are never hidden: every image has one, when it is drawn and when it is encoded.
        """
        drawn = self.players.noise(count, generator)
        if isinstance(self.players.conditioning, Classes):
            drawn["hidden"] = torch.rand(count, generator=generator)
        if self.loss.penalty is not None and self.loss.penalty.kind == "one":
            drawn["mix"] = torch.rand(count, generator=generator)
        if self.loss.augmented:
            drawn["changed_real"] = torch.rand(count, NUMBERS, generator=generator)
            drawn["changed_fake"] = torch.rand(count, NUMBERS, generator=generator)
        return drawn

    def condition(self, batch: Batch) -> list[Tensor]:
        """The classes or groups of the real images; the fake images get the same ones."""
        conditioning = self.players.conditioning
        if conditioning is None:
            return []
        numbers = conditioning.of(batch.images, batch.labels)
        numbers = hide_some(numbers, batch.noise.get("hidden"), conditioning.count)
        return self.players.condition(numbers, batch.images)

    def changed(self, images: Tensor, batch: Batch, kind: str) -> Tensor:
        """Images as the discriminator sees them, [B,C,H,W] in float32; kind is "real" or "fake"."""
        if not self.loss.augmented:
            return images
        return to_float32(augment(images, batch.noise[f"changed_{kind}"]))


class DiscriminatorObjective(PlayerObjective):
    """Tell real from fake; trains the discriminator alone."""

    name = "critic"  # as logs and checkpoints of saved runs call it

    def __init__(self, players: Players, loss: GANLoss, optimizer: OptimizerConfig) -> None:
        super().__init__(players, loss, optimizer)
        self.discriminator = players.discriminator
        self.generator = FrozenView(players.generator)
        self.repeats = loss.discriminator_steps

    def regime(self, progress: float, step_index: int) -> Hashable:
        """Whether the gradient penalty is due."""
        penalty = self.loss.penalty
        return penalty is not None and step_index % penalty.every == 0

    def prepare(self) -> None:
        """One power iteration a step (arXiv:1802.05957, Algorithm 1)."""
        iterate_spectral_norms(self.discriminator)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The discriminator's loss, its two mean scores, and its gradient penalties."""
        condition, penalty = self.condition(batch), self.loss.penalty
        real = batch.images
        z = self.players.latents(batch.noise, condition)
        fake = to_float32(self.generator.detached(z, *condition))  # it must not move
        due = self.regime(batch.progress, batch.step_index)
        if due and penalty is not None and penalty.kind == "zero":
            real, fake = real.detach().requires_grad_(), fake.requires_grad_()
        seen_real, seen_fake = self.changed(real, batch, "real"), self.changed(fake, batch, "fake")
        real_score, fake_score = self.score(seen_real, condition), self.score(seen_fake, condition)
        loss = self.loss.discriminator(real_score, fake_score)
        penalties: dict[str, Tensor] = {}
        if due and penalty is not None:
            if penalty.kind == "zero":
                penalties = {
                    "r1": zero_centered(real_score, real),
                    "r2": zero_centered(fake_score, fake),
                }
            else:
                x = between(seen_real, seen_fake, batch.noise["mix"])
                penalties = {"slope": one_centered(self.score(x, condition), x)}
            weight = penalty.weight * penalty.every
            loss = loss + weight * torch.stack(list(penalties.values())).sum()
        means = {"real_score": real_score.mean(), "fake_score": fake_score.mean()}
        return {"total": loss, **means, **penalties}

    def score(self, images: Tensor, condition: list[Tensor]) -> Tensor:
        """[B], in float32 or better."""
        return to_float32(self.discriminator(images, *condition))


class GeneratorObjective(PlayerObjective):
    """Make the discriminator take fake for real; trains the generator alone."""

    name = "generator"

    def __init__(self, players: Players, loss: GANLoss, optimizer: OptimizerConfig) -> None:
        super().__init__(players, loss, optimizer)
        self.generator = players.generator
        self.discriminator = FrozenView(players.discriminator)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The generator's loss."""
        condition = self.condition(batch)
        z = self.players.latents(batch.noise, condition)
        fake = self.changed(self.generator(z, *condition), batch, "fake")
        score = to_float32(self.discriminator.frozen(fake, *condition))
        if self.loss.paired:
            real = self.changed(batch.images, batch, "real")
            score = score - to_float32(self.discriminator.detached(real, *condition))
        return {"total": self.loss.generator(score)}
