"""What another package adds by entry points: one file of code, one line that announces it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from tests.making import make_images, one_thread, open_tiny
from triptych import api, metrics, plugins
from triptych.cli import text
from triptych.console import Console
from triptych.data.open import open_images
from triptych.errors import InputError
from triptych.evaluation.outputs import EVALUATION_SEED
from triptych.families import registry
from triptych.families.registry import ModelName
from triptych.options import DataOptions
from triptych.records import ComparisonResults

TOY = '''
import dataclasses
import numpy as np
from triptych.data.sources import Item, Source
from triptych.families.vae.recipes import course
from triptych.metrics import Metric
from triptych.metrics.intervals import Estimate

RECIPE = dataclasses.replace(course.RECIPE, summary="a toy")

def read(path, columns):
    """Grey pictures of 16 x 16, one after another, with their class in front of each."""
    rows = np.fromfile(path, np.uint8).reshape(-1, 257)
    return Source(lambda: (Item(str(i), row[1:].reshape(16, 16), int(row[0]), None)
                           for i, row in enumerate(rows)), len(rows))

def brightness(images):
    value = images.double().mean().item() / 255
    return Estimate(value, value - 0.01, value + 0.01)

BRIGHTNESS = Metric(
    name="toy_brightness", better="floor", group="toys", unit="of white",
    needs=("images", "test_images"),
    compute=lambda ours, real: brightness(ours["images"]),
    floor=lambda others, real: brightness(real["test_images"]).value,
)

def toy(name, **facts):
    return dataclasses.replace(BRIGHTNESS, name=name, **facts)

FAILING = [
    toy("toy_failing", compute=lambda ours, real: 1 / 0),
    toy("toy_floorless", floor=lambda others, real: others["nothing"]),
    toy("toy_number", compute=lambda ours, real: 1.5),
]
OURS = toy("sharpness")
'''
ANNOUNCED = """
[triptych.recipes]
vae:toy = toy_for_triptych:RECIPE
gan:broken = toy_for_triptych:NOTHING
vae:metric = toy_for_triptych:OURS
[triptych.sources]
.toy = toy_for_triptych:read
[triptych.metrics]
brightness = toy_for_triptych:BRIGHTNESS
failing = toy_for_triptych:FAILING
missing = toy_for_triptych:NOTHING
ours = toy_for_triptych:OURS
recipe = toy_for_triptych:RECIPE
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package as pip would have left it."""
    (tmp_path / "site" / "toy-1.dist-info").mkdir(parents=True)
    (tmp_path / "site" / "toy_for_triptych.py").write_text(TOY)
    (tmp_path / "site" / "toy-1.dist-info" / "METADATA").write_text("Name: toy\nVersion: 1\n")
    (tmp_path / "site" / "toy-1.dist-info" / "entry_points.txt").write_text(ANNOUNCED)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    monkeypatch.setattr(plugins, "announced", plugins.announced.__wrapped__)


def test_a_recipe_and_a_source_from_outside(tmp_path: Path) -> None:
    """Trained on data that only the package can read."""
    images, labels = make_images(200, channels=1)
    rows = np.concatenate([labels[:, None].astype(np.uint8), images.reshape(200, -1)], axis=1)
    rows.tofile(tmp_path / "bars.toy")
    data = open_images(str(tmp_path / "bars.toy"), DataOptions(resolution=16))
    assert len(data.train) + len(data.validation) + len(data.test) == 200
    assert data.name == "bars" and data.shape.channels == 1
    assert "toy" in registry.recipe_names("vae") and "vae:toy" in registry.known_models()
    small = ["widths=8,8", "batch_size=16"]
    run = api.train(
        "vae:toy", data, budget="0.1kimg", set=small, out=tmp_path / "run",
        machine=one_thread(),
    )  # fmt: skip
    assert run.record.model == "vae:toy"
    assert api.load(tmp_path / "run").sample(2).shape == (2, 1, 16, 16)


def test_what_fails_to_import_is_named_and_the_rest_goes_on() -> None:
    with pytest.raises(InputError, match=r"'gan:broken' of toy cannot be imported .*NOTHING"):
        registry.recipe(ModelName.parse("gan:broken"))
    with pytest.raises(InputError, match="'vae:metric' of another package is no recipe"):
        registry.recipe(ModelName.parse("vae:metric"))
    with pytest.raises(InputError, match=r"gan:course cannot be told the labels: choose from .*r1"):
        registry.require_conditional(ModelName.parse("gan:course"))


class Lines(Console):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


def test_a_metric_from_outside_ends_on_the_page(tmp_path: Path) -> None:
    """A contributor touches one file, and the line that announces it: the rest is derived.

    What cannot be imported or is no metric is named in a line, what fails is not defined, and all
    else is measured.
    """
    data = open_tiny(tmp_path, labeled=False)
    small = ["widths=8,8", "batch_size=16"]
    run = api.train(
        "vae:course", data, budget="0.1kimg", set=small, out=tmp_path / "run",
        machine=one_thread(),
    )  # fmt: skip
    console = Lines()
    out = tmp_path / "comparison"
    page = api.compare(
        [run.folder.path], data, count=20, out=out, machine=one_thread(), console=console
    )
    notes = [line for line in console.lines if line.startswith("note: '")]
    assert len(notes) == 3
    assert notes[0].startswith("note: 'missing' of toy cannot be imported")
    assert notes[1].startswith("note: 'ours' is left out")
    assert notes[2].startswith("note: 'recipe' is left out: it is no metric")
    results = json.loads((out / "results.json").read_text())
    [model] = results["runs"]
    assert len(model["metrics"]) == len(metrics.own_metrics()) + 4
    by_name = {metric["name"]: metric for metric in model["metrics"]}
    toy = by_name["toy_brightness"]
    brightness = run.sample(20, seed=EVALUATION_SEED).double().mean().item() / 255
    assert toy["value"] == pytest.approx(brightness) and toy["n"] == 20
    assert toy["floor"] == pytest.approx(data.test.images.double().mean().item() / 255)
    for name, reason in (("failing", "division by zero"), ("number", "1.5 is no Estimate")):
        assert by_name[f"toy_{name}"]["value"] is None
        expected = {"code": "metric_failed", "values": {"reason": reason}}
        assert by_name[f"toy_{name}"]["note"] == expected
    floorless = by_name["toy_floorless"]
    assert floorless["value"] == toy["value"] and floorless["floor"] is None
    assert floorless["note"] == {"code": "floor_failed", "values": {"reason": "'nothing'"}}
    shown = text.results(ComparisonResults.read(results).runs)
    assert f"toy_brightness (test)                  {toy['value']:.4g}" in shown
    html = page.read_text()
    assert "toy_brightness" in html and "of white" in html
    assert f"{toy['value']:.2f}" in html and "its computation failed: division by zero" in html


def test_what_cannot_be_imported_is_said_once_and_the_rest_is_loaded() -> None:
    said: list[str] = []
    loaded = plugins.load_all("triptych.recipes", said.append)
    assert "gan:broken" not in loaded and "vae:toy" in loaded
    [line] = [line for line in said if "gan:broken" in line]
    assert line.startswith("note: 'gan:broken' of toy cannot be imported (")
