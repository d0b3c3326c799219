"""An archive of images, .zip or .tar, read where it lies: nothing is ever unpacked to disk.

Archives come from anywhere. One with a member that would climb out of its folder is refused as a
whole, members are read up to a limit whatever they promise, and only regular files are images.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import posixpath
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from triptych.data.sources import BadImageError, Columns, Item, Source, printable
from triptych.data.sources.layout import is_hidden, is_image, no_images, notes_on_others, suffix_of
from triptych.data.sources.metadata import arrange, is_table
from triptych.errors import InputError
from triptych.records import Note

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MEMBER_CAP = 256_000_000  # bytes of one image: more than any that is decoded
OTHER_CAP = 1 << 30  # bytes of another member which must be unpacked to get past it
TABLE_CAP = 256_000_000  # bytes of metadata
HEADER_CAP = 1 << 24  # bytes read at once from a .tar: a name may claim to be as long as it likes
PIECE = 1 << 20
# What the standard library raises on archives that are torn, made up or encrypted
DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError,
    struct.error, ValueError, LookupError, NotImplementedError, RuntimeError,
)  # fmt: skip
COMPRESSED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}


@dataclass
class Contents:
    """What an archive holds, by name; of members with one name the last counts.

    images:  the number of the member in the archive
    tables:  the bytes of the metadata
    others:  how many members of each suffix are named as neither
    special: how many are links or devices
    cut:     whether the end mark is missing
    """

    images: dict[str, int] = field(default_factory=dict)
    tables: dict[str, bytes] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    special: int = 0
    cut: bool = False


def read_archive(path: Path, columns: Columns) -> Source:
    """Images in a .zip or .tar file, compressed or not, laid out as in a folder.

    Its content tells what it is, not its suffix. Items come by name from a .zip and in the
    archive's order from a .tar, which has to be read from end to end.
    InputError when it is damaged, holds no images, or has a member that lies outside it.
    """
    zipped = is_zip(path)
    with naming(path):
        contents = zip_contents(path) if zipped else tar_contents(path)
    archive_name = printable(str(path))
    layout = arrange(list(contents.images), contents.tables, columns, archive_name)
    if not layout.entries:
        raise no_images(archive_name, contents.others, is_folder=False)

    def items() -> Iterator[Item]:
        waiting = {}
        for entry in layout.entries:
            if entry.problem is None:
                waiting[layout.top + entry.name] = entry
            else:
                bad = BadImageError(entry.problem)
                yield Item(printable(entry.name), bad, entry.label, entry.part)
        with naming(path):
            wanted = {name: contents.images[name] for name in waiting}
            for name, content in (zip_images if zipped else tar_images)(path, wanted):
                entry = waiting[name]
                yield Item(printable(entry.name), content, entry.label, entry.part)

    return Source(items, len(layout.entries), notes=layout.notes + notes_on(contents, path))


def notes_on(contents: Contents, path: Path) -> tuple[Note, ...]:
    """Notes on members that were passed over, and on a missing end mark."""
    notes = list(notes_on_others(contents.others))
    if contents.special:
        notes.append(Note("links_passed_over", {"n": contents.special}))
    if contents.cut:
        notes.append(Note("archive_cut_short", {"name": printable(path.name)}))
    return tuple(notes)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Inside, damage becomes an InputError that names the archive."""
    try:
        yield
    except DAMAGE as error:
        name = printable(str(path))
        if isinstance(error, OSError) and error.errno is not None:
            raise InputError(f"cannot read {name} ({error.strerror})", "check it") from error
        reason = str(error) or type(error).__name__
        raise InputError(f"{name} is damaged ({reason})", "fetch or pack it again") from error


def is_zip(path: Path) -> bool:
    """Whether the content is that of a .zip; else it has to be a .tar."""
    with naming(path), path.open("rb") as file:
        head = file.read(512)
        if head.startswith((b"PK\3\4", b"PK\5\6")):
            return True
        if head.startswith(tuple(COMPRESSED)) or head[257:262] == b"ustar":
            return False
        return zipfile.is_zipfile(file)


def inside(name: str, path: Path) -> str:
    """A member's name, tidy; InputError when it does not lie in the archive's own folder."""
    slashed = name.replace("\\", "/")  # as on Windows, where both divide folders
    tidy = posixpath.normpath(slashed)
    if slashed.startswith("/") or tidy.split("/")[0] == ".." or re.match("[A-Za-z]:", slashed):
        raise InputError(
            f"{printable(str(path))} has a member outside its folder, {printable(name)}",
            "do not trust it; pack the images again",
        )
    return tidy


# Zip


def zip_contents(path: Path) -> Contents:
    """The contents of a .zip; InputError where a member lies outside it."""
    contents = Contents()
    with zipfile.ZipFile(path) as archive:
        for number, member in enumerate(archive.infolist()):
            name = inside(member.filename, path)
            inside(member.orig_filename, path)  # what was before a zero byte was cut off
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind == stat.S_IFLNK and not member.flag_bits & 1 and member.file_size < PIECE:
                target = archive.read(member).decode("utf-8", "surrogateescape")
                inside(posixpath.join(posixpath.dirname(name), target), path)
            if is_hidden(name) or member.is_dir():
                continue
            if kind not in (0, stat.S_IFREG):
                contents.special += 1
            elif is_image(name):
                contents.images[name] = number
            elif is_table(name):
                check_table(name, member.file_size)
                contents.tables[name] = archive.read(member)
            else:
                contents.others[suffix_of(name)] += 1
    contents.images = dict(sorted(contents.images.items()))
    return contents


def zip_images(path: Path, wanted: dict[str, int]) -> Iterator[tuple[str, bytes | BadImageError]]:
    """The members wanted, by name, each with its bytes or what is wrong with it."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        for name, number in sorted(wanted.items()):
            yield name, zip_image(archive, members[number])


def zip_image(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes | BadImageError:
    """One member's bytes: as many as it declares, since zipfile reads no further."""
    if member.flag_bits & 1:
        return BadImageError("encrypted")
    if member.file_size > MEMBER_CAP:
        return BadImageError(f"{member.file_size} bytes are too many")
    try:
        with archive.open(member) as file:
            return file.read(MEMBER_CAP)
    except DAMAGE as error:
        return BadImageError(f"damaged ({error})")


def check_table(name: str, size: int) -> None:
    """InputError when metadata are too long to be read at once."""
    if size > TABLE_CAP:
        raise InputError(f"{printable(name)} has {size} bytes", "it may have 256 MB")


# Tar


class Guarded(io.RawIOBase):
    """A stream for tarfile that refuses to read too much at once and keeps its last bytes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.last = b""

    def read(self, size: int = -1, /) -> bytes:
        """As the stream does; ReadError where a header asks for more than a header needs."""
        if not 0 <= size <= HEADER_CAP:
            raise tarfile.ReadError(f"a header of {size} bytes")
        self.last = self.stream.read(size)
        return self.last

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As the stream does, which may have to unpack all between."""
        return self.stream.seek(offset, whence)

    def tell(self) -> int:
        """As the stream does."""
        return self.stream.tell()


@contextmanager
def opened_tar(path: Path) -> Iterator[tuple[tarfile.TarFile, Guarded, bool]]:
    """A .tar, the stream below it and whether that is compressed."""
    with path.open("rb") as file:
        head = file.read(8)
        file.seek(0)
        unpack = next((kind for mark, kind in COMPRESSED.items() if head.startswith(mark)), None)
        stream = Guarded(unpack(file) if unpack else file)
        with tarfile.open(fileobj=stream, mode="r:", errorlevel=2) as archive:
            yield archive, stream, unpack is not None


def members_of(
    path: Path, archive: tarfile.TarFile, stream: Guarded, compressed: bool
) -> Iterator[tarfile.TarInfo]:
    """The members in their order; ReadError where the archive breaks off."""
    while (member := archive.next()) is not None:
        # tarfile would keep all of them: a gigabyte for a million images
        archive.members.clear()  # type: ignore[attr-defined]
        if compressed and member.size > OTHER_CAP:
            raise InputError(
                f"{printable(str(path))} has a member of {member.size} bytes, "
                f"{printable(member.name)}",
                "unpack the archive, or pack the images alone",
            )
        yield member
    if stream.last.strip(b"\0"):  # tarfile ends quietly at what is no header
        raise tarfile.ReadError("a header is damaged")


def tar_contents(path: Path) -> Contents:
    """The contents of a .tar; InputError where a member lies outside it."""
    contents = Contents()
    with opened_tar(path) as (archive, stream, compressed):
        for number, member in enumerate(members_of(path, archive, stream, compressed)):
            name = inside(member.name, path)
            if member.issym():
                inside(posixpath.join(posixpath.dirname(name), member.linkname), path)
            elif member.islnk():
                inside(member.linkname, path)
            if is_hidden(name) or member.isdir():
                continue
            if not member.isreg():
                contents.special += 1
            elif is_image(name):
                contents.images.pop(name, None)
                contents.images[name] = number
            elif is_table(name):
                check_table(name, member.size)
                contents.tables[name] = b"".join(pieces_of(archive, member))
            else:
                contents.others[suffix_of(name)] += 1
        contents.cut = len(stream.last) < tarfile.BLOCKSIZE
    return contents


def tar_images(path: Path, wanted: dict[str, int]) -> Iterator[tuple[str, bytes | BadImageError]]:
    """The members wanted, in the archive's order, each with its bytes or what is wrong."""
    names = {number: name for name, number in wanted.items()}
    with opened_tar(path) as (archive, stream, compressed):
        for number, member in enumerate(members_of(path, archive, stream, compressed)):
            if number not in names:
                continue
            if member.size > MEMBER_CAP:
                yield names[number], BadImageError(f"{member.size} bytes are too many")
            else:
                yield names[number], b"".join(pieces_of(archive, member))


def pieces_of(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterable[bytes]:
    """A member's bytes, piece by piece: damaged streams are noticed early."""
    file = archive.extractfile(member)
    assert file is not None, "only regular members are read"
    with file:
        yield from iter(lambda: file.read(PIECE), b"")
