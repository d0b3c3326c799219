"""Worker processes: fresh interpreters that apply one function to blocks of work.

They are not forks, which would inherit torch's threads, nor multiprocessing's children, which
would import the caller's script. They end when their input ends, so none outlives its parent, even
a killed one. Blocks and results are pickled, between our own processes only.
"""

from __future__ import annotations

import importlib
import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Timer
from typing import Any, TypeVar

Work = TypeVar("Work")
Outcome = TypeVar("Outcome")
CODE = "from triptych.data.workers import serve; serve()"
STARTING_SECONDS = 120  # that a process may take until it is ready, on a machine that others use
READY = "ready"


class WorkerDiedError(Exception):
    """The process of this block ended without a result, or took too long."""


def in_order(
    function: Callable[[Work], Outcome],
    blocks: Iterable[Work],
    workers: int,
    seconds: float = 300,
) -> Iterator[Outcome | WorkerDiedError]:
    """function(block) for every block, computed by worker processes, in the order of the blocks.

    function: of a module, not nested; the modules that it imports are all that a worker imports
    workers:  how many processes, at least 1
    seconds:  a worker that holds a block for longer is killed; its start does not count

    The result for a block whose worker died is a WorkerDiedError; other blocks are not affected.
    Exceptions of the function are raised here. At most two blocks a worker are in memory.
    """
    idle: SimpleQueue[Worker] = SimpleQueue()
    started = [Worker(function) for _ in range(workers)]
    for worker in started:
        idle.put(worker)

    def apply(block: Work) -> Outcome | WorkerDiedError:
        worker = idle.get()
        try:
            return worker.apply(block, seconds)
        except WorkerDiedError as error:
            return error
        finally:
            idle.put(worker)

    pending: deque[Future[Outcome | WorkerDiedError]] = deque()
    threads = ThreadPoolExecutor(workers)
    try:
        for block in blocks:
            pending.append(threads.submit(apply, block))
            if len(pending) >= 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # also after an interrupt: threads that wait for an answer then get none
        for worker in started:
            worker.stop()
        threads.shutdown(cancel_futures=True)
        for worker in started:  # no thread uses them any more
            worker.discard()


class Worker:
    """One process, started when it is first needed and again after it died."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.process: subprocess.Popen[bytes] | None = None
        self.ready = False  # the process has imported what it needs
        self.stopped = False
        self.lock = Lock()

    def apply(self, block: Any, seconds: float) -> Any:
        """function(block), or WorkerDiedError; raises what the function raises."""
        try:
            process = self.start()
        except OSError as error:
            raise WorkerDiedError(f"cannot start: {error}") from None
        try:
            assert process.stdin is not None and process.stdout is not None
            if not self.ready:
                with killed_after(STARTING_SECONDS, process):
                    self.ready = pickle.load(process.stdout) == READY
            with killed_after(seconds, process):
                pickle.dump(block, process.stdin, pickle.HIGHEST_PROTOCOL)
                process.stdin.flush()
                answer = pickle.load(process.stdout)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
            self.discard()
            raise WorkerDiedError(f"{type(error).__name__}: {error}") from None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def start(self) -> subprocess.Popen[bytes]:
        """The running process; WorkerDiedError once this worker was stopped."""
        with self.lock:
            if self.stopped:
                raise WorkerDiedError("stopped")
            if self.process is None:
                self.process = start_process(self.function)
            return self.process

    def stop(self) -> None:
        """End the process for good; a waiting `apply` raises WorkerDiedError."""
        with self.lock:
            self.stopped = True
            if self.process is not None:
                self.process.kill()

    def discard(self) -> None:
        """Kill the process, if any, wait for its end and close its pipes."""
        process, self.process, self.ready = self.process, None, False
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was left to write has no reader any more
                    pipe.close()


@contextmanager
def killed_after(seconds: float, process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Kill a process that what is done inside waits for longer than that."""
    timer = Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def start_process(function: Callable[..., Any]) -> subprocess.Popen[bytes]:
    """A fresh interpreter that serves a function through its standard input and output."""
    package_root = str(Path(__file__).resolve().parents[2])
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        # Without the folder that one works in: a set of images may hold a numpy.py.
        [sys.executable, "-P", "-c", CODE, function.__module__, function.__qualname__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
    )


def serve() -> None:
    """The main loop of a worker: say READY, read blocks and write results until the input ends."""
    module, name = sys.argv[1:]
    function = getattr(importlib.import_module(module), name)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever prints must not disturb the answers
    answer: Any = READY
    while True:
        pickle.dump(answer, target, pickle.HIGHEST_PROTOCOL)
        target.flush()
        try:
            block = pickle.load(source)
        except EOFError:
            return
        try:
            answer = function(block)
        except Exception as error:  # raised again in the parent
            answer = error
