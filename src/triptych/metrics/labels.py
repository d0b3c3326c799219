"""What a classifier reads in images: how many it is sure of, and in which proportions.

probabilities: of each class, [N,K]
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from triptych.metrics import Metric
from triptych.metrics.intervals import (
    JACKKNIFE,
    WILSON,
    Estimate,
    jackknife_statistic,
    wilson,
)

ROUNDING = 1e-9  # of shares that were summed in another order
SURE = 0.8  # probability of the top class above which an image counts as recognisable


def recognisable(probabilities: Tensor) -> Estimate:
    """Share of images whose top class has probability above 0.8."""
    sure = probabilities.max(dim=1).values > SURE
    return wilson(int(sure.sum().item()), len(sure))


def class_shares(classes: Tensor, count: int) -> Tensor:
    """Share of each of `count` classes: [K]."""
    return classes.bincount(minlength=count).double() / len(classes)


def total_variation(p: Tensor, q: Tensor) -> float:
    """Half the summed absolute difference between two distributions, 0 to 1."""
    return (p - q).abs().sum().item() / 2


def label_balance(probabilities: Tensor, real_probabilities: Tensor) -> Estimate:
    """Total variation between the class shares of samples and of real images."""
    count = probabilities.shape[1]
    real = class_shares(real_probabilities.argmax(1), count)
    estimate = jackknife_statistic(
        lambda classes: total_variation(class_shares(classes, count), real),
        probabilities.argmax(1),
        "samples",
    )
    if estimate.high - estimate.low > ROUNDING:
        return replace(estimate, high=min(1.0, estimate.high))
    # All samples are of one class: leaving some out changes nothing, and proves only so much. So
    # these values must not decide between two models either.
    alone = wilson(round(estimate.value * len(probabilities)), len(probabilities))
    low, high = min(alone.low, estimate.value), max(alone.high, estimate.value)
    return replace(estimate, low=low, high=high, left_out={})


METRICS = [
    Metric(
        name="recognisable",
        better="higher",
        group="samples",
        order=10,
        needs=("probabilities", "test_probabilities"),
        reference="none",
        unit="share",
        method=WILSON,
        compute=lambda samples, real: recognisable(samples["probabilities"]),
        floor=lambda _, real: recognisable(real["test_probabilities"]),
    ),
    Metric(
        name="label_balance",
        better="lower",
        group="samples",
        order=11,
        needs=("probabilities", "test_probabilities"),
        unit="share",
        moves_with_n=True,
        method=JACKKNIFE,
        compute=lambda samples, real: label_balance(
            samples["probabilities"], real["test_probabilities"]
        ),
        floor=lambda others, real: label_balance(
            others["probabilities"], real["test_probabilities"]
        ),
    ),
]
