"""Rounds of training as CUDA graphs: the host fills buffers and launches once.

A small model's round is thousands of kernels, each shorter than its launch: eager, the GPU waits
for the host most of the time. Captured, all of them (forward and backward passes, the mask of a
step that is not finite, optimizers, averages, running means) are launched together. What differs
from round to round, images, noise, learning rates, is copied into the buffers that were captured.

A graph repeats the decisions of the round that was captured. Those that change on the way are in
`Round.key`: each key has a graph of its own, such as a GAN's rounds with the gradient penalty.
"""

from __future__ import annotations

import gc
import math
import weakref
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from triptych.families.protocol import Batch
from triptych.training.optimizer import ObjectiveOptimizer

EAGER_ROUNDS = 2  # of each key, before it is captured: optimizers make their moments in the first
MOST_OFF = 0.3  # of a captured round from the eager one, as a share of how far a round moves
MOST_NOISE = 3.0  # or as a multiple of how far two eager rounds are apart
MOST_ODD = 1  # trials of a key that may come out otherwise before graphs are refused
MOST_REVIVALS = 2  # times that graphs are tried again after they were refused
IN_FLIGHT = 2  # rounds that the host may be ahead of the GPU
Scalar = float | Tensor  # a tensor [] where it may change after a capture


@dataclass(frozen=True)
class Turn:
    """The inputs of one step of one objective.

    rates: learning rates, by the name of the optimizer
    """

    optimizer: ObjectiveOptimizer
    batch: Batch
    rates: Mapping[str, Scalar]


@dataclass(frozen=True)
class Round:
    """All inputs of one round; nothing else of the host may reach what it computes.

    key:   whatever is decided on the host; rounds of one key compute alike
    keeps: the share of each average that stays
    """

    key: Hashable
    turns: tuple[Turn, ...]
    keeps: Mapping[str, Scalar]

    def buffers(self) -> Round:
        """A copy whose inputs are all tensors that stay where they are."""
        device = self.turns[0].batch.images.device

        def held(value: Scalar) -> Tensor:
            if isinstance(value, Tensor):
                return value.clone()
            return torch.full((), value, device=device)

        turns = []
        for turn in self.turns:
            batch = replace(
                turn.batch,
                images=held(turn.batch.images),
                labels=None if turn.batch.labels is None else held(turn.batch.labels),
                noise={name: held(tensor) for name, tensor in turn.batch.noise.items()},
                scalars={name: held(value) for name, value in turn.batch.scalars.items()},
            )
            rates = {name: held(rate) for name, rate in turn.rates.items()}
            turns.append(replace(turn, batch=batch, rates=rates))
        return replace(self, turns=tuple(turns), keeps={n: held(k) for n, k in self.keeps.items()})

    def inputs(self) -> list[Scalar]:
        """All of them, in the same order for all rounds of a key."""
        found: list[Scalar] = []
        for turn in self.turns:
            batch = turn.batch
            found += [batch.images, *([] if batch.labels is None else [batch.labels])]
            found += [*batch.noise.values(), *batch.scalars.values(), *turn.rates.values()]
        return [*found, *self.keeps.values()]

    def fill(self, other: Round) -> None:
        """Take over the inputs of a round of the same key; these are buffers."""
        for mine, theirs in zip(self.inputs(), other.inputs(), strict=True):
            assert isinstance(mine, Tensor)
            if isinstance(theirs, Tensor):
                mine.copy_(theirs, non_blocking=True)
            else:
                mine.fill_(theirs)


Run = Callable[[Round], Any]  # computes a round; what it returns is the same for all of a key
Record = Callable[[Callable[[], Any]], tuple[Callable[[], None], Any]]


class Moved(Protocol):
    """What is trained, as `Graphs` sees it."""

    def moved(self) -> dict[str, list[Tensor]]:
        """All tensors that a round changes, by what they are part of."""

    def checked(self) -> list[list[Tensor]]:
        """Those by which it is told whether a round did what it should; each list apart.

        The last one is of sums of losses, which change whether anything is learned or not.
        """


class CUDARecorder:
    """What repeats some work on the GPU, which is not done meanwhile; and what the work returns.

    All graphs share their memory, which holds nothing from one round to the next. Other threads
    may go on, such as the one that draws noise into pinned memory.
    """

    def __init__(self) -> None:
        self.latest: weakref.ref[torch.cuda.CUDAGraph] | None = None

    def __call__(self, work: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """Raises RuntimeError where the work cannot be recorded."""
        latest = None if self.latest is None else self.latest()
        pool = None if latest is None else latest.pool()
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        gc.collect()  # a backward pass that is still alive would be on another stream
        try:
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                returned = work()
        except RuntimeError as error:
            torch.cuda.set_stream(stream)  # which the context leaves where the recording was lost
            raise RuntimeError(str(error.__context__ or error)) from error
        self.latest = weakref.ref(graph)
        return graph.replay, returned


@dataclass(frozen=True)
class Captured:
    """A recorded round: its buffers, what computes it, and what it returns."""

    buffers: Round
    replay: Callable[[], None]
    returned: Any


class OddRoundError(RuntimeError):
    """A captured round computed something else than an eager one."""


class Graphs:
    """Rounds of one training, each eager at first and captured then.

    record:  captures what it is given
    refused: why all rounds stay eager; None while they are captured
    odd:     trials of each key that came out otherwise
    """

    def __init__(self, record: Record | None = None) -> None:
        self.record = record or CUDARecorder()
        self.met: Counter[Hashable] = Counter()
        self.buffers: dict[Hashable, Round] = {}  # with the inputs of each key's last eager round
        self.captured: dict[Hashable, Captured] = {}
        self.refused: str | None = None
        self.odd: Counter[Hashable] = Counter()
        self.revivals = MOST_REVIVALS

    def forget(self) -> None:
        """Drop all graphs: other tensors took the place of those that they change.

        Graphs that were refused for an odd trial get another one: rounds that move next to nothing,
        such as those that measure the speed, differ by rounding. A recording that failed is not
        repeated, for PyTorch keeps its memory (its issues 180395 and 190308).
        """
        self.drop()
        if self.refused is not None and self.odd and self.revivals:
            self.refused = None
            self.revivals -= 1
        self.odd.clear()

    def drop(self) -> None:
        """All graphs, and what was learned of the rounds."""
        self.captured.clear()
        self.buffers.clear()
        self.met.clear()

    def __call__(self, inputs: Round, run: Run, trained: Moved) -> Any:
        """Compute a round, as `run` does eagerly; returns what that returns."""
        if self.refused is not None or not inputs.turns:
            return run(inputs)
        captured = self.captured.get(inputs.key)
        if captured is not None:
            captured.buffers.fill(inputs)
            captured.replay()
            return captured.returned
        self.met[inputs.key] += 1
        if self.met[inputs.key] <= EAGER_ROUNDS:
            if self.met[inputs.key] == EAGER_ROUNDS:
                self.buffers[inputs.key] = inputs.buffers()
            return run(inputs)
        return self.capture(inputs, run, trained)

    def capture(self, inputs: Round, run: Run, trained: Moved) -> Any:
        """Compute a round and keep a graph of it, if that does the same as the eager round."""
        before: dict[str, list[Tensor]] | None = None
        try:
            before = copied(trained)
            return self.tried(inputs, run, trained, before)
        except OddRoundError as error:
            self.odd[inputs.key] += 1
            if self.odd[inputs.key] > MOST_ODD:
                self.refuse(error)
            else:
                self.buffers[inputs.key] = inputs.buffers()
        except RuntimeError as error:  # what cannot be recorded, too little memory
            self.odd.clear()
            self.refuse(error)
        if before is not None:
            put_back(trained, before)
        return run(inputs)

    def refuse(self, error: RuntimeError) -> None:
        """Leave all rounds eager from now on."""
        self.refused = str(error).partition("\n")[0]
        self.drop()

    def tried(
        self, inputs: Round, run: Run, trained: Moved, before: dict[str, list[Tensor]]
    ) -> Any:
        """The round by a new graph; RuntimeError where that is not what eager rounds compute.

        The graph is recorded with the inputs of an earlier round, so that one it does not take over
        shows. Two eager rounds tell how far rounding leads apart; the second one also whether
        something waits for the GPU, which would end the recording with memory lost.
        """
        start = on_host(trained.checked())
        returned = run(inputs)
        first = on_host(trained.checked())
        if not any(map(distance, start[:-1], first[:-1])):
            return returned  # a masked round tells nothing of a graph: the next one is tried
        put_back(trained, before)
        with refusing_to_wait(inputs.turns[0].batch.images.device):
            run(inputs)
        noise = farthest(trained.checked(), first, start)
        put_back(trained, before)
        buffers = self.buffers.pop(inputs.key)
        replay, returned = self.record(lambda: run(buffers))
        buffers.fill(inputs)
        replay()
        off = farthest(trained.checked(), first, start)
        if off > max(MOST_OFF, MOST_NOISE * noise):
            raise OddRoundError(f"a captured round differs from an eager one by {off:.0%}")
        self.captured[inputs.key] = Captured(buffers, replay, returned)
        return returned


@contextmanager
def refusing_to_wait(device: torch.device) -> Iterator[None]:
    """Inside, an operation that waits for an NVIDIA GPU raises RuntimeError."""
    if device.type != "cuda":
        yield
        return
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def on_host(parts: list[list[Tensor]]) -> list[list[Tensor]]:
    """Copies in the host's memory: a trial must not need more of the GPU's than training does."""
    return [[t.detach().to("cpu", copy=True) for t in tensors] for tensors in parts]


def copied(trained: Moved) -> dict[str, list[Tensor]]:
    """What all that a round changes is now."""
    parts = trained.moved()
    return dict(zip(parts, on_host(list(parts.values())), strict=True))


@torch.no_grad()
def put_back(trained: Moved, values: dict[str, list[Tensor]]) -> None:
    """Bring all that a round changes to what it was."""
    for part, tensors in trained.moved().items():
        for tensor, value in zip(tensors, values[part], strict=True):
            tensor.copy_(value)


def farthest(
    now: list[list[Tensor]], wanted: list[list[Tensor]], start: list[list[Tensor]]
) -> float:
    """How far the worst part is from what is wanted, as a share of the way there from the start."""
    worst = 0.0
    for here, there, before in zip(now, wanted, start, strict=True):
        apart, way = distance(here, there), distance(before, there)
        off = apart / way if way else float(apart > 0)
        worst = math.inf if math.isnan(off) else max(worst, off)
    return worst


@torch.no_grad()
def distance(these: list[Tensor], others: list[Tensor]) -> float:
    """Euclidean, of all numbers together, which may be on different devices."""
    squares = [
        (x.double() - y.to(x.device).double()).square().sum()
        for x, y in zip(these, others, strict=True)
    ]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


class Pace:
    """Keeps the host from running far ahead of the GPU.

    Else its clock would tell how fast rounds are launched, not how fast they are computed.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.events: deque[torch.cuda.Event] = deque()

    def keep(self) -> None:
        """Call after each round: waits until an earlier one is done; not on CUDA, this one."""
        if self.device.type != "cuda":
            torch.accelerator.synchronize()
            return
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self.events.append(event)
        if len(self.events) > IN_FLIGHT:
            self.events.popleft().synchronize()
