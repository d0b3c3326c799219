"""The part and the label of every image of a folder or an archive, as its names and tables tell."""

from __future__ import annotations

import math
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from triptych.data.sources import Columns, PartName, printable
from triptych.data.sources.layout import abridged, class_name, in_order, is_image
from triptych.data.sources.levels import (
    Folder,
    Levels,
    PartWord,
    common_top,
    find_levels,
    is_part,
    part_word,
    parts_from,
)
from triptych.data.sources.metadata import Label, Table, labels_of_texts, parse_table
from triptych.errors import InputError
from triptych.records import Note

STRAYS = 0.05  # of the files may tell no part, where the names of all others do
MASK_WORDS = ("mask", "seg", "gt", "label")
MASK_FILE = re.compile(rf"(.*?)[-_. ](?:{'|'.join(MASK_WORDS)}|segmentation)s?(?:[-_]\d+)?")
CLS_SHARE = 0.5  # of the images must have a .cls file, or these are strays
FIRST, LAST = "first", "last"  # for --label-column: which folder is the class; the first is usual


class Entry(NamedTuple):
    """One image that a source has, or should have: then the problem says why it is bad."""

    name: str
    part: PartName | None
    label: Label
    problem: str | None = None


@dataclass(frozen=True)
class Layout:
    """All the images of a source in their order, and what the user should know of it.

    top: the folder, with its slash, that the entries' names are relative to; or nothing
    """

    entries: list[Entry]
    notes: tuple[Note, ...]
    top: str = ""


class Place(NamedTuple):
    """What the folder of an image tells: its part, its class, and whether it is left out."""

    part: PartName | None = None
    label: str | None = None
    left_out: bool = False


def folder_of(name: str) -> Folder:
    """The folders that a name lies in, from the top downwards.

    >>> folder_of("train/cat/1.png"), folder_of("1.png")
    (('train', 'cat'), ())
    """
    return tuple(name.split("/")[:-1])


class Folders:
    """What folders tell of the images that lie in them.

    names: of all images
    """

    def __init__(self, names: Iterable[str], columns: Columns) -> None:
        self.labeled = columns.labeled
        self.level = -1 if columns.label == LAST else 0
        self.counts = Counter(map(folder_of, names))
        self.levels: Levels = find_levels(self.counts, storage=self.labeled and self.level == 0)
        self._places = {folder: self._place(folder) for folder in self.counts}

    def place(self, name: str) -> Place:
        """Of an image; of one that is not there, nothing is known."""
        return self._places.get(folder_of(name), Place())

    def _place(self, folder: Folder) -> Place:
        left = self.levels.classes.get(folder)
        if left is None:
            return Place(left_out=True)
        part = self.levels.parts.get(folder)
        known = part in (None, "train") or self.shared[part]
        label = class_name(left[self.level]) if self.labeled and left and known else None
        return Place(part, label)

    @cached_property
    def shared(self) -> dict[PartName | None, bool]:
        """Whether a part has a class that training has: else its folders are no classes."""
        classes: dict[PartName | None, set[str]] = {}
        for folder, left in self.levels.classes.items():
            own = classes.setdefault(self.levels.parts.get(folder), set())
            own |= {left[self.level]} if left else set()
        training = classes.get(None, set()) | classes.get("train", set())
        return {part: not training or bool(own & training) for part, own in classes.items()}

    def leave_out(self, folder: Folder) -> bool:
        """Whether all images in and below a folder are left out."""
        places = [place for one, place in self._places.items() if one[: len(folder)] == folder]
        return bool(places) and all(place.left_out for place in places)

    def structure(self, on_top: bool) -> list[Note]:
        """Which folders were taken for parts, and which were left out.

        on_top: whether metadata at the top list all images, whatever folder they lie in
        """
        levels = self.levels
        notes = [parts_from(levels.named)] if levels.named else []
        if on_top:
            return notes
        if beside := self.images_in({f: top for f, top in levels.beside.items() if f}):
            notes.append(Note("folders_beside_train", {"folders": beside}))
        if () in levels.beside:
            notes.append(Note("images_beside_train", {"n": self.counts[()]}))
        if masks := self.images_in(levels.masks):
            notes.append(Note("masks_left_out", {"folders": masks}))
        return notes

    def images_in(self, tops: Mapping[Folder, Folder]) -> str:
        """The folders that others lie in, with the numbers of images in those, for a note."""
        numbers: Counter[str] = Counter()
        for folder, top in tops.items():
            numbers["/".join(top)] += self.counts[folder]
        return abridged([f"{printable(name)} ({numbers[name]})" for name in sorted(numbers)])

    def classes(self, top: str) -> list[Note]:
        """Which folders were taken for classes, and which say nothing.

        top: the folder that holds everything
        """
        if not self.labeled:
            return []
        lefts = {left for left in self.levels.classes.values() if left}
        names = in_order({place.label for place in self._places.values() if place.label})
        notes: list[Note] = []
        if self.levels.storage:
            first, *_, last = sorted(self.levels.storage)
            count = len(self.levels.storage)
            notes.append(Note("storage_folders", {"n": count, "first": first, "last": last}))
        if len(names) < 2:
            wrappers = sorted(self.levels.wrappers) or top.split("/")[-2:-1]
            name = names[0] if names else ", ".join(map(printable, wrappers))
            alone = Note("one_folder", {"name": name})
            return [*notes, alone] if name and not notes else notes
        listed = abridged([*names], shown=10)
        notes.append(Note("classes_from_folders", {"n": len(names), "classes": listed}))
        other = {name for left in lefts for name in (left[1:] if self.level == 0 else left[:-1])}
        if other:
            code = "folders_below_classes" if self.level == 0 else "folders_above_classes"
            notes.append(Note(code, {"folders": abridged(list(map(printable, sorted(other))))}))
        if parts := [name for name in names if is_part(name)]:
            notes.append(Note("parts_as_classes", {"n": len(parts), "folders": abridged(parts)}))
        return notes


def arrange(
    names: Sequence[str],
    tables: Mapping[str, bytes],
    columns: Columns,
    source_name: str,
    closed: Mapping[str, str] | None = None,
    texts: Mapping[str, bytes] | None = None,
) -> Layout:
    """Part and label of all images, from the metadata where there are any, else from the folders.

    If one folder holds everything, names are relative to it. Beside a folder of the part train
    only folders of other parts count, unless metadata at the top list all images.

    names:       of the images
    tables:      the bytes of the metadata, by name
    source_name: of the folder or archive, for messages
    closed:      folders that could not be opened, and why
    texts:       the bytes of the files that hold one image's class each, by name
    """
    closed = closed or {}
    top = common_top([*names, *tables, *closed])
    below = [name.removeprefix(top) for name in names]
    folders = Folders(below, columns)
    parsed = parse_tables(tables, top, columns, below)
    on_top = any("/" not in table.name for table in parsed)
    if not on_top:
        below = [name for name in below if not folders.place(name).left_out]
        parsed = [table for table in parsed if not folders.leave_out(folder_of(table.name))]
    labels = labels_of_texts(below, top, texts or {}) if columns.labeled else {}
    notes = folders.structure(on_top)
    by_stem = {} if folders.levels.named else parts_of_stems(below)
    if by_stem:
        firsts = {part: [f"{name}, ..."] for name, part in reversed(by_stem.items())}
        notes.append(parts_from(firsts))
    if not parsed:  # a table's own list counts, whatever its files are called
        below, more = without_odd_names(below, by_stem)
        notes += more
    if parsed:
        entries, more = entries_listed(below, parsed, folders)
        notes += more
        if not any(table.labeled for table in parsed):
            notes += folders.classes(top)
    else:
        refuse_columns(columns, source_name)
        entries = [Entry(name, *folders.place(name)[:2]) for name in below]
        notes += [] if labels else folders.classes(top)
    if by_stem:
        entries = [e._replace(part=e.part or by_stem.get(e.name)) for e in entries]
    if labels and len(labels) < CLS_SHARE * len(entries):
        notes += [Note("label_files_few", {"n": len(labels), "images": len(entries)})]
        notes += [] if parsed else folders.classes(top)
    elif labels:
        entries = [entry._replace(label=labels.get(entry.name)) for entry in entries]
        notes.append(Note("labels_from_files", {"n": len(labels)}))
    if not columns.labeled:
        entries = [entry._replace(label=None) for entry in entries]
    return Layout(entries + unopened(closed, top), tuple(notes), top)


def parse_tables(
    tables: Mapping[str, bytes], top: str, columns: Columns, names: Sequence[str]
) -> list[Table]:
    """The metadata that can be read; a data set's own list only where it names some image."""
    parsed = [
        table
        for name, content in sorted(tables.items())
        if (table := parse_table(name.removeprefix(top), content, columns)) is not None
    ]
    there = set(names)
    return [
        t for t in parsed if not t.is_dataset or any(t.path(r.file_name) in there for r in t.rows)
    ]


def unopened(closed: Mapping[str, str], top: str) -> list[Entry]:
    """An entry with the reason for each folder that could not be opened."""
    return [
        Entry(name.removeprefix(top), None, None, f"cannot be opened ({why})")
        for name, why in sorted(closed.items())
    ]


def without_odd_names(
    names: list[str], parts: Mapping[str, PartName]
) -> tuple[list[str], list[Note]]:
    """The images but for masks of others, and those of no part where files' names tell it."""
    notes = []
    masks = masks_by_name(names)
    if masks:
        notes.append(Note("mask_files_left_out", {"n": len(masks), "first": printable(min(masks))}))
    names = [name for name in names if name not in masks]
    strays = [name for name in names if parts and name not in parts]
    if strays:
        first = printable(strays[0])
        notes.append(Note("files_without_part", {"n": len(strays), "first": first}))
        names = [name for name in names if name in parts]
    return names, notes


def parts_of_stems(names: Sequence[str]) -> dict[str, PartName]:
    """The parts of images by their files' own names, `train_0001.png` and `test_0001.png`.

    Nothing where more than a few tell no part, where all tell the same one, or where the parts'
    names have nothing else in common (train_station, test_tube).
    """
    if not any(map(part_of_stem, names[: math.ceil(STRAYS * len(names)) + 1])):
        return {}  # too many tell none
    words = {name: part_of_stem(name) for name in names}
    known = {name: word for name, word in words.items() if word is not None}
    if len(known) < (1 - STRAYS) * len(names):
        return {}
    rests: dict[PartName, set[Folder]] = {}
    for word in known.values():
        rests.setdefault(word.part, set()).add(word.rest)
    alike = len(rests) > 1 and set.intersection(*rests.values())
    return {name: word.part for name, word in known.items()} if alike else {}


def part_of_stem(name: str) -> PartWord | None:
    """The part in a file's own name."""
    return part_word(posixpath.splitext(posixpath.basename(name))[0])


def masks_by_name(names: Sequence[str]) -> set[str]:
    """The files that are masks of others by their names: `1_mask.png` beside `1.png`.

    As WebDataset writes them, the other's name may go on too: `1.input.png`, `1_sat.png`.
    """
    if not any(word in name for name in names for word in MASK_WORDS):
        return set()
    stems = {name: posixpath.splitext(name)[0] for name in names}
    matches = {name: MASK_FILE.fullmatch(stem) for name, stem in stems.items()}
    others = {stem for name, stem in stems.items() if not matches[name]}
    others |= {stem[: max(map(stem.rfind, "_-."))] for stem in others if re.search("[-_.]", stem)}
    return {name for name, match in matches.items() if match and match[1] in others}


def refuse_columns(columns: Columns, source_name: str) -> None:
    """InputError when columns are asked of what has no metadata."""
    if columns.image is not None:
        raise InputError(f"{source_name} has no columns", "leave out --image-column")
    if columns.label is not None and columns.labeled and columns.label not in (FIRST, LAST):
        raise InputError(
            f"{source_name} has no columns",
            "leave out --label-column, or give first, last or none: which folder is the class",
        )


def entries_listed(
    names: Sequence[str], tables: Sequence[Table], folders: Folders
) -> tuple[list[Entry], list[Note]]:
    """The images that tables list, and those in folders without a table."""
    there = {**{alike(name): name for name in names}, **{name: name for name in names}}
    entries: dict[str, Entry] = {}
    repeated = 0
    for table in tables:
        for row in table.rows:
            entry = entry_of(row.file_name, row.label, row.part, table, there, folders)
            repeated += entry.name in entries
            entries.setdefault(entry.name, entry)
    beside = [name for name in names if name not in entries]
    outside = [name for name in beside if not any(table.covers(name) for table in tables)]
    for name in outside:
        entries[name] = Entry(name, *folders.place(name)[:2])
    notes = [note for table in tables for note in table.notes]
    if left_out := len(beside) - len(outside):
        notes.append(Note("images_not_listed", {"n": left_out}))
    if repeated:
        notes.append(Note("images_listed_again", {"n": repeated}))
    return sorted(entries.values()), notes


def alike(name: str) -> str:
    """The same for names that some systems do not tell apart."""
    return unicodedata.normalize("NFC", name).casefold()


def entry_of(
    file_name: str,
    label: Label,
    part: PartName | None,
    table: Table,
    there: Mapping[str, str],
    folders: Folders,
) -> Entry:
    """One row's image; the problem says what is wrong with its name, if anything is.

    there: the names of images by themselves and as systems tell them that do not know capitals from
           small letters, or an accent from its letter
    """
    tidy = table.path(file_name)
    if tidy not in there and "\\" in file_name:  # written on Windows
        tidy = table.path(file_name.replace("\\", "/"))
    if re.match(r"[A-Za-z]:|[/\\]", file_name) or tidy.split("/")[0] == "..":
        return Entry(file_name, None, None, "outside the folder")
    tidy = there.get(tidy, there.get(alike(tidy), tidy))
    place = folders.place(tidy)
    problem = None
    if tidy not in there:
        reason = "not there" if is_image(tidy) else "not named as an image"
        problem = f"listed in {posixpath.basename(table.name)} but {reason}"
    own = label if table.labeled else place.label
    return Entry(tidy, part or place.part, own, problem)
