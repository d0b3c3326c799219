"""What `triptych.compare` gives: a path as before, which shows the comparison in a notebook."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.test_notebook import NASTY, Page
from tests.test_page import change, write_comparison
from triptych.pages.page import write_page
from triptych.pages.shown import Report


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_comparison(tmp_path_factory.mktemp("comparison"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Iterator[Path]:
    yield Path(shutil.copytree(whole, tmp_path / "c"))


def test_a_report_is_the_path_that_scripts_took_it_for(folder: Path) -> None:
    page = write_page(folder)
    report = Report(page)
    assert os.fspath(report) == str(report) == f"{report}" == str(page)
    assert report == page and page == report and report == Report(page) and report != folder
    assert {report: 1}[page] == 1  # type: ignore[index]
    assert report.parent == folder and report.name == "report.html" and report.exists()
    assert report.read_text() == page.read_text() and Path(report) == page
    assert report.parent / "x" == folder / "x" and report / ".." == page / ".."
    with open(report) as file:  # noqa: PTH123
        assert file.read() == page.read_text()
    assert copy.copy(report) == copy.deepcopy(report) == report
    assert repr(report) == f"Report('{page}')"
    with pytest.raises(AttributeError):
        report.nothing  # noqa: B018
    assert report.results.runs[0].model == "vae:sigma"


def test_a_report_shows_samples_and_numbers_of_every_model(folder: Path) -> None:
    page = Page(Report(folder / "report.html")._repr_html_())
    assert len(page.sources) == 3 and page.alts == ["VAE", "GAN", "Diffusion"]
    assert "street-digits" in page.texts and str(folder / "report.html") in page.texts
    first = page.texts.index("Real images")  # the last column's head
    assert page.texts[first - 3 : first] == ["VAE", "GAN", "Diffusion"]
    shown = " ".join(page.texts)
    for model in json.loads((folder / "results.json").read_text())["runs"]:
        [distance] = [m for m in model["metrics"] if m["name"] == "frechet_distance"][:1]
        assert f"{distance['value']:.1f}" in shown


def test_numbers_of_two_kinds_of_features_have_names_of_their_own(folder: Path) -> None:
    def on_patches_too(results: Any) -> None:
        for run in results["runs"]:
            [distance] = [m for m in run["metrics"] if m["name"] == "frechet_distance"][:1]
            run["metrics"].append(distance | {"features": "patches"})

    change(folder / "results.json", on_patches_too)
    shown = Page(Report(folder / "report.html")._repr_html_()).texts
    names = [text for text in shown if text.startswith("Fréchet distance")]
    assert len(set(names)) == len(names) > 1
    assert any("image patches" in name for name in names)


def test_names_of_strangers_are_texts_and_no_tags(folder: Path) -> None:
    change(folder / "contract.json", lambda contract: contract["data"].update(name=NASTY))
    change(folder / "results.json", lambda results: results["runs"][0].update(model=NASTY))
    page = Page(Report(folder / "report.html")._repr_html_())
    assert NASTY in page.texts


def test_a_report_that_is_gone_shows_why(tmp_path: Path) -> None:
    page = Page(Report(tmp_path / "report.html")._repr_html_())
    assert "contract.json" in page.texts[1] and "triptych compare" in page.texts[1]


def test_a_french_comparison_shows_itself_in_french(folder: Path) -> None:
    assert "Vraies images" in Page(Report(folder / "report.html", "fr")._repr_html_()).texts
