"""What a command makes of its options: none is dropped, swapped or set on the way to the work.

The work itself is replaced by something that notes what it was asked for.
"""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tests.making import one_thread
from triptych import api, hardware
from triptych.cli import commands, main, parser
from triptych.cli import text as lines
from triptych.cli.output import check
from triptych.config import ImageShape
from triptych.console import Console
from triptych.errors import ANYTHING, InputError
from triptych.families.labels import Labels
from triptych.options import MeasureRequest, ReadingOptions
from triptych.records import CostRecord, MeasuredOn, MetricRecord, Note, ResultsRecord
from triptych.run import Run
from triptych.tasks.reconstruct import Answer
from triptych.tasks.traverse import Traversal
from triptych.training import calibration


def grey(level: int, count: int) -> torch.Tensor:
    return torch.full((count, 3, 4, 4), level, dtype=torch.uint8)


class Asked:
    """In the place of a run: keeps what is asked of it and gives what can be written."""

    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]]
    labels = Labels(names=("owl", "cat"), counts=(3, 9))
    model = SimpleNamespace(shape=ImageShape(channels=3, resolution=4))
    record = None

    def __init__(self, path: Path, machine: Any = None) -> None:
        self.path = path

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def noted(*given: Any, console: Any = None, **named: Any) -> Any:
            Asked.calls.append((name, given, named))
            return self.answer(name, given)

        return noted

    def answer(self, name: str, given: tuple[Any, ...]) -> Any:
        if name == "sample_labels":
            return torch.zeros(given[0], dtype=torch.long)
        if name == "answers":
            return {"reconstruction": Answer(given[0], 1.0)}
        if name == "traverse":
            return Traversal(grey(0, 2)[None], [], 0)
        if name == "log_likelihood":
            return MetricRecord(name="bits_per_dim", value=1.0, reference="test")
        if name == "read_images":
            return grey(int(given[0].stem), 1)
        return {"sample": grey(0, 3), "interpolate": grey(0, 2)[None]}.get(name)


PARTS = SimpleNamespace(
    train=SimpleNamespace(images=grey(1, 400)),
    validation=SimpleNamespace(images=grey(2, 400)),
    test=SimpleNamespace(images=grey(3, 400)),
)


@pytest.fixture
def asks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str], list[tuple[str, tuple[Any, ...], dict[str, Any]]]]:
    """Runs a command and gives what it asked of the run, in order."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("triptych.hardware.pick_for", lambda options: one_thread())
    monkeypatch.setattr("triptych.run.Run", Asked)
    monkeypatch.setattr("triptych.run.run_data", lambda *rest: PARTS)

    def run(words: str) -> list[tuple[str, tuple[Any, ...], dict[str, Any]]]:
        Asked.calls = []
        parser.parse([*words.split(), "--quiet"]).run()
        return Asked.calls

    return run


def test_sample_asks_for_what_was_typed(asks: Callable[[str], Any]) -> None:
    typed = "--count 3 --seed 5 --sampler ddim --steps 7 --eta 0.5 --guidance 2 --label owl"
    drawn, told = asks(f"sample r --out a.npz {typed} --temperature 0.7 --pixel-noise")
    assert drawn[:2] == ("sample", (3, 5))
    assert drawn[2] == {
        "sampler": "ddim", "steps": 7, "eta": 0.5, "guidance": 2.0, "label": "owl",
        "temperature": 0.7, "pixel_noise": True,
    }  # fmt: skip
    assert told == ("sample_labels", (3, 5, "owl"), {})
    with np.load("a.npz") as found:
        assert found["classes"].tolist() == ["owl", "cat"] and found["labels"].tolist() == [0] * 3


def test_interpolate_asks_for_what_was_typed(asks: Callable[[str], Any]) -> None:
    *_, walked = asks("interpolate r --out a.png --points 6 --seed 4 --way straight")
    assert walked == ("interpolate", (None, None, 6, 4), {"paths": 8, "way": "straight"})
    *_, (_, (first, last, *rest), named) = asks("interpolate r --out b.png --from 1.png --to 2.png")
    assert (int(first.max()), int(last.max())) == (1, 2)
    assert rest == [10, 0] and named == {"paths": None, "way": None}


def test_reconstruct_shows_test_images(asks: Callable[[str], Any]) -> None:
    calls = asks("reconstruct r --out a.npz --count 5 --steps 3 --seed 2")
    assert [call[0] for call in calls] == ["require_encoder", "with_steps", "answers"]
    assert calls[1][1] == (3,)
    originals, *rest = calls[2][1]
    assert originals.shape == (5, 3, 4, 4) and (originals == 3).all() and rest == [2, 3]
    assert len(asks("reconstruct r --out b.npz")[-1][1][0]) == 64


def test_traverse_is_around_validation_images(asks: Callable[[str], Any]) -> None:
    checked, walked = asks("traverse r --out a.png --rows 4 --points 3 --seed 9")
    assert checked == ("check_traversal", (4, 3), {})
    images, *rest = walked[1]
    assert images.shape == (256, 3, 4, 4) and (images == 2).all() and rest == [4, 3, 9]


@pytest.mark.parametrize(
    ("typed", "count"), [("", 256), ("--method ais", 32), ("--method ais --count 7", 7)]
)
def test_likelihood_measures_test_images(
    asks: Callable[[str], Any], typed: str, count: int
) -> None:
    """The noise of an estimate is chosen on others: those of the validation part."""
    [(_, (images,), named)] = asks(f"likelihood r {typed} --draws 4 --noise 0.1")
    assert images.shape == (count, 3, 4, 4) and (images == 3).all()
    assert (named.pop("validation") == 2).all()
    assert named == {"method": "ais" if typed else None, "draws": 4, "noise": 0.1}


def noted(monkeypatch: pytest.MonkeyPatch, name: str, answer: Any) -> list[Any]:
    """What a verb of `api` is called with."""
    calls: list[Any] = []

    def verb(*given: Any, machine: Any = None, console: Any = None, **named: Any) -> Any:
        calls.append((given, named))
        return answer

    monkeypatch.setattr(api, name, verb)
    return calls


def test_verbs_are_asked_for_what_was_typed(
    asks: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    averaged = noted(monkeypatch, "average", api.Averaged(Path("b"), 0.1, {}))
    asks("average a --out b --width 0.1 --data d")
    assert averaged == [((Path("a"), Path("b"), 0.1), {"data": "d"})]
    folder = SimpleNamespace(record=SimpleNamespace(to_json=dict))
    repeated = noted(monkeypatch, "repeat", folder)
    typed = "--resolution 16 --fit pad --strict --image-column i --label-column l --range 0,9"
    asks(f"repeat a --out b --data d {typed}")
    reading = {
        "resolution": 16, "fit": "pad", "strict": True, "image_column": "i", "label_column": "l",
        "range": "0,9",
    }  # fmt: skip
    assert repeated == [((Path("a"), Path("b")), {"data": "d", **reading})]
    reported = noted(monkeypatch, "report", Path("x.html"))
    asks("report a b --lang fr --course --force --out x.html")
    wanted = {"lang": "fr", "course": True, "force": True, "out": Path("x.html")}
    wanted |= {"format": "html", "eyes": None}
    assert reported == [(((Path("a"), Path("b")),), wanted)]
    measured = noted(monkeypatch, "evaluate", [])
    asks(f"evaluate a b --data d --count 9 --features patches {typed}")
    runs = (Path("a"), Path("b"))
    request = MeasureRequest(runs=runs, data="d", count=9, features="patches", **reading)
    assert measured == [((request,), {})]


def test_doctor_tells_milliseconds(
    monkeypatch: pytest.MonkeyPatch, asks: Callable[[str], Any]
) -> None:
    steps = {"vae:ladder": {1: 0.0123, 2: 0.5}}
    monkeypatch.setattr(calibration, "steps_now", lambda machine, size, bar: steps)
    found = parser.parse(["doctor", "--json"]).run()
    assert found["milliseconds of a training step now"] == {
        "vae:ladder, 1 thread": 12.3,
        "vae:ladder, 2 threads": 500.0,
    }


def test_doctor_tells_of_a_build_of_pytorch_that_does_not_fit(
    monkeypatch: pytest.MonkeyPatch, asks: Callable[[str], Any]
) -> None:
    monkeypatch.setattr(calibration, "steps_now", lambda machine, size, bar: {})
    monkeypatch.setattr(hardware, "build_advice", lambda device: Note("cuda_build_unused"))
    found = parser.parse(["doctor", "--json"]).run()
    assert found["choices"]["torch"]["code"] == "cuda_build_unused"
    assert "download.pytorch.org/whl/cpu" in parser.parse(["doctor"]).run()


# How a process ends


def test_a_fault_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(words: Any) -> None:
        raise RuntimeError("fault")

    monkeypatch.setattr(main, "parse", fail)
    with pytest.raises(RuntimeError, match="fault"):
        main.attempt(signal.default_int_handler)


class Closed(io.StringIO):
    """A pipe whose reader is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


def test_an_answer_that_nobody_reads_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a message that nobody reads ends no work: `triptych train vae 2>&1 | head -1`."""
    done = []

    def run(self: commands.Doctor) -> str:
        Console().say("a warning")
        with Console().bar("work", 2) as bar:
            bar.update(1)
        done.append(True)
        return "answer"

    monkeypatch.setattr(sys, "argv", ["triptych", "doctor"])
    monkeypatch.setattr(commands.Doctor, "run", run)
    monkeypatch.setattr(sys, "stderr", Closed())
    monkeypatch.setattr(sys, "stdout", Closed())
    assert main.attempt(signal.default_int_handler) == 0 and done


def test_sigterm_ends_with_143_and_is_no_failure_of_a_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that comes while another's package is imported, say."""

    def run(self: commands.Doctor) -> str:
        with suppress(*ANYTHING):
            main.leave(signal.SIGTERM, None)
        return "went on"

    monkeypatch.setattr(sys, "argv", ["triptych", "doctor"])
    monkeypatch.setattr(commands.Doctor, "run", run)
    assert main.attempt(signal.default_int_handler) == 143


@pytest.mark.parametrize("size", ["2", ""])
def test_errors_are_told_where_torchrun_did_not_start_us(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], size: str
) -> None:
    """Clouds set WORLD_SIZE too, without the rest of what torchrun says."""
    monkeypatch.setenv("WORLD_SIZE", size)
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert main.complain("no images", 2) == 2
    assert "no images" in capsys.readouterr().err


@pytest.mark.parametrize(("rank", "printed"), [("0", '{\n  "a": 1\n}\n'), ("1", "")])
def test_one_process_of_a_job_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rank: str, printed: str
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("LOCAL_RANK", rank)
    monkeypatch.setattr(sys, "argv", ["triptych", "doctor", "--json"])
    monkeypatch.setattr(commands.Doctor, "run", lambda self: {"a": 1})
    monkeypatch.setattr(main, "keep_memory", lambda: None)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        assert main.attempt(signal.default_int_handler) == 0
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    assert capsys.readouterr().out == printed


# What is written and printed


def test_arrays_that_cannot_be_written_leave_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = check(tmp_path / "a.npz")
    target.write({"images": grey(1, 2)})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*a\.npz"):
        target.write({"images": grey(2, 2)})
    with np.load(tmp_path / "a.npz") as kept:
        assert (kept["images"] == 1).all()
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize(("count", "columns", "rows"), [(64, 8, 8), (65, 16, 5)])
def test_large_grids_have_sixteen_columns(
    tmp_path: Path, count: int, columns: int, rows: int
) -> None:
    from PIL import Image

    check(tmp_path / "a.png").write({"images": grey(0, count)})
    with Image.open(tmp_path / "a.png") as grid:
        assert grid.size == (columns * 6 - 2, rows * 6 - 2)


def test_the_lines_of_an_evaluation() -> None:
    metrics = (
        MetricRecord(
            name="frechet_distance", value=2.5, low=2.25, high=2.75, floor=0.125, unit="",
            reference="test",
        ),
        MetricRecord(name="recall", value=0.5, low=0.4, high=0.6),
        MetricRecord(name="path_length", note=Note("gan_no_density")),
    )  # fmt: skip
    data = MeasuredOn(name="a", fingerprint="f", train=1, validation=1, test=1)
    one = ResultsRecord(model="vae:a", run="r", data=data, metrics=metrics, cost=CostRecord())
    told = lines.results([one]).splitlines()
    assert [line.split() for line in told[:3]] == [
        ["vae:a", "(r)"],
        ["frechet_distance", "(test)", "2.5", "[2.25,", "2.75]", "floor", "0.125"],
        ["recall", "0.5", "[0.4,", "0.6]"],
    ]
    assert "not defined: a GAN has no explicit density" in told[3]


def test_long_lists_say_how_many_are_not_shown() -> None:
    told = lines.listed("bad images", [f"{n}.png" for n in range(23)])
    assert told[:2] == ["bad images", "  - 0.png"] and told[-2:] == [
        "  - 19.png",
        "  and 3 more: --json names them",
    ]
    assert len(lines.listed("bad images", ["a"] * 20)) == 21


# Python's verbs


def test_a_label_stands_for_one_class_and_its_samples_say_so() -> None:
    run = object.__new__(Run)
    run.labels = Labels(names=("owl", "cat"), counts=(3, 9))
    only = run.labels_for("cat")
    assert only is not None and only.counts == (0, 1)
    assert run.labels_for(None) == run.labels
    told = run.sample_labels(5, 0, "cat")
    assert told is not None and told.tolist() == [1] * 5


def test_average_takes_the_width_of_the_least_distance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = SimpleNamespace(folder="folder", model=torch.nn.Linear(1, 1))
    monkeypatch.setattr(api, "Run", lambda *rest: source)
    monkeypatch.setattr(api, "compare_widths", lambda *rest: {0.05: 3.0, 0.1: 1.0, 0.2: 2.0})
    written: list[Any] = []
    monkeypatch.setattr(api.posthoc_ema, "averaged", lambda folder, width, own: {"w": width})
    monkeypatch.setattr(api.posthoc_ema, "write_run", lambda *rest: written.append(rest[2:]))
    found = api.average("a", tmp_path / "b", machine=one_thread())
    assert found.width == 0.1 and written == [(0.1, {"w": 0.1})]
    with pytest.raises(InputError, match="is there already: name a new folder"):
        api.average("a", tmp_path, 0.1, machine=one_thread())


def test_every_run_is_measured_on_its_own_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(path: str, machine: Any) -> Any:
        folder = SimpleNamespace(path=Path(path), results=tmp_path / f"{path}.json")
        return SimpleNamespace(folder=folder)

    def data_of(run: Any, data: Any, options: ReadingOptions, console: Any) -> Any:
        assert (data, options.fit) == ("d", "pad")
        return SimpleNamespace(fingerprint=run.folder.path.name)

    def measurer(images: Any, plan: Any, machine: Any, console: Any) -> Any:
        data = MeasuredOn(name="a", fingerprint=images.fingerprint, train=1, validation=1, test=1)
        return lambda folder: ResultsRecord(model=plan, data=data, metrics=(), cost=CostRecord())

    monkeypatch.setattr(api, "Run", run)
    monkeypatch.setattr(api, "run_data", data_of)
    monkeypatch.setattr(api, "check_measurement", lambda *rest: None)
    monkeypatch.setattr(api, "plan_measurement", lambda *rest: f"{rest[0]} {rest[1]}")
    monkeypatch.setattr(api, "measurer", measurer)
    found = api.evaluate(
        ["a", "b"], "d", count=7, features="patches", fit="pad", machine=one_thread()
    )
    assert [(each.run, each.data.fingerprint) for each in found] == [("a", "a"), ("b", "b")]
    assert {each.model for each in found} == {"7 patches"}
    assert json.loads((tmp_path / "b.json").read_text())["data"]["fingerprint"] == "b"
