"""What a model that goes from noise to image does at each noise level, as curves to be drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from triptych import images
from triptych.families.base import GenerativeModel, Iterative
from triptych.hardware import Machine
from triptych.seeding import ImageStreams
from triptych.tasks.sharing import shared

LEVELS = 16  # noise levels at which a denoiser is asked
LEAST = 0.01  # the lowest of them: on [-1, 1] one that nobody sees


@dataclass(frozen=True)
class Curve:
    """Lines over one axis.

    across: the places, rising
    lines:  a value for each place, by name
    log:    whether places are spread over decades
    mark:   the place of the recipe's own choice
    """

    across: list[float]
    lines: dict[str, list[float]]
    log: bool = False
    mark: float | None = None


def curves_of(model: Iterative, originals: Tensor, seed: int, machine: Machine) -> dict[str, Curve]:
    """The curves by noise level: originals are held-out images, uint8 [N,C,H,W]."""
    return {
        "schedule": schedule(model),
        "error_by_level": error_by_level(model, originals, seed, machine),
    }


def schedule(model: Iterative) -> Curve:
    """The noise level at each step of the present sampler, but for the last, which is 0."""
    levels = model.noise_levels()[:-1].tolist()
    return Curve([float(step) for step in range(1, len(levels) + 1)], {"sigma": levels})


def error_by_level(model: Iterative, originals: Tensor, seed: int, machine: Machine) -> Curve:
    """Root-mean-square error of the denoised image, beside the noise that it had.

    Where the two lines meet, the model sees no more than the noisy image shows.
    """
    assert isinstance(model, GenerativeModel)
    most = model.noise_levels()[0].item()
    sigmas = torch.logspace(math.log10(LEAST), math.log10(most), LEVELS).tolist()

    def errors(numbers: range) -> Tensor:
        rng = ImageStreams(seed, "curves", numbers, machine.device)
        x = images.to_float(originals[numbers.start : numbers.stop].to(machine.device))
        noise = rng.normal(*x.shape[1:])
        each = [(model.denoised(x + s * noise, s) - x).square().flatten(1).mean(1) for s in sigmas]
        return torch.stack(each, dim=1)

    found = shared(errors, len(originals), machine).double().mean(0).sqrt().tolist()
    return Curve(sigmas, {"denoised": found, "noise": sigmas}, log=True)
