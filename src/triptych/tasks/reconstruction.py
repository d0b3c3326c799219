"""Reconstructions: encode, then decode."""

from __future__ import annotations

import torch
from torch import Tensor

from triptych import images
from triptych.families.base import Encodes, GenerativeModel
from triptych.hardware import Machine
from triptych.seeding import ImageStreams
from triptych.tasks.sampling import chunks


def reconstruct(model: GenerativeModel, originals: Tensor, seed: int, machine: Machine) -> Tensor:
    """uint8 [N,C,H,W] -> what the model makes of them, uint8 [N,C,H,W]."""
    assert isinstance(model, Encodes)
    found = []
    for indices in chunks(0, len(originals)):
        with torch.inference_mode(), machine.autocast():
            rng = ImageStreams(seed, "reconstruct", indices, machine.device)
            x = images.to_float(originals[indices.start : indices.stop].to(machine.device))
            found.append(images.to_uint8(model.decode(model.encode(x), rng)).cpu())
    return torch.cat(found)
