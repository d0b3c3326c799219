"""What is measured on pixels, and on what the classifier reads, against independent code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from tests.truths import coverage, normal
from triptych.metrics.intervals import mean_interval, wilson
from triptych.metrics.labels import label_balance, recognisable, total_variation
from triptych.metrics.reconstruction import reconstruction_psnr, reconstruction_ssim
from triptych.metrics.sharpness import laplacian_rms, sharpness

REPEATS = 200


def random_images(count: int, side: int = 8, channels: int = 3, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, channels, side, side), generator=rng, dtype=torch.uint8)


def test_psnr_is_torchmetrics_per_image() -> None:
    a = random_images(20)
    b = (a.int() + torch.arange(20)[:, None, None, None] - 3).clamp(0, 255).to(torch.uint8)
    b[3, 0, 0, 0] ^= 1  # equal images have no finite value
    each = [
        peak_signal_noise_ratio(y.double()[None], x.double()[None], data_range=255.0)
        for x, y in zip(a, b, strict=True)
    ]
    assert reconstruction_psnr(a, b).value == pytest.approx(torch.stack(each).mean().item())


def test_ssim_is_torchmetrics_per_image() -> None:
    a = random_images(40, side=16)  # more than are measured at once
    noise = random_images(40, side=16, seed=1).int() - 128
    b = (a.int() + noise * torch.arange(40)[:, None, None, None] // 40).clamp(0, 255)
    each = [
        structural_similarity_index_measure(
            y.double()[None], x.double()[None], sigma=1.5, kernel_size=11, data_range=255.0
        )
        for x, y in zip(a, b, strict=True)
    ]
    found = reconstruction_ssim(a, b.to(torch.uint8))
    assert found == mean_interval(torch.stack(each))
    assert found.low < found.value < found.high
    assert reconstruction_ssim(a, a).value == pytest.approx(1)
    grey = random_images(3, side=16, channels=1)
    assert reconstruction_ssim(grey, grey).value == pytest.approx(1)


def test_laplacian_is_scipys_inside() -> None:
    images = random_images(5)
    kernel = [[0, 1, 0], [1, -4, 1], [0, 1, 0]]
    for image, found in zip(images, laplacian_rms(images), strict=True):
        filtered = ndimage.convolve(image.double().mean(0).numpy(), np.array(kernel))
        assert found.item() == pytest.approx(np.sqrt((filtered[1:-1, 1:-1] ** 2).mean()), rel=1e-5)


def test_sharpness_is_one_for_real_and_falls_with_blur() -> None:
    images = random_images(101)
    assert sharpness(images, images.clone()).value == 1.0
    blurred = torch.from_numpy(ndimage.gaussian_filter(images.numpy(), (0, 0, 1, 1)))
    found = sharpness(blurred, images)
    assert found.high < 0.5
    assert sharpness(images, blurred).value == pytest.approx(1 / found.value)
    halved = (images.int() // 2).to(torch.uint8)
    assert sharpness(halved, images).value == pytest.approx(0.5, abs=0.01)


def with_contrasts(count: int, seed: int) -> Tensor:
    """Noise images whose contrast varies from image to image."""
    scale = (normal(count, 1, 1, 1, seed=seed) * 0.3).exp() * 20
    return (128 + scale * normal(count, 1, 6, 6, seed=seed + 10**6)).clamp(0, 255).to(torch.uint8)


def test_sharpness_interval_covers_the_expected_value() -> None:
    estimates = [
        sharpness(with_contrasts(200, 2 * repeat), with_contrasts(200, 2 * repeat + 1))
        for repeat in range(REPEATS)
    ]
    assert 0.90 <= coverage(estimates) <= 0.99


def test_total_variation() -> None:
    p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.25, 0.5])
    assert total_variation(p, q) == pytest.approx(0.5)
    assert total_variation(p, p) == 0
    assert total_variation(torch.tensor([1.0, 0]), torch.tensor([0.0, 1])) == 1


def as_probabilities(classes: Tensor, sure: float = 1.0, count: int = 4) -> Tensor:
    one_hot = torch.nn.functional.one_hot(classes, count).float()
    return sure * one_hot + (1 - sure) / count


def test_recognisable_counts_the_sure_ones() -> None:
    sure = as_probabilities(torch.tensor([0, 1, 2]), sure=0.9)  # 0.925 at the top
    unsure = as_probabilities(torch.tensor([0, 1, 2, 3, 3]), sure=0.7)  # 0.775
    found = recognisable(torch.cat([sure, unsure]))
    assert found == wilson(3, 8)


def test_label_balance_is_the_distance_of_shares() -> None:
    samples = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    real = torch.tensor([0, 1, 2, 3] * 25)
    found = label_balance(as_probabilities(samples), as_probabilities(real))
    assert found.value == pytest.approx((0.25 + 0.05 + 0.05 + 0.25) / 2)


def test_label_balance_interval_covers_the_expected_value() -> None:
    """Shares far enough from real that the absolute value does not fold the distribution."""
    real = as_probabilities(torch.arange(400) % 4)
    shares = torch.tensor([0.4, 0.35, 0.15, 0.1])
    estimates = []
    rng = torch.Generator().manual_seed(0)
    for _ in range(REPEATS):
        classes = torch.multinomial(shares, 200, replacement=True, generator=rng)
        estimates.append(label_balance(as_probabilities(classes), real))
    assert 0.90 <= coverage(estimates) <= 0.99
    assert sum(e.value for e in estimates) / REPEATS == pytest.approx(0.25, abs=0.01)
