"""The comparison table: one row per model, one column per metric, then what it cost.

Below the models stands the baseline, where there is one: no mark, no bar, no place among them.

Every cell carries its full value for sorting; what is not defined carries its reason, both as a
title and as a note under the table, and never a number.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from triptych.pages.baseline import entry_in
from triptych.pages.columns import Column, make_columns, marked, metric_label
from triptych.pages.language import Language
from triptych.pages.load import Run
from triptych.records import MetricRecord
from triptych.words import Form

COSTS: dict[str, Form] = {
    "parameters": "count",
    "exemplar_numbers": "count",
    "train_seconds": "time",
    "images_seen": "count",
    "train_images_per_second": "count",
    "flops_per_image": "count",
    "sample_seconds_per_image": "time",
    "network_calls": "count",
    "code_size": "count",
    "reconstruct_seconds_per_image": "time",
    "peak_memory_bytes": "bytes",
    "process_memory_bytes": "bytes",
}
BESIDE = {  # costs that stand in the tables of the numbers that they buy
    "distance": ("train_seconds", "sample_seconds_per_image"),
    "abilities": ("code_size", "reconstruct_seconds_per_image"),
}
CONTROLS = ("copied_control", "own_exemplar")  # they check other numbers, and rank nobody
GROUPS = "distance", "samples", "abilities"  # the tables; those of other groups come last
ROUNDED = {"parameters", "exemplar_numbers", "flops_per_image"}  # read better as 1.2 M


@dataclass
class Notes:
    """Numbered notes under the table; the same words keep the same number."""

    words: list[str] = field(default_factory=list)

    def number(self, words: str) -> int:
        """The number of these words, a new one if they are new."""
        if words not in self.words:
            self.words.append(words)
        return self.words.index(words) + 1


@dataclass(frozen=True, kw_only=True)
class PrintedCell:
    """One printed cell."""

    text: str
    sort: float | None = None
    interval: str = ""
    kind: str = ""
    title: str = ""
    notes: tuple[int, ...] = ()
    best: bool = False
    state: str = "value"  # value, undefined or missing
    bar: float | None = None  # share of the column's largest value


@dataclass(frozen=True, kw_only=True)
class Heading:
    """One printed heading."""

    label: str
    reference: str = ""
    features: str = ""
    details: tuple[str, ...] = ()
    floor: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Headings over rows of cells; rows are in the order of the runs.

    key:      names it in the texts and among the files
    baseline: the row of what no training gives; empty where there is none
    """

    key: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[PrintedCell, ...], ...]
    baseline: tuple[PrintedCell, ...] = ()


def make_tables(
    runs: Sequence[Run],
    language: Language,
    groups: Sequence[str] = (*GROUPS, "other"),
    baseline: Run | None = None,
    marks: bool = True,
) -> tuple[list[Table], tuple[str, ...]]:
    """A table for each group of metrics with the costs beside it, and the notes under all.

    marks: whether the best ones are marked
    """
    notes, columns = Notes(), make_columns(runs)
    tables: list[Table] = []
    for group in groups:
        own = [c for c in columns if group_of(c) == group and not is_idle(c)]
        headings = [metric_heading(column, language) for column in own]
        printed = [metric_column(column, language, notes, baseline, marks) for column in own]
        beside = BESIDE["distance"] if not tables else BESIDE.get(group, ())
        names = [name for name in beside if any(run.cost.get(name) for run in runs)]
        if headings or not tables:
            headings += [Heading(label=language.text(f"cost.{name}")) for name in names]
            printed += [cost_column(runs, name, language, baseline) for name in names]
        if headings:
            tables.append(table_of(group, headings, printed, len(runs)))
    return tables, tuple(notes.words)


def table_of(
    key: str, headings: Sequence[Heading], columns: Sequence[Sequence[PrintedCell]], count: int
) -> Table:
    """The table of columns that hold a cell for each of `count` models, and then the baseline's."""
    rows = list(zip(*columns, strict=True)) if columns else [()] * count
    baseline = rows[count] if len(rows) > count else ()
    return Table(key=key, headings=tuple(headings), rows=tuple(rows[:count]), baseline=baseline)


def is_idle(column: Column) -> bool:
    """Whether it checks other numbers, and there is nothing here that it could check."""
    return column.name in CONTROLS and not column.scores


def group_of(column: Column) -> str:
    """The table that shows a column: its metric's, or the last one."""
    group = next((cell.metric.group for cell in column.cells if cell.metric), "other")
    return group if group in GROUPS else "other"


def make_cost_table(runs: Sequence[Run], language: Language, baseline: Run | None = None) -> Table:
    """Every cost that some run has: of encodings that nobody keeps there is nothing to show."""
    names = [name for name in COSTS if any(run.cost.get(name) for run in runs)]
    headings = [Heading(label=language.text(f"cost.{name}")) for name in names]
    printed = [cost_column(runs, name, language, baseline) for name in names]
    return table_of("costs", headings, printed, len(runs))


def metric_form(metric: MetricRecord) -> Form:
    """Shares are printed in per cent, all else as it is."""
    return "percent" if metric.unit == "share" and metric.name != "label_balance" else "number"


def metric_heading(column: Column, language: Language) -> Heading:
    """What a reader needs to compare down the column: reference, direction, kind, counts."""
    details = []
    first = column.scores[0][1] if column.scores else None
    if first and first.unit not in ("", "share"):
        unit = first.unit
        details.append(language.text(f"unit.{unit}") if f"unit.{unit}" in language else unit)
    reference = features = ""
    if column.reference in ("test", "train", "validation"):
        reference = language.text(f"reference.{column.reference}")
        details.append(reference)
    if column.features not in ("", "none"):
        key = f"extractor.{column.features}"
        name = language.text(key) if key in language else column.features
        features = language.fill("on.features", features=name)
        details.append(features)
    if f"better.{column.better}" in language:
        details.append(language.text(f"better.{column.better}"))
    last = [kind_text(column.kinds[0], language)] if len(column.kinds) == 1 else []
    if column.counts:
        spread = "\N{EN DASH}".join(
            language.number(n, "count") for n in sorted({min(column.counts), max(column.counts)})
        )
        last.append(language.fill("table.samples", n=spread))
    details += [", ".join(last)] if last else []
    floor = ""
    if first and column.floors:
        ends = sorted({min(column.floors), max(column.floors)})
        floor = "\N{EN DASH}".join(language.number(end, metric_form(first)) for end in ends)
    return Heading(
        label=metric_label(column, language),
        reference=reference,
        features=features,
        details=tuple(details),
        floor=floor,
    )


def metric_column(
    column: Column,
    language: Language,
    notes: Notes,
    baseline: Run | None = None,
    marks: bool = True,
) -> list[PrintedCell]:
    """The cells of a column, all with as many decimals, the lasting best one marked.

    The baseline's comes last.
    """
    leader, spread = marked(column) if marks else None, finest(column)
    first = None if leader is None else column.scores[leader][1]
    cells = [(cell.metric, first) for cell in column.cells]
    cells += [] if baseline is None else [(entry_in(column, baseline), None)]
    return [metric_cell(metric, column, language, notes, best, spread) for metric, best in cells]


def metric_cell(
    metric: MetricRecord | None,
    column: Column,
    language: Language,
    notes: Notes,
    first: MetricRecord | None,
    spread: float | None,
) -> PrintedCell:
    """Value and interval, marked where the metric is `first`; or why there is no value."""
    if metric is None:
        return PrintedCell(text=language.text("table.missing"), state="missing")
    note = language.note(metric.note) if metric.note else ""
    numbers = (notes.number(note),) if note else ()
    if metric.value is None or not metric.defined:
        text = language.text("table.undefined")
        return PrintedCell(text=text, title=note, notes=numbers, state="undefined")
    form = metric_form(metric)
    interval = ""
    if metric.low is not None and metric.high is not None:
        interval = language.interval(metric.low, metric.high, form, spread)
    return PrintedCell(
        text=language.number(metric.value, form, spread),
        sort=metric.value,
        interval=interval,
        kind=kind_text(metric.kind, language) if {metric.kind} != {*column.kinds} else "",
        title=note,
        notes=numbers,
        best=metric is first,
    )


def finest(column: Column) -> float | None:
    """The smallest interval width: it gives one column one number of decimals."""
    ends = [(m.low, m.high) for _, m in column.scores]
    widths = [high - low for low, high in ends if low is not None and high is not None]
    return min((width for width in widths if width > 0), default=None)


def kind_text(kind: str, language: Language) -> str:
    """The kind in words."""
    return language.text(f"kind.{kind}") if f"kind.{kind}" in language else kind


def cost_column(
    runs: Sequence[Run], name: str, language: Language, baseline: Run | None = None
) -> list[PrintedCell]:
    """One cost of every run, with a bar relative to the largest; the baseline's comes last."""
    largest = max((run.cost.get(name) or 0.0 for run in runs), default=0.0)
    cells = [cost_cell(run, name, language, largest) for run in runs]
    return cells + ([] if baseline is None else [cost_cell(baseline, name, language, 0.0)])


def cost_cell(run: Run, name: str, language: Language, largest: float) -> PrintedCell:
    """One cost of one run; without a bar where the largest is 0."""
    value = run.cost.get(name)
    if run.samples is not None:  # trained elsewhere: it has no cost
        return PrintedCell(text="\N{EN DASH}", state="missing")
    if value is None:
        return PrintedCell(text=language.text("table.missing"), state="missing")
    text = language.short(value) if name in ROUNDED else language.number(value, COSTS[name])
    return PrintedCell(text=text, sort=value, bar=value / largest if largest > 0 else None)
