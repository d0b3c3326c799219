"""What callbacks are told, that nothing they do changes a training, and `--log-to csv`."""

from __future__ import annotations

import csv
import json
import random
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import triptych
from tests.making import one_thread, open_tiny
from tests.test_plugins import Lines
from tests.test_training import MACHINE, digest
from tests.test_training import request as resolved
from triptych import images as pixels
from triptych import plugins
from triptych.cli import main
from triptych.comparison import compare as comparing
from triptych.comparison import turns
from triptych.console import QUIET, Console
from triptych.errors import InputError, InterruptedRunError, TrainingFailedError
from triptych.images import Grid
from triptych.options import TRACKERS, CompareRequest, TrainRequest
from triptych.records import RunRecord
from triptych.training import trackers
from triptych.training import train as training
from triptych.training.callbacks import (
    KEYS,
    Callback,
    Moment,
    RunInfo,
    Status,
    final_numbers,
)
from triptych.training.resolve import ResolvedRequest
from triptych.training.run_folder import RunFolder
from triptych.training.state import TrainingState

ROOT = Path(__file__).resolve().parents[1]
STEP, STEPS = 32, 20  # images of a step, and steps of a training
SMALL = ("vae:sigma", "0.64kimg", "widths=8,8", "latent=4")
Call = tuple[str, Path, Moment, Any]


def request(**options: Any) -> ResolvedRequest:
    return resolved(*SMALL, **options)


def train(
    wanted: ResolvedRequest, out: Path, *callbacks: Callback, console: Console = QUIET
) -> RunFolder:
    return training.train(wanted, out, MACHINE, console, callbacks)


class Recorder(Callback):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.records: list[RunRecord] = []

    def keep(self, name: str, run: RunInfo, at: Moment, *rest: Any) -> None:
        self.calls.append((name, run.folder, at, rest))

    def start(self, run: RunInfo, at: Moment) -> None:
        self.keep("start", run, at)
        self.records.append(run.record)

    def log(self, run: RunInfo, at: Moment, numbers: Mapping[str, float]) -> None:
        self.keep("log", run, at, numbers)

    def samples(self, run: RunInfo, at: Moment, grid: Grid) -> None:
        self.keep("samples", run, at, grid)

    def diagnosis(
        self, run: RunInfo, at: Moment, numbers: Mapping[str, float], advice: Sequence[str]
    ) -> None:
        self.keep("diagnosis", run, at, numbers, advice)

    def end(self, run: RunInfo, at: Moment, numbers: Mapping[str, float], status: Status) -> None:
        self.keep("end", run, at, numbers, status)
        self.records.append(run.record)

    def of(self, name: str) -> list[tuple[int, Any]]:
        """Images seen and what was handed over at each call of a method."""
        return [(at.images, rest) for called, _, at, rest in self.calls if called == name]


class Meddler(Recorder):
    """Does what it can to disturb, short of reaching for the model."""

    def keep(self, name: str, run: RunInfo, at: Moment, *rest: Any) -> None:
        super().keep(name, run, at)
        torch.manual_seed(5)
        torch.rand(3)
        random.seed(5)
        np.random.seed(5)
        for each in rest:
            if isinstance(each, Grid):
                each.pixels.zero_()
            elif isinstance(each, dict | list):
                each.clear()


class Failing(Recorder):
    """Raises at one of its calls."""

    def __init__(self, at: str, error: BaseException) -> None:
        super().__init__()
        self.at, self.error = at, error

    def keep(self, name: str, run: RunInfo, at: Moment, *rest: Any) -> None:
        super().keep(name, run, at, *rest)
        if name == self.at:
            raise self.error


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that nobody watched."""
    return train(request(), tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Recorder]:
    """The same, beside one that meddles and a CSV file."""
    recorder, out = Recorder(), tmp_path_factory.mktemp("watched") / "run"
    return train(request(log_to=("csv",)), out, Meddler(), recorder), recorder


def lines_of(folder: RunFolder, event: str) -> list[dict[str, Any]]:
    lines = map(json.loads, folder.log.read_text().splitlines())
    return [line for line in lines if line["event"] == event]


def rows_of(folder: RunFolder) -> list[tuple[int, str, str]]:
    """Images, key and value of each line of log.csv, as they are written."""
    with (folder.path / "log.csv").open() as file:
        return [(int(row["images"]), row["key"], row["value"]) for row in csv.DictReader(file)]


def untimed(rows: list[tuple[int, str, str]]) -> list[tuple[int, str, str]]:
    """Rows that do not hang on the clock or on what the process did before."""
    return [row for row in rows if row[1].startswith(("loss/", "learning_rate/", "diagnosis/"))]


def test_watching_changes_no_weight_and_not_what_the_run_is(
    whole: RunFolder, watched: tuple[RunFolder, Recorder]
) -> None:
    folder, _ = watched
    assert digest(folder) == digest(whole)
    ours, theirs = folder.read(), whole.read()
    assert ours.identity == theirs.identity and ours.command == theirs.command
    assert "log-to" not in ours.command and "log_to" not in json.dumps(ours.to_json())


def test_callbacks_are_told_what_the_log_and_the_folder_hold(
    watched: tuple[RunFolder, Recorder],
) -> None:
    folder, recorder = watched
    names = [name for name, *_ in recorder.calls]
    assert names[0] == "start" and names[-1] == "end" and names.count("start") == 1
    assert recorder.of("start") == [(0, ())]
    assert {path for _, path, *_ in recorder.calls} == {folder.path}
    losses = lines_of(folder, "losses")
    assert len(losses) == STEPS
    expected = [
        {f"loss/{name}": value for name, value in line["losses"].items()}
        | {f"learning_rate/{name}": value for name, value in line["learning_rates"].items()}
        | {f"train/{name}": line[name] for name in ("images_per_second", "seconds", "phase")}
        | {"train/memory_bytes": line["memory_bytes"]}
        for line in losses
    ]
    logged = recorder.of("log")
    assert [images for images, _ in logged] == [line["images"] for line in losses]
    assert [numbers for _, (numbers,) in logged] == expected
    grids = recorder.of("samples")
    assert [f"{images:09d}.png" for images, _ in grids] == sorted(
        path.name for path in folder.samples.iterdir()
    )
    for images, (grid,) in grids:
        drawn = np.array(Image.open(folder.samples / f"{images:09d}.png"))
        assert np.array_equal(np.array(pixels.to_pil(grid.pixels)), drawn)
    [diagnosed] = lines_of(folder, "diagnosis")
    [(images, (numbers, advice))] = recorder.of("diagnosis")
    assert images == diagnosed["images"] == STEP * STEPS
    assert numbers == {
        **{f"diagnosis/{name}": value for name, value in diagnosed["numbers"].items()},
        "diagnosis/health": diagnosed["vital"],
    }
    assert len(advice) == len(diagnosed["advice"])
    record = folder.read()
    [(images, (numbers, status))] = recorder.of("end")
    assert (images, status) == (STEP * STEPS, "done")
    assert numbers == {
        "final/images": record.images_seen,
        "final/seconds": record.train_seconds,
        "final/images_per_second": record.images_per_second,
        "final/memory_bytes": record.peak_memory_bytes,
        "final/rewinds": 0,
    }
    began, ended = recorder.records
    assert (began.status, ended) == ("running", record)


def test_memory_that_is_not_known_is_no_number(whole: RunFolder) -> None:
    record = replace(whole.read(), peak_memory_bytes=7)
    numbers = final_numbers(record)
    assert numbers["final/memory_bytes"] == 7
    del numbers["final/memory_bytes"]
    assert final_numbers(replace(record, peak_memory_bytes=None)) == numbers


def test_learning_rates_are_those_of_the_next_step(whole: RunFolder) -> None:
    """A cosine after the warm-up, which is over before the first log point."""
    settings = whole.read().settings["optimizer"]
    assert settings["decay"] == "cosine" and 0 < settings["warmup"] < 1 / STEPS
    for line in lines_of(whole, "losses"):
        share = line["images"] / (STEP * STEPS)
        falling = (share - settings["warmup"]) / (1 - settings["warmup"])
        expected = settings["learning_rate"] * (1 + np.cos(np.pi * falling)) / 2
        assert line["learning_rates"]["bound/adamw"] == pytest.approx(expected, abs=1e-12)


def test_the_csv_file_has_a_line_for_each_number(watched: tuple[RunFolder, Recorder]) -> None:
    folder, recorder = watched
    text = (folder.path / "log.csv").read_text()
    assert text.startswith("images,seconds,key,value\n")
    expected = [
        (at.images, key, f"{value:.9g}")
        for name, _, at, rest in recorder.calls
        if name in ("log", "diagnosis", "end")
        for key, value in rest[0].items()
    ]
    assert rows_of(folder) == expected


def matches(key: str) -> bool:
    """Whether a key is one of those that are documented: capitals stand for names."""
    patterns = (re.sub(r"[A-Z]{3,}", r"[^/]+", pattern) for pattern in KEYS)
    return any(re.fullmatch(pattern, key) for pattern in patterns)


def test_every_key_is_documented(watched: tuple[RunFolder, Recorder]) -> None:
    """In the code's own list, and that one in the table of docs/training.md."""
    keys = {key for _, key, _ in rows_of(watched[0])}
    assert len(keys) > 20 and all(map(matches, keys)), keys
    section = (ROOT / "docs" / "training.md").read_text().partition("| key | what it is |")[2]
    table = dict(re.findall(r"^\| `([\w/]+)` \| (.+) \|$", section, re.MULTILINE))
    for key, meaning in KEYS.items():
        assert table[key].startswith(meaning), key
    assert set(table) - set(KEYS) == {"samples", "diagnosis/advice", "config"}


def test_later_phases_go_on_where_the_first_ended(tmp_path: Path) -> None:
    """A GAN's encoder comes after the 640 images: half as many again."""
    recorder = Recorder()
    wanted = resolved("gan:hinge", "0.64kimg", "width=8", "inversion.share=0.5")
    folder = train(wanted, tmp_path / "run", recorder)
    logged = recorder.of("log")
    points = [images for images, _ in logged]
    assert points == sorted(set(points)) and points[-1] == 960
    assert {numbers["train/phase"] for images, (numbers,) in logged if images <= 640} == {0}
    assert {numbers["train/phase"] for images, (numbers,) in logged if images > 640} == {1}
    assert all(matches(key) for _, (numbers,) in logged for key in numbers)
    seconds = [at.seconds for *_, at, _ in recorder.calls]
    assert seconds == sorted(seconds)
    [(images, (numbers, _))] = recorder.of("end")
    assert images == 960 and numbers["final/images"] == folder.read().images_seen


def test_one_that_fails_is_named_once_and_dropped(whole: RunFolder, tmp_path: Path) -> None:
    """At whatever call: five that each fail at another, beside one that does not."""
    methods = ("start", "log", "samples", "diagnosis", "end")
    errors = {name: ValueError(f"no {name}\nat all") for name in methods} | {"log": SystemExit(3)}
    failing = [type(name, (Failing,), {})(name, errors[name]) for name in methods]
    recorder, console = Recorder(), Lines()
    folder = train(request(), tmp_path / "run", *failing, recorder, console=console)
    assert digest(folder) == digest(whole)
    reasons = {name: f"no {name}" for name in methods} | {"log": "3"}
    assert sorted(line for line in console.lines if "failed" in line) == sorted(
        f"  warning: {name} failed ({reason}) and is left out: the training goes on"
        for name, reason in reasons.items()
    )
    warnings = [line["note"] for line in lines_of(folder, "warning")]
    assert {note["code"] for note in warnings} == {"callback_dropped"}
    assert sorted((note["values"]["name"], note["values"]["reason"]) for note in warnings) == (
        sorted(reasons.items())
    )
    for each in failing:
        assert len(each.of(each.at)) == 1 and each.calls[-1][0] == each.at
    assert len(recorder.of("log")) == STEPS and len(recorder.of("end")) == 1
    heard = [numbers for _, (numbers, _) in recorder.of("diagnosis") if numbers]
    assert len(heard) == 1 and heard[0].keys() > {"diagnosis/health"}


class Stopping(Recorder):
    """Presses Ctrl-C at a log point."""

    def log(self, run: RunInfo, at: Moment, numbers: Mapping[str, float]) -> None:
        super().log(run, at, numbers)
        if at.images == 10 * STEP:
            signal.raise_signal(signal.SIGINT)


def test_a_run_that_was_stopped_goes_on_in_the_same_file(
    watched: tuple[RunFolder, Recorder], tmp_path: Path
) -> None:
    wanted, stopping, recorder = request(log_to=("csv",)), Stopping(), Recorder()
    with pytest.raises(InterruptedRunError):
        train(wanted, tmp_path / "run", stopping)
    [(stop, (numbers, status))] = stopping.of("end")
    assert (stop, numbers, status) == (11 * STEP, {}, "stopped")
    # Whoever named no tracker before, or others, goes on with the same run.
    folder = train(wanted, tmp_path / "run", recorder)
    assert recorder.of("start") == [(stop, ())]
    assert digest(folder) == digest(watched[0])
    assert untimed(rows_of(folder)) == untimed(rows_of(watched[0]))


def crash(wanted: ResolvedRequest, out: Path, step: int, *callbacks: Callback) -> None:
    """A training that dies in that step, some after its last checkpoint."""
    move = TrainingState.step

    def dying(state: TrainingState, *rest: Any) -> None:
        if state.seen == step * STEP:
            raise RuntimeError("the power is gone")
        move(state, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingState, "step", dying)
        patch.setattr("triptych.training.calibration.MOST_CHECKPOINTS", 4)
        with pytest.raises(RuntimeError, match="the power is gone"):
            train(wanted, out, *callbacks)


def test_a_run_that_crashed_forgets_what_came_after_its_checkpoint(
    watched: tuple[RunFolder, Recorder], tmp_path: Path
) -> None:
    """Checkpoints lie at steps 5, 10, 15: of 8 logged steps 3 are logged again."""
    wanted, dying, recorder = request(log_to=("csv",)), Recorder(), Recorder()
    crash(wanted, tmp_path / "run", 8, dying)
    assert dying.of("end") == [(8 * STEP, ({}, "failed"))]
    path = tmp_path / "run" / "log.csv"
    assert path.read_text().count("loss/bound/total") == 8
    path.write_text(path.read_text() + "256,7.1,loss/bo")  # torn by the crash
    folder = train(wanted, tmp_path / "run", recorder)
    assert recorder.of("start") == [(5 * STEP, ())]
    assert untimed(rows_of(folder)) == untimed(rows_of(watched[0]))


def test_of_trainings_in_turns_one_that_fails_is_the_only_one_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are stopped, and go on with the same command."""
    move, states = TrainingState.step, []

    def dying(state: TrainingState, *rest: Any) -> None:
        if state not in states:
            states.append(state)
        if len(states) == 2 and all(each.seen > 0 for each in states):
            raise TrainingFailedError("not finite")
        move(state, *rest)

    monkeypatch.setattr(TrainingState, "step", dying)
    monkeypatch.setattr(turns, "TURN", 0.0)
    recorder = Recorder()
    requests = [resolved("vae:sigma", "0.64kimg", *SMALL[2:], seed=seed) for seed in (0, 1)]
    with pytest.raises(TrainingFailedError):
        comparing.train_all(requests, tmp_path, MACHINE, QUIET, [recorder])
    statuses = [status for _, (_, status) in recorder.of("end")]
    assert sorted(statuses) == ["failed", "stopped"]


def test_several_trainings_in_turns_are_told_apart(tmp_path: Path) -> None:
    recorder = Recorder()
    requests = [resolved("vae:sigma", "0.32kimg", *SMALL[2:], seed=seed) for seed in (0, 1)]
    folders = comparing.train_all(requests, tmp_path, MACHINE, QUIET, [recorder])
    assert len({folder.path for folder in folders}) == 2
    for folder in folders:
        calls = [call for call in recorder.calls if call[1] == folder.path]
        assert [name for name, *_ in calls].count("log") == 10
        assert (calls[0][0], calls[-1][0]) == ("start", "end")


def test_what_is_fitted_shows_its_samples(tmp_path: Path) -> None:
    recorder = Recorder()
    folder = train(resolved("mixture:mppca"), tmp_path / "run", recorder)
    assert [name for name, *_ in recorder.calls] == ["start", "samples", "end"]
    [(images, (numbers, status))] = recorder.of("end")
    assert status == "done" and images == numbers["final/images"] == folder.read().images_seen


class Mine(Callback):
    """Overrides nothing."""


BAD: list[tuple[Any, str]] = [
    (3, r"^callbacks takes objects of triptych.Callback, not int: subclass it$"),
    ([Mine], r"not the class Mine: make one: Mine\(\)$"),
    ("csv", r"^callbacks takes objects of triptych.Callback, not str"),
]


@pytest.mark.parametrize(("value", "line"), BAD)
def test_what_is_no_callback_is_refused(value: Any, line: str, tmp_path: Path) -> None:
    for verb in (triptych.train, triptych.compare):
        with pytest.raises(InputError, match=line):
            verb("vae", callbacks=value, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


class MeasuringError(Exception):
    """The comparison came as far as measuring."""


def test_both_verbs_take_callbacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One alone stands for a list of one."""

    def no_measurers(*rest: Any) -> Any:
        raise MeasuringError

    monkeypatch.setattr(comparing, "measurers", no_measurers)
    data, recorder = open_tiny(tmp_path, labeled=False), Recorder()
    small = {"budget": "0.16kimg", "set": ["widths=8,8", "batch_size=32"], "machine": one_thread()}
    run = triptych.train("vae:sigma", data, callbacks=recorder, out=tmp_path / "run", **small)
    with pytest.raises(MeasuringError):
        triptych.compare(
            ["vae:sigma"], data, callbacks=[recorder, Mine()], out=tmp_path / "c", log_to="csv",
            count=20, **small,
        )  # fmt: skip
    compared = tmp_path / "c" / "vae-sigma-s0"
    ended = [path for name, path, *_ in recorder.calls if name == "end"]
    assert ended == [run.folder.path, compared]
    assert "loss/bound/total" in (compared / "log.csv").read_text()
    assert not (run.folder.path / "log.csv").exists()


def test_trackers_are_named_in_any_way() -> None:
    for kind in (TrainRequest, CompareRequest):
        named: Callable[..., Any] = {TrainRequest: lambda **k: TrainRequest(model="vae", **k)}.get(
            kind, CompareRequest
        )
        assert named(log_to="wandb, csv").log_to == ("wandb", "csv")
        assert named(log_to=["csv", "wandb,csv"]).log_to == ("csv", "wandb")
        assert named().log_to == ()
        with pytest.raises(
            InputError, match=r"no tracker 'tensorbord' .*: did you mean tensorboard"
        ):
            named(log_to=["tensorbord"])


def test_every_name_has_its_file() -> None:
    folder = Path(trackers.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(TRACKERS)
    for name in TRACKERS:
        made = trackers.tracker_class(name)
        assert isinstance(made, type) and issubclass(made, trackers.Tracker)


def run_main(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["triptych", *words])
    with pytest.raises(SystemExit) as stopped:
        main.main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.mark.parametrize("verb", [["train", "vae"], ["compare"]])
def test_a_missing_package_is_said_before_anything_is_made(
    verb: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    code = run_main(monkeypatch, *verb, "--log-to", "csv,wandb", "--out", str(tmp_path / "run"))
    last = capsys.readouterr().err.splitlines()[-1]
    assert code == 2
    assert last == (
        "triptych: --log-to wandb needs wandb, which is not installed: "
        "pip install 'triptych[wandb]'"
    )
    assert not (tmp_path / "run").exists()


def test_a_broken_package_is_said_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trackio.py").write_text("raise SystemExit('it is old')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    line = (
        r"^--log-to trackio: trackio cannot be imported \(it is old\): pip install .*leave it out"
    )
    with pytest.raises(InputError, match=line):
        triptych.train("vae", log_to="trackio", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Point:
    """An entry point of a package."""

    def __init__(self, made: Callable[[], Callback]) -> None:
        self.load = lambda: made


def test_a_tracker_of_another_package(
    whole: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs beside the training, and has heard everything when the training ends."""
    heard: list[Recorder] = []

    class Slow(Recorder):
        def __init__(self) -> None:
            super().__init__()
            heard.append(self)

        def keep(self, *rest: Any) -> None:
            time.sleep(0.01)
            super().keep(*rest)

    monkeypatch.setattr(plugins, "announced", lambda group: {"theirs": Point(Slow)})
    folder = train(request(log_to=("theirs",)), tmp_path / "run")
    assert digest(folder) == digest(whole)
    names = [name for name, *_ in heard[0].calls]
    assert names[0] == "start" and names[-1] == "end" and names.count("log") == STEPS


@pytest.mark.parametrize("error", [KeyError("MY_TOKEN"), SystemExit("MY_TOKEN")])
def test_a_tracker_that_cannot_be_made_is_dropped(
    error: BaseException, whole: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Callback):
        def __init__(self) -> None:
            raise error

    monkeypatch.setattr(plugins, "announced", lambda group: {"theirs": Point(Broken)})
    console = Lines()
    folder = train(request(log_to=("theirs",)), tmp_path / "run", console=console)
    assert digest(folder) == digest(whole)
    [line] = [line for line in console.lines if "failed" in line]
    assert line.startswith("  warning: theirs failed (") and "MY_TOKEN" in line
    [warned] = lines_of(folder, "warning")
    assert warned["note"]["values"]["name"] == "theirs"


def test_a_tracker_that_hangs_is_left_to_itself(
    whole: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them at its start, one at a log point, one at its end."""
    released = Event()

    class Hanging(Recorder):
        def keep(self, name: str, *rest: Any) -> None:
            if name == self.at:
                released.wait(60)

    methods = ("start", "log", "end")
    made = {name: Point(type(name, (Hanging,), {"at": name})) for name in methods}
    monkeypatch.setattr(plugins, "announced", lambda group: made)
    monkeypatch.setattr(trackers, "PATIENCE", 0.5)
    monkeypatch.setattr(trackers, "SILENCE", 0.1)
    console, began = Lines(), time.monotonic()
    folder = train(request(log_to=methods), tmp_path / "run", console=console)
    took = time.monotonic() - began
    released.set()
    assert took < 50 and digest(folder) == digest(whole)
    assert [line for line in console.lines if "waiting" in line] == [
        f"  waiting for {name}" for name in methods
    ]
    told = [line["note"]["values"] for line in lines_of(folder, "warning")]
    assert told == [
        {"name": "start", "reason": "it did not begin within 0.5 s"},
        {"name": "log", "reason": "it did not end within 0.5 s"},
        {"name": "end", "reason": "it did not end within 0.5 s"},
    ]


def test_a_tracker_that_falls_behind_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "MOST_WAITING", 3)
    released, at = Event(), Moment(images=0, seconds=0.0)

    class Hanging(Callback):
        def log(self, run: RunInfo, at: Moment, numbers: Mapping[str, float]) -> None:
            released.wait(60)

    run: Any = None
    beside = trackers.Beside("theirs", Hanging, QUIET)
    beside.start(run, at)
    with pytest.raises(TimeoutError, match="it is 3 calls behind"):
        for _ in range(5):
            beside.log(run, at, {})
    released.set()
