"""Snapshots along training: when, how scored, and that the best one is the run's model."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.test_training import DATA, MACHINE, Counting, Toy, digest, request, rounds
from tests.truths import random_pixels
from triptych.config import ImageShape, Settings
from triptych.console import QUIET
from triptych.data.dataset import Part
from triptych.errors import InterruptedRunError
from triptych.families import registry
from triptych.families.labels import Labels
from triptych.families.protocol import GenerativeModel
from triptych.hardware import Machine
from triptych.records import Scored
from triptych.tasks import sample
from triptych.training import snapshots
from triptych.training import train as training
from triptych.training.log import RunLog
from triptych.training.plan import Plan
from triptych.training.run_folder import RunFolder, save_weights
from triptych.training.snapshots import Scorer, Selection, scorer
from triptych.training.state import TrainingState

PLANNED = 1280
PLACES = [384, 512, 640, 768, 896, 1024, 1152, 1280]  # 0.3, 0.4, ... 1 of them


class Told:
    """Scores as they are told, one after another; keeps the weights it saw."""

    def __init__(self, *values: float) -> None:
        self.values, self.seen = list(values), []  # type: ignore[var-annotated]

    def __call__(self, model: GenerativeModel, count: int, machine: Machine) -> float:
        self.seen.append({key: t.clone() for key, t in model.state_dict().items()})
        return self.values[len(self.seen) - 1]


def train(out: Path, score: Any, model: str = "gan:hinge") -> RunFolder:
    wanted = request(model, f"{PLANNED / 1000}kimg", "width=8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "scorer", lambda data, labels: score)
        return training.train(wanted, out, MACHINE, QUIET)


def events(folder: RunFolder, kind: str) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in folder.log.read_text().splitlines()]
    return [entry for entry in entries if entry["event"] == kind]


@pytest.fixture(autouse=True)
def _always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores however small the budget."""
    monkeypatch.setattr(snapshots, "LEAST", 1)


FALLING = [9.0, 8.0, 7.0, 1.0, 6.0, 5.0, 4.0, 3.0]  # but for the fourth


def test_the_best_snapshot_is_the_run_s_model(tmp_path: Path) -> None:
    """All players of that moment, averaged; only the encoder is trained after it."""
    told = Told(*FALLING)
    folder = train(tmp_path / "run", told)
    scores = events(folder, "score")
    assert [entry["value"] for entry in scores] == FALLING
    rounds = [math.ceil(place / 32) * 32 for place in PLACES]
    assert [entry["images"] for entry in scores] == rounds
    (choice,) = events(folder, "choice")
    assert (choice["images"], choice["value"]) == (rounds[3], 1.0)
    weights = load_file(folder.weights)
    for key, tensor in told.seen[3].items():
        assert torch.equal(weights[key], tensor) != key.startswith("encoder."), key
    assert not folder.snapshots.exists()
    assert folder.read().images_seen == PLANNED


def test_averages_are_scored_and_kept_where_there_are_some(tmp_path: Path) -> None:
    """Beside the weights of the last step, which differ, and which training goes on with."""
    state = TrainingState(Toy([Counting("one")]), Settings(batch_size=32, ema=0.25))
    told, folder = Told(1.0), RunFolder(tmp_path)
    selection = Selection(state, folder, Plan.straight(PLANNED), MACHINE, QUIET, told)
    rounds(state, 13, PLANNED)  # the first place lies at 384 images, that is 12 rounds
    live = {key: t.clone() for key, t in state.model.state_dict().items()}
    selection(state.seen - 64, RunLog(folder.log))
    assert state.ema is not None and len(told.seen) == 1
    kept = load_file(selection.path(state.seen))
    for key, average in state.ema.state.items():
        assert torch.equal(told.seen[0][key], average) and torch.equal(kept[key], average)
        assert not torch.equal(average, live[key])
        assert torch.equal(state.model.state_dict()[key], live[key])


def test_of_those_that_noise_could_swap_the_last_is_taken(tmp_path: Path) -> None:
    told = Told(9.0, 1.0, 9.0, 1.1, 1.3, 9.0, 1.21, 1.19)
    folder = train(tmp_path / "run", told)
    weights = load_file(folder.weights)
    assert torch.equal(
        weights["generator.stages.0.weight"], told.seen[-1]["generator.stages.0.weight"]
    )


def test_scores_that_are_no_numbers_do_not_count(tmp_path: Path) -> None:
    folder = train(tmp_path / "run", Told(math.nan, *FALLING[1:3], math.nan, *FALLING[4:]))
    assert events(folder, "choice")[0]["value"] == 3.0
    none = train(tmp_path / "none", Told(*[math.nan] * 8))
    assert events(none, "choice") == [] and none.read().status == "done"


def test_a_damaged_snapshot_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    best = Selection.best

    def after_damage(self: Selection, path: Path) -> Any:
        victim = sorted(self.folder.snapshots.iterdir())[3]
        damaged = bytearray(victim.read_bytes())
        damaged[-1] ^= 1
        victim.write_bytes(bytes(damaged))
        return best(self, path)

    monkeypatch.setattr(Selection, "best", after_damage)
    folder = train(tmp_path / "run", Told(*FALLING))
    assert events(folder, "choice")[0]["value"] == 3.0


@pytest.mark.parametrize("rounds", [20, 21])
def test_an_interrupted_run_chooses_the_same(tmp_path: Path, rounds: int) -> None:
    """Cut after the fourth snapshot, which a checkpoint of then may or may not know."""

    def score(model: GenerativeModel, count: int, machine: Machine) -> float:
        drawn = sample.sample(model, count, 0, machine)
        return drawn.double().mean().item() % 7  # anything that the weights decide

    whole = train(tmp_path / "whole", score)
    one_round = TrainingState.step

    def interrupted(self: TrainingState, *arguments: Any) -> None:
        one_round(self, *arguments)
        if self.phase == 0 and self.seen == rounds * 32:
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingState, "step", interrupted)
        with pytest.raises(InterruptedRunError):
            train(tmp_path / "cut", score)
    resumed = train(tmp_path / "cut", score)
    assert digest(resumed) == digest(whole)
    kinds = ("images", "value")
    for kind in ("score", "choice"):
        ours, theirs = ([[e[k] for k in kinds] for e in events(f, kind)] for f in (resumed, whole))
        assert ours == theirs


def test_only_recipes_that_select_do(tmp_path: Path) -> None:
    """The practical's own keep their last weights."""
    told = Told(*FALLING)
    train(tmp_path / "run", told, "gan:course")
    assert told.seen == []
    shape = ImageShape(channels=3, resolution=32)
    names = registry.known_models()
    usual = {n: registry.defaults(registry.ModelName.parse(n), "tiny", shape) for n in names}
    selecting = {name for name, settings in usual.items() if settings.select}
    assert selecting == {"gan:hinge", "gan:r1", "gan:r3", "gan:wgan-gp"}


def test_small_budgets_do_not_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    told = Told(*FALLING)
    folder = train(tmp_path / "run", told)
    assert told.seen == [] and events(folder, "choice") == []


# The score


class Painted(GenerativeModel):
    """Shows given images."""

    def __init__(self, pixels: Tensor) -> None:
        super().__init__()
        self.pixels = pixels
        self.shape = ImageShape(channels=pixels.shape[1], resolution=pixels.shape[2])

    objectives = networks = None  # type: ignore[assignment]
    network_calls = 1

    def draw_latent(self, count: int, rng: Any, labels: Any = None) -> Any:
        from triptych.families.latent import Latent

        return Latent({"z": rng.normal(1)}, "straight")

    def decode(self, latent: Any, rng: Any) -> Tensor:
        from triptych import images

        self.shown = getattr(self, "shown", 0) + len(latent)
        return images.to_float(self.pixels[self.shown - len(latent) : self.shown])


def test_the_score_is_lower_for_images_like_the_held_out_ones() -> None:
    from tests.making import make_images

    pixels = torch.from_numpy(make_images(400)[0]).permute(0, 3, 1, 2).contiguous()
    score = Scorer(pixels[:200], None)
    alike = score(Painted(pixels[200:]), 200, MACHINE)
    other = score(Painted(random_pixels(200, 3, 16, 16)), 200, MACHINE)
    assert abs(alike) < 0.1 * other


def test_scores_are_of_all_classes_against_validation_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not against images that were trained on, nor of samples whose class the model is not told."""
    told: list[dict[str, Any]] = []

    def drawn(model: GenerativeModel, count: int, seed: int, *_: Any, **more: Any) -> Tensor:
        told.append(more)
        return random_pixels(count, *DATA.shape.size)

    monkeypatch.setattr(snapshots.sample, "sample", drawn)
    labels = Labels(names=("a", "b"), counts=(3, 5))
    found = scorer(DATA, labels)
    assert isinstance(found, Scorer)

    def rows(pixels: Tensor) -> list[bytes]:
        return sorted(image.numpy().tobytes() for image in pixels)

    assert rows(found.validation) == rows(DATA.validation.images)
    found(Toy([]), 30, MACHINE)
    assert told == [{"labels": labels}]


def test_there_is_no_score_without_images_to_measure_on() -> None:
    from dataclasses import replace

    assert scorer(DATA, None) is not None
    assert scorer(replace(DATA, validation=Part(DATA.validation.images[:1], None)), None) is None
    small = Part(random_pixels(20, 1, 8, 8), None)
    tiny = replace(DATA, train=small, validation=small, test=small)
    assert scorer(tiny, None) is None
    assert snapshots.SMALLEST == 16


def test_a_budget_too_short_to_choose_by_is_said() -> None:
    """At the budget that the note names, and for recipes that choose nothing, it is silent."""
    note = snapshots.note_last(1, selects=True)
    assert note is not None
    enough = int(str(note.values["budget"]).removesuffix("kimg")) * 1000
    assert snapshots.samples_for(enough) > 0 and snapshots.samples_for(enough - 1000) == 0
    least = int(note.values["least"])
    assert snapshots.samples_for(least) > 0 == snapshots.samples_for(least - 1)
    assert note.values["images"] == 1
    assert snapshots.note_last(enough, selects=True) is None
    assert snapshots.note_last(1, selects=False) is None


def test_what_an_abandoned_branch_saved_is_no_candidate(tmp_path: Path) -> None:
    """After a return to a checkpoint its later snapshots are of another training."""
    state: Any = SimpleNamespace(phase=0, seen=640)
    folder = RunFolder(tmp_path)
    folder.snapshots.mkdir(parents=True)
    plan = Plan.straight(PLANNED)
    selection = Selection(state, folder, plan, MACHINE, QUIET, Told())
    for seen in (512, 640, 768):
        written = save_weights(selection.path(seen), {"w": torch.zeros(1)}, {})
        RunLog(folder.log).write(Scored(images=seen, value=9.0 - seen / 100, sha256=written))
    assert selection.best(folder.log) == (768, 9.0 - 7.68, 768)
    selection.forget_later()
    assert selection.best(folder.log) == (640, 9.0 - 6.4, 768)
