"""Gradient penalties against closed forms, and what a discriminator pays and when."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.truths import normal, random_pixels
from triptych import images
from triptych.config import ImageShape
from triptych.families.gan import losses
from triptych.families.gan.diffaugment import augment
from triptych.families.gan.losses import (
    Penalty,
    between,
    one_centered,
    squared_gradients,
    zero_centered,
)
from triptych.families.gan.model import GAN
from triptych.families.gan.recipes import r3, wgan_gp
from triptych.families.protocol import Batch
from triptych.nn.resnet_gan import Backbone
from triptych.seeding import generator

SHAPE = ImageShape(channels=1, resolution=16)
SMALL = Backbone(width=8, most=16, group=4)


def pictures(count: int = 5, seed: int = 0) -> Tensor:
    """Float64, asking for gradients."""
    return normal(count, 2, 3, 3, seed=seed).requires_grad_()


def test_a_linear_discriminator_has_its_weight_for_gradient() -> None:
    """D(x) = w.x + b: R1 = |w|^2 / 2 and the other penalty (|w| - 1)^2, wherever x is."""
    weight, x = normal(18, seed=1), pictures()
    scores = x.flatten(1) @ weight + 3.0
    torch.testing.assert_close(squared_gradients(scores, x), (weight @ weight).expand(5))
    torch.testing.assert_close(zero_centered(scores, x), weight @ weight / 2)
    torch.testing.assert_close(one_centered(scores, x), (weight.norm() - 1) ** 2)


def test_a_quadratic_discriminator_has_a_penalty_with_a_known_slope() -> None:
    """D(x) = x.Ax / 2 with A = (M + M^T) / 2: R1 = mean |Ax|^2 / 2, and its slope in M."""
    matrix, x = normal(18, 18, seed=2).requires_grad_(), pictures()
    flat = x.flatten(1)
    penalty = zero_centered(((flat @ matrix) * flat).sum(1) / 2, x)
    symmetric = (matrix + matrix.T) / 2
    exact = (flat @ symmetric).square().sum(1).mean() / 2
    torch.testing.assert_close(penalty, exact)
    (slope,) = torch.autograd.grad(penalty, matrix)
    moment = flat.T @ flat / len(flat)  # E x x^T
    half = symmetric @ moment
    torch.testing.assert_close(slope, ((half + half.T) / 2).detach())


def test_the_slope_of_the_one_centred_penalty() -> None:
    """D(x) = w.x: d (|w| - 1)^2 / dw = 2 (|w| - 1) w / |w|."""
    weight, x = normal(18, seed=1).requires_grad_(), pictures()
    (slope,) = torch.autograd.grad(one_centered(x.flatten(1) @ weight, x), weight)
    exact = 2 * (weight.norm() - 1) * weight / weight.norm()
    torch.testing.assert_close(slope, exact.detach())


def test_the_one_centred_penalty_of_no_slope_is_one_and_has_a_slope() -> None:
    """(0 - 1)^2; the root's slope at 0 would be endless."""
    weight, x = torch.zeros(18, dtype=torch.float64).requires_grad_(), pictures()
    penalty = one_centered(x.flatten(1) @ weight, x)
    (slope,) = torch.autograd.grad(penalty, weight)
    assert penalty.item() == pytest.approx(1, abs=1e-5) and torch.equal(slope, 0 * slope)


def test_points_between_pairs() -> None:
    real, fake = pictures(3), pictures(3, seed=1)
    share = torch.tensor([0.0, 0.25, 1.0], dtype=torch.float64)
    found = between(real, fake, share)
    assert found.is_leaf and found.requires_grad
    torch.testing.assert_close(found[0], fake[0])
    torch.testing.assert_close(found[1], 0.25 * real[1] + 0.75 * fake[1])
    torch.testing.assert_close(found[2], real[2])


def test_a_penalty_may_weigh_nothing() -> None:
    assert Penalty(kind="zero", weight=0.0, every=1).weight == 0


@pytest.mark.parametrize("wrong", [{"weight": -1.0}, {"weight": 1.0, "every": 0}])
def test_senseless_penalties_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="penalty"):
        Penalty(kind="zero", **wrong)  # type: ignore[arg-type]


def stirred(model: GAN) -> GAN:
    """Float64, no weight zero."""
    rng = generator(0, "stir")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    return model.double()


def batch_of(model: GAN, which: int, number: int = 0) -> Batch:
    noise = model.objectives()[which].noise(4, torch.Generator().manual_seed(0))
    x = images.to_float(random_pixels(4, *SHAPE.size)).double()
    return Batch(x, None, {k: t.double() for k, t in noise.items()}, step_index=number)


def gradient_norms(discriminator: nn.Module, x: Tensor) -> Tensor:
    """Image by image."""
    found = []
    for image in x:
        one = image[None].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(discriminator(one).sum(), one)
        found.append(gradient.norm())
    return torch.stack(found)


def test_r3_plays_relativistic_pairs_and_pays_both_penalties() -> None:
    """D: softplus of D(fake) - D(real) and gamma / 2 of both squares; generator: reversed."""
    settings = r3.R3GAN(networks=SMALL, latent=5, gamma=0.7)
    model = stirred(r3.build(settings, SHAPE))
    data = batch_of(model, 0)
    fake = model.generator(data.noise["z"]).detach()
    real_score, fake_score = model.discriminator(data.images), model.discriminator(fake)
    margins = (real_score - fake_score).tolist()
    squares = [gradient_norms(model.discriminator, x).square().mean() for x in (data.images, fake)]
    softplus = nn.functional.softplus
    discriminator = sum(softplus(torch.tensor(-m, dtype=torch.float64)) for m in margins) / 4
    found = model.objectives()[0](data)
    torch.testing.assert_close(found["total"], discriminator + 0.35 * (squares[0] + squares[1]))
    torch.testing.assert_close(found["r1"], squares[0] / 2)
    torch.testing.assert_close(found["r2"], squares[1] / 2)
    generator_loss = sum(softplus(torch.tensor(m, dtype=torch.float64)) for m in margins) / 4
    torch.testing.assert_close(model.objectives()[1](data)["total"], generator_loss)


def test_wgan_gp_pays_for_slopes_between_real_and_fake() -> None:
    settings = wgan_gp.WassersteinGAN(networks=SMALL, latent=5, penalty=3.0)
    model = stirred(wgan_gp.build(settings, SHAPE))
    data = batch_of(model, 0)
    fake = model.generator(data.noise["z"]).detach()
    share = data.noise["mix"].view(-1, 1, 1, 1)
    slopes = gradient_norms(model.discriminator, share * data.images + (1 - share) * fake)
    exact = model.discriminator(fake).mean() - model.discriminator(data.images).mean()
    found = model.objectives()[0](data)
    torch.testing.assert_close(found["total"], exact + 3 * (slopes - 1).square().mean())
    assert model.objectives()[0].repeats == 5
    generator_loss = model.objectives()[1](data)["total"]
    torch.testing.assert_close(generator_loss, -model.discriminator(fake).mean())


def test_wgan_gp_s_lines_lie_between_images_as_the_critic_sees_them() -> None:
    """Where they are augmented: it compares those, and no others (arXiv:1704.00028, section 4)."""
    settings = wgan_gp.WassersteinGAN(networks=SMALL, latent=5, augment=True)
    model = stirred(wgan_gp.build(settings, SHAPE))
    data = batch_of(model, 0)
    fake = model.generator(data.noise["z"]).detach()
    seen = [
        augment(x, data.noise[f"changed_{kind}"])
        for x, kind in ((data.images, "real"), (fake, "fake"))
    ]
    share = data.noise["mix"].view(-1, 1, 1, 1)
    slopes = gradient_norms(model.discriminator, share * seen[0] + (1 - share) * seen[1])
    found = model.objectives()[0](data)
    torch.testing.assert_close(found["slope"], (slopes - 1).square().mean())


def test_wgan_gp_s_penalty_is_of_the_critic_that_is_told_the_labels() -> None:
    """A point between a real and a fake image is of the class that both are of."""
    settings = wgan_gp.WassersteinGAN(networks=SMALL, latent=5)
    model = stirred(wgan_gp.build(settings, replace(SHAPE, classes=3))).float()
    noise = model.objectives()[0].noise(4, torch.Generator().manual_seed(0))
    noise["hidden"] = torch.tensor([0.9, 0.9, 0.9, 0.05])
    told = nn.functional.one_hot(torch.tensor([2, 0, 1, 3]), 4).float()
    x = images.to_float(random_pixels(4, *SHAPE.size))
    fake, share = model.generator(noise["z"], told).detach(), noise["mix"].view(-1, 1, 1, 1)
    slopes = []
    for point, one in zip(share * x + (1 - share) * fake, told, strict=True):
        at = point[None].requires_grad_()
        (gradient,) = torch.autograd.grad(model.discriminator(at, one[None]).sum(), at)
        slopes.append(gradient.norm())
    found = model.objectives()[0](Batch(x, torch.tensor([2, 0, 1, 0]), noise))
    torch.testing.assert_close(found["slope"], (torch.stack(slopes) - 1).square().mean())


def test_a_penalty_of_some_steps_weighs_as_much_as_one_of_all() -> None:
    """Every third step pays three times the weight, the others nothing."""
    every = r3.build(r3.R3GAN(networks=SMALL, latent=5), SHAPE)
    every = stirred(every)
    some = stirred(r3.build(r3.R3GAN(networks=SMALL, latent=5, penalty_every=3), SHAPE))
    some.load_state_dict(every.state_dict())
    plain = losses.pairing_discriminator
    for number in range(4):
        data = batch_of(every, 0, number)
        full, found = (model.objectives()[0](data) for model in (every, some))
        fake = every.generator(data.noise["z"])
        game = plain(every.discriminator(data.images), every.discriminator(fake))
        share = 3 if number % 3 == 0 else 0
        torch.testing.assert_close(found["total"] - game, share * (full["total"] - game))
        assert ("r1" in found) == (number % 3 == 0)


def test_penalised_discriminators_are_not_compiled() -> None:
    """torch.compile has no second derivative."""
    model = r3.build(r3.R3GAN(networks=SMALL), SHAPE)
    assert model.networks() == [model.generator, model.encoder]
    game = replace(model.loss, penalty=None)
    model.loss = game
    assert model.networks() == [model.generator, model.discriminator, model.encoder]
