"""VAE recipes trained for the same time on the same images, measured on the validation part.

    python benchmarks/vaes.py --data DATA ... --models vae:ladder pythae:conv --budget 5m --out JSON

Beside them stands what lossless WebP needs for a mosaic of the same validation images. Distances
are on the features of the data's classifier, sharpness is of mean decodes and of draws of the
pixels.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from trials import Found, Trial, run_trials
from triptych import images
from triptych.config import Budget
from triptych.families.vae.model import VAE
from triptych.metrics.intervals import Estimate
from triptych.tasks import likelihood, reconstruct, sample
from yardstick import SAMPLES, Yardstick, brief

PEER = "pythae:"  # and which of its networks


def about(yardstick: Yardstick) -> Found:
    """What a lossless file needs, and how near real images are to training images."""
    return {
        "webp_bits_per_dim": yardstick.webp_bits_per_dim(),
        "validation_near_training": yardstick.near_training(yardstick.real),
    }


def bits(value: Tensor, dimensions: int) -> Estimate:
    """Nats of each image as bits per dimension with their interval."""
    each = value.double() / (dimensions * math.log(2))
    margin = 1.96 * each.std().item() / math.sqrt(len(each))
    mean = each.mean().item()
    return Estimate(mean, mean - margin, mean + margin)


def measured(model: VAE, yardstick: Yardstick, keep: Path) -> Found:
    """All numbers of a trained model, and two pictures."""
    machine, dimensions = yardstick.machine, model.shape.dimensions
    terms = likelihood.negative_bounds(model, yardstick.real, "elbo", 0, machine)
    drawn = sample.sample(model, SAMPLES, 0, machine)
    noisy = sample.sample(model.with_pixel_noise(), SAMPLES, 0, machine)
    again = reconstruct.reconstruct(model, yardstick.real, 0, machine)
    pairs = torch.stack([yardstick.real[:32], again[:32]], 1).flatten(0, 1)
    keep.mkdir(parents=True, exist_ok=True)
    images.grid(drawn[:64]).save(keep / "samples.png")
    images.grid(pairs).save(keep / "reconstructions.png")
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "bits_per_dim": brief(bits(torch.stack(list(terms.values())).sum(0), dimensions)),
        "terms": {name: brief(bits(nats, dimensions)) for name, nats in terms.items()},
        **yardstick.samples(drawn),
        "with_pixel_noise": yardstick.samples(noisy),
        **yardstick.reconstructions(again),
    }


def measure(trial: Trial) -> Found:
    """Train and measure one of them."""
    if trial.model.startswith(PEER):
        return theirs(trial)
    run = trial.train()
    assert isinstance(run.model, VAE)
    facts = {"images_seen": run.record.images_seen, "seconds": run.record.train_seconds}
    return facts | measured(run.model, trial.yardstick, trial.keep)


def theirs(trial: Trial) -> Found:
    """Train and measure pythae's VAE, which must be installed.

    bits_per_dim is at the deviation that it trains with, best_bits_per_dim at the best one for
    the training images; with_mixture are samples of its mixture of Gaussians.
    """
    import vaes_pythae

    yardstick, keep = trial.yardstick, trial.keep
    train = yardstick.data.train.images
    peer = vaes_pythae.fresh(trial.model.removeprefix(PEER), yardstick.data.shape)
    peer.train(train, Budget.parse(trial.budget).amount)
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


def said(e: Found) -> str:
    """One line on a model."""
    return (
        f"{e['seconds']:.0f} s, {e['images_seen']} images, "
        f"{e['bits_per_dim']['value']:.3f} bits/dim, "
        f"FD {e['frechet_distance']['value']:.0f}, sharpness {e['sharpness']['value']:.2f} "
        f"(pixel noise {e['with_pixel_noise']['frechet_distance']['value']:.0f}, "
        f"{e['with_pixel_noise']['sharpness']['value']:.2f}), "
        f"{e['reconstruction_psnr']['value']:.1f} dB, near training {e['near_training']:.3f}, "
        + ", ".join(f"{term} {nats['value']:.3f}" for term, nats in e["terms"].items())
    )


if __name__ == "__main__":
    run_trials(__doc__ or "", ["vae:course", "vae:sigma", "vae:ladder"], about, measure, said)
