"""The protocol of every model: a latent, a decoder, and objectives that train them.

Sampling is decode-of-draw in every family, so sampling and interpolation need no family code.
What a model can do beyond that it declares by inheriting a capability.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from triptych.config import Budget, ImageShape, OptimizerConfig, Settings, Size
from triptych.families.latent import Latent
from triptych.records import Note
from triptych.seeding import ImageStreams


@dataclass(frozen=True)
class Batch:
    """The inputs of one step of an objective.

    images: real, float on [-1, 1], [B,C,H,W]
    labels: class numbers [B], or None where the data have none
    noise:  every random number of the step, drawn before it, each [B, ...]
    progress:   share of this phase's planned images that were seen before this step
    step_index: of the step in its phase, from 0
    scalars:    what `Objective.scalars` makes of progress, tensors [] in a CUDA graph; or nothing
    """

    images: Tensor
    labels: Tensor | None
    noise: dict[str, Tensor] = field(default_factory=dict)
    progress: float = 1.0
    step_index: int = 0
    scalars: Mapping[str, float | Tensor] = field(default_factory=dict)

    def parts(self, size: int) -> list[Batch]:
        """The same images in batches of at most `size`."""
        return [
            replace(
                self,
                images=self.images[rows],
                labels=None if self.labels is None else self.labels[rows],
                noise={name: tensor[rows] for name, tensor in self.noise.items()},
            )
            for rows in (slice(i, i + size) for i in range(0, len(self.images), size))
        ]


def to_float32(x: Tensor) -> Tensor:
    """x in float32, or unchanged where it is more precise: undoes autocast's bfloat16."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class FrozenView:
    """A network that another objective trains: this one can call it, but does not train it.

    This is the `.detach()` of the course, made impossible to forget: a registered network would
    be given to this objective's optimizer.
    """

    def __init__(self, network: nn.Module) -> None:
        self._hidden = (network,)  # a tuple keeps nn.Module from registering it

    def detached(self, *inputs: Tensor | None) -> Tensor:
        """The output as a constant: no gradient reaches the network or its inputs."""
        with torch.no_grad():
            return self._hidden[0](*inputs)

    def frozen(self, *inputs: Tensor | None) -> Tensor:
        """The output with gradients to the inputs, through the network but not into it."""
        with frozen(self._hidden[0]):
            return self._hidden[0](*inputs)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Inside, the network's parameters require no gradient."""
    movable = [p for p in network.parameters() if p.requires_grad]
    for parameter in movable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in movable:
            parameter.requires_grad_(True)


class Objective(nn.Module, ABC):
    """One loss and the one network that it trains, the only one that it registers."""

    name: str  # as the log names it
    optimizer: OptimizerConfig
    every: int = 1  # it steps once in so many rounds
    repeats: int = 1  # steps in a round, each on other images
    phase: int = 0  # phases run one after another; phase 0 is the generator's own training
    share: float = 1.0  # a later phase's length, as a share of the planned images
    matrices: Sequence[nn.Parameter] = ()  # inner weights, for Muon instead of AdamW

    def prepare(self) -> None:
        """Called once before each step, even where its batch is split into several parts."""

    def regime(self, progress: float, step_index: int) -> Hashable:
        """All that `forward` decides by a batch's progress and index, and not by its scalars.

        A CUDA graph repeats what was decided when it was captured, so each regime has its own.
        """

    def scalars(self, progress: float) -> dict[str, float]:
        """Numbers that follow progress from step to step, by name; by default none."""
        return {}

    @abstractmethod
    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """All random numbers that a step on `count` images needs, each [count, ...]."""

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named scalar loss terms; the one to minimise is called `total` and comes first."""


class GenerativeModel(nn.Module, ABC):
    """The interface of all models.

    samples_note: what a reader must know of this model's samples; "" for nothing
    lacks:        why the model lacks a capability, by its name: encode, likelihood, represent
    """

    shape: ImageShape
    samples_note: Note | None = None
    lacks: ClassVar[Mapping[str, Note]] = {}

    @abstractmethod
    def objectives(self) -> Sequence[Objective]:
        """The losses, in the order in which they step."""

    @abstractmethod
    def networks(self) -> Sequence[nn.Module]:
        """The networks that torch.compile may take: no second derivatives in training."""

    @abstractmethod
    def draw_latent(self, count: int, rng: ImageStreams, labels: Tensor | None = None) -> Latent:
        """Latents from the prior, on the streams' device; row i depends on stream i alone."""

    @abstractmethod
    def decode(self, latent: Latent, rng: ImageStreams) -> Tensor:
        """Images, float about [-1, 1], [N,C,H,W]; `rng` is for noise that the decoder adds."""

    @property
    @abstractmethod
    def network_calls(self) -> int:
        """How often the network runs to decode one latent."""

    def fit_before_training(self, images: Tensor, seed: int, labels: Tensor | None = None) -> None:
        """Estimate from training images what is fixed before training; by default nothing.

        images: uint8 [N,C,H,W]
        labels: their class numbers [N], where the data have labels
        """

    def fit_after_training(
        self, images: Tensor, rng: ImageStreams, labels: Tensor | None = None
    ) -> None:
        """Set what has a closed form, after all other weights are final; by default nothing.

        images: of the training part, on [-1, 1], [N,C,H,W]
        rng:    a stream for each of them
        labels: their class numbers [N], where the data have labels
        """


S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class Brief(Generic[S]):
    """What a recipe does otherwise where training sees few images.

    settings: (the usual ones, size, shape, training images or None) -> those of such a training
    images:   which it sees at most
    seconds:  which it takes at most, on a few processor cores; the second number where these have
              fast bfloat16, and on GPUs, which see more images in that time
    """

    settings: Callable[[S, Size, ImageShape, int | None], S]
    images: int
    seconds: tuple[float, float]

    def holds(self, budget: Budget, images: int, fast: bool) -> bool:
        """Whether a training is that brief; `images` are in its training part."""
        if budget.unit == "seconds":
            return budget.amount <= self.seconds[fast]
        return budget.amount * (images if budget.unit == "epochs" else 1) <= self.images


@dataclass(frozen=True, kw_only=True)
class Recipe(Generic[S]):
    """A named, complete way to train one model.

    settings:  the defaults for a size and the data's shape
    build:     makes the model with random weights (the caller seeds torch)
    take_over: (own settings, the teacher's name, its settings) -> settings of the same networks;
               ValueError with the reason where that one cannot teach
    quick_sampling: sampler and steps with which its samples can be measured in bearable time,
               where those of its settings take too long
    """

    summary: str  # one line
    settings: type[S]
    defaults: Callable[[Size, ImageShape], S]
    build: Callable[[S, ImageShape], GenerativeModel]
    augments_few: bool = False  # its `augment` setting is switched on for few training images
    batch_statistics: bool = False  # BatchNorm: a batch may not be split
    conditional: bool = False  # `build` uses `shape.classes`
    take_over: Callable[[S, str, Any], S] | None = None
    brief: tuple[Brief[S], ...] = ()  # the first that holds is followed
    quick_sampling: tuple[str, int] | None = None
    points: bool = False  # it is for points of the plane, and for no other images
    channels_last: bool = False  # the layout in which CPUs train it fastest: benchmarks/README.md
