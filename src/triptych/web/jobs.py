"""Trainings that the page starts: each a process of its own, one at a time, the others in a queue.

A job is the command that could be typed, and a JSON file that says what became of it. Its process
belongs to nobody: when the server ends, however it ends, the training goes on, and the next server
finds it by its number and its words. Whether it succeeded is read from the folder that
it made, never from its exit code, which only a parent is told.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import psutil

from triptych import files
from triptych.config import Budget
from triptych.errors import InputError, first_line
from triptych.families.registry import ModelName
from triptych.options import DEFAULT_DATA, CompareRequest, TrainRequest
from triptych.records import Record
from triptych.web.library import CONTRACT, REPORT, Library, NotFoundError

HIDDEN = ".live"  # what the page itself keeps in the served folder
JobState = Literal["waiting", "running", "done", "stopped", "interrupted", "failed"]
OPEN: tuple[JobState, ...] = ("waiting", "running")
MOST_JOBS = 200  # kept; the oldest that are over are forgotten
MOST_WAITING = 20
LAST_BYTES = 65_536  # of a job's messages
LONGEST = 1000  # letters of the name of data
LONGEST_NAME = 80  # letters of a folder's name
SLACK = 1.0  # seconds by which the clocks of processes and files may differ
LAST_LINES = 5  # among which a complaint is; libraries may warn after it
COMPLAINT = "triptych: "  # begins the line that says why a command ended
TRACEBACK = "Traceback (most recent call last):"  # where it was ours to blame
STOP = getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM)  # on Windows the latter kills at once
GROUP = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # which alone takes that one, there
SAVED = "saved; the same command goes on"  # what a training says last that was asked to stop


@dataclass(frozen=True, kw_only=True)
class Asked(Record):
    """What the page's form asks to be trained: one model, or several that are compared."""

    models: tuple[str, ...] = ()
    data: str = ""
    budget: str = ""
    size: str = ""
    conditional: bool = False

    def __post_init__(self) -> None:
        if len(self.data) > LONGEST or not self.data.isprintable():
            raise ValueError("data are named by at most 1,000 letters")

    def request(self) -> TrainRequest | CompareRequest:
        """As the command line has it; InputError on what is none, before anything is made."""
        if not self.models:
            raise InputError("no model is chosen", "choose one or more")
        for model in self.models:
            ModelName.parse(model.partition(",")[0])
        if self.budget:
            Budget.parse(self.budget)
        shared = {
            "data": self.source(),
            "budget": self.budget or None,
            "size": self.size or None,
            "conditional": self.conditional,
        }
        if len(self.models) == 1:
            return TrainRequest.of(model=self.models[0], **shared)
        if len(set(self.models)) < len(self.models):
            raise InputError("a model is named twice", "name each once")
        return CompareRequest.of(models=self.models, **shared)

    def is_named(self) -> bool:
        """Whether the data are a set that we know by name."""
        from triptych.data.sources.find import NAMES  # which loads all that reads images

        return self.data in NAMES

    def source(self) -> str:
        """The data; a path is made whole, for the next server may be started elsewhere."""
        if not self.data or self.is_named() or self.data.startswith("hf:"):
            return self.data or DEFAULT_DATA
        return str(files.expanded(self.data).absolute())


@dataclass(frozen=True, kw_only=True)
class Job(Record):
    """A training that was asked for.

    words:   its command, without `triptych`
    out:     the folder that it makes, from the served one
    process: its number; None before it begins
    began:   when it did, in seconds
    message: the last line that it said, where that tells why it failed
    told_to_stop: whether the page asked it to end
    """

    number: int
    words: tuple[str, ...]
    out: str
    state: JobState
    process: int | None = None
    began: float | None = None
    message: str = ""
    told_to_stop: bool = False

    @property
    def models(self) -> int:
        """How many it trains."""
        named = itertools.takewhile(lambda word: not word.startswith("--"), self.words[1:])
        return len(list(named))

    @property
    def command(self) -> str:
        """As it could be typed."""
        return shlex.join(["triptych", *self.words])


class Jobs:
    """The jobs of a served folder; `refresh` brings them up to date with the world."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.folder = library.root / HIDDEN / "jobs"
        self._children: list[subprocess.Popen[bytes]] = []
        self._jobs = {job.number: job for job in self._read()}

    def _read(self) -> list[Job]:
        jobs = []
        for path in sorted(self.folder.glob("*.json")) if self.folder.is_dir() else []:
            with contextlib.suppress(OSError, ValueError):  # a damaged one is nobody's job
                jobs.append(Job.read(files.parse_json(files.read_bytes(path, files.MOST_JSON))))
        return jobs

    def all(self) -> list[Job]:
        """All jobs, the newest first."""
        return [self._jobs[number] for number in sorted(self._jobs, reverse=True)]

    def get(self, number: int) -> Job:
        """The job of that number; NotFoundError where there is none."""
        if number not in self._jobs:
            raise NotFoundError(f"job {number}")
        return self._jobs[number]

    def of(self, path: str) -> Job | None:
        """The newest job that makes a folder; None where the page started none."""
        return next((job for job in self.all() if job.out == path), None)

    def add(self, asked: Asked) -> Job:
        """Put a training into the queue, with a folder of its own; InputError where it is none."""
        request = asked.request()
        waiting = [job for job in self._jobs.values() if job.state in OPEN]
        if len(waiting) >= MOST_WAITING:
            raise InputError(f"{len(waiting)} trainings wait already", "stop some of them first")
        folder = files.first_free(self.library.root / name_of(request), self._is_free)
        out = self.library.path_of(folder)
        words = shlex.split(replace(request, out=folder).command())[1:]
        number = max(self._jobs, default=0) + 1
        job = self._keep(Job(number=number, words=tuple(words), out=out, state="waiting"))
        self._forget_old()
        self.refresh()
        return self._jobs[job.number]

    def _is_free(self, folder: Path) -> bool:
        taken = {job.out for job in self._jobs.values()}
        return not folder.exists() and self.library.path_of(folder) not in taken

    def stop(self, number: int) -> Job:
        """Ask a job to save and end, or take it out of the queue."""
        job = self.get(number)
        if job.state == "waiting":
            return self._keep(replace(job, state="stopped"))
        if job.told_to_stop:  # it saves; asked twice, a training ends at once
            return job
        if job.state == "running" and job.process is not None and is_alive(job):
            ask_to_end(job.process)
            return self._keep(replace(job, told_to_stop=True))
        return job

    def resume(self, number: int) -> Job:
        """Put a job that ended too early into the queue again: it goes on where it was.

        InputError where there is nothing to go on with.
        """
        job = self.get(number)
        if job.state in OPEN or job.state == "done":
            raise InputError(f"job {number} is {job.state}", "only what was stopped goes on")
        words = self._words(job)
        self._keep(Job(number=number, words=words, out=job.out, state="waiting"))
        self.refresh()
        return self.get(number)

    def _words(self, job: Job) -> tuple[str, ...]:
        """A job's command, for the folder as it is called now: the served one may have moved."""
        words = list(job.words)
        if "--out" in words:
            words[words.index("--out") + 1] = str(self.library.root / job.out)
        return tuple(words)

    def refresh(self) -> None:
        """See which jobs have ended, and begin the next one where none is running."""
        self._children = [child for child in self._children if child.poll() is None]
        for job in list(self._jobs.values()):
            if job.state == "running" and not is_alive(job):
                self._keep(self._ended(job))
        waiting = [job for job in self._jobs.values() if job.state == "waiting"]
        if waiting and all(job.state != "running" for job in self._jobs.values()):
            self._begin(min(waiting, key=lambda job: job.number))

    def _begin(self, job: Job) -> None:
        files.make_folder(self.folder)
        command = [sys.executable, "-P", "-m", "triptych", *job.words]
        began = time.time()
        try:
            with self._messages(job).open("wb") as messages:
                child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=messages,
                    stderr=messages,
                    # What ends the server does not end it; nor does Ctrl-C there, on Windows.
                    start_new_session=True,
                    creationflags=GROUP,
                )
        except (OSError, ValueError) as error:  # the next one must not wait for this one
            self._keep(replace(job, state="failed", message=first_line(error)))
            return
        self._children.append(child)
        self._keep(replace(job, state="running", process=child.pid, began=began))

    def _ended(self, job: Job) -> Job:
        """A job whose process is gone, with what became of it."""
        if self.is_complete(job):
            return replace(job, state="done", message="")
        lines = self.last_lines(job)
        line = lines[-1] if lines else ""
        if job.told_to_stop or SAVED in line:  # it may have had nothing to save yet
            return replace(job, state="stopped", message="")
        complaints = [each for each in lines[-LAST_LINES:] if each.startswith(COMPLAINT)]
        if complaints or TRACEBACK in lines:
            message = complaints[-1] if complaints else line
            return replace(job, state="failed", message=message.removeprefix(COMPLAINT))
        return replace(job, state="interrupted", message="")  # the line is no reason: it was killed

    def is_complete(self, job: Job) -> bool:
        """Whether the folder holds all that the command was to make."""
        folder = self.library.root / job.out
        if job.words[0] == "train":
            return self.library.run(folder).state == "done" if folder.is_dir() else False
        made = [folder / CONTRACT, folder / REPORT]
        since = (job.began or 0.0) - SLACK
        return all(path.is_file() and path.stat().st_mtime >= since for path in made)

    def last_line(self, job: Job) -> str:
        """The last that a job said; nothing before it said anything."""
        return next(reversed(self.last_lines(job)), "")

    def last_lines(self, job: Job) -> list[str]:
        """The last lines that a job said, without empty ones."""
        try:
            with self._messages(job).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_BYTES))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return []
        return [line.strip() for line in lines if line.strip()]

    def _messages(self, job: Job) -> Path:
        return self.folder / f"{job.number:06d}.log"

    def _keep(self, job: Job) -> Job:
        files.make_folder(self.folder)
        files.write_json(self.folder / f"{job.number:06d}.json", job.to_json())
        self._jobs[job.number] = job
        return job

    def _forget_old(self) -> None:
        over = [n for n in sorted(self._jobs) if self._jobs[n].state not in OPEN]
        for number in over[: max(0, len(self._jobs) - MOST_JOBS)]:
            self.forget(number)

    def forget(self, number: int) -> None:
        """Take a job that ended off the list; what it made stays. InputError on others."""
        job = self.get(number)
        if job.state in OPEN:
            raise InputError(f"job {number} is {job.state}", "stop it first")
        del self._jobs[number]
        (self.folder / f"{number:06d}.json").unlink(missing_ok=True)
        self._messages(job).unlink(missing_ok=True)


def ask_to_end(process: int) -> None:
    """Have a training save and end.

    On Windows one that was begun from another console cannot be asked, and is ended: it goes on
    from its last checkpoint.
    """
    try:
        os.kill(process, STOP)
    except (ProcessLookupError, PermissionError):  # it ended just now
        pass
    except OSError:
        with contextlib.suppress(psutil.Error):
            psutil.Process(process).terminate()


def is_alive(job: Job) -> bool:
    """Whether a job's own process still runs: by its words, for another may have its number now.

    The folder that it makes is among them, and is no other job's. One that ended and that nobody
    buried yet is told by psutil; one that is just beginning has no words for a moment.
    """
    if job.process is None:
        return False
    try:
        process = psutil.Process(job.process)
        words = process.cmdline()
        if not words:
            return job.began is not None and abs(process.create_time() - job.began) <= SLACK
        return tuple(words[-len(job.words) :]) == job.words
    except psutil.Error:
        return False


def name_of(request: TrainRequest | CompareRequest) -> str:
    """What the folder of a training is called: by its models, its data and its budget."""
    data = Path(str(request.data)).name.removeprefix("hf:").removesuffix(".csv") or "data"
    kind = request.model if isinstance(request, TrainRequest) else "compare"
    words = [kind.replace(":", "-"), data, request.budget or ""]
    joined = "-".join(word for word in words if word)
    name = "".join(c if (c.isascii() and c.isalnum()) or c in "-_." else "-" for c in joined)
    return name[:LONGEST_NAME].strip("-.") or "run"
