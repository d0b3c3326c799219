"""Samplers: one loop, one `step` each from a noise level to the next, and their settings.

States are x + sigma * noise. On the noise-free path dx/dsigma = (x - denoised) / sigma
(arXiv:2206.00364, eq. 1 with sigma(t) = t and eq. 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from triptych.errors import InputError
from triptych.seeding import ImageStreams

# Of stochastic Heun, as its authors chose them for 32x32 images (arXiv:2206.00364, table 5)
CHURN = 30.0  # over the steps: how much noise each of them takes in, as a share of its level
CHURN_LEVELS = (0.01, 1.0)  # where that happens
CHURN_NOISE = 1.007  # its deviation, against the details that denoising loses

ALL_LEVELS = (0.0, 1e6)  # noise levels, none of which is higher

Denoise = Callable[[Tensor, Tensor], Tensor]  # (x [B,C,H,W], sigma [B]) -> E[clean image | x]


@dataclass
class SamplerState:
    """What the steps of one chain share.

    rng:   streams of the noise that steps add
    steps: number of steps of the whole chain
    eta:   share of fresh noise in a step of `ddim`, from 0 to 1
    past:  noise level and denoised image of the step before, for multistep methods
    """

    denoise: Denoise
    rng: ImageStreams
    steps: int = 1
    eta: float = 0.0
    past: tuple[float, Tensor] | None = None

    def denoised(self, x: Tensor, sigma: float) -> Tensor:
        """The clean image [B,C,H,W], with one noise level for the whole batch."""
        return self.denoise(x, torch.full(x.shape[:1], sigma, dtype=x.dtype, device=x.device))

    def slope(self, x: Tensor, sigma: float) -> Tensor:
        """dx/dsigma on the noise-free path, [B,C,H,W]."""
        return (x - self.denoised(x, sigma)) / sigma

    def noise(self, x: Tensor) -> Tensor:
        """Unit noise, one stream for each image, [B,C,H,W]."""
        return self.rng.normal(*x.shape[1:]).to(x)


Step = Callable[
    [SamplerState, Tensor, float, float], Tensor
]  # (chain, x, sigma, sigma_next) -> x_next


def sample_loop(step: Step, chain: SamplerState, x: Tensor, sigmas: list[float]) -> list[Tensor]:
    """All states from the first level to the last, each [B,C,H,W].

    x: noise already scaled by its deviation, or an image to run backwards from, [B,C,H,W]
    """
    states = [x]
    for sigma, sigma_next in pairwise(sigmas):
        states.append(step(chain, states[-1], sigma, sigma_next))
    return states


def renoised(chain: SamplerState, x: Tensor, sigma: float, sigma_next: float, eta: float) -> Tensor:
    """Denoise, then add noise of the next level: partly the old noise, partly fresh.

    arXiv:2010.02502, eq. 12 and 16: eta = 0 keeps the predicted noise, eta = 1 draws from
    q(x_next | x, denoised).
    """
    denoised = chain.denoised(x, sigma)
    fresh = eta * sigma_next * math.sqrt(max(0.0, 1 - (sigma_next / sigma) ** 2))
    kept = math.sqrt(sigma_next**2 - fresh**2)
    x_next = denoised + kept / sigma * (x - denoised)
    return x_next + fresh * chain.noise(x) if fresh else x_next


def ancestral(chain: SamplerState, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Draw from the posterior, variance beta-tilde (arXiv:2006.11239, eq. 6-7)."""
    return renoised(chain, x, sigma, sigma_next, 1.0)


def ddim(chain: SamplerState, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """With the share of fresh noise that was asked for (arXiv:2010.02502)."""
    return renoised(chain, x, sigma, sigma_next, chain.eta)


def euler(chain: SamplerState, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """First-order step along the noise-free path, which is DDIM's without fresh noise."""
    return renoised(chain, x, sigma, sigma_next, 0.0)


def heun(chain: SamplerState, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Second-order step along the noise-free path (arXiv:2206.00364, Algorithm 1)."""
    slope = chain.slope(x, sigma)
    x_next = x + (sigma_next - sigma) * slope
    if sigma_next == 0:  # the slope is undefined at zero noise
        return x_next
    return x + (sigma_next - sigma) * (slope + chain.slope(x_next, sigma_next)) / 2


def stochastic_heun(chain: SamplerState, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Add some noise, then do a step of Heun from there (arXiv:2206.00364, Algorithm 2)."""
    churned = CHURN_LEVELS[0] <= sigma <= CHURN_LEVELS[1]
    gamma = min(CHURN / chain.steps, math.sqrt(2) - 1) if churned else 0.0
    raised = sigma * (1 + gamma)
    if gamma:
        x = x + CHURN_NOISE * math.sqrt(raised**2 - sigma**2) * chain.noise(x)
    return heun(chain, x, raised, sigma_next)


def dpm_solver_2m(chain: SamplerState, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """DPM-Solver++(2M), second order with one network call (arXiv:2211.01095, Algorithm 2).

    Its first step and the one to zero noise are of first order.
    """
    denoised = chain.denoised(x, sigma)
    guess = denoised
    if chain.past is not None and sigma_next > 0:
        sigma_before, denoised_before = chain.past
        ratio = math.log(sigma_before / sigma) / math.log(sigma / sigma_next)
        guess = denoised + (denoised - denoised_before) / (2 * ratio)
    chain.past = sigma, denoised
    keep = sigma_next / sigma  # e^-h
    return keep * x + (1 - keep) * guess


def consistency(chain: SamplerState, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Jump to the image, then back to the next level by fresh noise (arXiv:2303.01469, Alg. 1)."""
    denoised = chain.denoised(x, sigma)
    return denoised + sigma_next * chain.noise(x) if sigma_next > 0 else denoised


@dataclass(frozen=True)
class Sampler:
    """A step, and whether it adds no noise."""

    step: Step
    deterministic: bool = True


SAMPLERS = {
    "ancestral": Sampler(ancestral, deterministic=False),
    "consistency": Sampler(consistency, deterministic=False),
    "ddim": Sampler(ddim),
    "dpm-solver++": Sampler(dpm_solver_2m),
    "euler": Sampler(euler),
    "heun": Sampler(heun),
    "stochastic-heun": Sampler(stochastic_heun, deterministic=False),
}


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of sampling; InputError on an unknown sampler or an impossible number.

    name:     of the sampler
    steps:    number of noise levels before 0
    eta:      share of fresh noise in a step of `ddim`
    guidance: weight w in D + w (D_class - D), for conditional models; 1 is no guidance
    guided:   the noise levels between which that is so (arXiv:2404.07724)
    inverse_steps: least number of steps where images are encoded and decoded again
    """

    name: str
    steps: int
    eta: float = 0.0
    guidance: float = 1.0
    guided: tuple[float, float] = ALL_LEVELS
    inverse_steps: int = 0

    def __post_init__(self) -> None:
        if self.name not in SAMPLERS:
            raise InputError(f"no sampler '{self.name}'", f"choose from {', '.join(SAMPLERS)}")
        if self.steps < 1:
            raise InputError(f"--steps {self.steps} is too few", "give 1 or more")
        if not 0 <= self.eta <= 1:
            raise InputError(f"--eta {self.eta:g} is no share of noise", "give 0 to 1")
        if self.eta and self.name != "ddim":
            raise InputError(f"--eta is for ddim, not for {self.name}", "leave it out")
        if not (self.guidance >= 0 and math.isfinite(self.guidance)):
            raise InputError(f"--guidance {self.guidance:g} is no weight", "give 0 or more")
        low, high = self.guided
        if not 0 <= low <= high:
            raise InputError(f"guided={low:g},{high:g} is no range", "give the lower level first")

    @property
    def sampler(self) -> Sampler:
        """The sampler of that name."""
        return SAMPLERS[self.name]

    @property
    def deterministic(self) -> bool:
        """Whether no step adds noise."""
        return self.sampler.deterministic and not self.eta

    def network_calls(self, levels: list[float]) -> int:
        """Network calls for each image; where it is guided, with the class and without.

        levels: falling to 0, [steps+1]
        """
        calls = 0

        def counted(x: Tensor, sigma: Tensor) -> Tensor:
            nonlocal calls
            guided = self.guidance != 1 and self.guided[0] <= sigma.item() <= self.guided[1]
            calls += 2 if guided else 1
            return x

        rng = ImageStreams(0, "none", range(1))
        chain = SamplerState(counted, rng, steps=self.steps, eta=self.eta)
        sample_loop(self.sampler.step, chain, torch.zeros(1, 1, 1, 1, dtype=torch.float64), levels)
        return calls
