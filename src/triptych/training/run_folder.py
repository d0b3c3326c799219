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
from triptych.training import checkpoint, tensorfile
from triptych.training.plan import Deadline
from triptych.training.tensorfile import Entry

SCHEMA = 1
WEIGHTS = "model.safetensors"
MOST_NUMBER = 10**6  # in the settings of a model: widths, depths, steps
MOST_RESOLUTION = 1024
KINDS = {  # of what run.json holds from its first day; a dot reaches inside
    "model": str,
    "family": str,
    "recipe": str,
    "settings": dict,
    "data.name": str,
    "data.source": str,
    "data.fingerprint": str,
    "data.fit": str,
    "data.channels": int,
    "data.resolution": int,
    "data.train": int,
    "data.test": int,
    "budget.unit": str,
    "identity": dict,
    "status": str,
    "seed": int,
    "planned_images": int,
    "checkpoints": int,
    "calibration_seconds": float,
    "device": str,
    "precision": str,
    "size": str,
    "threads": int,
    "compile": bool,
    "versions": dict,
    "hardware": dict,
}
KINDS_DONE = {  # from its last
    "images_seen": int,
    "train_seconds": float,
    "images_per_second": float,
    "peak_memory_bytes": int,
    "digests": dict,
}
LOCK, HOLDER = ".lock", ".holder.json"
MOST_HOLDER = 4096  # bytes


class RunFolder:
    """Paths inside a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.facts = path / "run.json"
        self.weights = path / WEIGHTS
        self.checkpoints = path / "checkpoints"
        self.snapshots = path / "snapshots"
        self.averages = path / "averages"
        self.log = path / "log.jsonl"
        self.samples = path / "samples"
        self.figures = path / "figures"
        self.results = path / "results.json"

    def read(self) -> dict[str, Any]:
        """run.json; InputError when this is no run or one of another version."""
        if not self.path.is_dir():
            raise InputError(f"no run folder {self.path}", "name one that `triptych train` made")
        facts = files.read_json(self.facts, "name a folder that `triptych train` made")
        schema = facts.get("schema") if isinstance(facts, dict) else None
        wrong = first_wrong(facts) if schema == SCHEMA else f"schema {SCHEMA} is read"
        if wrong is not None:
            raise InputError(
                f"{self.facts} is not of this version of triptych ({wrong})",
                "train the model again",
            )
        facts["identity"].setdefault("use of labels", "none")  # older runs do not say
        return facts

    def is_run(self) -> bool:
        """Whether a run.json is there at all."""
        return self.facts.is_file()

    def tidy(self, done: bool) -> None:
        """Remove what a killed process left half-written, and what a finished run needs no more."""
        for place in (self.path, self.samples, self.checkpoints, self.snapshots, self.averages):
            files.clean(place)
        if done:
            checkpoint.discard(self.checkpoints)
            checkpoint.discard(self.snapshots)


def first_wrong(facts: dict[str, Any]) -> str | None:
    """What is missing in run.json or not of its kind; the rest of it is for reading only."""
    kinds = KINDS | (KINDS_DONE if facts.get("status") == "done" else {})
    for place, kind in kinds.items():
        value: Any = facts
        for name in place.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if type(value) is not kind:
            return f"its {place} is no {kind.__name__}"
    for name in ("planned_images", "checkpoints"):
        if facts[name] <= 0:
            return f"its {name} is not positive"
    microbatch = facts.get("microbatch")
    if microbatch is not None and (type(microbatch) is not int or microbatch < 1):
        return "its microbatch is no number of images"
    advice = facts.get("advice", [])
    if type(advice) is not list or not all(type(sentence) is str for sentence in advice):
        return "its advice is no list of sentences"
    deadline = facts.get("deadline")
    try:
        if deadline is not None:
            Deadline.read(deadline)
    except ValueError as error:
        return str(error)
    try:
        labels_of(facts)
    except InputError:
        return "its labels are no classes and their counts"
    return None


def labels_of(facts: dict[str, Any]) -> Labels | None:
    """What the model of a run.json was told of its training data; None where it was not."""
    labels = facts.get("labels")
    if labels is None:
        return None
    return config.from_json(Labels, labels if isinstance(labels, dict) else {})


def model_metadata(name: ModelName, settings: Any, shape: ImageShape) -> dict[str, str]:
    """What the weights' file says of itself: enough to build the model again."""
    described = {
        "schema": SCHEMA,
        "model": str(name),
        "settings": config.to_json(settings),
        "shape": describe_shape(shape),
    }
    return {"triptych": json.dumps(described, sort_keys=True)}


def describe_shape(shape: ImageShape) -> dict[str, Any]:
    """A shape as JSON; the classes only where a model is told the labels."""
    return {name: value for name, value in config.to_json(shape).items() if value is not None}


def save_weights(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """Write the weights whole or not at all; returns their SHA-256."""
    files.write_bytes(path, save({k: t.contiguous() for k, t in tensors.items()}, metadata))
    return files.sha256(path)


def load_model(folder: RunFolder, device: str = "cpu") -> tuple[GenerativeModel, dict[str, Any]]:
    """The trained model in evaluation mode and run.json.

    InputError when the run is unfinished, or a file is missing or not the one that was written.
    The folder may be a stranger's: nothing is built, hashed or read before its size is known.
    """
    facts = folder.read()
    if facts["status"] != "done":
        raise InputError(
            f"{folder.path} is not trained to its end", "finish it with the same train command"
        )
    if not folder.weights.is_file():
        raise InputError(f"{folder.weights} is missing", "train the model again")
    try:
        entries, metadata = tensorfile.look(folder.weights)
        require_memory(folder.weights)
        model = build_model(folder, facts, entries, metadata)
        tensorfile.check_fit(entries, tensorfile.entries_of(model.state_dict()))
        if files.sha256(folder.weights) != facts["digests"].get(WEIGHTS):
            raise ValueError("its digest differs")
        model.load_state_dict(tensorfile.read(folder.weights))
    except tensorfile.DAMAGE as error:
        raise InputError(
            f"{folder.weights} is not the file that training wrote ({tensorfile.reason(error)})",
            "train the model again",
        ) from error
    return model.to(device).eval(), facts


def require_memory(path: Path) -> None:
    """ValueError where a file is larger than all of this machine's memory."""
    size, memory = path.stat().st_size, psutil.virtual_memory().total
    if size > memory:
        raise ValueError(f"it holds {size:,} bytes, this machine's memory {memory:,}")


def build_model(
    folder: RunFolder, facts: dict[str, Any], entries: dict[str, Entry], metadata: dict[str, str]
) -> GenerativeModel:
    """The model that run.json describes, untrained; InputError unless the weights are of that one.

    What it says is read by the recipe only after it was found to be what the weights' file says.
    ValueError where it would be larger than the tensors in that file.
    """
    data = facts["data"]
    labels = labels_of(facts)
    shape = ImageShape(
        channels=data["channels"],
        resolution=data["resolution"],
        classes=None if labels is None else len(labels.names),
    )
    said = {"model": facts["model"], "settings": facts["settings"]}
    ours = said | {"schema": SCHEMA, "shape": describe_shape(shape)}
    described = files.parse_json(metadata.get("triptych", "{}").encode())
    family, _, recipe = facts["model"].partition(":")
    said_alike = (facts["family"], facts["recipe"]) == (family, recipe)
    if not said_alike or described != ours:
        raise InputError(f"{folder.facts} does not fit {WEIGHTS}", "train the model again")
    try:
        name = ModelName.parse(facts["model"])
        settings = config.from_json(registry.recipe(name).settings, facts["settings"])
    except InputError as error:
        raise InputError(
            f"{folder.facts} is not of this version of triptych ({error})", "train the model again"
        ) from error
    check_numbers(facts["settings"])
    if data["channels"] not in (1, 3) or not 0 < data["resolution"] <= MOST_RESOLUTION:
        raise ValueError("it is of no images of ours")
    if labels is not None and not registry.recipe(name).conditional:
        raise ValueError(f"{name} is told no labels")
    with tensorfile.building_within(entries):
        return registry.build(name, settings, shape, seed=facts["seed"])


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

    Raises InputError where another process holds it, naming that one.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    files.make_folder(folder)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{folder} is being trained by {holder(folder)}", "wait for it, or name another --out"
        ) from None
    try:
        me = {"process": os.getpid(), "machine": socket.gethostname()}
        files.write_json(folder / HOLDER, me)
        yield
    finally:
        for name in (HOLDER, LOCK):
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # not empty: something was made
            for path in missing:
                path.rmdir()
        lock.release()


def holder(folder: Path) -> str:
    """Who holds the folder."""
    try:
        known = files.parse_json(files.read_bytes(folder / HOLDER, MOST_HOLDER))
        return f"process {known['process']} on {known['machine']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
