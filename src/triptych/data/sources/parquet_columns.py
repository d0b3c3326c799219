"""Which columns of a parquet table are images and labels.

They are asked for, or declared by the Hub's tools in the metadata, or of a usual name and type.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triptych.data.sources.layout import printable
from triptych.data.sources.names import IMAGE_NAMES, LABEL_NAMES, NO_CLASSES, usual
from triptych.errors import InputError

BYTES = ("binary", "large_binary", "binary_view", "fixed_size_binary")  # pyarrow's types of images
TEXT = ("string", "large_string", "string_view")


@dataclass(frozen=True)
class Choice:
    """The columns to read; classes: the names of labels 0..K-1, where they are declared."""

    image: str
    label: str | None = None
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


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


def label_column(
    schema: Any, asked: str | None, image: str, shown: Path, notes: list[str]
) -> str | None:
    """The column of labels, if there is one; what the user should know is added to the notes."""
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
    sure = declared or [name for name in fitting if not is_fraction(schema.field(name).type)]
    found = declared[0] if len(declared) == 1 else usual(sure, LABEL_NAMES)
    if found is None and declared:
        notes.append(f"labels left out, --label-column can name them: {', '.join(declared)}")
    elif found is None:
        found = usual(fitting, LABEL_NAMES)  # of fractions, which may be whole
        odd = usual([name for name in schema.names if name != image], LABEL_NAMES)
        if found is None and odd is not None:
            notes.append(no_classes(schema, odd))
    return found


def no_classes(schema: Any, label: str) -> str:
    """The note that a column is of no use as labels."""
    return f"{NO_CLASSES}: {printable(label)} ({schema.field(label).type})"


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
    """`number` or `name`: what labels the column can hold; None: no labels."""
    import pyarrow.types as t

    if name is None or schema.names.count(name) != 1:
        return None
    kind = schema.field(name).type
    kind = kind.value_type if t.is_dictionary(kind) else kind
    if t.is_integer(kind) or t.is_boolean(kind) or t.is_floating(kind):
        return "number"
    return "name" if str(kind) in TEXT else None


def is_fraction(kind: Any) -> bool:
    """Whether numbers of this type need not be whole."""
    import pyarrow.types as t

    return bool(t.is_floating(kind.value_type if t.is_dictionary(kind) else kind))


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
