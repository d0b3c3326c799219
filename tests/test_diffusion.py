"""Schedules and the bound against diffusers, Gaussian data and counted pixel values."""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from tests.truths import FixedStreams, Recorder, normal, random_pixels
from triptych import images
from triptych.config import ImageShape, OptimizerConfig, override
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.diffusion.denoisers import NoisePredictor, Preconditioned
from triptych.families.diffusion.likelihood import (
    Decoder,
    VariationalBound,
    gaussian_decoder,
    posterior_decoder,
)
from triptych.families.diffusion.losses import stratified_normal
from triptych.families.diffusion.model import Diffusion
from triptych.families.diffusion.recipes import course
from triptych.families.diffusion.samplers import Denoise
from triptych.families.diffusion.schedule import linear_beta_sigmas, power_sigmas, spaced_sigmas
from triptych.families.protocol import Batch
from triptych.nn.unet import PixelAttention
from triptych.seeding import ImageStreams

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its imports are not ours to mend
    from diffusers import DDPMScheduler

SHAPE = ImageShape(channels=3, resolution=32)
SIGMAS = linear_beta_sigmas(1000, 1e-4, 0.02)
ABAR = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
DDPM = {"num_train_timesteps": 1000, "beta_start": 1e-4, "beta_end": 0.02, "clip_sample": False}


def course_model() -> Diffusion:
    return course.RECIPE.build(course.RECIPE.defaults("tiny", SHAPE), SHAPE)


# Noise levels.


def test_linear_schedule_is_that_of_diffusers() -> None:
    """abar = 1 / (1 + sigma^2), and the first level has the first beta."""
    found = 1 / (1 + SIGMAS**2)
    torch.testing.assert_close(
        found.float(), DDPMScheduler(**DDPM).alphas_cumprod, rtol=0, atol=1e-6
    )
    torch.testing.assert_close(found, ABAR, rtol=1e-9, atol=0)
    assert (1 - found[0]).item() == pytest.approx(1e-4, rel=1e-9)
    assert len(SIGMAS) == 1000


def test_power_levels_are_the_paper_s() -> None:
    """(max^(1/rho) + i / (n - 1) (min^(1/rho) - max^(1/rho)))^rho, i < n; then 0."""
    found = power_sigmas(18, 0.002, 80.0, 7.0)
    top, bottom = 80.0 ** (1 / 7), 0.002 ** (1 / 7)
    by_hand = [(top + i / 17 * (bottom - top)) ** 7 for i in range(18)]
    assert found.tolist() == pytest.approx([*by_hand, 0.0], rel=1e-12)
    assert found[[0, 17]].tolist() == pytest.approx([80.0, 0.002])


def test_spaced_levels_fall_from_the_top_of_the_table_to_zero() -> None:
    assert torch.equal(spaced_sigmas(SIGMAS, 1000)[:-1], SIGMAS.flip(0))
    for steps in (1, 2, 7, 50, 999):
        levels = spaced_sigmas(SIGMAS, steps)
        assert len(levels) == steps + 1
        assert levels[0] == SIGMAS[-1]
        assert levels[-1] == 0
        assert (levels.diff() < 0).all()
    assert spaced_sigmas(SIGMAS, 2)[1] == SIGMAS[0]


# Denoisers.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_noise_predictor_knows_each_level_s_step(dtype: torch.dtype) -> None:
    network = Recorder()
    sigmas = SIGMAS.to(dtype)
    NoisePredictor(network, SIGMAS)(torch.zeros(1000, 1, 1, 1, dtype=dtype), sigmas)
    assert torch.equal(network.level, torch.arange(1000))


def test_a_noise_predictor_shows_its_network_unit_variance() -> None:
    """sqrt(abar) x, and clean = x - sigma * noise."""
    network, x = Recorder(0.25), normal(1000, 1, 1, 1)
    found = NoisePredictor(network, SIGMAS)(x, SIGMAS)
    torch.testing.assert_close(network.x.flatten(), ABAR.sqrt() * x.flatten())
    torch.testing.assert_close(found.flatten(), x.flatten() - 0.25 * SIGMAS)


def scalings(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor, Tensor]:
    """c_skip, c_out and c_in read off a denoiser whose network answers 0, 1 and anything."""
    one, nil = torch.ones(len(sigma), 1, 1, 1).double(), torch.zeros(len(sigma), 1, 1, 1).double()
    silent = Preconditioned(Recorder(0.0), sigma_data)
    c_skip = silent(one, sigma)
    c_out = Preconditioned(Recorder(1.0), sigma_data)(nil, sigma)
    return c_skip.flatten(), c_out.flatten(), silent.network.x.flatten()


@pytest.mark.parametrize("sigma_data", [0.25, 0.5])
def test_preconditioning_keeps_unit_variance(sigma_data: float) -> None:
    """arXiv:2206.00364, B.6, for data of deviation s and x = y + sigma n:

    input:  c_in^2 (s^2 + sigma^2) = 1
    target: (y - c_skip x) / c_out: ((1 - c_skip)^2 s^2 + c_skip^2 sigma^2) / c_out^2 = 1
    c_skip is where c_out is smallest: its slope -(1 - c_skip) s^2 + c_skip sigma^2 vanishes.
    """
    sigma = power_sigmas(9, 0.002, 80.0, 7.0)[:-1]
    c_skip, c_out, c_in = scalings(sigma, sigma_data)
    ones = torch.ones(9, dtype=torch.float64)
    torch.testing.assert_close(c_in**2 * (sigma_data**2 + sigma**2), ones)
    target = ((1 - c_skip) ** 2 * sigma_data**2 + c_skip**2 * sigma**2) / c_out**2
    torch.testing.assert_close(target, ones)
    torch.testing.assert_close((1 - c_skip) * sigma_data**2, c_skip * sigma**2)
    assert (c_in > 0).all() and (c_out > 0).all()  # table 1's are roots


def test_a_silent_network_denoises_gaussian_data_ideally() -> None:
    """E[y | x] = x s^2 / (s^2 + sigma^2) for y ~ N(0, s^2); the level is told as log(sigma) / 4."""
    network, sigma = Recorder(), power_sigmas(9, 0.002, 80.0, 7.0)[:-1]
    x = normal(9, 1, 2, 2)
    found = Preconditioned(network, 0.5)(x, sigma)
    torch.testing.assert_close(found, x * (0.25 / (0.25 + sigma**2)).view(-1, 1, 1, 1))
    torch.testing.assert_close(network.level, sigma.log() / 4)


# The bound.


def uniform_denoiser(values: Tensor) -> Denoise:
    """E[y | x] where each pixel of y is one of the values, all equally likely."""

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        distance = (x[..., None] - values) ** 2 / (2 * sigma.view(-1, 1, 1, 1, 1) ** 2)
        return (-distance).softmax(-1) @ values

    return denoise


@pytest.mark.parametrize("decoder", [gaussian_decoder, posterior_decoder])
@pytest.mark.parametrize("levels", [(0,), (0, 255), (100, 101, 130)])
def test_the_bound_of_pixels_drawn_from_n_values_is_log_n(
    decoder: Decoder, levels: tuple[int, ...]
) -> None:
    """With the ideal denoiser it falls to -log P = log n per pixel as the levels grow dense.

    Its mean over such images is a cross-entropy, so never below log n. 6,144 pixels: the
    standard error is below 0.01 nats. The smallest level is far below a bin's width.
    """
    values = images.to_float(torch.tensor(levels, dtype=torch.uint8)).double()
    pixels = values.repeat(2, 3, 32, 32 // len(levels) + 1)[..., :32]
    pixels = pixels[..., : 32 - 32 % len(levels)]  # each value equally often
    sigmas = torch.logspace(math.log10(5e-4), math.log10(200), 800, dtype=torch.float64)
    prior_std = math.sqrt(200.0**2 + values.square().mean().item())
    bound = VariationalBound(sigmas, prior_std, decoder, draws=len(sigmas))
    rng = ImageStreams(0, "bound", range(2))
    terms = bound.terms(uniform_denoiser(values), pixels, rng)
    assert list(terms) == ["prior", "diffusion", "reconstruction"]
    per_pixel = sum(terms.values()) / pixels[0].numel()
    truth = math.log(len(levels))
    assert truth - 0.005 < per_pixel.mean().item() < 1.03 * truth + 0.005
    assert terms["prior"].abs().max() / pixels[0].numel() < 1e-4


def test_each_term_by_hand() -> None:
    """arXiv:2107.00630, eq. 11 to 13, one noise for all levels and a denoiser that only halves.

    The pixels' term is minus the log probability at the lowest level, summed over pixels.
    """
    x, noise = normal(2, 1, 2, 2), normal(2, 1, 2, 2, seed=1)
    sigmas = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)

    def decoder(images: Tensor, noisy: Tensor, denoised: Tensor, sigma: float) -> Tensor:
        return images + 10 * noisy + 100 * denoised + 1000 * sigma

    def halve(x: Tensor, sigma: Tensor) -> Tensor:
        return x / (1 + sigma.view(-1, 1, 1, 1))

    bound = VariationalBound(sigmas, 3.0, decoder, draws=9)
    terms = bound.terms(halve, x, FixedStreams(noise))  # type: ignore[arg-type]
    noisy = x + 0.5 * noise
    log_p = (x + 10 * noisy + 100 * noisy / 1.5 + 500).flatten(1).sum(1)
    torch.testing.assert_close(terms["reconstruction"], -log_p)
    errors = [(x - (x + s * noise) / (1 + s)).square().flatten(1).sum(1) for s in (1.0, 3.0)]
    weights = 0.5 * (1 / 0.25 - 1), 0.5 * (1 - 1 / 9)
    torch.testing.assert_close(terms["diffusion"], weights[0] * errors[0] + weights[1] * errors[1])


def test_a_denoiser_that_is_not_ideal_pays_for_it() -> None:
    """Twice the ideal error costs about log n more: the bound must tell models apart."""
    values = images.to_float(torch.tensor([0, 255], dtype=torch.uint8)).double()
    pixels = values.repeat(2, 1, 32, 16)
    sigmas = power_sigmas(100, 5e-4, 200.0, 7.0)[:-1].flip(0)
    bound = VariationalBound(sigmas, 200.0, posterior_decoder, draws=len(sigmas))
    ideal = uniform_denoiser(values)
    totals = [
        sum(bound.terms(denoise, pixels, ImageStreams(0, "b", range(2))).values()).mean()
        for denoise in (ideal, lambda x, sigma: ideal(x, 1.2 * sigma))
    ]
    assert totals[1] > totals[0]


def test_residual_averages_two_estimates_by_their_variances() -> None:
    """A denoiser off by e everywhere beside the noisy image, off by sigma: e^2 s^2 / (e^2 + s^2).

    That is the least mean squared error of a weighted mean of two estimates whose errors are
    uncorrelated; summed with the bound's weights, over 2 x 3072 pixels.
    """
    e, pixels = 0.07, images.to_float(random_pixels(2, 3, 32, 32)).double()
    sigmas = torch.logspace(-2.7, 1.9, 200, dtype=torch.float64)
    bound = VariationalBound(sigmas, 80.0, posterior_decoder, draws=len(sigmas), residual=e)
    found = bound.terms(lambda x, sigma: pixels + e, pixels, ImageStreams(0, "r", range(2)))
    weights = (sigmas[:-1] ** -2 - sigmas[1:] ** -2) / 2
    errors = e**2 * sigmas[1:] ** 2 / (e**2 + sigmas[1:] ** 2)
    expected = pixels[0].numel() * (weights * errors).sum().item()
    assert found["diffusion"].mean().item() == pytest.approx(expected, rel=0.01)


def test_weights_are_those_of_the_signal_to_noise_form() -> None:
    """A denoiser wrong by sigma in every pixel: D sum over t of (1/s_(t-1)^2 - 1/s_t^2) s_t^2 / 2.

    With every level drawn the sum is exact, for any number of levels; without the first
    level, whose term is the reconstruction.
    """
    x = normal(2, 1, 3, 3)
    for count in (2, 50, 100, 250, 1000):
        sigmas = linear_beta_sigmas(count, 1e-4, 0.02)
        bound = VariationalBound(sigmas, 1.0, gaussian_decoder, draws=count)
        found = bound.terms(
            lambda _, sigma: x + sigma.view(-1, 1, 1, 1), x, ImageStreams(0, "b", range(2))
        )["diffusion"]
        pairs = itertools.pairwise(sigmas.tolist())
        exact = 9 * sum((1 / low**2 - 1 / high**2) * high**2 / 2 for low, high in pairs)
        torch.testing.assert_close(found, torch.full((2,), exact).double(), rtol=1e-6, atol=0)


def test_each_term_is_a_divergence_of_ddpm() -> None:
    """KL(q(x_(t-1) | x_t, x_0) || p(x_(t-1) | x_t)) from arXiv:2006.11239, eq. 6-7, by torch.

    Two levels t = 1, 2, so that the diffusion term is the one divergence at t = 2. In the
    paper's scale x_t = sqrt(abar_t) times ours.
    """
    betas = torch.tensor([0.1, 0.3], dtype=torch.float64)
    abar = torch.cumprod(1 - betas, 0)
    sigmas = ((1 - abar) / abar).sqrt()
    clean, noise = normal(1, 1, 2, 2), normal(1, 1, 2, 2, seed=1)
    wrong = 0.3 * normal(1, 1, 2, 2, seed=2)
    x2 = abar[1].sqrt() * clean + (1 - abar[1]).sqrt() * noise
    weight_clean = abar[0].sqrt() * betas[1] / (1 - abar[1])  # eq. 7
    weight_x2 = (1 - betas[1]).sqrt() * (1 - abar[0]) / (1 - abar[1])
    std = ((1 - abar[0]) / (1 - abar[1]) * betas[1]).sqrt()
    q = Normal(weight_clean * clean + weight_x2 * x2, std)
    p = Normal(weight_clean * (clean + wrong) + weight_x2 * x2, std)
    bound = VariationalBound(sigmas, 1.0, gaussian_decoder)
    terms = bound.terms(lambda *_: clean + wrong, clean, FixedStreams(noise))
    torch.testing.assert_close(terms["diffusion"][0], kl_divergence(q, p).sum())
    decoder = Normal(clean + wrong, betas[0].sqrt())
    width = 1 / 255
    mass = decoder.cdf(clean + width) - decoder.cdf(clean - width)
    inside = clean.abs() < 1
    exact = -gaussian_decoder(clean, clean, clean + wrong, sigmas[0].item())
    torch.testing.assert_close(exact[inside], -mass[inside].log(), rtol=1e-5, atol=0)


def test_the_prior_term_is_torch_s_divergence() -> None:
    x = normal(3, 1, 2, 2)
    bound = VariationalBound(SIGMAS, 150.0, gaussian_decoder)
    exact = kl_divergence(Normal(x, SIGMAS[-1]), Normal(torch.zeros_like(x), 150.0))
    found = bound._prior(x)
    torch.testing.assert_close(found, exact.flatten(1).sum(1), rtol=1e-9, atol=0)


def test_a_few_levels_estimate_all_of_them() -> None:
    """Stratified draws have the sum's mean: within 4 standard errors over 2,000 images."""
    x = torch.zeros(2000, 1, 1, 1)
    sigmas = linear_beta_sigmas(40, 1e-4, 0.2)
    found = []
    for draws in (40, 3):
        bound = VariationalBound(sigmas, 1.0, gaussian_decoder, draws)
        rng = ImageStreams(0, "strata", range(2000))
        found.append(bound.terms(lambda _, s: s.sqrt()[:, None, None, None], x, rng)["diffusion"])
    assert found[0].std() < 1e-6 * found[0].mean()  # every level, the same for every image
    error = found[1].std() / math.sqrt(2000)
    assert 0 < error < 0.1 * found[0].mean()
    assert (found[1].mean() - found[0].mean()).abs() < 4 * error


# The course's recipe.


def test_the_course_s_loss_is_ddpm_s_with_huber() -> None:
    """Noisy images by diffusers, smooth L1 with delta 1 by torch, on the practical's network."""
    model = course_model()
    [objective] = model.objectives()
    clean = images.to_float(random_pixels(3, *SHAPE.size))
    noise = objective.noise(3, torch.Generator().manual_seed(0))
    noisy = DDPMScheduler(**DDPM).add_noise(clean, noise["gaussian"], noise["t"])
    with torch.no_grad():
        predicted = model.denoiser.network(noisy, noise["t"])
        found = objective(Batch(clean, None, noise))["total"]
    exact = F.huber_loss(predicted, noise["gaussian"], delta=1.0)
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=0)


def test_the_course_s_steps_are_uniform() -> None:
    """20,000 draws of 1,000 steps: chi-squared over tenths has 9 degrees, 27.9 at p = 0.001."""
    [objective] = course_model().objectives()
    t = objective.noise(20_000, torch.Generator().manual_seed(0))["t"]
    assert (t.min(), t.max()) == (0, 999)
    counts = torch.bincount(t // 100, minlength=10)
    assert ((counts - 2000) ** 2 / 2000).sum() < 27.9


def course_parameters() -> int:
    """The practical's U-Net, counted by hand from its description; biases and norms included."""

    def block(a: int, b: int, time: int = 128) -> int:
        skip = 0 if a == b else a * b + b
        return (9 * a * b + 3 * b) + (9 * b * b + 3 * b) + (time * b + b if time else 0) + skip

    def linear_attention(c: int) -> int:  # norm, queries keys values, output, norm
        return 2 * c + 3 * 128 * c + (128 * c + c) + 2 * c

    def level(a: int, b: int) -> int:
        return block(a, b) + block(b, b) + linear_attention(b)

    def halve(c: int) -> int:  # or double
        return 16 * c * c + c

    ends = (49 * 3 * 20 + 20) + block(32, 32, time=0) + (32 * 3 + 3)
    time = (32 * 128 + 128) + (128 * 128 + 128)
    down = level(20, 32) + level(32, 64) + level(64, 128) + level(128, 256)
    middle = 2 * block(256, 256) + 2 * 256 + 3 * 128 * 256 + 128 * 256 + 256
    up = level(512, 128) + level(256, 64) + level(128, 32)
    return ends + time + down + middle + up + 2 * sum(halve(c) for c in (32, 64, 128))


def test_the_course_s_numbers() -> None:
    """U-Net as in the practical: 20 channels first, then 32 to 256."""
    model, settings = course_model(), course.CourseDDPM()
    assert settings.optimizer == OptimizerConfig(learning_rate=1e-4)
    assert (settings.batch_size, settings.ema) == (64, None)
    assert (model.sampling.name, model.sampling.steps) == ("ancestral", 1000)
    network = model.denoiser.network
    assert network.stem.out_channels == 20
    assert network.stem.kernel_size == (7, 7)
    widths = [level.second.second[0].out_channels for level in network.down]
    assert widths == [32, 64, 128, 256]
    groups = {m.num_groups for m in network.modules() if isinstance(m, nn.GroupNorm)}
    assert groups == {1, 8}  # 1 within attention
    assert [type(m).__name__ for m in network.time] == [
        *["SinusoidalEmbedding", "Linear", "GELU", "Linear"]
    ]
    assert (network.time[1].in_features, network.time[1].out_features) == (32, 128)
    assert sum(p.numel() for p in network.parameters()) == course_parameters()
    assert model.process.prior_std == pytest.approx((1 / ABAR[-1]).sqrt().item(), rel=1e-9)


# The recipes on patches, whose fresh networks answer exactly 0.


def fresh_loss(name: str, pixels: Tensor, **more: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of an untrained model, its noise levels and its noisy images. more: settings."""
    parsed = registry.ModelName.parse(name)
    settings = replace(registry.defaults(parsed, "tiny", SHAPE), **more)
    [objective] = registry.build(parsed, settings, SHAPE, seed=0).objectives()
    noise = objective.noise(len(pixels), torch.Generator().manual_seed(0))
    sigma = (settings.noise_mean + settings.noise_std * noise["level"]).exp().view(-1, 1, 1, 1)
    noisy = pixels + sigma * noise["gaussian"]
    return objective(Batch(pixels, None, noise))["total"], sigma, noisy


def test_edm_s_loss_starts_at_one_for_gaussian_data() -> None:
    """The target (y - c_skip x) / c_out has unit variance at every level, the network says 0."""
    clean = 0.5 * normal(64, *SHAPE.size).float()
    found, sigma, noisy = fresh_loss("diffusion:edm", clean)
    c_skip, c_out = 0.25 / (0.25 + sigma**2), 0.5 * sigma / (0.25 + sigma**2).sqrt()
    exact = ((clean - c_skip * noisy) / c_out).square().mean()
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=0)
    assert found.item() == pytest.approx(1, abs=0.02)


def test_clean_prediction_s_loss_is_capped_where_noise_is_invisible() -> None:
    """The network says 0: min(4, 1 + (s / sigma)^2) (y / s)^2 remains, s = 0.5."""
    clean = images.to_float(random_pixels(16, *SHAPE.size))
    found, sigma, _ = fresh_loss("diffusion:x0", clean, mppca_rank=0, sigma_start=None, exemplars=0)
    weight = (1 + 0.25 / sigma**2).clamp(max=4)
    assert (weight == 4).any()
    assert (weight < 4).any()
    torch.testing.assert_close(found, (weight * clean**2).mean() / 0.25, rtol=1e-4, atol=0)


@pytest.mark.parametrize("level", [0.1, 3.0])
def test_features_are_the_network_s_at_the_level_of_the_recipe(level: float) -> None:
    """Those of the image as it is, told that level."""
    name = registry.ModelName.parse("diffusion:edm")
    settings = replace(registry.defaults(name, "tiny", SHAPE), features_at=level)
    model = registry.build(name, settings, SHAPE, seed=0).eval()
    x = images.to_float(random_pixels(3, *SHAPE.size))
    shown = x * (0.25 + level**2) ** -0.5  # c_in x, and log(sigma) / 4
    with torch.no_grad():
        unknown = torch.eye(101)[[100] * 3]  # of 100 groups, as for some images in training
        for weight in model.parameters():  # modulations begin at zero, and heed no group
            weight.add_(
                0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
            )
        exact = model.denoiser.network.features(
            shown, torch.full((3,), math.log(level) / 4), unknown
        )
        torch.testing.assert_close(model.represent(x), exact, rtol=1e-4, atol=1e-5)


def test_features_are_means_of_regions_of_the_last_level_but_one() -> None:
    model = registry.build(
        registry.ModelName.parse("diffusion:edm"),
        registry.defaults(registry.ModelName.parse("diffusion:edm"), "tiny", SHAPE),
        SHAPE,
        seed=0,
    ).eval()
    network = model.denoiser.network
    x, level = images.to_float(random_pixels(2, *SHAPE.size)), torch.zeros(2)
    with torch.no_grad():
        found = network.features(x, level)
        picture = network.states(x, level)[-2]
    side = picture.shape[-1]
    assert side == SHAPE.resolution // 4 and side % 4 == 0  # half as fine as patches of two
    step = side // 4
    exact = picture.view(2, -1, 4, step, 4, step).mean((3, 5)).flatten(1)
    torch.testing.assert_close(found, exact)


def test_levels_of_a_batch_are_stratified_normal_numbers() -> None:
    """One from each slice of equal probability; over many batches a standard normal number."""
    generator = torch.Generator().manual_seed(0)
    found = torch.stack([stratified_normal(8, generator) for _ in range(500)]).double()
    slices = (torch.special.ndtr(found) * 8).floor()
    assert torch.equal(slices, torch.arange(8).expand(500, 8).double())
    assert kstest(found.flatten().numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize(
    ("model", "wrong"),
    [
        ("diffusion:edm", "sigma_min=100"),
        ("diffusion:edm", "sigma_min=0"),
        ("diffusion:x0", "rho=0"),
        ("diffusion:flow", "features_at=0"),
        ("diffusion:points", "sigma_data=-1"),
    ],
)
def test_noise_levels_that_cannot_be_are_refused(model: str, wrong: str) -> None:
    settings = registry.defaults(registry.ModelName.parse(model), "tiny", SHAPE)
    with pytest.raises(InputError, match=r"must be above 0"):
        override(settings, [wrong])


@pytest.mark.parametrize("channels", [200, 104, 40, 64])
def test_attention_takes_every_width(channels: int) -> None:
    x = normal(2, channels, 4, 4).float()
    assert torch.equal(PixelAttention(channels)(x), x)  # at its start it adds nothing
