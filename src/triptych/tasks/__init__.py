"""What trained models do, on many images: in chunks that fit, shared among a group's processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from triptych.hardware import Machine

BATCH = 64


def shared(
    work: Callable[[range], Tensor],
    count: int,
    machine: Machine,
    *,
    start: int = 0,
    report: Callable[[int], None] = lambda done: None,
    size: int = BATCH,
) -> Tensor:
    """The rows that `work` makes of start .. start+count-1, in order, on the CPU.

    work: a range of consecutive numbers, at most `size` -> as many rows
    Every process works on its own share and returns the rows of all.
    """
    own = machine.group.rows(count)
    rows = []
    for numbers in chunks(start + own.start, len(own), min(size, machine.microbatch or size)):
        with torch.inference_mode(), machine.autocast():
            rows.append(work(numbers).cpu())
        report((numbers.stop - start - own.start) * machine.group.size)
    if not rows:  # fewer rows than processes: their shape is learnt from the first
        with torch.inference_mode(), machine.autocast():
            rows.append(work(range(start, start + 1)).cpu()[:0])
    return machine.group.all_gather(torch.cat(rows), count)


def chunks(start: int, count: int, size: int = BATCH) -> Iterator[range]:
    """Ranges of at most `size` that cover start .. start+count-1."""
    for first in range(start, start + count, size):
        yield range(first, min(first + size, start + count))
