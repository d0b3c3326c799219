"""Samples: decode of draw, in every family, with a stream of noise for each image."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from triptych import images
from triptych.families.capabilities import DrawsAroundExemplars, Iterative
from triptych.families.labels import Labels
from triptych.families.latent import Latent
from triptych.families.protocol import GenerativeModel
from triptych.hardware import Machine
from triptych.seeding import ImageStreams
from triptych.tasks import BATCH, shared

GRID_CALLS = 10  # network calls for a picture along training, where a sampler would take many
SHOWN_POINTS = 512  # in any picture of points of the plane
POINTS_AT_ONCE = 512
GRID_SAMPLES = 16  # in such a picture, where the network is called more than once for each


def sample(
    model: GenerativeModel,
    count: int,
    seed: int,
    machine: Machine,
    *,
    start: int = 0,
    temperature: float = 1.0,
    labels: Labels | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Images start .. start+count-1 of a seed: uint8 [count,C,H,W].

    temperature: the latent's deviation, 1 as trained; less gives more typical images
    labels:      the classes of which image i's own is drawn, for conditional models
    """

    def draw(numbers: range) -> Tensor:
        rng, latent = drawn(model, numbers, seed, machine, temperature, labels)
        return images.to_uint8(model.decode(latent, rng))

    size = POINTS_AT_ONCE if model.shape.is_point else BATCH
    return shared(draw, count, machine, start=start, report=report, size=size)


def exemplars(
    model: DrawsAroundExemplars,
    count: int,
    seed: int,
    machine: Machine,
    labels: Labels | None = None,
) -> Tensor:
    """The exemplar behind each of the images that `sample` makes of this seed: [count]."""

    def numbers_of(numbers: range) -> Tensor:
        rng = ImageStreams(seed, "sample", numbers, machine.device)
        class_numbers = None if labels is None else labels.draw(seed, numbers, machine.device)
        return model.exemplars_of_draws(len(numbers), rng, class_numbers)

    return shared(numbers_of, count, machine)


def quick_grid(
    model: GenerativeModel, seed: int, machine: Machine, labels: Labels | None = None
) -> Tensor:
    """Samples for a picture along training: 64, or 16 in few steps where decoding is iterative.

    Points of the plane, whose networks are small, are more.
    """
    point = model.shape.is_point
    if isinstance(model, Iterative) and model.network_calls > (1 if point else 4) * GRID_CALLS:
        model = model.with_sampler("dpm-solver++", GRID_CALLS)
    count = BATCH if model.network_calls == 1 else GRID_SAMPLES
    if point:
        count = SHOWN_POINTS
    return sample(model, count, seed, machine, labels=labels)


def trajectory(
    model: GenerativeModel,
    rows: int,
    points: int | None,
    seed: int,
    machine: Machine,
    *,
    temperature: float = 1.0,
    labels: Labels | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """The states from noise to image of the first samples: uint8 [rows,points,C,H,W].

    points: None for each state once; the rest as for `sample`
    """
    assert isinstance(model, Iterative)

    def states(numbers: range) -> Tensor:
        rng, latent = drawn(model, numbers, seed, machine, temperature, labels)
        return images.to_uint8(model.trajectory(latent, rng, points))

    return shared(states, rows, machine, report=report)


def drawn(
    model: GenerativeModel,
    numbers: range,
    seed: int,
    machine: Machine,
    temperature: float,
    labels: Labels | None,
) -> tuple[ImageStreams, Latent]:
    """The latents of these images of a seed, and the streams that their decoding goes on with."""
    rng = ImageStreams(seed, "sample", numbers, machine.device)
    class_numbers = None if labels is None else labels.draw(seed, numbers, machine.device)
    latent = model.draw_latent(len(numbers), rng, class_numbers)
    return rng, latent if temperature == 1.0 else latent.scaled(temperature)
