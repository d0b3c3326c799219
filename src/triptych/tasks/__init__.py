"""What trained models do, on many images: in chunks that fit, shared among a group's processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from triptych.hardware import Machine, out_of_memory

BATCH = 64
TIMES_ON_CUDA = 8  # more at once there: launching takes as long for few images as for many


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

    work: a range of consecutive numbers -> as many rows, which depend on their own number alone
    size: most numbers at once on a processor; half as many as before where memory is refused
    Every process works on its own share and returns the rows of all.
    """
    own = machine.group.rows(count)
    first, stop, size = start + own.start, start + own.stop, at_once(machine, size)
    rows: list[Tensor] = []
    while first < stop:
        numbers = range(first, min(first + size, stop))
        made = unless_too_many(work, numbers, machine)
        if made is None:
            size = len(numbers) // 2
            continue
        rows.append(made)
        first = numbers.stop
        report((first - start - own.start) * machine.group.size)
    if not rows:  # fewer rows than processes: their shape is learnt from the first
        with torch.inference_mode(), machine.autocast():
            rows.append(work(range(start, start + 1)).cpu()[:0])
    return machine.group.all_gather(torch.cat(rows), count)


def at_once(machine: Machine, size: int = BATCH) -> int:
    """How many images a machine computes at once, where a processor computes `size`."""
    if machine.device == "cuda":
        size *= TIMES_ON_CUDA
    return min(size, machine.microbatch or size)


def unless_too_many(
    work: Callable[[range], Tensor], numbers: range, machine: Machine
) -> Tensor | None:
    """The rows that `work` makes, on the CPU; None where memory is refused for so many at once."""
    try:
        with torch.inference_mode(), machine.autocast():
            return work(numbers).cpu()
    except RuntimeError as error:
        if len(numbers) == 1 or not out_of_memory(error):
            raise
    return None


def chunks(start: int, count: int, size: int = BATCH) -> Iterator[range]:
    """Ranges of at most `size` that cover start .. start+count-1."""
    for first in range(start, start + count, size):
        yield range(first, min(first + size, start + count))
