"""Images that Python holds: arrays, tensors, lists, and the data sets of other libraries.

An array is (N,H,W), (N,H,W,C) or (N,C,H,W) with C = 1 or 3, read as a file of it is; of a tensor
the channels come first wherever these can be the channels. A list or a map-style
`torch.utils.data.Dataset` holds images as arrays, tensors or Pillow images, alone, as pairs
(image, label) or as dicts; a Hugging Face `Dataset` is read by its columns. A mapping has one of
these for each part. What is held is identified by a digest of all of it, so the same images are
found again in the cache, under the name `memory:DIGEST`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from triptych.data.decode import ORIENTED
from triptych.data.sources import (
    MEMORY,
    PART_NAMES,
    BadImageError,
    Columns,
    Item,
    Origin,
    PartName,
    Progress,
    Source,
    printable,
)
from triptych.data.sources.layout import (
    IMAGE_NAMES,
    LABEL_NAMES,
    class_of,
    given_name,
    places_of_ones,
    usual,
)
from triptych.data.sources.metadata import labels_from
from triptych.errors import InputError
from triptych.files import kind_of
from triptych.records import Note

Content = np.ndarray | Image.Image | bytes | Path | BadImageError
Label = str | int | None
ROWS = 100  # of a Hugging Face data set, read at once
HEEDED = {"transparency", "icc_profile", *ORIENTED}  # of what Pillow tells of an image
LARGEST = 8  # bytes of a number; longer floats are not the same on every machine
NAME = "images"  # of images that bring no name
HOW = "give (N,H,W), (N,H,W,C) or (N,C,H,W) with C 1 or 3"
NO_RANGE = "no range says which numbers are black and white"
GIVE_RANGE = "give range=(0, 1), or what else they run from and to"


@dataclass(frozen=True)
class Held:
    """What `open_images` was given.

    images:  of one part, or a mapping from the names of parts
    labels:  of `images`, one each, where these bring none
    classes: names of labels that are the numbers 0..K-1
    test:    a part of its own, as `images`
    name:    as the report shows it; what the images call themselves by default
    """

    images: object
    labels: object = None
    classes: Sequence[str] | None = None
    test: object = None
    name: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", printable(self.name or name_of(self.images)))


@dataclass(frozen=True)
class Group:
    """The images of one part, which can be read again and again.

    read:    gives what an item holds, and its label
    classes: the names of labels that are numbers
    """

    count: int
    read: Callable[[], Iterator[tuple[Content, Label]]]
    classes: tuple[str, ...] | None = None
    notes: tuple[Note, ...] = ()


def holds_images(value: object) -> bool:
    """Whether a value is no name of images but may hold them itself."""
    indexed = hasattr(value, "__getitem__") and not isinstance(value, str | bytes)
    return indexed or isinstance(value, Iterator | torch.utils.data.Dataset)


def find_held(held: Held, columns: Columns, ranged: bool, progress: Progress) -> Origin:
    """The origin of images that Python holds, all of which are read for its digest.

    ranged: whether it is known which numbers are black and white
    InputError on what are no images, on floats without a range, and on labels that do not fit.
    """
    name = str(held.name)
    groups = {
        part: group_of(value, held.labels if value is held.images else None, columns, name)
        for part, value in parts_of(held).items()
    }
    classes = classes_of(groups.values(), held.classes)
    count = sum(group.count for group in groups.values())

    def read_all(digest: Any) -> Iterator[Item]:
        digest.update(repr((name, classes)).encode())
        index, kinds = 0, set()
        for part, group in groups.items():
            for content, label in group.read():
                item = Item(f"{name}[{index}]", content, label, part)
                if not ranged and isinstance(content, np.ndarray) and content.dtype.kind == "f":
                    raise InputError(f"{item.name} is {content.dtype}, and {NO_RANGE}", GIVE_RANGE)
                kinds |= {type(label)} - {type(None)}
                if len(kinds) > 1:
                    wrong = f"some labels of {name} are numbers and some are text"
                    raise InputError(wrong, "give all as one kind")
                add_to_digest(digest, item)
                yield item
                index += 1

    first = new_digest()
    for done, _ in enumerate(read_all(first), start=1):
        progress(done, count)
    identity = first.hexdigest()

    def items() -> Iterator[Item]:
        digest = new_digest()
        yield from read_all(digest)
        if digest.hexdigest() != identity:
            raise InputError(
                f"{name} gives other images each time it is read",
                "leave random transforms out; flip and crop vary the training images",
            )

    notes = tuple(note for group in groups.values() for note in group.notes)
    names = None if classes is None else tuple(map(given_name, classes))
    source = Source(items, count, names, notes)
    return Origin(name, {MEMORY: identity}, lambda progress: source)


def find_again(data: str) -> Origin:
    """The origin of images that Python held once, by the name that they were given."""

    def gone(progress: Progress) -> Source:
        raise InputError(
            "the images were in Python's memory and are no longer in the cache",
            "open them again by triptych.open_images, or name other data",
        )

    return Origin(data, {MEMORY: data.removeprefix(MEMORY)}, gone)


new_digest = partial(hashlib.blake2b, digest_size=16)


def add_to_digest(digest: Any, item: Item) -> None:
    """Add all that an item depends on."""
    content = item.content
    head: tuple[object, ...] = (item.part, item.label, type(content).__name__)
    body: Any = b""
    if isinstance(content, np.ndarray):
        head += (content.dtype.str, content.shape)
        body = np.ascontiguousarray(content).data
    elif isinstance(content, Image.Image):
        more = {key: repr(content.info.get(key)) for key in sorted(HEEDED)}
        colors = content.palette and (content.palette.mode, bytes(content.palette.palette))
        head += (content.mode, content.size, colors, more)
        body = content.tobytes()
    elif isinstance(content, bytes):
        body = content
    elif isinstance(content, Path):
        head += (str(content),)
        with suppress(OSError):  # what is gone is a bad image when it is read
            status = content.stat()
            head += (status.st_size, status.st_mtime_ns)
    digest.update(repr(head).encode())
    digest.update(body)


def name_of(images: object) -> str:
    """What the images call themselves, or else NAME."""
    if isinstance(images, Mapping):
        return name_of(next(iter(images.values()), None))
    if is_hugging_face(images):
        return str(images.info.dataset_name or NAME)  # type: ignore[attr-defined]
    plain = type(images) in (torch.utils.data.TensorDataset, torch.utils.data.Subset)
    if isinstance(images, torch.utils.data.Dataset) and not plain:
        return type(images).__name__
    return NAME


# Parts, classes


def parts_of(held: Held) -> dict[PartName | None, object]:
    """The images of each part; a part alone is none."""
    parts: dict[PartName | None, object] = {"train": held.images}
    if isinstance(held.images, Mapping):
        parts = {}
        for key, value in held.images.items():
            part = PART_NAMES.get(str(key).lower())
            if part is None or part in parts:
                raise InputError(
                    f"'{printable(str(key))}' names no part, or one named before",
                    "give {'train': ..., 'test': ...}, and 'validation' where there is one",
                )
            parts[part] = value
        if held.labels is not None:
            raise InputError(
                "labels belong to the images of one part", "give {'train': (images, labels), ...}"
            )
    if held.test is not None:
        if "test" in parts:
            raise InputError("there are two test parts", "leave out test=")
        parts["test"] = held.test
    if not parts:
        raise InputError("there is no part with images", "give {'train': ..., 'test': ...}")
    return parts if len(parts) > 1 else {None: next(iter(parts.values()))}


def classes_of(groups: Iterable[Group], given: Sequence[str] | None) -> tuple[str, ...] | None:
    """The names of the classes: those given, else what the images bring along."""
    if given is not None:
        if isinstance(given, str) or not all(isinstance(each, str) for each in given):
            raise InputError("classes are no list of texts", "give the names of 0, 1, ... in order")
        return tuple(map(printable, given))
    own = {group.classes for group in groups if group.classes is not None}
    if len(own) > 1:
        raise InputError("the parts name their classes differently", "give classes=[...]")
    return next(iter(own), None)


# What holds the images of a part


def group_of(value: object, labels: object, columns: Columns, name: str) -> Group:
    """The images of one part, with labels from beside them or with each of them."""
    if isinstance(value, tuple) and len(value) == 2:
        if labels is not None:
            raise InputError("labels are given twice", "leave out labels=")
        value, labels = value
    given = None if labels is None else label_list(labels, name)
    if isinstance(value, np.ndarray | Tensor):
        group = group_of_stack(as_stack(value, name))
    elif is_hugging_face(value):
        group = group_of_rows(value, columns, name, labeled=given is None)
    else:
        group = group_of_items(value, columns, name)
    if group.count == 0:
        raise InputError(f"there are no images in {name}", "give some")
    if given is None:
        return group
    if len(given) != group.count:
        wrong = f"{group.count} images and {len(given)} labels in {name}"
        raise InputError(wrong, "give one label an image")
    own = group.read

    def read() -> Iterator[tuple[Content, Label]]:
        for (content, _), label in zip(own(), given, strict=True):
            yield content, label

    return replace(group, read=read)


def group_of_stack(stack: np.ndarray) -> Group:
    """The images of an array (N,H,W) or (N,H,W,3), each in memory of its own."""

    def read() -> Iterator[tuple[Content, Label]]:
        for image in stack:
            yield np.ascontiguousarray(image), None

    return Group(len(stack), read)


def group_of_items(value: Any, columns: Columns, name: str) -> Group:
    """What can be counted and indexed: a list, or a map-style data set."""
    if not hasattr(value, "__len__") or not hasattr(value, "__getitem__"):
        raise InputError(
            f"{name} cannot be counted and read twice, as {kind_of(value)} is not",
            "give a list of the images",
        )

    def read() -> Iterator[tuple[Content, Label]]:
        for index in range(len(value)):
            yield fields_of(value[index], columns, f"{name}[{index}]")

    own: Any = getattr(value, "classes", None)  # as torchvision's data sets name them
    named = isinstance(own, list | tuple) and all(isinstance(each, str) for each in own)
    return Group(len(value), read, tuple(map(printable, own)) if named else None)


def fields_of(item: Any, columns: Columns, name: str) -> tuple[Content, Label]:
    """The image and the label of an item: an image alone, a pair, or a dict."""
    image, label = item, None
    if isinstance(item, Mapping):
        keys = [str(key) for key in item]
        image_key = columns.image or usual(keys, IMAGE_NAMES)
        label_key = (columns.label or usual(keys, LABEL_NAMES)) if columns.labeled else None
        if image_key not in item:
            raise no_field(item, "image_column", name)
        if columns.labeled and columns.label and columns.label not in item:
            raise no_field(item, "label_column", name)
        image, label = item[image_key], item.get(label_key)
    elif is_pair(item):
        image, label = item[0], item[1] if len(item) == 2 else None
    return as_content(image, name), as_label(label, name) if columns.labeled else None


def no_field(item: Mapping[Any, Any], option: str, name: str) -> InputError:
    """The error that an item that is a dict does not have what was asked for, or is usual."""
    keys = printable(", ".join(map(str, item)))
    return InputError(f"{name} holds {keys}", f"name one of them by {option}=")


def is_pair(item: object) -> bool:
    """Whether an item is an image with its label, or in a tuple alone, and no rows of numbers."""
    if not isinstance(item, tuple | list) or len(item) not in (1, 2):
        return False
    return isinstance(item, tuple) or isinstance(item[0], np.ndarray | Tensor | Image.Image)


def as_content(value: object, name: str) -> Content:
    """An image as items hold it; InputError where it is none."""
    if isinstance(value, Image.Image):
        try:
            return value.copy()  # loaded, and as nobody changes it meanwhile
        except Exception as error:  # of a file that is read only now
            return BadImageError(f"damaged ({error})")
    if isinstance(value, list | tuple):
        try:
            value = np.asarray(value)
        except ValueError:
            raise InputError(f"{name} has rows of different lengths", "make them alike") from None
    if isinstance(value, np.ndarray | Tensor) and value.ndim in (2, 3):
        return np.ascontiguousarray(as_stack(value[None], name)[0])
    shape = f" of shape {tuple(value.shape)}" if isinstance(value, np.ndarray | Tensor) else ""
    raise InputError(
        f"{name} is no image but {kind_of(value)}{shape}",
        "give (H,W), (H,W,C) or (C,H,W) with C 1 or 3, or Pillow images",
    )


# Hugging Face


def is_hugging_face(value: object) -> bool:
    """Whether it is a `datasets.Dataset` whose rows are as they are stored."""
    module = sys.modules.get("datasets.arrow_dataset")  # who holds one has loaded it
    return (
        module is not None
        and isinstance(value, module.Dataset)
        and (
            value.format["type"] != "custom"  # a transform of the user's
        )
    )


def group_of_rows(value: Any, columns: Columns, name: str, labeled: bool) -> Group:
    """The rows of a Hugging Face data set; encoded images stay as they are stored."""
    import datasets

    features = value.features
    image = columns.image or image_feature(features, name)
    for column in filter(None, (image, columns.label if columns.labeled else None)):
        if column not in features:
            raise InputError(f"no column '{column}' in {name}", f"there are {', '.join(features)}")
    label = label_feature(features, image, columns) if columns.labeled and labeled else None
    encoded = isinstance(features[image], datasets.Image)
    rows = value.with_format(None).select_columns([image, label] if label else [image])
    if encoded:
        rows = rows.cast_column(image, datasets.Image(decode=False))

    def read() -> Iterator[tuple[Content, Label]]:
        index = 0
        for batch in rows.iter(batch_size=ROWS):
            for row, cell in enumerate(batch[image]):
                where = f"{name}[{index}]"
                content = stored_file(cell) if encoded else as_content(cell, where)
                yield content, as_label(batch[label][row], where) if label else None
                index += 1

    own = features.get(label) if label else None
    names = own.names if isinstance(own, datasets.ClassLabel) else None
    notes = (labels_from(label, name),) if label else ()
    return Group(len(value), read, tuple(map(printable, names)) if names else None, notes)


def image_feature(features: Mapping[str, Any], name: str) -> str:
    """The only column of images, or the one of a usual name."""
    import datasets

    images = [key for key, kind in features.items() if isinstance(kind, datasets.Image)]
    column = images[0] if len(images) == 1 else usual(images or features, IMAGE_NAMES)
    if column is None:
        raise InputError(
            f"which column of {name} has the images is not clear",
            f"name one by image_column=: {', '.join(images or features)}",
        )
    return column


def label_feature(features: Mapping[str, Any], image: str, columns: Columns) -> str | None:
    """The column asked for, else the only one of classes, else one of a usual name."""
    import datasets

    if columns.label:
        return columns.label
    classes = [key for key, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    if len(classes) == 1:
        return classes[0]
    kinds = ("string", "bool", "int", "uint")
    plain = [
        key
        for key, kind in features.items()
        if key != image and str(getattr(kind, "dtype", "")).startswith(kinds)
    ]
    return usual(classes or plain, LABEL_NAMES)


def stored_file(cell: Any) -> Content:
    """The bytes of an image that is stored encoded, in the table or in a file beside it."""
    if cell is None:
        return BadImageError("the row holds no image")
    return Path(cell["path"]) if cell["bytes"] is None else bytes(cell["bytes"])


# Numbers and labels of other libraries


def as_stack(value: object, name: str) -> np.ndarray:
    """Images (N,H,W) or (N,H,W,3) of an array or tensor; InputError where it is none of images."""
    first = isinstance(value, Tensor)
    if isinstance(value, Tensor):
        tensor = value.detach().cpu()
        value = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        held = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else kind_of(value)
        raise InputError(f"{name} are not images but {held}", "give uint8 images")
    if value.dtype.itemsize > LARGEST:
        raise InputError(f"{name} are {value.dtype}", "give float64: x.astype(float)")
    shape = value.shape
    last = len(shape) == 4 and shape[3] in (1, 3)
    before = len(shape) == 4 and shape[1] in (1, 3)
    if before and (first or not last):
        value = np.moveaxis(value, 1, -1)
    elif not last and (len(shape) != 3 or shape[2] in (1, 3, 4)):
        raise InputError(f"{name} are of shape {shape}", HOW)
    if value.dtype == np.bool_:
        value = value.astype(np.uint8) * 255
    return value[..., 0] if value.ndim == 4 and value.shape[3] == 1 else value


def label_list(labels: object, name: str) -> list[Label]:
    """Names or whole numbers of classes, of one-hot rows too; InputError on anything else."""
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu().numpy()
    if isinstance(labels, np.ndarray) and labels.ndim == 2:
        labels = places_of_ones(labels) or labels
    values = labels.tolist() if isinstance(labels, np.ndarray) else labels
    if not isinstance(values, Iterable) or isinstance(values, str):
        raise InputError(f"the labels of {name} are {kind_of(labels)}", "give a list of them")
    return [as_label(label, name) for label in values]


def as_label(label: object, name: str) -> Label:
    """A class by name or number, None where it is missing; InputError on anything else."""
    if isinstance(label, np.generic) or (
        isinstance(label, Tensor | np.ndarray) and label.ndim == 0
    ):
        label = label.item()
    if label is None:
        return None
    if isinstance(label, str):
        return class_of(label)
    if isinstance(label, int | Integral) or (isinstance(label, float) and label.is_integer()):
        return int(label)
    raise InputError(
        f"a label of {name} is {kind_of(label)}",
        "give names of classes, or numbers; label_column='none' leaves labels out",
    )
