"""Every kind of source, found by what the user wrote after `--data`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from triptych.data.sources import embedded, hub, named
from triptych.data.sources.archive import SUFFIXES as ARCHIVES
from triptych.data.sources.archive import read_archive
from triptych.data.sources.arrays import read_arrays
from triptych.data.sources.base import PART_NAMES, Columns, Origin, Source
from triptych.data.sources.folder import read_folder, walk
from triptych.data.sources.matlab import read_matlab
from triptych.data.sources.parquet import read_parquet
from triptych.errors import InputError

PATHS = "a folder of images or a .zip, .tar, .parquet, .npz, .npy or .mat file"
NAMES = (embedded.NAME, *named.NAMES, "hf:owner/name")
Reader = Callable[[Path, Columns], Source]
READERS: dict[str, Reader] = {
    ".parquet": read_parquet,
    ".npz": read_arrays,
    ".npy": read_arrays,
    ".mat": read_matlab,
    **dict.fromkeys(ARCHIVES, read_archive),
}


def find_origin(data: str, columns: Columns) -> Origin:
    """The origin that a user's words name; InputError when there is none."""
    if data == embedded.NAME:
        return embedded.find(columns)
    if data in named.NAMES:
        return named.find(data, columns)
    if data.startswith("hf:"):
        return hub.find(data, columns)
    path = Path(data).expanduser()
    if not data.strip() or not path.exists():
        raise InputError(f"no data '{data}'", f"name {', '.join(NAMES)}, {PATHS}")
    return find_path(path, columns)


def find_path(path: Path, columns: Columns) -> Origin:
    """A file or folder of the user's; what its files are called, their sizes and times tell it."""
    if path.is_dir():
        files = [file[1:] for file in walk(path)]  # name, size, time
        parquet = any(name.endswith((".parquet", ".PARQUET")) for name, _, _ in files)
        read: Reader = read_parquet if parquet else read_folder
    else:
        stat = path.stat()
        files = [("", stat.st_size, stat.st_mtime_ns)]
        read = reader_of(path)
    digest = hashlib.blake2b(json.dumps(files).encode(), digest_size=16)
    identity = {
        "source": str(path.resolve()),
        "files": digest.hexdigest(),
        "columns": [columns.image, columns.label],
    }
    return Origin(name_of(path), identity, lambda progress: read(path, columns))


def reader_of(file: Path) -> Reader:
    """Who reads a file, by the end of its name."""
    suffix = next((s for s in READERS if file.name.lower().endswith(s)), None)
    if suffix is None:
        raise InputError(f"cannot read {file.name}", f"give {PATHS}")
    return READERS[suffix]


def name_of(path: Path) -> str:
    """The file's or folder's name; the folder's for names like train-00000-of-00001.parquet."""
    path = path.resolve()
    if path.is_dir():
        return path.name
    if path.stem.split("-")[0].lower() in PART_NAMES and path.suffix == ".parquet":
        return path.parent.name
    suffix = next((s for s in READERS if path.name.lower().endswith(s)), path.suffix)
    return path.name[: -len(suffix)]
