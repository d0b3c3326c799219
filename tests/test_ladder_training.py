"""The ladder VAE in training: labels, the loss and its slopes, layers, settings."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.ladders import ladder_noise, pictures_for, tiny_ladder
from tests.truths import MACHINE, NoStreams, grey_levels_apart, normal, random_pixels
from triptych import images
from triptych.config import Budget, ImageShape, Size, override
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.labels import UNLABELED
from triptych.families.latent import Latent
from triptych.families.protocol import Batch
from triptych.families.registry import ModelName
from triptych.families.vae.ladder import LadderVAE
from triptych.families.vae.recipes import ladder
from triptych.nn.ladder import Bottleneck, Grow, Residual, shrink
from triptych.seeding import ImageStreams, generator
from triptych.tasks import sample
from triptych.training.resolve import ResolvedRequest
from triptych.training.train import fresh_state

LADDER = ModelName("vae", "ladder")


def loss_of(model: LadderVAE, batch: Batch) -> dict[str, Tensor]:
    return model.objectives()[0](batch)


def batch_for(model: LadderVAE, count: int = 5, **more: Any) -> Batch:
    return Batch(pictures_for(model, count), None, ladder_noise(model, count), **more)


# Labels.


def labeled() -> LadderVAE:
    """Three classes, in float32 as labels are."""
    return tiny_ladder(classes=3).float()


def labelled_batch(model: LadderVAE, labels: Tensor | None, hidden: Tensor) -> Batch:
    noise = {name: t.float() for name, t in ladder_noise(model, len(hidden)).items()}
    return Batch(pictures_for(model, len(hidden)).float(), labels, {**noise, "hidden": hidden})


def test_labels_become_shares_of_the_classes() -> None:
    model, rng = labeled(), ImageStreams(0, "labels", range(3))
    given = model.draw_latent(3, rng, torch.tensor([2, 0, 1]))
    assert given.labels.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0]]
    assert model.draw_latent(3, rng).labels.tolist() == [[0, 0, 0, 1]] * 3
    assert tiny_ladder().draw_latent(3, rng, torch.tensor([2, 0, 1])).labels is None
    assert model.encode(pictures_for(model).float()).labels.tolist() == [[0, 0, 0, 1]] * 3


def test_every_label_changes_the_image() -> None:
    """The same latent under each class and under none: four different pictures."""
    model = labeled()
    one = model.draw_latent(1, ImageStreams(0, "labels", [0]))
    decoded = [model.decode(replace(one, labels=row[None]), NoStreams()) for row in torch.eye(4)]
    assert torch.equal(decoded[3], model.decode(one, NoStreams()))
    for number, image in enumerate(decoded):
        assert all(not torch.equal(image, other) for other in decoded[:number])


def test_latents_carry_their_labels() -> None:
    """Into parts of a batch, along a walk from one class to another, through a temperature."""
    model, rng = labeled(), ImageStreams(0, "labels", range(2))
    a = model.draw_latent(2, rng, torch.tensor([0, 2]))
    b = model.draw_latent(2, rng, torch.tensor([1, 2]))
    assert a[1:].labels.tolist() == [[0, 0, 1, 0]]
    assert a.interpolate(b, 0.25).labels.tolist() == [[0.75, 0.25, 0, 0], [0, 0, 1, 0]]
    cold = a.scaled(0.5)
    assert torch.equal(cold.labels, a.labels)
    assert all(torch.equal(2 * t, a.tensors[name]) for name, t in cold.tensors.items())
    batch = labelled_batch(model, torch.tensor([2, 0, 1]), torch.ones(3))
    assert [part.labels.tolist() for part in batch.parts(2)] == [[2, 0], [1]]


def test_labels_reach_posteriors_of_every_level() -> None:
    model = labeled()
    x, noise = pictures_for(model).float(), ladder_noise(model)
    noise = {name: tensor.float() for name, tensor in noise.items()}
    rows = [F.one_hot(torch.full((3,), label), 4).float() for label in (0, 1)]
    a, b = (model.posterior(model.encode_features(x), noise, row) for row in rows)
    assert all(not torch.equal(a.means[name], b.means[name]) for name in model.latents)
    assert torch.equal(model.decode_latents(a.latents, rows[0]), a.output)
    for level in model.levels():  # each has labels of its own: without the others' it still sees
        with torch.no_grad():
            level.label.weight.zero_()
        still = [model.posterior(model.encode_features(x), noise, row).output for row in rows]
        assert torch.equal(*still) == (level is model.levels()[-1])


def test_bounds_are_of_images_without_labels() -> None:
    """The unknown class stands for all: the same terms as the loss without labels."""
    model = labeled()
    rng, again = (ImageStreams(0, "labels", range(3)) for _ in range(2))
    x = pictures_for(model).float()
    noise = {name: again.normal(*shape) for name, shape in model.latents.items()}
    terms = model.negative_bound(x, rng, "elbo")
    loss = loss_of(model, Batch(x, None, {**noise, "hidden": torch.ones(3)}))
    for name, term in terms.items():
        torch.testing.assert_close(term.mean().float(), loss[name], rtol=1e-5, atol=1e-5)


def test_a_tenth_of_the_labels_is_hidden() -> None:
    """Those whose uniform number lies below 0.1 train as unknown; the noise says which."""
    model = labeled()
    labels, hidden = torch.tensor([0, 1, 2, 1]), torch.tensor([0.05, 0.0999, 0.1001, 0.9])
    found = loss_of(model, labelled_batch(model, labels, hidden))
    by_hand = torch.tensor([3, 3, 2, 1])
    exact = loss_of(model, labelled_batch(model, by_hand, torch.ones(4)))
    assert all(torch.equal(found[name], exact[name]) for name in exact)
    unlabelled = loss_of(model, labelled_batch(model, None, hidden))
    unknown = loss_of(model, labelled_batch(model, torch.full((4,), 3), torch.ones(4)))
    assert torch.equal(unlabelled["total"], unknown["total"])
    assert not torch.equal(unlabelled["total"], found["total"])
    drawn = model.objectives()[0].noise(20_000, generator(0, "hidden"))["hidden"]
    assert UNLABELED == 0.1
    assert (drawn < UNLABELED).float().mean().item() == pytest.approx(0.1, abs=0.01)


def test_a_model_without_classes_ignores_labels() -> None:
    model = tiny_ladder()
    batch = batch_for(model)
    found = loss_of(model, replace(batch, labels=torch.tensor([0, 1, 2, 3, 4])))
    assert torch.equal(found["total"], loss_of(model, batch)["total"])
    assert list(model.objectives()[0].noise(2, generator(0, "x"))) == list(model.latents)


# The loss.


def test_noise_is_standard_normal_for_every_latent() -> None:
    model = tiny_ladder()
    drawn = model.objectives()[0].noise(4000, generator(0, "noise"))
    for name, shape in model.latents.items():
        assert drawn[name].shape == (4000, *shape)
        assert abs(drawn[name].mean().item()) < 0.05
        assert abs(drawn[name].std().item() - 1) < 0.03
    prior = model.draw_latent(4000, ImageStreams(0, "prior", range(4000)))
    for name, tensor in prior.tensors.items():
        assert abs(tensor.mean().item()) < 0.05
        assert abs(tensor.std().item() - 1) < 0.03
        assert tensor.shape == drawn[name].shape


@pytest.mark.parametrize(
    ("warm_up", "share", "weight"),
    [(0.2, 0.0, 0.0), (0.2, 0.05, 0.25), (0.2, 0.2, 1.0), (0.2, 0.9, 1.0), (0.0, 0.0, 1.0)],
)
def test_the_divergence_s_weight_warms_up(warm_up: float, share: float, weight: float) -> None:
    """Total = reconstruction + weight * all levels' KL; each is shown whole, a mean over images."""
    model = tiny_ladder(warm_up=warm_up)
    batch = batch_for(model, progress=share)
    terms = loss_of(model, batch)
    found = model.posterior(model.encode_features(batch.images), batch.noise)
    exact = {
        "reconstruction": -model.log_pixels(batch.images, found.output).mean(),
        **{name: nats.mean() for name, nats in found.kl().items()},
    }
    assert list(terms) == ["total", "reconstruction", "kl_1x1", "kl_4x4"]
    for name, value in exact.items():
        torch.testing.assert_close(terms[name], value)
    total = exact["reconstruction"] + weight * (exact["kl_1x1"] + exact["kl_4x4"])
    torch.testing.assert_close(terms["total"], total)


def gradients(model: LadderVAE, batch: Batch, weight: float = 1.0) -> list[Tensor]:
    parameters = list(model.parameters())
    return list(torch.autograd.grad(weight * loss_of(model, batch)["total"], parameters))


def test_parts_of_a_batch_have_its_gradient_together() -> None:
    """Two, two and one image, each part weighted by its images, with the batch's share."""
    model = tiny_ladder(warm_up=0.5)
    batch = batch_for(model, progress=0.1)
    parts = batch.parts(2)
    assert [len(part.images) for part in parts] == [2, 2, 1]
    assert {part.progress for part in parts} == {0.1}
    split = [gradients(model, part, len(part.images) / 5) for part in parts]
    for whole, *pieces in zip(gradients(model, batch), *split, strict=True):
        torch.testing.assert_close(sum(pieces), whole, rtol=1e-9, atol=1e-12)


def test_the_gradient_is_the_loss_s_slope() -> None:
    """In three random directions of all parameters, by central differences in float64."""
    model = tiny_ladder(channels=3, patch=2, warm_up=0.5)
    batch = batch_for(model, progress=0.2)
    parameters, gradient = list(model.parameters()), gradients(model, batch)
    step = 1e-6
    for seed in range(3):
        way = [normal(*p.shape, seed=100 * seed + n) for n, p in enumerate(parameters)]
        values = []
        for sign in (1, -2, 1):  # there, back beyond the start, and to the start again
            with torch.no_grad():
                for parameter, direction in zip(parameters, way, strict=True):
                    parameter.add_(direction, alpha=sign * step)
            values.append(loss_of(model, batch)["total"].item())
        slope = sum((g * d).sum().item() for g, d in zip(gradient, way, strict=True))
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-5)


def test_gradients_reach_every_weight() -> None:
    model = labeled().train()
    hidden = torch.tensor([0.0, 1.0, 1.0, 1.0])
    loss = loss_of(model, labelled_batch(model, torch.tensor([0, 0, 1, 2]), hidden))
    loss["total"].backward()
    dead = [name for name, p in model.named_parameters() if not p.grad.abs().sum() > 0]
    assert dead == []


# Layers.


def test_residuals_add_a_bottleneck() -> None:
    """SiLU, 3x3 convolution, SiLU, 1x1 convolution; the last one's weights start scaled."""
    x = normal(2, 4, 4, 4)
    torch.manual_seed(0)
    plain = Bottleneck(4, 3, 4, side=4).double()
    torch.manual_seed(0)
    scaled = Residual(4, 3, side=4, scale=0.25).double()
    torch.testing.assert_close(scaled.last.weight, plain.last.weight / 4)
    inner = F.conv2d(F.silu(x), plain.first.weight, plain.first.bias, padding=1)
    exact = F.conv2d(F.silu(inner), plain.last.weight, plain.last.bias)
    torch.testing.assert_close(plain(x), exact)
    moved = F.conv2d(F.silu(inner), scaled.last.weight, plain.last.bias)
    torch.testing.assert_close(scaled(x), x + moved)
    assert plain.first.weight.shape[2:] == (3, 3)
    assert Bottleneck(4, 3, 4, side=1).first.weight.shape[2:] == (1, 1)


def test_pictures_halve_double_and_meet_a_single_pixel() -> None:
    """A single pixel sees all of a picture, and makes all of one, each place with its weights."""
    x, point = normal(2, 3, 8, 8), normal(2, 3, 1, 1)
    assert shrink(3, 4, side=8, to=4).double()(x).shape == (2, 4, 4, 4)
    all_seen, all_made = shrink(3, 4, side=8, to=1).double(), Grow(3, 4, side=1, to=8).double()
    flat = all_seen.weight.flatten(1) @ x.flatten(1).T + all_seen.bias[:, None]
    torch.testing.assert_close(all_seen(x).flatten(1), flat.T)
    made = torch.einsum("bi,iohw->bohw", F.silu(point).flatten(1), all_made.change.weight)
    torch.testing.assert_close(all_made(point), made + all_made.change.bias[:, None, None])
    doubling = Grow(3, 4, side=8, to=16).double()
    large = F.silu(x).repeat_interleave(2, 2).repeat_interleave(2, 3)
    exact = F.conv2d(large, doubling.change.weight, doubling.change.bias, padding=1)
    torch.testing.assert_close(doubling(x), exact)


# The recipe.


def built(shape: ImageShape, **settings: Any) -> LadderVAE:
    return ladder.build(replace(ladder.defaults("tiny", shape), **settings), shape)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resolution", [8, 16, 32, 64])
def test_defaults_fit_every_size_of_image(resolution: int, channels: int) -> None:
    """They build, train and sample; at the start hardly worse than a uniform guess."""
    shape = ImageShape(channels=channels, resolution=resolution)
    model = registry.build(LADDER, registry.defaults(LADDER, "tiny", shape), shape, 0)
    x = images.to_float(random_pixels(2, *shape.size))
    loss = loss_of(model, Batch(x, None, model.objectives()[0].noise(2, generator(0, "n"))))
    loss["total"].backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    nats = shape.dimensions * math.log(256)
    assert 0.8 * nats < loss["reconstruction"].item() < 2 * nats
    assert sample.sample(model, 2, 0, MACHINE).shape == (2, *shape.size)
    sides = [shape[-1] for shape in model.latents.values() if len(shape) == 3]
    assert sides == sorted(sides)
    assert "vector.0" in model.latents


BAD = {
    "too few widths": {"widths": (8, 8, 8)},
    "too many latents": {"latents": (1, 1, 1, 1, 1)},
    "no patch": {"patch": 0},
    "odd patch": {"patch": 5},
    "too large a patch": {"patch": 32},
}


@pytest.mark.parametrize("case", BAD)
def test_settings_that_make_no_ladder_are_refused(case: str) -> None:
    """The builder says why; training makes one line and exit code 2 of it."""
    shape = ImageShape(channels=1, resolution=32)
    settings = replace(ladder.defaults("tiny", shape), **BAD[case])
    with pytest.raises((ValueError, ZeroDivisionError)):
        ladder.build(settings, shape)
    asked = ResolvedRequest(
        name=LADDER,
        size="tiny",
        settings=settings,
        data=SimpleNamespace(shape=shape, train=range(1000)),
        budget=Budget.parse("1kimg"),
        seed=0,
        command="",
    )
    with pytest.raises(InputError, match="these settings make no vae:ladder") as caught:
        fresh_state(asked, MACHINE)
    assert "\n" not in str(caught.value)


WRONG = {
    "components=0": "components must be at least 1, got 0",
    "exemplars=0,2": "exemplars must be at least 1, got 0",
    "top_down_blocks=1,1,1,-1": "must not be negative",
    "vector=-1": "must not be negative",
    "gibbs_steps=-1": "gibbs_steps must be 0 to 100, got -1",
    "gibbs_steps=101": "gibbs_steps must be 0 to 100, got 101",
    "gibbs_steps=2 vector=0": "gibbs_steps move the vector, and there is none",
    "vector=0 top_down_blocks=0,0,0,0": "there is no latent",
    "join=1.5": "shares, from 0 to 1",
    "guesses=2": "shares, from 0 to 1",
    "deviation=-0.1": "shares, from 0 to 1",
    "warm_up=nan": "warm_up takes a number, not 'nan'",
}


@pytest.mark.parametrize("words", WRONG)
def test_settings_out_of_range_are_refused(words: str) -> None:
    defaults = ladder.defaults("tiny", ImageShape(channels=1, resolution=32))
    with pytest.raises(InputError, match=WRONG[words]):
        override(defaults, words.split())


@pytest.mark.parametrize(
    ("size", "resolution", "patch", "levels"),
    [
        ("tiny", 32, 2, 4),
        ("small", 64, 4, 4),
        ("base", 32, 2, 4),
        ("base", 64, 2, 5),
        ("base", 8, 1, 3),
    ],
)
def test_sizes_make_ladders(size: Size, resolution: int, patch: int, levels: int) -> None:
    """The larger the size, the more weights; `base` has finer patches of images above 32x32."""
    shape = ImageShape(channels=1, resolution=resolution)
    settings = ladder.defaults(size, shape)
    model = ladder.build(settings, shape)
    assert (settings.patch, len(model.descent)) == (patch, levels)
    tiny = ladder.build(ladder.defaults("tiny", shape), shape)
    count, least = (sum(p.numel() for p in m.parameters()) for m in (model, tiny))
    assert count == least if size == "tiny" else count > 2 * least
    assert model.log_pixels(
        torch.zeros(1, *shape.size),
        model.posterior(model.encode_features(torch.zeros(1, *shape.size)), None).output,
    ).isfinite()


@pytest.mark.parametrize("resolution", [12, 18, 24, 28, 34, 48, 80])
def test_images_whose_sides_do_not_halve_are_refused(resolution: int) -> None:
    """Before training, whether the levels are as many or not; 48 would need patches of 3."""
    shape = ImageShape(channels=1, resolution=resolution)
    with pytest.raises(ValueError, match=r"levels|patches"):
        built(shape)
    levels = 2 + max(0, resolution // max(1, resolution // 16) // 8).bit_length()
    same = dict.fromkeys(
        ("widths", "bottom_up_blocks", "top_down_blocks", "latents"), (1,) * levels
    )
    with pytest.raises(ValueError, match=r"levels|patches"):
        built(shape, **same)


def test_a_sample_is_the_same_in_any_batch() -> None:
    model = tiny_ladder(channels=3, patch=2).float()
    whole = sample.sample(model, 5, 0, MACHINE)
    assert grey_levels_apart(whole[3:], sample.sample(model, 2, 0, MACHINE, start=3)) <= 1
    noisy = model.double().with_pixel_noise()

    def drawn(*numbers: int) -> Tensor:
        rng = ImageStreams(0, "batch", numbers)
        latent = noisy.draw_latent(len(numbers), rng)
        wide = {name: tensor.double() for name, tensor in latent.tensors.items()}
        return noisy.decode(Latent(wide, "straight"), rng)

    torch.testing.assert_close(drawn(3, 4), drawn(0, 1, 2, 3, 4)[3:], rtol=0, atol=1e-6)
    assert not torch.equal(drawn(3), drawn(4))
