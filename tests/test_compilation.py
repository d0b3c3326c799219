"""torch.compile is tried where it may pay, and kept where it is faster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.test_graph import captured, fresh
from tests.test_training import request
from triptych import hardware
from triptych.config import Budget
from triptych.console import QUIET
from triptych.hardware import COMPILED_FROM, Machine
from triptych.records import Note, Speed
from triptych.training import compilation
from triptych.training import train as training
from triptych.training.compilation import may_try, try_compiled
from triptych.training.run_folder import RunFolder
from triptych.training.train import Training

OURS = {"compile": Note("not_compiled")}
GPU = Machine(device="cuda", precision="bf16", threads=1, choices=OURS)
LONG = Budget.parse(f"{COMPILED_FROM}s")
PLAIN = Speed(per_image=(2.0,), shares=(1.0,), grid=0.0, checkpoint=0.0)


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """An entry for each call of what torch.compile took, which here it leaves as it is."""
    calls: list[bool] = []

    def watched(forward: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            calls.append(True)
            return forward(*given, **more)

        return call

    monkeypatch.setattr(torch, "compile", watched)
    return calls


@pytest.fixture
def compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "c_compiler", lambda: "gcc")
    monkeypatch.setattr(compilation, "find_spec", lambda name: object())


@pytest.mark.usefixtures("compilers")
def test_it_is_tried_in_long_trainings_on_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert may_try(GPU, LONG) and may_try(GPU, Budget.parse("1h"))
    assert not may_try(GPU, Budget.parse(f"{COMPILED_FROM - 1}s"))
    assert not may_try(GPU, Budget.parse("100000kimg"))
    assert not may_try(replace(GPU, device="cpu"), LONG)
    assert not may_try(replace(GPU, choices={}), LONG)  # the user chose
    assert not may_try(replace(GPU, group=replace(GPU.group, size=2)), LONG)
    for name in ("c_compiler", "find_spec"):
        with monkeypatch.context() as patch:
            patch.setattr(compilation, name, lambda *asked: None)
            assert not may_try(GPU, LONG)


def is_compiled(network: nn.Module) -> bool:
    return network._compiled_call_impl is not None


@pytest.mark.parametrize(("seconds", "kept"), [(1.0, True), (2.5, False)])
def test_the_faster_way_is_kept(seconds: float, kept: bool) -> None:
    state = fresh("vae:sigma")
    other = replace(PLAIN, per_image=(seconds,))

    def measure(machine: Machine) -> Speed:
        assert machine.compile and all(map(is_compiled, state.model.networks()))
        return other

    machine, speed = try_compiled(state, GPU, PLAIN, measure)
    assert machine.compile == kept and speed == (other if kept else PLAIN)
    assert all(is_compiled(network) == kept for network in state.model.networks())
    told = machine.choices["compile"]
    assert told.code == ("compiled" if kept else "compiled_slower")
    assert told.values["ratio"] == 2.0 / seconds


def test_what_fails_leaves_everything_as_it_was() -> None:
    state = captured(fresh("vae:sigma"))
    assert state.graphs is not None
    state.graphs.refused = "by compiled rounds"

    def measure(machine: Machine) -> Speed:
        raise RuntimeError("Cannot find a working triton installation.\nMore of it")

    machine, speed = try_compiled(state, GPU, PLAIN, measure)
    assert not machine.compile and speed == PLAIN and state.graphs.refused is None
    reason = "Cannot find a working triton installation."
    assert machine.choices["compile"] == Note("compile_failed", {"reason": reason})
    assert not any(map(is_compiled, state.model.networks()))


def test_an_interruption_is_no_failure() -> None:
    def measure(machine: Machine) -> Speed:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        try_compiled(fresh("vae:sigma"), GPU, PLAIN, measure)


def test_a_compiled_training_is_recorded_and_goes_on_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: list[bool]
) -> None:
    """`--compile` need not be given again, for it was not given."""
    monkeypatch.setattr(training, "may_try", lambda machine, budget: True)
    plain = training.calibrate

    def calibrate(*given: Any) -> Speed:
        """As if compiled rounds took half the time."""
        speed, factor = plain(*given), 0.5 if given[-1].compile else 1.0
        return replace(speed, per_image=tuple(factor * s for s in speed.per_image))

    monkeypatch.setattr(training, "calibrate", calibrate)
    machine = hardware.pick("cpu", "fp32", 1)
    wanted = request("vae:sigma", "12s", "widths=8,8")
    (tmp_path / "run").mkdir()
    begun = Training(wanted, RunFolder(tmp_path / "run"), machine, QUIET)
    assert not begun.advance(0.2)
    begun.save()
    record = RunFolder(tmp_path / "run").read()
    assert record.compile and record.choices["compile"].code == "compiled"
    assert "--compile" not in record.command
    calls.clear()
    folder = training.train(wanted, tmp_path / "run", machine, QUIET)
    assert folder.read().done and calls
