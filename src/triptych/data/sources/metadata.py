"""Metadata beside images: a table which lists their file names, and their labels if it has them.

The Hub's convention: `metadata.csv` or `metadata.jsonl` in the folder of the images, or in each
part's folder, with a column `file_name` relative to the table.
"""

from __future__ import annotations

import csv
import io
import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triptych.data.sources import PART_NAMES, Columns, printable
from triptych.data.sources.layout import (
    LABEL_NAMES,
    Entry,
    Layout,
    all_or_no_labels,
    beside_train,
    class_of,
    common_top,
    counted,
    is_image,
    lay_out,
    notes_beside,
    place_of,
    top_of,
    usual,
)
from triptych.errors import InputError

TABLES = ("metadata.csv", "metadata.jsonl")
NAME_COLUMN = "file_name"
DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Table:
    """What one metadata file lists.

    name:     the file's own, as that of an image
    rows:     the images' names as written, each with its label or None
    labelled: whether it has a column of labels
    """

    name: str
    rows: list[tuple[str, str | int | None]]
    labelled: bool

    @property
    def folder(self) -> str:
        """Where the names start, with a slash at the end unless it is the top."""
        return self.name[: -len(posixpath.basename(self.name))]


def is_table(name: str) -> bool:
    """Whether a file name is that of metadata.

    >>> is_table("train/metadata.csv"), is_table("my-metadata.csv")
    (True, False)
    """
    return posixpath.basename(name).lower() in TABLES


def parse_table(name: str, content: bytes, columns: Columns) -> Table:
    """A metadata file's bytes -> its rows; InputError when it is malformed, naming the mend."""
    shown = printable(name)
    name_column = columns.image or NAME_COLUMN
    text = decoded(content, shown)
    is_csv = name.lower().endswith(".csv")
    records = csv_records(text, shown, name_column) if is_csv else json_records(text, shown)
    known = list(dict.fromkeys(key for record in records for key in record))
    label_column = label_column_of(known, columns, shown)
    rows = []
    for number, record in enumerate(records, start=1):
        file_name = record.get(name_column)
        if not isinstance(file_name, str) or not file_name:
            if name_column not in known:
                raise InputError(
                    f"{shown} has no column {name_column}", f"it has {', '.join(known)}: add it"
                )
            raise InputError(f"row {number} of {shown} has no {name_column}", "give it one")
        label = record.get(label_column) if label_column else None
        rows.append((file_name, plain_label(label, number, shown)))
    return Table(name, with_numbers(rows), label_column is not None)


def decoded(content: bytes, shown: str) -> str:
    """Text, without the mark that some programs start it with."""
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{shown} is not UTF-8 text", "save it as UTF-8") from error


def csv_records(text: str, shown: str, name_column: str) -> list[dict[str, Any]]:
    """The rows of a table under its header, separated as the header is."""
    first_line = text.partition("\n")[0].rstrip("\r")
    delimiter = next((d for d in DELIMITERS if name_column in fields(first_line, d)), ",")
    try:
        lines = [
            line
            for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            if line
        ]
    except csv.Error as error:
        raise InputError(f"{shown} is malformed ({error})", "write it again as CSV") from error
    header = [column.strip() for column in lines[0]] if lines else []
    if name_column not in header:
        raise InputError(
            f"{shown} has no column {name_column}",
            f"add it to its header ({printable(', '.join(header)) or 'which is empty'})",
        )
    for number, line in enumerate(lines[1:], start=1):
        if len(line) != len(header):
            raise InputError(
                f"row {number} of {shown} has {counted(len(line), 'field')} under {len(header)} "
                "column names",
                "mend the row, or put its commas in quotes",
            )
    return [dict(zip(header, line, strict=True)) for line in lines[1:]]


def fields(line: str, delimiter: str) -> list[str]:
    """The parts of one line, by a delimiter."""
    return [part.strip().strip('"') for part in line.split(delimiter)]


def json_records(text: str, shown: str) -> list[dict[str, Any]]:
    """An object a line."""
    records = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"line {number} of {shown} is no JSON ({error})", "write one object a line"
            ) from error
        if not isinstance(record, dict):
            raise InputError(f"line {number} of {shown} is no object", "write one object a line")
        records.append(record)
    return records


def label_column_of(known: list[str], columns: Columns, shown: str) -> str | None:
    """The column of labels that was asked for, else a usual one, else None."""
    if not columns.labelled:
        return None
    if columns.label is None:
        return usual(known, LABEL_NAMES)
    if columns.label not in known:
        raise InputError(
            f"no column '{columns.label}' in {shown}", f"there are {printable(', '.join(known))}"
        )
    return columns.label


def plain_label(value: Any, row: int, shown: str) -> str | int | None:
    """A label as a number or a name; None where it is empty."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str | bool | float):
        return class_of(str(value))
    raise InputError(
        f"the label in row {row} of {shown} is neither name nor number",
        "give one class an image, or --label-column none",
    )


def with_numbers(rows: list[tuple[str, str | int | None]]) -> list[tuple[str, str | int | None]]:
    """The rows with labels that are numbers, when all are; else with names only."""
    texts = [(name, None if label is None else str(label)) for name, label in rows]
    if all(label is None or re.fullmatch(r"[0-9]{1,9}", label) for _, label in texts):
        return [(name, None if label is None else int(label)) for name, label in texts]
    return list(texts)


def arrange(
    names: Sequence[str],
    tables: Mapping[str, bytes],
    columns: Columns,
    shown: str,
    closed: Mapping[str, str] | None = None,
) -> Layout:
    """The places of all images, from the metadata where there are some, else from the folders.

    Names are taken below the one folder that holds everything, if there is one. Beside a folder
    of the part train only other parts count, unless metadata on top speak of all images.

    names:  of the images
    tables: the bytes of the metadata, by name
    shown:  what messages call the whole
    closed: folders that could not be opened, and why
    """
    closed = closed or {}
    top = common_top([*names, *tables, *closed])
    below = [name.removeprefix(top) for name in names]
    on_top = any("/" not in name.removeprefix(top) for name in tables)
    beside = {} if on_top else beside_train(below)
    if beside:
        below = [name for name in below if top_of(name) not in beside]
    parsed = [
        parse_table(name.removeprefix(top), content, columns)
        for name, content in sorted(tables.items())
        if top_of(name.removeprefix(top)) not in beside
    ]
    if parsed:
        layout = lay_out_listed(below, parsed, columns.labelled)
    else:
        refuse_columns(columns, shown)
        layout = lay_out(below, columns.labelled)
    bad = [
        Entry(name.removeprefix(top), None, None, f"cannot be opened ({why})")
        for name, why in sorted(closed.items())
    ]
    return Layout(layout.entries + bad, layout.notes + notes_beside(beside), top)


def refuse_columns(columns: Columns, shown: str) -> None:
    """InputError when columns are asked of what has no metadata."""
    asked = "--image-column" if columns.image is not None else None
    if columns.label is not None and columns.labelled:
        asked = "--label-column"
    if asked:
        raise InputError(f"{shown} has no columns", f"leave out {asked}")


def lay_out_listed(names: Sequence[str], tables: Sequence[Table], labelled: bool) -> Layout:
    """The images that tables list, and those in folders which no table speaks of."""
    there = set(names)
    entries: dict[str, Entry] = {}
    repeated = 0
    for table in tables:
        for file_name, label in table.rows:
            entry = entry_of(file_name, label, table, there)
            repeated += entry.name in entries
            entries.setdefault(entry.name, entry)
    covered = tuple(table.folder for table in tables)
    beside = [name for name in names if name not in entries]
    outside = [name for name in beside if not name.startswith(covered)]
    for name in outside:
        entries[name] = Entry(name, *place_of(name))
    ordered = sorted(entries.values())
    layout = all_or_no_labels(ordered, labelled, "images without a label")
    return Layout(layout.entries, layout.notes + notes_on(len(beside) - len(outside), repeated))


def notes_on(left_out: int, repeated: int) -> tuple[str, ...]:
    """What the tables did not list, or listed twice."""
    notes = []
    if left_out:
        notes.append(f"images left out, for the metadata do not list them: {left_out}")
    if repeated:
        notes.append(f"images listed again in the metadata, of which the first counts: {repeated}")
    return tuple(notes)


def entry_of(file_name: str, label: str | int | None, table: Table, there: set[str]) -> Entry:
    """One row's image; the problem says what is wrong with its name, if anything is."""
    tidy = posixpath.normpath(table.folder + file_name)
    if tidy not in there and "\\" in file_name:  # written on Windows
        tidy = posixpath.normpath(table.folder + file_name.replace("\\", "/"))
    if re.match(r"[A-Za-z]:|[/\\]", file_name) or tidy.split("/")[0] == "..":
        return Entry(file_name, None, None, "outside the folder")
    place = place_of(tidy)
    part = PART_NAMES.get(table.folder.split("/")[0].lower(), place.part)
    problem = None
    if tidy not in there:
        known = "not there" if is_image(tidy) else "not named as an image"
        problem = f"listed in {posixpath.basename(table.name)} but {known}"
    return Entry(tidy, part, label if table.labelled else place.label, problem)
