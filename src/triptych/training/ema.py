"""Averages of the weights over training: the weights to use, smoother than the last ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def power_exponent(relative_width: float) -> float:
    """gamma of the profile t^gamma whose deviation is so large a share of training.

    arXiv:2312.02696, eq. 123 and Algorithm 2: sigma^2 = (gamma+1) / ((gamma+2)^2 (gamma+3)).
    """
    inverse = relative_width**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


class EMA:
    """Average over all past weights with profile t^gamma (arXiv:2312.02696, eq. 121).

    It scales with the length of training, so one setting serves every budget. Integer buffers
    are copied, not averaged.
    """

    def __init__(self, model: nn.Module, relative_width: float) -> None:
        self.width = relative_width
        self.exponent = power_exponent(relative_width)
        live = model.state_dict()
        self.state = {name: tensor.detach().clone() for name, tensor in live.items()}
        self._model = model
        # Gathered once: from here on the model's tensors stay where they are.
        floating = [name for name, tensor in live.items() if tensor.is_floating_point()]
        self._averages = [self.state[name] for name in floating]
        self._weights = [live[name] for name in floating]
        self._counters = [(self.state[name], live[name]) for name in live.keys() - floating]

    def keep(self, before: float, now: float) -> float:
        """The share that stays from one position of training to the next: beta, eq. 127.

        The unit does not matter, for the profile has none; training begins at 0.
        """
        return (1 - (now - before) / now) ** (self.exponent + 1)

    def update(self, keep: float | Tensor) -> None:
        """Take in the weights as they are now; so much of the average stays."""
        if isinstance(keep, Tensor):  # lerp takes no tensor for all
            steps = torch._foreach_sub(self._weights, self._averages)
            torch._foreach_mul_(steps, 1 - keep)
            torch._foreach_add_(self._averages, steps)
        else:
            torch._foreach_lerp_(self._averages, self._weights, 1 - keep)
        for mine, theirs in self._counters:
            mine.copy_(theirs)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model holds the averaged weights."""
        own = {name: t.detach().clone() for name, t in self._model.state_dict().items()}
        self._model.load_state_dict(self.state)
        try:
            yield
        finally:
            self._model.load_state_dict(own)


@contextmanager
def as_used(model: M, average: EMA | None) -> Iterator[M]:
    """Inside, the model holds the weights to use, in evaluation mode; afterwards it trains on."""
    model.eval()
    try:
        with nullcontext() if average is None else average.applied():
            yield model
    finally:
        model.train()


def averaged_state(average: EMA | None, model: nn.Module) -> dict[str, Tensor]:
    """The weights to use: the average where one is kept."""
    return average.state if average is not None else model.state_dict()
