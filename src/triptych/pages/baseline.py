"""What no training gives, beside the models: measured as they are, and none of them.

Its number stands in the column of theirs and is no part of it: it is neither ranked nor marked, and
decides nothing among the models. Whether a model is better than it is decided as between models
(`comparison.significance`), by differences that hold one error together among themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from triptych.comparison.significance import DISTANCES, Difference, difference, held
from triptych.pages.columns import Column, column_key, find_entry, make_columns
from triptych.pages.language import Name, Sentence, Value
from triptych.pages.load import Comparison, Run
from triptych.pages.verdict import noun
from triptych.records import MetricRecord

MEASURES = ("frechet_distance", "recognisable")  # by which a model ought to be better


def entry_in(column: Column, baseline: Run) -> MetricRecord | None:
    """The baseline's number for a column, else its entry that says why there is none.

    Where no model has a number there, its first one of that metric.
    """
    if column.scores:
        return find_entry(baseline, column_key(column.scores[0][1]))
    key = (column.name, column.extrapolated)
    return next((metric for metric in baseline.metrics if column_key(metric)[:2] == key), None)


def tell(comparison: Comparison) -> list[Sentence]:
    """By what each model is better than the baseline, or is not; or why nobody can say."""
    note, baseline = comparison.unmeasured_baseline, comparison.baseline
    if note is not None:
        return [Sentence("baseline.unmeasured", {"note": note}, "baseline")]
    if baseline is None:
        return []
    compared = compare(first_of_each(make_columns(comparison.runs)), baseline)
    names = dict.fromkeys(name for _, name, _ in compared)
    return [tell_model(who, [(c, d) for c, name, d in compared if name == who]) for who in names]


def first_of_each(columns: Sequence[Column]) -> list[Column]:
    """Of the columns of these measures on the same features, the first."""
    first: dict[tuple[str, str], Column] = {}
    for column in columns:
        if column.name in MEASURES and not column.extrapolated:
            first.setdefault((column.name, column.features), column)
    return list(first.values())


def compare(columns: Sequence[Column], baseline: Run) -> list[tuple[Column, Name, Difference]]:
    """How much worse each model is than the baseline in each column, where both have a number.

    A distance beside the same on other features, which may say the opposite.
    """
    pairs = [
        (column, who, difference(metric, own))
        for column in columns
        if (own := entry_in(column, baseline)) is not None
        for who, metric in column.scores
    ]
    together = held([apart for _, _, apart in pairs])
    decided = [(c, who, d) for (c, who, _), d in zip(pairs, together, strict=True) if d is not None]
    return [
        (
            column,
            who,
            apart.beside(
                other
                for beside, name, other in decided
                if name == who and column.name == beside.name in DISTANCES and beside is not column
            ),
        )
        for column, who, apart in decided
    ]


def tell_model(who: Name, compared: Sequence[tuple[Column, Difference]]) -> Sentence:
    """By what a model is better than the baseline, and by what it is not, or nobody knows."""
    measures = {
        said: tuple(noun(column) for column, apart in compared if said_of(apart) == said)
        for said in ("better", "worse", "disputed", "open")
    }
    values: dict[str, Value] = {"who": who}
    if better := measures.pop("better"):
        values["measures"] = better
    if not any(measures.values()):
        return Sentence("baseline.better", values, "baseline")
    values["clauses"] = tuple(
        Sentence(f"baseline.{said}", {"measures": listed})
        for said, listed in measures.items()
        if listed
    )
    key = "partly" if better else "not_better" if measures["worse"] else "not_known"
    return Sentence(f"baseline.{key}", values, "baseline")


def said_of(apart: Difference) -> Literal["better", "worse", "disputed", "open"]:
    """What a difference from the baseline says; open where chance may explain it.

    Disputed where its interval is on one side of zero and that of the other feature set on the
    other, so that it is no matter of chance.
    """
    if apart.better != "undecided":
        return "better" if apart.better == "first" else "worse"
    return "disputed" if apart.disputed and not apart.low <= 0 <= apart.high else "open"
