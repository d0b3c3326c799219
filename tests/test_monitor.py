"""Diagnoses along a run: when, of what, what becomes of them; they change nothing."""

from __future__ import annotations

import json
import math
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.making import evaluated
from tests.test_gan_monitor import all_advice
from tests.test_page import change, read, write_comparison
from tests.test_survival import Heard
from tests.test_vae_monitor import line_vae
from tests.truths import MACHINE, random_pixels
from triptych import files, images
from triptych.console import QUIET, Console
from triptych.data.dataset import ImageData, Part
from triptych.distributed import Group
from triptych.errors import InputError, InterruptedRunError
from triptych.families.capabilities import Diagnoses, Diagnosis
from triptych.families.vae import monitor as vae_monitor
from triptych.families.vae.monitor import Gap, LevelUse, advise
from triptych.hardware import Machine
from triptych.options import TrainRequest
from triptych.pages.language import Language
from triptych.pages.load import load_log
from triptych.pages.page import write_page
from triptych.records import DiagnosisEvent, Note, as_json
from triptych.seeding import ImageStreams
from triptych.training import monitor, resolve
from triptych.training import train as training
from triptych.training.compilation import uncompiled
from triptych.training.ema import as_used
from triptych.training.log import RunLog
from triptych.training.monitor import Checkups, last_advice, share_out, subject
from triptych.training.plan import Plan
from triptych.training.run_folder import RunFolder
from triptych.training.snapshots import Scorer
from triptych.training.state import TrainingState
from triptych.words import english

# Along training


def part(count: int, seed: int) -> Part:
    return Part(random_pixels(count, 1, 16, 16, seed=seed), None)


DATA = ImageData(
    name="noise",
    source="noise",
    fingerprint="0" * 16,
    fit="stretch",
    classes=None,
    notes=(),
    train=part(200, 0),
    validation=part(20, 1),
    test=part(20, 2),
)


def request(model: str = "vae:sigma", *more: str, images: int = 1280) -> training.ResolvedRequest:
    sets = ("batch_size=32", "widths=8,8", "latent=4", *more)
    budget = f"{images / 1000}kimg"
    asked = TrainRequest(model=model, budget=budget, size="tiny", set=sets)
    return resolve.resolve(asked, data=DATA)


def diagnoses(folder: RunFolder) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in folder.log.read_text().splitlines()]
    return [entry for entry in entries if entry["event"] == "diagnosis"]


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten diagnoses a run, however short."""
    monkeypatch.setattr(monitor, "share_out", lambda planned: (10, 8))


def test_how_often_and_on_how_many_follows_from_the_plan() -> None:
    """At most ten times 64 images of each part, and no more than the share of the planned ones."""
    for planned in (10_000, 30_000, 90_000, 300_000, 10**7):
        times, count = share_out(planned)
        assert 2 * times * count <= max(monitor.SHARE * planned, 32)
        assert 1 <= times <= 10 and 16 <= count <= 64
    assert share_out(10**7) == (10, 64) and share_out(320) == (1, 16)


@pytest.mark.usefixtures("often")
def test_every_tenth_has_its_line_and_a_resumed_run_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = training.train(request(), tmp_path / "whole", MACHINE, QUIET)
    found = diagnoses(whole)
    assert [entry["images"] for entry in found] == [128 * part for part in range(1, 11)]
    one_round = TrainingState.step

    def stop(state: TrainingState, *arguments: Any) -> None:
        one_round(state, *arguments)
        if state.seen == 20 * 32:  # a tenth ends here
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "step", stop)
        with pytest.raises(InterruptedRunError):
            training.train(request(), tmp_path / "parts", MACHINE, QUIET)
    parts = training.train(request(), tmp_path / "parts", MACHINE, QUIET)
    assert diagnoses(parts) == found
    assert files.sha256(parts.weights) == files.sha256(whole.weights)
    assert parts.read().advice == whole.read().advice == tuple(found[-1]["advice"])


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("model", ["vae:sigma", "vae:course"])
def test_a_diagnosis_changes_nothing(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, batch statistics and random numbers are as they would be without any."""
    with_them = training.train(request(model), tmp_path / "with", MACHINE, QUIET)
    monkeypatch.setattr(Checkups, "__call__", lambda *rest: None)
    without = training.train(request(model), tmp_path / "without", MACHINE, QUIET)
    assert len(diagnoses(with_them)) == 10 and not diagnoses(without)
    assert files.sha256(with_them.weights) == files.sha256(without.weights)


def checkups(state: TrainingState, console: Console = QUIET, **more: Any) -> Checkups:
    machine = replace(MACHINE, **more)
    return Checkups(state, DATA, Plan.straight(1280), 0, machine, console)


def fresh() -> TrainingState:
    return training.fresh_state(request(), MACHINE)


def test_it_is_of_the_averaged_weights_in_evaluation_mode(tmp_path: Path) -> None:
    """What it says is what the averaged weights, loaded into a model, say."""
    state = fresh()
    assert state.ema is not None
    with torch.no_grad():
        for tensor in state.ema.state.values():
            tensor.mul_(1.1)
    state.seen = 1280
    live = {name: t.clone() for name, t in state.model.state_dict().items()}
    whole = checkups(state)
    found = whole.diagnose(state.model)  # type: ignore[arg-type] # it is one of those
    assert state.model.training
    assert all(torch.equal(t, live[name]) for name, t in state.model.state_dict().items())
    other = training.fresh_state(request(), MACHINE).model
    other.load_state_dict(state.ema.state)
    rng = ImageStreams(0, "diagnosis", range(len(whole.seen) + len(whole.unseen)))
    with torch.inference_mode():
        expected = other.eval().diagnose(  # type: ignore[operator]
            images.to_float(whole.seen), images.to_float(whole.unseen), rng, 1.0
        )
    assert found == expected
    with torch.inference_mode():
        plain = state.model.eval().diagnose(  # type: ignore[operator]
            images.to_float(whole.seen),
            images.to_float(whole.unseen),
            ImageStreams(0, "diagnosis", range(len(rng))),
            1.0,
        )
    assert plain.numbers != found.numbers


def test_its_images_are_the_parts_own_and_as_few_as_there_are() -> None:
    whole = checkups(fresh())
    for chosen, of, count in ((whole.seen, DATA.train, 16), (whole.unseen, DATA.validation, 16)):
        assert len(chosen) == count == len({bytes(image.numpy()) for image in chosen})
        known = {bytes(image.numpy()) for image in of.images}
        assert all(bytes(image.numpy()) in known for image in chosen)
    assert len(DATA.validation.choose(64, "x")) == 20
    assert len(Part(DATA.train.images[:0], None).choose(64, "x")) == 0
    assert len(checkups(fresh(), microbatch=4).seen) == 8


class Ill(nn.Module, Diagnoses):
    """Says what it is told to."""

    def __init__(self, advice: list[Note]) -> None:
        super().__init__()
        self.advice = advice

    def diagnose(
        self, seen: Tensor, unseen: Tensor, rng: ImageStreams, share: float = 1.0
    ) -> Diagnosis:
        return Diagnosis({"share": share, "nan": math.nan}, self.advice)


def test_new_advice_is_told_once_and_every_one_is_logged(tmp_path: Path) -> None:
    state, console, log = fresh(), Heard(), RunLog(tmp_path / "log.jsonl")
    watch = checkups(state, console)
    watch.times = 4
    first = [Note("unused_level", {"level": level, "kl": 0.5}) for level in ("1x1", "16x16")]
    changed = [Note("unused_level", {"level": level, "kl": 1e-5}) for level in ("1x1", "8x8")]
    for seen, advice in ((320, first), (640, changed), (960, []), (1280, first[:1])):
        state.model = Ill(advice)  # type: ignore[assignment]
        state.ema = None
        watch(state.seen, log)
        state.seen = seen
        watch(seen - 32, log)
    assert console.said == [f"  warning: {english(note)}" for note in (*first, changed[1])]
    entries = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [entry["images"] for entry in entries] == [320, 640, 960, 1280]
    assert [entry["numbers"]["share"] for entry in entries] == [0.25, 0.5, 0.75, 1.0]
    assert entries[0]["numbers"]["nan"] is None
    written = [[as_json(note) for note in notes] for notes in (first, changed, [], first[:1])]
    assert [entry["advice"] for entry in entries] == written
    assert last_advice(log.path) == tuple(first[:1])
    with log.path.open("a") as file:
        file.write('{"event": "done"}\n[3]\n{"event": "diagnosis", "adv')
    assert last_advice(log.path) == tuple(first[:1])
    log.path.write_text('{"event": "start"}\n')
    assert last_advice(log.path) == ()


def test_advice_with_an_endless_number_is_still_json(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "log.jsonl")
    advice = (Note("a", {"kl": math.inf, "rate": 1.0}),)
    log.write(DiagnosisEvent(images=1, numbers={}, advice=advice))
    assert last_advice(log.path) == (Note("a", {"rate": 1.0}),)


def test_only_the_first_process_looks_and_only_at_models_that_can(tmp_path: Path) -> None:
    state, log = fresh(), RunLog(tmp_path / "log.jsonl")
    state.seen = 1280
    with pytest.MonkeyPatch.context() as patch:  # the first process tells what it found
        trouble = Note("generator_collapsed")
        patch.setattr(Group, "broadcast", lambda self, find: as_json(trouble))
        assert checkups(state, group=Group(rank=1, size=2))(1248, log) == trouble
    state.phase = 1
    checkups(state)(1248, log)
    state.phase, state.model = 0, nn.Linear(2, 2)  # type: ignore[assignment]
    checkups(state)(1248, log)
    assert not log.path.exists()


@pytest.mark.parametrize(
    ("vitals", "troubled"),
    [
        ([0.1, 0.2, 0.1], [False, False, False]),  # it never lived
        ([0.9, 0.5, 0.37, 0.35], [False, False, False, True]),  # below 0.4 of its best
        ([0.59, 0.1], [False, False]),
        ([0.6, 0.1, 0.7], [False, True, False]),
    ],
)
def test_trouble_is_to_have_been_well_before(
    tmp_path: Path, vitals: list[float], troubled: list[bool]
) -> None:
    found, log = checkups(fresh()), RunLog(tmp_path / "log.jsonl")
    for health, expected in zip(vitals, troubled, strict=True):
        told = Diagnosis({}, [], health, Note("generator_collapsed"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Checkups, "diagnose", lambda self, model, told=told: told)
            assert (found.tell(line_vae(), log) is not None) == expected


def test_advice_is_known_again_whatever_its_numbers() -> None:
    one, two = (Note("unused_level", {"level": "4x4", "kl": kl}) for kl in (0.5, 1e-7))
    assert subject(one) == subject(two)
    assert subject(one) != subject(Note("unused_level", {"level": "8x8", "kl": 0.5}))
    assert subject(one) != subject(Note("unused_level_pixels", {"level": "4x4", "kl": 0.5}))


def test_nothing_is_compiled_for_a_diagnosis() -> None:
    """A network that torch.compile has taken runs as it was written."""
    compiled: list[object] = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    net = torch.compile(nn.Linear(2, 2), backend=backend)
    with uncompiled(replace(MACHINE, compile=True)), torch.no_grad():
        net(torch.zeros(1, 2))
    assert compiled == []
    with uncompiled(MACHINE), torch.no_grad():
        net(torch.zeros(1, 2))
    assert len(compiled) == 1


@pytest.mark.parametrize("drawn", ["picture", "score"])
def test_nothing_is_compiled_for_a_few_samples(drawn: str) -> None:
    state, compiled = fresh(), list[object]()

    def backend(graph: Any, inputs: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    for network in state.model.networks():
        network.compile(backend=backend)

    def draw(machine: Machine) -> None:
        if drawn == "picture":
            training.sample_grid(state, None, machine)
        else:
            Scorer(random_pixels(40, 1, 16, 16), None)(state.model, 40, machine)

    draw(replace(MACHINE, compile=True))
    assert compiled == []
    draw(MACHINE)
    assert compiled


def test_the_average_is_left_even_after_an_error() -> None:
    state = fresh()
    before = {name: t.clone() for name, t in state.model.state_dict().items()}
    assert state.ema is not None
    state.ema.state["log_std"].add_(1)
    with pytest.raises(KeyError), as_used(state.model, state.ema) as model:
        assert not model.training and model.log_std == state.ema.state["log_std"]
        raise KeyError
    assert state.model.training
    assert all(torch.equal(t, before[name]) for name, t in state.model.state_dict().items())


# What becomes of the advice


@pytest.mark.usefixtures("often")
def test_advice_goes_from_the_run_into_its_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advice = [Note("gradient_vanished")]
    monkeypatch.setattr(
        vae_monitor, "diagnose", lambda *rest: Diagnosis({"rate": 1.0, "distortion": 2.0}, advice)
    )
    folder = training.train(request(images=160), tmp_path / "run", MACHINE, QUIET)
    assert list(folder.read().advice) == advice
    (results,) = evaluated([folder.path], DATA, count=8, machine=MACHINE)
    assert as_json(advice[0]) in results["warnings"]
    found = load_log(folder.log)
    assert [each.numbers for each in found.diagnoses] == [{"rate": 1.0, "distortion": 2.0}] * 5


@pytest.mark.parametrize("advice", ["a word", [3], [{"a": "b"}], {"a": "b"}, None])
def test_a_run_with_other_advice_is_refused(tmp_path: Path, advice: Any) -> None:
    folder = training.train(request(images=160), tmp_path / "run", MACHINE, QUIET)
    facts = json.loads(folder.run_json.read_text())
    folder.run_json.write_text(json.dumps(facts | {"advice": advice}))
    with pytest.raises(InputError, match="advice"):
        folder.read()
    del facts["advice"]  # as runs of before have it
    folder.run_json.write_text(json.dumps(facts))
    assert folder.read().status == "done"


def every_advice() -> list[Note]:
    """What VAEs and GANs may be told, each kind at least once."""
    gap = Gap(seen=3.125, unseen=4.5, gap=1.375, error=0.01, avoidable=3.0)
    found = []
    for model in (line_vae(), line_vae(1.0, learn_std=False), line_vae(warm_up=0.15)):
        for suffix in ("", "_16x16", "_vector"):
            level = LevelUse(suffix, 0.00123, 32, 2)
            found += advise(model, [level], -0.25, 1.5e-7, gap)
    return found + all_advice()


def test_all_advice_is_worded_with_its_numbers() -> None:
    """In both languages: what is wrong, by which number, what is normal, and options as typed."""
    french, advice = Language("fr"), every_advice()
    assert len({note.code for note in advice}) == 10
    for note in advice:
        texts = Language().note(note), french.note(note)
        for text in texts:
            assert "normal" in text and "{" not in text and note.code not in text
        assert texts[0] != texts[1]
        if "warm_up" in note.values:
            option = f"--set warm_up={note.values['warm_up']}"
            assert all(option in text for text in texts)  # with a point, in French as well
    assert "\N{MINUS SIGN}0,25" in "".join(map(french.note, advice))


def test_the_page_shows_advice_and_draws_the_numbers(tmp_path: Path) -> None:
    """In both languages: the levels' KL, rate and distortion, and what to do."""
    write_comparison(tmp_path)
    advice = every_advice()[0]
    change(tmp_path / "results.json", lambda r: r["runs"][0].update(warnings=[as_json(advice)]))
    words = {"en": ("Rate and distortion", "KL of each level"), "fr": ("Débit et", "KL de chaque")}
    for language in ("en", "fr"):
        page = read(write_page(tmp_path, tmp_path / "page.html", language))
        assert not any(title in page.words for title in words[language])
    with (tmp_path / "vae-sigma-s0" / "log.jsonl").open("a") as file:
        for seen, more in ((64, {}), (128, {"kl_16x16": None}), (192, {"kl_1x1": 40.0})):
            numbers = {"rate": 0.5, "distortion": 4.0, "kl_1x1": 8.0, "kl_4x4": 9.0} | more
            line = {"event": "diagnosis", "images": seen, "numbers": numbers, "advice": []}
            file.write("\n" + json.dumps(line))
    for language in ("en", "fr"):
        page = read(write_page(tmp_path, tmp_path / "page.html", language))
        assert all(title in page.words for title in words[language])
        assert "1x1" in page.words and "kl_1x1" not in page.words
        shown = Language(language).note(advice)
        assert shown in page.words or shown[0].upper() + shown[1:] in page.words
    charts = [each["aria-label"] or "" for each in page.all("svg") if "aria-label" in each]
    assert any("de 8" in label and "40" in label for label in charts)
