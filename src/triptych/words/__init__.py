"""Words of every language: a text by its key, filled with names and numbers.

A language is one file in `pages/locale`. In its texts `{n}` writes a number in the habit of the
language, `{n:image|images}` the form of a word that goes with that number, `{share:percent}` a
share in per cent. The text `note.CODE` words a `Note`.
"""

from __future__ import annotations

import math
import re
import tomllib
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from triptych.errors import InputError

T = TypeVar("T")
LOCALES = Path(__file__).parents[1] / "pages" / "locale"
ENGLISH = "en"  # whose words stand in for those that another language lacks
Form = Literal["number", "percent", "points", "ratio", "time", "bytes", "count"]
NO_BREAK, NARROW = "\N{NO-BREAK SPACE}", "\N{NARROW NO-BREAK SPACE}"
MINUS, APOSTROPHE = "\N{MINUS SIGN}", "\N{RIGHT SINGLE QUOTATION MARK}"
KEYBOARD = str.maketrans({NO_BREAK: " ", NARROW: " ", MINUS: "-", APOSTROPHE: "'"})
TIMES = ((7200.0, 3600.0, "h"), (120.0, 60.0, "min"), (1.0, 1.0, "s"), (1e-3, 1e-3, "ms"))
FEW = 1e-12  # seconds and magnitudes below this are printed as 0


class Coded(Protocol):
    """What a `records.Note` is; the records themselves use words, to show themselves."""

    @property
    def code(self) -> str:
        """Of the text."""

    @property
    def values(self) -> Mapping[str, str | int | float]:
        """What fills it, by name."""


@dataclass(frozen=True)
class Habits:
    """How a language writes numbers and sets spaces; `locale/en.toml` says what each one is."""

    decimal: str
    group: str
    ends: str
    byte: str
    articles: list[str]
    contractions: dict[str, str]
    plurals: list[str]
    no_break_before: str
    narrow_before: str
    no_break_after: str


@dataclass(frozen=True)
class Locale:
    """One language's file; texts are by key."""

    habits: Habits
    texts: dict[str, str]


def languages() -> list[str]:
    """Those that there is a file of."""
    return sorted(path.stem for path in LOCALES.glob("*.toml"))


def check_language(language: str) -> None:
    """InputError on one that there is no file of."""
    if language not in languages():
        raise InputError(f"no language '{language}'", f"choose from {', '.join(languages())}")


@cache
def read_locale(path: Path) -> Locale:
    """A language's file; English stands in for texts that it lacks, which is said once."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    locale = Locale(Habits(**content["habits"]), content["texts"])
    english = path.with_name(f"{ENGLISH}.toml")
    if path == english:
        return locale
    whole = read_locale(english).texts
    missing = whole.keys() - locale.texts.keys()
    if missing:
        some = ", ".join(sorted(missing)[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        warnings.warn(f"{path.name} lacks {some}{more}: they are in English", stacklevel=2)
    return replace(locale, texts={**whole, **locale.texts})


class Word:
    """What fills a text: as it is shown, and the number that the words beside it follow."""

    def __init__(self, words: Words, shown: str, value: float | None = None) -> None:
        self.words, self.shown, self.value = words, shown, value

    def __format__(self, form: str) -> str:
        if "|" in form:
            return self.words.plural(self.value, form.split("|"))
        if form == "percent" and self.value is not None:
            return self.words.number(self.value, "percent")
        return self.shown


@dataclass(frozen=True)
class Words:
    """Words, numbers and spaces of one language; KeyError on a text that there is not."""

    code: str = ENGLISH

    @property
    def locale(self) -> Locale:
        """Its file."""
        return read_locale(LOCALES / f"{self.code}.toml")

    def __contains__(self, key: str) -> bool:
        return key in self.locale.texts

    def text(self, key: str) -> str:
        """A text as its file has it, with the language's spaces."""
        return self.spaced(self.locale.texts[key])

    def fill(self, key: str, /, **values: str | int | float) -> str:
        """A text with names and numbers, whatever they are called."""
        return self.text(key).format(**{name: self.word(value) for name, value in values.items()})

    def word(self, value: str | int | float) -> Word:
        """A name as it is; a whole number grouped; any other with three digits that count."""
        if isinstance(value, str) or not math.isfinite(value):
            return Word(self, str(value))
        form: Form = "count" if isinstance(value, int) else "number"
        return Word(self, self.number(value, form), value)

    def note(self, note: Coded) -> str:
        """A note in words; its code and values where it is of another version, or a plug-in's."""
        try:
            return self.fill(f"note.{note.code}", **note.values)
        except (KeyError, IndexError):  # no such text, or one that names other values
            values = ", ".join(f"{name} {value}" for name, value in note.values.items())
            return f"{note.code}{self.text('colon')}{values}" if values else note.code

    def plural(self, value: float | None, forms: list[str]) -> str:
        """The form that goes with a number; the last one where no other does."""
        digits = "" if value is None else f"{abs(value):g}"
        for form, pattern in zip(forms[:-1], self.locale.habits.plurals, strict=False):
            if re.fullmatch(pattern, digits):
                return form
        return forms[-1]

    def listed(self, items: list[str]) -> str:
        """ "a, b and c"."""
        head, tail = items[:-1], items[-1:]
        return f" {self.text('and')} ".join([", ".join(head)] * bool(head) + tail)

    def number(self, value: float, form: Form = "number", spread: float | None = None) -> str:
        """A number in the language's habit, with as many decimals as its interval supports."""
        if form == "time":
            return self.time(value)
        if form == "bytes":
            return self.bytes(value)
        if form in ("percent", "points"):
            share = 100 * value
            shown = self.bare(share, 1)
            if spread is not None and spread > FEW:
                shown = self.digits(share, decimals(100 * spread))
            return f"{shown}{NO_BREAK}%" if form == "percent" else shown
        if form == "ratio":
            return self.bare(value, 0 if value >= 10 else significant(value, 2))
        if form == "count":
            return self.digits(value, 0)
        if spread is None:
            return self.bare(value, significant(value, 3))
        return self.digits(value, decimals(spread))

    def digits(self, value: float, places: int) -> str:
        """Grouped digits: 12,345.6 in English."""
        plain = f"{value:,.{places}f}"
        if float(plain.replace(",", "")) == 0:
            plain = plain.lstrip("-")
        habits = self.locale.habits
        return plain.translate(str.maketrans("-,.", MINUS + habits.group + habits.decimal))

    def bare(self, value: float, places: int) -> str:
        """Grouped digits without zeros at the end."""
        while places and round(value, places) == round(value, places - 1):
            places -= 1
        return self.digits(value, places)

    def time(self, seconds: float) -> str:
        """Seconds in the unit that reads best."""
        for least, unit, word in TIMES:
            if seconds >= least:
                value = seconds / unit
                return f"{self.digits(value, min(significant(value, 3), 2))}{NO_BREAK}{word}"
        micro = seconds * 1e6
        return f"{self.digits(micro, min(significant(micro, 3), 2))}{NO_BREAK}\N{MICRO SIGN}s"

    def bytes(self, count: float) -> str:
        """Bytes in decimal units."""
        letter = self.locale.habits.byte
        for size, word in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if count >= size:
                return f"{self.digits(count / size, 1)}{NO_BREAK}{word}{letter}"
        return f"{self.digits(count, 0)}{NO_BREAK}{letter}"

    def short(self, count: float) -> str:
        """Large numbers for axes and costs: 70.4 k, 1.2 M, 3 G."""
        for size, word in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(count) >= size:
                value = count / size
                return f"{self.bare(value, min(significant(value, 3), 2))}{NO_BREAK}{word}"
        return self.bare(count, significant(count, 3))

    def spaced(self, text: str) -> str:
        """Set apostrophes, and spaces that do not break."""
        habits = self.locale.habits
        text = text.replace("'", APOSTROPHE).replace(" %", NO_BREAK + "%")
        for before, space in ((habits.no_break_before, NO_BREAK), (habits.narrow_before, NARROW)):
            if before:
                text = re.sub(f" (?=[{re.escape(before)}])", space, text)
        for mark in habits.no_break_after:
            text = text.replace(f"{mark} ", mark + NO_BREAK)
        return text


def significant(value: float, digits: int) -> int:
    """Decimals that show so many significant digits."""
    if abs(value) < FEW:
        return 0
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))


def decimals(spread: float) -> int:
    """Decimals, at most 4, that show one digit of an interval's width, two if the first is 1."""
    if spread <= FEW:
        return 3
    places = significant(spread, 1)
    first = round(spread * 10.0 ** (-math.floor(math.log10(spread))), 6)
    return min(4, places + (first < 2 and spread < 10))


def english(note: Coded) -> str:
    """A note in English, with the signs of a keyboard, for the terminal and for errors."""
    return Words().note(note).translate(KEYBOARD)


def sentence_case(text: str) -> str:
    """The text with a capital at its start."""
    return text[:1].upper() + text[1:]


def without_repeats(notes: Iterable[T]) -> tuple[T, ...]:
    """Each note once, in the order of their first; they cannot be hashed."""
    listed = list(notes)
    return tuple(note for index, note in enumerate(listed) if note not in listed[:index])
