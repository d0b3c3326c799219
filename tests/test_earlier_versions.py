"""Runs of the version before give the numbers and the weights that they gave; JSON keeps its keys.

In tests/earlier, `vae` and `gan` (which is conditional) are finished runs on the embedded digits,
and `stopped` is the run `vae` interrupted at image 448 of 3968.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.making import one_thread
from tests.test_records import leaves
from triptych import api
from triptych.console import QUIET
from triptych.data.open import open_images
from triptych.evaluation.outputs import EVALUATION_SEED
from triptych.evaluation.reference import LIKELIHOOD_IMAGES
from triptych.options import DataOptions, LikelihoodOptions
from triptych.records import (
    ComparisonResults,
    ContractRecord,
    Progress,
    Record,
    ResultsRecord,
    RunRecord,
)
from triptych.tasks.likelihood import bits_per_dim
from triptych.training.run_folder import RunFolder, load_model

EARLIER = Path(__file__).parent / "earlier"
VAE = ("widths=4,4,4", "latent=2")
FILES: dict[str, type[Record]] = {
    "vae/run.json": RunRecord,
    "gan/run.json": RunRecord,
    "stopped/run.json": RunRecord,
    "vae/results.json": ResultsRecord,
    "comparison/vae-sigma-s1/results.json": ResultsRecord,
    "comparison/results.json": ComparisonResults,
    "comparison/contract.json": ContractRecord,
    "interrupted/run.json": RunRecord,
    "stopped/checkpoints/0-000000000448/progress.json": Progress,
}


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """All of them, to write into."""
    return Path(shutil.copytree(EARLIER, tmp_path / "earlier"))


def json_of(path: Path) -> Any:
    return json.loads(path.read_text())


def rewrite(path: Path, **values: Any) -> None:
    """Change fields of a JSON file, or remove those that are `...`."""
    changed = {k: v for k, v in (json_of(path) | values).items() if v is not ...}
    path.write_text(json.dumps(changed))


@pytest.mark.parametrize("name", FILES)
def test_files_are_written_with_the_keys_and_values_that_they_had(name: str) -> None:
    values = json_of(EARLIER / name)
    record = FILES[name].read(json_of(EARLIER / name))
    assert leaves(json.loads(json.dumps(record.to_json()))) == leaves(values)


@pytest.mark.parametrize("name", ["vae", "gan"])
def test_a_finished_run_loads(name: str) -> None:
    model, record = load_model(RunFolder(EARLIER / name))
    saved = load_file(EARLIER / name / "model.safetensors")
    state = model.state_dict()
    assert record.done and state.keys() == saved.keys()
    assert all(state[key].equal(tensor) for key, tensor in saved.items())


@pytest.mark.sweep
def test_a_finished_run_is_measured_as_it_was() -> None:
    """Its likelihood, with its terms: what every tensor of the model has a part in.

    Other test images are chosen for it now, so each number is one of the interval that it had.
    """
    [then] = (e for e in json_of(EARLIER / "vae/results.json")["metrics"] if e.get("terms"))
    model, _ = load_model(RunFolder(EARLIER / "vae"))
    data = open_images("street-digits", DataOptions(resolution=16), QUIET)
    pixels = data.test.choose(LIKELIHOOD_IMAGES, "likelihood").images
    now = bits_per_dim(model, pixels, EVALUATION_SEED, one_thread(), LikelihoodOptions()).to_json()
    assert then["low"] <= now["value"] <= then["high"]
    width = now["high"] - now["low"]
    assert width == pytest.approx(then["high"] - then["low"], rel=0.25)
    for term, values in then["terms"].items():
        for unit in ("bits_per_dim", "nats"):
            low, high = values[f"{unit}_low"], values[f"{unit}_high"]
            assert low <= now["terms"][term][unit] <= high, (term, unit)
    assert {k: now[k] for k in ("n", "kind", "method", "unit")} == {
        "n": 256, "kind": "upper bound", "method": "elbo", "unit": "bits per dimension",
    }  # fmt: skip


@pytest.mark.sweep  # it draws all street digits at 16x16
def test_an_interrupted_run_ends_as_if_it_had_not_been(earlier: Path) -> None:
    folder = RunFolder(earlier / "stopped")
    api.train(
        "vae:sigma", set=VAE, size="tiny", resolution=16, budget="4kimg", out=folder.path,
        machine=one_thread(),
    )  # fmt: skip
    record, whole = folder.read(), RunFolder(EARLIER / "vae").read()
    assert record.done and record.images_seen == whole.images_seen == 3968
    events = [json.loads(line) for line in folder.log.read_text().splitlines()]
    assert [e["images"] for e in events if e["event"] in ("start", "resume")] == [0, 448]
    ours, theirs = (load_file(path) for path in (folder.weights, EARLIER / "vae/model.safetensors"))
    for name, tensor in theirs.items():
        assert ours[name].allclose(tensor, rtol=1e-3, atol=1e-5), name


LACKED = (  # what runs of the first versions do not have, and what it then is
    ("variant", ""),
    ("labels", None),
    ("teacher", None),
    ("timed", False),
    ("deadline", None),
    ("follows", None),
    ("microbatch", None),
    ("processes", 1),
    ("plan", None),
    ("later_plans", ()),
    ("threads_along", ()),
    ("peak_memory_of", 1),
    ("rewinds", 0),
    ("advice", ()),
)


def oldest(path: Path) -> None:
    """A run.json as the first versions wrote it."""
    values = json_of(path)
    data = {k: v for k, v in values["data"].items() if k not in ("flip", "crop", "place")}
    identity = {k: v for k, v in values["identity"].items() if k != "use of labels"}
    found = {"round": 0.01, "grid": 0.2, "checkpoint": 0.1}
    lacked: dict[str, Any] = dict.fromkeys((name for name, _ in LACKED), ...)
    rewrite(path, **lacked, data=data, identity=identity, calibration=found)


def test_what_the_first_versions_lacked_has_its_meaning(earlier: Path) -> None:
    folder = RunFolder(earlier / "vae")
    before = folder.read()
    oldest(folder.run_json)
    record = folder.read()
    for name, expected in LACKED:
        assert getattr(record, name) == expected, name
    assert (record.data.flip, record.data.crop, record.data.place) == (False, 0, None)
    assert record.identity == before.identity  # where nothing is said of labels, none are used
    assert record.calibration is None
    assert load_model(folder)[1] == record


def test_a_run_of_the_first_versions_is_repeated(earlier: Path) -> None:
    oldest(earlier / "vae/run.json")
    run = api.repeat(earlier / "vae", out=earlier / "again", machine=one_thread())
    assert run.record.images_seen == 3968
    ours, theirs = (load_file(earlier / n / "model.safetensors") for n in ("again", "vae"))
    for name, tensor in theirs.items():
        assert ours[name].allclose(tensor, rtol=1e-3, atol=1e-5), name


def test_a_checkpoint_without_plans_follows_run_json(earlier: Path) -> None:
    folder = RunFolder(earlier / "stopped")
    values = json_of(folder.checkpoints / "0-000000000448" / "progress.json")
    del values["plans"], values["threads"]
    assert Progress.read(values).plans == () and Progress.read(values).threads == ()


def test_results_of_the_first_versions_say_no_group() -> None:
    values = json_of(EARLIER / "vae/results.json")
    now = ResultsRecord.read(json_of(EARLIER / "vae/results.json"))
    for metric in values["metrics"]:
        del metric["group"], metric["moves_with_n"]
    assert ResultsRecord.read(values) == now
