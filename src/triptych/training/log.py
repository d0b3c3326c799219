"""log.jsonl: one line per event, in order; a resumed run continues where its checkpoint was."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


class RunLog:
    """Appends events to a file and keeps it readable after every line.

    writes: whether this process is the one that does; in the others nothing happens
    """

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path = path
        self.writes = writes

    def write(self, event: str, **values: Any) -> None:
        """One line; numbers that are not finite become null."""
        if not self.writes:
            return
        with self.path.open("a") as file:
            file.write(json.dumps(finite({"event": event, **values})) + "\n")

    def size(self) -> int:
        """Bytes so far: what a checkpoint remembers."""
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self, size: int) -> None:
        """Forget what was written after a checkpoint."""
        if self.writes and self.path.exists():
            with self.path.open("r+b") as file:
                file.truncate(size)


def finite(value: Any) -> Any:
    """The same with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
