"""Unequal runs are refused by name; equal ones are trained, measured and shown in order."""

from __future__ import annotations

import copy
import dataclasses
import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import triptych
from tests.making import one_thread, open_tiny
from tests.truths import MACHINE
from triptych.cli import parser, text
from triptych.comparison import compare as comparing
from triptych.comparison.contract import (
    Conditions,
    differences,
    marks,
    measured_differently,
    samples_measured,
)
from triptych.config import Budget
from triptych.console import Console
from triptych.data.dataset import ImageData
from triptych.errors import InputError
from triptych.evaluation import classifier
from triptych.evaluation.outputs import EVALUATION_SEED
from triptych.options import CompareRequest
from triptych.records import (
    CostRecord,
    EvaluationRecord,
    ExtractorRecord,
    MeasuredOn,
    MetricRecord,
    Note,
    ResultsRecord,
    RunRecord,
)
from triptych.training.resolve import Variant
from triptych.training.run_folder import RunFolder
from triptych.words import english

FACTS: dict[str, Any] = {
    "schema": 1,
    "model": "vae:course",
    "family": "vae",
    "recipe": "course",
    "status": "done",
    "size": "tiny",
    "seed": 0,
    "data": {
        "name": "a",
        "source": "a",
        "fingerprint": "f0",
        "fit": "stretch",
        "channels": 3,
        "flip": False,
        "crop": 0,
        "resolution": 32,
        "train": 800,
        "test": 100,
    },
    "device": "cpu",
    "precision": "fp32",
    "budget": {"amount": 90.0, "unit": "seconds", "asked": "90s"},
    "train_seconds": 90.0,
    "threads": 1,
    "compile": False,
    "versions": {},
    "hardware": {},
    "settings": {},
    "identity": {},
    "planned_images": 64,
    "checkpoints": 20,
    "calibration_seconds": 0.0,
    "images_seen": 64,
    "images_per_second": 1.0,
    "peak_memory_bytes": 1,
    "digests": {"model.safetensors": "d0"},
}


DATA = MeasuredOn(name="b", fingerprint="f9", train=1, validation=2, test=3)
PLACE: dict[str, Any] = {"device": "cuda", "precision": "bf16", "threads": 3}
PLACE |= {"versions": {"torch": "2"}, "hardware": {"cores": 4}}
HELD_EQUAL: dict[str, Any] = {
    "command": "triptych compare",
    "request": {},
    "data": DATA,
    "evaluation": EvaluationRecord(count=10, features="labels", seed=1),
    **PLACE,
}


def conditions(**runs: dict[str, Any]) -> dict[str, Conditions]:
    return {name: Conditions.of_run(RunRecord.read(facts)) for name, facts in runs.items()}


def records(**runs: dict[str, Any]) -> dict[str, RunRecord]:
    return {name: RunRecord.read(facts) for name, facts in runs.items()}


def results_of(features: str, fingerprint: str, **counts: int) -> ResultsRecord:
    return ResultsRecord(
        model="vae:a",
        data=replace(DATA, fingerprint=fingerprint),
        metrics=tuple(MetricRecord(name=name, n=n) for name, n in counts.items()),
        extractor=ExtractorRecord(name=features),
        cost=CostRecord(),
    )


def changed(place: str, value: Any) -> dict[str, Any]:
    """FACTS with one value changed; a dot reaches inside."""
    facts = copy.deepcopy(FACTS)
    inside = facts
    *parents, last = place.split(".")
    for name in parents:
        inside = inside[name]
    inside[last] = value
    return facts


# The contract


def test_equal_runs_do_not_differ() -> None:
    other = changed("seed", 5) | {"model": "gan:hinge"}
    runs = conditions(a=FACTS, b=other)
    assert differences(runs) == []
    assert comparing.refuse_unequal(runs, force=False) == []


@pytest.mark.parametrize(
    ("place", "value", "name"),
    [
        ("data.fingerprint", "f1", "the data differ: a f0, b f1"),
        ("data.resolution", 16, "the resolution differs: a 32, b 16"),
        ("data.train", 700, "the number of training images differs: a 800, b 700"),
        ("data.test", 99, "the number of test images differs: a 100, b 99"),
        ("data.flip", True, "flips differ: a False, b True"),
        ("data.crop", 2, "crops differ: a 0, b 2"),
        ("device", "cuda", "the device differs: a cpu, b cuda"),
        ("precision", "bf16", "the precision differs: a fp32, b bf16"),
        ("budget.amount", 60.0, "the budget differs: a 90.0, b 60.0"),
        ("budget.unit", "images", "the unit of the budget differs: a seconds, b images"),
    ],
)
def test_unequal_runs_are_refused_by_name(place: str, value: Any, name: str) -> None:
    runs = conditions(a=FACTS, b=changed(place, value))
    (note,) = differences(runs)
    assert english(note) == name
    with pytest.raises(InputError, match=f"cannot be compared, {name}.*--force"):
        comparing.refuse_unequal(runs, force=False)
    assert comparing.refuse_unequal(runs, force=True) == [note]


@pytest.mark.parametrize(("seconds", "marked"), [(98.9, False), (99.1, True), (81.5, True)])
def test_times_that_differ_by_a_tenth_are_marked(seconds: float, marked: bool) -> None:
    runs = records(a=FACTS, b=changed("train_seconds", seconds))
    found = marks(runs)
    assert bool(found) == marked
    if marked:
        values = {"most": 0.1, "runs": f"a 90, b {seconds:.0f}"}
        assert found == [Note("training_times_differ", {**values})]
    images = Budget(amount=64, unit="images", asked="64img")
    counted = {name: replace(run, budget=images) for name, run in runs.items()}
    assert marks(counted) == []  # a budget in images promises no time


def test_measurements_must_be_alike() -> None:
    one = results_of("labels", "f0", frechet_distance=2000, bits_per_dim=256)
    assert measured_differently({"a": one, "b": copy.deepcopy(one)}) == []
    fewer = results_of("labels", "f1", frechet_distance=500, bits_per_dim=256)
    assert measured_differently({"a": one, "b": fewer}) == [
        Note("sample_counts_differ", {"runs": "a 2000, b 500"}),
        Note("measured_data_differ", {"runs": "a f0, b f1"}),
    ]


def write_run(folder: Path, facts: dict[str, Any]) -> RunFolder:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(facts))
    return RunFolder(folder)


def test_the_samples_measured_are_those_of_the_largest_distance() -> None:
    """Sharpness may be of fewer; numbers on other counts are other numbers."""
    results = results_of("labels", "f", sharpness=10, frechet_distance=25, path_length=99)
    assert samples_measured(results) == 25
    assert samples_measured(results_of("labels", "f", path_length=99)) == 0


def test_runs_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a" / "vae", FACTS)
    second = write_run(tmp_path / "b" / "vae", changed("device", "cuda"))
    assert len(comparing.read_finished([first, second])) == 2
    with pytest.raises(InputError, match="device differs"):
        comparing.make_contract(tmp_path, [first, second], False, [], **HELD_EQUAL)
    with pytest.raises(InputError, match="named twice"):
        comparing.read_finished([first, first])


def test_every_training_of_a_model_has_a_seed_of_its_own(data: ImageData) -> None:
    asked = CompareRequest(models=("vae:course", "gan:course"), budget="640img", seeds=3)
    variants = [Variant.parse(model) for model in asked.models]
    found = comparing.make_requests(variants, asked, data, MACHINE)
    assert [(str(each.name), each.seed) for each in found] == [
        (model, seed) for model in asked.models for seed in range(3)
    ]


@pytest.mark.parametrize(("precision", "begins"), [("fp32", True), ("bf16", False)])
def test_the_machine_that_trains_decides_what_is_brief(
    data: ImageData, monkeypatch: pytest.MonkeyPatch, precision: str, begins: bool
) -> None:
    """Five minutes are, where bfloat16 is fast but not asked for."""
    monkeypatch.setattr("triptych.hardware.cpu_has", lambda flag: True)
    asked = CompareRequest(models=("vae:ladder",), budget="5m", size="tiny")
    machine = replace(MACHINE, precision=precision)
    [request] = comparing.make_requests([Variant.parse("vae:ladder")], asked, data, machine)
    assert (request.settings.mppca_rank > 0) == begins


@pytest.mark.parametrize(
    "change",
    [
        {"models": ("gan:course",)},
        {"budget": "1280img"},
        {"size": "small"},
        {"seeds": 2},
        {"set": ("latent=3",)},
        {"conditional": True},
        {"features": "patches"},
    ],
)
def test_a_comparison_that_was_asked_otherwise_is_not_gone_on_with(
    change: dict[str, Any], data: ImageData, tmp_path: Path
) -> None:
    asked = CompareRequest(models=("vae:course",), budget="640img", size="tiny")
    identity = comparing.identity_of(asked, data)
    (tmp_path / "contract.json").write_text(json.dumps({"request": identity}))
    comparing.check_folder(tmp_path, identity)
    other = comparing.identity_of(replace(asked, **change), data)
    with pytest.raises(InputError, match="holds another comparison"):
        comparing.check_folder(tmp_path, other)


def test_unfinished_runs_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "vae", changed("status", "running"))
    with pytest.raises(InputError, match="vae is not trained to its end"):
        comparing.read_finished([run])


def test_forced_contracts_are_marked(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "a", FACTS),
        write_run(tmp_path / "b", changed("precision", "bf16") | {"seed": 4}),
    ]
    comparing.make_contract(tmp_path, runs, True, [], **HELD_EQUAL)
    contract = json.loads((tmp_path / "contract.json").read_text())
    assert contract["forced"] is True
    assert contract["differences"] == [
        {"code": "precision_differs", "values": {"runs": "a fp32, b bf16"}}
    ]
    assert contract["runs"] == ["a", "b"]
    assert contract["seeds"] == [0, 4]
    assert (
        contract["data"] == DATA.to_json()
    )  # what was measured on, not what the first was trained on
    assert {key: contract[key] for key in PLACE} == PLACE
    comparing.make_contract(tmp_path, runs[:1], True, [], **HELD_EQUAL)
    assert json.loads((tmp_path / "contract.json").read_text())["forced"] is False


def test_models_told_the_labels_beside_others_are_marked() -> None:
    told = changed("seed", 1) | {"labels": {"names": ["a", "b"], "counts": [1, 1]}}
    assert marks(records(a=FACTS, b=told)) == [Note("labels_given_to_some", {"runs": "b"})]
    assert marks(records(a=told, b=told)) == []


@pytest.mark.parametrize(
    ("models", "more", "unlike"),
    [
        (("vae:course", "gan:r1"), (), True),
        (("gan:r1", "gan:r3"), (), False),
        (("vae:course", "gan:course"), (), False),
        (("vae:course", "gan:r1,select=true"), (), False),
        (("vae:course", "gan:r1"), ("select=true",), False),
        (("vae:course", "gan:r1"), ("ema=0.1",), True),
    ],
)
def test_all_models_of_a_comparison_choose_among_snapshots_or_none(
    data: ImageData, models: tuple[str, ...], more: tuple[str, ...], unlike: bool
) -> None:
    """Unless somebody asks for it of one of them, or of all."""
    asked = CompareRequest(models=models, set=more, budget="1kimg", size="tiny")
    requests = comparing.make_requests([Variant.parse(m) for m in models], asked, data, MACHINE)
    assert comparing.choose_unlike(asked, requests, []) is unlike


def test_a_finished_run_with_its_last_weights_keeps_others_from_choosing(
    data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = CompareRequest(models=("gan:r1",), budget="1kimg", size="tiny")
    requests = comparing.make_requests([Variant.parse("gan:r1")], asked, data, MACHINE)
    folder = SimpleNamespace(read=lambda: SimpleNamespace(family="gan"))
    for choosing in (True, False):
        monkeypatch.setattr(comparing, "chooses", lambda record, answer=choosing: answer)
        assert comparing.choose_unlike(asked, requests, [folder]) is not choosing  # type: ignore[list-item]


def test_models_chosen_among_snapshots_beside_last_weights_are_marked() -> None:
    """`gan:r1` chooses where its budget is long enough for scores; `vae:course` never does."""
    enough = {"planned_images": 100_000}
    chooses = changed("seed", 1) | {"model": "gan:r1", "family": "gan", "recipe": "r1"} | enough
    last = changed("seed", 1) | enough
    assert marks(records(a=last, b=chooses)) == [Note("snapshots_of_some", {"runs": "b"})]
    assert marks(records(a=last, b=last)) == marks(records(a=chooses, b=chooses)) == []
    too_short = chooses | {"planned_images": 64}
    assert marks(records(a=last, b=too_short)) == []
    told_not_to = chooses | {"settings": chooses["settings"] | {"select": False}}
    assert marks(records(a=last, b=told_not_to)) == []
    foreign = chooses | {"model": "gan:theirs", "recipe": "theirs"}
    assert marks(records(a=last, b=foreign)) == []


def test_measurements_on_other_features_are_not_compared() -> None:
    results = {name: results_of(name, "f", sharpness=10) for name in ("labels", "patches")}
    assert measured_differently(results) == [
        Note("features_differ", {"runs": "labels labels, patches patches"})
    ]


def test_measurements_by_another_classifier_are_not_compared() -> None:
    """One is trained on each machine; those of before did not say which it was."""
    plain = {name: results_of("labels", "f", sharpness=10) for name in "abc"}

    def by(result: ResultsRecord, key: str) -> ResultsRecord:
        assert result.extractor is not None
        return replace(result, extractor=replace(result.extractor, key=key))

    ours = {"a": by(plain["a"], "labels-1"), "b": by(plain["b"], "labels-1"), "c": plain["c"]}
    assert measured_differently(ours) == []
    assert measured_differently({**ours, "b": by(plain["b"], "labels-2")}) == [
        Note("classifiers_differ", {"runs": "a labels-1, b labels-2"})
    ]


def test_seconds_on_unlike_numbers_of_threads_are_marked() -> None:
    """Where nobody asked for a number, all cores could be used."""
    alone = {**FACTS, "threads": 1, "choices": {}, "hardware": {"cores": 8}}
    picked = {**alone, "threads": 4, "choices": {"threads": {"code": "a", "values": {}}}}
    all_cores = {**alone, "threads": 8}
    [mark] = marks(records(a=alone, b=picked))
    assert mark == Note("threads_differ", {"runs": "a 1, b 8"})
    assert marks(records(a=picked, b=all_cores)) == marks(records(a=alone, b=alone)) == []
    images = {"amount": 64.0, "unit": "images", "asked": "64img"}
    counted = [{**each, "budget": images} for each in (alone, picked)]
    assert marks(records(a=counted[0], b=counted[1])) == []


def test_a_comparison_is_no_run_to_be_joined(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "contract.json").write_text("{}")
    with pytest.raises(InputError, match="a is a comparison: name it alone, or name its runs"):
        triptych.report([tmp_path / "a", tmp_path / "b"], out=tmp_path / "a.html", quiet=True)


def test_trainings_are_named_with_their_seeds() -> None:
    """Three lines "training vae:course for 75s" did not say which was which."""
    one = SimpleNamespace(name="vae:course", variant="", seed=0)
    other = SimpleNamespace(name="vae:course", variant="latents=8", seed=1)
    assert comparing.names_of([one]) == ["vae:course"]  # type: ignore[list-item]
    assert comparing.names_of([one, other]) == [  # type: ignore[list-item]
        "vae:course (seed 0)",
        "vae:course (latents=8, seed 1)",
    ]


def test_variants_trained_with_several_seeds_are_headed_by_their_runs() -> None:
    """Both were "gan:r1  (mean of 2 trainings)"."""
    plain, varied = (
        dataclasses.replace(results_of("labels", "f", sharpness=10), runs=runs, metrics=())
        for runs in (("a-s0", "a-s1"), ("a-ema=0.1-s0", "a-ema=0.1-s1"))
    )
    first, second = text.results([plain, varied]).splitlines()
    assert first.endswith("(mean of 2 trainings: a-s0, a-s1)") and first != second


def test_a_comparison_of_finished_runs_is_named_after_their_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is trained: the usual budget of trainings says nothing of them."""
    write_run(tmp_path / "a", changed("budget.asked", "5m"))
    seen: list[Any] = []

    def stop(asked: Any, *_: Any) -> None:
        seen.append(asked.budget)
        raise InputError("enough", "seen")

    monkeypatch.setattr(comparing, "check_measurement", lambda *_: None)
    monkeypatch.setattr(comparing, "identity_of", stop)
    monkeypatch.setattr(comparing, "make_requests", lambda *_: [])
    monkeypatch.setattr(comparing, "read_all_samples", lambda *_: [])
    for more in ({}, {"budget": "9m"}):
        with pytest.raises(InputError, match="enough"):
            comparing.compare(
                CompareRequest(models=(str(tmp_path / "a"),), **more),
                SimpleNamespace(),  # type: ignore[arg-type]
                one_thread(),
                Console(quiet=True),
            )
    assert seen == ["5m", "9m"]


# The folder


def test_only_our_own_folders_are_written_to(tmp_path: Path) -> None:
    request = {"models": ["vae"], "seeds": 1}
    out = tmp_path / "out"
    comparing.check_folder(out, request)  # absent
    out.mkdir()
    (out / ".contract.json.7.tmp").touch()  # killed while writing
    comparing.check_folder(out, request)  # empty
    write_run(out / "vae-sigma-s0", FACTS)
    comparing.check_folder(out, request)  # stopped while training
    (out / "contract.json").write_text(json.dumps({"request": request}))
    comparing.check_folder(out, request)  # finished
    with pytest.raises(InputError, match="holds another comparison: name another --out"):
        comparing.check_folder(out, request | {"seeds": 2})
    (out / "contract.json").write_text("{")
    with pytest.raises(InputError, match=r"contract\.json is damaged"):
        comparing.check_folder(out, request)


def test_foreign_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file is a file"):
        comparing.check_folder(tmp_path / "file", {})
    with pytest.raises(InputError, match="is not a comparison of ours"):
        comparing.check_folder(tmp_path, {})


# End to end


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return open_tiny(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 1280)
    monkeypatch.setattr(classifier, "EPOCHS", 1)


Compare = Callable[..., Path]


@pytest.fixture(scope="module")
def compare(data: ImageData) -> Compare:
    def call(models: list[Any], out: Path, **changes: Any) -> Path:
        options = {"budget": "0.64kimg", "count": 30, "machine": one_thread()} | changes
        return triptych.compare(models, data, out=out, **options)

    return call


RUNS = ["vae-course-s0", "vae-course-s1", "gan-course-s0", "gan-course-s1"]


@pytest.fixture(scope="module")
def folder(compare: Compare, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "comparison"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier, "LEAST_IMAGES", 1280)
        patch.setattr(classifier, "EPOCHS", 1)
        page = compare(["vae:course", "gan:course"], out, seeds=2)
    assert page == out / "report.html"
    return out


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_files_of_a_comparison(folder: Path, data: ImageData) -> None:
    contract = read(folder / "contract.json")
    assert contract["runs"] == RUNS
    assert contract["data"]["fingerprint"] == data.fingerprint
    assert contract["budget"]["asked"] == "0.64kimg"
    assert contract["seeds"] == [0, 1]
    assert contract["evaluation"] == {"count": 30, "features": "labels", "seed": EVALUATION_SEED}
    assert contract["differences"] == [] and contract["forced"] is False
    for name in RUNS:
        run = folder / name
        for file in ("run.json", "model.safetensors", "log.jsonl", "results.json"):
            assert (run / file).is_file(), file
        assert list((run / "samples").glob("*.png"))
        assert (run / "figures" / "samples.png").is_file()
    assert (folder / "figures" / "real.png").is_file()
    page = (folder / "report.html").read_text()
    assert page.startswith("<!doctype html>") and "gan:course" in page
    assert "Reconstruction SSIM" in page
    assert not list(folder.rglob("*.tmp")) and not list(folder.rglob("*.part"))


def test_results_are_in_the_order_of_the_runs(folder: Path) -> None:
    results = read(folder / "results.json")
    assert results["schema"] == 1
    assert [run["run"] for run in results["runs"]] == RUNS
    assert [run["model"] for run in results["runs"]] == ["vae:course"] * 2 + ["gan:course"] * 2
    for run in results["runs"]:
        own = read(folder / run["run"] / "results.json")  # measured again by other tests
        assert run["metrics"] == own["metrics"] and run["data"] == own["data"]
    values = [run["metrics"][0]["value"] for run in results["runs"]]
    assert len(set(values)) == 4  # another seed is another model
    floors = {run["metrics"][0]["floor"] for run in results["runs"]}
    assert len(floors) == 1  # the real side is read once for all


def test_trainings_of_a_model_stand_in_one_row(folder: Path) -> None:
    results = read(folder / "results.json")
    assert [model["runs"] for model in results["models"]] == [RUNS[:2], RUNS[2:]]
    for model, first in zip(results["models"], (0, 2), strict=True):
        pair = results["runs"][first : first + 2]
        for index, metric in enumerate(model["metrics"]):
            values = [run["metrics"][index]["value"] for run in pair]
            if None in values:
                assert metric["value"] is None
            else:
                assert metric["values"] == values
                assert metric["value"] == pytest.approx(sum(values) / 2)
                assert metric["low"] <= min(values) and metric["high"] >= max(values)
    assert results["differences"]
    # Of numbers that are best at their floor the page asks also which is higher.
    asked_twice = [e for e in results["differences"] if e["name"] in ("sharpness", "real_or_fake")]
    for each in results["differences"]:
        assert (each["first"], each["second"]) == (RUNS[0], RUNS[2])
        assert each["comparisons"] == len(results["differences"]) + len(asked_twice)
        assert (each["better"] != "undecided") == (each["p_together"] <= 0.05)
        assert each["p"] <= each["p_together"]
    page = (folder / "report.html").read_text()
    assert "Each model was trained 2 times" in page
    assert "Each training on its own" in page
    for seed in (0, 1):
        assert f"vae:course (seed {seed})" in page
    assert "mean over trainings" in page


@pytest.mark.sweep
def test_models_of_one_recipe_differ_by_their_settings(
    data: ImageData, compare: Compare, tmp_path: Path
) -> None:
    models = ["vae:course", "vae:course,batch_size=32"]
    page = compare(models, tmp_path / "out", features="patches")
    contract = read(tmp_path / "out" / "contract.json")
    assert contract["runs"] == ["vae-course-s0", "vae-course-batch_size=32-s0"]
    assert contract["evaluation"]["features"] == "patches"
    records = [read(tmp_path / "out" / run / "run.json") for run in contract["runs"]]
    assert [record["variant"] for record in records] == ["", "batch_size=32"]
    assert [record["settings"]["batch_size"] for record in records] == [64, 32]
    assert records[1]["command"].count("--set batch_size=32") == 1
    assert "vae:course batch_size=32" in page.read_text()
    results = read(tmp_path / "out" / "results.json")
    assert "models" not in results
    with pytest.raises(InputError, match="holds another comparison"):
        compare(models, tmp_path / "out")
    with pytest.raises(InputError, match="is named twice"):
        compare([models[1], models[1]], tmp_path / "other")


def test_settings_and_labels_for_all_models(compare: Compare, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vae:course cannot be told the labels"):
        compare(["vae:course"], tmp_path / "a", conditional=True)
    with pytest.raises(InputError, match="vae:course cannot be told the labels"):
        compare(["vae:course,conditional"], tmp_path / "a")
    assert not (tmp_path / "a").exists()
    compare(["vae:course"], tmp_path / "b", set=["batch_size=32"])
    record = read(tmp_path / "b" / "vae-course-s0" / "run.json")
    assert record["settings"]["batch_size"] == 32 and record["variant"] == ""


def test_the_same_call_trains_nothing_again(folder: Path, compare: Compare) -> None:
    before = {name: (folder / name / "model.safetensors").stat().st_mtime_ns for name in RUNS}
    results = read(folder / "results.json")
    compare(["vae:course", "gan:course"], folder, seeds=2)
    after = {name: (folder / name / "model.safetensors").stat().st_mtime_ns for name in RUNS}
    assert before == after
    for old, new in zip(results["runs"], read(folder / "results.json")["runs"], strict=True):
        assert old["metrics"] == new["metrics"]


def test_another_request_on_the_folder_is_refused(folder: Path, compare: Compare) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(InputError, match="holds another comparison"):
        compare(["vae:course"], folder, seeds=2)
    with pytest.raises(InputError, match="holds another comparison"):
        compare(["vae:course", "gan:course"], folder, seeds=2, budget="1kimg")
    assert sorted(folder.rglob("*")) == before


def test_a_comparison_that_was_stopped_goes_on(
    folder: Path, compare: Compare, tmp_path: Path
) -> None:
    shutil.copytree(folder / RUNS[0], tmp_path / "out" / RUNS[0])
    kept = (tmp_path / "out" / RUNS[0] / "model.safetensors").stat().st_mtime_ns
    compare(["vae:course"], tmp_path / "out")
    assert (tmp_path / "out" / RUNS[0] / "model.safetensors").stat().st_mtime_ns == kept
    assert (tmp_path / "out" / "report.html").is_file()


def test_finished_runs_are_taken_as_they_are(
    folder: Path, compare: Compare, tmp_path: Path
) -> None:
    runs = [folder / RUNS[0], folder / RUNS[2]]
    compare(runs, tmp_path / "out")
    contract = read(tmp_path / "out" / "contract.json")
    assert [(tmp_path / "out" / run).resolve() for run in contract["runs"]] == [
        run.resolve() for run in runs
    ]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "contract.json", "results.json", "report.html", "figures", "tables", "baseline",
    }  # fmt: skip


def test_finished_runs_bring_their_data(folder: Path, data: ImageData, tmp_path: Path) -> None:
    runs = [folder / RUNS[0], folder / RUNS[2]]
    triptych.compare(runs, out=tmp_path / "out", count=30, machine=one_thread())
    assert read(tmp_path / "out" / "contract.json")["data"]["fingerprint"] == data.fingerprint


def test_recorded_commands_repeat_the_runs(folder: Path, tmp_path: Path) -> None:
    for name in ("vae-course-s1", "gan-course-s0"):
        facts = read(folder / name / "run.json")
        assert facts["command"].endswith(" --budget 0.64kimg")
        words = [*shlex.split(facts["command"])[1:], "--out", str(tmp_path / name), "--quiet"]
        parser.parse(words).run()
        again = read(tmp_path / name / "run.json")
        assert again["digests"] == facts["digests"]
        assert again["command"] == facts["command"]


def test_runs_of_other_data_are_marked_when_forced(
    folder: Path, compare: Compare, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder / RUNS[0], other)
    facts = read(other / "run.json")
    facts["data"]["fingerprint"] = "elsewhere"
    (other / "run.json").write_text(json.dumps(facts))
    line = "not trained on the data to measure on: other"
    with pytest.raises(InputError, match=line):
        compare([other], tmp_path / "out")
    with pytest.raises(InputError, match="the data differ: other elsewhere, new runs"):
        compare([other, "gan:course"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    compare([other], tmp_path / "out", force=True)
    contract = read(tmp_path / "out" / "contract.json")
    assert contract["forced"] is True and contract["differences"] == [
        {"code": "trained_on_other_data", "values": {"runs": "other"}}
    ]
    assert contract["data"]["fingerprint"] == read(folder / "contract.json")["data"]["fingerprint"]


def test_a_report_says_where_its_runs_were_made(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / RUNS[0], tmp_path / "run")
    facts = read(tmp_path / "run" / "run.json")
    facts |= {"device": "cuda", "precision": "bf16", "threads": 99}
    facts |= {"versions": {"torch": "0"}, "hardware": {"gpu": "elsewhere"}}
    (tmp_path / "run" / "run.json").write_text(json.dumps(facts))
    comparing.join(tmp_path, [RunFolder(tmp_path / "run")], force=False)
    contract = read(tmp_path / "contract.json")
    for key in ("device", "precision", "threads", "versions", "hardware", "data"):
        assert contract[key] == facts[key], key


def test_a_run_measured_on_its_training_images_is_exposed_and_refused(
    folder: Path, data: ImageData, tmp_path: Path
) -> None:
    """Its own training images dressed up as another set's test part."""
    leaked = dataclasses.replace(data, test=data.train, fingerprint="dressed-up")
    run = tmp_path / "run"
    shutil.copytree(folder / RUNS[0], run)
    with pytest.raises(InputError, match="not trained on the data to measure on: run"):
        triptych.compare([run], leaked, out=tmp_path / "out", machine=one_thread())
    [found] = triptych.evaluate([run], leaked, count=30, machine=one_thread())
    assert Note("other_data") in found.warnings
    with pytest.raises(InputError, match="not trained on the data to measure on"):
        triptych.report([run], out=tmp_path / "a.html")
    page = triptych.report([run], out=tmp_path / "a.html", force=True)
    assert "These runs are not equal" in page.read_text()


def test_a_report_names_the_data_measured_on(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / RUNS[0], tmp_path / "run")
    results = read(tmp_path / "run" / "results.json")
    results["data"] |= {"name": "others", "fingerprint": "elsewhere"}
    (tmp_path / "run" / "results.json").write_text(json.dumps(results))
    run = RunFolder(tmp_path / "run")
    with pytest.raises(InputError, match="not trained on the data to measure on: run"):
        comparing.join(tmp_path, [run], force=False)
    comparing.join(tmp_path, [run], force=True)
    assert read(tmp_path / "contract.json")["data"] == results["data"]
    page = triptych.report([tmp_path / "run"], out=tmp_path / "a.html", force=True)
    assert "others" in page.read_text()


def test_unequal_runs_need_force(folder: Path, compare: Compare, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder / RUNS[2], other)
    facts = read(other / "run.json")
    facts["precision"] = "bf16"
    (other / "run.json").write_text(json.dumps(facts))
    words = r"precision differs: vae-course-s0 fp32, other bf16"
    with pytest.raises(InputError, match=words):
        compare([folder / RUNS[0], other], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=words):
        triptych.report([folder / RUNS[0], other], out=tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()
    page = triptych.report([folder / RUNS[0], other], out=tmp_path / "a.html", force=True)
    assert "precision differs" in page.read_text()


def test_a_report_of_runs_changes_nothing_in_them(folder: Path, tmp_path: Path) -> None:
    runs = [folder / RUNS[0], folder / RUNS[2]]
    before = [read(run / "results.json") for run in runs]
    page = triptych.report(runs, out=tmp_path / "page.html", lang="fr")
    assert page == tmp_path / "page.html"
    text = page.read_text()
    assert 'lang="fr"' in text and "vae:course" in text and "gan:course" in text
    assert [read(run / "results.json") for run in runs] == before


def test_a_report_of_runs_needs_their_results(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / RUNS[0], tmp_path / "run")
    (tmp_path / "run" / "results.json").write_text('{"schema": 1}')
    with pytest.raises(InputError, match=r"results\.json is not of this version .*\(model: "):
        triptych.report([tmp_path / "run"], out=tmp_path / "a.html")
    (tmp_path / "run" / "results.json").unlink()
    with pytest.raises(InputError, match=r"results\.json is missing: measure it"):
        triptych.report([tmp_path / "run"], out=tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


def test_runs_measured_with_other_counts_are_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / RUNS[2], tmp_path / "run")
    results = read(tmp_path / "run" / "results.json")
    for metric in results["metrics"]:
        metric["n"] = 10
    (tmp_path / "run" / "results.json").write_text(json.dumps(results))
    with pytest.raises(InputError, match="the number of samples differs: vae-course-s0 30, run 10"):
        triptych.report([folder / RUNS[0], tmp_path / "run"], out=tmp_path / "a.html")
