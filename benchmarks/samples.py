"""Seconds of every number of samples: 2,000 samples of 32x32 against 2,000 test images.

    python benchmarks/samples.py [--count 2000] [--threads 2] [--out FILE.json]

Waited for, and of the processor, all threads together: other work on the machine makes the wait
longer than it is on a quiet one. Distances to the test images count twice, for they are found on
two feature sets. What makes features is not counted, nor what models make. Three rounds, each as
the package does it and, in turn, with every small step shared by all threads; the medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from triptych import metrics
from triptych.evaluation.reference import on_both
from triptych.metrics import REAL, NotDefinedError, own_metrics
from triptych.metrics.sharpness import laplacian_rms

FEATURES, CLASSES, ROUNDS = 128, 10, 3


def tensors(count: int, seed: int) -> dict[str, Tensor]:
    """Made-up ones of the sizes that samples and references have."""
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, 3, 32, 32), generator=rng, dtype=torch.uint8)
    features = torch.randn(count, FEATURES, generator=rng)
    return {
        "images": images,
        "features": features,
        "probabilities": torch.rand(count, CLASSES, generator=rng).mul(9).softmax(1),
        "nearest_distances": torch.rand(count, generator=rng).double() + 1,
        "nearest_ratios": torch.rand(count, generator=rng).double(),
    }


def seconds(samples: dict[str, Tensor], real: dict[str, Tensor]) -> dict[str, tuple[float, float]]:
    """Waited for and of the processor, by metric; what metrics share counts for the first."""
    found = {}
    for part, chosen in (("", own_metrics()), (", second features", on_both(own_metrics()))):
        fresh = {name: tensor.clone() for name, tensor in samples.items()}  # nothing is remembered
        for metric in chosen:
            if metric.needs[0] not in samples:
                continue
            began, began_computing = time.perf_counter(), time.process_time()
            try:
                metric.compute(fresh, real)
            except NotDefinedError:
                continue
            took = time.perf_counter() - began, time.process_time() - began_computing
            if max(took) >= 0.005:
                found[f"{metric.name}, {metric.reference}{part}"] = took
    return found


def median_of(rounds: list[dict[str, tuple[float, float]]]) -> dict[str, dict[str, float]]:
    """Of each metric over the rounds, and of their sum."""
    table = {}
    for column, name in enumerate(("waited", "of_processor")):
        by_metric = {
            key: statistics.median(each[key][column] for each in rounds if key in each)
            for key in rounds[0]
        }
        total = statistics.median(sum(v[column] for v in each.values()) for each in rounds)
        table[name] = {k: round(v, 2) for k, v in (by_metric | {"all": total}).items()}
    return table


def main() -> None:
    """Print the seconds of each as JSON, or write them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    samples, others = (tensors(asked.count, seed) for seed in (0, 1))
    sides = ("test", "train", "matched_test")
    real = {f"{side}_{name}": made for side in sides for name, made in others.items()}
    real = {name: made for name, made in real.items() if name in REAL}
    real["test_detail"] = laplacian_rms(others["images"])
    as_it_is, worth = [], metrics.WORTH_SHARING
    shared = []
    for _ in range(ROUNDS):
        for rounds, least in ((as_it_is, worth), (shared, 0.0)):
            metrics.WORTH_SHARING = least
            rounds.append(seconds(samples, real))
    table = {
        "count": asked.count,
        "threads": asked.threads,
        "date": time.strftime("%Y-%m-%d"),
        "seconds": median_of(as_it_is),
        "all_shared": median_of(shared),
    }
    text = json.dumps(table, indent=1)
    if asked.out is None:
        print(text)
    else:
        asked.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
