"""Trainings in turns: who is next, when all are held at once, what a signal leaves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.making import one_thread
from triptych.comparison import turns
from triptych.console import Bar, Console
from triptych.errors import InterruptedRunError, TrainingFailedError

MACHINE = one_thread()


class Training:
    """Needs so many seconds; a turn lasts as long as it is given."""

    def __init__(
        self,
        name: str,
        needed: float,
        stops: float = float("inf"),
        error: BaseException | None = None,
    ) -> None:
        self.error = error or InterruptedRunError(15)
        self.folder = SimpleNamespace(path=Path(name))
        self.needed, self.stops, self.seconds, self.together = needed, stops, 0.0, 0
        self.turns: list[float] = []
        self.saved = False

    @property
    def done(self) -> bool:
        return self.seconds >= self.needed

    @property
    def progress(self) -> float:
        return min(1.0, self.seconds / self.needed)

    def advance(self, turn: float, received: Any, bar: Any) -> None:
        self.turns.append(turn)
        self.seconds += min(turn, self.needed)
        if self.seconds >= self.stops:
            raise self.error

    def save(self) -> None:
        self.saved = True


class Drawn(Bar):
    """Keeps what it was moved to."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[tuple[float, float | None]] = []

    def update(self, done: float, total: float | None = None, note: str | None = None) -> None:
        self.shown.append((done, total))


class Bars(Console):
    """Keeps its bars."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.drawn: list[Drawn] = []

    @contextmanager
    def bars(self, labels: Sequence[str], total: float | None = None) -> Iterator[list[Bar]]:
        self.drawn = [Drawn() for _ in labels]
        yield list(self.drawn)


def train(trainings: Sequence[Training], console: Console) -> None:
    waiting = iter(trainings)

    @contextmanager
    def open_next(request: Any) -> Iterator[Any]:
        yield next(waiting)

    turns.train_together([None] * len(trainings), open_next, MACHINE, console)  # type: ignore


def test_the_shortest_trained_is_next_and_the_last_needs_no_turns() -> None:
    short, long = Training("a", 6), Training("b", 9)
    train([short, long], Bars())
    assert short.turns == [3.0, 3.0] and long.turns == [3.0, float("inf")]
    assert short.together == long.together == 2
    alone = Training("c", 5)
    train([alone], Bars())
    assert alone.turns == [float("inf")] and alone.together == 1


def test_the_bar_of_all_is_full_when_all_are_done() -> None:
    console = Bars()
    train([Training("a", 6), Training("b", 12)], console)
    assert len(console.drawn) == 3
    whole = console.drawn[0].shown
    assert {total for _, total in whole} == {2}
    assert [done for done, _ in whole] == [0.5, 0.75, 1.25, 2.0]


def test_a_signal_saves_those_whose_turn_it_is_not() -> None:
    """The one that was stopped has saved itself."""
    first, second, third = Training("a", 9), Training("b", 9, stops=6), Training("c", 9)
    with pytest.raises(InterruptedRunError):
        train([first, second, third], Bars())
    assert (first.saved, second.saved, third.saved) == (True, False, True)


class Unsavable(Training):
    """There is no room for its checkpoint."""

    def save(self) -> None:
        super().save()
        raise OSError(28, "no room")


@pytest.mark.parametrize("error", [TrainingFailedError("not finite"), KeyError("a fault")])
def test_one_that_fails_leaves_the_others_saved(error: Exception) -> None:
    """As far as that is possible; what is raised is what went wrong first."""
    first, second, third = Unsavable("a", 9), Training("b", 9, 6, error), Training("c", 9)
    with pytest.raises(type(error)) as raised:
        train([first, second, third], Bars())
    assert raised.value is error
    assert (first.saved, second.saved, third.saved) == (True, False, True)


def test_a_signal_does_not_pass_over_what_could_not_be_saved() -> None:
    """The one line that a stopped command leaves says that all is saved."""
    with pytest.raises(OSError, match="no room"):
        train([Unsavable("a", 9), Training("b", 9, stops=6)], Bars())


@pytest.mark.parametrize(("free", "fits"), [(413.0, True), (412.0, False)])
def test_all_states_and_the_largest_step_take_four_fifths_of_memory(
    monkeypatch: pytest.MonkeyPatch, free: float, fits: bool
) -> None:
    """100 and 200 bytes are kept, a step takes 30 or 20 more: 330 of 412.5."""
    forecasts = {"a": (100, 30), "b": (200, 20)}
    monkeypatch.setattr(turns, "forecast_bytes", lambda request, machine: forecasts[request])
    monkeypatch.setattr("triptych.hardware.free_memory_bytes", lambda device: free)
    assert turns.fit_together(["a", "b"], MACHINE) == fits  # type: ignore[list-item]


@pytest.mark.parametrize(("free", "fits"), [(438.0, True), (437.0, False)])
def test_graphs_of_each_training_keep_the_memory_of_its_steps(
    monkeypatch: pytest.MonkeyPatch, free: float, fits: bool
) -> None:
    """350 of 437.5."""
    forecasts = {"a": (100, 30), "b": (200, 20)}
    monkeypatch.setattr(turns, "forecast_bytes", lambda request, machine: forecasts[request])
    monkeypatch.setattr("triptych.hardware.free_memory_bytes", lambda device: free)
    machine = replace(MACHINE, device="cuda")
    assert turns.fit_together(["a", "b"], machine) == fits  # type: ignore[list-item]


def test_a_signal_while_the_last_run_is_written_is_not_forgotten() -> None:
    """Measuring would begin after it."""

    class Finishing(Training):
        def advance(self, turn: float, received: Any, bar: Any) -> None:
            super().advance(turn, received, bar)
            if self.done:
                received.append(15)

    with pytest.raises(InterruptedRunError) as stopped:
        train([Finishing("a", 1.0)], Bars())
    assert stopped.value.exit_code == 143


def test_a_disk_that_is_full_for_one_model_keeps_the_others() -> None:
    last = Training("c", 9)
    with pytest.raises(OSError, match="no room"):
        train([Training("a", 9, stops=6), Unsavable("b", 9), last], Bars())
    assert last.saved
