"""Diffusion = noise levels + denoiser + sampler.

The latent is the starting noise. Decoding runs a sampler down the noise levels; encoding follows
the noise-free path up.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from triptych.config import ImageShape
from triptych.errors import InputError
from triptych.families.capabilities import (
    BoundsLikelihood,
    EncodesByPath,
    Iterative,
    Represents,
    mean_terms,
)
from triptych.families.conditioning import (
    Conditioning,
    Groups,
    condition_shares,
    fit_before_training,
)
from triptych.families.diffusion.denoisers import ClosedFormStart, Denoiser
from triptych.families.diffusion.guidance import CFGDenoiser, note_on_samples
from triptych.families.diffusion.likelihood import FlowLikelihood, VariationalBound
from triptych.families.diffusion.samplers import (
    ALL_LEVELS,
    SAMPLERS,
    Denoise,
    SamplerState,
    Sampling,
    heun,
    sample_loop,
)
from triptych.families.grouped_exemplars import DrawsAroundGroups, GroupedExemplars
from triptych.families.latent import Latent
from triptych.families.protocol import GenerativeModel, Objective, to_float32
from triptych.nn.mppca import MPPCA
from triptych.seeding import ImageStreams

NO_NOISE = ImageStreams(0, "none", ())  # the noise-free path takes none
STEPS_WITHOUT_NOISE = 25  # of Heun, where a noisy sampler cannot serve


@dataclass(frozen=True, kw_only=True)
class Process:
    """The noise process.

    levels:    number of steps -> falling noise levels ending in 0, [steps+1]
    prior_std: deviation of the starting noise, close to that of x at the highest level
    start:     the highest of the levels, where the mixture that the network begins at leads from
               the starting noise to it in closed form; None: they are nearly the same
    """

    levels: Callable[[int], Tensor]
    prior_std: float
    start: float | None = None


class NoiseToImage(GenerativeModel, Iterative, Represents):
    """A model that turns noise into an image by calls of one network.

    denoiser:     (x, sigma, labels) -> expected clean image
    objective:    (denoiser, shape) -> the loss that trains it
    features_at:  noise level at which the network gives features of images
    conditioning: the condition of an image; None for an unconditional network
    """

    def __init__(
        self,
        denoiser: Denoiser,
        *,
        process: Process,
        sampling: Sampling,
        objective: Callable[[Denoiser, ImageShape], Objective],
        features_at: float,
        shape: ImageShape,
        conditioning: Conditioning | None = None,
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.kinds = conditioning  # the name under which saved runs hold its groups
        self.process = process
        self.sampling = sampling
        self.make_objective = objective
        self.features_at = features_at
        self.shape = shape
        self.samples_note = note_on_samples(sampling, conditioning)
        self.require_sampler(sampling.name)

    def objectives(self) -> Sequence[Objective]:
        """One: the denoiser's."""
        return [self.make_objective(self.denoiser, self.shape)]

    def networks(self) -> Sequence[nn.Module]:
        """The one inside the denoiser."""
        return [self.denoiser.network]

    def draw_latent(self, count: int, rng: ImageStreams, labels: Tensor | None = None) -> Latent:
        """Unit noise in the image's shape, [count,C,H,W], and the condition."""
        noise = rng.normal(*self.shape.size)
        numbers = None if self.kinds is None else self.kinds.draw(rng, labels)
        shares = condition_shares(self.kinds, numbers, noise)
        return Latent({"noise": noise}, path="spherical", labels=shares)

    def fit_before_training(self, images: Tensor, seed: int, labels: Tensor | None = None) -> None:
        """Find the groups, where the condition is a group, and the mixture that is added to."""
        fit_before_training(self.kinds, self.mixture, images, seed, labels)

    @property
    def mixture(self) -> MPPCA | None:
        """That which the network begins at."""
        network = self.denoiser.network
        return network.mixture if isinstance(network, ClosedFormStart) else None

    def flow(self, x: Tensor, labels: Tensor | None, up: bool = False) -> Tensor:
        """From noise of the highest deviation to where the sampler starts, or `up` and back."""
        top, start, mixture = self.process.prior_std, self.process.start, self.mixture
        if start is None or mixture is None:
            return x
        weights = mixture.unknown(x) if labels is None else labels.to(x.dtype)
        return mixture.flow(x, *((start, top) if up else (top, start)), weights)

    def decode(self, latent: Latent, rng: ImageStreams) -> Tensor:
        """The last state of the sampler, [N,C,H,W]."""
        return self.states(latent, rng)[-1]

    def represent(self, images: Tensor) -> Tensor:
        """The network's inner features of images at the level `features_at`: [N,F].

        The network is told that the class or group is unknown, as of some images in training.
        """
        sigma = torch.full(images.shape[:1], self.features_at, device=images.device)
        labels = self.null_labels(images)
        return to_float32(self.denoiser.features(images, sigma.to(images.dtype), labels))

    @property
    def network_calls(self) -> int:
        """For the present sampler, steps and guidance."""
        return self.sampling.network_calls(self.noise_levels().tolist())

    @property
    def guidance(self) -> float:
        """The sampler's."""
        return self.sampling.guidance

    def with_sampler(
        self,
        name: str | None = None,
        steps: int | None = None,
        eta: float | None = None,
        guidance: float | None = None,
    ) -> Self:
        """The same networks; InputError on an unknown sampler or an impossible setting."""
        if guidance is not None and self.kinds is None:
            raise InputError(
                "a model that is told no kinds of images has no guidance", "leave it out"
            )
        if name is not None:
            self.require_sampler(name)
        asked = {"name": name, "steps": steps, "eta": eta, "guidance": guidance}
        other = copy.copy(self)
        if name is not None and eta is None:
            asked["eta"] = 0.0  # the old sampler's may not suit the new one
        if steps is not None:
            asked["inverse_steps"] = 0  # whoever asks for few gets few
        given = {key: value for key, value in asked.items() if value is not None}
        other.sampling = replace(self.sampling, **given)  # type: ignore[arg-type] # by key
        other.samples_note = note_on_samples(other.sampling, self.kinds)
        if any(later >= level for level, later in pairwise(other.noise_levels().tolist())):
            raise InputError(f"--steps {steps} is more than there are noise levels", "give fewer")
        return other

    def require_sampler(self, name: str) -> None:
        """InputError where the model has no sampler of that name."""
        if name not in self.samplers:
            raise InputError(f"no sampler '{name}'", f"choose from {', '.join(self.samplers)}")

    def noise_levels(self) -> Tensor:
        """For the present number of steps: falling, the last one 0, [steps+1]."""
        return self.process.levels(self.sampling.steps)

    def denoised(self, noisy: Tensor, sigma: float) -> Tensor:
        """By one call of the network."""
        levels = torch.full(noisy.shape[:1], sigma, dtype=noisy.dtype, device=noisy.device)
        return self.conditioned(self.null_labels(noisy))(noisy, levels)

    def count_states(self) -> int:
        """One a level, and the noise itself where a closed form makes the first level of it."""
        steps = max(self.sampling.steps, self.sampling.inverse_steps)
        return steps + 1 + (self.process.start is not None)

    def trajectory(self, latent: Latent, rng: ImageStreams, points: int | None) -> Tensor:
        """States on the variance-preserving scale, x / sqrt(1 + sigma^2), from the noise on.

        In as many steps as an inverse takes, where samples take fewer.
        """
        few = self.sampling.steps < self.sampling.inverse_steps
        shown = self.with_sampler(steps=self.sampling.inverse_steps) if few else self
        states, sigmas = shown.states(latent, rng), shown.noise_levels().to(latent.tensors["noise"])
        if self.process.start is not None:
            top = self.process.prior_std
            states = [top * latent.tensors["noise"], *states]
            sigmas = torch.cat([sigmas.new_tensor([top]), sigmas])
        return evenly_spaced(states, sigmas, points)

    def null_labels(self, images: Tensor) -> Tensor | None:
        """The condition "unknown" for N images, [N,classes+1]; None if unconditional."""
        return condition_shares(self.kinds, None, images)

    def conditioned(
        self,
        labels: Tensor | None,
        guidance: float = 1.0,
        guided: tuple[float, float] = ALL_LEVELS,
    ) -> Denoise:
        """The denoiser for images of these classes or groups, guided towards them."""
        if labels is None:
            return self.denoiser
        if guidance == 1:
            return lambda x, sigma: self.denoiser(x, sigma, labels)
        null_labels = self.null_labels(labels)
        assert null_labels is not None
        return CFGDenoiser(self.denoiser, labels, null_labels, guidance, guided)

    def states(self, latent: Latent, rng: ImageStreams) -> list[Tensor]:
        """All states of the sampler, from the noise to the image, each [N,C,H,W]."""
        sampling = self.sampling
        denoise = self.conditioned(latent.labels, sampling.guidance, sampling.guided)
        chain = SamplerState(denoise, rng, steps=sampling.steps, eta=sampling.eta)
        start = self.flow(latent.tensors["noise"] * self.process.prior_std, latent.labels)
        levels = self.process.levels(sampling.steps).tolist()
        return sample_loop(sampling.sampler.step, chain, start, levels)


class Diffusion(NoiseToImage, BoundsLikelihood, EncodesByPath, DrawsAroundGroups):
    """A model whose network gives the expected image, and so a path from each image to noise.

    likelihoods: each method's estimate of -log P(8-bit image)
    exemplars:   training images that draws begin at, 0 for none: where sampling begins at the
                 mixture's own path, its images are those of a prior that knows training images, not
                 of N(0, I). Latents are noise all the same, for that path leads up from there, too.
    """

    samplers = tuple(name for name in SAMPLERS if name != "consistency")
    bounds: ClassVar[Mapping[str, int]] = {"variational": 1, "ode": 1}
    approximate = ("ode",)

    def __init__(
        self,
        denoiser: Denoiser,
        *,
        likelihoods: Mapping[str, VariationalBound | FlowLikelihood],
        exemplars: int = 0,
        **others: Any,
    ) -> None:
        super().__init__(denoiser, **others)
        self.likelihoods = likelihoods
        self.prior = None
        if exemplars:
            if self.mixture is None or self.process.start is None:
                raise ValueError("exemplars are for sampling that begins at a mixture's path")
            self.prior = GroupedExemplars(self.mixture, exemplars)

    def fit_before_training(self, images: Tensor, seed: int, labels: Tensor | None = None) -> None:
        """Find groups and mixture, and the noise that draws around exemplars need."""
        groups = fit_before_training(self.kinds, self.mixture, images, seed, labels)
        self.fit_prior(images, groups, seed)

    @property
    def exemplar_mixture(self) -> MPPCA | None:
        """That which the network begins at."""
        return self.mixture

    def draw_noise(
        self, count: int, rng: ImageStreams, labels: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Unit noise [count,C,H,W], and the condition."""
        latent = super().draw_latent(count, rng, labels)
        return latent.tensors["noise"], latent.labels

    def draw_latent(self, count: int, rng: ImageStreams, labels: Tensor | None = None) -> Latent:
        """Unit noise, [count,C,H,W], and the condition; around an exemplar where there are some."""
        noise, shares = self.draw_noise(count, rng, labels)
        prior, mixture, start = self.prior, self.mixture, self.process.start
        if prior is not None and mixture is not None and start is not None and shares is not None:
            shares = shares.to(noise.dtype)
            z = prior.draw(rng.uniform(1), rng.normal(mixture.basis.shape[1]), shares)
            noisy = mixture(z, shares) + start * noise
            noise = self.flow(noisy, shares, up=True) / self.process.prior_std
        return Latent({"noise": noise}, path="spherical", labels=shares)

    def encode(self, images: Tensor) -> Latent:
        """The noise at the upper end of the noise-free path; the class is taken as unknown."""
        states, _ = self.states_up(images)
        return self.latent_above(states, images)

    def path_up(self, images: Tensor, points: int) -> tuple[Tensor, Latent]:
        """States on the variance-preserving scale, from the image to the noise."""
        states, sigmas = self.states_up(images)
        return evenly_spaced(states, sigmas, points), self.latent_above(states, images)

    def latent_above(self, states: list[Tensor], images: Tensor) -> Latent:
        """The noise that the path from these images ends at."""
        noise, labels = states[-1] / self.process.prior_std, self.null_labels(images)
        return Latent({"noise": noise}, path="spherical", labels=labels)

    def states_up(self, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """All states of the noise-free path from the image to the noise, and their noise levels.

        Heun's steps, on the levels of the deterministic sampler from the lowest up.
        """
        labels = self.null_labels(images)
        levels = self.deterministic(inverting=True).noise_levels().tolist()[-2::-1]
        chain = SamplerState(self.conditioned(labels), NO_NOISE)
        states = sample_loop(heun, chain, images, levels)
        if self.process.start is not None:
            states.append(self.flow(states[-1], labels, up=True))
            levels.append(self.process.prior_std)
        return states, torch.tensor(levels, dtype=torch.float64).to(images)

    def deterministic(self, inverting: bool = False) -> Self:
        """The same model if its sampler adds no noise, else with Heun in at most 25 steps.

        inverting: in `inverse_steps` at least, and without guidance
        """
        sampling = self.sampling
        steps = max(sampling.steps, sampling.inverse_steps) if inverting else sampling.steps
        guidance = None
        if inverting and self.kinds is not None:  # which kind is unknown: nothing to lead towards
            guidance = 1.0
        if not sampling.deterministic:
            return self.with_sampler("heun", min(STEPS_WITHOUT_NOISE, steps), guidance=guidance)
        if steps == sampling.steps and guidance in (None, sampling.guidance):
            return self
        return self.with_sampler(steps=steps, guidance=guidance)

    def negative_bound(
        self, images: Tensor, rng: ImageStreams, method: str, draws: int | None = None
    ) -> dict[str, Tensor]:
        """The method's terms in nats, each [N]; means over the draws, usually 1.

        A model with groups uses each image's own group: P(x) >= P(group) P(x | group).
        """
        conditioning, estimate = self.kinds, self.likelihoods[method]
        numbers = conditioning.of(images) if isinstance(conditioning, Groups) else None
        shares = condition_shares(conditioning, numbers, images)
        if shares is not None:
            with torch.inference_mode(False):  # a divergence needs gradients through the network
                shares = shares.clone()
        denoise = self.conditioned(shares)
        terms = mean_terms(estimate.terms(denoise, images, rng) for _ in range(draws or 1))
        if isinstance(conditioning, Groups) and numbers is not None:
            terms["group"] = conditioning.neg_log_prior(numbers)
        return terms


def evenly_spaced(states: Sequence[Tensor], sigmas: Tensor, points: int | None) -> Tensor:
    """Some of the states, on the variance-preserving scale x / sqrt(1 + sigma^2).

    states: each [N,C,H,W]; sigmas: their noise levels, [S]
    points: how many, first and last included, or None for all: [N,points,C,H,W]
    """
    points = len(states) if points is None else points
    picked = torch.linspace(0, len(states) - 1, points).round().long().tolist()
    return torch.stack([states[i] / (1 + sigmas[i] ** 2).sqrt() for i in picked], dim=1)
