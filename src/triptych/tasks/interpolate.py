"""Interpolations between two latents, decoded without added noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from triptych import images
from triptych.families.capabilities import Encodes, Iterative
from triptych.families.labels import Labels
from triptych.families.latent import Latent, Way
from triptych.families.protocol import GenerativeModel
from triptych.hardware import Machine
from triptych.seeding import ImageStreams
from triptych.tasks import BATCH, chunks


def between_draws(
    model: GenerativeModel,
    paths: int,
    points: int,
    seed: int,
    machine: Machine,
    labels: Labels | None = None,
    way: Way | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """`points` images between two prior draws, ends included: uint8 [paths,points,C,H,W].

    The ends of path i are the draws 2i and 2i+1 of the seed.
    labels: the classes of which the ends are drawn, for conditional models
    way:    kind of path; None for the one that suits the model's latents
    report: called with the number of points done
    """
    with torch.inference_mode(), machine.autocast():
        rng = ImageStreams(seed, "interpolate", range(2 * paths), machine.device)
        class_numbers = (
            None if labels is None else labels.draw(seed, range(2 * paths), machine.device)
        )
        latent = walked(model.draw_latent(2 * paths, rng, class_numbers), way)
        return walk(model, latent[::2], latent[1::2], points, seed, machine, report=report)


def between_images(
    model: GenerativeModel,
    first: Tensor,
    last: Tensor,
    points: int,
    seed: int,
    machine: Machine,
    way: Way | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """The same between the latents of images, uint8 [N,C,H,W] each: uint8 [N,points,C,H,W]."""
    assert isinstance(model, Encodes)
    with torch.inference_mode(), machine.autocast():
        a, b = (model.encode(images.to_float(x.to(machine.device))) for x in (first, last))
        a = walked(a, way)
        return walk(model, a, b, points, seed, machine, inverting=True, report=report)


def walked(latent: Latent, way: Way | None) -> Latent:
    """The latent with that kind of path; None keeps its own."""
    return latent if way is None else replace(latent, path=way)


def walk(
    model: GenerativeModel,
    a: Latent,
    b: Latent,
    points: int,
    seed: int,
    machine: Machine,
    inverting: bool = False,
    report: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Decode evenly spaced points of every path: uint8 [N,points,C,H,W].

    inverting: the ends are encoded images
    """
    if isinstance(model, Iterative):
        model = model.deterministic(inverting)
    parts = [
        (slice(rows.start, rows.stop), ImageStreams(seed, "walk", rows, machine.device))
        for rows in chunks(0, len(a), machine.microbatch or BATCH)
    ]
    decoded = []
    for done, share in enumerate(torch.linspace(0, 1, points).tolist(), start=1):
        between = a.interpolate(b, share)
        shown = [images.to_uint8(model.decode(between[rows], rng)).cpu() for rows, rng in parts]
        decoded.append(torch.cat(shown))
        report(done)
    return torch.stack(decoded, dim=1)
