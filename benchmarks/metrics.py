"""How fast the metrics are, how much memory they take, and how often their intervals hold.

    python benchmarks/metrics.py --out JSON
    python benchmarks/metrics.py --only speed memory --out JSON     (other parts stay as they are)

speed:    10,000 against 10,000 images of 2,048 features, each against the route of others
memory:   precision, recall, density and coverage of 50,000 against 50,000, in a process of its own
coverage: of 95 % intervals, on Gaussians whose expected value is known, over 200 repeats
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from scipy import linalg
from torch import Tensor

from triptych.metrics.frechet_distance import Moments, distance, frechet_distance
from triptych.metrics.intervals import Estimate, extrapolated
from triptych.metrics.kernel_distance import kernel_distance
from triptych.metrics.memorised import memorised
from triptych.metrics.prdc import neighbours
from triptych.metrics.sliced_distance import sliced_distance

COUNT, FEATURES = 10_000, 2_048
MANY = 50_000
REPEATS = 200
WORLDS = [  # images, features, the samples' deviation and mean where real ones have 1 and 0
    (200, 8, 0.9, 0.15),
    (300, 4, 0.9, 0.15),
    (400, 16, 0.9, 0.15),
    (300, 24, 1.3, 0.3),
    (200, 8, 1.1, 0.1),
    (200, 6, 1.0, 0.0),
]


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def speed() -> dict[str, Any]:
    """Seconds of each, and the ratio and difference where there is another route."""
    mix = normal(FEATURES, FEATURES, seed=2) / FEATURES**0.5
    a = normal(COUNT, FEATURES, seed=0) @ mix + 0.1
    b = normal(COUNT, FEATURES, seed=1)
    moments, (ga, gb) = timed(lambda: [Moments.of(x).gaussian() for x in (a, b)])
    distance(ga, gb)  # warm
    ours, found = timed(lambda: distance(ga, gb))

    def by_root() -> float:
        root = linalg.sqrtm((ga.covariance @ gb.covariance).numpy()).real
        means = (ga.mean - gb.mean).square().sum()
        return float(means + ga.covariance.trace() + gb.covariance.trace() - 2 * root.trace())

    theirs, expected = timed(by_root)
    return {
        "images": COUNT,
        "features": FEATURES,
        "moments_of_both": moments,
        "frechet_distance": ours,
        "scipy_sqrtm": theirs,
        "times_faster": theirs / ours,
        "relative_difference": abs(found - expected) / expected,
        "frechet_distance_with_interval": timed(lambda: frechet_distance(a, b))[0],
        "kernel_distance_with_interval": timed(lambda: kernel_distance(a, b))[0],
        "neighbours": timed(lambda: neighbours(b, a, intervals=False))[0],
        "neighbours_with_intervals": timed(lambda: neighbours(b, a))[0],
    }


def memory() -> dict[str, Any]:
    """Peak resident memory of a process that does nothing else, torch and the features included."""
    code = "import metrics; metrics.many_neighbours()"
    child = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(child.stdout))


def many_neighbours() -> None:
    """For the child of `memory`."""
    real, fake = normal(MANY, FEATURES, seed=0), normal(MANY, FEATURES, seed=1)
    seconds, _ = timed(lambda: neighbours(real, fake, intervals=False))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"images": MANY, "features": FEATURES, "seconds": seconds, "bytes": peak}))


def held(estimates: list[Estimate], expected: float | None = None) -> float:
    """Share of intervals with the expected value in them; by default the mean over repeats."""
    if expected is None:
        expected = sum(e.value for e in estimates) / len(estimates)
    return sum(e.low <= expected <= e.high for e in estimates) / len(estimates)


def coverage() -> list[dict[str, Any]]:
    """Of every interval that is not a textbook's."""
    found = []
    for count, features, scale, shift in WORLDS:
        seen: dict[str, list[Estimate]] = {}
        for repeat in range(REPEATS):
            real = normal(count, features, seed=2 * repeat)
            fake = scale * normal(count, features, seed=2 * repeat + 1) + shift
            distances = frechet_distance(fake, real)
            each = vars(neighbours(real, fake)) | {
                "frechet_distance": distances,
                "frechet_distance, extrapolated": extrapolated(distances),
                "kernel_distance": kernel_distance(fake, real),
                "sliced_distance": sliced_distance(fake, real),
            }
            for name, estimate in each.items():
                seen.setdefault(name, []).append(estimate)
        truth = features * ((1 - scale) ** 2 + shift**2)
        entry: dict[str, Any] = {
            "images": count,
            "features": features,
            "deviation": scale,
            "mean": shift,
        }
        for name, estimates in seen.items():
            entry[name] = held(estimates, truth if name.endswith("extrapolated") else None)
        found.append(entry)
        print(entry, flush=True)
    copies = []
    for repeat in range(REPEATS):
        rng = torch.Generator().manual_seed(repeat)
        samples, held_out = torch.rand(2, 1000, generator=rng, dtype=torch.float64)
        copies.append(memorised(samples**1.5, held_out))
    return [*found, {"images": 1000, "memorised": held(copies)}]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts: dict[str, Callable[[], Any]] = {"speed": speed, "memory": memory, "coverage": coverage}
    parser.add_argument("--only", nargs="+", default=list(parts), choices=list(parts))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    before = json.loads(asked.out.read_text()) if asked.out and asked.out.is_file() else {}
    results: dict[str, Any] = before | {"threads": asked.threads}
    for part in asked.only:
        results[part] = parts[part]()
        print(part, results[part], flush=True)
        if asked.out:
            asked.out.write_text(json.dumps(results, indent=1) + "\n")
