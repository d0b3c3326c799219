"""Representations: a model's own features of images."""

from __future__ import annotations

from torch import Tensor

from triptych import images
from triptych.families.base import Represents
from triptych.hardware import Machine
from triptych.tasks.sharing import shared


def represent(model: Represents, originals: Tensor, machine: Machine) -> Tensor:
    """uint8 [N,C,H,W] -> float32 [N,F]."""

    def features(numbers: range) -> Tensor:
        x = images.to_float(originals[numbers.start : numbers.stop].to(machine.device))
        return model.represent(x).float()

    return shared(features, len(originals), machine)
