"""Several processes under torchrun: the same numbers as one, one writer, and no survivors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests import making, together
from triptych import distributed, files
from triptych import images as pixels
from triptych.cli import main
from triptych.errors import InputError
from triptych.evaluation import outputs
from triptych.run import Run

ROOT = Path(__file__).resolve().parents[1]
POINTS = outputs.POINTS  # before the other tests' shorter paths
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]


def start(*words: str, restarts: int = 0) -> subprocess.Popen[str]:
    """A torchrun on a free port of its own."""
    options = ["--standalone", "--max-restarts", str(restarts)]
    return subprocess.Popen(
        [*TORCHRUN, *options, "-m", *words],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=making.heed_interrupts,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def finish(*words: str, restarts: int = 0) -> tuple[int, str, str]:
    process = start(*words, restarts=restarts)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Without labels, so that measuring needs no classifier."""
    drawn, _ = making.make_images(200)
    return str(making.write_npz(tmp_path_factory.mktemp("data") / "bars.npz", drawn))


def training(images: str, out: Path, *more: str, budget: str = "3.2kimg") -> list[str]:
    small = ["--resolution", "16", "--set", "batch_size=32", "--set", "widths=8,8"]
    return [
        "train",
        "vae:sigma",
        "--data",
        images,
        "--budget",
        budget,
        "--device",
        "cpu",
        *small,
        "--out",
        str(out),
        *more,
    ]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes find of each model, under its name."""
    out = tmp_path_factory.mktemp("two")
    code, _, err = finish("tests.together", "steps", str(out))
    assert code == 0, err
    return out


@pytest.mark.parametrize("model", together.SMALL)
def test_two_processes_do_what_one_does(model: str, pair: Path, tmp_path: Path) -> None:
    """20 rounds in float64 at the same batch: losses and weights agree within 1e-5, relatively.

    In bfloat16, Muon's matrices are rounded alike, for their gradients differ by 1e-16 alone.
    """
    together.steps(model, tmp_path / "one")
    one, two = load_file(tmp_path / "one"), load_file(pair / model)
    assert one.keys() == two.keys() and len(one["losses"]) == together.ROUNDS
    assert one["losses"][0, 0] != one["losses"][-1, 0]
    for name, expected in one.items():
        torch.testing.assert_close(two[name], expected, rtol=1e-5, atol=1e-9, msg=name)


@pytest.fixture(scope="module")
def trained(images: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that two processes trained, and log.csv of it."""
    run = tmp_path_factory.mktemp("trained") / "run"
    code, out, err = finish("triptych", *training(images, run, "--log-to", "csv"))
    assert code == 0, err
    assert out.splitlines() == [str(run)]  # one process speaks
    return run


def test_one_process_logs_elsewhere(trained: Path) -> None:
    """One row for each of the hundred log points of 100 rounds, as many as log.jsonl has."""
    rows = (trained / "log.csv").read_text().splitlines()
    totals = [int(row.split(",")[0]) for row in rows if "loss/bound/total" in row]
    assert totals == [32 * number for number in range(1, 101)]


@pytest.mark.sweep
def test_a_killed_worker_stops_the_others_and_a_restart_changes_nothing(
    images: str, trained: Path, tmp_path: Path
) -> None:
    """Killed at step 63 of 100, three after a checkpoint; benchmarks/workers.py has the times."""
    run = tmp_path / "run"
    code, _, err = finish("tests.together", "killed", "63", *training(images, run), restarts=1)
    assert code == 0, err
    said = [line for line in err.splitlines() if line.startswith("triptych")]
    # torchrun may be quicker to end the other one than that one is to notice
    assert {line.split(":")[1] for line in said} <= {" another process of this job is gone"}
    assert files.sha256(run / "model.safetensors") == files.sha256(trained / "model.safetensors")
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [e["images"] for e in events if e["event"] == "resume"] == [60 * 32]


@pytest.mark.sweep
def test_a_signal_stops_all_after_saving(images: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start("triptych", *training(images, run, budget="3200kimg"))
    while process.poll() is None and not list(run.glob("samples/*.png")):  # drawn inside the loop
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=25)  # torchrun would kill them after 30 s
    assert process.returncode != 0
    assert err.count("saved; the same command goes on from here") == 1
    assert list((run / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def shared(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """What two processes measure of that run, and a file of samples that they draw."""
    drawn = tmp_path_factory.mktemp("drawn") / "two.npz"
    measure = ["evaluate", str(trained), "--count", "8", "--json", "--precision", "fp32"]
    draw = ["sample", str(trained), "--count", "5", "--precision", "fp32", "--out", str(drawn)]
    code, out, err = finish("tests.together", "turns", *measure, "then", *draw)
    assert code == 0, err
    return json.JSONDecoder().raw_decode(out)[0], drawn


@pytest.mark.sweep
def test_samples_are_shared(trained: Path, shared: tuple[Any, Path]) -> None:
    """Two processes draw the same samples as one."""
    alone = Run(trained, making.one_thread()).sample(5)
    with np.load(shared[1]) as two:
        apart = two["images"].astype(int) - pixels.to_array(alone).astype(int)
    assert abs(apart).max() <= 1 < abs(pixels.to_array(alone).astype(int)).max()


@pytest.mark.sweep
def test_measurements_are_shared(
    trained: Path, shared: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes write the same results as one."""
    monkeypatch.setattr(outputs, "POINTS", POINTS)
    measured = shared[0]["runs"][0]["metrics"]
    expected = making.evaluated([trained], count=8, machine=making.one_thread())[0]["metrics"]
    for ours, theirs in zip(expected, measured, strict=True):
        assert ours["name"] == theirs["name"]
        if ours["value"] is None:  # the data have no labels
            assert theirs["value"] is None
        else:
            assert theirs["value"] == pytest.approx(ours["value"], rel=0.02), ours["name"]
    assert sum(metric["value"] is not None for metric in expected) >= 4


def test_what_cannot_be_shared_is_refused_in_one_line(images: str, tmp_path: Path) -> None:
    words = training(images, tmp_path / "run", "--set", "batch_size=33")
    code, _, err = finish("triptych", *words)
    ours = [line for line in err.splitlines() if line.startswith("triptych: ")]
    assert code == 1  # torchrun's own
    assert ours == [
        "triptych: a batch of 33 cannot be shared by 2 processes: use --set batch_size=34"
    ]
    assert not (tmp_path / "run").exists()


def test_restarts_over_several_machines_need_a_store_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What torchrun tells its processes: its own store is refused only where it would hang."""
    told = {"GROUP_WORLD_SIZE": "2", "TORCHELASTIC_MAX_RESTARTS": "3"}
    for name, value in (told | {"TORCHELASTIC_USE_AGENT_STORE": "True"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"):
        distributed.restart_store()
    for name, harmless in {
        "TORCHELASTIC_USE_AGENT_STORE": "False",
        "TORCHELASTIC_MAX_RESTARTS": "0",
    }.items():
        with monkeypatch.context() as patch:
            patch.setenv(name, harmless)
            assert distributed.restart_store() is None


def test_a_lost_process_is_named_with_the_mend() -> None:
    """The line that a survivor says when it is quicker than torchrun; other faults stay faults."""
    gone = torch.distributed.DistBackendError("Connection closed by peer")
    assert main.what_failed(gone).startswith(
        "another process of this job is gone: the same command"
    )
    with pytest.raises(RuntimeError, match="shapes"):
        main.what_failed(RuntimeError("shapes do not agree"))
