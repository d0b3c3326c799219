"""The classes of a conditional model, and how often each occurs among its training images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from triptych.errors import InputError
from triptych.records import LabelsRecord
from triptych.seeding import ImageStreams

UNLABELED = 0.1  # share of labelled images whose label is kept from the networks in training
SHOWN = 20  # classes named in a message; run.json names them all


@dataclass(frozen=True, kw_only=True)
class Labels(LabelsRecord):
    """The classes of the training images.

    names:  of the classes, by their numbers
    counts: training images of each
    """

    @classmethod
    def counted(cls, names: Sequence[str], labels: Tensor) -> Self:
        """Count the class numbers of training images, int64 [N]."""
        counts = torch.bincount(labels, minlength=len(names))
        return cls(names=tuple(names), counts=tuple(counts.tolist()))

    def only(self, label: int | str) -> Self:
        """The same classes with all counts 0 but for one class, given by its name or number.

        InputError where there is no such class.
        """
        number = self.number(label)
        return replace(self, counts=tuple(int(i == number) for i in range(len(self.names))))

    def number(self, label: int | str) -> int:
        """The number of a class. A text is a name, or else a number; InputError where neither."""
        if isinstance(label, str) and label in self.names:
            return self.names.index(label)
        text = str(label)
        if text.isdecimal() and int(text) < len(self.names):
            return int(text)
        names = ", ".join(self.names[:SHOWN]) + (", ..." if len(self.names) > SHOWN else "")
        raise InputError(
            f"no class '{label}'", f"choose from {names}, or 0 to {len(self.names) - 1} by number"
        )

    def draw(self, seed: int, numbers: range, device: torch.device | str = "cpu") -> Tensor:
        """A random class for each image number, as often as the counts say: int64 [N]."""
        ends = torch.tensor(self.counts, device=device).cumsum(0).double()
        places = ImageStreams(seed, "label", numbers, device).uniform().double() * ends[-1]
        return torch.searchsorted(ends, places, right=True)


def class_shares(
    labels: Tensor | None, classes: int | None, count: int, device: torch.device | str
) -> Tensor | None:
    """Class numbers [count] as one-hot shares [count,classes+1]; the last class is "unknown".

    labels:  None where all are unknown
    classes: None for a model without labels: the result is None
    """
    if classes is None:
        return None
    if labels is None:
        labels = torch.full((count,), classes, device=device)
    return F.one_hot(labels.long(), classes + 1).float()


def hide_some(labels: Tensor | None, chance: Tensor | None, classes: int | None) -> Tensor | None:
    """Class numbers [B]; those whose uniform number [B] is below 0.1 become unknown."""
    if labels is None or chance is None or classes is None:
        return labels
    return labels.where(chance >= UNLABELED, classes)
