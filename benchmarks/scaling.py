"""Where more processes stop helping, computed from measured steps and exchanges.

    python benchmarks/scaling.py --out benchmarks/results/scaling.json

Measured: a training step of every default recipe on its share of the batch, as one of N processes
would take it (the noise of the whole batch is drawn by each); the time two gloo processes of this
machine need to add up tensors of 1 KB to 64 MB; and a step of two processes that share the
machine, beside what is computed for them. Computed, for N processes with a machine each:

    T(N) = step(batch / N) + 2 (N - 1) / N * bytes / bandwidth + 2 (N - 1) * latency * exchanges

the ring's cost (Patarasuk and Yuan 2009, Bandwidth optimal all-reduce algorithms, section 3).
It counts exchanges in full, although DDP hides part of them behind the backward pass: scaling is
no worse than this. Networks other than this machine's are assumptions, stated below.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from triptych import hardware
from triptych.training.plan import Plan

RESOLUTION = 32
PROCESSES = 1, 2, 4, 8, 16
SCALES = "tiny", "small", "base"
SIZES = [4**power * 1024 for power in range(9)]  # 1 KB to 64 MB
BUCKET = 25 * 2**20  # bytes that DDP exchanges at once
ENOUGH = 0.8  # efficiency


@dataclass(frozen=True)
class Network:
    """One direction of the link between two neighbours on the ring."""

    bytes_per_second: float
    latency_seconds: float
    source: str

    def all_reduce(self, size: float, exchanges: float, count: int) -> float:
        """Seconds for the sum of `size` bytes over `count` processes, in so many exchanges."""
        volume = 2 * (count - 1) / count * size / self.bytes_per_second
        return volume + 2 * (count - 1) * self.latency_seconds * exchanges


ASSUMED = {
    "10 Gbit/s Ethernet": Network(1.25e9, 50e-6, "assumed: line rate, TCP latency"),
    "100 Gbit/s": Network(12.5e9, 10e-6, "assumed: line rate, RDMA latency"),
    "NVLink 4": Network(450e9, 5e-6, "assumed: published 900 GB/s in both directions together"),
}


class Trainer:
    """One default recipe, trained as one of `ranks` processes would train it."""

    def __init__(self, model: str, machine: hardware.Machine, seconds: float) -> None:
        import torch

        from triptych.config import ImageShape
        from triptych.data.dataset import Part
        from triptych.families import registry
        from triptych.training.state import TrainingState

        shape = ImageShape(channels=3, resolution=RESOLUTION)
        name = registry.ModelName.parse(model)
        self.settings = registry.defaults(name, "tiny", shape)
        network = registry.build(name, self.settings, shape, seed=0).train()
        self.machine, self.seconds = machine, seconds
        self.state = TrainingState(network, self.settings, machine.group)
        self.part = Part(torch.randint(256, (2048, *shape.size), dtype=torch.uint8), None)

    def step_seconds(self, rank: int, ranks: int) -> float:
        """Median of a round on one share of the batch; all processes take as many rounds."""
        from triptych.data.batches import Batches

        batches = Batches(self.part, self.settings.batch_size, 0, "cpu", rank=rank, ranks=ranks)

        def step() -> None:
            self.state.step(batches, 0, Plan.straight(10**9), self.machine)

        estimate = min(timed(step, 5))
        # The first one's clock decides; every step waits for the others.
        count = self.machine.group.broadcast(lambda: max(5, round(self.seconds / estimate)))
        return statistics.median(timed(step, count))

    def noise_seconds(self) -> float:
        """Drawing the random numbers of one round for the whole batch."""
        from triptych.seeding import generator

        def draw() -> None:
            for optimizer in self.state.optimizers:
                for _ in range(optimizer.objective.repeats):
                    optimizer.objective.noise(self.settings.batch_size, generator(0, "noise"))

        return statistics.median(timed(draw, 20))


def timed(work: Callable[[], object], count: int) -> list[float]:
    """Seconds of each call."""
    found = []
    for _ in range(count):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return found


def work(out: Path, seconds: float) -> None:
    """One of two processes: exchanges by size, then rounds of every recipe on one thread."""
    import torch
    import torch.distributed as dist

    from triptych import distributed
    from triptych.families.registry import trained_families

    machine = hardware.pick("cpu", threads=1)
    exchanges = {}
    for size in SIZES:
        tensor = torch.zeros(size // 4)
        repeats = 50 if size < 2**20 else 10
        timed(lambda tensor=tensor: dist.all_reduce(tensor), 3)  # type: ignore[misc]
        times = timed(lambda tensor=tensor: dist.all_reduce(tensor), repeats)  # type: ignore[misc]
        exchanges[size] = statistics.median(times)
    group = machine.group
    steps = {
        m: Trainer(m, machine, seconds).step_seconds(group.rank, group.size)
        for m in trained_families()
    }
    if group.is_main:
        out.write_text(json.dumps({"all_reduce_s": exchanges, "step_s": steps}))
    distributed.leave()


def two_processes(seconds: float) -> dict[str, Any]:
    """What `work` found, in two processes of this machine."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "found.json"
        command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        subprocess.run(
            [sys.executable, *command, __file__, "--work", str(out), "--seconds", str(seconds)],
            check=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            timeout=600,
        )
        found: dict[str, Any] = json.loads(out.read_text())
        return found


def line(x: list[float], y: list[float]) -> tuple[float, float]:
    """Offset and slope of y over x, neither below zero; relative errors are made small."""
    import numpy as np
    from scipy.optimize import nnls

    weights = 1 / np.array(y)
    columns = np.stack([np.ones(len(x)), np.array(x)], axis=1) * weights[:, None]
    scale = columns.max(axis=0)
    (offset, slope), _ = nnls(columns / scale, np.ones(len(y)))
    return offset / scale[0], slope / scale[1]


def gradients(model: str, size: Any) -> dict[str, Any]:
    """Bytes and exchanges of one round's gradients; later phases' are left out."""
    from triptych.config import ImageShape
    from triptych.families import registry

    name, shape = registry.ModelName.parse(model), ImageShape(channels=3, resolution=RESOLUTION)
    settings = registry.defaults(name, size, shape)
    network = registry.build(name, settings, shape, seed=0)
    total, exchanges = 0.0, 1.0  # one for the question whether to stop
    for objective in network.objectives():
        if objective.phase == 0:
            steps = objective.repeats / objective.every
            own = sum(4 * p.numel() for p in objective.parameters() if p.requires_grad)
            total += steps * own
            exchanges += steps * -(-own // BUCKET)
    return {"bytes": total, "exchanges": exchanges, "batch_size": settings.batch_size}


def scaling(
    steps: dict[int, float], noise: float, sent: dict[str, Any], network: Network
) -> dict[str, Any]:
    """Efficiency at some numbers of processes, with the batch shared and with one batch each.

    steps: seconds of a step on a share of the batch, by number of shares
    """
    batch = sent["batch_size"]
    offset, slope = line([batch / n for n in steps], list(steps.values()))

    def exchange(n: int) -> float:
        return network.all_reduce(sent["bytes"], sent["exchanges"], n)

    def shared(n: int) -> float:
        step = steps.get(n, offset + slope * batch / n)
        share: float = steps[1] / (n * (step + exchange(n)))
        return share

    def one_each(n: int) -> float:
        share: float = steps[1] / (steps[1] + (n - 1) * noise + exchange(n))
        return share

    many = [2**power for power in range(1, 13)]
    fits = [n for n in many if batch % n == 0 and shared(n) >= ENOUGH]
    grows = [n for n in many if one_each(n) >= ENOUGH]
    return {
        "batch_shared": {n: round(shared(n), 3) for n in PROCESSES[1:] if batch % n == 0},
        "one_batch_each": {n: round(one_each(n), 3) for n in PROCESSES[1:]},
        "largest_with_batch_shared": max(fits, default=1),
        "largest_with_one_batch_each": max(grows, default=1),
    }


def measure(seconds: float, threads: int | None, gpu: Path | None) -> dict[str, Any]:
    """The whole document."""
    import torch

    from triptych.families.registry import trained_families

    machine = hardware.pick("cpu", threads=threads)
    together = two_processes(seconds)
    sizes = {int(size): seconds for size, seconds in together["all_reduce_s"].items()}
    offset, slope = line([float(size) for size in sizes], list(sizes.values()))
    here = Network(1 / slope, offset / 2, "measured: two gloo processes of this machine")
    networks = {"gloo, this machine": here, **ASSUMED}
    found: dict[str, Any] = {}
    for model in trained_families():
        trainer = Trainer(model, machine, seconds)
        steps = {n: trainer.step_seconds(0, n) for n in PROCESSES}
        noise, sent = trainer.noise_seconds(), gradients(model, "tiny")
        torch.set_num_threads(1)
        alone = trainer.step_seconds(0, 2) + here.all_reduce(sent["bytes"], sent["exchanges"], 2)
        torch.set_num_threads(machine.threads)
        found[f"{model}, tiny, CPU"] = {
            "step_s": steps,
            "noise_s": noise,
            **sent,
            "two_on_this_machine": {"computed_s": alone, "measured_s": together["step_s"][model]},
            "scaling": {k: scaling(steps, noise, sent, n) for k, n in networks.items()},
        }
    known = json.loads(gpu.read_text())["host_work"] if gpu else {}
    for case, entry in known.items():
        model, size = case.split(", ")
        steps = {int(n): ms / 1e3 for n, ms in entry["step_by_shares"].items()}
        noise, sent = entry["noise_drawn"] / 1e3, gradients(model, size)
        found[f"{case}, GPU"] = {
            "step_s": steps,
            "noise_s": noise,
            **sent,
            "scaling": {k: scaling(steps, noise, sent, n) for k, n in ASSUMED.items()},
        }
    return {
        "hardware": hardware.describe(),
        "versions": hardware.versions(),
        "threads": machine.threads,
        "precision": machine.precision,
        "all_reduce_s": sizes,
        "networks": {name: asdict(network) for name, network in networks.items()},
        "gradients": {f"{m}, {s}": gradients(m, s) for m in trained_families() for s in SCALES},
        "models": found,
    }


def table(result: dict[str, Any]) -> str:
    """Efficiencies with the batch shared and where they end, in Markdown."""
    counts = [str(n) for n in PROCESSES[1:]]
    heads = ["model", "network", *counts, "ends at", "ends at, a batch each"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for model, entry in result["models"].items():
        for network, row in entry["scaling"].items():
            shares = {str(n): f"{100 * share:.0f} %" for n, share in row["batch_shared"].items()}
            ends = row["largest_with_batch_shared"], row["largest_with_one_batch_each"]
            cells = [model, network, *(shares.get(n, "-") for n in counts), *map(str, ends)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of steps, for each number")
    parser.add_argument("--threads", type=int, help="of a process by itself; all cores by default")
    parser.add_argument("--gpu", type=Path, help="what benchmarks/gpu.py wrote: its steps as well")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    hardware.keep_memory()  # before torch
    if arguments.work:
        work(arguments.work, arguments.seconds)
        return
    result = measure(arguments.seconds, arguments.threads, arguments.gpu)
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    print(table(result), file=sys.stderr)


if __name__ == "__main__":
    main()
