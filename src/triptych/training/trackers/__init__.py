"""`--log-to NAME`: callbacks that hand a training on to other programs, one file for each.

The names are `options.TRACKERS`, each with a file here in which a `Tracker` is; other packages
announce theirs as entry points (`plugins`). Each runs in a thread beside the training, which
does not wait for it but at the beginning and at the end of a run, and there not for long.
"""

from __future__ import annotations

import importlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import Full, Queue
from threading import Event, Thread
from typing import ClassVar

from triptych import files, plugins
from triptych.console import Console
from triptych.errors import ANYTHING, InputError, first_line
from triptych.images import Grid
from triptych.options import TRACKERS
from triptych.records import Note
from triptych.training.callbacks import Callback, Moment, RunInfo, Status
from triptych.words import english

FOLDER = "trackers"  # inside a run
PROJECT = "triptych"  # what trackers file runs under, unless their own settings say otherwise
MOST_WAITING = 1_000  # calls that a tracker may be behind
PATIENCE = 30.0  # seconds that training waits for a tracker to begin or to end,
SILENCE = 2.0  # and of those, seconds in which nothing is said
STOPPED_PATIENCE = 10.0  # seconds for it to end where somebody stops the training


class Tracker(Callback):
    """A callback that hands on to another package.

    imports: modules without which it cannot work
    """

    imports: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def needed(cls) -> tuple[str, ...]:
        """Modules that are imported before a training begins."""
        return cls.imports


def tracker_class(name: str) -> Callable[[], Callback]:
    """What makes the callback of a name; InputError where a plug-in's cannot be imported."""
    if name in TRACKERS:
        made: Callable[[], Callback] = importlib.import_module(f"{__name__}.{name}").TRACKER
    else:
        made = plugins.load(plugins.TRACKERS, name)
    return made


def prepare(names: Sequence[str], console: Console) -> None:
    """Import what the trackers need, so that no training waits for it.

    InputError where a package is missing or cannot be imported.
    """
    if names:
        console.say(english(Note("logging_to", {"trackers": ", ".join(names)})))
    for name in names:
        made = tracker_class(name)
        if not (isinstance(made, type) and issubclass(made, Tracker)):
            continue
        for module in made.needed():
            try:
                importlib.import_module(module)
            except ANYTHING as error:
                package = module.partition(".")[0]
                missing = isinstance(error, ModuleNotFoundError)
                wrong = (
                    f"--log-to {name} needs {error.name or package}, which is not installed"
                    if isinstance(error, ModuleNotFoundError)
                    else f"--log-to {name}: {package} cannot be imported ({first_line(error)})"
                )
                mend = f"pip install 'triptych[{name}]'"
                raise InputError(wrong, mend if missing else f"{mend}, or leave it out") from error


def make(names: Sequence[str], console: Console) -> list[tuple[str, Callback]]:
    """The callbacks of one run, with their names."""
    return [(name, Beside(name, partial(made_by, name), console)) for name in names]


def made_by(name: str) -> Callback:
    """The callback of a name; it raises what its package does."""
    return tracker_class(name)()


class Beside(Callback):
    """A callback in a thread of its own, so that training does not wait for what it does.

    What it raises, also while it is made, is raised here at the next call. TimeoutError where it
    does not begin or end within its time, or falls too far behind: the thread is then left to
    itself.
    """

    def __init__(self, name: str, make_callback: Callable[[], Callback], console: Console) -> None:
        self.name, self.make_callback, self.console = name, make_callback, console
        self.callback = Callback()  # until there is one
        self.calls: Queue[Callable[[], None] | None] = Queue(MOST_WAITING)
        self.begun, self.ended = Event(), Event()
        self.error: BaseException | None = None

    def start(self, run: RunInfo, at: Moment) -> None:
        """Begin, and wait until it has begun."""
        self.hand(lambda: self.begin(run, at))
        Thread(target=self.work, name=f"log to {self.name}", daemon=True).start()
        self.wait(self.begun, PATIENCE, "begin")

    def begin(self, run: RunInfo, at: Moment) -> None:
        """What the thread does first."""
        self.callback = self.make_callback()
        self.callback.start(run, at)

    def log(self, run: RunInfo, at: Moment, numbers: Mapping[str, float]) -> None:
        """Hand on."""
        self.hand(lambda: self.callback.log(run, at, numbers))

    def samples(self, run: RunInfo, at: Moment, grid: Grid) -> None:
        """Hand on."""
        self.hand(lambda: self.callback.samples(run, at, grid))

    def diagnosis(
        self, run: RunInfo, at: Moment, numbers: Mapping[str, float], advice: Sequence[str]
    ) -> None:
        """Hand on."""
        self.hand(lambda: self.callback.diagnosis(run, at, numbers, advice))

    def end(self, run: RunInfo, at: Moment, numbers: Mapping[str, float], status: Status) -> None:
        """End, and wait until all is handed on."""
        self.hand(lambda: self.callback.end(run, at, numbers, status))
        self.hand(None)
        self.wait(self.ended, PATIENCE if status == "done" else STOPPED_PATIENCE, "end")

    def hand(self, call: Callable[[], None] | None) -> None:
        """Put a call into the queue; raises what an earlier one raised."""
        if self.error is not None:
            raise self.error
        try:
            self.calls.put_nowait(call)
        except Full:
            raise TimeoutError(f"it is {MOST_WAITING:,} calls behind") from None

    def wait(self, event: Event, seconds: float, what: str) -> None:
        """Until it has happened; raises what the thread raised, or TimeoutError."""
        if not event.wait(min(SILENCE, seconds)):
            self.console.say(f"  {english(Note('waiting_for_tracker', {'tracker': self.name}))}")
        if not event.wait(max(0.0, seconds - SILENCE)):
            raise TimeoutError(f"it did not {what} within {seconds:g} s")
        if self.error is not None:
            raise self.error

    def work(self) -> None:
        """What the thread does: one call after another, until the last one or one that fails."""
        try:
            while (call := self.calls.get()) is not None:
                call()
                self.begun.set()
        except ANYTHING as error:
            self.error = error
        finally:
            self.begun.set()
            self.ended.set()


def own_folder(run: RunInfo) -> Path:
    """Where trackers keep their files inside a run; it is made."""
    folder = run.folder / FOLDER
    files.make_folder(folder)
    return folder


def name_for(run: RunInfo) -> str:
    """The run's folder with the one around it: how a person tells it from others."""
    return run.folder.resolve().name


def group_for(run: RunInfo) -> str:
    """The folder around the run's: of a comparison, all its runs have the same."""
    return run.folder.resolve().parent.name


def kept_name(
    run: RunInfo, tracker: str, make_name: Callable[[], str], server: str = ""
) -> tuple[str, bool]:
    """What a tracker knows this run by, and whether it was kept from an earlier process.

    It lies in RUN/trackers/TRACKER.json, so that a run that is gone on with is the same run there;
    on another server it is a new one.
    """
    path = own_folder(run) / f"{tracker}.json"
    try:
        values = files.read_json(path, "")
        known = isinstance(values, dict) and isinstance(values.get("run"), str)
        if known and values.get("server", "") == server:
            return values["run"], True
    except InputError:
        pass  # none yet, or damaged: then it is a new run there
    name = make_name()
    files.write_json(path, {"run": name, "server": server} if server else {"run": name})
    return name, False


def unlike_others() -> str:
    """Letters and digits that no other run has."""
    return secrets.token_hex(4)
