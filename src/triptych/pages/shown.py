"""What `triptych.compare` gives: the report's path, which shows the comparison in a notebook."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from triptych import files, notebook
from triptych.errors import InputError
from triptych.pages.columns import named_runs
from triptych.pages.language import Language
from triptych.pages.load import Comparison, load_comparison, read_required
from triptych.pages.page import baseline_row, make_row
from triptych.pages.panels import make_hero
from triptych.pages.tables import PrintedCell, Table, make_tables
from triptych.records import ComparisonResults
from triptych.words import ENGLISH

ENLARGED = 2  # times: four samples in a row stand for a model, and models stand side by side


class Report(os.PathLike[str]):
    """The page of a comparison. It stands for its path, and shows the comparison in a notebook.

    What a `pathlib.Path` has it has too: `report.parent`, `report.read_text()`.

    page: report.html in the comparison's folder
    """

    def __init__(self, page: Path, language: str = ENGLISH) -> None:
        self.page, self.language = page, language

    @property
    def results(self) -> ComparisonResults:
        """The numbers of all runs; InputError where the folder is gone or damaged."""
        path = self.page.parent / "results.json"
        return read_required(ComparisonResults, path, files.MOST_RESULTS)

    def __fspath__(self) -> str:
        return str(self.page)

    def __str__(self) -> str:
        return str(self.page)

    def __repr__(self) -> str:
        return f"Report({str(self.page)!r})"

    def __eq__(self, other: object) -> bool:
        return self.page == (other.page if isinstance(other, Report) else other)

    def __hash__(self) -> int:
        return hash(self.page)

    def __truediv__(self, other: str | os.PathLike[str]) -> Path:
        return self.page / other

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "page":  # asked before there is a page, as copies are
            raise AttributeError(name)
        return getattr(self.page, name)

    def _repr_html_(self) -> str:
        try:
            comparison = load_comparison(self.page.parent)
        except InputError as error:  # moved or removed since then
            return notebook.block(notebook.line(str(self.page)), notebook.line(str(error)))
        return show(comparison, self.page, Language(self.language))


def show(comparison: Comparison, page: Path, language: Language) -> str:
    """Samples of every model side by side, and what the page's tables say, as HTML."""
    names = [make_row(run, name, language).name for run, name in named_runs(comparison.runs)]
    if comparison.baseline is not None:
        names.append(baseline_row(comparison.baseline, language).name)
    figures = [
        notebook.figure(picture.figure.uri, picture.figure.width * ENLARGED, panel.name)
        for panel in make_hero(comparison, language)
        for picture in panel.pictures
    ]
    tables, notes = make_tables(comparison.runs, language, baseline=comparison.baseline)
    return notebook.block(
        notebook.heading(comparison.contract.data.name),
        notebook.side_by_side(figures),
        *(table_of(table, names, language) for table in tables),
        *(notebook.line(f"{number}. {note}") for number, note in enumerate(notes, start=1)),
        notebook.line(str(page)),
    )


def table_of(table: Table, names: list[str], language: Language) -> str:
    """One of the page's tables: a row for each number, a column for each model."""
    rows = [*table.rows, *([table.baseline] if table.baseline else [])]
    lines = []
    names_alone = [(heading.label, heading.reference) for heading in table.headings]
    for number, heading in enumerate(table.headings):
        parts = [heading.label, heading.reference]
        if names_alone.count((heading.label, heading.reference)) > 1:
            parts.append(f"({heading.features})")
        name = " ".join(part for part in parts if part)
        lines.append([name, *(cell_text(row[number]) for row in rows), heading.floor])
    return notebook.table(lines, ["", *names, language.text("table.floor")])


def cell_text(cell: PrintedCell) -> str:
    """A cell's number with its interval, and the numbers of its notes."""
    notes = f" ({', '.join(map(str, cell.notes))})" if cell.notes else ""
    return " ".join([cell.text, *([cell.interval] if cell.interval else [])]) + notes
