"""Results as lines of text, for those who did not ask for JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def results(found: dict[str, Any], page: Path | None) -> str:
    """A small table of what was measured."""
    shown = []
    for run in found["runs"]:
        shown.append(f"{run['model']}  ({run['run']})")
        for metric in run["metrics"]:
            reference = f" ({metric['reference']})" if metric["reference"] != "none" else ""
            shown.append(f"  {metric['name'] + reference:32} {interval(metric)}")
    if page is not None:
        shown.append(f"report: {page}")
    return "\n".join(shown)


def interval(metric: dict[str, Any]) -> str:
    """Value, interval and floor of one metric."""
    if metric["value"] is None:
        return f"not defined: {metric['note']}"
    text = f"{metric['value']:.4g} [{metric['low']:.4g}, {metric['high']:.4g}]"
    floor = "" if metric["floor"] is None else f"  floor {metric['floor']:.4g}"
    return f"{text} {metric['unit']}{floor}"


def likelihood(found: dict[str, Any]) -> str:
    """The bound and its terms."""
    if found["value"] is None:
        return f"bits per dimension: not defined: {found['note']}"
    shown = [
        f"bits per dimension: {found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}] "
        f"({found['kind']}, {found['method']}, {found['n']} {found['reference']} images)"
    ]
    for name, term in found["terms"].items():
        shown.append(f"  {name:22} {term['bits_per_dim']:9.4f}   {term['nats']:12.2f} nats")
    return "\n".join(shown)


def summary(found: dict[str, Any]) -> str:
    """The summary of a data set."""
    classes = found.pop("histogram")
    shown = [flat(found)]
    if classes:
        most = max(classes.values())
        for name, count in classes.items():
            shown.append(f"  {name:>12} {count:7,} {'█' * round(30 * count / most)}")
    return "\n".join(shown)


def flat(found: dict[str, Any], indent: str = "") -> str:
    """Nested values, one a line."""
    shown = []
    for name, value in found.items():
        if isinstance(value, dict):
            shown += [f"{indent}{name}:", flat(value, indent + "  ")]
        elif isinstance(value, list):
            shown.append(f"{indent}{name}: {', '.join(map(str, value)) or '-'}")
        else:
            shown.append(f"{indent}{name}: {value}")
    return "\n".join(shown)
