"""All numbers of one trained model, as results.json holds them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from triptych.console import Console
from triptych.data.dataset import ImageData, Part
from triptych.errors import InputError
from triptych.evaluation import classifier, cost
from triptych.evaluation.classifier import Reading
from triptych.evaluation.frechet import frechet_distance
from triptych.evaluation.intervals import Estimate
from triptych.evaluation.reconstruction import reconstruction_psnr, reconstruction_ssim
from triptych.evaluation.shares import label_balance, recognisable
from triptych.evaluation.sharpness import sharpness
from triptych.families.base import Encodes, GenerativeModel, describe_absence
from triptych.hardware import Machine
from triptych.seeding import generator
from triptych.tasks import likelihood, reconstruction, sampling
from triptych.training.folder import labels_of

SCHEMA = 1
FEW = 2000  # samples below which the interval matters more than the value
LEAST_SAMPLES = 3  # the jackknife leaves one out, and a covariance needs two
MOST_REFERENCES = 10_000  # real images a distance is measured against
LIKELIHOOD_IMAGES = 256
RECONSTRUCTED_IMAGES = 256
EVALUATION_SEED = 1_000_003  # samples shown in figures are not the ones that are measured
MEASURED_ON = ("name", "fingerprint", "train", "validation", "test")
NO_LABELS = "the data have no labels: no classifier can be trained on them"
TOLD = "told the labels in training: samples are of all classes, by their shares in the data"


@dataclass(frozen=True, eq=False)
class Real:
    """The real side of every metric, read once for all models.

    test, train: the two references; other: as many real images as there are samples, outside
    the test part, for the floor against it. Readings are None where the data have no labels.
    """

    count: int
    test: Tensor
    train: Tensor
    other: Tensor
    readings: dict[str, Reading] | None
    network: classifier.Classifier | None
    accuracy: float | None


def count_samples(asked: int | None, data: ImageData, device: str) -> int:
    """Samples to measure: 2,000 on CPU, 10,000 on GPU, never more than there are test images.

    Raises InputError on too few to measure anything.
    """
    usual = 10_000 if device.startswith("cuda") else 2_000
    count = min(asked or usual, len(data.test))
    if count < LEAST_SAMPLES:
        raise InputError(
            f"{count} samples against {len(data.test)} test images are too few to measure",
            f"give at least {LEAST_SAMPLES} of both",
        )
    return count


def read_real(data: ImageData, count: int, machine: Machine, console: Console) -> Real:
    """Choose the real images and read them with the data's classifier.

    count: as `count_samples` gives it
    """
    test = pick(data.test, MOST_REFERENCES, "reference test")
    train = pick(data.train, MOST_REFERENCES, "reference train").images
    validation = pick(data.validation, count, "floor").images
    rest = pick(data.train, count - len(validation), "floor").images
    other = torch.cat([validation, rest])
    if data.classes is None:
        return Real(count, test.images, train, other, None, None, None)
    network = classifier.classifier_for(data, machine, console)
    readings = {
        name: classifier.read(network, pixels, machine)
        for name, pixels in {"test": test.images, "train": train, "other": other}.items()
    }
    assert test.labels is not None
    accuracy = classifier.accuracy(readings["test"], test.labels)
    return Real(count, test.images, train, other, readings, network, accuracy)


def pick(part: Part, count: int, purpose: str) -> Part:
    """At most `count` images of a part with their labels, the same ones every time."""
    if count >= len(part):
        return part
    rows = torch.randperm(len(part), generator=generator(0, purpose))[: max(count, 0)]
    return Part(part.images[rows], None if part.labels is None else part.labels[rows])


def evaluate(
    model: GenerativeModel,
    facts: dict[str, Any],
    data: ImageData,
    real: Real,
    machine: Machine,
    console: Console,
) -> dict[str, Any]:
    """results.json of a run. `facts` is its run.json."""
    started = time.perf_counter()
    labels = labels_of(facts)
    with console.bar(f"  sampling {facts['model']}", real.count) as bar:
        samples = sampling.sample(
            model, real.count, EVALUATION_SEED, machine, labels=labels, report=bar.update
        )
    seconds = time.perf_counter() - started
    metrics = [
        *label_metrics(samples, real, machine),
        sharpness_entry(samples, real, model.said_of_samples),
        likelihood_entry(model, facts["family"], data, machine),
        *reconstruction_entries(model, facts["family"], data, machine),
    ]
    measured_on = data.describe()
    warnings = [] if labels is None else [TOLD]
    warnings += facts.get("advice", [])  # of the last diagnosis in training
    if real.count < FEW:
        warnings.append(f"fewer than {FEW:,} samples: read the interval, not the value")
    return {
        "schema": SCHEMA,
        "model": facts["model"],
        "data": {key: measured_on[key] for key in MEASURED_ON},
        "metrics": metrics,
        "extractor": {"name": "labels", "accuracy": real.accuracy},
        "cost": {
            "parameters": cost.parameters(model),
            "train_seconds": facts["train_seconds"],
            "images_seen": facts["images_seen"],
            "train_images_per_second": facts["images_per_second"],
            "flops_per_image": cost.flops_per_image(model, machine.device),
            "sample_seconds_per_image": seconds / real.count,
            "network_calls": model.network_calls,
            "peak_memory_bytes": facts["peak_memory_bytes"],
        },
        "warnings": warnings,
    }


def entry(
    name: str,
    estimate: Estimate | None,
    n: int,
    *,
    unit: str,
    better: str,
    reference: str,
    floor: float | None = None,
    features: str | None = None,
    method: str | None = None,
    note: str = "",
) -> dict[str, Any]:
    """One metric as results.json holds it; no estimate means not defined, for the noted reason."""
    return {
        "name": name,
        "value": None if estimate is None else estimate.value,
        "low": None if estimate is None else estimate.low,
        "high": None if estimate is None else estimate.high,
        "n": n,
        "floor": floor,
        "unit": unit,
        "better": better,
        "features": features,
        "reference": reference,
        "kind": "not defined" if estimate is None else "estimate",
        "method": method,
        "note": note,
    }


def label_metrics(samples: Tensor, real: Real, machine: Machine) -> list[dict[str, Any]]:
    """Frechet distance to both references, recognisable, label balance."""
    n = real.count
    if real.readings is None or real.network is None:
        undefined = [
            ("frechet_distance", "", "lower", "test"),
            ("frechet_distance", "", "lower", "train"),
            ("recognisable", "share", "higher", "none"),
            ("label_balance", "share", "lower", "test"),
        ]
        return [
            entry(name, None, n, unit=u, better=b, reference=r, features="labels", note=NO_LABELS)
            for name, u, b, r in undefined
        ]
    reading = classifier.read(real.network, samples, machine)
    test, train, other = (real.readings[name] for name in ("test", "train", "other"))
    as_many_test = Reading(test.features[:n], test.probabilities[:n])
    found = []
    for name, reference, floor_side in (("test", test, other), ("train", train, as_many_test)):
        found.append(
            entry(
                "frechet_distance",
                frechet_distance(reading.features, reference.features),
                n,
                unit="",
                better="lower",
                reference=name,
                floor=frechet_distance(floor_side.features, reference.features).value,
                features="labels",
                method="delete-group jackknife",
            )
        )
    found.append(
        entry(
            "recognisable",
            recognisable(reading.probabilities),
            n,
            unit="share",
            better="higher",
            reference="none",
            floor=recognisable(test.probabilities).value,
            features="labels",
            method="Wilson",
        )
    )
    found.append(
        entry(
            "label_balance",
            label_balance(reading.probabilities, test.probabilities),
            n,
            unit="share",
            better="lower",
            reference="test",
            floor=label_balance(other.probabilities, test.probabilities).value,
            features="labels",
            method="delete-group jackknife",
        )
    )
    return found


def sharpness_entry(samples: Tensor, real: Real, said: str) -> dict[str, Any]:
    """Ratio to real; its floor is 1 by definition. `said` of the samples."""
    return entry(
        "sharpness",
        sharpness(samples, real.test),
        real.count,
        unit="ratio to real",
        better="floor",
        reference="test",
        floor=1.0,
        method="delete-group jackknife",
        note=said,
    )


def likelihood_entry(
    model: GenerativeModel, family: str, data: ImageData, machine: Machine
) -> dict[str, Any]:
    """The default bound on held-out images."""
    pixels = pick(data.test, LIKELIHOOD_IMAGES, "likelihood").images
    return likelihood.bits_per_dim(model, family, pixels, EVALUATION_SEED, machine)


def reconstruction_entries(
    model: GenerativeModel, family: str, data: ImageData, machine: Machine
) -> list[dict[str, Any]]:
    """PSNR and SSIM on held-out images, for models that encode."""
    pixels = pick(data.test, RECONSTRUCTED_IMAGES, "reconstruction").images
    psnr, ssim, note = None, None, ""
    if isinstance(model, Encodes):
        found = reconstruction.reconstruct(model, pixels, EVALUATION_SEED, machine)
        psnr, ssim = reconstruction_psnr(pixels, found), reconstruction_ssim(pixels, found)
    else:
        note = describe_absence("encode", family)
    named = {"reconstruction_psnr": (psnr, "dB"), "reconstruction_ssim": (ssim, "")}
    return [
        entry(
            name,
            estimate,
            len(pixels),
            unit=unit,
            better="higher",
            reference="test",
            method="normal",
            note=note,
        )
        for name, (estimate, unit) in named.items()
    ]
