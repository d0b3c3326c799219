"""VAE recipes trained for the same time on the same images, measured on the validation part.

    python benchmarks/vaes.py --data DATA ... --models vae:ladder pythae:conv --budget 5m --out JSON

Beside them stands what lossless WebP needs for a mosaic of the same validation images. Distances
are on the features of the data's classifier, sharpness is of mean decodes and of draws of the
pixels.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import triptych
from triptych import hardware, images
from triptych.config import Budget, Size
from triptych.evaluation.intervals import Estimate
from triptych.families.vae.model import VAE
from triptych.reading import open_images
from triptych.tasks import likelihood, reconstruction, sampling
from yardstick import SAMPLES, Yardstick

PEER = "pythae:"  # and which of its networks


def bits(value: Tensor, dimensions: int) -> Estimate:
    """Nats of each image as bits per dimension with their interval."""
    each = value.double() / (dimensions * math.log(2))
    margin = 1.96 * each.std().item() / math.sqrt(len(each))
    mean = each.mean().item()
    return Estimate(mean, mean - margin, mean + margin)


def measured(model: VAE, yardstick: Yardstick, keep: Path) -> dict[str, Any]:
    """All numbers of a trained model, and two pictures."""
    machine, dimensions = yardstick.machine, model.shape.dimensions
    terms = likelihood.negative_bounds(model, yardstick.real, "elbo", 0, machine)
    drawn = sampling.sample(model, SAMPLES, 0, machine)
    noisy = sampling.sample(model.with_pixel_noise(), SAMPLES, 0, machine)
    again = reconstruction.reconstruct(model, yardstick.real, 0, machine)
    pairs = torch.stack([yardstick.real[:32], again[:32]], 1).flatten(0, 1)
    keep.mkdir(parents=True, exist_ok=True)
    images.grid(drawn[:64]).save(keep / "samples.png")
    images.grid(pairs).save(keep / "reconstructions.png")
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "bits_per_dim": asdict(bits(torch.stack(list(terms.values())).sum(0), dimensions)),
        "terms": {name: asdict(bits(nats, dimensions)) for name, nats in terms.items()},
        **yardstick.samples(drawn),
        "with_pixel_noise": yardstick.samples(noisy),
        **yardstick.reconstructions(again),
    }


def ours(
    name: str, yardstick: Yardstick, budget: str, size: Size, sets: list[str], keep: Path
) -> dict[str, Any]:
    """Train and measure one of our recipes."""
    machine = yardstick.machine
    run = triptych.train(
        name,
        yardstick.data,
        budget=budget,
        size=size,
        overrides=sets,
        out=keep,
        machine=machine,
    )
    assert isinstance(run.model, VAE)
    facts = {"images_seen": run.facts["images_seen"], "seconds": run.facts["train_seconds"]}
    return facts | measured(run.model, yardstick, keep)


def theirs(name: str, yardstick: Yardstick, budget: str, keep: Path) -> dict[str, Any]:
    """Train and measure pythae's VAE, which must be installed.

    bits_per_dim is at the deviation that it trains with, best_bits_per_dim at the best one for
    the training images; with_mixture are samples of its mixture of Gaussians.
    """
    import vaes_pythae

    train = yardstick.data.train.images
    peer = vaes_pythae.fresh(name.removeprefix(PEER), yardstick.data.shape)
    peer.train(train, Budget.parse(budget).amount)
    best = measured(peer.as_ours(train, best_std=True), yardstick, keep / "best")
    drawn = peer.mixture_draws(train, SAMPLES)
    images.grid(drawn[:64]).save(keep / "mixture.png")
    facts = {"images_seen": peer.images_seen, "seconds": peer.seconds}
    return (
        facts
        | measured(peer.as_ours(train, best_std=False), yardstick, keep)
        | {
            "best_bits_per_dim": best["bits_per_dim"],
            "with_mixture": yardstick.samples(drawn),
        }
    )


def said(name: str, e: dict[str, Any]) -> str:
    """One line on a model."""
    return (
        f"{name}: {e['seconds']:.0f} s, {e['images_seen']} images, "
        f"{e['bits_per_dim']['value']:.3f} bits/dim, "
        f"FD {e['frechet_distance']['value']:.0f}, sharpness {e['sharpness']['value']:.2f} "
        f"(pixel noise {e['with_pixel_noise']['frechet_distance']['value']:.0f}, "
        f"{e['with_pixel_noise']['sharpness']['value']:.2f}), "
        f"{e['reconstruction_psnr']['value']:.1f} dB, near training {e['near_training']:.3f}, "
        + ", ".join(f"{term} {nats['value']:.3f}" for term, nats in e["terms"].items())
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", required=True, help="as `triptych train` takes it")
    parser.add_argument("--models", nargs="+", default=["vae:course", "vae:sigma", "vae:ladder"])
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--size", default="tiny", choices=["tiny", "small", "base"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", nargs="*", default=[], help="settings of our recipes")
    parser.add_argument("--keep", type=Path, help="a folder for the runs and their pictures")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    asked = parser.parse_args()
    machine = hardware.pick(threads=asked.threads)
    found: dict[str, Any] = {
        "threads": asked.threads,
        "size": asked.size,
        "budget": asked.budget,
        "data": {},
    }
    for source in asked.data:
        yardstick = Yardstick(open_images(source), machine)
        name = yardstick.data.name
        entry: dict[str, Any] = {
            "webp_bits_per_dim": yardstick.webp_bits_per_dim(),
            "validation_near_training": yardstick.near_training(yardstick.real),
        }
        print(name, entry, flush=True)
        found["data"][name] = entry
        for model in asked.models:
            with tempfile.TemporaryDirectory() as scratch:
                place = (asked.keep or Path(scratch)) / f"{name}-{model.replace(':', '-')}"
                entry[model] = (
                    theirs(model, yardstick, asked.budget, place)
                    if model.startswith(PEER)
                    else ours(model, yardstick, asked.budget, asked.size, asked.set, place)
                )
            print(said(model, entry[model]), flush=True)
            if asked.out:
                asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    hardware.keep_memory()
    main()
