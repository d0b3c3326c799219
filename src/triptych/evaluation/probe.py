"""The linear probe: how much of the labels can be read off a representation by logistic regression.

Representations are standardised; the penalty is chosen on validation images; all models' are
probed on the same images.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from triptych.evaluation.intervals import Estimate, wilson, without_each_group

PENALTIES = (1e-1, 1e-2, 1e-3)  # strongest first: each start is the solution before
STEPS = 100  # of L-BFGS at most, for each penalty
LEAST = 1e-6  # of the mean deviation: features that hardly vary are left as they are


@dataclass(frozen=True)
class Represented:
    """Representations [N,d] with their classes [N]."""

    features: Tensor
    labels: Tensor


def probe_accuracy(train: Represented, validation: Represented, test: Represented) -> Estimate:
    """Share of test images whose class a logistic regression on the training part names."""
    mean, std = train.features.mean(0), train.features.std(0)
    std = std.clamp(min=LEAST * std.mean().item() + 1e-12)

    def standardised(part: Represented) -> Tensor:
        return (part.features - mean) / std

    x, count = standardised(train), int(train.labels.max()) + 1
    found, best = None, -1.0
    weights = torch.zeros(x.shape[1] + 1, count, dtype=x.dtype)
    for penalty in PENALTIES:
        weights = fit(x, train.labels, penalty, weights)
        score = hits(weights, standardised(validation), validation.labels).mean().item()
        if score > best:
            found, best = weights, score
    assert found is not None
    right = hits(found, standardised(test), test.labels)
    interval = wilson(int(right.sum()), len(right))
    left_out = without_each_group(lambda kept: kept.mean().item(), right)
    return Estimate(interval.value, interval.low, interval.high, {"reference": left_out})


def fit(x: Tensor, labels: Tensor, penalty: float, start: Tensor) -> Tensor:
    """Weights [d+1,K], the last row being the bias, that minimise the penalised cross-entropy.

    mean of -log softmax(x W + b)[label] + penalty / 2 |W|^2
    """
    weights = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [weights], max_iter=STEPS, line_search_fn="strong_wolfe", tolerance_grad=1e-6
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(logits(weights, x), labels)
        value = value + penalty / 2 * weights[:-1].square().sum()
        torch.autograd.backward(value)
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach()


def logits(weights: Tensor, x: Tensor) -> Tensor:
    """x [N,d] -> [N,K]."""
    return x @ weights[:-1] + weights[-1]


def hits(weights: Tensor, x: Tensor, labels: Tensor) -> Tensor:
    """1 for each image whose most plausible class is its own, else 0: [N], float64."""
    return (logits(weights, x).argmax(1) == labels).double()
