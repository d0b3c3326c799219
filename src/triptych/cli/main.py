"""The command line: runs, prints, and turns errors into exit codes; decides nothing."""

from __future__ import annotations

import io
import json
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

from triptych import distributed
from triptych.cli.parser import parse
from triptych.errors import InputError, InterruptedRunError, Terminated, TrainingFailedError
from triptych.hardware import (
    keep_memory,
    let_processor_help,
    let_threads_sleep,
    out_of_memory,
)


def main() -> None:
    """Entry point: exit code 0 done, 1 our fault, 2 the input's, 130 and 143 interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # whatever names data bring
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.SIG_DFL:  # as `__main__` leaves it
        interrupt = signal.default_int_handler
    elif interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # libraries break when stopped in an import
    try:
        code = attempt(interrupt)
    finally:
        distributed.leave()
    sys.exit(code)


def attempt(interrupt: Any) -> int:
    """Do what the command line asks for; the exit code. Nothing of what was done lives on.

    interrupt: what heeds Ctrl-C once the libraries are there
    """
    try:
        command = parse(sys.argv[1:])
        let_threads_sleep()  # before torch is imported, as the next
        let_processor_help()
        if command.runs_models:
            keep_memory()
        if command.needs_torch:
            import triptych.api  # noqa: F401 # and with it all that is slow to import
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, leave)
        answer = command.run()
        if distributed.speaks():
            with suppress(BrokenPipeError):  # who reads it has read enough
                print(json.dumps(answer, indent=2) if command.json else answer, flush=True)
        return 0
    except InputError as error:
        return complain(str(error), 2)
    except TrainingFailedError as error:
        return complain(str(error), 1)
    except InterruptedRunError as error:
        return complain("saved; the same command goes on from here", error.exit_code)
    except KeyboardInterrupt:
        return 130
    except Terminated as error:
        return error.exit_code
    except OSError as error:
        return complain(refusal(error), 1)
    except RuntimeError as error:
        return complain(what_failed(error), 1)


def leave(number: int, frame: FrameType | None) -> NoReturn:
    """End on SIGTERM as on Ctrl-C: what is half-made is removed on the way out."""
    raise Terminated(number)


def refusal(error: OSError) -> str:
    """The file that the system refused, and why: a full disk, a folder without permission."""
    file = "a file" if error.filename is None else error.filename
    return f"cannot read or write {file} ({error.strerror or error})"


def what_failed(error: RuntimeError) -> str:
    """Memory that was refused, or other processes that are gone; any other error is a fault."""
    if out_of_memory(error):
        return "out of memory: use --microbatch, or a smaller batch"
    if distributed.lost(error):
        return "another process of this job is gone: the same command goes on from the checkpoint"
    raise error


def complain(message: str, code: int) -> int:
    """One line on standard error, from one process of each machine."""
    if distributed.speaks_here():
        shown = "".join(letter for letter in " ".join(message.split()) if letter.isprintable())
        print(f"triptych: {shown}", file=sys.stderr)
    return code
