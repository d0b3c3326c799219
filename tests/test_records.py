"""What run.json and its kin hold: folders of the version before, unknown keys, and the schemas.

`earlier/` was written by the version before these records: a comparison of two trainings, and a
training that was stopped; its images are `make_images(200)`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import triptych
from tests.making import make_images, one_thread, write_npz
from tests.test_comparison import FACTS
from tests.test_plan import Simulated, simulated
from triptych import records
from triptych.errors import InputError
from triptych.records import (
    SCHEMAS,
    ComparisonResults,
    ContractRecord,
    MetricRecord,
    Note,
    Progress,
    ResultsRecord,
    RunRecord,
)
from triptych.run import Run
from triptych.training import checkpoint
from triptych.training.run_folder import RunFolder

__all__ = ["simulated"]  # a fixture

EARLIER = Path(__file__).parent / "earlier"
RENAMED = {  # settings of 0.1
    "optimiser": "optimizer", "matrix_rate": "muon_lr", "average": "ema",
    "second_average": "ema_wide", "climb": "bottom_up_blocks", "descend": "top_down_blocks",
    "critic": "discriminator", "critic_steps": "discriminator_steps",
}  # fmt: skip
DOCS = Path(__file__).parents[1] / "docs" / "schemas"


def parsed(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folders, beside the images that they name."""
    shutil.copytree(EARLIER, tmp_path / "earlier")
    write_npz(tmp_path / "bars.npz", *make_images(200))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "earlier"


def test_a_finished_run_of_the_version_before_is_loaded(earlier: Path) -> None:
    run = Run(earlier / "comparison" / "vae-sigma-s0", one_thread())
    assert run.record.model == "vae:sigma" and run.record.images_seen == 640
    assert run.record.calibration is None and run.record.data.train == 167
    assert run.sample(3).shape == (3, 3, 16, 16)
    again = triptych.repeat(run.folder.path, earlier / "again", machine=one_thread())
    for name, tensor in run.model.state_dict().items():  # but for the rounding of processors
        torch.testing.assert_close(again.model.state_dict()[name], tensor, atol=1e-3, rtol=1e-2)


def test_a_comparison_of_the_version_before_is_shown(earlier: Path) -> None:
    page = triptych.report([earlier / "comparison"], lang="fr").read_text()
    assert "vae:sigma" in page and 'lang="fr"' in page
    before = parsed(EARLIER / "comparison" / "results.json")
    results = ComparisonResults.read(before)
    [model], runs = results.models or (), results.runs
    assert model.runs == ("vae-sigma-s0", "vae-sigma-s1") and len(runs) == 2
    first = runs[0].metrics[0]
    assert (first.name, first.group, first.moves_with_n) == ("frechet_distance", "distance", True)
    assert first.value == before["runs"][0]["metrics"][0]["value"]


def test_a_stopped_training_of_the_version_before_goes_on(
    earlier: Path, simulated: Simulated
) -> None:
    """For the rest of its 20 s, of a clock that steps of 50 ms move."""
    simulated.pace = lambda now: 0.05
    folder = RunFolder(earlier / "interrupted")
    assert not folder.read().done
    [newest] = checkpoint.complete(folder.checkpoints)
    seen = checkpoint.read_progress(newest).seen
    settings = ["widths=4,4", "latent=2", "batch_size=32"]
    run = triptych.train(
        "vae:sigma", "bars.npz", resolution=16, set=settings, size="tiny", budget="20s",
        out=folder.path, machine=one_thread(),
    )  # fmt: skip
    assert run.record.done and run.record.images_seen > seen
    assert json.loads(folder.log.read_text().splitlines()[-1])["event"] == "done"
    assert '"event": "resume"' in folder.log.read_text()


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        (RunRecord, "comparison/vae-sigma-s0/run.json"),
        (RunRecord, "interrupted/run.json"),
        (ResultsRecord, "comparison/vae-sigma-s1/results.json"),
        (ComparisonResults, "comparison/results.json"),
        (ContractRecord, "comparison/contract.json"),
    ],
)
def test_records_keep_all_that_was_written(kind: type[records.Record], file: str) -> None:
    before = parsed(EARLIER / file)
    record = kind.read(before)
    after = json.loads(json.dumps(record.to_json()))
    assert kind.read(after) == record
    assert leaves(after) == leaves(before)


def leaves(values: Any) -> dict[str, Any]:
    """All that was written but for notes, which were sentences; settings by today's names."""
    return {
        ".".join(RENAMED.get(part, part) for part in place.split(".")): value
        for place, value in flat(values).items()
        if not is_note(place)
    }


def nested(depth: int) -> dict[str, Any]:
    return {"a": nested(depth - 1)} if depth else {}


def is_note(place: str) -> bool:
    """Whether a sentence stands there in files of 0.1, which is a code with values now."""
    parts = place.split(".")
    return "note" in parts or bool({"notes", "warnings", "advice", "choices"} & set(parts))


def test_sentences_of_the_version_before_are_notes() -> None:
    record = RunRecord.read(parsed(EARLIER / "comparison" / "vae-sigma-s0" / "run.json"))
    assert Note("few_training_images", {"n": 167, "least": 1000}) in record.data.notes
    results = ResultsRecord.read(parsed(EARLIER / "comparison" / "vae-sigma-s1" / "results.json"))
    assert any(note.code.startswith("few") for note in results.warnings)
    by_name = {metric.name: metric.note for metric in results.metrics}
    assert by_name["bits_per_dim"] == Note("draws", {"n": 1}) and by_name["coverage"] is None
    contract = ContractRecord.read(parsed(EARLIER / "comparison" / "contract.json"))
    assert "text" not in {note.code for note in contract.data.notes}


def flat(value: Any, at: str = "") -> dict[str, Any]:
    """Every number and text of nested JSON by its place, and what is empty."""
    if isinstance(value, dict) and value:
        return {k: v for key, each in value.items() for k, v in flat(each, f"{at}.{key}").items()}
    if isinstance(value, list) and value:
        return {k: v for i, each in enumerate(value) for k, v in flat(each, f"{at}.{i}").items()}
    return {at: value}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": "red"}, "colour: no such name"),
        ({"x" * 10**5: 1}, f"{'x' * 40}: no such name"),
        (
            {"budget": {"amount": 1, "unit": "images", "asked": "1img", "colour": 1}},
            "budget.colour: no such name",
        ),
        ({"settings": {"a": nested(900)}}, "Invalid JSON: recursion limit exceeded"),
        ({"seed": "0"}, "seed: Input should be a valid integer"),
        ({"seed": True}, "seed: Input should be a valid integer"),
        ({"compile": 1}, "compile: Input should be a valid boolean"),
        ({"status": "asleep"}, "status: Input should be 'running' or 'done'"),
        ({"schema": 99}, "schema 1 is read"),
        ({"threads_along": [[0, 0]]}, r"threads_along.0.2: it is missing"),
        ({"threads_along": [[0, 0, 1.5]]}, r"threads_along.0.2: Input should be a valid integer"),
        ({"train_seconds": -1}, "train_seconds is below zero"),
        ({"planned_images": 0}, "planned_images is not positive"),
        ({"microbatch": 0}, "microbatch is no number of images"),
        ({"digests": {}}, "digests is missing, though the run is done"),
        ({"labels": {"names": ["a"], "counts": []}}, "labels: 1 classes, 0 counts"),
        ({"data": {"name": "a"}}, "data.source: it is missing"),
        ({"train_seconds": float("nan")}, "train_seconds: Input should be a finite number"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    before = parsed(EARLIER / "comparison" / "vae-sigma-s0" / "run.json")
    with pytest.raises(ValueError, match=f"^{words}"):
        RunRecord.read(before | change)
    if "nan" not in str(change):
        (tmp_path / "run.json").write_text(json.dumps(before | change))
        with pytest.raises(
            InputError, match=rf"run\.json is not of this version .*\({words}.*\): "
        ):
            RunFolder(tmp_path).read()


@pytest.mark.parametrize("field", ["phase", "seen", "rewinds", "log_bytes", "seconds"])
def test_progress_counts_from_zero(field: str) -> None:
    plain = {"phase": 0, "seen": 0, "rewinds": 0, "log_bytes": 0, "returned": False}
    plain |= {"seconds": 1, "in_a_row": {"bound": 2}}
    assert Progress.read(plain).seconds == 1.0
    with pytest.raises(ValueError, match=f"{field} is below zero"):
        Progress.read(plain | {field: -1})


def test_what_only_some_metrics_have_is_left_out_of_the_others() -> None:
    assert "terms" not in MetricRecord(name="a").to_json()
    assert MetricRecord(name="a", terms={}).to_json()["terms"] == {}


def test_the_published_schemas_are_those_of_the_records(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "triptych.records", str(tmp_path)]
    subprocess.run(words, check=True)
    names = {f"{name}.json" for name in SCHEMAS}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert {path.name for path in DOCS.iterdir()} == names
    for name in names:
        assert (DOCS / name).read_text() == (tmp_path / name).read_text(), name
    run = parsed(DOCS / "run.json")
    assert run["properties"]["seed"]["type"] == "integer"
    assert run["additionalProperties"] is False and "model" in run["required"]


@pytest.mark.parametrize(
    "change", [{"value": "3"}, {"n": 3.5}, {"value": True}, {"moves_with_n": 1}, {"n": "3"}]
)
def test_a_text_is_no_number_and_a_number_no_truth(change: dict[str, Any]) -> None:
    whole = {"name": "a", "group": "", "value": 3, "n": 3, "moves_with_n": True}
    MetricRecord.read(whole)
    with pytest.raises(ValueError, match=f"^{next(iter(change))}: "):
        MetricRecord.read(whole | change)


@pytest.mark.parametrize(
    "name",
    ["images_seen", "train_seconds", "images_per_second", "digests"],
)
def test_a_run_that_is_done_says_what_it_took(name: str) -> None:
    empty = {"digests": {}}.get(name, 0)
    RunRecord.read(FACTS | {"status": "running", name: empty})
    with pytest.raises(ValueError, match=f"{name} is missing, though the run is done"):
        RunRecord.read(FACTS | {name: empty})
