"""The Optuna search of `examples/`: settings are tried, and test images never looked at."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import triptych
from tests.making import make_images, write_npz
from triptych.evaluation import classifier

ROOT = Path(__file__).resolve().parents[1]


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("search", ROOT / "examples" / "search.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_trials_are_judged_on_validation_images_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna = pytest.importorskip("optuna", reason="optuna is not installed")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 1280)
    monkeypatch.setattr(classifier, "EPOCHS", 1)
    source = str(write_npz(tmp_path / "bars.npz", *make_images(400)))
    images = triptych.open_images(source, triptych.DataOptions(resolution=16))
    judged = []
    plain = triptych.measure

    def measure(samples: object, data: triptych.Run, **options: object) -> object:
        judged.append(data)
        return plain(samples, data, **options)

    monkeypatch.setattr(triptych, "measure", measure, raising=False)
    search, out = load_example(), tmp_path / "search"
    study = search.main(source, "0.64kimg", "1", out, 16, 16)
    again = search.main(source, "0.64kimg", "2", out, 16, 16)
    assert [len(study.trials), len(again.trials)] == [2, 2]  # one study, which went on
    for trial in again.trials:
        settings = triptych.load(out / f"trial-{trial.number}").record.settings
        assert settings["optimizer"]["learning_rate"] == trial.params["learning_rate"]
        assert settings["batch_size"] == trial.params["batch_size"]
    assert len(judged) == 2
    for each in judged:
        assert each.test is each.validation
        assert each.test.images.equal(images.validation.images)
        assert not each.test.images.equal(images.test.images)
