"""The score by which training chooses among its own snapshots; lower is better."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from torch import Tensor

from triptych.data.dataset import ImageData
from triptych.families.base import GenerativeModel
from triptych.families.labels import Labels
from triptych.hardware import Machine
from triptych.metrics.kernel_distance import Kernels, kernel_value
from triptych.nn.patch_features import Patches
from triptych.tasks import sample

MOST_REAL = 1000
SMALLEST = 16  # side of images that patches describe
SCORE_SEED = 2_000_003  # of samples that are neither shown nor measured


class Scorer:
    """Kernel distance of samples to the validation images, on patches: no labels, no weights."""

    def __init__(self, validation: Tensor, labels: Labels | None) -> None:
        self.validation, self.labels = validation, labels

    @cached_property
    def real(self) -> tuple[Patches, Tensor, Kernels]:
        """What describes patches, the validation images so described, and their kernels."""
        patches = Patches(self.validation)
        features = patches(self.validation)
        return patches, features, Kernels.within(features)

    def __call__(self, model: GenerativeModel, count: int, machine: Machine) -> float:
        """Draw so many samples and measure them."""
        patches, real, known = self.real
        drawn = sample.sample(model, count, SCORE_SEED, machine, labels=self.labels)
        return kernel_value(patches(drawn), real, known)


def scorer(
    data: ImageData, labels: Labels | None
) -> Callable[[GenerativeModel, int, Machine], float] | None:
    """The score on this data's validation part; None where there is none to measure on."""
    validation = data.validation.choose(MOST_REAL, "score").images
    if len(validation) < 2 or data.shape.resolution < SMALLEST:
        return None
    return Scorer(validation, labels)
