"""Errors a user can cause or must be told of; everything else is our fault."""

from __future__ import annotations


class InputError(Exception):
    """Something the user can mend: printed as one line, exit code 2.

    >>> str(InputError("no images in photos", "name a folder that holds some"))
    'no images in photos: name a folder that holds some'
    """

    def __init__(self, wrong: str, mend: str) -> None:
        super().__init__(f"{wrong}: {mend}")
        self.wrong, self.mend = wrong, mend


# What importing another's package may raise: anything, but what the user asks for by a signal.
ANYTHING = (Exception, SystemExit)


class Terminated(BaseException):
    """SIGTERM came, where nothing saves on it; like KeyboardInterrupt it is nobody's failure."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"ended by signal {signal_number}")
        self.exit_code = 128 + signal_number


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its type.

    >>> first_line(OSError("no network\\nmore")), first_line(OSError())
    ('no network', 'OSError')
    """
    return next(iter(str(error).splitlines()), type(error).__name__)


class TrainingFailedError(Exception):
    """Training cannot go on, through no fault of the input: exit code 1."""


class InterruptedRunError(KeyboardInterrupt):
    """A signal asked the run to stop and it was saved: exit code 128 + signal number.

    It is no `Exception`, lest a loop that goes on after failures swallows Ctrl-C.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}")
        self.exit_code = 128 + signal_number
