"""What happens to runs while they train, as server-sent events (HTML standard, section 9.2).

A page that is opened late, or again, is told everything from the beginning: the events are the
lines of the runs' logs. So nothing is kept here, and nothing can be missed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from triptych import files
from triptych.pages.language import Language
from triptych.pages.load import mapping, number, numbers
from triptych.records import read_note, read_notes
from triptych.web.jobs import OPEN, Jobs
from triptych.web.library import LOG, REPORT, Library, NotFoundError, ShownRun, is_file

LOOK = 0.5  # seconds between two looks at the files
AWAKE = 15.0  # seconds after which a silent connection says that it lives
MOST_READ = 2**22  # bytes of a log at once
KNOWN_BY = 64  # bytes before the place where reading goes on


@dataclass
class Tail:
    """The end of a log that was not read yet.

    read: bytes that were, and the last of them, by which a log is known again that was cut and
          has grown since
    cut:  whether that happened before the last look: a run goes on from a checkpoint
    """

    path: Path
    read: int = 0
    last: bytes = b""
    cut: bool = False
    rest: bytes = b""

    def lines(self) -> list[bytes]:
        """The whole lines that came since; all of them again after it was cut."""
        self.cut = False
        try:
            with self.path.open("rb") as file:
                file.seek(self.read - len(self.last))
                if file.read(len(self.last)) != self.last:
                    self.cut, self.read, self.last, self.rest = True, 0, b"", b""
                    file.seek(0)
                new = file.read(MOST_READ)
        except OSError:
            return []
        self.read += len(new)
        self.last = (self.last + new)[-KNOWN_BY:]
        *whole, self.rest = (self.rest + new).split(b"\n")
        return whole


@dataclass
class Watcher:
    """What one page was told of the runs of a folder."""

    library: Library
    jobs: Jobs
    path: str
    language: Language
    tails: dict[str, Tail] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)

    def news(self) -> list[dict[str, Any]]:
        """All events since the last look, in order."""
        events = []
        runs = self.runs()
        for run in runs:
            tail = self.tails.setdefault(run.path, Tail(self.library.root / run.path / LOG))
            lines = tail.lines()
            if tail.cut:
                events.append({"event": "again", "run": run.path})
            events += [e for line in lines if (e := event_of(line, run.path, self.language))]
        state = {"runs": [asdict(run) for run in runs], "report": self.report(), **self.job()}
        if state != self.state:
            self.state = state
            events.append({"event": "state", **state})
        return events

    def runs(self) -> tuple[ShownRun, ...]:
        """Those of the folder that are trained; none yet where it is not made."""
        try:
            shown = self.library.runs_of(self.library.folder(self.path))
        except NotFoundError:
            return ()
        return tuple(run for run in shown if run.trained) or shown

    def report(self) -> bool:
        """Whether the page of a comparison is written."""
        return is_file(self.library.root / self.path / REPORT)

    def job(self) -> dict[str, Any]:
        """The job that makes the folder, where the page started one, and what it said last."""
        job = self.jobs.of(self.path)
        if job is None:
            return {"job": None, "message": ""}
        ahead = [other for other in self.jobs.all() if other.state in OPEN]
        waits = sum(other.number < job.number for other in ahead) if job.state == "waiting" else 0
        message = job.message if job.state not in OPEN else self.jobs.last_line(job)
        shown = {"number": job.number, "state": job.state, "command": job.command}
        shown |= {"out": job.out, "told_to_stop": job.told_to_stop}
        return {"job": {**shown, "ahead": waits, "models": job.models}, "message": message}


def event_of(line: bytes, run: str, language: Language) -> dict[str, Any] | None:
    """A line of a log as the page is told it; None for what it does not show."""
    try:
        entry = mapping(files.parse_json(line))
    except ValueError:
        return None
    images = number(entry.get("images"))
    kind = entry.get("event")
    if images is None:
        return None
    event: dict[str, Any] = {"event": kind, "run": run, "images": images}
    if kind == "losses":
        event["phase"] = number(entry.get("phase")) or 0
        event["speed"] = number(entry.get("images_per_second"))
        event["losses"] = numbers(entry.get("losses"))
    elif kind == "diagnosis":
        event["advice"] = [language.note(note) for note in read_notes(entry.get("advice"))]
    elif kind in ("warning", "rewind"):
        note = read_note(entry.get("note"))
        event["text"] = "" if note is None else language.note(note)
        event["to"] = number(entry.get("to"))
        event["phase"] = number(entry.get("phase")) or 0
    else:
        return None
    return event


async def events(
    library: Library,
    jobs: Jobs,
    path: str,
    language: str,
    gone: Callable[[], Awaitable[bool]],
) -> AsyncIterator[str]:
    """The stream for one page, until it goes.

    path: of a run, of a comparison, or of a folder that a job is about to make
    gone: whether the page is closed
    """
    watcher = Watcher(library, jobs, path, Language(language))
    silent = 0.0
    loop = asyncio.get_running_loop()
    while not await gone():
        news = await loop.run_in_executor(None, watcher.news)
        for event in news:
            yield f"data: {json.dumps(event)}\n\n"
        silent = 0.0 if news else silent + LOOK
        if silent >= AWAKE:
            silent = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(LOOK)
