"""Whether a batch fits into memory, and what goes through the networks at once where it does not.

What a step holds is foretold from what two small forward passes keep for their backward pass,
so nothing has to fail first: on a CPU the system would end the process.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from triptych import hardware
from triptych.data.batches import Batches
from triptych.hardware import Machine
from triptych.training.state import TrainingState

PROBES = 2, 6  # images
# Measured peaks were 0.9 to 1.2 times the forecast (tests/test_fitting.py); allocators round, and
# GPUs want room to work in.
MARGIN = 1.5
USABLE = 0.9  # of the free memory


def images_at_once(state: TrainingState, batches: Batches, seed: int, machine: Machine) -> int:
    """Most images in the networks at once: this process's whole share of a batch if it fits.

    0 where not even one image does.
    """
    room = USABLE * hardware.free_memory_bytes(machine.device) - bytes_of_moving(state)
    per_image = MARGIN * bytes_per_image(state, batches, seed, machine)
    return min(batches.own, max(0, int(room / per_image)))


def bytes_of_moving(state: TrainingState) -> int:
    """What comes to the weights in the first step: gradients and two moments."""
    return sum(3 * p.nbytes for p in state.model.parameters())


def bytes_per_image(state: TrainingState, batches: Batches, seed: int, machine: Machine) -> float:
    """Memory that the hungriest objective's forward pass keeps for each image.

    The slope between two batches, so that weights, which are kept too, do not count.
    """
    few, more = PROBES
    found = 0.0
    for mover in state.movers:
        batch = state.batch(batches, mover.objective, seed, repeat=0)
        small, large = (
            kept_bytes(mover.objective, batch.parts(count)[0], machine) for count in PROBES
        )
        found = max(found, (large - small) / (more - few))
    return max(found, 1.0)


def kept_bytes(objective: torch.nn.Module, batch: Any, machine: Machine) -> int:
    """Bytes of all that autograd keeps in a forward pass, each piece of memory once."""
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        alive.append(tensor)
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, machine.autocast():
        objective(batch)
    return sum(kept.values())
