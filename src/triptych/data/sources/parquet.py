"""Parquet tables of images: one row an image, as bytes or as the Hub's {bytes, path}.

Rows are read a few at a time, so neither a large file nor large images fill the memory. A
damaged file is refused by name; a row without an image is a bad image, not a damaged file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from triptych.data.sources.base import PART_NAMES, BadImageError, Columns, Item, PartName, Source
from triptych.errors import InputError

T = TypeVar("T")

BATCH_BYTES = 8 << 20  # of images, decoded from the table at once
BATCH_ROWS = 256  # and never more: one large image may stand in many rows and count once
UNLABELLED = -1  # what the Hub's ClassLabel writes where a label is missing

IMAGE_NAMES = ("image", "img", "images", "bytes", "photo", "picture", "pixel", "pixels", "jpg")
LABEL_NAMES = ("label", "labels", "class", "target", "digit", "fine_label", "category", "y")
BYTES = ("binary", "large_binary", "binary_view", "fixed_size_binary")  # pyarrow's types of images
TEXT = ("string", "large_string", "string_view")

# `test-00000-of-00001`, `test_3`, `test2017` and `digits-test` are of the test part
_NAMES = "|".join(PART_NAMES)
_PART_OF_STEM = re.compile(rf"({_NAMES})(?:-.*|[_.]?\d.*)?|.*[-_.]({_NAMES})", re.DOTALL)
_PART_OF_FOLDER = re.compile(rf"(?:partial-)?({_NAMES})")


@dataclass(frozen=True)
class Choice:
    """The columns to read; classes: the names of labels 0..K-1, where they are declared."""

    image: str
    label: str | None = None
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """One file, before its rows are read.

    name:   as its items show it, relative to the place
    schema: pyarrow's
    """

    file: Path
    name: str
    part: PartName | None
    rows: int
    schema: Any


def read_parquet(path: Path, columns: Columns, root: Path | None = None) -> Source:
    """The parquet file at a path, or all below a folder.

    root: where folders name parts and rows may name image files; the folder itself, or the file's
    """
    place = root or (path if path.is_dir() else path.parent)
    files = parquet_files(path)
    if not files:
        raise InputError(f"no parquet files in {path}", "name a folder that holds some")
    return read_parquet_files(files, place, columns, path)


def read_parquet_files(
    files: list[Path], place: Path, columns: Columns, shown: Path | None = None
) -> Source:
    """Rows of several files of the same columns, one after the other.

    place: the folder they lie in, which gives them their names and parts
    shown: what messages call the whole, if not the place
    """
    shown = shown or place
    tables = [open_table(file, place) for file in files]
    count = sum(table.rows for table in tables)
    if count == 0:
        raise InputError(f"no images in {shown}", "name a file that holds some")
    choice = choose(tables, columns, shown)
    several = len({table.part for table in tables}) > 1  # one part alone is not a part

    def items() -> Iterator[Item]:
        for table in tables:
            yield from table_items(table, choice, place, table.part if several else None)

    return Source(items, count, choice.classes, choice.notes)


def parquet_files(path: Path) -> list[Path]:
    """The parquet files at or below a path, sorted; hidden ones are passed over."""
    if path.is_file():
        return [path]
    return sorted(
        file
        for file in path.rglob("*")
        if file.suffix.lower() == ".parquet"
        and not any(name.startswith(".") for name in file.relative_to(path).parts)
        and file.is_file()
    )


def part_of(name: Path) -> PartName | None:
    """The part that a relative path tells: of the file's name, else of the nearest folder.

    >>> part_of(Path("default/train/0000.parquet")), part_of(Path("data/val-0-of-1.parquet"))
    ('train', 'validation')
    """
    matches = [_PART_OF_STEM.fullmatch(name.stem.lower())]
    matches += [_PART_OF_FOLDER.fullmatch(part.lower()) for part in reversed(name.parts[:-1])]
    found = next((match for match in matches if match), None)
    return PART_NAMES[found[found.lastindex or 0]] if found else None


@contextmanager
def opened(file: Path, wrong: str) -> Iterator[Any]:
    """The file, open; whatever pyarrow says against it becomes one line."""
    import pyarrow.parquet as pq

    try:
        # buffered, so that a column of a large row group is not read whole
        options = {"pre_buffer": False, "buffer_size": 1 << 20, "page_checksum_verification": True}
        with pq.ParquetFile(file, **options) as parquet:
            yield parquet
    except InputError:
        raise
    except Exception as error:  # pyarrow raises its own kinds, OSError, and those of the text
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{file} {wrong} ({reason})", "fetch it again") from error


def open_table(file: Path, place: Path) -> Table:
    """What the end of a file tells of it."""
    inside = file.relative_to(place) if file.is_relative_to(place) else Path(file.name)
    with opened(file, "is no readable parquet") as parquet:
        metadata = parquet.metadata
        groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        if min(groups, default=0) < 0 or sum(groups) != metadata.num_rows:
            raise ValueError("its row counts contradict each other")
        schema = parquet.schema_arrow
        if len(set(schema.names)) < len(schema.names):
            raise ValueError("two columns have one name")
    return Table(file, inside.as_posix(), part_of(inside), sum(groups), schema)


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


def table_items(table: Table, choice: Choice, place: Path, part: PartName | None) -> Iterator[Item]:
    """The rows of one file."""

    def decode(batch: Any) -> Iterator[tuple[Any, Any]]:
        contents = image_cells(batch.column(choice.image), table.file.parent, place)
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
    cells = column.to_pylist()
    if pyarrow.types.is_boolean(column.type):
        return [None if cell is None else int(cell) for cell in cells]
    if choice.classes is not None:
        return [None if cell == UNLABELLED else cell for cell in cells]
    return cells


def image_cells(column: Any, near: Path, place: Path) -> list[bytes | Path | BadImageError]:
    """Files' bytes; where a row has none, the file it names or why it is bad.

    near:  the folder that named files are relative to
    place: the folder they must lie in
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
                cells[index] = named_file(paths[index], near, place)
    return cells


def named_file(name: str | None, near: Path, place: Path) -> Path | BadImageError:
    """The image file that a row without bytes names, if it lies in the place.

    Tables written where the images were files (`Dataset.to_parquet`) may hold only their names.
    """
    if not name:
        return BadImageError("empty")
    try:
        file = (near / name).resolve()
        if not file.is_relative_to(place.resolve()):
            return BadImageError(f"no bytes, and {name[:100]!r} is outside the folder")
        if file.is_file():
            return file
    except (OSError, ValueError, RuntimeError):  # a name no file can have, or a loop of links
        pass
    return BadImageError(f"no bytes, and no file {name[:100]!r}")


# Columns: asked for, declared by the Hub's tools in the metadata, or guessed


def choose(tables: list[Table], columns: Columns, shown: Path) -> Choice:
    """The columns of the first file, which every other must have too."""
    schema = tables[0].schema
    image = image_column(schema, columns.image, shown)
    notes: list[str] = []
    label = label_column(schema, columns.label, shown, notes) if columns.labelled else None
    choice = Choice(image, label, class_names(schema, label), tuple(notes))
    for table in tables[1:]:
        check_same(table, choice, label_kind(schema, label))
    return choice


def check_same(table: Table, choice: Choice, kind: str | None) -> None:
    """Refuse a file whose columns are not those of the first; kind: of its labels."""
    schema, mend = table.schema, "keep tables of the same columns in one folder"
    if choice.image not in schema.names or not holds_images(schema.field(choice.image).type):
        raise InputError(f"{table.file} has no images in column '{choice.image}'", mend)
    if label_kind(schema, choice.label) != kind:
        raise InputError(
            f"{table.file} has no {kind}s in column '{choice.label}' as others have",
            f"{mend}, or leave labels out with --label-column none",
        )
    if class_names(schema, choice.label) != choice.classes:
        raise InputError(f"{table.file} has other class names than the first", mend)


def image_column(schema: Any, asked: str | None, shown: Path) -> str:
    """The column of images."""
    names = ", ".join(schema.names)
    if asked is not None:
        if asked not in schema.names:
            raise InputError(f"no column '{asked}' in {shown}", f"there are {names}")
        refuse_lists(schema, asked, shown)
        if not holds_images(schema.field(asked).type):
            raise InputError(
                f"column '{asked}' of {shown} holds no images",
                f"name another with --image-column: {names}",
            )
        return asked
    fitting = [field.name for field in schema if holds_images(field.type)]
    declared = [name for name in fitting if feature(schema, name).get("_type") == "Image"]
    likely = declared or fitting
    found = likely[0] if len(likely) == 1 else usual(likely, IMAGE_NAMES)
    if found is not None:
        return found
    for name in schema.names:
        if not fitting and name.lower() in IMAGE_NAMES:
            refuse_lists(schema, name, shown)
    raise InputError(
        f"{'several image columns' if fitting else 'no image column'} in {shown}",
        f"name one with --image-column: {', '.join(likely) or names}",
    )


def refuse_lists(schema: Any, name: str, shown: Path) -> None:
    """Say clearly that pixels as numbers are not read from tables."""
    import pyarrow as pa

    kind = schema.field(name).type
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    if pa.types.is_nested(kind) and not pa.types.is_struct(kind):
        raise InputError(
            f"column '{name}' of {shown} holds lists of numbers, not image files",
            "save the pixels as uint8 in a .npz, or name another column with --image-column",
        )


def label_column(schema: Any, asked: str | None, shown: Path, notes: list[str]) -> str | None:
    """The column of labels, if there is one; a choice left to the user is added to the notes."""
    if asked is not None:
        names = ", ".join(schema.names)
        if asked not in schema.names:
            raise InputError(f"no column '{asked}' in {shown}", f"there are {names}")
        if label_kind(schema, asked) is None:
            raise InputError(
                f"column '{asked}' of {shown} holds no labels but {schema.field(asked).type}",
                f"name a column of numbers 0, 1, ... or of names with --label-column: {names}",
            )
        return asked
    fitting = [field.name for field in schema if label_kind(schema, field.name)]
    declared = [name for name in fitting if feature(schema, name).get("_type") == "ClassLabel"]
    found = declared[0] if len(declared) == 1 else usual(declared or fitting, LABEL_NAMES)
    if found is None and declared:
        notes.append(f"labels left out, --label-column can name them: {', '.join(declared)}")
    return found


def usual(names: list[str], wanted: tuple[str, ...]) -> str | None:
    """The name that comes first among those wanted, in small or capital letters."""
    ranked = [name for name in names if name.lower() in wanted]
    return min(ranked, key=lambda name: wanted.index(name.lower()), default=None)


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
    """`number` or `name`: what labels the column holds; None: no labels."""
    import pyarrow.types as t

    if name is None or schema.names.count(name) != 1:
        return None
    kind = schema.field(name).type
    kind = kind.value_type if t.is_dictionary(kind) else kind
    if t.is_integer(kind) or t.is_boolean(kind):
        return "number"
    return "name" if str(kind) in TEXT else None


def plain(column: Any) -> Any:
    """The column with each row's own value, where rows point into a dictionary."""
    import pyarrow.types

    return column.dictionary_decode() if pyarrow.types.is_dictionary(column.type) else column


def feature(schema: Any, name: str) -> dict[str, Any]:
    """What the Hub's tools wrote of a column; empty if nothing."""
    try:
        found = json.loads(schema.metadata[b"huggingface"])["info"]["features"][name]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def class_names(schema: Any, label: str | None) -> tuple[str, ...] | None:
    """The names of classes 0..K-1, where they are declared."""
    if label is None or label_kind(schema, label) != "number":
        return None
    names = feature(schema, label).get("names")
    return tuple(map(str, names)) if isinstance(names, list) and names else None
