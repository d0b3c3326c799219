"""Samplers against diffusers' schedulers and against paths that are known in closed form."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn import functional as F

from tests.test_diffusion import ABAR, DDPM, SHAPE, SIGMAS, course_model
from tests.truths import FixedStreams, NoStreams, normal
from triptych.config import override
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.diffusion.denoisers import NoisePredictor
from triptych.families.diffusion.samplers import (
    CHURN,
    CHURN_LEVELS,
    CHURN_NOISE,
    SAMPLERS,
    Denoise,
    SamplerState,
    Sampling,
    ancestral,
    ddim,
    dpm_solver_2m,
    euler,
    heun,
    sample_loop,
    stochastic_heun,
)
from triptych.families.diffusion.schedule import power_sigmas, spaced_sigmas
from triptych.families.latent import Latent, spherical
from triptych.seeding import ImageStreams

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its imports are not ours to mend
    from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler

SCHEDULE = {key: value for key, value in DDPM.items() if key != "clip_sample"}
LEVELS = [0.0, *SIGMAS.tolist()]  # LEVELS[t + 1] is the level of step t


class Curved(nn.Module):
    """A noise predictor that depends on every pixel and step in its own way."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(x + 0.1 * x.roll(1, -1)) * (1 + t.view(-1, 1, 1, 1) / 700)


def curved(streams: Any, **settings: float) -> SamplerState:
    return SamplerState(NoisePredictor(Curved(), SIGMAS), streams, **settings)  # type: ignore[arg-type]


# Against diffusers, in float64 and with the same noise. Our states are theirs over sqrt(abar).


def in_double(scheduler: Any) -> Any:
    scheduler.alphas_cumprod = ABAR
    return scheduler


def scale_before(t: int) -> Tensor:
    return ABAR[t].sqrt() if t >= 0 else torch.ones(())


@pytest.mark.parametrize("t", [999, 998, 500, 37, 1, 0])
def test_an_ancestral_step_is_that_of_diffusers(t: int) -> None:
    scheduler = in_double(DDPMScheduler(**DDPM, variance_type="fixed_small"))
    x, noise = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=7)
    predicted = Curved()(x, torch.full((2,), t))
    exact = scheduler.step(predicted, t, x, generator=torch.Generator().manual_seed(7))
    chain = curved(FixedStreams(noise))
    found = ancestral(chain, x / ABAR[t].sqrt(), LEVELS[t + 1], LEVELS[t])
    torch.testing.assert_close(found * scale_before(t - 1), exact.prev_sample, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("t", [999, 900, 500, 99])
def test_a_ddim_step_is_that_of_diffusers(t: int, eta: float) -> None:
    """A tenth of the schedule at once, from 99 to zero noise, where nothing is drawn."""
    scheduler = in_double(DDIMScheduler(**DDPM, set_alpha_to_one=True))
    scheduler.set_timesteps(10)
    x, noise = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)
    predicted = Curved()(x, torch.full((2,), t))
    exact = scheduler.step(predicted, t, x, eta=eta, variance_noise=noise).prev_sample
    chain = curved(FixedStreams(noise) if eta and t > 99 else NoStreams(), eta=eta)
    found = ddim(chain, x / ABAR[t].sqrt(), LEVELS[t + 1], LEVELS[t - 99])
    torch.testing.assert_close(found * scale_before(t - 100), exact, rtol=1e-7, atol=1e-9)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of diffusers
@pytest.mark.parametrize("steps", [5, 20])
def test_dpm_solver_is_that_of_diffusers(steps: int) -> None:
    """The whole chain, whose steps know of each other."""
    scheduler = in_double(
        DPMSolverMultistepScheduler(
            **SCHEDULE, algorithm_type="dpmsolver++", final_sigmas_type="zero"
        )
    )
    scheduler.set_timesteps(steps)
    levels = [LEVELS[int(t) + 1] for t in scheduler.timesteps] + [0.0]
    scheduler.sigmas = torch.tensor(levels, dtype=torch.float64)
    x = exact = normal(2, 3, 4, 4)
    for t in scheduler.timesteps:
        exact = scheduler.step(Curved()(exact, t.expand(2)), t, exact).prev_sample
    start = x * math.sqrt(1 + levels[0] ** 2)
    found = sample_loop(dpm_solver_2m, curved(NoStreams()), start, levels)[-1]
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-7)


def test_our_network_in_their_loop_gives_our_samples() -> None:
    """The practical's U-Net under diffusers' DDIM in a plain loop."""
    model = course_model().with_sampler("ddim", 10).eval().double()
    scheduler = in_double(DDIMScheduler(**DDPM, set_alpha_to_one=True))
    scheduler.set_timesteps(10)
    scheduler.timesteps = spaced_steps(10)
    noise = normal(2, *SHAPE.size)
    x = noise * math.sqrt(1 + SIGMAS[-1] ** 2) * ABAR[-1].sqrt()
    with torch.no_grad():
        steps = [*scheduler.timesteps.tolist(), -1]
        for t, t_next in itertools.pairwise(steps):
            predicted = model.denoiser.network(x, torch.full((2,), t))
            scheduler.num_inference_steps = 1000 // (t - t_next)  # so far it steps back
            x = scheduler.step(predicted, t, x).prev_sample
        found = model.decode(Latent({"noise": noise}, "spherical"), NoStreams())  # type: ignore[arg-type]
    torch.testing.assert_close(found, x, rtol=1e-5, atol=1e-5)


def spaced_steps(steps: int) -> Tensor:
    """The steps whose levels `spaced_sigmas` picks."""
    levels = spaced_sigmas(SIGMAS, steps)[:-1]
    return torch.searchsorted(SIGMAS, levels)


# Against closed forms.


def gaussian_denoiser(std: float) -> Denoise:
    """E[y | x] for y ~ N(0, std^2)."""
    return lambda x, sigma: x * (std**2 / (std**2 + sigma**2)).view(-1, 1, 1, 1)


MEANS, SHARES, WIDTH = torch.tensor([-0.7, 0.1, 0.8]).double(), torch.tensor([0.3, 0.5, 0.2]), 0.2


def mixture_denoiser(x: Tensor, sigma: Tensor) -> Tensor:
    """E[y | x] for pixels from three Gaussians, each an average by the posterior's shares."""
    sigma = sigma.view(-1, 1, 1, 1, 1)
    total = WIDTH**2 + sigma**2
    logits = SHARES.double().log() - (x[..., None] - MEANS) ** 2 / (2 * total)
    each = MEANS + (x[..., None] - MEANS) * WIDTH**2 / total
    return (logits.softmax(-1) * each).sum(-1)


def mixture_quantile(share: Tensor) -> Tensor:
    """Of the clean pixels' distribution, by bisection."""
    low, high = torch.full_like(share, -3.0), torch.full_like(share, 3.0)
    for _ in range(60):
        middle = (low + high) / 2
        below = mixture_share(middle, 0.0) < share
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return low


def mixture_share(x: Tensor, sigma: float) -> Tensor:
    """Of noisy pixels below x."""
    each = Normal(MEANS, math.sqrt(WIDTH**2 + sigma**2)).cdf(x[..., None])
    return (SHARES.double() * each).sum(-1)


def gaussian_error(sampler: str, steps: int) -> float:
    """For y ~ N(0, s^2) the noise-free path keeps x / sqrt(s^2 + sigma^2)."""
    levels = power_sigmas(steps, 0.002, 80.0, 7.0).tolist()
    x = levels[0] * normal(4, 1, 4, 4)
    chain = SamplerState(gaussian_denoiser(0.5), NoStreams(), steps)  # type: ignore[arg-type]
    states = sample_loop(SAMPLERS[sampler].step, chain, x, levels)
    assert len(states) == steps + 1
    exact = x * 0.5 / math.sqrt(0.25 + levels[0] ** 2)
    return (states[-1] - exact).abs().max().item()


def mixture_error(sampler: str, steps: int) -> float:
    """Of independent pixels the path keeps each one's quantile."""
    levels = power_sigmas(steps, 0.002, 80.0, 7.0).tolist()
    share = torch.linspace(0.02, 0.98, 64, dtype=torch.float64).view(1, 1, 8, 8)
    x = Normal(0.0, 1.0).icdf(share) * levels[0]
    exact = mixture_quantile(mixture_share(x, levels[0]))
    chain = SamplerState(mixture_denoiser, NoStreams(), steps)  # type: ignore[arg-type]
    found = sample_loop(SAMPLERS[sampler].step, chain, x, levels)[-1]
    return (found - exact).abs().mean().item()


ORDERS = [("ddim", 1), ("euler", 1), ("heun", 2), ("dpm-solver++", 2)]


@pytest.mark.parametrize(("sampler", "order"), ORDERS)
@pytest.mark.parametrize("error", [gaussian_error, mixture_error])
def test_samplers_converge_to_the_exact_path(
    error: Callable[[str, int], float], sampler: str, order: int
) -> None:
    """Twice the steps divide the error by 2 to the power of the order."""
    errors = [error(sampler, steps) for steps in (64, 128)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)
    assert errors[1] < (0.04 if order == 1 else 0.003)


@pytest.mark.parametrize("sampler", ["ancestral", "stochastic-heun"])
def test_noisy_chains_end_in_the_data_s_deviation(sampler: str) -> None:
    """The exact posterior of Gaussian data is Gaussian, so many small steps keep N(0, s^2).

    4,096 values: the deviation's standard error is 1.1 %.
    """
    levels = spaced_sigmas(SIGMAS, 1000).tolist()
    x = math.sqrt(1 + SIGMAS[-1] ** 2) * normal(4, 1, 32, 32)
    rng = ImageStreams(0, "chain", range(4))
    states = sample_loop(
        SAMPLERS[sampler].step, SamplerState(gaussian_denoiser(0.5), rng, 1000), x, levels
    )
    assert states[-1].std().item() == pytest.approx(0.5, rel=0.05)
    middle = 500
    exact = math.sqrt(0.25 + levels[middle] ** 2)
    assert states[middle].std().item() == pytest.approx(exact, rel=0.05)


def test_churn_is_noise_up_to_the_raised_level() -> None:
    """x + S_noise sqrt(raised^2 - sigma^2) n, then Heun from there; outside its levels Heun alone.

    arXiv:2206.00364, Algorithm 2, lines 4 to 6.
    """
    x, noise, denoise = normal(2, 1, 4, 4), normal(2, 1, 4, 4, seed=1), gaussian_denoiser(0.5)
    chain = SamplerState(denoise, FixedStreams(noise), 200)  # type: ignore[arg-type]
    raised = 0.5 * (1 + CHURN / 200)
    churned = x + CHURN_NOISE * math.sqrt(raised**2 - 0.25) * noise
    exact = heun(chain, churned, raised, 0.4)
    torch.testing.assert_close(stochastic_heun(chain, x, 0.5, 0.4), exact)
    still = SamplerState(denoise, NoStreams(), 200)  # type: ignore[arg-type]
    for sigma, sigma_next in ((5.0, 4.0), (0.005, 0.0)):
        found = stochastic_heun(still, x, sigma, sigma_next)
        torch.testing.assert_close(found, heun(still, x, sigma, sigma_next))


@pytest.mark.parametrize("sigma", CHURN_LEVELS)
def test_churn_takes_in_the_ends_of_its_levels(sigma: float) -> None:
    """S_tmin <= sigma <= S_tmax (arXiv:2206.00364, Algorithm 2, line 4)."""
    x, noise = normal(1, 1, 2, 2), normal(1, 1, 2, 2, seed=1)
    chain = SamplerState(gaussian_denoiser(0.5), FixedStreams(noise), 200)  # type: ignore[arg-type]
    churned = stochastic_heun(chain, x, sigma, 0.9 * sigma)
    assert not torch.allclose(churned, heun(chain, x, sigma, 0.9 * sigma))


def test_churn_doubles_the_variance_at_most() -> None:
    """gamma <= sqrt(2) - 1 (arXiv:2206.00364, Algorithm 2), however few the steps."""
    x, noise = normal(2, 1, 4, 4), normal(2, 1, 4, 4, seed=1)
    chain = SamplerState(gaussian_denoiser(0.5), FixedStreams(noise), 2)  # type: ignore[arg-type]
    exact = heun(chain, x + CHURN_NOISE * 0.5 * noise, 0.5 * math.sqrt(2), 0.4)
    torch.testing.assert_close(stochastic_heun(chain, x, 0.5, 0.4), exact)


def test_euler_is_ddim_without_fresh_noise() -> None:
    chain, x = SamplerState(gaussian_denoiser(0.5), NoStreams()), normal(2, 1, 4, 4)  # type: ignore[arg-type]
    assert torch.equal(euler(chain, x, 2.0, 1.0), ddim(chain, x, 2.0, 1.0))
    torch.testing.assert_close(euler(chain, x, 2.0, 1.0), x - chain.slope(x, 2.0))


# Which sampler.


def test_samplers_that_there_are_not_are_refused() -> None:
    model = course_model()
    with pytest.raises(
        InputError, match=r"choose from ancestral, ddim, dpm-solver\+\+, euler, heun"
    ):
        model.with_sampler("magic")
    with pytest.raises(InputError, match="--steps 0 is too few"):
        model.with_sampler(steps=0)
    with pytest.raises(InputError, match=r"--eta 1\.5 is no share"):
        model.with_sampler("ddim", eta=1.5)
    with pytest.raises(InputError, match="--eta is for ddim, not for heun"):
        model.with_sampler("heun", eta=0.5)
    with pytest.raises(InputError, match="told no kinds of images has no guidance"):
        model.with_sampler(guidance=2.0)
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(InputError, match="is no weight"):
            Sampling(name="heun", steps=3, guidance=wrong)
    with pytest.raises(InputError, match="--steps 1001 is more than there are noise levels"):
        model.with_sampler("dpm-solver++", 1001)
    assert model.with_sampler("dpm-solver++", 1000).network_calls == 1000
    edm = registry.ModelName.parse("diffusion:edm")
    other = override(registry.defaults(edm, "tiny", SHAPE), ["sampler=consistency"])
    with pytest.raises(InputError, match="no sampler 'consistency'"):
        registry.build(edm, other, SHAPE, 0)
    assert model.network_calls == 1000  # as it was


def test_calls_are_counted() -> None:
    model = course_model()
    assert model.with_sampler("heun", 7).network_calls == 13
    assert model.with_sampler("dpm-solver++", 7).network_calls == 7
    assert (
        Sampling(name="heun", steps=7, guidance=2.0).network_calls(
            power_sigmas(7, sigma_min=0.002, sigma_max=80.0, rho=7.0).tolist()
        )
        == 26
    )


def test_only_a_noisy_sampler_is_replaced_for_interpolation() -> None:
    model = course_model()
    for noisy in (model, model.with_sampler("ddim", 100, eta=0.5)):
        still = noisy.deterministic()
        assert (still.sampling.name, still.sampling.steps, still.sampling.eta) == ("heun", 25, 0)
        assert still.denoiser is model.denoiser
    heun = model.with_sampler("heun", 30)
    assert heun.deterministic().sampling == heun.sampling


def test_spherical_walks_keep_the_length() -> None:
    """Between unit vectors at angle w the point at share s is at angle s w from the first."""
    a, b = (F.normalize(normal(5, 12, seed=s), dim=1) for s in (0, 1))
    angle = torch.acos((a * b).sum(1))
    for share in (0.0, 0.2, 0.5, 1.0):
        found = spherical(a, b, share)
        torch.testing.assert_close(found.norm(dim=1), torch.ones(5, dtype=torch.float64))
        torch.testing.assert_close((found * a).sum(1), torch.cos(share * angle))
    torch.testing.assert_close(spherical(a, b, 1.0), b)
    torch.testing.assert_close(spherical(a, 2 * a, 0.5), 1.5 * a)  # no circle: straight
