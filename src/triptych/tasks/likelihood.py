"""Likelihood in bits per dimension of 8-bit images, term by term, with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from triptych import images
from triptych.config import ImageShape
from triptych.errors import InputError
from triptych.families.base import BoundsLikelihood, GenerativeModel, describe_absence
from triptych.hardware import Machine
from triptych.seeding import ImageStreams
from triptych.tasks.sharing import shared

NATS_PER_BIT = math.log(2)
DRAWS = "draws for each image"  # notes: the report knows them in French
DRAWS_UNTOLD = "labels withheld from the model, draws for each image"


def negative_bounds(
    model: BoundsLikelihood,
    pixels: Tensor,
    method: str,
    seed: int,
    machine: Machine,
    report: Callable[[int], None] = lambda done: None,
    draws: int | None = None,
) -> dict[str, Tensor]:
    """Terms in nats of each image, float64 [N]; their sum is at least -log P(image).

    draws: random numbers of the estimate for each image; None for the method's usual count
    """
    names: list[str] = []

    def bound(numbers: range) -> Tensor:
        rng = ImageStreams(seed, f"likelihood/{method}", numbers, machine.device)
        x = images.to_float(pixels[numbers.start : numbers.stop].to(machine.device))
        terms = model.negative_bound(x, rng, method, draws)
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
    draws: int | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """The `bits_per_dim` entry of results.json with its terms; not defined where there is none.

    pixels: uint8 [N,C,H,W], N at least 2; InputError on a method the model does not have.
    draws:  for each image, at least 1: K of the importance-weighted bound; other bounds are
            averaged over them; the method's usual count by default
    """
    if draws is not None and draws < 1:
        raise InputError(f"--draws {draws} is too few", "give 1 or more")
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
    method = method or next(iter(model.bounds))
    if method not in model.bounds:
        raise InputError(
            f"no method '{method}' for this model", f"choose from {', '.join(model.bounds)}"
        )
    draws = draws or model.bounds[method]
    terms = negative_bounds(model, pixels, method, seed, machine, report, draws)
    total = in_units(torch.stack(list(terms.values())).sum(0), model.shape)
    return entry | {
        "value": total["bits_per_dim"],
        "low": total["bits_per_dim_low"],
        "high": total["bits_per_dim_high"],
        "kind": "upper bound",
        "method": method,
        "note": f"{DRAWS if model.shape.classes is None else DRAWS_UNTOLD}: {draws}",
        "terms": {name: in_units(nats, model.shape) for name, nats in terms.items()},
    }


def in_units(nats: Tensor, shape: ImageShape) -> dict[str, float]:
    """Mean over images, nats [N], in bits per dimension and nats, with the mean's 95 % interval."""
    mean = nats.mean().item()
    margin = 1.96 * nats.std().item() / math.sqrt(len(nats))
    found = {}
    for unit, size in {"bits_per_dim": shape.dimensions * NATS_PER_BIT, "nats": 1.0}.items():
        found[unit] = mean / size
        found[f"{unit}_low"], found[f"{unit}_high"] = (mean - margin) / size, (mean + margin) / size
    return found
