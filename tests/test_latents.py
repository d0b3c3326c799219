"""Latents that users draw, change and encode: what is decoded from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tests.test_conformance import fresh
from tests.truths import MACHINE, random_pixels
from triptych.config import ImageShape
from triptych.errors import InputError
from triptych.families.labels import Labels
from triptych.families.latent import Latent
from triptych.run import Run
from triptych.training.run_folder import RunFolder

CLASSES = ("owl", "cat", "dog")


def run_of(name: str, classes: tuple[str, ...] | None = None) -> Run:
    """A run of an untrained model, without a folder."""
    run = object.__new__(Run)
    told = None if classes is None else len(classes)
    run.model = fresh(name, ImageShape(channels=1, resolution=16, classes=told))
    run.labels = None if classes is None else Labels(names=classes, counts=(5, 0, 9))
    run.machine = MACHINE
    return run


@pytest.fixture(scope="module")
def vae() -> Run:
    return run_of("vae:course")


@pytest.fixture(scope="module")
def gan() -> Run:
    return run_of("gan:r1", CLASSES)


def test_latents_of_a_seed_give_its_samples_in_any_family() -> None:
    """More than a batch of them; the practical's sampler adds noise of its own in every step."""
    for run, count in ((run_of("vae:course"), 70), (run_of("diffusion:course"), 3)):
        steps = {"steps": 4} if count == 3 else {}
        expected = run.sample(count, seed=7, **steps)
        latents = run.draw_latents(count, seed=7)
        assert torch.equal(run.sample(latents=latents, seed=7, **steps), expected)
        assert len(latents) == count and not latents.tensors.popitem()[1].is_inference()


def test_the_decoder_s_noise_is_of_the_seed_and_not_of_the_latents() -> None:
    run = run_of("diffusion:course")
    latents = run.draw_latents(2)
    first, again = (run.sample(latents=latents, seed=1, steps=4) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, run.sample(latents=latents, seed=2, steps=4))


def test_latents_bring_their_classes_along(gan: Run) -> None:
    latents = gan.draw_latents(20, seed=3)
    assert latents.labels is not None and latents.labels.shape == (20, len(CLASSES) + 1)
    classes = gan.sample_labels(20, seed=3)
    assert classes is not None and torch.equal(latents.labels.argmax(1), classes)
    assert torch.equal(gan.sample(latents=latents, seed=3), gan.sample(20, seed=3))
    dogs = gan.draw_latents(20, seed=3, label="dog")
    assert torch.equal(gan.sample(latents=dogs, seed=3), gan.sample(20, seed=3, label="dog"))
    assert not torch.equal(gan.sample(latents=dogs, seed=3), gan.sample(20, seed=3))


def test_the_temperature_scales_latents_that_are_given_too(vae: Run) -> None:
    latents = vae.draw_latents(4)
    cooler = Latent({"z": 0.5 * latents.tensors["z"]}, latents.path)
    expected = vae.sample(latents=cooler)
    assert torch.equal(vae.sample(latents=latents, temperature=0.5), expected)


def test_latents_may_be_of_double_precision_and_changed_in_place(vae: Run) -> None:
    latents = vae.draw_latents(2)
    latents.tensors["z"][1] = latents.tensors["z"][0]
    images = vae.sample(latents=latents.each(torch.Tensor.double))
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[:1], vae.sample(1))


@pytest.mark.parametrize("name", ["vae:course", "vae:ladder", "gan:hinge", "mixture:mppca"])
def test_encoded_images_decode_to_their_reconstructions(name: str) -> None:
    run, originals = run_of(name), random_pixels(3, 1, 16, 16)
    latents = run.encode(originals)
    assert latents.shapes() == run.draw_latents(1).shapes()
    assert torch.equal(run.sample(latents=latents), run.reconstruct(originals))


def test_noise_that_encodes_images_decodes_to_them_by_a_sampler_without_noise() -> None:
    run, originals = run_of("diffusion:course"), random_pixels(2, 1, 16, 16)
    latents = run.encode(originals)
    run.model = run.model.deterministic(inverting=True)  # type: ignore[attr-defined]
    assert torch.equal(run.sample(latents=latents), run.reconstruct(originals))


def test_half_way_between_latents_is_half_way_of_the_interpolation(vae: Run) -> None:
    first, last = random_pixels(2, 2, 1, 16, 16)
    half = vae.encode(first).interpolate(vae.encode(last), 0.5)
    assert torch.equal(vae.sample(latents=half), vae.interpolate(first, last, points=3)[:, 1])


@pytest.mark.parametrize(
    ("ask", "line"),
    [
        (lambda run, z: run.sample(latents=np.zeros(3)), "^latents are not ndarray: give those"),
        (lambda run, z: run.sample(latents=z.tensors["z"]), "^latents are not Tensor: give those"),
        (lambda run, z: run.sample(3, latents=z), "^2 latents are no 3: leave out count$"),
        (lambda run, z: run.sample(latents=z[:0]), "^there are no latents: give 1 or more$"),
        (lambda run, z: run.sample(latents=z, label="owl"), "bring their labels along: leave out"),
        (
            lambda run, z: run.sample(latents=z.each(lambda tensor: tensor[:, :4])),
            r"^latents of \{'z': \(4,\)\}, but the run's are of \{'z': \(32,\)\}: give those",
        ),
        (lambda run, z: run.draw_latents(0), "^--count 0 is too few: give 1 or more$"),
        (lambda run, z: run.draw_latents(2, label="owl"), "leave out --label"),
        (lambda run, z: run.encode(z), r"^images come as uint8 \(N,C,H,W\), not as Latent"),
    ],
)
def test_what_are_no_latents_of_the_run_is_refused(
    vae: Run, ask: Callable[[Run, Latent], Any], line: str, tmp_path: Any
) -> None:
    vae.folder = RunFolder(tmp_path)
    with pytest.raises(InputError, match=line) as caught:
        ask(vae, vae.draw_latents(2))
    assert "\n" not in str(caught.value)


def test_a_model_that_cannot_encode_says_why() -> None:
    with pytest.raises(InputError, match=r"use a vae$"):
        run_of("diffusion:consistency").encode(random_pixels(1, 1, 16, 16))
