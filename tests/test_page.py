"""The page says what the numbers support, shows all of them, and asks nothing of the network."""

import base64
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from triptych.comparison.compare import read_comparison, read_measured
from triptych.errors import InputError
from triptych.files import parse_json
from triptych.pages.claims import troubles_of
from triptych.pages.course import answer_all
from triptych.pages.language import Language
from triptych.pages.load import load_comparison
from triptych.pages.page import list_conditions, write_page
from triptych.pages.panels import Figure, load_figure, measure_paths, plain_name
from triptych.pages.shown import Report
from triptych.records import Note

NO_DENSITY = {"code": "gan_no_density", "values": {}}
NO_ENCODER = {"code": "text", "values": {"text": "no encoder yet"}}  # a plug-in's own words
EARLIER = Path(__file__).parent / "earlier" / "comparison"  # whole records, to be changed
VOID = {"meta", "img", "br", "link", "input", "hr"}


# A comparison as the other parts of Triptych write it


def metric(name: str, value: float | None, half: float = 0.0, **more: Any) -> dict[str, Any]:
    """A metric with the interval value +- half; None is not defined."""
    if value is None:
        return {
            "name": name,
            "value": None,
            "low": None,
            "high": None,
            "kind": "not defined",
            **more,
        }
    ends = {"low": value - half, "high": value + half}
    return {"name": name, "value": value, **ends, "n": 2000, "kind": "estimate", **more}


def metrics_of(family: str, distance: float, sharpness: float, bits: float | None) -> list[Any]:
    distances = {"better": "lower", "features": "labels", "method": "delete-group jackknife"}
    metrics = [
        metric("frechet_distance", distance, 0.5, floor=0.8, reference="test", **distances),
        metric("frechet_distance", distance + 1, 0.5, floor=0.6, reference="train", **distances),
        metric("recognisable", 0.431, 0.02, floor=0.967, unit="share", better="higher"),
        metric("sharpness", sharpness, 0.015, floor=1.0, unit="ratio to real", better="floor"),
    ]
    if family == "gan":
        metrics.append(metric("bits_per_dim", None, note=NO_DENSITY))
        metrics.append(metric("reconstruction_psnr", None, note=NO_ENCODER))
    else:
        bound = {"unit": "bits per dimension", "better": "lower", "reference": "test"}
        metrics.append(metric("bits_per_dim", bits, 0.03, **bound) | {"kind": "upper bound"})
    return metrics


def draw_grid(path: Path, rows: int = 8, columns: int = 8, **words: Any) -> None:
    """A grid of 8x8 images with a gap of 1 pixel, brighter towards the right, and its JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((rows * 9 - 1, columns * 9 - 1, 3), 255, dtype=np.uint8)
    for row in range(rows):
        for column in range(columns):
            top, left = row * 9, column * 9
            pixels[top : top + 8, left : left + 8] = 20 + 20 * column
    Image.fromarray(pixels).save(path)
    layout = {"defined": True, "rows": rows, "columns": columns, "cell": [8, 8], "gap": 1, **words}
    path.with_suffix(".json").write_text(json.dumps(layout))


def write_run_json(folder: Path, **changes: Any) -> None:
    record = json.loads((EARLIER / "vae-sigma-s0" / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | changes))


def write_run(folder: Path, result: dict[str, Any]) -> None:
    family = result["model"].split(":")[0]
    for name in ("samples", "interpolation"):
        draw_grid(folder / "figures" / f"{name}.png")
    reason = {"defined": False, "note": NO_ENCODER}
    (folder / "figures" / "reconstruction.json").write_text(json.dumps(reason))
    for images in (640, 3200, 6400):
        draw_grid(folder / "samples" / f"{images:09d}.png")
    command = f"triptych train {result['model']} --budget 6.4kimg"
    write_run_json(folder, command=command, settings={"optimizer": {"rate": 1}})
    objective = {"vae": "bound", "gan": "critic", "diffusion": "denoiser"}.get(family, "loss")
    lines: list[dict[str, Any]] = [
        {"event": "start"},
        {"event": "warning", "note": {"code": "text", "values": {"text": "tired"}}},
    ]
    for step in range(1, 30):
        losses = {f"{objective}/total": 3.0 / step, f"{objective}/other": 1.0}
        speed = {"images_per_second": 950.0}
        lines.append({"event": "losses", "images": 64 * step, "losses": losses, **speed})
    (folder / "log.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + '\n{"torn')


def write_comparison(folder: Path, **changes: Any) -> Path:
    """Three finished runs; `changes` go into contract.json."""
    numbers = {"vae:sigma": (46.1, 0.412, 4.31), "gan:hinge": (13.2, 1.13, None)}
    numbers["diffusion:edm"] = (9.1, 0.99, 3.12)
    data = {"name": "street-digits", "train": 16200, "validation": 1800, "test": 4000}
    measured_on = data | {"fingerprint": "794a621c1132f0d0"}
    results = []
    for index, (model, (distance, sharpness, bits)) in enumerate(numbers.items()):
        family = model.split(":")[0]
        cost = {"train_seconds": 75.0 + index, "sample_seconds_per_image": 0.0003 * 13**index}
        result = {"model": model, "run": model.replace(":", "-") + "-s0", "cost": cost}
        result["data"] = measured_on
        result["metrics"] = metrics_of(family, distance, sharpness, bits)
        results.append(result)
        write_run(folder / str(result["run"]), result)
    contract = json.loads((EARLIER / "contract.json").read_text())
    contract["data"] |= data | {"notes": []}
    contract |= {"runs": [result["run"] for result in results], "command": "triptych compare"}
    draw_grid(folder / "figures" / "real.png")
    (folder / "contract.json").write_text(json.dumps(contract | changes))
    (folder / "results.json").write_text(json.dumps({"schema": 1, "runs": results}))
    return folder


def change(path: Path, edit: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


class Page(HTMLParser):
    """Elements, attributes and words of a page; fails on tags that do not balance."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if "script" not in self.open and "style" not in self.open:
            self.words += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


# The page


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("course", [False, True])
def test_page_is_whole_and_self_contained(tmp_path: Path, language: Any, course: bool) -> None:
    page = read(write_page(write_comparison(tmp_path), language=language, course=course))
    assert page.text.startswith("<!doctype html>")
    assert f'lang="{language}"' in page.text
    for request in ("http:", "https:", 'src="/', "fetch(", "@import", "url("):
        assert request not in page.text
    assert not page.all("link") and not any("src" in each for each in page.all("script"))
    for image in page.all("img"):
        assert (image["src"] or "").startswith("data:image/png;base64,")
        assert image["alt"]
    for link in page.all("a"):
        assert (link["href"] or "").startswith("#")
    targets = {attributes.get("id") for _, attributes in page.elements}
    assert {(link["href"] or "")[1:] for link in page.all("a")} <= targets
    for anchor in (
        "interpolation-vae-sigma-s0",
        "samples-gan-hinge-s0",
        "samples-diffusion-edm-s0",
    ):
        assert page.text.count(f'href="#{anchor}"') >= 1
    questions, verdict = page.text.index('id="practical"'), page.text.index('id="verdict"')
    assert (questions < verdict) == course


def test_every_figure_is_embedded_as_it_is(tmp_path: Path) -> None:
    page = read(write_page(write_comparison(tmp_path)))
    for path in [*tmp_path.glob("*/figures/*.png"), tmp_path / "figures" / "real.png"]:
        assert base64.b64encode(path.read_bytes()).decode() in page.text
    assert page.words.count("After 6,400 images") == 3


def test_numbers_of_the_page_are_those_of_the_json(tmp_path: Path) -> None:
    write_comparison(tmp_path)
    page = read(write_page(tmp_path))
    sorted_by = [
        float(cell["data-sort"] or "nan") for cell in page.all("td") if "data-sort" in cell
    ]
    for result in json.loads((tmp_path / "results.json").read_text())["runs"]:
        values = [each["value"] for each in result["metrics"] if each["value"] is not None]
        for value in [*values, *result["cost"].values()]:
            assert value in sorted_by
    for words in (
        "46.1",
        "[45.6,\N{NO-BREAK SPACE}46.6]",
        "0.41",
        "[0.40,\N{NO-BREAK SPACE}0.43]",
        "3.12",
        "75.0\N{NO-BREAK SPACE}s",
    ):
        assert words in page.words


def test_undefined_is_said_with_its_reason_and_never_a_number(tmp_path: Path) -> None:
    page = read(write_page(write_comparison(tmp_path)))
    cells = [cell for cell in page.all("td") if cell.get("class") == "undefined"]
    reason = Language().note(Note("gan_no_density"))
    assert {cell["title"] for cell in cells} == {reason, "no encoder yet"}
    assert all("data-sort" not in cell for cell in cells)
    assert page.words.count(reason) >= 2  # in the verdict and under the table
    french = read(write_page(tmp_path, tmp_path / "fr.html", "fr"))
    assert Language("fr").note(Note("gan_no_density")) in french.words
    assert reason not in french.words


def test_a_comparison_of_the_version_before_is_shown_in_french(tmp_path: Path) -> None:
    """Its notes are English sentences; one that no version wrote stays as it is."""
    sentence = "a GAN has no explicit density: its likelihood is not defined"
    write_comparison(tmp_path, differences=["told the labels, as the others were not: a"])

    def earlier(results: Any) -> None:
        few = "fewer than 2,000 samples: read the interval, not the value"
        results["runs"][0]["warnings"] = [few, "of nobody"]
        for metric in results["runs"][1]["metrics"]:
            if "note" in metric:
                metric["note"] = sentence

    change(tmp_path / "results.json", earlier)
    words = read(write_page(tmp_path, language="fr")).words
    assert Language("fr").note(Note("gan_no_density")) in words and sentence not in words
    assert "Moins de 2\N{NARROW NO-BREAK SPACE}000 échantillons" in words and "Of nobody" in words
    assert "ntraînement avec les étiquettes, contrairement aux autres" in words


def test_best_is_marked_only_beyond_what_trainings_differ_by(tmp_path: Path) -> None:
    """One training each: 9.1 is decided of these runs, and 13.2 may be the luck of training."""
    write_comparison(tmp_path)

    def marked() -> list[float]:
        cells = read(write_page(tmp_path)).all("td")
        return [float(c["data-sort"] or 0) for c in cells if c.get("class") == "value best"]

    assert marked() == []
    page = read(write_page(tmp_path))
    assert "The diffusion model has the lowest Fréchet distance" in page.words
    change(tmp_path / "results.json", lambda results: move_apart(results["runs"]))
    assert marked() == [9.1, 10.1]  # no spread of bits is known; recognisable shares are equal


def move_apart(runs: Any) -> None:
    """Distances of the first two models ten times as large."""
    for run in runs[:2]:
        for metric in run["metrics"]:
            if metric["name"] == "frechet_distance":
                metric |= {end: 10 * metric[end] for end in ("value", "low", "high")}


def test_the_caution_of_single_trainings_stands_first(tmp_path: Path) -> None:
    page = read(write_page(write_comparison(tmp_path)))
    caution = page.text.index("is about these runs, not about what their families can do")
    assert page.text.index('id="verdict"') < caution < page.text.index('class="lead"')
    assert "comparisons between models. They are decided together (Holm)" in page.words
    heads = re.findall(r'<div class="topic-(\w+)">', page.text)
    assert len(heads) == len(set(heads))  # no two blocks are headed alike


def test_differences_are_loud(tmp_path: Path) -> None:
    write_comparison(tmp_path)
    assert 'role="alert"' not in write_page(tmp_path).read_text()
    change(tmp_path / "contract.json", lambda c: c.update(differences=["other data"], forced=True))
    page = read(write_page(tmp_path))
    assert 'role="alert"' in page.text
    assert "other data" in page.words
    assert page.text.index("other data") < page.text.index('id="verdict"')
    assert Language().text("caution.unequal") in page.words
    assert 'class="alert"' in page.text and Language().text("alert.title") in page.words


def test_training_times_that_drifted_are_marked_mildly(tmp_path: Path) -> None:
    """A budget in seconds is kept to within what the machine allows: said, but not in red."""
    write_comparison(tmp_path, differences=["true training seconds differ by more than 10 %: a 70"])
    page = read(write_page(tmp_path))
    assert 'class="alert mild"' in page.text and "a 70" in page.words
    assert Language().text("alert.title") not in page.words


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    write_comparison(tmp_path, differences=[evil], command=evil)
    change(tmp_path / "contract.json", lambda c: c["data"].update(name=evil, notes=[evil]))

    def spoil(results: Any) -> None:
        for run in results["runs"]:
            run |= {"model": evil, "run": evil, "warnings": [evil]}
            for each in run["metrics"]:
                each |= {"features": evil, "note": evil, "unit": '"><img src=x>', "method": evil}

    change(tmp_path / "results.json", spoil)
    log = tmp_path / "vae-sigma-s0" / "log.jsonl"
    entry = {"event": "losses", "images": 64, "losses": {f"{evil}/{evil}": 1.0}}
    log.write_text(json.dumps(entry))
    page = read(write_page(tmp_path))
    assert evil not in page.text
    assert len(page.all("script")) == 1
    assert evil in page.words


@pytest.mark.parametrize(
    ("code", "before"), [("en", "Before training"), ("fr", "Avant l’entraînement")]
)
def test_a_grid_of_no_images_seen_is_from_before_training(
    tmp_path: Path, code: str, before: str
) -> None:
    write_comparison(tmp_path)
    draw_grid(tmp_path / "vae-sigma-s0" / "samples" / f"{0:09d}.png")
    page = read(write_page(tmp_path, language=code))
    assert page.words.count(before) == 1
    assert not re.search(r"(After|Après) 0\b", page.words)


def test_missing_and_broken_figures_do_not_stop_the_page(tmp_path: Path) -> None:
    write_comparison(tmp_path)
    (tmp_path / "vae-sigma-s0" / "figures" / "samples.png").unlink()
    (tmp_path / "gan-hinge-s0" / "figures" / "samples.png").write_bytes(b"\x89PNG not really")
    (tmp_path / "gan-hinge-s0" / "figures" / "interpolation.json").write_text("[1, ")
    (tmp_path / "vae-sigma-s0" / "run.json").unlink()
    (tmp_path / "vae-sigma-s0" / "log.jsonl").write_text('[]\n{"event": "losses"}\nnonsense')
    page = read(write_page(tmp_path))
    assert "No picture: the file was not found" in page.words
    assert "No picture: the file cannot be read" in page.words
    assert "No losses were recorded for the VAE." in page.words
    change(tmp_path / "contract.json", lambda contract: contract.update(runs=["gone", "/gone"]))
    change(tmp_path / "results.json", lambda results: results["runs"][0].update(metrics=[]))
    assert "No picture" in read(write_page(tmp_path)).words


def test_a_comparison_of_nothing_is_still_a_page(tmp_path: Path) -> None:
    write_comparison(tmp_path, runs=[])
    (tmp_path / "results.json").write_text('{"runs": []}')
    page = read(write_page(tmp_path))
    assert Language().text("verdict.empty") in page.words


@pytest.mark.parametrize("name", ["contract.json", "results.json"])
@pytest.mark.parametrize(
    "content", [None, "", "[1]", "{}", '{"runs": [{"model": 3, "metrics": [{}]}]}']
)
def test_missing_or_corrupt_files_name_path_and_mend(
    tmp_path: Path, name: str, content: str | None
) -> None:
    path = write_comparison(tmp_path) / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InputError, match=re.escape(str(path)) + ".*triptych compare"):
        write_page(tmp_path)


@pytest.mark.parametrize("damage", [{"value": "9"}, {"value": True}, {"low": [1]}, {"odd": 1}])
def test_a_metric_that_is_none_is_named(tmp_path: Path, damage: dict[str, Any]) -> None:
    write_comparison(tmp_path)
    change(tmp_path / "results.json", lambda r: r["runs"][0]["metrics"][0].update(damage))
    [name] = damage
    with pytest.raises(InputError, match=rf"results\.json .*runs\.0\.metrics\.0\.{name}"):
        write_page(tmp_path)


def test_several_trainings_are_a_row_of_means_above_rows_of_their_own() -> None:
    loaded = load_comparison(EARLIER)
    names = ("vae-sigma-s0", "vae-sigma-s1")
    assert [(run.trainings, run.seed) for run in loaded.runs] == [(names, None)]
    assert [(run.name, run.seed) for run in loaded.trainings] == [(names[0], 0), (names[1], 1)]
    assert all(run.folder == EARLIER / run.name for run in loaded.trainings)


def test_nothing_that_befell_a_later_training_is_hidden(tmp_path: Path) -> None:
    """Pictures and charts are of the first and say so; warnings, advice and commands are of all."""
    shutil.copytree(EARLIER, tmp_path, dirs_exist_ok=True)
    (first, second) = (tmp_path / f"vae-sigma-s{seed}" for seed in (0, 1))
    for kind in ("figures/samples", "samples/000000640"):
        draw_grid(first / f"{kind}.png")
    advice = [{"code": "unused_latent", "values": {"active": 0, "n": 2, "kl": 0.0}}]
    diagnosis = {"event": "diagnosis", "images": 640, "numbers": {"rate": 9.0}, "advice": advice}
    warned = {"event": "warning", "note": {"code": "text", "values": {"text": "tired"}}}
    with (second / "log.jsonl").open("a") as log:
        log.writelines(json.dumps(line) + "\n" for line in (diagnosis, warned))
    [row] = load_comparison(tmp_path).runs
    assert Note("text", {"text": "tired"}) in row.warnings
    assert "unused_latent" in [note.code for note in troubles_of(row)]
    assert all(each.numbers.get("rate") != 9.0 for each in row.diagnoses)
    page = read(write_page(tmp_path))
    assert "charts: first of 2 trainings; warnings: all of them" in page.words
    assert "Samples generated after training. First of 2 trainings." in page.words
    assert "After 640 images (first of 2 trainings)" in page.words
    assert "--seed 1" in page.words and "Tired" in page.words


def test_what_was_held_equal_heads_the_page(tmp_path: Path) -> None:
    """As the contract has it; data of which it says less have no format."""
    contract = load_comparison(write_comparison(tmp_path)).contract
    whole = [
        ("Images", "16,200 training, 1,800 validation, 4,000 test"),
        ("Format", "16 \N{MULTIPLICATION SIGN} 16 pixels, 3 channels"),
        ("Budget per model", "0.64kimg"),
        ("Size", "tiny"),
        ("Samples measured", "15"),
        ("Device", "cpu, fp32, 1 thread"),
    ]
    assert list_conditions(contract, Language()) == whole
    less = {"name": "bars", "fingerprint": "0", "train": 16200, "validation": 1800, "test": 4000}
    change(tmp_path / "contract.json", lambda content: content.update(data=less))
    contract = load_comparison(tmp_path).contract
    assert list_conditions(contract, Language()) == [*whole[:1], *whole[2:]]


def test_a_damaged_run_json_is_passed_over(tmp_path: Path) -> None:
    """The rest of the page is shown; what only that file says is not."""
    folder = write_comparison(tmp_path) / "vae-sigma-s0"
    whole = read(write_page(tmp_path)).words
    for content in ("{}", "[1]", '{"torn', json.dumps({"command": "triptych train vae:sigma"})):
        (folder / "run.json").write_text(content)
        loaded = load_comparison(tmp_path)
        assert [run.record is None for run in loaded.runs] == [True, False, False]
        words = read(write_page(tmp_path)).words
        assert "triptych train vae:sigma" in whole and "triptych train vae:sigma" not in words
        assert "46.1" in words and "triptych train gan:hinge" in words


def test_the_page_needs_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from triptych.pages.page import write_page; "
        "write_page(Path(sys.argv[1])); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, str(write_comparison(tmp_path))], check=True)


def test_the_practical_is_answered_question_by_question(tmp_path: Path) -> None:
    runs = load_comparison(write_comparison(tmp_path)).runs
    answers = {answer.question: answer for answer in answer_all(runs)}
    assert list(answers) == [
        "1.3a", "1.3b", "1.3c", "2.2a", "2.2b", "2.2c", "2.3", "2.4", "3.2a", "3.2b", "4",
    ]  # fmt: skip
    assert [key for key, answer in answers.items() if answer.explanation] == ["2.3"]
    keys = {key: [s.key for s in answer.sentences] for key, answer in answers.items()}
    assert keys["1.3b"] == ["sharpness.blurry"]
    assert keys["2.2b"][0] == "answer.sharper"
    assert keys["2.4"] == ["reconstruction.none", "answer.represent.none", "likelihood.none"]
    alone = {answer.question: answer for answer in answer_all(runs[:1])}
    assert [s.key for s in alone["2.2a"].sentences] == ["practical.absent"]


def test_paths_are_measured_from_their_picture(tmp_path: Path) -> None:
    """The grid brightens by 20 from column to column: even steps, from 20 to 160."""
    draw_grid(tmp_path / "interpolation.png")
    paths = measure_paths(load_figure(tmp_path / "interpolation"))
    assert paths is not None
    assert (paths.rows, paths.first, paths.last) == (8, 20.0, 160.0)
    assert paths.unevenness == pytest.approx(1.0)


def test_results_of_many_models_are_read_by_everybody(tmp_path: Path) -> None:
    """Every pair of thirteen models in every number is more than a megabyte."""
    folder = write_comparison(tmp_path)
    results = (folder / "results.json").read_text()
    one = json.dumps(json.loads(results)["runs"][0])
    (folder / "results.json").write_text(results + " " * 2**20)
    (folder / "vae-sigma-s0" / "results.json").write_text(one + " " * 2**20)
    assert len(load_comparison(folder).runs) == 3
    assert len(read_comparison(folder).runs) == 3
    assert len(Report(folder / "report.html").results.runs) == 3
    assert read_measured(folder / "vae-sigma-s0").model == "vae:sigma"


def test_json_holds_numbers_of_64_bits() -> None:
    for number in (1764512345678901234, 2**63 - 1, -(2**63)):  # a time in nanoseconds, as a seed
        assert parse_json(str(number).encode()) == number
    for number in (2**63, -(2**63) - 1, 10**19, 10**100):
        with pytest.raises(ValueError, match="is too large"):
            parse_json(str(number).encode())


def test_no_two_runs_have_one_name_on_the_page() -> None:
    """Whatever letters they are called by: links lead to the run that they name."""
    names = ["vae-ladder-s0", "a b", "a-b", "a_b", "\N{CJK UNIFIED IDEOGRAPH-732B}", "\udcff", "é"]
    plain = [plain_name(name, "_-") for name in names]
    assert len(set(plain)) == len(names) and plain[0] == "vae-ladder-s0"
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in plain)


def test_pictures_that_the_page_shows_smaller_lose_no_pixels() -> None:
    assert Figure(width=526).wide and not Figure(width=266).wide
