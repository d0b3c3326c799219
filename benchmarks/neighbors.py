"""What the two benchmarks of a busy machine share: neighbors, the environment, and who measured.

A neighbor is a busy program beside the measurement: a loop on one thread, in a process of its own.
Whoever starts it ends it by its process id. It also ends by itself, after a limit of seconds, or
when the process that started it is gone, so it never outlives a benchmark, however that ends.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

LOOP = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent heeds Ctrl-C
parent, end = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
os.nice(int(sys.argv[3]))
print("busy", flush=True)
while time.monotonic() < end and os.getppid() == parent:
    for _ in range(100_000):  # a few milliseconds
        pass
"""
# What OpenMP libraries read when they are loaded, and what would change the numbers here.
OF_OPENMP = "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY", "OMP_NUM_THREADS"


class Neighbors:
    """Busy programs that run from `start` to `end`; none is left after the block.

    limit: seconds after which each ends by itself
    nice:  added to their niceness: above 0, their priority is lower than ours
    apart: each is in a session of its own, as a program of another terminal or a service is; Linux
           shares cores out among sessions first, where it has sched_autogroup_enabled
    """

    def __init__(self, limit: float, nice: int = 0, apart: bool = False) -> None:
        self.limit, self.nice, self.apart = limit, nice, apart
        self.processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Neighbors:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def start(self, count: int) -> None:
        """Add so many; returns when all of them are busy."""
        numbers = str(os.getpid()), str(self.limit), str(self.nice)
        command = [sys.executable, "-I", "-S", "-c", LOOP, *numbers]
        added = []
        for _ in range(count):
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, text=True, start_new_session=self.apart
            )
            self.processes.append(process)  # at once, so that `end` knows each of them
            added.append(process)
        for process in added:
            assert process.stdout is not None
            process.stdout.readline()
        self.check()

    def running(self) -> bool:
        """Whether none has ended by itself."""
        return all(process.poll() is None for process in self.processes)

    def check(self) -> None:
        """RuntimeError if one ended by itself: what was measured beside it is worth nothing."""
        if not self.running():
            raise RuntimeError(f"a neighbor ended by itself (limit: {self.limit:g} s)")

    def end(self) -> None:
        """Kill all of them."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.communicate()
        self.processes.clear()


def plain_environment() -> dict[str, str]:
    """The environment of this process without what it says to OpenMP."""
    return {name: value for name, value in os.environ.items() if name not in OF_OPENMP}


def taken() -> dict[str, Any]:
    """Machine, versions, date and the load before anything is measured, for a result's JSON."""
    from triptych import hardware

    return {
        "hardware": hardware.describe(),
        "versions": hardware.versions(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "load_before": round(os.getloadavg()[0], 2),
        "sessions_share_cores": sessions_share_cores(),
    }


def sessions_share_cores() -> bool:
    """Whether Linux shares cores out among sessions before it does among their threads."""
    try:
        return Path("/proc/sys/kernel/sched_autogroup_enabled").read_text().strip() == "1"
    except OSError:
        return False


def quartiles(values: Sequence[float]) -> list[float]:
    """First and third; of one value, that value twice."""
    if len(values) == 1:
        return [values[0], values[0]]
    first, _, third = statistics.quantiles(values, method="inclusive")
    return [first, third]


def last_words(errors: Any) -> str:
    """The last line that a process wrote to a temporary file, its standard error."""
    errors.seek(0)
    lines = [line for line in errors.read().splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it ended without a word"


def write(out: Path, result: dict[str, Any]) -> None:
    """The JSON of a result so far, whole or not at all: an interruption costs little."""
    part = out.with_name(f"{out.name}.part")
    part.write_text(json.dumps(result, indent=1) + "\n")
    part.rename(out)


@contextlib.contextmanager
def quiet_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM leave the block, which ends what it started, and end us without a word."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(130)


def parser_of(text: str | None, rounds: int, out: str) -> argparse.ArgumentParser:
    """The options that both benchmarks have. `text` is a module's docstring."""
    parser = argparse.ArgumentParser(description=(text or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=rounds)
    default = Path(__file__).parent / "results" / out
    parser.add_argument("--out", type=Path, default=default, help="the JSON, written every round")
    parser.add_argument("--nice", type=int, default=0, help="of neighbors: above 0 lowers priority")
    parser.add_argument("--apart", action="store_true", help="neighbors in sessions of their own")
    parser.add_argument("--table", type=Path, help="print the table of this JSON, measure nothing")
    return parser
