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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from triptych.data.sources import BadImageError, Columns, Item, Source, printable
from triptych.data.sources.arrange import Entry, arrange
from triptych.data.sources.folder import walk
from triptych.data.sources.layout import is_hidden, is_image, no_images, notes_on_others, suffix_of
from triptych.data.sources.metadata import TEXT_CAP, is_label_text, is_table
from triptych.errors import InputError
from triptych.records import Note

SUFFIXES = (".zip", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar", ".tgz", ".tbz2", ".txz")
MEMBER_CAP = 256_000_000  # bytes of one image: more than any that is decoded
OTHER_CAP = 1 << 30  # bytes of another member which must be unpacked to get past it
TABLE_CAP = 256_000_000  # bytes of metadata
HEADER_CAP = 1 << 24  # bytes read at once from a .tar: a name may claim to be as long as it likes
PIECE = 1 << 20
SHARD_NUMBER = re.compile(
    r"(?:^|[-_. ])(?:\d+(?:-of-\d+)?|\(\d+\))$"
)  # at the end of an archive's name
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
    texts:   the bytes of the files that hold one image's class each
    others:  how many members of each suffix are named as neither
    special: how many are links or devices
    cut:     whether the end mark is missing
    """

    images: dict[str, int] = field(default_factory=dict)
    tables: dict[str, bytes] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    special: int = 0
    cut: bool = False


def read_archive(path: Path, columns: Columns) -> Source:
    """Images in a .zip or .tar file, compressed or not, laid out as in a folder.

    Its content tells what it is, not its suffix. Items come by name from a .zip and in the
    archive's order from a .tar, which has to be read from end to end.
    InputError when it is damaged, holds no images, or has a member that lies outside it.
    """
    return read_volumes([Volume(path, contents_of(path))], path, columns)


def read_shards(folder: Path, columns: Columns) -> Source:
    """The archives below a folder as one set, each laid out as a folder of its name.

    Numbers at the end of names are left out of it: `train-00001.tar` lies in `train`.
    """
    every = [file.name for file in walk(folder)]
    names = [name for name in every if name.lower().endswith(SUFFIXES)]
    if not names:
        raise InputError(f"no archives in {printable(str(folder))}", "name a folder of some")
    tops = list(map(top_of_shard, names))
    numbers = [(top, number_of(name)) for name, top in zip(names, tops, strict=True)]
    volumes = []
    for name, top in zip(names, tops, strict=True):
        number = number_of(name) if tops.count(top) > 1 else ""
        if number and numbers.count((top, number)) > 1:  # train-1.zip and train-1.tar
            number = posixpath.basename(name).replace(".", "_") + ":"
        volumes.append(Volume(folder / name, contents_of(folder / name), top, number))
    source = read_volumes(volumes, folder, columns)
    others = Counter(map(suffix_of, set(every).difference(names)))
    return replace(source, notes=source.notes + notes_on_others(others, "files_beside_archives"))


@dataclass(frozen=True)
class Volume:
    """One archive of a set.

    top:    the folder that its members lie in as part of the set, with its slash, or nothing
    number: what tells its members from those of others in that folder
    """

    path: Path
    contents: Contents
    top: str = ""
    number: str = ""

    def name(self, member: str) -> str:
        """A member's name in the set."""
        folder, slash, last = member.rpartition("/")
        return f"{self.top}{folder}{slash}{self.number}{last}"


def read_volumes(volumes: list[Volume], source: Path, columns: Columns) -> Source:
    """The images of archives as one set; source: what a message names."""
    source_name = printable(str(source))
    members: dict[str, tuple[Volume, str]] = {}
    tables: dict[str, bytes] = {}
    texts: dict[str, bytes] = {}
    for volume in volumes:
        members.update((volume.name(m), (volume, m)) for m in volume.contents.images)
        texts.update((volume.name(m), text) for m, text in volume.contents.texts.items())
        # named with its archive's number, by which `metadata.Table` finds its own images
        tables.update((volume.name(m), table) for m, table in volume.contents.tables.items())
    layout = arrange(list(members), tables, columns, source_name, texts=texts)
    if not layout.entries:
        others: Counter[str] = sum((volume.contents.others for volume in volumes), Counter())
        raise no_images(source_name, others, is_folder=False)

    def items() -> Iterator[Item]:
        waiting: dict[Path, dict[str, Entry]] = {volume.path: {} for volume in volumes}
        for entry in layout.entries:
            if entry.problem is None:
                volume, member = members[layout.top + entry.name]
                waiting[volume.path][member] = entry
            else:
                bad = BadImageError(entry.problem)
                yield Item(printable(entry.name), bad, entry.label, entry.part)
        for volume in volumes:
            entries, path = waiting[volume.path], volume.path
            wanted = {member: volume.contents.images[member] for member in entries}
            with naming(path):
                for name, content in (zip_images if is_zip(path) else tar_images)(path, wanted):
                    entry = entries[name]
                    yield Item(printable(entry.name), content, entry.label, entry.part)

    return Source(items, len(layout.entries), notes=(*layout.notes, *notes_on(volumes)))


def contents_of(path: Path) -> Contents:
    """What an archive of either kind holds."""
    with naming(path):
        return zip_contents(path) if is_zip(path) else tar_contents(path)


def top_of_shard(name: str) -> str:
    """The folder that an archive stands for, with its slash; nothing for one that is but a number.

    >>> top_of_shard("a/train-00001.tar"), top_of_shard("n0144.tar.gz"), top_of_shard("07.zip")
    ('a/train/', 'n0144/', '')
    """
    folder, slash, last = name.rpartition("/")
    stem = SHARD_NUMBER.sub("", without_suffix(last))
    return f"{folder}{slash}{stem}/" if stem else f"{folder}{slash}"


def number_of(name: str) -> str:
    """What its archive puts before a member's name, where several stand for one folder."""
    return without_suffix(posixpath.basename(name)).replace(".", "_") + ":"


def without_suffix(name: str) -> str:
    """An archive's name without its suffix."""
    return name[: -len(next(end for end in SUFFIXES if name.lower().endswith(end)))]


def notes_on(volumes: list[Volume]) -> tuple[Note, ...]:
    """Notes on members that were passed over, and on missing end marks."""
    others: Counter[str] = sum((volume.contents.others for volume in volumes), Counter())
    special = sum(volume.contents.special for volume in volumes)
    cut = [printable(volume.path.name) for volume in volumes if volume.contents.cut]
    notes = list(notes_on_others(others))
    if len(volumes) > 1:
        notes.insert(0, Note("archives_as_one", {"n": len(volumes)}))
    if special:
        notes.append(Note("links_passed_over", {"n": special}))
    notes += [Note("archive_cut_short", {"name": name}) for name in cut]
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
            name = inside(name_in(member), path)
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
            elif is_label_text(name) and member.file_size <= TEXT_CAP:
                contents.texts[name] = archive.read(member)
            else:
                contents.others[suffix_of(name)] += 1
    contents.images = dict(sorted(contents.images.items()))
    return contents


def name_in(member: zipfile.ZipInfo) -> str:
    """A member's name; macOS writes UTF-8 and does not say so, which is then read as cp437."""
    if not member.flag_bits & 0x800:  # that it is UTF-8 (APPNOTE.TXT, 4.4.4)
        with suppress(UnicodeError):
            return member.filename.encode("cp437").decode("utf-8")
    return member.filename


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
            elif is_label_text(name) and member.size <= TEXT_CAP:
                contents.texts[name] = b"".join(pieces_of(archive, member))
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
