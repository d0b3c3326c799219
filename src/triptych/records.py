"""What the files of runs and comparisons hold, as typed records: the only schema.

Records are plain frozen dataclasses. pydantic reads and writes them where JSON is met, here and
nowhere else; it is imported when that happens, so that help does not wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

from triptych.errors import InputError

T = TypeVar("T")
FORBID = {"extra": "forbid"}


@dataclass(frozen=True)
class Note:
    """A note, warning, piece of advice or reason: a code, whose words are in the locales alone.

    values: what the words name, by the names that stand in them
    """

    __pydantic_config__ = FORBID

    code: str
    values: dict[str, str | int | float] = field(default_factory=dict)


_adapters: dict[Any, Any] = {}


def adapter(kind: Any) -> Any:
    """pydantic's reader and writer of a record; each is made once, when it is first needed."""
    from pydantic import TypeAdapter

    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def to_json(record: Any) -> Any:
    """A record as plain values for JSON; numbers that are not finite become null."""
    return adapter(type(record)).dump_python(record, mode="json")


def from_json(kind: type[T], values: Any, name: str, mend: str) -> T:
    """The record that `to_json` wrote; InputError names the file and what in it does not fit."""
    from pydantic import ValidationError

    try:
        record: T = adapter(kind).validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        at = ".".join(map(str, first["loc"]))
        raise InputError(f"{name}: {at}: {first['msg']}", mend) from error
    return record
