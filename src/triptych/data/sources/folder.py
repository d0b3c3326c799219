"""A folder of images: in one heap, in class folders, in parts, or listed by metadata.

Only names, sizes and times are looked at here; the files are read where they are decoded.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from triptych import files
from triptych.data.sources import BadImageError, Columns, Item, Source, printable
from triptych.data.sources.arrange import arrange
from triptych.data.sources.layout import (
    LITTER,
    abridged,
    is_image,
    no_images,
    notes_on_others,
    suffix_of,
)
from triptych.data.sources.metadata import is_label_text, is_table
from triptych.errors import InputError
from triptych.records import Note

OTHER_TABLES = (".csv", ".tsv", ".jsonl")
BY_HANDLE = os.scandir in os.supports_fd  # whether folders have handles: not on Windows
OWN = ("run.json", "contract.json")  # in folders that we wrote: our samples are no data
OWN_KEYS = {"schema", "triptych"}  # what both hold; other programs write files of these names too
RUNS = "runs"  # where trainings and contact sheets are put by default


class FileEntry(NamedTuple):
    """One regular file: its name below the folder, bytes, nanoseconds since 1970."""

    name: str
    size: int
    mtime_ns: int


@dataclass
class Walked:
    """What a folder holds, all that is hidden aside.

    files:      regular files, by name
    passed:     how many pipes, devices and dangling links were passed over
    unreadable: sub-folders that could not be opened, and why
    ours:       sub-folders that we made, which were passed over
    """

    files: list[FileEntry] = field(default_factory=list)
    passed: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    ours: list[str] = field(default_factory=list)


def walk(folder: Path) -> list[FileEntry]:
    """All regular files in and below a folder, by name; InputError when it cannot be opened."""
    return explore(folder).files


def explore(folder: Path) -> Walked:
    """As `walk`, with what was passed over.

    Links are followed, but no folder is entered twice, so loops end. A folder that lies here is
    entered under its own name, not under a link's, so a link changes no class.
    """
    walked = Walked()
    entered: set[tuple[int, int]] = set()
    folders: list[str] = [""]
    links: list[str] = []
    while folders or links:
        if not folders:  # links come last, when all that lies here by itself is entered
            links.sort(reverse=True)
        name = folders.pop() if folders else links.pop()
        try:
            status = (folder / name).stat()
            if (status.st_dev, status.st_ino) not in entered:
                entered.add((status.st_dev, status.st_ino))
                list_folder(folder, name, walked, folders, links)
        except OSError as error:
            if not name:
                raise InputError(
                    f"cannot read {printable(str(folder))} ({error.strerror})",
                    "check its permissions",
                ) from error
            walked.unreadable[name] = error.strerror or str(error)
    walked.files.sort(key=attrgetter("name"))
    return walked


def list_folder(
    folder: Path, name: str, walked: Walked, folders: list[str], links: list[str]
) -> None:
    """Add the files directly in one folder to `walked`, its sub-folders to `folders` or `links`."""
    path = folder / name
    ours = own_record(path)
    if ours is not None and not name:
        raise InputError(
            f"{printable(str(folder))} holds {ours}, as folders do that triptych made",
            "name a folder of images; if it is one, move that file away",
        )
    if ours is not None:
        walked.ours.append(name)
        return
    sheets = posixpath.basename(name) == RUNS and beside_ours(path)
    prefix = f"{name}/" if name else ""
    # By it every file is looked up faster than by its path.
    handle = os.open(path, os.O_RDONLY) if BY_HANDLE else None
    try:
        with os.scandir(path if handle is None else handle) as entries:
            for entry in entries:
                own = entry.name
                below = prefix + own
                if own.startswith(".") or own.lower() in LITTER or (sheets and is_sheet(own)):
                    continue
                try:
                    if entry.is_dir():
                        (links if entry.is_symlink() else folders).append(below)
                        continue
                    status = entry.stat()
                except OSError:  # a link to nothing or to itself, or removed since
                    walked.passed += 1
                    continue
                if stat.S_ISREG(status.st_mode):
                    walked.files.append(FileEntry(below, status.st_size, status.st_mtime_ns))
                else:
                    walked.passed += 1
    finally:
        if handle is not None:
            os.close(handle)


def own_record(folder: Path) -> str | None:
    """The file in a folder that shows that we made it; None where we did not.

    One that cannot be read is taken for ours: its folder may be a run.
    """
    for name in OWN:
        try:
            if not (folder / name).exists():
                continue
            values = files.read_json(folder / name, "")
        except PermissionError:  # a folder that is closed
            continue
        except InputError:
            return name
        if isinstance(values, dict) and values.keys() >= OWN_KEYS:
            return name
    return None


def beside_ours(runs: Path) -> bool:
    """Whether a folder holds some that we made."""
    return any(own_record(below) for below in runs.iterdir() if below.is_dir())


def is_sheet(name: str) -> bool:
    """Whether a file in `runs` is called as the contact sheets of `triptych data` are."""
    return bool(re.fullmatch(r"data-.*\.png", name, re.DOTALL))


def read_folder(folder: Path, columns: Columns) -> Source:
    """Images in a folder; sub-folders are parts (train, test, validation) and classes.

    Files of metadata beside the images list them and their labels where they are there.
    InputError when there are no images, or when the metadata are malformed.
    """
    folder_name = printable(str(folder))
    walked = explore(folder)
    names = [file.name for file in walked.files if is_image(file.name)]
    tables = contents_of(folder, walked, is_table)
    texts = contents_of(folder, walked, is_label_text) if columns.labeled else {}
    layout = arrange(names, tables, columns, folder_name, walked.unreadable, texts)
    if not layout.entries:
        raise no_images(folder_name, other_suffixes(walked), is_folder=True)

    def items() -> Iterator[Item]:
        for name, part, label, problem in layout.entries:
            path = folder / (layout.top + name)
            content = path if problem is None else BadImageError(problem)
            yield Item(printable(name), content, label, part)

    return Source(items, len(layout.entries), notes=layout.notes + notes_on(walked))


def contents_of(folder: Path, walked: Walked, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The bytes of the files whose names are wanted, by name."""
    contents = {}
    for file in walked.files:
        if wanted(file.name):
            try:
                contents[file.name] = (folder / file.name).read_bytes()
            except OSError as error:
                raise InputError(
                    f"cannot read {printable(file.name)} ({error.strerror})", "check it"
                ) from error
    return contents


def other_suffixes(walked: Walked) -> Counter[str]:
    """How many files of each suffix are neither images nor tell of them."""
    return Counter(
        suffix_of(file.name)
        for file in walked.files
        if not (is_image(file.name) or is_table(file.name) or is_label_text(file.name))
    )


def notes_on(walked: Walked) -> tuple[Note, ...]:
    """Notes on files that were passed over."""
    notes: list[Note] = []
    suffixes = other_suffixes(walked)
    if parquet := suffixes.pop(".parquet", 0):
        notes.append(Note("parquet_passed_over", {"n": parquet}))
    notes += notes_on_others(suffixes)
    if not any(is_table(file.name) for file in walked.files):
        names = [file.name for file in walked.files if file.name.lower().endswith(OTHER_TABLES)]
        if names:
            notes.append(
                Note("tables_passed_over", {"files": abridged(list(map(printable, names)))})
            )
    if walked.ours:
        folders = abridged([printable(name) for name in sorted(walked.ours)])
        notes.append(Note("own_folders_passed_over", {"n": len(walked.ours), "folders": folders}))
    if walked.passed:
        notes.append(Note("links_passed_over", {"n": walked.passed}))
    return tuple(notes)
