"""Muon: momentum whose update is made orthogonal, for the matrices inside a network.

In a short training it is worth far more than its cost (docs/decisions.md). PyTorch's own
version takes matrices alone; this one also takes convolutions, as (outputs, inputs * area).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

ITERATIONS = 5  # of Newton-Schulz
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # chosen by its author to converge fast near zero


def orthogonalise(matrices: Tensor) -> Tensor:
    """Nearly the orthogonal factor U V^T of each matrix U S V^T: [N,m,n] with m <= n, bfloat16.

    Newton-Schulz iteration with a quintic (Jordan et al. 2024, "Muon: an optimizer for hidden
    layers in neural networks"): singular values end between about 0.7 and 1.2.
    """
    a, b, c = COEFFICIENTS
    x = matrices / (matrices.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    x = x.bfloat16()
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, scaled by the matrix's shape.

    Like PyTorch's fused optimisers it leaves everything as it was where `found_inf` is 1.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})
        self.found_inf = torch.zeros(())

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update; matrices of one shape go together."""
        masked = self.found_inf > 0
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[nn.Parameter]] = {}
            for parameter in group["params"]:
                by_shape.setdefault(tuple(parameter.shape), []).append(parameter)
            for parameters in by_shape.values():
                self._move(parameters, group["lr"], group["momentum"], masked)

    def _move(
        self, parameters: list[nn.Parameter], rate: float, keep: float, masked: Tensor
    ) -> None:
        updates = []
        for parameter in parameters:
            assert parameter.grad is not None
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            momentum = state["momentum"]
            gradient = torch.where(masked, momentum, parameter.grad)  # leaves momentum as it was
            momentum.lerp_(gradient, 1 - keep)
            updates.append(gradient.lerp(momentum, keep).flatten(1))
        stacked = torch.stack(updates)  # [N,m,n]
        rows, columns = stacked.shape[1:]
        wide = stacked if rows <= columns else stacked.mT
        orthogonal = orthogonalise(wide)
        if rows > columns:
            orthogonal = orthogonal.mT
        scale = max(1.0, rows / columns) ** 0.5 * rate
        step = orthogonal.float() * torch.where(masked, 0.0, scale)
        for parameter, change in zip(parameters, step, strict=True):
            parameter.sub_(change.view_as(parameter))
