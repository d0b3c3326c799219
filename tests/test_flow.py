"""The noise-free path both ways and its densities, where they are known in closed form."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
from scipy.stats import kstest
from torch import Tensor
from torch.distributions import Normal

from tests.test_samplers import MEANS, SHARES, WIDTH, gaussian_denoiser, mixture_denoiser
from tests.truths import MACHINE, Recorder, normal, random_pixels
from triptych import images
from triptych.config import ImageShape, Size
from triptych.families import registry
from triptych.families.diffusion.denoisers import Denoiser, VelocityPredictor
from triptych.families.diffusion.likelihood import (
    FlowLikelihood,
    VariationalBound,
    log_density,
    posterior_decoder,
)
from triptych.families.diffusion.model import Diffusion, Process
from triptych.families.diffusion.recipes import FLOW_LEVELS
from triptych.families.diffusion.samplers import Sampling
from triptych.families.diffusion.schedule import log_sigmas, power_sigmas
from triptych.families.pixels import log_probability
from triptych.families.protocol import Batch
from triptych.seeding import ImageStreams
from triptych.tasks import reconstruct

SHAPE = ImageShape(channels=1, resolution=16)
LEVELS = log_sigmas(FLOW_LEVELS, 0.002, 80.0).tolist()
MILLIBIT = 1e-3 * math.log(2)  # nats of each pixel


def streams(count: int) -> ImageStreams:
    return ImageStreams(0, "flow", range(count))


# Densities. Pixels are independent, so that one vector of signs gives the divergence exactly.


def test_the_density_of_gaussian_data() -> None:
    x = 0.5 * normal(8, 1, 8, 8)
    found = log_density(gaussian_denoiser(0.5), x, LEVELS, 80.0, streams(8))
    exact = Normal(0.0, math.sqrt(0.25 + LEVELS[0] ** 2)).log_prob(x).flatten(1).sum(1)
    assert (found - exact).abs().max().item() / 64 < MILLIBIT


def test_the_density_of_a_mixture() -> None:
    x = torch.linspace(-1.2, 1.2, 64, dtype=torch.float64).view(1, 1, 8, 8)
    found = log_density(mixture_denoiser, x, LEVELS, 80.0, streams(1))
    each = Normal(MEANS, math.sqrt(WIDTH**2 + LEVELS[0] ** 2)).log_prob(x[..., None]).exp()
    exact = (SHARES.double() * each).sum(-1).log().sum()
    assert abs(found.item() - exact.item()) / 64 < MILLIBIT


def test_the_divergence_is_estimated_without_bias() -> None:
    """For x of deviation matrix S the density is N(0, S + sigma^2); its Jacobian is not diagonal.

    2,000 vectors of signs, within 4 standard errors.
    """
    mixing = torch.eye(4, dtype=torch.float64) + 0.5 * normal(4, 4)
    covariance = 0.1 * mixing @ mixing.T

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        total = covariance + sigma[0] ** 2 * torch.eye(4, dtype=torch.float64)
        return torch.linalg.solve(total, x.flatten(1), left=False).matmul(covariance).view_as(x)

    x = 0.3 * normal(1, 1, 2, 2).expand(2000, 1, 2, 2)
    found = log_density(denoise, x, log_sigmas(128, 0.002, 80.0).tolist(), 80.0, streams(2000))
    total = covariance + LEVELS[0] ** 2 * torch.eye(4, dtype=torch.float64)
    law = torch.distributions.MultivariateNormal(torch.zeros(4, dtype=torch.float64), total)
    error = found.std().item() / math.sqrt(2000)
    assert error > 1e-4
    assert found.mean().item() == pytest.approx(law.log_prob(x[0].flatten()).item(), abs=4 * error)


def two_values(x: Tensor, sigma: Tensor) -> Tensor:
    """E[y | x] where each pixel of y is 0 or 255."""
    return torch.tanh(x / sigma.view(-1, 1, 1, 1) ** 2)


def test_pixels_of_two_values_take_a_bit() -> None:
    """-log2 P = 1 for each of 2 x 4,096 pixels; the variational bound comes down to it."""
    x = images.to_float(255 * (normal(2, 1, 64, 64) > 0).byte())
    levels = log_sigmas(800, 5e-4, 80.0)
    terms = FlowLikelihood(levels.tolist(), 80.0).terms(two_values, x.double(), streams(2))
    assert list(terms) == ["flow", "reconstruction"]

    def bits(found: dict[str, Tensor]) -> float:
        return torch.stack(list(found.values())).sum(0).mean().item() / 4096 / math.log(2)

    assert bits(terms) == pytest.approx(1, abs=2e-3)
    bounds = []
    for count in (30, 1000):
        bound = VariationalBound(log_sigmas(count, 5e-4, 80.0), 80.0, posterior_decoder, count)
        bounds.append(bits(bound.terms(two_values, x.double(), streams(2))))
    assert bounds[0] > bounds[1] > bits(terms) - 1e-3
    assert bounds[1] == pytest.approx(1, abs=0.02)


def test_details_that_a_denoiser_drops_do_not_spoil_the_likelihood() -> None:
    """Half of the pixels have a deviation of 0.07, which the network takes for noise at any level.

    Anchored by as much, that is their ideal denoiser; bare, their density is next to nothing.
    """
    std = torch.tensor([0.5, 0.07], dtype=torch.float64).repeat(8).expand(16, 16)
    pixels = images.to_uint8((std * normal(4, 1, 16, 16)).float())
    x, kept = images.to_float(pixels).double(), (std > 0.1).double()

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return kept * gaussian_denoiser(0.5)(x, sigma)

    def bits(residual: float | None) -> float:
        flow = FlowLikelihood(log_sigmas(64, 0.005, 80.0).tolist(), 80.0, residual)
        terms = flow.terms(denoise, x, streams(4))
        return torch.stack(list(terms.values())).sum(0).mean().item() / 256 / math.log(2)

    exact = -log_probability(x, torch.zeros(()), std).mean().item() / math.log(2)
    assert exact - 0.05 < bits(0.07) < exact + 0.15  # telling values from noise costs 0.1
    assert bits(None) > exact + 3


# There and back.


class Ideal(Denoiser):
    """Of Gaussian data; it has no network."""

    def __init__(self) -> None:
        super().__init__()
        self.network = torch.nn.Identity()

    def precondition_input(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return x, sigma

    def to_x0(self, output: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        return output

    def forward(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        return gaussian_denoiser(0.5)(x, sigma)


def ideal_model(steps: int) -> Diffusion:
    return Diffusion(
        Ideal(),
        process=Process(levels=lambda n: power_sigmas(n, 0.002, 80.0, 7.0), prior_std=80.0),
        sampling=Sampling(name="heun", steps=steps),
        objective=lambda *_: None,  # type: ignore[arg-type, return-value]
        likelihoods={},
        features_at=0.2,
        shape=SHAPE,
    )


def test_the_noise_of_an_image_is_the_path_s_end() -> None:
    """The path keeps x / sqrt(s^2 + sigma^2), and the latent has unit deviation."""
    x = 0.5 * normal(4, *SHAPE.size)
    found = ideal_model(200).encode(x).tensors["noise"]
    exact = x * math.sqrt((0.25 + 80.0**2) / (0.25 + 0.002**2)) / 80.0
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=0)


@pytest.mark.parametrize(("steps", "least"), [(10, 22.0), (50, 45.0)])
def test_the_way_back_ends_at_the_image(steps: int, least: float) -> None:
    model, x = ideal_model(steps), 0.5 * normal(4, *SHAPE.size)
    again = model.decode(model.encode(x), streams(4))
    psnr = 10 * math.log10(4 / (again - x).square().mean().item())
    assert psnr > least


def test_reconstructions_hold_no_noise_of_the_sampler() -> None:
    """Whatever the seed they are the same, also of a model that samples with noise."""
    model, pixels = ideal_model(5).with_sampler("ancestral"), random_pixels(3, *SHAPE.size)
    assert not model.sampling.deterministic
    found = [reconstruct.reconstruct(model, pixels, seed, MACHINE) for seed in (0, 1)]
    assert torch.equal(*found)


# Velocities.


def test_a_velocity_points_from_the_image_to_the_noise() -> None:
    """Told the true one, noise - clean, the denoiser gives the clean image at every level."""
    clean, noise = normal(6, 1, 4, 4), normal(6, 1, 4, 4, seed=1)
    sigma = torch.logspace(-2, 2, 6, dtype=torch.float64)
    denoiser = VelocityPredictor(torch.nn.Identity(), 0.5)
    noisy = clean + sigma.view(-1, 1, 1, 1) * noise
    found = denoiser.to_x0(noise - clean, noisy, sigma.view(-1, 1, 1, 1))
    torch.testing.assert_close(found, clean)


def test_flow_matching_s_loss_is_of_velocities() -> None:
    """A fresh network answers 0: |noise - clean|^2 remains (arXiv:2210.02747, eq. 23)."""
    name = registry.ModelName.parse("diffusion:flow")
    model = registry.build(name, registry.defaults(name, "tiny", SHAPE), SHAPE, seed=0)
    [objective] = model.objectives()
    clean = 0.5 * normal(8, *SHAPE.size).float()
    noise = objective.noise(8, torch.Generator().manual_seed(0))
    found = objective(Batch(clean, None, noise))["total"]
    exact = (noise["gaussian"] - clean).square().mean()
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=0)


def test_times_of_training_are_logit_normal() -> None:
    """logit t ~ N(0, 1) (arXiv:2403.03206, section 3.1), t = sigma / (1 + sigma) of each image."""
    name = registry.ModelName.parse("diffusion:flow")
    for size in get_args(Size):
        settings = replace(registry.defaults(name, size, SHAPE), groups=0)
        [objective] = registry.build(name, settings, SHAPE, seed=0).objectives()
        recorder = objective.denoiser.network = Recorder()
        noise = objective.noise(2000, torch.Generator().manual_seed(0))
        objective(Batch(torch.zeros(2000, *SHAPE.size), None, noise))
        sigma = (4 * recorder.level.double()).exp()
        assert kstest(torch.logit(sigma / (1 + sigma)).numpy(), "norm").pvalue > 1e-3
