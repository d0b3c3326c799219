"""The linear probe: how much of the labels can be read off a representation by logistic regression.

Representations are standardised; the penalty is chosen on validation images; all models' are
probed on the same images.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from triptych.metrics import Metric, Tensors
from triptych.metrics.intervals import WILSON, Estimate, wilson, without_each_group

PENALTIES = (1.0, 1e-1, 1e-2)  # strongest first: each start is the solution before
PARTS = ("train", "validation", "test")  # learned from, chosen on, tested on
STEPS = 200  # of L-BFGS at most, for each penalty
LEAST = 1e-6  # of the mean deviation: features that vary less are not blown up beyond it


@dataclass(frozen=True)
class Represented:
    """Representations [N,d] with their classes [N]."""

    features: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Weights:
    """Of a logistic regression: [K,d] and [K].

    A row for each class, since products with tall, narrow matrices are several times slower.
    """

    matrix: Tensor
    bias: Tensor

    def logits(self, x: Tensor) -> Tensor:
        """x [N,d] -> [N,K]."""
        return F.linear(x, self.matrix, self.bias)


def probe_accuracy(train: Represented, validation: Represented, test: Represented) -> Estimate:
    """Share of test images whose class a logistic regression on the training part names."""
    mean, std = train.features.mean(0), train.features.std(0)
    std = std.clamp(min=LEAST * std.mean().item() + 1e-12)

    def standardised(part: Represented) -> Tensor:
        return (part.features - mean) / std

    x, count = standardised(train), int(train.labels.max()) + 1
    products = x.T @ x / len(x) if x.shape[1] <= len(x) else None
    weights = Weights(x.new_zeros(count, x.shape[1]), x.new_zeros(count))
    chosen, best = weights, -1.0
    for penalty in PENALTIES:
        weights = fit(x, train.labels, penalty, weights, products)
        score = hits(weights, standardised(validation), validation.labels).mean().item()
        if score > best:
            chosen, best = weights, score
    right = hits(chosen, standardised(test), test.labels)
    interval = wilson(int(right.sum()), len(right))
    left_out = without_each_group(lambda kept: kept.mean().item(), right)
    return Estimate(interval.value, interval.low, interval.high, {"reference": left_out})


def fit(
    x: Tensor, labels: Tensor, penalty: float, start: Weights, products: Tensor | None = None
) -> Weights:
    """The weights that minimise the penalised cross-entropy of x [N,d]; the bias is free.

    mean of -log softmax(W x + b)[label] + penalty / 2 |W|^2

    products: mean of x x^T [d,d], from which coordinates come in which L-BFGS needs a fifth of the
              steps; without it, it takes the weights as they are
    """
    matrix, scale = start.matrix, None
    if products is not None:
        scale = inverse_root(products, penalty, start.logits(x).softmax(1))
        matrix = torch.linalg.solve_triangular(scale, matrix, upper=False, left=False)
    moved = [matrix.clone(memory_format=torch.contiguous_format), start.bias.clone()]
    for parameter in moved:
        parameter.requires_grad_()

    def weights() -> Weights:
        return Weights(moved[0] if scale is None else moved[0] @ scale, moved[1])

    optimizer = torch.optim.LBFGS(
        moved, max_iter=STEPS, line_search_fn="strong_wolfe", tolerance_grad=1e-6
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        current = weights()
        value = F.cross_entropy(current.logits(x), labels)
        value = value + penalty / 2 * current.matrix.square().sum()
        torch.autograd.backward(value)
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    fitted = weights()
    return Weights(fitted.matrix.detach(), fitted.bias.detach())


def inverse_root(products: Tensor, penalty: float, probabilities: Tensor) -> Tensor:
    """S [d,d] with S^T S the inverse of one class's curvature, all images weighing alike.

    The curvature of class k is the mean of p (1 - p) x x^T, plus the penalty.
    """
    weight = (probabilities * (1 - probabilities)).mean()
    identity = torch.eye(len(products), dtype=products.dtype, device=products.device)
    factor = torch.linalg.cholesky(weight * products + penalty * identity)
    return torch.linalg.solve_triangular(factor, identity, upper=False)


def hits(weights: Weights, x: Tensor, labels: Tensor) -> Tensor:
    """1 for each image whose most plausible class is its own, else 0: [N], float64."""
    return (weights.logits(x).argmax(1) == labels).double()


def compute(represented: Tensors, real: Tensors) -> Estimate:
    """Accuracy on representations; for the floor they are raw pixels."""
    return probe_accuracy(
        *(
            Represented(represented[f"{part}_representations"], real[f"{part}_labels"])
            for part in PARTS
        )
    )


METRIC = Metric(
    name="probe_accuracy",
    better="higher",
    group="abilities",
    order=30,
    needs=(
        "test_representations",
        "train_representations",
        "validation_representations",
        *(f"{part}_labels" for part in PARTS),
    ),
    unit="share",
    method=WILSON,
    compute=compute,
    floor=lambda others, real: compute(others, real).value,  # raw pixels: what should be bettered
)
