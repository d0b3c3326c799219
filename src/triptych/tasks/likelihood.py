"""Likelihood in bits per dimension of 8-bit images, term by term, with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from triptych import images
from triptych.errors import InputError
from triptych.families.base import BoundsLikelihood, GenerativeModel, describe_absence
from triptych.hardware import Machine
from triptych.seeding import ImageStreams
from triptych.tasks.sharing import shared

NATS_PER_BIT = math.log(2)


def negative_bounds(
    model: BoundsLikelihood,
    pixels: Tensor,
    method: str,
    seed: int,
    machine: Machine,
    report: Callable[[int], None] = lambda done: None,
) -> dict[str, Tensor]:
    """Terms in nats of each image, float64 [N]; their sum is at least -log P(image)."""
    names: list[str] = []

    def bound(numbers: range) -> Tensor:
        rng = ImageStreams(seed, f"likelihood/{method}", numbers, machine.device)
        x = images.to_float(pixels[numbers.start : numbers.stop].to(machine.device))
        terms = model.negative_bound(x, rng, method)
        names[:] = terms
        return torch.stack([term.double() for term in terms.values()], dim=1)

    found = shared(bound, len(pixels), machine, report=report)
    return dict(zip(names, found.unbind(1), strict=True))


def bits_per_dim(
    model: GenerativeModel,
    family: str,
    pixels: Tensor,
    seed: int,
    machine: Machine,
    method: str | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """The `bits_per_dim` entry of results.json with its terms; not defined where there is none.

    pixels: uint8 [N,C,H,W], N at least 2; InputError on a method the model does not have.
    """
    entry = {
        "name": "bits_per_dim",
        "value": None,
        "low": None,
        "high": None,
        "n": len(pixels),
        "floor": None,
        "unit": "bits per dimension",
        "better": "lower",
        "features": None,
        "reference": "test",
        "kind": "not defined",
        "method": None,
        "note": "",
    }
    if not isinstance(model, BoundsLikelihood):
        if method is not None:
            raise InputError(f"no method '{method}' for a {family}", "leave --method out")
        return entry | {"note": describe_absence("likelihood", family), "terms": {}}
    method = method or model.bounds[0]
    if method not in model.bounds:
        raise InputError(
            f"no method '{method}' for this model", f"choose from {', '.join(model.bounds)}"
        )
    terms = negative_bounds(model, pixels, method, seed, machine, report)
    to_bits = 1 / (model.shape.dimensions * NATS_PER_BIT)
    total = torch.stack(list(terms.values())).sum(0) * to_bits
    margin = 1.96 * total.std().item() / math.sqrt(len(total))
    mean = total.mean().item()
    return entry | {
        "value": mean,
        "low": mean - margin,
        "high": mean + margin,
        "kind": "upper bound",
        "method": method,
        "terms": {
            name: {
                "bits_per_dim": value.mean().item() * to_bits,
                "nats": value.mean().item(),
            }
            for name, value in terms.items()
        },
    }
