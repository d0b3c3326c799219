"""Runs and comparisons go to a stand-in of the Hub and come back the same; nothing else goes."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import triptych
from tests.hub_server import StubHub
from tests.making import one_thread
from tests.test_earlier_versions import EARLIER
from triptych.comparison.compare import read_comparison
from triptych.console import Console
from triptych.errors import InputError
from triptych.export.private import private_results, without_paths
from triptych.records import (
    ComparisonResults,
    ContractRecord,
    Note,
    OriginRecord,
    RunRecord,
    SamplesRecord,
)
from triptych.training.run_folder import RunFolder
from triptych.web.library import Library
from triptych.web.play import WalkAsked, WarmModels

huggingface_hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")
utils = pytest.importorskip("huggingface_hub.utils")
yaml = pytest.importorskip("yaml")

SECRET = "secret-folder"  # of this machine: no upload may hold it
LICENSES = {"license": "apache-2.0", "data_license": "cc-by-4.0"}


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubHub]:
    """A Hub of our own that takes one token, and a user who has it."""
    server = StubHub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", server.token)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
    utils.close_session()


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """Finished runs and a comparison, in a folder whose name is nobody's business."""
    return Path(shutil.copytree(EARLIER, tmp_path / SECRET / "earlier"))


def give_away(folder: Path, **data: Any) -> None:
    """Write the place of its data, and more, into run.json as a training of files does."""
    path = f"/{SECRET}/my photos/digits.npz"
    run = RunFolder(folder)
    record = run.read()
    data = {"source": path, "place": path, **data}
    command = f"triptych train vae:sigma --data '{path}' --out ../{SECRET}/a"
    run.write(replace(record, data=replace(record.data, **data), command=command, follows=path))


def warn(folder: Path, text: str) -> None:
    """Write a warning into the log of a run."""
    note = Note("text", {"text": text}).to_json()
    with (folder / "log.jsonl").open("a") as log:
        log.write(json.dumps({"event": "warning", "images": 0, "note": note}) + "\n")


def go_on(folder: Path) -> None:
    """Make it a run that went on from another one, which lay elsewhere and saw 5,000 images."""
    run = RunFolder(folder)
    record = run.read()
    origin = OriginRecord(
        run=f"{SECRET}/runs/first",
        digests={},
        state=None,
        images_seen=5_000,
        train_seconds=60.0,
        budget=record.budget,
        data=record.data.name,
        fingerprint=record.data.fingerprint,
        notes=(
            Note("origin_without_state", {"run": f"{SECRET}/runs/first"}),
            Note("text", {"text": f"../{SECRET}/first is old"}),
        ),
    )
    run.write(replace(record, origins=(origin,)))


def push(path: Path, name: str = "us/digits", **options: Any) -> str:
    return triptych.push(path, name, machine=one_thread(), **{**LICENSES, **options})


def test_a_run_comes_back_and_samples_the_same_bits(
    stub: StubHub, earlier: Path, tmp_path: Path
) -> None:
    address = push(earlier / "vae")
    assert address == f"{stub.address}/us/digits"
    out = triptych.pull("us/digits", tmp_path / "back")
    before, after = (triptych.Run(path, one_thread()) for path in (earlier / "vae", out))
    assert torch.equal(before.sample(5, 3), after.sample(5, 3))
    assert before.record.data.fingerprint == after.record.data.fingerprint
    assert before.record.settings == after.record.settings
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert names == {"README.md", "run.json", "model.safetensors", "results.json", "samples.png"}
    assert list(tmp_path.glob(".back*")) == []


def test_what_goes_up_is_what_is_needed(stub: StubHub, earlier: Path) -> None:
    """And neither a log, a checkpoint nor a path of this machine."""
    run = earlier / "vae"
    give_away(run)
    (run / "checkpoints" / "0-1").mkdir(parents=True)
    (run / "checkpoints" / "0-1" / "model.safetensors").write_bytes(b"0")
    warn(run, f"read /{SECRET}/b.csv: too dark")
    (run / "figures").mkdir()
    curves = {"note": f"read /{SECRET}/a.csv: 3 rows", "of": [f"/{SECRET}/b c/d.png"]}
    (run / "figures" / "curves.json").write_text(json.dumps(curves))
    (run / "figures" / "link.json").symlink_to(run / "log.jsonl")
    (run / "figures" / "notes.txt").write_text(SECRET)
    push(run)
    files = stub.models["us/digits"]
    assert set(files) == {
        ".gitattributes", "README.md", "app.py", "figures/curves.json", "model.safetensors",
        "requirements.txt", "results.json", "run.json", "samples.png",
    }  # fmt: skip
    for name, content in files.items():
        assert SECRET.encode() not in content and str(run).encode() not in content, name
    record = RunRecord.read(json.loads(files["run.json"]))
    assert (record.data.source, record.data.place) == ("digits.npz", None)
    assert record.command == "triptych train vae:sigma --data digits.npz --out a"
    assert record.follows == "digits.npz"
    told = json.loads(files["figures/curves.json"])
    assert told == {"note": "read a.csv: 3 rows", "of": ["d.png"]}
    assert "- read b.csv: too dark" in files["README.md"].decode()
    warnings = json.loads(files["results.json"])["warnings"]
    assert warnings[-1] == Note("text", {"text": "read b.csv: too dark"}).to_json()
    assert record.digests["model.safetensors"] == RunFolder(run).read().digests["model.safetensors"]


def test_names_within_the_data_stay_here(stub: StubHub, earlier: Path) -> None:
    """They may be of people; what notes tell in numbers goes along."""
    few = Note("few_test_images", {"n": 12, "least": 100})
    sizes = Note("stretched", {"sizes": "9x9..12x9", "resolution": "8x8"})
    masks = Note("mask_files_left_out", {"n": 2, "first": "patients/Jo Doe/scan_mask.png"})
    notes = (few, masks, sizes, Note("text", {"text": "Doe.png is grey"}))
    give_away(earlier / "vae", notes=notes)
    push(earlier / "vae")
    files = stub.models["us/digits"]
    assert RunRecord.read(json.loads(files["run.json"])).data.notes == (few, sizes)
    assert not any(b"Doe" in content for content in files.values())


def test_names_of_samples_stay_here(stub: StubHub, earlier: Path) -> None:
    bad = Note("bad_images", {"n": 1, "files": 9, "share": 0.1, "images": "Doe.png: cut"})
    chosen = Note("samples_chosen", {"n": 8, "held": 9})
    [result, *_] = read_comparison(earlier / "comparison").runs
    samples = SamplesRecord(
        source="/home/Doe/s", kind="files", images=9, fingerprint="f", notes=(chosen, bad)
    )
    other = Note("text", {"text": "look"})
    told = private_results(replace(result, samples=samples, warnings=(chosen, bad, other)))
    assert told.warnings == (chosen, other)
    assert told.samples == replace(samples, source="s", notes=(chosen,))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/me/My photos/a b.png", "a b.png"),
        ("read /home/me/My photos/a.png: 3/4 of them", "read a.png: 3/4 of them"),
        ("/a/My b/c.png and /d/e f/g.png", "c.png and g.png"),
        ("in '/home/O'Neil/My photos/x' and \\\\nas\\my files\\y", "in 'x' and y"),
        ("see file:///home/me/x", "see x"),
        ("see smb://nas/private/y.png.", "see y.png."),
        ("~me/secret/x/y", "y"),
        ("of https://huggingface.co/us/zoo", "of https://huggingface.co/us/zoo"),
        ("class and/or 3/4 of hf:us/zoo", "class and/or 3/4 of hf:us/zoo"),
    ],
)
def test_of_paths_in_sentences_the_last_part_stays(text: str, left: str) -> None:
    assert without_paths({"text": f"note: {text}"}) == {"text": f"note: {left}"}


def test_the_card_holds_the_numbers_of_results_json(stub: StubHub, earlier: Path) -> None:
    """And the Hub's own reader reads its metadata."""
    push(earlier / "vae")
    text = stub.models["us/digits"]["README.md"].decode()
    card = huggingface_hub.ModelCard(text)
    data = card.data
    assert (data.license, data.library_name) == ("apache-2.0", "triptych")
    assert data.pipeline_tag == "unconditional-image-generation"
    assert data.datasets is None and {"triptych", "vae"} <= set(data.tags)
    assert data.get("model-index") is None  # which the reader took apart
    results = json.loads((earlier / "vae" / "results.json").read_text())
    defined = {
        m["name"]: m["value"]
        for m in reversed(results["metrics"])
        if m["value"] is not None and m["reference"] in ("test", "none")
    }
    written = {each.metric_type: each.metric_value for each in data.eval_results}
    assert written == defined and len(written) > 10
    [row] = [line for line in card.text.splitlines() if line.startswith("| Reconstruction PSNR")]
    [psnr] = [m for m in results["metrics"] if m["name"] == "reconstruction_psnr"]
    for number in (psnr["value"], psnr["low"], psnr["high"]):
        assert f"{number:.1f}" in row
    assert "not defined (1)" in card.text
    assert "1. 64 images are fewer than twice the number of features" in card.text
    assert "fewer than 2,000 samples: read the interval, not the value" in card.text
    assert "Licence of the data: cc-by-4.0" in card.text


@pytest.mark.parametrize(("device", "used"), [("cpu", "Ryzen"), ("cuda", "H200"), ("mps", "Ryzen")])
def test_the_card_names_the_hardware_that_was_used(
    stub: StubHub, earlier: Path, device: str, used: str
) -> None:
    run = RunFolder(earlier / "vae")
    record = run.read()
    hardware = {"processor": "Ryzen", "gpu": None if device == "mps" else "H200"}
    run.write(replace(record, device=device, hardware={**record.hardware, **hardware}))
    push(earlier / "vae")
    assert f"Trained on {used} with {device}," in stub.models["us/digits"]["README.md"].decode()


def test_floors_and_intervals_stand_beside_their_number(stub: StubHub, earlier: Path) -> None:
    path = earlier / "vae" / "results.json"
    results = json.loads(path.read_text())
    [metric] = [m for m in results["metrics"] if m["name"] == "recall"]
    metric |= {"value": 0.25, "low": 0.125, "high": 0.375, "floor": 0.75}
    path.write_text(json.dumps(results))
    push(earlier / "vae")
    text = stub.models["us/digits"]["README.md"].decode()
    [row] = [line for line in text.splitlines() if line.startswith("| Recall")]
    plain = row.replace("\N{NO-BREAK SPACE}", " ").replace("\\", "")
    _, measured, floor = [cell.strip() for cell in plain.split("|")[1:-1]]
    assert (measured, floor) == ("25 % [12 %, 38 %]", "75 %")


def test_numbers_on_a_set_of_the_hub_are_written_as_the_hub_reads_them(
    stub: StubHub, earlier: Path
) -> None:
    give_away(earlier / "vae", source="hf:us/zoo:small", place=None)
    push(earlier / "vae")
    files = stub.models["us/digits"]
    assert huggingface_hub.ModelCard(files["README.md"].decode()).data.datasets == ["us/zoo"]
    entries = huggingface_hub.parse_eval_result_entries(
        yaml.safe_load(files[".eval_results/triptych.yaml"])
    )
    assert {entry.dataset_id for entry in entries} == {"us/zoo"}
    tasks = [entry.task_id for entry in entries]
    assert len(tasks) == len(set(tasks)) and "frechet_distance" in tasks
    [psnr] = [entry for entry in entries if entry.task_id == "reconstruction_psnr"]
    assert psnr.value == pytest.approx(15.792821328952952, abs=1e-12)
    assert "95 % interval" in psnr.notes


def test_numbers_on_other_data_are_not_told_as_of_the_training_s(
    stub: StubHub, earlier: Path
) -> None:
    give_away(earlier / "vae", source="hf:us/zoo:small", place=None)
    path = earlier / "vae" / "results.json"
    results = json.loads(path.read_text())
    results["data"] |= {"name": "plants", "fingerprint": "f" * 16}
    path.write_text(json.dumps(results))
    push(earlier / "vae")
    files = stub.models["us/digits"]
    card = huggingface_hub.ModelCard(files["README.md"].decode())
    assert ".eval_results/triptych.yaml" not in files and card.data.eval_results is None
    assert card.data.datasets == ["us/zoo"]
    assert "than it was trained on: on plants, with " in card.text
    assert "fingerprint `ffffffffffffffff`" in card.text and "Reconstruction PSNR" in card.text


def test_a_run_that_was_not_measured_says_so(
    stub: StubHub, earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that it holds encodings of training images, where it does."""
    (earlier / "vae" / "results.json").unlink()
    warn(earlier / "vae", "too dark")
    monkeypatch.setattr("triptych.export.hub_folder.exemplar_numbers", lambda model: 4096)
    push(earlier / "vae")
    files = stub.models["us/digits"]
    assert "results.json" not in files
    assert "Nothing was measured" in files["README.md"].decode()
    assert "- too dark" in files["README.md"].decode()
    assert "its prior holds encodings of training images" in files["README.md"].decode()
    assert huggingface_hub.ModelCard(files["README.md"].decode()).data.eval_results is None


def test_a_second_push_leaves_nothing_of_the_first(stub: StubHub, earlier: Path) -> None:
    """Old numbers beside new weights would be a lie; others' files stay."""
    push(earlier / "vae")
    stub.models["us/digits"]["mine.txt"] = b"mine"
    (earlier / "vae" / "results.json").unlink()
    push(earlier / "vae")
    assert "results.json" not in stub.models["us/digits"]
    assert stub.models["us/digits"]["mine.txt"] == b"mine"


def test_files_of_somebody_else_are_not_an_earlier_push(stub: StubHub, earlier: Path) -> None:
    """Where no run of ours lies, files with names like ours stay, and none is replaced."""
    theirs = {"x/results.json": b"{}", "figures/a.csv": b"1"}
    named_alike = {"README.md": b"# Mine", "model.safetensors": b"mine"}
    stub.models["us/digits"] = theirs | named_alike
    with pytest.raises(InputError, match=r"\(README.md, model.safetensors\): remove these there"):
        push(earlier / "vae")
    assert stub.models["us/digits"] == theirs | named_alike
    stub.models["us/digits"] = dict(theirs)
    push(earlier / "vae")
    after = stub.models["us/digits"]
    assert {name: after[name] for name in theirs} == theirs and "run.json" in after


def test_results_of_many_models_go_up(stub: StubHub, earlier: Path) -> None:
    """They are larger than other records."""
    comparison = earlier / "comparison"
    for path in comparison.rglob("results.json"):
        path.write_text(path.read_text() + " " * 2**20)
    push(comparison)
    assert "vae-sigma-s1/results.json" in stub.models["us/digits"]


def test_private_is_private(stub: StubHub, earlier: Path) -> None:
    push(earlier / "vae", private=True)
    assert stub.private == {"us/digits"}
    push(earlier / "vae", "us/open")
    before = dict(stub.models["us/open"])
    with pytest.raises(InputError, match="everybody can see it: make it private"):
        push(earlier / "gan", "us/open", private=True)
    assert stub.models["us/open"] == before


def test_a_comparison_comes_back_with_its_page(
    stub: StubHub, earlier: Path, tmp_path: Path
) -> None:
    """A run from elsewhere comes to lie in it."""
    comparison = earlier / "comparison"
    moved = earlier / "moved" / "vae-sigma-s1"
    moved.parent.mkdir()
    shutil.move(comparison / "vae-sigma-s1", moved)
    for name in ("contract.json", "results.json"):
        text = (comparison / name).read_text()
        (comparison / name).write_text(text.replace('"vae-sigma-s1"', '"../moved/vae-sigma-s1"'))
    give_away(moved)
    warn(moved, f"read ../{SECRET}/b.csv: too dark")
    push(comparison)
    files = stub.models["us/digits"]
    results = ComparisonResults.read(json.loads(files["results.json"]))
    warning = Note("text", {"text": "read b.csv: too dark"})
    assert [warning in run.warnings for run in results.runs] == [False, True]
    assert b"Read b.csv: too dark" in files["report.html"]
    assert {"contract.json", "report.html", "vae-sigma-s1/run.json"} <= set(files)
    for name, content in files.items():
        assert SECRET.encode() not in content, name
    out = triptych.pull("us/digits", tmp_path / "back")
    contract = ContractRecord.read(json.loads((out / "contract.json").read_text()))
    assert contract.runs == ("vae-sigma-s0", "vae-sigma-s1")
    before, after = read_comparison(comparison), read_comparison(out)
    assert [r.metrics for r in after.runs] == [r.metrics for r in before.runs]
    assert (out / "report.html").is_file()
    original = triptych.Run(moved, one_thread()).sample(3, 1)
    assert torch.equal(triptych.Run(out / "vae-sigma-s1", one_thread()).sample(3, 1), original)


def test_a_comparison_of_one_model_is_one(stub: StubHub, earlier: Path) -> None:
    """It was trained with two seeds: its row is a mean, and no training of that name is meant."""
    push(earlier / "comparison")
    text = stub.models["us/digits"]["README.md"].decode()
    assert "1 model, trained and measured under one contract" in text
    assert "triptych sample pulled/vae-sigma-s0 --out" in text
    assert "triptych sample pulled --out" not in text
    [row] = [line for line in text.splitlines() if line.startswith("| vae-sigma-s0 | vae:sigma")]
    assert "vae:sigma, mean of 2 trainings | 640 |" in row and row.endswith("| 0, 1 |")
    assert "vae-sigma-s0 (mean of 2)" in text and "over trainings (Student's)" in text
    assert "expected value at this number of images" not in text
    assert huggingface_hub.ModelCard(text).data.eval_results is None


def test_the_run_that_it_went_on_from_counts_and_its_folder_stays(
    stub: StubHub, earlier: Path
) -> None:
    run = earlier / "vae"
    own = RunFolder(run).read().images_seen
    go_on(run)
    push(run)
    files = stub.models["us/digits"]
    [origin] = RunRecord.read(json.loads(files["run.json"])).origins
    assert origin.run == "first" and origin.notes[0].values == {"run": "first"}
    assert origin.notes[1].values == {"text": "first is old"}
    assert SECRET.encode() not in files["run.json"] + files["README.md"]
    total = f"{own + 5_000:,}"
    assert f"| vae:sigma | {total} | " in files["README.md"].decode()
    assert total in repr(triptych.Run(run)) and total in triptych.Run(run)._repr_html_()
    [shown] = [each for each in Library(earlier).shown().runs if each.path == "vae"]
    assert shown.images == own + 5_000 and shown.seconds is not None and shown.seconds > 60


def test_nobody_is_told_of_pictures_within_another_job(
    stub: StubHub, earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card's samples have a bar of their own, and a page's films none."""
    quiet = []

    def heard(method: str) -> None:
        own = getattr(triptych.Run, method)

        def called(*arguments: Any, **options: Any) -> Any:
            quiet.append((method, options.get("quiet")))
            return own(*arguments, **options)

        monkeypatch.setattr(triptych.Run, method, called)

    heard("sample")
    heard("interpolate")
    push(earlier / "vae")
    WarmModels(Library(earlier)).walk(WalkAsked(run="vae", points=2, paths=1))
    assert quiet == [("sample", True), ("interpolate", True)]


@pytest.mark.parametrize("terminal", [False, True])
def test_the_upload_has_one_bar(
    stub: StubHub, earlier: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    """It is the library's on a terminal, and ours in a notebook and in logs."""
    labels, own = [], Console.bar

    def heard(console: Console, label: str, total: float | None = None) -> Any:
        labels.append(label.strip())
        return own(console, label, total)

    monkeypatch.setattr(Console, "bar", heard)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    push(earlier / "vae")
    assert ("uploading" in labels) == (not terminal)


# What is refused


@pytest.mark.parametrize("name", ["digits", "us/../digits", "us/dig its", "a/b/c", "us/-x-", ""])
def test_a_bad_name_is_one_line_before_anything_is_sent(
    stub: StubHub, earlier: Path, name: str
) -> None:
    with pytest.raises(InputError, match="no name on the Hub: write owner/name"):
        push(earlier / "vae", name)
    assert stub.log == []


def test_without_a_token_nothing_is_sent(
    stub: StubHub, earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    with pytest.raises(InputError, match="no token for the Hub: log in with `hf auth login`, or"):
        push(earlier / "vae")
    assert stub.log == []


def test_licences_are_asked_for(stub: StubHub, earlier: Path) -> None:
    with pytest.raises(InputError, match="give --license"):
        push(earlier / "vae", license=None)
    with pytest.raises(InputError, match="no licence as the Hub writes them"):
        push(earlier / "vae", license="Apache 2")
    give_away(earlier / "vae")
    with pytest.raises(InputError, match="give --data-license"):
        push(earlier / "vae", data_license=None)
    assert stub.log == []


def test_the_embedded_digits_need_no_licence_said(stub: StubHub, earlier: Path) -> None:
    push(earlier / "vae", data_license=None)
    assert "Licence of the data: apache-2.0" in stub.models["us/digits"]["README.md"].decode()


def test_weights_that_are_not_the_run_s_stay_here(stub: StubHub, earlier: Path) -> None:
    weights = earlier / "vae" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(InputError, match="its digest differs"):
        push(earlier / "vae")
    with pytest.raises(InputError, match="no run and no comparison"):
        push(earlier)
    with pytest.raises(InputError, match="no folder"):
        push(earlier / "nothing")
    assert stub.log == []


@pytest.mark.parametrize(
    ("ending", "status", "line"),
    [
        ("/repos/create", 401, "the Hub does not accept the token: log in"),
        ("/repos/create", 403, "may not write to us/digits: give a name of your own"),
        ("/repos/create", 500, "cannot reach the Hub for us/digits"),
        ("/commit/main", 409, "was changed by another at the same time: push again"),
        ("/commit/main", 400, "the Hub refuses us/digits"),
    ],
)
def test_what_the_hub_says_is_one_line(
    stub: StubHub, earlier: Path, ending: str, status: int, line: str
) -> None:
    stub.refusals[ending] = status
    with pytest.raises(InputError, match=line) as raised:
        push(earlier / "vae")
    assert "\n" not in str(raised.value)
    assert set(stub.models.get("us/digits", {})) <= {".gitattributes"}


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (403, "the token may not read us/digits: ask its owner"),
        (429, "the Hub was asked too often: wait a while, and pull again"),
        (418, r"the Hub refuses us/digits \(.*\): mend that, and pull again"),
    ],
)
def test_what_the_hub_says_of_pulling_speaks_of_pulling(
    stub: StubHub, earlier: Path, tmp_path: Path, status: int, line: str
) -> None:
    give(stub, earlier / "vae")
    stub.refusals["/us/digits"] = status
    with pytest.raises(InputError, match=line):
        triptych.pull("us/digits", tmp_path / "back")


def test_a_folder_that_cannot_be_replaced_is_refused_first(
    stub: StubHub, earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One works in it, or it is a link or a mount point; an empty one that is none is filled."""
    give(stub, earlier / "vae")
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setattr(Path, "is_mount", lambda path: path == mounted)
    for out in (Path(), tmp_path / "empty", tmp_path / "link", mounted):
        with pytest.raises(InputError, match="is there already: name a new folder"):
            triptych.pull("us/digits", out)
    assert stub.log == []
    monkeypatch.chdir(tmp_path)
    assert (triptych.pull("us/digits", "empty") / "run.json").is_file()


def test_a_wrong_token_is_one_line(
    stub: StubHub, earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(InputError, match="does not accept the token"):
        push(earlier / "vae")


def test_a_hub_that_is_not_there_is_one_line(
    stub: StubHub, earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="cannot reach the Hub for us/digits"):
        push(earlier / "vae")
    with pytest.raises(InputError, match="cannot reach the Hub for us/digits"):
        triptych.pull("us/digits", tmp_path / "back")
    assert not (tmp_path / "back").exists()


# A stranger's folder


def give(stub: StubHub, run: Path, **files: bytes) -> None:
    """A repository of a run's files and others."""
    own = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    stub.models["us/digits"] = own | files


def test_of_a_stranger_s_folder_only_our_files_are_taken(
    stub: StubHub, earlier: Path, tmp_path: Path
) -> None:
    strange = {
        "app.py": b"import os", "pytorch_model.bin": b"\x80\x02", "report.html": b"<script>",
        "figures/a.png": b"x", "figures/a.html": b"<script>", "deep/er/run.json": b"{}",
        ".git/config": b"x", "checkpoints/1/model.safetensors": b"x", "log.jsonl": b"x",
    }  # fmt: skip
    give(stub, earlier / "vae", **strange)
    out = triptych.pull("us/digits", tmp_path / "back")
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert names == {"run.json", "model.safetensors", "results.json", "figures/a.png"}
    asked = [line.split("/")[-1] for line in stub.log if "/resolve/" in line]
    assert set(asked) == {"run.json", "model.safetensors", "results.json", "a.png"}


@pytest.mark.parametrize(
    "name", ["../run.json", "/etc/run.json", "figures/../../a.png", "a\\run.json", "C:run.json"]
)
def test_paths_that_lead_elsewhere_are_refused(
    stub: StubHub, earlier: Path, tmp_path: Path, name: str
) -> None:
    give(stub, earlier / "vae", **{name: b"x"})
    with pytest.raises(InputError, match="pull nothing from there"):
        triptych.pull("us/digits", tmp_path / "back")
    assert not (tmp_path / "back").exists() and not [
        line for line in stub.log if "/resolve/" in line
    ]


def test_a_contract_that_names_runs_elsewhere_is_refused(
    stub: StubHub, earlier: Path, tmp_path: Path
) -> None:
    """Its page would show pictures of the reader's own runs, and a push would take them along."""
    push(earlier / "comparison")
    contract = json.loads(stub.models["us/digits"]["contract.json"])
    for name in ("/etc", "../private", "..", "a\\b", "C:x", ""):
        contract["runs"][1] = name
        stub.models["us/digits"]["contract.json"] = json.dumps(contract).encode()
        with pytest.raises(InputError, match="its contract names a run"):
            triptych.pull("us/digits", tmp_path / "back")
        assert not (tmp_path / "back").exists(), name


def test_files_that_are_too_large_are_never_fetched(
    stub: StubHub, earlier: Path, tmp_path: Path
) -> None:
    give(stub, earlier / "vae")
    stub.announced["run.json"] = 2**20 + 1
    with pytest.raises(InputError, match=r"run.json of us/digits holds 1,048,577 bytes"):
        triptych.pull("us/digits", tmp_path / "back")
    stub.announced = {"model.safetensors": 2**60}
    with pytest.raises(InputError, match="make room"):
        triptych.pull("us/digits", tmp_path / "back")
    assert not [line for line in stub.log if "/resolve/" in line]
    assert not (tmp_path / "back").exists()


def test_a_file_that_is_not_as_announced_is_refused(
    stub: StubHub, earlier: Path, tmp_path: Path
) -> None:
    give(stub, earlier / "vae")
    stub.announced["results.json"] = 7
    with pytest.raises(InputError, match=r"not as the Hub announced it|Consistency check"):
        triptych.pull("us/digits", tmp_path / "back")
    assert not (tmp_path / "back").exists() and not list(tmp_path.glob(".back*"))


def test_a_file_of_the_right_size_with_other_numbers_is_refused(
    stub: StubHub, earlier: Path, tmp_path: Path
) -> None:
    """Of files that are no large ones the Hub tells what git calls their content."""
    give(stub, earlier / "vae")
    results = stub.models["us/digits"]["results.json"]
    stub.altered["results.json"] = results.replace(b"1", b"2")
    with pytest.raises(InputError, match=r"results.json of us/digits is not as the Hub announced"):
        triptych.pull("us/digits", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_weights_that_the_run_does_not_name_are_refused(
    stub: StubHub, earlier: Path, tmp_path: Path
) -> None:
    give(stub, earlier / "vae")
    weights = bytearray(stub.models["us/digits"]["model.safetensors"])
    weights[-1] ^= 1
    stub.models["us/digits"]["model.safetensors"] = bytes(weights)
    with pytest.raises(InputError, match=r"does not load: model\.safetensors .*its digest differs"):
        triptych.pull("us/digits", tmp_path / "back")
    assert not (tmp_path / "back").exists() and not list(tmp_path.glob(".back*"))


def test_what_is_no_run_is_refused(stub: StubHub, earlier: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no model us/digits on the Hub: check the name"):
        triptych.pull("us/digits", tmp_path / "back")
    stub.models["us/digits"] = {"README.md": b"hello"}
    with pytest.raises(InputError, match="holds no run of triptych"):
        triptych.pull("us/digits", tmp_path / "back")
    with pytest.raises(InputError, match="is there already: name a new folder"):
        triptych.pull("us/digits", earlier)
    stub.refusals["/us/digits"] = 401
    with pytest.raises(InputError, match="does not accept the token: log in"):
        triptych.pull("us/digits", tmp_path / "back")
