"""What is measured on pixels, and on what the classifier reads, against independent code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torch import Tensor

from tests.truths import coverage, independent, normal
from triptych.metrics import NotDefinedError, entry, own_metrics
from triptych.metrics.intervals import Estimate, wilson
from triptych.metrics.labels import label_balance, recognisable, total_variation
from triptych.metrics.reconstruction import (
    nearness,
    reconstruction_psnr,
    reconstruction_ssim,
    similarity,
    windowed_mean,
)
from triptych.metrics.sharpness import laplacian_rms, sharpness

REPEATS = 200


def random_images(count: int, side: int = 8, channels: int = 3, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, channels, side, side), generator=rng, dtype=torch.uint8)


def test_psnr_is_torchmetrics_per_image() -> None:
    theirs = independent("torchmetrics.functional.image").peak_signal_noise_ratio
    a = random_images(20)
    b = (a.int() + torch.arange(20)[:, None, None, None] - 3).clamp(0, 255).to(torch.uint8)
    b[3, 0, 0, 0] ^= 1  # equal images have no finite value
    each = [
        theirs(y.double()[None], x.double()[None], data_range=255.0)
        for x, y in zip(a, b, strict=True)
    ]
    assert reconstruction_psnr(a, b).value == pytest.approx(torch.stack(each).mean().item())


def test_psnr_of_equal_images_is_infinite_and_said() -> None:
    """No number where all are equal; where some are, they count as one level off in one place."""
    images = random_images(20)
    with pytest.raises(NotDefinedError, match="all_reconstructions_equal"):
        reconstruction_psnr(images, images)
    nearly = images.clone()
    nearly[:, 1, 2, 3] ^= 1
    most = reconstruction_psnr(images, nearly)
    assert most.note is None
    assert most.value == pytest.approx(10 * np.log10(255**2 * 3 * 8 * 8))
    some = torch.cat([images[:5], nearly[5:]])
    found = reconstruction_psnr(images, some)
    assert found.value == pytest.approx(most.value)
    assert found.note is not None and found.note.code == "reconstructions_equal"
    assert found.note.values == {"n": 5, "images": 20, "ratio": pytest.approx(most.value)}
    assert set(nearness(images, images)) == set()  # 8 x 8 are too small for SSIM too
    assert set(nearness(images, nearly)) == {"psnr"}


def smooth(count: int, side: int, channels: int, seed: int = 0) -> Tensor:
    """Waves of a few periods."""
    place = torch.arange(side) / side
    phase = torch.rand(count, channels, 1, 1, generator=torch.Generator().manual_seed(seed))
    waves = torch.sin(7 * place + 6 * phase) * torch.cos(9 * place[:, None] - 6 * phase)
    return (128 + 120 * waves).to(torch.uint8)


def noisy(images: Tensor, seed: int) -> Tensor:
    """With noise of up to 127 levels: none on the first image, most on the last."""
    noise = random_images(*images.shape[::2], images.shape[1], seed).int() - 128
    strength = torch.arange(len(images))[:, None, None, None] / len(images)
    return (images.int() + (noise * strength).int()).clamp(0, 255).to(torch.uint8)


def pairs_of_images(kind: str, side: int, channels: int) -> tuple[Tensor, Tensor]:
    """Originals and what became of them: 40, more than are measured at once."""
    shape = 40, side, channels
    if kind == "constant":
        grey = torch.arange(0, 240, 6, dtype=torch.uint8)[:, None, None, None]
        flat = grey.expand(-1, channels, side, side)
        return flat, flat + torch.tensor([0, 1, 5, 15] * 10, dtype=torch.uint8)[:, None, None, None]
    originals = random_images(*shape) if kind == "random" else smooth(*shape)
    return originals, noisy(originals, seed=1)


def ssim_by_formula(x: np.ndarray, y: np.ndarray) -> float:
    """Wang et al. 2004, eq. 13 to 16, of one channel: deviations are weighted squares themselves.

    No E[x^2] - E[x]^2, no separable window: each whole window is cut out and weighed.
    """
    place = np.arange(11) - 5
    weights = np.exp(-(place[:, None] ** 2 + place**2) / (2 * 1.5**2))
    weights /= weights.sum()
    windows = [np.lib.stride_tricks.sliding_window_view(z.astype(float), (11, 11)) for z in (x, y)]
    means = [(w * weights).sum((2, 3)) for w in windows]
    off = [w - m[..., None, None] for w, m in zip(windows, means, strict=True)]
    xx, yy, xy = ((weights * a * b).sum((2, 3)) for a, b in (off[:1] * 2, off[1:] * 2, off))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * means[0] * means[1] + c1) / (means[0] ** 2 + means[1] ** 2 + c1)
    return float((luminance * (2 * xy + c2) / (xx + yy + c2)).mean())


IMAGES = [
    (kind, side, channels)
    for kind in ("random", "smooth", "constant")
    for side, channels in ((16, 3), (28, 1), (33, 1), (64, 3))
]


@pytest.mark.parametrize(("kind", "side", "channels"), IMAGES)
def test_ssim_is_that_of_the_paper(kind: str, side: int, channels: int) -> None:
    originals, others = (images[::5] for images in pairs_of_images(kind, side, channels))
    expected = [
        np.mean([ssim_by_formula(*both) for both in zip(x.numpy(), y.numpy(), strict=True)])
        for x, y in zip(originals, others, strict=True)
    ]
    found = similarity(originals.double(), others.double())
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


def test_the_window_is_scipys_gaussian() -> None:
    """Also where sides differ, and where there is one window alone."""
    for height, width in ((11, 11), (11, 40), (27, 16)):
        x = normal(2, 3, height, width)
        exact = ndimage.gaussian_filter(x.numpy(), (0, 0, 1.5, 1.5), mode="mirror", radius=5)
        inside = exact[:, :, 5:-5, 5:-5]  # where no border is in the window
        torch.testing.assert_close(windowed_mean(x), torch.from_numpy(inside))


@pytest.mark.parametrize(("kind", "side", "channels"), IMAGES)
def test_ssim_is_torchmetrics_inside_of_its_mirrored_borders(
    kind: str, side: int, channels: int
) -> None:
    theirs = independent("torchmetrics.functional.image").structural_similarity_index_measure
    originals, others = pairs_of_images(kind, side, channels)
    _, everywhere = theirs(
        others.double(), originals.double(), sigma=1.5, kernel_size=11, data_range=255.0,
        reduction="none", return_full_image=True,
    )  # fmt: skip
    each = everywhere[:, :, 5:-5, 5:-5].flatten(1).mean(1)
    found = reconstruction_ssim(originals, others)
    assert found.value == pytest.approx(each.mean().item(), abs=1e-9)
    assert similarity(originals.double(), others.double()).tolist() == pytest.approx(
        each.tolist(), abs=1e-9
    )
    assert found.low < found.value < found.high


def test_margins_that_are_all_alike_do_not_count_twice() -> None:
    """A digit's black margin: the paper's number of it, to six digits, by the formula alone."""
    x = torch.zeros(1, 1, 28, 28, dtype=torch.uint8)
    x[..., 8:20, 8:20] = smooth(1, 12, 1)
    y = noisy(x.repeat(2, 1, 1, 1), seed=3)[1:]
    y[..., :6, :], y[..., 22:, :] = 0, 0
    exact = ssim_by_formula(x[0, 0].numpy(), y[0, 0].numpy())
    assert similarity(x.double(), y.double()).item() == pytest.approx(exact, abs=1e-9)
    padded = ssim_by_formula(
        *(np.pad(z[0, 0].numpy(), 5, "reflect") for z in (x, y))
    )  # with mirrored borders
    assert abs(padded - exact) > 0.01


def test_images_smaller_than_the_window_have_no_ssim() -> None:
    with pytest.raises(NotDefinedError, match="ssim_too_small"):
        reconstruction_ssim(random_images(3, side=10), random_images(3, side=10, seed=1))
    one = reconstruction_ssim(random_images(3, side=11), random_images(3, side=11, seed=1))
    assert one.low < one.value < one.high


def test_equal_images_are_wholly_similar() -> None:
    for channels in (1, 3):
        images = random_images(3, side=16, channels=channels)
        assert reconstruction_ssim(images, images).value == pytest.approx(1)


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


def test_sharpness_is_of_the_median_image() -> None:
    """Boards of amplitudes 1, 2 and 30: one loud image says nothing of the others.

    The Laplacian of a board of +-a is 8a everywhere, so an image's number is 8 times its amplitude.
    """
    y, x = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    board = ((x + y) % 2 * 2 - 1)[None, None]

    def boards(*amplitudes: int) -> torch.Tensor:
        return torch.cat([128 + a * board for a in amplitudes]).to(torch.uint8)

    loud, real = boards(*[1, 2, 30] * 20), boards(*[4] * 60)
    assert laplacian_rms(loud[:3]).tolist() == pytest.approx([8, 16, 240])
    assert sharpness(loud, real).value == pytest.approx(2 / 4)
    assert sharpness(real, loud).value == pytest.approx(4 / 2)


def test_sharpness_beside_flat_images_is_not_defined() -> None:
    """Not a ratio of 1e10; also where a few images decide whether most are flat."""
    images, flat = random_images(40), torch.full((40, 3, 8, 8), 77, dtype=torch.uint8)
    assert sharpness(flat, images).value == 0
    for real in (flat, torch.cat([flat[:20], images[:20]]), torch.cat([flat, images])[19:59]):
        with pytest.raises(NotDefinedError, match="no_edges"):
            sharpness(images, real)
    least = flat.repeat(1, 1, 64, 64)[:3]
    least[:, 0, 100, 100] += 1  # the least detail that there is
    assert sharpness(least, least).value == 1


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
    at_the_line = torch.tensor([[0.8, 0.2], [0.81, 0.19]], dtype=torch.float64)
    assert recognisable(at_the_line) == wilson(1, 2)  # above 0.8, not at it


@pytest.mark.parametrize("name", ["recognisable", "label_balance", "copied"])
def test_shares_of_real_images_have_intervals_too(name: str) -> None:
    """Their floors are of as few images as they are, and results.json says how far they vary."""
    [metric] = [each for each in own_metrics() if each.name == name]
    ours, real = (normal(40, 3, seed=n).mul(2).softmax(1) for n in (0, 1))
    ratios = {"nearest_ratios": torch.linspace(0, 1, 40)}
    others = {"probabilities": ours, **ratios}
    assert callable(metric.floor)
    floor = metric.floor(others, {"test_probabilities": real})
    assert isinstance(floor, Estimate) and floor.low < floor.value < floor.high
    record = entry(metric, floor, 40, floor=floor)
    assert (record.floor, record.floor_low, record.floor_high) == (
        floor.value, floor.low, floor.high,
    )  # fmt: skip
    assert record.to_json()["floor_low"] == floor.low
    assert "floor_low" not in entry(metric, floor, 40, floor=0.5).to_json()


def test_label_balance_is_the_distance_of_shares() -> None:
    samples = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)
    real = torch.tensor([0, 1, 2, 3] * 25)
    found = label_balance(as_probabilities(samples), as_probabilities(real))
    assert found.value == pytest.approx((0.25 + 0.05 + 0.05 + 0.25) / 2)


@pytest.mark.parametrize("count", [100, 600, 997])
def test_samples_of_one_class_leave_room_for_others(count: int) -> None:
    """As many images without another class prove no more than Wilson's interval says."""
    one = as_probabilities(torch.zeros(count, dtype=torch.int64), count=10)
    real = as_probabilities(torch.arange(250) % 9 + torch.arange(250) // 249, count=10)
    found = label_balance(one, real)
    share = (torch.arange(250) % 9 + torch.arange(250) // 249 == 0).double().mean().item()
    assert found.value == pytest.approx(1 - share)
    exact = stats.binomtest(round(found.value * count), count).proportion_ci(method="wilson")
    assert found.low == pytest.approx(exact.low) and found.high == pytest.approx(exact.high)


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
