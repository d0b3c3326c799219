"""Training and sampling beside the peers, in turn: milliseconds, ratios, one JSON document.

Each case starts one process for ours and one for the peer; both stay, and take turns, never both
at once, so that a machine's drift hits both. A ratio is peer / ours within a round; above 1 ours
is faster. Beside it stands the ratio of processor time, which neighbours on the machine disturb
less (with one thread: several spin while they wait). Both have the same threads and batch, 64
images of 3x32x32; each is run as its users run it, so ours alone tells the C library to keep
memory and picks its precision.

Needs the peers: `pip install -c constraints.txt -e '.[bench]'`, then, since both would bring
another torch, `pip install --no-deps torchvision denoising-diffusion-pytorch pytorch-fid` into an
environment kept for this. The case `loop` needs none: it trains with ours for a while and says
how much of the time was spent outside forward pass, backward pass and optimizer step.

    python benchmarks/peers.py --threads 2 --out benchmarks/results/peers.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

BATCH = 64
LOOP_MODELS = ["vae:course", "gan:course", "diffusion:x0", "diffusion:course"]


@dataclass(frozen=True)
class Case:
    """What is measured.

    steps:        training steps of a turn, or batches that are sampled
    same_weights: both sides hold the same network, which is checked
    """

    peer: str
    steps: int
    same_weights: bool = True


CASES = {
    "diffusers": Case("diffusers, training", 2),
    "denoising": Case("denoising-diffusion-pytorch, as many parameters", 3, False),
    "denoising-same-operations": Case("..., as many operations", 3, False),
    "denoising-same-network": Case("..., its own network", 3),
    "pythae": Case("pythae, training", 2),
    "course-vae": Case("plain loop, course VAE", 50),
    "course-gan": Case("plain loop, course GAN", 25),
    "course-ddpm": Case("plain loop, course DDPM", 3),
    "sample-ddpm": Case("diffusers, DDPM sampling", 1),
    "sample-ddim": Case("diffusers, DDIM sampling", 1),
    "sample-dpm": Case("diffusers, DPM-Solver++ against our Heun", 1),
}


def work(pipe: Connection, side: str, case: str, threads: int) -> None:
    """The life of a worker process: say what it is, then take the turns that are asked for."""
    if side == "ours":
        from triptych import hardware

        hardware.keep_memory()  # before torch is imported
        import peers_ours

        worker = peers_ours.CASES[case](hardware.pick(threads=threads))
    else:
        import torch

        multiprocessing.set_start_method(
            "fork", force=True
        )  # as a user's DataLoader starts workers
        torch.set_num_threads(threads)
        import peers_theirs

        worker = peers_theirs.CASES[case]()
    pipe.send(worker.facts())
    while steps := pipe.recv():
        started = time.perf_counter(), time.process_time()
        worker.turn(steps)
        pipe.send((time.perf_counter() - started[0], time.process_time() - started[1]))


class Side:
    """A worker process as the parent sees it."""

    def __init__(self, side: str, case: str, threads: int) -> None:
        context = multiprocessing.get_context("spawn")  # nothing of torch is inherited
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, side, case, threads))
        self.process.start()
        theirs.close()  # so that the death of the worker is seen
        self.facts: dict[str, Any] = self.pipe.recv()

    def turn(self, steps: int) -> tuple[float, float]:
        """Milliseconds per step, by the clock and of the processors."""
        self.pipe.send(steps)
        seconds, of_processors = self.pipe.recv()
        return 1000 * seconds / steps, 1000 * of_processors / steps

    def close(self) -> None:
        self.pipe.send(0)
        self.process.join()


def overhead(model: str, budget: str, threads: int, pipe: Connection) -> None:
    """The life of a process that trains once and says where its time went."""
    from triptych import hardware

    hardware.keep_memory()
    import peers_loop

    pipe.send(peers_loop.measure(model, budget, hardware.pick(threads=threads)))


def measure_loop(models: list[str], budget: str, threads: int) -> dict[str, Any]:
    """What our own loop costs, each model in a process of its own."""
    context = multiprocessing.get_context("spawn")
    found: dict[str, Any] = {}
    print(f"\n{'our loop':24} outside forward, backward, step   checkpoints, log, grids")
    for model in models:
        pipe, theirs = context.Pipe()
        process = context.Process(target=overhead, args=(model, budget, threads, theirs))
        process.start()
        theirs.close()
        found[model] = pipe.recv()
        process.join()
        shares = found[model]["checkpoints_log_grids_share"]
        words = ", ".join(f"{length} {share:.1%}" for length, share in shares.items())
        print(f"{model:24} {found[model]['outside_bare_step']:29.2%}   {words}", flush=True)
    return found


def measure(name: str, rounds: int, steps: int | None, threads: int) -> dict[str, Any]:
    """Both sides in turn; the first turn of each warms up."""
    case = CASES[name]
    steps = steps or case.steps
    sides = {side: Side(side, name, threads) for side in ("ours", "peer")}
    ours, peer = sides["ours"], sides["peer"]
    if case.same_weights and ours.facts["weights"] != peer.facts["weights"]:
        raise SystemExit(f"{name}: the two sides do not hold the same weights")
    taken: dict[str, list[float]] = {side: [] for side in sides}
    of_processors: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side in sides if number % 2 else reversed(sides):
            milliseconds, busy = sides[side].turn(steps)
            if number:
                taken[side].append(milliseconds)
                of_processors[side].append(busy)
    for worker in sides.values():
        worker.close()
    ratios, of_busy = (
        [theirs / own for own, theirs in zip(each["ours"], each["peer"], strict=True)]
        for each in (taken, of_processors)
    )
    return {
        "ratio": round(statistics.median(ratios), 3),
        "ratio_quartiles": quartiles(ratios),
        "ratio_of_processor_time": round(statistics.median(of_busy), 3),
        "same_weights": case.same_weights,
        "steps_per_turn": steps,
        **{
            side: {
                "ms": round(statistics.median(taken[side]), 2),
                "ms_quartiles": quartiles(taken[side]),
                "processor_ms": round(statistics.median(of_processors[side]), 2),
                "images_per_second": round(1000 * BATCH / statistics.median(taken[side]), 2),
                **sides[side].facts,
            }
            for side in sides
        },
    }


def quartiles(values: list[float]) -> list[float]:
    """First and third."""
    if len(values) < 2:
        return [round(values[0], 3)] * 2
    first, _, third = statistics.quantiles(values, method="inclusive")
    return [round(first, 3), round(third, 3)]


def row(name: str, found: dict[str, Any]) -> str:
    """One line of the table."""
    ours, peer = found["ours"], found["peer"]
    low, high = found["ratio_quartiles"]
    return (
        f"{CASES[name].peer:48} {ours['ms']:9.1f} {peer['ms']:9.1f} "
        f"{found['ratio']:6.2f} ({low:.2f} to {high:.2f}) {found['ratio_of_processor_time']:9.2f} "
        f"{ours['parameters'] / 1e6:7.2f} {peer['parameters'] / 1e6:7.2f}"
    )


def keep(result: dict[str, Any], out: Path | None) -> None:
    """Write the JSON document, where one is wanted."""
    if out is not None:
        out.write_text(json.dumps(result, indent=2) + "\n")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--cases", nargs="+", choices=[*CASES, "loop"], default=[*CASES, "loop"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, help="of a turn, instead of each case's own")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--models", nargs="+", default=LOOP_MODELS, help="of the case `loop`")
    parser.add_argument("--budget", default="20s", help="of each model in the case `loop`")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"threads": arguments.threads, "rounds": arguments.rounds, "cases": {}}
    print(f"{'peer':48} {'ours ms':>9} {'peer ms':>9}  ratio (quartiles)    of CPU  Mparam  Mparam")
    for name in arguments.cases:
        if name == "loop":
            continue
        found = measure(name, arguments.rounds, arguments.steps, arguments.threads)
        result["cases"][name] = found
        print(row(name, found), flush=True)
        keep(result, arguments.out)  # what was found stays if a later case fails
    if "loop" in arguments.cases:
        result["loop"] = measure_loop(arguments.models, arguments.budget, arguments.threads)
    keep(result, arguments.out)


if __name__ == "__main__":
    main()
