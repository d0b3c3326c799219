"""Sentences that say the same of single models, as one sentence for all of them.

Beside the text of a key, as "memorised.none", the locales have one for several models, with `.all`
after it: there each model, or all models with the very same numbers, has a clause.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import TypeVar

from triptych.pages.language import Sentence, Value

K = TypeVar("K")
V = TypeVar("V")
OUTSIDE = ("floor", "margin", "most", "n")  # values that stand in a sentence and not in its clauses
CLAUSES = {  # of sentences for all; others have the value, its interval and the models
    "likelihood.bound": "likelihood.each",
    "likelihood.none": "none.each",
    "likelihood.value": "likelihood.each",
    "reconstruction.none": "none.each",
    "reconstruction.value": "reconstruction.each",
    "sharpness.blurry": "sharpness.each",
    "sharpness.level": "sharpness.each",
    "sharpness.open": "sharpness.open.each",
    "sharpness.open.trainings": "sharpness.open.each",
    "sharpness.over": "sharpness.each",
    "sharpness.sharper": "sharpness.each",
    "sharpness.softer": "sharpness.each",
}


def for_all(sentences: Iterable[Sentence | None]) -> list[Sentence]:
    """One sentence for all models of which the same is said; of a single model its own.

    No number is lost, and what stands outside the clauses must be the same for all.
    """
    once: list[Sentence] = []
    for sentence in sentences:
        if sentence is not None and sentence not in once:
            once.append(sentence)
    alike = by_equal(((each.key, outside(each)), each) for each in once)
    return [group[0] if len(group) == 1 else gathered(group) for _, group in alike]


def by_equal(pairs: Iterable[tuple[K, V]]) -> list[tuple[K, list[V]]]:
    """The second ones by the first, which need not be hashable, in the order of their first."""
    groups: list[tuple[K, list[V]]] = []
    for key, value in pairs:
        group = next((values for each, values in groups if each == key), None)
        if group is None:
            groups.append((key, [value]))
        else:
            group.append(value)
    return groups


def outside(sentence: Sentence) -> dict[str, Value]:
    """What sentences must agree in to become one."""
    values = {name: value for name, value in sentence.values.items() if name in OUTSIDE}
    if "code" in sentence.values:
        code = sentence.values["code"]
        of = code.values["of"] if isinstance(code, Sentence) else ""
        values["of"] = Sentence("reconstruction.of", of.values) if isinstance(of, Sentence) else ""
    return values


def inside(sentence: Sentence) -> dict[str, Value]:
    """What is a model's own, besides its name."""
    own = {k: v for k, v in sentence.values.items() if k != "who" and k not in OUTSIDE}
    if isinstance(code := own.get("code"), Sentence):  # among others it stands in brackets
        own["code"] = Sentence("reconstruction.code.each", code.values)
    return own


def gathered(group: Sequence[Sentence]) -> Sentence:
    """One sentence for all models of several that differ in models and numbers alone."""
    key, values = f"{group[0].key}.all", outside(group[0])
    models = by_equal((inside(sentence), sentence.values["who"]) for sentence in group)
    if not any(own for own, _ in models):  # there are no numbers
        return Sentence(key, values | {"who": tuple(models[0][1])}, group[0].topic)
    clause = CLAUSES.get(group[0].key, "each")
    clauses = [Sentence(clause, own | {"who": tuple(who)}) for own, who in models]
    listed: Value = tuple(clauses)
    if len(clauses) < len(group):  # lists in a list: where one ends must be seen
        listed = reduce(lambda a, b: Sentence("then", {"first": a, "then": b}), clauses)
    return Sentence(key, values | {"clauses": listed}, group[0].topic)
