"""Messages, and progress bars with the remaining time: on a terminal, in a notebook, in a log.

A job only says how far it is (`Bar`); a thread draws that, in the way of the place where it is seen
(`Display`). On a terminal and in logs all this goes to standard error. In a notebook, where that is
shown as trouble, messages are outputs of their cell like all others.
"""

from __future__ import annotations

import contextvars
import io
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from triptych.notebook import in_notebook

if TYPE_CHECKING:
    from rich.progress import Progress

NOTEBOOK_WIDTH = 100  # letters of a line of bars in a notebook
# `pre` of a notebook's own style: its colors are those of the reader's theme.
NOTEBOOK_FORMAT = '<pre style="margin:0;white-space:pre;overflow-x:auto;">{code}</pre>'


class Bar:
    """How far one job is; `update` may be called as often as one likes."""

    def __init__(self, label: str = "", total: float | None = None) -> None:
        self.label, self.total = label, total
        self.done, self.text = 0.0, ""

    def note(self, text: str) -> None:
        """Show a text beside the bar."""
        self.text = text

    def update(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Move to `done`; a total and a note that are not given stay as they are."""
        self.done = done
        if total is not None:
            self.total = total
        if note is not None:
            self.text = note


class Display(ABC):
    """How bars are drawn in one kind of place.

    first: seconds until they are drawn for the first time: what is quick shows nothing
    every: seconds between that and each further time
    """

    first: float
    every: float

    def __init__(self, bars: Sequence[Bar]) -> None:
        self.bars = bars

    @abstractmethod
    def draw(self) -> None:
        """Draw the bars as they are now."""

    @abstractmethod
    def close(self) -> None:
        """Remove the bars, where they can be removed."""

    @abstractmethod
    def say(self, message: str) -> None:
        """Print one line while the bars may be seen."""


class TerminalBars(Display):
    """Bars that are redrawn in their lines; messages scroll by above them."""

    first, every = 1.0, 0.1

    def __init__(self, bars: Sequence[Bar]) -> None:
        super().__init__(bars)
        self.progress: Progress | None = None

    def draw(self) -> None:
        """Move rich's bars."""
        if self.progress is None:
            from rich.console import Console as RichConsole

            self.progress = rich_bars(self.bars, RichConsole(stderr=True))
            self.progress.start()
        move(self.progress, self.bars)
        self.progress.refresh()

    def close(self) -> None:
        """Leave the lines as they were before."""
        if self.progress is not None:
            self.progress.stop()

    def say(self, message: str) -> None:
        """Print one line above the bars."""
        if self.progress is None:
            print(message, file=sys.stderr, flush=True)
        else:
            self.progress.console.print(message, markup=False, highlight=False, soft_wrap=True)


class NotebookBars(Display):
    """Bars as one output of the cell, which is replaced; it needs no widgets.

    A notebook that is stored while they are seen holds them as they were last.
    """

    first, every = 1.0, 0.5

    def __init__(self, bars: Sequence[Bar]) -> None:
        super().__init__(bars)
        self.progress: Progress | None = None
        self.output: Any = None  # IPython's handle of what is displayed

    def draw(self) -> None:
        """Display the bars, or replace those that are displayed."""
        from rich.console import Console as RichConsole

        unseen = RichConsole(
            file=io.StringIO(), record=True, force_jupyter=False, width=NOTEBOOK_WIDTH
        )
        if self.progress is None:
            self.progress = rich_bars(self.bars, unseen)
        move(self.progress, self.bars)
        unseen.print(self.progress.get_renderable())
        html = unseen.export_html(inline_styles=True, code_format=NOTEBOOK_FORMAT, clear=False)
        self.show({"text/html": html, "text/plain": unseen.export_text().rstrip()})

    def show(self, bundle: dict[str, str]) -> None:
        """Display a text in its kinds, in the place of what is displayed."""
        if self.output is None:
            from IPython.display import display

            self.output = display(bundle, raw=True, display_id=True)
        else:
            self.output.update(bundle, raw=True)

    def close(self) -> None:
        """Leave an empty output, where there was one."""
        if self.output is not None:
            self.show({"text/html": "", "text/plain": ""})

    def say(self, message: str) -> None:
        """Print one line among the cell's outputs."""
        print(message, flush=True)


class LogLines(Display):
    """A line every so often, where nothing can be redrawn: in pipes and logs."""

    first, every = 10.0, 30.0

    def __init__(self, bars: Sequence[Bar]) -> None:
        super().__init__(bars)
        self.started = time.monotonic()

    def draw(self) -> None:
        """Print how far the first bar is, which is the one of the whole."""
        self.say(line_of(self.bars[0], time.monotonic() - self.started))

    def close(self) -> None:
        """Nothing: lines stay."""

    def say(self, message: str) -> None:
        """Print one line."""
        print(message, file=sys.stderr, flush=True)


def line_of(bar: Bar, seconds: float) -> str:
    """How far a job is after so many seconds.

    >>> bar = Bar("  sampling", 64)
    >>> bar.update(16, note="first")
    >>> line_of(bar, 30.0)
    '  sampling: 25 %, 1:30 remaining, first'
    >>> line_of(Bar("  preparing"), 70.0)
    '  preparing: 1:10 so far'
    """
    words = [f"{clock(seconds)} so far"]
    if bar.total and bar.done > 0:
        share = min(bar.done / bar.total, 1.0)
        words = [f"{100 * share:.0f} %", f"{clock(seconds / share - seconds)} remaining"]
    return f"{bar.label}: {', '.join([*words, *([bar.text] if bar.text else [])])}"


def clock(seconds: float) -> str:
    """Seconds as a clock shows them.

    >>> clock(9.6), clock(3725)
    ('0:10', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def rich_bars(bars: Sequence[Bar], console: Any) -> Progress:
    """Rich's bars for ours, not yet drawn; `move` brings them to where ours are."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        auto_refresh=False,
        transient=True,
    )
    for bar in bars:
        progress.add_task(bar.label, total=bar.total, note=bar.text)
    return progress


def move(progress: Progress, bars: Sequence[Bar]) -> None:
    """Bring rich's bars to where ours are."""
    for task, bar in zip(progress.task_ids, bars, strict=True):
        progress.update(task, completed=bar.done, total=bar.total, note=bar.text)


def keep_drawn(display: Display, ended: threading.Event) -> None:
    """Draw bars again and again until the job has ended."""
    wait = display.first
    with suppress(OSError, ValueError):  # nobody reads any more, or the file is closed
        while not ended.wait(wait):
            display.draw()
            wait = display.every


def display_of(bars: Sequence[Bar]) -> Display:
    """Bars as they are drawn where this process is seen."""
    if in_notebook():
        return NotebookBars(bars)
    return TerminalBars(bars) if sys.stderr.isatty() else LogLines(bars)


class Console:
    """Messages and bars; nothing at all when quiet."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self._display: Display | None = None

    def say(self, message: str) -> None:
        """Print one line; who does not listen any more ends no work."""
        if not self.quiet:
            with suppress(OSError, ValueError):
                (self._display or display_of([])).say(message)

    @contextmanager
    def bar(self, label: str, total: float | None = None) -> Iterator[Bar]:
        """A bar for as long as the block runs; one that is soon over is never seen."""
        with self.bars([label], total) as bars:
            yield bars[0]

    @contextmanager
    def bars(self, labels: Sequence[str], total: float | None = None) -> Iterator[list[Bar]]:
        """A bar for each label, one below the other; in a log the first stands for all."""
        bars = [Bar(label, total) for label in labels]
        if self.quiet or self._display is not None:  # one that is within another is not drawn
            yield bars
            return
        display, ended = display_of(bars), threading.Event()
        # In the context of the caller: a notebook's outputs go to the cell that it names.
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(keep_drawn, display, ended), name="bars", daemon=True
        )
        self._display = display
        thread.start()
        try:
            yield bars
        finally:
            self._display = None
            ended.set()
            thread.join()
            with suppress(OSError, ValueError):
                display.close()


QUIET = Console(quiet=True)


def console_for(console: Console | None, quiet: bool) -> Console:
    """The console of a verb that is called from Python: one that speaks, unless it is quiet.

    console: the caller's own, as the command line has one
    Of several processes that work together the first one speaks.
    """
    from triptych.distributed import speaks

    if quiet or (console is None and not speaks()):
        return QUIET
    return console or Console()
