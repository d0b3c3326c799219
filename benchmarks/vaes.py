"""VAE recipes trained for the same time on the same images, measured on the validation part.

    python benchmarks/vaes.py --data DATA ... --models vae:course vae:ladder --budget 5m --out JSON

Beside them stands what lossless WebP needs for a mosaic of the same validation images. Distances
are on the features of the data's classifier, sharpness is of mean decodes and of draws of the
pixels. `near_training` is the share of draws within a few grey levels of a training image, to be
read beside that of validation images.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import triptych
from triptych import hardware, images
from triptych.console import Console
from triptych.data.dataset import ImageData
from triptych.evaluation import classifier
from triptych.evaluation.evaluate import pick
from triptych.evaluation.frechet import frechet_distance
from triptych.evaluation.intervals import Estimate
from triptych.evaluation.reconstruction import reconstruction_psnr
from triptych.evaluation.sharpness import sharpness
from triptych.families.vae.model import VAE
from triptych.hardware import Machine
from triptych.reading import open_images
from triptych.tasks import likelihood, reconstruction, sampling

SAMPLES = 2000
MEASURED = 1024  # validation images at most
NEAR = 5.0


class Yardstick:
    """The real images of one data set, and all that is measured against them."""

    def __init__(self, data: ImageData, machine: Machine) -> None:
        self.machine = machine
        self.real = pick(data.validation, MEASURED, "validation").images
        self.network = classifier.classifier_for(data, machine, Console())
        self.features = classifier.read(self.network, data.validation.images, machine).features
        self.train = data.train.images.float().flatten(1)

    def samples(self, drawn: Tensor) -> dict[str, Any]:
        """Of uint8 samples."""
        features = classifier.read(self.network, drawn, self.machine).features
        return {
            "frechet_distance": asdict(frechet_distance(features, self.features)),
            "sharpness": asdict(sharpness(drawn, self.real)),
            "near_training": self.near_training(drawn),
        }

    def near_training(self, drawn: Tensor) -> float:
        """Share of images within NEAR grey levels, root-mean-square, of a training image."""
        chunks = torch.split(drawn.float().flatten(1), 100)
        nearest = torch.cat([torch.cdist(chunk, self.train).amin(1) for chunk in chunks])
        return (nearest / self.train.shape[1] ** 0.5 < NEAR).float().mean().item()

    def reconstructions(self, found: Tensor) -> dict[str, Any]:
        """Of what became of the validation images."""
        return {"reconstruction_psnr": asdict(reconstruction_psnr(self.real, found))}

    def webp_bits_per_dim(self) -> float:
        """Lossless WebP of one mosaic, best effort."""
        side = math.isqrt(len(self.real))
        mosaic = images.to_pil(images.grid(self.real[: side**2], side, gap=0).pixels)
        buffer = io.BytesIO()
        mosaic.save(buffer, "WEBP", lossless=True, quality=100, method=6)
        return 8 * buffer.tell() / self.real[: side**2].numel()


def bits(value: Tensor, dimensions: int) -> Estimate:
    """Nats of each image as bits per dimension with their interval."""
    each = value.double() / (dimensions * math.log(2))
    margin = 1.96 * each.std().item() / math.sqrt(len(each))
    mean = each.mean().item()
    return Estimate(mean, mean - margin, mean + margin)


def ours(
    model: str, data: ImageData, budget: str, sets: list[str], keep: Path, machine: Machine
) -> dict[str, Any]:
    """Train and measure one of our recipes."""
    yardstick = Yardstick(data, machine)
    run = triptych.train(
        model, data, budget=budget, size="tiny", overrides=sets, out=keep, machine=machine
    )
    assert isinstance(run.model, VAE)
    terms = likelihood.negative_bounds(run.model, yardstick.real, "elbo", 0, machine)
    dimensions = run.model.shape.dimensions
    drawn = sampling.sample(run.model, SAMPLES, 0, machine)
    noisy = sampling.sample(run.model.with_pixel_noise(), SAMPLES, 0, machine)
    again = reconstruction.reconstruct(run.model, yardstick.real, 0, machine)
    images.grid(drawn[:64]).save(keep / "samples.png")
    images.grid(torch.stack([yardstick.real[:32], again[:32]], 1).flatten(0, 1)).save(
        keep / "reconstructions.png"
    )
    return {
        "images_seen": run.facts["images_seen"],
        "seconds": run.facts["train_seconds"],
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "bits_per_dim": asdict(bits(torch.stack(list(terms.values())).sum(0), dimensions)),
        "terms": {name: asdict(bits(nats, dimensions)) for name, nats in terms.items()},
        **yardstick.samples(drawn),
        "with_pixel_noise": yardstick.samples(noisy),
        **yardstick.reconstructions(again),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", required=True, help="as `triptych train` takes it")
    parser.add_argument("--models", nargs="+", default=["vae:course", "vae:sigma", "vae:ladder"])
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", nargs="*", default=[], help="settings of our recipes")
    parser.add_argument("--keep", type=Path, help="a folder for the runs and their pictures")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    asked = parser.parse_args()
    machine = hardware.pick(threads=asked.threads)
    found: dict[str, Any] = {"threads": asked.threads, "budget": asked.budget, "data": {}}
    for source in asked.data:
        data = open_images(source)
        real = Yardstick(data, machine)
        near = real.near_training(real.real)
        entry = {"webp": real.webp_bits_per_dim(), "validation_near_training": near}
        found["data"][data.name] = entry
        for model in asked.models:
            started = time.perf_counter()
            with tempfile.TemporaryDirectory() as scratch:
                place = (asked.keep or Path(scratch)) / f"{data.name}-{model.replace(':', '-')}"
                entry[model] = ours(model, data, asked.budget, asked.set, place, machine)
            e = entry[model]
            print(
                f"{data.name} {model} bpd {e['bits_per_dim']['value']:.3f} "
                f"FD {e['frechet_distance']['value']:.0f} sharp {e['sharpness']['value']:.2f} "
                f"noisy FD {e['with_pixel_noise']['frechet_distance']['value']:.0f} "
                f"{e['with_pixel_noise']['sharpness']['value']:.2f} "
                f"psnr {e['reconstruction_psnr']['value']:.1f} seen {e['images_seen']} "
                f"{time.perf_counter() - started:.0f} s webp {entry['webp']:.2f} near "
                f"{e['near_training']:.3f} validation {near:.3f}",
                {k: round(v["value"], 3) for k, v in e["terms"].items()},
                flush=True,
            )
            if asked.out:
                asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    hardware.keep_memory()
    main()
