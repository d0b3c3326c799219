"""Training batches as a function of how many images were seen.

No iterator state: the batch at a count is the same after a resume, at another batch size's
boundary or on another rank.
"""

from __future__ import annotations

import torch
from torch import Tensor

from triptych import images as pixels
from triptych.data.dataset import Part
from triptych.seeding import generator


class Batches:
    """Endless shuffled passes over one part, resident on the device.

    part: uint8 images [N,C,H,W]; every pass is a fresh permutation drawn from the seed.
    """

    def __init__(self, part: Part, batch_size: int, seed: int, device: str = "cpu") -> None:
        self.images = part.images.to(device)
        self.labels = None if part.labels is None else part.labels.to(device)
        self.batch_size = batch_size
        self.seed = seed
        self._orders: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.images)

    def at(self, seen: int, stream: int = 0) -> tuple[Tensor, Tensor | None]:
        """The batch after `seen` images: float [B,C,H,W] on [-1, 1], labels [B] or None.

        stream: further independent orders, for objectives that take several steps a round.
        """
        index = self._indices(seen, stream).to(self.images.device)
        labels = None if self.labels is None else self.labels[index]
        return pixels.to_float(self.images[index]), labels

    def _indices(self, seen: int, stream: int) -> Tensor:
        wanted, found = self.batch_size, []
        while wanted:
            epoch, offset = divmod(seen, len(self))
            piece = self._order(epoch, stream)[offset : offset + wanted]
            found.append(piece)
            seen += len(piece)
            wanted -= len(piece)
        return torch.cat(found)

    def _order(self, epoch: int, stream: int) -> Tensor:
        """The permutation of one pass; the last few are kept."""
        number = epoch * 1_000 + stream
        if number not in self._orders:
            while len(self._orders) >= 4:
                self._orders.pop(next(iter(self._orders)))
            stream_generator = generator(self.seed, "order", number)
            self._orders[number] = torch.randperm(len(self), generator=stream_generator)
        return self._orders[number]
