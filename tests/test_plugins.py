"""What another package adds by entry points: one file of code, one line that announces it."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from tests.making import make_images, one_thread
from triptych import api, plugins
from triptych.data.open import open_images
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.registry import ModelName
from triptych.options import DataOptions

TOY = '''
import dataclasses
import numpy as np
from triptych.data.sources import Item, Source
from triptych.families.vae.recipes import course

RECIPE = dataclasses.replace(course.RECIPE, summary="a toy")

def read(path, columns):
    """Grey pictures of 16 x 16, one after another, with their class in front of each."""
    rows = np.fromfile(path, np.uint8).reshape(-1, 257)
    return Source(lambda: (Item(str(i), row[1:].reshape(16, 16), int(row[0]), None)
                           for i, row in enumerate(rows)), len(rows))
'''
ANNOUNCED = """
[triptych.recipes]
vae:toy = toy_for_triptych:RECIPE
gan:broken = toy_for_triptych:NOTHING
[triptych.sources]
.toy = toy_for_triptych:read
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
    assert run.facts["model"] == "vae:toy"
    assert api.load(tmp_path / "run").sample(2).shape == (2, 1, 16, 16)


def test_what_fails_to_import_is_named_and_the_rest_goes_on() -> None:
    with pytest.raises(InputError, match=r"'gan:broken' of toy cannot be imported .*NOTHING"):
        registry.recipe(ModelName.parse("gan:broken"))
    with pytest.raises(InputError, match=r"gan:course cannot be told the labels: choose from .*r1"):
        registry.require_conditional(ModelName.parse("gan:course"))
