"""Real images damaged on purpose: each damage is seen by the number that should see it.

The damages are those of benchmarks/exposed.py, which has the whole table; here they are made of few
of the embedded street digits.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from triptych.data.dataset import ImageData, Part
from triptych.data.street_digits import draw
from triptych.evaluation import classifier
from triptych.metrics import real_or_fake

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
COUNT = 200  # samples, and test images
SKIPPED = ("mirrored", "red and blue exchanged")  # which nothing is expected to see


@pytest.fixture(scope="module")
def exposed() -> Iterator[ModuleType]:
    """The benchmark, with a classifier and networks that learn for a shorter time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        patch.setattr(classifier, "LEAST_IMAGES", 12_000)
        patch.setattr(classifier, "EPOCHS", 1)
        patch.setattr(real_or_fake, "SEEN", 2000)
        import exposed

        yield exposed
        for name in ("exposed", "held_out"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def found(exposed: ModuleType) -> dict[str, Any]:
    """The numbers of every damage, on the classifier's features."""
    images, labels = (torch.from_numpy(each) for each in draw("train", range(2600)))
    parts = [
        Part(images[rows], labels[rows])
        for rows in (slice(1600), slice(1600, 1800), slice(1800, 2000), slice(2000, 2600))
    ]
    train, validation, test, aside = parts
    data = ImageData(
        name="digits", source="digits", fingerprint="digits", fit="stretch",
        classes=tuple("0123456789"), notes=(), train=train, validation=validation, test=test,
    )  # fmt: skip
    damages = [each for each in exposed.DAMAGES if each.name not in SKIPPED]
    return exposed.measure_all(data, aside, COUNT, "labels", damages)


def test_real_images_are_exposed_by_nothing(exposed: ModuleType, found: dict[str, Any]) -> None:
    metrics = found[exposed.CONTROL]["metrics"]
    assert {"frechet_distance", "real_or_fake", "copied", "clipped_coverage"} <= metrics.keys()
    assert [name for name, each in metrics.items() if each["sees"]] == []


def test_each_damage_is_seen_by_the_number_that_should(
    exposed: ModuleType, found: dict[str, Any]
) -> None:
    unseen = {
        damage.name: {
            name: found[damage.name]["metrics"][name]
            for name in damage.exposed
            if not found[damage.name]["metrics"][name]["sees"]
        }
        for damage in exposed.DAMAGES
        if damage.name in found
    }
    assert {name: numbers for name, numbers in unseen.items() if numbers} == {}
