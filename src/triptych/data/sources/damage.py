"""Files that cannot be read: the system's reason where it gives one, else what is wrong inside."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from triptych.data.sources.layout import printable
from triptych.errors import InputError

LONGEST = 200  # letters of a reason


@contextmanager
def told(path: Path, wrong: str, mend: str) -> Iterator[None]:
    """Whatever libraries raise against a file becomes one line, an InputError.

    wrong, mend: what to say where the file could be read but is not what it should be
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # each library raises its own kinds
        raise refused(path, error, wrong, mend) from error


def refused(path: Path, error: Exception, wrong: str, mend: str) -> InputError:
    """What to raise for a library's error."""
    shown = printable(str(path))
    # what the file says may lead a reader to before its start, which is EINVAL
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return InputError(f"cannot read {shown} ({os.strerror(error.errno or 0)})", "check it")
    reason = " ".join(str(error).split())[:LONGEST] or type(error).__name__
    return InputError(f"{shown} {wrong} ({reason})", mend)
