"""What the page shows as files to use elsewhere: tables as CSV and LaTeX, charts as PNG and SVG.

tables/measurements.csv  every metric of every model, one per line, with what it is
tables/GROUP.tex         the page's tables, in the page's language, for the booktabs package
figures/NAME.png, .svg   quality against cost
figures/KIND-RUN.png     the pictures of each model
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych import files
from triptych.families.registry import FAMILIES
from triptych.pages.baseline import entry_in
from triptych.pages.charts import (
    DASHES,
    LONGEST_NAME,
    Chart,
    Frontier,
    draw_frontiers,
    value_axis,
)
from triptych.pages.columns import label, make_columns, named_runs
from triptych.pages.language import Language
from triptych.pages.load import Comparison, Run
from triptych.pages.panels import BANDS, plain_name
from triptych.pages.tables import PrintedCell, Table, make_cost_table, make_tables
from triptych.words import english

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES, FIGURES = "tables", "figures"
OTHER = "#6b5590"  # of the page in print, for models of no family
INCHES, DPI = (5.0, 3.2), 200
STEADY: dict[Any, Any] = {"svg.hashsalt": "triptych", "svg.fonttype": "none"}
LAST_LATIN = 0x17F  # of the signs that LaTeX's T1 fonts have; others are named by their number
FIELDS = (
    "model", "metric", "features", "reference", "method", "kind", "value", "low", "high", "floor",
    "n", "unit", "better", "note",
)  # fmt: skip
SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip
# Signs of our own texts and numbers that old engines do not take from the keyboard.
SIGNS = {"\N{MINUS SIGN}": "$-$", "\N{NO-BREAK SPACE}": "~", "\N{NARROW NO-BREAK SPACE}": r"\,",
         "\N{EN DASH}": "--", "\N{MULTIPLICATION SIGN}": r"$\times$",
         "\N{RIGHT SINGLE QUOTATION MARK}": "'", "\N{MICRO SIGN}": r"$\mu$"}  # fmt: skip


def export(comparison: Comparison, language: Language) -> None:
    """Write all of them into the comparison's folder."""
    runs, baseline = comparison.runs, comparison.baseline
    tables, _ = make_tables(runs, language, baseline=baseline)
    names = [label(run, name, language) for run, name in named_runs(runs)]
    names += [] if baseline is None else [language.text("baseline.name")]
    folder = comparison.folder / TABLES
    folder.mkdir(exist_ok=True)
    files.write_bytes(folder / "measurements.csv", to_csv(runs, names, baseline).encode())
    for table in (*tables, make_cost_table(runs, language, baseline)):
        files.write_bytes(folder / f"{table.key}.tex", to_latex(table, names, language).encode())
    figures = comparison.folder / FIGURES
    figures.mkdir(exist_ok=True)
    for frontier in draw_frontiers(runs, language, baseline):
        plot(frontier, figures / f"quality-against-{frontier.cost.replace('_', '-')}")
    for run in (*runs, *([] if baseline is None else [baseline])):
        copy_pictures(run, figures)


def to_csv(runs: Sequence[Run], names: Sequence[str], baseline: Run | None = None) -> str:
    """Numbers as they were measured, neither rounded nor translated.

    names: of the runs, and then of the baseline, where there is one
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    for column in make_columns(runs):
        metrics = [cell.metric for cell in column.cells]
        metrics += [] if baseline is None else [entry_in(column, baseline)]
        for metric, name in zip(metrics, names, strict=True):
            if metric is None:
                continue
            row = {field: getattr(metric, field) for field in FIELDS if hasattr(metric, field)}
            row |= {"note": english(metric.note) if metric.note else ""}
            writer.writerow(row | {"model": name, "metric": metric.name})
    return text.getvalue()


def to_latex(table: Table, names: Sequence[str], language: Language) -> str:
    """One table: the floors, then a row for each model; the best is bold where there is a best.

    names: of the rows, the baseline's last, where the table has one
    """
    lines = [
        "% \\usepackage{booktabs}",
        "\\begin{tabular}{l" + "r" * len(table.headings) + "}",
        "\\toprule",
        " & ".join(["", *(escape(heading.label) for heading in table.headings)]) + " \\\\",
    ]
    if any(heading.reference for heading in table.headings):  # what tells equal labels apart
        references = [escape(heading.reference) for heading in table.headings]
        lines.append(" & ".join(["", *references]) + " \\\\")
    lines.append("\\midrule")
    if any(heading.floor for heading in table.headings):
        floors = [escape(heading.floor) for heading in table.headings]
        lines.append(" & ".join([escape(language.text("table.floor")), *floors]) + " \\\\")
    rows = [*table.rows, *([table.baseline] if len(names) > len(table.rows) else [])]
    for index, (name, row) in enumerate(zip(names, rows, strict=True)):
        lines += ["\\midrule"] if index == len(table.rows) else []
        lines.append(" & ".join([escape(name), *map(latex_cell, row)]) + " \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def latex_cell(cell: PrintedCell) -> str:
    """The value, bold where it is best, and its interval."""
    text = escape(cell.text)
    if cell.best:
        text = f"\\textbf{{{text}}}"
    return f"{text} {escape(cell.interval)}" if cell.interval else text


def escape(text: str) -> str:
    """Words as LaTeX prints them: no two hyphens become a dash, and signs that it lacks are named.

    >>> escape("--seeds 5 %")
    '-{}-seeds 5 \\\\%'
    """
    apart = text.replace("--", "-\0-").replace("--", "-\0-")  # once more: of three, two are left
    return "".join(map(latex_sign, apart))


def latex_sign(sign: str) -> str:
    """One sign: escaped, replaced, or as it is where every engine has it."""
    if sign == "\0":
        return "{}"
    if sign in SPECIAL or sign in SIGNS:
        return SPECIAL.get(sign) or SIGNS[sign]
    if not sign.isprintable():
        return " "
    return sign if ord(sign) <= LAST_LATIN else f"[U+{ord(sign):04X}]"


def plot(frontier: Frontier, stem: Path) -> None:
    """The chart as STEM.png and STEM.svg."""
    for kind, content in plotted(frontier, "png", "svg").items():
        stem.with_suffix(f".{kind}").write_bytes(content)


def plotted(frontier: Frontier, *kinds: str) -> dict[str, bytes]:
    """Quality against cost as files of these kinds, png or svg."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STEADY):
        figure = Figure(figsize=INCHES, layout="constrained")
        axes = figure.add_subplot()
        for number, point in enumerate(frontier.points, 1):
            colour = colour_of(point.family)
            below, above = max(0.0, point.value - point.low), max(0.0, point.high - point.value)
            name = point.name
            shown = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."
            axes.errorbar(
                point.cost, point.value, [[below], [above]], marker="o", color=colour, capsize=3,
                label=f"{number}  {shown}",
            )  # fmt: skip
            axes.annotate(
                str(number) if frontier.legend else name, (point.cost, point.value),
                xytext=(6, 6), textcoords="offset points", color=colour,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlabel(frontier.title)
        axes.set_ylabel(frontier.quality)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(0.15)
        if frontier.legend:
            figure.legend(loc="outside right upper", frameon=False, fontsize=6)
        return {kind: saved(figure, kind) for kind in kinds}


def plotted_lines(chart: Chart, family: str) -> bytes:
    """A chart of a training as a PNG file: its lines differ by dashes, as on the page."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STEADY):
        figure = Figure(figsize=INCHES, layout="constrained")
        axes = figure.add_subplot()
        for index, (line, term) in enumerate(zip(chart.series, chart.terms, strict=True)):
            axes.plot(
                *zip(*line.points, strict=True),
                linestyle=(0, DASHES[index % len(DASHES)] or None),
                alpha=0.45 if index // len(DASHES) % 2 else 1,
                color=colour_of(family),
                label=term,
            )
        if chart.mark is not None:
            axes.axvline(chart.mark, color=OTHER, linewidth=1)
        if chart.log:
            axes.set_xscale("log")
        if all(value > 0 for line in chart.series for _, value in line.points):
            axes.set_yscale("log" if value_axis(chart.series).log else "linear")
        axes.set_xlabel(chart.across)
        axes.set_title(chart.title)
        axes.spines[["top", "right"]].set_visible(False)
        if len(chart.series) > 1:
            axes.legend(frameon=False, handlelength=4)
        return saved(figure, "png")


def saved(figure: Figure, kind: str) -> bytes:
    """A figure of matplotlib as the bytes of a file, the same whenever it is drawn."""
    content = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else None
    figure.savefig(content, format=kind, dpi=DPI, metadata=metadata)
    return content.getvalue()


def colour_of(family: str) -> str:
    """The family's color in print."""
    return FAMILIES[family].color if family in FAMILIES else OTHER


def copy_pictures(run: Run, figures: Path) -> None:
    """The run's pictures beside those of the others."""
    if run.folder is None:
        return
    name = plain_name(run.name.strip("-."), "=._-")
    for kind in BANDS:
        picture = run.folder / "figures" / f"{kind}.png"
        if picture.is_file():
            shutil.copyfile(picture, figures / f"{kind}-{name}.png")
