"""Whether a batch fits into memory, and what goes through the networks at once where it does not.

What a step holds is foretold from what two small forward passes keep for their backward pass,
so nothing has to fail first: on a CPU the system would end the process.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from triptych import hardware
from triptych.data.batches import Batches
from triptych.families import registry
from triptych.families.base import Batch, Objective
from triptych.hardware import Machine
from triptych.seeding import generator
from triptych.training.request import Request
from triptych.training.state import TrainingState

PROBES = 2, 6  # images
MOST_PROBED = max(PROBES)
# Measured peaks were 0.9 to 1.2 times the forecast (tests/test_fitting.py); allocators round, and
# GPUs want room to work in.
MARGIN = 1.5
USABLE = 0.9  # of the free memory


def images_at_once(state: TrainingState, batches: Batches, seed: int, machine: Machine) -> int:
    """Most images in the networks at once: this process's whole share of a batch if it fits.

    0 where not even one image does.
    """
    kept, held = bytes_per_image(state, batches.images.shape[1:], seed, machine)
    room = USABLE * hardware.free_memory_bytes(machine.device) - bytes_of_moving(state)
    room -= held * batches.batch_size  # there in however many parts it is used
    return min(batches.own, max(0, int(room / (MARGIN * kept))))


def forecast_bytes(request: Request, machine: Machine) -> tuple[int, int]:
    """Memory that a training holds between its steps, and what comes to that in a step.

    Weights, averages, gradients and moments; what autograd keeps of this process's share of a
    batch, or of as much of it as goes through the networks at once.
    """
    model = registry.build(request.name, request.settings, request.shape, request.seed)
    state = TrainingState(model, request.settings)
    batch = request.settings.batch_size // machine.group.size
    on_cpu = replace(machine, device="cpu", compile=False)
    kept, held = bytes_per_image(state, torch.Size(request.shape.size), request.seed, on_cpu)
    at_once = min(batch, machine.microbatch or batch)
    return state.most_bytes(), int(MARGIN * kept * at_once + held * batch)


def bytes_of_moving(state: TrainingState) -> int:
    """What comes to the weights in the first step: gradients and two moments."""
    return sum(3 * p.nbytes for p in state.model.parameters())


def probe(state: TrainingState, objective: Objective, size: torch.Size, seed: int) -> Batch:
    """A few grey images of [C,H,W] with their noise."""
    device = next(state.model.parameters()).device
    noise = objective.noise(MOST_PROBED, generator(seed, "probe"))
    images = torch.zeros(MOST_PROBED, *size, device=device, dtype=state.dtype)
    labels = torch.zeros(MOST_PROBED, device=device, dtype=torch.int64)
    return Batch(images, labels, {name: t.to(device) for name, t in noise.items()})


def bytes_of(batch: Batch) -> int:
    """Memory of a batch: its images as bytes and as floats, its noise."""
    return sum(t.nbytes for t in batch.noise.values()) + batch.images.nbytes * 5 // 4


def bytes_per_image(
    state: TrainingState, size: torch.Size, seed: int, machine: Machine
) -> tuple[float, float]:
    """Memory of each image: what the hungriest forward pass keeps, and its place in the batch.

    size: [C,H,W]
    The first is the slope between two batches: weights, which are kept too, do not count.
    """
    kept, held = 1.0, 1.0
    own = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    for mover in state.movers:
        batch = probe(state, mover.objective, size, seed)
        few, more = (kept_bytes(mover.objective, batch.parts(n)[0], machine) for n in PROBES)
        kept = max(kept, (more - few) / (PROBES[1] - PROBES[0]))
        held = max(held, bytes_of(batch) / MOST_PROBED)
    state.model.load_state_dict(own)  # batch statistics saw the probes
    return kept, held


def kept_bytes(objective: Objective, batch: Batch, machine: Machine) -> int:
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
