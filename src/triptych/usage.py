"""What is wrong with a typed command and the mend, in one line, out of the parser's report."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import dropwhile, takewhile

RULE = "─"  # stands for a line across the box
KINDS = {"INT": "a whole number", "FLOAT": "a number"}


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
