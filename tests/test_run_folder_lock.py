"""Two processes never train into one folder, and a dead one blocks nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.making import heed_interrupts
from triptych.errors import InputError
from triptych.training.run_folder import alone_in

ROOT = Path(__file__).resolve().parents[1]
HOLD = (
    "import sys, time; from pathlib import Path\n"
    "from triptych.training.run_folder import alone_in\n"
    "with alone_in(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


def hold(folder: Path) -> subprocess.Popen[str]:
    """Another process that holds the folder by now."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_the_second_is_told_who_is_first_and_a_dead_one_blocks_nobody(
    tmp_path: Path, end: int
) -> None:
    folder = tmp_path / "run"
    with hold(folder) as first:
        try:
            with (
                pytest.raises(InputError, match=rf"being trained by process {first.pid} on "),
                alone_in(folder),
            ):
                pytest.fail("both hold it")
            assert (folder / ".holder.json").exists()  # the second left the first's mark
        finally:
            first.send_signal(end)
    with alone_in(folder):
        (folder / "run.json").touch()
    with alone_in(folder):
        pass
    assert sorted(path.name for path in folder.iterdir()) == ["run.json"]


def test_nothing_stays_where_nothing_was_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such setting"), alone_in(tmp_path / "a" / "b" / "c"):
        raise InputError("no such setting", "name another")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    with alone_in(tmp_path):
        pass
    assert tmp_path.is_dir()


def test_what_others_put_beside_is_not_removed(tmp_path: Path) -> None:
    with alone_in(tmp_path / "a" / "b"):
        (tmp_path / "a" / "letter").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["letter"]


def test_an_unreadable_mark_is_another_process(tmp_path: Path) -> None:
    with hold(tmp_path) as first:
        (tmp_path / ".holder.json").write_text("{")
        with pytest.raises(InputError, match="by another process"), alone_in(tmp_path):
            pytest.fail("both hold it")
        first.kill()
