"""Files beside images that give their labels: tables which list images, and one text an image.

Tables are the Hub's `metadata.csv`, `metadata.jsonl` or `metadata.parquet`, in the folder of the
images or of a part, with a column `file_name` relative to the table; and `dataset.json`, which the
tools of StyleGAN (github.com/NVlabs/stylegan3) and EDM write. WebDataset's `.cls` files hold the
class of the image of the same name.
"""

from __future__ import annotations

import csv
import io
import json
import math
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from triptych.data.sources import Columns, PartName, as_input_error, printable
from triptych.data.sources.layout import (
    LABEL_NAMES,
    PART_COLUMNS,
    UNLABELED,
    abridged,
    class_of,
    counted,
    in_order,
    is_image,
    places_of_ones,
    usual,
)
from triptych.data.sources.levels import part_word
from triptych.errors import InputError
from triptych.records import Note

TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
DATASET = "dataset.json"
TEXT = ".cls"
TEXT_CAP = 1000  # bytes of it that are read
NAME_COLUMN = "file_name"
YES_FOR_TRAINING = ("is_train", "is_training", "train")
DELIMITERS = (",", ";", "\t", "|")
# also as 3.0, which spreadsheets write, in French as 3,0; but 07 is a name
WHOLE = re.compile(r"(-?(?:0|[1-9][0-9]{0,8}))(?:[.,]0*)?")
MISSING = ("", "nan", "NaN", "NA", "N/A", "null", "None")  # of numbers, as tools write nothing
Label = str | int | None


class Row(NamedTuple):
    """An image's name as written, its label and its part."""

    file_name: str
    label: Label
    part: PartName | None = None


@dataclass(frozen=True)
class Table:
    """What one metadata file lists.

    name:    the file's own, as that of an image; behind the number of its archive, as `1:` in
             `train/1:metadata.csv`, where several archives are one set
    labeled: whether it gives labels
    """

    name: str
    rows: list[Row]
    labeled: bool
    notes: tuple[Note, ...] = ()

    @property
    def is_dataset(self) -> bool:
        """Whether it is a `dataset.json`, which others write of other things."""
        return plain_name(self.name).lower() == DATASET

    def path(self, file_name: str) -> str:
        """The name of the image that is called so in a row."""
        folder, slash, last = file_name.rpartition("/")
        return posixpath.normpath(f"{self.folder}{folder}{slash}{self.number}{last}")

    def covers(self, name: str) -> bool:
        """Whether an image lies where the table lists all that is used."""
        own = posixpath.basename(name).startswith(self.number)
        return own and name.startswith(self.folder)

    @property
    def number(self) -> str:
        """What stands before the names of its archive's members, with a colon; or nothing."""
        number, colon, _ = posixpath.basename(self.name).rpartition(":")
        return number + colon

    @property
    def folder(self) -> str:
        """Where the names start, with a slash at the end unless it is the top."""
        return self.name[: -len(posixpath.basename(self.name))]


def plain_name(name: str) -> str:
    """A table's own name, without folders and its archive's number.

    >>> plain_name("train/0:metadata.csv"), plain_name("metadata.csv")
    ('metadata.csv', 'metadata.csv')
    """
    return posixpath.basename(name).rpartition(":")[2]


def is_table(name: str) -> bool:
    """Whether a file name is that of metadata.

    >>> is_table("train/metadata.csv"), is_table("my-metadata.csv"), is_table("dataset.json")
    (True, False, True)
    """
    return posixpath.basename(name).lower() in (*TABLES, DATASET)


def is_label_text(name: str) -> bool:
    """Whether a file name is that of one image's class."""
    return name.lower().endswith(TEXT)


def parse_table(name: str, content: bytes, columns: Columns) -> Table | None:
    """A metadata file's bytes -> its rows; InputError when it is malformed, naming the mend.

    None for a `dataset.json` without labels of the tools' form.
    """
    if plain_name(name).lower() == DATASET:
        return parse_dataset(name, content)
    table_name = printable(name)
    name_column = columns.image or NAME_COLUMN
    records = read_records(name, content, name_column, columns)
    names = list(dict.fromkeys(key for record in records for key in record))
    files = file_names(records, names, name_column, table_name)
    label_column = label_column_of(names, columns, table_name)
    notes = []
    if label_column is not None and are_fractions(record.get(label_column) for record in records):
        if columns.label is not None:
            raise InputError(
                f"column '{label_column}' of {table_name} holds numbers that are not whole",
                "save numbers 0, 1, ... or names, or leave labels out with --label-column none",
            )
        notes.append(Note("labels_left_out", {"name": printable(label_column), "type": "float"}))
        label_column = None
    labels: list[Label] = [None] * len(files)
    if label_column is not None:
        cells = (record.get(label_column) for record in records)
        labels = with_numbers([plain_label(c, row, table_name) for row, c in enumerate(cells, 1)])
        if any(label is not None for label in labels):
            notes.append(labels_from(label_column, without_number(name)))
    elif columns.labeled and not notes and (others := label_candidates(names, records)):
        notes.append(Note("labels_not_chosen", {"columns": printable(", ".join(others))}))
    rows = list(map(Row, files, labels))
    part_column = usual(names, PART_COLUMNS)
    if part_column not in (None, label_column, name_column):
        written = [record.get(part_column) for record in records]
        parts, note = parts_of_cells(written, part_column, without_number(name))
        notes.append(note)
        if parts is not None:
            rows = [row._replace(part=part) for row, part in zip(rows, parts, strict=True)]
            rows = [row for row in rows if row.part or "train" not in parts]
    return Table(name, rows, label_column is not None, tuple(notes))


def without_number(name: str) -> str:
    """A table's name for a note, which is the same for all archives of a set."""
    return printable(name[: -len(posixpath.basename(name))] + plain_name(name))


def labels_from(column: str, table_name: str) -> Note:
    """The note on where labels come from."""
    return Note("labels_from_column", {"name": printable(column), "table": table_name})


def read_records(
    name: str, content: bytes, name_column: str, columns: Columns
) -> Sequence[Mapping[str, object]]:
    """The rows of a table by column name."""
    table_name = printable(name)
    if name.lower().endswith(".parquet"):
        return parquet_records(content, table_name, columns)
    text = decoded(content, table_name)
    if name.lower().endswith(".csv"):
        return csv_records(text, table_name, name_column)
    return json_records(text, table_name)


def file_names(
    records: Sequence[Mapping[str, object]], names: list[str], name_column: str, table_name: str
) -> list[str]:
    """The names of images as written, one a row; InputError where one is missing."""
    files = []
    for number, record in enumerate(records, start=1):
        file_name = record.get(name_column)
        if not isinstance(file_name, str) or not file_name:
            if name_column not in names:
                raise InputError(
                    f"{table_name} has no column {name_column}",
                    f"it has {printable(', '.join(names))}: add it",
                )
            raise InputError(f"row {number} of {table_name} has no {name_column}", "give it one")
        files.append(file_name)
    return files


def parse_dataset(name: str, content: bytes) -> Table | None:
    """`dataset.json`: {"labels": [[file name, class], ...]}, a class being a number or one-hot.

    None where it gives no labels, or is something else.
    """
    table_name = printable(name)
    try:
        document = json.loads(content)
        labels = document["labels"]
        if isinstance(labels, dict):
            labels = list(labels.items())
        pairs = [] if labels is None else [tuple(pair) for pair in labels]
        if any(len(p) != 2 or not isinstance(p[0], str) or not is_image(p[0]) for p in pairs):
            return None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if not pairs:
        return None
    rows = [
        Row(file_name, plain_label(label, row, table_name))
        for row, (file_name, label) in enumerate(pairs, start=1)
    ]
    return Table(name, rows, True, (labels_from("labels", without_number(name)),))


def parquet_records(content: bytes, table_name: str, columns: Columns) -> list[dict[str, object]]:
    """The rows of a parquet table, with the names of classes where they are declared.

    Columns of lists, such as embeddings, which would fill the memory as Python's numbers, are read
    only as labels, which may be one-hot.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with as_input_error(Path(table_name), "is no readable parquet", "write it again"):
        table = pq.read_table(pa.BufferReader(content))
        labels = {wanted.lower() for wanted in (columns.label, *LABEL_NAMES) if wanted}
        flat = [
            field.name
            for field in table.schema
            if not pa.types.is_nested(field.type)
            or (field.name.lower() in labels and not pa.types.is_struct(field.type))
        ]
        records: list[dict[str, object]] = table.select(flat).to_pylist()
        for column in flat:
            names = declared_names(table.schema, column)
            for record in records if names else ():
                number = record[column]
                if isinstance(number, int) and names and 0 <= number < len(names):
                    record[column] = names[number]
                elif number == UNLABELED:
                    record[column] = None
    return records


def feature(schema: Any, name: str) -> dict[str, object]:
    """The Hub's metadata of a column; empty where there are none."""
    try:
        entry = json.loads(schema.metadata[b"huggingface"])["info"]["features"][name]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}


def declared_names(schema: Any, label: str | None) -> tuple[str, ...] | None:
    """The names of classes 0..K-1 that a column's metadata declare; schema: pyarrow's."""
    names = feature(schema, label).get("names") if label is not None else None
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def label_candidates(names: Iterable[str], records: Sequence[Mapping[str, object]]) -> list[str]:
    """The columns that could be labels: of several values, each of several images."""
    likely = []
    for name in names:
        values = [record.get(name) for record in records]
        plain = all(isinstance(value, str | int) for value in values)
        if plain and name.lower() not in PART_COLUMNS and 1 < len(set(values)) <= len(values) / 2:
            likely.append(name)
    return likely


def parts_of_cells(
    cells: Sequence[object], column: str, table_name: str
) -> tuple[list[PartName | None] | None, Note]:
    """The parts that a column names, and the note on it; None where it names none to hold apart.

    Rows that name none, where others name train, belong to no part; else they are for training.
    """
    parts = [part_of_cell(cell, column) for cell in cells]
    where = {"name": printable(column), "table": table_name}
    known = set(parts) - {None}
    if known and known != {"validation"}:
        unknown = parts.count(None) if "train" in parts else 0
        code = "parts_from_column_some" if unknown else "parts_from_column"
        return parts, Note(code, {**where, "n": unknown} if unknown else {**where})
    values = in_order({str(cell) for cell in cells})
    return None, Note("parts_column_not_read", {**where, "values": abridged(values)})


def part_of_cell(cell: object, column: str) -> PartName | None:
    """The part that a cell names; a column `is_train` holds true and false."""
    if column.lower() in YES_FOR_TRAINING:
        return {"true": "train", "1": "train", "false": "test", "0": "test"}.get(str(cell).lower())  # type: ignore[return-value]
    return part_of_text(cell)


def part_of_text(value: object) -> PartName | None:
    """The part that a table's cell names."""
    word = part_word(value) if isinstance(value, str) else None
    return word.part if word and not word.rest else None


def labels_of_texts(names: Iterable[str], top: str, texts: Mapping[str, bytes]) -> dict[str, Label]:
    """The classes of images by their names below `top`, from the bytes of the `.cls` files.

    As in WebDataset, all of a name before the first dot of its last part is the key by which an
    image and its class belong together.
    """
    by_key = {key_of(name): content for name, content in texts.items()}
    found: dict[str, Label] = {}
    for name in names:
        content = by_key.get(key_of(top + name))
        if content is not None:
            found[name] = class_of(content[:TEXT_CAP].decode("utf-8", "replace"))
    return dict(zip(found, with_numbers(list(found.values())), strict=True))


def key_of(name: str) -> str:
    """A file's name up to the first dot behind its folders.

    >>> key_of("a.b/0001.left.png")
    'a.b/0001'
    """
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def decoded(content: bytes, table_name: str) -> str:
    """Text, without the mark that some programs start it with."""
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{table_name} is not UTF-8 text", "save it as UTF-8") from error


def csv_records(text: str, table_name: str, name_column: str) -> list[dict[str, str]]:
    """The rows of a CSV table by column name; its header tells the delimiter."""
    if text.startswith("sep="):  # a line by which Excel is told the delimiter
        text = text.partition("\n")[2]
    first_line = text.partition("\n")[0].rstrip("\r")
    delimiter = next((d for d in DELIMITERS if name_column in fields(first_line, d)), ",")
    try:
        lines = [
            line
            for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            if any(line)  # Excel keeps rows of commas below a table
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


def are_fractions(values: Iterable[object]) -> bool:
    """Whether values are numbers, and some are not whole; missing ones do not count.

    >>> are_fractions(["1", "0,5"]), are_fractions(["1.0", 2]), are_fractions(["cat", "0.5"])
    (True, False, False)
    """
    there = [str(value).replace(",", ".") for value in values if not is_missing(value)]
    try:
        numbers = list(map(float, there))
    except ValueError:
        return False
    return not all(number.is_integer() for number in numbers)


def is_missing(value: object) -> bool:
    """Whether a cell is empty, or says that there is no number."""
    return value is None or (isinstance(value, str | float) and str(value).strip() in MISSING)


def plain_label(value: object, row: int, table_name: str) -> Label:
    """A label as a number or a name; None where it is empty."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str | bool | float):
        return class_of(str(value))
    numbers = isinstance(value, list) and all(isinstance(each, int | float) for each in value)
    places = places_of_ones(np.array([value])) if numbers else None
    if places is None:
        raise InputError(
            f"the label in row {row} of {table_name} is neither name nor number",
            "give one class an image, or --label-column none",
        )
    return places[0]


def with_numbers(labels: list[Label]) -> list[Label]:
    """Labels as numbers, where all are whole numbers; else as names only."""
    texts = [None if label is None else str(label) for label in labels]
    matches = [WHOLE.fullmatch(text) if text else None for text in texts]
    whole = all(match or is_missing(text) for match, text in zip(matches, texts, strict=True))
    if whole and any(matches):
        return [int(match[1]) if match else None for match in matches]
    return list(texts)
