"""Paths as users give them, files that are complete or absent, and files from strangers.

We write a file under another name, sync it, then rename it; an error names the path and the bytes
needed. Files that we read may be anybody's: their size is limited before they are opened.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from triptych.errors import InputError

MOST_JSON = 2**20  # bytes; parsed, the worst text of that size takes some 30 MB
MOST_RESULTS = 2**25  # bytes of results.json: every pair of models in every number
MOST_DIGITS = 19  # of a whole number of 64 bits
IN_USE = (5, 32)  # Windows' numbers for "access is denied" and "another process uses the file"
PAUSES = (0.01, 0.03, 0.1, 0.3, 1.0)  # seconds: who reads our files closes them soon
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]+')  # in names of files on Windows
DEVICES = re.compile(r"(?i:con|prn|aux|nul|(?:com|lpt)[1-9])(?=\.|$)")  # there too, with any ending


def as_path(value: object, name: str) -> Path:
    """A path that is given as text or as os.PathLike; InputError on anything else.

    A ~ at its head is the user's home: a shell leaves that of --out=~/runs as it is.
    name: of the argument that it is given for
    """
    if not isinstance(value, str | os.PathLike):
        wrong = f"{name} takes a path, not {kind_of(value)}"
        raise InputError(wrong, "give a str or a pathlib.Path")
    text = os.fsdecode(value)
    if not text or "\0" in text:
        wrong = "text with a zero byte" if text else "empty text"
        raise InputError(f"{name} takes a path, not {wrong}", "name a file or a folder")
    return expanded(text)


def as_paths(value: object, name: str) -> tuple[Path, ...]:
    """Paths that are given as a list or the like; one alone stands for a list of one."""
    if isinstance(value, str | os.PathLike) or not isinstance(value, Iterable):
        return (as_path(value, name),)
    return tuple(as_path(each, name) for each in value)


def kind_of(value: object) -> str:
    """What a message calls a value of the wrong kind."""
    return "None" if value is None else type(value).__name__


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a crash leaves the old file or the new one."""
    write_bytes(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a crash leaves the old one or the new one; OSError as `writing`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path, len(data)):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def replace(source: Path, target: Path) -> None:
    """Rename a file or a folder; a file takes the place of one that has the name.

    Windows refuses this while any process has one of them open, as the live page has for moments;
    there it is tried again for a second and a half before the PermissionError is raised.
    """
    for seconds in PAUSES:
        try:
            source.replace(target)
            return
        except PermissionError as error:
            if getattr(error, "winerror", None) not in IN_USE:
                raise
            time.sleep(seconds)
    source.replace(target)


def remove(path: Path) -> None:
    """Remove a file that we can do without; it stays where the system refuses."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def append_bytes(path: Path, data: bytes) -> None:
    """Append all of the data to a file, or nothing; OSError as `writing`."""
    with writing(path, len(data)), path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            remaining = memoryview(data)
            while remaining:
                remaining = remaining[file.write(remaining) :]
        except OSError:
            file.truncate(before)
            raise


@contextmanager
def writing(path: Path, needed: int) -> Iterator[None]:
    """Inside, an OSError is raised again with the path and the bytes needed.

    OSError at once where the disk has less room than that.
    """
    try:
        disk = shutil.disk_usage(path.parent)
        if disk.total > 0 and disk.free < needed:  # some network disks tell nothing
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield
    except OSError as error:
        reason = f"{error.strerror or error}; {needed:,} bytes are needed"
        raise OSError(error.errno or errno.EIO, reason, str(path)) from error


def read_json(path: Path, mend: str, most: int = MOST_JSON) -> Any:
    """Parsed JSON; InputError naming the file when it is missing, damaged or larger than `most`."""
    try:
        return parse_json(read_bytes(path, most))
    except FileNotFoundError:
        raise InputError(f"{path} is missing", mend) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error})", mend) from error


def read_bytes(path: Path, most: int) -> bytes:
    """A file's contents; ValueError where it is larger, or a pipe or a device."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is larger than {most:,} bytes")
    return data


def parse_json(data: bytes) -> Any:
    """JSON as we write it; ValueError on numbers that are none, endless ones and deep nesting.

    >>> parse_json(b'{"seen": 64}')
    {'seen': 64}
    """
    try:
        return json.loads(
            data, parse_constant=real_number, parse_float=real_number, parse_int=whole_number
        )
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def real_number(text: str) -> float:
    """A finite float; ValueError on NaN, infinity and what would become one."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:MOST_DIGITS]} is no number")
    return value


def whole_number(text: str) -> int:
    """An int of 64 bits; ValueError beyond."""
    if len(text.lstrip("-")) > MOST_DIGITS or not fits_64_bits(value := int(text)):
        raise ValueError(f"{text[:MOST_DIGITS]} is too large")
    return value


def fits_64_bits(value: int) -> bool:
    """Whether a number is one that our JSON, and other programs, can hold."""
    return -(2**63) <= value < 2**63


def sha256(path: Path) -> str:
    """Digest of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def visible(folder: Path) -> list[Path]:
    """The entries of a folder without dot-files, which a killed process may have left."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")]


def numbered(folder: Path, ending: str, digits: int = 9) -> list[tuple[int, Path]]:
    """Files that are called by a whole number as we write it, by number.

    digits: at least so many, with zeros before it
    Empty where there is no such folder, or where it cannot be read.
    """
    try:
        paths = [path for path in folder.iterdir() if path.suffix == ending and path.is_file()]
    except OSError:
        return []
    named = [(int(p.stem), p) for p in paths if p.stem.isascii() and p.stem.isdecimal()]
    return sorted((number, path) for number, path in named if path.stem == f"{number:0{digits}d}")


def clean(folder: Path) -> None:
    """Remove `.<name>.tmp` files and folders, which a killed process may have left."""
    if folder.is_dir() and not folder.is_symlink():
        for path in folder.glob(".*.tmp"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make sure that a file's contents are on the disk."""
    with path.open("r+b") as file:  # Windows syncs no file that is open for reading alone
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Make sure that a folder's names are on the disk; Windows, where none opens, sees to it."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # shared folders of virtual machines sync none
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
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


def check_can_make(path: Path) -> None:
    """InputError where `make_folder` could not make a folder; nothing is made."""
    there = next(part for part in (path, *path.absolute().parents) if part.exists())
    if not there.is_dir():
        reason = os.strerror(errno.ENOTDIR)
        raise InputError(f"cannot make {path} ({reason})", "name another folder")
    if not os.access(there, os.W_OK):
        raise InputError(f"cannot write to {there}", "name another folder")


def portable_name(text: str) -> str:
    """A text as a name of a file or folder that every system takes.

    >>> portable_name("owner/photos:256"), portable_name("aux"), portable_name("etc. ")
    ('owner-photos-256', 'aux-', 'etc')
    """
    name = FORBIDDEN.sub("-", text).rstrip(". ")
    device = DEVICES.match(name)
    return name if device is None else f"{device[0]}-{name[device.end() :]}"


def relative_path(path: Path, start: Path) -> str:
    """The way to a path from a folder, with slashes; the whole path where there is none.

    On Windows no way leads from one drive to another.
    """
    named = path.name not in ("", "..")
    # ".." leads where links lead, while the folder itself keeps the name that it has here
    whole = path.parent.resolve() / path.name if named else path.resolve()
    try:
        return Path(os.path.relpath(whole, start.resolve())).as_posix()
    except ValueError:
        return path.absolute().as_posix()


def expanded(text: str | os.PathLike[str]) -> Path:
    """A path whose ~ is the user's home; as it is where there is no such user."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def first_free(path: Path, usable: Callable[[Path], bool]) -> Path:
    """The first usable path of PATH, PATH-2, PATH-3 ..."""
    candidate, number = path, 2
    while not usable(candidate):
        candidate, number = path.with_name(f"{path.name}-{number}"), number + 1
    return candidate
