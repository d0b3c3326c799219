"""A comparison whose trainings and measurements an engine runs, each on a worker of its own.

The head, this process, hands them over, looks at what becomes of them and cancels them where it is
stopped. What is done lies in the comparison's folder, so the same command goes on from there,
also after the head was killed: trainings of before that still run are waited for by their workers.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from triptych import config, files, hardware
from triptych.comparison import engines
from triptych.comparison.contract import Conditions, differences
from triptych.comparison.engines import RETRIES, Engine, Future, Needs, Work
from triptych.comparison.work import HIDDEN, MeasureWork, Site, Source, TrainWork
from triptych.console import Console
from triptych.data.dataset import ImageData
from triptych.data.store import cache_folder
from triptych.distributed import ALONE
from triptych.errors import InputError, InterruptedRunError
from triptych.evaluation.evaluate import Plan
from triptych.hardware import Machine
from triptych.options import CompareRequest, DataOptions, MachineOptions, TrainRequest
from triptych.records import JsonObject, LossesEvent, Note, ResultsRecord
from triptych.training.log import events
from triptych.training.loop import stop_signals
from triptych.training.resolve import ResolvedRequest, reading_of, run_name
from triptych.training.run_folder import RunFolder
from triptych.words import english

LOOK = 0.5  # seconds between looks at the works
GRACE = 30.0  # seconds that trainings have to save when they are cancelled


@dataclass(frozen=True, kw_only=True)
class Crew:
    """An engine, and what all works of a comparison share.

    folder: of the comparison
    kind:   of the engine, as `--on` names it
    asked:  how each work uses its worker's hardware
    """

    engine: Engine
    kind: str
    folder: Path
    site: Site
    source: Source
    asked: MachineOptions
    console: Console

    @property
    def note(self) -> Note:
        """That an engine ran the trainings, for the contract and its page."""
        return Note("trained_by_engine", {"engine": self.kind, "n": self.engine.threads})


def check(asked: CompareRequest, machine: Machine) -> None:
    """InputError on an engine that cannot be asked; nothing is started or made."""
    if asked.on is None:
        return
    if machine.group.size > 1:
        raise InputError("--on hands the work to an engine by itself", "start without torchrun")
    engine = engines.Asked.parse(asked.on)
    if engine.engine == "local" and workers_machine(asked, machine).device != "cpu":
        raise InputError(
            "--on local shares out no GPUs: all its processes would use the first one",
            "use --on ray, or --device cpu",
        )
    engine.check()


def head(asked: CompareRequest) -> Machine:
    """What this process runs on: where the workers alone have a GPU, the processor.

    InputError where something must be named that this machine cannot choose for the workers.
    """
    if asked.on is None or asked.device != "cuda" or hardware.find_gpu()[0]:
        return hardware.pick_for(asked)
    if asked.precision is None or asked.size is None:
        raise InputError(
            "no GPU is here by which precision and size could be chosen for the workers",
            "name --precision and --size",
        )
    return hardware.pick("cpu", "fp32", asked.threads)


def workers_machine(asked: CompareRequest, machine: Machine) -> Machine:
    """What the workers run on: what is asked of them, and the head's own where nothing is."""
    if asked.on is None:
        return machine
    device, precision = asked.device or machine.device, asked.precision or machine.precision
    microbatch = machine.microbatch if asked.microbatch is None else asked.microbatch
    return replace(
        machine,
        device=device,
        precision=precision,
        compile=asked.compile or machine.compile,
        microbatch=microbatch,
    )


@contextmanager
def crew_for(
    asked: CompareRequest,
    folder: Path,
    data: ImageData,
    works: int,
    machine: Machine,
    console: Console,
) -> Iterator[Crew]:
    """The engine that is asked for, ready.

    works:   how many may run side by side
    machine: of the workers
    """
    assert asked.on is not None
    kind, gpus = engines.Asked.parse(asked.on), int(machine.device != "cpu")
    threads = None if "threads" in machine.choices else machine.threads
    files.make_folder(folder)
    site = Site.make(folder, cache_folder())
    jobs = folder / HIDDEN / f"jobs-{site.mark}"  # nobody can have put a job of theirs there
    try:
        try:
            engine = engines.start(kind, jobs, Needs(works, threads, gpus))
        except InputError:
            site.clean()
            shutil.rmtree(jobs, ignore_errors=True)
            with suppress(OSError):  # not empty: something was made before
                (folder / HIDDEN).rmdir()
                folder.rmdir()
            raise
        try:
            yield Crew(
                engine=engine,
                kind=kind.engine,
                folder=folder,
                site=site,
                source=source_of(data),
                asked=MachineOptions(
                    device=machine.device,
                    precision=machine.precision,
                    threads=engine.threads,
                    compile=machine.compile,
                    microbatch=machine.microbatch,
                ),
                console=console,
            )
        finally:
            engine.close()
    finally:
        site.clean()


def source_of(data: ImageData) -> Source:
    """How workers open these images; paths are whole, for workers begin in other folders."""
    options = DataOptions.of(
        **{name: value for name, value in reading_of(data).items() if name != "data"}
    )
    return Source(data=data.path or data.source, options=options, fingerprint=data.fingerprint)


def train_and_measure(
    asks: Sequence[TrainRequest],
    requests: Sequence[ResolvedRequest],
    finished: Sequence[RunFolder],
    plan: Plan,
    crew: Crew,
    force: bool,
) -> dict[Path, ResultsRecord]:
    """Hand over every training, and the measurement of every run; results by its folder.

    asks:     of the requests, in the same order
    finished: runs that are trained already
    force:    whether trainings may go on whose conditions differ
    """
    outs = [crew.folder / run_name(request) for request in requests]
    chains: dict[Path, list[Work]] = {}
    for asked, request, out in zip(asks, requests, outs, strict=True):
        chains[out] = [train_work(asked, request, out, crew), measure_work(out, plan, crew)]
    for run in finished:
        chains[run.path] = [measure_work(run.path, plan, crew)]
    trained = [*finished, *(RunFolder(out) for out in outs)]
    crew.console.say(english(replace(crew.note, code="handed_to_engine")))
    results = run_all(chains, crew, lambda: None if force else refuse_unlike(trained))
    return {out: ResultsRecord.read(values) for out, values in results.items()}


def train_work(asked: TrainRequest, request: ResolvedRequest, out: Path, crew: Crew) -> TrainWork:
    """One training, with the settings that were resolved here."""
    return TrainWork(
        asked=replace(asked, **reading_of(request.data) | {"data": crew.source.data}),
        settings=config.to_json(request.settings),
        source=crew.source,
        out=str(out.absolute()),
        machine=crew.asked,
        site=crew.site,
    )


def measure_work(out: Path, plan: Plan, crew: Crew) -> MeasureWork:
    """One measurement, as it was planned here."""
    return MeasureWork(
        out=str(out.absolute()),
        source=crew.source,
        count=plan.count,
        features=plan.features,
        machine=crew.asked,
        site=crew.site,
        samplers={model: (each.name, each.steps) for model, each in plan.samplers.items()},
    )


def refuse_unlike(folders: Sequence[RunFolder]) -> None:
    """InputError where trainings that are done or have begun ran under unequal conditions."""
    names = [run.path.name for run in folders]
    begun = {}
    for run, name in zip(folders, names, strict=True):
        with suppress(OSError, InputError):  # another machine may be writing it: the next look
            if run.is_run():
                shown = name if names.count(name) == 1 else str(run.path)
                begun[shown] = Conditions.of_run(run.read())
    unequal = differences(begun)
    if unequal:
        raise InputError(
            "these trainings cannot be compared, " + "; ".join(map(english, unequal)),
            "have the engine choose machines of one kind, or --force shows them",
        )


def run_all(
    chains: Mapping[Path, Sequence[Work]], crew: Crew, check: Callable[[], None]
) -> dict[Path, JsonObject]:
    """The last answer of each chain, whose works are handed over one after the other.

    check: called at every look; what it raises cancels all
    Raises InterruptedRunError on a signal, and what a work raised, after the others were saved.
    """
    waiting = [(out, list(works)) for out, works in chains.items()]
    running: dict[Path, tuple[Work, Future, list[Work]]] = {}
    answers: dict[Path, JsonObject] = {}
    stopped: Counter[Path] = Counter()
    names = [out.name for out in chains]
    with (
        crew.console.bars([f"working on {crew.kind}", *names]) as bars,
        stop_signals(ALONE) as received,
    ):
        by_path = dict(zip(chains, bars[1:], strict=True))
        try:
            while waiting or running:
                if received:
                    raise InterruptedRunError(received[0])
                most = len(chains) if crew.engine.most is None else crew.engine.most
                while waiting and len(running) < most and not received:
                    out, works = waiting.pop(0)
                    running[out] = (works[0], crew.engine.submit(works[0]), works[1:])
                for out, (work, future, more) in list(running.items()):
                    if (outcome := future.outcome()) is None:
                        with suppress(OSError, InputError):  # its worker may be writing there
                            by_path[out].update(progress_in(RunFolder(out)), 1)
                        continue
                    if outcome.stopped is not None and stopped[out] < RETRIES:
                        stopped[out] += 1  # by its machine, not by us: it saved, and goes on
                        running[out] = (work, crew.engine.submit(work), more)
                        continue
                    del running[out]
                    answers[out] = outcome.result(work.name)
                    crew.console.say(f"  {english(Note('work_done', {'work': work.name}))}")
                    if more:
                        waiting.append((out, more))
                bars[0].update(len(chains) - len(waiting) - len(running), len(chains))
                check()
                time.sleep(LOOK)
        except BaseException:
            crew.site.clean()  # what begins only now finds no mark, and ends
            cancel([future for _, future, _ in running.values()], crew.console)
            raise
    return answers


def progress_in(run: RunFolder) -> float:
    """How far a training is, from 0 to 1, by the files that it writes."""
    if not run.is_run():
        return 0.0
    record = run.read()
    if record.done:
        return 1.0
    losses = events(run.log, LossesEvent)
    return min(1.0, losses[-1].images / record.planned_images) if losses else 0.0


def cancel(futures: Sequence[Future], console: Console) -> None:
    """Ask all to save and to end, and wait for them a while."""
    if not futures:
        return
    console.say(english(Note("cancelling", {"n": len(futures)})))
    for future in futures:
        future.cancel()
    until = time.monotonic() + GRACE
    while time.monotonic() < until and any(each.outcome() is None for each in futures):
        time.sleep(0.1)
