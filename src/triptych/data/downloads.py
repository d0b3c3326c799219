"""Files from the network: each is fetched once, resumed after an interruption, and verified.

A file is written to `NAME.part` and renamed when its digests are right, so a file under its own
name is complete. requests speaks HTTP; with filelock one process fetches while others wait.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from triptych.data.sources import Progress
from triptych.errors import InputError
from triptych.files import replace, sync, sync_folder

if TYPE_CHECKING:
    from requests import Response

CHUNK = 1 << 15  # bytes; no more than this is lost when a connection is cut
TIMEOUT = (10.0, 30.0)  # seconds to connect, and between one byte and the next
TRIES = 3  # in a row that bring nothing new, then it is given up
PAUSE = 1.0  # seconds before the next try, and between two looks at another process
PASSING = (408, 429, 500, 502, 503, 504)  # statuses that may be better the next time
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


@dataclass(frozen=True)
class RemoteFile:
    """A public file and its digests.

    name:   its name on disk
    md5:    hexadecimal, where its publisher states it
    sha256: hexadecimal; at least one of the two digests is needed
    size:   in bytes
    """

    name: str
    url: str
    md5: str | None = None
    sha256: str | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise ValueError(f"{self.url} is no http address")
        if self.md5 is None and self.sha256 is None:
            raise ValueError(f"{self.name} has no digest")


class CutError(Exception):
    """The connection failed or ended too early; another one may succeed."""


class UnreachableError(Exception):
    """The file cannot be fetched; the message is the reason."""


class OtherFileError(Exception):
    """The server sends another file."""


def fetch(file: RemoteFile, folder: Path, progress: Progress) -> Path:
    """The path of the verified file, fetched unless it is there; progress is in bytes.

    InputError where it cannot be fetched or written. Every call computes the digest (about
    0.5 GB/s), but only once for each resolution: afterwards the decoded images are stored.
    """
    path = folder / file.name
    try:
        if not path.is_file() or difference(path, file) is not None:
            folder.mkdir(parents=True, exist_ok=True)
            with alone(path, file, progress):
                fetch_alone(file, path, progress)
    except OSError as error:
        needed = f"; it takes {file.size:,} bytes" if file.size else ""
        raise InputError(
            f"cannot read or write {path} ({error.strerror or error}{needed})",
            "free some room, or name another folder in TRIPTYCH_CACHE",
        ) from error
    return path


def fetch_alone(file: RemoteFile, path: Path, progress: Progress) -> None:
    """Fetch, verify and rename, unless another process just did."""
    old = difference(path, file) if path.is_file() else "absent"
    if old is None:
        return
    part = part_of(path)
    mismatch = None
    for _ in range(2):  # a part may come from a file that changed since, so once more, whole
        try:
            check_room(file, part)
            gather(file, part, progress)
            mismatch = difference(part, file)
        except OtherFileError as error:
            mismatch = str(error)
        except UnreachableError as error:
            there = "" if old == "absent" else f", and {path} is another file ({old})"
            raise InputError(
                f"cannot fetch {file.url} ({error}){there}",
                f"download it yourself and put it at {path}",
            ) from error
        finally:
            if size_of(part) == 0:  # nothing to go on from
                part.unlink(missing_ok=True)
        if mismatch is None:
            sync(part)
            replace(part, path)
            sync_folder(path.parent)
            return
        part.unlink(missing_ok=True)
    raise InputError(
        f"{file.url} does not give {file.name} as it was published ({mismatch})",
        f"try again later, or put the right file at {path}",
    )


def difference(path: Path, file: RemoteFile) -> str | None:
    """How this differs from the file, in size or digest; None where it does not."""
    size = size_of(path)
    if file.size is not None and size != file.size:
        return f"{size:,} bytes instead of {file.size:,}"
    for name, expected in (("md5", file.md5), ("sha256", file.sha256)):
        if expected is not None:
            with path.open("rb") as content:
                digest = hashlib.file_digest(content, name).hexdigest()
            if digest != expected:
                return f"{name} {digest} instead of {expected}"
    return None


def check_room(file: RemoteFile, part: Path) -> None:
    """InputError where the disk has too little room for the rest of the file."""
    free = shutil.disk_usage(part.parent).free
    missing = (file.size or 0) - size_of(part)
    if missing > free:
        raise InputError(
            f"no room in {part.parent} for {file.name}: {missing:,} bytes needed, {free:,} free",
            "free some room, or name another folder in TRIPTYCH_CACHE",
        )


def gather(file: RemoteFile, part: Path, progress: Progress) -> None:
    """Receive until the part is complete; after a cut connection, resume."""
    idle, most = 0, size_of(part)
    while file.size is None or size_of(part) < file.size:
        try:
            receive(file, part, progress)
            return
        except CutError as error:
            # Against the most there ever was: a server without ranges starts anew each time.
            idle, most = (0, size_of(part)) if size_of(part) > most else (idle + 1, most)
            if idle == TRIES:
                raise UnreachableError(str(error)) from error
            time.sleep(PAUSE)


def receive(file: RemoteFile, part: Path, progress: Progress) -> None:
    """Request the missing bytes and append them to the part as they come.

    requests supports only http and https, so a redirect leads to no other scheme.
    """
    import requests
    import urllib3

    have = size_of(part)
    headers = {"Accept-Encoding": "identity", "User-Agent": "triptych"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with (
            requests.Session() as session,
            session.get(file.url, headers=headers, stream=True, timeout=TIMEOUT) as response,
        ):
            copy(response, file, part, have, progress)
    except requests.ConnectTimeout as error:
        raise UnreachableError("no answer") from error  # the wait was long enough for one
    except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
        raise CutError(reason(error)) from error
    except requests.RequestException as error:
        raise UnreachableError(reason(error)) from error


def copy(response: Response, file: RemoteFile, part: Path, have: int, progress: Progress) -> None:
    """Append the body to the part, or replace the part where the server cannot resume."""
    status = f"{response.status_code} {response.reason}"
    start = starting_byte(response)
    if response.status_code == 416 or start not in (0, have):
        part.unlink(missing_ok=True)
        raise CutError(status)
    if response.status_code in PASSING:
        raise CutError(status)
    if response.status_code not in (200, 206):
        raise UnreachableError(status)
    announced = response.headers.get("Content-Length", "")
    length = int(announced) if announced.isdecimal() else 0
    total = file.size or (start + length if length else 0)
    if have and not start and length and length != total:  # as of a hotel that asks to log in
        raise UnreachableError(f"{length:,} bytes instead of {total:,}")
    if length and start + length != total:
        raise OtherFileError(f"{start + length:,} bytes instead of {total:,}")
    done = start
    with part.open("ab" if start else "wb") as out:
        # As it is on the wire: servers may say "encoded with gzip" of a .gz file.
        for chunk in response.raw.stream(CHUNK, decode_content=False):
            out.write(chunk)
            done += len(chunk)
            if total and done > total:
                raise OtherFileError(f"more than {total:,} bytes")
            progress(done, total)
    if done < total:
        raise CutError("the connection ended early")


def starting_byte(response: Response) -> int:
    """The byte of the file at which the body starts; -1 where the server does not say."""
    if response.status_code != 206:
        return 0
    match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(match.group(1)) if match else -1


def reason(error: BaseException) -> str:
    """The message of the innermost cause, on one line."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    message = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(message).split())


@contextmanager
def alone(path: Path, file: RemoteFile, progress: Progress) -> Iterator[None]:
    """Hold the file's lock; while another process holds it, report that one's progress."""
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"))
    while not lock.is_locked:
        try:
            lock.acquire(timeout=PAUSE)
        except Timeout:
            progress(size_of(part_of(path)), file.size or 0)
    try:
        yield
    finally:
        lock.release()


def part_of(path: Path) -> Path:
    """The path of the incomplete file."""
    return path.with_name(f"{path.name}.part")


def size_of(path: Path) -> int:
    """In bytes; 0 when there is no such file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
