"""Files that are complete or absent: written beside their place, synced, then renamed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from triptych.errors import InputError


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a crash leaves the old file or the new one."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        error.filename = error.filename or str(path)  # a full disk names no file by itself
        raise
    sync_folder(path.parent)


def read_json(path: Path, mend: str) -> Any:
    """Parsed JSON; InputError naming the file when it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path} is missing", mend) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error})", mend) from error


def sha256(path: Path) -> str:
    """Digest of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def visible(folder: Path) -> list[Path]:
    """What is in a folder but for dot-files, which a killed process may have left half-written."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def sync(path: Path) -> None:
    """Make sure that a file's contents are on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Make sure that a folder's names are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make an output folder; InputError where that is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make {path} ({error.strerror})", "name another folder") from error
    if not os.access(path, os.W_OK):
        raise InputError(f"cannot write to {path}", "name another folder")


def first_free(path: Path, usable: Callable[[Path], bool]) -> Path:
    """The path itself, or with the first number that makes it usable."""
    candidate, number = path, 2
    while not usable(candidate):
        candidate, number = path.with_name(f"{path.name}-{number}"), number + 1
    return candidate
