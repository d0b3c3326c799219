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

from triptych import api, hardware, images
from triptych.console import Console
from triptych.data.dataset import ImageData
from triptych.evaluation import classifier, evaluate
from triptych.families import registry
from triptych.families.registry import ModelName
from triptych.metrics.frechet_distance import frechet_distance
from triptych.metrics.labels import recognisable
from triptych.tasks.sample import sample

COUNT = 1000


def non_images(data: ImageData, machine: hardware.Machine) -> dict[str, Tensor]:
    """Uniform noise, blank images, and samples of every default model before training."""
    generator = torch.Generator().manual_seed(0)
    real = data.test.images[:COUNT]
    blank = images.to_float(real).mean((2, 3), keepdim=True).expand_as(real)
    found = {
        "uniform noise": torch.randint(256, real.shape, dtype=torch.uint8, generator=generator),
        "blank images": images.to_uint8(blank),
    }
    for family in registry.FAMILIES:
        name = ModelName.parse(family)
        settings = registry.defaults(name, "tiny", data.shape)
        model = registry.build(name, settings, data.shape, seed=0).eval()
        found[f"untrained {name}"] = sample(model, len(real), 0, machine)
    return found


def measure(data_name: str) -> dict[str, Any]:
    machine = hardware.pick()
    data = api.open_images(data_name)
    real = evaluate.read_real(data, min(COUNT, len(data.test)), machine, Console())
    assert real.readings is not None and real.network is not None
    test = real.readings["test"]

    def numbers(reading: classifier.Reading) -> dict[str, float]:
        return {
            "frechet_distance": round(frechet_distance(reading.features, test.features).value, 2),
            "recognisable": round(recognisable(reading.probabilities).value, 4),
        }

    found = {"other real images (the floor)": numbers(real.readings["other"])}
    for name, pixels in non_images(data, machine).items():
        found[name] = numbers(classifier.read(real.network, pixels, machine))
    return {"data": data.name, "count": real.count, "accuracy": real.accuracy, "scores": found}


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
