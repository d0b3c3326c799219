"""Training batches as a function of the number of images seen.

There is no iterator state: the batch at a count is the same after a resume, and the order of the
images is the same for every batch size and number of processes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from triptych import images as pixels
from triptych.data.augment import OFF, Augment, changed
from triptych.data.dataset import Part
from triptych.hardware import free_memory_bytes
from triptych.seeding import generator

SHARE_OF_FREE = 0.6  # of a GPU's free memory that a part may take


class Batches:
    """Endless shuffled passes over one part; every pass is another permutation.

    On a CPU the images stay where they are: memory-mapped ones on disk. To a GPU they are moved
    as a whole where they fit; else each batch is gathered in host memory and sent.

    part:       uint8 images [N,C,H,W]
    batch_size: of all processes together; a multiple of `ranks`, so that the mean of their
                gradients is that of the whole batch
    rank:       the number of this process among `ranks`; each gets consecutive rows of a batch
    """

    def __init__(
        self,
        part: Part,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        augment: Augment = OFF,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if batch_size < 1 or not 0 <= rank < ranks or batch_size % ranks:
            raise ValueError(f"no batches of {batch_size} for process {rank} of {ranks}")
        augment.check(min(part.images.shape[2:]))
        self.device = torch.device(device)
        self.streamed = not fits(part, self.device)
        home = torch.device("cpu") if self.streamed else self.device
        self.images = part.images.to(home)
        self.labels = None if part.labels is None else part.labels.to(home)
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment
        self.own = batch_size // ranks  # images of this process in a batch
        self.rows = slice(rank * self.own, (rank + 1) * self.own)  # their indices in it
        self._orders: dict[int, tuple[int, Tensor]] = {}  # of each stream: pass, order

    def __len__(self) -> int:
        return len(self.images)

    def at(self, seen: int, stream: int = 0) -> tuple[Tensor, Tensor | None]:
        """This process's rows of the batch after `seen` images, on the device.

        stream: number of an independent order, for objectives that take several steps a round

        Returns float images [B,C,H,W] on [-1, 1] and labels [B] or None.
        """
        index = self._order(seen + self.rows.start, stream)
        images = self._gathered(self.images, index)
        labels = None if self.labels is None else self._gathered(self.labels, index)
        if self.augment:
            drawn = self.augment.draw(
                self.batch_size, generator(self.seed, f"augment/{stream}", seen)
            )
            images = changed(images, sent(drawn[self.rows], self.device))
        return pixels.to_float(images), labels

    def _order(self, position: int, stream: int) -> Tensor:
        """The indices of the next images from a position in the endless order: int64 [own]."""
        wanted, pieces = self.own, []
        while wanted:
            epoch, start = divmod(position, len(self))
            piece = self._pass(stream, epoch)[start : start + wanted]
            pieces.append(piece)
            position += len(piece)
            wanted -= len(piece)
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces)

    def _pass(self, stream: int, epoch: int) -> Tensor:
        """The permutation of one pass, int64 [N]; each stream's latest one is cached."""
        latest, order = self._orders.get(stream, (None, None))
        if order is None or latest != epoch:
            rng = generator(self.seed, f"order/{stream}", epoch)
            order = sent(torch.randperm(len(self), generator=rng), self.images.device)
            self._orders[stream] = epoch, order
        return order

    def _gathered(self, source: Tensor, index: Tensor) -> Tensor:
        """The rows of `source` at these indices, on the device."""
        if not self.streamed:
            return source.index_select(0, index)
        shape = len(index), *source.shape[1:]
        # torch keeps pinned memory until the copies out of it are done
        rows = torch.empty(shape, dtype=source.dtype, pin_memory=self.device.type == "cuda")
        torch.index_select(source, 0, index, out=rows)
        return rows.to(self.device, non_blocking=True)


def fits(part: Part, device: torch.device) -> bool:
    """Whether a part fits into the device's memory; on a CPU always, for nothing is copied."""
    if device.type == "cpu":
        return True
    return part.images.nbytes <= SHARE_OF_FREE * free_memory_bytes(device.type)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A small host tensor on the device; a GPU copies it asynchronously from pinned memory."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
