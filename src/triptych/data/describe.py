"""What was done with a source's images, as notes and for `triptych data`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from triptych import files, images
from triptych.data.dataset import ImageData
from triptych.data.store import Ingested, cache_folder
from triptych.options import Fit
from triptych.records import JsonObject, Note, as_json

BAD_SHARE = 0.01  # more bad images than this deserve a warning
BAD_SHOWN = 5  # bad images named in a note; the summary names them all
FAINT_SHARE = 0.5  # more images without contrast deserve a warning
VARIED = 1.1  # shapes vary when the widest is so many times wider for its height
FEW_TEST = 100  # in the test part; with fewer, intervals are wide
FEW_IMAGES = 1000  # in the training part; with fewer, models may learn them by heart
MEASURED = 20_000  # training images that mean and deviation are taken of, at most
CHUNK = 256  # images at a time
COLUMNS = 12
ROWS = 12
TILE = 64  # pixels that an image takes at least


def notes(
    ingested: Ingested, resolution: int, fit: Fit, training: int, test: int
) -> tuple[Note, ...]:
    """What was done with the images that the user should know."""
    notes = [*ingested.notes]
    if ingested.bad:
        notes.append(note_bad(ingested.bad, ingested.files))
    sizes = ingested.sizes
    if sizes.different > 1 or sizes.usual != (resolution, resolution):
        extremes = [sizes.smallest, sizes.largest][: sizes.different]
        original = "..".join(f"{width}x{height}" for width, height in extremes)
        code = {"stretch": "stretched", "crop": "cropped", "pad": "padded"}[fit]
        notes.append(Note(code, {"sizes": original, "resolution": f"{resolution}x{resolution}"}))
    narrowest, widest = sizes.narrowest, sizes.widest
    if fit == "stretch" and widest > VARIED * narrowest:
        notes.append(Note("shapes_distorted", {"narrowest": narrowest, "widest": widest}))
    elif fit == "stretch" and not 1 / VARIED < widest < VARIED:
        notes.append(Note("made_square", {"shape": widest}))
    if ingested.faint > FAINT_SHARE * ingested.files:
        values = {"n": ingested.faint, "files": ingested.files, "most": FAINT_SHARE}
        notes.append(Note("little_contrast", {**values}))
    if ingested.copies:
        notes.append(Note("copies", {"n": ingested.copies}))
    if ingested.crossing:
        notes.append(Note("copies_left_out", {"n": ingested.crossing}))
    if training < FEW_IMAGES:
        notes.append(Note("few_training_images", {"n": training, "least": FEW_IMAGES}))
    if test < FEW_TEST:
        notes.append(Note("few_test_images", {"n": test, "least": FEW_TEST}))
    return tuple(notes)


def note_bad(bad: Sequence[tuple[str, str]], files: int) -> Note:
    """The note on bad images: how many there are, and the first; a warning where they are many."""
    share = len(bad) / files
    listed = "; ".join(": ".join(each) for each in bad[:BAD_SHOWN])
    more = "; ..." if len(bad) > BAD_SHOWN else ""
    note = Note(
        "bad_images", {"n": len(bad), "files": files, "share": share, "images": f"{listed}{more}"}
    )
    if share <= BAD_SHARE:
        return note
    return Note("many_bad_images", {**note.values, "most": BAD_SHARE})


def plan(data: ImageData, given_parts: Sequence[str]) -> list[Note]:
    """What would be done with the data."""
    size = {"resolution": data.shape.resolution}
    kind = Note("plan_grey" if data.shape.channels == 1 else "plan_color", {**size})
    return [
        Note("plan_points") if data.shape.is_point else kind,
        Note("test_given" if "test" in given_parts else "test_picked"),
        Note("validation_given" if "validation" in given_parts else "validation_picked"),
        *([Note("plan_without_labels")] if data.classes is None else []),
    ]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What `triptych data` shows of a data set.

    mean, deviation: of each channel on [0, 1], over `measured` training images
    histogram:       images of each class in all parts; empty without labels
    plan:            what would be done with the data
    """

    data: ImageData
    ingested: Ingested
    mean: list[float]
    deviation: list[float]
    measured: int
    histogram: dict[str, int]
    plan: list[Note]
    contact_sheet_rows: Note

    def to_json(self) -> JsonObject:
        """One flat object: the data's record, then counts and statistics."""
        counts = asdict(self.ingested)
        return {
            **self.data.describe().to_json(),
            **{name: counts[name] for name in ("files", "bad", "copies", "crossing", "sizes")},
            "mean": self.mean,
            "deviation": self.deviation,
            "measured": self.measured,
            "histogram": self.histogram,
            "plan": [as_json(note) for note in self.plan],
            "contact_sheet_rows": as_json(self.contact_sheet_rows),
        }


def summarize(data: ImageData) -> Summary:
    """The summary of data that were read from a source."""
    assert data.ingested is not None
    index = spread(len(data.train), MEASURED)
    mean, deviation = moments(data.train.images, index)
    return Summary(
        data=data,
        ingested=data.ingested,
        mean=[round(value, 4) for value in mean.tolist()],
        deviation=[round(value, 4) for value in deviation.tolist()],
        measured=len(index),
        histogram=histogram(data),
        plan=plan(data, data.ingested.given_parts),
        contact_sheet_rows=sheet_rows(data),
    )


def moments(pixels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel on [0, 1] over some images, float64 [C] each."""
    total = torch.zeros(2, pixels.shape[1], dtype=torch.float64)  # of values, and of their squares
    for start in range(0, len(index), CHUNK):
        rows = index[start : start + CHUNK]
        values = pixels[rows].transpose(0, 1).flatten(1).double().div(images.LEVELS - 1)
        total += torch.stack([values.sum(1), values.square().sum(1)])
    mean, square = total / (len(index) * pixels.shape[2] * pixels.shape[3])
    return mean, (square - mean.square()).clamp(min=0).sqrt()


def histogram(data: ImageData) -> dict[str, int]:
    """Images of each class in all parts; empty where there are no labels."""
    if data.classes is None:
        return {}
    labels = [part.labels for part in (data.train, data.validation, data.test)]
    counts = torch.cat([part for part in labels if part is not None]).bincount(
        minlength=len(data.classes)
    )
    return dict(zip(data.classes, counts.tolist(), strict=True))


def contact_sheet(data: ImageData) -> images.Grid:
    """Training images, twelve a row; a row a class where there are classes (the first twelve)."""
    labels = data.train.labels
    if data.shape.is_point:
        return images.grid(data.train.images)
    if labels is None:
        pictures = data.train.images[spread(len(data.train), ROWS * COLUMNS)]
    else:
        there = labels.bincount().nonzero()[:ROWS, 0]
        rows = [(labels == label).nonzero()[:COLUMNS, 0] for label in there]
        filled = [images.fill_row(data.train.images[row], COLUMNS) for row in rows]
        pictures = torch.cat(filled)
    enlarged = images.enlarge(pictures, max(1, TILE // data.shape.resolution))
    return images.grid(enlarged, COLUMNS)


def contact_sheet_path(data: ImageData) -> Path:
    """The default path of the contact sheet: never among the images themselves."""
    name = files.portable_name(f"data-{data.name}.png")
    if data.path is not None and Path.cwd().is_relative_to(data.path):
        return cache_folder() / "sheets" / name
    return Path("runs") / name


def sheet_rows(data: ImageData) -> Note:
    """A caption for the rows of the contact sheet."""
    if data.shape.is_point:
        return Note("sheet_of_points")
    if data.classes is None or data.train.labels is None:
        return Note("sheet_of_images")
    there = len(data.train.labels.unique())  # type: ignore[no-untyped-call]
    if there <= ROWS:
        return Note("sheet_of_classes")
    return Note("sheet_of_some_classes", {"rows": ROWS, "classes": there})


def spread(count: int, most: int) -> Tensor:
    """Up to `most` indices spread evenly over 0..count-1, int64."""
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).long()
