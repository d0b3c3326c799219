"""What names tell: which files are images, their part and class, and which columns hold them.

Names of files are relative and written with slashes, of a folder's files or an archive's members.
Names of columns are compared in small letters; the first in the tuple that is there counts.
"""

from __future__ import annotations

import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from triptych.data.sources import PART_NAMES, PartName, printable
from triptych.errors import InputError
from triptych.records import Note

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff",
    ".jpe", ".jfif", ".jif", ".apng", ".avif",
)  # fmt: skip
# images too, but of formats that are not read: they come as bad ones
UNREAD = (
    ".heic", ".heif", ".jxl", ".jp2", ".tga", ".psd", ".ppm", ".pgm", ".svg",
    ".dng", ".cr2", ".nef", ".arw", ".ico",
)  # fmt: skip
# files that hold many images; each is read when it is named itself
KINDS = (
    ".parquet", ".npz", ".npy", ".mat",
    ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz",
)  # fmt: skip
SHOWN = 5  # suffixes or folders in a note; of the rest it tells only how many
LITTER = frozenset({"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin"})  # of file browsers
IMAGE_NAMES = (
    "image", "images", "img", "imgs", "x", "bytes",
    "photo", "picture", "pixels", "pixel", "jpg", "data",
)  # fmt: skip
LABEL_NAMES = (
    "label", "labels", "class", "target", "targets", "digit", "fine_label", "category", "y",
)  # fmt: skip


class PartAndLabel(NamedTuple):
    """The part and the class that an image's folders name, each None where they name none."""

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
    """All the images of a source in their order, and what the user should know of it.

    top: the folder, with its slash, that the entries' names are relative to; or nothing
    """

    entries: list[Entry]
    notes: tuple[Note, ...]
    top: str = ""


def is_image(name: str) -> bool:
    """Whether the name ends as an image's does, be it of a format that we read or not.

    >>> is_image("a/Photo.JPG"), is_image("b.heic"), is_image("a/photo.txt"), is_image("png")
    (True, True, False, False)
    """
    return name.lower().endswith(SUFFIXES + UNREAD)


def is_hidden(name: str) -> bool:
    """Whether the name is, or lies in, what a dot or a file browser hides.

    >>> is_hidden("a/.cache/b.png"), is_hidden("__MACOSX/a.png"), is_hidden("a.b/c.png")
    (True, True, False)
    """
    return any(part.startswith(".") or part.lower() in LITTER for part in name.split("/"))


def part_and_label(name: str) -> PartAndLabel:
    """The first folder is the part, if its name is that of one; the last one below is the class.

    >>> part_and_label("train/birds/owl/1.png")
    PartAndLabel(part='train', label='owl')
    """
    return folder_part_and_label(name.rpartition("/")[0])


@cache
def folder_part_and_label(folder: str) -> PartAndLabel:
    """The part and class of files directly in a folder; cached for all its files."""
    folders = folder.split("/") if folder else []
    part = PART_NAMES.get(folders[0].lower()) if folders else None
    inner = folders[1:] if part else folders
    return PartAndLabel(part, class_name(inner[-1]) if inner else None)


def class_name(name: str) -> str:
    """A class name that can be printed, with accents in one Unicode form (NFC)."""
    return printable(unicodedata.normalize("NFC", name))


def lay_out(names: Iterable[str], labeled: bool) -> Layout:
    """The entries of images, with the part and label that their folders tell."""
    entries = [Entry(name, *part_and_label(name)) for name in names]
    return all_or_no_labels(entries, labeled, "images_outside_classes")


def all_or_no_labels(entries: list[Entry], labeled: bool, code: str) -> Layout:
    """The entries; without labels where those are not wanted, or where an image has none.

    code: of the note on images without one: images_outside_classes or images_without_label
    """
    bare = [entry for entry in entries if entry.label is None and entry.problem is None]
    if labeled and not bare:
        return Layout(entries, ())
    notes: tuple[Note, ...] = ()
    if labeled and any(entry.label is not None for entry in entries):
        first = printable(bare[0].name)
        notes = (Note(code, {"n": len(bare), "images": len(entries), "first": first}),)
    return Layout([entry._replace(label=None) for entry in entries], notes)


def common_top(names: Iterable[str]) -> str:
    """The folder, with its slash, that holds all the names and neither is nor lies in a part.

    >>> common_top(["x/digits/train/1.png", "x/digits/test/1.png"]), common_top(["train/1.png"])
    ('x/digits/', '')
    """
    folders = [folder.split("/") for folder in {name.rpartition("/")[0] for name in names}]
    top = ""
    # what the first and the last of sorted names share is shared by all between
    for one, other in zip(min(folders, default=[]), max(folders, default=[]), strict=False):
        if one != other or not one or one.lower() in PART_NAMES:
            break
        top += f"{one}/"
    return top


def top_of(name: str) -> str:
    """The first folder of a name, or nothing."""
    return name.partition("/")[0] if "/" in name else ""


def beside_train(names: Iterable[str]) -> dict[str, int]:
    """What lies on top beside a folder of the part train and names no part, and its images.

    `""` stands for the images right on top. Without a part train nothing is beside it.

    >>> beside_train(["train/1.png", "test/1.png", "extra/1.png", "extra/2.png", "3.png"])
    {'extra': 2, '': 1}
    """
    tops = Counter(map(top_of, names))
    if not any(PART_NAMES.get(top.lower()) == "train" for top in tops):
        return {}
    return {top: count for top, count in tops.items() if top.lower() not in PART_NAMES}


def notes_beside(beside: dict[str, int]) -> tuple[Note, ...]:
    """Notes on images that were left out beside the part folders."""
    notes = []
    folders = sorted(top for top in beside if top)
    if folders:
        listed = [f"{printable(top)} ({beside[top]})" for top in folders]
        notes.append(Note("folders_beside_train", {"folders": abridged(listed)}))
    if "" in beside:
        notes.append(Note("images_beside_train", {"n": beside[""]}))
    return tuple(notes)


def suffix_of(name: str) -> str:
    """A file's suffix in small letters, such as .tar.gz; "" where it has none.

    >>> suffix_of("a/b.TXT"), suffix_of("b.tar.gz"), suffix_of("a.b/LICENSE")
    ('.txt', '.tar.gz', '')
    """
    stem, suffix = posixpath.splitext(posixpath.basename(name.lower()))
    return f".tar{suffix}" if stem.endswith(".tar") and suffix else suffix


def list_suffixes(suffixes: Counter[str], form: str, bare: str) -> list[str]:
    """The suffixes with their numbers of files, most frequent first.

    form: how one is written, with `{count}` and `{suffix}`
    bare: what stands for no suffix
    """
    ordered = sorted(suffixes.items(), key=lambda each: (-each[1], not each[0], each[0]))
    return [form.format(count=n, suffix=printable(suffix) or bare) for suffix, n in ordered]


def abridged(listed: list[str], more: str = ", +{}") -> str:
    """The first few, and how many more there are."""
    rest = len(listed) - SHOWN
    return ", ".join(listed[:SHOWN]) + (more.format(rest) if rest > 0 else "")


def notes_on_others(suffixes: Counter[str]) -> tuple[Note, ...]:
    """A note on files that are not images, by suffix; none where there are none."""
    if not suffixes:
        return ()
    listed = abridged(list_suffixes(suffixes, "{suffix} {count}", bare="-"))
    return (Note("files_passed_over", {"n": suffixes.total(), "suffixes": listed}),)


def no_images(source_name: str, suffixes: Counter[str], is_folder: bool) -> InputError:
    """The error that there are no images; it names the suffixes of the other files."""
    verb = "is" if suffixes.total() == 1 else "are"
    listed = list_suffixes(suffixes, "{count} {suffix}", bare="without suffix")
    there = f" (there {verb} {abridged(listed, ' and {} more')})" if suffixes else ""
    if not suffixes.keys().isdisjoint(KINDS):
        mend = "name one of those files" if is_folder else "unpack it and name one of those files"
    else:
        mend = f"put {', '.join(SUFFIXES[:4])} files there or name another"
    return InputError(f"no images in {source_name}{there}", mend)


def counted(number: int, thing: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def usual(names: Iterable[str], wanted: tuple[str, ...]) -> str | None:
    """The name that comes first among those wanted, in small or capital letters.

    >>> usual(["id", "Y", "Label"], LABEL_NAMES)
    'Label'
    """
    ranked = [name for name in names if name.lower() in wanted]
    return min(ranked, key=lambda name: wanted.index(name.lower()), default=None)


def class_of(text: str) -> str | None:
    """A label that is text as a class, without the space around it; None where it is empty.

    >>> class_of(" owl "), class_of(" ")
    ('owl', None)
    """
    return class_name(text.strip()) or None
