"""What real images score against other real images with the same counts, once for all models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from triptych.metrics.frechet_distance import enough_to_extrapolate, frechet_distance, frechet_value
from triptych.metrics.intervals import extrapolated
from triptych.metrics.kernel_distance import Kernels, kernel_value
from triptych.metrics.prdc import enough_for_neighbours, neighbours


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
