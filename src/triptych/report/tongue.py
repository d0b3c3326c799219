"""A tongue turns language-free statements into English or French.

A statement is a text's key with values; a value is a string, a count, a named thing, a quantity,
an interval, a statement, or a list of them. Numbers, spaces and lists follow the language's habit.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from triptych.report.texts import NOTES, PATTERNS, TEXTS

Language = Literal["en", "fr"]
Form = Literal["number", "percent", "points", "ratio", "time", "bytes", "count"]
NO_BREAK, NARROW = "\N{NO-BREAK SPACE}", "\N{NARROW NO-BREAK SPACE}"
TIMES = ((7200.0, 3600.0, "h"), (120.0, 60.0, "min"), (1.0, 1.0, "s"), (1e-3, 1e-3, "ms"))
FEW = 1e-12  # seconds and magnitudes below this are printed as 0


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
    values: Mapping[str, "Value"] = field(default_factory=dict)
    topic: str = ""


Value = str | int | Name | Note | Quantity | Interval | Sentence | tuple["Value", ...]


@dataclass(frozen=True)
class Tongue:
    """English or French."""

    language: Language = "en"

    def text(self, key: str) -> str:
        """A text without values."""
        return self.spaced(TEXTS[key][0 if self.language == "en" else 1])

    def tell(self, sentence: Sentence) -> str:
        """A sentence in words, starting with a capital where it starts with an article."""
        words = {key: self.value(value) for key, value in sentence.values.items()}
        told = self.text(sentence.key).format(**words)
        article = told.startswith(("the ", "le ", "la "))
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
        known = f"family.{name.family}" in TEXTS
        words = name.model or (self.text(f"family.{name.family}") if known else name.family)
        return words if name.seed is None else f"{words} ({self.text('seed')} {name.seed})"

    def note(self, text: str) -> str:
        """A sentence from a JSON file, or its known beginning, translated."""
        if self.language == "en":
            return text
        head, _, rest = text.partition(": ")
        if text not in NOTES and head in NOTES:
            return self.spaced(f"{NOTES[head]} : ") + rest
        if text not in NOTES and (told := fill_pattern(text)) is not None:
            return self.spaced(told)
        return self.spaced(NOTES[text]) if text in NOTES else text

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
        comma = f",{NO_BREAK}" if self.language == "en" else f"{NO_BREAK};{NO_BREAK}"
        return f"[{comma.join(ends)}]"

    def digits(self, value: float, places: int) -> str:
        """Grouped digits: 12,345.6 in English, 12 345,6 in French."""
        plain = f"{value:,.{places}f}"
        if float(plain.replace(",", "")) == 0:
            plain = plain.lstrip("-")
        plain = plain.replace("-", "\N{MINUS SIGN}")
        if self.language == "en":
            return plain
        return plain.replace(",", NARROW).replace(".", ",")

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
        """Bytes in decimal units; French counts octets."""
        letter = "B" if self.language == "en" else "o"
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
        """Set apostrophes and spaces that do not break; French has them before : ; ! ? too."""
        text = text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}").replace(" %", NO_BREAK + "%")
        if self.language == "en":
            return text
        text = re.sub(r" (?=[:»])", NO_BREAK, text)
        text = text.replace("« ", "«" + NO_BREAK)
        return re.sub(r" (?=[;!?])", NARROW, text)


def fill_pattern(text: str) -> str | None:
    """The French of an English sentence with numbers in it; None where no pattern is known."""
    for english, french in PATTERNS.items():
        written = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[\\w.%+-]{1,30})", re.escape(english))
        if found := re.fullmatch(written, text):
            words = {key: decimal_comma(word) for key, word in found.groupdict().items()}
            return french.format(**words)
    return None


def decimal_comma(word: str) -> str:
    """A number as French writes it; other words stay."""
    return word.replace(".", ",") if re.fullmatch(r"-?\d+\.\d+", word) else word


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
