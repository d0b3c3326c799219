"""What lies under the served folder: runs and comparisons, and how far each has come.

Everything is read from the files that training writes, so a page shows trainings that were started
elsewhere too. Nothing here loads torch.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import psutil

from triptych import files
from triptych.errors import InputError, first_line
from triptych.families.registry import FAMILIES, is_trained
from triptych.pages.load import Log, Losses, load_log
from triptych.records import JsonObject, RunRecord

DEPTH = 3  # folders below the served one in which runs are looked for
MOST_FOLDERS = 4_000  # that are looked into
RUN_JSON, CONTRACT, REPORT, LOG, SAMPLES = (
    "run.json", "contract.json", "report.html", "log.jsonl", "samples",
)  # fmt: skip
HOLDER = ".holder.json"  # names the process that trains into a folder
MOST_HOLDER = 4096  # bytes
SILENT = 120.0  # seconds after which a training of another machine counts as stopped
State = Literal["done", "training", "stopped", "damaged"]


class NotFoundError(Exception):
    """There is nothing of that name under the served folder."""


@dataclass(frozen=True, kw_only=True)
class ShownRun:
    """One run as the page lists and watches it.

    path:      of its folder, from the served one
    planned:   images of all phases together; 0 where it is not known
    seconds:   of training so far
    remaining: seconds of training that are left, at the speed so far; None where it is not known
    pictures:  images seen at each of its grids of samples
    problem:   why nothing more can be said of a damaged one
    """

    path: str
    name: str
    state: State
    model: str = ""
    family: str = ""
    trained: bool = True
    variant: str = ""
    data: str = ""
    size: str = ""
    budget: str = ""
    seed: int = 0
    images: int = 0
    planned: int = 0
    seconds: float = 0.0
    remaining: float | None = None
    pictures: tuple[int, ...] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class ShownComparison:
    """One comparison with its runs.

    report: whether its page is written, which happens last
    """

    path: str
    name: str
    report: bool
    runs: tuple[ShownRun, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Shown:
    """All that lies under the served folder; runs of comparisons stand there alone."""

    comparisons: tuple[ShownComparison, ...] = ()
    runs: tuple[ShownRun, ...] = ()

    def to_json(self) -> JsonObject:
        """As plain values."""
        return asdict(self)


Stamps = tuple[tuple[float, int], ...]  # of files: when they changed, and their bytes


@dataclass
class Library:
    """The served folder; only what really lies under it is found."""

    root: Path
    _cache: dict[Path, tuple[Stamps, ShownRun]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = self.root.resolve()

    def folder(self, path: str) -> Path:
        """The folder of that path from the served one; NotFoundError on any other.

        Links that lead out of the served folder lead nowhere here.
        """
        folder = self.inside(path)
        if not is_folder(folder):
            raise NotFoundError(path)
        return folder

    def run_folder(self, path: str) -> Path:
        """The run's folder of that path; NotFoundError where that holds no run."""
        folder = self.folder(path)
        if not is_file(folder / RUN_JSON):
            raise NotFoundError(path)
        return folder

    def inside(self, path: str) -> Path:
        """The resolved path, which may be missing; NotFoundError unless it is inside."""
        parts = PurePosixPath(path).parts
        odd = "\0" in path or "\\" in path or path.startswith("/") or len(path) > 1000
        if odd or ".." in parts or any(p.startswith(".") and p != "." for p in parts):
            raise NotFoundError(path)
        try:
            resolved = (self.root / path).resolve()
        except (OSError, RuntimeError) as error:  # names too long, links in a circle
            raise NotFoundError(path) from error
        if not resolved.is_relative_to(self.root):
            raise NotFoundError(path)
        return resolved

    def path_of(self, folder: Path) -> str:
        """How the page calls a folder."""
        return folder.relative_to(self.root).as_posix()

    def shown(self) -> Shown:
        """All runs and comparisons, the newest first."""
        folders = sorted(self.folders(), key=changed, reverse=True)
        compared = [folder for folder in folders if self.is_comparison(folder)]
        inside = {run for folder in compared for run in run_folders(folder)}
        alone = [f for f in folders if is_file(f / RUN_JSON) and f not in inside]
        return Shown(
            comparisons=tuple(map(self.comparison, compared)), runs=tuple(map(self.run, alone))
        )

    def folders(self) -> Iterator[Path]:
        """The served folder and those below it, nearest first; no hidden ones and no links."""
        level, looked = [self.root], 0
        for _ in range(DEPTH + 1):
            below: list[Path] = []
            for folder in level:
                looked += 1
                if looked > MOST_FOLDERS:
                    return
                yield folder
                if not is_file(folder / RUN_JSON):  # what lies in a run is its own
                    below += subfolders(folder)
            level = below

    def is_comparison(self, folder: Path) -> bool:
        """Whether it has a contract, or is one in the making: a folder of nothing but runs."""
        if is_file(folder / CONTRACT):
            return True
        return folder != self.root and len(run_folders(folder)) > 1

    def comparison(self, folder: Path) -> ShownComparison:
        """A comparison's folder as the page lists it."""
        return ShownComparison(
            path=self.path_of(folder),
            name=folder.name,
            report=is_file(folder / REPORT),
            runs=self.runs_of(folder),
        )

    def runs_of(self, folder: Path) -> tuple[ShownRun, ...]:
        """The runs of a comparison in the order of their families; a run's folder has one."""
        if is_file(folder / RUN_JSON):
            return (self.run(folder),)
        return in_order([self.run(each) for each in run_folders(folder)])

    def run(self, folder: Path) -> ShownRun:
        """A run's folder as the page lists it; its files are read again when they change."""
        try:
            stamps = tuple(stamp(folder / name) for name in (RUN_JSON, LOG, SAMPLES))
            kept = self._cache.get(folder)
            if kept is None or kept[0] != stamps:
                kept = self._cache[folder] = (stamps, self.read(folder))
        except (OSError, ValueError, OverflowError) as error:
            return self.damaged(folder, error)
        run = kept[1]
        if run.state == "done":
            return run
        return replace(run, state="training" if is_held(folder) else "stopped")

    def read(self, folder: Path) -> ShownRun:
        """What a run's files say; OSError or ValueError where they are damaged."""
        content = files.parse_json(files.read_bytes(folder / RUN_JSON, files.MOST_JSON))
        record = RunRecord.read(content)
        state: State = "done" if record.done else "stopped"
        log = Log() if record.done else load_log(folder / LOG)
        shown = ShownRun(
            path=self.path_of(folder),
            name=folder.name,
            state=state,
            model=record.model,
            family=record.family,
            trained=is_trained(record.family),
            variant=record.variant,
            data=record.data.name,
            size=record.size,
            budget=record.budget.asked,
            seed=record.seed,
            planned=round(sum(planned_images(record))),
            pictures=pictures_of(folder),
        )
        if record.done:
            seconds = record.total_seconds or 0.0
            return replace(shown, images=record.total_images, seconds=seconds, remaining=0.0)
        return with_progress(shown, record, log.losses)

    def damaged(self, folder: Path, error: Exception) -> ShownRun:
        """A run of which nothing can be read."""
        problem = first_line(error)
        path = self.path_of(folder)
        return ShownRun(path=path, name=folder.name, state="damaged", problem=problem)


def changed(folder: Path) -> float:
    """When a folder changed, seconds; 0 for one that is gone."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; False for names that no file system takes."""
    try:
        return path.is_dir()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """Whether a path is a file that may be looked at; False for names that no file system takes."""
    try:
        return path.is_file()
    except OSError:
        return False


def stamp(path: Path) -> tuple[float, int]:
    """When a file or folder changed, and its bytes; zeros for one that is missing."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return 0.0, 0
    return stat.st_mtime, stat.st_size


def is_text(name: str) -> bool:
    """Whether a name can be sent: file systems take bytes that are no letters."""
    return "\\" not in name and name.isprintable()


def subfolders(folder: Path) -> list[Path]:
    """Folders in a folder, by name; no hidden ones, no links, none where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if is_text(name) and name[0] != "."]


def run_folders(folder: Path) -> list[Path]:
    """The runs that lie directly in a folder."""
    return [each for each in subfolders(folder) if is_file(each / RUN_JSON)]


def in_order(runs: Sequence[ShownRun]) -> tuple[ShownRun, ...]:
    """By family, as the report has them; what is not trained, and what is damaged, comes last."""
    orders = {name: family.order for name, family in FAMILIES.items()}
    return tuple(sorted(runs, key=lambda r: (orders.get(r.family, len(orders)), r.name)))


def pictures_of(folder: Path) -> tuple[int, ...]:
    """Images seen at each grid of samples of a run, in order."""
    return tuple(seen for seen, _ in files.numbered(folder / SAMPLES, ".png"))


def planned_images(record: RunRecord) -> list[float]:
    """Images of each phase as they were planned."""
    shares = record.calibration.shares if record.calibration else (1.0,)
    return [share * record.planned_images for share in shares]


def with_progress(run: ShownRun, record: RunRecord, losses: Sequence[Losses]) -> ShownRun:
    """A run that is not done with how far it has come, from the last line of its losses."""
    if not losses:
        return replace(run, remaining=record.deadline.seconds if record.deadline else None)
    last = losses[-1]
    before = planned_images(record)[: int(last.phase)]
    images = round(sum(before) + last.images)
    seconds = last.seconds or 0.0
    remaining = None
    if record.deadline is not None:
        remaining = max(0.0, record.deadline.seconds - seconds)
    elif images and run.planned:
        remaining = max(0.0, seconds * (run.planned / images - 1))
    if remaining is not None and not math.isfinite(remaining):  # of a log that is not ours
        remaining = None
    return replace(run, images=images, seconds=seconds, remaining=remaining)


def is_held(folder: Path) -> bool:
    """Whether a process trains into a folder.

    A killed one leaves its name behind, so it is looked whether that process lives, and whether it
    began before it wrote its name.
    """
    path = folder / HOLDER
    try:
        owner = files.parse_json(files.read_bytes(path, MOST_HOLDER))
        if owner["machine"] != socket.gethostname():  # of a shared disk: its log must be alive
            return time.time() - (folder / LOG).stat().st_mtime < SILENT
        process = psutil.Process(int(owner["process"]))
        alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return alive and process.create_time() <= path.stat().st_mtime + 1
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return False


def check_root(root: Path, named: bool) -> None:
    """InputError unless a folder can be served.

    named: whether the user typed it; the usual one may be made by the first training
    """
    if root.is_dir():
        return
    if root.exists():
        raise InputError(f"{root} is a file", "name a folder that holds runs")
    if named:
        raise InputError(f"there is no folder {root}", "name one that holds runs, or make it")
