"""The two players: their losses by hand, their networks by the paper, and who may move whom."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from tests.truths import MACHINE, normal, random_pixels
from triptych import images
from triptych.config import ImageShape, OptimizerConfig
from triptych.families import registry
from triptych.families.gan import losses
from triptych.families.gan.losses import DiscriminatorObjective, GeneratorObjective
from triptych.families.gan.model import GAN
from triptych.families.gan.recipes import ConvolutionalSettings, course, hinge
from triptych.families.protocol import Batch, FrozenView, Objective, frozen
from triptych.nn.convgan import PixelNorm, SpectralDiscriminator, iterate_spectral_norms
from triptych.nn.dcgan import stage_widths
from triptych.training.optimizer import ObjectiveOptimizer

SHAPE = ImageShape(channels=3, resolution=32)
REAL = torch.tensor([2.0, -0.5, 0.3], dtype=torch.float64)  # scores: lopsided on purpose
FAKE = torch.tensor([-1.5, 0.25, 4.0], dtype=torch.float64)
RECIPES = ("gan:course", "gan:hinge")


def build(name: str) -> GAN:
    parsed = registry.ModelName.parse(name)
    return registry.build(parsed, registry.defaults(parsed, "tiny", SHAPE), SHAPE, seed=0)


def batch(objective: Objective, count: int = 4) -> Batch:
    pixels = images.to_float(random_pixels(count, *SHAPE.size))
    return Batch(pixels, None, objective.noise(count, torch.Generator().manual_seed(0)))


def mean(term: Callable[[float], float], scores: Tensor) -> float:
    return sum(term(score) for score in scores.tolist()) / len(scores)


def minus_log_sigmoid(score: float) -> float:
    return math.log1p(math.exp(-score))


def test_cross_entropy_by_hand() -> None:
    """D = sigmoid(score): -log D(x) - log(1 - D(G(z))), and 1 - D(s) = D(-s)."""
    by_hand = mean(minus_log_sigmoid, REAL) + mean(minus_log_sigmoid, -FAKE)
    assert losses.cross_entropy_discriminator(REAL, FAKE).item() == pytest.approx(by_hand, 1e-12)
    by_hand = mean(minus_log_sigmoid, FAKE)
    assert losses.cross_entropy_generator(FAKE).item() == pytest.approx(by_hand, 1e-12)


def test_hinge_by_hand() -> None:
    by_hand = mean(lambda s: max(0.0, 1 - s), REAL) + mean(lambda s: max(0.0, 1 + s), FAKE)
    assert losses.hinge_discriminator(REAL, FAKE).item() == pytest.approx(by_hand, 1e-12)
    assert losses.hinge_generator(FAKE).item() == pytest.approx(-FAKE.mean().item(), 1e-12)


@pytest.mark.parametrize("name", RECIPES)
def test_objectives_are_the_losses_of_the_networks(name: str) -> None:
    """Scores as reported, real and fake in their places; the discriminator steps first."""
    model = build(name).eval()
    first, second = model.objectives()[:2]
    assert isinstance(first, DiscriminatorObjective)
    assert isinstance(second, GeneratorObjective)
    data = batch(first)
    real, fake = (
        model.discriminator(data.images),
        model.discriminator(model.generator(data.noise["z"])),
    )
    kind = "cross_entropy" if name == "gan:course" else "hinge"
    found = first(data)
    exact = getattr(losses, f"{kind}_discriminator")(real, fake)
    torch.testing.assert_close(found["total"], exact)
    torch.testing.assert_close(found["real_score"], real.mean())
    torch.testing.assert_close(found["fake_score"], fake.mean())
    exact = getattr(losses, f"{kind}_generator")(fake)
    torch.testing.assert_close(second(data)["total"], exact)


@pytest.mark.parametrize("name", RECIPES)
def test_each_player_follows_its_own_gradient(name: str) -> None:
    """The same gradient as through both networks at once, and none for the opponent."""
    model = build(name).eval()
    discriminator, generator = model.objectives()[:2]
    data = batch(discriminator)
    for objective, mine, other in (
        (discriminator, model.discriminator, model.generator),
        (generator, model.generator, model.discriminator),
    ):
        model.zero_grad(set_to_none=True)
        fake = model.discriminator(model.generator(data.noise["z"]))
        loss = (
            model.loss.generator(fake)
            if objective is generator
            else model.loss.discriminator(model.discriminator(data.images), fake)
        )
        exact = torch.autograd.grad(loss, list(mine.parameters()))
        objective(data)["total"].backward()
        for parameter, gradient in zip(mine.parameters(), exact, strict=True):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)
        assert all(p.grad is None for p in other.parameters())


def test_one_step_of_a_player_improves_its_own_loss() -> None:
    """Plain gradient descent on either loss; the two losses pull the fake scores apart."""
    model = build("gan:course").eval()
    for objective in model.objectives():
        data = batch(objective)
        loss = objective(data)["total"]
        loss.backward()
        with torch.no_grad():
            for parameter in objective.parameters():
                parameter -= 1e-3 * parameter.grad / parameter.grad.norm()
            assert objective(data)["total"] < loss


def test_each_player_has_the_optimizer_of_its_own_settings() -> None:
    """The discriminator steps first (arXiv:1406.2661, Algorithm 1)."""
    fast, slow = OptimizerConfig(learning_rate=0.3), OptimizerConfig(learning_rate=0.1)
    settings = ConvolutionalSettings(latent=4, width=8, discriminator=fast, generator=slow)
    first, second, _ = hinge.build(settings, SHAPE).objectives()
    assert isinstance(first, DiscriminatorObjective) and first.optimizer == fast
    assert isinstance(second, GeneratorObjective) and second.optimizer == slow


def test_what_is_borrowed_is_not_registered() -> None:
    class Player(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.borrowed = FrozenView(network)

    assert not list(Player(nn.Linear(2, 2)).parameters())
    assert not Player(nn.Linear(2, 2)).state_dict()


def test_detached_is_a_constant() -> None:
    network, x = nn.Linear(2, 3).double(), normal(4, 2).requires_grad_()
    found = FrozenView(network).detached(x)
    assert torch.equal(found, network(x))
    assert not found.requires_grad


def test_frozen_lets_gradients_through_but_not_in() -> None:
    """d sum(W x + b) / dx = column sums of W; nothing for W and b, which stay movable."""
    network, x = nn.Linear(2, 3).double(), normal(4, 2).requires_grad_()
    found = FrozenView(network).frozen(x)
    found.sum().backward()
    torch.testing.assert_close(x.grad, network.weight.sum(0).expand(4, 2))
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_frozen_restores_what_was_movable_even_after_an_error() -> None:
    network = nn.Linear(2, 3)
    network.bias.requires_grad_(False)
    with pytest.raises(ZeroDivisionError), frozen(network):
        assert not network.weight.requires_grad
        raise ZeroDivisionError
    assert network.weight.requires_grad
    assert not network.bias.requires_grad


# DCGAN.


def layers(module: nn.Module) -> list[str]:
    return [type(m).__name__ for m in module]


def test_dcgan_s_layers() -> None:
    model = build("gan:course")
    generator, discriminator = model.generator.stages, model.discriminator.stages
    assert layers(generator) == [
        *["FirstPicture", "BatchNorm2d", "ReLU"],
        *["ConvTranspose2d", "BatchNorm2d", "ReLU"] * 2,
        *["ConvTranspose2d", "Tanh"],
    ]
    assert layers(discriminator) == [
        *["Conv2d", "LeakyReLU"],  # no norm on the first layer
        *["Conv2d", "BatchNorm2d", "LeakyReLU"] * 2,
        "LastPicture",
    ]
    up = [m for m in generator if isinstance(m, nn.ConvTranspose2d)]
    assert [m.in_channels for m in up] == [100, 256, 128, 64]
    down = [m for m in discriminator if isinstance(m, nn.Conv2d)]
    assert [m.in_channels for m in down] == [3, 64, 128, 256]
    assert {m.kernel_size for m in up + down} == {(4, 4)}
    assert {m.negative_slope for m in discriminator if isinstance(m, nn.LeakyReLU)} == {0.2}
    # By hand: kernels of 4x4 without biases, two numbers for each channel of a BatchNorm.
    made = 16 * (100 * 256 + 256 * 128 + 128 * 64 + 64 * 3) + 2 * (256 + 128 + 64)
    judged = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 1) + 2 * (128 + 256)
    assert sum(p.numel() for p in model.generator.parameters()) == made
    assert sum(p.numel() for p in model.discriminator.parameters()) == judged


def test_dcgan_s_numbers() -> None:
    settings = course.CourseGAN()
    assert settings.optimizer == OptimizerConfig(learning_rate=2e-4, betas=(0.5, 0.999))
    assert (settings.batch_size, settings.ema) == (64, None)
    model = build("gan:course")
    assert model.discriminator_optimizer == model.generator_optimizer == settings.optimizer


def test_dcgan_s_first_weights() -> None:
    """N(0, 0.02) and, for BatchNorm's scale, N(1, 0.02): within 5 standard errors."""
    model = build("gan:course")
    for module in (*model.generator.modules(), *model.discriminator.modules()):
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
            continue
        weight, centre = module.weight, float(isinstance(module, nn.BatchNorm2d))
        assert weight.mean().item() == pytest.approx(centre, abs=5 * 0.02 / weight.numel() ** 0.5)
        assert weight.std().item() == pytest.approx(0.02, rel=5 / (2 * weight.numel()) ** 0.5)
        assert module.bias is None or not module.bias.any()


@pytest.mark.parametrize("resolution", [8, 16, 32, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_networks_fit_every_resolution(resolution: int, channels: int) -> None:
    """Both recipes, made narrow: a picture on [-1, 1] and a score from each latent."""
    assert len(stage_widths(resolution, 8)) == math.log2(resolution) - 2
    shape = ImageShape(channels=channels, resolution=resolution)
    for model in (
        course.build(course.CourseGAN(latent=5, width=8), shape),
        hinge.build(ConvolutionalSettings(latent=5, width=8), shape),
    ):
        fake = model.generator(normal(2, 5).float())
        assert fake.shape == (2, *shape.size)
        assert fake.abs().max() <= 1
        assert model.discriminator(fake).shape == (2,)


# Spectral normalisation.


def test_every_layer_of_the_spectral_discriminator_has_norm_one() -> None:
    """The largest singular value of the kernel as a matrix [out, in * 4 * 4], by LAPACK.

    A power iteration nears it from below, so what it divides by it is never under 1.
    """
    discriminator = SpectralDiscriminator(3, 32, 16)
    with torch.no_grad():
        for parameter in discriminator.parameters():
            parameter.mul_(7)  # whatever the weights' scale
        for _ in range(200):
            iterate_spectral_norms(discriminator)
    normed = [m for m in discriminator.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(normed) == 5
    for module in normed:
        norm = torch.linalg.matrix_norm(module.weight.flatten(1), ord=2)
        assert 1 - 1e-5 < norm.item() < 1.01


def test_a_step_iterates_each_spectral_norm_once() -> None:
    """arXiv:1802.05957, Algorithm 1: v = W^T u / |W^T u|, u = W v / |W v|; however it is split."""
    shape = ImageShape(channels=1, resolution=16)
    name = registry.ModelName.parse("gan:hinge")
    model = registry.build(name, registry.defaults(name, "tiny", shape), shape, seed=0)
    objective = model.objectives()[0]
    norms = [m for m in model.modules() if isinstance(m, parametrize.ParametrizationList)]
    assert len(norms) > 3
    generator = torch.Generator().manual_seed(1)
    for each in norms:  # as after a step that turned the weights
        each.original.data += 0.1 * torch.randn(each.original.shape, generator=generator)
    before = [each[0].right.clone() for each in norms]
    batch = Batch(torch.zeros(4, *shape.size), None, objective.noise(4, generator))
    ObjectiveOptimizer(objective).gradients(batch, replace(MACHINE, microbatch=2))
    for each, right in zip(norms, before, strict=True):
        matrix = each.original.detach().flatten(1)
        left = F.normalize(matrix @ right, dim=0)
        torch.testing.assert_close(each[0].left, left)
        torch.testing.assert_close(each[0].right, F.normalize(matrix.mT @ left, dim=0))


def test_averaged_vectors_leave_the_norm_as_it_is() -> None:
    """Means of unit vectors are shorter; what counts is where they point."""
    discriminator = SpectralDiscriminator(3, 32, 16)
    for _ in range(50):
        iterate_spectral_norms(discriminator)
    x = normal(2, 3, 32, 32).float()
    expected = discriminator(x)
    for name, buffer in discriminator.named_buffers():
        buffer.mul_(0.5 if name.endswith("left") else 0.7)
    torch.testing.assert_close(discriminator(x), expected)


def test_pixel_norm_leaves_unit_features() -> None:
    x = 3 * normal(2, 8, 4, 4)
    found = PixelNorm()(x)
    torch.testing.assert_close(found.square().mean(1), torch.ones(2, 4, 4, dtype=torch.float64))
    torch.testing.assert_close(found / found[:, :1], x / x[:, :1])


def test_the_hinge_recipe_s_discriminator_learns_faster() -> None:
    """Two time scales (arXiv:1706.08500) and no momentum (arXiv:1802.05957, setting of 5)."""
    settings = ConvolutionalSettings()
    assert settings.discriminator.learning_rate > settings.generator.learning_rate
    model = build("gan:hinge")
    assert model.discriminator_optimizer == settings.discriminator
    assert model.generator_optimizer == settings.generator
