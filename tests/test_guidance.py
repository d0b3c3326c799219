"""Diffusion that is told the labels: what is hidden in training, and guidance in sampling."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.truths import normal
from triptych.config import ImageShape
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.diffusion import guidance
from triptych.families.diffusion.model import Diffusion
from triptych.families.diffusion.samplers import ALL_LEVELS, Sampling
from triptych.families.labels import UNLABELED, class_shares
from triptych.families.protocol import Batch
from triptych.pages.language import Language
from triptych.records import Note
from triptych.seeding import ImageStreams

CLASSES = 3
SHAPE = ImageShape(channels=1, resolution=16, classes=CLASSES)
NAMES = ["diffusion:edm", "diffusion:flow", "diffusion:x0"]


def model_of(name: str, shape: ImageShape = SHAPE, **others: Any) -> Diffusion:
    """With an output layer that is not zero, as after training."""
    parsed = registry.ModelName.parse(name)
    settings = replace(registry.defaults(parsed, "tiny", shape), **others)
    model = registry.build(parsed, settings, shape, seed=0)
    assert isinstance(model, Diffusion)
    for parameter in model.parameters():
        if not parameter.any():
            parameter.data.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    return model.eval()


def shares(*labels: int) -> Tensor:
    found = class_shares(torch.tensor(labels), CLASSES, len(labels), "cpu")
    assert found is not None
    return found


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_guidance_goes_on_from_the_unknown_class_to_the_known_one(name: str) -> None:
    """D(unknown) + w (D(class) - D(unknown)) (arXiv:2207.12598, eq. 6 with 1 + w there)."""
    model, x, sigma = model_of(name), normal(2, *SHAPE.size).float(), torch.tensor([0.3, 4.0])
    known = model.denoiser(x, sigma, shares(0, 2))
    blind = model.denoiser(x, sigma, shares(CLASSES, CLASSES))
    assert (known - blind).abs().max() > 1e-3
    for weight in (0.0, 1.0, 2.5):
        denoise = model.conditioned(shares(0, 2), weight)
        expected = blind + weight * (known - blind)
        torch.testing.assert_close(denoise(x, sigma), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_guidance_is_limited_to_its_noise_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """At others the class stays as it was trained; images of one batch may be at different ones."""
    model = model_of("diffusion:x0")
    x, sigma = normal(4, *SHAPE.size).float(), torch.tensor([0.1, 0.2, 1.5, 4.0])
    labels = shares(0, 1, 2, 0)
    free, everywhere = (model.conditioned(labels, weight)(x, sigma) for weight in (1.0, 2.5))
    found = model.conditioned(labels, 2.5, (0.2, 1.5))(x, sigma)
    with monkeypatch.context() as patch:  # as a CUDA graph computes it
        patch.setattr(guidance, "may_pick_rows", lambda x: False)
        again = model.conditioned(labels, 2.5, (0.2, 1.5))(x, sigma)
    torch.testing.assert_close(again, found)
    torch.testing.assert_close(found[[0, 3]], free[[0, 3]], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[[1, 2]], everywhere[[1, 2]], atol=1e-5, rtol=1e-4)
    assert (free - everywhere)[[0, 1, 2, 3]].flatten(1).abs().amax(1).min() > 1e-3


def test_training_on_a_gpu_does_not_wait_for_how_many_rows_are_guided() -> None:
    """Here of a tensor that takes itself for one of a GPU. Sampling saves the calls."""

    class OfGPU(Tensor):
        is_cuda = True

    x = torch.ones(2)
    for of, in_sampling, may in (
        (x, False, True),
        (x, True, True),
        (x.as_subclass(OfGPU), False, False),
        (x.as_subclass(OfGPU), True, True),
    ):
        with torch.inference_mode(in_sampling):
            assert guidance.may_pick_rows(of) == may


def test_a_level_without_guidance_takes_one_call() -> None:
    """Heun calls at each level twice, but for the last, from which it goes to 0."""
    levels = [4.0, 2.0, 1.0, 0.5, 0.0]
    guided = partial(Sampling, steps=4, guidance=2.0, guided=(0.7, 2.5))
    assert guided(name="euler").network_calls(levels) == 4 + 2
    assert guided(name="dpm-solver++").network_calls(levels) == 4 + 2
    # 4 and 2, 2 and 1, 1 and 0.5, 0.5: 2 and 1 cost as much again
    assert guided(name="heun").network_calls(levels) == 7 + 4
    for wrong in ((2.0, 1.0), (-1.0, 2.0)):
        with pytest.raises(InputError, match="is no range"):
            guided(name="euler", guided=wrong)


def test_samples_are_guided_within_the_range_of_the_settings() -> None:
    def draw(**settings: Any) -> Tensor:
        model = model_of("diffusion:x0", **({"steps": 4, "guided": ALL_LEVELS} | settings))
        rng = ImageStreams(0, "sample", range(2))
        latent = model.draw_latent(2, rng, torch.tensor([0, 1]))
        with torch.no_grad():
            return model.decode(latent, rng)

    free, everywhere = draw(guidance=1.0), draw(guidance=3.0)
    nowhere, within = draw(guidance=3.0, guided=(90.0, 99.0)), draw(guidance=3.0, guided=(0.1, 9.0))
    torch.testing.assert_close(nowhere, free, atol=1e-5, rtol=1e-4)
    assert (within - free).abs().max() > 1e-2
    assert (within - everywhere).abs().max() > 1e-2


def test_samples_are_guided_and_inversions_are_not() -> None:
    """Guidance is the sampler's; likelihood, inversion and features know no class to go to."""
    model = model_of("diffusion:x0", guided=ALL_LEVELS).with_sampler("euler", 2, guidance=3.0)
    free = model.with_sampler(guidance=1.0)
    rng = ImageStreams(0, "sample", range(2))
    latent = model.draw_latent(2, rng, torch.tensor([0, 1]))
    x = normal(2, *SHAPE.size).float().clamp(-1, 1)
    with torch.no_grad():
        assert (model.decode(latent, rng) - free.decode(latent, rng)).abs().max() > 1e-2
        assert torch.equal(model.encode(x).tensors["noise"], free.encode(x).tensors["noise"])
        assert torch.equal(model.denoised(x, 0.5), free.denoised(x, 0.5))
    assert model.network_calls == 2 * free.network_calls
    # What was encoded is of no kind, so that guidance would pay for the same answer twice.
    assert model.deterministic(inverting=True).network_calls == free.network_calls
    assert model.deterministic().network_calls == model.network_calls


def test_levels_are_guided_however_high_they_are() -> None:
    """Unless the recipe says which."""
    model = model_of("diffusion:edm", sigma_max=200.0, steps=4)
    assert model.with_sampler(guidance=2.0).network_calls == 2 * 4


def test_a_model_that_is_told_nothing_makes_no_guided_calls() -> None:
    shape = ImageShape(channels=1, resolution=16)
    assert model_of("diffusion:x0").sampling.guidance > 1
    assert model_of("diffusion:x0", shape, groups=0).sampling.guidance == 1.0


def test_guided_samples_are_said_to_be_so() -> None:
    """In the report, whose French knows the sentences."""
    labeled = model_of("diffusion:x0")
    grouped = model_of("diffusion:x0", ImageShape(channels=1, resolution=16))
    assert labeled.samples_note == Note("guided_to_classes", {"weight": 1.5})
    found = grouped.with_sampler(guidance=2.0).samples_note
    assert found == Note("guided_to_groups", {"weight": 2.0})
    assert grouped.with_sampler(guidance=1.0).samples_note is None
    french = Language("fr").note(labeled.samples_note)
    assert french == "avec un guidage de 1,5 vers leur classe"


def test_samples_follow_their_labels_alone() -> None:
    """Image i depends on its stream and its class."""
    model = model_of("diffusion:x0").with_sampler("euler", 3, guidance=2.0)

    def draw(numbers: range, labels: list[int]) -> Tensor:
        rng = ImageStreams(0, "sample", numbers)
        latent = model.draw_latent(len(numbers), rng, torch.tensor(labels))
        with torch.no_grad():
            return model.decode(latent, rng)

    whole = draw(range(3), [0, 1, 2])
    torch.testing.assert_close(draw(range(1, 2), [1]), whole[1:2], atol=1e-4, rtol=1e-4)
    assert (draw(range(1, 2), [2]) - whole[1:2]).abs().max() > 1e-2


def test_some_labels_are_hidden_in_training() -> None:
    """The loss with labels that are all hidden is the loss of unknown classes."""
    [objective] = model_of("diffusion:x0").objectives()
    noise = objective.noise(4000, torch.Generator().manual_seed(0))
    hidden = (noise["hidden"] < UNLABELED).float().mean().item()
    assert hidden == pytest.approx(UNLABELED, abs=0.02)
    few = {key: value[:4] for key, value in noise.items()}
    x, labels = normal(4, *SHAPE.size).float(), torch.tensor([0, 1, 2, 0])

    def loss(chance: float, told: Tensor | None) -> Tensor:
        noise = few | {"hidden": torch.full((4,), chance)}
        return objective(Batch(x, told, noise))["total"]

    torch.testing.assert_close(loss(0.0, labels), loss(0.9, None))
    assert (loss(0.9, labels) - loss(0.9, None)).abs() > 1e-6


def test_without_labels_and_groups_nothing_is_told() -> None:
    model = model_of("diffusion:edm", ImageShape(channels=1, resolution=16), groups=0)
    assert model.denoiser.network.label is None
    latent = model.draw_latent(2, ImageStreams(0, "sample", range(2)))
    assert latent.labels is None


def test_a_likelihood_along_the_flow_can_be_had_of_a_model_that_is_told_labels() -> None:
    model, x = model_of("diffusion:flow"), normal(2, *SHAPE.size).float().clamp(-1, 1)
    with torch.inference_mode():
        terms = model.negative_bound(x, ImageStreams(0, "bound", range(2)), "ode")
    assert all(term.isfinite().all() for term in terms.values())
