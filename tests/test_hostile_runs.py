"""Run folders from strangers: one line, soon, in little memory, and nothing in them is executed."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from tests.making import make_images, write_npz
from tests.test_checkpoint import Canary
from tests.test_cli import SLOW, Call, call
from tests.test_training import SHAPE, request, train
from triptych import files
from triptych.config import POINT, to_json
from triptych.families import registry
from triptych.families.registry import ModelName
from triptych.training.run_folder import RunFolder, load_model, model_metadata, save_weights

__all__ = ["call"]  # a fixture

SECONDS, MEMORY = 4.0, 200 * 2**20  # a slow machine parses the densest file in 2.0
Spoil = Callable[[Path], object]


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Finished runs that tests only read."""
    folder = tmp_path_factory.mktemp("stock")
    train(request("vae:course", "0.32kimg", "widths=8,8", "latent=4"), folder / "vae")
    small = ("widths=8,16", "attention=false,false", "steps=2")
    train(request("diffusion:x0", "0.32kimg", *small), folder / "diffusion")
    return folder


@pytest.fixture
def run(stock: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stock / "vae", tmp_path / "run"))


def peak(reset: bool = False) -> int:
    """Bytes of the largest memory of this process since it was last forgotten."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def refused(call: Call, run: Path, *words: str | Path) -> str:
    """The one line with which a command ends, within its bounds of time and memory."""
    size = sum(f.stat().st_blocks * 512 for f in run.rglob("*") if f.is_file())
    before, started = peak(reset=True), time.process_time()  # others may use the machine
    result = call(*(words or ("sample", run, "--out", "a.png")), *SLOW)
    assert time.process_time() - started < SECONDS
    assert peak() - before < 2 * size + MEMORY
    assert result.code == 2, result.err
    lines = [line for line in result.err.splitlines() if not line.startswith(("training", "note"))]
    assert len(lines) == 1 and lines[0].startswith("triptych: ") and lines[0].isprintable()
    return lines[0]


def facts_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text())
    return found


def alter(run: Path, place: str, value: Any) -> None:
    """One fact changed, or removed where the value is `...`."""
    facts = facts_of(run)
    inside = facts
    *parents, last = place.split(".")
    for name in parents:
        inside = inside[name]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    (run / "run.json").write_text(json.dumps(facts))


def forge(run: Path, tensors: dict[str, Tensor] | None = None, **settings: Any) -> None:
    """Both files changed so that they agree, digest and all."""
    with safe_open(run / "model.safetensors", framework="pt") as file:
        described = json.loads(file.metadata()["triptych"])
    kept = load_file(run / "model.safetensors")
    for name, value in settings.items():
        (described["shape"] if name in described["shape"] else described["settings"])[name] = value
    (run / "model.safetensors").unlink()
    said = {"triptych": json.dumps(described)}
    digest = save_weights(run / "model.safetensors", kept if tensors is None else tensors, said)
    alter(run, "settings", described["settings"])
    for name, value in described["shape"].items():
        alter(run, f"data.{name}", value)
    alter(run, "digests", {"model.safetensors": digest})


def with_header(run: Path, text: bytes, data: int) -> None:
    """Weights with a header of one's own and so many bytes of nothing behind it."""
    path = run / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + data)
    alter(run, "digests", {"model.safetensors": "0" * 64})


def metadata_of(run: Path) -> dict[str, str]:
    with safe_open(run / "model.safetensors", framework="pt") as file:
        found: dict[str, str] = file.metadata()
    return found


def giant(run: Path) -> None:
    """A terabyte that is all there as far as the header goes, though no disk holds it."""
    size = 2**40
    entry = {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}
    text = json.dumps({"__metadata__": metadata_of(run), "w": entry}).encode()
    with_header(run, text, size)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replaced(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


FACTS: dict[str, Spoil] = {
    "deep": lambda run: (run / "run.json").write_text("[" * 100_000),
    "nan": lambda run: (run / "run.json").write_text('{"schema": NaN}'),
    "beyond floats": lambda run: (run / "run.json").write_text('{"schema": 1e999}'),
    "endless number": lambda run: (run / "run.json").write_text("9" * 10**6),
    "huge": lambda run: (run / "run.json").write_text("[" + "[],[" * 10**6),
    "dense": lambda run: (run / "run.json").write_text("[" + "[]," * 340_000 + "1]"),
    "not text": lambda run: (run / "run.json").write_bytes(b'{"\xff": 1}'),
    "pipe": lambda run: pipe(run / "run.json"),
    "zeros without end": lambda run: replaced(run / "run.json", "/dev/zero"),
    "sparse": lambda run: os.truncate(run / "run.json", 2**40),
    "escapes": lambda run: alter(run, "model", "vae:\x1b[31m\nred"),
    "long": lambda run: alter(run, "model", "vae:" + "x" * 10**6),
    "recipe with a path": lambda run: alter(run, "model", "vae:../../x"),
}


@pytest.mark.parametrize("what", FACTS)
def test_hostile_facts(call: Call, run: Path, what: str) -> None:
    FACTS[what](run)
    assert len(refused(call, run)) < 400
    images, labels = make_images(120)
    data = write_npz(run.parent / "bars.npz", images, labels)
    words = ("train", "vae:course", "--data", data, "--resolution", "16", "--out", run)
    assert refused(call, run, *words)


PLACES = (
    "model",
    "family",
    "recipe",
    "settings",
    "data",
    "data.name",
    "data.source",
    "data.fit",
    "data.channels",
    "data.resolution",
    "data.fingerprint",
    "budget",
    "budget.unit",
    "identity",
    "status",
    "seed",
    "planned_images",
    "calibration_seconds",
    "images_seen",
    "train_seconds",
    "images_per_second",
    "peak_memory_bytes",
    "digests",
    "device",
    "precision",
)


@pytest.mark.parametrize("place", PLACES)
def test_facts_of_another_kind(call: Call, run: Path, place: str) -> None:
    for value in (..., None, [1], {"a": 1}, "x", -1, True):
        if value == "x" and place in ("data.name", "data.source", "data.fit", "data.fingerprint"):
            continue  # nothing is wrong with these
        if value in ("x", -1) and place in ("device", "precision", "seed", "budget.unit"):
            continue
        if value in (..., None) and place == "peak_memory_bytes":
            continue  # a system that cannot tell it
        if value in (-1, {"a": 1}) and place in ("images_seen", "peak_memory_bytes", "identity"):
            continue
        if isinstance(value, dict) and place == "budget":
            continue
        kept = (run / "run.json").read_text()
        alter(run, place, value)
        assert "run.json" in refused(call, run) or place in ("digests", "status")
        (run / "run.json").write_text(kept)


NETWORKS: dict[str, dict[str, Any]] = {
    "wide": {"widths": [10**9, 10**9]},
    "wider than the file": {"widths": [8, 100_000]},
    "just wider than the file": {"widths": [8, 9]},
    "deep": {"widths": [8] * 100_000},
    "no width": {"widths": []},
    "nothing": {"widths": [0, 0]},
    "negative": {"widths": [-8, 8]},
    "text": {"widths": ["a", "b"]},
    "nested": {"widths": [[[[8]]]]},
    "no list": {"widths": 8},
    "latent": {"latent": 10**12},
    "batch": {"batch_size": 0},
    "ema": {"ema": 3.0},
    "optimiser": {"optimizer": [1]},
    "optimiser of numbers": {"optimizer": {"learning_rate": {}}},
    "resolution": {"resolution": 10**9},
    "no resolution": {"resolution": 0},
    "channels": {"channels": 10**9},
    "unknown": {"colour": "red"},
}


@pytest.mark.parametrize("what", NETWORKS)
def test_settings_that_describe_another_network(call: Call, run: Path, what: str) -> None:
    forge(run, **NETWORKS[what])
    assert "run.json" in (line := refused(call, run)) or "model.safetensors" in line


@pytest.mark.parametrize(
    "settings",
    [
        {"blocks": 10**9},
        {"blocks": 10**6},
        {"widths": [10**6, 10**6]},
        {"patch": 0},
        {"patch": 10**6},
        {"steps": 10**12},
        {"sampler": "__import__"},
        {"attention": [True]},
    ],
)
def test_settings_without_end(
    call: Call, stock: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    run = Path(shutil.copytree(stock / "diffusion", tmp_path / "run"))
    forge(run, **settings)
    assert refused(call, run)


def changed(run: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(run / "model.safetensors")
    change(tensors)
    forge(run, tensors)


def cast(tensors: dict[str, Tensor], dtype: torch.dtype) -> None:
    first = next(iter(tensors))
    tensors[first] = tensors[first].to(dtype)


def pickled(run: Path, canary: Path) -> None:
    torch.save({"w": Canary(canary)}, run / "model.safetensors")
    digest = files.sha256(run / "model.safetensors")
    alter(run, "digests", {"model.safetensors": digest})


WEIGHTS: dict[str, Spoil] = {
    "a terabyte at the end": lambda run: os.truncate(run / "model.safetensors", 2**40),
    "a terabyte by its header": giant,
    "zeros": lambda run: (run / "model.safetensors").write_bytes(bytes(1000)),
    "nothing": lambda run: (run / "model.safetensors").write_bytes(b""),
    "a huge header": lambda run: with_header(run, b"{" + b" " * 90_000_000, 0),
    "a header beyond the file": lambda run: (run / "model.safetensors").write_bytes(
        (2**63).to_bytes(8, "little") + b"{}"
    ),
    "overlap": lambda run: with_header(
        run,
        json.dumps(
            {n: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]} for n in "ab"}
        ).encode(),
        16,
    ),
    "overflow": lambda run: with_header(
        run, b'{"a":{"dtype":"F32","shape":[9223372036854775807,4],"data_offsets":[0,16]}}', 16
    ),
    "deep metadata": lambda run: with_header(
        run, json.dumps({"__metadata__": {"triptych": "[" * 10**5}}).encode(), 0
    ),
    "a pipe": lambda run: pipe(run / "model.safetensors"),
    "zeros without end": lambda run: replaced(run / "model.safetensors", "/dev/zero"),
    "another dtype": lambda run: changed(run, lambda tensors: cast(tensors, torch.float64)),
    "half": lambda run: changed(run, lambda tensors: cast(tensors, torch.float16)),
    "a key less": lambda run: changed(run, lambda tensors: tensors.popitem()),
    "a key more": lambda run: changed(run, lambda tensors: tensors.update(x=torch.zeros(1))),
    "no key": lambda run: changed(run, lambda tensors: tensors.clear()),
    "another shape": lambda run: changed(
        run, lambda tensors: tensors.update({next(iter(tensors)): torch.zeros(1)})
    ),
    "a million keys": lambda run: changed(
        run, lambda tensors: tensors.update({str(n): torch.empty(0) for n in range(100_000)})
    ),
    "another digest": lambda run: alter(run, "digests", {"model.safetensors": "0" * 64}),
    "a digest of a list": lambda run: alter(run, "digests", {"model.safetensors": []}),
}


@pytest.mark.parametrize("what", WEIGHTS)
def test_hostile_weights(call: Call, run: Path, what: str) -> None:
    WEIGHTS[what](run)
    assert "model.safetensors" in refused(call, run)


def test_a_pickle_is_never_opened(call: Call, run: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pickled(run, canary)
    assert "model.safetensors" in refused(call, run)
    for name in ("model.bin", "model.pt", "pytorch_model.bin", "checkpoints/model.pt"):
        (run / name).parent.mkdir(exist_ok=True)
        torch.save({"w": Canary(canary)}, run / name)
    assert refused(call, run)
    assert not canary.exists()


@pytest.mark.parametrize("name", registry.known_models())
def test_every_recipe_builds_within_what_its_file_holds(name: str, run: Path) -> None:
    """The bound on strangers' settings refuses no honest run."""
    model = ModelName.parse(name)
    shape = POINT if registry.recipe(model).points else SHAPE
    alter(run, "data.channels", shape.channels)
    alter(run, "data.resolution", shape.resolution)
    settings = registry.defaults(model, "tiny", shape)
    wanted = registry.build(model, settings, shape, seed=1).state_dict()
    metadata = model_metadata(model, to_json(settings), shape)
    digest = save_weights(run / "model.safetensors", wanted, metadata)
    said = {"model": name, "family": model.family, "recipe": model.recipe}
    for place, value in {**said, "settings": to_json(settings)}.items():
        alter(run, place, value)
    alter(run, "digests", {"model.safetensors": digest})
    loaded, _ = load_model(RunFolder(run))
    assert all(torch.equal(t, wanted[n]) for n, t in loaded.state_dict().items())
