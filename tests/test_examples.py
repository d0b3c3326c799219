"""The scripts of `examples/` do what their first lines say."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import triptych
from tests.making import make_images, write_npz
from tests.test_page import change, read, write_comparison

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(name: str, *words: object) -> None:
    """As `python examples/NAME WORDS`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, words)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_a_teacher_gets_figures_and_answers(tmp_path: Path) -> None:
    folder, out = write_comparison(tmp_path / "comparison"), tmp_path / "pack"
    run("teachers_pack.py", folder, "--out", out)
    drawn = {path.stem for path in (out / "figures").glob("*.svg")}
    assert {"quality-against-cost", "frechet_distance", "sharpness"} <= drawn
    assert {"losses-vae-sigma-s0", "losses-gan-hinge-s0", "losses-diffusion-edm-s0"} <= drawn
    for path in (out / "figures").glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    answers = (out / "answers.md").read_text(encoding="utf-8")
    assert "| `vae:sigma` | 46.1 (" in answers and "at most 4.31" in answers
    assert "| `gan:hinge` | 13.2 (" in answers and "not defined" in answers
    for code in ("en", "fr"):
        assert read(out / f"practical-{code}.html").all("html")[0]["lang"] == code


def test_the_pack_does_without_a_number(tmp_path: Path) -> None:
    folder, out = write_comparison(tmp_path / "comparison"), tmp_path / "pack"
    change(folder / "results.json", lambda it: [run["metrics"].clear() for run in it["runs"]])
    run("teachers_pack.py", folder, "--out", out)
    assert "not defined" in (out / "answers.md").read_text(encoding="utf-8")


def test_the_pack_reads_what_was_trained_elsewhere(tmp_path: Path) -> None:
    """Runs from other folders, two named alike, one without a log, and a loss that was none."""
    folder, out = write_comparison(tmp_path / "comparison"), tmp_path / "pack"
    names = ["vae-sigma-s0", "gan-hinge-s0", "diffusion-edm-s0"]
    new = ["../old/a", "b", "../new/a"]
    for name, new_name in zip(names, new, strict=True):
        (folder / new_name).parent.mkdir(exist_ok=True)
        (folder / name).rename(folder / new_name)
    for part in ("contract.json", "results.json"):
        text = (folder / part).read_text()
        for name, new_name in zip(names, new, strict=True):
            text = text.replace(f'"{name}"', f'"{new_name}"')
        (folder / part).write_text(text)
    (folder / "b" / "log.jsonl").unlink()
    broken = {"event": "losses", "images": 1, "losses": {"bound/total": None}}
    with (folder / "../old/a" / "log.jsonl").open("a") as log:
        log.write(json.dumps(broken) + "\n")
    run("teachers_pack.py", folder, "--out", out)
    drawn = {path.stem for path in out.rglob("*.svg") if path.stem.startswith("losses")}
    assert drawn == {"losses-a", "losses-a-3"}
    answers = (out / "answers.md").read_text(encoding="utf-8")
    assert "- `vae:sigma`" in answers and "- `gan:hinge`" not in answers


def test_the_pack_reads_data_without_labels(tmp_path: Path) -> None:
    """Their distances are on patches alone; where labels count too, they come first."""
    folder, out = write_comparison(tmp_path / "comparison"), tmp_path / "pack"

    def patches_first(content: Any) -> None:
        for each in content["runs"]:
            distances = [m for m in each["metrics"] if m["name"] == "frechet_distance"]
            on_patches = [
                {**m, "features": "patches", "value": 7.25, "low": 7.0, "high": 7.5}
                for m in distances
            ]
            each["metrics"] = on_patches + each["metrics"]

    change(folder / "results.json", patches_first)
    run("teachers_pack.py", folder, "--out", out)
    assert "| `vae:sigma` | 46.1 (" in (out / "answers.md").read_text(encoding="utf-8")

    def patches_alone(content: Any) -> None:
        for each in content["runs"]:
            each["metrics"] = [m for m in each["metrics"] if m.get("features") != "labels"]

    change(folder / "results.json", patches_alone)
    run("teachers_pack.py", folder, "--out", out)
    assert "| `vae:sigma` | 7.25 (" in (out / "answers.md").read_text(encoding="utf-8")


@pytest.mark.sweep
def test_two_recipes_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_npz(tmp_path / "bars.npz", *make_images(400))
    monkeypatch.chdir(tmp_path)
    run("compare_recipes.py", data, "0.32kimg")
    assert (tmp_path / "runs" / "example" / "best.png").is_file()
    best = capsys.readouterr().out.splitlines()[-1].split(": ")[1].split(",")[0]
    assert triptych.load(tmp_path / "runs" / "example" / best).record.done
