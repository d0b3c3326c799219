"""A GAN's likelihood under an observation noise that it does not have by itself.

The generator's images have no density. With Gaussian noise of a stated deviation on their pixels
they have one (arXiv:1611.04273, section 2), here integrated over the bins of 8-bit values, so
that it shares an axis with the other families. It tells of the noisy model, not of the GAN.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from triptych.families.base import frozen, widened
from triptych.families.gan.annealing import LogLikelihood, log_weights
from triptych.families.gan.inversion import evaluating
from triptych.families.pixels import log_probability
from triptych.images import BIN_WIDTH
from triptych.seeding import ImageStreams


def mean_of(generator: nn.Module, z: Tensor, known: list[Tensor]) -> Tensor:
    """The image before its noise, in full precision whatever autocast is on: [N,C,H,W]."""
    dtype = next(generator.parameters()).dtype
    with evaluating(generator), torch.autocast(z.device.type, enabled=False):
        return widened(generator(z.to(dtype), *known))


def of_pixels(
    generator: nn.Module, images: Tensor, known: list[Tensor], std: float
) -> LogLikelihood:
    """log P(8-bit images | z) under noise of that deviation on [-1, 1], in full precision."""
    device = images.device
    with torch.inference_mode(False):
        x, labels = images.clone(), [k.clone() for k in known]
        deviation = torch.tensor(std, dtype=torch.float64, device=device)

    def log_likelihood(z: Tensor) -> Tensor:
        with frozen(generator):
            mean = mean_of(generator, z, labels)
        return log_probability(x, mean, deviation).flatten(1).sum(1)

    return log_likelihood


def estimate(
    generator: nn.Module,
    images: Tensor,
    known: list[Tensor],
    std: float,
    temperatures: int,
    latent: int,
    rng: ImageStreams,
) -> Tensor:
    """An estimate of log P(8-bit image), nats, at most that on average: [N], float64."""
    return log_weights(
        of_pixels(generator, images, known, std), rng.normal(latent), rng, temperatures
    )


def simulated_bounds(
    generator: nn.Module,
    known: list[Tensor],
    std: float,
    temperatures: int,
    latent: int,
    rng: ImageStreams,
) -> tuple[Tensor, Tensor]:
    """Bounds from below and above, nats, each [N], of images that the noisy model draws itself.

    How far they are apart tells how far such estimates may be off (arXiv:1606.02275, section 3).
    """
    z = rng.normal(latent)
    with torch.no_grad():
        clean = mean_of(generator, z, known)
    images = rounded(clean + std * rng.normal(*clean.shape[1:]))
    below = estimate(generator, images, known, std, temperatures, latent, rng)
    log_likelihood = of_pixels(generator, images, known, std)
    return below, -log_weights(log_likelihood, z, rng, temperatures, backwards=True)


def rounded(images: Tensor) -> Tensor:
    """To the nearest 8-bit value on [-1, 1]."""
    return ((images.clamp(-1, 1) + 1) / BIN_WIDTH).round() * BIN_WIDTH - 1
