"""Processes that train, sample and measure one model together.

torchrun starts them and gives each its number in the environment; gloo connects them on CPUs, nccl
on GPUs. Every process runs the same program on its share of the work; only the first one writes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from triptych.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)  # for one that is silent: it may be training the classifier


@dataclass(frozen=True)
class Group:
    """The processes of one job. With one process, every exchange returns its argument.

    rank: this process's number; size: how many there are; local: its number on its own machine
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes files."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait until all processes have called this."""
        if self.size > 1:
            import torch.distributed as dist

            dist.barrier()

    def all_reduce_max(self, number: int) -> int:
        """The largest of the processes' numbers; over CPUs, so that it waits for no GPU."""
        if self.size == 1:
            return number
        import torch
        import torch.distributed as dist

        largest = torch.tensor(number)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over processes of a tensor of one shape, on the CPU."""
        if self.size == 1:
            return values
        import torch.distributed as dist

        total = values.clone()
        dist.all_reduce(total)
        return total / self.size

    def broadcast(self, make: Callable[[], T]) -> T:
        """The JSON value that `make` returns in the first process; all raise its InputError.

        Only the first process runs it, so it may not wait for the others.
        """
        if self.size == 1:
            return make()
        reply: dict[str, object] = {}
        if self.is_main:
            try:
                reply = {"value": make()}
            except InputError as error:
                reply = {"wrong": error.wrong, "mend": error.mend}
        reply = json.loads(self._text(json.dumps(reply)))
        if "wrong" in reply:
            raise InputError(str(reply["wrong"]), str(reply["mend"]))
        return reply["value"]  # type: ignore[return-value] # it was a T there

    def rows(self, count: int) -> range:
        """This process's share of `count` rows; shares differ by one row at most."""
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def all_gather(self, rows: Tensor, count: int) -> Tensor:
        """All rows in order, from the shares that `rows` gave: [count, ...], on the CPU."""
        if self.size == 1:
            return rows
        import torch
        import torch.distributed as dist

        room = -(-count // self.size)  # all_gather wants one size
        padded = rows.new_zeros(room, *rows.shape[1:])
        padded[: len(rows)] = rows
        gathered = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(gathered, padded)
        shares = [Group(rank, self.size).rows(count) for rank in range(self.size)]
        return torch.cat([t[: len(share)] for t, share in zip(gathered, shares, strict=True)])

    def _text(self, text: str) -> str:
        """The text of the first process, in all processes."""
        import torch
        import torch.distributed as dist

        length = torch.tensor(len(text.encode()))
        dist.broadcast(length, src=0)
        letters = torch.zeros(int(length), dtype=torch.uint8)
        if self.is_main:
            letters = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        dist.broadcast(letters, src=0)
        return letters.numpy().tobytes().decode()


ALONE = Group()
VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")  # by torchrun


def in_group() -> bool:
    """Whether torchrun started more than this process."""
    return (os.environ.get("WORLD_SIZE") or "1") != "1"


def processes_here() -> int:
    """How many processes of the job are on this machine."""
    count = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, int(count)) if count.isdigit() else 1


def join(device: str) -> Group:
    """Meet the processes that torchrun started; `ALONE` where there is but one.

    InputError where this machine has fewer GPUs than processes, or where processes would not find
    each other after a restart.
    """
    if not in_group():
        return ALONE
    if device not in ("cpu", "cuda"):
        raise InputError(f"several processes cannot share work on {device}", "use --device cpu")
    if (
        not all(os.environ.get(name, "").isdigit() for name in VARIABLES)
        or "MASTER_ADDR" not in os.environ
    ):
        raise InputError(
            "WORLD_SIZE is set, but not all that torchrun tells its processes",
            "start with torchrun, or unset WORLD_SIZE",
        )
    import torch
    import torch.distributed as dist

    local = int(os.environ["LOCAL_RANK"])
    if device == "cuda":
        if local >= torch.cuda.device_count():
            raise InputError(
                f"{os.environ['LOCAL_WORLD_SIZE']} processes, but {torch.cuda.device_count()} GPUs",
                "start one process per GPU, or use --device cpu",
            )
        torch.cuda.set_device(local)
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        if (store := restart_store()) is None:
            dist.init_process_group(backend, timeout=PATIENCE)
        else:
            rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
            dist.init_process_group(
                backend, timeout=PATIENCE, store=store, rank=rank, world_size=size
            )
    return Group(dist.get_rank(), dist.get_world_size(), local)


def restart_store() -> PrefixStore | None:
    """The store in which processes find each other; None for PyTorch's own choice.

    torchrun's own store outlives its processes. Those that are started again would find the
    addresses of the dead ones in it (PyTorch 2.13), so each start has a prefix of its own there.
    Several torchruns count starts differently: InputError where they may restart over that store.
    """
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    environ = os.environ
    if environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    if int(environ.get("GROUP_WORLD_SIZE", "1")) > 1:
        if int(environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0:
            raise InputError(
                "restarts over several machines would hang",
                "export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 before torchrun",
            )
        return None
    store = TCPStore(environ["MASTER_ADDR"], int(environ["MASTER_PORT"]), is_master=False)
    return PrefixStore(f"triptych/{environ['TORCHELASTIC_RESTART_COUNT']}", store)


def speaks() -> bool:
    """Whether this process writes to the terminal: the first one of the job."""
    return not in_group() or os.environ.get("RANK", "0") == "0"


def speaks_here() -> bool:
    """Whether this process writes to the terminal what concerns one machine: its first one."""
    return not in_group() or os.environ.get("LOCAL_RANK", "0") == "0"


def lost(error: RuntimeError) -> bool:
    """Whether an error says that other processes do not answer any more."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or "gloo" in str(error)


def leave() -> None:
    """Close the connections to other processes, so that torch does not warn at exit.

    Shared networks keep the connection open, so the caller must have dropped them. Otherwise its
    threads live on, and one that outlives Python aborts the process (PyTorch 2.13).
    """
    import gc
    import sys

    if "torch.distributed" in sys.modules:
        import torch.distributed as dist

        if dist.is_available() and dist.is_initialized():
            gc.collect()  # DistributedDataParallel refers to itself
            dist.destroy_process_group()
