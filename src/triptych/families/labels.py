"""The classes of a conditional model, and how often each occurs among its training images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Self

import torch
from torch import Tensor

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
        """The same classes with all counts 0 but for the class of that name.

        InputError where there is no such class, or where the model saw no image of it.
        """
        number = self.number(label)
        return replace(self, counts=tuple(int(i == number) for i in range(len(self.names))))

    def number(self, label: object) -> int:
        """The number of the class of that name; 3 stands for the class named "3".

        InputError where no class has the name, or where no training image is of the class.
        """
        whole = isinstance(label, Integral) and not isinstance(label, bool)
        name = str(label) if whole else label
        if not isinstance(name, str):
            kind = type(label).__name__
            raise InputError(f"label takes the name of a class, not {kind}", self.choices())
        if name not in self.names:
            raise InputError(f"no class '{name}'", self.choices())
        number = self.names.index(name)
        if self.counts[number] == 0:
            raise InputError(f"no training image was of class '{name}'", self.choices())
        return number

    def choices(self) -> str:
        """The mend that names the classes which can be drawn."""
        counted = zip(self.names, self.counts, strict=True)
        names = [name for name, count in counted if count]
        return f"choose from {', '.join(names[:SHOWN])}" + (", ..." if len(names) > SHOWN else "")

    def draw(self, seed: int, numbers: range, device: torch.device | str = "cpu") -> Tensor:
        """A random class for each image number, as often as the counts say: int64 [N]."""
        ends = torch.tensor(self.counts).cumsum(0).double()
        places = ImageStreams(seed, "label", numbers).uniform().double() * ends[-1]
        return torch.searchsorted(ends, places, right=True).to(device)


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
    shares = torch.zeros(labels.shape[0], classes + 1, device=labels.device)
    return shares.scatter_(1, labels.long()[:, None], 1.0)  # one_hot would wait for the device


def hide_some(labels: Tensor | None, chance: Tensor | None, classes: int | None) -> Tensor | None:
    """Class numbers [B]; those whose uniform number [B] is below 0.1 become unknown."""
    if labels is None or chance is None or classes is None:
        return labels
    return labels.where(chance >= UNLABELED, classes)
