"""Ctrl-C and SIGTERM: saved and left with the right code; twice, left at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import making
from triptych.distributed import ALONE
from triptych.errors import InterruptedRunError
from triptych.training.loop import stop_signals

SOURCE = Path(__file__).resolve().parents[1] / "src"

# Trains; from the third round on, a round takes as long as it is told. A round of a minute tells
# when a first signal was heard: from then on the system's own action answers a second one.
CHILD = """
import signal, sys, time
from triptych.cli.main import main
from triptych.training.state import TrainingState

plain, seconds = TrainingState.step, float(sys.argv.pop(1))
def slow(state, *rest):
    plain(state, *rest)
    if state.seen >= 96:
        print("slow", flush=True)
        while seconds == 60 and signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
            time.sleep(0.01)
        print("heard", flush=True)
        time.sleep(seconds)
TrainingState.step = slow
main()
"""

# The command, but that it stands still where a module begins to be imported.
IMPORTING = """
import runpy, sys, time

awaited = sys.argv.pop(1)
def stand_still(event, arguments):
    if event == "import" and arguments[0] == awaited:
        print("importing", flush=True)
        time.sleep(60)
sys.addaudithook(stand_still)
runpy.run_module("triptych", run_name="__main__", alter_sys=True)
"""


def start(folder: Path, seconds: float) -> subprocess.Popen[str]:
    """A training in the middle of a round."""
    pixels, _ = making.make_images(200)
    data = making.write_npz(folder / "bars.npz", pixels)
    small = ["--resolution", "16", "--set", "batch_size=32", "--set", "widths=8,8"]
    words = [
        "train",
        "vae:sigma",
        "--data",
        str(data),
        *small,
        "--budget",
        "32kimg",
        "--threads",
        "1",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(seconds), *words, "--out", str(folder / "run")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=making.heed_interrupts,
    )
    assert process.stdout is not None and process.stdout.readline() == "slow\n"
    return process


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.sweep),
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.sweep),
    ],
)
def test_a_signal_is_answered_by_saving(number: int, code: int, tmp_path: Path) -> None:
    process = start(tmp_path, 0.2)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)  # of the 200 s that the budget would take
    assert process.returncode == code
    assert said.splitlines()[-1] == "triptych: saved; the same command goes on from here"
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]


@pytest.mark.parametrize(
    "second", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.sweep)]
)
def test_a_second_signal_ends_it_at_once(second: int, tmp_path: Path) -> None:
    """In the middle of a round that would take a minute; what was saved before stays."""
    process = start(tmp_path, 60)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None and process.stdout.readline() == "heard\n"
    assert process.poll() is None
    process.send_signal(second)
    process.communicate(timeout=30)
    assert process.returncode == -second  # as a shell shows it: 130 or 143


def test_a_second_interrupt_leaves_a_notebook_s_kernel_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The call ends by KeyboardInterrupt; SIGTERM still ends the process."""
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), stop_signals(ALONE) as received:
            signal.raise_signal(signal.SIGINT)
            assert received == [signal.SIGINT]
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            assert signal.getsignal(signal.SIGINT) is not signal.SIG_DFL
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_saved_run_is_no_failure_that_a_loop_goes_on_after() -> None:
    assert not issubclass(InterruptedRunError, Exception)
    assert issubclass(InterruptedRunError, KeyboardInterrupt)


def test_a_terminal_that_closes_is_told_of_twice(tmp_path: Path) -> None:
    """By the shell and by the system; a training that is saving must not end by the second."""
    process = start(tmp_path, 3)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)  # two at once are one to the system
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGHUP
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]


@pytest.mark.parametrize("module", ["triptych.cli.main", "numpy", "torch", "torch.nn"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_libraries_are_imported_is_no_error(
    number: int, module: str, tmp_path: Path
) -> None:
    """Nothing is made yet: the process ends by the signal, without a traceback."""
    words = ["sample", "nowhere", "--out", "a.png"]
    process = subprocess.Popen(
        [sys.executable, "-c", IMPORTING, module, *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=making.heed_interrupts,
    )
    assert process.stdout is not None and process.stdout.readline() == "importing\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert "Traceback" not in said
    assert process.returncode in (-number, 128 + number)
