"""Tables and charts as files: whole, readable by others, and the same numbers as the page's."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from tests.test_page import change, move_apart, write_comparison
from triptych.pages.exports import escape
from triptych.pages.page import write_page


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_comparison(tmp_path_factory.mktemp("comparison"))
    write_page(folder)
    return folder


def test_the_csv_holds_every_number_as_it_was_measured(written: Path) -> None:
    text = (written / "tables" / "measurements.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    results = json.loads((written / "results.json").read_text())["runs"]
    expected = {
        (metric["name"], metric.get("reference", "none"), str(metric["value"]), str(metric["low"]))
        for result in results
        for metric in result["metrics"]
        if metric["value"] is not None
    }
    rows_with_value = {
        (r["metric"], r["reference"], r["value"], r["low"]) for r in rows if r["value"]
    }
    assert rows_with_value == expected
    undefined = [r for r in rows if r["kind"] == "not defined"]
    assert undefined and all(r["value"] == "" and r["note"] for r in undefined)


def test_latex_rows_are_as_wide_as_their_head(written: Path) -> None:
    tables = sorted((written / "tables").glob("*.tex"))
    assert {path.stem for path in tables} == {"distance", "samples", "abilities", "costs"}
    for path in tables:
        lines = path.read_text().splitlines()
        columns = re.search(r"\{(l+r*)\}", lines[1])
        assert columns is not None
        rows = [line for line in lines if line.endswith("\\\\")]
        assert len(rows) >= 4
        assert {line.count(" & ") + 1 for line in rows} == {len(columns[1])}
        assert not re.search(r"(?<!\\)%", "".join(lines[1:]))


def test_the_best_is_bold_where_another_training_would_not_turn_it(written: Path) -> None:
    """One training each: distances of 13.2 and 9.1 may be luck, 132 and 9.1 are not."""
    assert "textbf" not in (written / "tables" / "distance.tex").read_text()
    apart = written.parent / "apart"
    shutil.copytree(written, apart)
    change(apart / "results.json", lambda results: move_apart(results["runs"]))
    write_page(apart)
    text = (apart / "tables" / "distance.tex").read_text()
    best = [line for line in text.splitlines() if "textbf" in line]
    assert len(best) == 1 and best[0].startswith("Diffusion") and "\\textbf{9.1" in best[0]


def test_real_images_stand_above_the_models(written: Path) -> None:
    """Their scores are the floors of the columns that have one."""
    for name, floor in (("distance", "0.8"), ("samples", r"96.7~\%")):
        lines = (written / "tables" / f"{name}.tex").read_text().splitlines()
        after = lines[lines.index("\\midrule") + 1]
        assert after.startswith("Real images & ") and floor in after


def test_signs_of_latex_are_escaped() -> None:
    assert escape("a_b & 5 % {x}~\\") == (
        "a\\_b \\& 5 \\% \\{x\\}\\textasciitilde{}\\textbackslash{}"
    )


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_takes_them(written: Path, tmp_path: Path) -> None:
    body = "\n\n".join(path.read_text() for path in (written / "tables").glob("*.tex"))
    document = (
        "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage[utf8]{inputenc}"
        f"\\usepackage{{booktabs}}\\begin{{document}}\\tiny {body}\\end{{document}}"
    )
    (tmp_path / "a.tex").write_text(document)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "a.tex"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0


def test_charts_are_pictures_and_vector_graphics(written: Path) -> None:
    charts = sorted((written / "figures").glob("quality-against-*"))
    assert len(charts) == 2  # training times are alike, sampling times are not
    for path in charts:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert min(picture.size) > 500
        else:
            text = "".join(ElementTree.parse(path).getroot().itertext())
            for words in ("VAE", "GAN", "Diffusion", "Time per sample", "Fréchet distance"):
                assert words in text


def test_every_model_s_pictures_stand_side_by_side(written: Path) -> None:
    names = {path.name for path in (written / "figures").glob("samples-*.png")}
    assert names == {f"samples-{m}-s0.png" for m in ("vae-sigma", "gan-hinge", "diffusion-edm")}


def test_a_page_that_goes_elsewhere_leaves_no_files(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "comparison")
    change(folder / "results.json", lambda content: content["runs"].pop())
    before = sorted(folder.rglob("*"))
    write_page(folder, tmp_path / "elsewhere.html", language="fr")
    assert sorted(folder.rglob("*")) == before


def test_french_tables_have_french_heads(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path)
    write_page(folder, language="fr")
    assert "Distance de Fréchet" in (folder / "tables" / "distance.tex").read_text()
