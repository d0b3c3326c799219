"""What resuming needs, in folders that are complete or absent.

A checkpoint is written under a temporary name with a manifest of SHA-256 digests, synced and
renamed. Reading trusts nothing: names, sizes, digests and contents are verified, and what does
not hold is passed over for the one before. No pickle is involved.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from triptych import files, hardware
from triptych.records import Note, Progress
from triptych.training import tensorfile

KEPT = 2  # the newest so many
MOST_TRIED = 8  # of a folder's checkpoints; ours are fewer
MOST_FILES = 64  # in one checkpoint; ours are fewer
MOST_TEXT = 2**16  # bytes of manifest and progress
EXTRA = 2**16  # bytes of the texts, and of rounding files up to pages
MANIFEST = "manifest.json"
PROGRESS = "progress.json"
NAME = re.compile(r"([0-9]{1,4})-([0-9]{12,18})")

Tensors = dict[str, dict[str, Tensor]]


def save(folder: Path, tensors: Tensors, progress: Progress) -> Path:
    """Write `folder/<phase>-<seen>`; `progress` tells how far it is.

    The folder is made, its parent is not: a run that vanished stays so. OSError names the
    checkpoint and the bytes that it takes; the ones before are then as they were.
    """
    name = name_of(progress)
    final, temporary = folder / name, folder / f".{name}.{os.getpid()}.tmp"
    with files.writing(folder, size(tensors)):
        try:
            if not folder.is_dir():
                folder.mkdir()
                files.sync_folder(folder.parent)
            shutil.rmtree(temporary, ignore_errors=True)
            write(temporary, tensors, progress)
            discard(final)  # one gone back to is written again
            files.replace(temporary, final)
            files.sync_folder(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        # Those that nothing will go back to stand beside the two newest that something may; what
        # lies further on than this one is damaged, or was left behind by going back. The end of
        # the first phase stays: from there another training may go on.
        there = complete(folder)
        here = there.index(final) + 1
        first_end = end_of_first_phase(folder)
        usable = 0
        for old in reversed(there[:here]):
            if usable < KEPT:
                usable += may_be_returned_to(old)
            elif old != first_end:
                discard(old)
        for later in there[here:]:
            discard(later)
    return final


def may_be_returned_to(path: Path) -> bool:
    """Whether a checkpoint is whole enough to tell so, and was not gone back to before."""
    try:
        return not read_progress(path).returned
    except tensorfile.DAMAGE:
        return False


def write(folder: Path, tensors: Tensors, progress: Progress) -> None:
    """All files of a checkpoint into a new folder, on the disk when this returns."""
    folder.mkdir()
    for part, named in tensors.items():
        tensorfile.write(folder / f"{part}.safetensors", named)
    (folder / PROGRESS).write_text(json.dumps(progress.to_json()), encoding="utf-8")
    written = sorted(folder.iterdir())
    digests = {file.name: files.sha256(file) for file in written}
    (folder / MANIFEST).write_text(json.dumps(digests), encoding="utf-8")
    for file in folder.iterdir():
        files.sync(file)
    files.sync_folder(folder)


def size(tensors: Tensors) -> int:
    """Bytes that a checkpoint of these takes at most."""
    return sum(map(tensorfile.size, tensors.values())) + EXTRA


def name_of(progress: Progress) -> str:
    """What the checkpoint of this moment is called."""
    return f"{progress.phase}-{progress.seen:012d}"


def complete(folder: Path) -> list[Path]:
    """Checkpoints that were renamed into place, earliest first; other things are left alone."""
    if not folder.is_dir():
        return []
    named = [p for p in folder.iterdir() if NAME.fullmatch(p.name)]
    ours = [p for p in named if p.is_dir() and not p.is_symlink()]
    return sorted(ours, key=lambda path: [int(part) for part in path.name.split("-")])


def end_of_first_phase(folder: Path) -> Path | None:
    """The newest checkpoint of the first phase; None where there is none."""
    first = [path for path in complete(folder) if path.name.startswith("0-")]
    return first[-1] if first else None


def keep_end_of_first_phase(folder: Path) -> None:
    """Discard all but the newest checkpoint of the first phase, from which training may go on."""
    for path in complete(folder):
        if path != end_of_first_phase(folder):
            discard(path)


def discard(path: Path) -> None:
    """Remove a checkpoint, or all, if there; a crash leaves what it was whole, or hidden."""
    if path.exists():
        hidden = path.with_name(f".{path.name}.{os.getpid()}.old.tmp")
        files.replace(path, hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def drop_returned(folder: Path) -> None:
    """Give up the newest checkpoints that were gone back to before: they did not help."""
    for path in reversed(complete(folder)[-MOST_TRIED:]):
        try:
            returned = read_progress(path).returned
        except tensorfile.DAMAGE:
            continue  # whoever looks for the newest will say so
        if not returned:
            return
        discard(path)


def newest(
    folder: Path, accept: Callable[[Tensors, Progress], object], most_bytes: int
) -> tuple[Progress | None, list[Note]]:
    """Progress of the newest checkpoint that holds and is accepted; what was passed over.

    accept:     takes in tensors and progress, or raises where they do not fit
    most_bytes: no checkpoint of this model is larger; larger ones are not even read

    An error of memory or of the accelerator is raised: the checkpoint is as good as it was, and
    training that began without it would discard it.
    """
    passed_over: list[Note] = []
    for path in reversed(complete(folder)[-MOST_TRIED:]):
        try:
            tensors, progress = load(path, most_bytes)
            accept(tensors, progress)
            return progress, passed_over
        except tensorfile.DAMAGE as error:
            if hardware.of_the_machine(error):
                raise
            values = {"name": path.name, "reason": tensorfile.reason(error)}
            passed_over.append(Note("checkpoint_damaged", {**values}))
    return None, passed_over


def load(path: Path, most_bytes: int) -> tuple[Tensors, Progress]:
    """One checkpoint, verified: sizes first, then digests, then contents.

    Raises one of `tensorfile.DAMAGE`, which says what does not hold.
    """
    sizes = file_sizes(path)
    if sum(sizes.values()) > most_bytes:
        raise ValueError(f"it holds {sum(sizes.values()):,} bytes, ours at most {most_bytes:,}")
    manifest = files.parse_json(files.read_bytes(path / MANIFEST, MOST_TEXT))
    if not isinstance(manifest, dict) or manifest.keys() != sizes.keys() - {MANIFEST}:
        raise ValueError("it does not hold the files of its manifest")
    for name, digest in manifest.items():
        if files.sha256(path / name) != digest:
            raise ValueError(f"{name} differs from its digest")
    progress = read_progress(path)
    parts = [name for name in manifest if name.endswith(".safetensors")]
    return {Path(name).stem: copied(tensorfile.read(path / name)) for name in parts}, progress


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same in memory of their own: Windows removes no file that tensors are mapped from."""
    return {name: tensor.clone() for name, tensor in tensors.items()}


def file_sizes(path: Path) -> dict[str, int]:
    """Bytes of each file in a checkpoint; ValueError on links, folders, devices and crowds."""
    sizes: dict[str, int] = {}
    with os.scandir(path) as entries:
        for entry in entries:
            if not entry.is_file(follow_symlinks=False) or len(sizes) == MOST_FILES:
                raise ValueError(f"{entry.name} does not belong into it")
            sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
    return sizes


def read_progress(path: Path) -> Progress:
    """How far a checkpoint had come; ValueError unless that is what its name says."""
    values = files.parse_json(files.read_bytes(path / PROGRESS, MOST_TEXT))
    try:
        progress = Progress.read(values)
    except ValueError as error:
        raise ValueError(f"{PROGRESS} does not tell how far it came: {error}") from error
    if name_of(progress) != path.name:
        raise ValueError(f"{PROGRESS} is of {name_of(progress)}")
    return progress
