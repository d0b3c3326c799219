"""What nearest neighbours tell of two sets of features: is each where the other one is?

A ball around each image reaches to its k-th nearest neighbour of its own set.

precision  share of generated images inside any real image's ball (arXiv:1904.06991, eq. 2)
recall     share of real images inside any generated image's ball (the same)
density    balls of real images that a generated one lies in, over k (arXiv:2002.09797, eq. 4)
coverage   share of real images whose ball holds a generated one (arXiv:2002.09797, eq. 5)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

K = 5
ROWS = 1024  # whose distances are held at once


@dataclass(frozen=True)
class Neighbours:
    """The four shares; density may pass 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def radii(features: Tensor, k: int) -> Tensor:
    """Distance of each row to the k-th nearest of the other rows: [N]."""
    found = []
    for rows in torch.split(features, ROWS):
        nearest = torch.cdist(rows, features).topk(k + 1, largest=False).values
        found.append(nearest[:, k])  # the nearest of all is the row itself
    return torch.cat(found)


def neighbours(real: Tensor, generated: Tensor, k: int = K) -> Neighbours:
    """real [N,d], generated [M,d], more than k of each; float64 inside."""
    real, generated = real.double(), generated.double()
    around_real, around_generated = radii(real, k), radii(generated, k)
    balls, recalled, covered = [], [], []
    for rows, reach in zip(torch.split(real, ROWS), torch.split(around_real, ROWS), strict=True):
        distances = torch.cdist(rows, generated)  # [rows,M]
        inside = distances <= reach[:, None]
        balls.append(inside.sum(0))
        covered.append(inside.any(1))
        recalled.append((distances <= around_generated).any(1))
    holding = torch.stack(balls).sum(0)  # real balls that hold each generated image

    def share(where: Tensor) -> float:
        return where.double().mean().item()

    return Neighbours(
        precision=share(holding > 0),
        recall=share(torch.cat(recalled)),
        density=share(holding) / k,
        coverage=share(torch.cat(covered)),
    )
