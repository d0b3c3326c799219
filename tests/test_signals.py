"""Ctrl-C and SIGTERM: saved and left with the right code; twice, left at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import making

# Trains; from the third round on, a round takes as long as it is told.
CHILD = """
import sys, time
from triptych.cli.main import main
from triptych.training.state import TrainingState

plain, seconds = TrainingState.step, float(sys.argv.pop(1))
def slow(state, *rest):
    plain(state, *rest)
    if state.seen >= 96:
        print("slow", flush=True)
        time.sleep(seconds)
TrainingState.step = slow
main()
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
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_is_answered_by_saving(number: int, code: int, tmp_path: Path) -> None:
    process = start(tmp_path, 0.2)
    began = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - began < 10
    assert process.returncode == code
    assert said.splitlines()[-1] == "triptych: saved; the same command goes on from here"
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()]


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once(second: int, tmp_path: Path) -> None:
    """In the middle of a round that would take a minute; what was saved before stays."""
    process = start(tmp_path, 60)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(second)
    process.communicate(timeout=60)
    assert time.monotonic() - began < 1
    assert process.returncode == -second  # as a shell shows it: 130 or 143


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_libraries_are_imported_is_no_error(number: int, tmp_path: Path) -> None:
    """Nothing is made yet: the process ends by the signal, without a traceback."""
    for delay in (0.15, 0.6):
        process = subprocess.Popen(
            [sys.executable, "-m", "triptych", "sample", "nowhere", "--out", "a.png"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=making.heed_interrupts,
        )
        time.sleep(delay)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert "Traceback" not in said
        assert process.returncode in (-number, 128 + number)
