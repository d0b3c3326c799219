"""Reconstructions: encode, then decode."""

from __future__ import annotations

from torch import Tensor

from triptych import images
from triptych.families.base import Encodes, GenerativeModel
from triptych.hardware import Machine
from triptych.seeding import ImageStreams
from triptych.tasks.sharing import shared


def reconstruct(model: GenerativeModel, originals: Tensor, seed: int, machine: Machine) -> Tensor:
    """uint8 [N,C,H,W] -> what the model makes of them, uint8 [N,C,H,W]."""
    assert isinstance(model, Encodes)

    def again(numbers: range) -> Tensor:
        rng = ImageStreams(seed, "reconstruct", numbers, machine.device)
        x = images.to_float(originals[numbers.start : numbers.stop].to(machine.device))
        return images.to_uint8(model.decode(model.encode(x), rng))

    return shared(again, len(originals), machine)
