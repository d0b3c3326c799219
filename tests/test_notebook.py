"""How runs, data, results, reports and grids show themselves, and sliders; in a kernel too."""

from __future__ import annotations

import builtins
import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import triptych
from tests.making import make_images, one_thread, open_tiny, write_npz
from tests.truths import random_pixels
from triptych import notebook
from triptych.data.dataset import ImageData
from triptych.errors import InputError
from triptych.records import (
    CostRecord,
    Measured,
    MeasuredOn,
    MetricRecord,
    Note,
    ResultsRecord,
)
from triptych.run import Run
from triptych.tasks import play
from triptych.tasks.traverse import Traversal

NASTY = "<script>alert('x')</script>"


class Page(HTMLParser):
    """The tags, texts and addresses of a piece of HTML, which must close what it opens."""

    VOID = ("img", "br")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.sources: list[str] = []
        self.alts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []
        assert not {"script", "link", "iframe", "object"} & set(self.tags)
        assert all(source.startswith("data:image/png;base64,") for source in self.sources)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on") and name not in ("href", "srcset")
            if name == "src":
                self.sources.append(value or "")
            if name == "alt":
                self.alts.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def rows(self) -> list[str]:
        return self.texts


def pixels_of(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def data(folder: Path) -> ImageData:
    return open_tiny(folder)


@pytest.fixture(scope="module")
def run(folder: Path, data: ImageData) -> Run:
    return triptych.train(
        "vae:course", data, out=folder / "run", budget="0.32kimg", machine=one_thread()
    )


# Grids


@pytest.mark.parametrize(("side", "times"), [(8, 12), (16, 6), (32, 3), (64, 2), (128, 1)])
def test_a_grid_shows_each_pixel_as_a_square_and_saves_it_as_it_is(
    side: int, times: int, tmp_path: Path
) -> None:
    grid = triptych.grid(random_pixels(3, 3, side, side), columns=2)
    saved = pixels_of(grid.save(tmp_path / "grid.png").read_bytes())
    assert saved.shape == (2 * side + 2, 2 * side + 2, 3)
    assert np.array_equal(pixels_of(grid._repr_png_()), np.kron(saved, np.ones((times, times, 1))))


def test_a_grid_takes_arrays_and_refuses_what_would_be_black() -> None:
    shown = random_pixels(3, 3, 8, 8)
    assert torch.equal(triptych.grid(shown.numpy()).pixels, triptych.grid(shown).pixels)
    for wrong in (shown / 255, shown[0], (shown / 255).numpy(), [shown], "a.png"):
        with pytest.raises(InputError, match=r"^a grid is made of uint8 \(N,C,H,W\) or"):
            triptych.grid(wrong)
    with pytest.raises(InputError, match=r"^there are no images to make a grid of: give 1"):
        triptych.grid(shown[:0])


def test_a_grid_of_thousands_stays_a_picture_that_a_browser_opens() -> None:
    grid = triptych.grid(random_pixels(2000, 1, 32, 32))
    assert pixels_of(grid._repr_png_()).shape == grid.pixels.shape[1:]


def test_rows_of_an_interpolation_are_the_rows_of_its_grid() -> None:
    ways = random_pixels(12, 3, 8, 8).view(3, 4, 3, 8, 8)
    pixels = triptych.grid(ways).pixels
    assert pixels.shape == (3, 3 * 10 - 2, 4 * 10 - 2)
    assert torch.equal(pixels[:, 10:18, 20:28], ways[1, 2])
    assert torch.equal(triptych.grid(ways, columns=6).pixels[:, :8, 40:48], ways[1, 0])


def test_a_traversal_shows_its_rows() -> None:
    pictures = random_pixels(6, 1, 8, 8).view(2, 3, 1, 8, 8)
    shown = pixels_of(Traversal(pictures, [], 0)._repr_png_())
    assert np.array_equal(shown, pixels_of(triptych.grid(pictures)._repr_png_()))


def test_points_of_the_plane_are_shown_as_large_as_they_are() -> None:
    assert pixels_of(triptych.grid(random_pixels(9, 2, 1, 1))._repr_png_()).shape == (256, 256)


# Data and runs


def test_data_show_their_counts_classes_notes_and_images(data: ImageData) -> None:
    nasty = replace(data, name=NASTY, classes=(NASTY, *map(str, range(1, 30))))
    page = Page(nasty._repr_html_())
    shown = " ".join(page.texts)
    assert page.texts.count(NASTY) == 1 and f"{NASTY}, 1, 2" in shown
    for part in (data.train, data.validation, data.test):
        assert str(len(part)) in page.texts
    assert "30 classes" in page.texts and ", ..." in shown
    assert "models may learn them by heart" in shown
    assert page.alts == [f"images of {NASTY}"] and len(page.sources) == 1
    assert repr(data) == "ImageData('bars', train=322, validation=41, test=37)"


def test_a_run_shows_what_it_is_and_the_samples_that_there_are(run: Run) -> None:
    page = Page(run._repr_html_())
    assert {"vae:course", "bars", "320", str(run.folder.path)} <= set(page.texts)
    assert page.alts == ["samples of vae:course"]
    drawn = sorted(run.folder.samples.glob("*.png"))[-1].read_bytes()
    assert page.sources == [notebook_uri(drawn)]


def notebook_uri(png: bytes) -> str:
    return Page(notebook.picture(png, "")).sources[0]


def test_a_run_without_pictures_or_with_damaged_results_still_shows_itself(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run.folder, "samples", tmp_path)
    monkeypatch.setattr(run.folder, "figures", tmp_path)
    monkeypatch.setattr(run.folder, "results", tmp_path / "results.json")
    (tmp_path / "1.png").write_bytes(b"<svg onload=x>")
    (tmp_path / "results.json").write_text("{")
    assert Page(run._repr_html_()).sources == []


def results(*metrics: MetricRecord) -> ResultsRecord:
    return ResultsRecord(
        model="vae:course",
        run=NASTY,
        data=MeasuredOn(name="bars", fingerprint="a", train=1, validation=1, test=1),
        metrics=metrics,
        cost=CostRecord(),
        warnings=(Note("mean_pixels"),),
    )


DEFINED = MetricRecord(
    name="frechet_distance", value=12.34, low=11.0, high=13.5, floor=3.21, n=2000, reference="test"
)
UNDEFINED = MetricRecord(
    name=NASTY, kind="not defined", note=Note("text", {"text": f"because {NASTY}"})
)


def test_results_show_value_interval_floor_count_and_kind() -> None:
    page = Page(results(DEFINED, UNDEFINED)._repr_html_())
    row = page.texts.index("Fréchet distance (test)")
    assert page.texts[row + 1 : row + 6] == ["12.34", "11 to 13.5", "3.21", "2,000", "estimate"]
    assert page.texts[-3:-1] == [NASTY, f"not defined: because {NASTY}"]
    both = Page(Measured([results(DEFINED), results(UNDEFINED)])._repr_html_())
    assert both.tags.count("table") == 2


def test_measured_runs_are_a_list_as_before() -> None:
    one = results(DEFINED)
    measured = Measured([one])
    assert measured == [one] and isinstance(measured, list) and measured[0] is one


# Sliders


def widgets(box: Any) -> dict[str, Any]:
    return {child.description: child for child in box.children if hasattr(child, "description")}


def test_sliders_move_the_picture(run: Run) -> None:
    ipywidgets = pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")
    box = run.play()
    named = widgets(box)
    assert list(named)[:2] == ["seed", "temperature"]
    units = [name for name in named if name.startswith("z[")]
    assert len(units) == play.UNITS
    picture = next(child for child in box.children if isinstance(child, ipywidgets.Image))
    first = bytes(picture.value)
    assert first == triptych.grid(run.sample(16, quiet=True))._repr_png_()
    named["seed"].value = 3
    assert bytes(picture.value) == triptych.grid(run.sample(16, seed=3, quiet=True))._repr_png_()
    named["temperature"].value = 0.5
    cooler = run.sample(16, seed=3, temperature=0.5, quiet=True)
    assert bytes(picture.value) == triptych.grid(cooler)._repr_png_()
    named["seed"].value, named["temperature"].value = 0, 1.0
    named[units[0]].value = 2.0
    latents = run.draw_latents(16)
    latents.tensors["z"][:, int(units[0][2:-1])] += 2.0
    moved = triptych.grid(run.sample(latents=latents, quiet=True))._repr_png_()
    assert bytes(picture.value) == moved != first


def test_what_a_model_refuses_is_said_under_the_picture() -> None:
    pytest.importorskip("ipywidgets", reason="ipywidgets is not installed")

    def draw(moved: Any) -> bytes:
        if moved:
            raise InputError("no", "try again")
        return b"png"

    box = play.show([play.Slider("seed", 0, 0, 9, 1)], draw)
    widgets(box)["seed"].value = 1
    assert box.children[-1].value == "no: try again" and bytes(box.children[-2].value) == b"png"
    widgets(box)["seed"].value = 0
    assert box.children[-1].value == ""


@pytest.mark.parametrize("failure", [ImportError("none"), RuntimeError("broken")])
def test_without_ipywidgets_there_is_a_mend(
    run: Run, failure: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "ipywidgets":
            raise failure
        return whole(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"need ipywidgets, .*: pip install ipywidgets$"):
        run.play()


def test_a_window_shows_that_no_kernel_runs_here() -> None:
    assert not notebook.in_notebook()


# A kernel


CELLS = (
    "import triptych\n"
    "from triptych.console import NotebookBars\n"
    "NotebookBars.first = 0.0\n"
    "data = triptych.open_images({data!r}, triptych.DataOptions(resolution=16))\n"
    "run = triptych.train('vae:course', data, out={out!r}, budget='0.32kimg', threads=1)",
    "run",
    "data",
    "triptych.grid(run.sample(2, quiet=True))",
    "run.play()",
)


@pytest.mark.timeout(300)
def test_bars_notes_and_pictures_arrive_in_a_real_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ipykernel", "ipywidgets"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    data = write_npz(tmp_path / "bars.npz", *make_images(300))
    sent: list[Any] = []

    class Client(nbclient.NotebookClient):  # type: ignore[misc]
        def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
            sent.append((cell_index, msg["header"]["msg_type"], msg["content"]))
            return super().process_message(msg, cell, cell_index)

    filled = [cell.format(data=str(data), out=str(tmp_path / "run")) for cell in CELLS]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in filled])
    Client(book, timeout=300, kernel_name="python3").execute()
    streams = [content for _, kind, content in sent if kind == "stream"]
    assert [each["text"] for each in streams if each["name"] == "stderr"] == []
    said = "".join(each["text"] for each in streams)
    assert "note: labels: labels of bars.npz" in said and "training vae:course into" in said
    bars = [content["data"] for i, kind, content in sent if i == 0 and "display_data" in kind]
    assert any("run" in bar["text/plain"] and "%" in bar["text/plain"] for bar in bars)
    assert any("<pre" in bar["text/html"] for bar in bars)
    assert all("".join(output["data"]["text/html"]) == "" for output in book.cells[0].outputs
               if output["output_type"] == "display_data")  # fmt: skip
    shown = [cell.outputs[-1]["data"] for cell in book.cells[1:]]
    assert "vae:course" in Page(shown[0]["text/html"]).texts
    assert "bars" in Page(shown[1]["text/html"]).texts
    assert shown[2]["image/png"]
    assert "application/vnd.jupyter.widget-view+json" in shown[3]
