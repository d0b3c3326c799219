"""A GAN that is told groups and begins at their mixture: found, told, drawn, encoded, counted."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from tests.test_conditioning import SIZES, planted
from tests.test_inversion import check_interrupted
from tests.test_training import DATA, MACHINE, request, train
from tests.truths import Recorder
from triptych import images
from triptych.config import ImageShape
from triptych.families import registry
from triptych.families.conditioning import Classes, Groups
from triptych.families.gan import ais
from triptych.families.gan.model import GAN
from triptych.families.gan.recipes import r1
from triptych.families.gan.recipes.r1 import R1GAN
from triptych.families.labels import UNLABELED
from triptych.families.protocol import Batch
from triptych.nn.convgan import UpsamplingGenerator
from triptych.nn.mppca import MPPCA
from triptych.nn.refiner import RefiningGenerator
from triptych.run import Run
from triptych.seeding import ImageStreams

RANK = 12
SETTINGS = R1GAN(width=8, groups=4, mppca_rank=RANK, latent=RANK)


def model_of(settings: R1GAN = SETTINGS, classes: int | None = None) -> tuple[GAN, Tensor, Tensor]:
    """An untrained model of planted groups, on [-1, 1] the images, and their kinds."""
    pixels, kinds = planted(1)
    shape = ImageShape(channels=1, resolution=32, classes=classes)
    model = r1.build(settings, shape)
    model.fit_before_training(pixels, seed=0, labels=None if classes is None else kinds)
    return model.eval(), images.to_float(pixels), kinds


def streams(count: int) -> ImageStreams:
    return ImageStreams(0, "sample", range(count))


def groups_of(model: GAN, x: Tensor) -> Tensor:
    assert isinstance(model.conditioning, Groups)
    return model.conditioning.of(x)


def mixture_of(model: GAN) -> MPPCA:
    assert isinstance(model.generator, RefiningGenerator)
    return model.generator.mixture


# Found, told and drawn.


def test_the_mixture_is_that_of_the_training_images_and_their_groups() -> None:
    model, x, kinds = model_of()
    mixture, numbers = mixture_of(model), groups_of(model, x)
    for kind in range(4):
        [number] = numbers[kinds == kind].unique()
        assert mixture.shares[number] == pytest.approx(SIZES[kind] / 800)
        own = (x[kinds == kind].mean(0) - x.mean(0)).flatten() @ mixture.basis
        cosine = torch.nn.functional.cosine_similarity(own, mixture.centres[number], 0)
        assert cosine > 0.999


def test_a_fresh_model_draws_the_mixture_s_images() -> None:
    """Of the drawn groups: each draw is near its group's mean, as the noise is small."""
    model, _, _ = model_of()
    latent = model.draw_latent(40, streams(40))
    assert latent.labels is not None
    with torch.no_grad():
        drawn = model.decode(latent, streams(40))
        exact = mixture_of(model)(latent.tensors["z"], latent.labels)
    torch.testing.assert_close(drawn, exact.clamp(-0.98, 0.98), rtol=1e-4, atol=1e-5)
    assert torch.equal(groups_of(model, drawn), latent.labels.argmax(1))


def test_groups_are_drawn_as_often_as_they_occur() -> None:
    model, _, _ = model_of()
    latent = model.draw_latent(2000, streams(2000))
    assert latent.labels is not None and latent.labels.shape == (2000, 5)
    counts = latent.labels.sum(0)
    assert counts[4] == 0  # none is unknown
    assert isinstance(model.conditioning, Groups)
    expected = 2000 * model.conditioning.counts.double() / 800
    assert chisquare(counts[:4].numpy(), expected.numpy()).pvalue > 1e-3
    z = latent.tensors["z"]
    assert z.shape == (2000, RANK) and abs(z.mean()) < 0.05 and abs(z.std() - 1) < 0.05


@pytest.mark.parametrize("which", [0, 1])
def test_both_players_are_told_the_real_images_groups(which: int) -> None:
    """None is hidden; real and fake images of the discriminator have the same ones."""
    model, x, _ = model_of()
    objective = model.objectives()[which]
    noise = objective.noise(4, torch.Generator().manual_seed(0))
    assert "hidden" not in noise
    told = torch.eye(5)[groups_of(model, x[::200])]
    found = objective(Batch(x[::200], None, noise))
    fake = model.discriminator(model.generator(noise["z"], told), told)
    if which == 0:
        torch.testing.assert_close(found["fake_score"], fake.mean())
        real = model.discriminator(x[::200], told)
        torch.testing.assert_close(found["real_score"], real.mean())
    else:
        torch.testing.assert_close(found["total"], model.loss.generator(fake))
    assert not any("centres" in name for name, _ in model.objectives()[0].named_buffers())


def test_classes_take_the_place_of_groups_and_some_are_hidden() -> None:
    model, x, kinds = model_of(classes=4)
    assert model.conditioning == Classes(4)
    shares = mixture_of(model).shares.tolist()
    assert shares == pytest.approx([size / 800 for size in SIZES])
    objective = model.objectives()[0]
    noise = objective.noise(4, torch.Generator().manual_seed(0))
    noise["hidden"] = torch.tensor([0.5, UNLABELED / 2, 0.5, 0.5])
    told = torch.eye(5)[[int(kinds[0]), 4, int(kinds[400]), int(kinds[600])]]
    found = objective(Batch(x[::200], kinds[::200], noise))
    fake = model.discriminator(model.generator(noise["z"], told), told)
    torch.testing.assert_close(found["fake_score"], fake.mean())
    latent = model.draw_latent(4, streams(4), labels=torch.tensor([3, 2, 1, 0]))
    assert latent.labels is not None and latent.labels.argmax(1).tolist() == [3, 2, 1, 0]
    with torch.no_grad():
        unknown = model.with_refinement(0).encode(x[:2]).labels
    assert unknown is not None and unknown.argmax(1).tolist() == [4, 4]


def test_without_groups_it_begins_at_one_gaussian() -> None:
    model, _, _ = model_of(replace(SETTINGS, groups=0))
    latent = model.draw_latent(3, streams(3))
    assert latent.labels is None and model.conditioning is None
    weights = torch.eye(2)[[1, 1, 1]]
    exact = mixture_of(model)(latent.tensors["z"], weights).clamp(-0.98, 0.98)
    with torch.no_grad():
        torch.testing.assert_close(model.decode(latent, streams(3)), exact, rtol=1e-4, atol=1e-5)


def test_groups_serve_a_generator_without_a_mixture_too() -> None:
    model, x, _ = model_of(replace(SETTINGS, mppca_rank=0))
    assert isinstance(model.generator, UpsamplingGenerator)
    labels = model.draw_latent(5, streams(5)).labels
    assert labels is not None and labels[:, 4].tolist() == [0] * 5
    with torch.no_grad():
        labels = model.with_refinement(0).encode(x[::100]).labels
    assert labels is not None and torch.equal(labels.argmax(1), groups_of(model, x[::100]))


# Encoded.


def test_an_untrained_model_encodes_and_decodes_what_lies_in_its_basis() -> None:
    """Into the image's own group, without a step of refinement."""
    model, x, _ = model_of()
    first = model.with_refinement(0)
    with torch.no_grad():
        z = mixture_of(model).encode(x[::100], torch.eye(5)[groups_of(model, x[::100])])
        inside = mixture_of(model)(z, torch.eye(5)[groups_of(model, x[::100])])
        assert inside.abs().max() < 0.98
        latent = first.encode(inside)
        assert latent.labels is not None
        assert torch.equal(latent.labels.argmax(1), groups_of(model, inside))
        torch.testing.assert_close(model.decode(latent, streams(8)), inside, rtol=0, atol=1e-4)


def test_the_encoder_adds_to_the_closed_form_and_learns() -> None:
    """Its last layer is zero at first; the loss is of each image's own group."""
    model, x, _ = model_of()
    objective = model.objectives()[2]
    noise = objective.noise(8, torch.Generator().manual_seed(0))
    found = objective(Batch(x[::100], None, noise))
    told = torch.eye(5)[groups_of(model, x[::100])]
    with torch.no_grad():
        again = model.generator(mixture_of(model).encode(x[::100], told), told)
    torch.testing.assert_close(found["pixels"], (again - x[::100]).square().mean())
    assert found["latents"] < 0.05  # what clamping took
    found["total"].backward()
    assert model.encoder.latent.weight.grad.any()
    assert not list(mixture_of(model).parameters())
    model.encoder.latent.bias.data += 0.5
    plain = mixture_of(model).encode(x[:2], told[:1].expand(2, -1))
    found_z = model.with_refinement(0).encode(x[:2]).tensors["z"]
    torch.testing.assert_close(found_z, plain + 0.5, rtol=1e-4, atol=1e-4)


def test_between_two_encoded_images_the_groups_are_mixed_linearly() -> None:
    model, x, _ = model_of()
    a, b = (model.with_refinement(0).encode(x[i : i + 1]) for i in (0, 700))
    middle = a.interpolate(b, 0.25)
    assert a.labels is not None and b.labels is not None
    torch.testing.assert_close(middle.labels, 0.75 * a.labels + 0.25 * b.labels)
    with torch.no_grad():
        shown = model.decode(middle, streams(1))
        m = mixture_of(model)
        z = middle.tensors["z"]
        exact = 0.75 * m(z, a.labels) + 0.25 * m(z, b.labels)
    torch.testing.assert_close(shown, exact.clamp(-0.98, 0.98), rtol=1e-4, atol=1e-4)


# Its likelihood, and what is told along the training.


def test_the_likelihood_names_each_image_s_group_and_pays_for_it() -> None:
    """log P(x) >= log P(k) + log P(x | k), with the same chains as a model that pays nothing."""
    model, x, _ = model_of()
    x = x[::200]
    numbers = groups_of(model, x)
    told = torch.eye(5)[numbers]
    found = model.estimate_likelihood(x, streams(4), 0.2, 8)
    prior = ais.LatentPrior(lambda rng: rng.normal(RANK))
    inside = ais.estimate(model.generator, x, [told], 0.2, 8, prior, streams(4))
    everyone = groups_of(model, images.to_float(planted(1)[0]))
    shares = torch.stack([(everyone == k).double().mean() for k in numbers])
    torch.testing.assert_close(found, inside + shares.log(), rtol=0, atol=1e-6)


def test_simulated_bounds_are_of_images_in_drawn_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    model, _, _ = model_of()
    told: list[Tensor] = []
    monkeypatch.setattr(
        ais, "simulated_bounds", lambda generator, z, condition, *rest: told.extend([z, *condition])
    )
    model.simulated_bounds(streams(6), 0.2, 8)
    latent = model.draw_latent(6, streams(6))
    assert torch.equal(told[0], latent.tensors["z"])
    assert latent.labels is not None and torch.equal(told[1], latent.labels)


def test_a_diagnosis_is_of_images_in_the_groups_of_real_ones() -> None:
    model, x, _ = model_of()
    seen: list[tuple[Tensor, Tensor]] = []

    class Watching(Recorder):
        def forward(self, x: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
            seen.append((x, labels))
            return x.flatten(1).mean(1)

    model.critic = Watching()
    found = model.diagnose(x[:300:100], x[300::100], streams(8))
    told = torch.eye(5)[groups_of(model, x[::100])]
    assert seen and all(torch.equal(labels, told) for _, labels in seen)
    assert torch.equal(groups_of(model, seen[1][0]), told.argmax(1))
    assert 0.5 < found.numbers["spread"] < 1.5


# Settings.


def test_the_default_at_tiny_begins_there_and_no_other_does() -> None:
    name, shape = registry.ModelName.parse("gan:r1"), ImageShape(channels=3, resolution=32)
    tiny: Any = registry.defaults(name, "tiny", shape)
    assert (tiny.groups, tiny.mppca_rank, tiny.latent) == (100, 128, 128)
    small: Any = registry.defaults(name, "small", shape)
    assert (small.groups, small.mppca_rank) == (0, 0)
    assert (R1GAN().groups, R1GAN().mppca_rank) == (0, 0)  # as saved runs are read
    few: Any = registry.defaults(name, "tiny", ImageShape(channels=1, resolution=8))
    assert few.latent == few.mppca_rank == 64


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"groups": -1}, "groups must be 0 or more, got -1"),
        ({"mppca_rank": -1}, "mppca_rank must be 0 to 1024, got -1"),
        ({"mppca_rank": 1025, "latent": 1025}, "mppca_rank must be 0 to 1024, got 1025"),
        ({"mppca_rank": 9}, "latent must be as large as mppca_rank, 9, got 12"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        r1.build(replace(SETTINGS, **wrong), ImageShape(channels=1, resolution=32))


# Runs.

SMALL = ("width=8", "groups=3", "mppca_rank=9", "latent=9", "inversion.share=0.1")


def test_a_trained_run_remembers_its_groups_and_its_mixture(tmp_path: Path) -> None:
    """Found from training images alone; averages of the weights have the same ones."""
    train(request("gan:r1", "1.28kimg", *SMALL), tmp_path / "run")
    run = Run(tmp_path / "run", MACHINE)
    assert isinstance(run.model, GAN) and isinstance(run.model.conditioning, Groups)
    numbers = run.model.conditioning.of(images.to_float(DATA.train.images))
    assert torch.equal(torch.bincount(numbers, minlength=3), run.model.conditioning.counts)
    alone = MPPCA(DATA.shape.size, 3, 9)
    alone.fit(images.to_float(DATA.train.images), numbers, torch.Generator().manual_seed(1))
    mixture = mixture_of(run.model)
    torch.testing.assert_close(mixture.mean, alone.mean)
    torch.testing.assert_close(mixture.shares, alone.shares)
    assert run.sample(3).shape[0] == 3


def test_an_interrupted_run_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    check_interrupted(request("gan:r1", "1.28kimg", *SMALL), 0, tmp_path)


def test_a_saved_model_has_its_groups_and_its_mixture() -> None:
    model, x, _ = model_of()
    other = r1.build(SETTINGS, ImageShape(channels=1, resolution=32)).eval()
    before = copy.deepcopy(other.state_dict())
    other.load_state_dict(model.state_dict())
    assert not torch.equal(before["generator.mixture.mean"], mixture_of(other).mean)
    assert torch.equal(groups_of(other, x), groups_of(model, x))
    with torch.no_grad():
        found, exact = (
            each.decode(each.draw_latent(3, streams(3)), streams(3)) for each in (other, model)
        )
    assert torch.equal(found, exact)


# Draws around training images.


def around() -> tuple[GAN, Tensor]:
    """An untrained model whose draws begin at all of its images and keep much of these."""
    model, x, _ = model_of(replace(SETTINGS, exemplars=1000))
    assert model.prior is not None
    model.prior.kept[:-1] = torch.linspace(0.95, 0.3, RANK)
    return model, x


def test_draws_and_their_exemplars_are_those_of_the_mixture_s_prior() -> None:
    model, x = around()
    latent, prior = model.draw_latent(300, streams(300)), model.prior
    assert prior is not None and latent.labels is not None
    assert model.exemplar_numbers == len(x) * RANK
    begun = model.exemplars_of_draws(300, streams(300))
    k = latent.labels.argmax(1)
    assert torch.equal(prior.groups[begun], k) and len(begun.unique()) > 100
    a = prior.kept[k]
    left = (latent.tensors["z"] - a * prior.exemplars[begun]) / (1 - a**2).sqrt()
    assert left.std() == pytest.approx(1, abs=0.05)
    found = model.exemplars_of_images(x[::50])
    torch.testing.assert_close(prior.exemplars[found], mixture_of(model).encode(
        x[::50], model.players.condition_of(x[::50])[0]
    ), atol=1e-3, rtol=1e-3)  # fmt: skip
    assert model_of()[0].exemplar_numbers == 0


@pytest.mark.parametrize("number", [0, 1, 2])
def test_all_trainings_draw_around_exemplars_of_the_real_images_groups(number: int) -> None:
    """What the generator is given in each objective's step lies as near as the prior says."""
    model, x = around()
    prior, given = model.prior, []
    assert prior is not None
    numbers = groups_of(model, x[::20])
    objective = model.objectives()[number]
    noise = objective.noise(40, torch.Generator().manual_seed(0))
    hook = model.generator.register_forward_pre_hook(lambda _, inputs: given.append(inputs))
    objective(Batch(images=x[::20], labels=None, noise=noise, progress=0.5, step_index=1))
    hook.remove()
    z, labels = given[0]
    assert torch.equal(labels.argmax(1), numbers)
    assert torch.equal(z, prior.draw(noise["choices"], noise["z"], labels))
    assert not torch.equal(z, noise["z"])


@pytest.mark.sweep
def test_its_likelihood_and_bounds_are_under_that_prior() -> None:
    """By chains that begin at the prior's draws and move under its density."""
    model, x = around()
    x, prior = x[::200], model.prior
    assert prior is not None
    [told] = model.players.condition_of(x)
    precise = copy.deepcopy(prior).double()

    def draw(rng: ImageStreams) -> Tensor:
        noise = rng.normal(RANK)
        return prior.draw(rng.uniform(1), noise, told)

    exact = ais.LatentPrior(draw, lambda z: precise.log_density(z, told))
    inside = ais.estimate(model.generator, x, [told], 0.2, 8, exact, streams(4))
    assert isinstance(model.conditioning, Groups)
    with torch.inference_mode():  # as tasks call it
        assert torch.equal(model.estimate_likelihood(x, streams(4), 0.2, 2), ais.estimate(
            model.generator, x, [told], 0.2, 2, exact, streams(4)
        ) - model.conditioning.neg_log_prior(groups_of(model, x)))  # fmt: skip
    price = model.conditioning.neg_log_prior(groups_of(model, x))
    found = model.estimate_likelihood(x, streams(4), 0.2, 8)
    torch.testing.assert_close(found, inside - price, rtol=0, atol=1e-6)
    below, above = model.simulated_bounds(streams(6), 0.2, 20)
    assert abs(below.mean() - above.mean()) < 5  # of 4,765 nats


def test_images_of_unknown_classes_are_found_among_exemplars() -> None:
    """Their latents depend on the class, their coordinates do not."""
    model, x, kinds = model_of(replace(SETTINGS, groups=0, exemplars=1000), classes=4)
    assert model.prior is not None
    found = model.exemplars_of_images(x[::50])
    assert torch.equal(model.prior.groups[found], kinds[::50])
    assert model.exemplars_of_images(0.9 * x[::50]).tolist() == [-1] * len(found)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"exemplars": -1}, "must be 0 to"),
        ({"exemplars": 10**9}, "must be 0 to"),
        ({"mppca_rank": 0, "exemplars": 9}, "exemplars=0"),
    ],
)
def test_exemplars_that_cannot_be(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_of(replace(SETTINGS, **changed))
