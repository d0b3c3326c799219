"""One objective and the optimiser of the one network that it moves."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from triptych.config import Optimiser
from triptych.families.base import Objective


def rate_factor(settings: Optimiser, share: float) -> float:
    """What the learning rate is multiplied by at a share of the planned images.

    >>> rate_factor(Optimiser(learning_rate=1.0, warmup=0.1, decay="linear"), 0.05)
    0.5
    """
    if share < settings.warmup:
        return share / settings.warmup
    progress = min(1.0, (share - settings.warmup) / max(1 - settings.warmup, 1e-9))
    if settings.decay == "linear":
        return 1 - progress
    if settings.decay == "cosine":
        return (1 + math.cos(math.pi * progress)) / 2
    return 1.0


class Mover:
    """Backward pass and masked AdamW step; nothing here waits for the device.

    A step whose loss or gradient is not finite leaves weights and moments as they were.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        settings = objective.optimiser
        self.parameters = [p for p in objective.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.parameters,
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )

    def step(self, loss: Tensor, share: float) -> Tensor:
        """Move along the loss's gradient; returns 1.0 where the step was masked, else 0.0."""
        loss.backward()  # type: ignore[no-untyped-call]
        settings = self.objective.optimiser
        limit = math.inf if settings.clip_norm is None else settings.clip_norm
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, limit, foreach=True)
        masked = (~(loss.detach().isfinite() & norm.isfinite())).float()
        self.optimiser.found_inf = masked  # type: ignore[attr-defined] # fused AdamW skips on 1
        for group in self.optimiser.param_groups:
            group["lr"] = settings.learning_rate * rate_factor(settings, share)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return masked

    def tensors(self) -> dict[str, Tensor]:
        """The optimiser's state, flat: `index/name` -> tensor."""
        state = self.optimiser.state_dict()["state"]
        return {
            f"{index}/{name}": tensor
            for index, entries in state.items()
            for name, tensor in entries.items()
        }

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """What `tensors` gave."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            index, name = key.split("/")
            state.setdefault(int(index), {})[name] = tensor
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": state, "param_groups": groups})
