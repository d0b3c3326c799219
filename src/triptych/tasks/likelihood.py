"""Likelihood in bits per dimension of 8-bit images, term by term, with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from triptych import images
from triptych.errors import InputError
from triptych.families.capabilities import BoundsLikelihood, EstimatesLikelihood, why_not
from triptych.families.protocol import GenerativeModel
from triptych.hardware import Machine
from triptych.images import BIN_WIDTH
from triptych.metrics import entry as metric_entry
from triptych.metrics.bits_per_dim import in_units, without_each_group
from triptych.seeding import ImageStreams
from triptych.tasks import shared

DRAWS = "draws for each image"  # notes: the report knows them in French
DRAWS_UNTOLD = "labels withheld from the model, draws for each image"
AT_ONCE = 16  # images: thousands of generator calls for each, and a bar should move
SIMULATED = 16  # images of the model's own, for the gap between the two bounds
HELD_OUT = 64  # images that the noise is chosen on
LEAST_NOISE, MOST_NOISE = BIN_WIDTH / 2, 1.0  # half a grey level; as wide as black to grey


def estimated(
    model: GenerativeModel,
    pixels: Tensor,
    seed: int,
    machine: Machine,
    method: str,
    temperatures: int | None = None,
    noise: float | None = None,
    validation: Tensor | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """What the `bits_per_dim` entry says of an estimate under noise.

    noise:      its deviation on [-1, 1]; chosen on the validation images where it is not told
    validation: uint8 [M,C,H,W], neither trained on nor measured
    InputError on noise that no 8-bit image has, or where there is nothing to choose it on.
    """
    assert isinstance(model, EstimatesLikelihood)
    std, how = chosen_noise(model, noise, validation, machine)
    temperatures = temperatures or model.estimates[method]
    few = replace(machine, microbatch=min(AT_ONCE, machine.microbatch or AT_ONCE))

    def nats(numbers: range) -> Tensor:
        rng = ImageStreams(seed, f"likelihood/{method}", numbers, machine.device)
        x = images.to_float(pixels[numbers.start : numbers.stop].to(machine.device))
        return -model.estimate_likelihood(x, rng, std, temperatures)

    def gap(numbers: range) -> Tensor:
        rng = ImageStreams(seed, f"simulated/{method}", numbers, machine.device)
        below, above = model.simulated_bounds(rng, std, temperatures)
        return above - below

    found = in_units(shared(nats, len(pixels), few, report=report), model.shape)
    apart = in_units(shared(gap, SIMULATED, few), model.shape)
    return {
        "value": found["bits_per_dim"],
        "low": found["bits_per_dim_low"],
        "high": found["bits_per_dim_high"],
        "kind": "estimate",
        "method": method,
        "note": f"of the model plus Gaussian noise of deviation {std:.4f} on [-1, 1], {how}; "
        f"{temperatures} temperatures; on {SIMULATED} images that this draws itself the bounds "
        f"from both sides are {apart['nats']:.2f} nats apart",
        "terms": {"noisy_model": found, "gap_on_simulated": apart},
    }


def chosen_noise(
    model: EstimatesLikelihood, noise: float | None, validation: Tensor | None, machine: Machine
) -> tuple[float, str]:
    """The deviation, and who chose it."""
    if noise is not None:
        if not (math.isfinite(noise) and LEAST_NOISE <= noise <= MOST_NOISE):
            raise InputError(
                f"--noise {noise:g} is no noise of 8-bit pixels on [-1, 1]",
                f"give {LEAST_NOISE:.4f} to {MOST_NOISE:g}, or leave it out",
            )
        return noise, "as asked"
    if validation is None or len(validation) == 0:
        raise InputError("there are no validation images to choose the noise on", "give --noise")
    x = images.to_float(validation[:HELD_OUT].to(machine.device))
    with torch.inference_mode(), machine.autocast():
        std = model.noise_for(x)
    return min(max(std, LEAST_NOISE), MOST_NOISE), "chosen on validation images"


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


def undefined(count: int) -> dict[str, Any]:
    """The `bits_per_dim` entry before anything is known of so many images."""
    return metric_entry("bits_per_dim", None, count, reference="test")


def bits_per_dim(
    model: GenerativeModel,
    pixels: Tensor,
    seed: int,
    machine: Machine,
    method: str | None = None,
    draws: int | None = None,
    report: Callable[[int], None] = lambda done: None,
    noise: float | None = None,
    validation: Tensor | None = None,
) -> dict[str, Any]:
    """The `bits_per_dim` entry of results.json with its terms; not defined where there is none.

    pixels: uint8 [N,C,H,W], N at least 2; InputError on a method the model does not have.
    draws:  for each image, at least 1: K of the importance-weighted bound; other bounds are
            averaged over them, or over as many temperatures; the method's usual count by default
    noise, validation: as `annealing.estimated` takes them
    """
    if draws is not None and draws < 1:
        raise InputError(f"--draws {draws} is too few", "give 1 or more")
    entry = undefined(len(pixels))
    if method is not None and isinstance(model, EstimatesLikelihood) and method in model.estimates:
        return entry | estimated(
            model, pixels, seed, machine, method, draws, noise, validation, report
        )
    if noise is not None:
        raise InputError("--noise is for --method ais, of a GAN", "leave it out")
    if not isinstance(model, BoundsLikelihood):
        if method is not None:
            raise InputError(f"no method '{method}' for this model", "leave --method out")
        return entry | {"note": why_not(model, "likelihood"), "terms": {}}
    method = method or next(iter(model.bounds))
    if method not in model.bounds:
        raise InputError(
            f"no method '{method}' for this model", f"choose from {', '.join(model.bounds)}"
        )
    draws = draws or model.bounds[method]
    terms = negative_bounds(model, pixels, method, seed, machine, report, draws)
    nats = torch.stack(list(terms.values())).sum(0)
    total = in_units(nats, model.shape)
    return entry | {
        "value": total["bits_per_dim"],
        "low": total["bits_per_dim_low"],
        "high": total["bits_per_dim_high"],
        "kind": "estimate" if method in model.approximate else "upper bound",
        "method": method,
        "note": f"{DRAWS if model.shape.classes is None else DRAWS_UNTOLD}: {draws}",
        "left_out": {"reference": without_each_group(nats, model.shape)},
        "terms": {name: in_units(term, model.shape) for name, term in terms.items()},
    }
