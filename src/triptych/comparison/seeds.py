"""Several trainings of one model as one row: their means, and how far they spread."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from triptych.comparison.significance import Measured, difference, quantile, variance_of

SINGLE = ("left_out", "low", "high", "value")  # what only one training's entry has so
WHAT = ("name", "features", "reference", "method")  # which number an entry is
COUNTED = ("n",)  # must agree as well before two models' numbers are compared


def by_model(
    results: Sequence[Mapping[str, Any]], facts: Sequence[Mapping[str, Any]]
) -> list[list[Mapping[str, Any]]]:
    """Results that differ in nothing but the seed together, in the order of their first.

    facts: run.json of each. The same seed twice is no second training: its results stand alone.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    known = [told.get("identity", {}) for told in facts]
    for number, (result, told) in enumerate(zip(results, facts, strict=True)):
        same = {name: value for name, value in known[number].items() if name != "seed"}
        key = json.dumps([result["model"], told.get("size"), same], sort_keys=True)
        again = known[number] in known[:number]
        groups.setdefault(f"{key} {number}" if again else key, []).append(result)
    return list(groups.values())


def together(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One result for several trainings of a model; that of a single one stays as it is.

    Costs are means. A metric's interval is Student's, of the mean over trainings: it holds the
    luck of training and of the samples, with the real images as they are.
    """
    first = dict(results[0])
    if len(results) == 1:
        return first
    rest = [{which(entry): entry for entry in result["metrics"]} for result in results[1:]]
    metrics = []
    for entry in first["metrics"]:
        others = [found.get(which(entry)) for found in rest]
        metrics.append(mean_entry([entry, *(other for other in others if other is not None)]))
    costs = [result["cost"] for result in results]
    mean_cost = {
        name: sum(cost[name] for cost in costs) / len(costs)
        for name, value in first["cost"].items()
        if value is not None and all(cost.get(name) is not None for cost in costs)
    }
    warnings = dict.fromkeys(w for result in results for w in result.get("warnings", []))
    return first | {
        "metrics": metrics,
        "cost": mean_cost,
        "warnings": list(warnings),
        "runs": [result.get("run") for result in results],
    }


def which(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells one number of a run from another."""
    return tuple(entry.get(name) for name in WHAT)


def mean_entry(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One metric over several trainings; not defined where it is not defined for one of them."""
    first = dict(entries[0])
    values = [entry.get("value") for entry in entries]
    known = [float(value) for value in values if value is not None]
    if len(entries) == 1 or len(known) < len(entries):
        return next((dict(e) for e in entries if e.get("value") is None), first)
    mean = sum(known) / len(known)
    margin = student(known)
    return {key: value for key, value in first.items() if key not in SINGLE} | {
        "value": mean,
        "low": mean - margin,
        "high": mean + margin,
        "values": known,
        "interval": "Student",
    }


def student(values: Sequence[float]) -> float:
    """Half the width of the interval of a mean (Student 1908, Biometrika 6)."""
    return quantile(len(values) - 1) * math.sqrt(variance_of(values) / len(values))


def all_differences(models: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every pair of models in every number that both have, as results.json holds them.

    value: how much worse the first is than the second, on a scale where lower is better
    """
    found = []
    for index, one in enumerate(models):
        theirs = {which(entry): entry for entry in one["metrics"]}
        for other in models[index + 1 :]:
            for entry in other["metrics"]:
                mine = theirs.get(which(entry))
                if mine is None or any(mine.get(k) != entry.get(k) for k in COUNTED):
                    continue
                apart = difference(Measured.of(mine), Measured.of(entry))
                if apart is None:
                    continue
                found.append(
                    {name: entry.get(name) for name in WHAT}
                    | {
                        "first": one.get("run"),
                        "second": other.get("run"),
                        "value": apart.value,
                        "low": apart.low,
                        "high": apart.high,
                        "better": apart.better,
                    }
                )
    return found
