"""What no training gives stands beside the models: measured as they are, and never one of them."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import triptych
from tests.making import one_thread, open_tiny
from tests.test_formats import check_latex
from tests.test_page import change, draw_grid, metrics_of, read, write_comparison
from tests.test_verdict import comparison_of, runs_with
from triptych.cli import text
from triptych.comparison import compare as comparing
from triptych.config import POINT, ImageShape
from triptych.console import QUIET
from triptych.data.dataset import ImageData
from triptych.errors import InputError
from triptych.options import CompareRequest, TrainRequest
from triptych.pages import baseline
from triptych.pages.language import Language, Name, Sentence
from triptych.pages.load import Run, load_comparison
from triptych.pages.page import write_page
from triptych.pages.verdict import flattered
from triptych.records import (
    BaselineRecord,
    ComparisonResults,
    CostRecord,
    MeasuredOn,
    MetricRecord,
    Note,
    ResultsRecord,
)
from triptych.training.run_folder import RunFolder
from triptych.words import english

NEAREST = 0.9  # a distance below those of all models of `write_comparison`


def add_baseline(folder: Path, distance: float = NEAREST) -> Path:
    """A baseline in a written comparison: its results and a grid of samples."""
    results = json.loads((folder / "results.json").read_text())
    record = {
        "model": "mixture:mppca",
        "run": "baseline",
        "data": results["runs"][0]["data"],
        "metrics": metrics_of("mixture", distance, 1.003, 5.678),
        "cost": {"train_seconds": 6.5, "sample_seconds_per_image": 0.0002},
    }
    results["baseline"] = {"results": record, "note": None}
    (folder / "results.json").write_text(json.dumps(results))
    draw_grid(folder / "baseline" / "figures" / "samples.png")
    return folder


# The page


def bodies(page: str, kind: str) -> list[str]:
    """The parts of the tables of that class."""
    return re.findall(rf'<tbody class="{kind}">(.*?)</tbody>', page, re.DOTALL)


def test_it_has_a_row_below_the_models_of_every_table(tmp_path: Path) -> None:
    page = write_page(add_baseline(write_comparison(tmp_path))).read_text()
    rows, models = bodies(page, "baseline"), bodies(page, "models")
    assert len(rows) == len(models) == 4  # distances, samples, abilities, costs
    assert all("Without training" in row and "mixture:mppca" in row for row in rows)
    cells = [row.count("<td") for row in rows]
    assert cells == [model.split("</tr>")[0].count("<td") for model in models]
    assert f'data-sort="{NEAREST}"' in rows[0] and f'data-sort="{NEAREST + 1}"' in rows[0]
    assert 'data-sort="1.003"' in rows[1] and 'data-sort="5.678"' in rows[2]
    assert 'data-sort="6.5"' in rows[3] and 'class="bar"' not in rows[3]
    assert not any("mixture" in model for model in models)


def test_nothing_of_the_models_changes_beside_it(tmp_path: Path) -> None:
    """Neither marks, nor ranks, nor claims, nor how many comparisons are decided together."""
    before = write_comparison(tmp_path / "before")
    change(before / "results.json", lambda results: apart(results["runs"]))
    shutil.copytree(before, tmp_path / "after")
    add_baseline(tmp_path / "after")
    pages = [write_page(folder).read_text() for folder in (before, tmp_path / "after")]
    without, beside = ([*bodies(page, "models"), *bodies(page, "floor")] for page in pages)
    assert without == beside
    assert sum(row.count("value best") for row in beside) >= 2
    assert not any("best" in row for row in bodies(pages[1], "baseline"))
    told = [read(tmp_path / name / "report.html").words for name in ("before", "after")]
    for words in told:
        assert "The diffusion model has the lowest Fréchet distance" in words
    counted = [re.findall(r"([\d,]+) comparisons", words) for words in told]
    assert counted[0] == counted[1] and counted[0]


def apart(runs: Any) -> None:
    """Distances of the first two models a hundred times as large."""
    for run in runs[:2]:
        for metric in run["metrics"]:
            if metric["name"] == "frechet_distance":
                metric |= {end: 100 * metric[end] for end in ("value", "low", "high")}


def test_its_first_row_of_samples_is_a_strip_under_the_models(tmp_path: Path) -> None:
    page = write_page(add_baseline(write_comparison(tmp_path))).read_text()
    (strip,) = re.findall(r'<div class="strip panel fam-mixture".*?</figure>', page, re.DOTALL)
    assert page.index('id="samples"') < page.index(strip) < page.index('id="interpolation"')
    assert 'width="71" height="8"' in strip  # eight pictures of 8 pixels, 1 between them
    assert "Without training" in strip and "A row of samples" in strip
    (tmp_path / "baseline" / "figures" / "samples.png").unlink()
    again = write_page(tmp_path).read_text()
    assert 'class="strip' in again and 'width="71" height="8"' not in again


def test_why_there_is_none_is_told(tmp_path: Path) -> None:
    note = {"code": "baseline_failed", "values": {"reason": "three images are too few"}}
    write_comparison(tmp_path)
    change(
        tmp_path / "results.json",
        lambda results: results.update(baseline={"results": None, "note": note}),
    )
    for language, start in (
        ("en", "Nothing is shown here"),
        ("fr", "Le mélange sans entraînement n\N{RIGHT SINGLE QUOTATION MARK}est pas montré ici"),
    ):
        page = read(write_page(tmp_path, language=language))
        assert start in page.words and "three images are too few" in page.words
        assert 'class="baseline"' not in page.text and 'class="strip' not in page.text


def test_it_is_a_point_of_the_charts_of_cost(tmp_path: Path) -> None:
    """Where two models differ in a cost; its own cost makes no chart."""
    page = write_page(add_baseline(write_comparison(tmp_path))).read_text()
    charts = re.findall(r'<svg class="chart frontier".*?</svg>', page, re.DOTALL)
    assert len(charts) == 1  # they differ in the time of a sample, not in that of training
    assert charts[0].count("<circle") == 4
    assert re.search(r'<g class="fam-mixture">.*?>Without training</text>', charts[0])


@pytest.mark.parametrize("format", ["md", "tex"])
def test_texts_have_it_as_the_last_column(tmp_path: Path, format: str) -> None:
    path = write_page(add_baseline(write_comparison(tmp_path)), format=format)
    page = check_latex(path) if format == "tex" else path.read_text()
    sign, end = ("&", r"\\") if format == "tex" else ("|", "|")
    lines = [line.strip().removesuffix(end).strip() for line in page.splitlines()]
    heads = [line for line in lines if line.endswith("(mixture:mppca)")]
    assert len(heads) == 4 and all("Without training" in h.split(sign)[-1] for h in heads)
    (test, train) = (line for line in lines if re.match(r"[|{} ]*Fréchet distance", line))
    assert "0.9" in test.split(sign)[-1] and "1.9" in train.split(sign)[-1]
    files = {each.name for each in (tmp_path / "report_figures").iterdir()}
    assert any(name.startswith("samples-baseline") for name in files)


def test_files_of_the_tables_hold_it(tmp_path: Path) -> None:
    write_page(add_baseline(write_comparison(tmp_path)))
    with (tmp_path / "tables" / "measurements.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == "Without training"]
    known = {m["name"]: m["value"] for m in metrics_of("mixture", NEAREST, 1.003, 5.678)[1:]}
    assert {row["metric"]: float(row["value"]) for row in rows[1:] if row["value"]} == known
    assert float(rows[0]["value"]) == NEAREST
    for name in ("distance", "samples", "abilities", "costs"):
        lines = (tmp_path / "tables" / f"{name}.tex").read_text().splitlines()
        last = lines.index("\\bottomrule") - 1
        assert lines[last].startswith("Without training & ") and "textbf" not in lines[last]
        assert lines[last - 1] == "\\midrule"
        assert lines[last].count(" & ") == lines[last - 2].count(" & ")
    assert (tmp_path / "figures" / "samples-baseline.png").is_file()


# The verdict


def two_measures(
    runs: list[Run], labels: list[float], patches: list[float], shares: list[float]
) -> list[Run]:
    """The runs with a distance on both feature sets and a share of recognised images."""
    changed = []
    for run, *values in zip(runs, labels, patches, shares, strict=True):
        (first,) = run.metrics
        metrics = [
            replace(first, features=features, value=v, low=v - 0.5, high=v + 0.5, reference="test")
            for features, v in zip(("labels", "patches"), values[:2], strict=True)
        ]
        share = values[2]
        metrics.append(
            MetricRecord(
                name="recognisable", value=share, low=share - 0.02, high=share + 0.02, n=2000,
                better="higher", unit="share", features="labels",
            )
        )  # fmt: skip
        changed.append(replace(run, metrics=tuple(metrics)))
    return changed


def told(
    labels: list[float], patches: list[float], shares: list[float]
) -> dict[str, tuple[str, dict[str, list[str]]]]:
    """What is told of each family against a baseline of 20, 20 and 0.5, by family.

    Whether it is better in all, and by which measures it is not, by their clause.
    """
    runs = two_measures(runs_with("frechet_distance", [(0, 1)] * 3), labels, patches, shares)
    (own,) = two_measures(runs_with("frechet_distance", [(0, 1)]), [20.0], [20.0], [0.5])
    comparison = replace(comparison_of(runs), baseline=replace(own, model="mixture:mppca"))
    found = {}
    for sentence in baseline.tell(comparison):
        assert sentence.topic == "baseline"
        who, clauses = sentence.values["who"], sentence.values.get("clauses", ())
        assert isinstance(who, Name) and isinstance(clauses, tuple)
        by_clause = {}
        for clause in clauses:
            assert isinstance(clause, Sentence)
            by_clause[clause.key] = [key_of(each) for each in clause.values["measures"]]  # type: ignore[union-attr]
        found[who.family] = (sentence.key, by_clause)
    return found


def key_of(measure: Any) -> str:
    """What a noun is of: a distance with its features, or the share."""
    features = measure.values.get("features")
    return measure.key + (f" {features.key}" if isinstance(features, Sentence) else "")


ON_LABELS = "measure.frechet_distance features.labels"
ON_PATCHES = "measure.frechet_distance features.patches"
SHARE = "noun.recognisable"


def test_a_model_that_is_not_better_is_told_so() -> None:
    found = told([10.0, 30.0, 20.3], [10.0, 30.0, 10.0], [0.6, 0.6, 0.4])
    assert found["vae"] == ("baseline.better", {})
    worse = {"baseline.worse": [ON_LABELS, ON_PATCHES]}
    assert found["gan"] == ("baseline.partly", worse)
    nowhere = told([30.0, 20.3, 10.0], [30.0, 20.3, 10.0], [0.4, 0.505, 0.6])
    assert (nowhere["vae"][0], nowhere["gan"][0]) == ("baseline.not_better", "baseline.not_known")
    both = {"baseline.worse": [SHARE], "baseline.open": [ON_LABELS]}
    assert found["diffusion"] == ("baseline.partly", both)


def test_a_distance_that_the_other_feature_set_contradicts_makes_no_model_better() -> None:
    found = told([10.0, 10.0, 10.0], [30.0, 20.0, 10.0], [0.6, 0.6, 0.6])
    assert found["vae"] == ("baseline.partly", {"baseline.disputed": [ON_LABELS, ON_PATCHES]})
    assert found["gan"] == ("baseline.partly", {"baseline.open": [ON_PATCHES]})
    assert found["diffusion"] == ("baseline.better", {})


def test_what_nobody_decided_is_not_told_as_no_better() -> None:
    """First no number sees a difference; then both distances dispute it and the share is open."""
    open_all = told([20.0, 10.0, 10.0], [20.0, 10.0, 10.0], [0.5, 0.6, 0.6])
    assert open_all["vae"] == (
        "baseline.not_known",
        {"baseline.open": [ON_LABELS, ON_PATCHES, SHARE]},
    )
    disputed = told([10.0, 10.0, 10.0], [30.0, 10.0, 10.0], [0.5, 0.6, 0.6])
    both = {"baseline.disputed": [ON_LABELS, ON_PATCHES], "baseline.open": [SHARE]}
    assert disputed["vae"] == ("baseline.not_known", both)
    # Where the other set alone sees a difference, that is a finding and this one is open.
    one = told([19.9, 10.0, 10.0], [30.0, 10.0, 10.0], [0.5, 0.6, 0.6])
    assert one["vae"] == (
        "baseline.not_better",
        {"baseline.worse": [ON_PATCHES], "baseline.open": [ON_LABELS, SHARE]},
    )


def test_differences_from_it_hold_one_error_together() -> None:
    """0.85 of deviation 0.36 has p = 0.0185: enough for the last one, too much for three."""
    one = told([19.15, 10.0, 10.0], [10.0, 10.0, 10.0], [0.6, 0.6, 0.6])
    assert one["vae"] == ("baseline.better", {})
    three = told([19.15, 19.15, 19.15], [10.0, 10.0, 10.0], [0.6, 0.6, 0.6])
    assert three["vae"] == ("baseline.partly", {"baseline.open": [ON_LABELS]})


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("en", "The GAN is not better than the mixture that needs no training: worse by"),
        ("fr", "Le GAN ne fait pas mieux que le mélange sans entraînement : pire selon"),
    ],
)
def test_it_is_told_in_words(tmp_path: Path, code: str, expected: str) -> None:
    """Distances of 13.2 and 46.1 against 11; recognised shares are all equal."""
    folder = add_baseline(write_comparison(tmp_path), distance=11.0)
    words = [Language(code).tell(each) for each in baseline.tell(load_comparison(folder))]
    assert len(words) == 3
    plain = [
        " ".join(each.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").split()) for each in words
    ]
    assert plain[1].startswith(expected)
    shown = " ".join(read(write_page(folder, language=code)).words.split())
    assert " ".join(words[1].split()) in shown


# Records


def test_a_baseline_is_numbers_or_the_reason_why_there_are_none(tmp_path: Path) -> None:
    values = json.loads((add_baseline(write_comparison(tmp_path)) / "results.json").read_text())
    record = ComparisonResults.read(values)
    again = ComparisonResults.read(json.loads(json.dumps(record.to_json())))
    assert again == record and record.baseline is not None
    assert record.baseline.results is not None and record.baseline.results.run == "baseline"
    for wrong in ({"results": None, "note": None}, values["baseline"] | {"note": {"code": "x"}}):
        with pytest.raises(ValueError, match="either results or the reason"):
            ComparisonResults.read(values | {"baseline": wrong})
    del values["baseline"]
    assert ComparisonResults.read(values).baseline is None
    assert "baseline" not in ComparisonResults.read(values).to_json()


# A comparison


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return open_tiny(tmp_path_factory.mktemp("data"), labeled=False)


ASKED: dict[str, Any] = {"budget": "640img", "count": 20, "features": "patches"}


@pytest.fixture(scope="module")
def compared(data: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared") / "comparison"
    triptych.compare(["vae:course"], data, out=folder, machine=one_thread(), **ASKED)
    return folder


def results_of(folder: Path) -> Any:
    return json.loads((folder / "results.json").read_text())


def test_every_comparison_has_one_that_is_measured_as_the_models(compared: Path) -> None:
    results = results_of(compared)
    (model,), own = results["runs"], results["baseline"]["results"]
    assert own["model"] == "mixture:mppca" and own["run"] == "baseline"
    keys = [
        [(m["name"], m["reference"], m["features"]) for m in r["metrics"]] for r in (model, own)
    ]
    assert keys[0] == keys[1]
    counts = [{m["name"]: m["n"] for m in r["metrics"] if m["value"]} for r in (model, own)]
    assert all(counts[1][name] == n for name, n in counts[0].items() if name in counts[1])
    assert results["differences"] == []
    contract = json.loads((compared / "contract.json").read_text())
    assert contract["runs"] == ["vae-course-s0"] and contract["differences"] == []
    assert json.loads((compared / "baseline" / "results.json").read_text()) == own
    with Image.open(compared / "baseline" / "figures" / "samples.png") as picture:
        assert np.asarray(picture).std() > 5


def test_the_terminal_s_table_ends_with_it(compared: Path) -> None:
    results = comparing.read_comparison(compared)
    lines = text.results(results.runs, Path("page"), results.baseline).splitlines()
    place = lines.index("mixture:mppca  (without training)")
    assert lines[0] == "vae:course  (vae-course-s0)" and place > 10
    assert lines[place + 1].startswith("  frechet_distance") and lines[-1] == "report: page"
    assert "mixture" not in text.results(results.runs, Path("page"))


def test_the_same_comparison_again_fits_none_and_may_leave_it_out(
    compared: Path, data: ImageData, tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(compared, folder)
    before = results_of(folder)
    record = (folder / "baseline" / "run.json").read_bytes()
    triptych.compare(["vae:course"], data, out=folder, machine=one_thread(), **ASKED)
    assert (folder / "baseline" / "run.json").read_bytes() == record
    ours, theirs = (
        each["baseline"]["results"]["metrics"][0] for each in (before, results_of(folder))
    )
    assert ours == theirs
    page = triptych.compare(
        ["vae:course"], data, out=folder, machine=one_thread(), no_baseline=True, **ASKED
    )
    assert "baseline" not in results_of(folder) and "Without training" not in page.read_text()


SHAPE = ImageShape(channels=3, resolution=16)


def entries(*models: str) -> comparing.Entries:
    return comparing.Entries.parse(models)


def test_a_model_s_name_is_no_folder_and_a_home_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for name in ("gan", "vae", "other"):
        Path(name).mkdir()
        Path(name, "run.json").touch()
    found = entries("gan", "vae:course", "./gan", "vae/", "~/other")
    assert [str(each) for each in found.variants] == ["gan:r1", "vae:course"]
    assert [each.path for each in found.finished] == [
        Path("gan"), Path("vae"), tmp_path / "other"
    ]  # fmt: skip
    asked = CompareRequest(models=("gan", Path("gan")))  # type: ignore[arg-type]
    assert asked.models == ("gan", f".{os.sep}gan")


def test_it_is_wanted_unless_refused_or_a_mixture_is_compared(compared: Path) -> None:
    """It takes no setting and no labels of the models, but their images."""
    asked = CompareRequest(
        models=("gan",), set=("ema=0.1",), conditional=True, flip=True, budget="1m", size="small"
    )
    found = comparing.wants_baseline(asked, entries("gan"), SHAPE)
    assert found == TrainRequest(model="mixture:mppca", flip=True, size="small")
    refused = replace(asked, no_baseline=True)
    assert comparing.wants_baseline(refused, entries("gan"), SHAPE) is None
    assert "--no-baseline" in refused.command()
    assert comparing.wants_baseline(asked, entries("gan", "mixture,groups=20"), SHAPE) is None
    assert comparing.wants_baseline(asked, entries(str(compared / "baseline")), SHAPE) is None
    assert comparing.wants_baseline(asked, entries(str(compared / "vae-course-s0")), SHAPE) == found
    assert comparing.wants_baseline(asked, entries("gan"), POINT) is None  # a mixture of images


def failing(error: Exception) -> Callable[[RunFolder], Any]:
    def measure(folder: RunFolder) -> Any:
        raise error

    return measure


@pytest.mark.parametrize(
    "error", [InputError("too few", "give more"), ValueError("too few: give more\nfar more")]
)
def test_where_it_cannot_be_measured_the_comparison_goes_on(
    error: Exception, data: ImageData, tmp_path: Path
) -> None:
    wanted = TrainRequest(model="mixture:mppca", size="tiny")
    found = comparing.make_baseline(wanted, data, tmp_path, failing(error), one_thread(), QUIET)
    expected = Note("baseline_failed", {"reason": "too few: give more"})
    assert found == BaselineRecord(note=expected)
    assert "(too few: give more)" in english(expected)
    assert (
        comparing.make_baseline(None, data, tmp_path, failing(error), one_thread(), QUIET) is None
    )


def test_the_baseline_of_an_earlier_version_is_kept(data: ImageData, tmp_path: Path) -> None:
    """Its settings may be others than today's; a comparison that is gone on with keeps its own."""
    wanted = TrainRequest(model="mixture:mppca", size="tiny")
    earlier = replace(wanted, set=("exemplars=0",))

    def measure(run: RunFolder) -> ResultsRecord:
        images = MeasuredOn(name="x", fingerprint="x", train=1, validation=1, test=1)
        return ResultsRecord(model=run.read().model, data=images, metrics=(), cost=CostRecord())

    for request in (earlier, wanted):
        found = comparing.make_baseline(request, data, tmp_path, measure, one_thread(), QUIET)
        assert found is not None and found.note is None
    assert RunFolder(tmp_path / "baseline").read().settings["exemplars"] == 0


def test_draws_of_the_baseline_alone_are_said() -> None:
    """Where a model beside it does not draw around training images, and nowhere else."""
    runs, around = (
        runs_with("frechet_distance", [(1.0, 2.0)] * 3),
        (Note("prior_of_training_images"),),
    )
    mixture = Run(name="baseline", model="mixture:mppca", warnings=around)

    def told(baseline: Run | None, *warned: int) -> bool:
        those = [replace(run, warnings=around * (i in warned)) for i, run in enumerate(runs)]
        sentences = flattered(replace(comparison_of(those), baseline=baseline))
        return "flattered.baseline" in [sentence.key for sentence in sentences if sentence]

    assert told(mixture) and told(mixture, 1)
    assert not told(mixture, 0, 1, 2)
    assert not told(replace(mixture, warnings=())) and not told(None)


def test_samples_cannot_be_called_as_its_folder(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((2, 8, 8, 3), dtype=np.uint8))
    source = comparing.SampleSource.parse(f"baseline={tmp_path / 'a.npz'}")
    with pytest.raises(InputError, match="cannot be called baseline here"):
        comparing.folders_of_samples([source], [])
