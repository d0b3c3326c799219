"""Groups that nobody named: found where they were planted, told to the network, drawn from."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from tests.test_training import DATA, MACHINE, request, train
from tests.truths import Recorder, normal, random_pixels
from triptych import images
from triptych.config import ImageShape
from triptych.families import registry
from triptych.families.conditioning import LEAST, Groups, condition_shares
from triptych.families.diffusion.likelihood import VariationalBound
from triptych.families.diffusion.model import Diffusion
from triptych.families.labels import UNLABELED
from triptych.families.protocol import Batch
from triptych.run import Run
from triptych.seeding import ImageStreams

SHAPE = ImageShape(channels=1, resolution=16)
SIZES = (400, 200, 100, 100)


def planted(channels: int = 3) -> tuple[Tensor, Tensor]:
    """Noisy copies of four pictures, 400, 200 and twice 100 of them: uint8 images, kinds."""
    kinds = torch.repeat_interleave(torch.arange(4), torch.tensor(SIZES))
    pictures = normal(4, channels, 32, 32)
    noisy = pictures[kinds] + 0.5 * normal(len(kinds), channels, 32, 32, seed=1)
    return (128 + 30 * noisy).clamp(0, 255).byte(), kinds


def found_in(pixels: Tensor, count: int = 4) -> Groups:
    groups = Groups(count, pixels.shape[-1])
    groups.find(pixels, seed=0)
    return groups


# Finding.


def test_planted_groups_are_found_again() -> None:
    """Each group holds one kind, all of it, and says how many there are."""
    pixels, kinds = planted()
    groups = found_in(pixels)
    numbers = groups.of(images.to_float(pixels))
    for kind, size in enumerate(SIZES):
        assert len(numbers[kinds == kind].unique()) == 1
        assert groups.counts[numbers[kinds == kind][0]] == size
    assert len(numbers.unique()) == 4


def test_groups_do_not_heed_brightness_and_contrast() -> None:
    pixels, _ = planted(1)
    groups, x = found_in(pixels), images.to_float(pixels)
    assert torch.equal(groups.of(0.3 * x - 0.6), groups.of(x))
    assert torch.equal(groups.of(pixels), groups.of(x))  # of whatever scale
    flat = groups.of(torch.zeros(1, 1, 32, 32))
    assert 0 <= flat.item() < 4


def test_few_images_make_few_groups() -> None:
    """A group of an image or two would tell the network the image itself."""
    pixels = random_pixels(3 * LEAST + 1, 1, 16, 16)
    groups = found_in(pixels, count=50)
    assert (groups.counts > 0).sum() == 3
    assert groups.counts.sum() == len(pixels)
    assert groups.of(images.to_float(pixels)).max() < 3
    [one] = found_in(pixels[:5], count=50).counts.nonzero().tolist()
    assert one == [0]


def test_the_same_seed_finds_the_same_groups() -> None:
    pixels = random_pixels(500, 1, 16, 16)
    again, other = found_in(pixels, 8), Groups(8, 16)
    assert torch.equal(found_in(pixels, 8).centres, again.centres)
    other.find(pixels, seed=1)
    assert not torch.equal(other.centres, again.centres)


def test_the_centres_are_the_means_of_what_is_nearest_to_them() -> None:
    """Where k-means has come to rest, as it has here."""
    pixels, _ = planted()
    groups, x = found_in(pixels), images.to_float(pixels)
    numbers, described = groups.of(x), groups.described(x)
    for number in range(4):
        mean = described[numbers == number].mean(0)
        torch.testing.assert_close(groups.centres[number], mean, rtol=1e-4, atol=1e-5)


# Drawing, and what a group costs.


def test_groups_are_drawn_as_often_as_they_occur() -> None:
    groups = Groups(5, 16)
    groups.counts.copy_(torch.tensor([500, 0, 300, 200, 0]))
    drawn = groups.draw(ImageStreams(0, "sample", range(4000)))
    seen = torch.bincount(drawn, minlength=5)
    assert seen[1] == seen[4] == 0
    assert chisquare(seen[[0, 2, 3]].numpy(), [2000, 1200, 800]).pvalue > 1e-3
    again = groups.draw(ImageStreams(0, "sample", range(100, 200)))
    assert torch.equal(again, drawn[100:200])


def test_a_group_costs_the_logarithm_of_its_share() -> None:
    groups = Groups(3, 16)
    groups.counts.copy_(torch.tensor([6, 2, 0]))
    nats = groups.neg_log_prior(torch.tensor([0, 1, 3]))  # the last one: unknown
    expected = torch.tensor([-math.log(0.75), -math.log(0.25), 0.0], dtype=torch.float64)
    torch.testing.assert_close(nats, expected)


def test_before_any_were_found_every_group_is_unknown() -> None:
    groups = Groups(7, 16)
    assert groups.of(normal(3, 1, 16, 16).float()).tolist() == [7, 7, 7]
    assert groups.draw(ImageStreams(0, "sample", range(3))).tolist() == [7, 7, 7]


# In a model.


class Told(Recorder):
    """Keeps what it is told of the kinds."""

    def forward(self, x: Tensor, level: Tensor, kinds: Tensor) -> Tensor:  # type: ignore[override]
        self.kinds = kinds
        return torch.zeros_like(x)


def model_of(pixels: Tensor, **settings: Any) -> Diffusion:
    name = registry.ModelName.parse("diffusion:x0")
    shape = ImageShape(channels=pixels.shape[1], resolution=pixels.shape[-1])
    chosen = registry.defaults(name, "tiny", shape)
    model = registry.build(name, type(chosen)(**({"groups": 4} | settings)), shape, seed=0)
    assert isinstance(model, Diffusion)
    model.fit_before_training(pixels, seed=0)
    return model.eval()


def test_the_network_is_told_each_image_s_group_but_for_the_hidden_ones() -> None:
    pixels, _ = planted()
    model = model_of(pixels)
    [objective] = model.objectives()
    told = objective.denoiser.network = Told()
    x = images.to_float(pixels)
    noise = objective.noise(len(x), torch.Generator().manual_seed(0))
    objective(Batch(x, None, noise))
    assert isinstance(model.kinds, Groups)
    expected = model.kinds.of(x).where(noise["hidden"] >= UNLABELED, 4)
    assert torch.equal(told.kinds.argmax(1), expected)
    assert (told.kinds.sum(1) == 1).all()
    assert not any("kinds" in name for name, _ in objective.named_buffers())


def test_samples_are_of_drawn_groups_and_can_be_guided() -> None:
    model = model_of(planted()[0])
    latent = model.draw_latent(3, ImageStreams(0, "sample", range(3)))
    assert latent.labels is not None
    assert latent.labels.shape == (3, 5)
    assert latent.labels[:, 4].tolist() == [0, 0, 0]
    assert model.with_sampler("euler", 2, guidance=2.0).network_calls == 4
    assert model_of(planted()[0], groups=0).kinds is None


def test_the_bound_names_each_image_s_group_and_pays_for_it() -> None:
    """With a network that heeds no group the bound is the usual one plus -log P(group)."""
    pixels, _ = planted(1)
    model = model_of(pixels)
    assert isinstance(model.kinds, Groups)
    x = images.to_float(pixels[::200])
    rng = ImageStreams(0, "bound", range(len(x)))
    with torch.no_grad():
        found = model.negative_bound(x, rng, "variational")
        plain = model.likelihoods["variational"]
        assert isinstance(plain, VariationalBound)
        blind = model.conditioned(model.null_labels(x))  # the fresh network's last layer is zero
        rng = ImageStreams(0, "bound", range(len(x)))
        expected = plain.terms(blind, x, rng)
    assert list(found) == ["prior", "diffusion", "reconstruction", "group"]
    for term, value in expected.items():
        torch.testing.assert_close(found[term], value)
    shares = model.kinds.counts[model.kinds.of(x)] / 800
    torch.testing.assert_close(found["group"], -shares.double().log(), rtol=1e-6, atol=0)


def heeding(model: Diffusion) -> Diffusion:
    """The same, with a network that heeds its group, as after training."""
    rng = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if not parameter.any():
            parameter.data.normal_(0, 0.1, generator=rng)
    return model


def test_the_bound_is_of_the_network_as_it_was_trained() -> None:
    """Guidance moves samples, not what an image of its group costs."""
    pixels, _ = planted(1)
    model, x = heeding(model_of(pixels)), images.to_float(pixels[::200])
    assert isinstance(model.kinds, Groups)
    shares = condition_shares(model.kinds, model.kinds.of(x), x)
    levels = torch.full((len(x),), 0.5)
    plain, guided = (model.with_sampler(guidance=weight) for weight in (1.0, 3.0))
    with torch.no_grad():
        apart = guided.conditioned(shares, 3.0)(x, levels) - plain.conditioned(shares)(x, levels)
        assert apart.abs().max() > 1e-3
        found = [
            each.negative_bound(x, ImageStreams(0, "bound", range(len(x))), "variational")
            for each in (plain, guided)
        ]
    assert all(torch.equal(term, found[1][name]) for name, term in found[0].items())


def test_images_are_inverted_as_of_an_unknown_group() -> None:
    """As by a network whose groups were never found."""
    pixels, _ = planted(1)
    model, x = heeding(model_of(pixels, steps=3)), images.to_float(pixels[::200])
    blind = copy.deepcopy(model)
    assert isinstance(blind.kinds, Groups) and model.kinds is not None
    blind.kinds.counts.zero_()
    assert (blind.kinds.of(x) == 4).all() and (model.kinds.of(x, None) < 4).all()
    with torch.no_grad():
        found, exact = (each.encode(x).tensors["noise"] for each in (model, blind))
    assert torch.equal(found, exact)


def test_a_trained_run_remembers_its_groups(tmp_path: Path) -> None:
    """Found from the training images alone, the same in every average of the weights."""
    train(request("diffusion:x0", "1.28kimg", "widths=8,16,16", "groups=3"), tmp_path / "run")
    run = Run(tmp_path / "run", MACHINE)
    assert isinstance(run.model, Diffusion)
    kinds = run.model.kinds
    assert isinstance(kinds, Groups)
    numbers = kinds.of(images.to_float(DATA.train.images))
    assert torch.equal(torch.bincount(numbers, minlength=3), kinds.counts)
    entry = run.log_likelihood(DATA.test.images[:4]).to_json()
    assert "group" in entry["terms"]
    assert run.sample(3).shape[0] == 3


@pytest.mark.parametrize("name", ["diffusion:edm", "diffusion:flow", "diffusion:x0"])
def test_groups_give_way_to_labels(name: str) -> None:
    shape = ImageShape(channels=1, resolution=16, classes=6)
    parsed = registry.ModelName.parse(name)
    model = registry.build(parsed, registry.defaults(parsed, "tiny", shape), shape, seed=0)
    assert isinstance(model, Diffusion)
    assert model.kinds is not None and model.kinds.count == 6
    assert not any("kinds" in key for key in model.state_dict())
