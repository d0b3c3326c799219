"""Random streams keyed by what they are for: (seed, purpose, counter).

Nothing here carries state between calls, so a run that resumes, another batch size or
another number of processes meets the same numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def key(seed: int, purpose: str, counter: int = 0) -> int:
    """A 63-bit seed that differs wherever any of the three differs.

    >>> key(0, "sample", 1) == key(0, "sample", 1), key(0, "sample", 1) == key(0, "sample", 2)
    (True, False)
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}/{counter}".encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "little") >> 1


def generator(seed: int, purpose: str, counter: int = 0) -> torch.Generator:
    """A fresh CPU generator for one purpose; draw there, then move to the device."""
    return torch.Generator().manual_seed(key(seed, purpose, counter))


class ImageStreams:
    """One stream of noise per image, so batch size cannot change image 17.

    indices: the numbers of the images in the whole job, not in the batch, [N]
    """

    def __init__(
        self, seed: int, purpose: str, indices: Iterable[int], device: torch.device | str = "cpu"
    ) -> None:
        self.generators = [generator(seed, purpose, index) for index in indices]
        self.device = torch.device(device)

    def __len__(self) -> int:
        return len(self.generators)

    def normal(self, *shape: int) -> Tensor:
        """The next standard normal numbers of every image: [N, *shape]."""
        return self._stack(lambda g: torch.randn(shape, generator=g))

    def uniform(self, *shape: int) -> Tensor:
        """The next uniform numbers on [0, 1) of every image: [N, *shape]."""
        return self._stack(lambda g: torch.rand(shape, generator=g))

    def _stack(self, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        return torch.stack([draw(g) for g in self.generators]).to(self.device)


@contextmanager
def initializing(seed: int) -> Iterator[None]:
    """Inside, torch's global generator is seeded for the first weights; afterwards restored."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, "weights"))
        yield
