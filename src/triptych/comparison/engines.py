"""Engines of others that run our work elsewhere: Ray, Slurm, or processes of this machine.

An engine finds a worker with the resources that a work needs, starts the work again where its
worker dies, and keeps the worker's messages. It is handed a `Work`, and gives an `Outcome` back.
Torch is not loaded here: a worker prepares its process before that.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from triptych.errors import (
    ANYTHING,
    InputError,
    InterruptedRunError,
    TrainingFailedError,
    first_line,
)
from triptych.hardware import keep_memory, let_processor_help, let_threads_sleep, usable_cores
from triptych.records import JsonObject

RETRIES = 3  # how often a work is begun again whose worker died
PATIENCE = 5.0  # seconds for the machine of a cluster to answer
SLURM_MINUTES = 480  # of a job; one whose time is over is queued again, and goes on
MOST_TIMEOUTS = 1000  # of a job: each time its training has come further
DASHES = "-" * 22  # around a trace in submitit's reports
SLURM_THREADS = 4  # of a job, where --threads does not say
LONGEST_LOCAL = 60 * 24 * 365  # minutes of a job on this machine: it ends by itself
INSTALL = "pip install 'triptych[cluster]'"


class Work(Protocol):
    """What a worker is handed, as plain values; `do` runs there, and may load torch."""

    @property
    def name(self) -> str:
        """What it is called in the engine's own lists."""

    def do(self) -> JsonObject:
        """Do it; what comes back must be plain JSON."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a work ended: with its answer, or with why there is none.

    wrong, mend: of an InputError
    failed:      the message of a training that could not go on, or of a fault
    stopped:     the signal that ended it, after it had saved
    lost:        the worker died, again and again
    """

    answer: JsonObject | None = None
    wrong: str = ""
    mend: str = ""
    failed: str = ""
    stopped: int | None = None
    lost: bool = False

    def result(self, name: str) -> JsonObject:
        """The answer; InputError, TrainingFailedError or InterruptedRunError where there is none.

        name: of the work, for the message
        """
        if self.answer is not None:
            return self.answer
        if self.wrong:
            raise InputError(self.wrong, self.mend)
        if self.stopped is not None:
            raise InterruptedRunError(self.stopped)
        why = f"its worker died {RETRIES + 1} times" if self.lost else self.failed
        raise TrainingFailedError(f"{name}: {why}: the same command goes on from here")


def perform(work: Work) -> Outcome:
    """What a worker runs: prepare its process, then do the work."""
    let_threads_sleep()
    let_processor_help()
    keep_memory()
    try:
        with ending_on_signals():
            return Outcome(answer=work.do())
    except InputError as error:
        return Outcome(wrong=error.wrong, mend=error.mend)
    except TrainingFailedError as error:
        return Outcome(failed=str(error))
    except InterruptedRunError as error:
        return Outcome(stopped=error.exit_code - 128)


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """Inside, SIGTERM and SIGINT end the work, where a training does not heed them itself.

    A SIGINT that whoever started this process had it ignore stays ignored.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise InterruptedRunError(number)

    kept: dict[int, Any] = {}
    with contextlib.suppress(ValueError):  # not the main thread: whoever runs there heeds signals
        for number in (signal.SIGTERM, signal.SIGINT):
            if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
                kept[number] = signal.signal(number, leave)
    try:
        yield
    finally:
        for caught, handler in kept.items():
            signal.signal(caught, handler)


class Future(Protocol):
    """A work that was handed over."""

    def outcome(self) -> Outcome | None:
        """How it ended; None while it waits or runs."""

    def cancel(self) -> None:
        """Ask it to save and to end; one that waits is not begun."""


class Engine(Protocol):
    """Runs works; `threads` and `most` tell how many of a worker, and how many workers at once.

    threads: processor threads of each work
    most:    works at once where the engine itself keeps no queue; None where it does
    """

    threads: int
    most: int | None

    def submit(self, work: Work) -> Future:
        """Hand a work over."""

    def close(self) -> None:
        """Leave it; what was started for us alone is ended."""


@dataclass(frozen=True)
class Needs:
    """What the works of a comparison need.

    works:   how many may run side by side
    threads: of each; None shares out the cores
    gpus:    of each
    """

    works: int
    threads: int | None
    gpus: int


@dataclass(frozen=True)
class Asked:
    """What `--on` names: an engine, and the address or the settings that follow the colon."""

    engine: str
    more: str = ""

    @classmethod
    def parse(cls, text: str) -> Asked:
        """InputError on an engine that there is not.

        >>> Asked.parse("ray:10.0.0.1:6379")
        Asked(engine='ray', more='10.0.0.1:6379')
        """
        engine, _, more = text.partition(":")
        if engine not in ENGINES:
            raise InputError(f"no engine '{engine}'", f"choose from {', '.join(ENGINES)}")
        if engine == "local" and more:
            raise InputError(f"--on local takes nothing more, not '{more}'", "leave it out")
        return cls(engine, more)

    def settings(self) -> dict[str, str | int]:
        """`KEY=VALUE,...` of Slurm's jobs; InputError where it is written otherwise.

        >>> Asked.parse("slurm:partition=gpu,time=60").settings()
        {'partition': 'gpu', 'time': 60}
        """
        settings: dict[str, str | int] = {}
        for word in self.more.split(",") if self.more else []:
            key, sign, value = word.partition("=")
            if not (key and sign and value):
                raise InputError(
                    f"'{word}' is no setting of Slurm's jobs", "write slurm:partition=gpu,time=60"
                )
            settings[key] = int(value) if value.isdecimal() else value
        return settings

    def check(self) -> None:
        """InputError where the engine is not here or does not answer; nothing is started."""
        if self.engine == "ray":
            if self.more:
                answers(self.more)
            package("ray")
            return
        package("submitit")
        if self.engine == "slurm":
            self.settings()
            for program in ("sbatch", "srun"):
                if shutil.which(program) is None:
                    raise InputError(
                        f"there is no {program} here, so this is no machine of a Slurm cluster",
                        "start on a login node, or use --on local",
                    )


def package(name: str) -> Any:
    """Another's package; InputError where it is missing or broken."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"--on needs {name} ({first_line(error)})", INSTALL) from error
    except ANYTHING as error:
        raise InputError(f"{name} cannot be used ({first_line(error)})", INSTALL) from error


def answers(address: str) -> None:
    """InputError unless a machine answers there: Ray's own look takes minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(
            f"'{address}' is no address of a Ray cluster", "write ray:HOST:PORT, as ray:node1:6379"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE):
            pass
    except (OSError, OverflowError) as error:
        raise InputError(
            f"no Ray cluster answers at {address} ({first_line(error)})",
            "start it with `ray start --head`, or check the address",
        ) from error


# Ray


class RayFuture:
    """A task of Ray's."""

    def __init__(self, ray: Any, task: Any) -> None:
        self.ray, self.task = ray, task

    def outcome(self) -> Outcome | None:
        """How it ended; None while it waits or runs."""
        ended, _ = self.ray.wait([self.task], timeout=0)
        if not ended:
            return None
        errors = self.ray.exceptions
        try:
            answer = self.ray.get(self.task)
            assert isinstance(answer, Outcome)
            return answer
        except errors.TaskCancelledError:
            return Outcome(stopped=signal.SIGINT)
        except errors.RayTaskError as error:
            return Outcome(failed=f"{type(error.cause).__name__}: {first_line(error.cause)}")
        except errors.WorkerCrashedError:
            return Outcome(lost=True)
        except errors.RayError as error:
            return Outcome(failed=first_line(error))

    def cancel(self) -> None:
        """Interrupt it: a training saves."""
        with contextlib.suppress(*ANYTHING):  # the cluster may be gone
            self.ray.cancel(self.task, force=False)


class RayEngine:
    """A Ray cluster: one that is there, or one of this machine that ends with us."""

    most: int | None = None

    def __init__(self, asked: Asked, folder: Path, needs: Needs) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        self.ray = package("ray")
        self.ours = not self.ray.is_initialized()
        if self.ours:
            here = {"num_cpus": usable_cores(), "include_dashboard": False}
            more = {"address": asked.more} if asked.more else {"address": "local", **here}
            try:
                self.ray.init(log_to_driver=False, logging_level="ERROR", **more)
            except ANYTHING as error:
                where = f" at {asked.more}" if asked.more else ""
                raise InputError(
                    f"Ray's cluster{where} cannot be used ({first_line(error)})",
                    "look at it with `ray status`",
                ) from error
        nodes = [each["Resources"] for each in self.ray.nodes() if each["Alive"]]
        largest = int(max(each.get("CPU", 0) for each in nodes))
        total = int(sum(each.get("CPU", 0) for each in nodes))
        self.threads = needs.threads or max(1, min(largest, total // max(1, needs.works)))
        self.gpus = gpus = needs.gpus
        if self.threads > largest or gpus > max(each.get("GPU", 0) for each in nodes):
            self.close()
            lacking = f"{self.threads} CPUs" + f" and {gpus} GPU" * bool(gpus)
            raise InputError(
                f"no machine of the Ray cluster has {lacking}, the largest has {largest} CPUs",
                "lower --threads, or use --device cpu",
            )
        self.remote = self.ray.remote(perform)

    def submit(self, work: Work) -> Future:
        """Hand it over as a task, which Ray begins again where its worker dies."""
        options = {"num_cpus": self.threads, "num_gpus": self.gpus, "max_retries": RETRIES}
        return RayFuture(self.ray, self.remote.options(name=work.name, **options).remote(work))

    def close(self) -> None:
        """Leave the cluster, or end ours."""
        if self.ours:
            self.ray.shutdown()


# Slurm, and processes of this machine, both by submitit


class Performing:
    """`perform` as submitit begins it again after a job's time is over, or it was preempted."""

    def __call__(self, work: Work) -> Outcome:
        """Do the work."""
        return perform(work)

    def checkpoint(self, work: Work) -> Any:
        """The same again: what was trained goes on from the run's own checkpoints."""
        return package("submitit").helpers.DelayedSubmission(self, work)


class JobFuture:
    """A job of submitit's, submitted again where it ended without saying how."""

    def __init__(self, submit: Callable[[], Any], local: bool) -> None:
        self.submit, self.local = submit, local
        self.job, self.tries, self.told_to_stop = submit(), 1, False

    def outcome(self) -> Outcome | None:
        """How it ended; None while it waits or runs."""
        if not self.job.done():
            return None
        if not self.job.paths.result_pickle.exists():
            if self.told_to_stop:
                return Outcome(stopped=signal.SIGTERM)
            if self.tries > RETRIES:
                return Outcome(lost=True)
            self.job, self.tries = self.submit(), self.tries + 1
            return None
        if (error := self.job.exception()) is not None:
            return Outcome(failed=raised_in(str(error)) or type(error).__name__)
        answer = self.job.result()
        assert isinstance(answer, Outcome)
        return answer

    def cancel(self) -> None:
        """Send SIGTERM, on which a training saves."""
        self.told_to_stop = True
        with contextlib.suppress(*ANYTHING):  # it may just have ended
            if self.local:  # submitit's own way leaves a second to save
                os.kill(int(self.job.job_id), signal.SIGTERM)
            else:
                self.job.cancel(check=False)


def raised_in(report: str) -> str:
    """What was raised, by submitit's report: the last line of the trace between its dashes."""
    parts = report.split(DASHES)
    lines = (parts[1] if len(parts) > 2 else report).strip().splitlines()
    return lines[-1] if lines else ""


class JobEngine:
    """Slurm, or processes of this machine; their files lie in the comparison's folder."""

    def __init__(self, asked: Asked, folder: Path, needs: Needs) -> None:
        submitit = package("submitit")
        self.local, cores = asked.engine == "local", usable_cores()
        usual = max(1, cores // max(1, needs.works)) if self.local else SLURM_THREADS
        self.threads, gpus = needs.threads or usual, needs.gpus
        self.most = max(1, cores // self.threads) if self.local else None
        settings: dict[str, Any] = {"timeout_min": LONGEST_LOCAL, "gpus_per_node": gpus}
        if not self.local:
            job = {"time": SLURM_MINUTES, "cpus_per_task": self.threads, "job_name": "triptych"}
            job |= {"gpus_per_node": gpus} if gpus else {}
            settings = {f"slurm_{key}": value for key, value in (job | asked.settings()).items()}
        try:
            self.executor = submitit.AutoExecutor(
                folder=folder, cluster=asked.engine, slurm_max_num_timeout=MOST_TIMEOUTS
            )
            self.executor.update_parameters(**settings)
        except ANYTHING as error:
            raise InputError(
                f"Slurm's jobs cannot be made so ({first_line(error)})",
                "write slurm:KEY=VALUE, with submitit's names",
            ) from error

    def submit(self, work: Work) -> Future:
        """Hand it over as a job."""
        return JobFuture(lambda: self._begin(work), self.local)

    def _begin(self, work: Work) -> Any:
        with sigint_blocked():
            try:
                return self.executor.submit(Performing(), work)
            except ANYTHING as error:
                raise InputError(
                    f"{work.name} was not taken ({first_line(error)})", "see --on slurm:KEY=VALUE"
                ) from error

    def close(self) -> None:
        """Nothing was started for us alone."""


@contextlib.contextmanager
def sigint_blocked() -> Iterator[None]:
    """What starts inside never gets Ctrl-C, which a terminal sends to every process there.

    Jobs are asked by `cancel` alone, and a submission that is under way ends first.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


ENGINES: dict[str, Callable[[Asked, Path, Needs], Engine]] = {
    "ray": RayEngine,
    "slurm": JobEngine,
    "local": JobEngine,
}


def start(asked: Asked, folder: Path, needs: Needs) -> Engine:
    """The engine, ready to be handed works; InputError where it cannot be used so.

    folder: for its files, where it keeps any
    """
    return ENGINES[asked.engine](asked, folder, needs)
