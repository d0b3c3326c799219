"""One process at a time trains into a run's folder.

The system itself drops the lock of a process that ends, however it ends, so a stale one blocks
nobody. What the file beside it says is only for the message to the second process.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from triptych import files
from triptych.errors import InputError

LOCK, HOLDER = ".lock", ".holder.json"
MOST_HOLDER = 4096  # bytes


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made; folders that are still empty afterwards are removed again.

    Raises InputError where another process holds it, naming that one.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    files.make_folder(folder)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{folder} is being trained by {holder(folder)}", "wait for it, or name another --out"
        ) from None
    try:
        me = {"process": os.getpid(), "machine": socket.gethostname()}
        files.write_json(folder / HOLDER, me)
        yield
    finally:
        for name in (HOLDER, LOCK):
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # not empty: something was made
            for path in missing:
                path.rmdir()
        lock.release()


def holder(folder: Path) -> str:
    """Who holds the folder."""
    try:
        known = files.parse_json(files.read_bytes(folder / HOLDER, MOST_HOLDER))
        return f"process {known['process']} on {known['machine']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
