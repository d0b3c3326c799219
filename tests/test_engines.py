"""Engines of others: what is refused, what they run, and what a dead worker or head leaves."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import triptych
from tests.making import one_thread, open_tiny
from tests.test_comparison import FACTS, conditions, records
from triptych.comparison import compare as comparing
from triptych.comparison import engines, hand_over, work
from triptych.comparison.contract import differences, marks
from triptych.comparison.engines import Asked, Needs, Outcome, perform
from triptych.comparison.hand_over import Crew
from triptych.comparison.work import MeasureWork, Site, Source, TrainWork
from triptych.console import QUIET
from triptych.data.dataset import ImageData
from triptych.data.store import cache_folder
from triptych.distributed import ALONE
from triptych.errors import InputError, InterruptedRunError, TrainingFailedError
from triptych.evaluation import classifier
from triptych.options import CompareRequest, DataOptions, MachineOptions, TrainRequest
from triptych.records import JsonObject, Note
from triptych.training.loop import stop_signals
from triptych.training.resolve import resolve, run_name
from triptych.training.run_folder import HOLDER, RunFolder, alone_in
from triptych.training.train import train
from triptych.words import english

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("vae:course",)
CPU = MachineOptions(device="cpu", precision="fp32", threads=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return open_tiny(tmp_path_factory.mktemp("data"))


# What is refused before anything is made


@pytest.mark.parametrize(
    ("on", "words"),
    [
        ("dask", "no engine 'dask': choose from ray, slurm, local"),
        ("local:4", "--on local takes nothing more, not '4'"),
        ("ray:nowhere", "'nowhere' is no address of a Ray cluster: write ray:HOST:PORT"),
        ("ray:127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1"),
        ("slurm", "there is no sbatch here"),
        ("slurm:gpu", "'gpu' is no setting of Slurm's jobs"),
    ],
)
def test_a_cluster_that_is_not_there(
    on: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line, and soon: nothing is made, no image is read."""
    if on.startswith("slurm"):
        pytest.importorskip("submitit", reason="submitit is not installed")
    monkeypatch.setenv("PATH", "")
    began = time.monotonic()
    with pytest.raises(InputError) as error:
        triptych.compare("vae", "no/data", out=tmp_path / "out", on=on, machine=one_thread())
    assert words in str(error.value) and "\n" not in str(error.value)
    assert time.monotonic() - began < 10
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("on", "package"), [("ray", "ray"), ("local", "submitit")])
def test_an_engine_that_is_not_installed(
    on: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"--on needs {package} .*: pip install 'triptych\[clus"):
        Asked.parse(on).check()


def test_slurm_s_settings_go_to_its_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of ours first, those that are typed above them; a name that it has not is refused."""
    pytest.importorskip("submitit", reason="submitit is not installed")
    for program in ("sbatch", "srun"):
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = Asked.parse("slurm:partition=gpu,time=60")
    asked.check()
    engine: Any = engines.start(asked, tmp_path / "jobs", Needs(2, 3, 1))
    typed = engine.executor._executor.parameters
    ours = {"partition": "gpu", "time": 60, "cpus_per_task": 3, "gpus_per_node": 1}
    assert {name: typed[name] for name in ours} == ours and engine.most is None
    with pytest.raises(InputError, match=r"Slurm's jobs cannot be made so .*colour"):
        engines.start(Asked.parse("slurm:colour=red"), tmp_path / "jobs", Needs(2, 3, 0))


def test_a_head_without_a_gpu_asks_what_it_cannot_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triptych.hardware.find_gpu", lambda: (False, ""))
    asked = CompareRequest.of(models=("vae",), on="slurm", device="cuda")
    with pytest.raises(InputError, match="name --precision and --size"):
        hand_over.head(asked)
    asked = replace(asked, precision="bf16", size="small", threads=1)
    machine = hand_over.head(asked)
    workers = hand_over.workers_machine(asked, machine)
    assert (machine.device, workers.device, workers.precision) == ("cpu", "cuda", "bf16")
    own_device = r"no CUDA GPU|built for processors"
    with pytest.raises(InputError, match=own_device):
        hand_over.head(replace(asked, on=None))


def test_workers_split_and_compile_as_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the head has no GPU, and itself does neither."""
    monkeypatch.setattr("triptych.hardware.find_gpu", lambda: (False, ""))
    asked = CompareRequest.of(
        models=("vae",), on="slurm", device="cuda", precision="bf16", size="small", compile=True,
        microbatch=4,
    )  # fmt: skip
    workers = hand_over.workers_machine(asked, hand_over.head(asked))
    assert (workers.compile, workers.microbatch) == (True, 4)
    given = replace(one_thread(), compile=True, microbatch=8)  # by a caller in Python
    workers = hand_over.workers_machine(CompareRequest.of(models=("vae",), on="ray"), given)
    assert (workers.compile, workers.microbatch) == (True, 8)


@pytest.mark.parametrize(("named", "chosen"), [("cuda", "cpu"), (None, "cuda"), (None, "mps")])
def test_processes_of_this_machine_share_no_gpu(
    named: str | None, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """submitit gives each of them the first one, whatever the user made visible."""
    monkeypatch.setattr(Asked, "check", lambda self: None)
    asked = CompareRequest.of(models=("vae",), on="local", device=named)
    machine = replace(one_thread(), device=chosen)
    with pytest.raises(InputError, match="use --on ray, or --device cpu"):
        hand_over.check(asked, machine)
    hand_over.check(replace(asked, on="ray"), machine)
    hand_over.check(replace(asked, device="cpu"), machine)


def test_samples_alone_need_no_engine(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Asked, "check", lambda self: None)
    np.savez(tmp_path / "theirs.npz", images=data.test.images.permute(0, 2, 3, 1).numpy())
    with pytest.raises(InputError, match="--on hands over models and runs, and there are none"):
        triptych.compare(
            str(tmp_path / "theirs.npz"), data, out=tmp_path / "out", on="local",
            machine=one_thread(),
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_workers_open_what_the_head_opened(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path is whole; a name stays one though a folder of that name lies here."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "street-digits").mkdir()
    named = replace(data, source="street-digits", path=None)
    assert hand_over.source_of(named).data == "street-digits"
    whole = str(Path(data.source).absolute())
    assert hand_over.source_of(replace(data, source="data", path=whole)).data == whole


def test_an_engine_that_refuses_leaves_nothing(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = CompareRequest.of(models=("vae",), on="local")
    monkeypatch.setitem(engines.ENGINES, "local", lambda *given: refuse_with(given[1]))
    with (
        pytest.raises(InputError, match="not so"),
        hand_over.crew_for(asked, tmp_path / "new", data, 1, one_thread(), QUIET),
    ):
        pass
    assert not (tmp_path / "new").exists()


def refuse_with(folder: Path) -> engines.Engine:
    folder.mkdir()
    raise InputError("not so", "otherwise")


# The contract


def on_hardware(name: str, budget: str = "seconds") -> dict[str, Any]:
    spent = {"amount": 90.0, "unit": budget, "asked": "asked"}
    return {**FACTS, "budget": spent, "hardware": {"processor": name, "gpu": "card"}}


def test_seconds_on_unlike_hardware_are_refused_and_images_are_marked() -> None:
    fast, slow = on_hardware("fast"), on_hardware("slow")
    [unequal] = differences(conditions(a=fast, b=slow))
    assert unequal == Note("hardware_differs", {"runs": "a fast, b slow"})
    assert differences(conditions(a=fast, b=fast)) == []
    nobody_recorded = differences(conditions(a=fast, b=FACTS))
    assert nobody_recorded == []
    fast, slow = on_hardware("fast", "images"), on_hardware("slow", "images")
    assert differences(conditions(a=fast, b=slow)) == []
    [mark] = marks(records(a=fast, b=slow))
    assert mark == Note("costs_of_unlike_hardware", {"runs": "a fast, b slow"})
    assert marks(records(a=fast, b=fast)) == []


def test_of_a_gpu_the_processor_does_not_count() -> None:
    runs = [on_hardware(name) | {"device": "cuda"} for name in ("fast", "slow")]
    assert differences(conditions(a=runs[0], b=runs[1])) == []


# The head's loop


@dataclass(frozen=True)
class Step:
    """Gives its name back, or fails as it is told."""

    name: str
    fails: str = ""

    def do(self) -> JsonObject:
        if self.fails == "input":
            raise InputError("bad", "mend it")
        if self.fails == "training":
            raise TrainingFailedError("not finite")
        return {"name": self.name}


class Inline:
    """An engine that does a work when it is asked for its outcome the second time."""

    threads, most = 1, 1

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.cancelled: list[str] = []
        self.together = self.at_once = 0
        self.stops = 0  # works that a machine stops before they are done

    def submit(self, handed: engines.Work) -> engines.Future:
        engine = self
        travelled = pickle.loads(pickle.dumps(handed))
        engine.begun.append(handed.name)
        engine.together += 1
        engine.at_once = max(engine.at_once, engine.together)

        class Pending:
            asked = 0

            def outcome(self) -> Outcome | None:
                self.asked += 1
                if handed.name in engine.cancelled:
                    return Outcome(stopped=signal.SIGTERM)
                if self.asked < 2:
                    return None
                engine.together -= 1
                if engine.stops:
                    engine.stops -= 1
                    return Outcome(stopped=signal.SIGTERM)
                return perform(travelled)

            def cancel(self) -> None:
                engine.cancelled.append(handed.name)

        return Pending()

    def close(self) -> None:
        self.begun.append("closed")


@dataclass(frozen=True)
class Struck:
    """Is sent a terminal's Ctrl-C, and then what its head sends on it."""

    name: str = "struck"

    def do(self) -> JsonObject:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        return {}


@pytest.fixture
def begun_by_a_head() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("begun_by_a_head")
def test_a_worker_leaves_ctrl_c_to_its_head() -> None:
    """A second signal would kill a training before it has saved."""
    assert perform(Struck()) == Outcome(stopped=signal.SIGTERM)
    with stop_signals(ALONE) as received:
        signal.raise_signal(signal.SIGINT)
        assert received == []
        signal.raise_signal(signal.SIGTERM)
        assert received == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def crew_of(engine: Any, folder: Path) -> Crew:
    source = Source(data="none", options=DataOptions(), fingerprint="")
    site = Site(str(folder), str(folder), "none")
    return Crew(
        engine=engine, kind="inline", folder=folder, site=site, source=source, asked=CPU,
        console=QUIET,
    )  # fmt: skip


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hand_over, "LOOK", 0.0)


@pytest.mark.usefixtures("quick_looks")
def test_works_of_a_chain_follow_each_other_and_chains_wait_for_room(tmp_path: Path) -> None:
    engine = Inline()
    chains = {tmp_path / n: [Step(f"train {n}"), Step(f"measure {n}")] for n in "ab"}
    answers = hand_over.run_all(chains, crew_of(engine, tmp_path), lambda: None)
    assert engine.begun == ["train a", "train b", "measure a", "measure b"]
    assert answers == {tmp_path / n: {"name": f"measure {n}"} for n in "ab"}
    assert engine.at_once == 1
    engine = Inline()
    engine.most = 2
    hand_over.run_all(chains, crew_of(engine, tmp_path), lambda: None)
    assert engine.at_once == 2


@pytest.mark.usefixtures("quick_looks")
def test_a_work_that_its_machine_stopped_is_handed_over_again(tmp_path: Path) -> None:
    """As often as one whose worker died, and not for ever."""
    engine = Inline()
    engine.stops = engines.RETRIES
    chains = {tmp_path / "a": [Step("a")]}
    answers = hand_over.run_all(chains, crew_of(engine, tmp_path), lambda: None)
    assert answers == {tmp_path / "a": {"name": "a"}}
    assert engine.begun == ["a"] * (engines.RETRIES + 1)
    engine.stops = engines.RETRIES + 1
    with pytest.raises(InterruptedRunError):
        hand_over.run_all(chains, crew_of(engine, tmp_path), lambda: None)


@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize(
    ("fails", "error", "words"),
    [("input", InputError, "bad: mend it"), ("training", TrainingFailedError, "a: not finite")],
)
def test_what_fails_cancels_the_others(
    fails: str, error: type[Exception], words: str, tmp_path: Path
) -> None:
    engine = Inline()
    engine.most = 3
    chains = {tmp_path / n: [Step(n, fails if n == "a" else "")] for n in "abc"}
    with pytest.raises(error, match=words):
        hand_over.run_all(chains, crew_of(engine, tmp_path), lambda: None)
    assert engine.cancelled == ["b", "c"]


@pytest.mark.usefixtures("quick_looks")
def test_ctrl_c_cancels_all_that_runs_and_begins_nothing_more(tmp_path: Path) -> None:
    engine = Inline()
    engine.most = 2
    chains = {tmp_path / n: [Step(n)] for n in "abc"}
    with pytest.raises(InterruptedRunError) as error:
        hand_over.run_all(
            chains, crew_of(engine, tmp_path), lambda: signal.raise_signal(signal.SIGINT)
        )
    assert error.value.exit_code == 130
    assert engine.begun == ["a", "b"] and engine.cancelled == ["a", "b"]


@pytest.mark.usefixtures("quick_looks")
def test_unlike_trainings_are_refused_while_they_train(tmp_path: Path) -> None:
    for name in ("fast", "slow"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(json.dumps(on_hardware(name)))
    runs = [RunFolder(tmp_path / name) for name in ("fast", "slow", "waiting")]
    with pytest.raises(InputError, match=r"the hardware differs, .*: fast fast, slow slow"):
        hand_over.refuse_unlike(runs)
    del runs[1]
    hand_over.refuse_unlike(runs)


@pytest.mark.usefixtures("quick_looks")
def test_a_finished_run_is_unlike_as_soon_as_a_training_has_begun(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where both are called the same, and not at the end of all trainings."""
    asked = TrainRequest(model="vae:course", size="tiny", resolution=16)
    request = resolve(asked, "cpu", data, precision="fp32")
    crew = crew_of(Inline(), tmp_path / "comparison")
    finished = RunFolder(tmp_path / "before" / run_name(request))
    training = RunFolder(crew.folder / run_name(request))
    for run, name in ((finished, "fast"), (training, "slow")):
        run.path.mkdir(parents=True)
        run.run_json.write_text(json.dumps(on_hardware(name)))
    monkeypatch.setattr(hand_over, "run_all", lambda chains, crew, check: check() or {})
    plan: Any = SimpleNamespace(count=10, features="pixels", samplers={})
    with pytest.raises(InputError, match=r"the hardware differs") as error:
        hand_over.train_and_measure([asked], [request], [finished], plan, crew, False)
    assert f"{finished.path} fast, {training.path} slow" in str(error.value)
    hand_over.train_and_measure([asked], [request], [finished], plan, crew, True)
    assert hand_over.train_and_measure([asked], [request], [], plan, crew, False) == {}


@pytest.mark.usefixtures("quick_looks")
@pytest.mark.parametrize("error", [InputError("half a file", "read on"), OSError("stale handle")])
def test_a_run_that_cannot_be_read_just_now_ends_nothing(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(folder: RunFolder) -> None:
        raise error

    monkeypatch.setattr(RunFolder, "is_run", lambda folder: True)
    monkeypatch.setattr(RunFolder, "read", unreadable)
    runs = [RunFolder(tmp_path / "a")]
    hand_over.refuse_unlike(runs)
    chains = {tmp_path / "a": [Step("a")]}
    answers = hand_over.run_all(
        chains, crew_of(Inline(), tmp_path), lambda: hand_over.refuse_unlike(runs)
    )
    assert answers == {tmp_path / "a": {"name": "a"}}


# A whole comparison


@pytest.fixture(scope="module")
def brief() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifier, "LEAST_IMAGES", 1280)
        patch.setattr(classifier, "EPOCHS", 1)
        patch.setattr(hand_over, "LOOK", 0.0)
        yield


def compare(data: ImageData, out: Path, **options: Any) -> JsonObject:
    """results.json and run.json by run, and contract.json."""
    triptych.compare(
        MODELS, data, out=out, budget="0.64kimg", count=30, machine=one_thread(),
        no_baseline=True, **options,
    )  # fmt: skip
    names = [f"{model.replace(':', '-')}-s0" for model in MODELS]
    read = {name: json.loads((out / name / "run.json").read_text()) for name in names}
    results = json.loads((out / "results.json").read_text())["runs"]
    return {
        "contract": json.loads((out / "contract.json").read_text()),
        "digests": {name: run["digests"] for name, run in read.items()},
        "metrics": {result["run"]: result["metrics"] for result in results},
        "page": (out / "report.html").read_text(),
    }


@pytest.mark.sweep
@pytest.mark.usefixtures("brief")
def test_an_engine_gives_what_turns_give(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights and numbers; contract and page tell how; measured runs are kept."""
    engine = Inline()
    monkeypatch.setitem(engines.ENGINES, "local", lambda *given: engine)
    monkeypatch.setattr(Asked, "check", lambda self: None)
    ours = compare(data, tmp_path / "engine", on="local")
    assert engine.begun == ["train vae-course-s0", "measure vae-course-s0", "closed"]
    turns = compare(data, tmp_path / "turns")
    assert ours["digests"] == turns["digests"]
    assert ours["metrics"] == turns["metrics"]
    note = Note("trained_by_engine", {"engine": "local", "n": 1})
    assert ours["contract"]["notes"] == [{"code": note.code, "values": dict(note.values)}]
    assert turns["contract"]["notes"] == []
    told = english(note)[1:40]
    assert told in ours["page"] and told not in turns["page"]
    for key in ("device", "precision", "threads", "hardware", "versions", "budget"):
        assert ours["contract"][key] == turns["contract"][key]
    asked = CompareRequest.of(
        models=(str(tmp_path / "turns" / "vae-course-s0"),), out=tmp_path / "finished", count=30,
        on="local", no_baseline=True,
    )  # fmt: skip
    finished = comparing.compare(asked, data, one_thread(), QUIET)
    assert engine.begun[-2:] == ["measure vae-course-s0", "closed"]
    contract = json.loads((finished / "contract.json").read_text())
    assert contract["notes"] == []  # of how it was trained nothing is known
    marked = list((tmp_path / "engine" / work.HIDDEN).glob("seen-*"))
    assert marked == [] and not list((cache_folder() / work.HIDDEN).glob("seen-*"))
    work.MEASURERS.clear()
    monkeypatch.setattr(MeasureWork, "measurer", lambda *given: pytest.fail("measured again"))
    assert compare(data, tmp_path / "engine", on="local")["metrics"] == ours["metrics"]


# A worker


def train_work(data: ImageData, out: Path, model: str = "vae:course", **more: Any) -> TrainWork:
    asked = TrainRequest(model=model, data=data.source, size="tiny", resolution=16, **more)
    settings = resolve(asked, "cpu", data, precision="fp32").settings
    return TrainWork(
        asked=asked,
        settings=triptych.config.to_json(settings),
        source=hand_over.source_of(data),
        out=str(out),
        machine=CPU,
        site=Site.make(out.parent, cache_folder()),
    )


def test_what_travels_loads_no_torch() -> None:
    """A worker sets its process up before torch is loaded, which is after it read its work."""
    code = "import sys, triptych.comparison.work, triptych.comparison.engines; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "triptych.comparison.work" in loaded and not {"torch", "ray", "submitit"} & set(loaded)


def test_a_worker_that_does_not_see_the_folders(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "SEEN_WITHIN", 0.2)
    out = tmp_path / "comparison" / "run"
    handed = train_work(data, out, budget="0.64kimg")
    for unseen in ("folder", "cache"):
        elsewhere = replace(handed.site, **{unseen: str(tmp_path / "elsewhere")})
        outcome = perform(replace(handed, site=elsewhere))
        assert outcome.wrong.endswith(f"does not see {tmp_path / 'elsewhere'}")
        assert "all machines share" in outcome.mend
    assert not out.exists() and not (tmp_path / "elsewhere").exists()


def test_a_worker_that_finds_other_images(data: ImageData, tmp_path: Path) -> None:
    handed = train_work(data, tmp_path / "comparison" / "run", budget="0.64kimg")
    outcome = perform(replace(handed, source=replace(handed.source, fingerprint="other")))
    assert "finds other images at" in outcome.wrong and outcome.answer is None


def test_settings_are_those_of_the_head(data: ImageData, tmp_path: Path) -> None:
    """A worker may have hardware on which a recipe's usual settings are others."""
    handed = train_work(data, tmp_path / "comparison" / "run", budget="0.64kimg")
    settings = handed.settings | {"batch_size": 16}
    assert perform(replace(handed, settings=settings)).answer == {}
    assert RunFolder(Path(handed.out)).read().settings["batch_size"] == 16


def test_a_training_of_a_head_that_is_gone_is_waited_for(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "PAUSE", 0.05)
    handed = train_work(data, tmp_path / "comparison" / "run", budget="0.64kimg")
    outcomes: list[Outcome] = []
    waiting = threading.Thread(target=lambda: outcomes.append(perform(handed)))
    with alone_in(Path(handed.out)):
        waiting.start()
        waiting.join(1.0)
        assert waiting.is_alive() and not RunFolder(Path(handed.out)).is_run()
    waiting.join(60)
    assert outcomes == [Outcome(answer={})]
    assert RunFolder(Path(handed.out)).read().done


# Real engines, whose worker is killed while it trains


def kill_once(out: Path, futures: list[engines.Future]) -> list[Outcome]:
    """Kill the process that trains into a folder after its first checkpoint; the outcomes."""
    killed, outcomes = None, [each.outcome() for each in futures]
    until = time.monotonic() + 500
    while any(each is None for each in outcomes):
        assert time.monotonic() < until, outcomes
        saved = [each for each in out.glob("checkpoints/*") if not each.name.startswith(".")]
        if killed is None and saved and (out / HOLDER).exists():
            killed = json.loads((out / HOLDER).read_text())["process"]
            assert killed != os.getpid()
            os.kill(killed, signal.SIGKILL)
        time.sleep(0.02)
        outcomes = [o or f.outcome() for o, f in zip(outcomes, futures, strict=True)]
    assert killed is not None, "it had ended before it was killed"
    return [each for each in outcomes if each is not None]


def events_of(out: Path) -> list[str]:
    return [json.loads(line)["event"] for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture
def workers_find_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}{os.pathsep}{ROOT}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows masks no signals")
def test_ctrl_c_while_a_job_is_handed_over_is_noted_and_reaches_no_other_process() -> None:
    """An `sbatch` that is under way would end with it."""
    code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    with stop_signals(ALONE) as received:
        with engines.sigint_blocked():
            os.kill(os.getpid(), signal.SIGINT)
            told = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
        until = time.monotonic() + 10
        while not received and time.monotonic() < until:
            time.sleep(0.01)
    assert received == [signal.SIGINT] and told.stdout.strip() == b"True"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_jobs_are_handed_over_by_any_thread() -> None:
    """Only the main thread may change what a signal does."""
    engine = object.__new__(engines.JobEngine)
    engine.executor = SimpleNamespace(submit=lambda *given: "begun")
    begun: list[object] = []
    thread = threading.Thread(
        target=lambda: begun.append(engine._begin(SimpleNamespace(name="vae")))
    )
    thread.start()
    thread.join()
    assert begun == ["begun"]


LONG: dict[str, Any] = {"budget": "12.8kimg", "set": ("batch_size=32", "widths=8,16")}


def undisturbed(data: ImageData, handed: TrainWork, out: Path) -> JsonObject:
    request = resolve(handed.asked, "cpu", data, precision="fp32")
    return train(request, out, one_thread(), QUIET).read().digests


@pytest.mark.sweep
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("workers_find_us")
def test_processes_of_this_machine_begin_a_killed_training_again(
    data: ImageData, tmp_path: Path
) -> None:
    """It goes on from its checkpoint to the very weights of one that was left alone."""
    pytest.importorskip("submitit", reason="submitit is not installed")
    engine = engines.start(Asked.parse("local"), tmp_path / "jobs", Needs(1, 1, 0))
    handed = train_work(data, tmp_path / "run", "vae:sigma", **LONG)
    outcomes = kill_once(tmp_path / "run", [engine.submit(handed)])
    assert outcomes == [Outcome(answer={})]
    assert "resume" in events_of(tmp_path / "run")
    assert RunFolder(tmp_path / "run").read().digests == undisturbed(data, handed, tmp_path / "b")


@pytest.mark.sweep
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("workers_find_us")
def test_a_cancelled_process_saves(data: ImageData, tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed")
    engine = engines.start(Asked.parse("local"), tmp_path / "jobs", Needs(1, 1, 0))
    future = engine.submit(train_work(data, tmp_path / "run", budget="1000kimg"))
    until = time.monotonic() + 120
    while not (tmp_path / "run" / "log.jsonl").exists() and time.monotonic() < until:
        time.sleep(0.05)
    holder = json.loads((tmp_path / "run" / HOLDER).read_text())
    os.kill(holder["process"], signal.SIGINT)  # as a terminal does, which sends it to all
    future.cancel()
    while (outcome := future.outcome()) is None and time.monotonic() < until:
        time.sleep(0.05)
    assert outcome is not None and outcome.stopped == signal.SIGTERM
    assert list((tmp_path / "run" / "checkpoints").iterdir())


@pytest.mark.sweep
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("workers_find_us")
def test_two_nodes_of_ray_begin_a_killed_training_again(
    data: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trainings, one on each node of one processor, and more than a node has is refused."""
    pytest.importorskip("ray", reason="ray is not installed: pip install 'triptych[cluster]'")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        cluster.add_node(num_cpus=1)
        asked = Asked.parse(f"ray:{cluster.address}")
        asked.check()
        with pytest.raises(InputError, match="no machine of the Ray cluster has 2 CPUs"):
            engines.start(asked, tmp_path / "jobs", Needs(2, 2, 0))
        engine = engines.start(asked, tmp_path / "jobs", Needs(2, None, 0))
        assert engine.threads == 1
        try:
            works = [train_work(data, tmp_path / name, "vae:sigma", **LONG) for name in ("a", "b")]
            outcomes = kill_once(tmp_path / "a", [engine.submit(each) for each in works])
        finally:
            engine.close()
    finally:
        cluster.shutdown()
    assert outcomes == [Outcome(answer={})] * 2
    assert "resume" in events_of(tmp_path / "a") and "resume" not in events_of(tmp_path / "b")
    digests = [RunFolder(tmp_path / name).read().digests for name in ("a", "b")]
    assert digests == [undisturbed(data, works[0], tmp_path / "c")] * 2


def test_what_was_raised_in_a_job_is_told_and_not_where_its_log_lies() -> None:
    """Of a report as a real Slurm job's had it, which ends with paths."""
    dashes, why = "-" * 22, "UncompletedJobError: Job not requeued because: timed-out"
    report = (
        f"Job (task=0) failed during processing with trace:\n{dashes}\nTraceback (most recent "
        f"call last):\n  File x, line 1\n{why}\n\n"
        f"{dashes}\nYou can check full logs with 'job.stderr(0)'or at paths:\n  - /x/11_0_log.out"
    )
    assert engines.raised_in(report) == why
    assert engines.raised_in("Job 3 has not produced any output\nslurmstepd: out of memory") == (
        "slurmstepd: out of memory"
    )
    assert engines.raised_in("") == ""
