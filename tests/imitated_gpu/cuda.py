"""`torch.cuda` of the imitated GPU: what it says of the card, what waits for it, and graphs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

NAME, BYTES, CAPABILITY = "Imitated GPU", 16 * 2**30, (9, 0)
aten = torch.ops.aten
READING = {  # operations whose results the host reads, or whose sizes it must know
    aten._local_scalar_dense.default,
    aten.equal.default,
    aten.is_nonzero.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten._unique2.default,
    aten.linalg_cholesky.default,
    aten.linalg_eigh.default,
    aten.linalg_inv.default,
    aten.linalg_solve.default,
}
UNMARKED = {  # arguments that an operation changes although its schema does not say so
    aten.native_batch_norm.default: ("running_mean", "running_var"),
    aten.cudnn_batch_norm.default: ("running_mean", "running_var"),
}


class Idle:
    """A stream or an event: whatever it is asked for is done already."""

    def __init__(self, *args: Any, **options: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **options: None


class Stream(Idle):
    """`torch.cuda.Stream`."""


class Event(Idle):
    """`torch.cuda.Event`."""


def of_gpu(values: Any) -> bool:
    return any(isinstance(x, Tensor) and x.is_cuda for x in tree_leaves(values))


def waits(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    """Whether the host would wait for the GPU."""
    if not of_gpu((args, kwargs)) and "cuda" not in str(kwargs.get("device")):
        return False
    if func is aten.index.Tensor:
        return any(i is not None and i.dtype == torch.bool for i in args[1])
    if func is aten._to_copy.default:
        kept = kwargs.get("device") in (None, args[0].device)
        return not kept and not kwargs.get("non_blocking")
    if func is aten.copy_.default:
        return args[0].device != args[1].device and True not in (*args[2:], *kwargs.values())
    return func in READING


class Watching(TorchDispatchMode):
    """Refuses what waits."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if waits(func, args, kwargs or {}):
            raise RuntimeError(f"called a synchronizing CUDA operation: {func}")
        return func(*args, **(kwargs or {}))


class SyncDebug:
    """`torch.cuda.set_sync_debug_mode`, of which "warn" is not imitated."""

    def __init__(self) -> None:
        self.mode = 0
        self.watching: Watching | None = None

    def get(self) -> int:
        return self.mode

    def set(self, mode: int | str) -> None:
        self.mode = {"default": 0, "warn": 1, "error": 2}.get(str(mode), 0)
        self.mode = mode if isinstance(mode, int) else self.mode
        if self.mode == 2 and self.watching is None:
            self.watching = Watching()
            self.watching.__enter__()
        elif self.mode != 2 and self.watching is not None:
            self.watching.__exit__(None, None, None)
            self.watching = None


class Capturing(TorchDispatchMode):
    """Notes operations while they run, and what all memory that they change was before."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, dict[str, Any], list[Tensor]]] = []
        self.before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if waits(func, args, kwargs) and func is not aten.copy_.default:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        named = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
        for argument in func._schema.arguments:
            marked = argument.alias_info is not None and argument.alias_info.is_write
            if marked or argument.name in UNMARKED.get(func, ()):
                self.keep(named.get(argument.name))
        returned = func(*args, **kwargs)
        results = [leaf for leaf in tree_leaves(returned) if isinstance(leaf, Tensor)]
        self.operations.append((func, args, kwargs, results))
        return returned

    def keep(self, changed: Any) -> None:
        for tensor in tree_leaves(changed):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr():
                memory = tensor.untyped_storage()
                if memory.data_ptr() not in self.before:
                    whole = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(memory)
                    self.before[memory.data_ptr()] = whole, whole.clone()

    @torch.no_grad()
    def undo(self) -> None:
        for whole, was in self.before.values():
            whole.copy_(was)


class Graph:
    """`torch.cuda.CUDAGraph`: a replay computes again, into the same memory."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, dict[str, Any], list[Tensor]]] = []

    def pool(self) -> tuple[int, int]:
        return 0, 0

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, results in self.operations:
            again = [x for x in tree_leaves(func(*args, **kwargs)) if isinstance(x, Tensor)]
            for old, new in zip(results, again, strict=True):
                if old.data_ptr() != new.data_ptr():
                    old.copy_(new)


@contextlib.contextmanager
def capture(graph: Graph, **options: Any) -> Iterator[None]:
    """`torch.cuda.graph`: computes nothing, so what was changed is put back."""
    capturing = Capturing()
    try:
        with capturing:
            yield
    finally:
        capturing.undo()
    graph.operations = capturing.operations


def put_in_place() -> None:
    """Let `torch.cuda` tell of the imitated GPU; call once, right after torch was loaded."""
    sync_debug = SyncDebug()
    properties = SimpleNamespace(
        name=NAME, total_memory=BYTES, major=CAPABILITY[0], minor=CAPABILITY[1]
    )
    told: dict[str, Any] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "is_bf16_supported": lambda *args, **options: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_name": lambda *args: NAME,
        "get_device_capability": lambda *args: CAPABILITY,
        "get_device_properties": lambda *args: properties,
        "get_arch_list": lambda: [f"sm_{CAPABILITY[0]}{CAPABILITY[1]}"],
        "mem_get_info": lambda *args: (BYTES, BYTES),
        "memory_reserved": lambda *args: 2**20,
        "memory_allocated": lambda *args: 2**20,
        "max_memory_allocated": lambda *args: 2**20,
        "device": lambda device: contextlib.nullcontext(),
        "current_stream": lambda *args: Stream(),
        "Stream": Stream,
        "Event": Event,
        "CUDAGraph": Graph,
        "graph": capture,
        "get_sync_debug_mode": sync_debug.get,
        "set_sync_debug_mode": sync_debug.set,
        "_is_in_bad_fork": lambda: False,
    }
    quiet = "_lazy_init init synchronize set_stream set_device empty_cache reset_peak_memory_stats"
    # Each a function of its own: torch.compile has rules for each.
    told |= {name: Idle().nothing for name in (*quiet.split(), "manual_seed", "manual_seed_all")}
    for name, value in told.items():
        setattr(torch.cuda, name, value)
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False
    torch.accelerator.synchronize = Idle().nothing
    deep_copy = Tensor.__deepcopy__

    def by_clone(self: Tensor, memo: dict[int, Any]) -> Any:
        """Such storages are made by CUDA's library alone."""
        if not self.is_cuda or type(self) is not Tensor:
            return deep_copy(self, memo)
        if id(self) not in memo:
            memo[id(self)] = self.detach().clone().requires_grad_(self.requires_grad)
        return memo[id(self)]

    Tensor.__deepcopy__ = by_clone
