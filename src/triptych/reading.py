"""The images that a verb works on: opened with a bar, and checked against the run they meet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from triptych.console import QUIET, Console
from triptych.data import open
from triptych.data.dataset import ImageData
from triptych.data.open import DataOptions
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.labels import Labels
from triptych.families.registry import ModelName
from triptych.run import Run

DEFAULT_DATA = "street-digits"


def open_images(
    data: str = DEFAULT_DATA, options: DataOptions | None = None, console: Console = QUIET
) -> ImageData:
    """Images in three parts; see `triptych.data.open.open_images`."""
    with console.bar(f"  preparing {data}") as bar:
        return open.open_images(data, options, lambda done, count: bar.update(done, count))


def tell_notes(data: ImageData, console: Console) -> None:
    """Say what was done with the images, before anything is trained on them."""
    for note in data.notes:
        console.say(f"note: {note}")


def run_data(
    run: Run,
    data: str | ImageData | None,
    options: DataOptions | Mapping[str, Any] | None,
    console: Console,
) -> ImageData:
    """The data to measure a run on: its own unless told otherwise; the shapes must agree.

    options: a mapping changes what it names and leaves the rest as the run was trained
    """
    own, given = run.facts["data"], any_given(options)
    if isinstance(data, ImageData):
        opened = data
    else:
        source = data or own["source"]
        if not isinstance(options, DataOptions):
            options = DataOptions(**own_options(own, source) | dict(options or {}))
        if data is None and own.get("place") and not Path(source).expanduser().exists():
            source = own["place"]  # seen from another folder
        try:
            opened = open_images(source, options, console)
        except InputError as error:
            if data is not None or given:
                raise
            raise InputError(
                f"the run's own data are gone ({error})", "name data by --data"
            ) from error
    if opened.shape.size != run.model.shape.size:
        raise InputError(
            f"{opened.name} is {opened.shape.size}, the run {run.model.shape.size}",
            "measure it on data like its own",
        )
    if data is None and opened.fingerprint != own["fingerprint"]:
        raise InputError(
            f"{own['source']} is not what {run.folder.path} was trained on", "give --data"
        )
    return opened


def labels_to_tell(name: ModelName, data: ImageData) -> Labels:
    """The classes that a conditional model is told; InputError where data or model have none."""
    registry.require_conditional(name)
    if data.classes is None or data.train.labels is None:
        raise InputError(f"{data.name} has no labels", "leave out --conditional")
    return Labels.counted(data.classes, data.train.labels)


def any_given(options: DataOptions | Mapping[str, Any] | None) -> bool:
    """Whether the user asked for anything; False and None stand for nothing."""
    return any(options.values()) if isinstance(options, Mapping) else options is not None


def own_options(own: dict[str, Any], source: str) -> dict[str, Any]:
    """How a run's data were read; the columns belong to its own source alone."""
    columns = ("image_column", "label_column") if source == own["source"] else ()
    return {name: own.get(name) for name in ("resolution", "fit", *columns)}


def data_to_compare(
    data: str | ImageData | None, own: Run | None, options: DataOptions | None, console: Console
) -> ImageData:
    """The data asked for, else those of a finished run, else the embedded ones."""
    if isinstance(data, ImageData):
        return data
    if data is None and own is not None:
        return run_data(own, None, None, console)
    return open_images(data or DEFAULT_DATA, options, console)
