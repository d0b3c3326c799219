"""log.jsonl: one line per event, in order; a resumed run continues where its checkpoint was."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from triptych import files
from triptych.errors import InputError
from triptych.records import Event

LOG = "log.jsonl"  # in a run
LONGEST_LINE = 2**20  # bytes
MOST_LOG = 2**26  # bytes; ours have a hundred lines per phase
E = TypeVar("E", bound=Event)


class RunLog:
    """Appends events to a file and keeps it readable after every line.

    writes: whether this process is the one that does; in the others nothing happens
    hear:   is told of every event that was written
    """

    def __init__(
        self, path: Path, writes: bool = True, hear: Callable[[Event], None] | None = None
    ) -> None:
        self.path = path
        self.writes = writes
        self.hear = hear

    def write(self, event: Event) -> None:
        """One line; numbers that are not finite become null."""
        if not self.writes:
            return
        files.append_bytes(self.path, (json.dumps(finite(event.to_json())) + "\n").encode())
        if self.hear is not None:
            self.hear(event)

    def size(self) -> int:
        """Bytes so far: what a checkpoint remembers."""
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self, size: int) -> None:
        """Forget what was written after a checkpoint."""
        if not self.writes or not self.path.exists():
            return
        if self.path.is_symlink():
            raise InputError(f"{self.path} is a link", "remove it, or name another --out")
        with self.path.open("r+b") as file:
            end = min(size, self.size())  # a power cut may have taken more
            start = max(0, end - LONGEST_LINE)
            file.seek(start)
            file.truncate(start + file.read(end - start).rfind(b"\n") + 1)


def events(path: Path, kind: type[E]) -> list[E]:
    """The lines of a log of one kind, in order; torn ones and none of ours are passed over."""
    read = []
    try:
        lines = files.read_bytes(path, MOST_LOG).splitlines()
    except (OSError, ValueError):
        return []
    for line in lines:
        try:
            read.append(kind.read(files.parse_json(line)))
        except ValueError:
            continue
    return read


def finite(value: Any) -> Any:
    """The same with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
