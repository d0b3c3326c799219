"""A ladder VAE that begins as a mixture of probabilistic PCA, and learns what is to be added."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from tests.test_conditioning import SIZES, planted
from tests.truths import normal
from triptych import images
from triptych.config import ImageShape
from triptych.families import registry
from triptych.families.labels import UNLABELED
from triptych.families.latent import Latent
from triptych.families.protocol import Batch
from triptych.families.vae.ladder import VECTOR, LadderVAE, MixtureVector, StochasticBlock
from triptych.families.vae.mixture import read_mixture
from triptych.nn.mppca import MPPCA
from triptych.records import Note
from triptych.seeding import ImageStreams

RANK = 20
NAME = registry.ModelName.parse("vae:ladder")
SHAPE = ImageShape(channels=1, resolution=32)
LABELED = replace(SHAPE, classes=4)
PICTURES = "16x16.0"


def begun(shape: ImageShape = SHAPE, **settings: Any) -> tuple[LadderVAE, MPPCA, Tensor, Tensor]:
    """An untrained model of planted groups, its mixture, the images and their groups."""
    pixels, kinds = planted(1)
    chosen = registry.defaults(NAME, "tiny", shape)
    chosen = replace(
        chosen, **({"groups": 4, "mppca_rank": RANK, "patch_rank": 8, "join": 0.0} | settings)
    )
    model = registry.build(NAME, chosen, shape, seed=0)
    assert isinstance(model, LadderVAE)
    model.fit_before_training(pixels, seed=0, labels=kinds if shape.classes else None)
    assert isinstance(model.vector, MixtureVector)
    return model.eval(), model.vector.mixture, images.to_float(pixels), kinds


def noise_of(model: LadderVAE, count: int) -> dict[str, Tensor]:
    return {
        name: normal(count, *shape, seed=i).float()
        for i, (name, shape) in enumerate(model.latents.items())
    }


@torch.no_grad()
def test_before_training_samples_are_those_of_the_mixture_and_of_its_patches() -> None:
    model, mixture, _, _ = begun()
    rng = ImageStreams(0, "sample", range(6))
    latent = model.draw_latent(6, rng)
    assert latent.labels is not None
    expected = mixture(latent.tensors[VECTOR], latent.labels) + of_patches(model, latent)
    torch.testing.assert_close(model.decode(latent, rng), expected.clamp(-1, 1), atol=1e-5, rtol=0)


def of_patches(model: LadderVAE, latent: Latent) -> Tensor:
    """What a latent picture adds to an image before training, patch by patch."""
    pca, e = model.patches, latent.tensors[PICTURES]
    assert pca is not None and e[:, : pca.rank].abs().max() > 0.1
    added = torch.zeros(len(e), *model.shape.size)
    for i in range(16):
        for j in range(16):
            d = (pca.stds * e[:, : pca.rank, i, j]) @ pca.directions.T
            added[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] = d.view(len(e), -1, 2, 2)
    return added


@torch.no_grad()
def test_before_training_the_posterior_is_that_of_probabilistic_pca() -> None:
    """Written out: of x = m + U (c + W z) + noise of variance r, W W^T + r I in the basis."""
    model, mixture, x, _ = begun()
    x, labels = x[:5], model.condition(x[:5])
    assert labels is not None and model.vector is not None
    mean, log_variance = model.vector.posterior_moments(model.encode_features(x), labels)
    rest = mixture.rest.item()
    for row, k in enumerate(labels.argmax(1).tolist()):
        # with the variances v as those of the signal, as the decoder has them
        factor = mixture.axes[k] @ mixture.variances[k].sqrt().diag()
        precision = np.eye(RANK) + (factor.T @ factor).numpy() / rest
        y = (mixture.coordinates(x[row : row + 1])[0] - mixture.centres[k]).numpy()
        exact = np.linalg.solve(precision, factor.T.numpy() @ y / rest)
        np.testing.assert_allclose(mean[row], exact, rtol=2e-3, atol=2e-3)
        np.testing.assert_allclose(
            log_variance[row].exp(), np.diag(np.linalg.inv(precision)), rtol=2e-3
        )


@torch.no_grad()
def test_in_colour_too_samples_begin_as_those_of_the_mixture() -> None:
    """Where green and blue may be moved by the channels before them."""
    pixels, _ = planted(3)
    shape = ImageShape(channels=3, resolution=32)
    chosen = registry.defaults(NAME, "tiny", shape)
    chosen = replace(chosen, groups=4, mppca_rank=RANK, patch_rank=8)
    model = registry.build(NAME, chosen, shape, seed=0).eval()
    assert isinstance(model, LadderVAE)
    model.fit_before_training(pixels, seed=0)
    rng = ImageStreams(0, "sample", range(6))
    latent = model.draw_latent(6, rng)
    assert latent.labels is not None and model.mixture is not None
    expected = model.mixture(latent.tensors[VECTOR], latent.labels) + of_patches(model, latent)
    torch.testing.assert_close(model.decode(latent, rng), expected.clamp(-1, 1), atol=1e-5, rtol=0)


def test_its_pictures_are_cooled_whatever_the_size_of_a_vector_that_it_has_not() -> None:
    model, _, _, _ = begun(vector=0)
    assert model.deviation == begun()[0].deviation == 0.3


@torch.no_grad()
def test_draws_are_of_groups_as_frequent_as_among_training_images() -> None:
    model, _, _, _ = begun()
    latent = model.draw_latent(2000, ImageStreams(0, "sample", range(2000)))
    assert latent.labels is not None and set(latent.labels.sum(1).tolist()) == {1.0}
    counts = latent.labels.sum(0)
    assert counts[-1] == 0
    frequencies = sorted(SIZES), sorted(counts[:-1].tolist())
    expected = np.array(frequencies[0]) / sum(SIZES) * 2000
    assert chisquare(frequencies[1], expected).pvalue > 1e-3
    z = latent.tensors[VECTOR]
    assert z.mean().abs() < 0.02 and abs(z.var() - 1) < 0.05
    assert latent.tensors[PICTURES].std().item() == pytest.approx(model.deviation, rel=0.01)


def test_the_bound_names_each_image_s_group_and_pays_for_it() -> None:
    model, _, x, kinds = begun()
    some = torch.tensor([0, 450, 650, 750])
    rng = ImageStreams(0, "bound", range(4))
    for method, draws in (("elbo", 1), ("importance", 3)):
        with torch.no_grad():
            terms = model.negative_bound(x[some], rng, method, draws)
        shares = torch.tensor(SIZES)[kinds[some]] / sum(SIZES)
        torch.testing.assert_close(terms["group"], -shares.double().log())
    labels = model.condition(x[some])
    with torch.no_grad():
        found = model.posterior(model.encode_features(x[some]), None, labels)
        assert set(found.estimates) == {VECTOR}


def test_training_moves_the_networks_and_leaves_the_mixture() -> None:
    model, mixture, x, _ = begun()
    model.train()
    before = copy.deepcopy(mixture.state_dict())
    [objective] = model.objectives()
    noise = objective.noise(32, torch.Generator().manual_seed(0))
    objective(Batch(x[:32], None, noise, progress=0.5))["total"].backward()
    assert not list(mixture.parameters())
    assert all(torch.equal(value, before[name]) for name, value in mixture.state_dict().items())
    vector = model.vector
    assert isinstance(vector, MixtureVector) and model.see is not None
    moved = vector.posterior.weight, vector.project.weight, model.see.weight, model.leaf.weight
    # The leaf begins at zero where the means are: what is before it is moved by the scales.
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in moved)


@torch.no_grad()
def test_the_finest_level_sees_the_mixture_s_image() -> None:
    model, mixture, x, _ = begun()
    seen = []
    assert model.see is not None
    model.see.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    noise, labels = noise_of(model, 4), model.condition(x[:4])
    found = model.posterior(model.encode_features(x[:4]), noise, labels)
    assert labels is not None
    torch.testing.assert_close(seen[0], mixture(found.latents[VECTOR], labels))
    # The pictures' posterior is their closed form at first, which looks at no features.
    block = model.levels()[-1].blocks[PICTURES.replace(".", "-")]
    assert isinstance(block, StochasticBlock)
    torch.nn.init.normal_(block.posterior.last.weight, std=0.1)
    found = model.posterior(model.encode_features(x[:4]), noise, labels)
    model.see.weight.zero_()
    blind = model.posterior(model.encode_features(x[:4]), noise, labels)
    assert (blind.means[PICTURES] - found.means[PICTURES]).abs().max() > 1e-3


@torch.no_grad()
def test_the_guess_begins_at_the_mixture_s_image() -> None:
    model, mixture, x, _ = begun()
    labels = model.train().condition(x[:4])
    assert labels is not None
    found = model.posterior(model.encode_features(x[:4]), noise_of(model, 4), labels)
    [(guess, _)] = found.guesses.values()
    torch.testing.assert_close(guess, mixture(found.latents[VECTOR], labels))


@torch.no_grad()
def test_what_is_encoded_is_decoded_in_its_own_group() -> None:
    """The posterior mean's image is the projection on the basis, but for the noise's share."""
    model, mixture, x, _ = begun()
    decoded = model.decode(model.encode(x[:6]), ImageStreams(0, "none", range(6)))
    projected = mixture.image(mixture.coordinates(x[:6])).clamp(-1, 1)
    error = (decoded - projected).square().mean()
    assert error < 0.05 * (projected - x[:6]).square().mean()


@torch.no_grad()
def test_of_a_path_between_two_groups_every_place_has_an_image_of_its_own() -> None:
    model, _, _, _ = begun()
    latent = model.draw_latent(2, ImageStreams(0, "sample", [0, 1]))
    a, b = latent[:1], latent[1:]
    path = [
        model.decode(a.interpolate(b, share), ImageStreams(0, "none", [0]))
        for share in np.linspace(0, 1, 21)
    ]
    steps = torch.stack([(v - u).square().mean().sqrt() for u, v in pairwise(path)])
    assert steps.max() < 3 * steps.mean()


@torch.no_grad()
def test_before_training_its_pictures_explain_the_mixture_s_residual() -> None:
    """Of the image minus that of the drawn vector; the rest is the pixels' own noise."""
    model, mixture, x, _ = begun()
    x, labels, pca = x[:40], model.condition(x[:40]), model.patches
    assert labels is not None and pca is not None
    found = model.posterior(model.encode_features(x), noise_of(model, 40), labels)
    residual = x - mixture(found.latents[VECTOR], labels)
    e = found.means[PICTURES]
    for i, j in ((0, 0), (7, 9)):
        d = residual[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].flatten(1)
        expected = pca.stds / (pca.stds**2 + pca.rest) * (d @ pca.directions)
        torch.testing.assert_close(e[:, : pca.rank, i, j], expected, rtol=1e-4, atol=1e-4)
    assert not e[:, pca.rank :].any()
    assert torch.equal(model.decode_latents(found.latents, labels), found.output)
    assert model.leaf.bias is not None
    at_zero = read_mixture(model.leaf.bias[None, :, None, None], 1, model.components)
    variance = (at_zero.log_scales.exp() * np.pi).square() / 3  # of a logistic
    torch.testing.assert_close(variance, pca.rest.expand_as(variance))


@torch.no_grad()
def test_pixels_begin_as_wide_as_the_residual_where_patches_join_later() -> None:
    """Here of squares of 2x2, whose patches leave hardly any noise."""
    pixels, _ = planted(1)
    squares = 20 * normal(len(pixels), 1, 16, 16, seed=5)
    pixels = (pixels.float() + squares.repeat_interleave(2, 2).repeat_interleave(2, 3)).clamp(
        0, 255
    )
    chosen = replace(
        registry.defaults(NAME, "tiny", SHAPE), groups=4, mppca_rank=RANK, patch_rank=8, join=0.2
    )
    model = registry.build(NAME, chosen, SHAPE, seed=0)
    assert isinstance(model, LadderVAE)
    model.fit_before_training(pixels.byte(), seed=0)
    assert model.leaf.bias is not None and model.patches is not None
    pca = model.patches
    whole = (pca.stds.square().sum() + len(pca.directions) * pca.rest) / len(pca.directions)
    assert pca.rest < 0.6 * whole
    at_zero = read_mixture(model.leaf.bias[None, :, None, None], 1, model.components)
    variance = (at_zero.log_scales.exp() * np.pi).square() / 3  # of a logistic
    torch.testing.assert_close(variance, whole.expand_as(variance), rtol=1e-3, atol=0)


@torch.no_grad()
def test_patches_are_of_the_residual_of_a_drawn_vector() -> None:
    """Their variances sum to its: of the posterior's draws, larger than that of its means."""
    model, mixture, x, _ = begun()
    assert isinstance(model.vector, MixtureVector) and model.patches is not None
    mean, variance = model.vector.closed_form_posterior(mixture.coordinates(x), model.condition(x))
    weights = model.condition(x)
    assert weights is not None
    residual = {
        "means": x - mixture(mean, weights),
        "draws": x - mixture(mean + variance.sqrt() * normal(*mean.shape).float(), weights),
    }
    pca, size = model.patches, len(model.patches.directions)
    found = (pca.stds.square().sum() + size * pca.rest).item() / size
    assert found == pytest.approx(residual["draws"].square().mean().item(), rel=0.003)
    assert residual["means"].square().mean().item() < 0.99 * found


def stirred(join: float = 0.0) -> tuple[LadderVAE, Tensor]:
    """One whose networks are no longer at their start, but for the leaf, which adds nothing."""
    model, _, x, _ = begun(join=join)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=rng))
        model.leaf.weight.zero_()
    return model, x[:6]


@torch.no_grad()
@pytest.mark.parametrize("training", [True, False])
def test_the_pixels_means_are_the_guess_and_its_patches(training: bool) -> None:
    model, x = stirred()
    level, labels = model.train(training).levels()[-1], model.condition(x)
    assert level.guess is not None and level.patches is not None and model.leaf.bias is not None
    found = model.posterior(model.encode_features(x), noise_of(model, len(x)), labels)
    added: list[Tensor] = []
    level.patches.register_forward_hook(lambda _, given, out: added.extend([given[1], out]))
    guesses: list[Tensor] = []
    level.guess.register_forward_hook(lambda _, given, out: guesses.append(out))
    torch.testing.assert_close(model.decode_latents(found.latents, labels), found.output)
    [e, patches], [guess] = added, guesses
    assert torch.equal(e, found.latents[PICTURES][:, : level.patches.rank])
    assert patches.abs().max() > 0.01 and (level.guess.name in found.guesses) == training
    means = model.pixels(found.output).means
    means = means - model.pixels(model.leaf.bias[None, :, None, None]).means
    torch.testing.assert_close(means, (guess + patches)[:, None].expand_as(means))


@torch.no_grad()
def test_the_posterior_of_patches_is_of_the_residual_of_the_guess() -> None:
    """To which the networks add; latents beyond the patches' are theirs alone."""
    model, x = stirred()
    level = model.levels()[-1]
    [(_, block)] = level.named()
    assert level.guess is not None and level.patches is not None
    told: dict[str, Tensor] = {}
    level.guess.register_forward_hook(lambda _, given, out: told.update(h=given[0], guess=out))
    block.posterior.register_forward_hook(lambda _, given, out: told.update(network=out))
    found = model.posterior(model.encode_features(x), noise_of(model, 6), model.condition(x))
    rank = level.patches.rank
    closed = level.patches.posterior_moments(told["h"], x - told["guess"])
    moments = found.means[PICTURES], found.log_variances[PICTURES]
    for ours, own, network in zip(moments, closed, told["network"].chunk(2, 1), strict=True):
        torch.testing.assert_close(ours[:, :rank], own + network[:, :rank])
        torch.testing.assert_close(ours[:, rank:], network[:, rank:])


@torch.no_grad()
def test_encodings_are_as_precise_beside_networks_of_less() -> None:
    """Rounded to bfloat16, no training image would be recognised as the exemplar that it is."""
    model, _, x, _ = begun()
    exact = model.exemplars_of_images(x[:32]), model.represent(x[:32])
    assert (exact[0] >= 0).all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = model.exemplars_of_images(x[:32]), model.represent(x[:32])
    assert torch.equal(exact[0], rounded[0])
    torch.testing.assert_close(exact[1], rounded[1])


def test_before_they_join_patches_add_nothing() -> None:
    model, x = stirred(join=0.2)
    features, noise, labels = (
        model.train().encode_features(x),
        noise_of(model, 6),
        model.condition(x),
    )
    early = model.posterior(features, noise, labels, share=0.1)
    late = model.posterior(features, noise, labels, share=0.2)
    [(guess, _)] = early.guesses.values()
    assert not early.means[PICTURES].any() and late.means[PICTURES].any()
    assert model.leaf.bias is not None and model.patches is not None
    means = model.pixels(early.output).means
    means = means - model.pixels(model.leaf.bias[None, :, None, None]).means
    torch.testing.assert_close(means, guess[:, None].expand_as(means))
    assert (late.output - early.output).abs().max() > 0.01
    early.output.sum().backward()
    # For several processes wait for gradients of all weights.
    assert all(weight.grad is not None for weight in model.patches.parameters())


@torch.no_grad()
def test_networks_are_told_coordinates_that_are_white_over_all_images() -> None:
    """Not over its group, where new images lie enormously far in directions that hardly vary."""
    model, mixture, x, _ = begun()
    vector, labels = model.vector, model.condition(x)
    assert isinstance(vector, MixtureVector) and labels is not None
    told: list[Tensor] = []
    vector.project.register_forward_hook(lambda _, given, out: told.append(given[0]))
    z, _ = vector.encode(mixture.coordinates(x), labels)
    _, image = vector.decode(z, labels)
    torch.testing.assert_close(image, mixture.image(mixture.coordinates(x)), rtol=0, atol=1e-4)
    moments = told[0].double().T @ told[0].double() / len(x)
    torch.testing.assert_close(moments, torch.eye(RANK).double(), rtol=0, atol=1e-2)


@torch.no_grad()
def test_images_are_represented_by_coordinates_that_all_groups_share() -> None:
    """PCA of the images, written out, and one-hot groups; the latents' noise has a small share."""
    model, mixture, x, kinds = begun()
    found = model.represent(x)
    assert found.shape == (len(x), RANK + 5)
    groups = found[:, RANK:].argmax(1)
    assert all(len(groups[kinds == kind].unique()) == 1 for kind in range(4))
    y = mixture.coordinates(x).double()
    values, vectors = torch.linalg.eigh(y.T @ y / len(y))
    white = y @ vectors / values.sqrt()
    ours = found[:, :RANK].double()
    for own, exact in zip(ours.T.flip(0)[:5], white.T.flip(0)[:5], strict=True):
        assert torch.corrcoef(torch.stack([own, exact]))[0, 1].abs() > 0.99
    alone, _, x, _ = begun(groups=0)
    assert alone.represent(x).shape == (len(x), RANK)


def test_classes_take_the_place_of_groups() -> None:
    """Labels say which images belong together; those of a tenth are hidden in training."""
    model, mixture, x, kinds = begun(LABELED)
    assert mixture.shares.tolist() == pytest.approx([0.5, 0.25, 0.125, 0.125])
    [objective] = model.objectives()
    noise = objective.noise(4, torch.Generator().manual_seed(0))
    told = []
    was = model.posterior

    def watched(features: Any, noise: Any, labels: Any, share: float) -> Any:
        told.append(labels)
        return was(features, noise, labels, share)

    model.posterior = watched  # type: ignore[method-assign]
    chance = torch.tensor([1.0, UNLABELED / 2, 1.0, 1.0])
    some = torch.tensor([0, 0, 450, 650])
    objective(Batch(x[some], kinds[some], noise | {"hidden": chance}))
    assert told[0].argmax(1).tolist() == [0, 4, 1, 2]
    assert model.encode(x[:2]).labels.argmax(1).tolist() == [4, 4]


@torch.no_grad()
def test_without_groups_it_is_one_gaussian() -> None:
    model, mixture, x, _ = begun(groups=0)
    rng = ImageStreams(0, "sample", range(3))
    latent = model.draw_latent(3, rng)
    assert latent.labels is None
    expected = mixture(latent.tensors[VECTOR], torch.eye(2)[[1] * 3]) + of_patches(model, latent)
    torch.testing.assert_close(model.decode(latent, rng), expected.clamp(-1, 1), atol=1e-5, rtol=0)
    assert "group" not in model.negative_bound(x[:3], rng, "elbo")


@torch.no_grad()
def test_pseudo_gibbs_steps_keep_the_distribution_where_the_posterior_is_exact() -> None:
    """Before training it nearly is. With the mean of the pixels variances would fall to 0.67."""
    model, mixture, x, _ = begun()
    model.deviation, count = 1.0, 600
    assert isinstance(model.vector, MixtureVector)
    labels = model.condition(x[:1])
    _, variance = model.vector.closed_form_posterior(mixture.coordinates(x[:1]), labels)
    assert variance[0, :3].min() > 0.4  # what a step would take away with the image's mean
    latent = model.draw_latent(count, ImageStreams(0, "sample", range(count)))
    latent.tensors[VECTOR] = normal(count, RANK, seed=0).float()
    for step in range(3):
        latent = model.gibbs_step(latent, ImageStreams(step, "steps", range(count)))
    z = latent.tensors[VECTOR]
    assert z.mean(0).abs().max() < 0.15
    assert (z.var(0) - 1).abs().max() < 0.2


@torch.no_grad()
def test_a_draw_takes_the_pseudo_gibbs_steps_that_are_asked_for() -> None:
    model, _, _, _ = begun()
    walking, _, _, _ = begun(gibbs_steps=2)
    rng, same = (ImageStreams(0, "sample", range(4)) for _ in range(2))
    expected = model.draw_latent(4, rng)
    for _ in range(2):
        expected = model.gibbs_step(expected, rng)
    found = walking.draw_latent(4, same)
    for name, tensor in expected.tensors.items():
        torch.testing.assert_close(found.tensors[name], tensor)
    plain = model.draw_latent(4, ImageStreams(0, "sample", range(4)))
    assert (found.tensors[VECTOR] - plain.tensors[VECTOR]).abs().min(1).values.max() > 0.01
    torch.testing.assert_close(found.tensors[PICTURES], plain.tensors[PICTURES])
    assert (model.network_calls, walking.network_calls) == (1, 5)
    assert walking.samples_note == Note("mean_pixels_walked", {"share": 0.3, "n": 2})


@torch.no_grad()
@pytest.mark.parametrize("shape", [SHAPE, LABELED])
def test_a_step_finds_the_group_of_the_image_but_keeps_a_class(shape: ImageShape) -> None:
    """The image of another group's centre, told as one of the first."""
    model, mixture, _, _ = begun(shape)
    model.deviation = 0.0
    rng = ImageStreams(0, "sample", range(4))
    latent = model.draw_latent(4, rng)
    told = torch.eye(5)[[0] * 4]
    centres = mixture.encode_coordinates(mixture.centres[:4], told)
    latent = replace(latent, tensors={**latent.tensors, VECTOR: centres}, labels=told)
    after = model.gibbs_step(latent, rng)
    assert after.labels is not None
    found = after.labels.argmax(1).tolist()
    assert found == ([0, 0, 0, 0] if shape is LABELED else [0, 1, 2, 3])


def test_a_saved_model_has_its_mixture_and_its_groups() -> None:
    model, _, x, _ = begun()
    other, _, _, _ = begun()
    other.fit_before_training(torch.randint(256, (200, 1, 32, 32), dtype=torch.uint8), seed=1)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        ours, theirs = model.encode(x[:4]), other.encode(x[:4])
    assert torch.equal(ours.tensors[VECTOR], theirs.tensors[VECTOR])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mppca_rank": -1}, "groups, mppca_rank and patch_rank must not be negative"),
        ({"groups": -1}, "groups, mppca_rank and patch_rank must not be negative"),
        ({"patch_rank": -1}, "groups, mppca_rank and patch_rank must not be negative"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        begun(**settings)
