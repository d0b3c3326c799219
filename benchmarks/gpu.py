"""What one NVIDIA GPU makes of us: one call, under eight minutes, one JSON document.

    python benchmarks/gpu.py --out benchmarks/results/gpu.json

Steps are rounds of our own `TrainingState` on random images. What the time does not allow is named
in `left_out`, and what fails says so in its own place. `--device cpu --seconds 0.1 --quick` tries
the code; its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from triptych import hardware
from triptych.options import TrainRequest
from triptych.training import resolve

hardware.keep_memory()  # before torch, as users have it

import torch  # noqa: E402
from torch.profiler import ProfilerActivity, profile  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from triptych.data.batches import Batches, sent  # noqa: E402
from triptych.data.dataset import ImageData, Part  # noqa: E402
from triptych.seeding import generator  # noqa: E402
from triptych.tasks.sample import sample  # noqa: E402
from triptych.training.plan import Plan  # noqa: E402
from triptych.training.train import fresh_state  # noqa: E402

RESOLUTION, IMAGES = 32, 20_000
ACCURACY_STEPS, PROFILED = 200, 10
MINUTES, COMPILED_MINUTES = 6.5, 5.0  # after these nothing begins, and nothing that is compiled


@dataclass(frozen=True, kw_only=True)
class Way:
    """How to train; the defaults are ours."""

    precision: str = "bf16"
    tf32: bool | None = None  # of what is multiplied in float32; None leaves PyTorch's defaults
    channels_last: bool = True
    compile: bool = False
    graphs: bool = True


PLAIN = Way()
UNCOMPILED = {
    "fp32, without TF32": Way(precision="fp32", tf32=False),
    "fp32": Way(precision="fp32"),
    "TF32": Way(precision="fp32", tf32=True),
    "bf16, one operation after another": Way(graphs=False),
    "bf16, channels first": Way(channels_last=False),
    "bf16": Way(),
    "fp16": Way(precision="fp16"),
}
COMPILED = {
    "bf16, compile": Way(compile=True),
}


class Run:
    """The machine, the data, and the time there is."""

    def __init__(self, device: str, seconds: float, quick: bool) -> None:
        self.machine = hardware.pick(device, "bf16", threads=1 if quick else None)
        self.seconds, self.quick = seconds, quick
        self.settings = ("batch_size=16",) if quick else ()
        self.until = time.monotonic() + 60 * MINUTES
        self.tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        size = 500 if quick else IMAGES, 3, RESOLUTION, RESOLUTION
        part = Part(torch.randint(256, size, dtype=torch.uint8), None)
        self.data = ImageData(
            name="noise", source="noise", fingerprint="0" * 16, fit="stretch", classes=None,
            notes=(), train=part, validation=part, test=part,
        )  # fmt: skip

    def timed(self, work: Callable[[], object], count: int = 1) -> float:
        """Seconds of so many calls, the device's work included."""
        self.machine.finish()
        started = time.perf_counter()
        for _ in range(count):
            work()
        self.machine.finish()
        return time.perf_counter() - started

    def ms(self, work: Callable[[], object]) -> float:
        """Milliseconds of a call after a warm-up: the median of three stretches."""
        self.timed(work, 3)
        count = max(2, round(self.seconds / 3 / self.timed(work)))
        return 1e3 * statistics.median(self.timed(work, count) / count for _ in range(3))


class Trainer:
    """One model at one size, trained in one way."""

    def __init__(self, run: Run, model: str, size: str, way: Way = PLAIN, ranks: int = 1) -> None:
        cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        cuda.allow_tf32, cudnn.allow_tf32 = run.tf32 if way.tf32 is None else (way.tf32,) * 2
        self.machine = replace(
            run.machine, precision=way.precision, compile=way.compile, graphs=way.graphs
        )
        asked = TrainRequest(model=model, budget="1kimg", size=size, set=run.settings)
        request = resolve.resolve(asked, data=run.data)
        self.state = fresh_state(request, self.machine)
        self.part, self.count = request.data.train, request.settings.batch_size
        self.batches = Batches(self.part, self.count, 0, self.machine.device, ranks=ranks)
        self.planned = ACCURACY_STEPS * self.count  # which the learning rate follows
        if not way.channels_last:
            self.state.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def warm(self) -> None:
        """Step until libraries have what they need and every kind of round is captured."""
        self.step(self.state.warm_up)

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            self.state.step(self.batches, 0, Plan.straight(self.planned), self.machine)

    def flops(self) -> float:
        """Multiplications and additions of a round's forward and backward passes.

        Of one without a lazy penalty, whose second derivatives the counter cannot follow.
        """
        self.state.seen = self.count
        with FlopCounterMode(display=False) as counter:
            for turn in self.state.round(self.batches, 0, Plan.straight(self.planned)).turns:
                turn.optimizer.gradients(turn.batch, self.machine)
        return float(counter.get_total_flops())

    def draw(self, move: Callable[[Any], Any] = lambda tensor: tensor) -> None:
        """A round's random numbers, as `TrainingState.draw` draws them."""
        for optimizer in (m for m in self.state.optimizers if m.objective.phase == 0):
            for _ in range(optimizer.objective.repeats):
                drawn = optimizer.objective.noise(self.count, generator(0, "noise"))
                for tensor in drawn.values():
                    move(tensor)


def matrix_peak(run: Run) -> dict[str, float]:
    """The fastest bf16 matrix product of some sizes, in FLOP/s."""
    found = {}
    for side in (256,) if run.quick else (4096, 8192, 16384):
        a, b = torch.randn(2, side, side, device=run.machine.device, dtype=torch.bfloat16)
        found[str(side)] = 2e3 * side**3 / run.ms(lambda a=a, b=b: a @ b)  # type: ignore[misc]
    return found | {"peak": max(found.values())}


def utilisation(run: Run, model: str, size: str, peak: float) -> dict[str, Any]:
    """As users run it: speed, share of the matrix peak, memory, the model's own sampler."""
    hardware.forget_peak_memory()
    trainer = Trainer(run, model, size)
    trainer.warm()
    ms = run.ms(trainer.step)
    graphs = trainer.state.graphs
    memory = hardware.peak_memory_bytes(run.machine.device)
    flops = trainer.flops()
    net, count = trainer.state.model.eval(), 16 if run.quick else 256
    run.timed(lambda: sample(net, count, 0, run.machine))  # warm
    return {
        "batch_size": trainer.count,
        "step_ms": ms,
        "images_per_second": trainer.count / ms * 1e3,
        "flops_per_step": flops,
        "share_of_peak": 1e3 * flops / ms / peak,
        "peak_memory_bytes": memory,
        "no_graph": None if graphs is None else graphs.refused,
        "samples_per_second": count / run.timed(lambda: sample(net, count, 1, run.machine)),
    }


def where_time_goes(run: Run, model: str, size: str) -> dict[str, Any]:
    """Kernels, the GPU's idle share, and what waits for it between two log points."""
    trainer = Trainer(run, model, size)
    run.timed(trainer.warm)
    gpu = run.machine.device == "cuda"
    with profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * gpu) as profiler:
        trainer.step(PROFILED)  # waits are counted, so the clock must not wait here
    events = profiler.events() or []
    calls = Counter(event.name for event in events).items()
    kind = "CUDA" if gpu else "CPU"
    ran = [e for e in events if e.device_type.name == kind and not e.is_user_annotation]
    busy, last, each = 0.0, 0.0, Counter[str]()
    for start, end, name in sorted((e.time_range.start, e.time_range.end, e.name) for e in ran):
        busy += max(0.0, end - max(start, last))
        last = max(last, end)
        each[name[:100]] += end - start
    span = last - min((e.time_range.start for e in ran), default=0.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if gpu:
            torch.cuda.set_sync_debug_mode("warn")
            trainer.step(PROFILED)
            torch.cuda.set_sync_debug_mode("default")
    stalls = [w for w in caught if "synchroniz" in str(w.message)]
    return {
        "idle_share_under_profiler": 1 - busy / span if span else None,
        "kernel_ms_per_step": busy / 1e3 / PROFILED,  # over step_ms: the busy share
        "kernels_per_step": len(ran) / PROFILED,
        "top_kernels_share": {n: t / each.total() for n, t in each.most_common(12)},
        "waits_per_step": {n: c / PROFILED for n, c in calls if "Synchron" in n},
        "lines_that_waited": Counter(f"{Path(w.filename).name}:{w.lineno}" for w in stalls),
    }


def host_work(run: Run, model: str, size: str) -> dict[str, Any]:
    """Milliseconds of noise, of batches, of steps as one of N processes (for scaling.py)."""
    trainer = Trainer(run, model, size)
    trainer.warm()
    batches, device = trainer.batches, trainer.batches.device
    found: dict[str, Any] = {
        "step": run.ms(trainer.step),
        "noise_drawn": run.ms(trainer.draw),
        "noise_drawn_sent_pinned": run.ms(lambda: trainer.draw(lambda t: sent(t, device))),
        "noise_drawn_sent_pageable": run.ms(lambda: trainer.draw(lambda t: t.to(device))),
        "batch_resident": run.ms(lambda: batches.at(0)),
    }
    by_shares = {}
    for ranks in (1, 4, 16):
        one = Trainer(run, model, size, ranks=ranks)
        one.warm()
        by_shares[ranks] = run.ms(one.step)
    batches.images, batches.streamed, batches._orders = trainer.part.images, True, {}
    return found | {
        "step_by_shares": by_shares,
        "batch_streamed": run.ms(lambda: batches.at(0)),
        "step_streamed": run.ms(trainer.step),
        "noise_share_of_step": found["noise_drawn_sent_pinned"] / found["step"],
    }


def accuracy(run: Run, model: str, size: str) -> dict[str, Any]:
    """Mean losses of each quarter of 200 steps in bf16 and fp32, on equal weights and batches."""
    steps = 8 if run.quick else ACCURACY_STEPS
    losses: dict[str, list[dict[str, float]]] = {"fp32": [], "bf16": []}
    for name, means in losses.items():
        trainer = Trainer(run, model, size, UNCOMPILED[name])
        for _ in range(4):
            run.timed(trainer.step, steps // 4)
            means.append(trainer.state.tally.read()[0])
            trainer.state.tally.clear()
    full, half = losses["fp32"], losses["bf16"]
    terms = set.intersection(*map(set, full))  # a lazy penalty is not in every short quarter
    scale = {k: max(abs(means[k]) for means in full) for k in terms}
    apart = [abs(b[k] - a[k]) / scale[k] for a, b in zip(full, half, strict=True) for k in terms]
    return {"losses": losses, "largest_relative_difference": max(apart)}


def levers(run: Run, model: str, size: str, ways: dict[str, Way], until: float) -> dict[str, Any]:
    """Each way's step, its first ones, which compile and capture, and its peak memory.

    until: nothing begins after this moment
    """
    found: dict[str, Any] = {}
    for name, way in ways.items():
        if time.monotonic() > until:
            break
        torch._dynamo.reset()
        hardware.forget_peak_memory()
        try:
            trainer = Trainer(run, model, size, way)
            first = run.timed(trainer.warm)
            found[name] = {"first_steps_s": first, "step_ms": run.ms(trainer.step)}
            found[name] |= {"memory_bytes": hardware.peak_memory_bytes(run.machine.device)}
            graphs = trainer.state.graphs
            found[name] |= {"no_graph": None if graphs is None else graphs.refused}
        except RuntimeError as error:
            found[name] = {"failed": str(error)[:300]}
    return found


def tried(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What it returns, or why it failed: the card's time is short, and other parts may work."""
    try:
        return work()
    except Exception as error:
        print(f"failed: {error}", file=sys.stderr)
        return {"failed": f"{type(error).__name__}: {error}"[:300]}


def measure(run: Run, out: Path | None) -> dict[str, Any]:
    """Part after part; the file is written after each."""
    peak = matrix_peak(run)
    found: dict[str, Any] = {"hardware": hardware.describe(), "versions": hardware.versions()}
    found |= {"matrix_flops_per_second": peak, "wanted_share": 0.4, "left_out": []}
    compiled_until = run.until - 60 * (MINUTES - COMPILED_MINUTES)
    parts: dict[str, Callable[[Run, str, str], Any]] = {
        "utilisation": partial(utilisation, peak=peak["peak"]),
        "where_time_goes": where_time_goes,
        "levers": partial(levers, ways=UNCOMPILED, until=run.until),
        "levers_compiled": partial(levers, ways=COMPILED, until=compiled_until),
        "accuracy": accuracy,
        "host_work": host_work,
    }
    for size in ("tiny",) if run.quick else ("base", "small"):
        for part, work in parts.items():
            for model in ("diffusion", "gan", "vae"):
                case, started = f"{model}, {size}", time.monotonic()
                if started > (compiled_until if part == "levers_compiled" else run.until):
                    found["left_out"].append(f"{part}: {case}")
                    continue
                found.setdefault(part, {})[case] = tried(partial(work, run, model, size))
                print(f"{part}: {case}: {time.monotonic() - started:.0f} s", file=sys.stderr)
            if out:
                out.write_text(json.dumps(found, indent=2) + "\n")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--seconds", type=float, default=0.75, help="of steps, for each number")
    parser.add_argument("--quick", action="store_true", help="tiny models: tries the code only")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA GPU was found: --device cpu --quick tries the code", file=sys.stderr)
        sys.exit(2)
    run = Run(arguments.device, arguments.seconds, arguments.quick)
    print(json.dumps(measure(run, arguments.out), indent=2))


if __name__ == "__main__":
    main()
