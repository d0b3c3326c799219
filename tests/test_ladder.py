"""The ladder VAE: tiny ones whose likelihood is enumerated, and what its parts depend on."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from tests.ladders import ladder_noise, pictures_for, stirred_ladder, tiny_ladder
from tests.truths import ListedStreams, NoStreams, normal
from triptych import images
from triptych.config import ImageShape
from triptych.families.latent import Latent
from triptych.families.vae.ladder import LadderVAE, Level, StochasticBlock
from triptych.families.vae.losses import Posterior
from triptych.families.vae.mixture import FIRST_LOG_SCALE
from triptych.seeding import ImageStreams

NAMES = ["1x1.0", "4x4.0", "4x4.1"]


# Likelihood: every value of a single pixel.


NODES = torch.linspace(-10, 10, 41, dtype=torch.float64)
WEIGHTS = torch.softmax(-(NODES**2) / 2, 0)  # trapezoids: exact to rounding for smooth functions


def single_pixel() -> LadderVAE:
    """Two latent numbers, the second one's posterior looking at the first.

    Pixels are spread wide and posteriors are little narrower than the prior, so that weights vary
    smoothly and not too much.
    """
    levels = [Level(side=1, width=4, bottom_up_blocks=1, top_down_blocks=2, latent=1)]
    model = stirred_ladder(levels, ImageShape(channels=1, resolution=1), 1, 0.0)
    model.requires_grad_(False)
    model.leaf.bias.view(-1, 3)[:, 2] = -0.5 - FIRST_LOG_SCALE
    for level in model.levels():
        for _, block in level.named():
            block.posterior.last.bias[1] = -0.2
    return model


def at_every_node() -> tuple[dict[str, Tensor], Tensor]:
    """Both latents' numbers and the weights of a quadrature over N(0, I)."""
    first, second = torch.cartesian_prod(NODES, NODES).view(-1, 2, 1, 1, 1).unbind(1)
    return {"1x1.0": first, "1x1.1": second}, torch.outer(WEIGHTS, WEIGHTS).flatten()


def expected(model: LadderVAE, x: Tensor, method: str) -> Tensor:
    """E over the noise of a bound's negative, or for "weight" of exp of a one-draw bound: [N]."""
    noise, weights = at_every_node()
    found = []
    for pixel in x:
        every = pixel.expand(len(weights), 1, 1, 1)
        name = "elbo" if method == "elbo" else "importance"
        terms = model.negative_bound(every, ListedStreams(noise), name, draws=1)
        bound = -torch.stack(list(terms.values())).sum(0)
        found.append(weights @ (bound.exp() if method == "weight" else bound))
    return torch.stack(found)


def probabilities(model: LadderVAE) -> Tensor:
    """P of all 256 images: the decoder's answer integrated over the prior."""
    noise, weights = at_every_node()
    output = model.decode_latents(noise)
    pixels = images.to_float(torch.arange(256, dtype=torch.uint8)).double()
    every = [model.log_pixels(p.expand(len(output), 1, 1, 1), output).exp() for p in pixels]
    return torch.stack(every) @ weights


def test_weights_average_to_the_probability_of_every_image() -> None:
    """And those of all 256 images sum to 1: posteriors and their densities belong together."""
    model = single_pixel()
    pixels = images.to_float(torch.arange(256, dtype=torch.uint8)).double().view(-1, 1, 1, 1)
    truth = probabilities(model)
    found = expected(model, pixels, "weight")
    torch.testing.assert_close(found, truth, rtol=1e-9, atol=0)
    assert found.sum().item() == pytest.approx(1, abs=1e-6)
    assert truth.max() > 3 * truth.min()  # not all alike


def test_the_elbo_is_the_expected_log_weight_and_below_the_truth() -> None:
    """The divergences in closed form equal those of the draws."""
    model = single_pixel()
    x = images.to_float(torch.tensor([0, 40, 128, 255], dtype=torch.uint8)).double()
    x = x.view(-1, 1, 1, 1)
    elbo, log_weight = expected(model, x, "elbo"), expected(model, x, "log weight")
    torch.testing.assert_close(elbo, log_weight, rtol=1e-9, atol=0)
    truth = probabilities(model)[[0, 40, 128, 255]].log()
    assert (truth - elbo).min() > 1e-3
    assert (truth - elbo).max() < 1  # nats: no idle bound


def test_the_importance_bound_rises_to_the_truth() -> None:
    """arXiv:1509.00519, theorem 1, in 300 estimates with each number of draws."""
    model = single_pixel()
    truth = probabilities(model)[40].log()
    x = images.to_float(torch.tensor([40], dtype=torch.uint8)).double().expand(300, 1, 1, 1)
    gaps, errors = [], []
    for K in (1, 4, 32, 256):
        rng = ImageStreams(0, "importance", range(300))
        found = model.negative_bound(x, rng, "importance", draws=K)["importance_weighted"]
        gaps.append((found.mean() + truth).item())
        errors.append(found.std().item() / math.sqrt(300))
    assert gaps[0] > 3 * errors[0]
    assert gaps[0] > gaps[1] > gaps[2] > -3 * errors[2]
    assert abs(gaps[3]) < 0.01


# Posteriors and decoding.


def test_levels_and_weights_of_several_latents_are_torch_s() -> None:
    """Latents LEVEL.NUMBER are summed by level; the log ratio is that of the draws' densities."""
    shapes = {"1x1.0": (3, 1, 1), "4x4.0": (2, 4, 4), "4x4.1": (2, 4, 4), "16x16.0": (1, 16, 16)}
    each = [
        {n: normal(5, *s, seed=10 * k + i) for i, (n, s) in enumerate(shapes.items())}
        for k in range(3)
    ]
    means, log_variances, noise = each
    q = {n: Normal(means[n], (log_variances[n] / 2).exp()) for n in shapes}
    latents = {n: q[n].mean + q[n].stddev * noise[n] for n in shapes}
    found = Posterior(means, log_variances, latents, torch.zeros(5))
    prior = Normal(0.0, 1.0)
    kl = {n: kl_divergence(q[n], prior).flatten(1).sum(1) for n in shapes}
    exact = {"1x1": kl["1x1.0"], "4x4": kl["4x4.0"] + kl["4x4.1"], "16x16": kl["16x16.0"]}
    assert list(found.kl()) == [f"kl_{level}" for level in exact]
    for level, nats in exact.items():
        torch.testing.assert_close(found.kl()[f"kl_{level}"], nats, rtol=1e-12, atol=0)
    ratios = [
        (prior.log_prob(latents[n]) - q[n].log_prob(latents[n])).flatten(1).sum(1) for n in shapes
    ]
    torch.testing.assert_close(found.log_ratio(noise), sum(ratios), rtol=1e-12, atol=0)


def test_the_bounds_draws_are_averaged() -> None:
    """The ELBO by the mean of its terms, the weights themselves in the importance bound."""
    model = tiny_ladder().requires_grad_(False)
    x = pictures_for(model, 4)

    def bound(method: str, draws: int | None, streams: ImageStreams) -> Tensor:
        return torch.stack(list(model.negative_bound(x, streams, method, draws).values())).sum(0)

    for method in model.bounds:
        one, all_three = (ImageStreams(0, method, range(4)) for _ in range(2))
        each = torch.stack([bound(method, 1, one) for _ in range(3)])
        exact = each.mean(0) if method == "elbo" else -torch.logsumexp(-each, 0) + math.log(3)
        torch.testing.assert_close(bound(method, 3, all_three), exact)
        usual = bound(method, None, ImageStreams(0, method, range(4)))
        draws = 1 if method == "elbo" else 100
        asked = bound(method, draws, ImageStreams(0, method, range(4)))
        torch.testing.assert_close(usual, asked, rtol=0, atol=0)


@pytest.mark.parametrize(("channels", "patch"), [(1, 1), (3, 2), (1, 4)])
def test_terms_and_weights_are_torch_s(channels: int, patch: int) -> None:
    """Each level's KL under its name; log p(x, latents) - log q from densities, draw by draw."""
    model = tiny_ladder(channels, patch=patch)
    x, noise = pictures_for(model), ladder_noise(model)
    found = model.posterior(model.encode_features(x), noise)
    assert list(found.latents) == list(model.latents) == NAMES
    q = {n: Normal(found.means[n], (found.log_variances[n] / 2).exp()) for n in NAMES}
    prior = Normal(0.0, 1.0)
    kl = {n: kl_divergence(q[n], prior).flatten(1).sum(1) for n in NAMES}
    terms = model.negative_bound(x, ListedStreams(noise), "elbo")
    log_p = model.log_pixels(x, model.decode_latents(found.latents))
    exact = {
        "reconstruction": -log_p,
        "kl_1x1": kl["1x1.0"],
        "kl_4x4": kl["4x4.0"] + kl["4x4.1"],
    }
    assert list(terms) == list(exact)
    for name, value in exact.items():
        torch.testing.assert_close(terms[name], value, rtol=1e-9, atol=1e-12)
    for n in NAMES:
        z = found.latents[n]
        log_p = log_p + (prior.log_prob(z) - q[n].log_prob(z)).flatten(1).sum(1)
    weight = model.negative_bound(x, ListedStreams(noise), "importance", draws=1)
    torch.testing.assert_close(-weight["importance_weighted"], log_p, rtol=1e-9, atol=0)


def test_pixels_are_the_mixture_of_the_decoder_s_numbers() -> None:
    """Summed over the image; means and draws from the same."""
    model = tiny_ladder(channels=3)
    x, output = pictures_for(model), model.decode_latents(ladder_noise(model))
    mixture = model.pixels(output)
    each = torch.stack(
        [
            model.pixels(output[..., i : i + 1, j : j + 1]).log_probability(
                x[..., i : i + 1, j : j + 1]
            )
            for i in range(4)
            for j in range(4)
        ]
    )
    torch.testing.assert_close(model.log_pixels(x, output), each.sum((0, 2, 3)))
    latent = Latent(ladder_noise(model), "straight")
    assert torch.equal(model.decode(latent, NoStreams()), mixture.mean())
    drawn = model.with_pixel_noise().decode(latent, ImageStreams(0, "pixels", range(3)))
    assert torch.equal(drawn, mixture.sample(ImageStreams(0, "pixels", range(3))))
    assert not model.pixel_noise


@pytest.mark.parametrize("classes", [None, 4])
def test_what_is_encoded_decodes_to_the_mean_reconstruction(classes: int | None) -> None:
    """Without noise, and of an image without a label: the unknown class."""
    model = tiny_ladder(channels=3, classes=classes).float()
    x = pictures_for(model).float()
    latent = model.encode(x)
    unknown = None if classes is None else F.one_hot(torch.full((3,), 4), 5).float()
    found = model.posterior(model.encode_features(x), None, unknown)
    assert torch.equal(model.decode(latent, NoStreams()), model.mean_pixels(found.output))
    assert all(torch.equal(latent.tensors[name], found.means[name]) for name in NAMES)


def test_latents_decode_to_what_inference_answered() -> None:
    model = tiny_ladder(channels=3, patch=2)
    found = model.posterior(model.encode_features(pictures_for(model)), ladder_noise(model))
    assert torch.equal(model.decode_latents(found.latents), found.output)


@pytest.mark.parametrize("number", range(len(NAMES)))
def test_a_posterior_looks_at_the_latents_before_it(number: int) -> None:
    """Other noise in one latent moves all posteriors after it, and none up to it."""
    model = tiny_ladder()
    seen, noise = model.encode_features(pictures_for(model)), ladder_noise(model)
    plain = model.posterior(seen, noise)
    name = NAMES[number]
    other = model.posterior(seen, noise | {name: noise[name] + 1})
    for index, each in enumerate(NAMES):
        same = torch.equal(plain.means[each], other.means[each])
        assert same == torch.equal(plain.log_variances[each], other.log_variances[each])
        assert same == (index <= number)
    deviation = (plain.log_variances[name] / 2).exp()
    torch.testing.assert_close(other.latents[name] - plain.latents[name], deviation)
    assert not torch.equal(plain.output, other.output)


def test_every_posterior_looks_at_the_image_at_its_own_resolution() -> None:
    """Other features of the finest level leave the coarsest posterior as it is."""
    model = tiny_ladder()
    seen, noise = model.encode_features(pictures_for(model)), ladder_noise(model)
    coarsest, finest = seen.pictures
    assert [coarsest.shape[-1], finest.shape[-1]] == [1, 4]
    plain = model.posterior(seen, noise)
    other = model.posterior(replace(seen, pictures=[coarsest, finest + 1]), noise)
    assert torch.equal(plain.means["1x1.0"], other.means["1x1.0"])
    for name in NAMES[1:]:
        assert not torch.equal(plain.means[name], other.means[name])
    coarse = model.posterior(replace(seen, pictures=[coarsest + 1, finest]), noise)
    assert not torch.equal(plain.means["1x1.0"], coarse.means["1x1.0"])


def test_log_variances_stay_within_bounds() -> None:
    block = StochasticBlock(
        Level(side=1, width=2, bottom_up_blocks=1, top_down_blocks=1, latent=1), scale=1.0
    )
    h = torch.zeros(1, 2, 1, 1)
    for bias, kept in ((-1e3, -20.0), (1e3, 5.0), (2.0, 2.0)):
        with torch.no_grad():
            block.posterior.last.weight.zero_()
            block.posterior.last.bias[1] = bias
        assert block.posterior_moments(h, h)[1].item() == kept


def test_a_block_decides_what_its_latent_means() -> None:
    """h + spread(gain(h) * latent), then the residual block."""
    block = StochasticBlock(
        Level(side=4, width=3, bottom_up_blocks=1, top_down_blocks=1, latent=2), 0.5
    ).double()
    h, z = normal(2, 3, 4, 4), normal(2, 2, 4, 4, seed=1)
    gain = torch.einsum("oi,bihw->bohw", block.gain.weight[..., 0, 0], h)
    gain = gain + block.gain.bias[:, None, None]
    moved = torch.einsum("oi,bihw->bohw", block.spread.weight[..., 0, 0], gain * z)
    moved = h + moved + block.spread.bias[:, None, None]
    features, image = block(h, z, None)
    torch.testing.assert_close(features, block.residual(moved), rtol=1e-9, atol=1e-12)
    assert image is None
    torch.testing.assert_close(block.gain.bias.detach(), torch.ones(2).double())
