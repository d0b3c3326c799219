"""Diffusion = noise levels + denoiser + sampler.

The latent is the starting noise; decoding follows a sampler down the noise levels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from triptych.config import ImageShape
from triptych.errors import InputError
from triptych.families.base import (
    BoundsLikelihood,
    GenerativeModel,
    Iterative,
    Latent,
    Objective,
    mean_terms,
)
from triptych.families.diffusion.bound import VariationalBound
from triptych.families.diffusion.denoisers import Denoiser
from triptych.families.diffusion.samplers import SAMPLERS, follow
from triptych.seeding import ImageStreams


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which sampler, with how many steps; InputError on one that there is not or too few."""

    name: str
    steps: int

    def __post_init__(self) -> None:
        if self.name not in SAMPLERS:
            raise InputError(f"no sampler '{self.name}'", f"choose from {', '.join(SAMPLERS)}")
        if self.steps < 1:
            raise InputError(f"--steps {self.steps} is too few", "give 1 or more")


class Diffusion(GenerativeModel, BoundsLikelihood, Iterative):
    """denoiser:   (x, sigma) -> expected clean image
    prior_std: deviation of the starting noise; q(x at the highest level) is close to it
    levels:    steps -> falling noise levels ending in 0, [steps+1]
    objective: (denoiser, shape) -> the loss that trains it
    """

    samplers = tuple(SAMPLERS)
    bounds: ClassVar[Mapping[str, int]] = {"variational": 1}

    def __init__(
        self,
        denoiser: Denoiser,
        *,
        prior_std: float,
        levels: Callable[[int], Tensor],
        sampling: Sampling,
        objective: Callable[[Denoiser, ImageShape], Objective],
        bound: VariationalBound,
        shape: ImageShape,
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.prior_std = prior_std
        self.levels = levels
        self.sampling = sampling
        self.make_objective = objective
        self.bound = bound
        self.shape = shape

    def objectives(self) -> Sequence[Objective]:
        """One: the denoiser's."""
        return [self.make_objective(self.denoiser, self.shape)]

    def networks(self) -> Sequence[nn.Module]:
        """The one inside the denoiser."""
        return [self.denoiser.network]

    def draw_latent(self, count: int, rng: ImageStreams, labels: Tensor | None = None) -> Latent:
        """Unit noise in the image's shape: [count,C,H,W]."""
        return Latent({"noise": rng.normal(*self.shape.size)}, path="spherical")

    def decode(self, latent: Latent, rng: ImageStreams) -> Tensor:
        """The end of the chain."""
        return self._states(latent, rng)[-1]

    @property
    def network_calls(self) -> int:
        """Of the present sampler and steps."""
        return SAMPLERS[self.sampling.name].network_calls(self.sampling.steps)

    def with_sampler(self, name: str | None = None, steps: int | None = None) -> Self:
        """Shares the networks; InputError on a sampler that there is not or too few steps."""
        other = copy.copy(self)
        other.sampling = replace(
            self.sampling,
            name=self.sampling.name if name is None else name,
            steps=self.sampling.steps if steps is None else steps,
        )
        return other

    def deterministic(self) -> Self:
        """The present sampler if it adds no noise, else DDIM in at most 50 steps."""
        if SAMPLERS[self.sampling.name].deterministic:
            return self
        return self.with_sampler("ddim", min(50, self.sampling.steps))

    def trajectory(self, latent: Latent, rng: ImageStreams, points: int) -> Tensor:
        """States scaled to the data's range as a variance-preserving process shows them."""
        states = self._states(latent, rng)
        sigmas = self.levels(self.sampling.steps).to(states[0])
        picked = torch.linspace(0, len(states) - 1, points).round().long().tolist()
        return torch.stack([states[i] / (1 + sigmas[i] ** 2).sqrt() for i in picked], dim=1)

    def negative_bound(
        self, images: Tensor, rng: ImageStreams, method: str, draws: int | None = None
    ) -> dict[str, Tensor]:
        """prior + diffusion + reconstruction, nats, each [N]; means over the draws, usually 1."""
        return mean_terms(self.bound.terms(self.denoiser, images, rng) for _ in range(draws or 1))

    def _states(self, latent: Latent, rng: ImageStreams) -> list[Tensor]:
        step = SAMPLERS[self.sampling.name].step
        start = latent.tensors["noise"] * self.prior_std
        return follow(step, self.denoiser, start, self.levels(self.sampling.steps), rng)
