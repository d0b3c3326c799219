"""What a model gives to be measured: its samples, and what it does with held-out images.

Held-out images are the same ones for every model. The curve of quality over network calls is here
too, since it draws samples of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from triptych.console import Console
from triptych.evaluation.classifier import Reading
from triptych.evaluation.reference import Reference, probe
from triptych.families.capabilities import Encodes, Iterative, Represents, why_not
from triptych.families.labels import Labels
from triptych.families.protocol import GenerativeModel
from triptych.metrics import entry
from triptych.metrics.intervals import Estimate
from triptych.metrics.kernel_distance import kernel_value
from triptych.metrics.memorised import Nearest, nearest
from triptych.metrics.paths import path_length, path_uniformity
from triptych.metrics.reconstruction import WINDOW, reconstruction_psnr, reconstruction_ssim
from triptych.tasks import interpolate, likelihood, reconstruct, sample
from triptych.tasks.figures import Curve

LIKELIHOOD_IMAGES = 256
RECONSTRUCTED_IMAGES = 256
PAIRS, POINTS = 64, 16  # of real images that paths lead between, and images on each
SMALL = f"images smaller than the {WINDOW} pixels that SSIM looks at together"
NOWHERE = "the paths lead nowhere: both ends are decoded alike"
FEW_PAIRS = "fewer than two pairs of test images"
NO_LABELS = "the data have no labels to read off a representation"
FEW_PROBED = "too few labelled images"
EVALUATION_SEED = 1_000_003  # samples shown in figures are not the ones that are measured
SAMPLES = 200  # for each place: the kernel distance has no bias at any count
CHAINS = {  # steps of as many calls: 5, 9, 15 and 25
    "heun": (3, 5, 8, 13),
    "dpm-solver++": (5, 9, 15, 25),
    "consistency": (1, 2, 3, 4),  # of models that have no other sampler
}


def likelihood_entries(model: GenerativeModel, real: Reference, seed: int) -> list[dict[str, Any]]:
    """The default bound on held-out images."""
    pixels = real.data.test.choose(LIKELIHOOD_IMAGES, "likelihood").images
    return [likelihood.bits_per_dim(model, pixels, seed, real.machine)]


def reconstruction_entries(
    model: GenerativeModel, real: Reference, seed: int
) -> list[dict[str, Any]]:
    """PSNR and SSIM, for models that encode."""
    pixels = real.data.test.choose(RECONSTRUCTED_IMAGES, "reconstruction").images
    found: dict[str, Estimate | None] = {"reconstruction_psnr": None, "reconstruction_ssim": None}
    note = dict.fromkeys(found, "")
    if isinstance(model, Encodes):
        again = reconstruct.reconstruct(model, pixels, seed, real.machine)
        found["reconstruction_psnr"] = reconstruction_psnr(pixels, again)
        if min(pixels.shape[2:]) >= WINDOW:
            found["reconstruction_ssim"] = reconstruction_ssim(pixels, again)
        else:
            note["reconstruction_ssim"] = SMALL
    else:
        note = dict.fromkeys(found, why_not(model, "encode"))
    return [
        entry(
            name,
            estimate,
            len(pixels),
            reference="test",
            method="normal",
            note=note[name],
        )
        for name, estimate in found.items()
    ]


def path_entries(model: GenerativeModel, real: Reference, seed: int) -> list[dict[str, Any]]:
    """Length and evenness of the ways between pairs of real images, for models that encode."""
    pixels = real.data.test.choose(2 * PAIRS, "paths").images
    pairs = len(pixels) // 2
    found: dict[str, Estimate | None] = {"path_length": None, "path_uniformity": None}
    if not isinstance(model, Encodes):
        note = why_not(model, "encode")
    elif pairs < 2:
        note = FEW_PAIRS
    else:
        first, last = pixels[:pairs], pixels[pairs : 2 * pairs]
        ways = interpolate.between_images(model, first, last, POINTS, seed, real.machine)
        features = real.extractor(ways.flatten(0, 1), real.machine).view(pairs, POINTS, -1)
        found = {
            "path_length": path_length(features),
            "path_uniformity": path_uniformity(features),
        }
        note = NOWHERE if None in found.values() else ""
    return [
        entry(
            name,
            estimate,
            pairs,
            reference="test",
            features=real.extractor.name,
            method="normal",
            note=note,
        )
        for name, estimate in found.items()
    ]


def probe_entries(model: GenerativeModel, real: Reference, seed: int) -> list[dict[str, Any]]:
    """Accuracy of a linear probe on the model's representation; its floor is that on raw pixels."""
    parts, found = real.probed, None
    note = NO_LABELS if real.data.classes is None else ""
    if not note and min(map(len, parts)) < 2:
        note = FEW_PROBED
    if not note:
        assert isinstance(model, Represents)  # all do
        found = probe(
            [reconstruct.represent(model, part.images, real.machine) for part in parts], parts
        )
    return [
        entry(
            "probe_accuracy",
            found,
            len(parts[-1]),
            reference="test",
            floor=None if found is None else real.pixel_accuracy,
            method="Wilson",
            note=note,
        )
    ]


ABILITIES = {
    "likelihood": likelihood_entries,
    "reconstructions": reconstruction_entries,
    "paths": path_entries,
    "linear probe": probe_entries,
}


@dataclass(frozen=True, eq=False)
class Generated:
    """Samples, uint8 [N,C,H,W], and what is known of them.

    nearest: the training images nearest to them
    reading: what the data's classifier makes of them; None where there is none
    """

    images: Tensor
    features: Tensor
    nearest: Nearest
    reading: Reading | None


def describe(samples: Tensor, real: Reference) -> Generated:
    """By the extractor that described the real images."""
    reading = None if real.labels is None else real.labels.read(samples, real.machine)
    if reading is not None and real.extractor is real.labels:
        features = reading.features
    else:
        features = real.extractor(samples, real.machine)
    return Generated(samples, features, nearest(features, real.training_features), reading)


def worst_offenders(generated: Generated, real: Reference, count: int) -> tuple[Tensor, Tensor]:
    """The samples nearest to a training image, and those images: uint8 [count,C,H,W] each."""
    order = generated.nearest.distance.argsort()[:count]
    return generated.images[order], real.training.images[generated.nearest.index[order]]


def quality_by_calls(
    model: GenerativeModel, real: Reference, labels: Labels | None, console: Console
) -> Curve | None:
    """Kernel distance to the test images by network calls for each image, a line per sampler.

    None for models that sample in one call.
    """
    if not isinstance(model, Iterative):
        return None
    chains = {name: steps for name, steps in CHAINS.items() if name in model.samplers}
    count, test = min(SAMPLES, real.count), real.features["test"]
    lines: dict[str, list[float]] = {name: [] for name in chains}
    across: list[float] = []  # calls of each length, the same for all samplers
    plan = [(name, steps) for name, lengths in chains.items() for steps in lengths]
    with console.bar("  quality by calls", len(plan)) as bar:
        for done, (name, steps) in enumerate(plan):
            bar.update(done, note=f"{name}, {steps} steps")
            kind = model.with_sampler(name, steps)
            assert isinstance(kind, GenerativeModel)
            drawn = sample.sample(kind, count, EVALUATION_SEED, real.machine, labels=labels)
            features = real.extractor(drawn, real.machine)
            lines[name].append(kernel_value(features, test, real.kernels["test"]))
            if name == plan[0][0]:
                across.append(float(kind.network_calls))
    mark = float(model.network_calls)
    return Curve(across, lines, mark=mark if mark <= max(across) else None)
