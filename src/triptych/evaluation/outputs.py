"""What a model gives to be measured: its samples, and what it does with held-out images.

Held-out images are the same ones for every model. The curve of quality over network calls is here
too, since it draws samples of its own.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial

from torch import Tensor

from triptych.console import Console
from triptych.evaluation.classifier import Reading
from triptych.evaluation.reference import (
    MOST_TRAINING,
    NO_CLASSIFIER,
    PAIRS,
    Makers,
    RealSide,
    Reference,
    Sent,
    make,
)
from triptych.families.capabilities import (
    DrawsAroundExemplars,
    Encodes,
    Iterative,
    Represents,
    why_not,
)
from triptych.families.labels import Labels
from triptych.families.protocol import GenerativeModel
from triptych.metrics import OUTPUTS, Metric, NotDefinedError
from triptych.metrics.kernel_distance import kernel_value, within_reference
from triptych.metrics.memorised import Nearest
from triptych.metrics.probe_accuracy import PARTS
from triptych.records import JsonObject, Note
from triptych.tasks import interpolate, likelihood, reconstruct, sample
from triptych.tasks.figures import Curve
from triptych.tasks.likelihood import Bound

POINTS = 16  # images on each path
FEW_PAIRS = Note("few_pairs")
NO_MODEL = Note("samples_have_no_model")
NOT_ALL = Note("training_images_searched", {"n": MOST_TRAINING})
EVALUATION_SEED = 1_000_003  # samples in figures are not the ones that are measured
SAMPLES = 200  # for each point of a curve: the kernel distance has no bias at any count
CHAINS = {  # steps of as many calls, without guidance: 5, 9, 15 and 25
    "heun": (3, 5, 8, 13),
    "dpm-solver++": (5, 9, 15, 25),
    "consistency": (1, 2, 3, 4),  # of models that have no other sampler
}


@dataclass(frozen=True)
class Output:
    """A tensor that a model gives, and what an entry of results.json says of it.

    make:      the tensor; NotDefinedError with the reason where the model gives none
    n:         images that it is of; None where there can be none
    lacking:   why it cannot be made, where that is known whatever the real images are
    features:  what they were described by
    note:      what must be known to read a number of it right
    more:      further parts of the entry, once the tensor is made
    otherwise: the same where there is no number
    """

    make: Callable[[], Tensor]
    n: int | None
    features: str | None = None
    note: Note | None = None
    more: Callable[[], JsonObject] = dict
    otherwise: JsonObject = field(default_factory=dict)
    lacking: Note | None = None


@dataclass(frozen=True, eq=False)
class Reconstructed:
    """Reconstructions, and what one of them costs.

    images:    uint8 [n,C,H,W]
    code_size: numbers that an image is encoded into
    seconds:   of encoding and decoding one image
    """

    images: Tensor
    code_size: int
    seconds: float


class SampleOutputs(ABC):
    """What is measured of one set of samples, by the names that `metrics` describes.

    Each is made when a metric first needs it, and once.

    images: the samples, uint8 [N,C,H,W]
    note:   what a reader must know of them
    """

    def __init__(self, images: Tensor, real: RealSide, note: Note | None = None) -> None:
        # In rows, as files hold them: networks round another way on channels that lie last.
        self.images, self.against, self.samples_note = images.contiguous(), real, note

    @cached_property
    def by_name(self) -> dict[str, Output]:
        """All of them, most still to be made."""
        return {**self.of_samples, **self.of_model}

    @cached_property
    def makers(self) -> Makers:
        """What makes each of them."""
        return {name: output.make for name, output in self.by_name.items()}

    @cached_property
    def sent(self) -> Sent:
        """All of them where metrics may compute."""
        return Sent(self.makers, self.against.device)

    def made(self, metric: Metric) -> dict[str, Tensor]:
        """What a metric needs of them, where it computes."""
        return self.sent.make(metric.needs) if metric.on_gpu else make(self.makers, metric.needs)

    @property
    @abstractmethod
    def of_model(self) -> dict[str, Output]:
        """What takes the model itself."""

    @cached_property
    def of_samples(self) -> dict[str, Output]:
        """What the samples alone give."""
        count, extractor = self.against.count, self.against.extractor.name
        searched = None if self.against.measured_on.train <= MOST_TRAINING else NOT_ALL
        return {
            "images": Output(lambda: self.images, count, note=self.samples_note),
            "features": Output(lambda: self.features, count, extractor),
            "probabilities": Output(lambda: self.probabilities, count, "labels"),
            "nearest_distances": Output(lambda: self.nearest.distance, count, extractor, searched),
            "nearest_ratios": Output(lambda: self.nearest.ratio, count, extractor, searched),
        }

    @cached_property
    def reading(self) -> Reading | None:
        """What the data's classifier makes of the samples; None where it would tell nothing."""
        labels = self.against.labels
        if labels is None or self.against.no_labels:
            return None
        return labels.read(self.images, self.against.machine)

    @cached_property
    def features(self) -> Tensor:
        """Of the samples, by the extractor that described the real images, [N,d]."""
        real = self.against
        if real.extractor is real.labels and self.reading is not None:
            return self.reading.features
        return real.extractor(self.images, real.machine)

    @property
    def probabilities(self) -> Tensor:
        """Of each class, which the data's classifier reads in the samples, [N,K]."""
        if self.reading is None:
            raise NotDefinedError(self.against.no_labels or NO_CLASSIFIER)
        return self.reading.probabilities

    @cached_property
    def nearest(self) -> Nearest:
        """The training images nearest to the samples."""
        return self.against.nearest_training(self.features)


class OutputsWithoutModel(SampleOutputs):
    """Of samples that were made elsewhere: there is no model that could do anything."""

    @cached_property
    def of_model(self) -> dict[str, Output]:
        """None of what takes a model."""

        def refuse() -> Tensor:
            raise NotDefinedError(NO_MODEL)

        refused = Output(refuse, None, lacking=NO_MODEL)
        return {name: refused for name in OUTPUTS if name not in self.of_samples}


class Outputs(SampleOutputs):
    """Everything that a model gives. `images` are its samples, uint8 [N,C,H,W].

    labels: of which they were drawn
    """

    def __init__(
        self,
        model: GenerativeModel,
        images: Tensor,
        real: Reference,
        labels: Labels | None = None,
    ) -> None:
        super().__init__(images, real, model.samples_note)
        self.model, self.real, self.labels = model, real, labels

    @cached_property
    def of_model(self) -> dict[str, Output]:
        """What the model does with held-out images."""
        real, count, extractor = self.real, self.real.count, self.real.extractor.name
        searched = None if real.measured_on.train <= MOST_TRAINING else NOT_ALL
        return {
            "control_ratios": Output(
                lambda: self.control_ratios, len(real.controls), extractor, searched
            ),
            "own_exemplars": Output(lambda: self.own_exemplars, count, extractor, searched),
            "nats": Output(
                lambda: self.bound.nats,
                len(real.likelihood_images),
                more=lambda: self.bound.described(self.model.shape),
                otherwise={"terms": {}},
            ),
            "reconstructions": Output(lambda: self.reconstructed.images, len(real.originals)),
            "path_features": Output(lambda: self.path_features, len(real.path_ends[0]), extractor),
            "drawn_path_features": Output(lambda: self.drawn_path_features, PAIRS, extractor),
            **{
                f"{part}_representations": Output(
                    partial(self.representations, part), len(real.probed[part])
                )
                for part in PARTS
            },
        }

    @cached_property
    def control_ratios(self) -> Tensor:
        """Of reconstructions of training images: nearest over second nearest distance, [n]."""
        if not isinstance(self.model, Encodes):
            raise NotDefinedError(why_not(self.model, "encode"))
        real = self.real
        copies = reconstruct.reconstruct(self.model, real.controls, EVALUATION_SEED, real.machine)
        return real.nearest_training(real.extractor(copies, real.machine)).ratio

    @cached_property
    def own_exemplars(self) -> Tensor:
        """Whether a sample's nearest training image is the one it was drawn around, bool [N].

        Exemplars are encodings of training images: that image is its own that is encoded into the
        sample's exemplar.
        """
        if not isinstance(self.model, DrawsAroundExemplars) or not self.model.exemplar_numbers:
            raise NotDefinedError(why_not(self.model, "exemplars"))
        real = self.real
        drawn = sample.exemplars(
            self.model, len(self.images), EVALUATION_SEED, real.machine, self.labels
        )
        found = real.training.images[self.nearest.index]
        theirs = reconstruct.exemplars(self.model, found, real.machine)
        return (drawn == theirs) & (drawn >= 0)  # a group without exemplars draws around none

    @cached_property
    def bound(self) -> Bound:
        """The default bound of the likelihood of held-out images."""
        pixels = self.real.likelihood_images
        return likelihood.bound(self.model, pixels, EVALUATION_SEED, self.real.machine)

    @cached_property
    def reconstructed(self) -> Reconstructed:
        """The reference's originals, encoded and decoded."""
        if not isinstance(self.model, Encodes):
            raise NotDefinedError(why_not(self.model, "encode"))
        real, started = self.real, time.perf_counter()
        images = reconstruct.reconstruct(self.model, real.originals, EVALUATION_SEED, real.machine)
        seconds = (time.perf_counter() - started) / len(images)
        size = reconstruct.code_size(self.model, real.originals, real.machine)
        return Reconstructed(images, size, seconds)

    @property
    def encoding_costs(self) -> dict[str, float]:
        """What encoding an image costs; nothing of a model that encodes none."""
        if not isinstance(self.model, Encodes):
            return {}
        made = self.reconstructed
        return {"code_size": made.code_size, "reconstruct_seconds_per_image": made.seconds}

    @cached_property
    def path_features(self) -> Tensor:
        """Of the images on the ways between pairs of real images, [n,POINTS,d]."""
        first, last = self.real.path_ends
        if not isinstance(self.model, Encodes):
            raise NotDefinedError(why_not(self.model, "encode"))
        if len(first) < 2:
            raise NotDefinedError(FEW_PAIRS)
        real = self.real
        ways = interpolate.between_images(
            self.model, first, last, POINTS, EVALUATION_SEED, real.machine
        )
        features = real.extractor(ways.flatten(0, 1), real.machine)
        return features.view(len(first), POINTS, -1)

    @cached_property
    def drawn_path_features(self) -> Tensor:
        """Of the images on the ways between pairs of draws, [n,POINTS,d]."""
        real = self.real
        ways = interpolate.between_draws(
            self.model, PAIRS, POINTS, EVALUATION_SEED, real.machine, self.labels
        )
        features = real.extractor(ways.flatten(0, 1), real.machine)
        return features.view(PAIRS, POINTS, -1)

    def representations(self, part: str) -> Tensor:
        """The model's own features of a probed part, [n,F]; large, so they are not kept."""
        if not isinstance(self.model, Represents):
            raise NotDefinedError(why_not(self.model, "represent"))
        return reconstruct.represent(self.model, self.real.probed[part].images, self.real.machine)


def worst_offenders(outputs: SampleOutputs, count: int) -> tuple[Tensor, Tensor] | None:
    """The samples nearest to a training image, and those images: uint8 [count,C,H,W] each.

    None where the training images are not at hand.
    """
    training = outputs.against.training_images
    if training is None:
        return None
    order = outputs.nearest.distance.argsort()[:count]
    return outputs.images[order], training[outputs.nearest.index[order]]


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
    calls: dict[str, list[float]] = {name: [] for name in chains}
    plan = [(name, steps) for name, lengths in chains.items() for steps in lengths]
    with console.bar("  quality by calls", len(plan)) as bar:
        for done, (name, steps) in enumerate(plan):
            bar.update(done, note=f"{name}, {steps} steps")
            kind = model.with_sampler(name, steps)
            assert isinstance(kind, GenerativeModel)
            drawn = sample.sample(kind, count, EVALUATION_SEED, real.machine, labels=labels)
            features = real.extractor(drawn, real.machine)
            lines[name].append(kernel_value(features, test, within_reference(test)))
            calls[name].append(float(kind.network_calls))
    first, *others = calls
    # Where few levels are guided, samplers that meet more of them make more calls.
    places = {name: calls[name] for name in others if calls[name] != calls[first]}
    mark = float(model.network_calls)
    shown = mark if mark <= max(max(each) for each in calls.values()) else None
    return Curve(calls[first], lines, mark=shown, places=places)
