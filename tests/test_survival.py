"""kill -9 at any moment: what is left can be read, little is lost, the end is the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.making import progress_at
from tests.test_training import MACHINE, digest, request, train
from triptych.console import Console
from triptych.errors import InterruptedRunError
from triptych.training import checkpoint
from triptych.training import train as training
from triptych.training.run_folder import RunFolder
from triptych.training.state import TrainingState

ROOT = Path(__file__).resolve().parents[1]
CHILD = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
SMALL = "vae:sigma", "1.28kimg", "widths=8,8", "latent=4"


@pytest.mark.parametrize(
    "model",
    [
        "vae:course",
        pytest.param("gan:hinge", marks=pytest.mark.sweep),
        pytest.param("diffusion:x0", marks=pytest.mark.sweep),
    ],
)
def test_kills_at_random_moments(model: str) -> None:
    """Seven of each family; benchmarks/kills.py does the same with 200."""
    words = f"--models {model} --kills 7 --intervals 6".split()
    found = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "kills.py", *words],
        capture_output=True,
        text=True,
        env=CHILD,
        timeout=200,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    [result] = json.loads(found.stdout)["models"]
    assert result["problems"] == [] and result["kills"] == 7
    assert result["finished after kills"] >= 1 and result["most intervals lost"] <= 1


# Saves a checkpoint beside two others, killed before the first, second, ... thing that it does to
# files, as Python's auditing tells of them; prints what a reader then finds.
SWEEP = """
import json, os, shutil, signal, sys
from pathlib import Path
import torch
from tests.making import progress_at
from triptych.training import checkpoint
torch.set_num_threads(1)
folder, last = Path(sys.argv[1]), int(sys.argv[2])
before = folder.with_name("before")
does = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}
def save(seen):
    weights = {"w": torch.arange(100.0) + seen}
    checkpoint.save(folder, {"model": weights, "tally": {}}, progress_at(seen))
def life(point):
    left, inside = point, False
    def hook(event, arguments):
        nonlocal left
        if inside and event in does:
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
    sys.addaudithook(hook)
    inside = True
    save(last)
    inside = False
    os._exit(0)
def look():
    seen = []
    for path in checkpoint.complete(folder):
        tensors, progress = checkpoint.load(path, 10**6)
        assert tensors["model"]["w"][0] == progress.seen
        seen.append(progress.seen)
    print(json.dumps(seen), flush=True)
for seen in (32, 64):
    save(seen)
shutil.copytree(folder, before)
point, alive = 0, False
while not alive:
    shutil.rmtree(folder)
    shutil.copytree(before, folder)
    child = os.fork()
    if child == 0:
        life(point)
    alive = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    look()
    point += 1
"""


@pytest.mark.parametrize("last", [96, 64])
def test_a_save_killed_at_every_system_call_leaves_whole_checkpoints(
    tmp_path: Path, last: int
) -> None:
    """A later one, and one gone back to, which takes the place of itself."""
    found = subprocess.run(
        [sys.executable, "-c", SWEEP, str(tmp_path / "checkpoints"), str(last)],
        capture_output=True,
        text=True,
        env=CHILD,
        timeout=200,
    )
    assert found.returncode == 0, found.stderr
    seen = [json.loads(line) for line in found.stdout.splitlines()]
    assert len(seen) >= 20 and [32, 64] in seen
    if last == 96:
        assert all(moments in ([32, 64], [32, 64, 96], [64, 96]) for moments in seen)
        assert seen[-1] == [64, 96]
    else:
        assert all(moments in ([32, 64], [32]) for moments in seen)
        assert seen[-1] == [32, 64]


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of 40 rounds that was interrupted after 19: two checkpoints are kept."""
    one_round = TrainingState.step

    def stop(state: TrainingState, *arguments: Any) -> None:
        one_round(state, *arguments)
        if state.seen == 19 * 32:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "step", stop)
        with pytest.raises(InterruptedRunError):
            train(request(*SMALL), tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The same run, never interrupted."""
    return train(request(*SMALL), tmp_path_factory.mktemp("whole") / "run")


class Heard(Console):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)


def test_a_damaged_checkpoint_is_said_and_the_end_is_the_same(
    stopped: Path, whole: RunFolder
) -> None:
    newest = checkpoint.complete(stopped / "checkpoints")[-1]
    file = random.Random(0).choice(sorted(newest.iterdir()))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    console = Heard()
    folder = training.train(request(*SMALL), stopped, MACHINE, console)
    assert any(f"checkpoint {newest.name} is damaged" in line for line in console.said)
    assert any("going on from image 576" in line for line in console.said)
    assert digest(folder) == digest(whole)


@pytest.mark.parametrize(
    "part", ["model", "average", "optimiser", "tally", "names", "dtypes", "progress"]
)
def test_a_checkpoint_of_another_model_is_passed_over(
    stopped: Path, whole: RunFolder, part: str
) -> None:
    """Whole by its digests, but not of this state: nothing of it is taken in."""
    newest = checkpoint.complete(stopped / "checkpoints")[-1]
    tensors, progress = checkpoint.load(newest, 10**9)
    name = next((name for name in tensors if name.startswith(part)), "model")
    first = next(n for n, t in tensors[name].items() if t.ndim or part == "tally")
    if part == "names":
        tensors[name]["other"] = tensors[name].pop(first)
    elif part == "dtypes":
        tensors[name][first] = tensors[name][first].double()
    elif part == "progress":
        progress = replace(progress, in_a_row={"nobody": 3})
    else:
        tensors[name][first] = tensors[name][first].new_zeros(3)
    checkpoint.save(newest.parent, tensors, progress)
    console = Heard()
    folder = training.train(request(*SMALL), stopped, MACHINE, console)
    assert any(f"checkpoint {newest.name} is damaged" in line for line in console.said)
    assert digest(folder) == digest(whole)


def test_the_next_start_cleans_up(stopped: Path) -> None:
    """What kills left: half-written files; and checkpoints where the run was done already."""
    litter = [".run.json.17.tmp", ".model.safetensors.17.tmp", "samples/.000000000.png.17.tmp"]
    for name in litter:
        (stopped / name).write_bytes(b"half")
    (stopped / "checkpoints" / ".0-000000000640.17.tmp").mkdir()
    folder = train(request(*SMALL), stopped)
    done = sorted(path.name for path in stopped.iterdir())
    assert done == ["checkpoints", "log.jsonl", "model.safetensors", "run.json", "samples"]
    assert not list(stopped.rglob("*.tmp"))
    weights = digest(folder)
    checkpoint.save(stopped / "checkpoints", {}, progress_at(640))
    (stopped / ".run.json.18.tmp").write_bytes(b"half")
    train(request(*SMALL), stopped)
    assert sorted(path.name for path in stopped.iterdir()) == done and digest(folder) == weights


def test_a_log_shortened_by_a_power_cut_is_gone_on_with(stopped: Path) -> None:
    """A checkpoint is on the disk before the log's last lines are: what is left stays readable."""
    log = RunFolder(stopped).log
    first = log.read_bytes().splitlines()[0]
    os.truncate(log, len(first) + 20)
    train(request(*SMALL), stopped)
    lines = log.read_bytes().splitlines()
    assert lines[0] == first
    assert [json.loads(line)["event"] for line in lines[:2]] == ["start", "resume"]
    assert all(json.loads(line) for line in lines)
