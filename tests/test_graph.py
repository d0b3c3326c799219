"""A captured round computes what an eager one does, and reads nothing of the host but its inputs.

`recorder.py` stands in for CUDA's graphs where there is no GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from tests.making import make_images
from tests.recorder import recording
from tests.truths import MACHINE
from triptych import config, hardware
from triptych.config import ImageShape
from triptych.data.batches import Batches
from triptych.data.dataset import Part
from triptych.families import registry
from triptych.families.diffusion import guidance
from triptych.training import graph
from triptych.training.ahead import Ahead
from triptych.training.loop import progress_of
from triptych.training.optimizer import ObjectiveOptimizer
from triptych.training.plan import Plan
from triptych.training.state import WARM_UP_ROUNDS, TrainingState

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPE, BATCH = ImageShape(channels=3, resolution=16), 8
MODELS = map(registry.ModelName.parse, registry.known_models())
NAMES = [  # of images; those of points have the same objectives
    str(name)
    for name in MODELS
    if registry.is_trained(name.family) and not registry.recipe(name).points
]
# Both regimes of whatever has regimes within a few rounds.
SETTINGS = {
    "gan:r1": ("penalty_every=3",),
    "vae:ladder": ("join=0.4", "warm_up=0.9"),
}
ROUNDS = 10
SAME = 0.0 if DEVICE == "cpu" else 1e-3  # GPUs add in any order
FITTED = 400


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On a GPU two trainings are alike only without TF32, by convolutions that add in one order."""
    if DEVICE == "cpu":
        yield
        return
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    with hardware.without_tf32():
        yield


def images() -> Part:
    pixels, labels = make_images(FITTED, side=SHAPE.resolution)
    return Part(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels))


def fresh(name: str, *settings: str, shape: ImageShape = SHAPE) -> TrainingState:
    """Without graphs."""
    model = registry.ModelName.parse(name)
    chosen = registry.defaults(model, "tiny", shape)
    chosen = replace(
        config.override(chosen, (*SETTINGS.get(name, ()), *settings)), batch_size=BATCH
    )
    made = registry.build(model, chosen, shape, seed=0)
    part = images()
    made.fit_before_training(part.images, 0, part.labels)
    return TrainingState(registry.place(made, DEVICE).train(), chosen)


def captured(state: TrainingState) -> TrainingState:
    """The same with captured rounds."""
    state.graphs = graph.Graphs(recording(state) if DEVICE == "cpu" else None)
    return state


def train(state: TrainingState, rounds: int = ROUNDS, microbatch: int | None = None) -> None:
    batches, plan = Batches(images(), BATCH, seed=0, device=DEVICE), Plan.straight(ROUNDS * BATCH)
    machine = replace(MACHINE, device=DEVICE, microbatch=microbatch)
    for _ in range(rounds):
        state.step(batches, 0, plan, machine)


def apart(one: TrainingState, other: TrainingState, first: TrainingState) -> float:
    """The largest distance of a file's tensors, as a share of how far they were moved."""
    shares = []
    before = first.moved()
    for (name, mine), theirs in zip(one.moved().items(), other.moved().values(), strict=True):
        if name in before and len(before[name]) == len(mine):
            way = graph.distance(before[name], theirs)
            shares.append(graph.distance(mine, theirs) / way if way else float(way > 0))
    return max(shares)


ALWAYS = {"vae:ladder", "gan:r1", "diffusion:x0", "vae:sigma", "gan:wgan-gp"}  # sweeps try all


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=[pytest.mark.sweep] * (each not in ALWAYS)) for each in NAMES],
)
def test_a_captured_training_is_the_eager_one(name: str) -> None:
    eager, graphs = fresh(name), captured(fresh(name))
    train(eager)
    train(graphs)
    assert graphs.graphs is not None and graphs.graphs.refused is None
    assert graphs.graphs.captured
    assert apart(graphs, eager, fresh(name)) < 1e-3  # measured: 1.7e-4; Muon enlarges rounding
    mine, theirs = graphs.tally.read(), eager.tally.read()
    assert mine[0] == pytest.approx(theirs[0], rel=1e-4, abs=1e-6) and mine[1] == theirs[1]
    assert graphs.tally.counts == eager.tally.counts


def test_each_regime_has_a_graph_of_its_own() -> None:
    gan, vae = captured(fresh("gan:r1")), captured(fresh("vae:ladder"))
    train(gan)
    train(vae)
    assert gan.graphs is not None and vae.graphs is not None
    assert set(gan.graphs.captured) == {((0, due), (1, None)) for due in (True, False)}
    assert set(vae.graphs.captured) == {((0, joined),) for joined in (True, False)}


def test_labels_and_split_batches_are_captured() -> None:
    shape = replace(SHAPE, classes=10)
    both = fresh("diffusion:x0", shape=shape), captured(fresh("diffusion:x0", shape=shape))
    for state in both:
        train(state, microbatch=3)
    assert both[1].graphs is not None and both[1].graphs.captured
    assert apart(both[1], both[0], fresh("diffusion:x0", shape=shape)) < 1e-3


def test_a_state_that_goes_back_drops_its_graphs() -> None:
    """Its moments are other tensors then; a graph would move the ones of before."""
    eager, graphs = fresh("gan:r1"), captured(fresh("gan:r1"))
    for state in (eager, graphs):
        train(state, 5)
        files = {
            part: {name: tensor.clone() for name, tensor in tensors.items()}
            for part, tensors in state.tensors().items()
        }
        progress = progress_of(state, seconds=0.0, log_bytes=0)
        train(state, 4)
        state.load(files, progress)
        train(state, 9)
    assert graphs.graphs is not None and graphs.graphs.captured
    assert apart(graphs, eager, fresh("gan:r1")) < 1e-3


def test_a_round_of_another_phase_is_another_one() -> None:
    eager, graphs = fresh("gan:r1"), captured(fresh("gan:r1"))
    for state in (eager, graphs):
        train(state, 7)
        state.next_phase()
        train(state, 6)
    assert graphs.graphs is not None and graphs.graphs.refused is None
    assert list(graphs.graphs.captured) == [((2, None),)]
    assert apart(graphs, eager, fresh("gan:r1")) < 1e-3


def test_what_needs_the_host_stays_eager_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    eager, graphs = fresh("vae:course"), captured(fresh("vae:course"))
    step = ObjectiveOptimizer.step

    def asks(self: ObjectiveOptimizer, rates: Mapping[str, float | Tensor]) -> Tensor:
        assert all(p.grad.sum().item() != 0.1 for p in self.parameters if p.grad is not None)
        return step(self, rates)

    train(eager)
    monkeypatch.setattr(ObjectiveOptimizer, "step", asks)
    train(graphs)
    assert graphs.graphs is not None and not graphs.graphs.captured
    said = "not permitted" if DEVICE == "cpu" else "synchronizing CUDA operation"
    assert said in (graphs.graphs.refused or "")
    assert apart(graphs, eager, fresh("vae:course")) <= SAME


def test_a_graph_that_computes_something_else_is_refused() -> None:
    """Whatever went wrong with it: here it misses the averages."""
    eager, graphs = fresh("vae:ladder"), captured(fresh("vae:ladder"))
    assert graphs.graphs is not None and graphs.ema is not None
    right = graphs.graphs.record
    average = graphs.ema

    def misses(work: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        replay, returned = right(work)

        def replay_but_averages() -> None:
            kept = {name: tensor.clone() for name, tensor in average.state.items()}
            replay()
            for name, tensor in kept.items():
                average.state[name].copy_(tensor)

        return replay_but_averages, returned

    graphs.graphs.record = misses
    train(eager)
    train(graphs)
    assert not graphs.graphs.captured
    assert "differs from an eager one" in (graphs.graphs.refused or "")
    assert apart(graphs, eager, fresh("vae:ladder")) <= SAME


def test_what_is_no_number_is_farther_than_anything() -> None:
    nothing = [[torch.tensor(0.0)], [torch.tensor(0.0)]]
    spoilt = [[torch.tensor(math.nan)], [torch.tensor(1.0)]]
    assert graph.farthest(spoilt, [[torch.tensor(1.0)]] * 2, nothing) == math.inf


def test_a_graph_that_forgets_an_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is recorded with inputs of an earlier round and held against eager rounds on others."""
    graphs = captured(fresh("vae:ladder"))
    assert graphs.graphs is not None
    monkeypatch.setattr(graph.Round, "fill", lambda self, other: None)
    train(graphs)
    assert "differs from an eager one" in (graphs.graphs.refused or "")


def wrong_at_first(state: TrainingState, times: int) -> TrainingState:
    """One whose first graphs compute nothing when they are repeated."""
    assert state.graphs is not None
    right, left = state.graphs.record, [times]

    def record(work: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        replay, returned = right(work)
        left[0] -= 1
        return (replay if left[0] < 0 else lambda: None), returned

    state.graphs.record = record
    return state


def test_one_odd_round_is_tried_again() -> None:
    eager, graphs = fresh("vae:ladder"), wrong_at_first(captured(fresh("vae:ladder")), 1)
    train(eager)
    train(graphs)
    assert graphs.graphs is not None and graphs.graphs.refused is None
    assert graphs.graphs.captured
    assert apart(graphs, eager, fresh("vae:ladder")) < 1e-3


def test_graphs_that_were_refused_for_odd_rounds_are_tried_again_in_what_follows() -> None:
    """As after the rounds that measure the speed, which move next to nothing; twice at most."""
    for times, revived in ((2, True), (4, True), (6, False)):
        state = wrong_at_first(captured(fresh("vae:course")), times)
        assert state.graphs is not None
        for _ in range(times // 2):
            train(state, 5)
            assert state.graphs.refused
            state.forget_graphs()
        train(state, 5)
        assert (state.graphs.refused is None) == bool(state.graphs.captured) == revived


def test_a_recording_that_failed_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch keeps the memory of each."""
    state = captured(fresh("vae:course"))
    assert state.graphs is not None
    tried: list[int] = []

    def fails(work: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        tried.append(1)
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    state.graphs.record = fails
    train(state, 5)
    state.forget_graphs()
    train(state, 5)
    assert len(tried) == 1 and state.graphs.refused == "operation not permitted"


def test_what_waits_for_the_gpu_is_refused_before_it_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    eager, graphs = fresh("vae:course"), captured(fresh("vae:course"))
    modes: list[str] = ["default"]
    monkeypatch.setattr("torch.cuda.get_sync_debug_mode", lambda: modes[-1])
    monkeypatch.setattr("torch.cuda.set_sync_debug_mode", modes.append)
    with graph.refusing_to_wait(torch.device("cuda")):
        assert modes[-1] == "error"
    with graph.refusing_to_wait(torch.device("cpu")):
        assert modes == ["default", "error", "default"]

    @contextmanager
    def refuses(device: torch.device) -> Iterator[None]:
        raise RuntimeError("called a synchronizing CUDA operation")
        yield

    monkeypatch.setattr(graph, "refusing_to_wait", refuses)
    assert graphs.graphs is not None
    graphs.graphs.record = lambda work: pytest.fail("recorded")
    train(eager)
    train(graphs)
    assert graphs.graphs.refused == "called a synchronizing CUDA operation"
    assert apart(graphs, eager, fresh("vae:course")) <= SAME


def test_a_warm_up_ends_when_rounds_of_every_kind_are_captured() -> None:
    assert fresh("gan:r1").warm_up == WARM_UP_ROUNDS
    state = captured(fresh("gan:r1", "penalty_every=5"))
    assert state.graphs is not None
    assert state.warm_up == WARM_UP_ROUNDS + 11  # the penalty's third round is the eleventh
    train(state, 10)
    assert len(state.graphs.captured) == 1
    train(state, 1)
    assert len(state.graphs.captured) == 2


def test_a_trial_holds_its_copies_in_the_host_s_memory() -> None:
    """Here of tensors on another device, as far as such can be copied."""
    with FakeTensorMode() as mode:
        there = FakeTensor(mode, torch.empty(3, device="meta"), torch.device("cuda"))
        [[copy]] = graph.on_host([[there]])
    assert copy.device.type == "cpu"
    here = torch.ones(3)
    [[copy]] = graph.on_host([[here]])
    assert torch.equal(copy, here) and copy.data_ptr() != here.data_ptr()


@pytest.mark.sweep
def test_a_guided_teacher_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    if DEVICE == "cpu":
        monkeypatch.setattr(guidance, "may_pick_rows", lambda x: False)
    teacher = fresh("diffusion:edm")
    both = []
    for make in (TrainingState, lambda *made: captured(TrainingState(*made))):
        name = registry.ModelName.parse("diffusion:consistency")
        settings = registry.defaults(name, "tiny", SHAPE)
        recipe = registry.recipe(name)
        assert recipe.take_over is not None
        theirs = registry.defaults(registry.ModelName.parse("diffusion:edm"), "tiny", SHAPE)
        settings = replace(recipe.take_over(settings, "diffusion:edm", theirs), batch_size=BATCH)
        student = registry.build(name, settings, SHAPE, seed=0)
        student.learn_from(teacher.model)
        both.append(make(student.to(DEVICE).train(), settings))
        train(both[-1])
    assert both[1].graphs is not None and both[1].graphs.refused is None
    assert both[1].graphs.captured
    assert graph.distance(both[0].checked()[0], both[1].checked()[0]) < 1e-3 * graph.distance(
        both[0].checked()[0], list(teacher.model.parameters())
    )


def test_noise_drawn_ahead_is_the_same() -> None:
    plain, ahead = fresh("gan:r1"), fresh("gan:r1")
    ahead.ahead = Ahead()
    for state in (plain, ahead):
        train(state, 5)
        state.next_phase()  # what was drawn ahead is of the phase before
        train(state, 3)
    assert apart(ahead, plain, fresh("gan:r1")) <= SAME
    asked: list[int] = []
    drawn = Ahead[int, int]()

    def make(key: int) -> int:
        asked.append(key)
        return key

    assert [drawn.get(key, key + 1, make) for key in (3, 4, 9)] == [3, 4, 9]
    drawn.thread.shutdown()
    assert sorted(asked) == [3, 4, 5, 9, 10]


def test_a_round_that_moves_nothing_is_no_trial_of_a_graph() -> None:
    """As in float16, where the first steps of a loss that is scaled too much are left out."""
    eager, graphs = fresh("vae:course"), captured(fresh("vae:course"))
    assert graphs.graphs is not None
    rates = ObjectiveOptimizer.rates_at
    for state in (eager, graphs):
        optimizer = state.optimizers[0]
        optimizer.rates_at = lambda *share, optimizer=optimizer: dict.fromkeys(  # type: ignore[method-assign]
            rates(optimizer, *share), 0.0
        )
        train(state, 5)
        assert graph.distance(state.checked()[0], fresh("vae:course").checked()[0]) == 0
        del optimizer.rates_at
    assert not graphs.graphs.captured and graphs.graphs.refused is None
    for state in (eager, graphs):
        train(state, 5)
    assert graphs.graphs.captured
    assert apart(graphs, eager, fresh("vae:course")) < 1e-3


def test_gpus_convolve_with_channels_last() -> None:
    model = registry.build(
        registry.ModelName.parse("diffusion:x0"),
        registry.defaults(registry.ModelName.parse("diffusion:x0"), "tiny", SHAPE),
        SHAPE,
        seed=0,
    )
    last = torch.channels_last
    kernels = [p for p in model.parameters() if p.ndim == 4 and min(p.shape) > 1]
    assert not any(p.is_contiguous(memory_format=last) for p in kernels)
    registry.place(model, "cpu")
    assert not any(p.is_contiguous(memory_format=last) for p in kernels)
    placed = registry.place(model, "meta")
    kernels = [p for p in placed.parameters() if p.ndim == 4 and min(p.shape) > 1]
    assert kernels and all(p.is_contiguous(memory_format=last) for p in kernels)


def test_apple_gpus_convolve_with_channels_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a model that its recipe lays out the other way."""
    name = registry.ModelName.parse("gan:r1")
    model = registry.build(name, registry.defaults(name, "tiny", SHAPE), SHAPE, seed=0)
    kernels = [p for p in model.parameters() if p.ndim == 4 and min(p.shape) > 1]
    assert kernels and not any(p.is_contiguous() for p in kernels)
    to = torch.nn.Module.to
    monkeypatch.setattr(
        torch.nn.Module, "to", lambda model, *place, **layout: layout and to(model, **layout)
    )
    kernels = [p for p in registry.place(model, "mps").parameters() if p.ndim == 4]
    assert all(p.is_contiguous() for p in kernels)
