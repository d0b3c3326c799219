"""A trained run in forms that other programs open without this package.

A format is a function that writes a run into an empty folder. Its file is loaded when it is asked
for, so the names of all formats cost nothing.
"""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from triptych import files
from triptych.errors import InputError

if TYPE_CHECKING:
    from triptych.console import Console
    from triptych.run import Run

FORMATS = {  # of each the module and the function in it that writes it
    "pt2": "triptych.export.pt2:write",
    "onnx": "triptych.export.onnx:write",
    "safetensors": "triptych.export.source:write",
    "diffusers": "triptych.export.diffusers:write",
    "hub": "triptych.export.hub_folder:write",
}

Write = Callable[["Run", Path, "Console"], None]


def writer(format: str) -> Write:
    """What writes a format; InputError where there is no such format."""
    if format not in FORMATS:
        raise InputError(f"no --format '{format}'", f"choose from {', '.join(FORMATS)}")
    module, _, function = FORMATS[format].partition(":")
    write: Write = getattr(importlib.import_module(module), function)
    return write


def check_sampler(run: Run, format: str) -> None:
    """InputError where a format has no place for another sampler than the run's."""
    if format == "hub":
        wrong = "--format hub holds the run itself, whose sampler is its recipe's"
    elif format == "diffusers" and is_practical_s(run):
        wrong = f"of {run.record.model} diffusers' own scheduler draws, and is set in its pipeline"
    else:
        return
    raise InputError(wrong, "leave out --sampler, --steps, --eta and --guidance")


def is_practical_s(run: Run) -> bool:
    """Whether diffusers has a pipeline of its own for the run."""
    from triptych.export import diffusers

    return diffusers.ddpm_settings(run) is not None


def check_target(out: Path) -> None:
    """InputError where a run cannot be written.

    That is a file, a folder that holds something, or an empty one that another cannot replace: a
    link, a mount point, or where one works.
    """
    if out.is_dir() and next(out.iterdir(), None) is None:
        if out.is_symlink() or out.is_mount() or out.resolve() == Path.cwd():
            raise InputError(f"{out} cannot be replaced", "name a new folder as --out")
        files.check_can_make(out.absolute().parent)
        return
    if out.exists() or out.is_symlink():
        wrong = "is not empty" if out.is_dir() else "is there already, and is no folder"
        raise InputError(f"{out} {wrong}", "name a new folder as --out")
    files.check_can_make(out)


def write_run(run: Run, out: Path, format: str, console: Console) -> None:
    """Write a run into a folder that is complete or absent, or as empty as it was."""
    write = writer(format)
    check_target(out)
    out = out.absolute()
    files.make_folder(out.parent)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir()
        write(run, temporary, console)
        if out.exists():
            out.rmdir()
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    files.sync_folder(out.parent)
