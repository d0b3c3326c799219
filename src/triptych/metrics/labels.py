"""What a classifier reads in images: how many it is sure of, and in which proportions.

probabilities: of each class, [N,K]
"""

from __future__ import annotations

from torch import Tensor

from triptych.metrics import Metric, named
from triptych.metrics.intervals import Estimate, jackknife_statistic, wilson

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
    return jackknife_statistic(
        lambda classes: total_variation(class_shares(classes, count), real),
        probabilities.argmax(1),
        "samples",
    )


METRICS = named(
    Metric(name="recognisable", better="higher", group="samples", unit="share"),
    Metric(name="label_balance", better="lower", group="samples", unit="share", moves_with_n=True),
)
