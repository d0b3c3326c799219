"""Metrics: pure formulas on tensors; a file is called as its metric."""

from __future__ import annotations

from typing import Any, Literal

from triptych.metrics.intervals import Estimate

Better = Literal["lower", "higher", "floor"]


def entry(
    name: str,
    estimate: Estimate | None,
    n: int,
    *,
    unit: str = "",
    better: Better,
    reference: str,
    floor: float | None = None,
    features: str | None = None,
    method: str | None = None,
    note: str = "",
) -> dict[str, Any]:
    """No estimate means not defined, for the noted reason.

    `left_out`, where there is one, holds the values without each group of samples and of real
    images, from which differences between models get their intervals.
    """
    found: dict[str, Any] = {
        "name": name,
        "value": None if estimate is None else estimate.value,
        "low": None if estimate is None else estimate.low,
        "high": None if estimate is None else estimate.high,
        "n": n,
        "floor": floor,
        "unit": unit,
        "better": better,
        "features": features,
        "reference": reference,
        "kind": "not defined" if estimate is None else "estimate",
        "method": method,
        "note": note,
    }
    if estimate is not None and estimate.left_out:
        found["left_out"] = {side: list(values) for side, values in estimate.left_out.items()}
    return found
