"""Losses of the two players as functions of the critic's scores, each [B] -> scalar, and penalties.

Penalties on the critic's gradient keep it smooth where the images are. No image's score may depend
on another image: then the gradient of the scores' sum holds each image's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

TINY = 1e-12  # under a root, whose slope at 0 has no end


def cross_entropy_critic(real: Tensor, fake: Tensor) -> Tensor:
    """-log D(x) - log(1 - D(G(z))), scores being logits (arXiv:1406.2661, eq. 1)."""
    loss = F.binary_cross_entropy_with_logits
    return loss(real, torch.ones_like(real)) + loss(fake, torch.zeros_like(fake))


def cross_entropy_generator(fake: Tensor) -> Tensor:
    """-log D(G(z)), the form that does not saturate (arXiv:1406.2661, section 3)."""
    return F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))


def hinge_critic(real: Tensor, fake: Tensor) -> Tensor:
    """max(0, 1 - D(x)) + max(0, 1 + D(G(z))) (arXiv:1802.05957, eq. 16)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """-D(G(z)) (arXiv:1802.05957, eq. 17)."""
    return -fake.mean()


def wasserstein_critic(real: Tensor, fake: Tensor) -> Tensor:
    """D(G(z)) - D(x) (arXiv:1701.07875, eq. 2)."""
    return fake.mean() - real.mean()


def pairing_critic(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(D(x) - D(G(z))), of pairs of images (arXiv:2501.05441, eq. 2)."""
    return pairing_generator(real - fake)


def pairing_generator(margin: Tensor) -> Tensor:
    """-log sigmoid(D(G(z)) - D(x)), given that margin (arXiv:2501.05441, eq. 2)."""
    return F.softplus(-margin).mean()


def squared_gradients(scores: Tensor, images: Tensor) -> Tensor:
    """||grad D(x)||^2 of each image, differentiable: [B].

    scores: D(x), [B], of images [B,C,H,W] that ask for gradients
    """
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1)


def zero_centred(scores: Tensor, images: Tensor) -> Tensor:
    """1/2 E ||grad D(x)||^2: R1 on real images, R2 on fake ones (arXiv:1801.04406, eq. 9, 10)."""
    return 0.5 * squared_gradients(scores, images).mean()


def one_centred(scores: Tensor, images: Tensor) -> Tensor:
    """E (||grad D(x)|| - 1)^2 (arXiv:1704.00028, eq. 3), on `between` real and fake images."""
    return ((squared_gradients(scores, images) + TINY).sqrt() - 1).square().mean()


def between(real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """Points on the lines between pairs, asking for gradients; share: of the real one, [B]."""
    return torch.lerp(fake, real, share.view(-1, 1, 1, 1)).detach().requires_grad_()


@dataclass(frozen=True, kw_only=True)
class Penalty:
    """Which, how heavy, and how often.

    kind:   "zero": gamma (R1 + R2); "one": lambda times the penalty on lines
    weight: gamma or lambda
    every:  of so many steps one pays it, so many times as much (arXiv:1912.04958, appendix B)
    """

    kind: Literal["zero", "one"]
    weight: float
    every: int = 1

    def __post_init__(self) -> None:
        if self.weight < 0 or self.every < 1:
            raise ValueError(f"a penalty needs weight >= 0 and every >= 1: {self}")
