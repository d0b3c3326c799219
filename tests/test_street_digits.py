"""The embedded data set is a pure function of (split, index), balanced, and looks like SVHN."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import chi2

from triptych.data import street_digits
from triptych.data.street_digits import draw, draw_blocks, draw_many

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "svhn149"

# Red, green and blue over all pixels of 149 pictures of SVHN's cropped digits, on [0, 1]:
# pixels.mean((0, 1, 2)) and pixels.std((0, 1, 2)) of their array [149, 32, 32, 3] / 255.
SVHN_MEAN = np.array([0.4494, 0.4602, 0.4894])
SVHN_STD = np.array([0.2163, 0.2253, 0.2250])
# Median over the same pictures of the std of one picture's grey levels (0.299, 0.587, 0.114).
SVHN_CONTRAST = 0.117


@pytest.fixture(scope="module")
def items() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    return draw("train", range(600))


def grey_std(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Contrast of each picture: [N]."""
    grey = np.tensordot(images / 255, np.array([0.299, 0.587, 0.114]), axes=(1, 0))
    found: NDArray[np.float64] = grey.std((1, 2))
    return found


def test_shapes_types_and_ranges(items: tuple[NDArray[np.uint8], NDArray[np.int64]]) -> None:
    images, labels = items
    assert images.shape == (600, 3, 32, 32)
    assert images.dtype == np.uint8
    assert labels.shape == (600,)
    assert labels.dtype == np.int64
    assert set(labels.tolist()) == set(range(10))
    assert images.min() < 20
    assert images.max() > 235


def test_an_item_does_not_depend_on_its_batch(
    items: tuple[NDArray[np.uint8], NDArray[np.int64]],
) -> None:
    order = np.random.default_rng(0).permutation(600)[:60]
    images, labels = draw("train", order.tolist())
    np.testing.assert_array_equal(images, items[0][order])
    np.testing.assert_array_equal(labels, items[1][order])
    alone, label = draw("train", [int(order[0])])
    np.testing.assert_array_equal(alone[0], images[0])
    assert label[0] == labels[0]


def test_nothing_drawn_is_empty() -> None:
    images, labels = draw("test", [])
    assert images.shape == (0, 3, 32, 32)
    assert labels.shape == (0,)


def test_another_process_draws_the_same_bytes() -> None:
    code = (
        "from hashlib import sha256; from triptych.data.street_digits import draw;"
        "print(sha256(draw('test', range(40))[0].tobytes()).hexdigest())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert found.stdout.strip() == sha256(draw("test", range(40))[0].tobytes()).hexdigest()


def test_splits_and_items_differ(items: tuple[NDArray[np.uint8], NDArray[np.int64]]) -> None:
    test, _ = draw("test", range(300))
    every = np.concatenate([items[0], test]).reshape(900, -1)
    assert len(np.unique(every, axis=0)) == 900


@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_are_uniform(split: street_digits.Split) -> None:
    """The label is the stream's first number, so the pictures need not be drawn."""
    labels = [int(10 * street_digits.stream(split, index).random()) for index in range(10_000)]
    _, of_pictures = draw(split, range(50))
    assert labels[:50] == of_pictures.tolist()
    statistic = ((np.bincount(labels, minlength=10) - 1000.0) ** 2 / 1000).sum()
    assert statistic < chi2.ppf(0.999, df=9)


@pytest.mark.parametrize("interpreter", [None, "no-such-program"])
def test_worker_processes_draw_the_same(
    items: tuple[NDArray[np.uint8], NDArray[np.int64]],
    monkeypatch: pytest.MonkeyPatch,
    interpreter: str | None,
) -> None:
    """And where no process can start, this one draws."""
    monkeypatch.setattr(street_digits, "WORTH_A_WORKER", 100)
    if interpreter is not None:
        monkeypatch.setattr(sys, "executable", interpreter)
    blocks = list(draw_blocks("train", 600, processes=2))
    assert [len(images) for images, _ in blocks] == [256, 256, 88]
    images, labels = draw_many("train", 600, processes=2)
    np.testing.assert_array_equal(images, items[0][:600])
    np.testing.assert_array_equal(labels, items[1][:600])
    np.testing.assert_array_equal(np.concatenate([block for block, _ in blocks]), images)


def test_no_worker_needed_for_few(items: tuple[NDArray[np.uint8], NDArray[np.int64]]) -> None:
    images, labels = draw_many("train", 30)
    np.testing.assert_array_equal(images, items[0][:30])
    np.testing.assert_array_equal(labels, items[1][:30])
    assert draw_many("test", 0)[0].shape == (0, 3, 32, 32)


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="split"):
        draw("validation", [0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="split"):
        draw_many("validation", 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="index"):
        draw("train", [-1])
    with pytest.raises(ValueError, match="count"):
        draw_many("train", -1)


def test_channels_are_those_of_svhn(items: tuple[NDArray[np.uint8], NDArray[np.int64]]) -> None:
    pixels = items[0] / 255
    np.testing.assert_allclose(pixels.mean((0, 2, 3)), SVHN_MEAN, atol=0.08)
    np.testing.assert_allclose(pixels.std((0, 2, 3)), SVHN_STD, atol=0.08)
    assert abs(np.median(grey_std(items[0])) - SVHN_CONTRAST) < 0.04


def test_channels_are_those_of_the_pictures_at_hand(
    items: tuple[NDArray[np.uint8], NDArray[np.int64]],
) -> None:
    files = sorted(REAL.glob("*.png"))
    if not files:
        pytest.skip("the folder of real SVHN digits is not present")
    real = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files]) / 255
    np.testing.assert_allclose(real.mean((0, 1, 2)), SVHN_MEAN, atol=1e-3)
    np.testing.assert_allclose(real.std((0, 1, 2)), SVHN_STD, atol=1e-3)
    drawn = items[0] / 255
    np.testing.assert_allclose(drawn.mean((0, 2, 3)), real.mean((0, 1, 2)), atol=0.08)
    np.testing.assert_allclose(drawn.std((0, 2, 3)), real.std((0, 1, 2)), atol=0.08)
