"""Losses of the two players as functions of the critic's scores, each [B] -> scalar."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


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
