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
    part_and_label,
    top_of,
    usual,
)
from triptych.errors import InputError
from triptych.records import Note

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
    labeled: bool

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
    table_name = printable(name)
    name_column = columns.image or NAME_COLUMN
    text = decoded(content, table_name)
    is_csv = name.lower().endswith(".csv")
    records: Sequence[Mapping[str, object]] = (
        csv_records(text, table_name, name_column) if is_csv else json_records(text, table_name)
    )
    names = list(dict.fromkeys(key for record in records for key in record))
    label_column = label_column_of(names, columns, table_name)
    rows = []
    for number, record in enumerate(records, start=1):
        file_name = record.get(name_column)
        if not isinstance(file_name, str) or not file_name:
            if name_column not in names:
                raise InputError(
                    f"{table_name} has no column {name_column}",
                    f"it has {', '.join(names)}: add it",
                )
            raise InputError(f"row {number} of {table_name} has no {name_column}", "give it one")
        label = record.get(label_column) if label_column else None
        rows.append((file_name, plain_label(label, number, table_name)))
    return Table(name, with_numbers(rows), label_column is not None)


def decoded(content: bytes, table_name: str) -> str:
    """Text, without the mark that some programs start it with."""
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{table_name} is not UTF-8 text", "save it as UTF-8") from error


def csv_records(text: str, table_name: str, name_column: str) -> list[dict[str, str]]:
    """The rows of a CSV table by column name; its header tells the delimiter."""
    first_line = text.partition("\n")[0].rstrip("\r")
    delimiter = next((d for d in DELIMITERS if name_column in fields(first_line, d)), ",")
    try:
        lines = [
            line
            for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            if line
        ]
    except csv.Error as error:
        raise InputError(f"{table_name} is malformed ({error})", "write it again as CSV") from error
    header = [column.strip() for column in lines[0]] if lines else []
    if name_column not in header:
        raise InputError(
            f"{table_name} has no column {name_column}",
            f"add it to its header ({printable(', '.join(header)) or 'which is empty'})",
        )
    for number, line in enumerate(lines[1:], start=1):
        if len(line) != len(header):
            raise InputError(
                f"row {number} of {table_name} has {counted(len(line), 'field')} under "
                f"{len(header)} column names",
                "mend the row, or put its commas in quotes",
            )
    return [dict(zip(header, line, strict=True)) for line in lines[1:]]


def fields(line: str, delimiter: str) -> list[str]:
    """The parts of one line, by a delimiter."""
    return [part.strip().strip('"') for part in line.split(delimiter)]


def json_records(text: str, table_name: str) -> list[dict[str, object]]:
    """The objects of a JSON-lines file, one a line; InputError on anything else."""
    records = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"line {number} of {table_name} is no JSON ({error})", "write one object a line"
            ) from error
        if not isinstance(record, dict):
            raise InputError(
                f"line {number} of {table_name} is no object", "write one object a line"
            )
        records.append(record)
    return records


def label_column_of(names: list[str], columns: Columns, table_name: str) -> str | None:
    """The column of labels that was asked for, else a usual one, else None."""
    if not columns.labeled:
        return None
    if columns.label is None:
        return usual(names, LABEL_NAMES)
    if columns.label not in names:
        raise InputError(
            f"no column '{columns.label}' in {table_name}",
            f"there are {printable(', '.join(names))}",
        )
    return columns.label


def plain_label(value: object, row: int, table_name: str) -> str | int | None:
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
        f"the label in row {row} of {table_name} is neither name nor number",
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
    source_name: str,
    closed: Mapping[str, str] | None = None,
) -> Layout:
    """Part and label of all images, from the metadata where there are any, else from the folders.

    If one folder holds everything, names are relative to it. Beside a folder of the part train
    only folders of other parts count, unless metadata at the top list all images.

    names:       of the images
    tables:      the bytes of the metadata, by name
    source_name: of the folder or archive, for messages
    closed:      folders that could not be opened, and why
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
        layout = lay_out_listed(below, parsed, columns.labeled)
    else:
        refuse_columns(columns, source_name)
        layout = lay_out(below, columns.labeled)
    bad = [
        Entry(name.removeprefix(top), None, None, f"cannot be opened ({why})")
        for name, why in sorted(closed.items())
    ]
    return Layout(layout.entries + bad, layout.notes + notes_beside(beside), top)


def refuse_columns(columns: Columns, source_name: str) -> None:
    """InputError when columns are asked of what has no metadata."""
    asked = "--image-column" if columns.image is not None else None
    if columns.label is not None and columns.labeled:
        asked = "--label-column"
    if asked:
        raise InputError(f"{source_name} has no columns", f"leave out {asked}")


def lay_out_listed(names: Sequence[str], tables: Sequence[Table], labeled: bool) -> Layout:
    """The images that tables list, and those in folders without a table."""
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
        entries[name] = Entry(name, *part_and_label(name))
    ordered = sorted(entries.values())
    layout = all_or_no_labels(ordered, labeled, "images_without_label")
    return Layout(layout.entries, layout.notes + notes_on(len(beside) - len(outside), repeated))


def notes_on(left_out: int, repeated: int) -> tuple[Note, ...]:
    """Notes on images that the tables did not list, or listed twice."""
    notes = []
    if left_out:
        notes.append(Note("images_not_listed", {"n": left_out}))
    if repeated:
        notes.append(Note("images_listed_again", {"n": repeated}))
    return tuple(notes)


def entry_of(file_name: str, label: str | int | None, table: Table, there: set[str]) -> Entry:
    """One row's image; the problem says what is wrong with its name, if anything is."""
    tidy = posixpath.normpath(table.folder + file_name)
    if tidy not in there and "\\" in file_name:  # written on Windows
        tidy = posixpath.normpath(table.folder + file_name.replace("\\", "/"))
    if re.match(r"[A-Za-z]:|[/\\]", file_name) or tidy.split("/")[0] == "..":
        return Entry(file_name, None, None, "outside the folder")
    by_folder = part_and_label(tidy)
    part = PART_NAMES.get(table.folder.split("/")[0].lower(), by_folder.part)
    problem = None
    if tidy not in there:
        reason = "not there" if is_image(tidy) else "not named as an image"
        problem = f"listed in {posixpath.basename(table.name)} but {reason}"
    return Entry(tidy, part, label if table.labeled else by_folder.label, problem)
