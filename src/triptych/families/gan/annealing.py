"""Annealed importance sampling of log p(x) where p(x) = E p(x | z), z ~ N(0, I).

From the prior to the posterior through p(z) p(x | z)^beta, beta from 0 to 1, by Hamiltonian
Monte Carlo (arXiv:physics/9803008; of decoders arXiv:1611.04273, section 3). With L = log p(x | z),

    log w = sum over t of (beta_t - beta_{t-1}) L(z_{t-1}),   E w = p(x),

so the mean of log w is at most log p(x). On an image that the model itself drew, its own z is an
exact draw from the posterior: the way back from there bounds log p(x) from above (bidirectional
Monte Carlo, arXiv:1511.02543). The step sizes come from a run of their own, which is thrown away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from triptych.seeding import ImageStreams

LogLikelihood = Callable[[Tensor], Tensor]  # z [N,D] -> log p(x_n | z_n), nats, [N], float64

LEAPFROGS = 10  # of one proposal
FIRST_STEP = 0.5
JITTER = 0.9  # share by which a step may be smaller
WANTED = 0.9  # share of accepted proposals: a chain that stays behind costs more than small steps
FASTER, SLOWER = 1.1, 1.1 ** (-WANTED / (1 - WANTED))  # balance where so many are accepted
ENDS = (-8.0, 3.0)  # of the sigmoid
PILOT = 0.25  # of the temperatures, for the run that finds the step sizes


def schedule(temperatures: int) -> list[float]:
    """beta from 0 to 1 in so many steps: a sigmoid's, fine at the prior, where L changes fast."""
    at = torch.sigmoid(torch.linspace(*ENDS, temperatures + 1, dtype=torch.float64))
    return ((at - at[0]) / (at[-1] - at[0])).tolist()


def log_weights(
    log_likelihood: LogLikelihood,
    z: Tensor,
    rng: ImageStreams,
    temperatures: int,
    backwards: bool = False,
) -> Tensor:
    """log w of each chain, nats, float64 [N]; backwards they end at the prior, and -log w bounds.

    z: where chains begin, [N,D]: draws from the prior, or backwards from the posteriors
    """
    few = max(8, round(PILOT * temperatures))
    _, found = run(log_likelihood, z, rng, path_of(few, backwards), None)
    places = torch.tensor(list(found), dtype=torch.float64)
    sizes = list(found.values())

    def size_at(beta: float) -> Tensor:
        return sizes[int((places - beta).abs().argmin())]

    weights, _ = run(log_likelihood, z, rng, path_of(temperatures, backwards), size_at)
    return weights


def path_of(temperatures: int, backwards: bool) -> list[float]:
    """The schedule, or the same from its end."""
    betas = schedule(temperatures)
    return betas[::-1] if backwards else betas


def run(
    log_likelihood: LogLikelihood,
    z: Tensor,
    rng: ImageStreams,
    path: list[float],
    size_at: Callable[[float], Tensor] | None,
) -> tuple[Tensor, dict[float, Tensor]]:
    """log w [N], and each chain's step size by beta, which is adapted where it is not told."""
    state = State.at(log_likelihood, z.double())
    weights = torch.zeros(len(z), dtype=torch.float64, device=z.device)
    size = torch.full_like(weights, FIRST_STEP)
    sizes: dict[float, Tensor] = {}
    for before, beta in pairwise(path):
        weights += (beta - before) * state.value
        if size_at is not None:
            size = size_at(beta)
        state, accepted = hamiltonian_step(log_likelihood, state, beta, size, rng)
        if size_at is None:
            size = size * torch.where(accepted, FASTER, SLOWER)
        sizes[beta] = size
    return weights, sizes


@dataclass(frozen=True)
class State:
    """Where chains are, [N,D], with L there, [N], and its gradient, [N,D]."""

    z: Tensor
    value: Tensor
    slope: Tensor

    @classmethod
    def at(cls, log_likelihood: LogLikelihood, z: Tensor) -> State:
        """At these places."""
        with torch.inference_mode(False), torch.enable_grad():
            place = z.clone().requires_grad_()
            value = log_likelihood(place)
            (slope,) = torch.autograd.grad(value.sum(), place)
        return cls(place.detach(), value.detach(), slope)

    def where(self, chosen: Tensor, other: State) -> State:
        """These where chosen, [N], else those of the other."""
        rows = chosen[:, None]
        return State(
            torch.where(rows, self.z, other.z),
            torch.where(chosen, self.value, other.value),
            torch.where(rows, self.slope, other.slope),
        )


def hamiltonian_step(
    log_likelihood: LogLikelihood, start: State, beta: float, size: Tensor, rng: ImageStreams
) -> tuple[State, Tensor]:
    """One proposal by leapfrogs, and whether each chain took it (arXiv:1206.1901, figure 2).

    It leaves N(z; 0, I) exp(beta L(z)) as it is. size [N]
    """
    # Steps of one size would go round a Gaussian and end where they began (section 3.2).
    step = (size * (1 - JITTER * rng.uniform().double()))[:, None]
    momentum = rng.normal(start.z.shape[1]).double()

    def energy(state: State, m: Tensor) -> Tensor:
        return 0.5 * (state.z**2).sum(1) - beta * state.value + 0.5 * (m**2).sum(1)

    state = start
    moving = momentum - 0.5 * step * (state.z - beta * state.slope)
    for leap in range(1, LEAPFROGS + 1):
        state = State.at(log_likelihood, state.z + step * moving)
        last = 0.5 if leap == LEAPFROGS else 1.0
        moving = moving - last * step * (state.z - beta * state.slope)
    chance = rng.uniform().double().log()
    accepted = chance < energy(start, momentum) - energy(state, moving)  # false for no number
    return state.where(accepted, start), accepted
