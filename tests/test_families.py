"""What a family says of itself reaches names, training, measurements and the page."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.making import one_thread, open_tiny
from triptych import api, families
from triptych.evaluation import classifier
from triptych.families import registry
from triptych.families.registry import ModelName
from triptych.pages.page import family_styles

INIT = '''"""Pictures that are the mean of all, and noise."""

from triptych.families import Family

FAMILY = Family(default="mean", order=9, color="#123456", dark_color="#abcdef")
'''
MODEL = '''"""Every image is the mean one plus Gaussian noise of one deviation."""

import torch
from torch import nn

from triptych.config import OptimizerConfig
from triptych.families.latent import Latent
from triptych.families.protocol import GenerativeModel, Objective
from triptych.records import Note


class Painter(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.mean, self.deviation = nn.Parameter(torch.zeros(size)), nn.Parameter(torch.ones(1))

    def forward(self, z):
        return self.mean + self.deviation * z


class Moments(Objective):
    name = "moments"

    def __init__(self, painter):
        super().__init__()
        self.painter, self.optimizer = painter, OptimizerConfig(learning_rate=0.01)

    def noise(self, count, generator):
        return {"z": torch.randn(count, *self.painter.mean.shape, generator=generator)}

    def forward(self, batch):
        return {"total": (self.painter(batch.noise["z"]) - batch.images).square().mean()}


class Mean(GenerativeModel):
    lacks = {"encode": Note("text", {"text": "a mean has forgotten its images"})}
    network_calls = 1

    def __init__(self, shape):
        super().__init__()
        self.shape, self.painter = shape, Painter(shape.size)

    def objectives(self):
        return [Moments(self.painter)]

    def networks(self):
        return [self.painter]

    def draw_latent(self, count, rng, labels=None):
        return Latent({"z": rng.normal(*self.shape.size)}, "spherical")

    def decode(self, latent, rng):
        return self.painter(latent.tensors["z"])
'''
RECIPE = '''"""`toy:mean`."""

from triptych.config import Settings
from triptych.families.protocol import Recipe
from triptych.families.toy.model import Mean

RECIPE = Recipe(
    summary="a toy",
    settings=Settings,
    defaults=lambda size, shape: Settings(batch_size=16),
    build=lambda settings, shape: Mean(shape),
)
'''
FILES = {"__init__.py": INIT, "model.py": MODEL, "recipes/mean.py": RECIPE}
FORGOTTEN = {"code": "text", "values": {"text": "a mean has forgotten its images"}}
REASONS = {
    "bits_per_dim": {"code": "no_likelihood", "values": {}},
    "reconstruction_psnr": FORGOTTEN,
    "reconstruction_ssim": FORGOTTEN,
    "path_length": FORGOTTEN,
    "path_uniformity": FORGOTTEN,
    "probe_accuracy": {"code": "no_representation", "values": {}},
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A fourth folder beside those of the three families."""
    for name, text in FILES.items():
        path = tmp_path / "families" / "toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(tmp_path / "families")])
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 8000)
    monkeypatch.setattr(classifier, "EPOCHS", 1)
    monkeypatch.setitem(registry.FAMILIES, "toy", registry.find_families()["toy"])
    yield
    for name in [name for name in sys.modules if name.startswith("triptych.families.toy")]:
        del sys.modules[name]
    del families.toy  # type: ignore[attr-defined] # set by its import


@pytest.mark.usefixtures("installed")
def test_a_fourth_family_is_three_files_of_its_own(tmp_path: Path) -> None:
    """A contributor writes `FILES` and touches no file of ours.

    Words in the locales are two lines in each; without them the page calls it by its folder's name.
    What the model cannot do is not defined, for the reason that it gives or a general one.
    """
    assert len(FILES) == 3
    assert list(registry.find_families()) == ["vae", "gan", "diffusion", "mixture", "toy"]
    assert str(ModelName.parse("toy")) == "toy:mean" and "toy:mean" in registry.known_models()
    data = open_tiny(tmp_path)
    page = api.compare(
        ["toy"], data, budget="1.6kimg", count=20, features="patches", out=tmp_path / "comparison",
        machine=one_thread(),
    )  # fmt: skip
    [result] = json.loads((tmp_path / "comparison" / "results.json").read_text())["runs"]
    assert result["model"] == "toy:mean"
    by_name = {metric["name"]: metric for metric in result["metrics"]}
    assert {name: by_name[name]["note"] for name in REASONS} == REASONS
    assert all(by_name[name]["value"] is None for name in REASONS)
    assert by_name["probe_accuracy"]["note"]["code"] == "no_representation"
    assert by_name["kernel_distance"]["value"] > by_name["kernel_distance"]["floor"]
    html = page.read_text()
    assert ".fam-toy { --family: var(--toy); }" in html and "--toy: #123456" in html
    assert '<span class="model fam-toy">toy</span>' in html
    assert "a mean has forgotten its images" in html.lower()


def test_a_page_has_a_color_for_each_family_on_either_paper_and_in_print() -> None:
    style = family_styles()
    for name, family in registry.FAMILIES.items():
        assert style.count(f"--{name}: {family.color};") == 2  # light, and print
        assert style.count(f"--{name}: {family.dark_color};") == 1
    assert style.index("dark") < style.index("print")  # which goes before dark paper
