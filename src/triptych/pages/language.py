"""From language-free statements to sentences: every language is one file in `locale`.

A statement is a text's key with values; a value is a string, a count, a named thing, a quantity,
an interval, a note, a statement, or a list of them. What words and numbers look like is in
`triptych.words`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from triptych.records import Note
from triptych.words import Form, Word, Words


@dataclass(frozen=True)
class Name:
    """A model in a sentence: "the VAE" where its family is enough, else the words given."""

    family: str
    model: str = ""  # set when the family alone would not tell the runs apart
    seed: int | None = None  # set when the model alone would not


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
class Language(Words):
    """Sentences of one language; KeyError on a text that there is not."""

    def tell(self, sentence: Sentence) -> str:
        """A sentence in words, starting with a capital where it starts with an article."""
        words = self.clause(sentence)
        article = words.startswith(tuple(self.locale.habits.articles))
        return words[0].upper() + words[1:] if article else words

    def clause(self, sentence: Sentence) -> str:
        """A sentence in words, as it stands inside another."""
        values = {key: self.part(value) for key, value in sentence.values.items()}
        words = self.text(sentence.key).format(**values)
        for apart, contracted in self.locale.habits.contractions.items():
            words = re.sub(apart, contracted, words)
        return words

    def part(self, value: Value) -> Word:
        """What fills a text: words in their plural follow counts and quantities."""
        number = value.value if isinstance(value, Quantity) else value
        return Word(self, self.value(value), number if isinstance(number, int | float) else None)

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
                return self.note(value)
            case Quantity():
                return self.number(value.value, value.form, value.spread)
            case Interval():
                return self.interval(value.low, value.high, value.form)
            case Sentence():
                return self.clause(value)
            case tuple():
                return self.listed([self.value(each) for each in value])

    def name(self, name: Name) -> str:
        """A model in words, with its article where it has one."""
        key = f"family.{name.family}"
        words = name.model or (self.text(key) if key in self else name.family)
        return words if name.seed is None else f"{words} ({self.text('seed')} {name.seed})"

    def interval(
        self, low: float, high: float, form: Form = "number", spread: float | None = None
    ) -> str:
        """[low, high] in the language's habit; `spread` decides the decimals, else the width."""
        spread = high - low if spread is None else spread
        ends = [self.number(end, form, spread) for end in (low, high)]
        return f"[{self.locale.habits.ends.join(ends)}]"
