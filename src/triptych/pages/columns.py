"""Columns of comparable numbers: what may stand side by side, and what its intervals decide.

Two numbers are comparable when metric, features and reference agree, and, for metrics whose
expected value moves with the number of samples, when that number agrees too. A model is best only
when the 95 % interval of its difference from every other one excludes zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from triptych.comparison.significance import Difference, difference
from triptych.families.registry import FAMILIES
from triptych.pages.language import Language, Name
from triptych.pages.load import Run
from triptych.records import MetricRecord

EXTRAPOLATED = "extrapolated"  # the method of such a number
DISTANCES = ("frechet_distance", "kernel_distance", "sliced_distance")
SAME_TIME = 1.2  # times within this ratio are not told apart: they carry no interval


@dataclass(frozen=True)
class Cell:
    """One run's entry in a column; metric is None when it was not measured."""

    run: Run
    name: Name
    metric: MetricRecord | None

    @property
    def defined(self) -> bool:
        """Whether there is a number."""
        return self.metric is not None and self.metric.defined


@dataclass(frozen=True)
class Column:
    """Entries of one metric, comparable with one another, in the order of the runs."""

    name: str
    features: str
    reference: str
    cells: tuple[Cell, ...]
    extrapolated: bool = False  # to infinitely many images

    @property
    def scores(self) -> tuple[tuple[Name, MetricRecord], ...]:
        """Name and metric of every run that has a number here."""
        return tuple((c.name, c.metric) for c in self.cells if c.metric and c.metric.defined)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of its numbers: estimate, upper bound..."""
        return tuple(dict.fromkeys(metric.kind for _, metric in self.scores))

    @property
    def counts(self) -> tuple[int, ...]:
        """How many images its numbers were measured on."""
        return tuple(dict.fromkeys(metric.n for _, metric in self.scores if metric.n is not None))

    @property
    def floors(self) -> tuple[float, ...]:
        """Scores of real images that its numbers carry; normally one."""
        return tuple(dict.fromkeys(m.floor for _, m in self.scores if m.floor is not None))

    @property
    def better(self) -> str:
        """Which direction is better: lower, higher or floor."""
        return self.scores[0][1].better if self.scores else ""


def make_columns(runs: Sequence[Run]) -> list[Column]:
    """All metrics of all runs, in the order in which they first appear.

    An entry that is not defined joins every column of its metric in which its run has no number.
    """
    names = named_runs(runs)
    keys: dict[tuple[object, ...], MetricRecord] = {}
    numbered = {column_key(m)[:2] for run in runs for m in run.metrics if m.defined}
    for run in runs:
        for metric in run.metrics:
            if metric.defined or column_key(metric) not in numbered:
                keys.setdefault(column_key(metric), metric)
    order = list(dict.fromkeys(metric.name for run in runs for metric in run.metrics))
    ranked = sorted(keys.items(), key=lambda item: order.index(item[1].name))  # stable
    return [
        Column(
            name=first.name,
            features=first.features or "",
            reference=first.reference,
            extrapolated=first.method == EXTRAPOLATED,
            cells=tuple(Cell(run, name, find_entry(run, key)) for run, name in names),
        )
        for key, first in ranked
    ]


def column_key(metric: MetricRecord) -> tuple[object, ...]:
    """What must agree for two numbers to stand in one column."""
    name = metric.name, metric.method == EXTRAPOLATED
    if not metric.defined:
        return name
    count = metric.n if metric.moves_with_n else None
    return (*name, metric.features, metric.reference, count)


def find_entry(run: Run, key: tuple[object, ...]) -> MetricRecord | None:
    """The run's number for this column, else its entry that says why there is none."""
    of_name = [metric for metric in run.metrics if column_key(metric)[:2] == key[:2]]
    exact = [metric for metric in of_name if metric.defined and column_key(metric) == key]
    undefined = [metric for metric in of_name if not metric.defined]
    return next(iter(exact + undefined), None)


def name_runs(runs: Sequence[Run]) -> list[Name]:
    """The shortest names that tell the runs apart: family, else model, else model and seed."""
    families = [run.family for run in runs]
    models = [(run.model, run.variant) for run in runs]
    seeds = [(*model, run.seed) for model, run in zip(models, runs, strict=True)]
    names = []
    for run, model, seed in zip(runs, models, seeds, strict=True):
        if run.samples is not None:
            names.append(Name(run.family, run.recipe))
            continue
        alone = families.count(run.family) == 1 and run.family in FAMILIES
        words = "" if alone else " ".join(model).strip()
        if seeds.count(seed) > 1:  # they differ in something that no name tells
            names.append(Name(run.family, run.name))
        else:
            names.append(Name(run.family, words, run.seed if models.count(model) > 1 else None))
    return names


def named_runs(runs: Sequence[Run]) -> list[tuple[Run, Name]]:
    """Each run with its name."""
    return list(zip(runs, name_runs(runs), strict=True))


def best(column: Column) -> int | None:
    """Index among `column.scores` of the entry that is better than all others; else None."""
    return extreme(column, "first")


def worst(column: Column) -> int | None:
    """Index among `column.scores` of the entry that is worse than all others; else None."""
    return extreme(column, "second")


def extreme(column: Column, which: Literal["first", "second"]) -> int | None:
    """The entry that wins every comparison, or loses it."""
    for index, differences in enumerate(all_apart(column)):
        if differences and all(each and each.better == which for each in differences):
            return index
    return None


def all_apart(column: Column) -> list[list[Difference | None]]:
    """Of each of `column.scores` the differences from the others."""
    metrics = [metric for _, metric in column.scores]
    return [[difference(m, other) for other in metrics if other is not m] for m in metrics]


def runners_up(column: Column) -> list[tuple[Name, Difference]]:
    """How much worse each of the others is than the best one; empty where none is best."""
    leader = best(column)
    if leader is None:
        return []
    others = [(who, metric) for index, (who, metric) in enumerate(column.scores) if index != leader]
    apart = [(who, difference(metric, column.scores[leader][1])) for who, metric in others]
    return [(who, each) for who, each in apart if each is not None]


def overlapping(column: Column) -> tuple[Name, ...]:
    """The models that could each be best: those that no other one is better than."""
    apart = all_apart(column)
    if len(apart) < 2 or any(each is None for differences in apart for each in differences):
        return ()
    return tuple(
        name
        for (name, _), differences in zip(column.scores, apart, strict=True)
        if not any(each and each.better == "second" for each in differences)
    )


def ascending(column: Column) -> tuple[Name, ...]:
    """Names from the lowest value to the highest; empty when any two are not told apart."""
    scores = [(name, replace(metric, better="lower")) for name, metric in column.scores]
    scores.sort(key=lambda pair: pair[1].value or 0.0)
    apart = [difference(a, b) for (_, a), (_, b) in pairwise(scores)]
    decided = bool(apart) and all(each and each.better == "first" for each in apart)
    return tuple(name for name, _ in scores) if decided else ()


def costs(runs: Sequence[Run], name: str) -> list[tuple[float, Name]]:
    """The runs that recorded a positive cost of this name, from the least to the most."""
    recorded = ((run.cost.get(name), who) for run, who in named_runs(runs))
    return sorted(((c, who) for c, who in recorded if c is not None and c > 0), key=lambda p: p[0])


def label(run: Run, name: Name, language: Language) -> str:
    """The model as a heading: "VAE" where the family is enough."""
    key = f"short.{run.family}"
    return language.text(key) if not name.model and key in language else language.value(name)


def style_family(run: Run) -> str:
    """The family whose style shows the run: "other" for one that is not ours."""
    return run.family if run.family in FAMILIES else "other"


def metric_label(column: Column, language: Language) -> str:
    """Only Inception's Fréchet distance is an FID; an unknown metric keeps its own name."""
    key = f"metric.{name_of(column)}"
    return language.text(key) if key in language else column.name


def name_of(column: Column) -> str:
    """What a column is called in the texts."""
    fid = column.name == "frechet_distance" and column.features == "inception"
    name = "fid" if fid else column.name
    return f"{name}.extrapolated" if column.extrapolated else name
