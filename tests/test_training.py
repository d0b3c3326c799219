"""The loop, budgets, averages and checkpoints, on models small enough to train in a second."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from triptych import files, hardware
from triptych.config import Budget, ImageShape, OptimizerConfig, Settings
from triptych.console import QUIET
from triptych.data.augment import Augment
from triptych.data.batches import Batches
from triptych.data.dataset import ImageData, Part
from triptych.errors import InputError, InterruptedRunError
from triptych.families.latent import Latent
from triptych.families.protocol import Batch, GenerativeModel, Objective
from triptych.options import TrainRequest
from triptych.seeding import ImageStreams, generator
from triptych.training import calibration, checkpoint, loop, resolve
from triptych.training import train as training
from triptych.training.ema import EMA, power_exponent
from triptych.training.optimizer import rate_factor
from triptych.training.plan import Plan
from triptych.training.run_folder import RunFolder
from triptych.training.state import TrainingState

MACHINE = hardware.pick(device="cpu", precision="fp32", threads=1)
SHAPE = ImageShape(channels=1, resolution=16)
SMALL = {"vae:sigma": ("widths=8,16",), "diffusion:edm": ("widths=8,16,16", "steps=4")}


def part(count: int, name: str) -> Part:
    images = torch.randint(
        256, (count, *SHAPE.size), generator=generator(0, name), dtype=torch.uint8
    )
    return Part(images, torch.arange(count) % 4)


DATA = ImageData(
    name="noise",
    source="noise",
    fingerprint="0" * 16,
    fit="stretch",
    classes=("a", "b", "c", "d"),
    notes=(),
    train=part(200, "train"),
    validation=part(20, "validation"),
    test=part(20, "test"),
)


def request(
    model: str = "vae:sigma",
    budget: str = "1.28kimg",
    *overrides: str,
    data: ImageData = DATA,
    **others: Any,
) -> resolve.ResolvedRequest:
    sets = ("batch_size=32", *SMALL.get(model, ()), *overrides)
    asked = TrainRequest(model=model, budget=budget, size="tiny", set=sets, **others)
    return resolve.resolve(asked, data=data)


def train(wanted: resolve.ResolvedRequest, out: Path) -> RunFolder:
    return training.train(wanted, out, MACHINE, QUIET)


def digest(folder: RunFolder) -> str:
    return files.sha256(folder.weights)


class Counting(Objective):
    """Pulls one number towards the images' mean; counts its steps."""

    def __init__(self, name: str, **rhythm: Any) -> None:
        super().__init__()
        self.name = name
        self.optimizer = OptimizerConfig(learning_rate=0.1)
        self.value = nn.Parameter(torch.zeros(()))
        self.steps: list[Tensor] = []
        self.draws: list[Tensor] = []
        for key, setting in rhythm.items():
            setattr(self, key, setting)

    def noise(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"draw": torch.randn(count, generator=generator)}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        self.steps.append(batch.images)
        self.draws.append(batch.noise["draw"])
        return {"total": (self.value - batch.images.mean()) ** 2 + 0 * batch.noise["draw"].sum()}


class Toy(GenerativeModel):
    """Whatever objectives it is given."""

    shape = SHAPE

    def __init__(self, objectives: Sequence[Objective]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(objectives)

    def objectives(self) -> Sequence[Objective]:
        return list(self.parts)  # type: ignore[arg-type]

    def networks(self) -> Sequence[nn.Module]:
        return []

    def draw_latent(self, count: int, rng: ImageStreams, labels: Tensor | None = None) -> Latent:
        return Latent({"z": rng.normal(1)}, "straight")

    def decode(self, latent: Latent, rng: ImageStreams) -> Tensor:
        return latent.tensors["z"].view(-1, 1, 1, 1).expand(-1, *SHAPE.size)

    @property
    def network_calls(self) -> int:
        return 1


def rounds(state: TrainingState, count: int, planned: int = 320) -> None:
    batches = Batches(DATA.train, state.batch_size, seed=0)
    for _ in range(count):
        state.step(batches, 0, Plan.straight(planned), MACHINE)


def test_rhythm_and_phases() -> None:
    """`every`, `repeats` and `phase` do what they say; repeats see images of their own."""
    plain, seldom = Counting("plain"), Counting("seldom", every=2)
    eager, later = Counting("eager", repeats=3), Counting("later", phase=1, share=0.5)
    state = TrainingState(Toy([plain, seldom, eager, later]), Settings(batch_size=32))
    assert state.phases(320) == [320, 160]
    rounds(state, 4)
    counts = [len(objective.steps) for objective in (plain, seldom, eager, later)]
    assert counts == [4, 2, 12, 0]
    assert not torch.equal(eager.steps[0], eager.steps[1])
    assert torch.equal(plain.steps[0], eager.steps[0])
    state.phase, state.seen = 1, 0
    rounds(state, 1)
    assert [len(objective.steps) for objective in (plain, later)] == [4, 1]


def test_every_step_has_noise_of_its_own() -> None:
    """Fresh in each round, repeat and objective; the same again for the same seed."""

    def draws() -> list[Tensor]:
        first, second = Counting("first", repeats=2), Counting("second")
        rounds(TrainingState(Toy([first, second]), Settings(batch_size=32)), 3)
        return first.draws + second.draws

    found = draws()
    assert len({draw.numpy().tobytes() for draw in found}) == len(found) == 9
    assert all(torch.equal(a, b) for a, b in zip(found, draws(), strict=True))


class Told(Counting):
    """Keeps what each step is told of the training."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.told: list[tuple[float, int]] = []

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        self.told.append((batch.progress, batch.step_index))
        return super().forward(batch)


def test_every_step_is_told_how_far_training_is() -> None:
    """Before it, in its phase: so losses warm up, and lazy penalties are not always due."""
    first, later = Told("first"), Told("later")
    later.phase = 1
    state = TrainingState(Toy([first, later]), Settings(batch_size=32))
    rounds(state, 4, planned=320)
    state.phase, state.seen = 1, 0
    rounds(state, 2, planned=64)
    assert first.told == [(0.0, 0), (0.1, 1), (0.2, 2), (0.3, 3)]
    assert later.told == [(0.0, 0), (0.5, 1)]


def drawn_by(seed: int, rank: int = 0, ranks: int = 1) -> list[Tensor]:
    """The noise of two rounds of 32 images in all."""
    one = Counting("one")
    state = TrainingState(Toy([one]), Settings(batch_size=32))
    batches = Batches(DATA.train, 32, seed=0, rank=rank, ranks=ranks)
    for _ in range(2):
        state.step(batches, seed, Plan.straight(320), MACHINE)
    return one.draws


def test_seeds_and_processes_have_noise_of_their_own() -> None:
    """What two processes draw is, row after row, what one draws alone; another seed draws other."""
    alone, first, second = drawn_by(0), drawn_by(0, 0, 2), drawn_by(0, 1, 2)
    for whole, *parts in zip(alone, first, second, strict=True):
        assert [len(part) for part in parts] == [16, 16]
        assert torch.equal(torch.cat(parts), whole)
    assert not any(torch.equal(a, b) for a, b in zip(alone, drawn_by(1), strict=True))


@pytest.mark.parametrize("rewinds", [0, 1, 2, 3])
def test_every_rewind_halves_the_learning_rate(rewinds: int) -> None:
    state = TrainingState(Toy([Counting("one")]), Settings(batch_size=32))
    state.rewinds = rewinds
    rounds(state, 1)
    [group] = state.optimizers[0].optimizers["adamw"].param_groups
    assert group["lr"] == pytest.approx(0.1 / 2**rewinds)


def test_rate_schedule() -> None:
    flat = OptimizerConfig(learning_rate=1.0)
    assert [rate_factor(flat, share) for share in (0.0, 0.5, 1.0)] == [1, 1, 1]
    cosine = OptimizerConfig(learning_rate=1.0, warmup=0.2, decay="cosine")
    found = [rate_factor(cosine, share) for share in (0.0, 0.1, 0.2, 0.6, 1.0)]
    assert found == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_average_is_the_power_profile() -> None:
    """theta_hat = sum t^gamma theta(t) / sum t^gamma, up to discretisation; its width is sigma."""
    width = 0.1
    gamma = power_exponent(width)
    expected = math.sqrt((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3)))
    assert expected == pytest.approx(width, rel=1e-9)
    model = nn.Linear(1, 1, bias=False).double()
    average = EMA(model, width)
    total = 4000
    for t in range(1, total + 1):  # theta(t) = t/T: its average is the profile's mean
        nn.init.constant_(model.weight, t / total)
        average.update(average.keep(t - 1, t))
    mean = (gamma + 1) / (gamma + 2)
    assert average.state["weight"].item() == pytest.approx(mean, rel=1e-3)
    with average.applied():
        assert model.weight.item() == pytest.approx(mean, rel=1e-3)
    assert model.weight.item() == 1.0


def test_counters_of_the_average_are_those_of_the_model() -> None:
    """A number of batches has no mean."""
    layer = nn.BatchNorm1d(2)
    average = EMA(layer, 0.1)
    for t in range(1, 4):
        layer(torch.randn(8, 2))
        average.update(average.keep(t - 1, t))
    assert average.state["num_batches_tracked"].item() == 3
    assert not torch.equal(average.state["running_mean"], layer.running_mean)


def test_average_of_constant_weights_is_exact() -> None:
    model = nn.Linear(3, 2)
    average = EMA(model, 0.1)
    for t in range(1, 10):
        average.update(average.keep(t - 1, t))
    assert all(torch.equal(average.state[k], v) for k, v in model.state_dict().items())


def test_the_average_takes_in_the_weights_after_their_step() -> None:
    """All that the profile t^gamma weighs after one round are the weights that it left."""
    state = TrainingState(Toy([Counting("one")]), Settings(batch_size=32, ema=0.1))
    rounds(state, 1)
    assert state.ema is not None
    [(name, average)] = state.ema.state.items()
    assert average.item() == state.model.state_dict()[name].item() != 0


def test_every_seed_has_an_order_of_the_data_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first batches of two trainings; of the same one, the same again."""
    shown: list[list[Tensor]] = []
    take = Batches.at

    def watched(batches: Batches, *where: Any) -> tuple[Tensor, Tensor | None]:
        found = take(batches, *where)
        shown[-1].append(found[0])
        return found

    monkeypatch.setattr(Batches, "at", watched)
    for number, seed in enumerate((0, 1, 1)):
        shown.append([])
        train(request("vae:sigma", "0.32kimg", seed=seed), tmp_path / str(number))
    first, second, again = (each[:10] for each in shown)
    assert len(first) == 10
    assert not any(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(second, again, strict=True))


def test_budgets() -> None:
    def plan(text: str, checkpoint: float = 0.05, grid: float = 1.8) -> calibration.Planned:
        speed = calibration.Speed(
            per_image=[0.5 / 64, 0.25 / 64],
            shares=[1.0, 0.1],
            grid=grid,
            checkpoint=checkpoint,
            finishing=2.0,
            threads=1,
            tried={},
        )
        return calibration.planned_images(Budget.parse(text), 1000, 64, lambda: speed, lambda: 3.0)

    assert plan("6.4kimg").images == 6400
    assert plan("70.4kimg").images == 70400  # no rounding error in the thousands
    assert plan("2epochs").images == 1984  # whole batches
    # (100 - 3 - 2 * 1.8 - 20 * 0.05 - 2) / (0.5 + 0.1 * 0.25) rounds
    assert plan("100s").images == 64 * 172
    # Quicker pictures are drawn on the way too, for 1.5 s: (100 - 3 - 5 * 0.5 - 1 - 2) / 0.525
    assert plan("100s", grid=0.5).images == 64 * 174
    with pytest.raises(InputError, match=r"for 0 steps.*give at least 14s on this machine"):
        plan("1s")  # 1.2 times 3 + 2 * 1.8 + 2 * 0.05 + 2 + 5 * 0.525
    # Checkpoints take 1 % of the time at most, but for the last two.
    assert [plan("100s", seconds).checkpoints for seconds in (0.05, 0.2, 3)] == [20, 5, 2]
    assert plan("6.4kimg").checkpoints == 20


def test_pictures_on_the_way_are_left_out_where_they_take_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first and the last are always drawn, those between for 1.5 % of the time so far.

    On a clock that only steps and pictures move: 40 steps of a second each. One that takes 0.25 s
    may be drawn after 16.7 s, another after 33.3 s: at the first of 16 parts that ends later.
    """
    now, cost = 0.0, 0.0
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: now))
    draw, move = training.save_grid, TrainingState.step

    def drawing(*arguments: Any) -> None:
        nonlocal now
        draw(*arguments)
        now += cost

    def moving(state: TrainingState, *arguments: Any) -> None:
        nonlocal now
        move(state, *arguments)
        now += 1.0

    monkeypatch.setattr(training, "save_grid", drawing)
    monkeypatch.setattr(TrainingState, "step", moving)
    sixteenths = [96, 160, 256, 320, 416, 480, 576, 640, 736, 800, 896, 960, 1056, 1120, 1216]
    every = [0, 32, 64, *sixteenths, 1280]  # after whole batches of 32
    for cost, expected in ((0.0, every), (0.25, [0, 576, 1056, 1280]), (5.0, [0, 1280])):
        folder = train(request("vae:sigma"), tmp_path / str(cost))
        assert sorted(int(path.stem) for path in folder.samples.iterdir()) == expected


def test_only_the_training_part_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What training shows the model is the training part: not validation, not test."""
    shown: list[Part] = []

    class Recording(Batches):
        def __init__(self, part: Part, *rest: Any) -> None:
            shown.append(part)
            super().__init__(part, *rest)

    monkeypatch.setattr(training, "Batches", Recording)
    train(request(), tmp_path / "run")
    assert [part is DATA.train for part in shown] == [True]


def state_digests(folder: Path) -> dict[str, str]:
    return {path.name: files.sha256(path) for path in folder.glob("*.safetensors")}


@pytest.mark.parametrize(
    "model",
    ["vae:sigma", "gan:course", pytest.param("diffusion:edm", marks=pytest.mark.sweep)],
)
def test_resume_is_bit_exact(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle of an epoch and resumed: weights, moments, average and log agree."""
    kept: dict[str, dict[str, str]] = {}
    save = checkpoint.save

    def keep(folder: Path, tensors: checkpoint.Tensors, progress: dict[str, Any]) -> Path:
        path = save(folder, tensors, progress)
        kept.setdefault(folder.parent.name, {})
        kept[folder.parent.name] |= {path.name: json.dumps(state_digests(path), sort_keys=True)}
        return path

    monkeypatch.setattr(checkpoint, "save", keep)
    whole = train(request(model), tmp_path / "whole")
    original = TrainingState.step

    def stop_in_the_middle(state: TrainingState, *arguments: Any) -> None:
        original(state, *arguments)
        if state.seen == 19 * 32:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(TrainingState, "step", stop_in_the_middle)
    with pytest.raises(InterruptedRunError) as stopped:
        train(request(model), tmp_path / "parts")
    assert stopped.value.exit_code == 143
    monkeypatch.setattr(TrainingState, "step", original)
    parts = train(request(model), tmp_path / "parts")
    assert digest(whole) == digest(parts)
    common = kept["whole"].keys() & kept["parts"].keys()
    later = len(training.fresh_state(request(model), MACHINE).shares())
    assert len(common) in range(
        calibration.MOST_CHECKPOINTS, calibration.MOST_CHECKPOINTS + 3 * later + 1
    )
    assert all(kept["whole"][name] == kept["parts"][name] for name in common)
    logs = [
        [
            (event["images"], event["losses"])
            for event in map(json.loads, folder.log.read_text().splitlines())
            if event["event"] == "losses"
        ]
        for folder in (whole, parts)
    ]
    assert logs[0] == logs[1]


def test_trained_run_is_complete_and_left_alone(tmp_path: Path) -> None:
    folder = train(request(), tmp_path / "run")
    names = {path.name for path in folder.path.iterdir()}
    assert names == {"run.json", "model.safetensors", "log.jsonl", "samples", "checkpoints"}
    grids = sorted(path.name for path in folder.samples.iterdir())
    assert grids[0] == "000000000.png" and grids[-1] == "000001280.png"
    before = folder.weights.stat().st_mtime_ns
    train(request(), tmp_path / "run")
    assert folder.weights.stat().st_mtime_ns == before


def test_saved_weights_are_the_average(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    averages: list[dict[str, Tensor]] = []
    live: list[dict[str, Tensor]] = []
    next_phase = TrainingState.next_phase

    def noted(state: TrainingState) -> None:
        assert state.ema is not None
        averages.append({k: t.clone() for k, t in state.ema.state.items()})
        live.append({k: t.clone() for k, t in state.model.state_dict().items()})
        next_phase(state)

    monkeypatch.setattr(TrainingState, "next_phase", noted)
    saved = load_file(train(request(), tmp_path / "run").weights)
    settled = {"log_std"}
    assert {k for k in saved if not torch.equal(saved[k], averages[0][k])} <= settled
    assert not any(torch.equal(saved[k], live[0][k]) for k in saved if "weight" in k)


def test_course_recipe_keeps_no_average(tmp_path: Path) -> None:
    assert TrainingState(Toy([Counting("one")]), Settings()).ema is None
    assert request("vae:course").settings.ema is None


def test_output_folder_must_be_ours(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="not a run of ours"):
        train(request(), other)
    assert [path.name for path in other.iterdir()] == ["letter.txt"]
    with pytest.raises(InputError, match="is a file"):
        train(request(), other / "letter.txt")
    train(request(), tmp_path / "run")
    with pytest.raises(InputError, match="other settings"):
        train(request("vae:sigma", "1.28kimg", "latent=3"), tmp_path / "run")
    with pytest.raises(InputError, match="another seed"):
        train(request(seed=1), tmp_path / "run")


@pytest.mark.parametrize("augment", [Augment(flip=True), Augment(crop=2)])
def test_varied_images_train_another_model_and_are_recorded(
    tmp_path: Path, augment: Augment
) -> None:
    plain = train(request(), tmp_path / "plain")
    wanted = request()
    wanted = replace(wanted, data=replace(wanted.data, augment=augment))
    varied = train(wanted, tmp_path / "varied")
    assert digest(varied) != digest(plain)
    described = varied.read().data
    assert (described.flip, described.crop) == (augment.flip, augment.crop)
    with pytest.raises(InputError, match=r"a run of another (flips|crops)"):
        train(wanted, tmp_path / "plain")
