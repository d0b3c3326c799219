"""What a model can do beyond sampling: it inherits one class for each capability.

Code that needs a capability tests for its class, not for the model's family. A model that lacks
one says why (`GenerativeModel.lacks`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from triptych.errors import InputError
from triptych.families.latent import Latent
from triptych.families.protocol import GenerativeModel
from triptych.records import Note
from triptych.seeding import ImageStreams

MEAN_PIXELS = Note("mean_pixels")  # what must be known of such a model's images
LACKING = {  # where a model does not say it better itself
    "encode": Note("no_encoder"),
    "likelihood": Note("no_likelihood"),
    "represent": Note("no_representation"),
    "exemplars": Note("no_exemplars"),
}


class Encodes(ABC):
    """The model has an inverse: images -> latent."""

    @abstractmethod
    def encode(self, images: Tensor) -> Latent:
        """images [N,C,H,W] on [-1, 1] -> their most plausible latent."""


class EncodesByPath(Encodes):
    """Encoding follows a path in steps, from the image up to the noise of an `Iterative` model."""

    @abstractmethod
    def path_up(self, images: Tensor, points: int) -> tuple[Tensor, Latent]:
        """States at evenly spaced steps, first and last included, scaled as those of `trajectory`.

        images [N,C,H,W] on [-1, 1] -> [N,points,C,H,W], and the latent at the end, as of `encode`.
        """


class Refines(ABC):
    """The latents of `encode` come from a first guess that is refined step by step."""

    @property
    @abstractmethod
    def refining_steps(self) -> int:
        """How many steps `encode` takes."""

    @abstractmethod
    def with_refinement(self, steps: int) -> GenerativeModel:
        """The same networks, whose `encode` takes so many steps; 0 keeps the first guess."""


class Learns(ABC):
    """Training starts from a trained model, the teacher, and uses its outputs as targets."""

    @abstractmethod
    def learn_from(self, teacher: GenerativeModel) -> None:
        """Copy the teacher's weights. The teacher itself does not change."""


class Represents(ABC):
    """The model gives features of images, from which others can learn."""

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
    """log P of 8-bit images can be estimated under Gaussian noise that the model itself lacks.

    Without that noise the likelihood is not defined, so it is estimated only on request.
    """

    estimates: ClassVar[Mapping[str, int]]  # methods and their usual number of temperatures

    @abstractmethod
    def noise_for(self, images: Tensor) -> float:
        """The noise's deviation on [-1, 1], chosen on held-out images [N,C,H,W]."""

    @abstractmethod
    def estimate_likelihood(
        self, images: Tensor, rng: ImageStreams, std: float, temperatures: int
    ) -> Tensor:
        """log P(8-bit image) under noise of deviation `std`, nats, [N]; too low on average."""

    @abstractmethod
    def simulated_bounds(
        self, rng: ImageStreams, std: float, temperatures: int
    ) -> tuple[Tensor, Tensor]:
        """Bounds from below and above for images that it draws, one a stream: nats, each [N]."""


def mean_terms(draws: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of each term over several draws: float64, each [N]."""
    estimates = list(draws)
    return {
        name: torch.stack([terms[name].double() for terms in estimates]).mean(0)
        for name in estimates[0]
    }


@dataclass(frozen=True)
class Diagnosis:
    """The state of a model in training.

    numbers: by name
    advice:  a note for each failure: what it is, by which number, what to do
    health:  the worst of the numbers that a model cannot do without: about 1 is well, 0 is dead
    failure: what makes the health low; training goes back where that fell far
    """

    numbers: dict[str, float]
    advice: list[Note] = field(default_factory=list)
    health: float = 1.0
    failure: Note | None = None


class Diagnoses(ABC):
    """The model can say, during training, what goes wrong."""

    @abstractmethod
    def diagnose(
        self, seen: Tensor, unseen: Tensor, rng: ImageStreams, share: float = 1.0
    ) -> Diagnosis:
        """Diagnose on a few images, in evaluation mode and without gradients; nothing changes.

        seen:   images of the training part, on [-1, 1], [N,C,H,W], N at least 1
        unseen: images of the validation part, [M,C,H,W]; M may be 0
        rng:    N + M streams, in the order of these images
        share:  progress of the training, from 0 to 1
        """


class DrawsAroundExemplars(ABC):
    """The prior may be made of encoded training images: then every draw begins at one of them."""

    @property
    @abstractmethod
    def exemplar_numbers(self) -> int:
        """Numbers in the encodings that the prior keeps; 0 where it keeps none.

        Without any the other methods have nothing to answer.
        """

    @abstractmethod
    def exemplars_of_draws(
        self, count: int, rng: ImageStreams, labels: Tensor | None = None
    ) -> Tensor:
        """The exemplar behind each latent that `draw_latent` draws from these streams, [count]."""

    @abstractmethod
    def exemplars_of_images(self, images: Tensor) -> Tensor:
        """The exemplar that each image [N,C,H,W] on [-1, 1] is encoded into, [N]; -1 for none."""


class NoisyPixels(ABC):
    """Decoding gives the mean of a distribution of pixels; one can also draw from it."""

    @abstractmethod
    def with_pixel_noise(self) -> Self:
        """The same networks, whose `decode` draws the pixels at random."""


class Iterative(ABC):
    """Decoding is a chain of steps by a sampler that can be chosen."""

    samplers: tuple[str, ...]

    @property
    @abstractmethod
    def guidance(self) -> float:
        """The present weight of classifier-free guidance; 1 is none."""

    @abstractmethod
    def with_sampler(
        self,
        name: str | None = None,
        steps: int | None = None,
        eta: float | None = None,
        guidance: float | None = None,
    ) -> Self:
        """The same networks with other sampler settings; None keeps the present one.

        eta:      share of fresh noise in a step of `ddim`, from 0 to 1
        guidance: weight of classifier-free guidance; 1 is none
        """

    @abstractmethod
    def deterministic(self, inverting: bool = False) -> Self:
        """The same networks with a sampler that adds no noise, for interpolation.

        inverting: in enough steps to decode what was encoded
        """

    @abstractmethod
    def noise_levels(self) -> Tensor:
        """Noise levels of the present sampler: falling, the last one 0, [steps+1]."""

    @abstractmethod
    def denoised(self, noisy: Tensor, sigma: float) -> Tensor:
        """The network's clean image for image + sigma * noise, labels unknown: [N,C,H,W]."""

    @abstractmethod
    def count_states(self) -> int:
        """How many states `trajectory` gives where it gives each once."""

    @abstractmethod
    def trajectory(self, latent: Latent, rng: ImageStreams, points: int | None) -> Tensor:
        """States at evenly spaced steps, first and last included: [N,points,C,H,W].

        points: None for each state once
        """


def exemplar_numbers(model: GenerativeModel) -> int:
    """Numbers in the encodings of training images that a model's prior keeps; 0 for none."""
    return model.exemplar_numbers if isinstance(model, DrawsAroundExemplars) else 0


def is_guided(model: GenerativeModel) -> bool:
    """Whether a model takes a weight of guidance: one that was told classes or found groups."""
    if not isinstance(model, Iterative):
        return False
    try:
        model.with_sampler(guidance=1.0)
    except InputError:
        return False
    return True


def why_not(model: GenerativeModel, capability: str) -> Note:
    """Why a model lacks a capability: encode, likelihood or represent."""
    return model.lacks.get(capability, LACKING[capability])
