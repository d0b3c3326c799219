"""What is fast is also right: bfloat16 and fused steps against float32 and plain ones.

The same images, noise and first weights go through 200 steps twice. The fast way is the one that
users get on a processor with bfloat16; the reference computes in float32 with PyTorch's plain
AdamW, orthogonalises Muon's updates in float32, and averages weights by the formula, in float64.
Rounding differs in every product, so the two part slowly; a wrong rate, mask or average parts
them at once. Each limit stands beside what was measured, over three seeds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.making import make_images
from triptych import config
from triptych.config import ImageShape, Settings
from triptych.data.batches import Batches
from triptych.data.dataset import Part
from triptych.families import registry
from triptych.families.base import GenerativeModel
from triptych.hardware import Machine
from triptych.training import muon
from triptych.training.average import power_exponent
from triptych.training.state import Tally, TrainingState

SHAPE = ImageShape(channels=3, resolution=16)
STEPS, LATE, EARLY = 200, 50, 20
SMALL = {  # few channels, so that a step is a hundredth of a second
    "vae:course": ("widths=8,16,32", "latent=8"),
    "vae:sigma": ("widths=16,32,64", "latent=8"),
    "gan:course": ("width=8", "latent=16"),
    "gan:hinge": ("width=8", "latent=16"),
    "diffusion:course": ("width=8",),
    "diffusion:edm": ("widths=16,32", "attention=false,true", "patch=2"),
    "diffusion:x0": ("widths=16,32", "attention=false,true", "patch=2"),
}


class PlainAdamW(torch.optim.AdamW):
    """One tensor after another; it cannot leave out a step, and here none is to be left out."""

    found_inf = property(lambda self: None, lambda self, masked: None)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Muon's iteration in float32."""
    a, b, c = muon.COEFFICIENTS
    x = matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-7)
    for _ in range(muon.ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


@dataclass
class Course:
    """One training: losses by name, [STEPS]; weights before, after and averaged, flat."""

    losses: dict[str, Tensor]
    first: Tensor
    last: Tensor
    average: Tensor | None


def flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensors[name].flatten().double() for name in sorted(tensors)])


def weights(model: GenerativeModel) -> Tensor:
    return flat({name: p.detach() for name, p in model.named_parameters()})


def small(name: str) -> tuple[GenerativeModel, Settings]:
    model = registry.ModelName.parse(name)
    settings = config.override(registry.defaults(model, "tiny", SHAPE), SMALL[name])
    settings = replace(settings, batch_size=16)
    return registry.build(model, settings, SHAPE, seed=0).train(), settings


def images() -> Part:
    pixels, labels = make_images(512, side=SHAPE.resolution)
    return Part(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels))


def train(name: str, seed: int, precision: str, plain: bool) -> Course:
    """200 steps; `plain` takes the reference's optimisers and average."""
    machine = Machine(device="cpu", precision=precision, threads=1, choices={})
    model, settings = small(name)
    state, batches = TrainingState(model, settings), Batches(images(), settings.batch_size, seed)
    first = weights(model)
    if plain:
        state.average = None
        for mover in state.movers:
            group = mover.optimisers["adamw"].param_groups[0]
            kept: Any = {key: group[key] for key in ("lr", "betas", "weight_decay")}
            mover.optimisers["adamw"] = PlainAdamW(
                group["params"], **kept, foreach=False, fused=False
            )
    losses: dict[str, list[float]] = {}
    averaged = first.clone()
    for step in range(1, STEPS + 1):
        state.round(batches, seed, STEPS * settings.batch_size, machine)
        for term, value in state.tally.sums.items():
            losses.setdefault(term, []).append(value.item())
        state.tally = Tally()
        if settings.average is not None:  # arXiv:2312.02696, eq. 127
            keep = (1 - 1 / step) ** (power_exponent(settings.average) + 1)
            averaged = keep * averaged + (1 - keep) * weights(model)
    if state.average is not None:
        names = dict(model.named_parameters())
        averaged = flat({key: t for key, t in state.average.state.items() if key in names})
    return Course(
        {term: torch.tensor(values) for term, values in losses.items()},
        first,
        weights(model),
        averaged if settings.average is not None else None,
    )


def along(found: Tensor, reference: Course, end: Tensor) -> float:
    """How far `found` went along the reference's way from the first weights to `end`: 1 is equal.

    Rounding pushes weights aside, hardly along: this is 1 even where losses part.
    """
    way = end - reference.first
    return ((found - reference.first) @ way / (way @ way)).item()


def apart(found: Tensor, reference: Tensor) -> float:
    """Mean difference, in units of the reference's mean size."""
    return ((found - reference).abs().mean() / reference.abs().mean()).item()


def measure(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """All that is limited below."""
    fast = train(name, seed, "bf16", plain=False)
    monkeypatch.setattr(muon, "orthogonalise", orthogonalised)
    reference = train(name, seed, "fp32", plain=True)
    found = {"along": along(fast.last, reference, reference.last)}
    if reference.average is not None:
        assert fast.average is not None
        found["average along"] = along(fast.average, reference, reference.average)
    for term, expected in reference.losses.items():
        found[f"{term} early"] = apart(fast.losses[term][:EARLY], expected[:EARLY])
        found[f"{term} late"] = apart(fast.losses[term][-LATE:], expected[-LATE:])
        found[f"{term} late mean"] = abs(
            fast.losses[term][-LATE:].mean() - expected[-LATE:].mean()
        ).item()
    return found
