"""The real side of every metric, read once for all models: features, kept, and floors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from triptych import files, images
from triptych.console import Console
from triptych.data.dataset import ImageData, Part, choose_rows
from triptych.data.store import cache_folder
from triptych.errors import InputError
from triptych.evaluation import classifier
from triptych.evaluation.extractors import Extractor, Labels, extractor_for, labels_of_data
from triptych.hardware import Machine
from triptych.metrics.frechet_distance import enough_to_extrapolate, frechet_distance, frechet_value
from triptych.metrics.intervals import Estimate, extrapolated
from triptych.metrics.kernel_distance import Kernels, kernel_value
from triptych.metrics.memorised import Nearest, nearest
from triptych.metrics.prdc import enough_for_neighbours, neighbours
from triptych.metrics.probe_accuracy import Represented, probe_accuracy
from triptych.options import DEFAULT_COUNTS

LEAST_SAMPLES = 3  # the jackknife leaves one out, and a covariance needs two
MOST_REFERENCES = 10_000  # real images a distance is measured against
MOST_TRAINING = 50_000  # training images that samples are looked for among
PROBE_TRAIN, PROBE_VALIDATION = 5000, 2000
NAME = "features"  # of the folder, and of the tensor in each file


@dataclass(frozen=True)
class Floors:
    """By reference, test and train; those that few images have no number for are left out.

    limit:      of the Frechet distance to the test images, extrapolated
    neighbours: precision, recall, density and coverage by name
    """

    frechet: dict[str, float]
    kernel: dict[str, float]
    limit: float | None
    neighbours: dict[str, float]


def find_floors(
    test: Tensor, train: Tensor, other: Tensor, kernels: Mapping[str, Kernels]
) -> Floors:
    """From features of the references and of as many other real images as there are samples.

    kernels: within each reference
    """
    count = len(other)
    as_many = test[:count]  # against the training images, test images are the other real ones
    pairs = {"test": (other, test), "train": (as_many, train)}
    limit = None
    if enough_to_extrapolate(count, test):
        limit = extrapolated(frechet_distance(other, test)).value
    near = {}
    if enough_for_neighbours(count):
        found = neighbours(as_many, other, intervals=False)
        near = {name: share.value for name, share in vars(found).items()}
    return Floors(
        frechet={name: frechet_value(*pair) for name, pair in pairs.items()},
        kernel={name: kernel_value(*pair, kernels[name]) for name, pair in pairs.items()},
        limit=limit,
        neighbours=near,
    )


@dataclass(frozen=True, eq=False)
class Reference:
    """Real images of one data set, and what is known of them.

    count:     samples to measure
    test, train: the two references, uint8 [M,C,H,W]
    other:     as many real images as there are samples, outside the test part, for the floor
    features:  of all three by name, by the extractor
    labels:    the data's classifier; None where it has no labels
    readings:  what that makes of `test` and `other`, by name
    accuracy:  of the classifier on the test images
    """

    data: ImageData
    count: int
    test: Tensor
    train: Tensor
    other: Tensor
    extractor: Extractor
    features: dict[str, Tensor]
    labels: Labels | None
    readings: dict[str, classifier.Reading]
    accuracy: float | None
    machine: Machine

    @cached_property
    def floors(self) -> Floors:
        """What real images score against other real images, on the extractor's features."""
        return find_floors(**self.features, kernels=self.kernels)

    @cached_property
    def kernels(self) -> dict[str, Kernels]:
        """Within each reference, by name: the same for every model."""
        return {name: Kernels.within(self.features[name]) for name in ("test", "train")}

    @cached_property
    def training(self) -> Part:
        """The training images that samples are looked for among."""
        return self.data.train.choose(MOST_TRAINING, "memorised")

    @cached_property
    def training_features(self) -> Tensor:
        """Of those, by the extractor."""
        return kept_features(self.extractor, self.training.images, self.machine)

    @cached_property
    def held_out_nearest(self) -> Nearest:
        """The training image that is nearest to each test image."""
        return nearest(self.features["test"], self.training_features)

    @cached_property
    def probed(self) -> list[Part]:
        """The images that a probe learns from, is chosen on and is tested on."""
        return [
            self.data.train.choose(PROBE_TRAIN, "probe"),
            self.data.validation.choose(PROBE_VALIDATION, "probe validation"),
            self.data.test.choose(MOST_REFERENCES, "reference test"),
        ]

    @cached_property
    def pixel_accuracy(self) -> float:
        """Of a probe on raw pixels: what a representation should better."""
        flat = [images.to_float(part.images).flatten(1) for part in self.probed]
        return probe(flat, self.probed).value


def probe(represented: Sequence[Tensor], parts: Sequence[Part]) -> Estimate:
    """Accuracy on representations [N,F] of the three parts of `Reference.probed`."""
    told = []
    for features, part in zip(represented, parts, strict=True):
        assert part.labels is not None
        told.append(Represented(features, part.labels))
    return probe_accuracy(*told)


def count_samples(asked: int | None, data: ImageData, device: str) -> int:
    """Samples to measure: 2,000 on CPU, 10,000 on GPU and at most, never more than test images.

    Raises InputError on too few to measure anything.
    """
    usual = DEFAULT_COUNTS["cuda" if device.startswith("cuda") else "cpu"]
    count = min(asked or usual, len(data.test), MOST_REFERENCES)
    if count < LEAST_SAMPLES:
        raise InputError(
            f"{count} samples against {len(data.test)} test images are too few to measure",
            f"give at least {LEAST_SAMPLES} of both",
        )
    return count


def read_real(
    data: ImageData, count: int, features: str, machine: Machine, console: Console
) -> Reference:
    """Choose the real images and describe them.

    count:    as `count_samples` gives it
    features: as `extractors.pick_name` gives it
    """
    test = data.test.choose(MOST_REFERENCES, "reference test")
    train = data.train.choose(MOST_REFERENCES, "reference train").images
    validation = data.validation.choose(count, "floor").images
    rest = data.train.choose(count - len(validation), "floor").images
    chosen = {"test": test.images, "train": train, "other": torch.cat([validation, rest])}
    labels = labels_of_data(data, machine, console)
    extractor = extractor_for(features, data, train, labels, machine)
    names, readings, accuracy = ("test", "other"), {}, None
    with console.bar("  describing real images", len(chosen)) as bar:
        if labels is not None:
            bar.update(0, note="what the classifier reads")
            readings = {name: labels.read(chosen[name], machine) for name in names}
            assert test.labels is not None
            accuracy = classifier.accuracy(readings["test"], test.labels)
        described = {}
        for done, name in enumerate(names):
            bar.update(done, note="features of test images")
            described[name] = (
                readings[name].features
                if extractor is labels
                else kept_features(extractor, chosen[name], machine)
            )
        real = Reference(
            data=data,
            count=count,
            **chosen,
            extractor=extractor,
            features=described,
            labels=labels,
            readings=readings,
            accuracy=accuracy,
            machine=machine,
        )
        bar.update(len(names), note="features of training images")
        described["train"] = features_of_reference(real)
    return real


def features_of_reference(real: Reference) -> Tensor:
    """Of the training images that distances are measured against, [M,F].

    Rows of what is known of all training images, where samples are looked for among all of them.
    """
    count = len(real.data.train)
    if count > MOST_TRAINING:
        return kept_features(real.extractor, real.train, real.machine)
    return real.training_features[choose_rows(count, MOST_REFERENCES, "reference train")]


def kept_features(extractor: Extractor, pixels: Tensor, machine: Machine) -> Tensor:
    """Features of real images [N,F], from the cache where these very images were described before.

    The key is a digest of the pixels and of the extractor, so nothing stale can be found.
    """
    found = hashlib.blake2b(extractor.key.encode(), digest_size=16)
    found.update(str(tuple(pixels.shape)).encode())
    found.update(pixels.contiguous().numpy().tobytes())
    path = cache_folder() / NAME / f"{found.hexdigest()}.safetensors"
    known = read(path)
    if known is not None and len(known) == len(pixels):
        return known
    features = extractor(pixels, machine)
    keep(features, path)
    return features


def read(path: Path) -> Tensor | None:
    """The features in a file; None where there is none, or a damaged one, which is removed."""
    if not path.is_file():
        return None
    try:
        return load_file(path)[NAME]
    except (OSError, KeyError, SafetensorError):
        path.unlink(missing_ok=True)
        return None


def keep(features: Tensor, path: Path) -> None:
    """Write features; where that is impossible they are found anew the next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, save({NAME: features.contiguous()}))
    except OSError:
        path.unlink(missing_ok=True)
