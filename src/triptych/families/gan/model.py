"""The generative adversarial network (arXiv:1406.2661): a generator against a discriminator.

Each network has an objective of its own, which registers it and borrows the other as a frozen
view: so neither step can change the other's weights. A conditional GAN's two networks take the
shares of the classes as a second input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy, deepcopy
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
from triptych.families.conditioning import (
    Conditioning,
    Groups,
    condition_shares,
    fit_before_training,
)
from triptych.families.gan import ais, monitor
from triptych.families.gan.inversion import Inversion, InversionObjective, Inverter, refine
from triptych.families.gan.losses import (
    DiscriminatorObjective,
    GANLoss,
    GeneratorObjective,
    Players,
)
from triptych.families.grouped_exemplars import DrawsAroundGroups, GroupedExemplars
from triptych.families.latent import Latent
from triptych.families.protocol import GenerativeModel, Objective, to_float32
from triptych.nn.mppca import MPPCA
from triptych.nn.refiner import RefiningGenerator
from triptych.records import Note
from triptych.seeding import ImageStreams

NO_NOISE = ImageStreams(0, "none", ())  # a generator adds none


class GAN(
    GenerativeModel,
    Encodes,
    Refines,
    Represents,
    EstimatesLikelihood,
    Diagnoses,
    DrawsAroundGroups,
):
    """A generator, a discriminator, and an encoder that inverts the generator.

    generator:     z [B,D] -> image [B,C,H,W]
    discriminator: image [B,C,H,W] -> score [B], high for real
    latent:        D
    conditioning:  the condition of an image; None for unconditional networks
    exemplars:     training images that draws begin at, 0 for none: for a generator that begins at a
                   mixture, whose latents they have
    """

    estimates: ClassVar[Mapping[str, int]] = {"ais": 300}
    lacks: ClassVar[Mapping[str, Note]] = {"likelihood": Note("gan_no_density")}

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        latent: int,
        loss: GANLoss,
        discriminator_optimizer: OptimizerConfig,
        generator_optimizer: OptimizerConfig,
        inversion: Inversion,
        shape: ImageShape,
        conditioning: Conditioning | None = None,
        exemplars: int = 0,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.critic = discriminator  # the name under which saved runs hold its weights
        self.latent = latent
        self.loss = loss
        self.discriminator_optimizer = discriminator_optimizer
        self.generator_optimizer = generator_optimizer
        self.shape = shape
        self.conditioning = conditioning
        adds = isinstance(generator, RefiningGenerator)
        self.encoder = Inverter(latent, shape, inversion.width, adds)
        self.prior = None
        if exemplars:
            if not isinstance(generator, RefiningGenerator):
                raise ValueError("exemplars are latents of a mixture, and the generator has none")
            self.prior = GroupedExemplars(generator.mixture, exemplars)
        self.inversion = inversion
        self.steps = inversion.steps

    def objectives(self) -> Sequence[Objective]:
        """The discriminator steps first, then the generator (arXiv:1406.2661, Algorithm 1).

        Once both are done, the encoder learns to invert the generator.
        """
        players = self.players
        return [
            DiscriminatorObjective(players, self.loss, self.discriminator_optimizer),
            GeneratorObjective(players, self.loss, self.generator_optimizer),
            InversionObjective(self.encoder, players, self.inversion),
        ]

    def networks(self) -> Sequence[nn.Module]:
        """All, except a discriminator with a gradient penalty: that needs second derivatives."""
        discriminator = [] if self.loss.penalty else [self.discriminator]
        return [self.generator, *discriminator, self.encoder]

    @property
    def discriminator(self) -> nn.Module:
        """image [B,C,H,W] -> score [B], high for real."""
        return self.critic

    @property
    def players(self) -> Players:
        """Both networks, and the sizes of their inputs."""
        return Players(
            generator=self.generator,
            discriminator=self.discriminator,
            latent=self.latent,
            conditioning=self.conditioning,
            prior=self.prior,
        )

    def fit_before_training(self, images: Tensor, seed: int, labels: Tensor | None = None) -> None:
        """Find the groups, where the condition is a group, and the generator's mixture."""
        mixture = self.exemplar_mixture
        groups = fit_before_training(self.conditioning, mixture, images, seed, labels)
        self.fit_prior(images, groups, seed)

    def draw_latent(self, count: int, rng: ImageStreams, labels: Tensor | None = None) -> Latent:
        """z of the prior, [count,D], and the condition: groups are drawn as often as they occur."""
        z, shares = self.draw_noise(count, rng, labels)
        if self.prior is not None:
            z = self.prior.draw(rng.uniform(1), z, shares)
        return Latent({"z": z}, path="straight", labels=shares)

    def draw_noise(
        self, count: int, rng: ImageStreams, labels: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Gaussian numbers [count,D], and the condition."""
        z, conditioning = rng.normal(self.latent), self.conditioning
        numbers = None if conditioning is None else conditioning.draw(rng, labels)
        return z, condition_shares(conditioning, numbers, z)

    @property
    def exemplar_mixture(self) -> MPPCA | None:
        """That which the generator begins at."""
        return self.generator.mixture if isinstance(self.generator, RefiningGenerator) else None

    def decode(self, latent: Latent, rng: ImageStreams) -> Tensor:
        """One generator call: [N,C,H,W]."""
        condition = [] if latent.labels is None else [latent.labels]
        return to_float32(self.generator(latent.tensors["z"], *condition))

    @property
    def network_calls(self) -> int:
        """One."""
        return 1

    def encode(self, images: Tensor) -> Latent:
        """The encoder's z, refined by gradient steps: [N,D]; a group is the image's own."""
        condition = self.players.condition_of(images)
        z = self.encoder(images, self.players.closed_form(images, condition))
        if self.steps:
            z = refine(self.generator, images, z, condition, self.steps)
        return Latent({"z": z}, path="straight", labels=condition[0] if condition else None)

    @property
    def refining_steps(self) -> int:
        """As the recipe sets it, or as `with_refinement` did."""
        return self.steps

    def with_refinement(self, steps: int) -> GAN:
        """The same networks."""
        other = copy(self)
        other.steps = steps
        return other

    def represent(self, images: Tensor) -> Tensor:
        """The encoder's last features, before they become z: [N,F]."""
        return to_float32(self.encoder.features(images))

    def noise_for(self, images: Tensor) -> float:
        """The root mean square error of refined reconstructions, on [-1, 1]."""
        errors = self.decode(self.encode(images), NO_NOISE) - images
        return errors.square().mean().sqrt().item()

    def estimate_likelihood(
        self, images: Tensor, rng: ImageStreams, std: float, temperatures: int
    ) -> Tensor:
        """By annealed importance sampling, labels unknown: nats, [N], float64.

        A model with groups uses each image's own group: P(x) >= P(group) P(x | group).
        """
        condition = self.players.condition_of(images)
        prior = self.prior_of(condition)
        log_p = ais.estimate(self.generator, images, condition, std, temperatures, prior, rng)
        if isinstance(self.conditioning, Groups):
            log_p = log_p - self.conditioning.neg_log_prior(self.conditioning.of(images))
        return log_p

    def simulated_bounds(
        self, rng: ImageStreams, std: float, temperatures: int
    ) -> tuple[Tensor, Tensor]:
        """By bidirectional Monte Carlo: nats, each [N], float64.

        With groups they are of log P(x | the group that x was drawn in).
        """
        latent = self.draw_latent(len(rng), rng)
        condition = [] if latent.labels is None else [latent.labels]
        z, prior = latent.tensors["z"], self.prior_of(condition)
        return ais.simulated_bounds(self.generator, z, condition, std, temperatures, prior, rng)

    def prior_of(self, condition: list[Tensor]) -> ais.LatentPrior:
        """p(z | condition), whose density is that of latents in float64."""
        players, shares = self.players, condition[0] if condition else None

        def draw(rng: ImageStreams) -> Tensor:
            return players.latents(players.draw_noise(rng), condition)

        if self.prior is None:
            return ais.LatentPrior(draw)
        with torch.inference_mode(False):  # what chains differentiate
            precise = deepcopy(self.prior).double()
            shares = None if shares is None else shares.clone()
        return ais.LatentPrior(draw, lambda z: precise.log_density(z, shares))

    def diagnose(
        self, seen: Tensor, unseen: Tensor, rng: ImageStreams, share: float = 1.0
    ) -> Diagnosis:
        """Finds a vanished gradient, a collapsed generator and an over-fitted discriminator.

        Fake images get the groups of the real ones, as in training.
        """
        condition = self.players.condition_of(torch.cat([seen, unseen]))
        labels = condition[0] if condition else None
        z = self.players.latents(self.players.draw_noise(rng), condition)
        fake = self.decode(Latent({"z": z}, path="straight", labels=labels), rng)
        return monitor.diagnose(self.players, self.loss, fake, seen, unseen, share)
