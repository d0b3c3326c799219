"""From what the user wrote after `--data` to images in three parts."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from triptych.console import QUIET, Console
from triptych.data import describe, ingest, points, splits, store
from triptych.data.augment import Augment
from triptych.data.dataset import ImageData, Part
from triptych.data.decode import reads_avif
from triptych.data.ingest import Reading
from triptych.data.ranges import Bounds
from triptych.data.sources import MEMORY, Columns, Origin, Progress, printable
from triptych.data.sources.find import NAMES, find_origin
from triptych.data.sources.memory import Held, find_held
from triptych.errors import InputError
from triptych.options import (
    DEFAULT_DATA,
    DEFAULT_FIT,
    DEFAULT_RESOLUTION,
    DataOptions,
    ReadingOptions,
    as_data,
    parse_range,
)
from triptych.records import Note
from triptych.words import english

VERSION = 6  # raised whenever the same source would give other pixels or parts


def open_images(
    data: str | os.PathLike[str] | Held = DEFAULT_DATA,
    options: ReadingOptions | None = None,
    console: Console = QUIET,
) -> ImageData:
    """Images of a named set, a Hub data set, a path or Python's memory, each in three parts.

    They are decoded once and kept in the user's cache. Points of the plane, of a CSV file, are
    images of one pixel: `points.open_points`.

    Raises InputError when there is nothing to read, or too little.
    """
    options = options or ReadingOptions()
    if not isinstance(data, Held):
        data = as_data(data)
        if points.is_points(data):
            return points.open_points(data, options)
        alike = folder_named_alike(data)
        if alike is not None:
            console.say(f"note: {english(alike)}")  # before anything is fetched
    resolution, fit = options.resolution or DEFAULT_RESOLUTION, options.fit or DEFAULT_FIT
    columns = Columns(options.image_column, options.label_column)
    with console.bar(f"  preparing {data if isinstance(data, str) else data.name}") as bar:
        if isinstance(data, Held):
            origin = find_held(data, columns, options.range is not None, bar.update)
        else:
            origin = find_origin(data, columns)
        key = store.entry_key(
            {
                "version": VERSION,
                "resolution": resolution,
                "fit": fit,
                "range": options.range,
                "origin": origin.identity,
                **({} if reads_avif() else {"avif": False}),  # a newer Pillow reads them
            }
        )
        reading = Reading(resolution, fit, given_range(options))
        arrays, ingested = usable(key, origin, reading, bar.update) or make_entry(
            key, origin, reading, bar.update
        )
    if ingested.bad and options.strict:
        first = ": ".join(ingested.bad[0])
        raise InputError(f"{len(ingested.bad)} bad images, first {first}", "mend or remove them")
    source = data if isinstance(data, str) else f"{MEMORY}{origin.identity[MEMORY]}"
    return assemble(source, options, origin, arrays, ingested)


def check_read_as(data: ImageData, asked: ReadingOptions) -> None:
    """InputError where images that are open already were not read as is asked for now."""
    own = {
        "resolution": data.shape.resolution,
        "fit": data.fit,
        "image_column": data.image_column,
        "label_column": data.label_column,
        "range": data.range,
        "flip": data.augment.flip,
        "crop": data.augment.crop,
    }
    for name, value in own.items():
        wanted = getattr(asked, name, None)  # some verbs neither flip nor crop
        if wanted and wanted != value:
            raise InputError(
                f"{name} is {wanted}, but {data.name} is open already, with {value}",
                f"give {name} to triptych.open_images",
            )


def usable(key: str, origin: Origin, reading: Reading, progress: Progress) -> store.Entry | None:
    """The entry; None where an item can be read now that was unreadable when it was made."""
    entry = store.load(key)
    if entry is None or not entry[1].unread:
        return entry
    names = entry[1].to_retry
    return None if ingest.any_readable(origin.read(progress), names, reading) else entry


def given_range(options: ReadingOptions) -> Bounds | None:
    """The range that the user gave, if any."""
    return None if options.range is None else parse_range(options.range)


def make_entry(key: str, origin: Origin, reading: Reading, progress: Progress) -> store.Entry:
    """Prepare an origin's images, unless another process did so while we waited for it.

    What the system refuses while they are read becomes an InputError that names the source.
    """
    with store.preparing(key) as aside:
        entry = usable(key, origin, reading, progress)
        if entry is None:
            try:
                source = origin.read(progress)
                ingested = ingest.gather(source, origin.name, reading, aside, progress)
            except OSError as error:
                culprit = printable(str(error.filename or origin.name))
                reason = error.strerror or error
                raise InputError(f"cannot read {culprit} ({reason})", "check it") from error
            store.publish(key, aside, ingested)
            entry = store.load(key)
    if entry is None:
        raise InputError(
            f"what was just written to {store.data_folder()} is gone",
            "name another folder in TRIPTYCH_CACHE",
        )
    return entry


def assemble(
    data: str,
    options: ReadingOptions,
    origin: Origin,
    arrays: dict[str, np.ndarray],
    ingested: store.Ingested,
) -> ImageData:
    """The stored arrays, which are sorted by part, as three parts."""
    ends = np.searchsorted(arrays["parts"], range(len(splits.PARTS)), side="right").tolist()

    def part(name: str) -> Part:
        number = splits.PARTS.index(name)
        rows = slice(ends[number - 1] if number else 0, ends[number])
        labels = torch.from_numpy(arrays["labels"][rows]) if ingested.classes else None
        return Part(torch.from_numpy(arrays["images"][rows]), labels)

    train, test = part("train"), part("test")
    path = str(origin.identity.get("source", ""))
    resolution, fit = train.images.shape[-1], options.fit or DEFAULT_FIT
    notes = describe.notes(ingested, resolution, fit, len(train), len(test))
    if alike := folder_named_alike(data):
        notes = (alike, *notes)
    varied = options if isinstance(options, DataOptions) else DataOptions()
    return ImageData(
        name=ingested.name,
        source=data,
        path=path if Path(path).is_absolute() else None,
        fingerprint=ingested.content[: store.FINGERPRINT_DIGITS],
        fit=fit,
        classes=ingested.classes,
        notes=notes,
        train=train,
        validation=part("validation"),
        test=test,
        image_column=options.image_column,
        label_column=options.label_column,
        range=options.range,
        ranges=ingested.ranges,
        augment=Augment(flip=varied.flip, crop=varied.crop),
        ingested=ingested,
    )


def folder_named_alike(data: str) -> Note | None:
    """The note that a named set is read and not the file or folder of the same name, if any."""
    if data not in NAMES or not Path(data).exists():
        return None
    return Note("folder_named_alike", {"name": data, "path": f"./{data}"})


def tell_notes(data: ImageData, console: Console) -> None:
    """Say what was done with the images, before anything is trained on them."""
    for note in data.notes:
        if note.code == "folder_named_alike":  # said when they were opened
            continue
        console.say(f"note: {english(note)}")
