"""Parquet tables of images: one row an image, as bytes or as the Hub's {bytes, path}.

Rows are read a few at a time, so neither a large file nor large images fill the memory. A
damaged file is refused by name; a row without an image is a bad image, not a damaged file.
Rows that hold no bytes but name a file are followed where the source is a folder.

Columns are those asked for, or declared by the Hub's tools in the metadata, or of a usual name and
type.
"""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from triptych.data.sources import (
    PART_NAMES,
    BadImageError,
    Columns,
    Item,
    PartName,
    Source,
    as_input_error,
    printable,
)
from triptych.data.sources.folder import walk
from triptych.data.sources.layout import (
    IMAGE_NAMES,
    LABEL_NAMES,
    PART_COLUMNS,
    UNLABELED,
    abridged,
    class_of,
    given_name,
    is_hidden,
    is_image,
    notes_on_others,
    places_of_ones,
    suffix_of,
    usual,
)
from triptych.data.sources.levels import part_word, parts_from
from triptych.data.sources.metadata import (
    YES_FOR_TRAINING,
    declared_names,
    feature,
    is_table,
    labels_from,
    parts_of_cells,
)
from triptych.errors import InputError
from triptych.records import Note

T = TypeVar("T")
LEFT_OUT = "left out"  # of rows that belong to no part
Rows = dict[str, list[Any]]  # of each table by name: the part of each row, None or LEFT_OUT

BATCH_BYTES = 8 << 20  # of images, decoded from the table at once
BATCH_ROWS = 256  # and never more: one large image may stand in many rows and count once

# `test-00000-of-00001`, `test_3`, `test2017` and `digits-test` are of the test part
_NAMES = "|".join(PART_NAMES)
_PART_OF_STEM = re.compile(rf"({_NAMES})(?:-.*|[_.]?\d.*)?|.*[-_.]({_NAMES})", re.DOTALL)
_PART_OF_FOLDER = re.compile(rf"(?:partial-)?({_NAMES})")
BYTES = ("binary", "large_binary", "binary_view", "fixed_size_binary")  # pyarrow's types of images
TEXT = ("string", "large_string", "string_view")
TEXT_NAMES = ("url", "urls", "image_url", "path", "image_path", "file", "file_name", "filename")
LEAST_BASE64 = 64  # letters: no image file is shorter


@dataclass(frozen=True)
class Table:
    """One file, before its rows are read.

    name:   relative to the folder of all tables, as its items show it
    schema: pyarrow's
    """

    file: Path
    name: str
    part: PartName | None
    rows: int
    schema: Any


def read_parquet(path: Path, columns: Columns) -> Source:
    """The parquet file at a path, or all below a folder.

    Rows of a folder's tables may name image files in it. Rows of a single file may not: who
    opens it again would not notice that those have changed.
    """
    if not path.is_dir():
        return read_parquet_files([path], path.parent, columns, path, follow=False)
    names = [file.name for file in walk(path)]
    tables = [name for name in names if is_parquet(name) and not is_table(name)]
    if not tables:
        raise InputError(f"no parquet files in {path}", "name a folder that holds some")
    source = read_parquet_files([path / name for name in tables], path, columns)
    others = Counter(map(suffix_of, set(names).difference(tables)))
    return replace(source, notes=source.notes + notes_on_others(others, "files_beside_tables"))


def read_parquet_files(
    files: list[Path],
    folder: Path,
    columns: Columns,
    source: Path | None = None,
    follow: bool = True,
) -> Source:
    """Rows of several files of the same columns, one after the other.

    folder: the folder they lie in; names and parts are relative to it
    source: for messages; by default the folder
    follow: whether rows without bytes may name image files in the folder
    """
    source = source or folder
    tables, notes = without_strays([open_table(file, folder) for file in files])
    count = sum(table.rows for table in tables)
    if count == 0:
        raise InputError(f"no images in {source}", "name a file that holds some")
    choice = choose(tables, columns, source)
    named: dict[PartName, list[str]] = {}
    for table in tables:
        if table.part is not None and table.rows:
            named.setdefault(table.part, []).append(table.name)
    several = len({table.part for table in tables if table.rows}) > 1  # one alone is not a part
    rows: Rows = {}
    if several:
        notes = (*notes, parts_from(named))
    else:
        rows, note = parts_of_rows(tables, choice, printable(source.name))
        notes = notes if note is None else (*notes, note)
        count = sum(len(parts) - parts.count(LEFT_OUT) for parts in rows.values()) or count

    def items() -> Iterator[Item]:
        for table in tables:
            part = table.part if several else None
            items = table_items(table, choice, folder if follow else None, part)
            for item, own in zip_longest(items, rows.get(table.name, ())):
                if own != LEFT_OUT:
                    yield item if own is None else replace(item, part=own)

    return Source(items, count, choice.classes, notes + choice.notes)


def parts_of_rows(
    tables: list[Table], choice: Choice, source_name: str
) -> tuple[Rows, Note | None]:
    """The parts that a column of texts names, by table, and the note on it."""
    schema = tables[0].schema
    texts = [each.name for each in schema if may_tell_parts(each)]
    column = usual(texts, PART_COLUMNS)
    if column in (None, choice.label) or any(column not in t.schema.names for t in tables):
        return {}, None

    def decode(batch: Any) -> list[object]:
        cells: list[object] = plain(batch.column(column)).to_pylist()
        return cells

    cells = {table.name: list(chain(*batches(table, [column], decode))) for table in tables}
    found, note = parts_of_cells(list(chain(*cells.values())), column, source_name)
    if found is None:
        return {}, note
    parts: Iterator[PartName | None] = iter(found)
    missing = LEFT_OUT if "train" in found else None
    return {
        name: [part or missing for part in islice(parts, len(own))] for name, own in cells.items()
    }, note


def may_tell_parts(column: Any) -> bool:
    """Whether a column holds texts, also numbered ones as pandas writes categories, or yes and no.

    column: pyarrow's field
    """
    kind = getattr(column.type, "value_type", column.type)
    return str(kind) in TEXT or (str(kind) == "bool" and column.name.lower() in YES_FOR_TRAINING)


def is_parquet(name: str) -> bool:
    """Whether a file's name is that of a table."""
    return name.lower().endswith(".parquet")


def any_with_images(folder: Path, names: list[str]) -> bool:
    """Whether any of a folder's tables has a column that can hold images."""
    tables = (open_table(folder / name, folder) for name in names)
    return any(holds_images(column.type) for table in tables for column in table.schema)


def without_strays(tables: list[Table]) -> tuple[list[Table], tuple[Note, ...]]:
    """The tables without those of no part, where others are of the part train; and a note."""
    strays = [table for table in tables if table.part is None and table.rows]
    if not strays or not any(table.part == "train" and table.rows for table in tables):
        return tables, ()
    listed = abridged([f"{table.name} ({table.rows})" for table in strays])
    note = Note("files_left_out", {"files": listed})
    return [table for table in tables if table.part], (note,)


def part_of(name: Path) -> PartName | None:
    """The part that a relative path names: by the file's name, else by the nearest folder's.

    >>> part_of(Path("default/train/0000.parquet")), part_of(Path("data/val-0-of-1.parquet"))
    ('train', 'validation')
    >>> part_of(Path("test_set.parquet")), part_of(Path("test_tubes.parquet"))
    ('test', None)
    """
    matches = [_PART_OF_STEM.fullmatch(name.stem.lower())]
    matches += [_PART_OF_FOLDER.fullmatch(part.lower()) for part in reversed(name.parts[:-1])]
    match = next(filter(None, matches), None)
    if match:
        return PART_NAMES[match[match.lastindex or 0]]
    words = (part_word(each) for each in (name.stem, *reversed(name.parts[:-1])))  # train_set
    return next((word.part for word in words if word is not None and not word.rest), None)


@contextmanager
def opened(file: Path, wrong: str) -> Iterator[Any]:
    """The open file; whatever pyarrow raises about it becomes an InputError of one line."""
    import pyarrow.parquet as pq

    with as_input_error(file, wrong, "fetch it again"):
        # buffered, so that a column of a large row group is not read whole
        options = {"pre_buffer": False, "buffer_size": 1 << 20, "page_checksum_verification": True}
        with pq.ParquetFile(file, **options) as parquet:
            yield parquet


def open_table(file: Path, folder: Path) -> Table:
    """Read the metadata at the end of a file; InputError where they are damaged."""
    inside = file.relative_to(folder) if file.is_relative_to(folder) else Path(file.name)
    with opened(file, "is no readable parquet") as parquet:
        metadata = parquet.metadata
        groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        if min(groups, default=0) < 0 or sum(groups) != metadata.num_rows:
            raise ValueError("its row counts contradict each other")
        schema = parquet.schema_arrow
        if len(set(schema.names)) < len(schema.names):
            raise ValueError("two columns have one name")
    name = printable(inside.as_posix())
    return Table(file, name, part_of(inside), sum(groups), schema)


def batches(table: Table, names: list[str], decode: Callable[[Any], T]) -> Iterator[T]:
    """Rows of the named columns, some at a time and decoded: BATCH_BYTES, going by the mean row."""
    rows = 0
    with opened(table.file, "is damaged") as parquet:
        per_row = table.file.stat().st_size // max(table.rows, 1) + 1
        for index in range(parquet.metadata.num_row_groups):
            group = parquet.metadata.row_group(index)
            # of a group, not of its columns: pyarrow 26 aborts on some damaged ones
            own = group.total_byte_size // max(group.num_rows, 1)
            at_once = max(1, min(BATCH_BYTES // max(own, per_row), BATCH_ROWS))
            for batch in parquet.iter_batches(at_once, [index], names, use_threads=False):
                rows += len(batch)
                if rows > table.rows:
                    raise ValueError(f"more than {table.rows} rows")
                yield decode(batch)
        if rows != table.rows:
            raise ValueError(f"{rows} rows instead of {table.rows}")


def choose(tables: list[Table], columns: Columns, source: Path) -> Choice:
    """The columns of the first file, which every other must have too."""
    schema = tables[0].schema
    image = image_column(tables[0], columns.image, source)
    notes: list[Note] = []
    label = None
    if columns.labeled:
        label = label_column(schema, columns.label, image, source, notes)
    choice = Choice(image, label, class_names(schema, label), tuple(notes))
    for table in tables[1:]:
        check_same(table.file, table.schema, choice, label_kind(schema, label))
    if label is None:
        return choice
    if all(holds_labels(table, label) for table in tables):
        return replace(choice, notes=(*notes, labels_from(label, printable(source.name))))
    if columns.label:
        raise InputError(
            f"column '{label}' of {source} holds no labels but numbers that are not whole",
            "save numbers 0, 1, ... or names, or leave labels out with --label-column none",
        )
    return replace(choice, label=None, classes=None, notes=(no_classes(schema, label),))


def holds_labels(table: Table, label: str) -> bool:
    """Whether all numbers of a file's labels are whole, and all lists of numbers one-hot.

    Reads them where their type leaves it open.
    """
    kind = table.schema.field(label).type
    if not (is_fraction(kind) or is_list(kind)):
        return True

    def decode(batch: Any) -> bool:
        cells = plain(batch.column(label)).drop_null()
        if is_list(kind):
            return all(place_of_one(cell) is not None for cell in cells.to_pylist())
        numbers = cells.to_numpy(zero_copy_only=False)
        return bool(np.isfinite(numbers).all() and (numbers == np.floor(numbers)).all())

    return all(batches(table, [label], decode))


def place_of_one(cell: list[Any]) -> int | None:
    """The place of the one in a list of zeros; None for other lists."""
    places = places_of_ones(np.array([cell], dtype=float)) if None not in cell else None
    return places[0] if places else None


def table_items(
    table: Table, choice: Choice, images_in: Path | None, part: PartName | None
) -> Iterator[Item]:
    """The rows of one file."""

    def decode(batch: Any) -> Iterator[tuple[Any, Any]]:
        contents = image_cells(batch.column(choice.image), table.file.parent, images_in)
        return zip(contents, label_cells(batch, choice), strict=True)

    names = [choice.image] + ([choice.label] if choice.label else [])
    row = 0
    for batch in batches(table, names, decode):
        for content, label in batch:
            yield Item(f"{table.name}[{row}]", content, label, part)
            row += 1


def label_cells(batch: Any, choice: Choice) -> list[str | int | None]:
    """Labels, numbers or names; None where there is none."""
    import pyarrow.types

    if choice.label is None:
        return [None] * len(batch)
    column = plain(batch.column(choice.label))
    cells: list[Any] = column.to_pylist()
    if is_list(column.type):
        return [None if cell is None else place_of_one(cell) for cell in cells]
    if pyarrow.types.is_boolean(column.type) or pyarrow.types.is_floating(column.type):
        cells = [None if cell is None else int(cell) for cell in cells]
    elif not pyarrow.types.is_integer(column.type):
        return [None if cell is None else class_of(cell) for cell in cells]
    if choice.classes is not None:
        return [None if cell == UNLABELED else cell for cell in cells]
    return cells


def image_cells(
    column: Any, near: Path, images_in: Path | None
) -> list[bytes | Path | BadImageError]:
    """The bytes of images; where a row has none, the file that it names or why it is bad.

    near:      the folder that named files are relative to
    images_in: the folder they must lie in; None: they are not looked for
    """
    import pyarrow.types

    column = plain(column)
    paths: list[Any] = [None] * len(column)
    if pyarrow.types.is_struct(column.type):
        children = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
        column = plain(children["bytes"])
        if column.null_count and "path" in children:
            paths = plain(children["path"]).to_pylist()
    cells: list[Any] = column.to_pylist()
    if column.null_count:
        for index, cell in enumerate(cells):
            if cell is None:
                cells[index] = named_file(paths[index], near, images_in)
    return cells


def named_file(name: str | None, near: Path, images_in: Path | None) -> Path | BadImageError:
    """The image file that a row without bytes names, if it lies in the folder and is not hidden.

    Tables written where the images were files (`Dataset.to_parquet`) may hold only their names.
    """
    if not name:
        return BadImageError("empty")
    quoted = repr(name[:100])
    if images_in is None:
        return BadImageError(f"no bytes; name the folder to read the file {quoted}")
    try:
        file, folder = (near / name).resolve(), images_in.resolve()
        if not file.is_relative_to(folder):
            return BadImageError(f"no bytes, and {quoted} is outside the folder")
        # whether a folder has changed is told without what is hidden in it
        if is_hidden(file.relative_to(folder).as_posix()):
            return BadImageError(f"no bytes, and {quoted} is hidden")
        if file.is_file():
            return file
    except (OSError, ValueError, RuntimeError):  # a name no file can have, or a loop of links
        pass
    return BadImageError(f"no bytes, and no file {quoted}")


@dataclass(frozen=True)
class Choice:
    """The columns to read; classes: the names of labels 0..K-1, where they are declared."""

    image: str
    label: str | None = None
    classes: tuple[str, ...] | None = None
    notes: tuple[Note, ...] = ()


def check_same(file: Path, schema: Any, choice: Choice, kind: str | None) -> None:
    """Refuse a file whose columns are not those of the first; kind: of its labels."""
    mend = "keep tables of the same columns in one folder"
    if choice.image not in schema.names or not holds_images(schema.field(choice.image).type):
        raise InputError(f"{file} has no images in column '{choice.image}'", mend)
    if label_kind(schema, choice.label) != kind:
        raise InputError(
            f"{file} has no {kind}s in column '{choice.label}' as others have",
            f"{mend}, or leave labels out with --label-column none",
        )
    if class_names(schema, choice.label) != choice.classes:
        raise InputError(f"{file} has other class names than the first", mend)


def image_column(table: Table, asked: str | None, source: Path) -> str:
    """The column of images; InputError that says what others hold, where there is none."""
    schema = table.schema
    fitting = [field.name for field in schema if holds_images(field.type)]
    there = f"name another with --image-column: {', '.join(fitting)}"
    if asked is not None:
        if asked not in schema.names:
            there = f"there are {', '.join(fitting) or 'no columns that could hold images'}"
            raise InputError(f"no column '{asked}' in {source}", there)
        if asked in fitting:
            return asked
        wrong, mend = instead_of_images(table, asked)
        raise InputError(f"column '{asked}' of {source} holds {wrong}", there if fitting else mend)
    declared = [name for name in fitting if feature(schema, name).get("_type") == "Image"]
    likely = declared or fitting
    column = likely[0] if len(likely) == 1 else usual(likely, IMAGE_NAMES)
    if column is not None:
        return column
    if fitting:
        raise InputError(
            f"several image columns in {source}",
            f"name one with --image-column: {', '.join(likely)}",
        )
    name = usual(schema.names, (*IMAGE_NAMES, *TEXT_NAMES))
    if name is None:
        raise InputError(
            f"no column of {source} could hold images ({abridged(schema.names)})",
            "save the bytes of image files in a column 'image'",
        )
    wrong, mend = instead_of_images(table, name)
    raise InputError(f"column '{name}' of {source} holds {wrong}", mend)


def instead_of_images(table: Table, name: str) -> tuple[str, str]:
    """What a column holds instead of image files, and what to do about it."""
    kind = table.schema.field(name).type
    if is_list(kind):
        return (
            "lists of numbers, not image files",
            "save the pixels as uint8 in a .npz, or name another column with --image-column",
        )
    as_bytes = "save the bytes of image files in a column 'image'"
    if str(kind) not in TEXT:
        return f"no images but {kind}", as_bytes
    firsts = batches(table, [name], lambda batch: first_text(batch.column(name)))
    text = next(filter(None, firsts), "")
    if re.match(r"(?:https?|s3|gs|ftp)://", text):
        return "addresses, which are never fetched", "fetch the images and name their folder"
    if is_base64(text):
        mend = "decode them: df[column] = df[column].map(base64.b64decode), then df.to_parquet(...)"
        return "images as base64 texts, not as bytes", mend
    if is_image(text):
        mend = "call it file_name, save the table as metadata.parquet there, and name the folder"
        return "names of image files", mend
    return "texts, not image files", as_bytes


def first_text(column: Any) -> str:
    """The first cell that is not empty, if any."""
    return next((str(cell) for cell in plain(column).to_pylist() if cell), "")


def is_base64(text: str) -> bool:
    """Whether a text is a file in base64, bare or as `data:image/png;base64,...`."""
    bare = re.sub(r"^data:[\w/+.-]*;base64,", "", text)
    try:
        return len(bare) > LEAST_BASE64 and bool(base64.b64decode(bare, validate=True))
    except ValueError:
        return False


def label_column(
    schema: Any, asked: str | None, image: str, source: Path, notes: list[Note]
) -> str | None:
    """The column of labels, if there is one; what the user should know is added to the notes."""
    if asked is not None:
        names = ", ".join(schema.names)
        if asked not in schema.names:
            raise InputError(f"no column '{asked}' in {source}", f"there are {names}")
        if label_kind(schema, asked) is None:
            raise InputError(
                f"column '{asked}' of {source} holds no labels but {schema.field(asked).type}",
                f"name a column of numbers 0, 1, ... or of names with --label-column: {names}",
            )
        return asked
    fitting = [field.name for field in schema if label_kind(schema, field.name)]
    declared = [name for name in fitting if feature(schema, name).get("_type") == "ClassLabel"]
    types = {name: schema.field(name).type for name in fitting}
    sure = declared or [name for name in fitting if not is_fraction(types[name])]
    column = declared[0] if len(declared) == 1 else usual(sure, LABEL_NAMES)
    if column is None and declared:
        notes.append(Note("labels_not_chosen", {"columns": ", ".join(declared)}))
    elif column is None:
        column = usual(fitting, LABEL_NAMES)  # of fractions, which may be whole
        odd = usual([name for name in schema.names if name != image], LABEL_NAMES)
        if column is None and odd is not None:
            notes.append(no_classes(schema, odd))
        elif column is None and (others := [name for name in sure if name not in PART_COLUMNS]):
            notes.append(Note("labels_not_chosen", {"columns": abridged(others)}))
    return column


def no_classes(schema: Any, label: str) -> Note:
    """The note that a column is of no use as labels."""
    values = {"name": printable(label), "type": str(schema.field(label).type)}
    return Note("labels_left_out", {**values})


def holds_images(kind: Any) -> bool:
    """Whether a column of this type can hold image files: bytes, or {bytes, path}."""
    import pyarrow.types as t

    if t.is_struct(kind):
        names = [field.name for field in kind]
        if names.count("bytes") != 1 or names.count("path") > 1:
            return False
        kind = kind.field("bytes").type
        if t.is_null(kind):  # rows may all name files
            return "path" in names
    kind = kind.value_type if t.is_dictionary(kind) else kind
    return str(kind).split("[")[0] in BYTES


def label_kind(schema: Any, name: str | None) -> str | None:
    """ "number", "name" or "list of numbers", which is one-hot: the kind of labels that the column
    holds; None: no labels.
    """
    import pyarrow.types as t

    if name is None or schema.names.count(name) != 1:
        return None
    kind = schema.field(name).type
    kind = kind.value_type if t.is_dictionary(kind) else kind
    if t.is_integer(kind) or t.is_boolean(kind) or t.is_floating(kind):
        return "number"
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        inner = kind.value_type
        if t.is_integer(inner) or t.is_boolean(inner) or t.is_floating(inner):
            return "list of numbers"
    return "name" if str(kind) in TEXT else None


def is_list(kind: Any) -> bool:
    """Whether cells of this type are lists of numbers, nested or not."""
    import pyarrow as pa

    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    return bool(pa.types.is_nested(kind) and not pa.types.is_struct(kind))


def is_fraction(kind: Any) -> bool:
    """Whether numbers of this type need not be whole."""
    import pyarrow.types as t

    return bool(t.is_floating(kind.value_type if t.is_dictionary(kind) else kind))


def plain(column: Any) -> Any:
    """The column with each row's own value, where rows point into a dictionary."""
    import pyarrow.types

    return column.dictionary_decode() if pyarrow.types.is_dictionary(column.type) else column


def class_names(schema: Any, label: str | None) -> tuple[str, ...] | None:
    """The names of classes 0..K-1, where they are declared."""
    names = declared_names(schema, label) if label_kind(schema, label) == "number" else None
    return None if names is None else tuple(map(given_name, names))
