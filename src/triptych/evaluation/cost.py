"""What a model costs: parameters, operations, calls."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from triptych.families.base import GenerativeModel, Iterative
from triptych.seeding import ImageStreams


def parameters(model: GenerativeModel) -> int:
    """Numbers that training moves, in all networks."""
    return sum(parameter.numel() for parameter in model.parameters())


def flops_per_image(model: GenerativeModel, device: str) -> int:
    """Floating-point operations (two per multiply-add) that decode one sample.

    A chain is counted on one call of its network, times the calls.
    """
    calls = model.network_calls
    single = model.with_sampler(steps=1) if isinstance(model, Iterative) else model
    rng = ImageStreams(0, "flops", range(1), device)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        single.decode(single.draw_latent(1, rng), rng)
    return counter.get_total_flops() * calls // single.network_calls
