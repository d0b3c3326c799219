"""Real images damaged on purpose: each damage is seen by the numbers that should see it.

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
COUNT = 160  # samples, and test images
SHIFTED = "few images of the first classes"
SEEN_BY = {  # on the label classifier's features
    "blurred by 1 pixel": ("sharpness",),
    "noise of 12 grey levels": ("sharpness", "frechet_distance"),
    "half of the classes": ("label_balance", "recall", "coverage", "frechet_distance"),
    SHIFTED: ("label_balance",),
    "training images": ("memorised", "copied"),
}
SEEN_IN_PATCHES = {
    "blurred by 1 pixel": ("frechet_distance", "sliced_distance"),
    "noise of 12 grey levels": ("frechet_distance", "sliced_distance"),
    "training images": ("memorised", "copied"),
}


@pytest.fixture(scope="module")
def exposed() -> Iterator[ModuleType]:
    """The benchmark, with a classifier and networks that learn for a shorter time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        patch.setattr(classifier, "LEAST_IMAGES", 6000)
        patch.setattr(classifier, "EPOCHS", 1)
        patch.setattr(real_or_fake, "SEEN", 300)  # it learns where a test is about it
        import exposed

        yield exposed
        for name in ("exposed", "held_out"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def sets() -> tuple[ImageData, Part]:
    """Few street digits as a data set, and as many again that it does not hold."""
    images, labels = (torch.from_numpy(each) for each in draw("train", range(1900)))
    train, validation, test, aside = (
        Part(images[rows], labels[rows])
        for rows in (slice(1100), slice(1100, 1260), slice(1260, 1420), slice(1420, 1900))
    )
    data = ImageData(
        name="digits", source="digits", fingerprint="few street digits", fit="stretch",
        classes=tuple("0123456789"), notes=(), train=train, validation=validation, test=test,
    )  # fmt: skip
    return data, aside


def measured(exposed: ModuleType, sets: tuple[ImageData, Part], features: str, *names: str) -> Any:
    shares = [0.2] * 5 + [1.8] * 5
    shifted = exposed.Damage(SHIFTED, lambda supply: exposed.by_shares(supply, shares))
    damages = [each for each in (*exposed.DAMAGES, shifted) if each.name in names]
    assert len(damages) == len(names)
    return exposed.measure_all(*sets, COUNT, features, damages)


def not_seen(numbers: Any, seen_by: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    return [
        (damage, name)
        for damage, names in seen_by.items()
        for name in names
        if not numbers[damage]["metrics"][name]["sees"]
    ]


@pytest.mark.sweep
def test_damaged_detail_is_seen_by_sharpness(
    exposed: ModuleType, sets: tuple[ImageData, Part]
) -> None:
    damages = ("blurred by 1 pixel", "noise of 12 grey levels")
    numbers = measured(exposed, sets, "labels", exposed.CONTROL, *damages)
    real = numbers[exposed.CONTROL]["metrics"]  # nothing is damaged
    wrong = [name for name in set().union(*SEEN_BY.values()) if real[name]["sees"]]
    assert wrong == [] and sum(each["sees"] for each in real.values()) <= 1
    assert not_seen(numbers, {name: SEEN_BY[name] for name in damages}) == []
    blurred, noisy = (numbers[name]["metrics"]["sharpness"] for name in damages)
    assert blurred["high"] < 1 < noisy["low"]


@pytest.mark.sweep
def test_lost_variety_and_copies_are_seen(
    exposed: ModuleType, sets: tuple[ImageData, Part]
) -> None:
    damages = ("half of the classes", SHIFTED, "training images")
    numbers = measured(exposed, sets, "labels", *damages)
    assert not_seen(numbers, {name: SEEN_BY[name] for name in damages}) == []


@pytest.mark.sweep
def test_patches_see_blur_that_the_classifier_overlooks(
    exposed: ModuleType, sets: tuple[ImageData, Part]
) -> None:
    numbers = measured(exposed, sets, "patches", *SEEN_IN_PATCHES)
    assert not_seen(numbers, SEEN_IN_PATCHES) == []


def test_a_fresh_classifier_sees_noise(
    exposed: ModuleType, sets: tuple[ImageData, Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real_or_fake, "SEEN", 2000)
    real, damaged = sets[0].test.images, exposed.noisy(sets[1].images[:COUNT], 12)
    assert real_or_fake.real_or_fake(real, damaged).low > 0.5
