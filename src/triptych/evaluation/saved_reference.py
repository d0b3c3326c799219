"""Real images kept as a reference: a ruler that a group can publish without its images.

One safetensors file holds the features and statistics that samples are measured against, what
describes new samples (the classifier's weights, or the scale of the patches), and no pixels. What a
metric needs beyond that is not defined, with the reason. The numbers are those that the data
themselves give, to the last bit, for as many samples as the reference was made for.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from triptych import files, hardware
from triptych.config import ImageShape
from triptych.data.samples import SampleFormat
from triptych.errors import InputError
from triptych.evaluation.classifier import Classifier
from triptych.evaluation.extractors import (
    NETWORKS,
    Extractor,
    Labels,
    LeadingPatches,
    Pretrained,
    digest,
    load,
)
from triptych.evaluation.reference import (
    SAME_IMAGES,
    Makers,
    RealSide,
    Reference,
    all_the_same,
    on_both,
)
from triptych.hardware import Machine, of_the_machine
from triptych.metrics import OUTPUTS, REAL, Metric, NotDefinedError
from triptych.nn.patch_features import Patches
from triptych.records import LegibilityRecord, MeasuredOn, Note, ReferenceRecord
from triptych.training import tensorfile

SUFFIX = ".safetensors"
VERSION = 2  # raised whenever the same file would give other numbers, or holds other tensors
KEY = "triptych"  # of the record among the file's metadata
CLASSIFIER, PATCHES = "classifier.", "patches."  # before the names of their tensors
SECOND = "second."  # before those of features on the second feature set
NO_PIXELS = Note("reference_without_images")  # of a number
NO_IMAGES = Note("reference_shows_no_images")  # of a picture
AGAIN = "make it again from the images by `triptych reference`"


def is_reference(data: Any) -> bool:
    """Whether what is named as data is a saved reference."""
    named = isinstance(data, str | os.PathLike)
    return named and os.fsdecode(data).lower().endswith(SUFFIX)


# Writing


def write(real: Reference, path: Path) -> ReferenceRecord:
    """Keep the real side of measurements; InputError where the system does not let us.

    Written whole or not at all. Nothing from elsewhere is measured against points.
    """
    if real.data.shape.is_point:
        raise InputError("a reference is of images, not of points", "name images")
    tensors = tensors_of(real)
    record = record_of(real, tensors)
    metadata = {KEY: json.dumps(record.to_json(), sort_keys=True)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, save(tensors, metadata))
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror})", "name another --out") from error
    return record


def tensors_of(real: Reference) -> dict[str, Tensor]:
    """Everything that is kept, by name."""
    kept = {f"{name}_features": real.features[name] for name in ("test", "other")}
    kept["training_features"] = real.training_features
    if not same(real.features["train"], real.training_features):
        kept["train_features"] = real.features["train"]
    kept["test_nearest_distances"] = real.test_nearest.distance
    kept["test_nearest_ratios"] = real.test_nearest.ratio
    kept["test_detail"] = real.test_detail
    if real.labels is not None:
        kept |= {
            f"{n}_probabilities": reading.probabilities for n, reading in real.readings.items()
        }
        weights = real.labels.network.state_dict()
        kept |= {f"{CLASSIFIER}{name}": weight.cpu() for name, weight in weights.items()}
    extractors = [real.extractor]
    if real.second is not None:
        extractors.append(real.second.extractor)
        kept |= {f"{SECOND}{n}_features": real.second.features[n] for n in ("test", "other")}
    for extractor in extractors:
        if isinstance(extractor, LeadingPatches):
            patches = extractor.patches
            parts = {"filters": patches.filters, "mean": patches.mean, "std": patches.std}
            parts["directions"] = extractor.directions
            kept |= {f"{PATCHES}{name}": part.cpu() for name, part in parts.items()}
    return {name: tensor.contiguous().clone() for name, tensor in sorted(kept.items())}


def same(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are equal."""
    return first.shape == second.shape and bool((first == second).all())


def record_of(real: Reference, tensors: dict[str, Tensor]) -> ReferenceRecord:
    """What the file says of itself."""
    data = real.data
    pixels = {"test": real.test, "train": real.train}
    return ReferenceRecord(
        schema=VERSION,
        triptych=hardware.own_version(),
        data=real.measured_on,
        resolution=data.shape.resolution,
        channels=data.shape.channels,
        fit=data.fit,
        ranges=data.ranges,
        classes=data.classes,
        count=real.count,
        features=real.extractor.name,
        key=real.extractor.key,
        second_features=None if real.second is None else real.second.extractor.name,
        second_key=None if real.second is None else real.second.extractor.key,
        accuracy=real.accuracy,
        legibility=None if real.labels is None else real.labels.legibility,
        no_labels=real.no_labels,
        seen=real.seen,
        same=tuple(name for name, images in pixels.items() if all_the_same(images)),
        digest=digest(tensors.values()),
        versions=hardware.versions(),
    )


# Reading


@dataclass(frozen=True, eq=False)
class SavedReference(RealSide):
    """A reference that was read from a file, for `count` samples.

    record: what the file says of itself
    kept:   its tensors
    second_extractor: of the second feature set; None where there is one alone
    """

    record: ReferenceRecord
    kept: dict[str, Tensor]
    count: int
    extractor: Extractor
    labels: Labels | None
    machine: Machine
    metrics: tuple[Metric, ...]
    second_extractor: Extractor | None

    @property
    def accuracy(self) -> float | None:  # type: ignore[override] # a field of others
        """Of the data's classifier on the test images."""
        return self.record.accuracy

    @property
    def measured_on(self) -> MeasuredOn:
        """The data, as results.json names them."""
        return self.record.data

    @property
    def no_labels(self) -> Note | None:
        """Why what the classifier reads is not defined; None where it is."""
        return self.record.no_labels

    @cached_property
    def second(self) -> SavedReference | None:
        """The same images on the second feature set; of the training images it has none."""
        if self.second_extractor is None:
            return None
        return replace(
            self,
            kept={f"{n}_features": self.kept[f"{SECOND}{n}_features"] for n in ("test", "other")},
            extractor=self.second_extractor,
            metrics=on_both(self.metrics),
            second_extractor=None,
        )

    @property
    def seen(self) -> int:  # type: ignore[override] # a field of others
        """How many of the images behind its floors the classifier has seen, as far as recorded.

        Validation images come first among them, so of fewer images fewer are training ones.
        """
        unseen = len(self.kept["other_features"]) - (self.record.seen or 0)
        return max(0, min(self.count, len(self.kept["other_features"])) - unseen)

    @property
    def training_features(self) -> Tensor:
        """Of the training images that samples are looked for among, [N,F]."""
        return self.kept["training_features"]

    @property
    def training_images(self) -> None:
        """They are not in the file."""

    @cached_property
    def tensors(self) -> Makers:
        """The real side of metrics; what takes pixels is not defined."""
        return {
            **dict.fromkeys(REAL, no_pixels),
            "test_detail": lambda: self.kept["test_detail"],
            "test_features": lambda: self.varied("test", self.kept["test_features"]),
            "train_features": lambda: self.varied(
                "train", self.kept.get("train_features", self.training_features)
            ),
            "matched_test_features": lambda: self.matched_test_features,
            "test_probabilities": lambda: self.probabilities("test"),
            "test_nearest_distances": lambda: self.kept["test_nearest_distances"],
        }

    @cached_property
    def others(self) -> Makers:
        """What other real images give in the place of samples, for floors."""
        return {
            # Of the others no distances are taken: what is memorised has a floor by definition.
            **{name: no_pixels for name in OUTPUTS if name != "nearest_distances"},
            "features": lambda: self.other_features,
            "probabilities": lambda: self.probabilities("other"),
            "nearest_ratios": lambda: self.kept["test_nearest_ratios"],
        }

    @cached_property
    def matched_test_features(self) -> Tensor:
        """Features of as many test images as there are samples, [N,d]."""
        return self.kept["test_features"][: self.count]

    @cached_property
    def other_features(self) -> Tensor:
        """Features of as many other real images, [N,d]."""
        return self.kept["other_features"][: self.count]

    def varied(self, name: str, features: Tensor) -> Tensor:
        """The features; NotDefinedError where they are of one image."""
        if name in self.record.same:
            raise NotDefinedError(SAME_IMAGES)
        return features

    def probabilities(self, name: str) -> Tensor:
        """Of the classes in `test`, or in as many others as there are samples."""
        if why := self.no_labels:
            raise NotDefinedError(why)
        read = self.kept[f"{name}_probabilities"]
        return read if name == "test" else read[: self.count]


def no_pixels() -> Tensor:
    """In the place of what takes the real images themselves."""
    raise NotDefinedError(NO_PIXELS)


@dataclass(frozen=True, eq=False)
class ReferenceFile:
    """A saved reference as it lies in its file.

    kept: its tensors, by name
    """

    path: Path
    record: ReferenceRecord
    kept: dict[str, Tensor]


def format_of(record: ReferenceRecord) -> SampleFormat:
    """What samples must be to be measured against it."""
    return SampleFormat(
        shape=ImageShape(channels=record.channels, resolution=record.resolution),
        fit=record.fit,
        ranges=dict(record.ranges),
        classes=record.classes,
    )


def read(path: Path) -> ReferenceFile:
    """A file of ours; InputError where it is none, of another version, or damaged."""
    if not path.is_file():
        raise InputError(f"no reference {path}", "check the path")
    try:
        _, metadata = tensorfile.look(path)
        values = files.parse_json(metadata.get(KEY, "null").encode())
        version = values.get("schema") if isinstance(values, dict) else None
        if isinstance(version, int) and "digest" in values and version != VERSION:
            raise InputError(
                f"{path} is a reference of version {version}, this triptych reads {VERSION}", AGAIN
            )
        record = ReferenceRecord.read(values)
        kept = tensorfile.read(path)
        if digest(kept[name] for name in sorted(kept)) != record.digest:
            raise ValueError("its digest differs")
    except tensorfile.DAMAGE as error:
        raise InputError(
            f"{path} is no reference of this version of triptych ({tensorfile.reason(error)})",
            AGAIN,
        ) from error
    return ReferenceFile(path, record, kept)


def open_reference(
    file: ReferenceFile, count: int, machine: Machine, metrics: tuple[Metric, ...]
) -> SavedReference:
    """The real side for so many samples; InputError where new samples cannot be described alike."""
    path, record, kept = file.path, file.record, file.kept
    try:
        labels = labels_in(record, kept, machine)
        extractor = extractor_in(record.features, kept, labels)
        second = (
            None
            if record.second_features is None
            else extractor_in(record.second_features, kept, labels)
        )
    except tensorfile.DAMAGE as error:
        if of_the_machine(error):  # the file is whole
            raise
        raise InputError(
            f"{path} is no reference of this version of triptych ({tensorfile.reason(error)})",
            AGAIN,
        ) from error
    for restored, key in ((extractor, record.key), (second, record.second_key)):
        if restored is not None and restored.key != key:
            raise InputError(
                f"the weights of '{restored.name}' here are not those that {path} was made with",
                "use those, or make the reference again",
            )
    return SavedReference(
        record=record,
        kept=kept,
        count=min(count, record.count),
        extractor=extractor,
        labels=labels,
        machine=machine,
        metrics=metrics,
        second_extractor=second,
    )


def labels_in(record: ReferenceRecord, kept: dict[str, Tensor], machine: Machine) -> Labels | None:
    """The data's classifier; None where there is none."""
    legibility: LegibilityRecord | None = record.legibility
    if legibility is None or record.classes is None:
        return None
    network = Classifier(format_of(record).shape, len(record.classes))
    weights = [name for name in kept if name.startswith(CLASSIFIER)]
    network.load_state_dict({name.removeprefix(CLASSIFIER): kept[name] for name in weights})
    return Labels(network.to(machine.device).eval(), legibility)


def extractor_in(features: str, kept: dict[str, Tensor], labels: Labels | None) -> Extractor:
    """What described the real images, by its name, for new samples."""
    if features in NETWORKS:
        return Pretrained(features, load(features))
    if features == "labels":
        if labels is None:
            raise ValueError("it holds no classifier")
        return labels
    parts = (kept[f"{PATCHES}{name}"] for name in ("filters", "mean", "std"))
    return LeadingPatches.restored(Patches.restored(*parts), kept[f"{PATCHES}directions"])
