"""Columns of comparable numbers: what may stand side by side, and what its intervals decide.

Two numbers are comparable when metric, features and reference agree, and, for metrics whose
expected value moves with the number of samples, when that number agrees too. A model is best only
when its 95 % interval lies wholly apart from every other one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from triptych.report.load import Metric, Run
from triptych.report.tongue import Name

MOVES_WITH_N = {"frechet_distance", "precision", "recall", "density", "coverage", "memorised"}
FAMILIES = ("vae", "gan", "diffusion")


@dataclass(frozen=True)
class Cell:
    """One run's entry in a column; metric is None when it was not measured."""

    run: Run
    name: Name
    metric: Metric | None

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

    @property
    def known(self) -> tuple[tuple[Name, Metric], ...]:
        """The defined entries."""
        return tuple((c.name, c.metric) for c in self.cells if c.metric and c.metric.defined)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of its numbers: estimate, upper bound..."""
        return tuple(dict.fromkeys(metric.kind for _, metric in self.known))

    @property
    def counts(self) -> tuple[int, ...]:
        """How many images its numbers were measured on."""
        return tuple(dict.fromkeys(metric.n for _, metric in self.known if metric.n is not None))

    @property
    def floors(self) -> tuple[float, ...]:
        """Scores of real images that its numbers carry; normally one."""
        return tuple(dict.fromkeys(m.floor for _, m in self.known if m.floor is not None))

    @property
    def better(self) -> str:
        """Which direction is better: lower, higher or floor."""
        return self.known[0][1].better if self.known else ""


def make_columns(runs: Sequence[Run]) -> list[Column]:
    """All metrics of all runs, in the order in which they first appear.

    An entry that is not defined joins every column of its metric in which its run has no number.
    """
    names = name_runs(runs)
    keys: dict[tuple[object, ...], Metric] = {}
    numbered = {metric.name for run in runs for metric in run.metrics if metric.defined}
    for run in runs:
        for metric in run.metrics:
            if metric.defined or metric.name not in numbered:
                keys.setdefault(column_key(metric), metric)
    order = list(dict.fromkeys(metric.name for run in runs for metric in run.metrics))
    ranked = sorted(keys.items(), key=lambda item: order.index(item[1].name))  # stable
    return [
        Column(
            name=first.name,
            features=first.features,
            reference=first.reference,
            cells=tuple(
                Cell(run, name, find_entry(run, first.name, key))
                for run, name in zip(runs, names, strict=True)
            ),
        )
        for key, first in ranked
    ]


def column_key(metric: Metric) -> tuple[object, ...]:
    """What must agree for two numbers to stand in one column."""
    if not metric.defined:
        return (metric.name,)
    count = metric.n if metric.name in MOVES_WITH_N else None
    extrapolated = "extrapolated" in metric.method
    return (metric.name, metric.features, metric.reference, count, extrapolated)


def find_entry(run: Run, name: str, key: tuple[object, ...]) -> Metric | None:
    """The run's number for a column, else its undefined entry, else None."""
    of_name = [metric for metric in run.metrics if metric.name == name]
    exact = [metric for metric in of_name if metric.defined and column_key(metric) == key]
    undefined = [metric for metric in of_name if not metric.defined]
    return next(iter(exact + undefined), None)


def name_runs(runs: Sequence[Run]) -> list[Name]:
    """The shortest names that tell the runs apart: family, else model, else model and seed."""
    families = [run.family for run in runs]
    models = [run.model for run in runs]
    names = []
    for run in runs:
        alone = families.count(run.family) == 1 and run.family in FAMILIES
        twin = models.count(run.model) > 1
        model = "" if alone else run.model
        if twin and run.seed is None:
            model = run.name
        names.append(Name(run.family, model, run.seed if twin else None))
    return names


def badness(metric: Metric) -> tuple[float, float] | None:
    """The 95 % interval on a scale where lower is better; None when there is no interval."""
    if metric.low is None or metric.high is None or not metric.defined:
        return None
    low, high = sorted((metric.low, metric.high))
    if metric.better == "lower":
        return low, high
    if metric.better == "higher":
        return -high, -low
    if metric.better == "floor" and metric.floor is not None:
        ends = sorted((abs(low - metric.floor), abs(high - metric.floor)))
        return (0.0 if low <= metric.floor <= high else ends[0]), ends[1]
    return None


def best(column: Column) -> int | None:
    """Index among `column.known` of the entry whose interval beats all others; else None."""
    return extreme(column, sign=1)


def worst(column: Column) -> int | None:
    """Index among `column.known` of the entry that all others beat; else None."""
    return extreme(column, sign=-1)


def extreme(column: Column, sign: int) -> int | None:
    """Bounds are compared with bounds and values with values, never one with the other."""
    spans = [badness(metric) for _, metric in column.known]
    bounds = {kind.endswith("bound") for kind in column.kinds}
    if len(spans) < 2 or len(bounds) > 1:
        return None
    found = [span for span in spans if span is not None]
    if len(found) < len(spans):
        return None
    turned = [(low, high) if sign > 0 else (-high, -low) for low, high in found]
    leader = min(range(len(turned)), key=lambda index: turned[index][1])
    others = (span for index, span in enumerate(turned) if index != leader)
    return leader if all(turned[leader][1] < low for low, _ in others) else None


def overlapping(column: Column) -> tuple[Name, ...]:
    """The models that could each be best: those whose interval reaches the leader's."""
    spans = [(name, badness(metric)) for name, metric in column.known]
    found = [(name, span) for name, span in spans if span is not None]
    if len(found) < 2 or len(found) < len(spans):
        return ()
    reach = min(high for _, (_, high) in found)
    return tuple(name for name, (low, _) in found if low <= reach)


def ascending(column: Column) -> tuple[Name, ...]:
    """Names from the lowest value to the highest; empty when any two intervals overlap."""
    spans = [(m.low, m.high, name) for name, m in column.known if m.low is not None]
    if len(spans) < 2 or len(spans) < len(column.known):
        return ()
    spans.sort(key=lambda span: span[0])
    for (_, high, _), (low, _, _) in pairwise(spans):
        if high is None or high >= low:
            return ()
    return tuple(name for _, _, name in spans)
