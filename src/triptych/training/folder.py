"""The folder of one trained model: its files, and loading them back with nothing unverified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from triptych import config, files
from triptych.config import ImageShape
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.base import GenerativeModel
from triptych.families.registry import ModelName

SCHEMA = 1
WEIGHTS = "model.safetensors"


class RunFolder:
    """Paths inside a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.facts = path / "run.json"
        self.weights = path / WEIGHTS
        self.checkpoints = path / "checkpoints"
        self.log = path / "log.jsonl"
        self.samples = path / "samples"
        self.figures = path / "figures"
        self.results = path / "results.json"

    def read(self) -> dict[str, Any]:
        """run.json; InputError when this is no run or one of another version."""
        if not self.path.is_dir():
            raise InputError(f"no run folder {self.path}", "name one that `triptych train` made")
        facts = files.read_json(self.facts, "name a folder that `triptych train` made")
        if not isinstance(facts, dict) or facts.get("schema") != SCHEMA or "model" not in facts:
            raise InputError(
                f"{self.facts} is not of this version of triptych", "train the model again"
            )
        return facts

    def is_run(self) -> bool:
        """Whether a run.json is there at all."""
        return self.facts.is_file()


def model_metadata(name: ModelName, settings: Any, shape: ImageShape) -> dict[str, str]:
    """What the weights' file says of itself: enough to build the model again."""
    described = {
        "schema": SCHEMA,
        "model": str(name),
        "settings": config.to_json(settings),
        "shape": config.to_json(shape),
    }
    return {"triptych": json.dumps(described, sort_keys=True)}


def save_weights(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """Write the weights whole or not at all; returns their SHA-256."""
    files.write_bytes(path, save({k: t.contiguous() for k, t in tensors.items()}, metadata))
    return files.sha256(path)


def load_model(folder: RunFolder, device: str = "cpu") -> tuple[GenerativeModel, dict[str, Any]]:
    """The trained model in evaluation mode and run.json.

    InputError when the run is unfinished, or a file is missing or not the one that was written.
    """
    facts = folder.read()
    if facts.get("status") != "done":
        raise InputError(
            f"{folder.path} is not trained to its end", "finish it with the same train command"
        )
    if not folder.weights.is_file():
        raise InputError(f"{folder.weights} is missing", "train the model again")
    if files.sha256(folder.weights) != facts.get("digests", {}).get(WEIGHTS):
        raise InputError(
            f"{folder.weights} is not the file that training wrote", "train the model again"
        )
    try:
        model = build_model(folder, facts)
        model.load_state_dict(load(folder.weights.read_bytes()))
    except (KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder.path} is damaged ({error})", "train the model again") from error
    return model.to(device).eval(), facts


def build_model(folder: RunFolder, facts: dict[str, Any]) -> GenerativeModel:
    """The model that run.json describes, untrained; InputError unless the weights are of that one.

    What it says is read by the recipe only after it was found to be what the weights' file says.
    """
    data = facts["data"]
    shape = {"channels": data["channels"], "resolution": data["resolution"]}
    ours = {"model": facts["model"], "settings": facts["settings"], "shape": shape}
    with safe_open(folder.weights, framework="pt") as file:
        described = json.loads((file.metadata() or {}).get("triptych", "{}"))
    family, _, recipe = str(facts["model"]).partition(":")
    said_alike = (facts["family"], facts["recipe"]) == (family, recipe)
    if not said_alike or described != ours | {"schema": SCHEMA}:
        raise InputError(f"{folder.facts} does not fit {WEIGHTS}", "train the model again")
    try:
        name = ModelName.parse(facts["model"])
        settings = config.from_json(registry.recipe(name).settings, facts["settings"])
    except InputError as error:
        raise InputError(
            f"{folder.facts} is not of this version of triptych ({error})", "train the model again"
        ) from error
    return registry.build(name, settings, ImageShape(**shape), seed=facts["seed"])
