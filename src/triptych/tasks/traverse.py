"""Traversals: one latent unit at a time takes all values of the prior while the others stay.

A unit is one number of one latent tensor. Those are chosen whose posterior mean varies most over
real images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from triptych import images
from triptych.families.capabilities import Encodes
from triptych.families.latent import Latent
from triptych.families.protocol import GenerativeModel
from triptych.hardware import Machine
from triptych.seeding import ImageStreams, generator
from triptych.tasks import shared

REACH = 3.0  # deviations of the prior to each side: 99.7 % of it lie between


@dataclass(frozen=True)
class Unit:
    """One number of a latent.

    latent:    the tensor's name
    index:     in that tensor, without the axis of images
    deviation: of its posterior mean over the images, in units of the prior's
    """

    latent: str
    index: tuple[int, ...]
    deviation: float

    def __str__(self) -> str:
        index = ",".join(map(str, self.index))
        return f"{self.latent}[{index}], whose means deviate by {self.deviation:.2f}"


@dataclass(frozen=True)
class Traversal:
    """Images along several units.

    pictures: uint8 [rows,points,C,H,W], from -REACH to REACH
    units:    of the rows
    start:    the number of the image whose latent all other units keep
    """

    pictures: Tensor
    units: list[Unit]
    start: int

    def _repr_png_(self) -> bytes:
        return images.grid(self.pictures)._repr_png_()


def traverse(
    model: GenerativeModel,
    pixels: Tensor,
    rows: int,
    points: int,
    seed: int,
    machine: Machine,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Traversal:
    """Vary the units that vary most over images, uint8 [N,C,H,W], in one image's latent.

    The seed picks that image.

    rows:   fewer where the model has fewer units
    report: told of the images that are encoded and decoded, of how many
    """
    total = len(pixels) + rows * points
    assert isinstance(model, Encodes)
    start = int(torch.randint(len(pixels), (), generator=generator(seed, "traverse")))
    with torch.inference_mode(), machine.autocast():
        one = model.encode(images.to_float(pixels[start : start + 1].to(machine.device)))
        units = most_varied(model, one, pixels, rows, machine, lambda done: report(done, total))
        walks = []
        for unit in units:
            walks.append(walk(model, one, unit, points, seed, machine))
            report(len(pixels) + len(walks) * points, total)
    return Traversal(torch.stack(walks).cpu(), units, start)


def most_varied(
    model: Encodes,
    like: Latent,
    pixels: Tensor,
    rows: int,
    machine: Machine,
    report: Callable[[int], None] = lambda done: None,
) -> list[Unit]:
    """The units whose means deviate most over the images, the largest deviation first."""

    def means(numbers: range) -> Tensor:
        latent = model.encode(images.to_float(pixels[numbers.start : numbers.stop].to(device)))
        return torch.cat([tensor.flatten(1) for tensor in latent.tensors.values()], dim=1)

    device = machine.device
    deviations = shared(means, len(pixels), machine, report=report).float().std(0, correction=0)
    picked = deviations.sort(descending=True, stable=True).indices[:rows].tolist()
    return [unit_at(like, offset, deviations[offset].item()) for offset in picked]


def unit_at(like: Latent, offset: int, deviation: float) -> Unit:
    """The unit at an offset in all flattened tensors, one after another."""
    for name, tensor in like.tensors.items():
        shape = tensor.shape[1:]
        if offset < math.prod(shape):
            index = torch.unravel_index(torch.tensor(offset), shape)
            return Unit(name, tuple(int(i) for i in index), deviation)
        offset -= math.prod(shape)
    raise IndexError(offset)


def walk(
    model: GenerativeModel, start: Latent, unit: Unit, points: int, seed: int, machine: Machine
) -> Tensor:
    """Images on the way of one unit through the prior: uint8 [points,C,H,W]."""
    tensors = {
        name: tensor.expand(points, *tensor.shape[1:]).clone()
        for name, tensor in start.tensors.items()
    }
    moved = tensors[unit.latent]
    index: tuple[slice | int, ...] = (slice(None), *unit.index)
    moved[index] = torch.linspace(-REACH, REACH, points).to(moved)
    labels = None if start.labels is None else start.labels.expand(points, -1)
    # Noise, where a decoder adds any, is that of one image: only the unit differs.
    rng = ImageStreams(seed, "walk", [0] * points, machine.device)
    return images.to_uint8(model.decode(Latent(tensors, start.path, labels), rng))
