"""The names by which images and labels are known in tables and array files, and class names.

Names are compared in small letters; the first in the tuple that is there counts.
"""

from __future__ import annotations

from collections.abc import Iterable

from triptych.data.sources.layout import class_name

IMAGE_NAMES = (
    "image", "images", "img", "imgs", "x", "bytes",
    "photo", "picture", "pixels", "pixel", "jpg", "data",
)  # fmt: skip
LABEL_NAMES = (
    "label", "labels", "class", "target", "targets", "digit", "fine_label", "category", "y",
)  # fmt: skip
NO_CLASSES = "labels left out, for they are no whole numbers or names"  # begins a note


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
