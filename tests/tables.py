"""Parquet tables of twelve images, and what comes out of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.making import encode, make_images
from triptych.data.sources import BadImageError, Columns, Source

ANY = Columns()
IMAGES, LABELS = make_images(12)
FILES = [encode(image) for image in IMAGES]


def write(path: Path, features: dict[str, Any] | None = None, **columns: Any) -> Path:
    """A table of these columns, with the Hub's descriptions if given."""
    table = pa.table(columns)
    if features is not None:
        written = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({b"huggingface": written.encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def contents(source: Source) -> list[Any]:
    items = list(source.items())
    assert len(items) == source.count
    return [item.content for item in items]


def labels(source: Source) -> list[Any]:
    return [item.label for item in source.items()]


def reasons(source: Source) -> list[str]:
    return [str(content) for content in contents(source) if isinstance(content, BadImageError)]


def structs(cells: list[bytes | None], names: list[str | None]) -> pa.Array:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array(
        [{"bytes": cell, "path": name} for cell, name in zip(cells, names, strict=True)], kind
    )
