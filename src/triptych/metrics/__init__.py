"""Metrics: pure formulas on tensors; a file is called as its metric and says what it is.

Each file has `METRICS`: the facts of what it computes, by name. They go into every entry of
results.json, so that pages need no code of ours to show one.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Literal

from triptych.metrics.intervals import Estimate

Better = Literal["lower", "higher", "floor"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a number is, whatever its value.

    better:       which values are: lower, higher, or those near the floor
    group:        of the page's tables: distance, samples or abilities; any other comes last
    moves_with_n: whether its expected value moves with the number of images; then only values at
                  the same number are compared
    """

    name: str
    better: Better
    group: str
    unit: str = ""
    moves_with_n: bool = False


def named(*metrics: Metric) -> dict[str, Metric]:
    """By name."""
    return {metric.name: metric for metric in metrics}


@cache
def all_metrics() -> dict[str, Metric]:
    """Of every file in this folder."""
    found: dict[str, Metric] = {}
    for module in pkgutil.iter_modules(__path__):
        found |= getattr(importlib.import_module(f"{__name__}.{module.name}"), "METRICS", {})
    return found


def entry(
    name: str,
    estimate: Estimate | None,
    n: int,
    *,
    reference: str,
    floor: float | None = None,
    features: str | None = None,
    method: str | None = None,
    note: str = "",
) -> dict[str, Any]:
    """A number as results.json holds it; no estimate means not defined, for the noted reason.

    `left_out`, where there is one, holds the values without each group of samples and of real
    images, from which differences between models get their intervals.
    """
    found: dict[str, Any] = {
        "value": None if estimate is None else estimate.value,
        "low": None if estimate is None else estimate.low,
        "high": None if estimate is None else estimate.high,
        "n": n,
        "floor": floor,
        "features": features,
        "reference": reference,
        "kind": "not defined" if estimate is None else "estimate",
        "method": method,
        "note": note,
    }
    if estimate is not None and estimate.left_out:
        found["left_out"] = {side: list(values) for side, values in estimate.left_out.items()}
    return asdict(all_metrics()[name]) | found
