"""What a CUDA graph does, on a CPU: operations are recorded once and repeated on the same memory.

As CUDA does, recording refuses what would need the host on the way: reading a number, results
whose size depends on values, tensors made of the host's numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from triptych.training.graph import Moved, Record, copied, put_back

aten = torch.ops.aten
HOST = {
    aten._local_scalar_dense.default,
    aten.equal.default,
    aten.is_nonzero.default,
    aten.lift_fresh.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten._unique2.default,
    aten.linalg_cholesky.default,
    aten.linalg_inv.default,
    aten.linalg_solve.default,
}


def tensors(returned: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(returned) if isinstance(leaf, Tensor)]


@dataclass
class Recorder(TorchDispatchMode):
    """Operations as they ran: what to call, with what, and where the results lie."""

    operations: list[tuple[Callable[..., Any], Any, Any, list[Tensor]]] = field(
        default_factory=list
    )

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = func is aten.index.Tensor and any(
            i is not None and i.dtype == torch.bool for i in args[1]
        )
        if func in HOST or by_mask:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        returned = func(*args, **(kwargs or {}))
        self.operations.append((func, args, kwargs or {}, tensors(returned)))
        return returned

    @torch.no_grad()
    def replay(self) -> None:
        """Compute everything again into the same memory."""
        for func, args, kwargs, results in self.operations:
            again = func(*args, **kwargs)
            for old, new in zip(results, tensors(again), strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def recording(trained: Moved) -> Record:
    """As `graph.CUDARecorder`, which computes nothing: what was changed meanwhile is put back."""

    def record(work: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        before, recorder = copied(trained), Recorder()
        try:
            with recorder:
                returned = work()
        finally:
            put_back(trained, before)
        return recorder.replay, returned

    return record
