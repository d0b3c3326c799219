"""Diffusion recipes trained for the same time on the same images, measured on the validation part.

    python benchmarks/diffusions.py --data DATA ... --models diffusion:course diffusion --out JSON

Each is sampled as its recipe has it, the practical's by Heun instead of its 1000 steps.
`samplers` in the JSON holds the distances, seconds and calls of other samplers on the same weights
and from the same noise. A model `consistency` is tuned on the run of `--teacher`; one named
`denoising` is denoising-diffusion-pytorch's own (see diffusions_denoising.py).
"""

from __future__ import annotations

import time
from dataclasses import asdict

import torch
from torch import Tensor

from trials import Found, Trial, run_trials
from triptych import images
from triptych.evaluation.shares import recognisable
from triptych.families.base import GenerativeModel, Iterative
from triptych.families.diffusion.model import Diffusion
from triptych.families.labels import Labels
from triptych.tasks import likelihood, reconstruction, sampling
from vaes import bits
from yardstick import SAMPLES, Yardstick

OFTEN = 4 * 25  # network calls beyond which a recipe's own sampler is too slow to be measured
QUICK = ("heun", 25)
SHOWN = 64
COMPARED = 500  # samples of each sampler
SAMPLERS = [
    ("dpm-solver++", 8),
    ("dpm-solver++", 12),
    ("dpm-solver++", 15),
    ("dpm-solver++", 19),
    ("heun", 5),
    ("heun", 8),
    ("heun", 10),
    ("heun", 125),
    ("euler", 19),
    ("ddim", 50),
    ("stochastic-heun", 25),
    ("ancestral", 100),
    ("ancestral", 1000),
]
INVERTED, INVERSION_STEPS = 64, (10, 50)
LIKELIHOOD_IMAGES = 64


def about(yardstick: Yardstick) -> Found:
    """What the classifier makes of real images."""
    return {"real_recognisable": asdict(recognisable(yardstick.reading.probabilities))}


def draw(
    model: GenerativeModel, count: int, trial: Trial, labels: Labels | None
) -> tuple[Tensor, float]:
    """Samples and the seconds that they took."""
    started = time.perf_counter()
    found = sampling.sample(model, count, 0, trial.yardstick.machine, labels=labels)
    return found, time.perf_counter() - started


def compared(model: Diffusion, trial: Trial, labels: Labels | None) -> Found:
    """Samplers and steps on the same weights from the same noise."""
    found = {}
    for name, steps in SAMPLERS:
        kind = model.with_sampler(name, steps)
        count = COMPARED if steps < 1000 else SHOWN
        drawn, seconds = draw(kind, count, trial, labels)
        entry: Found = {"calls": kind.network_calls, "seconds_of_64": seconds * SHOWN / count}
        if count == COMPARED:
            entry |= trial.yardstick.samples(drawn)
        found[f"{name} {steps}"] = entry
        print(name, steps, entry["calls"], f"{entry['seconds_of_64']:.2f} s", flush=True)
    return found


def inverted(model: Diffusion, trial: Trial) -> Found:
    """PSNR of held-out images after the way to the noise and back, by steps each way."""
    yardstick, found = trial.yardstick, {}
    real = yardstick.real[:INVERTED]
    for steps in INVERSION_STEPS:
        kind = model.with_sampler("heun", steps)
        again = reconstruction.reconstruct(kind, real, 0, yardstick.machine)
        error = (again.double() - real.double()).square().mean()
        found[str(steps)] = (10 * torch.log10(255**2 / error)).item()
    return found


def likelihoods(model: Diffusion, trial: Trial) -> Found:
    """Bits per dimension by each method."""
    pixels, machine = trial.yardstick.real[:LIKELIHOOD_IMAGES], trial.yardstick.machine
    found = {}
    for method in model.bounds:
        terms = likelihood.negative_bounds(model, pixels, method, 0, machine)
        total = torch.stack(list(terms.values())).sum(0)
        found[method] = asdict(bits(total, model.shape.dimensions))
    return found


def measure(trial: Trial) -> Found:
    """Train and measure one of them."""
    run = trial.train()
    model = run.model
    assert isinstance(model, Iterative)
    if model.network_calls > OFTEN:
        model = model.with_sampler(*QUICK)
    assert isinstance(model, GenerativeModel)
    drawn, _ = draw(model, SAMPLES, trial, run.labels)
    images.grid(drawn[:SHOWN]).save(trial.keep / "samples.png")
    facts = {
        "images_seen": run.facts["images_seen"],
        "seconds": run.facts["train_seconds"],
        "calls": model.network_calls,
        "seconds_of_64": draw(model, SHOWN, trial, run.labels)[1],
    }
    found = facts | trial.yardstick.samples(drawn)
    if isinstance(model, Diffusion):
        found |= {"inversion_psnr": inverted(model, trial), "bits": likelihoods(model, trial)}
        if not trial.model.endswith(":course"):
            found["samplers"] = compared(model, trial, run.labels)
    return found


def said(e: Found) -> str:
    """One line on a model."""
    return (
        f"{e['seconds']:.0f} s, {e['images_seen']} images, {e['calls']} calls, "
        f"{e['seconds_of_64']:.2f} s for 64, FD {e['frechet_distance']['value']:.0f}, "
        f"KD {e['kernel_distance']['value']:.3f}, precision {e['precision']:.2f}, "
        f"recall {e['recall']:.2f}, density {e['density']:.2f}, coverage {e['coverage']:.2f}, "
        f"recognisable {e['recognisable']['value']:.2f}, "
        f"sharpness {e['sharpness']['value']:.2f}, "
        + ", ".join(f"{m} {b['value']:.3f} bits" for m, b in e.get("bits", {}).items())
        + "".join(f", {p:.1f} dB in {s}" for s, p in e.get("inversion_psnr", {}).items())
    )


if __name__ == "__main__":
    run_trials(__doc__ or "", ["diffusion:course", "diffusion"], about, measure, said)
