"""Interpolations between two latents, decoded without added noise."""

from __future__ import annotations

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


def between_draws(
    model: GenerativeModel,
    paths: int,
    points: int,
    seed: int,
    machine: Machine,
    labels: Labels | None = None,
    way: Way | None = None,
) -> Tensor:
    """`points` images on the way between two prior draws, ends included: uint8 [paths,points,...].

    The ends of path i are the draws 2i and 2i+1 of the seed.
    labels: classes by whose shares those of the ends are drawn, for models that are told them
    way:    how to walk; as suits the model's latents where it is not told
    """
    with torch.inference_mode(), machine.autocast():
        rng = ImageStreams(seed, "interpolate", range(2 * paths), machine.device)
        class_numbers = (
            None if labels is None else labels.draw(seed, range(2 * paths), machine.device)
        )
        latent = walked(model.draw_latent(2 * paths, rng, class_numbers), way)
        return walk(model, latent[::2], latent[1::2], points, seed, machine)


def between_images(
    model: GenerativeModel,
    first: Tensor,
    last: Tensor,
    points: int,
    seed: int,
    machine: Machine,
    way: Way | None = None,
) -> Tensor:
    """The same between the latents of given images, uint8 [N,C,H,W] each."""
    assert isinstance(model, Encodes)
    with torch.inference_mode(), machine.autocast():
        a, b = (model.encode(images.to_float(x.to(machine.device))) for x in (first, last))
        return walk(model, walked(a, way), b, points, seed, machine)


def walked(latent: Latent, way: Way | None) -> Latent:
    """The latent, from which that is the way to another one."""
    return latent if way is None else replace(latent, path=way)


def walk(
    model: GenerativeModel, a: Latent, b: Latent, points: int, seed: int, machine: Machine
) -> Tensor:
    """Decode evenly spaced points of every path: uint8 [N,points,C,H,W]."""
    if isinstance(model, Iterative):
        model = model.deterministic()
    rng = ImageStreams(seed, "walk", range(len(a)), machine.device)
    steps = torch.linspace(0, 1, points).tolist()
    decoded = [model.decode(a.interpolate(b, share), rng) for share in steps]
    return images.to_uint8(torch.stack(decoded, dim=1)).cpu()
