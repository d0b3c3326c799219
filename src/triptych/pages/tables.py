"""The comparison table: one row per model, one column per metric, then what it cost.

Every cell carries its full value for sorting; what is not defined carries its reason, both as a
title and as a note under the table, and never a number.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from triptych.pages.columns import Cell, Column, make_columns, marked, metric_label
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
    details: tuple[str, ...] = ()
    floor: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Headings over rows of cells; rows are in the order of the runs.

    key: names it in the texts and among the files
    """

    key: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[PrintedCell, ...], ...]


def make_tables(
    runs: Sequence[Run], language: Language, groups: Sequence[str] = (*GROUPS, "other")
) -> tuple[list[Table], tuple[str, ...]]:
    """A table for each group of metrics with the costs beside it, and the notes under all."""
    notes, columns = Notes(), make_columns(runs)
    tables: list[Table] = []
    for group in groups:
        own = [c for c in columns if group_of(c) == group and not is_idle(c)]
        headings = [metric_heading(column, language) for column in own]
        printed = [metric_column(column, language, notes) for column in own]
        beside = BESIDE["distance"] if not tables else BESIDE.get(group, ())
        names = [name for name in beside if any(run.cost.get(name) for run in runs)]
        if headings or not tables:
            headings += [Heading(label=language.text(f"cost.{name}")) for name in names]
            printed += [cost_column(runs, name, language) for name in names]
        if headings:
            rows = tuple(zip(*printed, strict=True))
            tables.append(Table(key=group, headings=tuple(headings), rows=rows))
    return tables, tuple(notes.words)


def is_idle(column: Column) -> bool:
    """Whether it checks other numbers, and there is nothing here that it could check."""
    return column.name in CONTROLS and not column.scores


def group_of(column: Column) -> str:
    """The table that shows a column: its metric's, or the last one."""
    group = next((cell.metric.group for cell in column.cells if cell.metric), "other")
    return group if group in GROUPS else "other"


def make_cost_table(runs: Sequence[Run], language: Language) -> Table:
    """Every cost that some run has: of encodings that nobody keeps there is nothing to show."""
    names = [name for name in COSTS if any(run.cost.get(name) for run in runs)]
    headings = tuple(Heading(label=language.text(f"cost.{name}")) for name in names)
    printed = [cost_column(runs, name, language) for name in names]
    rows = tuple(zip(*printed, strict=True)) if printed else tuple(() for _ in runs)
    return Table(key="costs", headings=headings, rows=rows)


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
    reference = ""
    if column.reference in ("test", "train", "validation"):
        reference = language.text(f"reference.{column.reference}")
        details.append(reference)
    if column.features not in ("", "none"):
        key = f"extractor.{column.features}"
        name = language.text(key) if key in language else column.features
        details.append(language.fill("on.features", features=name))
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
        details=tuple(details),
        floor=floor,
    )


def metric_column(column: Column, language: Language, notes: Notes) -> list[PrintedCell]:
    """The cells of a column, all with as many decimals, the lasting best one marked."""
    leader, spread = marked(column), finest(column)
    first = None if leader is None else column.scores[leader][1]
    return [metric_cell(cell, column, language, notes, first, spread) for cell in column.cells]


def metric_cell(
    cell: Cell,
    column: Column,
    language: Language,
    notes: Notes,
    first: MetricRecord | None,
    spread: float | None,
) -> PrintedCell:
    """Value and interval, marked where the metric is `first`; or why there is no value."""
    metric = cell.metric
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
        kind=kind_text(metric.kind, language) if len(column.kinds) > 1 else "",
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


def cost_column(runs: Sequence[Run], name: str, language: Language) -> list[PrintedCell]:
    """One cost of every run, with a bar relative to the largest."""
    values = [run.cost.get(name) for run in runs]
    largest = max((value for value in values if value is not None), default=0.0)
    cells = []
    for run, value in zip(runs, values, strict=True):
        if run.samples is not None:  # trained elsewhere: it has no cost
            cells.append(PrintedCell(text="\N{EN DASH}", state="missing"))
            continue
        if value is None:
            cells.append(PrintedCell(text=language.text("table.missing"), state="missing"))
            continue
        text = language.short(value) if name in ROUNDED else language.number(value, COSTS[name])
        bar = value / largest if largest > 0 else None
        cells.append(PrintedCell(text=text, sort=value, bar=bar))
    return cells
