"""Penalties on the critic's gradient, which keep it smooth where the images are.

No image's score may depend on another image: then the gradient of the scores' sum holds each
image's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

TINY = 1e-12  # under a root, whose slope at 0 has no end


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
