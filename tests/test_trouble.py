"""Steps that are not finite: masked at once, named, and left behind by going back."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.test_training import MACHINE, Counting, digest, request, rounds, train
from triptych.data.batches import Batches
from triptych.errors import InterruptedRunError, TrainingFailedError
from triptych.families.protocol import Batch
from triptych.records import Event, Note, as_json
from triptych.training import checkpoint, loop
from triptych.training import train as training
from triptych.training.log import RunLog
from triptych.training.monitor import Checkups
from triptych.training.optimizer import ObjectiveOptimizer
from triptych.training.state import TrainingState


def test_a_step_that_is_not_finite_changes_nothing() -> None:
    """Neither weights nor moments move, and the tally tells how many steps were left out."""
    objective = Counting("one")
    optimizer = ObjectiveOptimizer(objective)
    optimizer.gradients(Batch(torch.ones(2, 1, 4, 4), None, {"draw": torch.zeros(2)}), MACHINE)
    assert optimizer.step(optimizer.rates_at(0.0)).item() == 0
    moved = objective.value.item()
    state = {name: tensor.clone() for name, tensor in optimizer.tensors().items()}
    for poison in (math.nan, math.inf):
        optimizer.backward(objective.value * poison)
        assert optimizer.step(optimizer.rates_at(0.0)).item() == 1
        assert objective.value.item() == moved
        assert all(torch.equal(state[name], tensor) for name, tensor in optimizer.tensors().items())


def events_of(folder: Path, kind: str) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [event for event in events if event["event"] == kind]


def test_training_says_when_nothing_is_finite(tmp_path: Path) -> None:
    wanted = request("vae:sigma", "3.2kimg", "optimizer.learning_rate=1e30", "optimizer.warmup=0")
    with pytest.raises(TrainingFailedError, match="not finite"):
        train(wanted, tmp_path / "run")
    assert events_of(tmp_path / "run", "warning")
    assert len(events_of(tmp_path / "run", "rewind")) == loop.REWINDS


def poison_while_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """From half of the plan on, steps at more than a third of the learning rate go wrong."""
    move, rates_at = ObjectiveOptimizer.step, ObjectiveOptimizer.rates_at
    wrong: dict[ObjectiveOptimizer, bool] = {}

    def noted(self: ObjectiveOptimizer, share: float, caution: float = 1.0) -> dict[str, float]:
        wrong[self] = share >= 0.5 and caution > 1 / 3
        return rates_at(self, share, caution)

    def poisoned(self: ObjectiveOptimizer, rates: Mapping[str, float | Tensor]) -> Tensor:
        if wrong[self]:
            next(p.grad for p in self.parameters if p.grad is not None).mul_(math.nan)
        return move(self, rates)

    monkeypatch.setattr(ObjectiveOptimizer, "rates_at", noted)
    monkeypatch.setattr(ObjectiveOptimizer, "step", poisoned)


def test_trouble_leads_back_to_checkpoints_at_lower_rates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """160 steps of 32 images: a checkpoint every 256, a return after 20 bad steps or more."""
    poison_while_fast(monkeypatch)
    folder = train(request("vae:sigma", "5.12kimg"), tmp_path / "run")
    assert folder.read().status == "done"
    first, second = events_of(folder.path, "rewind")
    assert first["images"] >= 2560 + 20 * 32
    assert first["to"] == 2560  # the last one before the trouble
    assert first["note"]["values"]["n"] == loop.PATIENCE
    assert second["to"] == 2304  # the first one's checkpoint did not help
    losses = events_of(folder.path, "losses")
    assert losses[-1]["images"] == 5120 and None not in losses[-1]["losses"].values()


def test_an_interruption_after_the_trouble_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lowered rate and the half-filled log interval are part of what is resumed."""
    poison_while_fast(monkeypatch)
    whole = train(request("vae:sigma", "5.12kimg"), tmp_path / "whole")
    write = RunLog.write

    def interrupt(self: RunLog, event: Event) -> None:
        write(self, event)
        if event.event == "losses" and event.images == 4352:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(RunLog, "write", interrupt)
        with pytest.raises(InterruptedRunError):
            train(request("vae:sigma", "5.12kimg"), tmp_path / "cut")
    resumed = train(request("vae:sigma", "5.12kimg"), tmp_path / "cut")
    assert digest(resumed) == digest(whole)
    kept = ("images", "losses")
    of_whole, of_resumed = (events_of(folder.path, "losses") for folder in (whole, resumed))
    assert [[e[k] for k in kept] for e in of_whole] == [[e[k] for k in kept] for e in of_resumed]


def test_trouble_stops_where_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison_while_fast(monkeypatch)
    wanted = replace(request("vae:sigma", "5.12kimg"), on_trouble="stop")
    with pytest.raises(TrainingFailedError, match="training stopped at image"):
        train(wanted, tmp_path / "run")
    assert not events_of(tmp_path / "run", "rewind")
    assert checkpoint.complete(tmp_path / "run" / "checkpoints")


COLLAPSE = Note("generator_collapsed", {"spread": 0.03, "reach": 0.2, "least": 0.4})


def collapse(monkeypatch: pytest.MonkeyPatch, returns: int) -> None:
    """From half of the plan on, until there were so many returns, every round finds a collapse."""

    def found(self: Checkups, before: int, log: RunLog) -> Note | None:
        late = self.state.seen >= self.plan.planned / 2
        return COLLAPSE if late and self.state.rewinds < returns else None

    monkeypatch.setattr(Checkups, "__call__", found)


def test_a_collapse_leads_back_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At image 2560, where a checkpoint was due: back to the one before, then the one before that.

    A collapse that stays is told so often and no more, for the model is still one.
    """
    collapse(monkeypatch, returns=2)
    folder = train(request("vae:sigma", "5.12kimg"), tmp_path / "run")
    assert folder.read().status == "done"
    found = events_of(folder.path, "rewind")
    assert [(event["images"], event["to"]) for event in found] == [(2560, 2304), (2560, 2048)]
    assert found[0]["note"] == as_json(COLLAPSE)
    collapse(monkeypatch, returns=100)
    folder = train(request("vae:sigma", "5.12kimg"), tmp_path / "ever")
    assert folder.read().status == "done"
    assert len(events_of(folder.path, "rewind")) == loop.REWINDS


def test_a_collapse_stops_where_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collapse(monkeypatch, returns=2)
    wanted = replace(request("vae:sigma", "5.12kimg"), on_trouble="stop")
    with pytest.raises(TrainingFailedError, match="at image 2560: the generator collapsed"):
        train(wanted, tmp_path / "run")


def test_an_interruption_amid_a_collapse_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal comes in the very round that finds it: the way back is gone first."""
    collapse(monkeypatch, returns=2)
    whole = train(request("vae:sigma", "5.12kimg"), tmp_path / "whole")
    one_round = TrainingState.step

    def interrupt_round(self: TrainingState, *arguments: Any) -> None:
        one_round(self, *arguments)
        if self.seen == 2560 and self.rewinds == 0:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "step", interrupt_round)
        with pytest.raises(InterruptedRunError):
            train(request("vae:sigma", "5.12kimg"), tmp_path / "cut")
    assert len(events_of(tmp_path / "cut", "rewind")) == 1
    resumed = train(request("vae:sigma", "5.12kimg"), tmp_path / "cut")
    assert digest(resumed) == digest(whole)


@pytest.mark.parametrize("model", ["vae:course", "gan:course"])
def test_a_masked_step_leaves_batch_statistics_as_they_were(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One poisoned batch would otherwise spoil them for ever."""
    wanted = request(model)
    state = training.fresh_state(wanted, MACHINE)
    rounds(state, 2)
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    at = Batches.at

    def poisoned(self: Batches, *place: int) -> tuple[Tensor, Tensor | None]:
        images, labels = at(self, *place)
        return images * math.nan, labels

    with monkeypatch.context() as patch:
        patch.setattr(Batches, "at", poisoned)
        rounds(state, 1)
    gathered = [name for name in before if "running_" in name]
    assert gathered
    if model == "vae:course":  # in a GAN the generator's step, without real images, is finite
        assert all(torch.equal(state.model.state_dict()[name], before[name]) for name in gathered)
    rounds(state, 1)
    assert all(value.isfinite().all() for value in state.model.state_dict().values())
    assert any(not torch.equal(state.model.state_dict()[n], before[n]) for n in gathered)


@pytest.mark.parametrize("model", ["vae:course", "gan:course"])
def test_averages_hold_batch_statistics_too(model: str) -> None:
    """The first round's weights are all that the average of one round is of."""
    state = training.fresh_state(request(model, "1.28kimg", "ema=0.1"), MACHINE)
    rounds(state, 1)
    assert state.ema is not None
    for name, tensor in state.model.state_dict().items():
        if "running_" in name:
            assert tensor.abs().sum() > 0 and not torch.equal(tensor, torch.ones_like(tensor))
            torch.testing.assert_close(state.ema.state[name], tensor)
