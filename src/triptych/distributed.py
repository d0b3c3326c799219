"""Processes that train, sample and measure one model together.

torchrun starts them and says in the environment who is who; gloo joins them on CPUs, nccl on
GPUs. Every process runs the same program: work is shared, the first one alone writes and speaks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from triptych.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)  # for one that is silent: it may be training the classifier


@dataclass(frozen=True)
class Group:
    """The processes of one job; alone, every exchange gives back what it was given.

    rank: this one's number; size: how many there are; local: its number on its own machine
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def barrier(self) -> None:
        """Until all are here."""
        if self.size > 1:
            import torch.distributed as dist

            dist.barrier()

    def all_reduce_max(self, number: int) -> int:
        """The largest of the processes' numbers; on CPUs, so that no GPU is waited for."""
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
        """What `make` gives in the first process, as JSON; its InputError is everybody's.

        Only the first one runs it, so nothing in it may wait for the others.
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
        """This process's share of so many rows: runs that differ by one at most."""
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
        """The first process's text."""
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
TOLD = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")  # by torchrun


def in_group() -> bool:
    """Whether torchrun started more than this process."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def processes_here() -> int:
    """How many processes of the job are on this machine."""
    count = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, int(count)) if count.isdigit() else 1


def join(device: str) -> Group:
    """Meet the processes that torchrun started; `ALONE` where there is but one.

    Raises InputError where this machine has fewer GPUs than processes, or where restarts would
    make the processes look for each other in vain.
    """
    if not in_group():
        return ALONE
    if (
        not all(os.environ.get(name, "").isdigit() for name in TOLD)
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
        dist.init_process_group(backend, timeout=PATIENCE, **meeting_place())
    return Group(dist.get_rank(), dist.get_world_size(), local)


def meeting_place() -> dict[str, Any]:
    """Where processes find each other: arguments of `init_process_group`, none for the usual.

    torchrun's own store outlives its processes, and those that were started again would find the
    addresses of the dead in it (PyTorch 2.13): each life has a corner of its own there. Several
    torchruns count lives differently: InputError where they may restart over that store.
    """
    from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

    told = os.environ
    if told.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return {}
    if int(told.get("GROUP_WORLD_SIZE", "1")) > 1:
        if int(told.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0:
            raise InputError(
                "restarts over several machines would hang",
                "export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 before torchrun",
            )
        return {}
    store = TCPStore(told["MASTER_ADDR"], int(told["MASTER_PORT"]), is_master=False)
    life = PrefixStore(f"triptych/{told['TORCHELASTIC_RESTART_COUNT']}", store)
    return {"store": life, "rank": int(told["RANK"]), "world_size": int(told["WORLD_SIZE"])}


def speaks() -> bool:
    """Whether this process is the one that talks to the user, as torchrun's environment says."""
    return not in_group() or os.environ.get("RANK") == "0"


def speaks_here() -> bool:
    """The same for what concerns one machine."""
    return not in_group() or os.environ.get("LOCAL_RANK") == "0"


def lost(error: RuntimeError) -> bool:
    """Whether an error says that other processes do not answer any more."""
    import torch.distributed as dist

    return isinstance(error, dist.DistError) or "gloo" in str(error)


def leave() -> None:
    """Part from the others, so that nothing is said at exit of connections left open.

    Networks that were shared hold on to the connection: who calls this has let go of them. Else
    its threads live on, and one that meets Python's end aborts the process (PyTorch 2.13).
    """
    import gc
    import sys

    if "torch.distributed" in sys.modules:
        import torch.distributed as dist

        if dist.is_available() and dist.is_initialized():
            gc.collect()  # DistributedDataParallel refers to itself
            dist.destroy_process_group()
