"""Trackers of others: what the real packages hold of a training that crashed and was gone on with.

Each of them is skipped where its package is missing.
"""

from __future__ import annotations

import importlib.util
import io
import json
import math
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.test_callbacks import STEP, STEPS, Recorder, crash, digest, request, train
from tests.test_plugins import Lines
from triptych.options import TRACKERS
from triptych.training import trackers
from triptych.training.callbacks import Callback, Moment, RunInfo, hyperparameters
from triptych.training.run_folder import RunFolder

NEEDED = {
    "tensorboard": ("tensorboard",),
    "trackio": ("trackio",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "csv": (),
}
CRASHED, KEPT = 8, 5  # steps, of which the checkpoint knows so many
# MLflow uses of SQLAlchemy what is to go; the training silences it, these tests ask it themselves.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")


def there(name: str) -> bool:
    return all(importlib.util.find_spec(module) is not None for module in NEEDED[name])


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not there(name), reason=f"{name} is not installed")


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing goes to anybody's account or home, whatever this machine's environment says."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT"):
            patch.delenv(name, raising=False)
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "TRACKIO_SPACE_ID"):
            patch.delenv(name, raising=False)
        patch.setenv("NETRC", str(home / "none"))
        patch.setenv("TRACKIO_DIR", str(home / "trackio"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        assert "trackio" not in sys.modules  # it reads its folder's name when it is imported
        yield home


@pytest.fixture(scope="module")
def followed(
    tmp_path_factory: pytest.TempPathFactory, surroundings: Path
) -> tuple[RunFolder, Recorder, Recorder]:
    """A run that crashed and was gone on with, beside all trackers that there are.

    What two recorders heard: before the crash, and from the checkpoint on.
    """
    names = tuple(name for name in TRACKERS if there(name))
    console = Lines()
    trackers.prepare(names, console)
    wanted, before, after = request(log_to=names), Recorder(), Recorder()
    out = tmp_path_factory.mktemp("followed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trackers, "PATIENCE", 120.0)  # the machine may be busy
        patch.setattr(trackers, "STOPPED_PATIENCE", 120.0)
        crash(wanted, out, CRASHED, before)
        folder = train(wanted, out, after, console=console)
    assert console.lines[0] == f"logging to {', '.join(names)} too"
    assert not [line for line in console.lines if "failed" in line]
    assert after.of("start") == [(KEPT * STEP, ())]
    return folder, before, after


Points = dict[str, list[tuple[int, float]]]


def of_recorders(*recorders: Recorder) -> Points:
    """What was told, by key: images and value, in the order in which it was told."""
    points: Points = {}
    for recorder in recorders:
        for name, _, at, rest in recorder.calls:
            for key, value in rest[0].items() if name in ("log", "diagnosis", "end") else ():
                points.setdefault(key, []).append((at.images, value))
    return points


def until(points: Points, images: int) -> Points:
    kept = {key: [p for p in each if p[0] <= images] for key, each in points.items()}
    return {key: each for key, each in kept.items() if each}


def same(ours: Points, theirs: Points, relative: float = 0.0) -> None:
    assert ours.keys() == theirs.keys()
    for key, each in ours.items():
        assert [images for images, _ in each] == [images for images, _ in theirs[key]], key
        assert np.allclose([v for _, v in each], [v for _, v in theirs[key]], relative, 0), key


def joined(before: Recorder, after: Recorder) -> Points:
    """Of the first process what the checkpoint knew, then all of the second."""
    points = until(of_recorders(before), KEPT * STEP)
    for key, each in of_recorders(after).items():
        points[key] = points.get(key, []) + each
    return points


def drawn(folder: RunFolder) -> dict[int, np.ndarray]:
    """The pictures along the training, by images seen, in colors."""
    return {int(path.stem): colors(path) for path in folder.samples.iterdir()}


def colors(file: Path | io.BytesIO) -> np.ndarray:
    return np.array(Image.open(file).convert("RGB"))


def test_the_weights_are_those_of_a_run_that_nobody_watched(
    followed: tuple[RunFolder, Recorder, Recorder], tmp_path: Path
) -> None:
    assert digest(train(request(), tmp_path / "alone")) == digest(followed[0])


@needs("tensorboard")
def test_tensorboard_reads_every_number_once(
    followed: tuple[RunFolder, Recorder, Recorder],
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, before, after = followed
    read = EventAccumulator(str(folder.path / "tensorboard"), {"images": 0, "scalars": 0})
    read.Reload()
    points = {
        key: [(event.step, event.value) for event in read.Scalars(key)]
        for key in read.Tags()["scalars"]
    }
    same(joined(before, after), points, 1e-6)  # it keeps float32
    shown = drawn(folder)
    events = read.Images("samples")
    assert sorted(event.step for event in events) == sorted(shown)
    for event in events:
        picture = colors(io.BytesIO(event.encoded_image_string))
        assert np.array_equal(picture, shown[event.step])
    [config] = read.Tensors("config/text_summary")
    [text] = config.tensor_proto.string_val
    assert json.loads(text) == hyperparameters(folder.read())
    from tensorboard.plugins.hparams import plugin_data_pb2

    content = read.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    started = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert started.hparams["seed"].number_value == 0
    assert started.hparams["model"].string_value == "vae:sigma"


@needs("trackio")
def test_trackio_has_one_run_with_all_that_was_told(
    followed: tuple[RunFolder, Recorder, Recorder], surroundings: Path
) -> None:
    from trackio.sqlite_storage import SQLiteStorage

    folder, before, after = followed
    [name] = SQLiteStorage.get_runs("triptych")
    assert name.startswith("run-") and (surroundings / "trackio" / "triptych.db").is_file()
    points: Points = {}
    pictures = {}
    for row in SQLiteStorage.get_logs("triptych", name):
        for key, value in row.items():
            if key == "samples":
                pictures[row["step"]] = value["file_path"]
            elif "/" in key:
                points.setdefault(key, []).append((row["step"], value))
    same(of_recorders(before, after), points)
    shown = drawn(folder)
    assert pictures.keys() == shown.keys()
    for step, path in pictures.items():
        kept = colors(surroundings / "trackio" / "media" / path)
        assert np.array_equal(kept, shown[step])


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of a file of wandb's: LevelDB's log format after a header of seven bytes."""
    from wandb.proto import wandb_internal_pb2

    data, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        room = 32768 - at % 32768
        if room < 7:
            at += room
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        if kind == 0:
            break
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # full, or the last part of one
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


@needs("wandb")
def test_wandb_has_one_run_with_all_that_was_told(
    followed: tuple[RunFolder, Recorder, Recorder],
) -> None:
    folder, before, after = followed
    points: Points = {}
    begun, ended, pictures = [], [], []
    for path in sorted((folder.path / "trackers" / "wandb").glob("offline-run-*/*.wandb")):
        for record in wandb_records(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                begun.append(record.run)
            if kind == "exit":
                ended.append(record.exit.exit_code)
            if kind != "history":
                continue
            items = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            for key, value in items.items():
                if key == "samples/path":
                    pictures.append(items["images"])
                elif "/" in key and not key.startswith("samples/"):
                    points.setdefault(key, []).append((items["images"], value))
    same(of_recorders(before, after), points)
    [kept] = {run.run_id for run in begun}
    written = json.loads((folder.path / "trackers" / "wandb.json").read_text())
    assert written == {"run": kept}
    assert {run.project for run in begun} == {"triptych"}
    assert {run.display_name for run in begun} == {"run"}
    assert ended == [1, 0]  # it crashed, then it was done
    config = {item.key: json.loads(item.value_json) for item in begun[0].config.update}
    assert config.items() >= hyperparameters(folder.read()).items()
    drawn_at = [images for recorder in (before, after) for images, _ in recorder.of("samples")]
    assert pictures == drawn_at and set(pictures) == set(drawn(folder))


@needs("mlflow")
def test_mlflow_has_one_run_with_all_that_was_told(
    followed: tuple[RunFolder, Recorder, Recorder],
) -> None:
    from mlflow.tracking import MlflowClient

    folder, before, after = followed
    client = MlflowClient(tracking_uri=f"sqlite:///{folder.path / 'trackers' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("triptych")
    [run] = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    expected = hyperparameters(folder.read())
    assert run.data.params == {key: str(value) for key, value in expected.items()}
    told = of_recorders(before, after)
    assert run.data.metrics.keys() == told.keys()
    for key, each in told.items():
        history = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, key)]
        assert Counter(history) == Counter(each), key
    pictures = {item.path for item in client.list_artifacts(run.info.run_id, "samples")}
    assert pictures == {f"samples/{images:09d}.png" for images in drawn(folder)}
    kept = client.download_artifacts(run.info.run_id, f"samples/{STEP * STEPS:09d}.png")
    assert np.array_equal(colors(Path(kept)), drawn(folder)[STEP * STEPS])


@pytest.mark.parametrize("name", [each for each in TRACKERS if each != "csv"])
def test_numbers_that_are_none_and_advice_are_taken(
    name: str,
    followed: tuple[RunFolder, Recorder, Recorder],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A loss may be nan; a warning has a sentence and no number. Again by what they hold."""
    if not there(name):
        pytest.skip(f"{name} is not installed")
    uri = f"sqlite:///{followed[0].path / 'trackers' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # to make another database takes seconds
    for variable in ("MLFLOW_EXPERIMENT_NAME", "TRACKIO_PROJECT"):
        monkeypatch.setenv(variable, "elsewhere")
    run = RunInfo(folder=tmp_path, record=followed[0].read())
    at = Moment(images=64, seconds=1.0)
    made = trackers.tracker_class(name)()
    assert isinstance(made, Callback)
    made.start(run, Moment(images=0, seconds=0.0))
    made.log(run, at, {"loss/bound/total": math.nan})
    made.diagnosis(run, at, {}, ["steps were left out", "and more"])
    made.end(run, at, {}, "stopped")
    value, text = READ_BACK[name](tmp_path)
    assert math.isnan(value) and text.splitlines()[-1].endswith("and more")


def from_tensorboard(folder: Path) -> tuple[float, str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "tensorboard"))
    read.Reload()
    [advice] = read.Tensors("diagnosis/advice/text_summary")
    text = advice.tensor_proto.string_val[0].decode()
    return read.Scalars("loss/bound/total")[0].value, text


def from_trackio(folder: Path) -> tuple[float, str]:
    from trackio.sqlite_storage import SQLiteStorage

    [name] = SQLiteStorage.get_runs("elsewhere")
    row, advice = SQLiteStorage.get_logs("elsewhere", name)
    return row["loss/bound/total"], advice["diagnosis/advice"]


def from_wandb(folder: Path) -> tuple[float, str]:
    [path] = (folder / "trackers" / "wandb").glob("offline-run-*/*.wandb")
    rows = [row.history.item for row in wandb_records(path) if row.HasField("history")]
    items = {"/".join(item.nested_key): item.value_json for row in rows for item in row}
    value, text = (json.loads(items[key]) for key in ("loss/bound/total", "diagnosis/advice"))
    return float(value), text


def from_mlflow(folder: Path) -> tuple[float, str]:
    from mlflow.tracking import MlflowClient

    [experiment] = [e for e in MlflowClient().search_experiments() if e.name == "elsewhere"]
    [run] = MlflowClient().search_runs([experiment.experiment_id])
    assert run.info.status == "KILLED"
    return run.data.metrics["loss/bound/total"], run.data.tags["diagnosis/advice"]


READ_BACK = {
    "tensorboard": from_tensorboard,
    "trackio": from_trackio,
    "wandb": from_wandb,
    "mlflow": from_mlflow,
}


def test_wandb_stays_offline_where_it_would_ask_for_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triptych.training.trackers.wandb import has_key

    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    assert not has_key()
    netrc.write_text("machine api.wandb.ai login user password secret\n")
    netrc.chmod(0o600)
    assert has_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.com")
    assert not has_key()
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert has_key()


def test_wandb_finds_its_key_where_it_writes_it_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triptych.training.trackers.wandb import has_key

    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    assert not has_key()
    (tmp_path / "_netrc").write_text("machine api.wandb.ai login user password secret\n")
    assert has_key()


def test_a_run_is_another_one_on_another_server(tmp_path: Path) -> None:
    """And its name is kept only once the run is there."""
    run = SimpleNamespace(folder=tmp_path)

    def name_at(server: str, name: str) -> tuple[str, bool]:
        return trackers.kept_name(run, "mlflow", lambda: name, server)  # type: ignore[arg-type]

    assert name_at("http://a", "first") == ("first", False)
    assert name_at("http://a", "other") == ("first", True)
    assert name_at("http://b", "second") == ("second", False)

    def fail() -> str:
        raise OSError("no answer")

    with pytest.raises(OSError, match="no answer"):
        trackers.kept_name(run, "wandb", fail)  # type: ignore[arg-type]
    assert not (tmp_path / "trackers" / "wandb.json").exists()
