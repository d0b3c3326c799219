"""Whether networks go through torch.compile: tried on GPUs, in trainings long enough to pay for it.

What it gains depends on the card, the network and PyTorch's version, so nothing is foretold: the
speed is measured without it and with it, and it is kept where it is clearly faster. The seconds
that this takes are of the budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib.util import find_spec

import torch

from triptych.config import Budget
from triptych.hardware import COMPILED_FROM, Machine, c_compiler
from triptych.records import Note, Speed
from triptych.training.graph import Graphs
from triptych.training.state import TrainingState

LEAST_GAIN = 1.05  # two measurements of the same speed may differ by less


def may_try(machine: Machine, budget: Budget) -> bool:
    """Whether the choice is ours and compiling would be a small part of the budget, in seconds.

    Not where several processes would have to agree, nor without what compiles for GPUs.
    """
    ours = "compile" in machine.choices and machine.group.size == 1
    lasts = budget.unit == "seconds" and budget.amount >= COMPILED_FROM
    there = machine.device == "cuda" and c_compiler() is not None and find_spec("triton")
    return bool(ours and lasts and there)


def try_compiled(
    state: TrainingState, machine: Machine, plain: Speed, measure: Callable[[Machine], Speed]
) -> tuple[Machine, Speed]:
    """The way to train a fresh state, with torch.compile where that gains enough, and its speed.

    plain:   the speed without torch.compile
    measure: the speed on another machine; it leaves the state as it was
    """
    compiling, started = replace(machine, compile=True), time.perf_counter()
    try:
        for network in state.model.networks():
            network.compile()
        speed = measure(compiling)
    except Exception as error:  # of PyTorch's compiler, Triton's or the card's own
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        choice = Note("compile_failed", {"reason": reason})
    else:
        ratio, seconds = plain.per_planned / speed.per_planned, time.perf_counter() - started
        tried = {"ratio": round(ratio, 2), "seconds": round(seconds)}
        if ratio >= LEAST_GAIN:
            choice = Note("compiled", {**tried})
            return replace(compiling, choices=machine.choices | {"compile": choice}), speed
        choice = Note("compiled_slower", {**tried})
    for network in state.model.networks():
        network._compiled_call_impl = None  # as before `compile`
    if state.graphs is not None:
        state.graphs = Graphs()  # what compiled rounds were refused for need not hold without
    return replace(machine, choices=machine.choices | {"compile": choice}), plain


def uncompiled(machine: Machine) -> AbstractContextManager[object]:
    """Inside, networks run as they were written: to compile them for the few images of a
    picture, a score or a diagnosis would take longer than these do.
    """
    return torch.compiler.set_stance("force_eager") if machine.compile else nullcontext()
