"""What moves the weights, against torch's own optimizers under a schedule worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.truths import MACHINE, normal
from triptych.config import OptimizerConfig
from triptych.families.protocol import Batch, Objective
from triptych.training.optimizer import Muon, ObjectiveOptimizer

STEPS = 8


class Bowl(Objective):
    """Half the squared distance of A w from the images' mean, whose gradient changes with w."""

    name = "bowl"

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.optimizer = OptimizerConfig(learning_rate=0.05, **settings)
        self.weight = nn.Parameter(normal(6, seed=1).float())
        self.matrix = normal(6, 6, seed=2).float()

    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return {"total": 0.5 * (self.matrix @ self.weight - batch.images.mean()).square().sum()}


def batch_at(step: int) -> Batch:
    return Batch(normal(4, 1, 2, 2, seed=step).float(), None)


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "betas": {"betas": (0.5, 0.7)},
    "decaying weights": {"weight_decay": 0.4},
    "clipped": {"clip_norm": 0.5, "betas": (0.5, 0.7)},
    "linear": {"warmup": 0.25, "decay": "linear"},
    "cautious": {"decay": "linear", "betas": (0.5, 0.7)},
}


@pytest.mark.parametrize("case", SETTINGS)
def test_steps_are_those_of_torch(case: str) -> None:
    """AdamW and clipping by torch; the rate rises to 1 at the warm-up's end, then falls."""
    settings, caution = SETTINGS[case], 0.25 if case == "cautious" else 1.0
    ours, theirs = Bowl(**settings), Bowl(**settings)
    optimizer = ObjectiveOptimizer(ours)
    reference = torch.optim.AdamW(
        theirs.parameters(),
        betas=settings.get("betas", (0.9, 0.999)),
        weight_decay=settings.get("weight_decay", 0.0),
        foreach=False,
    )
    warmup = settings.get("warmup", 0.0)
    for step in range(STEPS):
        share = step / STEPS
        optimizer.gradients(batch_at(step), MACHINE)
        assert optimizer.step(share, caution) == 0
        reference.zero_grad()
        theirs(batch_at(step))["total"].backward()
        if "clip_norm" in settings:
            assert theirs.weight.grad is not None and theirs.weight.grad.norm() > 0.5
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), settings["clip_norm"])
        factor = share / warmup if share < warmup else 1.0
        if "decay" in settings and share >= warmup:
            factor = (1 - share) / (1 - warmup)
        reference.param_groups[0]["lr"] = 0.05 * factor * caution
        reference.step()
        torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-5, atol=1e-6)
    assert (ours.weight - Bowl(**settings).weight).abs().max() > 0.02


def test_muon_is_torch_s() -> None:
    """Nesterov's momentum, orthogonalised; theirs in bfloat16, so that directions agree to 3 %."""
    ours, theirs = (nn.Parameter(torch.zeros(12, 20)) for _ in range(2))
    muon = Muon([ours], lr=0.1)
    reference = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.0)
    for step in range(STEPS):
        before = ours.detach().clone(), theirs.detach().clone()
        ours.grad, theirs.grad = (normal(12, 20, seed=step).float() for _ in range(2))
        muon.step()
        reference.step()
        moved, exact = ours.detach() - before[0], theirs.detach() - before[1]
        assert (moved - exact).norm() < 0.03 * exact.norm()
