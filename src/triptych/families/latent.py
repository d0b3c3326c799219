"""What a model decodes to images, and how to walk from one to another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

Way = Literal["straight", "spherical"]


@dataclass(frozen=True)
class Latent:
    """Named tensors that decode to images, and the kind of path between two of them.

    tensors: each [N, ...]
    path:    "straight", or "spherical" for Gaussian noise whose length matters
    labels:  shares of the classes and of "unknown", [N,classes+1]; their path is straight
    """

    tensors: dict[str, Tensor]
    path: Way
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, index: slice | Tensor) -> Latent:
        return self.each(lambda tensor: tensor[index])

    def each(self, change: Callable[[Tensor], Tensor]) -> Latent:
        """The same with every tensor changed, that of the labels too."""
        labels = None if self.labels is None else change(self.labels)
        return Latent({name: change(t) for name, t in self.tensors.items()}, self.path, labels)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one image's part of every tensor, by name; "labels" where there are any."""
        labels = {} if self.labels is None else {"labels": self.labels}
        return {name: tuple(t.shape[1:]) for name, t in {**self.tensors, **labels}.items()}

    @classmethod
    def joined(cls, latents: Sequence[Self]) -> Latent:
        """The rows of several, which are of one model, one after another."""
        first = latents[0]
        names = first.tensors
        labels = [each.labels for each in latents if each.labels is not None]
        return Latent(
            {name: torch.cat([each.tensors[name] for each in latents]) for name in names},
            first.path,
            torch.cat(labels) if labels else None,
        )

    def interpolate(self, other: Latent, share: float) -> Latent:
        """The point on the path to `other` at a share from 0 (self) to 1 (other)."""
        walk = torch.lerp if self.path == "straight" else spherical
        tensors = {name: walk(t, other.tensors[name], share) for name, t in self.tensors.items()}
        labels = self.labels
        if labels is not None and other.labels is not None:
            labels = torch.lerp(labels, other.labels, share)
        return Latent(tensors, self.path, labels)

    def scaled(self, temperature: float) -> Latent:
        """All tensors times a number: their deviation becomes so many times as large."""
        tensors = {name: t * temperature for name, t in self.tensors.items()}
        return Latent(tensors, self.path, self.labels)


def spherical(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Great-circle interpolation of each row (Shoemake 1985, section 3.3): [N, ...]."""
    dot = (a * b).flatten(1).sum(1)
    norms = a.flatten(1).norm(dim=1) * b.flatten(1).norm(dim=1)
    angle = torch.acos((dot / norms).clamp(-1, 1)).view(-1, *[1] * (a.ndim - 1))
    sine = angle.sin()
    parallel = sine < 1e-4  # no circle is defined: walk straight
    safe = sine.where(~parallel, 1.0)
    weight_a = (((1 - share) * angle).sin() / safe).where(~parallel, 1 - share)
    weight_b = ((share * angle).sin() / safe).where(~parallel, share)
    return weight_a * a + weight_b * b
