"""What must be equal before two runs are compared, and what differs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

TIME_TOLERANCE = 0.1  # true training times may differ by so much under a wall-clock budget

OWN_DATA = ("data", "fingerprint")

# What run.json says that must agree: how it is called, and where it stands.
MUST_AGREE = {
    "data fingerprint": OWN_DATA,
    "resolution": ("data", "resolution"),
    "training images": ("data", "train"),
    "test images": ("data", "test"),
    "flips": ("data", "flip"),
    "crops": ("data", "crop"),
    "device": ("device",),
    "precision": ("precision",),
    "budget unit": ("budget", "unit"),
    "budget": ("budget", "amount"),
}


def differences(runs: dict[str, dict[str, Any]]) -> list[str]:
    """Sentences naming what differs between runs' run.json; none when they may be compared."""
    found = []
    for what, place in MUST_AGREE.items():
        values = {name: _at(facts, place) for name, facts in runs.items()}
        if len(set(map(str, values.values()))) > 1:
            listed = ", ".join(f"{name} {value}" for name, value in values.items())
            found.append(f"{what} differs: {listed}")
    return found


def trained_on_other_data(runs: dict[str, dict[str, Any]], fingerprint: str) -> list[str]:
    """A sentence naming the runs to be measured on data unlike their own, or none."""
    other = [name for name, facts in runs.items() if _at(facts, OWN_DATA) != fingerprint]
    return [f"not trained on the data to measure on: {', '.join(other)}"] if other else []


def measured_differently(results: dict[str, dict[str, Any]]) -> list[str]:
    """Sentences naming what differs between the measurements of runs, from their results.json."""
    found = []
    measured: dict[str, Callable[[dict[str, Any]], Any]] = {
        "count of samples": samples_measured,
        "data measured on": lambda result: result["data"]["fingerprint"],
        "features": features_used,
    }
    for what, value_of in measured.items():
        values = {name: value_of(result) for name, result in results.items()}
        if len(set(values.values())) > 1:
            listed = ", ".join(f"{name} {value}" for name, value in values.items())
            found.append(f"{what} differs: {listed}")
    return found


def samples_measured(result: dict[str, Any]) -> int:
    """How many samples the distances of a results.json were found with."""
    counts = [m["n"] for m in result["metrics"] if m["name"] in ("sharpness", "frechet_distance")]
    return max(counts, default=0)


def features_used(result: dict[str, Any]) -> Any:
    """The extractor that the distances of a results.json were found on."""
    return _at(result, ("extractor", "name"))


def marks(runs: dict[str, dict[str, Any]]) -> list[str]:
    """Sentences that belong on the page though they do not forbid comparing."""
    return [*told_marks(runs), *time_marks(runs)]


def told_marks(runs: dict[str, dict[str, Any]]) -> list[str]:
    """Whether some models were told the labels and others were not."""
    told = [name for name, facts in runs.items() if facts.get("labels") is not None]
    if len(told) in (0, len(runs)):
        return []
    return [f"told the labels, as the others were not: {', '.join(told)}"]


def time_marks(runs: dict[str, dict[str, Any]]) -> list[str]:
    """Whether true training times are apart though budgets in seconds were equal."""
    seconds = {name: facts["train_seconds"] for name, facts in runs.items()}
    timed = all(facts["budget"]["unit"] == "seconds" for facts in runs.values())
    if not timed or max(seconds.values()) <= (1 + TIME_TOLERANCE) * min(seconds.values()):
        return []
    listed = ", ".join(f"{name} {value:.0f}" for name, value in seconds.items())
    return [f"true training seconds differ by more than 10 %: {listed}"]


def _at(facts: dict[str, Any], place: tuple[str, ...]) -> Any:
    value: Any = facts
    for name in place:
        value = value.get(name) if isinstance(value, dict) else None
    return value
