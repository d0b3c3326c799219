"""What each way to speed training up is worth, by itself and with the others.

    python benchmarks/levers.py --out benchmarks/results/levers.json

Every way runs in a process of its own. The processes of one model take turns, a few steps each,
since a machine's speed drifts; printed is the median step and its ratio to that of the plain way
(float32, the C library's own allocator, two threads), and the same from the fastest steps. Steps
are rounds of our own `TrainingState`, optimiser and average included, on random images. On a busy
machine use --cpu-time, which tells nothing of threads.
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
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from triptych.training.plan import Plan

MODELS = (
    "vae:course",
    "gan:course",
    "diffusion:course",
    "vae:sigma",
    "gan:hinge",
    "diffusion:x0",
)
SLOW = {"diffusion:course"}  # half a second a step: fewer of them
IMAGES, RESOLUTION = 4096, 32


@dataclass(frozen=True, kw_only=True)
class Way:
    """How to train; the defaults are what PyTorch does when told nothing, but for the optimiser."""

    precision: str = "fp32"
    keep_memory: bool = False
    channels_last: bool = False
    compile: bool = False
    flush_denormal: bool = True
    threads: int = 2
    optimiser: str = "fused"  # fused, foreach or loop
    average: str = "foreach"  # foreach or loop
    cache_casts: bool = True
    clock: str = "wall"  # or cpu: of one thread, which other processes disturb little
    environment: dict[str, str] = field(default_factory=dict)


PLAIN = Way()
FAST = Way(precision="bf16", keep_memory=True)
PASSIVE = {"OMP_WAIT_POLICY": "passive"}
SPIN = {"GOMP_SPINCOUNT": "1000000000"}
AFRESH = {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}
WAYS = {
    "plain": PLAIN,
    "bf16": replace(PLAIN, precision="bf16"),
    "memory kept": replace(PLAIN, keep_memory=True),
    "channels_last": replace(PLAIN, channels_last=True),
    "one thread": replace(PLAIN, threads=1),
    "denormals kept": replace(PLAIN, flush_denormal=False),
    "optimiser: loop": replace(PLAIN, optimiser="loop"),
    "optimiser: foreach": replace(PLAIN, optimiser="foreach"),
    "average: loop": replace(PLAIN, average="loop"),
    "bf16, memory kept": FAST,
    "... channels_last": replace(FAST, channels_last=True),
    "... fp32, channels_last": replace(FAST, precision="fp32", channels_last=True),
    "... one thread": replace(FAST, threads=1),
    "... weights cast each time": replace(FAST, cache_casts=False),
    "... optimiser: loop": replace(FAST, optimiser="loop"),
    "... threads sleep": replace(FAST, environment=PASSIVE),
    "... threads spin": replace(FAST, environment=SPIN),
}
COMPILED = {
    "bf16, memory kept": FAST,
    "... compiled": replace(FAST, compile=True, environment=AFRESH),
    "... compiled, channels_last": replace(
        FAST, compile=True, channels_last=True, environment=AFRESH
    ),
}
CROWDED = {
    "bf16, memory kept": FAST,
    "... threads sleep": replace(FAST, environment=PASSIVE),
    "... threads spin": replace(FAST, environment=SPIN),
    "... one thread": replace(FAST, threads=1),
}


class Trainer:
    """One model trained in one way, in this process."""

    def __init__(self, model: str, way: Way) -> None:
        from triptych import hardware

        if way.keep_memory:
            hardware.keep_memory()  # before torch
        import torch

        from triptych.config import ImageShape
        from triptych.data.batches import Batches
        from triptych.data.dataset import Part
        from triptych.families import registry
        from triptych.training.state import TrainingState

        self.clock = time.perf_counter if way.clock == "wall" else time.process_time
        self.machine = hardware.pick("cpu", way.precision, way.threads)
        torch.set_flush_denormal(way.flush_denormal)
        torch.set_autocast_cache_enabled(way.cache_casts)
        name = registry.ModelName.parse(model)
        shape = ImageShape(channels=3, resolution=RESOLUTION)
        settings = registry.defaults(name, "tiny", shape)
        network = registry.build(name, settings, shape, seed=0).train()
        generator = torch.Generator().manual_seed(0)
        size = IMAGES, *shape.size
        images = torch.randint(256, size, dtype=torch.uint8, generator=generator)
        self.batches = Batches(Part(images, None), settings.batch_size, seed=0)
        if way.channels_last:
            network.to(memory_format=torch.channels_last)
            plain = self.batches.at
            self.batches.at = lambda seen, stream=0: tuple(  # type: ignore[method-assign]
                t if t is None else t.to(memory_format=torch.channels_last)
                for t in plain(seen, stream)
            )
        self.state = TrainingState(network, settings)
        self._change_optimizers(way.optimiser)
        if way.average == "loop" and self.state.ema is not None:
            self.state.ema.update = self._average_in_a_loop  # type: ignore[method-assign]
        if way.compile:
            for module in parts_to_compile(network):
                module.compile()

    def _change_optimizers(self, kind: str) -> None:
        import torch

        class Unmasked(torch.optim.AdamW):
            """Only the fused one can leave out a step that is not finite."""

            found_inf = property(lambda self: None, lambda self, masked: None)

        for optimizer in self.state.optimizers:
            fused = optimizer.optimizers["adamw"]
            if kind != "fused":
                kept = {name: fused.defaults[name] for name in ("lr", "betas", "weight_decay")}
                optimizer.optimizers["adamw"] = Unmasked(
                    fused.param_groups[0]["params"], **kept, fused=False, foreach=kind == "foreach"
                )

    def _average_in_a_loop(self, keep: float) -> None:
        average = self.state.ema
        assert average is not None
        for name, tensor in average._model.state_dict().items():
            if tensor.is_floating_point():
                average.state[name].lerp_(tensor, 1 - keep)

    def steps(self, count: int) -> list[float]:
        """Seconds of each."""
        found = []
        for _ in range(count):
            start = self.clock()
            self.state.step(self.batches, 0, Plan.straight(10**7), self.machine)
            found.append(self.clock() - start)
        return found


def parts_to_compile(model: Any) -> list[Any]:
    """The networks of a model: what its objectives call."""
    names = ("encoder", "decoder", "generator", "discriminator")
    found = [getattr(model, name) for name in names if hasattr(model, name)]
    return found or [model.denoiser.network]


def work(model: str, way: dict[str, Any]) -> None:
    """A process of one way: reads how many steps to take, writes their seconds, until told 0."""
    trainer = Trainer(model, Way(**way))
    print("[]", flush=True)  # ready
    for line in sys.stdin:
        if count := int(line):
            print(json.dumps(trainer.steps(count)), flush=True)
        else:
            break


class Process:
    """A `work` of its own, seen from here; it sleeps out of its turn, waiting threads included."""

    def __init__(self, model: str, way: Way) -> None:
        command = [sys.executable, __file__, "--work", model, json.dumps(asdict(way))]
        self.process = subprocess.Popen(
            command,
            env=os.environ | way.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def steps(self, count: int) -> list[float]:
        """Seconds of each; RuntimeError with the last line of the trouble."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # `answer` says why
            self.process.stdin.write(f"{count}\n")
            self.process.stdin.flush()
        self.process.send_signal(signal.SIGCONT)
        return self.answer()

    def answer(self) -> list[float]:
        """What the process says next; then it is put to sleep."""
        assert self.process.stdout is not None and self.process.stderr is not None
        said = self.process.stdout.readline()
        if not said:
            lines = [line for line in self.process.stderr.read().splitlines() if "Error" in line]
            raise RuntimeError(lines[-1] if lines else "ended without a word")
        self.process.send_signal(signal.SIGSTOP)
        return json.loads(said)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def by_cpu_time(ways: dict[str, Way]) -> dict[str, Way]:
    """The ways on one thread, without those that are about threads."""
    return {
        name: replace(way, threads=1, clock="cpu")
        for name, way in ways.items()
        if "thread" not in name
    }


def compare(model: str, ways: dict[str, Way], turns: int) -> dict[str, dict[str, Any]]:
    """Milliseconds of a step in each way, and the first way's divided by them."""
    processes = {name: Process(model, way) for name, way in ways.items()}
    try:
        times, found = take_turns(processes, turns, burst=1 if model in SLOW else 4)
    finally:
        for process in processes.values():
            process.end()
    base = times[next(iter(ways))]
    for name, own in times.items():
        found[name] |= {
            "median_ms": round(1e3 * statistics.median(own), 2),
            "fastest_ms": round(1e3 * min(own), 2),
            "times_faster": round(statistics.median(base) / statistics.median(own), 3),
            "times_faster_at_best": round(min(base) / min(own), 3),
        }
    return found


def take_turns(
    processes: dict[str, Process], turns: int, burst: int
) -> tuple[dict[str, list[float]], dict[str, dict[str, Any]]]:
    """Seconds of all steps by way, and how long its first two took or why it failed."""
    found: dict[str, dict[str, Any]] = {}
    times: dict[str, list[float]] = {}
    for process in processes.values():
        with contextlib.suppress(RuntimeError):  # it will say so again
            process.answer()
    for name, process in processes.items():
        try:
            first = sum(process.steps(2))
            times[name] = process.steps(2)[:0]  # warm now
            found[name] = {"first_two_steps_s": round(first, 1)}
        except RuntimeError as error:
            found[name] = {"failed": str(error)[:200]}
    for _ in range(turns):
        for name in times:
            times[name] += processes[name].steps(burst)
    return times, found


def with_break_even(found: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """After how many steps the seconds spent compiling are won back; none where it is slower."""
    eager = next(iter(found.values()))
    for name, entry in found.items():
        if "compiled" in name and "failed" not in entry:
            spent = entry["first_two_steps_s"] - eager["first_two_steps_s"]
            won = (eager["median_ms"] - entry["median_ms"]) / 1e3
            entry["break_even_steps"] = round(spent / won) if won > 0 else None
    return found


@contextlib.contextmanager
def a_busy_machine() -> Iterator[None]:
    """Inside, another process keeps one core busy."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def measure(model: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The parts of one model's result that were asked for."""
    chosen = by_cpu_time if arguments.cpu_time else dict
    found: dict[str, Any] = {}
    print(model, file=sys.stderr)
    if "ways" in arguments.parts:
        found["ways"] = compare(model, chosen(WAYS), arguments.turns)
    if "crowded" in arguments.parts and model not in SLOW and not arguments.cpu_time:
        with a_busy_machine():
            found["busy_machine"] = compare(model, CROWDED, arguments.turns)
    if "compiled" in arguments.parts:
        found["compiled"] = with_break_even(compare(model, chosen(COMPILED), arguments.turns))
    return found


def table(result: dict[str, Any]) -> str:
    """Times faster than the first way of each part, a column per model, in Markdown."""
    models = result["models"]
    lines = ["| way | " + " | ".join(models) + " |", "|---" * (len(models) + 1) + "|"]
    for part in ("ways", "busy_machine", "compiled"):
        names = next((found[part] for found in models.values() if part in found), {})
        for name in names:
            entries = [found.get(part, {}).get(name, {}) for found in models.values()]
            cells = [
                f"{e['median_ms']:.1f} ms ({e['times_faster']:.2f})" if "median_ms" in e else "-"
                for e in entries
            ]
            lines.append(f"| {part}: {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--parts", nargs="+", default=["ways", "crowded", "compiled"])
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--cpu-time", action="store_true", help="one thread, for a busy machine")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work[0], json.loads(arguments.work[1]))
        return
    clock = "cpu time of one thread" if arguments.cpu_time else "wall"
    result: dict[str, Any] = {"cores": os.cpu_count(), "clock": clock, "models": {}}
    for model in arguments.models:
        result["models"][model] = measure(model, arguments)
        if arguments.out:  # after each model, so that an interruption costs little
            arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    print(table(result), file=sys.stderr)


if __name__ == "__main__":
    main()
