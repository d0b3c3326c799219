"""The classifier that the labels extractor is."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.making import CLASSES, one_thread, open_tiny, tf32, tf32_set
from tests.truths import MACHINE
from triptych import images as pixels
from triptych.console import QUIET
from triptych.data.batches import Batches
from triptych.data.dataset import ImageData
from triptych.evaluation import classifier


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

    files = list((own_cache / "classifiers").glob(f"{data.fingerprint}-*.safetensors"))
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


def test_weights_of_a_classifier_of_other_classes_are_taken_in_by_none(
    data: ImageData, tmp_path: Path
) -> None:
    """Layers that fit both would begin where the other one ended."""
    ours = classifier.fresh(data)
    before = {name: each.clone() for name, each in ours.state_dict().items()}
    assert data.classes is not None
    more = classifier.Classifier(data.shape, len(data.classes) + 1)
    path = tmp_path / "other.safetensors"
    classifier.keep(more, path)
    assert path.is_file() and not classifier.found_in(path, ours)
    assert not path.exists()
    assert all(torch.equal(each, before[name]) for name, each in ours.state_dict().items())


def test_classifier_sees_the_training_part_alone(
    data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 640)
    monkeypatch.setattr(classifier, "EPOCHS", 1)
    seen: list[Tensor] = []
    forward = classifier.Classifier.forward

    def spy(self: classifier.Classifier, x: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(
            pixels.to_uint8(x[: classifier.BATCH_SIZE // classifier.PARTS])
        )  # the rest are non-images
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


@pytest.mark.parametrize("convolutions", ["ieee", "tf32"])
def test_it_reads_in_full_precision_whatever_switch_was_used(
    data: ImageData, convolutions: str
) -> None:
    """PyTorch's newer switch of TF32 too, beside which the older one raises."""
    inside = []

    class Watched(classifier.Classifier):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            inside.append(tf32())
            return super().forward(x)

    with tf32_set(convolutions, "tf32"):
        classifier.read(Watched(data.shape, CLASSES).eval(), data.test.images[:2], MACHINE)
    assert inside == [("ieee", "ieee")]


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
def test_halving_is_max_pooling_to_the_bit(kind: torch.dtype) -> None:
    """Values and gradients, where pixels are equal too: few levels make many ties."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randint(-3, 4, (5, 3, 8, 12), generator=rng).to(kind).requires_grad_()
    grad = torch.randn(5, 3, 4, 6, generator=rng).to(kind)
    ours, theirs = classifier.Halve()(x), torch.nn.functional.max_pool2d(x, 2)
    assert torch.equal(ours, theirs)
    found, exact = (torch.autograd.grad(y, x, grad)[0] for y in (ours, theirs))
    assert torch.equal(found, exact)
    odd = torch.randn(2, 3, 7, 6, generator=rng)  # the last row is left over
    largest = odd[:, :, :6].unflatten(3, (3, 2)).unflatten(2, (3, 2)).amax((3, 5))
    assert torch.equal(classifier.Halve()(odd), largest)


def test_the_order_of_its_layers_changes_no_weight(data: ImageData, monkeypatch: Any) -> None:
    """Trained as it was first written: pooled after ReLU, by torch."""
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 640)
    monkeypatch.setattr(classifier, "EPOCHS", 1)
    weights = []
    for plain in (False, True):
        network = classifier.fresh(data)
        for place, layer in enumerate(network.features):
            if plain and isinstance(layer, classifier.Halve):
                network.features[place] = torch.nn.ReLU()
                network.features[place + 1] = torch.nn.MaxPool2d(2)
        classifier.fit(network, data, one_thread(), QUIET)
        weights.append(network.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_each_half_is_computed_by_one_thread(
    data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would be another classifier on another number of cores, or beside a busy program."""
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 128)
    monkeypatch.setattr(classifier, "EPOCHS", 0)
    used: set[int] = set()
    told: list[tuple[int, int]] = []
    forward, set_threads = classifier.Classifier.forward, torch.set_num_threads

    def spy(self: classifier.Classifier, x: Tensor) -> tuple[Tensor, Tensor]:
        used.add(torch.get_num_threads())
        return forward(self, x)

    def note(count: int) -> None:
        told.append((threading.get_ident(), count))
        set_threads(count)

    monkeypatch.setattr(classifier.Classifier, "forward", spy)
    monkeypatch.setattr(torch, "set_num_threads", note)
    with replace(MACHINE, threads=2).own_threads():
        classifier.fit(classifier.fresh(data), data, replace(MACHINE, threads=2), QUIET)
    assert used == {1}
    here = threading.get_ident()
    assert {count for thread, count in told if thread != here} == {1}
    assert torch.get_num_threads() == 1  # as it was


def test_a_gpu_computes_one_half_after_the_other(
    data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the thread that asks. Here of a CPU by another name; the classifier is the same."""
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 128)
    monkeypatch.setattr(classifier, "EPOCHS", 0)
    threads: list[int] = []
    forward, weights = classifier.Classifier.forward, []

    def spy(self: classifier.Classifier, x: Tensor) -> tuple[Tensor, Tensor]:
        threads.append(threading.get_ident())
        return forward(self, x)

    monkeypatch.setattr(classifier.Classifier, "forward", spy)
    for device in ("cpu", "cpu:0"):
        network = classifier.fresh(data)
        classifier.fit(network, data, replace(one_thread(), device=device), QUIET)
        weights.append(network.state_dict())
    here = threading.get_ident()
    assert [thread == here for thread in threads] == [False] * 4 + [True] * 4
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_step_follows_every_image_of_its_batch(
    data: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step by hand, by the definition of the loss, on each half with its own statistics."""
    monkeypatch.setattr(classifier, "LEAST_IMAGES", 64)
    monkeypatch.setattr(classifier, "EPOCHS", 0)
    trained, network = classifier.fresh(data), classifier.fresh(data).train()
    seen: list[Tensor] = []
    step = torch.optim.AdamW.step

    def spy(self: torch.optim.AdamW, *rest: Any) -> Any:
        seen.extend(p.grad.clone() for p in self.param_groups[0]["params"])
        return step(self, *rest)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    classifier.fit(trained, data, one_thread(), QUIET)
    batches = Batches(data.train, 64, seed=0, device="cpu")
    x, labels = batches.at(0)
    assert labels is not None
    x, nothing = classifier.shifted(x, 0), classifier.non_images(batches.at(0, stream=1)[0], 0)
    loss = torch.zeros(())
    for half in (slice(0, None, 2), slice(1, None, 2)):
        _, logits = network(torch.cat([x[half], nothing[half]]))
        shares = torch.full((12, CLASSES), 1 / CLASSES)
        sure = torch.nn.functional.cross_entropy(logits[:32], labels[half], reduction="sum")
        loss = loss + sure + torch.nn.functional.cross_entropy(logits[32:], shares, reduction="sum")
    expected = torch.autograd.grad(loss / 64, list(network.parameters()))
    for ours, theirs in zip(seen, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)
