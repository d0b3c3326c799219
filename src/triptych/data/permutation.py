"""A shuffle that is computed, not stored: where position p goes, for any p, from a key alone.

A Feistel network is a bijection of b-bit numbers: they are split into two halves, and every
round adds a keyed function of one half to the other (exclusive or). Numbers that leave
0..N-1 are sent through again until they are back, which keeps it a bijection of 0..N-1
("cycle walking": Black & Rogaway 2002, Ciphers with arbitrary finite domains). Mitchell et al.
(arXiv:2106.06161) shuffle on GPUs this way. Nothing of size N is ever held.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

# Two rounds shrink what tells a pair of images from any other by 2^(bits of the upper half): by
# 2^12 in all for 5 to 8 images, by 4^12 or more from 9 on; 2 to 4 have no such slow remainder.
ROUNDS = 24
LARGEST = 2**62  # positions fit into the 63 bits of torch's indices
ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: spreads low bits to the top


class Permutation:
    """A pseudo-random order of 0..size-1, drawn from a generator.

    >>> order = Permutation(5, torch.Generator().manual_seed(0))
    >>> sorted(order.at(0, 5).tolist())
    [0, 1, 2, 3, 4]
    """

    def __init__(self, size: int, rng: torch.Generator, rounds: int = ROUNDS) -> None:
        if not 1 <= size <= LARGEST:
            raise ValueError(f"no permutation of {size} numbers")
        bits = max(2, (size - 1).bit_length())
        self.size = size
        self.halves = bits // 2, bits - bits // 2  # bits of the upper and the lower half
        drawn = torch.randint(-(2**63), 2**63 - 1, (rounds, 2), generator=rng)
        keys = drawn.numpy().view(np.uint64)
        self.keys = [(addend, factor | np.uint64(1)) for addend, factor in keys]

    def at(self, start: int, stop: int) -> NDArray[np.int64]:
        """The numbers at positions start..stop-1, all within 0..size: [stop - start]."""
        if not 0 <= start <= stop <= self.size:
            raise ValueError(f"positions {start} to {stop} of {self.size}")
        values = self._network(np.arange(start, stop, dtype=np.uint64))
        outside = np.flatnonzero(values >= self.size)
        while outside.size:  # fewer than half of the b-bit numbers are outside: few turns
            again = self._network(values[outside])
            values[outside] = again
            outside = outside[again >= self.size]
        return values.view(np.int64)

    def _network(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The bijection of b-bit numbers: the two halves take turns."""
        upper_bits, lower_bits = self.halves
        width, mask = np.uint64(lower_bits), np.uint64(2**lower_bits - 1)
        upper, lower = values >> width, values & mask
        for number, key in enumerate(self.keys):
            if number % 2 == 0:
                lower ^= scrambled(upper, key, lower_bits)
            else:
                upper ^= scrambled(lower, key, upper_bits)
        return (upper << width) | lower


def scrambled(
    values: NDArray[np.uint64], key: tuple[np.uint64, np.uint64], bits: int
) -> NDArray[np.uint64]:
    """A keyed function to `bits` bits: add, multiply, fold the top down, take the product's top."""
    addend, factor = key
    mixed = values + addend  # modulo 2^64, as all of this
    mixed *= factor
    mixed ^= mixed >> np.uint64(32)
    mixed *= ODD
    mixed >>= np.uint64(64 - bits)
    return mixed
