"""What several tests share: the plainest machine, seeded numbers and exact small worlds."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from triptych.hardware import Machine
from triptych.metrics.intervals import Estimate

MACHINE = Machine(device="cpu", precision="fp32", threads=1, choices={})


def independent(module: str) -> Any:
    """Somebody else's code to hold ours against; the test is skipped where it cannot be imported.

    What imports torchvision beside a torch of another build raises RuntimeError, not ImportError.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # another's code: it may raise anything
        return pytest.skip(f"{module} cannot be imported ({error})")


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers of a seed, float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def random_pixels(*shape: int, seed: int = 0) -> Tensor:
    """Uniform 8-bit numbers of a seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, shape, generator=generator, dtype=torch.uint8)


def coverage(estimates: Sequence[Estimate], expected: float | None = None) -> float:
    """Share of intervals that hold the expected value: by default the mean over all repeats."""
    if expected is None:
        expected = sum(e.value for e in estimates) / len(estimates)
    return sum(e.low <= expected <= e.high for e in estimates) / len(estimates)


class FixedStreams:
    """Stands in for ImageStreams: serves the given numbers, at every call the same."""

    def __init__(self, numbers: Tensor) -> None:
        self.numbers = numbers  # [N, *shape]

    def normal(self, *shape: int) -> Tensor:
        return self.numbers.view(-1, *shape)

    uniform = normal


class ListedStreams:
    """Stands in for ImageStreams: serves the given tensors one after another, again and again."""

    def __init__(self, noise: dict[str, Tensor]) -> None:
        self.numbers = itertools.cycle(noise.values())

    def normal(self, *shape: int) -> Tensor:
        found = next(self.numbers)
        assert found.shape[1:] == shape
        return found


class NoStreams:
    """Stands in for ImageStreams where nothing may be drawn."""


class Recorder(nn.Module):
    """A network that keeps what it is given and answers with a constant."""

    def __init__(self, answer: float = 0.0) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        self.x, self.level = x, level
        return torch.full_like(x, self.answer)


def grey_levels_apart(a: Tensor, b: Tensor) -> int:
    """Largest difference between two uint8 tensors."""
    return int((a.int() - b.int()).abs().max())
