"""What names tell: which files are images, which columns hold them, and what a class is called.

Names of files are relative and written with slashes, of a folder's files or an archive's members.
Names of columns are compared in small letters; the first in the tuple that is there counts.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

import numpy as np

from triptych.data.sources import printable
from triptych.errors import InputError
from triptych.records import Note

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff",
    ".jpe", ".jfif", ".jif", ".apng", ".avif",
)  # fmt: skip
# images too, but of formats that are not read: they come as bad ones
RAW = (".dng", ".cr2", ".nef", ".arw")  # what cameras' sensors measured, inside of a TIFF
UNREAD = (
    ".heic", ".heif", ".jxl", ".jp2", ".tga", ".psd", ".ppm", ".pgm", ".svg", ".ico", *RAW,
)  # fmt: skip
# files that hold many images; each is read when it is named itself
KINDS = (
    ".parquet", ".npz", ".npy", ".mat",
    ".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz",
)  # fmt: skip
SHOWN = 5  # suffixes or folders in a note; of the rest it tells only how many
# of file browsers and storage
LITTER = frozenset(
    {"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "@eadir", "lost+found"}
    | {"system volume information"}
)
IMAGE_NAMES = (
    "image", "images", "img", "imgs", "x", "bytes",
    "photo", "picture", "pixels", "pixel", "jpg", "data",
)  # fmt: skip
LABEL_NAMES = (
    "label", "labels", "class", "target", "targets", "digit", "fine_label", "category", "y",
)  # fmt: skip

CLASS_NAMES = ("classes", "class_names", "label_names", "names")  # of labels that are numbers
UNLABELED = -1  # what the Hub's ClassLabel writes where a label is missing
PART_COLUMNS = (
    "split", "part", "subset", "partition", "set", "is_train", "is_training", "train",
)  # fmt: skip


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


def class_name(name: str) -> str:
    """A class name that can be printed, with accents in one Unicode form (NFC)."""
    return printable(unicodedata.normalize("NFC", name))


def given_name(name: str) -> str:
    """A name from a list of class names, such as `class_name` may have made before."""
    return name if name.isprintable() else class_name(name)


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


def abridged(listed: list[str], more: str = ", +{}", shown: int = SHOWN) -> str:
    """The first few, and how many more there are."""
    rest = len(listed) - shown
    return ", ".join(listed[:shown]) + (more.format(rest) if rest > 0 else "")


def notes_on_others(suffixes: Counter[str], code: str = "files_passed_over") -> tuple[Note, ...]:
    """A note on files that are not read, by suffix; none where there are none.

    code: of the note, which says why; by default because they are not images
    """
    if not suffixes:
        return ()
    listed = abridged(list_suffixes(suffixes, "{suffix} {count}", bare="-"))
    return (Note(code, {"n": suffixes.total(), "suffixes": listed}),)


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


def in_order(names: Iterable[str]) -> list[str]:
    """Names of classes in their order: numbers by their size, before other names.

    >>> in_order(["b", "10", "9", "-1"])
    ['-1', '9', '10', 'b']
    """

    def key(name: str) -> tuple[bool, int, str]:
        number = re.fullmatch(r"-?[0-9]{1,18}", name)
        return not number, int(name) if number else 0, name

    return sorted(names, key=key)


def class_of(text: str) -> str | None:
    """A label that is text as a class, without the space around it; None where it is empty.

    >>> class_of(" owl "), class_of(" ")
    ('owl', None)
    """
    return class_name(text.strip()) or None


def places_of_ones(rows: np.ndarray) -> list[int] | None:
    """The place of the one in each row of zeros, (N,K); None where a row is not one-hot.

    >>> places_of_ones(np.array([[0, 1], [1, 0]])), places_of_ones(np.array([[1, 1], [1, 0]]))
    ([1, 0], None)
    """
    ones = rows == 1
    one_hot = rows.ndim == 2 and rows.shape[1] > 1 and (ones | (rows == 0)).all()
    if not one_hot or not (ones.sum(1) == 1).all():
        return None
    places: list[int] = ones.argmax(1).tolist()
    return places
