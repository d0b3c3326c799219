"""Label-free features: fixed, standardised, and able to tell images from worse ones."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from tests.making import make_images
from tests.truths import random_pixels
from triptych.metrics.kernel_distance import kernel_distance
from triptych.nn.patch_features import Patches, orthogonal


def test_filters_are_orthogonal_and_always_the_same() -> None:
    for channels in (1, 3):
        first = orthogonal(channels).flatten(1)
        assert torch.equal(first, orthogonal(channels).flatten(1))
        width = min(len(first), first.shape[1])
        torch.testing.assert_close(
            first[:width] @ first[:width].T, torch.eye(width), atol=1e-5, rtol=0
        )


def test_features_of_the_reference_are_standardised() -> None:
    x = random_pixels(300, 3, 16, 16)
    found = Patches(x)(x)
    torch.testing.assert_close(found.mean(0), torch.zeros(found.shape[1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.std(0), torch.ones(found.shape[1]), atol=1e-3, rtol=0)


def test_an_image_s_features_are_its_own() -> None:
    x = random_pixels(300, 1, 16, 16)
    patches = Patches(x)
    torch.testing.assert_close(patches(x[7:9]), patches(x)[7:9], atol=1e-4, rtol=1e-4)


def test_worse_images_are_further_away() -> None:
    """Real against real, noisy, blurred, and of one kind alone."""
    pictures = torch.from_numpy(make_images(600)[0]).permute(0, 3, 1, 2).contiguous()
    real, other = pictures[:300], pictures[300:]
    patches = Patches(real)

    def distance(worse: torch.Tensor) -> float:
        return kernel_distance(patches(worse), patches(real)).value

    noisy = other + 40 * torch.randn(other.shape, generator=torch.Generator().manual_seed(0))
    blurred = F.avg_pool2d(other.float(), 3, stride=1, padding=1)
    one = other[:1].expand_as(other)
    itself = distance(other)
    for worse in (noisy, blurred, one):
        assert distance(worse.clamp(0, 255).to(torch.uint8)) > 5 * abs(itself) + 0.01
