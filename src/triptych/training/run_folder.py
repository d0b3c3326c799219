"""The folder of one trained model: its files, and loading them back with nothing unverified.

One process at a time trains into it. The system itself drops the lock of a process that ends,
however it ends, so a stale one blocks nobody. What the file beside it says is only for the message
to the second process.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout
from safetensors.torch import save
from torch import Tensor

from triptych import config, files
from triptych.config import ImageShape
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.labels import Labels
from triptych.families.protocol import GenerativeModel
from triptych.families.registry import ModelName
from triptych.records import SCHEMA, JsonObject, RunRecord, read_record, with_new_names
from triptych.training import checkpoint, tensorfile
from triptych.training.log import LOG
from triptych.training.tensorfile import Entry

WEIGHTS = "model.safetensors"
RUNS = Path("runs")  # where runs and comparisons go that no folder is named for
MOST_NUMBER = 10**6  # in the settings of a model: widths, depths, steps
MOST_RESOLUTION = 1024
LOCK, HOLDER = ".lock", ".holder.json"
MOST_HOLDER = 4096  # bytes


class HeldError(InputError):
    """Another process trains into the folder."""


class RunFolder:
    """Paths inside a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_json = path / "run.json"
        self.weights = path / WEIGHTS
        self.checkpoints = path / "checkpoints"
        self.snapshots = path / "snapshots"
        self.averages = path / "averages"
        self.log = path / LOG
        self.samples = path / "samples"
        self.figures = path / "figures"
        self.results = path / "results.json"

    def read(self) -> RunRecord:
        """run.json; InputError when this is no run or one of another version."""
        if not self.path.is_dir():
            raise InputError(f"no run folder {self.path}", "name one that `triptych train` made")
        values = files.read_json(self.run_json, "name a folder that `triptych train` made")
        return read_record(RunRecord, values, self.run_json, "train the model again")

    def write(self, record: RunRecord) -> None:
        """run.json, so that a crash leaves the old one or the new one."""
        files.write_json(self.run_json, record.to_json())

    def pictures(self) -> list[Path]:
        """The grids of samples that training has drawn so far, by images seen."""
        return [path for _, path in files.numbered(self.samples, ".png")]

    def is_run(self) -> bool:
        """Whether a run.json is there at all."""
        return self.run_json.is_file()

    def tidy(self, done: bool) -> None:
        """Remove what a killed process left half-written, and what a finished run needs no more."""
        for part in (self.path, self.samples, self.checkpoints, self.snapshots, self.averages):
            files.clean(part)
        if done:
            checkpoint.keep_end_of_first_phase(self.checkpoints)
            checkpoint.discard(self.snapshots)


def labels_of(record: RunRecord) -> Labels | None:
    """The classes that a run's model was trained on; None where it was not."""
    labels = record.labels
    return None if labels is None else Labels(names=labels.names, counts=labels.counts)


def model_metadata(name: ModelName, settings: JsonObject, shape: ImageShape) -> dict[str, str]:
    """What the weights' file says of itself: enough to build the model again.

    settings: as run.json has them
    """
    described = {
        "schema": SCHEMA,
        "model": str(name),
        "settings": settings,
        "shape": describe_shape(shape),
    }
    return {"triptych": json.dumps(described, sort_keys=True)}


def describe_shape(shape: ImageShape) -> JsonObject:
    """A shape as JSON; the classes only where a model is told the labels."""
    return {name: value for name, value in config.to_json(shape).items() if value is not None}


def save_weights(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """Write the weights whole or not at all; returns their SHA-256."""
    files.write_bytes(path, save({k: t.contiguous() for k, t in tensors.items()}, metadata))
    return files.sha256(path)


def load_model(folder: RunFolder, device: str = "cpu") -> tuple[GenerativeModel, RunRecord]:
    """The trained model in evaluation mode and run.json.

    InputError when the run is unfinished, or a file is missing or not the one that was written.
    The folder may be a stranger's: nothing is built, hashed or read before its size is known.
    """
    record = folder.read()
    if not record.done:
        raise InputError(
            f"{folder.path} is not trained to its end", "finish it with the same train command"
        )
    if not folder.weights.is_file():
        raise InputError(f"{folder.weights} is missing", "train the model again")
    try:
        entries, metadata = tensorfile.look(folder.weights)
        require_memory(folder.weights)
        model = build_model(folder, record, entries, metadata)
        tensorfile.check_fit(entries, tensorfile.entries_of(model.state_dict()))
        if files.sha256(folder.weights) != record.digests.get(WEIGHTS):
            raise ValueError("its digest differs")
        model.load_state_dict(tensorfile.read(folder.weights))
    except tensorfile.DAMAGE as error:
        raise InputError(
            f"{folder.weights} is not the file that training wrote ({tensorfile.reason(error)})",
            "train the model again",
        ) from error
    return registry.place(model, device).eval(), record


def require_memory(path: Path) -> None:
    """ValueError where a file is larger than all of this machine's memory."""
    size, memory = path.stat().st_size, psutil.virtual_memory().total
    if size > memory:
        raise ValueError(f"it holds {size:,} bytes, this machine's memory {memory:,}")


def build_model(
    folder: RunFolder, record: RunRecord, entries: dict[str, Entry], metadata: dict[str, str]
) -> GenerativeModel:
    """The model that run.json describes, untrained; InputError unless the weights are of that one.

    What it says is read by the recipe only after it was found to be what the weights' file says.
    ValueError where it would be larger than the tensors in that file.
    """
    data, labels = record.data, labels_of(record)
    shape = ImageShape(
        channels=data.channels,
        resolution=data.resolution,
        classes=None if labels is None else len(labels.names),
    )
    own = {"model": record.model, "settings": record.settings}
    described = own | {"schema": SCHEMA, "shape": describe_shape(shape)}
    in_weights = files.parse_json(metadata.get("triptych", "{}").encode())
    if isinstance(in_weights, dict) and "settings" in in_weights:
        in_weights["settings"] = with_new_names(in_weights["settings"])
    name_fits = f"{record.family}:{record.recipe}" == record.model
    if not name_fits or in_weights != described:
        raise InputError(f"{folder.run_json} does not fit {WEIGHTS}", "train the model again")
    try:
        name = ModelName.parse(record.model)
        settings = config.from_json(registry.recipe(name).settings, record.settings)
    except InputError as error:
        raise InputError(
            f"{folder.run_json} is not of this version of triptych ({error})",
            "train the model again",
        ) from error
    check_numbers(record.settings)
    usual = data.channels in (1, 3) and 0 < data.resolution <= MOST_RESOLUTION
    if not usual and not shape.is_point:
        raise ValueError("it is of no images of ours")
    if labels is not None and not registry.recipe(name).conditional:
        raise ValueError(f"{name} is told no labels")
    with tensorfile.building_within(entries):
        return registry.build(name, settings, shape, seed=record.seed)


def check_numbers(values: Any) -> None:
    """ValueError on numbers with which one would not even begin to build a network."""
    if isinstance(values, dict | list):
        for value in values.values() if isinstance(values, dict) else values:
            check_numbers(value)
    elif isinstance(values, int | float) and abs(values) > MOST_NUMBER:
        raise ValueError(f"the settings hold {values:g}")


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made; folders that are still empty afterwards are removed again.

    Raises HeldError where another process holds it, naming that one.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    files.make_folder(folder)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise HeldError(
            f"{folder} is being trained by {holder(folder)}", "wait for it, or name another --out"
        ) from None
    try:
        me = {"process": os.getpid(), "machine": socket.gethostname()}
        files.write_json(folder / HOLDER, me)
        yield
    finally:
        for name in (HOLDER, LOCK):  # of which Windows removes the second as it is released
            files.remove(folder / name)
        lock.release()
        with suppress(OSError):  # not empty: something was made
            for path in missing:
                path.rmdir()


def holder(folder: Path) -> str:
    """The process that holds the folder's lock, for an error message."""
    try:
        owner = files.parse_json(files.read_bytes(folder / HOLDER, MOST_HOLDER))
        return f"process {owner['process']} on {owner['machine']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
