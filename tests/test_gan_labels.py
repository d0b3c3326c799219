"""Conditional GANs: both networks heed the labels, and a trained one draws the class asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import triptych
from tests.making import CLASSES, make_images, one_thread
from tests.test_labels import mostly, shown_classes
from tests.truths import normal
from triptych import images
from triptych.config import ImageShape
from triptych.families import registry
from triptych.families.gan.model import GAN
from triptych.families.labels import class_shares, hide_some
from triptych.families.protocol import Batch

SHAPE = ImageShape(channels=3, resolution=16, classes=CLASSES)
CONDITIONAL = ("gan:hinge", "gan:r1", "gan:r3", "gan:wgan-gp")


def build(name: str) -> GAN:
    parsed = registry.ModelName.parse(name)
    model = registry.build(parsed, registry.defaults(parsed, "tiny", SHAPE), SHAPE, seed=0)
    assert isinstance(model, GAN)
    return model.eval()


def test_classes_become_shares_and_the_unknown_one_is_last() -> None:
    found = class_shares(torch.tensor([0, 2]), 3, 2, "cpu")
    assert found is not None and found.tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]
    unknown = class_shares(None, 3, 2, "cpu")
    assert unknown is not None and unknown.tolist() == [[0, 0, 0, 1]] * 2
    assert class_shares(torch.tensor([1]), None, 1, "cpu") is None


def test_a_tenth_of_the_labels_is_hidden() -> None:
    labels = torch.tensor([0, 1, 2, 0])
    hidden = hide_some(labels, torch.tensor([0.5, 0.0999, 0.1, 0.0]), 3)
    assert hidden is not None and hidden.tolist() == [0, 3, 2, 3]
    assert hide_some(None, torch.zeros(4), 3) is None
    assert hide_some(labels, None, None) is labels


@pytest.mark.parametrize("name", CONDITIONAL)
def test_both_networks_heed_the_label(name: str) -> None:
    model, z = build(name), normal(4, 128).float()[:, : build(name).latent]
    x = images.to_float(torch.from_numpy(make_images(4)[0]).permute(0, 3, 1, 2))
    for parameter in model.parameters():
        parameter.data += 0.02  # no weight is zero, as some are before training
    first, second = (F.one_hot(torch.full((4,), k), CLASSES + 1).float() for k in (0, 1))
    with torch.no_grad():
        assert not torch.allclose(model.generator(z, first), model.generator(z, second))
        assert not torch.allclose(model.discriminator(x, first), model.discriminator(x, second))


@pytest.mark.parametrize("name", CONDITIONAL)
def test_fake_images_are_of_the_real_ones_classes(name: str) -> None:
    """The discriminator's loss has the batch's labels on both sides, where they are not hidden."""
    model = build(name)
    objective = model.objectives()[0]
    noise = objective.noise(4, torch.Generator().manual_seed(0))
    noise["hidden"] = torch.tensor([0.5, 0.5, 0.01, 0.5])
    x = images.to_float(torch.from_numpy(make_images(4)[0]).permute(0, 3, 1, 2))
    labels = torch.tensor([3, 1, 0, 2])
    found = objective(Batch(x, labels, noise))
    told = F.one_hot(torch.tensor([3, 1, CLASSES, 2]), CLASSES + 1).float()
    fake = model.generator(noise["z"], told)
    torch.testing.assert_close(found["fake_score"], model.discriminator(fake, told).mean())
    torch.testing.assert_close(found["real_score"], model.discriminator(x, told).mean())


@pytest.mark.parametrize("name", CONDITIONAL)
def test_the_generator_is_judged_under_its_own_images_labels(name: str) -> None:
    """Its loss is of fake images of the batch's classes, scored as images of these."""
    model = build(name)
    objective = model.objectives()[1]
    noise = objective.noise(4, torch.Generator().manual_seed(0))
    noise["hidden"] = torch.tensor([0.5, 0.5, 0.01, 0.5])
    x = images.to_float(torch.from_numpy(make_images(4)[0]).permute(0, 3, 1, 2))
    told = F.one_hot(torch.tensor([3, 1, CLASSES, 2]), CLASSES + 1).float()
    score = model.discriminator(model.generator(noise["z"], told), told)
    if model.loss.paired:
        score = score - model.discriminator(x, told)
    found = objective(Batch(x, torch.tensor([3, 1, 0, 2]), noise))["total"]
    torch.testing.assert_close(found, model.loss.generator(score))


@pytest.mark.sweep
def test_samples_show_the_class_that_was_asked_for(tmp_path: Path) -> None:
    """A bar at one of five places, of any brightness."""
    generator = np.random.default_rng(0)
    labels = generator.integers(CLASSES, size=640)
    pictures = np.full((640, 16, 16, 3), 30, dtype=np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        picture[:, 3 * label : 3 * label + 3] = generator.integers(120, 250)
    np_path = tmp_path / "bars.npz"
    np.savez(np_path, images=pictures, labels=labels)
    more: dict[str, Any] = {"resolution": 16, "machine": one_thread()}
    run = triptych.train(
        "gan:hinge",
        str(np_path),
        budget="12kimg",
        out=tmp_path / "run",
        set=("width=16", "batch_size=16", "inversion.share=0.01"),
        conditional=True,
        **more,
    )
    for label in range(CLASSES):
        assert mostly(shown_classes(run.sample(20, seed=1, label=label)), [label] * 20)
    labels_drawn = run.sample_labels(40, seed=2)
    assert labels_drawn is not None
    assert mostly(shown_classes(run.sample(40, seed=2)), labels_drawn.tolist())
