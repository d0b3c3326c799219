"""What other packages add: recipes, sources, metrics and trackers, announced as entry points.

`triptych.recipes`  FAMILY:NAME = module:RECIPE     as `families.protocol.Recipe`
`triptych.sources`  .SUFFIX = module:read           as `data.sources.find.Reader`
`triptych.metrics`  NAME = module:METRIC            as `metrics.Metric`, or a list of them
`triptych.trackers` NAME = module:make              makes a `training.callbacks.Callback`
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from typing import Any

from triptych.errors import ANYTHING, InputError, first_line

TRACKERS = "triptych.trackers"


@cache
def announced(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name, as installed packages announce them."""
    try:
        return {point.name: point for point in entry_points(group=group)}
    except Exception:  # one damaged package, of any kind: the others still announce theirs
        points = (point for package in distributions() for point in announced_by(package, group))
        return {point.name: point for point in points}


def announced_by(package: Distribution, group: str) -> list[EntryPoint]:
    """The entry points of a package in a group; none where its metadata cannot be read."""
    try:
        return list(package.entry_points.select(group=group))
    except Exception:  # what it would have added is missing where it is asked for, by name
        return []


def load(group: str, name: str) -> Any:
    """What an entry point stands for; InputError with its package where that cannot be imported."""
    point = announced(group)[name]
    try:
        return point.load()
    except ANYTHING as error:
        package = point.dist.name if point.dist else point.module
        raise InputError(
            f"'{name}' of {package} cannot be imported ({first_line(error)})",
            f"mend or remove {package}",
        ) from error


def load_all(group: str, say: Callable[[str], None]) -> dict[str, Any]:
    """All that is announced in a group, by name; what cannot be imported is said and left out."""
    loaded = {}
    for name in sorted(announced(group)):
        try:
            loaded[name] = load(group, name)
        except InputError as error:
            say(f"note: {error}")
    return loaded
