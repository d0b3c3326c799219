"""Likelihoods that are estimated by annealing, of models that have none of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from triptych import images
from triptych.errors import InputError
from triptych.families.base import EstimatesLikelihood, GenerativeModel
from triptych.hardware import Machine
from triptych.images import BIN_WIDTH
from triptych.metrics.bits_per_dim import in_units
from triptych.seeding import ImageStreams
from triptych.tasks.sharing import shared

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
