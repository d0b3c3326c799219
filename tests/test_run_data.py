"""The images that a verb works on, found again from wherever one stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.making import make_images, one_thread, write_npz
from triptych import api
from triptych.comparison import compare as comparing
from triptych.console import QUIET
from triptych.data.open import open_images, tell_notes
from triptych.errors import InputError
from triptych.options import CompareRequest, DataOptions
from triptych.run import Run, run_data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Trained on a path that was written relative to its folder."""
    home = tmp_path_factory.mktemp("home")
    images, labels = make_images(200)
    write_npz(home / "bars.npz", images, labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        return api.train(
            "vae:course", "bars.npz", budget="640img", out=home / "run",
            resolution=16, machine=one_thread(),
        )  # fmt: skip


def test_a_run_finds_its_data_from_another_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = run_data(run, None, None, QUIET)
    assert found.fingerprint == run.record.data.fingerprint
    with pytest.raises(InputError, match=r"no data 'bars.npz'"):
        run_data(run, "bars.npz", None, QUIET)


def test_a_run_finds_its_data_where_others_have_their_name(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path / "bars.npz", *make_images(150, seed=5))
    assert run_data(run, None, None, QUIET).fingerprint == run.record.data.fingerprint
    elsewhere = replace(run.record.data, place=str(tmp_path / "gone"))
    monkeypatch.setattr(run, "record", replace(run.record, data=elsewhere))
    with pytest.raises(InputError, match=r"^bars.npz is not what .* was trained on: give --data"):
        run_data(run, None, None, QUIET)


def test_notes_are_said_before_training(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from triptych.console import Console

    data = open_images(run.record.data.place, DataOptions(resolution=32))
    tell_notes(data, Console())
    told = capsys.readouterr().err
    assert "note: resized by --fit stretch: 16x16 to 32x32" in told
    tell_notes(data, QUIET)
    assert capsys.readouterr().err == ""


def test_points_are_no_data_of_a_run_of_images(run: Run, tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text("x,y\n" + "0.5,0.25\n" * 40)
    with pytest.raises(InputError, match=r"^.*points.csv is of points, and .*run of images: name"):
        run_data(run, tmp_path / "points.csv", None, QUIET)


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ({"resolution": 64}, r"^resolution is 64, but bars is open already, with 16: give"),
        ({"fit": "pad"}, "^fit is pad, but .* with stretch: give fit to triptych.open_images$"),
        ({"label_column": "none"}, "^label_column is none, but .* with None"),
        ({"range": "0,9"}, "^range is 0,9, but"),
        ({"flip": True}, "^flip is True, but .* with False"),
        ({"crop": 3}, "^crop is 3, but .* with 0"),
    ],
)
def test_images_that_are_open_already_are_not_read_otherwise(
    run: Run, option: dict[str, Any], line: str, tmp_path: Path
) -> None:
    data = open_images(run.record.data.place, DataOptions(resolution=16))
    path, out = run.folder.path, tmp_path / "out.safetensors"
    calls: list[Callable[[], Any]] = [
        lambda: api.train("vae:course", data, out=out, machine=run.machine, **option),
        lambda: api.compare(["vae:course"], data, out=out, machine=run.machine, **option),
    ]
    if not option.keys() & {"flip", "crop"}:
        calls += [
            lambda: api.evaluate(path, data, machine=run.machine, **option),
            lambda: api.measure(data.test.images, data, machine=run.machine, **option),
            lambda: api.repeat(path, out, data=data, machine=run.machine, **option),
            lambda: api.save_reference(data, out, machine=run.machine, **option),
        ]
    for call in calls:
        with pytest.raises(InputError, match=line):
            call()
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_records_how_its_images_were_opened(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[CompareRequest] = []

    def stop(request: CompareRequest, *rest: object) -> Path:
        asked.append(request)
        raise InputError("far enough", "stop")

    monkeypatch.setattr(comparing, "compare", stop)
    data = api.open_images(run.record.data.place, resolution=16, flip=True)
    with pytest.raises(InputError, match="far enough"):
        api.compare(["vae:course"], data, resolution=16, machine=run.machine)
    assert asked[0].command().endswith(f" --data {data.source} --flip --resolution 16")


def test_a_loaded_model_does_not_train(run: Run) -> None:
    """Batch statistics and hidden labels are of training alone."""
    assert not any(module.training for module in Run(run.folder.path, one_thread()).model.modules())
