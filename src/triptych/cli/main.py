"""The command line: parses, runs, prints, and turns errors into exit codes; decides nothing."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from itertools import dropwhile, takewhile
from types import FrameType
from typing import Any, NoReturn

import tyro

from triptych import distributed
from triptych.cli.commands import COMMANDS, Data, Everywhere, Report
from triptych.errors import InputError, InterruptedRunError, TrainingFailedError
from triptych.hardware import keep_memory, let_threads_sleep, out_of_memory

EXAMPLES = """examples:
  triptych compare                                 one of each family on the embedded digits
  triptych compare --data photos/ --budget 10m     the same on your own images
  triptych train diffusion --out runs/d            train one model
  triptych sample runs/d --count 64 --out d.png    draw from it
  triptych report runs/compare-street-digits-75s --lang fr
"""
RULE = "─"  # stands for a line across the box
KINDS = {"INT": "a whole number", "FLOAT": "a number"}


def parse(arguments: Sequence[str]) -> Everywhere:
    """The command asked for; InputError with one line for whatever the parser dislikes."""
    printed = io.StringIO()
    os.environ.setdefault("COLUMNS", "100")
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.extras.subcommand_cli_from_dict(
                COMMANDS,
                prog="triptych",
                description=EXAMPLES,
                args=list(arguments),
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.HelptextFromCommentsOff),
            )
    except SystemExit as stopped:
        if stopped.code in (0, None):
            raise
        known = {name: option_names(command) for name, command in COMMANDS.items()}
        raise InputError(*explain(printed.getvalue(), arguments, known)) from None


def option_names(command: Any) -> list[str]:
    """The options of a command as they are typed."""
    renamed = {"first": "from", "last": "to"}
    names = [field.name for field in fields(command) if "Positional" not in str(field.type)]
    return ["--" + renamed.get(name, name).replace("_", "-") for name in names]


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
        if not isinstance(command, Data | Report):
            keep_memory()
        if not isinstance(command, Report):
            import triptych.api  # noqa: F401 # and with it all that is slow to import
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, leave)
        found = command.run()
        if distributed.speaks():
            print(json.dumps(found, indent=2) if command.json else found)
        return 0
    except InputError as error:
        return complain(str(error), 2)
    except TrainingFailedError as error:
        return complain(str(error), 1)
    except InterruptedRunError as error:
        return complain("saved; the same command goes on from here", error.exit_code)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        return complain(refusal(error), 1)
    except RuntimeError as error:
        return complain(what_failed(error), 1)


def leave(number: int, frame: FrameType | None) -> NoReturn:
    """End on SIGTERM as on Ctrl-C: what is half-made is removed on the way out."""
    sys.exit(128 + number)


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


def explain(
    report: str, arguments: Sequence[str], commands: Mapping[str, Sequence[str]]
) -> tuple[str, str]:
    """What is wrong and the mend.

    report:   what the parser printed
    commands: the options of every command, as typed
    """
    typed = arguments[0] if arguments else ""
    if typed not in commands:
        wrong = f"no command '{typed}'" if typed else "no command given"
        return wrong, did_you_mean(typed, list(commands)) + f"choose from {', '.join(commands)}"
    see = f"see `triptych {typed} --help`"
    for word in arguments[1:]:
        option = word.partition("=")[0].replace("_", "-")
        if option.startswith("--") and option not in commands[typed]:
            return f"no option '{option}'", did_you_mean(option, commands[typed]) + see
    lines = unboxed(report)
    text = " ".join(line.strip() for line in lines)
    return explain_value(text) or (explain_words(text, lines), see)


def unboxed(report: str) -> list[str]:
    """The lines inside the parser's box, which has only rules where the terminal has only ASCII."""
    inside = [line.strip("│╭╮╰╯").rstrip() for line in report.splitlines()[1:]]
    return [RULE if re.search("───|---", line) else line for line in inside]


def explain_value(text: str) -> tuple[str, str] | None:
    """For a value that its option does not take."""
    choice = re.search(r"invalid choice '(.*?)' for argument '(.*?)'.*?one of \((.*?)\)", text)
    if choice:
        known = choice[3].replace("'", "").rstrip(",")
        return f"no {choice[2]} '{choice[1]}'", f"choose from {known}"
    lacking = re.search(r"Missing value for argument '(.*?)'", text)
    if lacking:
        return f"{lacking[1]} has no value", "give one after it"
    number = re.search(
        r"Error parsing (\S+): .*?(?:base 10|float|instantiated from).*?'(.*?)'", text
    )
    if number:
        kind = "INT" if re.search(rf"{number[1]} \S*INT", text) else "FLOAT"
        return f"{number[1]} takes {KINDS[kind]}, not '{number[2]}'", "correct the value"
    return None


def explain_words(text: str, lines: Sequence[str]) -> str:
    """For words that are missing or too many."""
    if "Missing from" in text:
        head, *rest = dropwhile(lambda line: "Missing from" not in line, lines)
        margin = " " * (head.index("Missing") + 4)  # names stand there, their help further in
        section = takewhile(lambda line: line != RULE, rest)
        names = [line.strip() for line in section if re.match(rf"{margin}\S", line)]
        return f"missing {' and '.join(names)}"
    extra = re.search(r"Unrecognized(?: or misplaced)? options: +(.*?)(?: \(applied|,| ─|$)", text)
    return f"nothing takes '{extra[1].strip()}'" if extra else "this cannot be read"


def did_you_mean(typed: str, known: Sequence[str]) -> str:
    """The nearest known word as a question, or nothing; dashes make no word near."""
    bare = {word.lstrip("-"): word for word in known}
    near = get_close_matches(typed.lstrip("-"), bare, n=1, cutoff=0.7)
    return f"did you mean {bare[near[0]]}? " if near else ""
