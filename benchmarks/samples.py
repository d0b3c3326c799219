"""Seconds of every number of samples: 2,000 samples of 32x32 against 2,000 test images.

    python benchmarks/samples.py [--count 2000]

Of the processor, all threads together, so that other work on the machine hardly counts; on two
quiet cores the wait is up to half of it. What makes features is not counted, nor what models make.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from torch import Tensor

from triptych.metrics import REAL, NotDefinedError, own_metrics
from triptych.metrics.sharpness import laplacian_rms

FEATURES, CLASSES = 128, 10


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
    }


def main() -> None:
    """Print the seconds of each as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=2000)
    count = parser.parse_args().count
    samples, others = (tensors(count, seed) for seed in (0, 1))
    sides = ("test", "train", "matched_test")
    real = {f"{side}_{name}": made for side in sides for name, made in others.items()}
    real = {name: made for name, made in real.items() if name in REAL}
    real["test_detail"] = laplacian_rms(others["images"])
    seconds: dict[str, float] = {}
    for metric in own_metrics():
        if metric.needs[0] not in samples:
            continue
        began = time.process_time()
        try:
            metric.compute(samples, real)
        except NotDefinedError:
            continue
        name = f"{metric.name} {metric.reference} {metric.method}"
        seconds[name] = round(time.process_time() - began, 2)
    print(json.dumps(seconds | {"all": round(sum(seconds.values()), 2)}, indent=1))


if __name__ == "__main__":
    main()
