"""How much the three families learn in minutes on one GPU: one call, one JSON document, samples.

    python benchmarks/speedrun_gpu.py --data cifar10 --out FOLDER

One model after another is trained at each budget and drawn from, and its samples are measured
against test images; what would not end within `--minutes` is not begun, and named in `left_out`.
FOLDER gets `speedrun.json`, written after each model, the runs, and 10,000 samples of each as
`.npz`, which evaluators of others can read too.
`--device cpu --size tiny --budgets 20s --count 200` tries the code.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from triptych import hardware

hardware.let_threads_sleep()
hardware.keep_memory()  # before torch, as users have it

import torch  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

import triptych  # noqa: E402
from gpu import Run as Bench  # noqa: E402
from gpu import matrix_peak, tried  # noqa: E402
from speedrun import numbers_of  # noqa: E402
from triptych.config import Budget  # noqa: E402
from triptych.data.batches import Batches  # noqa: E402
from triptych.data.dataset import ImageData  # noqa: E402
from triptych.data.open import open_images  # noqa: E402
from triptych.hardware import Machine  # noqa: E402
from triptych.options import TrainRequest  # noqa: E402
from triptych.training import resolve  # noqa: E402
from triptych.training.plan import Plan  # noqa: E402
from triptych.training.train import fresh_state  # noqa: E402

LIKELIHOOD_IMAGES = 256  # test images, as `triptych evaluate` takes them
MEASURING = 60.0  # seconds that drawing and measuring take, until one model took longer


def training_flops(model: str, size: str, data: ImageData, machine: Machine) -> float:
    """Multiplications and additions of one image's forward and backward passes.

    Of a round without a lazy penalty, whose second derivatives the counter cannot follow.
    """
    request = resolve.resolve(TrainRequest(model=model, budget="1kimg", size=size), data=data)
    state = fresh_state(request, machine)
    batches = Batches(request.data.train, request.settings.batch_size, 0, machine.device)
    state.seen = batches.batch_size
    with FlopCounterMode(display=False) as counter:
        for turn in state.round(batches, 0, Plan.straight(10**6)).turns:
            turn.optimizer.gradients(turn.batch, machine)
    return float(counter.get_total_flops()) / batches.batch_size


def measured(
    model: str, budget: str, asked: argparse.Namespace, data: ImageData, machine: Machine
) -> dict[str, Any]:
    """One training, its samples and their measurements."""
    place = asked.out / f"{model.replace(':', '-')}-{budget}"
    run = triptych.train(model, data, budget=budget, size=asked.size, out=place, machine=machine)
    record = run.record
    run.sample(64)  # the first call finds kernels
    started = time.monotonic()
    drawn = run.sample(asked.count)
    drawing = time.monotonic() - started
    samples = place.with_suffix(".npz")
    np.savez(samples, images=drawn)
    (results,) = triptych.evaluate(
        str(samples), data, machine=machine, count=asked.count, out=place / "measured"
    )
    test = data.test.choose(LIKELIHOOD_IMAGES, "likelihood").images
    return {
        "images_seen": record.images_seen,
        "train_seconds": record.train_seconds,
        "images_per_second": record.images_per_second,
        "flops_per_image": training_flops(model, asked.size, data, machine),
        "batch_size": record.settings["batch_size"],
        "precision": record.precision,
        "samples_per_second": asked.count / drawing,
        "numbers": numbers_of(results.to_json()),
        "bits_per_dim": run.log_likelihood(test).value,  # none of a GAN
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", default="cifar10", help="as `triptych train` takes it")
    parser.add_argument("--models", nargs="+", default=["diffusion", "gan", "vae"])
    parser.add_argument("--budgets", nargs="+", default=["80s"], help="of each model, in turn")
    parser.add_argument("--size", default="base", choices=["tiny", "small", "base"])
    parser.add_argument("--count", type=int, default=10_000, help="samples")
    parser.add_argument("--minutes", type=float, default=9.0, help="of the whole call")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    asked = parser.parse_args()
    until = time.monotonic() + 60 * asked.minutes
    if asked.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA GPU was found: --device cpu --size tiny tries the code", file=sys.stderr)
        sys.exit(2)
    machine, data = hardware.pick(asked.device), open_images(asked.data)
    asked.out.mkdir(parents=True)
    peak = matrix_peak(Bench(asked.device, 0.25, asked.device == "cpu"))["peak"]
    found: dict[str, Any] = {
        "hardware": hardware.describe(),
        "versions": hardware.versions(),
        "data": data.name,
        "size": asked.size,
        "matrix_flops_per_second": peak,
        "models": {},
        "left_out": [],
    }
    longest = MEASURING
    for budget in asked.budgets:
        seconds = Budget.parse(budget).amount
        for model in asked.models:
            name, started = f"{model}, {budget}", time.monotonic()
            if started + seconds + longest > until:
                found["left_out"].append(name)
                continue
            entry = tried(partial(measured, model, budget, asked, data, machine))
            if "failed" not in entry:
                per_second = entry["images_per_second"]
                entry["share_of_peak"] = per_second * entry["flops_per_image"] / peak
                longest = max(longest, time.monotonic() - started - seconds)
            found["models"][name] = entry
            (asked.out / "speedrun.json").write_text(json.dumps(found, indent=1) + "\n")
            print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
