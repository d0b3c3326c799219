"""Samplers: one loop, and one `step` each from a noise level to the next lower one.

denoise: (x [B,C,H,W], sigma [B]) -> E[clean image | x] [B,C,H,W]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from triptych.seeding import ImageStreams

Denoise = Callable[[Tensor, Tensor], Tensor]
Step = Callable[[Denoise, Tensor, Tensor, Tensor, ImageStreams], Tensor]


def follow(
    step: Step, denoise: Denoise, x: Tensor, sigmas: Tensor, rng: ImageStreams
) -> list[Tensor]:
    """Every state from sigmas[0] down to sigmas[-1] = 0; the last is the sample.

    x:      noise already scaled by the prior's deviation, [B,C,H,W]
    sigmas: falling, ending in 0, [T+1]
    """
    states = [x]
    for sigma, sigma_next in pairwise(sigmas.to(x)):
        states.append(step(denoise, states[-1], sigma, sigma_next, rng))
    return states


def at(denoise: Denoise, x: Tensor, sigma: Tensor) -> Tensor:
    """The denoiser with one level for the whole batch."""
    return denoise(x, sigma.expand(len(x)))


def ancestral(
    denoise: Denoise, x: Tensor, sigma: Tensor, sigma_next: Tensor, rng: ImageStreams
) -> Tensor:
    """Draw from q(x_next | x, denoised), variance beta-tilde (arXiv:2006.11239, eq. 6-7)."""
    denoised = at(denoise, x, sigma)
    keep = (sigma_next / sigma) ** 2
    mean = denoised + keep * (x - denoised)
    std = sigma_next * (1 - keep).sqrt()
    if sigma_next == 0:  # the mode at the last step
        return mean
    return mean + std * rng.normal(*x.shape[1:]).to(x)


def ddim(
    denoise: Denoise, x: Tensor, sigma: Tensor, sigma_next: Tensor, rng: ImageStreams
) -> Tensor:
    """Keep the predicted noise, lower its level (arXiv:2010.02502, eq. 12 with eta = 0).

    In these coordinates it is Euler's method on the probability flow.
    """
    denoised = at(denoise, x, sigma)
    return denoised + sigma_next / sigma * (x - denoised)


def heun(
    denoise: Denoise, x: Tensor, sigma: Tensor, sigma_next: Tensor, rng: ImageStreams
) -> Tensor:
    """Second-order step along the noise-free path (arXiv:2206.00364, Algorithm 1)."""
    slope = (x - at(denoise, x, sigma)) / sigma
    x_next = x + (sigma_next - sigma) * slope
    if sigma_next == 0:  # the slope is undefined at zero noise
        return x_next
    slope_next = (x_next - at(denoise, x_next, sigma_next)) / sigma_next
    return x + (sigma_next - sigma) * (slope + slope_next) / 2


@dataclass(frozen=True)
class Sampler:
    """A step and what is to be known of it."""

    step: Step
    calls_per_step: int
    deterministic: bool

    def network_calls(self, steps: int) -> int:
        """A second-order method saves its second call at the last step."""
        return self.calls_per_step * steps - (self.calls_per_step - 1)


SAMPLERS = {
    "ancestral": Sampler(ancestral, 1, deterministic=False),
    "ddim": Sampler(ddim, 1, deterministic=True),
    "heun": Sampler(heun, 2, deterministic=True),
}
