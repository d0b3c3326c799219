"""Progress bars with the remaining time, and messages, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """One bar; `update` may be called as often as one likes."""

    def __init__(self, progress: Progress | None, task: TaskID | None) -> None:
        self._progress, self._task = progress, task
        self._redrawn = 0.0

    def note(self, text: str) -> None:
        """Show a text beside the bar."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, note=text)

    def update(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Move to `done`; redrawn at most ten times a second."""
        if self._progress is None or self._task is None:
            return
        now = time.monotonic()
        if now - self._redrawn < 0.1 and note is None and done != total:
            return
        self._redrawn = now
        if note is None:
            self._progress.update(self._task, completed=done, total=total)
        else:
            self._progress.update(self._task, completed=done, total=total, note=note)


class Console:
    """Messages and bars; bars only on a terminal, nothing at all when quiet."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._progress: Progress | None = None

    def say(self, message: str) -> None:
        """Print one line."""
        if self.quiet:
            return
        if self._progress is not None:
            self._progress.console.print(message, markup=False, highlight=False, soft_wrap=True)
        else:
            print(message, file=sys.stderr, flush=True)

    @contextmanager
    def bar(self, label: str, total: float | None = None) -> Iterator[Bar]:
        """A bar for as long as the block runs."""
        with self.bars([label], total) as bars:
            yield bars[0]

    @contextmanager
    def bars(self, labels: Sequence[str], total: float | None = None) -> Iterator[list[Bar]]:
        """A bar for each label, one below the other."""
        if self.quiet or not sys.stderr.isatty() or self._progress is not None:
            yield [Bar(None, None) for _ in labels]
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        with Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}", markup=False),
            console=RichConsole(stderr=True),
            transient=True,
        ) as progress:
            self._progress = progress
            try:
                yield [
                    Bar(progress, progress.add_task(label, total=total, note=""))
                    for label in labels
                ]
            finally:
                self._progress = None


QUIET = Console(quiet=True)
