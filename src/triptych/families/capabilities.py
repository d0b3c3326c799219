"""What a model can do beyond sampling: it inherits a class for each.

Who asks first whether a model has a capability need not know its family; what a model lacks it
explains itself (`GenerativeModel.lacks`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from triptych.families.latent import Latent
from triptych.families.protocol import GenerativeModel
from triptych.seeding import ImageStreams

MEAN_PIXELS = "mean decodes, without pixel noise"  # what is said of such a model's images
LACKING = {  # where a model does not say it better itself
    "encode": "this model has no way from an image to a latent",
    "likelihood": "this model has no likelihood",
    "represent": "this model has no features of an image to read from",
}


class Encodes(ABC):
    """The model has an inverse: images -> latent."""

    @abstractmethod
    def encode(self, images: Tensor) -> Latent:
        """images [N,C,H,W] on [-1, 1] -> their most plausible latent."""


class Refines(ABC):
    """What `encode` finds first can be brought nearer to the images, step by step."""

    @property
    @abstractmethod
    def refining_steps(self) -> int:
        """How many steps `encode` takes."""

    @abstractmethod
    def with_refinement(self, steps: int) -> GenerativeModel:
        """The same networks, whose `encode` takes so many steps; 0 leaves it at the first."""


class Learns(ABC):
    """Training starts from a trained model and asks it for answers."""

    @abstractmethod
    def learn_from(self, teacher: GenerativeModel) -> None:
        """Take over its weights; it is used as it is, in training alone."""


class Represents(ABC):
    """The model describes images by features of its own, for whoever learns from them."""

    @abstractmethod
    def represent(self, images: Tensor) -> Tensor:
        """images [N,C,H,W] on [-1, 1] -> [N,F]."""


class BoundsLikelihood(ABC):
    """The model bounds log P of 8-bit images from below."""

    bounds: ClassVar[Mapping[str, int]]  # methods, the default first, and their usual draws
    approximate: ClassVar[Sequence[str]] = ()  # those that solve an equation with some error

    @abstractmethod
    def negative_bound(
        self, images: Tensor, rng: ImageStreams, method: str, draws: int | None = None
    ) -> dict[str, Tensor]:
        """Named terms in nats, each [N]; their sum is at least -log P(8-bit image).

        draws: random numbers of the estimate for each image; None for the method's usual count
        """


class EstimatesLikelihood(ABC):
    """log P of 8-bit images can be estimated under a Gaussian noise that the model does not have.

    So it is told only when asked for, with the noise: by itself the likelihood is not defined.
    """

    estimates: ClassVar[Mapping[str, int]]  # methods and their usual number of temperatures

    @abstractmethod
    def noise_for(self, images: Tensor) -> float:
        """The noise's deviation on [-1, 1] that suits these held-out images [N,C,H,W]."""

    @abstractmethod
    def estimate_likelihood(
        self, images: Tensor, rng: ImageStreams, std: float, temperatures: int
    ) -> Tensor:
        """log P(8-bit image) under noise of that deviation, nats, [N]; too low rather than high."""

    @abstractmethod
    def simulated_bounds(
        self, rng: ImageStreams, std: float, temperatures: int
    ) -> tuple[Tensor, Tensor]:
        """For images of its own, one for each stream: bounds from below and above, nats, [N]."""


def mean_terms(draws: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of each term over several draws, float64."""
    estimates = list(draws)
    return {
        name: torch.stack([terms[name].double() for terms in estimates]).mean(0)
        for name in estimates[0]
    }


@dataclass(frozen=True)
class Diagnosis:
    """The state of a model in training.

    numbers: by name
    advice:  a sentence for each failure: what it is, by which number, what to do
    health:  the worst of the numbers that a model cannot do without: about 1 is well, 0 is dead
    failure: in a few words, what makes the health low; training goes back where that fell far
    """

    numbers: dict[str, float]
    advice: list[str] = field(default_factory=list)
    health: float = 1.0
    failure: str = ""


class Diagnoses(ABC):
    """The model tells while it is trained what goes wrong."""

    @abstractmethod
    def diagnose(
        self, seen: Tensor, unseen: Tensor, rng: ImageStreams, share: float = 1.0
    ) -> Diagnosis:
        """Look at a few images, in evaluation mode and without gradients; nothing is changed.

        seen:   of the training part, on [-1, 1], [N,C,H,W], at least one
        unseen: of the validation part, [M,C,H,W]; there may be none
        rng:    N + M streams, for all of them in this order
        share:  of the planned images that were trained on
        """


class NoisyPixels(ABC):
    """Decoding gives the mean of a distribution of pixels, which can be drawn from too."""

    @abstractmethod
    def with_pixel_noise(self) -> Self:
        """The same networks, whose `decode` draws the pixels."""


class Iterative(ABC):
    """Decoding is a chain of steps: which sampler, how many, and what lies between."""

    samplers: tuple[str, ...]

    @abstractmethod
    def with_sampler(
        self,
        name: str | None = None,
        steps: int | None = None,
        eta: float | None = None,
        guidance: float | None = None,
    ) -> Self:
        """The same networks with other sampler settings; None keeps the present one.

        eta:      share of fresh noise in a step, from 0 to 1, where the sampler has a choice
        guidance: how strongly samples are led to their class; 1 leaves them as trained
        """

    @abstractmethod
    def deterministic(self) -> Self:
        """The same networks with a sampler that adds no noise, for interpolation."""

    @abstractmethod
    def noise_levels(self) -> Tensor:
        """Of the present sampler: falling, the last one 0, [steps+1]."""

    @abstractmethod
    def denoised(self, noisy: Tensor, sigma: float) -> Tensor:
        """What the network makes of image + sigma * noise, no label told: [N,C,H,W]."""

    @abstractmethod
    def trajectory(self, latent: Latent, rng: ImageStreams, points: int) -> Tensor:
        """The chain at evenly spaced steps, start and end included: [N,points,C,H,W]."""


def why_not(model: GenerativeModel, capability: str) -> str:
    """Why a model does not encode, have a likelihood or represent images, in one sentence."""
    return model.lacks.get(capability, LACKING[capability])
