"""Blocks come back in order, whatever happens to the processes that do them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from triptych.data import workers as module
from triptych.data.workers import WorkerDiedError, in_order

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def tests_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


# What workers do: functions of this module, so that a fresh interpreter finds them.


def double(number: int) -> int:
    print("noise on standard output")
    time.sleep(0.02 * (number % 3))  # so that they end in another order
    return 2 * number


def whoami(number: int) -> tuple[int, str]:
    return os.getpid(), os.environ["OMP_NUM_THREADS"]


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def sleep_at_one(number: int) -> int:
    time.sleep(60 if number == 1 else 0)
    return number


class TimerOfTheSecondBlock(threading.Timer):
    """Ends at once for the second block that is timed, and never for another, nor for a start."""

    count = 0

    def __init__(self, seconds: float, end: Callable[[], object]) -> None:
        is_block = seconds != module.STARTING_SECONDS
        TimerOfTheSecondBlock.count += is_block
        assert not is_block or seconds == 1.5
        is_second = is_block and TimerOfTheSecondBlock.count == 2
        super().__init__(0.0 if is_second else 1000.0, end)


def refuse(number: int) -> int:
    raise ValueError(f"refused {number}")


def test_outcomes_are_in_order() -> None:
    assert list(in_order(double, range(20), workers=3)) == [2 * n for n in range(20)]


def test_workers_are_other_processes_with_one_thread_each() -> None:
    found = list(in_order(whoami, range(12), workers=2))
    assert len({pid for pid, _ in found}) == 2
    assert os.getpid() not in {pid for pid, _ in found}
    assert {threads for _, threads in found} == {"1"}


def test_a_worker_that_dies_loses_its_own_block_only() -> None:
    found = list(in_order(die_at_three, range(8), workers=2))
    assert isinstance(found[3], WorkerDiedError)
    assert [n for n in found if isinstance(n, int)] == [0, 1, 2, 4, 5, 6, 7]


def test_a_worker_that_takes_too_long_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before the minute that its block would take, which the next one need not wait for."""
    monkeypatch.setattr(TimerOfTheSecondBlock, "count", 0)
    monkeypatch.setattr(module, "Timer", TimerOfTheSecondBlock)
    started = time.monotonic()
    found = list(in_order(sleep_at_one, range(3), workers=1, seconds=1.5))
    assert time.monotonic() - started < 60
    assert isinstance(found[1], WorkerDiedError)
    assert (found[0], found[2]) == (0, 2)


def test_the_start_of_a_process_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine takes long for it, and no image is bad for that."""
    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(4)")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    assert list(in_order(double, range(2), workers=1, seconds=3)) == [0, 2]


def test_a_process_that_is_never_ready_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    monkeypatch.setattr(module, "STARTING_SECONDS", 0.5)
    found = list(in_order(double, range(2), workers=1))
    assert all(isinstance(each, WorkerDiedError) for each in found)


def test_what_the_function_raises_is_raised_here() -> None:
    with pytest.raises(ValueError, match="refused 0"):
        list(in_order(refuse, range(5), workers=2))


def test_what_the_blocks_raise_is_raised_and_nothing_stays() -> None:
    def blocks() -> Iterator[int]:
        yield 1
        raise RuntimeError("torn stream")

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="torn stream"):
        list(in_order(double, blocks(), workers=2))
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)  # a timer that was called off takes a moment to end
    assert threading.active_count() <= before


def test_few_blocks_are_in_memory_at_a_time() -> None:
    drawn = []

    def blocks() -> Iterator[int]:
        for number in range(40):
            drawn.append(number)
            yield number

    for place, _ in enumerate(in_order(double, blocks(), workers=2)):
        assert len(drawn) <= place + 4


@pytest.mark.parametrize("interpreter", ["", "no-such-program", "/bin/false"])
def test_no_process_at_all_is_told(monkeypatch: pytest.MonkeyPatch, interpreter: str) -> None:
    monkeypatch.setattr(sys, "executable", interpreter)
    found = list(in_order(double, range(3), workers=2))
    assert all(isinstance(each, WorkerDiedError) for each in found)


def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.test_workers import whoami, sleep_at_one;"
        "from triptych.data.workers import in_order;"
        "found = in_order(whoami, range(9), workers=2); pid, _ = next(found);"
        f"place = Path({str(tmp_path / 'new')!r}); place.write_text(str(pid));"
        f"place.rename({str(tmp_path / 'pid')!r}); input()"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, env=environment
    ) as parent:
        deadline = time.monotonic() + 30
        while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        worker = int((tmp_path / "pid").read_text())
        parent.kill()
    deadline = time.monotonic() + 10
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(worker)


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_nothing_is_imported_from_the_folder_that_one_works_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A set of images that somebody downloaded may hold any file."""
    for name in ("triptych", "pickle", "random"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    assert list(in_order(double, range(3), workers=1)) == [0, 2, 4]
    assert not (tmp_path / "run").exists()
