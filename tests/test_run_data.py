"""The images that a verb works on, found again from wherever one stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.making import make_images, one_thread, write_npz
from triptych import api
from triptych.console import QUIET
from triptych.data.open import open_images, tell_notes
from triptych.errors import InputError
from triptych.options import DataOptions
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


def test_a_loaded_model_does_not_train(run: Run) -> None:
    """Batch statistics and hidden labels are of training alone."""
    assert not any(module.training for module in Run(run.folder.path, one_thread()).model.modules())
