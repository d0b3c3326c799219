"""What other packages add: recipes and sources of data, announced as entry points.

`triptych.recipes`  FAMILY:NAME = module:RECIPE     as `families.protocol.Recipe`
`triptych.sources`  .SUFFIX = module:read           as `data.sources.find.Reader`
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from triptych.errors import InputError


@cache
def announced(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name, as installed packages announce them."""
    return {point.name: point for point in entry_points(group=group)}


def load(group: str, name: str) -> Any:
    """What an entry point stands for; InputError with its package where that cannot be imported."""
    point = announced(group)[name]
    try:
        return point.load()
    except Exception as error:  # another's code: it may raise anything
        package = point.dist.name if point.dist else point.module
        raise InputError(
            f"'{name}' of {package} cannot be imported ({error})", f"mend or remove {package}"
        ) from error
