"""The ladder's first latent: a vector whose prior is fitted, guesses, latents that join late."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from tests.ladders import ladder_noise, pictures_for, tiny_ladder
from tests.test_training import request, rounds
from tests.truths import MACHINE, normal
from triptych.config import ImageShape, OptimizerConfig
from triptych.families.protocol import Batch
from triptych.families.vae.ladder import VECTOR, LadderVAE, Level, VectorLatent
from triptych.families.vae.losses import guess_losses
from triptych.families.vae.recipes import ladder
from triptych.pages.language import Language
from triptych.records import Note
from triptych.seeding import ImageStreams, generator, initializing
from triptych.tasks import sample
from triptych.training.state import AT_FIRST
from triptych.training.train import fresh_state

PICTURE = "4x4.0"


def vector_ladder(join: float = 0.0) -> LadderVAE:
    """A vector of 3 and a latent picture of 4x4, in float64, stirred."""
    levels = [
        Level(side=4, width=6, bottom_up_blocks=0, top_down_blocks=1, latent=2),
        Level(side=1, width=5, bottom_up_blocks=0, top_down_blocks=0, latent=1),
    ]
    with initializing(0):
        model = LadderVAE(
            levels,
            patch=1,
            components=2,
            shape=ImageShape(channels=1, resolution=4),
            optimizer=OptimizerConfig(learning_rate=1.0),
            warm_up=0.0,
            vector=VectorLatent(size=3, exemplars=(20, 2), join=join),
        )
    rng = generator(0, "stir")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=rng))
    return model.double()


@pytest.fixture
def settled() -> LadderVAE:
    """Its prior fitted to 16 images."""
    model = vector_ladder().eval()
    model.fit_after_training(pictures_for(model, 16), ImageStreams(0, "settle", range(16)))
    return model


def test_settling_fits_the_prior_to_the_posteriors(settled: LadderVAE) -> None:
    """Draws are then where images are: likelier, under the new prior than under N(0, I)."""
    assert settled.vector is not None
    x = pictures_for(settled, 16)
    mean, log_variance = settled.vector.posterior_moments(settled.encode_features(x), None)
    prior = settled.vector.prior
    torch.testing.assert_close(prior.exemplars[:16], mean)
    assert prior.weights.count_nonzero() == 16
    drawn = mean + (log_variance / 2).exp() * normal(16, 3, seed=9)
    plain = Normal(0.0, 1.0).log_prob(drawn).sum(1)
    assert prior.log_density(drawn).mean() > plain.mean()


def test_the_vector_s_kl_is_that_to_the_fitted_prior(settled: LadderVAE) -> None:
    """log q(z|x) - log p(z) at the draw, by torch.distributions; the weights use the same."""
    assert settled.vector is not None
    x, noise = pictures_for(settled), ladder_noise(settled)
    found = settled.posterior(settled.encode_features(x), noise)
    mean, log_variance = settled.vector.posterior_moments(settled.encode_features(x), None)
    q = Normal(mean, (log_variance / 2).exp())
    z = mean + (log_variance / 2).exp() * noise[VECTOR]
    torch.testing.assert_close(found.latents[VECTOR], z)
    exact = q.log_prob(z).sum(1) - settled.vector.prior.log_density(z)
    torch.testing.assert_close(found.kl()["kl_vector"], exact)
    latent = found.latents[PICTURE]
    p = Normal(torch.zeros_like(latent), torch.ones_like(latent))
    other = Normal(found.means[PICTURE], (found.log_variances[PICTURE] / 2).exp())
    rest = (p.log_prob(latent) - other.log_prob(latent)).flatten(1).sum(1)
    torch.testing.assert_close(found.log_ratio(noise), rest - exact)


def test_training_holds_the_vector_against_a_standard_normal() -> None:
    """In closed form, whatever the prior."""
    model = vector_ladder().train()
    assert model.vector is not None
    x, noise = pictures_for(model), ladder_noise(model)
    found = model.posterior(model.encode_features(x), noise)
    mean, log_variance = model.vector.posterior_moments(model.encode_features(x), None)
    exact = torch.distributions.kl_divergence(
        Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)
    ).sum(1)
    torch.testing.assert_close(found.kl()["kl_vector"], exact)


@pytest.mark.parametrize("vector", [True, False])
def test_encoding_leaves_out_what_no_mean_depends_on(vector: bool, settled: LadderVAE) -> None:
    """To the bit what `posterior` finds on its way to the pixels."""
    model = settled if vector else tiny_ladder().eval()
    x = pictures_for(model)
    found, means = model.encode(x).tensors, model.posterior(model.encode_features(x), None).means
    assert list(found) == list(means) == list(model.latents)
    assert all(torch.equal(found[name], means[name]) for name in means)


def test_what_is_encoded_decodes_to_the_same(settled: LadderVAE) -> None:
    x = pictures_for(settled)
    plain = settled.posterior(settled.encode_features(x), None)
    rng = ImageStreams(0, "none", range(3))
    assert torch.equal(settled.decode(settled.encode(x), rng), settled.mean_pixels(plain.output))


def test_draws_of_the_vector_come_from_its_prior(settled: LadderVAE) -> None:
    """By two choices and the noise of its own stream."""
    assert settled.vector is not None
    drawn = settled.draw_latent(50, ImageStreams(0, "x", range(50)))
    rng = ImageStreams(0, "x", [7])
    noise, picture = rng.normal(3), rng.normal(2, 4, 4)
    exact = settled.vector.prior.draw(rng.uniform(2), noise)
    torch.testing.assert_close(drawn.tensors[VECTOR][7:8], exact)
    assert torch.equal(drawn.tensors[PICTURE][7:8], picture)
    assert not torch.equal(exact, noise)
    assert sample.sample(settled.float(), 3, 0, MACHINE).shape == (3, 1, 4, 4)


def test_the_exemplar_behind_a_draw_is_the_one_it_was_drawn_around(settled: LadderVAE) -> None:
    """With next to no spread every draw is its exemplar; images are known by their encodings."""
    assert settled.vector is not None
    prior = settled.vector.prior
    prior.factors.mul_(1e-6)
    drawn = settled.draw_latent(50, ImageStreams(0, "x", range(50))).tensors[VECTOR]
    exact = torch.cdist(drawn, prior.exemplars[:16]).argmin(1)
    found = settled.exemplars_of_draws(50, ImageStreams(0, "x", range(50)))
    assert torch.equal(found, exact) and len(found.unique()) > 5
    assert torch.equal(sample.exemplars(settled, 9, 0, MACHINE), sample.exemplars(
        settled, 12, 0, MACHINE)[:9])  # fmt: skip
    x = pictures_for(settled, 16)
    assert settled.exemplars_of_images(x).tolist() == list(range(16))
    assert settled.exemplars_of_images(x + 0.3).tolist() == [-1] * 16  # of nobody's encoding


def loss(model: LadderVAE, share: float) -> tuple[dict[str, Tensor], Tensor]:
    x, noise = pictures_for(model), ladder_noise(model)
    return model.objectives()[0](Batch(x, None, noise, share)), x


def test_pictures_of_latents_join_late_and_all_weights_have_gradients_before() -> None:
    """Before, the latent picture costs and changes nothing; its weights' gradients are zero."""
    model = vector_ladder(join=0.5).train()
    before, _ = loss(model, 0.4)
    assert before["kl_4x4"] == 0
    before["total"].backward()
    inner = [p for n, p in model.named_parameters() if "blocks.4x4" in n]
    assert inner
    assert all(p.grad is not None and not p.grad.any() for p in inner)
    after, _ = loss(model, 0.5)
    assert after["kl_4x4"] > 0
    assert torch.equal(before["kl_vector"], after["kl_vector"])
    assert after["reconstruction"] != before["reconstruction"]
    after["total"].backward()
    assert all(p.grad is not None and p.grad.any() for p in inner)


def test_guesses_are_a_gaussian_s_and_part_of_the_loss_alone() -> None:
    """Up to its constant -log N(x; guess, std^2); not of the bound."""
    model = vector_ladder().train()
    terms, x = loss(model, 1.0)
    parts = ["reconstruction", "kl_vector", "kl_4x4", "guess_4x4"]
    assert list(terms) == ["total", *parts]
    torch.testing.assert_close(terms["total"], sum(terms[p] for p in parts))
    found = model.posterior(model.encode_features(x), ladder_noise(model))
    guess, log_std = found.guesses["guess_4x4"]
    density = Normal(guess, log_std.exp()).log_prob(x).flatten(1).sum(1).mean()
    constant = 8 * math.log(2 * math.pi)
    torch.testing.assert_close(terms["guess_4x4"], -density - constant)
    assert guess_losses(x, {}) == {}
    model.guess_weight = 0.25  # as a recipe may ask for
    lighter, _ = loss(model, 1.0)
    torch.testing.assert_close(terms["total"] - lighter["total"], 0.75 * terms["guess_4x4"])
    assert "guess_4x4" not in model.eval().posterior(model.encode_features(x), None).guesses


def test_pictures_of_latents_are_drawn_at_the_recipe_s_deviation() -> None:
    """The vector is not: its prior was fitted. What is said of samples tells it, in French too."""
    shape = ImageShape(channels=1, resolution=16)
    settings = replace(ladder.defaults("tiny", shape), deviation=0.25)
    model = ladder.build(settings, shape)
    whole = ladder.build(replace(settings, deviation=1.0), shape)
    whole.load_state_dict(model.state_dict())
    found, plain = (m.draw_latent(3, ImageStreams(0, "x", range(3))) for m in (model, whole))
    for name, tensor in plain.tensors.items():
        share = 1.0 if name == VECTOR else 0.25
        torch.testing.assert_close(found.tensors[name], share * tensor)
    assert model.samples_note == Note("mean_pixels_cooled", {"share": 0.25})
    assert whole.samples_note == Note("mean_pixels")
    assert "multiplié par 0,25" in Language("fr").note(model.samples_note)
    none = ladder.build(replace(settings, vector=0), shape)
    assert none.deviation == 1.0


@torch.no_grad()
def test_a_vector_that_is_learned_can_be_walked_too() -> None:
    """A step draws it from the posterior of an image that was drawn."""
    shape = ImageShape(channels=1, resolution=16)
    settings = replace(ladder.defaults("tiny", shape), gibbs_steps=1)
    model = ladder.build(settings, shape).eval()
    drawn = model.draw_latent(3, ImageStreams(0, "x", range(3)))
    rng = ImageStreams(0, "x", range(3))
    model.gibbs_steps = 0
    plain = model.draw_latent(3, rng)
    image = model.draw_pixels(model.decode_latents(plain.tensors), rng)
    posterior = model.posterior(model.encode_features(image), None)
    deviation = (posterior.log_variances[VECTOR] / 2).exp()
    expected = posterior.means[VECTOR] + deviation * rng.normal(settings.vector)
    torch.testing.assert_close(drawn.tensors[VECTOR], expected)


def test_a_ladder_without_a_vector_is_taken_up_again() -> None:
    """Nothing looks at levels above its highest latent, so they are not trained."""
    wanted = request("vae:ladder", "1.28kimg", "vector=0", "mppca_rank=0")
    state = fresh_state(wanted, MACHINE)
    rounds(state, 2)
    saved = copy.deepcopy(state.tensors())
    again = fresh_state(wanted, MACHINE)
    again.load(copy.deepcopy(saved), AT_FIRST)
    for file, tensors in again.tensors().items():
        assert all(torch.equal(tensor, saved[file][name]) for name, tensor in tensors.items())


def test_more_kinds_of_covariances_than_there_are_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 4 kinds of covariances"):
        ladder.Ladder(exemplars=(8, 5))
