"""Every number against an independent oracle, every interval against repetition."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import linalg, ndimage, stats
from torch import Tensor, nn
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

import triptych
from tests.making import CLASSES, labels_in, make_images, one_thread, open_tiny
from triptych import images as pixels
from triptych.console import QUIET
from triptych.data.dataset import ImageData, Part
from triptych.errors import InputError
from triptych.evaluation import classifier
from triptych.evaluation import evaluate as evaluating
from triptych.evaluation.cost import flops_per_image, parameters
from triptych.evaluation.frechet import Moments, distance, frechet_distance, gaussian_distance
from triptych.evaluation.intervals import (
    Estimate,
    group_numbers,
    jackknife,
    jackknife_statistic,
    mean_interval,
    wilson,
)
from triptych.evaluation.reconstruction import reconstruction_psnr, reconstruction_ssim
from triptych.evaluation.shares import label_balance, recognisable, total_variation
from triptych.evaluation.sharpness import laplacian_rms, sharpness
from triptych.families.base import describe_absence
from triptych.nn.blocks import DoublingConvolution
from triptych.run import Run

REPEATS = 200


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def coverage(estimates: list[Estimate]) -> float:
    """Share of intervals that hold the expected value, taken as the mean over all repeats."""
    expected = sum(e.value for e in estimates) / len(estimates)
    return sum(e.low <= expected <= e.high for e in estimates) / len(estimates)


# Frechet distance


def mixed(seed: int, count: int = 300, d: int = 6) -> Tensor:
    """Correlated Gaussian features with a mean of their own."""
    return normal(count, d, seed=seed) @ normal(d, d, seed=seed + 100) + normal(d, seed=seed + 200)


def test_frechet_distance_is_the_formula_with_scipys_root() -> None:
    a, b = mixed(1), mixed(2, count=250)
    cov_a, cov_b = np.cov(a.numpy(), rowvar=False), np.cov(b.numpy(), rowvar=False)
    means = a.numpy().mean(0) - b.numpy().mean(0)
    root = linalg.sqrtm(cov_a @ cov_b).real
    expected = means @ means + np.trace(cov_a + cov_b - 2 * root)
    assert frechet_distance(a, b).value == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_is_torchmetrics_fid() -> None:
    from torchmetrics.image.fid import _compute_fid

    a, b = mixed(3), mixed(4)
    expected = _compute_fid(a.mean(0), torch.cov(a.T), b.mean(0), torch.cov(b.T))
    assert frechet_distance(a, b).value == pytest.approx(expected.item(), rel=1e-6)


def test_distance_of_known_gaussians() -> None:
    """Commuting covariances: |m1 - m2|^2 + sum of (s1 - s2)^2."""
    turn = torch.linalg.qr(normal(4, 4)).Q
    s1, s2 = torch.tensor([1.0, 2, 3, 0]).double(), torch.tensor([2.0, 2, 0, 5]).double()
    means = normal(4, seed=1), normal(4, seed=2)
    cov1, cov2 = (turn @ torch.diag(s**2) @ turn.T for s in (s1, s2))
    expected = (means[0] - means[1]).square().sum() + (s1 - s2).square().sum()
    found = gaussian_distance(means[0], cov1, means[1], cov2)
    assert found == pytest.approx(expected.item(), rel=1e-9)


def test_distance_to_itself_is_zero_also_when_singular() -> None:
    a = mixed(5)
    assert frechet_distance(a, a.clone()).value == pytest.approx(0, abs=1e-6)
    flat = torch.cat([a, a[:, :3]], dim=1)  # rank 6 of 9
    assert frechet_distance(flat, flat.clone()).value == pytest.approx(0, abs=1e-6)
    few = mixed(6, count=4, d=20)  # fewer images than features
    shifted = frechet_distance(few, few + 2.0)
    assert shifted.value == pytest.approx(4 * 20, rel=1e-6)
    assert math.isfinite(shifted.low) and math.isfinite(shifted.high)


def test_moments_without_a_group_are_those_of_the_rest() -> None:
    x = mixed(7) + 50  # a large mean: where differences of sums could lose digits
    kept = Moments.of(x).without(Moments.of(x[40:90]))
    again = Moments.of(torch.cat([x[:40], x[90:]]))
    assert kept.count == again.count == 250
    torch.testing.assert_close(kept.mean(), again.mean(), rtol=1e-12, atol=0)
    torch.testing.assert_close(kept.covariance(), again.covariance(), rtol=1e-8, atol=1e-8)
    expected = np.cov(np.delete(x.numpy(), range(40, 90), axis=0), rowvar=False)
    np.testing.assert_allclose(kept.covariance(), expected, rtol=1e-8)
    assert distance(kept, again) == pytest.approx(0, abs=1e-6)


def test_frechet_interval_covers_the_expected_value() -> None:
    estimates = [
        frechet_distance(
            normal(200, 8, seed=2 * repeat) * 1.1 + 0.1, normal(200, 8, seed=2 * repeat + 1)
        )
        for repeat in range(REPEATS)
    ]
    assert 0.90 <= coverage(estimates) <= 0.99


# Intervals


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    """Leaving out one of n values gives exactly the classical interval (Efron and Stein 1981)."""
    values = normal(12, seed=3)
    found = jackknife_statistic(lambda x: x.mean().item(), values, least=-math.inf)
    margin = stats.t.ppf(0.975, 11) * values.std().item() / math.sqrt(12)
    assert found.value == pytest.approx(values.mean().item())
    assert found.high - found.value == pytest.approx(margin, rel=1e-9)
    assert found.value - found.low == pytest.approx(margin, rel=1e-9)


def test_jackknife_in_groups_is_about_the_standard_error() -> None:
    values = [normal(400, seed=s) + 9 for s in range(100)]
    found = [jackknife_statistic(lambda x: x.mean().item(), x) for x in values]
    margins = sum((e.high - e.low) / 2 for e in found) / len(found)
    assert margins == pytest.approx(stats.t.ppf(0.975, 19) / math.sqrt(400), rel=0.05)


def test_two_samples_add_their_variances() -> None:
    left = [1.0, 2.0, 3.0, 4.0]
    one, two = jackknife(9, [left]), jackknife(9, [left, left])
    ratio = stats.t.ppf(0.975, 6) / stats.t.ppf(0.975, 3) * math.sqrt(2)
    assert (two.high - 9) / (one.high - 9) == pytest.approx(ratio)
    assert jackknife(1.0, [left]).low == 0.0  # a distance is never below zero


def test_groups_are_equal_and_mixed() -> None:
    assert group_numbers(45).bincount().tolist() == [3] * 5 + [2] * 15
    assert group_numbers(7).tolist() == list(range(7))


@pytest.mark.parametrize(("successes", "count"), [(0, 10), (3, 10), (10, 10), (431, 2000)])
def test_wilson_is_scipys(successes: int, count: int) -> None:
    found = wilson(successes, count)
    expected = stats.binomtest(successes, count).proportion_ci(method="wilson")
    assert found.low == pytest.approx(expected.low, abs=1e-12)
    assert found.high == pytest.approx(expected.high, abs=1e-12)
    assert found.value == successes / count


def test_mean_interval_is_scipys() -> None:
    values = normal(300, seed=5)
    error = stats.sem(values.numpy())
    low, high = stats.norm.interval(0.95, values.mean().item(), error)
    found = mean_interval(values)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


# Reconstruction and sharpness


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


# Shares


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


# The classifier


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return open_tiny(tmp_path_factory.mktemp("data"))


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 8000)
    monkeypatch.setattr(classifier, "EPOCHS", 1)


def no_training(*arguments: object) -> None:
    raise AssertionError("trained again")


def test_classifier_learns_and_is_kept(
    data: ImageData, brief: None, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = one_thread()
    network = classifier.classifier_for(data, machine, QUIET)
    reading = classifier.read(network, data.test.images, machine)
    assert reading.features.shape == (len(data.test), 128)
    torch.testing.assert_close(reading.probabilities.sum(1), torch.ones(len(data.test)))
    assert data.test.labels is not None
    assert classifier.accuracy(reading, data.test.labels) > 0.9
    assert classifier.accuracy(reading, (data.test.labels + 1) % CLASSES) < 0.1

    files = list((own_cache / "classifiers").glob(f"{data.fingerprint}-*"))
    assert len(files) == 1
    monkeypatch.setattr(classifier, "fit", no_training)
    again = classifier.read(
        classifier.classifier_for(data, machine, QUIET), data.test.images, machine
    )
    assert torch.equal(again.features, reading.features)

    monkeypatch.undo()
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 128)
    monkeypatch.setattr(classifier, "EPOCHS", 0)
    whole = files[0].read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"\xff" * 64):
        files[0].write_bytes(damaged)
        classifier.classifier_for(data, machine, QUIET)
        assert len(files[0].read_bytes()) == len(whole)  # trained and kept again
    files[0].write_bytes(whole)


def test_classifier_sees_the_training_part_alone(
    data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 640)
    monkeypatch.setattr(classifier, "EPOCHS", 1)
    seen: list[Tensor] = []
    forward = classifier.Classifier.forward

    def spy(self: classifier.Classifier, x: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(pixels.to_uint8(x[: classifier.BATCH_SIZE]))  # the rest are non-images
        return forward(self, x)

    def spy_source(x: Tensor, number: int) -> Tensor:
        seen.append(pixels.to_uint8(x))
        return non_images(x, number)

    non_images = classifier.non_images
    monkeypatch.setattr(classifier.Classifier, "forward", spy)
    monkeypatch.setattr(classifier, "non_images", spy_source)
    monkeypatch.setattr(classifier, "LARGEST_SHIFT", 0)
    classifier.fit(classifier.fresh(data), data, one_thread(), QUIET)
    train = {image.numpy().tobytes() for image in data.train.images}
    assert {image.numpy().tobytes() for image in torch.cat(seen)} <= train


# All numbers of a run


KEYS = {
    "name", "value", "low", "high", "n", "floor", "unit", "better", "features", "reference",
    "kind", "method", "note",
}  # fmt: skip
NAMES = [
    ("frechet_distance", "test"),
    ("frechet_distance", "train"),
    ("recognisable", "none"),
    ("label_balance", "test"),
    ("sharpness", "test"),
    ("bits_per_dim", "test"),
    ("reconstruction_psnr", "test"),
    ("reconstruction_ssim", "test"),
]
COSTS = {
    "parameters", "train_seconds", "images_seen", "train_images_per_second", "flops_per_image",
    "sample_seconds_per_image", "network_calls", "peak_memory_bytes",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(data: ImageData, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("runs") / "vae"
    return triptych.train("vae:course", data, budget="1.28kimg", out=folder, machine=one_thread())


def metrics_of(found: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(metric["name"], metric["reference"]): metric for metric in found["metrics"]}


def test_results_are_complete(data: ImageData, run: Run, brief: None) -> None:
    [found] = triptych.evaluate([run.folder.path], data, machine=one_thread())
    written = json.loads(run.folder.results.read_text())
    assert written == json.loads(json.dumps(found))
    assert set(written) == {
        "schema", "model", "run", "data", "metrics", "extractor", "cost", "warnings",
    }  # fmt: skip
    assert written["extractor"]["name"] == "labels"
    assert written["extractor"]["accuracy"] > 0.8
    assert written["schema"] == 1 and written["model"] == "vae:course"
    assert written["data"]["fingerprint"] == data.fingerprint
    assert set(written["data"]) == {"name", "fingerprint", "train", "validation", "test"}
    assert [(m["name"], m["reference"]) for m in written["metrics"]] == NAMES
    for metric in written["metrics"]:
        assert set(metric) >= KEYS
        assert metric["low"] <= metric["value"] <= metric["high"], metric["name"]
        assert metric["better"] in ("lower", "higher", "floor")
        assert metric["kind"] == ("upper bound" if metric["name"] == "bits_per_dim" else "estimate")
        assert metric["n"] == len(data.test)
    assert set(written["cost"]) == COSTS
    assert written["cost"]["images_seen"] == 1280
    assert all(value > 0 for value in written["cost"].values())
    assert any("fewer than 2,000 samples" in warning for warning in written["warnings"])
    for name in ("samples", "interpolation", "reconstruction"):
        assert (run.folder.figures / f"{name}.png").is_file()


def test_floors_are_real_against_real(
    data: ImageData, brief: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise is far above the floor, real images of the other part are at it."""
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))  # no other test's briefer classifier
    machine = one_thread()
    real = evaluating.read_real(data, 30, machine, QUIET)
    assert len(real.other) == 30
    held = {image.numpy().tobytes() for image in data.test.images}
    more = evaluating.read_real(data, 60, machine, QUIET)  # more than validation holds
    assert len({image.numpy().tobytes() for image in more.other} - held) == 60
    noise = random_images(30, side=16)
    of_noise = metrics_of({"metrics": evaluating.label_metrics(noise, real, machine)})
    of_real = metrics_of({"metrics": evaluating.label_metrics(real.other, real, machine)})
    for reference in ("test", "train"):
        far = of_noise["frechet_distance", reference]
        assert far["floor"] < far["value"] / 5
        assert far["low"] > far["floor"]
    near = of_real["frechet_distance", "test"]
    assert near["value"] == pytest.approx(near["floor"])
    assert of_real["label_balance", "test"]["value"] == of_noise["label_balance", "test"]["floor"]
    assert real.readings is not None
    expected = frechet_distance(
        real.readings["test"].features[:30], real.readings["train"].features
    )
    assert of_real["frechet_distance", "train"]["floor"] == pytest.approx(expected.value)
    assert of_real["recognisable", "none"]["floor"] > 0.8
    assert of_real["recognisable", "none"]["value"] > 0.8


def test_sharpness_is_against_the_test_part(data: ImageData, brief: None) -> None:
    real = evaluating.read_real(data, 30, one_thread(), QUIET)
    found = evaluating.sharpness_entry(data.test.images, real, "")
    assert found["value"] == found["floor"] == 1.0
    assert found["better"] == "floor" and found["note"] == ""
    said = evaluating.sharpness_entry(data.test.images, real, "mean decodes")["note"]
    assert said == "mean decodes"


def test_without_labels_label_metrics_are_not_defined(run: Run, tmp_path: Path) -> None:
    plain = open_tiny(tmp_path, labelled=False)
    [found] = triptych.evaluate([run.folder.path], plain, count=20, machine=one_thread())
    metrics = metrics_of(found)
    assert list(metrics) == NAMES
    assert found["extractor"] == {"name": "labels", "accuracy": None}
    assert found["data"]["fingerprint"] == plain.fingerprint  # not that of the training data
    assert found["data"]["test"] == len(plain.test)
    for name in NAMES[:4]:
        metric = metrics[name]
        assert set(metric) >= KEYS
        assert metric["value"] is metric["low"] is metric["high"] is None
        assert metric["kind"] == "not defined"
        assert metric["note"] == "the data have no labels: no classifier can be trained on them"
    assert metrics["sharpness", "test"]["value"] > 0


def test_a_model_that_encodes_nothing_has_no_reconstruction(data: ImageData) -> None:
    found = evaluating.reconstruction_entries(nn.Identity(), "diffusion", data, one_thread())  # type: ignore[arg-type]
    assert [m["name"] for m in found] == ["reconstruction_psnr", "reconstruction_ssim"]
    for metric in found:
        assert metric["value"] is None and metric["kind"] == "not defined"
        assert metric["note"] == describe_absence("encode", "diffusion")


def test_images_of_another_shape_are_not_measured_on(run: Run, data: ImageData) -> None:
    def double(part: Part) -> Part:
        return Part(part.images.repeat(1, 1, 2, 2), part.labels)

    larger = dataclasses.replace(
        data, train=double(data.train), validation=double(data.validation), test=double(data.test)
    )
    with pytest.raises(InputError, match="measure it on data like its own"):
        triptych.evaluate([run.folder.path], larger, machine=one_thread())


def test_the_accuracy_is_of_the_picked_images(
    data: ImageData, brief: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluating, "MOST_REFERENCES", 20)
    real = evaluating.read_real(data, 10, one_thread(), QUIET)
    assert real.readings is not None and len(real.test) == 20
    right = real.readings["test"].probabilities.argmax(1) == labels_in(real.test)
    assert real.accuracy == pytest.approx(right.double().mean().item())


def test_counts() -> None:
    images, labels = make_images(3000, side=5)
    part = Part(torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels))
    data = ImageData(
        name="a", source="a", fingerprint="a", fit="stretch", classes=None, notes=(),
        train=part, validation=part, test=part,
    )  # fmt: skip
    assert evaluating.count_samples(None, data, "cpu") == 2000
    assert evaluating.count_samples(None, data, "cuda") == 3000
    assert evaluating.count_samples(9000, data, "cpu") == 3000
    assert evaluating.count_samples(7, data, "cpu") == 7
    chosen = evaluating.pick(part, 200, "x")
    picked = chosen.images
    assert torch.equal(picked, evaluating.pick(part, 200, "x").images)
    assert chosen.labels is not None and torch.equal(chosen.labels, labels_in(picked))
    assert len(labels_in(picked).unique()) == CLASSES
    assert len({image.numpy().tobytes() for image in picked}) == 200
    tiny = dataclasses.replace(data, test=Part(part.images[:2], None))
    with pytest.raises(InputError, match="2 samples against 2 test images are too few"):
        evaluating.count_samples(None, tiny, "cpu")
    assert len(evaluating.read_real(tiny, 3, one_thread(), QUIET).other) == 3


def test_three_samples_can_be_measured(data: ImageData, run: Run, brief: None) -> None:
    [found] = triptych.evaluate([run.folder.path], data, count=3, machine=one_thread())
    assert all(math.isfinite(metric["value"]) for metric in found["metrics"])


def test_cost_counts_every_network(run: Run) -> None:
    model = run.model
    assert parameters(model) == sum(p.numel() for p in model.parameters())
    counted: list[int] = []

    def count(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Two operations for every weight at every place it is used.

        One that doubles a picture of 8x8 or more uses 16 sums of its 9 weights at each pixel of it.
        """
        places, weights = output[0].numel() // layer.weight.shape[0], layer.weight.numel()
        if isinstance(layer, DoublingConvolution) and inputs[0].shape[-1] >= 8:
            places, weights = inputs[0][0, 0].numel(), weights * 16 // 9
        counted.append(2 * weights * places)

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    found = flops_per_image(model, "cpu")
    for hook in hooks:
        hook.remove()
    assert found == sum(counted)
