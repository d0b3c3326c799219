"""Thread counts are measured on the training's own steps, and what was chosen is recorded."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.truths import MACHINE
from triptych import hardware
from triptych.console import QUIET
from triptych.records import Note
from triptych.training import calibration
from triptych.training.threads import Threads, fastest, try_counts

SOURCE = Path(__file__).resolve().parents[1] / "src"


def steps(threads: Threads, seconds: dict[int, float], count: int, start: int = 0) -> list[int]:
    """Which counts so many steps were made with, where a step takes so long with each."""
    used = []
    for number in range(start, start + count):
        now = threads.at(0, number)
        used.append(now)
        threads.took(seconds[now], 0, number + 1)
    return used


def test_a_trial_ends_with_the_fastest() -> None:
    for seconds, best in (({1: 0.3, 2: 0.2}, 2), ({1: 0.2, 2: 0.3}, 1)):
        threads = Threads([1, 2], [(0, 0, 2)])
        used = steps(threads, seconds, 20)
        assert set(used[:7]) == {1, 2} and set(used[8:]) == {best}


def test_a_hopeless_count_is_tried_once() -> None:
    threads = Threads([1, 2], [(0, 0, 1)])
    assert steps(threads, {1: 0.1, 2: 5.0}, 20).count(2) == 1


def test_a_dearer_step_does_not_decide() -> None:
    """Some steps have more to do, whatever the threads."""
    assert fastest({1: [9.0, 0.3, 0.3], 2: [9.0, 0.9, 0.2]}) == 2
    assert fastest({1: [0.1], 2: [0.2]}) == 1  # no time for more than one


def test_slow_steps_lead_to_a_new_trial_which_becomes_rare() -> None:
    """A neighbor comes: two threads are hopeless then; and it leaves, which a moment finds out."""
    threads = Threads([1, 2], [(0, 0, 2)], usual=0.2)
    assert set(steps(threads, {1: 0.3, 2: 0.2}, 50)) == {2}
    used = steps(threads, {1: 0.3, 2: 4.0}, 100, start=50)
    assert used[-1] == 1 and used.count(2) < 8
    threads.try_again()  # too soon after one that cost so much
    assert not threads.trying
    steps(threads, {1: 0.3, 2: 0.2}, 600, start=150)
    threads.try_again()
    assert threads.trying
    assert steps(threads, {1: 0.3, 2: 0.2}, 30, start=750)[-1] == 2


def test_what_was_recorded_is_followed() -> None:
    threads = Threads([1, 2], [(0, 0, 2)], usual=0.2)
    used = steps(threads, {1: 0.1, 2: 0.2}, 10)
    threads.try_again()
    used += steps(threads, {1: 0.1, 2: 0.2}, 30, start=10)
    follow = Threads([], Threads.read(tuple(threads.changes), 2))
    assert [follow.at(0, number) for number in range(40)] == used
    assert steps(follow, {1: 9.0, 2: 9.0}, 40) == used  # however slow it is now
    assert len(threads.changes) > 2 and follow.at(1, 0) == used[-1]


def test_a_way_back_forgets_what_came_after_it() -> None:
    threads = Threads([], [(0, 0, 2), (0, 100, 1), (1, 50, 2)])
    threads.record(0, 60, 2)
    assert threads.changes == [(0, 0, 2)]
    threads.record(0, 80, 1)
    assert threads.at(0, 79) == 2 and threads.at(0, 80) == 1 and threads.at(1, 0) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        (),
        ((0, 0, 0),),
        ((0, 0, 3),),
        ((0, 5, 1),),
        ((0, 0, 1), (0, 0, 2)),
    ],
)
def test_what_records_no_threads_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="threads"):
        Threads.read(wrong, 2)


def test_trying_keeps_to_its_time() -> None:
    made: list[int] = []

    def step(count: int) -> float:
        made.append(count)
        return 1.0

    assert try_counts([2, 1], step, limit=0.5) == {2: [1.0]}  # the first was too long already
    assert sorted(try_counts([1, 2], step, limit=math.inf)) == [1, 2]
    assert made == [2, 1, 2, 1, 2, 1, 2]


WAITING = """
import os, sys
sys.argv = ["triptych", *sys.argv[1:]]
from triptych.__main__ import main
import atexit
atexit.register(lambda: print(*(os.environ.get(n) for n in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME"))))
main()
"""


@pytest.mark.parametrize(
    ("given", "after"),
    [
        ({}, f"{hardware.SPINS} 0"),
        ({"GOMP_SPINCOUNT": "7"}, "7 None"),
        pytest.param({"OMP_WAIT_POLICY": "active"}, "None None", marks=pytest.mark.sweep),
    ],
)
def test_commands_have_waiting_threads_sleep_unless_the_user_chose(
    given: dict[str, str], after: str
) -> None:
    names = (*hardware.WAITING, hardware.WAIT_POLICY)
    environment = {k: v for k, v in os.environ.items() if k not in names} | given
    environment["PYTHONPATH"] = str(SOURCE)
    found = subprocess.run(
        [sys.executable, "-c", WAITING, "doctor", "--threads", "2"],
        capture_output=True, text=True, env=environment, check=True, timeout=100,
    )  # fmt: skip
    lines = found.stdout.splitlines()
    assert lines[-1] == after
    [told] = [line for line in lines if "waiting threads" in line]
    assert ("sleep after" in told) == (not given)


def test_from_python_it_is_told_once() -> None:
    names = (*hardware.WAITING, hardware.WAIT_POLICY)
    environment = {k: v for k, v in os.environ.items() if k not in names}
    code = "from triptych import hardware; [hardware.pick(threads=2) for _ in range(3)]"
    found = subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        capture_output=True, text=True, env=environment | {"PYTHONPATH": str(SOURCE)},
        check=True, timeout=100,
    )  # fmt: skip
    assert found.stderr.count("set GOMP_SPINCOUNT=") == 1


def test_doctor_times_steps_of_every_family() -> None:
    """By threads, where their number is not the user's; two steps of each after a first one."""
    machine = replace(MACHINE, threads=2, choices={"threads": Note("own_cores")})
    with machine.own_threads(), QUIET.bar("steps") as bar:
        found = calibration.steps_now(machine, "tiny", bar)
        assert calibration.steps_now(replace(machine, choices={}), "tiny", bar) == {}
    assert [name.partition(":")[0] for name in found] == ["vae", "gan", "diffusion"]
    assert all(list(seconds) == [1, 2] for seconds in found.values())
    assert all(1e-4 < value < 60 for seconds in found.values() for value in seconds.values())
