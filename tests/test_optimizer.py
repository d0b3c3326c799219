"""What moves the weights, against the papers' formulas under a schedule worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
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
def test_steps_are_those_of_the_paper(case: str) -> None:
    """Adam with decoupled weight decay (arXiv:1711.05101, Algorithm 2), by NumPy in float64.

    The gradient of |A w - m|^2 / 2 is A^T (A w - m), shortened to the limit where it is longer;
    the rate rises to 1 at the warm-up's end, then falls.
    """
    settings, caution = SETTINGS[case], 0.25 if case == "cautious" else 1.0
    ours = Bowl(**settings)
    optimizer = ObjectiveOptimizer(ours)
    matrix = ours.matrix.double().numpy()
    first = w = ours.weight.detach().double().numpy().copy()
    beta1, beta2 = settings.get("betas", (0.9, 0.999))
    warmup, longest = settings.get("warmup", 0.0), settings.get("clip_norm", np.inf)
    m, v = np.zeros(6), np.zeros(6)
    for step in range(STEPS):
        share = step / STEPS
        optimizer.gradients(batch_at(step), MACHINE)
        assert optimizer.step(optimizer.rates_at(share, caution)) == 0
        gradient = matrix.T @ (matrix @ w - batch_at(step).images.double().mean().item())
        length = np.linalg.norm(gradient)
        assert "clip_norm" not in settings or length > longest
        gradient *= min(1.0, longest / length)
        factor = share / warmup if share < warmup else 1.0
        if "decay" in settings and share >= warmup:
            factor = (1 - share) / (1 - warmup)
        rate = 0.05 * factor * caution
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        upright = m / (1 - beta1 ** (step + 1)), v / (1 - beta2 ** (step + 1))
        adam = upright[0] / (np.sqrt(upright[1]) + 1e-8)
        w = w - rate * (adam + settings.get("weight_decay", 0.0) * w)
        np.testing.assert_allclose(ours.weight.detach().numpy(), w, rtol=1e-4, atol=1e-5)
    assert np.abs(w - first).max() > 0.02


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


def test_gradients_are_clipped_where_a_device_takes_one_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on Apple's GPUs, which raise where all at once are asked for."""
    ends = []
    for one_at_a_time in (False, True):
        with monkeypatch.context() as patch:
            if one_at_a_time:
                for name in ("_device_has_foreach_support", "_has_foreach_support"):
                    patch.setattr(f"torch.nn.utils.clip_grad.{name}", lambda *asked: False)
            ours = Bowl(**SETTINGS["clipped"])
            optimizer = ObjectiveOptimizer(ours)
            optimizer.gradients(batch_at(0), MACHINE)
            optimizer.step(optimizer.rates_at(0.5))
            ends.append(ours.weight.detach().clone())
    assert torch.equal(*ends)
