"""Training in half precision: near float32, with losses scaled in float16; on a GPU where there
is one. And what devices without float64 need."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.test_graph import BATCH, DEVICE, NAMES, captured, fresh, images
from tests.truths import MACHINE
from triptych.config import Settings
from triptych.data.batches import Batches
from triptych.families import registry
from triptych.images import to_float64
from triptych.training import graph
from triptych.training import optimizer as optimizer_module
from triptych.training.loop import progress_of
from triptych.training.optimizer import (
    DOUBLING_STEPS,
    FIRST_SCALE,
    LEAST_SCALE,
    LossScale,
    ObjectiveOptimizer,
)
from triptych.training.plan import Plan
from triptych.training.state import TrainingState

STEPS = 200 if DEVICE == "cuda" else 8
SETTLED = {"vae:ladder": 4.0, "gan:r1": FIRST_SCALE, "diffusion:x0": FIRST_SCALE}
# Distance from the weights of float32 after these steps, as a share of the way there. Measured on
# a CPU, bf16 and fp16: 0.015 and 0.002 (vae), 0.75 and 0.60 (gan), 0.11 and 0.015 (diffusion).


def train(state: TrainingState, precision: str, steps: int = STEPS) -> None:
    batches, plan = Batches(images(), BATCH, seed=0, device=DEVICE), Plan.straight(STEPS * BATCH)
    machine = replace(MACHINE, device=DEVICE, precision=precision)
    for _ in range(steps):
        state.step(batches, 0, plan, machine)


def in_half(state: TrainingState, precision: str = "fp16") -> TrainingState:
    """The same, whose losses are scaled as that precision needs it."""
    return TrainingState(state.model, settings_of(state), precision=precision)


def settings_of(state: TrainingState) -> Settings:
    return Settings(batch_size=state.batch_size, ema=state.widths[0], ema_wide=state.widths[1])


def weights(state: TrainingState) -> list[Tensor]:
    return [tensor.clone() for part in state.checked()[: len(state.optimizers)] for tensor in part]


@pytest.mark.parametrize(
    "name", ["vae:ladder", "gan:r1", pytest.param("diffusion:x0", marks=pytest.mark.sweep)]
)
def test_half_precision_learns_what_float32_does(name: str) -> None:
    start = weights(fresh(name))
    ends = {}
    for precision in ("fp32", "bf16", "fp16"):
        state = in_half(fresh(name), precision)
        for optimizer in state.optimizers:
            if optimizer.loss_scale is not None:
                optimizer.loss_scale.scale.fill_(SETTLED[name])
        train(state, precision)
        assert state.tally.read()[1] == dict.fromkeys(state.tally.objectives(), 0)
        ends[precision] = weights(state)
    way = graph.distance(start, ends["fp32"])
    apart = {p: graph.distance(ends[p], ends["fp32"]) / way for p in ("bf16", "fp16")}
    print(name, apart)
    if name.startswith("gan") and DEVICE == "cuda":  # whose kernels alone lead a game so far apart
        assert all(0 < share < 2 for share in apart.values())
    else:
        assert 0 < apart["fp16"] < apart["bf16"] < 1


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_takes_steps_in_half_precision(name: str, precision: str) -> None:
    """With augmentation where it has one, since few images turn that on."""
    model = registry.ModelName.parse(name)
    augments = registry.recipe(model).augments_few
    state = in_half(fresh(name, *["augment=true"] * augments), precision)
    for optimizer in state.optimizers:
        if optimizer.loss_scale is not None:
            optimizer.loss_scale.scale.fill_(1.0)
    before = weights(state)
    train(state, precision, steps=2)  # the first one is of learning rate 0
    means, masked = state.tally.read()
    assert all(map(math.isfinite, means.values())) and not any(masked.values())
    assert graph.distance(before, weights(state)) > 0


def test_small_gradients_survive_float16() -> None:
    """A weight whose gradient lies below float16's least number: unscaled it would not move."""
    x = torch.full((4, 8), 1e-4)

    def gradient(factor: float) -> float:
        layer = torch.nn.Linear(8, 1, bias=False)
        torch.nn.init.ones_(layer.weight)
        with torch.autocast("cpu", torch.float16):
            loss = (layer(x).float() * 1e-5).mean()
        (loss * factor).backward()  # type: ignore[no-untyped-call]
        assert layer.weight.grad is not None
        return layer.weight.grad.sum().item() / factor

    assert gradient(1.0) == 0
    assert gradient(FIRST_SCALE) == pytest.approx(8e-9, rel=0.05)


def test_the_scale_is_halved_by_what_overflows_and_doubled_by_what_does_not() -> None:
    scale, good, bad = LossScale(torch.device("cpu")), torch.zeros(()), torch.ones(())
    scale.update(bad)
    assert scale.scale == FIRST_SCALE / 2
    for _ in range(DOUBLING_STEPS - 1):
        scale.update(good)
    assert scale.scale == FIRST_SCALE / 2
    scale.update(good)
    assert scale.scale == FIRST_SCALE and scale.finite_steps == 0
    for _ in range(40):
        scale.update(bad)
    assert scale.scale == LEAST_SCALE


def test_moments_are_of_the_loss_not_of_the_scaled_one() -> None:
    """AdamW's steps would hardly tell: they are the same at any scale."""
    found = []
    for precision in ("fp32", "fp16"):
        state = in_half(fresh("vae:course"), precision)
        if (scale := state.optimizers[0].loss_scale) is not None:
            scale.scale.fill_(2.0**6)
        train(state, precision, steps=1)
        tensors = state.optimizers[0].tensors()
        found.append([t for name, t in tensors.items() if name.endswith("/exp_avg")])
    nothing = [torch.zeros_like(t) for t in found[0]]
    assert graph.distance(*found) < 0.05 * graph.distance(nothing, found[0])


def test_too_large_a_scale_costs_steps_but_is_no_trouble() -> None:
    state = in_half(fresh("vae:course"))
    optimizer = state.optimizers[0]
    assert optimizer.loss_scale is not None
    optimizer.loss_scale.scale.fill_(2.0**40)  # float16 ends at 2^16
    before = weights(state)
    train(state, "fp16", steps=1)
    assert graph.distance(before, weights(state)) == 0
    assert optimizer.loss_scale.scale < 2.0**40
    means, masked = state.tally.read()
    assert masked == {optimizer.objective.name: 0} and all(v == v for v in means.values())
    train(state, "fp16", steps=30)
    assert graph.distance(before, weights(state)) > 0


def test_a_loss_that_is_not_finite_is_trouble_at_any_scale() -> None:
    state = in_half(fresh("vae:course"))
    optimizer, lost = state.optimizers[0], torch.ones(())
    assert optimizer.loss_scale is not None
    optimizer.loss_scale.update(lost)
    assert optimizer.trouble(torch.tensor(1.0), lost) == 0
    assert optimizer.trouble(torch.tensor(torch.nan), lost) == 1
    optimizer.loss_scale.scale.fill_(LEAST_SCALE)
    optimizer.loss_scale.update(lost)
    assert optimizer.trouble(torch.tensor(1.0), lost) == 1


def test_the_scale_is_resumed_and_captured() -> None:
    """Eager and captured rounds go on from each other's checkpoints."""
    whole, first, second = (in_half(fresh("vae:course")) for _ in range(3))
    for state in (whole, first, second):
        assert state.optimizers[0].loss_scale is not None
        state.optimizers[0].loss_scale.scale.fill_(2.0**7)
    train(whole, "fp16", 8)
    train(captured(first), "fp16", 4)
    second.load(first.tensors(), progress_of(first, seconds=0.0, log_bytes=0))
    train(second, "fp16", 4)
    third = captured(in_half(fresh("vae:course")))
    third.load(second.tensors(), progress_of(second, seconds=0.0, log_bytes=0))
    assert first.graphs is not None and first.graphs.captured
    for state in (whole, second, third):
        scale = state.optimizers[0].loss_scale
        assert scale is not None
        assert scale.scale == 2.0**7 and scale.finite_steps == 8
    start = weights(fresh("vae:course"))
    way = graph.distance(start, weights(whole))
    assert graph.distance(weights(second), weights(whole)) < 0.05 * way


def test_a_masked_step_is_undone_where_adamw_does_not_heed_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on Apple's GPUs: here an AdamW that takes every step, the first one masked too."""
    step = torch.optim.AdamW.step

    def heedless(self: torch.optim.AdamW, closure: Any = None) -> Any:
        del self.found_inf  # type: ignore[attr-defined]
        return step(self)

    plain, ends = ObjectiveOptimizer.gradients, []
    for heeds in (True, False):
        state = fresh("vae:course")
        optimizer = state.optimizers[0]
        if not heeds:
            monkeypatch.setattr(optimizer_module, "HEED_FOUND_INF", ())
            monkeypatch.setattr(torch.optim.AdamW, "step", heedless)
        for lost in (True, False, True, False):

            def gradients(self: ObjectiveOptimizer, *inputs: Any, lost: bool = lost) -> Any:
                losses = plain(self, *inputs)
                if lost:
                    self.parameters[0].grad.fill_(torch.nan)  # type: ignore[union-attr]
                return losses

            monkeypatch.setattr(ObjectiveOptimizer, "gradients", gradients)
            train(state, "fp32", steps=1)
            monkeypatch.setattr(ObjectiveOptimizer, "gradients", plain)
        ends.append([t.clone() for t in (*optimizer.parameters, *optimizer.tensors().values())])
    for mine, theirs in zip(*ends, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-8)


class NoFloat64(TorchDispatchMode):
    """Raises at whatever makes numbers in float64, as GPUs without them do."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.dtype == torch.float64:
                raise RuntimeError(f"{func} makes float64")
        return out


@pytest.mark.parametrize("name", NAMES)
def test_training_needs_no_float64(name: str) -> None:
    """Neither what a round computes nor its inputs as they reach the device."""
    state = fresh(name)
    batches, plan = Batches(images(), BATCH, seed=0, device=DEVICE), Plan.straight(99 * BATCH)
    machine = replace(MACHINE, device=DEVICE)
    inputs = state.round(batches, 0, plan)
    for value in inputs.inputs():
        assert not isinstance(value, Tensor) or value.dtype != torch.float64
    with NoFloat64():
        state.compute(inputs, machine)


def test_float64_is_on_the_processor_where_the_device_has_none() -> None:
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    assert to_float64(torch.ones(2, device=DEVICE)).device.type == DEVICE
    mode = FakeTensorMode()
    with mode:
        apple = FakeTensor(mode, torch.empty(3, device="meta"), torch.device("mps"))
        found = to_float64(apple)
    assert (found.device.type, found.dtype) == ("cpu", torch.float64)
