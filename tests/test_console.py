"""Bars and messages on a terminal, in logs and pipes, and those of verbs called from Python."""

from __future__ import annotations

import inspect
import io
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import triptych
from tests.making import make_images, one_thread, write_npz
from triptych import api, console
from triptych.console import (
    QUIET,
    Bar,
    Console,
    Display,
    LogLines,
    NotebookBars,
    TerminalBars,
    console_for,
    keep_drawn,
)
from triptych.run import Run


class Clock:
    """A clock that only moves when somebody waits, and a job that moves its bar meanwhile."""

    def __init__(self, length: float, work: Callable[[float], None]) -> None:
        self.now, self.end, self.work = 0.0, length, work

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        """As `threading.Event.wait`: whether the job ended in that time."""
        self.now += seconds
        self.work(self.now)
        return self.now >= self.end


def lines_of(
    seconds: float, bar: Bar, work: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    clock, written = Clock(seconds, work), io.StringIO()
    monkeypatch.setattr(console.time, "monotonic", clock.monotonic)
    monkeypatch.setattr(sys, "stderr", written)
    keep_drawn(LogLines([bar]), clock)  # type: ignore[arg-type]
    return written.getvalue().splitlines()


def test_a_log_has_a_line_after_ten_seconds_and_then_every_thirty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bar = Bar("  training", 200)
    lines = lines_of(100, bar, lambda now: bar.update(now, note=f"at {now:.0f}"), monkeypatch)
    assert lines == [
        "  training: 5 %, 3:10 remaining, at 10",
        "  training: 20 %, 2:40 remaining, at 40",
        "  training: 35 %, 2:10 remaining, at 70",
    ]


def test_a_job_of_less_than_ten_seconds_leaves_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = Bar("  training", 9)
    assert lines_of(9, bar, bar.update, monkeypatch) == []


def test_a_job_of_unknown_length_says_how_long_it_has_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = lines_of(50, Bar("  preparing"), lambda now: None, monkeypatch)
    assert lines == ["  preparing: 0:10 so far", "  preparing: 0:40 so far"]


def test_a_closed_log_ends_the_lines_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = io.StringIO()
    gone.close()
    monkeypatch.setattr(sys, "stderr", gone)
    keep_drawn(LogLines([Bar("a", 1)]), Clock(100, lambda now: None))  # type: ignore[arg-type]


def test_totals_and_notes_that_are_not_given_stay() -> None:
    bar = Bar("a")
    bar.update(1, 4, "first")
    bar.update(2)
    assert (bar.done, bar.total, bar.text) == (2, 4, "first")


class Terminal(io.StringIO):
    """A standard error that is one."""

    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """What is written there; called in a test, since pytest sets its own before each."""
    written = Terminal()
    monkeypatch.setattr(sys, "stderr", written)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return written


def test_what_is_soon_over_flashes_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with Console().bar("  sampling", 4) as bar:
        bar.update(4)
    assert terminal.getvalue() == ""


def test_a_bar_appears_on_a_terminal_when_the_job_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = on_terminal(monkeypatch)
    monkeypatch.setattr(TerminalBars, "first", 0.0)
    drawn = threading.Event()
    once = TerminalBars.draw

    def draw(self: TerminalBars) -> None:
        once(self)
        drawn.set()

    monkeypatch.setattr(TerminalBars, "draw", draw)
    speaking = Console()
    with speaking.bars(["  whole", "  [part]"], 4) as bars:
        bars[0].update(1, note="slow")
        for _ in range(2):  # the first may have begun before the update
            drawn.clear()
            assert drawn.wait(10)
        speaking.say("[a note]")
    shown = terminal.getvalue()
    assert "whole" in shown and "[part]" in shown and "25 %" in shown and "slow" in shown
    assert "[a note]\n" in shown
    assert not [each for each in threading.enumerate() if each.name == "bars"]


def test_a_bar_within_a_bar_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[list[str]] = []

    class Kept(LogLines):
        def __init__(self, bars: Any) -> None:
            opened.append([bar.label for bar in bars])
            super().__init__(bars)

    monkeypatch.setattr(console, "display_of", Kept)
    speaking = Console()
    with speaking.bar("outer"), speaking.bar("inner", 3) as inner:
        inner.update(3)
    with speaking.bar("next"):
        pass
    assert opened == [["outer"], ["next"]]


def test_a_quiet_console_makes_no_thread_and_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    with QUIET.bar("a") as bar:
        bar.update(1)
        assert not [each for each in threading.enumerate() if each.name == "bars"]
    QUIET.say("a note")
    assert capsys.readouterr() == ("", "")


def test_a_verb_speaks_unless_it_is_quiet_or_not_the_first_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = Console()
    assert console_for(own, False) is own
    assert console_for(None, True) is console_for(own, True) is QUIET
    assert not console_for(None, False).quiet
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert console_for(None, False) is QUIET


VERBS = {
    **{name: getattr(api, name) for name in ("train", "repeat", "evaluate", "measure", "compare")},
    **{name: getattr(api, name) for name in ("save_reference", "report", "average", "open_images")},
    **{name: getattr(Run, name) for name in ("sample", "encode", "log_likelihood", "read_images")},
    **{name: getattr(Run, name) for name in ("reconstruct", "answers", "represent", "traverse")},
}


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_speaks_by_default_and_can_be_told_to_be_quiet(name: str) -> None:
    parameters = inspect.signature(VERBS[name]).parameters
    assert parameters["quiet"].default is False
    assert parameters["quiet"].kind is inspect.Parameter.KEYWORD_ONLY
    assert parameters["console"].default is None
    assert "quiet:" in (inspect.getdoc(VERBS[name]) or "") or name == "encode"


def test_notes_from_python_are_those_of_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_npz(tmp_path / "bars.npz", *make_images(60))
    asked = {"budget": "0.32kimg", "resolution": 16, "machine": one_thread()}
    triptych.train("vae:course", data, out=tmp_path / "loud", **asked)
    loud = capsys.readouterr()
    assert "note: labels: labels of bars.npz" in loud.err
    assert "training vae:course into" in loud.err and loud.out == ""
    run = triptych.train("vae:course", data, out=tmp_path / "still", quiet=True, **asked)
    run.sample(2, quiet=True)
    assert capsys.readouterr() == ("", "")


def test_a_notebook_s_bar_is_one_output_that_ends_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs: list[dict[str, str]] = []

    class Shown(NotebookBars):
        def show(self, bundle: dict[str, str]) -> None:
            self.output = outputs.append(bundle) or self

    bars = [Bar("  <b>", 4), Bar("second", 4)]
    display: Display = Shown(bars)
    display.draw()
    bars[0].update(1, note="<i>")
    display.draw()
    display.close()
    first, second, last = outputs
    assert "0 %" in first["text/plain"] and "25 %" in second["text/plain"]
    assert "&lt;b&gt;" in second["text/html"] and "<b>" not in second["text/html"]
    assert "&lt;i&gt;" in second["text/html"] and "second" in second["text/html"]
    assert second["text/plain"].count("\n") == 1  # a line for each
    assert last == {"text/html": "", "text/plain": ""}


def test_a_job_too_short_for_a_notebook_s_bar_leaves_no_output() -> None:
    display = NotebookBars([Bar("a")])
    display.close()
    assert display.output is None


def test_an_error_ends_the_bar_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError), Console().bar("a"):
        raise ZeroDivisionError
    assert not [each for each in threading.enumerate() if each.name == "bars"]
