"""Samples: decode of draw, in every family, with a stream of noise for each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from triptych import images
from triptych.families.capabilities import DrawsAroundExemplars, Iterative
from triptych.families.labels import Labels
from triptych.families.latent import Latent
from triptych.families.protocol import GenerativeModel
from triptych.hardware import Machine
from triptych.seeding import ImageStreams
from triptych.tasks import BATCH, chunks, shared

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
    latents: Latent | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Images start .. start+count-1 of a seed: uint8 [count,C,H,W].

    temperature: the latent's deviation, 1 as trained; less gives more typical images
    labels:      the classes of which image i's own is drawn, for conditional models
    latents:     those of these images, [count,...], instead of draws from the prior; the noise
                 that the decoder adds is that of the seed all the same
    """

    def draw(numbers: range) -> Tensor:
        latent, rng = draw_from_prior(model, seed, numbers, machine, labels)
        if latents is not None:  # drawn all the same: the decoder's noise comes after the draw
            rows = latents[numbers.start - start : numbers.stop - start]
            latent = like(rows, latent)
        if temperature != 1.0:
            latent = latent.scaled(temperature)
        return images.to_uint8(model.decode(latent, rng))

    return shared(draw, count, machine, start=start, report=report, size=usual_batch(model))


def draw_from_prior(
    model: GenerativeModel, seed: int, numbers: range, machine: Machine, labels: Labels | None
) -> tuple[Latent, ImageStreams]:
    """The latents of images of a seed, and their streams of noise, as far as they were read."""
    rng = ImageStreams(seed, "sample", numbers, machine.device)
    class_numbers = None if labels is None else labels.draw(seed, numbers, machine.device)
    return model.draw_latent(len(numbers), rng, class_numbers), rng


def draw_latents(
    model: GenerativeModel, count: int, seed: int, machine: Machine, labels: Labels | None = None
) -> Latent:
    """The latents that `sample` decodes to the first images of a seed: [count,...], on the CPU.

    Every process draws all of them.
    """
    size = min(usual_batch(model), machine.microbatch or BATCH)
    with torch.inference_mode(), machine.autocast():
        drawn = [
            draw_from_prior(model, seed, numbers, machine, labels)[0]
            for numbers in chunks(0, count, size)
        ]
    return kept(drawn)


def usual_batch(model: GenerativeModel) -> int:
    """How many images a model draws and decodes at once on a processor."""
    return POINTS_AT_ONCE if model.shape.is_point else BATCH


def kept(latents: Sequence[Latent]) -> Latent:
    """Latents one after another, on the CPU, as tensors that may be changed in place."""
    return Latent.joined(latents).each(lambda tensor: tensor.cpu().clone())


def like(latents: Latent, own: Latent) -> Latent:
    """Latents with the numbers' type and on the device of others of the same model."""
    tensors = {name: tensor.to(own.tensors[name]) for name, tensor in latents.tensors.items()}
    labels = latents.labels
    if labels is not None and own.labels is not None:
        labels = labels.to(own.labels)
    return Latent(tensors, latents.path, labels)


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
        quick = "dpm-solver++" if "dpm-solver++" in model.samplers else None
        model = model.with_sampler(quick, GRID_CALLS)
    slow = isinstance(model, Iterative) and model.network_calls > 1
    count = GRID_SAMPLES if slow else BATCH
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
        latent, rng = draw_from_prior(model, seed, numbers, machine, labels)
        if temperature != 1.0:
            latent = latent.scaled(temperature)
        return images.to_uint8(model.trajectory(latent, rng, points))

    return shared(states, rows, machine, report=report)
