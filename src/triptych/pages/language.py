"""From language-free statements to words: every language is one file in `locale`.

A statement is a text's key with values; a value is a string, a count, a named thing, a quantity,
an interval, a statement, or a list of them. Numbers, spaces and lists follow the language's habits.
"""

from __future__ import annotations

import math
import re
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal

from triptych.errors import InputError

LOCALES = Path(__file__).parent / "locale"
ENGLISH = "en"  # whose words stand in for those that another language lacks
Form = Literal["number", "percent", "points", "ratio", "time", "bytes", "count"]
NO_BREAK, NARROW = "\N{NO-BREAK SPACE}", "\N{NARROW NO-BREAK SPACE}"
TIMES = ((7200.0, 3600.0, "h"), (120.0, 60.0, "min"), (1.0, 1.0, "s"), (1e-3, 1e-3, "ms"))
FEW = 1e-12  # seconds and magnitudes below this are printed as 0


@dataclass(frozen=True)
class Habits:
    """How a language writes numbers and sets spaces; `locale/en.toml` says what each one is."""

    decimal: str
    group: str
    ends: str
    byte: str
    articles: list[str]
    no_break_before: str
    narrow_before: str
    no_break_after: str


@dataclass(frozen=True)
class Locale:
    """One language's file.

    texts:    by key
    notes:    by their English, as JSON files hold it
    patterns: the same, of notes with numbers in them
    """

    habits: Habits
    texts: dict[str, str]
    notes: dict[str, str]
    patterns: dict[str, str]


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
    locale = Locale(**content | {"habits": Habits(**content["habits"])})
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


@dataclass(frozen=True)
class Name:
    """A model in a sentence: "the VAE" where its family is enough, else the words given."""

    family: str
    model: str = ""  # set when the family alone would not tell the runs apart
    seed: int | None = None  # set when the model alone would not


@dataclass(frozen=True)
class Note:
    """An English sentence from a JSON file, translated where it is known."""

    text: str


@dataclass(frozen=True)
class Quantity:
    """One number; `spread` is the width of its interval and decides the decimals."""

    value: float
    form: Form = "number"
    spread: float | None = None


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float
    form: Form = "number"


@dataclass(frozen=True)
class Sentence:
    """A text's key and the values that fill it; `topic` groups sentences on the page."""

    key: str
    values: Mapping[str, Value] = field(default_factory=dict)
    topic: str = ""


Value = str | int | Name | Note | Quantity | Interval | Sentence | tuple["Value", ...]


@dataclass(frozen=True)
class Language:
    """Words, numbers and spaces of one language; KeyError on a text that there is not."""

    code: str = ENGLISH

    @property
    def locale(self) -> Locale:
        """Its file."""
        return read_locale(LOCALES / f"{self.code}.toml")

    def __contains__(self, key: str) -> bool:
        return key in self.locale.texts

    def text(self, key: str) -> str:
        """A text without values."""
        return self.spaced(self.locale.texts[key])

    def tell(self, sentence: Sentence) -> str:
        """A sentence in words, starting with a capital where it starts with an article."""
        words = {key: self.value(value) for key, value in sentence.values.items()}
        told = self.text(sentence.key).format(**words)
        article = told.startswith(tuple(self.locale.habits.articles))
        return told[0].upper() + told[1:] if article else told

    def value(self, value: Value) -> str:
        """Any value in words."""
        match value:
            case str():
                return value
            case int():
                return self.number(value, "count")
            case Name():
                return self.name(value)
            case Note():
                return self.note(value.text)
            case Quantity():
                return self.number(value.value, value.form, value.spread)
            case Interval():
                return self.interval(value.low, value.high, value.form)
            case Sentence():
                words = {key: self.value(each) for key, each in value.values.items()}
                return self.text(value.key).format(**words)
            case tuple():
                return self.listed([self.value(each) for each in value])

    def name(self, name: Name) -> str:
        """A model in words, with its article where it has one."""
        known = f"family.{name.family}" in self
        words = name.model or (self.text(f"family.{name.family}") if known else name.family)
        return words if name.seed is None else f"{words} ({self.text('seed')} {name.seed})"

    def note(self, text: str) -> str:
        """A sentence from a JSON file, or its known beginning, translated."""
        notes = self.locale.notes
        if text in notes:
            return self.spaced(notes[text])
        head, colon, rest = text.partition(": ")
        if colon and head in notes:
            return self.spaced(notes[head] + self.locale.texts["colon"]) + rest
        filled = self.fill_pattern(text)
        return text if filled is None else self.spaced(filled)

    def fill_pattern(self, text: str) -> str | None:
        """An English sentence with numbers in it, translated; None where no pattern is known."""
        for english, ours in self.locale.patterns.items():
            written = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[\\w.%+-]{1,30})", re.escape(english))
            if match := re.fullmatch(written, text):
                words = {key: self.decimal(word) for key, word in match.groupdict().items()}
                return ours.format(**words)
        return None

    def decimal(self, word: str) -> str:
        """A number as the language writes it; other words stay."""
        point = self.locale.habits.decimal
        return word.replace(".", point) if re.fullmatch(r"-?\d+\.\d+", word) else word

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

    def interval(
        self, low: float, high: float, form: Form = "number", spread: float | None = None
    ) -> str:
        """[low, high] in the language's habit; `spread` decides the decimals, else the width."""
        spread = high - low if spread is None else spread
        ends = [self.number(end, form, spread) for end in (low, high)]
        return f"[{self.locale.habits.ends.join(ends)}]"

    def digits(self, value: float, places: int) -> str:
        """Grouped digits: 12,345.6 in English."""
        plain = f"{value:,.{places}f}"
        if float(plain.replace(",", "")) == 0:
            plain = plain.lstrip("-")
        habits = self.locale.habits
        marks = str.maketrans("-,.", "\N{MINUS SIGN}" + habits.group + habits.decimal)
        return plain.translate(marks)

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
        text = text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}").replace(" %", NO_BREAK + "%")
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


def sentence_case(text: str) -> str:
    """The text with a capital at its start."""
    return text[:1].upper() + text[1:]
