"""A diffusion model that begins at the best linear denoiser of each group, and learns the rest."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.test_conditioning import model_of, planted
from tests.truths import MACHINE
from triptych import images
from triptych.config import ImageShape
from triptych.families import registry
from triptych.families.diffusion.denoisers import ClosedFormStart
from triptych.families.diffusion.model import Diffusion
from triptych.families.protocol import Batch
from triptych.nn.mppca import MPPCA
from triptych.seeding import ImageStreams
from triptych.tasks import interpolate

RANK = 20


def started(**settings: Any) -> tuple[Diffusion, ClosedFormStart, Tensor]:
    """An untrained model of planted groups, its network, and the images."""
    pixels, _ = planted(1)
    model = model_of(pixels, mppca_rank=RANK, **settings)
    network = model.denoiser.network
    assert isinstance(network, ClosedFormStart)
    return model, network, images.to_float(pixels)


def noisy(x: Tensor, sigma: Tensor) -> Tensor:
    rng = torch.Generator().manual_seed(5)
    return x + sigma.view(-1, 1, 1, 1) * torch.randn(x.shape, generator=rng)


SIGMAS = torch.tensor([0.02, 0.3, 2.0, 80.0])


def test_before_training_the_denoiser_is_that_of_the_mixture() -> None:
    """Of each image's own group, and of all images where the group is unknown."""
    model, network, clean = started()
    x = noisy(clean[:4], SIGMAS)
    assert model.kinds is not None
    numbers = model.kinds.of(clean[:4], None)
    for shares in (torch.eye(5)[numbers], torch.eye(5)[[4] * 4]):
        expected = network.mixture.denoise(x, SIGMAS, shares, inside=True)
        torch.testing.assert_close(
            model.denoiser(x, SIGMAS, shares), expected, atol=2e-4, rtol=1e-4
        )
    apart = [network.mixture.denoise(x, SIGMAS, torch.eye(5)[[k] * 4]) for k in (0, 4)]
    assert (apart[0] - apart[1]).abs().max() > 0.05


def test_the_mixture_is_that_of_the_training_images_and_their_groups() -> None:
    model, network, clean = started()
    assert model.kinds is not None
    numbers = model.kinds.of(clean, None)
    assert numbers is not None
    alone = MPPCA((1, 32, 32), 4, RANK)
    alone.fit(clean, numbers, torch.Generator().manual_seed(9))
    torch.testing.assert_close(network.mixture.shares, alone.shares)
    torch.testing.assert_close(network.mixture.rest, alone.rest, rtol=1e-3, atol=0)
    x = noisy(clean[:4], SIGMAS)
    ours, theirs = (m.denoise(x, SIGMAS, torch.eye(5)[:4]) for m in (network.mixture, alone))
    assert (ours - theirs).abs().mean() < 0.01  # two random starts of the basis


def test_without_groups_it_is_one_gaussian() -> None:
    model, network, clean = started(groups=0)
    x = noisy(clean[:4], SIGMAS)
    expected = network.mixture.denoise(x, SIGMAS, torch.eye(2)[[1] * 4], inside=True)
    torch.testing.assert_close(model.denoiser(x, SIGMAS), expected, atol=2e-4, rtol=1e-4)


def test_where_no_group_is_given_it_is_that_of_all_images() -> None:
    """As for features, which are of images whose group nobody named."""
    model, network, clean = started()
    x = noisy(clean[:4], SIGMAS)
    exact, other = (
        network.mixture.denoise(x, SIGMAS, torch.eye(5)[[row] * 4], inside=True) for row in (4, 0)
    )
    torch.testing.assert_close(model.denoiser(x, SIGMAS), exact, atol=2e-4, rtol=1e-4)
    assert (exact - other).abs().max() > 0.05


def test_a_model_of_classes_begins_at_its_classes() -> None:
    """The labels, not groups, say which images belong together."""
    pixels, kinds = planted(1)
    name, shape = (
        registry.ModelName.parse("diffusion:x0"),
        ImageShape(channels=1, resolution=32, classes=4),
    )
    chosen = registry.defaults(name, "tiny", shape)
    model = registry.build(name, type(chosen)(mppca_rank=RANK), shape, seed=0)
    assert isinstance(model, Diffusion)
    model.fit_before_training(pixels, seed=0, labels=kinds)
    network = model.denoiser.network
    assert isinstance(network, ClosedFormStart)
    assert network.mixture.shares.tolist() == pytest.approx([0.5, 0.25, 0.125, 0.125])
    x = images.to_float(pixels)
    for kind in range(4):
        own = (x[kinds == kind].mean(0) - x.mean(0)).flatten()
        seen = own @ network.mixture.basis
        assert torch.nn.functional.cosine_similarity(seen, network.mixture.centres[kind], 0) > 0.999


def test_training_moves_the_network_and_leaves_the_mixture() -> None:
    model, network, clean = started()
    before = copy.deepcopy(network.mixture.state_dict())
    [objective] = model.objectives()
    batch = Batch(clean[:32], None, objective.noise(32, torch.Generator().manual_seed(0)))
    objective(batch)["total"].backward()
    assert not list(network.mixture.parameters())
    assert network.network.head.weight.grad is not None
    assert network.network.head.weight.grad.abs().max() > 0
    assert all(
        torch.equal(value, before[name]) for name, value in network.mixture.state_dict().items()
    )


def test_the_network_sees_the_linear_estimate_beside_the_noisy_image() -> None:
    model, network, clean = started()
    seen = []
    network.network.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x, shares = noisy(clean[:4], SIGMAS), torch.eye(5)[:4]
    model.denoiser(x, SIGMAS, shares)
    linear = network.mixture.denoise(x, SIGMAS, shares, inside=True) / network.sigma_data
    expected = torch.nn.functional.pixel_unshuffle(
        torch.cat([model.denoiser.precondition_input(x, SIGMAS)[0], linear], dim=1), 2
    )
    torch.testing.assert_close(seen[0], expected, atol=5e-4, rtol=1e-4)
    assert model.represent(clean[:4]).shape[0] == 4


def test_the_first_part_of_the_path_may_be_the_mixture_s_own() -> None:
    """An untrained model follows it anyway, and many small steps lead to the same images."""
    model, _, _ = started(steps=40, sampler="heun", guidance=1.0)
    short = started(steps=20, sampler="heun", guidance=1.0, sigma_start=1.4)[0]
    assert short.noise_levels()[0] == pytest.approx(1.4)
    rng = ImageStreams(0, "x", range(3))
    latent = model.draw_latent(3, rng)
    with torch.inference_mode():
        whole, rest = (m.decode(latent, rng) for m in (model, short))
    assert (whole - rest).abs().mean() < 0.01 * whole.std()


def test_the_mixture_s_path_is_encoded_too() -> None:
    whole = started(steps=40, sampler="heun")[0]
    model, network, clean = started(steps=20, sampler="heun", sigma_start=1.4)
    x = network.mixture.image(network.mixture.coordinates(clean[:3]))
    with torch.inference_mode():
        latent, longer = model.encode(x), whole.encode(x)
        again = model.decode(latent, ImageStreams(0, "x", range(3)))
    mine, theirs = (one.tensors["noise"] for one in (latent, longer))
    assert (mine - theirs).abs().mean() < 0.02 * theirs.std()
    assert (again - x).abs().mean() < 0.01


def test_the_trajectory_begins_at_the_noise_and_shows_more_steps_than_samples_take() -> None:
    model = started(steps=2, inverse_steps=6, sigma_start=1.4)[0]
    rng = ImageStreams(0, "x", range(2))
    latent = model.draw_latent(2, rng)
    with torch.inference_mode():
        states = model.trajectory(latent, rng, 8)
    assert states.shape[1] == 8
    torch.testing.assert_close(states[:, 0], latent.tensors["noise"], rtol=1e-3, atol=1e-3)
    steps = (states[:, 1:] - states[:, :-1]).flatten(2).norm(dim=2)
    assert (steps > 0).all()


def test_walks_between_draws_end_at_the_samples() -> None:
    model = started(steps=2, inverse_steps=10, sigma_start=1.4)[0]
    latent = model.draw_latent(2, ImageStreams(0, "interpolate", range(2)))
    with torch.inference_mode():
        ends = images.to_uint8(model.decode(latent, ImageStreams(0, "walk", [0])))
    path = interpolate.between_draws(model, 1, 3, 0, MACHINE)
    assert (path[0, [0, -1]].int() - ends.int()).abs().max() <= 1


def test_images_are_encoded_in_more_steps_than_samples_take() -> None:
    model = started(steps=2, inverse_steps=10, sigma_start=1.4)[0]
    assert model.deterministic().sampling.steps == 2
    assert model.deterministic(inverting=True).sampling.steps == 10
    for asked in (1, 3, 20):
        own = model.with_sampler(steps=asked)
        assert own.deterministic(inverting=True).sampling.steps == asked
    noisy = model.with_sampler("stochastic-heun")
    for inverting, steps in ((False, 2), (True, 10)):
        still = noisy.deterministic(inverting).sampling
        assert (still.name, still.steps) == ("heun", steps)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mppca_rank": 0, "sigma_start": 1.0}, "set sigma_start=none"),
        ({"mppca_rank": 4, "sigma_start": 0.001}, "must lie between"),
        ({"mppca_rank": 4, "sigma_start": 100.0}, "must lie between"),
        ({"mppca_rank": 4, "exemplars": 9}, "set exemplars=0 too"),
        ({"mppca_rank": 4, "sigma_start": 1.0, "exemplars": -1}, "must be 0 to"),
    ],
)
def test_a_start_that_cannot_be_says_so(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_of(planted(1)[0], **settings)


START, EXEMPLARS = 0.2, 1000  # little noise, which hides no exemplar


def around() -> tuple[Diffusion, Tensor]:
    """An untrained model whose draws begin at exemplars, and the images."""
    model, _, clean = started(steps=20, sampler="heun", sigma_start=START, exemplars=EXEMPLARS)
    return model, clean


def at_the_start(model: Diffusion, count: int) -> tuple[Tensor, Tensor]:
    """What the network is given first of draws [N,C,H,W], and their exemplars [N]."""
    latent = model.draw_latent(count, ImageStreams(0, "x", range(count)))
    noise = latent.tensors["noise"] * model.process.prior_std
    x = model.flow(noise, latent.labels)
    return x, model.exemplars_of_draws(count, ImageStreams(0, "x", range(count)))


def test_draws_begin_at_noisy_training_images() -> None:
    """With no noise of their own in the mixture's latents: then it is the sampler's alone."""
    model, clean = around()
    assert model.prior is not None and model.mixture is not None
    model.prior.kept[:-1] = 1.0
    with torch.inference_mode():
        x, behind = at_the_start(model, 64)
        groups = torch.eye(5)[model.prior.groups[behind]]
        images_behind = model.mixture(model.prior.exemplars[behind], groups)
    noise = (x - images_behind) / START
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    similar = torch.cdist(images_behind.flatten(1), clean.flatten(1)).amin(1)
    others = torch.cdist(clean[:64].flatten(1), clean.flatten(1)).topk(2, largest=False)
    assert similar.median() < others.values[:, 1].median()


def test_draws_around_exemplars_have_the_mixture_s_mean_and_variance() -> None:
    """Those that the same draws would have without: the prior keeps both in each group."""
    model, _ = around()
    plain = started(steps=20, sampler="heun", sigma_start=START)[0]
    with torch.inference_mode():
        mine = at_the_start(model, 2000)[0]
        latent = plain.draw_latent(2000, ImageStreams(0, "x", range(2000)))
        theirs = plain.flow(latent.tensors["noise"] * plain.process.prior_std, latent.labels)
    assert (mine.mean(0) - theirs.mean(0)).abs().mean() < 0.05
    assert mine.var(0).mean().item() == pytest.approx(theirs.var(0).mean().item(), rel=0.02)


def test_each_training_image_is_its_own_exemplar() -> None:
    model, clean = around()
    assert model.prior is not None
    with torch.inference_mode():
        found = model.exemplars_of_images(clean[:20])
        none = model.exemplars_of_images(clean[:20].flip(-1) * 0.9)
    assert model.exemplar_numbers == len(clean) * RANK
    assert len(set(found.tolist())) == 20 and (found >= 0).all()
    assert (none == -1).all()


def test_without_exemplars_draws_are_plain_noise() -> None:
    model, _, _ = started(steps=20, sampler="heun", sigma_start=START)
    drawn = model.draw_latent(3, ImageStreams(0, "x", range(3))).tensors["noise"]
    assert torch.equal(drawn, ImageStreams(0, "x", range(3)).normal(1, 32, 32))
    assert model.exemplar_numbers == 0


def test_a_saved_model_has_its_mixture() -> None:
    model, _, clean = started()
    other = model_of(torch.randint(256, (200, 1, 32, 32), dtype=torch.uint8), mppca_rank=RANK)
    other.load_state_dict(model.state_dict())
    x = noisy(clean[:4], SIGMAS)
    shares = torch.eye(5)[:4]
    assert torch.equal(other.denoiser(x, SIGMAS, shares), model.denoiser(x, SIGMAS, shares))


@pytest.mark.parametrize(
    ("model", "rank", "message"),
    [
        ("diffusion:edm", 8, "mppca_rank takes a network that predicts the clean image"),
        ("diffusion:flow", 8, "mppca_rank takes a network that predicts the clean image"),
        ("diffusion:x0", -1, "mppca_rank must be 0 or more, got -1"),
    ],
)
def test_what_cannot_begin_there_says_so(model: str, rank: int, message: str) -> None:
    name, shape = registry.ModelName.parse(model), ImageShape(channels=1, resolution=32)
    chosen = registry.defaults(name, "tiny", shape)
    with pytest.raises(ValueError, match=message):
        registry.build(name, replace(chosen, mppca_rank=rank), shape, seed=0)


def test_more_directions_than_numbers_are_all_of_them() -> None:
    mixture = MPPCA((1, 4, 4), 2, 256)
    mixture.fit(torch.randn(40, 1, 4, 4), torch.arange(40) % 2, torch.Generator())
    assert mixture.basis.shape == (16, 16)
    assert mixture.denoise(torch.ones(1, 1, 4, 4), torch.ones(1), torch.eye(3)[:1]).isfinite().all()
