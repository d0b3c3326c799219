"""Discretised mixtures of logistics: a distribution of the 8-bit pixels of an image.

A pixel's channels share the mixture component; within it, each channel's mean moves linearly with
the channels before it (arXiv:1701.05517, section 2.2). The outermost values' bins reach to
infinity, so the probabilities of all values sum to 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from triptych.images import LEVELS
from triptych.seeding import ImageStreams

FIRST_LOG_SCALE = -2.0  # about where it ends; from 0, training begins with latents switched off
SMALLEST_LOG_SCALE = -7.0  # a logistic a tenth of a bin wide: narrower ones gain nothing


def mixture_channels(channels: int, components: int) -> int:
    """How many numbers per pixel `read_mixture` takes.

    >>> mixture_channels(3, 10), mixture_channels(1, 10)
    (100, 30)
    """
    return components * (1 + 2 * channels + channels * (channels - 1) // 2)


@dataclass(frozen=True)
class LogisticMixture:
    """K components at each of the pixels of B images, in the units of pixels on [-1, 1].

    logits:       [B,K,H,W], whose softmax is the components' shares
    means:        [B,K,C,H,W], where the channels before are 0
    log_scales:   [B,K,C,H,W]
    coefficients: [B,K,C(C-1)/2,H,W] on (-1, 1): of red in green, of red and of green in blue
    levels:       values that a pixel can take, evenly spaced on [-1, 1]
    """

    logits: Tensor
    means: Tensor
    log_scales: Tensor
    coefficients: Tensor
    levels: int = LEVELS

    def conditional_mean(self, channel: int, before: list[Tensor]) -> Tensor:
        """Means of a channel given those before it, each [B,1,H,W] or [B,K,H,W]: [B,K,H,W]."""
        first = channel * (channel - 1) // 2
        mean = self.means[:, :, channel]
        for number, values in enumerate(before):
            mean = mean + self.coefficients[:, :, first + number] * values
        return mean

    def log_probability(self, pixels: Tensor) -> Tensor:
        """log P of the pixels' channels together, nats: [B,C,H,W] on [-1, 1] -> [B,H,W].

        Summed over the components with their shares (arXiv:1701.05517, eq. 2).
        """
        channels = list(pixels.unsqueeze(2).unbind(1))  # each [B,1,H,W]
        means = [self.conditional_mean(c, channels[:c]) for c in range(len(channels))]
        x = pixels[:, None]
        each = log_bin_mass(x, torch.stack(means, dim=2), self.log_scales, self.levels).sum(2)
        return torch.logsumexp(self.logits.log_softmax(1) + each, dim=1)

    def mean(self) -> Tensor:
        """Nearly the expected image, each component's brought to [-1, 1] first: [B,C,H,W].

        Exactly it for narrow components. What a wide one has beyond black or white falls on the
        outermost values, which moves its mean inwards; that is left out here.
        """
        shares = self.logits.softmax(1)
        means: list[Tensor] = []
        for channel in range(self.means.shape[2]):
            means.append(self.conditional_mean(channel, means).clamp(-1, 1))
        return torch.stack([(shares * mean).sum(1) for mean in means], dim=1)

    def sample(self, rng: ImageStreams) -> Tensor:
        """Pixels drawn from the distribution itself, each one of the levels: [B,C,H,W]."""
        _, count, channels, height, width = self.means.shape
        gumbel = -(-uniform(rng, count, height, width).log()).log()
        drawn = (self.logits + gumbel).argmax(1, keepdim=True)  # [B,1,H,W]
        pixels: list[Tensor] = []
        step = 2 / (self.levels - 1)
        for channel in range(channels):
            share = uniform(rng, height, width)[:, None]
            mean = self.conditional_mean(channel, pixels).gather(1, drawn)
            scale = self.log_scales[:, :, channel].gather(1, drawn).exp()
            value = (mean + scale * share.logit()).clamp(-1, 1)
            pixels.append(((value + 1) / step).round() * step - 1)
        return torch.cat(pixels, dim=1)


def uniform(rng: ImageStreams, *shape: int) -> Tensor:
    """Uniform numbers that are neither 0 nor 1."""
    return rng.uniform(*shape).clamp(1e-6, 1 - 1e-6)


def log_bin_mass(pixels: Tensor, means: Tensor, log_scales: Tensor, levels: int) -> Tensor:
    """log of a logistic distribution's mass in each pixel's bin, nats; all broadcast.

    With s the logistic sigmoid and a > b the bin's ends in units of the scale,
    s(a) - s(b) = s(a) s(-b) (1 - exp(b - a)), of which no factor cancels.
    """
    inverse = (-log_scales).exp()
    half = 1 / (levels - 1)  # of a bin
    centered = (pixels - means) * inverse
    reach = half * inverse
    lowest, highest = pixels < half - 1, pixels > 1 - half
    below = F.logsigmoid(centered + reach).masked_fill(highest, 0.0)  # of all up to the upper end
    above = F.logsigmoid(reach - centered).masked_fill(lowest, 0.0)  # of all from the lower end on
    between = torch.log(-torch.expm1(-2 * reach)).masked_fill(lowest | highest, 0.0)
    return below + above + between


def mean_channels(channels: int, components: int) -> Tensor:
    """Which of the numbers per pixel decide means: they and their coefficients, bool [P]."""
    means = torch.ones(channels + channels * (channels - 1) // 2, dtype=torch.bool)
    others = torch.zeros(1 + channels, dtype=torch.bool)  # the share before, the scales between
    one = torch.cat([others[:1], means[:channels], others[1:], means[channels:]])
    return one.repeat(components)


def scale_channels(channels: int, components: int) -> Tensor:
    """Which of the numbers per pixel decide scales, bool [P]."""
    one = torch.zeros(mixture_channels(channels, 1), dtype=torch.bool)
    one[1 + channels : 1 + 2 * channels] = True
    return one.repeat(components)


def scale_number(variance: Tensor) -> Tensor:
    """The number per pixel that `read_mixture` takes for a logistic of this variance."""
    return 0.5 * (3 * variance).log() - math.log(math.pi) - FIRST_LOG_SCALE


def moved_means(numbers: Tensor, images: Tensor, components: int) -> Tensor:
    """A network's output [B,P,H,W] with images [B,C,H,W] added to the means of all components."""
    apart = numbers.view(numbers.shape[0], components, -1, *numbers.shape[2:])
    channels = images.shape[1]
    before, after = 1, apart.shape[2] - 1 - channels
    moved = apart + F.pad(images, (0, 0, 0, 0, before, after))[:, None]
    return moved.view_as(numbers)


def read_mixture(numbers: Tensor, channels: int, components: int) -> LogisticMixture:
    """A network's output [B,P,H,W], P as `mixture_channels` says, as a mixture."""
    count = channels * (channels - 1) // 2
    parts = [1, channels, channels, count]
    apart = numbers.view(numbers.shape[0], components, -1, *numbers.shape[2:])
    logits, means, log_scales, coefficients = torch.split(apart, parts, dim=2)
    return LogisticMixture(
        logits.squeeze(2),
        means,
        (log_scales + FIRST_LOG_SCALE).clamp(min=SMALLEST_LOG_SCALE),
        coefficients.tanh(),
    )
