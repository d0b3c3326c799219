"""The app of a Space draws what the run draws, without a server."""

from __future__ import annotations

import gc
import importlib.util
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import triptych
from tests.making import one_thread, untrained_diffusion
from tests.test_earlier_versions import EARLIER
from triptych.export import space
from triptych.images import from_array

with warnings.catch_warnings():  # gradio's own, of packages that it uses
    warnings.simplefilter("ignore")
    gradio = pytest.importorskip("gradio", reason="gradio shows the app of a Space")


pytestmark = pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")


@pytest.fixture(autouse=True)
def loops_end_here() -> Iterator[None]:
    """gradio leaves an event loop open, which warns when it is collected: not in others' tests."""
    yield
    gc.collect()


def app_of(name: str, folder: Path) -> ModuleType:
    """The app's module, in a folder with that run."""
    if name == "diffusion":
        untrained_diffusion(folder / name, (3, 0, 1))
    else:
        shutil.copytree(EARLIER / name, folder / name)
    return app_in(folder / name)


def app_in(folder: Path) -> ModuleType:
    """The same in a run's folder."""
    space.write(folder)
    found = importlib.util.spec_from_file_location(f"app_{folder.name}", folder / "app.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["vae", "gan", "diffusion"])
def test_the_app_draws_the_run_s_samples(name: str, tmp_path: Path) -> None:
    app = app_of(name, tmp_path)
    run = triptych.Run(tmp_path / name, one_thread())
    label = {} if run.labels is None else {"label": run.labels.names[2]}
    drawn = app.sample(5, 3, 0.5, *label.values())
    shown = from_array(np.stack([np.asarray(each) for each in drawn]))
    assert torch.equal(shown, run.sample(3, 5, temperature=0.5, **label))
    any_class = app.sample(5, 3, 1.0)
    shown = from_array(np.stack([np.asarray(each) for each in any_class]))
    assert torch.equal(shown, run.sample(3, 5))


def test_points_are_drawn_into_one_picture(tmp_path: Path) -> None:
    """Each alone would be a single pixel."""
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 300)
    rows = [f"{np.cos(a):.4f},{np.sin(a):.4f}" for a in angles]
    (tmp_path / "ring.csv").write_text("\n".join(["x,y", *rows]) + "\n")
    points = triptych.train(
        "vae", str(tmp_path / "ring.csv"), budget="1.28kimg", out=tmp_path / "points",
        machine=one_thread(), quiet=True,
    )  # fmt: skip
    [picture] = app_in(points.folder.path).sample(0, 50, 1.0)
    assert min(picture.size) > 100 and len(picture.getcolors()) > 1


@pytest.mark.parametrize(("name", "more"), [("vae", 0), ("gan", 1), ("diffusion", 2)])
def test_the_page_has_a_control_for_each_choice(name: str, more: int, tmp_path: Path) -> None:
    app = app_of(name, tmp_path)
    with warnings.catch_warnings():  # gradio's own, of what it will do otherwise one day
        warnings.simplefilter("ignore")
        page = app.page()
    assert len(page.input_components) == 3 + more
    drawn = page.fn(0, 2, 1.0, *["any class", 2][:more])
    assert len(drawn) == 2


def test_steps_are_those_of_the_slider_and_classes_those_with_images(tmp_path: Path) -> None:
    """Of the three classes one has no training image: it cannot be drawn, so it is not offered."""
    app = app_of("diffusion", tmp_path)
    with warnings.catch_warnings():  # gradio's own, of what it will do otherwise one day
        warnings.simplefilter("ignore")
        page = app.page()
    classes, steps = page.input_components[-2:]
    assert [value for _, value in classes.choices] == ["any class", "a", "c"]
    assert (steps.label, steps.value) == ("steps", 2)
    run = triptych.Run(tmp_path / "diffusion", one_thread())
    drawn = {}
    for count in (1, 4):
        made = page.fn(5, 3, 1.0, "c", count)
        drawn[count] = from_array(np.stack([np.asarray(each) for each in made]))
        assert torch.equal(drawn[count], run.sample(3, 5, label="c", steps=count))
    assert not torch.equal(drawn[1], drawn[4])


def test_what_it_needs_is_named(tmp_path: Path) -> None:
    space.write(tmp_path)
    needs = (tmp_path / "requirements.txt").read_text().splitlines()
    assert needs == [f"triptych=={triptych.__version__}", "gradio>=5"]
