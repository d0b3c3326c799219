"""`examples/plugin`, installed as anybody would install it and used by another process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.making import make_images
from tests.truths import random_pixels
from triptych.data.sources import Columns
from triptych.errors import InputError
from triptych.metrics import NotDefinedError

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "examples" / "plugin"
# As in conftest.py, judges learn little.
WORDS = """
import json, sys
from triptych.cli import parser
from triptych.evaluation import classifier
from triptych.families import registry
from triptych.metrics import real_or_fake
real_or_fake.SEEN, classifier.LEAST_IMAGES = 320, 4_000
print(json.dumps(registry.known_models()))
for words in json.loads(sys.argv[1]):
    print(json.dumps(parser.parse([*words.split(), "--json", "--quiet"]).run()))
"""


def write_idx(path: Path, images: np.ndarray) -> Path:
    """uint8 (N,H,W) as the format's page has it."""
    axes = b"".join(size.to_bytes(4, "big") for size in images.shape)
    path.write_bytes(b"\x00\x00\x08\x03" + axes + images.tobytes())
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has put the package: built from a copy, without an index."""
    pytest.importorskip("hatchling", reason="hatchling builds the template")
    folder = tmp_path_factory.mktemp("plugin")
    copy = shutil.copytree(TEMPLATE, folder / "plugin")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    alone = ["--no-index", "--no-deps", "--no-build-isolation", "--target", folder / "site"]
    done = subprocess.run([*pip, *alone, copy], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "site"


def test_a_recipe_a_metric_and_a_source_of_the_template_work(site: Path, tmp_path: Path) -> None:
    """From its own kind of file to the page, in a process that has the package."""
    images, _ = make_images(200, channels=1)
    write_idx(tmp_path / "bars.idx3-ubyte", images[..., 0])
    machine = "--device cpu --precision fp32 --threads 1"
    commands = (
        "data bars.idx3-ubyte --resolution 16 --out sheet.png",
        "train vae:mine --data bars.idx3-ubyte --resolution 16 --budget 0.2kimg --out run"
        f" --set batch_size=16 --set widths=8,8 {machine}",
        f"evaluate run --count 20 {machine}",
        "report run --out page.html",
    )
    paths = os.pathsep.join([str(ROOT / "src"), str(site)])
    done = subprocess.run(
        [sys.executable, "-c", WORDS, json.dumps(commands)], cwd=tmp_path, text=True,
        env=os.environ | {"PYTHONPATH": paths}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    models, data, trained, measured, page = map(json.loads, done.stdout.splitlines())
    assert "vae:mine" in models
    assert data["files"] == 200 and data["name"] == "bars"
    assert trained["model"] == "vae:mine" and trained["settings"]["latent"] == 32
    [metrics] = [run["metrics"] for run in measured["runs"]]
    [contrast] = [metric for metric in metrics if metric["name"] == "contrast"]
    assert contrast["n"] == 20 and contrast["floor"] == 1.0
    assert contrast["low"] < contrast["value"] < contrast["high"]
    html = (tmp_path / page["report"]).read_text()
    assert "contrast" in html
    assert f"{contrast['value']:.2f}" in html


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "its first bytes are of another format"),
        (bytes(20), "its first bytes are of another format"),
        (b"\0\0\x08\x03" + b"\0\0\0\x04" * 3, "it should hold 4 images of 4 x 4"),
    ],
)
def test_the_template_s_source_refuses_what_is_damaged(
    content: bytes, why: str, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(site))
    from triptych_example.source import read

    path = tmp_path / "a.idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.idx3-ubyte is no IDX file of images \({why}\): na"):
        read(path, Columns())


def test_the_template_s_contrast_is_that_of_its_definition(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By NumPy; images of half the contrast score half."""
    monkeypatch.syspath_prepend(str(site))
    from triptych_example.metric import contrast

    real = random_pixels(60, 3, 8, 8)
    ours = torch.cat([real[:30] // 2, real[30:]])
    spread = lambda images: images.numpy().reshape(len(images), -1).std(1).mean()  # noqa: E731
    estimate = contrast(ours, real)
    assert estimate.value == pytest.approx(spread(ours) / spread(real))
    assert contrast(real // 2, real).value == pytest.approx(0.5, abs=0.01)
    assert estimate.low < estimate.value < estimate.high
    with pytest.raises(NotDefinedError):
        contrast(ours, torch.zeros(9, 3, 8, 8, dtype=torch.uint8))
