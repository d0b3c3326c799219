"""The VAE against models whose likelihood is known: linear-Gaussian ones and one-pixel images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.stats import norm
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from tests.truths import MACHINE, FixedStreams, NoStreams, normal, random_pixels
from triptych import images
from triptych.config import ImageShape, OptimizerConfig
from triptych.families.latent import Latent
from triptych.families.protocol import Batch
from triptych.families.vae.gaussian import GaussianVAE, gaussian_log_density
from triptych.families.vae.losses import gaussian_kl
from triptych.families.vae.model import IMPORTANCE_SAMPLES
from triptych.families.vae.recipes import course
from triptych.options import LikelihoodOptions
from triptych.records import Note
from triptych.seeding import ImageStreams
from triptych.tasks import likelihood

LATENT = 2
SHAPE = ImageShape(channels=1, resolution=3)
PIXEL = ImageShape(channels=1, resolution=1)
EVERY_PIXEL = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(60)  # exact for z ~ N(0, 1) up to degree 119
WEIGHTS = WEIGHTS / WEIGHTS.sum()
OPTIMISER = OptimizerConfig(learning_rate=1.0)


class LinearDecoder(nn.Module):
    """z -> W z + b with orthogonal columns in W, so that the exact posterior is diagonal."""

    def __init__(self) -> None:
        super().__init__()
        columns, _ = torch.linalg.qr(normal(SHAPE.dimensions, LATENT))
        self.weight = nn.Parameter(columns * torch.tensor([1.5, 0.4]))
        self.bias = nn.Parameter(normal(SHAPE.dimensions, seed=1))

    def forward(self, z: Tensor) -> Tensor:
        return (z @ self.weight.T + self.bias).view(-1, *SHAPE.size)


class ExactEncoder(nn.Module):
    """The posterior of probabilistic PCA: precision I + W'W / std^2 (Bishop, PRML, eq. 12.42)."""

    def __init__(self, decoder: LinearDecoder, std: float) -> None:
        super().__init__()
        weight, self.bias = decoder.weight.detach(), decoder.bias.detach()
        precision = 1 + (weight**2).sum(0) / std**2
        self.to_mean = weight / std**2 / precision  # [D, LATENT]
        self.log_variance = -precision.log()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = (x.flatten(1) - self.bias) @ self.to_mean
        return mean, self.log_variance.expand_as(mean)


def linear_vae(std: float = 0.7) -> GaussianVAE:
    decoder = LinearDecoder()
    model = GaussianVAE(
        ExactEncoder(decoder, std),
        decoder,
        latent=LATENT,
        std=std,
        learn_std=True,
        shape=SHAPE,
        optimizer=OPTIMISER,
    ).double()
    nn.init.constant_(model.log_std, math.log(std))  # again, for it was rounded to float32
    return model


def log_evidence(model: GaussianVAE, x: Tensor) -> Tensor:
    """log N(x; b, W W' + std^2 I): the linear model's marginal, [N]."""
    weight, std = model.decoder.weight, model.log_std.exp()
    covariance = weight @ weight.T + std**2 * torch.eye(SHAPE.dimensions).double()
    return MultivariateNormal(model.decoder.bias, covariance).log_prob(x.flatten(1))


def test_every_posterior_sample_weighs_the_evidence() -> None:
    """log p(x|z) + log p(z) - log q(z|x) = log p(x) at any z where q is the posterior."""
    model, x = linear_vae(), normal(5, *SHAPE.size, seed=2)
    mean, log_variance = model.encoder(x)
    noise = normal(5, LATENT, seed=3)
    z = mean + (log_variance / 2).exp() * noise
    log_joint = gaussian_log_density(x, model.decoder(z), model.log_std) + Normal(0, 1).log_prob(
        z
    ).sum(1)
    log_posterior = Normal(mean, (log_variance / 2).exp()).log_prob(z).sum(1)
    torch.testing.assert_close(
        log_joint - log_posterior, log_evidence(model, x), rtol=1e-12, atol=0
    )


def expected_loss(model: GaussianVAE, x: Tensor) -> Tensor:
    """The training loss at one image with its expectation over the posterior taken exactly.

    The loss is quadratic in the noise, and the 2D points +-sqrt(D) e_i share mean and
    covariance with a standard normal: their mean is the expectation.
    """
    points = math.sqrt(LATENT) * torch.cat([torch.eye(LATENT), -torch.eye(LATENT)]).double()
    batch = Batch(x.expand(len(points), *SHAPE.size), None, {"z": points})
    return model.objectives()[0](batch)["total"]


def test_the_loss_at_the_exact_posterior_is_minus_the_evidence() -> None:
    """And so is its gradient: there the bound touches log p(x), so both slopes agree."""
    model, x = linear_vae(), normal(1, *SHAPE.size, seed=2)
    loss, truth = expected_loss(model, x), -log_evidence(model, x).sum()
    torch.testing.assert_close(loss, truth, rtol=1e-6, atol=0, check_dtype=False)
    moved = [*model.decoder.parameters(), model.log_std]
    found = torch.autograd.grad(loss, moved)
    exact = torch.autograd.grad(truth, moved)
    for a, b in zip(found, exact, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_the_loss_off_the_exact_posterior_exceeds_it_by_the_divergence() -> None:
    """-ELBO - (-log p(x)) = KL(q || posterior) (arXiv:1312.6114, eq. 1), here by torch."""
    model, x = linear_vae(), normal(1, *SHAPE.size, seed=2)
    mean, log_variance = model.encoder(x)
    other = (mean + 0.3, log_variance + 0.5)
    model.encoder.forward = lambda _: tuple(t.expand(2 * LATENT, LATENT) for t in other)
    gap = expected_loss(model, x) + log_evidence(model, x).sum()
    q = Normal(other[0], (other[1] / 2).exp())
    expected = kl_divergence(q, Normal(mean, (log_variance / 2).exp())).sum()
    torch.testing.assert_close(gap, expected, rtol=1e-4, atol=0)


def test_terms_are_means_over_images() -> None:
    model, x = linear_vae(), normal(4, *SHAPE.size, seed=2)
    noise = normal(4, LATENT, seed=3)
    terms = model.objectives()[0](Batch(x, None, {"z": noise}))
    mean, log_variance = model.encoder(x)
    decoded = model.decoder(mean + (log_variance / 2).exp() * noise)
    density = Normal(decoded, model.log_std.exp()).log_prob(x).flatten(1).sum(1)
    kl = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1)
    exact = {"reconstruction": -density.mean(), "kl": kl.mean(), "total": (kl - density).mean()}
    for name, value in exact.items():
        torch.testing.assert_close(terms[name], value, rtol=1e-5, atol=0, check_dtype=False)


class DensityVAE(GaussianVAE):
    """Bounds the density of continuous images, of which the linear model's is known."""

    def log_pixels(self, images: Tensor, output: Tensor) -> Tensor:
        return self.training_log_pixels(images, output)


def test_both_bounds_at_the_exact_posterior_are_the_evidence() -> None:
    """One importance draw is enough; the ELBO's expectation is that over the sigma points."""
    model, x = linear_vae(), normal(1, *SHAPE.size, seed=2)
    model.__class__ = DensityVAE
    truth = log_evidence(model, x)
    points = math.sqrt(LATENT) * torch.cat([torch.eye(LATENT), -torch.eye(LATENT)]).double()
    every, streams = x.expand(len(points), *SHAPE.size), FixedStreams(points)
    found = -model.negative_bound(every, streams, "importance", draws=3)["importance_weighted"]
    torch.testing.assert_close(found, truth.expand(len(points)), rtol=1e-9, atol=0)
    terms = model.negative_bound(every, streams, "elbo", draws=2)
    elbo = -torch.stack(list(terms.values())).sum(0).mean()
    torch.testing.assert_close(elbo, truth[0], rtol=1e-9, atol=0)


@pytest.mark.parametrize(("shift", "widening"), [(0.4, 0.3), (-0.3, 0.8), (0.5, 0.0)])
def test_bounds_off_the_exact_posterior_rise_to_the_evidence(shift: float, widening: float) -> None:
    """arXiv:1509.00519, theorem 1: each with K is below, within 0.01 nats at K = 256."""
    model, x = linear_vae(), normal(1, *SHAPE.size, seed=2)
    model.__class__ = DensityVAE
    truth, (mean, log_variance) = log_evidence(model, x).item(), model.encoder(x)
    spread = (mean + shift * (log_variance / 2).exp(), log_variance + widening)
    model.encoder.forward = lambda x: tuple(t.expand(len(x), LATENT) for t in spread)
    every, gaps = x.expand(300, *SHAPE.size), []
    with torch.no_grad():
        for K in (1, 4, 32, 256):
            streams = ImageStreams(0, "importance", range(300))
            bound = model.negative_bound(every, streams, "importance", draws=K)
            gaps.append(bound["importance_weighted"].mean().item() + truth)
        terms = model.negative_bound(every, ImageStreams(1, "elbo", range(300)), "elbo", draws=20)
    elbo = -torch.stack(list(terms.values())).sum(0).mean().item()
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3]
    assert abs(gaps[3]) < 0.01
    q, posterior = (Normal(m, (v / 2).exp()) for m, v in (spread, (mean, log_variance)))
    assert truth - elbo == pytest.approx(kl_divergence(q, posterior).sum().item(), rel=0.2)


def test_decoding_is_the_mean_or_a_draw_around_it() -> None:
    """Pixel noise has the model's deviation; the model without it stays as it was."""
    model = linear_vae().requires_grad_(False)
    latent = Latent({"z": normal(1, LATENT).expand(4000, LATENT)}, "straight")
    mean = model.decode(latent, NoStreams())
    assert torch.equal(mean, model.decoder(latent.tensors["z"]))
    streams = ImageStreams(0, "pixels", range(4000))
    noise = model.with_pixel_noise().decode(latent, streams) - mean
    assert abs(noise.mean().item()) < 0.02
    assert noise.std(0).sub(0.7).abs().max() < 0.04
    assert not model.pixel_noise


def test_divergence_and_density_are_torch_s() -> None:
    mean, log_variance = normal(6, 5), 3 * normal(6, 5, seed=1)
    exact = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(gaussian_kl(mean, log_variance), exact, rtol=1e-12, atol=0)
    x, log_std = normal(6, 5, seed=2), torch.tensor(-0.7, dtype=torch.float64)
    exact = Normal(mean, log_std.exp()).log_prob(x).sum(1)
    torch.testing.assert_close(gaussian_log_density(x, mean, log_std), exact, rtol=1e-12, atol=0)


def test_gradients_are_the_differences_quotients() -> None:
    mean, log_variance = (normal(3, 2, seed=s).requires_grad_() for s in (0, 1))
    log_std = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gaussian_kl, (mean, log_variance))
    x = normal(3, 2, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(gaussian_log_density, (x, mean, log_std))


# One-pixel images: 256 of them, so that P(image) can be enumerated.


class PixelEncoder(nn.Module):
    """A posterior that fits, though not exactly, of the 256 one-pixel images."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = 0.9 * x.flatten(1)
        return mean, torch.full_like(mean, -0.8)


class PixelDecoder(nn.Module):
    """A curved decoder with means beyond the edges, where the bins reach to infinity."""

    def forward(self, z: Tensor) -> Tensor:
        return (0.8 * z + 0.2 * torch.sin(2 * z))[:, :, None, None]


@pytest.fixture
def pixel_vae() -> GaussianVAE:
    """Pixel deviation 0.5."""
    return GaussianVAE(
        PixelEncoder(),
        PixelDecoder(),
        latent=1,
        std=0.5,
        learn_std=True,
        shape=PIXEL,
        optimizer=OPTIMISER,
    ).requires_grad_(False)


def log_pixel_given(z: np.ndarray) -> np.ndarray:
    """log P(each of the 256 pixels | z) by SciPy, edges reaching to infinity: [256, len(z)]."""
    inner = (np.arange(255) + 0.5) * 2 / 255 - 1
    edges = np.concatenate([[-np.inf], inner, [np.inf]])
    below = norm.cdf(edges[:, None], 0.8 * z + 0.2 * np.sin(2 * z), 0.5)
    return np.log(np.maximum(np.diff(below, axis=0), 1e-300))


def log_pixel() -> np.ndarray:
    """log P(each of the 256 pixels) = log of the integral over z ~ N(0, 1), by trapezoids."""
    z = np.linspace(-9, 9, 3001)
    return np.log(np.trapezoid(np.exp(log_pixel_given(z)) * norm.pdf(z), z, axis=1))


def every_pixel_at_every_node() -> tuple[Tensor, FixedStreams]:
    """Each pixel with each node of the quadrature as its noise: [256 * 60, 1, 1, 1]."""
    pixels = images.to_float(EVERY_PIXEL).repeat_interleave(len(NODES), dim=0)
    return pixels, FixedStreams(torch.from_numpy(NODES).repeat(256))


def expected(values: Tensor) -> np.ndarray:
    """Mean over the noise of what `every_pixel_at_every_node` gave: [256]."""
    return values.double().view(256, len(NODES)).numpy() @ WEIGHTS


def test_the_bound_of_every_one_pixel_image_is_exact(pixel_vae: GaussianVAE) -> None:
    """E over q of -log P(x|z), plus KL: its integral by SciPy; never below -log P(x)."""
    assert np.exp(log_pixel()).sum() == pytest.approx(1, abs=1e-9)
    terms = pixel_vae.negative_bound(*every_pixel_at_every_node(), "elbo")
    assert list(terms) == ["reconstruction", "kl"]
    mean, std = 0.9 * (np.arange(256) * 2 / 255 - 1), math.exp(-0.4)
    for index in (0, 1, 77, 128, 255):
        z = np.linspace(mean[index] - 9 * std, mean[index] + 9 * std, 3001)
        q = norm.pdf(z, mean[index], std)
        log_ratio = norm.logpdf(z, mean[index], std) - norm.logpdf(z)
        assert expected(terms["kl"])[index] == pytest.approx(np.trapezoid(q * log_ratio, z), 1e-5)
        reconstruction = -np.trapezoid(q * log_pixel_given(z)[index], z)
        assert expected(terms["reconstruction"])[index] == pytest.approx(reconstruction, 1e-5)
    gap = expected(terms["reconstruction"] + terms["kl"]) + log_pixel()
    assert gap.min() > 0
    assert gap.max() < 0.6  # nats: the bound is not an idle one


def test_importance_weights_average_to_the_probability(
    pixel_vae: GaussianVAE,
) -> None:
    """E over q of p(x, z) / q(z|x) = P(x) exactly; shares of all 256 images sum to 1."""
    terms = pixel_vae.negative_bound(*every_pixel_at_every_node(), "importance", draws=1)
    found = expected((-terms["importance_weighted"]).exp())
    np.testing.assert_allclose(found, np.exp(log_pixel()), rtol=1e-4)
    assert found.sum() == pytest.approx(1, abs=1e-5)


def test_more_importance_samples_close_the_gap(
    pixel_vae: GaussianVAE,
) -> None:
    """arXiv:1509.00519, theorem 1: the bound rises with K to log P(x), here at pixel 200."""
    pixels = images.to_float(EVERY_PIXEL[200:201]).expand(3000, 1, 1, 1)
    gaps = []
    for K in (1, 4, 32):
        rng = ImageStreams(0, "importance", range(3000))
        found = pixel_vae.negative_bound(pixels, rng, "importance", draws=K)["importance_weighted"]
        gaps.append(found.mean().item() + log_pixel()[200])
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]
    assert abs(gaps[2]) < 0.01


def test_bits_per_dim_are_minus_log2_of_the_probability(pixel_vae: GaussianVAE) -> None:
    """Where the decoder ignores z and q is the prior, the bound is the probability."""
    model = pixel_vae
    model.encoder.forward = lambda x: (torch.zeros(len(x), 1), torch.zeros(len(x), 1))
    model.decoder.forward = lambda z: torch.zeros(len(z), *SHAPE.size)
    model.shape = SHAPE
    pixels = random_pixels(70, *SHAPE.size)
    log_p = log_pixel_given(np.zeros(1))[pixels.flatten(1).long().numpy(), 0]  # [70, D]
    for method in model.bounds:
        asked = LikelihoodOptions(method=method)
        entry = likelihood.bits_per_dim(model, pixels, 0, MACHINE, asked).to_json()
        assert entry["value"] == pytest.approx(-log_p.mean() / math.log(2), rel=1e-5)
        assert entry["kind"] == "upper bound"
        each = -log_p.mean(1) / math.log(2)
        margin = stats.t.ppf(0.975, 69) * each.std(ddof=1) / math.sqrt(70)
        assert entry["high"] - entry["value"] == pytest.approx(margin, rel=1e-4)
        assert entry["value"] - entry["low"] == pytest.approx(margin, rel=1e-4)
        nats = sum(term["nats"] for term in entry["terms"].values())
        assert nats == pytest.approx(-log_p.sum(1).mean(), rel=1e-5)


# The course's recipe.


def course_vae() -> GaussianVAE:
    shape = ImageShape(channels=3, resolution=32)
    return course.RECIPE.build(course.RECIPE.defaults("tiny", shape), shape)


def layers(module: nn.Module) -> list[str]:
    """Names of the layers that do something, in order."""
    return [type(m).__name__ for m in module if not isinstance(m, nn.Identity)]


def test_the_course_s_layers() -> None:
    model = course_vae()
    encoder, decoder = model.encoder.features.stages, model.decoder.stages
    assert layers(encoder) == [*["Conv2d", "LeakyReLU", "BatchNorm2d"] * 4, "Flatten"]
    assert layers(decoder) == [
        *["Linear", "ReLU", "Unflatten"],
        *["DoublingConvolution", "LeakyReLU"] * 3,
        "DoublingConvolution",  # nothing squashes the output
    ]
    halving = [m for m in encoder if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in halving] == [32, 64, 128, 256]
    assert {(m.kernel_size, m.stride, m.padding) for m in halving} == {((4, 4), (2, 2), (1, 1))}
    smoothing = [m for m in decoder if isinstance(m, nn.Conv2d)]
    assert [m.in_channels for m in smoothing] == [256, 128, 64, 32]
    assert {(m.kernel_size, m.stride, m.padding) for m in smoothing} == {((3, 3), (1, 1), (1, 1))}
    slopes = {m.negative_slope for m in model.modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.2}
    heads = (model.encoder.mean, model.encoder.log_variance)
    assert [(m.in_features, m.out_features) for m in heads] == [(256 * 2 * 2, 32)] * 2
    assert decoder[2](decoder[0](torch.zeros(1, 32))).shape == (1, 256, 2, 2)


def test_the_course_s_numbers() -> None:
    """Biases included: convolutions and BatchNorms, two heads, linear layer, convolutions."""
    model, settings = course_vae(), course.CourseVAE()
    down = sum(16 * a * b + 3 * b for a, b in [(3, 32), (32, 64), (64, 128), (128, 256)])
    up = sum(9 * a * b + b for a, b in [(256, 128), (128, 64), (64, 32), (32, 3)])
    heads, start = 2 * (1024 * 32 + 32), 32 * 1024 + 1024
    assert sum(p.numel() for p in model.parameters()) == down + heads + start + up
    assert not isinstance(model.log_std, nn.Parameter)
    assert model.log_std.exp() == 1
    assert settings.optimizer == OptimizerConfig(
        learning_rate=1e-4
    )  # constant, no decay, no clipping
    assert (settings.batch_size, settings.ema) == (64, None)
    assert IMPORTANCE_SAMPLES == 100


@pytest.mark.parametrize(("bias", "kept"), [(-1e3, -30.0), (1e3, 20.0), (5.0, 5.0)])
def test_the_course_s_clamp(bias: float, kept: float) -> None:
    model = course_vae().eval()
    nn.init.zeros_(model.encoder.log_variance.weight)
    nn.init.constant_(model.encoder.log_variance.bias, bias)
    _, log_variance = model.encoder(torch.zeros(1, 3, 32, 32))
    assert (log_variance == kept).all()


def test_as_many_draws_are_made_as_were_asked_for(pixel_vae: GaussianVAE) -> None:
    """The noise of image i is its stream's, one number after another: by hand for three draws."""
    shape = pixel_vae.shape
    pixels = random_pixels(4, *shape.size)
    found = likelihood.bound(pixel_vae, pixels, 0, MACHINE, "elbo", draws=3)
    assert found.note == Note("draws", {"n": 3})
    rng = ImageStreams(0, "likelihood/elbo", range(4))
    with torch.inference_mode():
        x = images.to_float(pixels).to(next(pixel_vae.parameters()).dtype)
        each = [sum(pixel_vae.negative_bound(x, rng, "elbo").values()) for _ in range(3)]
    torch.testing.assert_close(found.nats, torch.stack(each).mean(0).double(), rtol=1e-5, atol=1e-6)
