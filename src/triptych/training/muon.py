"""Muon: momentum whose update is made orthogonal, for the matrices inside a network.

In a short training it is worth far more than its cost (docs/decisions.md). PyTorch's own
version takes matrices alone; this one also takes convolutions, as (outputs, inputs * area).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

ITERATIONS = 5  # of Newton-Schulz
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # chosen by its author to converge fast near zero


def orthogonalise(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Nearly the orthogonal factor U V^T of each matrix U S V^T, each [m,n], of any shapes.

    Newton-Schulz iteration with a quintic (Jordan et al. 2024, "Muon: an optimizer for hidden
    layers in neural networks"): singular values end between about 0.7 and 1.2.
    """
    wide = [x if x.shape[0] <= x.shape[1] else x.mT for x in matrices]
    scaled = [x / (norm + 1e-7) for x, norm in zip(wide, torch._foreach_norm(wide), strict=True)]
    by_side: dict[int, list[int]] = {}
    for index, x in enumerate(scaled):
        by_side.setdefault(len(x), []).append(index)
    for indices in by_side.values():
        factors = left_factors(torch.stack([scaled[i] @ scaled[i].mT for i in indices]))
        for i, factor in zip(indices, factors, strict=True):
            scaled[i] = factor @ scaled[i]
    return [
        x if like.shape[0] <= like.shape[1] else x.mT
        for x, like in zip(scaled, matrices, strict=True)
    ]


def left_factors(gram: Tensor) -> Tensor:
    """Q with Q X as the iteration leaves X, from X X^T alone: [N,m,m] -> [N,m,m].

    Each iteration multiplies X by P = a + b X X^T + c (X X^T)^2, and so X X^T by P twice; all of
    them commute. So only small square matrices are iterated, all of one side together. They need
    float32: half precision would make eigenvalues near zero negative, and those grow.
    """
    a, b, c = COEFFICIENTS
    found = None
    for left in reversed(range(ITERATIONS)):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        found = factor if found is None else factor @ found
        if left:
            gram = factor @ gram @ factor
    assert found is not None
    return found


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
        """One update of all matrices."""
        masked = self.found_inf > 0
        for group in self.param_groups:
            parameters, keep = group["params"], group["momentum"]
            for parameter in parameters:
                if not self.state[parameter]:
                    self.state[parameter]["momentum"] = torch.zeros_like(parameter)
            momenta = [self.state[p]["momentum"] for p in parameters]
            # Where masked the momentum stands for the gradient, and so stays as it was.
            gradients = [
                torch.where(masked, m, p.grad) for m, p in zip(momenta, parameters, strict=True)
            ]
            torch._foreach_lerp_(momenta, gradients, 1 - keep)
            updates = torch._foreach_lerp(gradients, momenta, keep)
            changes = orthogonalise([update.flatten(1) for update in updates])
            rate = torch.where(masked, 0.0, group["lr"])
            for parameter, change in zip(parameters, changes, strict=True):
                rows, columns = change.shape
                stretched = rate * max(1.0, rows / columns) ** 0.5
                parameter.addcmul_(change.view_as(parameter), stretched, value=-1)
