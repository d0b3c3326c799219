"""Diffusion recipes trained for the same time on the same images, measured on the validation part.

    python benchmarks/diffusions.py --data DATA ... --models diffusion:course diffusion --out JSON

Each is sampled as its recipe has it, the practical's by 100 steps instead of 1000.
`diffusion+samplers` also compares samplers on the same weights and from the same noise,
`diffusion+labels` is told the labels, `diffusion+consistency` is tuned in few calls for twice the
time afterwards, and `denoising` is denoising-diffusion-pytorch's own (diffusions_denoising.py).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

import diffusions_denoising
import triptych
from trials import Found, Trial, run_trials
from triptych import images
from triptych.config import Budget
from triptych.families.diffusion.model import Diffusion, NoiseToImage
from triptych.families.labels import Labels
from triptych.families.protocol import GenerativeModel
from triptych.metrics.labels import recognisable
from triptych.run import Run
from triptych.tasks import likelihood, reconstruct, sample
from vaes import bits
from yardstick import Yardstick, brief

OFTEN = 4 * 25  # network calls beyond which a recipe's own sampler is too slow to be measured
QUICK, FEW = ("ancestral", 100), 192  # its steps then, and how many samples
SAMPLES = 1000
SHOWN = 64
COMPARED = 500  # samples of each sampler, and of the peer
TRIED = 128  # of the peer's averaged and of its last weights
SAMPLERS = [
    ("dpm-solver++", 5),
    ("dpm-solver++", 7),
    ("dpm-solver++", 10),
    ("dpm-solver++", 15),
    ("heun", 5),
    ("heun", 8),
    ("heun", 10),
    ("heun", 125),
    ("euler", 20),
    ("ddim", 50),
    ("stochastic-heun", 25),
    ("ancestral", 100),
    ("ancestral", 1000),
]
JUMPS = (1, 2, 3, 4)  # calls of a consistency model
INVERTED, INVERSION_STEPS = 64, (10, 50)
LIKELIHOOD_IMAGES = 64


def about(yardstick: Yardstick) -> Found:
    """What the classifier makes of real images."""
    return {"real_recognisable": brief(recognisable(yardstick.reading.probabilities))}


def draw(
    model: GenerativeModel, count: int, trial: Trial, labels: Labels | None
) -> tuple[Tensor, float]:
    """Samples and the seconds that they took."""
    started = time.perf_counter()
    found = sample.sample(model, count, 0, trial.yardstick.machine, labels=labels)
    return found, time.perf_counter() - started


def compared(
    model: NoiseToImage, kinds: list[tuple[str, int]], trial: Trial, labels: Labels | None
) -> Found:
    """Samplers and steps on the same weights from the same noise."""
    found = {}
    for name, steps in kinds:
        kind = model.with_sampler(name, steps)
        drawn, seconds = draw(kind, COMPARED, trial, labels)
        entry: Found = {"calls": kind.network_calls, "seconds_of_64": seconds * SHOWN / COMPARED}
        found[f"{name} {steps}"] = entry | trial.yardstick.samples(drawn)
        distance = found[f"{name} {steps}"]["frechet_distance"]["value"]
        print(name, steps, entry["calls"], f"{entry['seconds_of_64']:.2f} s, {distance:.1f}")
    return found


def inverted(model: Diffusion, trial: Trial) -> Found:
    """PSNR of held-out images after the way to the noise and back, by steps each way."""
    yardstick, found = trial.yardstick, {}
    real = yardstick.real[:INVERTED]
    for steps in INVERSION_STEPS:
        kind = model.with_sampler("heun", steps)
        again = reconstruct.reconstruct(kind, real, 0, yardstick.machine)
        error = (again.double() - real.double()).square().mean()
        found[str(steps)] = (10 * torch.log10(255**2 / error)).item()
    return found


def likelihoods(model: Diffusion, methods: Sequence[str], trial: Trial) -> Found:
    """Bits per dimension by each method."""
    pixels, machine = trial.yardstick.real[:LIKELIHOOD_IMAGES], trial.yardstick.machine
    found = {}
    for method in methods:
        terms = likelihood.negative_bounds(model, pixels, method, 0, machine)
        total = torch.stack(list(terms.values())).sum(0)
        found[method] = brief(bits(total, model.shape.dimensions))
    return found


def sampled(run: Run, trial: Trial) -> Found:
    """A run's samples, what they cost, and their picture."""
    model = run.model
    assert isinstance(model, NoiseToImage)
    slow = model.network_calls > OFTEN
    if slow:
        model = model.with_sampler(*QUICK)
    drawn, _ = draw(model, FEW if slow else SAMPLES, trial, run.labels)
    images.grid(drawn[:SHOWN]).save(run.folder.path / "samples.png")
    return {
        "images_seen": run.record.images_seen,
        "seconds": run.record.train_seconds,
        "calls": model.network_calls,
        "seconds_of_64": draw(model, SHOWN, trial, run.labels)[1],
    } | trial.yardstick.samples(drawn)


def measure_peer(trial: Trial) -> Found:
    """denoising-diffusion-pytorch: its averaged or its last weights, whichever are better."""
    yardstick, data = trial.yardstick, trial.yardstick.data
    seconds = Budget.parse(trial.budget).amount
    peer = diffusions_denoising.train(data.train.images, data.shape, seconds)

    def distance(averaged: bool) -> float:
        drawn = peer.sample(TRIED, averaged)
        return float(yardstick.samples(drawn)["kernel_distance"]["value"])

    averaged = min((True, False), key=distance)
    started = time.perf_counter()
    drawn = peer.sample(COMPARED, averaged)
    taken = (time.perf_counter() - started) * SHOWN / COMPARED
    trial.keep.mkdir(parents=True, exist_ok=True)
    images.grid(drawn[:SHOWN]).save(trial.keep / "samples.png")
    return {
        "images_seen": peer.images_seen,
        "seconds": peer.seconds,
        "calls": diffusions_denoising.CALLS,
        "seconds_of_64": taken,
        "averaged": averaged,
    } | yardstick.samples(drawn)


def measure_student(teacher: Run, trial: Trial) -> Found:
    """The teacher tuned to few calls, in twice its time."""
    student = triptych.train(
        "diffusion:consistency",
        trial.yardstick.data,
        budget=f"{2 * Budget.parse(trial.budget).amount:g}s",
        size=trial.size,
        seed=trial.seed,
        out=trial.keep.with_name(trial.keep.name + "-student"),
        conditional=trial.conditional,
        teacher=teacher.folder.path,
        machine=trial.yardstick.machine,
    )
    assert isinstance(student.model, NoiseToImage)
    jumps = [("consistency", steps) for steps in JUMPS]
    return sampled(student, trial) | {
        "samplers": compared(student.model, jumps, trial, student.labels)
    }


def measure(trial: Trial) -> Found:
    """Train and measure one of them."""
    if trial.model == "denoising":
        return measure_peer(trial)
    name, *extras = trial.model.split("+")
    trial = replace(trial, model=name, conditional=trial.conditional or "labels" in extras)
    run = trial.train()
    found, model = sampled(run, trial), run.model
    if isinstance(model, Diffusion):
        slow = name.endswith(":course")
        found["bits"] = likelihoods(model, ["variational"] if slow else list(model.bounds), trial)
        if not slow:
            found["inversion_psnr"] = inverted(model, trial)
        if "samplers" in extras:
            found["samplers"] = compared(model, SAMPLERS, trial, run.labels)
    if "consistency" in extras:
        found["student"] = measure_student(run, trial)
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
        + (f"; student: {said(e['student'])}" if "student" in e else "")
    )


if __name__ == "__main__":
    run_trials(__doc__ or "", ["diffusion:course", "diffusion"], about, measure, said)
