"""The real side of every metric, read once for all models: features, kept, and floors."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
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
from triptych.evaluation.extractors import (
    Extractor,
    Labels,
    extractor_for,
    second_name,
    why_no_classifier,
)
from triptych.evaluation.legibility import not_told
from triptych.hardware import Machine
from triptych.metrics import Metric, NotDefinedError, all_metrics, own_metrics
from triptych.metrics.intervals import Estimate
from triptych.metrics.memorised import Nearest, nearest
from triptych.metrics.probe_accuracy import PARTS
from triptych.metrics.sharpness import laplacian_rms
from triptych.options import DEFAULT_COUNTS
from triptych.records import EXTRAPOLATED, MeasuredOn, Note

LEAST_SAMPLES = 3  # the jackknife leaves one out, and a covariance needs two
MOST_REFERENCES = 10_000  # real images a distance is measured against
MOST_TRAINING = 50_000  # training images that samples are looked for among
LIKELIHOOD_IMAGES = RECONSTRUCTED_IMAGES = CONTROLS = 256
PAIRS = 64  # of test images that paths lead between
PROBE_TRAIN, PROBE_VALIDATION = 5000, 2000
NO_CLASSIFIER = Note("no_classifier")
SAME_IMAGES = Note("same_images")
NO_LABELS = Note("no_labels_to_probe")
FEW_PROBED = Note("few_labels")
NAME = "features"  # of the folder, and of the tensor in each file


Makers = Mapping[str, Callable[[], Tensor]]  # of tensors by name


def make(makers: Makers, names: Iterable[str]) -> dict[str, Tensor]:
    """Those of the named tensors that have a maker; NotDefinedError where one cannot be made."""
    return {name: makers[name]() for name in names if name in makers}


@dataclass(frozen=True, eq=False)
class Sent:
    """Tensors by name on a device, each made and sent when it is first asked for, and once."""

    makers: Makers
    device: str
    there: dict[str, Tensor] = field(default_factory=dict)

    def make(self, names: Iterable[str]) -> dict[str, Tensor]:
        """As the function of that name."""
        made_here = [name for name in names if name in self.makers]
        for name in made_here:
            if name not in self.there:
                self.there[name] = self.makers[name]().to(self.device)
        return {name: self.there[name] for name in made_here}


class RealSide(ABC):
    """What samples are measured against, whether the real images themselves are at hand or not.

    count:    samples to measure
    accuracy: of the data's classifier on the test images; None where there is no classifier
    seen:     how many real images behind the floors are training images, which it has seen
    metrics:  what is measured
    """

    count: int
    extractor: Extractor
    labels: Labels | None
    accuracy: float | None
    seen: int
    machine: Machine
    metrics: tuple[Metric, ...]

    @property
    @abstractmethod
    def measured_on(self) -> MeasuredOn:
        """The data, as results.json names them."""

    @property
    @abstractmethod
    def tensors(self) -> Makers:
        """The real side of metrics: `metrics` describes each."""

    @property
    @abstractmethod
    def others(self) -> Makers:
        """What other real images give in the place of a model's samples, for floors."""

    @property
    @abstractmethod
    def no_labels(self) -> Note | None:
        """Why what the classifier reads is not defined; None where it is."""

    @property
    @abstractmethod
    def second(self) -> RealSide | None:
        """The same images on the second feature set, for distances to the test images alone.

        None where there is one feature set alone.
        """

    @property
    @abstractmethod
    def training_features(self) -> Tensor:
        """Of the training images that samples are looked for among, [N,F]."""

    @property
    @abstractmethod
    def training_images(self) -> Tensor | None:
        """Those images, uint8 [N,C,H,W]; None where they are not at hand."""

    @property
    def device(self) -> str:
        """Where metrics may compute: the machine's; the processor where that may lack float64."""
        device = self.machine.device
        return device if device in images.FLOAT64_DEVICES else "cpu"

    @cached_property
    def sent(self) -> Sent:
        """`tensors` there."""
        return Sent(self.tensors, self.device)

    @cached_property
    def others_sent(self) -> Sent:
        """`others` there."""
        return Sent(self.others, self.device)

    def made(self, metric: Metric) -> dict[str, Tensor]:
        """What a metric needs of the real images, where it computes."""
        if metric.on_gpu:
            return self.sent.make(metric.needs)
        return make(self.tensors, metric.needs)

    def made_of_others(self, metric: Metric) -> dict[str, Tensor]:
        """What its floor needs in the place of samples."""
        if metric.on_gpu:
            return self.others_sent.make(metric.needs)
        return make(self.others, metric.needs)

    @cached_property
    def training_there(self) -> Tensor:
        """`training_features` where metrics may compute."""
        return self.training_features.to(self.device)

    def nearest_training(self, features: Tensor) -> Nearest:
        """The training images nearest to each row of [N,F]."""
        return nearest(features.to(self.device), self.training_there)

    @cached_property
    def floors(self) -> dict[Metric, float | Estimate | None]:
        """What real images score, as far as `floor` was asked for it."""
        return {}

    def floor(self, metric: Metric) -> float | Estimate | None:
        """What other real images score in the place of samples; computed once for all models."""
        if not callable(metric.floor):
            return metric.floor
        if metric not in self.floors:
            self.floors[metric] = metric.floor(self.made_of_others(metric), self.made(metric))
        return self.floors[metric]


@dataclass(frozen=True, eq=False)
class Reference(RealSide):
    """Real images of one data set, and what is known of them.

    count:     samples to measure
    test, train: the two references, uint8 [M,C,H,W]
    other:     as many real images as there are samples, outside the test part, for the floor
    features:  of all three by name, by the extractor
    labels:    the data's classifier; None where it has no labels
    readings:  what that makes of `test` and `other`, by name
    accuracy:  of the classifier on the test images
    seen:      how many of `other` are training images, which the classifier has seen
    metrics:   what is measured
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
    metrics: tuple[Metric, ...] = field(default_factory=own_metrics)
    seen: int = 0

    @property
    def measured_on(self) -> MeasuredOn:
        """The data, as results.json names them."""
        record = self.data.describe()
        return MeasuredOn(**{key.name: getattr(record, key.name) for key in fields(MeasuredOn)})

    @property
    def tensors(self) -> Makers:
        """The real side of metrics: `metrics` describes each."""
        return {
            "test_images": lambda: self.test,
            "test_detail": lambda: self.test_detail,
            "test_features": lambda: self.varied_features("test", self.test),
            "matched_test_features": lambda: self.matched_test_features,
            "train_features": lambda: self.varied_features("train", self.train),
            "test_probabilities": lambda: self.probabilities("test"),
            "test_nearest_distances": lambda: self.test_nearest.distance,
            "likelihood_images": lambda: self.likelihood_images,
            "originals": lambda: self.originals,
            **{f"{part}_labels": partial(self.probed_labels, part) for part in PARTS},
        }

    @property
    def others(self) -> Makers:
        """What other real images give in the place of a model's samples, for floors."""
        return {
            "images": lambda: self.other,
            "features": lambda: self.features["other"],
            "probabilities": lambda: self.probabilities("other"),
            "nearest_ratios": lambda: self.test_nearest.ratio,  # `other` may hold training images
            **{f"{part}_representations": partial(self.raw_pixels, part) for part in PARTS},
        }

    @property
    def no_labels(self) -> Note | None:
        """Why what the classifier reads is not defined; None where it is."""
        if self.labels is None:
            return why_no_classifier(self.data) or NO_CLASSIFIER
        return not_told(self.labels.legibility)

    def probabilities(self, name: str) -> Tensor:
        """Of the classes in `test` or `other`, [N,K]; NotDefinedError where they tell nothing."""
        if why := self.no_labels:
            raise NotDefinedError(why)
        return self.readings[name].probabilities

    def varied_features(self, name: str, pixels: Tensor) -> Tensor:
        """Features of `test` or `train`, [M,d]; NotDefinedError where these are one and the same.

        The unit of a distance is how far real images are apart.
        """
        if all_the_same(pixels):
            raise NotDefinedError(SAME_IMAGES)
        return self.features[name]

    @cached_property
    def test_detail(self) -> Tensor:
        """How strong the finest detail of each test image is, [M]."""
        return laplacian_rms(self.test)

    @cached_property
    def matched_test_features(self) -> Tensor:
        """Features of as many test images as there are samples, [N,d]."""
        return self.features["test"][: self.count]

    @cached_property
    def likelihood_images(self) -> Tensor:
        """Test images whose likelihood is measured, uint8 [n,C,H,W]."""
        return self.data.test.choose(LIKELIHOOD_IMAGES, "likelihood").images

    @cached_property
    def originals(self) -> Tensor:
        """Test images that are reconstructed, uint8 [n,C,H,W]."""
        return self.data.test.choose(RECONSTRUCTED_IMAGES, "reconstruction").images

    @cached_property
    def path_ends(self) -> tuple[Tensor, Tensor]:
        """The first and the last image of each path, uint8 [n,C,H,W] each."""
        pixels = self.data.test.choose(2 * PAIRS, "paths").images
        pairs = len(pixels) // 2
        return pixels[:pairs], pixels[pairs : 2 * pairs]

    @cached_property
    def second(self) -> Reference | None:
        """The same images on the second feature set; of the training images it has none."""
        name = second_name(self.extractor.name, self.labels)
        if name is None:
            return None
        extractor = extractor_for(name, self.data, self.train, self.labels, self.machine)
        features = {
            "test": kept_features(extractor, self.test, self.machine),
            "other": kept_features(extractor, self.other, self.machine),
        }
        metrics = on_both(self.metrics)
        return replace(self, extractor=extractor, features=features, metrics=metrics)

    @cached_property
    def training(self) -> Part:
        """The training images that samples are looked for among."""
        return self.data.train.choose(MOST_TRAINING, "memorised")

    @property
    def training_images(self) -> Tensor:
        """The images of `training`."""
        return self.training.images

    @cached_property
    def training_features(self) -> Tensor:
        """Features of the images of `training`, [N,F]."""
        return kept_features(self.extractor, self.training.images, self.machine)

    @cached_property
    def test_nearest(self) -> Nearest:
        """The training images nearest to the test images, [M]."""
        return self.nearest_training(self.features["test"])

    @cached_property
    def controls(self) -> Tensor:
        """Training images whose reconstructions stand in for copies, uint8 [n,C,H,W]."""
        return self.training.choose(CONTROLS, "control").images

    @cached_property
    def probed(self) -> dict[str, Part]:
        """The images that a probe learns from, is chosen on and is tested on."""
        return {
            "train": self.data.train.choose(PROBE_TRAIN, "probe"),
            "validation": self.data.validation.choose(PROBE_VALIDATION, "probe validation"),
            "test": self.data.test.choose(MOST_REFERENCES, "reference test"),
        }

    def probed_labels(self, part: str) -> Tensor:
        """Classes of those, [n]; NotDefinedError without labels, or with few labelled images."""
        if self.data.classes is None:
            raise NotDefinedError(NO_LABELS)
        if why := self.no_labels:
            raise NotDefinedError(why)
        if min(map(len, self.probed.values())) < 2:
            raise NotDefinedError(FEW_PROBED)
        labels = self.probed[part].labels
        assert labels is not None
        return labels

    def raw_pixels(self, part: str) -> Tensor:
        """Of those, on [-1, 1], [n,F]: what a representation should better."""
        return images.to_float(self.probed[part].images).flatten(1)


def all_the_same(pixels: Tensor) -> bool:
    """Whether images [M,C,H,W] are all one and the same."""
    return torch.equal(pixels, pixels[:1].expand_as(pixels))


def count_samples(asked: int | None, data: ImageData, device: str) -> int:
    """Samples to measure: 2,000 on CPU, 10,000 on GPU and at most, never more than test images.

    Nor more than there are other real images, which are measured in their place for the floors.

    Raises InputError on too few to measure anything.
    """
    usual = DEFAULT_COUNTS["cuda" if device.startswith("cuda") else "cpu"]
    others = len(data.train) + len(data.validation)
    count = min(asked or usual, len(data.test), others, MOST_REFERENCES)
    if count < LEAST_SAMPLES:
        raise InputError(
            f"{count} samples against {len(data.test)} test images are too few to measure",
            f"give at least {LEAST_SAMPLES} of both",
        )
    return count


def read_real(
    data: ImageData,
    count: int,
    features: str,
    labels: Labels | None,
    machine: Machine,
    console: Console,
) -> Reference:
    """Choose the real images and describe them.

    count:    as `count_samples` gives it
    features: as `extractors.pick_name` gives it
    labels:   the data's classifier, as `extractors.labels_of_data` gives it
    """
    test = data.test.choose(MOST_REFERENCES, "reference test")
    train = data.train.choose(MOST_REFERENCES, "reference train").images
    validation = data.validation.choose(count, "floor").images
    rest = data.train.choose(count - len(validation), "floor").images
    chosen = {"test": test.images, "train": train, "other": torch.cat([validation, rest])}
    extractor = extractor_for(features, data, train, labels, machine)
    names, readings, accuracy = ("test", "other"), {}, None
    with console.bar("  describing real images", len(chosen) + 1) as bar:
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
            metrics=all_metrics(console.say),
            seen=len(rest),
        )
        bar.update(len(names), note="features of training images")
        described["train"] = features_of_reference(real)
        bar.update(len(chosen), note="the second feature set")
        _ = real.second  # made here, where a bar tells of it, and kept
    return real


def on_both(metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    """Those that are found on two feature sets: distances to the test images."""
    needs = {"features", "test_features"}
    return tuple(
        metric
        for metric in metrics
        if metric.group == "distance"
        and needs.issuperset(metric.needs)
        and metric.method != EXTRAPOLATED
    )


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
    digest = hashlib.blake2b(extractor.key.encode(), digest_size=16)
    digest.update(str(tuple(pixels.shape)).encode())
    digest.update(pixels.contiguous().numpy().reshape(-1).data)  # its own bytes, no copy
    path = cache_folder() / NAME / f"{digest.hexdigest()}.safetensors"
    features = read(path)
    if features is not None and len(features) == len(pixels):
        return features
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
        files.remove(path)
        return None


def keep(features: Tensor, path: Path) -> None:
    """Write features; where that is impossible they are found anew the next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, save({NAME: features.contiguous()}))
    except OSError:
        files.remove(path)
