"""The scripts of `examples/` do what their first lines say."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
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
