"""Every kind of source, found by what the user wrote after `--data`."""

from __future__ import annotations

import difflib
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from triptych import files, plugins
from triptych.data import street_digits
from triptych.data.sources import MEMORY, PART_NAMES, Columns, Origin, Source, hub, named, printable
from triptych.data.sources.archive import SUFFIXES as ARCHIVES
from triptych.data.sources.archive import read_archive, read_shards
from triptych.data.sources.arrays import read_arrays
from triptych.data.sources.folder import OTHER_TABLES, explore, read_folder
from triptych.data.sources.layout import is_image
from triptych.data.sources.layout import suffix_of as suffix_in
from triptych.data.sources.matlab import read_matlab
from triptych.data.sources.memory import find_again
from triptych.data.sources.metadata import is_label_text, is_table
from triptych.data.sources.parquet import any_with_images, is_parquet, read_parquet
from triptych.errors import InputError

PLUGINS = "triptych.sources"  # the entry points by which other packages add readers
PATHS = "a folder of images or a .zip, .tar, .parquet, .npz, .npy or .mat file, or a .csv of points"
NAMES = (street_digits.NAME, *named.NAMES, "hf:owner/name")
ALIKE = 0.75  # difflib's ratio from which a name is taken for a misspelt one
LONG = 300  # letters of the user's words that a message repeats
IMAGES_ALONE = 20  # images which make a folder theirs, though tables lie beside: enough to train on
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
    if data == street_digits.NAME:
        return street_digits.find(columns)
    if data in named.NAMES:
        return named.find(data, columns)
    if data.startswith(MEMORY):
        return find_again(data)
    if data.startswith("hf:"):
        return hub.find(data, columns)
    return find_path(path_of(data), columns)


def path_of(data: str) -> Path:
    """The file or folder that a user's words name; InputError when there is none."""
    text = printable(data if len(data) <= LONG else f"{data[:LONG]}...")
    try:
        path = files.expanded(data)
        path.stat()
    except OSError as error:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise InputError(f"cannot read {text} ({error.strerror})", "check it") from error
    except ValueError:  # a zero byte
        pass
    else:
        if data.strip():
            return path
    raise InputError(f"no data '{text}'", f"{likely(data)}name {', '.join(NAMES)}, {PATHS}")


def likely(data: str) -> str:
    """The question "did you mean", where a named set has a similar name; else "".

    >>> likely("Fashion_MNIST"), likely("photos")
    ('did you mean fashion-mnist? ', '')
    """
    names = (street_digits.NAME, *named.NAMES)
    matches = difflib.get_close_matches(data.lower(), names, 1, ALIKE)
    return f"did you mean {matches[0]}? " if matches else ""


def find_path(path: Path, columns: Columns) -> Origin:
    """The origin of a file or folder; names, sizes and times of its files are its identity.

    Of files in a folder that no reader opens only the numbers by suffix count, which notes tell: a
    log that grows there changes no image. Rows of tables may name files with any suffix.
    """
    status = path.stat()
    digest = hashlib.blake2b(digest_size=16)
    reader: Reader
    if stat.S_ISDIR(status.st_mode):
        walked = explore(path)
        reader = reader_of_folder(path, [file.name for file in walked.files])
        read = [file for file in walked.files if reader is read_parquet or is_read(file.name)]
        for file in read:
            digest.update(b"%d %d " % (file.size, file.mtime_ns))
        others = Counter(suffix_in(file.name) for file in set(walked.files).difference(read))
        counted = [f"{suffix} {count}" for suffix, count in sorted(others.items())]
        listed = [*(file.name for file in read), "", *sorted(walked.unreadable), "", *counted]
        digest.update("\0".join(listed).encode(errors="surrogateescape"))
    elif stat.S_ISREG(status.st_mode):
        digest.update(b"%d %d" % (status.st_size, status.st_mtime_ns))
        reader = reader_of(path)
    else:  # to open a pipe would be to wait for ever
        raise InputError(f"{printable(str(path))} is a pipe or a device, no file", f"give {PATHS}")
    identity = {
        "source": os.path.realpath(path),
        "files": digest.hexdigest(),
        "columns": [columns.image, columns.label],
    }
    return Origin(name_of(path), identity, lambda progress: reader(path, columns))


def is_read(name: str) -> bool:
    """Whether readers of folders may open a file of this name, or tell its name."""
    opened = is_image(name) or is_table(name) or is_label_text(name) or is_parquet(name)
    return opened or name.lower().endswith((*ARCHIVES, *OTHER_TABLES))


def reader_of_folder(folder: Path, names: list[str]) -> Reader:
    """The reader of a folder with these files: of its images, its tables or its archives.

    Tables beside archives are read if they can hold images: img2dataset writes one of texts beside
    each archive.
    """
    tables = [name for name in names if is_parquet(name) and not is_table(name)]
    archives = any(name.lower().endswith(ARCHIVES) for name in names)
    if not (tables or archives) or sum(map(is_image, names)) >= IMAGES_ALONE:
        return read_folder
    if tables and (not archives or any_with_images(folder, tables)):
        return read_parquet
    return read_shards


def reader_of(file: Path) -> Reader:
    """The reader of a file, by its suffix; InputError where no reader knows that."""
    suffix = suffix_of(file.name)
    if suffix is None:
        raise InputError(f"cannot read {printable(file.name)}", f"give {PATHS}")
    reader: Reader = READERS.get(suffix) or plugins.load(PLUGINS, suffix)
    return reader


def suffix_of(name: str) -> str | None:
    """A file's suffix, if one of our readers or of another package has it; else None."""
    suffixes = (*READERS, *plugins.announced(PLUGINS))
    return next((suffix for suffix in suffixes if name.lower().endswith(suffix)), None)


def name_of(path: Path) -> str:
    """The file's or folder's name; the folder's for names like train-00000-of-00001.parquet.

    It can be shown on one line and is never empty.
    """
    path = path.resolve()
    name = path.name
    if not path.is_dir():
        suffix = suffix_of(name) or path.suffix
        name = name[: len(name) - len(suffix)]
        if suffix == ".parquet" and name.split("-")[0].lower() in PART_NAMES:
            name = path.parent.name
    return printable(name).strip() or "images"
