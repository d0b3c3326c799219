"""A GAN's likelihood under an observation noise that it does not have by itself.

The generator's images have no density. With Gaussian noise of a stated deviation on their pixels
they have one (arXiv:1611.04273, section 2). It is integrated over the bins of 8-bit values, so
that it compares with other families. It is the likelihood of the noisy model, not of the GAN.

Annealed importance sampling of log p(x) where p(x) = E p(x | z), z ~ p(z), goes from the prior
to the posterior through p(z) p(x | z)^beta, beta from 0 to 1, by Hamiltonian Monte Carlo
(arXiv:physics/9803008; of decoders arXiv:1611.04273, section 3). With L = log p(x | z),

    log w = sum over t of (beta_t - beta_{t-1}) L(z_{t-1}),   E w = p(x),

so the mean of log w is at most log p(x). On an image that the model itself drew, its own z is an
exact draw from the posterior: the way back from there bounds log p(x) from above (bidirectional
Monte Carlo, arXiv:1511.02543). A pilot run adapts the step sizes; its weights are not used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from triptych.families.gan.inversion import evaluating
from triptych.families.pixels import log_probability
from triptych.families.protocol import frozen, to_float32
from triptych.images import BIN_WIDTH
from triptych.seeding import ImageStreams

LogLikelihood = Callable[[Tensor], Tensor]  # z [N,D] -> log p(x_n | z_n), nats, [N], float64
LogPrior = Callable[[Tensor], Tensor]  # z [N,D] -> log p(z_n) up to a constant, nats, [N], float64

LEAPFROGS = 10  # of one proposal
FIRST_STEP = 0.5
JITTER = 0.9  # share by which a step may be smaller
WANTED = 0.9  # share of accepted proposals: a chain that stays behind costs more than small steps
FASTER, SLOWER = 1.1, 1.1 ** (-WANTED / (1 - WANTED))  # balance where so many are accepted
ENDS = (-8.0, 3.0)  # of the sigmoid
PILOT = 0.25  # of the temperatures, for the run that finds the step sizes


def standard_normal(z: Tensor) -> Tensor:
    """log N(z; 0, I) up to a constant: [N,D] -> [N]."""
    return -0.5 * (z**2).sum(1)


@dataclass(frozen=True)
class LatentPrior:
    """p(z): its draws, [N,D] for the images of N streams, and its log density."""

    draw: Callable[[ImageStreams], Tensor]
    log_density: LogPrior = standard_normal


@dataclass(frozen=True)
class Annealed:
    """What chains move under: log p(z) + beta L(z)."""

    log_likelihood: LogLikelihood
    log_prior: LogPrior = standard_normal


def schedule(temperatures: int) -> list[float]:
    """beta from 0 to 1 along a sigmoid: fine near the prior, where L changes fast."""
    at = torch.sigmoid(torch.linspace(*ENDS, temperatures + 1, dtype=torch.float64))
    return ((at - at[0]) / (at[-1] - at[0])).tolist()


def log_weights(
    target: Annealed,
    z: Tensor,
    rng: ImageStreams,
    temperatures: int,
    backwards: bool = False,
) -> Tensor:
    """log w of each chain, nats, float64 [N]; backwards, chains end at the prior.

    z: where chains begin, [N,D]: draws from the prior, or backwards from the posteriors
    """
    few = max(8, round(PILOT * temperatures))
    _, pilot_sizes = run(target, z, rng, path_of(few, backwards), None)
    betas = torch.tensor(list(pilot_sizes), dtype=torch.float64)
    sizes = list(pilot_sizes.values())

    def size_at(beta: float) -> Tensor:
        return sizes[int((betas - beta).abs().argmin())]

    weights, _ = run(target, z, rng, path_of(temperatures, backwards), size_at)
    return weights


def path_of(temperatures: int, backwards: bool) -> list[float]:
    """The schedule, or the same from its end."""
    betas = schedule(temperatures)
    return betas[::-1] if backwards else betas


def run(
    target: Annealed,
    z: Tensor,
    rng: ImageStreams,
    path: list[float],
    size_at: Callable[[float], Tensor] | None,
) -> tuple[Tensor, dict[float, Tensor]]:
    """log w [N], and each chain's step sizes [N] by beta.

    size_at: beta -> step sizes [N]; None adapts them to the accepted share
    """
    state = State.at(target, z.double())
    weights = torch.zeros(len(z), dtype=torch.float64, device=z.device)
    size = torch.full_like(weights, FIRST_STEP)
    sizes: dict[float, Tensor] = {}
    for before, beta in pairwise(path):
        weights += (beta - before) * state.value
        if size_at is not None:
            size = size_at(beta)
        state, accepted = hamiltonian_step(target, state, beta, size, rng)
        if size_at is None:
            size = size * torch.where(accepted, FASTER, SLOWER)
        sizes[beta] = size
    return weights, sizes


@dataclass(frozen=True)
class State:
    """Positions z of the chains, [N,D], with L(z) and log p(z), [N], and their gradients, [N,D]."""

    z: Tensor
    value: Tensor
    slope: Tensor
    log_prior: Tensor
    prior_slope: Tensor

    @classmethod
    def at(cls, target: Annealed, z: Tensor) -> State:
        """The state at positions z, [N,D]."""
        with torch.inference_mode(False), torch.enable_grad():
            leaf = z.clone().requires_grad_()
            value, prior = target.log_likelihood(leaf), target.log_prior(leaf)
            (slope,) = torch.autograd.grad(value.sum(), leaf)
            (prior_slope,) = torch.autograd.grad(prior.sum(), leaf)
        return cls(leaf.detach(), value.detach(), slope, prior.detach(), prior_slope)

    def log_density(self, beta: float) -> Tensor:
        """log p(z) + beta L(z), [N]."""
        return self.log_prior + beta * self.value

    def force(self, beta: float) -> Tensor:
        """Its gradient, [N,D]."""
        return self.prior_slope + beta * self.slope

    def where(self, chosen: Tensor, other: State) -> State:
        """The rows of this state where `chosen` [N] is true, else those of the other."""
        rows = chosen[:, None]
        return State(
            torch.where(rows, self.z, other.z),
            torch.where(chosen, self.value, other.value),
            torch.where(rows, self.slope, other.slope),
            torch.where(chosen, self.log_prior, other.log_prior),
            torch.where(rows, self.prior_slope, other.prior_slope),
        )


def hamiltonian_step(
    target: Annealed, start: State, beta: float, size: Tensor, rng: ImageStreams
) -> tuple[State, Tensor]:
    """One proposal by leapfrogs, and whether each chain took it (arXiv:1206.1901, figure 2).

    It leaves p(z) exp(beta L(z)) as it is. size [N]
    """
    # Steps of one size would go round a Gaussian and end where they began (section 3.2).
    step = (size * (1 - JITTER * rng.uniform().double()))[:, None]
    momentum = rng.normal(start.z.shape[1]).double()

    def energy(state: State, m: Tensor) -> Tensor:
        return 0.5 * (m**2).sum(1) - state.log_density(beta)

    state = start
    moving = momentum + 0.5 * step * state.force(beta)
    for leap in range(1, LEAPFROGS + 1):
        state = State.at(target, state.z + step * moving)
        last = 0.5 if leap == LEAPFROGS else 1.0
        moving = moving + last * step * state.force(beta)
    chance = rng.uniform().double().log()
    accepted = chance < energy(start, momentum) - energy(state, moving)  # false for no number
    return state.where(accepted, start), accepted


def mean_of(generator: nn.Module, z: Tensor, condition: list[Tensor]) -> Tensor:
    """The generator's image, without noise and without autocast: [N,C,H,W]."""
    dtype = next(generator.parameters()).dtype
    with evaluating(generator), torch.autocast(z.device.type, enabled=False):
        return to_float32(generator(z.to(dtype), *condition))


def of_pixels(
    generator: nn.Module, images: Tensor, condition: list[Tensor], std: float
) -> LogLikelihood:
    """The function z -> log P(8-bit images | z) under noise of deviation `std` on [-1, 1]."""
    device = images.device
    with torch.inference_mode(False):
        x, labels = images.clone(), [shares.clone() for shares in condition]
        deviation = torch.tensor(std, dtype=torch.float64, device=device)

    def log_likelihood(z: Tensor) -> Tensor:
        with frozen(generator):
            mean = mean_of(generator, z, labels)
        return log_probability(x, mean, deviation).flatten(1).sum(1)

    return log_likelihood


def estimate(
    generator: nn.Module,
    images: Tensor,
    condition: list[Tensor],
    std: float,
    temperatures: int,
    prior: LatentPrior,
    rng: ImageStreams,
) -> Tensor:
    """An estimate of log P(8-bit image), nats, on average not above it: [N], float64."""
    target = Annealed(of_pixels(generator, images, condition, std), prior.log_density)
    return log_weights(target, prior.draw(rng), rng, temperatures)


def simulated_bounds(
    generator: nn.Module,
    z: Tensor,
    condition: list[Tensor],
    std: float,
    temperatures: int,
    prior: LatentPrior,
    rng: ImageStreams,
) -> tuple[Tensor, Tensor]:
    """Bounds from below and above, nats, each [N], of images that the noisy model draws itself.

    Their distance shows how wrong such estimates may be (arXiv:1606.02275, section 3).

    z: from the prior, whose images they are, [N,D]
    """
    with torch.no_grad():
        clean = mean_of(generator, z, condition)
    images = rounded(clean + std * rng.normal(*clean.shape[1:]))
    below = estimate(generator, images, condition, std, temperatures, prior, rng)
    target = Annealed(of_pixels(generator, images, condition, std), prior.log_density)
    return below, -log_weights(target, z, rng, temperatures, backwards=True)


def rounded(images: Tensor) -> Tensor:
    """To the nearest 8-bit value on [-1, 1]."""
    return ((images.clamp(-1, 1) + 1) / BIN_WIDTH).round() * BIN_WIDTH - 1
