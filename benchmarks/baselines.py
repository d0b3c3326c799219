"""What scores mean: the same metrics for pure noise and for models that were never trained.

    python benchmarks/baselines.py --data street-digits --out benchmarks/results/baselines.json

Prints and writes, for each, the Frechet distance to the test part and the share recognisable,
beside the floor (other real images).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import triptych
from triptych import hardware, images
from triptych.data.dataset import ImageData
from triptych.data.open import open_images
from triptych.families import registry
from triptych.families.registry import ModelName
from triptych.options import DataOptions
from triptych.tasks.sample import sample

COUNT = 1000
NUMBERS = ("frechet_distance", "recognisable")


def non_images(data: ImageData, machine: hardware.Machine) -> dict[str, Tensor]:
    """Uniform noise, blank images, and samples of every default model before training."""
    generator = torch.Generator().manual_seed(0)
    real = data.test.images[:COUNT]
    blank = images.to_float(real).mean((2, 3), keepdim=True).expand_as(real)
    found = {
        "uniform noise": torch.randint(256, real.shape, dtype=torch.uint8, generator=generator),
        "blank images": images.to_uint8(blank),
    }
    for family in registry.trained_families():
        name = ModelName.parse(family)
        settings = registry.defaults(name, "tiny", data.shape)
        model = registry.build(name, settings, data.shape, seed=0).eval()
        found[f"untrained {name}"] = sample(model, len(real), 0, machine)
    return found


def measure(data_name: str) -> dict[str, Any]:
    """The numbers of each, and what other real images score in its place."""
    machine, scores = hardware.pick(), {}
    data = open_images(data_name, DataOptions())
    for name, pixels in non_images(data, machine).items():
        results = triptych.measure(pixels, data, count=COUNT, machine=machine)
        against_test = [m for m in results.metrics if m.reference != "train" and m.defined]
        metrics = {m.name: m for m in reversed(against_test)}  # those on the first features
        scores[name] = {key: round(metrics[key].value or 0.0, 4) for key in NUMBERS}
        scores["other real images (the floor)"] = {
            key: round(metrics[key].floor or 0.0, 4) for key in NUMBERS
        }
        accuracy = None if results.extractor is None else results.extractor.accuracy
    return {"data": data.name, "count": COUNT, "accuracy": accuracy, "scores": scores}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=["street-digits"])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    found = [measure(name) for name in arguments.data]
    print(json.dumps(found, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
