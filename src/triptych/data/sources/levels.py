"""Which level of folders is the part, and which the class.

A part's name counts where another part's is beside it (`train` and `test`): alone it is a class
like others (`valid` and `invalid`). Of what remains, the first folder is the class, as
torchvision's ImageFolder has it, and a folder that holds everything says nothing.

A folder is a tuple of names, from the top downwards; `()` is the top itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import NamedTuple

from triptych.data.sources import PART_NAMES, PartName, printable
from triptych.data.sources.layout import abridged
from triptych.records import Note

Folder = tuple[str, ...]

# words beside a part's name that tell nothing: training_set, x_train, test_images
NEUTRAL = {
    "set", "sets", "data", "dataset", "datasets", "split", "splits", "part", "subset", "partial",
    "x", "image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "sample",
    "samples",
}  # fmt: skip
GLUED = ("dataset", "set", "data", "images", "imgs", "img", "x")  # trainset, testdata, xtrain
HELD_OUT: tuple[PartName, ...] = ("test", "validation")  # of two parts, the one named first counts
IMAGES = {
    "image", "images", "img", "imgs", "jpegimages", "photos", "pictures", "img_dir", "leftimg8bit",
}  # fmt: skip
MASKS = {
    "mask", "masks", "label", "labels", "annotation", "annotations", "ann", "anns", "ann_dir",
    "segmentation", "segmentations", "segmentationclass", "segmentationobject", "seg", "segs",
    "groundtruth", "ground_truth", "gt", "gts", "gtfine", "gtcoarse", "trimaps",
}  # fmt: skip
DESCRIBING = {
    "mask", "masks", "label", "labels", "annotation", "annotations", "segmentation",
    "segmentations", "groundtruth",
}  # fmt: skip
STORAGE = re.compile(r"\d{4,}")  # 00000, 00001, ...: what StyleGAN's tools call their folders


class PartWord(NamedTuple):
    """The part that a folder's name holds, and what else it tells."""

    part: PartName
    rest: Folder


@cache
def part_word(name: str) -> PartWord | None:
    """The part in a folder's name, and the other words that are not neutral; None for none.

    >>> part_word("x_train"), part_word("digits-test"), part_word("val2"), part_word("invalid")
    (PartWord(part='train', rest=()), PartWord(part='test', rest=('digits',)), \
PartWord(part='validation', rest=()), None)
    """
    composed = unicodedata.normalize("NFC", name)  # a Mac writes accents as letters of their own
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", composed).lower()  # TrainSet
    words = re.findall(r"[^\W\d_]+", spaced)
    parts = {PART_NAMES[unglued(word)] for word in words if unglued(word) in PART_NAMES}
    if len(parts) != 1 or not DESCRIBING.isdisjoint(words):  # train_masks is no part of train
        return None
    rest = (word for word in words if unglued(word) not in PART_NAMES and word not in NEUTRAL)
    return PartWord(parts.pop(), tuple(rest))


def unglued(word: str) -> str:
    """A part's name without `set` and the like at its end or start.

    >>> unglued("trainset"), unglued("xtest"), unglued("asset")
    ('train', 'test', 'asset')
    """
    bare = (bared for end in GLUED for bared in (word.removesuffix(end), word.removeprefix(end)))
    return next((start for start in bare if start in PART_NAMES), word)


def is_part(name: str) -> bool:
    """Whether a folder's name tells a part and nothing else.

    >>> is_part("Test"), is_part("training_set"), is_part("test_tubes")
    (True, True, False)
    """
    word = part_word(name)
    return word is not None and not word.rest


def common_top(names: Iterable[str]) -> str:
    """The folder, with its slash, that holds all the names and neither is nor lies in a part.

    >>> common_top(["x/digits/train/1.png", "x/digits/test/1.png"]), common_top(["train/1.png"])
    ('x/digits/', '')
    """
    folders = [folder.split("/") for folder in {name.rpartition("/")[0] for name in names}]
    top = ""
    # what the first and the last of sorted names share is shared by all between
    for one, other in zip(min(folders, default=[]), max(folders, default=[]), strict=False):
        if one != other or not one or is_part(one):
            break
        top += f"{one}/"
    return top


@dataclass(frozen=True)
class Levels:
    """What the folders of a source are, each without what says nothing.

    parts:    the part of each folder that is in one
    classes:  the folders of each that are left: the first one is the class, if there is one
    beside:   folders left out beside a part train, for they name no part: where each lies
    masks:    folders left out beside those of images: masks, labels; where each lies
    storage:  folders passed over because their names are numbers of storage
    wrappers: folders passed over because they hold everything of a part
    named:    the names of the folders that are parts
    """

    parts: dict[Folder, PartName]
    classes: dict[Folder, Folder]
    beside: dict[Folder, Folder]
    masks: dict[Folder, Folder]
    storage: frozenset[str]
    wrappers: frozenset[str]
    named: dict[PartName, frozenset[str]]


def find_levels(counts: Mapping[Folder, int], storage: bool = True) -> Levels:
    """The part and the class of folders that hold so many images themselves.

    storage: whether folders may be storage, whose numbers are no classes
    """
    tree = Tree(counts)
    beside = {f: top for f in counts if (top := tree.beside(f)) is not None}
    masks = {f: top for f in counts if (top := tree.masks(f)) is not None and f not in beside}
    parts: dict[Folder, PartName] = {}
    classes: dict[Folder, Folder] = {}
    named: defaultdict[PartName, set[str]] = defaultdict(set)
    for folder in counts:
        if folder in beside or folder in masks:
            continue
        by_depth = {
            depth: part for depth in range(len(folder)) if (part := tree.part(folder, depth))
        }
        for depth, part in by_depth.items():
            named[part].add(folder[depth])
        if by_depth:  # a test folder inside of a train folder is for the test
            held_out = (part for part in HELD_OUT if part in by_depth.values())
            parts[folder] = next(held_out, "train")
        classes[folder] = tuple(
            name if depth not in by_depth else tree.domain(folder, depth)
            for depth, name in enumerate(folder)
            if depth not in by_depth or tree.domain(folder, depth)
        )
    groups: defaultdict[PartName, list[Folder]] = defaultdict(list)
    for folder in classes:  # what is in no part is for training too
        groups[parts.get(folder, "train")].append(folder)
    wrappers = strip_wrappers(list(groups.values()), classes)
    numbers: set[str] = set()
    if storage:
        numbers.update(*(strip_storage(group, classes, counts) for group in groups.values()))
    return Levels(
        parts=parts,
        classes=classes,
        beside=beside,
        masks=masks,
        storage=frozenset(numbers),
        wrappers=frozenset(wrappers),
        named={part: frozenset(names) for part, names in named.items()},
    )


def parts_from(named: Mapping[PartName, Iterable[str]]) -> Note:
    """The note on the names by which folders, files or arrays are parts."""
    order: tuple[PartName, ...] = ("train", "validation", "test")
    parts = [
        f"{part}: {abridged(list(map(printable, sorted(named[part]))))}"
        for part in order
        if part in named
    ]
    return Note("parts_from_names", {"parts": "; ".join(parts)})


class Tree:
    """Folders with the names below each, and which of these are parts."""

    def __init__(self, folders: Iterable[Folder]) -> None:
        self.filled = set(folders)
        self.below: defaultdict[Folder, set[str]] = defaultdict(set)
        for folder in self.filled:
            for depth, name in enumerate(folder):
                self.below[folder[:depth]].add(name)
        self.rests: defaultdict[int, set[Folder]] = defaultdict(set)  # by depth: of part names
        at_depth: defaultdict[int, set[str]] = defaultdict(set)
        for parent, names in self.below.items():
            self.rests[len(parent)] |= rests_of_parts(names)
            at_depth[len(parent)] |= names
        for depth, names in at_depth.items():  # cat/train, dog/test
            if all(map(part_word, names)):
                self.rests[depth] |= rests_of_parts(names)
        self.domains = {
            depth for depth, names in at_depth.items() if self.tell_domains(names, depth)
        }
        self.alone = {
            (*parent, name)
            for parent, names in self.below.items()
            for name in names
            if self.is_part_alone(parent, name)
        }
        self.above_train = {
            parent
            for parent, names in self.below.items()
            if any(self.part((*parent, name), len(parent)) == "train" for name in names)
        }
        self.masked = {
            parent for parent, names in self.below.items() if self.has_masks(parent, names)
        }

    def part(self, folder: Folder, depth: int) -> PartName | None:
        """The part that the name at a depth is, if it is one."""
        word = part_word(folder[depth])
        if word is None:
            return None
        counts = word.rest in self.rests[depth] or folder[: depth + 1] in self.alone
        return word.part if counts else None

    def domain(self, folder: Folder, depth: int) -> str:
        """What a part's name tells besides the part, where that tells several wholes apart.

        As in trainA, testA, trainB, testB; else nothing.
        """
        word = part_word(folder[depth])
        return " ".join(word.rest) if word and depth in self.domains else ""

    def tell_domains(self, names: Collection[str], depth: int) -> bool:
        """Whether the training parts among these names are told apart by the rest of the name."""
        words = {word for name in names if (word := part_word(name))}
        beside_others = self.rests[depth]
        rests = {word.rest for word in words if word.part == "train" and word.rest in beside_others}
        return len(rests) > 1 and () not in rests

    def is_part_alone(self, parent: Folder, name: str) -> bool:
        """Whether a part's name without another part's beside it is a part by what lies below.

        It holds the same folders as those beside it (test/cat, more/cat), or folders of their
        names (cat, test/cat); or folders where they hold none, or none where they hold some (a
        heap of test images beside classes' folders). Where only pictures, or folders of neutral
        names, are beside it, it is one too, and so is a held-out part all alone.
        """
        word = part_word(name)
        if word is None or word.rest:
            return False
        others = self.below[parent] - {name}
        if not others:
            held_out = word.part != "train" and not any(map(part_word, parent))
            return held_out or parent in self.filled
        own = self.below.get((*parent, name), set())
        theirs = [self.below.get((*parent, other), set()) for other in others]
        if own & others.union(*theirs):
            return True
        if all(is_neutral(other) for other in others):
            return True
        if word.part == "train":
            return bool(own) and not any(theirs)
        return not own and all(theirs)

    def beside(self, folder: Folder) -> Folder | None:
        """The folder beside a part train, without being a part, that this one is or lies in."""
        for depth in range(len(folder) + 1):
            outside = depth == len(folder) or self.part(folder, depth) is None
            if folder[:depth] in self.above_train and outside:
                return folder[: depth + 1]
        return None

    def masks(self, folder: Folder) -> Folder | None:
        """The folder beside one of images, or beside images, that is one of masks and the like.

        Where images and masks stand side by side, all but the images describe these.
        """
        for depth, name in enumerate(folder):
            if folder[:depth] in self.masked and name.lower() not in IMAGES:
                return folder[: depth + 1]
        return None

    def has_masks(self, parent: Folder, names: Collection[str]) -> bool:
        """Whether masks and the like stand among these names, beside images or a folder of them."""
        lowered = {name.lower() for name in names}
        described = lowered & IMAGES or (parent in self.filled and lowered <= MASKS)
        return bool(described and lowered & MASKS)


def is_neutral(name: str) -> bool:
    """Whether a folder's name says nothing of what is in it: images, data."""
    return name.lower() in NEUTRAL or name.lower() in IMAGES


def rests_of_parts(names: Collection[str]) -> set[Folder]:
    """What else is in the names of folders that are parts of one whole, by standing together.

    Two different parts, of names that differ in nothing else, or one of which is train and one a
    part's name alone; or train and others, and nothing else stands there.
    """
    words = {word for name in names if (word := part_word(name))}
    parts = {word.part for word in words}
    if len(parts) > 1 and "train" in parts and all(map(part_word, names)):
        return {word.rest for word in words}
    rests: set[Folder] = set()
    for one, other in combinations(words, 2):
        bare = not one.rest or not other.rest
        if one.part != other.part and (
            one.rest == other.rest or (bare and "train" in (one.part, other.part))
        ):
            rests |= {one.rest, other.rest}
    return rests


def firsts(group: Iterable[Folder], classes: Mapping[Folder, Folder]) -> set[str | None]:
    """The first of the folders that are left of each; None where none is."""
    return {next(iter(classes[folder]), None) for folder in group}


def strip_wrappers(groups: list[list[Folder]], classes: dict[Folder, Folder]) -> set[str]:
    """Take away folders that hold everything of a part; returns their names.

    One that is a class among others in another part is that class here, so those with folders
    below them go first.
    """
    wrappers: set[str] = set()
    while True:
        tops = [firsts(group, classes) for group in groups]
        several = {name for top in tops if len(top) > 1 for name in top} | {None}
        holding = [
            group
            for group, top in zip(groups, tops, strict=True)
            if len(top) == 1 and not top <= several
        ]
        deep = [group for group in holding if all(len(classes[folder]) > 1 for folder in group)]
        if not holding:
            return wrappers
        for group in deep or holding:
            for folder in group:
                wrappers.add(classes[folder][0])
                classes[folder] = classes[folder][1:]


def strip_storage(
    group: list[Folder], classes: dict[Folder, Folder], counts: Mapping[Folder, int]
) -> set[str]:
    """Take away folders whose names are numbers from 0 on and whose sizes are equal.

    The last one may hold less. Returns their names.
    """
    sizes: Counter[str] = Counter()
    for folder in group:
        if not classes[folder] or not STORAGE.fullmatch(classes[folder][0]):
            return set()
        sizes[classes[folder][0]] += counts[folder]
    ordered = sorted(sizes, key=int)
    *full, last = [sizes[name] for name in ordered] or [0]
    numbers = [int(name) for name in ordered]
    step = numbers[1] if len(numbers) > 1 else 1  # some count their images
    in_order = step > 0 and numbers == list(range(0, step * len(numbers), step))
    if not in_order or len(set(full)) != 1 or last > full[0]:
        return set()
    for folder in group:
        classes[folder] = classes[folder][1:]
    return set(ordered)
