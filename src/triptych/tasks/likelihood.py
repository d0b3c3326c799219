"""Likelihood in bits per dimension of 8-bit images, term by term, with its interval."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from triptych import images
from triptych.config import ImageShape
from triptych.errors import InputError
from triptych.families.capabilities import BoundsLikelihood, EstimatesLikelihood, why_not
from triptych.families.protocol import GenerativeModel
from triptych.hardware import Machine
from triptych.images import BIN_WIDTH, FLOAT64_DEVICES
from triptych.metrics import NotDefinedError, entry
from triptych.metrics import bits_per_dim as units
from triptych.options import LikelihoodOptions
from triptych.records import ImageTermRecord, MetricRecord, Note, TermRecord
from triptych.seeding import ImageStreams
from triptych.tasks import shared

AT_ONCE = 16  # images: thousands of generator calls for each, and a bar should move
SIMULATED = 16  # images of the model's own, for the gap between the two bounds
HELD_OUT = 64  # images that the noise is chosen on
LEAST_NOISE, MOST_NOISE = BIN_WIDTH / 2, 1.0  # half a grey level; as wide as black to grey


def precise(model: GenerativeModel, machine: Machine) -> tuple[GenerativeModel, Machine]:
    """The model and its machine as likelihoods need them: where there is float64."""
    if machine.device in FLOAT64_DEVICES:
        return model, machine
    return copy.deepcopy(model).cpu(), replace(machine, device="cpu", precision="fp32")


def in_units(nats: Tensor, shape: ImageShape) -> TermRecord | ImageTermRecord:
    """As `metrics.bits_per_dim.in_units`, nats [N]; one image alone has a mean and no interval."""
    if len(nats) > 1:
        return units.in_units(nats, shape)
    bits = nats.item() / (shape.dimensions * units.NATS_PER_BIT)
    return ImageTermRecord(bits_per_dim=bits, nats=nats.item())


def described(nats: Tensor, shape: ImageShape) -> MetricRecord:
    """The record of a likelihood, from at least -log P of each image, [N]: mean and interval."""
    estimate = units.bits_per_dim(nats, shape) if len(nats) > 1 else None
    record = entry(units.METRIC, estimate, len(nats))
    if estimate is None:
        value = in_units(nats, shape).bits_per_dim
        record = replace(record, value=value, no_interval=Note("one_image"))
    each = nats.double() / (shape.dimensions * units.NATS_PER_BIT)
    return replace(record, by_image=tuple(each.tolist()))


def estimated(
    model: GenerativeModel,
    pixels: Tensor,
    seed: int,
    machine: Machine,
    options: LikelihoodOptions,
    validation: Tensor | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> MetricRecord:
    """The estimate of a likelihood under noise.

    options:    the noise is chosen on the validation images where it is not given
    validation: uint8 [M,C,H,W], neither trained on nor measured
    InputError on noise that no 8-bit image has, or where there is nothing to choose it on.
    """
    model, machine = precise(model, machine)
    assert isinstance(model, EstimatesLikelihood)
    method = options.method or next(iter(model.estimates))
    std = choose_noise(model, options.noise, validation, machine)
    temperatures = options.draws or model.estimates[method]

    def nats(numbers: range) -> Tensor:
        rng = ImageStreams(seed, f"likelihood/{method}", numbers, machine.device)
        x = images.to_float(pixels[numbers.start : numbers.stop].to(machine.device))
        return -model.estimate_likelihood(x, rng, std, temperatures)

    def gap(numbers: range) -> Tensor:
        rng = ImageStreams(seed, f"simulated/{method}", numbers, machine.device)
        below, above = model.simulated_bounds(rng, std, temperatures)
        return above - below

    total = shared(nats, len(pixels), machine, report=report, size=AT_ONCE)
    apart = in_units(shared(gap, SIMULATED, machine, size=AT_ONCE), model.shape)
    code = "noisy_model_chosen" if options.noise is None else "noisy_model_asked"
    values = {"std": std, "temperatures": temperatures, "images": SIMULATED, "gap": apart.nats}
    return replace(
        described(total, model.shape),
        kind="estimate",
        method=method,
        note=Note(code, {**values}),
        terms={"noisy_model": in_units(total, model.shape), "gap_on_simulated": apart},
    )


def choose_noise(
    model: EstimatesLikelihood, noise: float | None, validation: Tensor | None, machine: Machine
) -> float:
    """The deviation that was asked for, else the one that suits the validation images."""
    if noise is not None:
        if not (math.isfinite(noise) and LEAST_NOISE <= noise <= MOST_NOISE):
            raise InputError(
                f"--noise {noise:g} is no noise of 8-bit pixels on [-1, 1]",
                f"give {LEAST_NOISE:.4f} to {MOST_NOISE:g}, or leave it out",
            )
        return noise
    if validation is None or len(validation) == 0:
        raise InputError("there are no validation images to choose the noise on", "give --noise")
    x = images.to_float(validation[:HELD_OUT].to(machine.device))
    with torch.inference_mode(), machine.autocast():
        std = model.noise_for(x)
    return min(max(std, LEAST_NOISE), MOST_NOISE)


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

    by_image = shared(bound, len(pixels), machine, report=report)
    return dict(zip(names, by_image.unbind(1), strict=True))


@dataclass(frozen=True, eq=False)
class Bound:
    """A bound of the likelihood of images.

    terms: nats of each image by name, float64 [N]
    kind:  "upper bound", or "estimate" where it is known up to some error
    """

    terms: dict[str, Tensor]
    method: str
    kind: str
    note: Note

    @property
    def nats(self) -> Tensor:
        """At least -log P of each image, float64 [N]."""
        return torch.stack(list(self.terms.values())).sum(0)

    def described(self, shape: ImageShape) -> dict[str, Any]:
        """What the record of `bits_per_dim` says beside its value."""
        return {
            "kind": self.kind,
            "method": self.method,
            "note": self.note,
            "terms": {name: in_units(term, shape) for name, term in self.terms.items()},
        }


def bound(
    model: GenerativeModel,
    pixels: Tensor,
    seed: int,
    machine: Machine,
    method: str | None = None,
    draws: int | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> Bound:
    """The model's bound by a method, its default one where none is asked for.

    pixels: uint8 [N,C,H,W]
    NotDefinedError with the reason where the model has none; InputError on another method.
    """
    model, machine = precise(model, machine)
    if not isinstance(model, BoundsLikelihood):
        if method is not None:
            raise InputError(f"no method '{method}' for this model", "leave --method out")
        raise NotDefinedError(why_not(model, "likelihood"))
    method = method or next(iter(model.bounds))
    if method not in model.bounds:
        raise InputError(
            f"no method '{method}' for this model", f"choose from {', '.join(model.bounds)}"
        )
    draws = draws or model.bounds[method]
    return Bound(
        terms=negative_bounds(model, pixels, method, seed, machine, report, draws),
        method=method,
        kind="estimate" if method in model.approximate else "upper bound",
        note=Note("draws" if model.shape.classes is None else "draws_without_labels", {"n": draws}),
    )


def bits_per_dim(
    model: GenerativeModel,
    pixels: Tensor,
    seed: int,
    machine: Machine,
    options: LikelihoodOptions,
    validation: Tensor | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> MetricRecord:
    """Bits per dimension with their terms; not defined where the model has none.

    pixels:     uint8 [N,C,H,W]; InputError on a method the model does not have
    validation: as `estimated` takes it
    """
    method, count = options.method, len(pixels)
    if method is not None and isinstance(model, EstimatesLikelihood) and method in model.estimates:
        return estimated(model, pixels, seed, machine, options, validation, report)
    if options.noise is not None:
        raise InputError("--noise is for --method ais, of a GAN", "leave it out")
    try:
        bounded = bound(model, pixels, seed, machine, method, options.draws, report)
    except NotDefinedError as reason:
        return replace(entry(units.METRIC, None, count, note=reason.note), terms={})
    return replace(described(bounded.nats, model.shape), **bounded.described(model.shape))
