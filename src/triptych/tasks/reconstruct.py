"""Reconstructions: encode, then decode; and representations, a model's own features of images."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from triptych import images
from triptych.families.capabilities import (
    DrawsAroundExemplars,
    Encodes,
    Iterative,
    Refines,
    Represents,
)
from triptych.families.latent import Latent
from triptych.families.protocol import GenerativeModel
from triptych.hardware import Machine
from triptych.seeding import ImageStreams
from triptych.tasks import BATCH, chunks, shared
from triptych.tasks.sample import kept


def reconstruct(
    model: GenerativeModel,
    originals: Tensor,
    seed: int,
    machine: Machine,
    report: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """Encode and decode: uint8 [N,C,H,W] -> uint8 [N,C,H,W]."""
    assert isinstance(model, Encodes)
    decoder = model.deterministic(inverting=True) if isinstance(model, Iterative) else model

    def again(numbers: range) -> Tensor:
        rng = ImageStreams(seed, "reconstruct", numbers, machine.device)
        x = images.to_float(originals[numbers.start : numbers.stop].to(machine.device))
        return images.to_uint8(decoder.decode(model.encode(x), rng))

    return shared(again, len(originals), machine, report=report)


def encode(
    model: GenerativeModel,
    originals: Tensor,
    machine: Machine,
    report: Callable[[int], None] = lambda done: None,
) -> Latent:
    """The latents of images uint8 [N,C,H,W]: [N,...], on the CPU. Every process encodes all."""
    assert isinstance(model, Encodes)
    latents = []
    with torch.inference_mode(), machine.autocast():
        for numbers in chunks(0, len(originals), min(BATCH, machine.microbatch or BATCH)):
            pixels = originals[numbers.start : numbers.stop].to(machine.device)
            latents.append(model.encode(images.to_float(pixels)))
            report(numbers.stop)
    return kept(latents)


@dataclass(frozen=True)
class Answer:
    """Reconstructed images, uint8 [N,C,H,W], and the seconds that all of them took."""

    images: Tensor
    seconds: float


def answers(
    model: GenerativeModel,
    originals: Tensor,
    seed: int,
    machine: Machine,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Answer]:
    """Reconstructions by name; with those before refinement, "encoded", where the model refines.

    report: told of the reconstructions that are made, of how many
    """
    models = {"reconstruction": model}
    if isinstance(model, Refines) and model.refining_steps:
        models = {"encoded": model.with_refinement(0), **models}
    outputs: dict[str, Answer] = {}
    total = len(models) * len(originals)

    def tell(done: int) -> None:
        report(len(outputs) * len(originals) + done, total)

    for name, kind in models.items():
        started = time.perf_counter()
        pictures = reconstruct(kind, originals, seed, machine, tell)
        outputs[name] = Answer(pictures, time.perf_counter() - started)
    return outputs


def code_size(model: GenerativeModel, originals: Tensor, machine: Machine) -> int:
    """Numbers that one image is encoded into: uint8 [N,C,H,W], of which the first is encoded."""
    assert isinstance(model, Encodes)
    with torch.inference_mode(), machine.autocast():
        latent = model.encode(images.to_float(originals[:1].to(machine.device)))
    return sum(tensor[0].numel() for tensor in latent.tensors.values())


def exemplars(model: DrawsAroundExemplars, originals: Tensor, machine: Machine) -> Tensor:
    """The exemplar that each image is encoded into: uint8 [N,C,H,W] -> [N]; -1 for none."""

    def numbers_of(numbers: range) -> Tensor:
        x = images.to_float(originals[numbers.start : numbers.stop].to(machine.device))
        return model.exemplars_of_images(x)

    return shared(numbers_of, len(originals), machine)


def represent(
    model: Represents,
    originals: Tensor,
    machine: Machine,
    report: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """The model's features of images: uint8 [N,C,H,W] -> float32 [N,F]."""

    def features(numbers: range) -> Tensor:
        x = images.to_float(originals[numbers.start : numbers.stop].to(machine.device))
        return model.represent(x).float()

    return shared(features, len(originals), machine, report=report)
