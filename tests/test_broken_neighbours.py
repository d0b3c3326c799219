"""Optional packages that are there and broken: each is said in one line where it was asked for.

torchvision of PyPI beside a CPU torch raises RuntimeError when it is imported, and so does whatever
imports it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import triptych
from tests.making import one_thread, open_tiny
from triptych import plugins
from triptych.errors import InputError

BROKEN = {
    "torchvision": "import os\nraise eval(os.environ['RAISED'])\n",
    "torch_fidelity": "",
    "torch_fidelity/utils": "import torchvision\n",
    "torchmetrics": "import torchvision\n",
    "huggingface_hub": "import torchvision\n",
}
NMS = "RuntimeError('operator torchvision::nms does not exist')"
RAISED = (
    NMS,
    "ImportError('libtorch.so')",
    "AttributeError('module has no attribute')",
    "OSError('undefined symbol')",
    "SystemExit(3)",
    "KeyError('nms')",
)
ALL_OF_OURS = """
import importlib, os, pkgutil, sys
import torch, triptych
from triptych.data.sources import hub
from triptych.errors import InputError
from triptych.evaluation import extractors
from triptych.metrics.reconstruction import reconstruction_ssim

for module in pkgutil.walk_packages(triptych.__path__, "triptych."):
    if module.name != "triptych.__main__":
        importlib.import_module(module.name)
images = torch.arange(2 * 16 * 16, dtype=torch.uint8).view(2, 1, 16, 16)
print(reconstruction_ssim(images, images).value)
refusing = lambda: extractors.check("inception"), lambda: extractors.load("dinov2"), hub.library
for raised in sys.argv[1:]:
    os.environ["RAISED"] = raised
    for refuse in refusing:
        try:
            refuse()
        except InputError as error:
            print(error)
print(*(name for name in sys.modules if name.startswith("torchvision")), "is loaded")
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that finds the broken packages first."""
    site = tmp_path_factory.mktemp("site")
    for name, code in BROKEN.items():
        file = site / f"{name}.py" if "/" in name else site / name / "__init__.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(code)
    paths = str(site), *filter(None, [os.environ.get("PYTHONPATH")])
    return {**os.environ, "RAISED": NMS, "PYTHONPATH": os.pathsep.join(paths)}


def test_whatever_they_raise_is_one_line(broken: dict[str, str]) -> None:
    found = subprocess.run(
        [sys.executable, "-c", ALL_OF_OURS, *RAISED],
        env=broken, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    ssim, *lines, last = found
    assert float(ssim) == pytest.approx(1)
    assert len(lines) == 3 * len(RAISED) and last == "is loaded"
    for raised, at in zip(RAISED, range(0, len(lines), 3), strict=True):
        inception, dinov2, hub = lines[at : at + 3]
        why = str(eval(raised)) or raised
        for name, line in (("inception", inception), ("dinov2", dinov2)):
            assert line.startswith(f"features '{name}' need torch-fidelity ({why}): pip install")
            assert "pip install torch torchvision --index-url https://" in line
            assert line.endswith("or use --features patches, which needs no weights")
        assert hub == f"hf: needs huggingface_hub ({why}): pip install 'triptych[hf]'"


@pytest.mark.sweep
def test_runs_are_measured_beside_them(broken: dict[str, str], tmp_path: Path) -> None:
    data, place = open_tiny(tmp_path, labeled=False), tmp_path / "run"
    small = ["widths=8,8"]
    triptych.train(
        "vae:course", data, budget="0.64kimg", out=place, set=small, machine=one_thread()
    )
    commands = {
        "evaluate": ["--count", "12", "--json"],
        "reconstruct": ["--count", "4", "--out", str(tmp_path / "a.png"), "--json"],
    }
    answers = {}
    for command, options in commands.items():
        answers[command] = subprocess.run(
            [sys.executable, "-m", "triptych", command, str(place), *options],
            env=broken, capture_output=True, text=True,
        )  # fmt: skip
        assert answers[command].returncode == 0, answers[command].stderr
    results = json.loads((place / "results.json").read_text())
    by_name = {metric["name"]: metric["value"] for metric in results["metrics"]}
    assert 0 < by_name["reconstruction_ssim"] < 1
    assert 0 < json.loads(answers["reconstruct"].stdout)["answers"]["reconstruction"]["ssim"] < 1
    refused = subprocess.run(
        [sys.executable, "-m", "triptych", "evaluate", str(place), "--features", "inception"],
        env=broken, capture_output=True, text=True,
    )  # fmt: skip
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert "operator torchvision::nms does not exist" in refused.stderr


def test_a_package_with_damaged_metadata_announces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, announced in (("ours", "ok = json:loads"), ("bad", "no equals sign")):
        folder = tmp_path / f"{name}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: {name}\nVersion: 1\n")
        (folder / "entry_points.txt").write_text(f"[triptych.toys]\n{announced}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(plugins.announced.__wrapped__("triptych.toys")) == ["ok"]


def test_a_plug_in_may_raise_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "toy_that_ends.py").write_text("import sys\nsys.exit('no licence')\n")
    folder = tmp_path / "toy-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Name: toy\nVersion: 1\n")
    (folder / "entry_points.txt").write_text("[triptych.metrics]\ntoy = toy_that_ends:METRIC\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plugins, "announced", plugins.announced.__wrapped__)
    lines: list[str] = []
    assert "toy" not in plugins.load_all("triptych.metrics", lines.append)
    assert lines == ["note: 'toy' of toy cannot be imported (no licence): mend or remove toy"]
    with pytest.raises(InputError, match="no licence"):
        plugins.load("triptych.metrics", "toy")
