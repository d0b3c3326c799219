"""Paths and data given from Python: text or os.PathLike everywhere, and one line on all else."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import triptych
from tests.making import make_images, one_thread, write_npz
from triptych import api, files, images
from triptych.cli.parser import parse
from triptych.config import ImageShape, override
from triptych.data.open import open_images
from triptych.data.store import cache_folder
from triptych.errors import InputError
from triptych.families import registry
from triptych.files import as_path
from triptych.options import (
    CompareRequest,
    DataOptions,
    ExportRequest,
    MeasureRequest,
    PushRequest,
    ReferenceRequest,
    TrainRequest,
    as_data,
)
from triptych.run import Run

SMALL = DataOptions(resolution=16)


class Place:
    """A path of another library."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)


KINDS: list[Callable[[Path], Any]] = [str, PurePath, Place]


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stock")
    write_npz(folder / "bars.npz", *make_images(300))
    train(folder / "bars.npz", folder / "run")
    return folder


def train(data: Any, out: Any, **options: Any) -> Run:
    return triptych.train(
        "vae:course", data, out=out, budget="0.32kimg", resolution=16, machine=one_thread(),
        **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    "kind", [Place, *(pytest.param(kind, marks=pytest.mark.sweep) for kind in (str, PurePath))]
)
def test_every_verb_takes_every_kind_of_path(
    stock: Path, tmp_path: Path, kind: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, run = kind(stock / "bars.npz"), Path(shutil.copytree(stock / "run", tmp_path / "run"))
    assert open_images(data, SMALL).source == str(stock / "bars.npz")
    trained = train(data, kind(tmp_path / "new"))
    assert trained.folder.path == tmp_path / "new"
    assert trained.record.data.source == str(stock / "bars.npz")
    assert triptych.load(kind(run)).folder.path == run == Run(kind(run)).folder.path
    again = triptych.repeat(kind(run), kind(tmp_path / "again"), data=data, machine=one_thread())
    assert again.record.digests == trained.record.digests
    seen: list[Any] = []
    monkeypatch.setattr(api, "measurer", lambda *rest: seen.append(rest) or no_measure)
    with pytest.raises(StoppedError):
        triptych.evaluate([kind(run)], data, machine=one_thread(), count=10)
    with pytest.raises(StoppedError):
        triptych.evaluate(kind(run), machine=one_thread(), count=10)
    assert len(seen) == 2
    with pytest.raises(InputError, match="kept no averages"):
        api.average(kind(run), kind(tmp_path / "average"), 0.1, machine=one_thread())
    with pytest.raises(InputError, match=r"results.json is missing"):
        triptych.report([kind(run)], out=kind(tmp_path / "page.html"))
    grid = images.grid(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))
    assert grid.save(kind(tmp_path / "grid.png")) == tmp_path / "grid.png"


class StoppedError(Exception):
    """The verb came as far as measuring."""


def no_measure(folder: Any) -> Any:
    raise StoppedError


def test_requests_hold_paths_however_they_are_given(tmp_path: Path) -> None:
    for kind in KINDS:
        asked = TrainRequest(
            model="vae", data=kind(tmp_path), out=kind(tmp_path), teacher=kind(tmp_path)
        )
        assert asked.data == str(tmp_path)
        assert asked.out == asked.teacher == tmp_path
        assert isinstance(asked.out, Path) and isinstance(asked.teacher, Path)
        assert MeasureRequest(runs=[kind(tmp_path)]).runs == (str(tmp_path),)  # type: ignore[arg-type]
        assert MeasureRequest(runs=kind(tmp_path)).runs == (str(tmp_path),)
        mixed = CompareRequest(models=["vae", kind(tmp_path)])  # type: ignore[arg-type]
        assert mixed.models == ("vae", str(tmp_path))
    assert CompareRequest(models="gan").models == ("gan",)  # type: ignore[arg-type]
    assert TrainRequest(model="vae", set="a=1").set == ("a=1",)  # type: ignore[arg-type]


def test_nothing_stands_beside_a_request() -> None:
    """It would do nothing: a request holds all that is asked."""
    training, runs = TrainRequest(model="vae"), MeasureRequest(runs=("run",), data="mnist")
    comparing = CompareRequest(models=("vae",), data="mnist")
    keeping, out = ReferenceRequest(data="mnist", out=Path("a.safetensors")), Path("out")
    pushing, exporting = PushRequest(path=out, name="a/b"), ExportRequest(path=out, out=out)
    held = np.zeros((30, 16, 16), dtype=np.uint8)
    calls: list[tuple[str, Callable[[], Any]]] = [
        ("seed, flip, data", lambda: triptych.train(training, "mnist", seed=0, flip=False)),
        ("count", lambda: triptych.evaluate(runs, count=10)),
        ("data", lambda: triptych.evaluate(runs, held)),
        ("budget, data", lambda: triptych.compare(comparing, held, budget="1kimg")),
        ("count, out", lambda: triptych.save_reference(keeping, "b.safetensors", count=10)),
        ("private, name", lambda: triptych.push(pushing, "c/d", private=True)),
        ("steps, out, format", lambda: triptych.export_run(exporting, "b", "onnx", steps=3)),
    ]
    for names, call in calls:
        with pytest.raises(InputError, match=f"^{names} beside a request, which holds all"):
            call()


def test_a_path_of_one_word_is_no_named_set(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path / "mnist", *make_images(60))
    Path("mnist.npz").rename("mnist")
    assert as_data("mnist") == "mnist"
    assert as_data(Path("mnist")) == f".{os.sep}mnist"
    assert as_data(Path("hf:a/b")) == f".{os.sep}hf:a/b"
    assert as_data(Path("a/b")) == "a/b" and as_data(Path("a.npz")) == "a.npz"


NO_DATA: list[tuple[Any, str]] = [
    (np.zeros((30, 16, 16, 4), dtype=np.uint8), r"^images are of shape \(30, 16, 16, 4\): give"),
    (torch.zeros(30, 16), r"^images are of shape \(30, 16\): give"),
    (TensorDataset(torch.zeros(30, 1, 16, 16)), r"^images\[0\] is float32, and no range says"),
    (["a.png"], r"^images\[0\] is no image but str: give"),
    (3, "^data takes a path or the name of a set, not int: give a path, or a name such as"),
    (b"bars.npz", "^data takes .* not bytes: give a path"),
]


@pytest.mark.parametrize(("value", "line"), NO_DATA)
def test_what_is_no_data_is_refused_in_one_line(
    stock: Path, tmp_path: Path, value: Any, line: str
) -> None:
    run = stock / "run"
    calls: list[Callable[[], Any]] = [
        lambda: triptych.open_images(value),
        lambda: triptych.train("vae", value),
        lambda: triptych.train("vae", data=value),
        lambda: triptych.evaluate([run], value),
        lambda: triptych.compare(["vae"], value),
        lambda: triptych.repeat(run, tmp_path / "a", data=value),
        lambda: api.average(run, tmp_path / "a", data=value),
    ]
    for call in calls:
        with pytest.raises(InputError, match=line) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_none_is_refused_where_data_must_be_named() -> None:
    for call in (lambda: triptych.train("vae", None), lambda: open_images(None)):  # type: ignore
        with pytest.raises(InputError, match=r"^data takes .* not None: give a path"):
            call()


@pytest.mark.parametrize("value", [3, b"run", ["run"], np.zeros(2), "a\0b", ""])
def test_what_is_no_path_is_refused_by_the_name_of_the_argument(stock: Path, value: Any) -> None:
    run = stock / "run"
    calls: dict[str, Callable[[], Any]] = {
        "path": lambda: triptych.load(value),
        "out": lambda: triptych.train("vae", out=value),
        "teacher": lambda: triptych.train("diffusion:consistency", teacher=value),
        "run": lambda: triptych.repeat(value, "a"),
    }
    more = [
        ("run", lambda: api.average(value, "a")),
        ("out", lambda: triptych.repeat(run, value)),
        ("out", lambda: api.average(run, value)),
        ("out", lambda: triptych.compare(["vae"], out=value)),
        ("out", lambda: triptych.report([run], out=value)),
        ("path", lambda: images.grid(torch.zeros(1, 1, 2, 2, dtype=torch.uint8)).save(value)),
    ]
    for name, call in [*calls.items(), *more]:
        with pytest.raises(
            InputError, match=rf"^{name} takes a path, not .*: (give a str or a|name a file)"
        ):
            call()


def test_lists_of_paths_are_refused_alike(stock: Path) -> None:
    for value in (3, None, [3], [None], np.zeros(2)):
        with pytest.raises(InputError, match=r"^runs takes a path, not"):
            triptych.evaluate(value)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=r"^paths takes a path, not"):
            triptych.report(value)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=r"^models takes texts, not"):
            triptych.compare(value)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"^budget takes text, not int: give a str$"):
        triptych.train("vae", budget=600)
    with pytest.raises(InputError, match=r"^model takes text, not list"):
        triptych.train(["vae"])  # type: ignore[arg-type]


def test_every_verb_is_in_the_package_itself(stock: Path, tmp_path: Path) -> None:
    verbs = {"train", "compare", "repeat", "average", "evaluate", "report", "push", "pull"}
    assert verbs <= set(triptych.__all__)
    assert triptych.average is api.average and triptych.Averaged is api.Averaged
    with pytest.raises(InputError, match=r"^width takes a number, not str: give a float$"):
        triptych.average(stock / "run", tmp_path / "a", "0.1")  # type: ignore[arg-type]


def test_a_name_on_the_hub_is_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^name takes text, not None: give a str$"):
        triptych.pull(None, tmp_path / "x")  # type: ignore[arg-type]


def test_a_home_is_found_where_no_shell_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of --out=~/x a shell leaves the ~ as it is."""
    assert as_path("~/x", "out") == Path.home() / "x"
    assert parse(["train", "vae", "--out=~/x"]).out == Path.home() / "x"  # type: ignore[attr-defined]
    monkeypatch.setenv("TRIPTYCH_CACHE", "~/kept")
    assert cache_folder() == Path.home() / "kept"


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
def test_settings_are_finite(value: str) -> None:
    """No file of ours holds another number."""
    settings = registry.defaults(
        registry.ModelName.parse("vae:sigma"), "tiny", ImageShape(channels=1, resolution=16)
    )
    with pytest.raises(InputError, match=f"learning_rate takes a number, not '{value}'"):
        override(settings, [f"optimizer.learning_rate={value}"])


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("learning_rate=-1", "learning_rate must be 0 or more, got -1.0"),
        ("betas=2,3", r"betas must lie from 0 to below 1, got \(2.0, 3.0\)"),
        ("weight_decay=-0.1", "weight_decay must be 0 or more, got -0.1"),
        ("warmup=2", "warmup must lie between 0 and 1, got 2.0"),
        ("clip_norm=-1", "clip_norm must be above 0, got -1.0"),
        ("muon_lr=-1", "muon_lr must be 0 or more, got -1.0"),
    ],
)
def test_settings_of_an_optimizer_lie_where_they_mean_something(setting: str, line: str) -> None:
    settings = registry.defaults(
        registry.ModelName.parse("vae:sigma"), "tiny", ImageShape(channels=1, resolution=16)
    )
    with pytest.raises(InputError, match=line):
        override(settings, [f"optimizer.{setting}"])


def test_of_two_config_files_the_last_one_counts(tmp_path: Path) -> None:
    paths = []
    for seed in (1, 2):
        paths.append(tmp_path / f"{seed}.toml")
        paths[-1].write_text(f"[train]\nseed = {seed}\n")
    asked = parse(["train", "vae", "--config", str(paths[0]), f"--config={paths[1]}"])
    assert asked.seed == 2 and asked.config == paths[1]  # type: ignore[attr-defined]


def test_an_empty_budget_is_none(tmp_path: Path, stock: Any) -> None:
    """As a shell's variable is that was never set."""
    with pytest.raises(InputError, match="budget"):
        triptych.train("vae:course", "street-digits", out=tmp_path / "x", budget="")
    assert not (tmp_path / "x").exists()


def test_a_folder_that_cannot_be_synced_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those that a virtual machine shares with its host."""
    real = os.fsync

    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    files.write_json(tmp_path / "a.json", {"a": 1})
    assert files.read_json(tmp_path / "a.json", "") == {"a": 1}


def test_ctrl_c_during_a_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_bytes(tmp_path / "a.npz", b"content")
    assert not list(tmp_path.iterdir())
