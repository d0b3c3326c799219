"""Streams of numbers differ by what they are for; pixels change range without loss."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import kstest

from tests.truths import random_pixels
from triptych import images
from triptych.seeding import ImageStreams, generator, initializing, key


def test_keys_differ_wherever_anything_differs() -> None:
    """Also where a plain concatenation of the three would coincide."""
    keys = [key(*case) for case in product(range(12), ("a", "b", "1"), range(12))]
    assert len(set(keys)) == len(keys)
    assert key(1, "1", 1) != key(11, "", 1)
    assert all(0 <= k < 2**63 for k in keys)


def test_keys_are_the_same_for_ever() -> None:
    """Fixed numbers: a change here would change every seeded result that users hold.

    By coreutils: printf 0/sample/0 | b2sum -l 64, little-endian, without the lowest bit.
    """
    assert key(0, "sample", 0) == 0x207CF9936C01094D >> 1


def test_a_generator_starts_afresh_each_time() -> None:
    first = torch.randn(4, generator=generator(3, "x", 1))
    assert torch.equal(torch.randn(4, generator=generator(3, "x", 1)), first)
    for other in (generator(4, "x", 1), generator(3, "y", 1), generator(3, "x", 2)):
        assert not torch.equal(torch.randn(4, generator=other), first)


def test_an_image_s_stream_does_not_know_its_neighbours() -> None:
    whole, late = ImageStreams(0, "s", range(7)), ImageStreams(0, "s", [5, 2])
    assert len(whole) == 7
    for _ in range(2):
        assert torch.equal(whole.normal(2, 3)[[5, 2]], late.normal(2, 3))
        assert torch.equal(whole.uniform(4)[[5, 2]], late.uniform(4))
    assert not torch.equal(whole.normal(3), whole.normal(3))


def test_streams_serve_the_distributions_they_name() -> None:
    rng = ImageStreams(0, "s", range(50))
    assert kstest(rng.normal(100).flatten().numpy(), "norm").pvalue > 1e-3
    assert kstest(rng.uniform(100).flatten().numpy(), "uniform").pvalue > 1e-3


def test_first_weights_come_from_the_seed_alone() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    drawn = []
    for seed in (1, 1, 2):
        with initializing(seed):
            drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_every_pixel_value_comes_back() -> None:
    """The grid is k * 2/255 - 1 to float32, its ends -1 and 1."""
    pixels = torch.arange(256, dtype=torch.uint8)
    floats = images.to_float(pixels)
    assert floats.dtype == torch.float32
    exact = torch.arange(256, dtype=torch.float64) * 2 / 255 - 1
    torch.testing.assert_close(floats.double(), exact, rtol=0, atol=2e-7)
    assert floats[0] == -1
    assert torch.equal(images.to_uint8(floats), pixels)
    assert torch.equal(pixels, torch.arange(256, dtype=torch.uint8))  # untouched


def test_rounding_is_to_the_nearest_value_and_clamped() -> None:
    """Anything within 0.49 of a bin's width rounds to its value; the rest is cut to 0..255."""
    exact = torch.arange(256) * images.BIN_WIDTH - 1
    for offset in (-0.49, 0.49):
        found = images.to_uint8(exact + offset * images.BIN_WIDTH)
        assert torch.equal(found, torch.arange(256, dtype=torch.uint8))
    beyond = torch.tensor([-7.0, -1.01, 1.01, 7.0, float("inf"), -float("inf")])
    assert images.to_uint8(beyond).tolist() == [0, 0, 255, 255, 255, 0]


def test_a_grid_is_laid_out_row_by_row_with_white_between() -> None:
    pictures = random_pixels(5, 3, 4, 6)
    pixels = images.grid(pictures, columns=3, gap=2).pixels
    assert pixels.shape == (3, 2 * 4 + 2, 3 * 6 + 2 * 2)
    covered = torch.zeros(pixels.shape[1:], dtype=torch.bool)
    for index, picture in enumerate(pictures):
        top, left = index // 3 * 6, index % 3 * 8
        assert torch.equal(pixels[:, top : top + 4, left : left + 6], picture)
        covered[top : top + 4, left : left + 6] = True
    assert (pixels[:, ~covered] == 255).all()
    assert images.grid(pictures[:2], columns=8, gap=0).pixels.shape == (3, 4, 12)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_s_png_holds_its_pixels(channels: int, tmp_path: Path) -> None:
    grid = images.grid(random_pixels(2, channels, 5, 5))
    path = grid.save(tmp_path / "new" / "grid.png")
    read = np.asarray(Image.open(path)).reshape(5, -1, channels)
    assert np.array_equal(read, np.moveaxis(grid.pixels.numpy(), 0, -1))


def test_arrays_go_to_a_file_and_back(tmp_path: Path) -> None:
    """Files hold the channels last; paths of images keep their leading axes."""
    pictures = random_pixels(4, 3, 5, 6)
    array = images.to_array(pictures)
    assert array.shape == (4, 5, 6, 3)
    assert array[2, 3, 4].tolist() == pictures[2, :, 3, 4].tolist()
    np.savez(tmp_path / "images.npz", images=array)
    with np.load(tmp_path / "images.npz") as read:
        assert torch.equal(images.from_array(read["images"]), pictures)
    paths = images.to_array(pictures.view(2, 2, 3, 5, 6))
    assert paths.shape == (2, 2, 5, 6, 3)
