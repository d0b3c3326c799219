"""Columns of comparable numbers: what may stand side by side, and what its intervals decide.

Two numbers are comparable when metric, features and reference agree, and, for metrics whose
expected value moves with the number of samples, when that number agrees too. A model is best only
when its difference from every other one is decided among all comparisons of the page together
(`comparison.significance.held`), and, of distances, when the same distance on the other feature set
does not say the opposite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, pairwise
from typing import Literal

from triptych.comparison.significance import (
    DISTANCES,
    Difference,
    difference,
    held,
    higher,
    number_key,
)
from triptych.families.registry import FAMILIES
from triptych.pages.language import Language, Name
from triptych.pages.load import Run
from triptych.records import EXTRAPOLATED, MetricRecord

UNBIASED = ("kernel_distance",)  # zero between equal sets, give or take noise
SAME_TIME = 1.2  # times within this ratio are not told apart: they carry no interval

Pair = tuple[int, int]  # indices among a column's scores, the smaller one first
Differences = Mapping[Pair, Difference | None]


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
    worse: Differences = field(default_factory=dict)  # how much, decided among all of the page
    lower: Differences = field(default_factory=dict)  # the same of the values, where these differ

    def difference(self, first: int, second: int) -> Difference | None:
        """How much worse one of its scores is than another."""
        return looked_up(self.worse, first, second)

    def between(self, first: Name, second: Name) -> Difference | None:
        """How much worse one model is than another; None where one has no number."""
        names = [name for name, _ in self.scores]
        if first not in names or second not in names:
            return None
        return self.difference(names.index(first), names.index(second))

    def without(self, left_out: Callable[[Cell], bool]) -> Column:
        """The column without some cells; what was decided among all stays so."""
        scored = [cell for cell in self.cells if cell.defined]
        kept = [index for index, cell in enumerate(scored) if not left_out(cell)]
        now = {index: position for position, index in enumerate(kept)}

        def moved(differences: Differences) -> Differences:
            return {
                (now[a], now[b]): apart
                for (a, b), apart in differences.items()
                if a in now and b in now
            }

        cells = tuple(cell for cell in self.cells if not left_out(cell))
        return replace(self, cells=cells, worse=moved(self.worse), lower=moved(self.lower))

    def higher(self, first: int, second: int) -> Difference | None:
        """By how much it is the lower one: `better` names the higher one."""
        if self.better == "floor":
            return looked_up(self.lower, first, second)
        apart = self.difference(first, second)
        return turned(apart) if self.better == "lower" else apart

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
    columns = [
        Column(
            name=first.name,
            features=first.features or "",
            reference=first.reference,
            extrapolated=first.method == EXTRAPOLATED,
            cells=tuple(Cell(run, name, find_entry(run, key)) for run, name in names),
        )
        for key, first in ranked
    ]
    return disputed(decided_together(columns))


def decided_together(columns: Sequence[Column]) -> list[Column]:
    """The columns with the differences of all pairs, which hold one error together.

    Numbers that are best at their floor answer two questions: which is nearer, and which is higher.
    """
    asked = [
        (index, kind, pair)
        for index, column in enumerate(columns)
        for kind in ("worse", "lower")[: 2 if column.better == "floor" else 1]
        for pair in combinations(range(len(column.scores)), 2)
    ]
    differences = []
    for index, kind, (one, other) in asked:
        metrics = [metric for _, metric in columns[index].scores]
        compare = difference if kind == "worse" else higher
        differences.append(compare(metrics[one], metrics[other]))
    decided: list[dict[str, dict[Pair, Difference | None]]] = [
        {"worse": {}, "lower": {}} for _ in columns
    ]
    for (index, kind, pair), apart in zip(asked, held(differences), strict=True):
        decided[index][kind][pair] = apart
    return [
        replace(column, worse=each["worse"], lower=each["lower"])
        for column, each in zip(columns, decided, strict=True)
    ]


def disputed(columns: Sequence[Column]) -> list[Column]:
    """The columns with those differences marked that the other feature set contradicts."""

    def marked_in(column: Column, pair: Pair, apart: Difference) -> Difference:
        one, other = (column.scores[index][0] for index in pair)
        return apart.beside(c.between(one, other) for c in on_other_features(column, columns))

    return [
        replace(
            column,
            worse={
                pair: apart and marked_in(column, pair, apart)
                for pair, apart in column.worse.items()
            },
        )
        for column in columns
    ]


def on_other_features(column: Column, columns: Sequence[Column]) -> list[Column]:
    """The columns of the same distance, as measured, on other features."""
    return [
        other
        for other in columns
        if column.name == other.name in DISTANCES
        and not other.extrapolated
        and other.features != column.features
    ]


def looked_up(differences: Differences, first: int, second: int) -> Difference | None:
    """One of them, turned around where it was asked for the other way round."""
    if first < second:
        return differences.get((first, second))
    return turned(differences.get((second, first)))


def turned(apart: Difference | None) -> Difference | None:
    """The difference of the second from the first."""
    if apart is None:
        return None
    return replace(apart, value=-apart.value, low=-apart.high, high=-apart.low)


def comparisons(columns: Sequence[Column]) -> int:
    """How many were decided together."""
    return sum(
        apart is not None for c in columns for kind in (c.worse, c.lower) for apart in kind.values()
    )


def column_key(metric: MetricRecord) -> tuple[object, ...]:
    """What must agree for two numbers to stand in one column."""
    key = number_key(metric)
    return key if metric.defined else key[:2]


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


def marked(column: Column) -> int | None:
    """The best entry, where another training of each model would not turn that; else None.

    Nor is a reconstruction marked that is made from more numbers than another one.
    """
    leader = best(column)
    if leader is None or keeps_more(column, leader):
        return None
    apart = all_apart(column)[leader]
    return leader if all(each and each.lasting for each in apart) else None


def keeps_more(column: Column, index: int) -> bool:
    """Whether reconstructions come from a larger code than those of another model."""
    if not column.name.startswith("reconstruction"):
        return False
    sizes = [cell.run.cost.get("code_size") or 0.0 for cell in column.cells if cell.defined]
    return any(sizes[index] > size > 0 for size in sizes)


def extreme(column: Column, which: Literal["first", "second"]) -> int | None:
    """The entry that wins every comparison, or loses it."""
    for index, differences in enumerate(all_apart(column)):
        if differences and all(each and each.better == which for each in differences):
            return index
    return None


def best_alone(column: Column) -> int | None:
    """The entry whose differences from all others each exclude zero by their own intervals.

    None of these may be disputed by the other feature set: then it is not chance that is in doubt.
    """
    for index, differences in enumerate(all_apart(column)):
        if differences and all(e and e.high < 0 and not e.disputed for e in differences):
            return index
    return None


def all_apart(column: Column) -> list[list[Difference | None]]:
    """Of each of `column.scores` the differences from the others."""
    count = range(len(column.scores))
    return [[column.difference(i, j) for j in count if j != i] for i in count]


def runners_up(column: Column) -> list[tuple[Name, Difference]]:
    """How much worse each of the others is than the best one; empty where none is best."""
    leader = best(column)
    if leader is None:
        return []
    others = [(i, who) for i, (who, _) in enumerate(column.scores) if i != leader]
    apart = [(who, column.difference(index, leader)) for index, who in others]
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
    order = sorted(range(len(column.scores)), key=lambda i: column.scores[i][1].value or 0.0)
    apart = [column.higher(a, b) for a, b in pairwise(order)]
    decided = bool(apart) and all(each and each.better == "second" for each in apart)
    return tuple(column.scores[index][0] for index in order) if decided else ()


def ratio_to_floor(metric: MetricRecord) -> float | None:
    """How many times its floor a distance is; None where that says nothing.

    An unbiased distance between real images is zero but for noise of either sign, and one that was
    extrapolated has no floor of its own: then no ratio is printed anywhere.
    """
    if metric.name in UNBIASED or metric.method == EXTRAPOLATED:
        return None
    if metric.value is None or metric.floor is None or metric.value <= 0 or metric.floor <= 0:
        return None
    return metric.value / metric.floor


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
