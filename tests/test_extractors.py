"""Extractors: which is picked, what it needs, that features are kept and never stale."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

import triptych
from tests.making import evaluated, one_thread, open_tiny, tf32, tf32_set
from tests.truths import MACHINE, normal, random_pixels
from triptych.data.dataset import ImageData
from triptych.errors import InputError
from triptych.evaluation import classifier
from triptych.evaluation.extractors import Labels, LeadingPatches, Pretrained, check_name, pick_name
from triptych.evaluation.legibility import judge
from triptych.evaluation.reference import kept_features
from triptych.metrics.frechet_distance import frechet_value


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return open_tiny(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return open_tiny(tmp_path_factory.mktemp("plain"), labeled=False)


class StandIn(nn.Module):
    """Takes and gives what torch-fidelity's extractors do: uint8 RGB -> a tuple of features."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(scale * torch.randn(48, 5, generator=torch.manual_seed(0)))
        self.calls = 0

    def forward(self, x: Tensor) -> tuple[Tensor]:
        assert x.dtype == torch.uint8 and x.shape[1] == 3
        self.calls += 1
        small = nn.functional.adaptive_avg_pool2d(x.double(), 4).flatten(1)
        return ((small @ self.weight.double()).float(),)


@pytest.fixture
def fidelity(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """A module of that name whose networks are stand-ins; what was asked of it."""
    asked = []

    def create(name: str, layers: list[str], cuda: bool = True, **more: Any) -> nn.Module:
        assert not cuda
        asked.append((name, layers))
        return StandIn()

    package, utils = types.ModuleType("torch_fidelity"), types.ModuleType("torch_fidelity.utils")
    utils.create_feature_extractor = create  # type: ignore[attr-defined]
    package.utils = utils  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    monkeypatch.setitem(sys.modules, "torch_fidelity.utils", utils)
    return asked


# Which one


def test_labels_where_there_are_labels_else_patches(data: ImageData, unlabelled: ImageData) -> None:
    for each in (data, unlabelled):
        check_name(None, each)
        check_name("patches", each)
    check_name("labels", data)
    legible = Labels(classifier.fresh(data), judge(torch.arange(40) % 2, torch.arange(40) % 2))
    assert pick_name(None, data, legible) == "labels"
    assert pick_name(None, unlabelled, None) == "patches"
    assert pick_name("patches", data, legible) == "patches"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("magic", "no features 'magic': choose from labels, patches, inception, dinov2"),
        ("labels", "the data have no labels: .*: use --features patches"),
        ("inception", "features 'inception' need torch-fidelity .* or use --features patches"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do_instead(
    unlabelled: ImageData, name: str, why: str
) -> None:
    with pytest.raises(InputError, match=why):
        check_name(name, unlabelled)


# Pretrained networks


@pytest.mark.parametrize(
    ("ours", "theirs", "layer"),
    [("inception", "inception-v3-compat", "2048"), ("dinov2", "dinov2-vit-b-14", "dinov2")],
)
def test_a_run_can_be_measured_on_pretrained_features(
    data: ImageData,
    tmp_path: Path,
    fidelity: list[tuple[str, list[str]]],
    ours: str,
    theirs: str,
    layer: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 1280)
    monkeypatch.setattr(classifier, "EPOCHS", 1)
    run = triptych.train(
        "vae:course", data, budget="0.64kimg", out=tmp_path / "run", machine=one_thread()
    )
    [found] = evaluated([run.folder.path], data, count=30, features=ours, machine=one_thread())
    assert fidelity == [(theirs, [layer])]
    assert found["extractor"]["name"] == ours
    by_name = {metric["name"]: metric for metric in reversed(found["metrics"])}
    for name in ("frechet_distance", "kernel_distance", "precision", "memorised", "path_length"):
        assert by_name[name]["features"] == ours
    assert by_name["recognisable"]["features"] == "labels"


def test_weights_that_cannot_be_had_are_said(
    data: ImageData, monkeypatch: pytest.MonkeyPatch, fidelity: list[Any]
) -> None:
    from triptych.evaluation import extractors

    def offline(*words: Any, **more: Any) -> None:
        raise OSError("<urlopen error no network>\nmore")

    utils = sys.modules["torch_fidelity.utils"]
    monkeypatch.setattr(utils, "create_feature_extractor", offline)
    with pytest.raises(InputError, match=r"weights of 'inception' cannot be had .*no network>\)"):
        extractors.load("inception")


def test_grey_images_are_shown_in_three_equal_channels() -> None:
    grey = random_pixels(5, 1, 16, 16)
    network = StandIn()
    found = Pretrained("inception", network)(grey, MACHINE)
    torch.testing.assert_close(found, network(grey.repeat(1, 3, 1, 1))[0])


@pytest.mark.parametrize("convolutions", ["ieee", "tf32"])
def test_pretrained_networks_compute_in_full_precision(convolutions: str) -> None:
    """Convolutions and products of matrices, whichever switch of TF32 was used."""
    inside = []

    class Watched(StandIn):
        def forward(self, x: Tensor) -> tuple[Tensor]:
            inside.append(tf32())
            return super().forward(x)

    with tf32_set(convolutions, "tf32"):
        Pretrained("dinov2", Watched())(random_pixels(2, 3, 16, 16), MACHINE)
    assert inside == [("ieee", "ieee")]


# Patches


def real_images(count: int, seed: int) -> Tensor:
    """Smooth shapes: noise of a few pixels' width."""
    rough = normal(count, 3, 24, 24, seed=seed).numpy()
    smooth = ndimage.gaussian_filter(rough, (0, 0, 2, 2), mode="wrap")
    return torch.from_numpy(128 + 400 * smooth).clamp(0, 255).to(torch.uint8)


def blurred(x: Tensor) -> Tensor:
    return torch.from_numpy(ndimage.gaussian_filter(x.numpy(), (0, 0, 1.5, 1.5)))


def noisy(x: Tensor) -> Tensor:
    return (x + 12 * normal(*x.shape, seed=9)).clamp(0, 255).to(torch.uint8)


def few(x: Tensor) -> Tensor:
    return x[torch.arange(len(x)) % 20]


def darker(x: Tensor) -> Tensor:
    return (x * 0.85).to(torch.uint8)


@pytest.mark.parametrize("worse", [blurred, noisy, few, darker])
def test_patches_see_blur_noise_lost_variety_and_brightness(worse: Any) -> None:
    extractor = LeadingPatches(real_images(600, 0))
    test, other = (real_images(400, seed) for seed in (1, 2))
    features = extractor(test, MACHINE)
    floor = frechet_value(extractor(other, MACHINE), features)
    assert frechet_value(extractor(worse(other), MACHINE), features) > 2 * floor
    assert features.shape == (400, 128)


# Features of real images are kept


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that no other test has filled."""
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Counting(Pretrained):
    def __init__(self, scale: float = 1.0) -> None:
        self.stand_in = StandIn(scale)
        super().__init__("inception", self.stand_in)


def test_features_are_kept_and_found_again(own_cache: Path) -> None:
    first, again, images = Counting(), Counting(), random_pixels(9, 3, 16, 16)
    found = kept_features(first, images, MACHINE)
    assert torch.equal(kept_features(again, images, MACHINE), found)
    assert (first.stand_in.calls, again.stand_in.calls) == (1, 0)
    assert torch.equal(found, first(images, MACHINE))


def test_other_weights_or_images_find_nothing_stale(own_cache: Path) -> None:
    images = random_pixels(9, 3, 16, 16)
    first, other = Counting(), Counting(scale=2.0)
    found = kept_features(first, images, MACHINE)
    torch.testing.assert_close(kept_features(other, images, MACHINE), 2 * found)
    changed = images.clone()
    changed[3, 0, 5, 5] ^= 1
    kept_features(first, changed, MACHINE)
    assert first.stand_in.calls == 2


def test_a_damaged_file_is_made_again(own_cache: Path) -> None:
    extractor, images = Counting(), random_pixels(9, 3, 16, 16)
    found = kept_features(extractor, images, MACHINE)
    [path] = (own_cache / "features").glob("*.safetensors")
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"\xff" * 64):
        path.write_bytes(damaged)
        assert torch.equal(kept_features(extractor, images, MACHINE), found)
        assert path.read_bytes() == whole
