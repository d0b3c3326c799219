"""What names say: which files are images, and of which part and class.

Names are relative and written with slashes, of a folder's files or an archive's members.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from triptych.data.sources.base import PART_NAMES, PartName

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff",
    ".jpe", ".jfif", ".jif", ".apng",
)  # fmt: skip
LITTER = frozenset({"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin"})  # of file browsers


class Place(NamedTuple):
    """What folders tell: the part, and the class or None."""

    part: PartName | None
    label: str | None


class Entry(NamedTuple):
    """One image that a source has, or should have: then the problem says why it is bad."""

    name: str
    part: PartName | None
    label: str | int | None
    problem: str | None = None


@dataclass(frozen=True)
class Layout:
    """All the images of a source in their order, and what the user should know of it."""

    entries: list[Entry]
    notes: tuple[str, ...]


def is_image(name: str) -> bool:
    """Whether the name ends as an image's does.

    >>> is_image("a/Photo.JPG"), is_image("a/photo.txt"), is_image("png")
    (True, False, False)
    """
    return name.lower().endswith(SUFFIXES)


def is_hidden(name: str) -> bool:
    """Whether the name is, or lies in, what a dot or a file browser hides.

    >>> is_hidden("a/.cache/b.png"), is_hidden("__MACOSX/a.png"), is_hidden("a.b/c.png")
    (True, True, False)
    """
    return any(is_hidden_part(part) for part in name.split("/"))


def is_hidden_part(part: str) -> bool:
    """As `is_hidden`, of a single file or folder name."""
    return part.startswith(".") or part.lower() in LITTER


def printable(name: str) -> str:
    r"""The name with all that cannot be shown on one line, or misleads, as backslash escapes.

    Bytes that are no UTF-8, which Python keeps as lone surrogates, become their hexadecimals.

    >>> printable("a\nb\udcff.png")
    'a\\nb\\xff.png'
    """
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(map(shown, name))


def shown(letter: str) -> str:
    """One letter, or its escape; a backslash is doubled, so that no two names become one."""
    if "\udc80" <= letter <= "\udcff":
        return f"\\x{ord(letter) - 0xDC00:02x}"
    if letter.isprintable() and letter != "\\":
        return letter
    return letter.encode("unicode_escape").decode("ascii")


def place_of(name: str) -> Place:
    """The first folder names the part if it can; the last one below that is the class.

    >>> place_of("train/birds/owl/1.png")
    Place(part='train', label='owl')
    """
    return place_below(name.rpartition("/")[0])


@cache
def place_below(folder: str) -> Place:
    """The place of what lies right in a folder; found once for all its files."""
    folders = folder.split("/") if folder else []
    part = PART_NAMES.get(folders[0].lower()) if folders else None
    inner = folders[1:] if part else folders
    return Place(part, class_name(inner[-1]) if inner else None)


def class_name(name: str) -> str:
    """A class as it is shown: accents written one way, whatever the file system does."""
    return printable(unicodedata.normalize("NFC", name))


def lay_out(names: Iterable[str], labelled: bool) -> Layout:
    """Every name's place."""
    places = ((name, place_of(name)) for name in names)
    entries = [Entry(name, place.part, place.label) for name, place in places]
    return all_or_no_labels(entries, labelled, "lie outside the class folders")


def all_or_no_labels(entries: list[Entry], labelled: bool, why: str) -> Layout:
    """The entries without labels when those are not wanted, or when an image has none."""
    bare = [entry for entry in entries if entry.label is None and entry.problem is None]
    if labelled and not bare:
        return Layout(entries, ())
    notes: tuple[str, ...] = ()
    if labelled and any(entry.label is not None for entry in entries):
        first = printable(bare[0].name)
        notes = (f"no labels: {len(bare)} of {len(entries)} images {why}, first {first}",)
    return Layout([entry._replace(label=None) for entry in entries], notes)


def common_top(names: Iterable[str]) -> str:
    """The folder, with its slash, that holds all the names, unless it names a part; or nothing.

    >>> common_top(["digits/train/1.png", "digits/test/1.png"]), common_top(["train/1.png"])
    ('digits/', '')
    """
    tops = {name.split("/", 1)[0] if "/" in name else "" for name in names}
    top = tops.pop() if len(tops) == 1 else ""
    return f"{top}/" if top and top.lower() not in PART_NAMES else ""


def counted(number: int, thing: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
