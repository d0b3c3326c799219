"""A budget in seconds is kept, whatever happens to the machine, and what it led to can be repeated.

The machine is simulated: its clock goes on by what each step is said to take, so that hours pass in
a moment and nothing hangs on the machine that the tests run on.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.test_comparison import FACTS
from tests.test_training import DATA, MACHINE, digest, request, train
from triptych import hardware
from triptych.comparison import compare as comparing
from triptych.comparison import turns
from triptych.console import QUIET
from triptych.errors import InputError, InterruptedRunError
from triptych.pages.load import own_costs
from triptych.records import Note, RunRecord
from triptych.training import calibration, loop
from triptych.training import threads as threads_module
from triptych.training import train as training
from triptych.training.plan import MOMENTS, Plan, next_moment
from triptych.training.resolve import request_to_repeat
from triptych.training.run_folder import RunFolder
from triptych.training.state import TrainingState
from triptych.training.threads import Threads

ASKED = 60.0
Pace = Callable[[float], float]  # seconds since the start -> seconds of a step


class Simulated:
    """A clock that steps move; `pace` says how long each takes at a moment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.pace = 0.0, (lambda now: 0.3)  # type: ignore[var-annotated]
        clock = SimpleNamespace(perf_counter=self.read)
        for module in (loop, calibration):
            monkeypatch.setattr(module, "time", clock)
        whole = TrainingState.step

        def slow(state: TrainingState, *rest: Any) -> None:
            whole(state, *rest)
            self.now += self.pace(self.now)

        monkeypatch.setattr(TrainingState, "step", slow)

    def read(self) -> float:
        """The time; looking at it takes a moment."""
        self.now += 1e-5
        return self.now


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Simulated:
    return Simulated(monkeypatch)


def run(simulated: Simulated, pace: Pace, out: Path, model: str = "vae:sigma") -> dict[str, Any]:
    """Train under a pace that is a function of the seconds since the start; run.json."""
    start = simulated.now
    simulated.pace = lambda now: pace(now - start)
    return train(request(model, f"{ASKED:g}s", *SMALL[model]), out).read()


SMALL = {"vae:sigma": ("widths=8,8", "batch_size=8"), "gan:hinge": ("width=8", "batch_size=8")}

PACES: dict[str, tuple[Pace, float]] = {
    "quiet": (lambda s: 0.3, 0.05),
    "a neighbor comes": (lambda s: 0.3 if s < ASKED / 2 else 0.6, 0.1),
    "a neighbor leaves": (lambda s: 0.6 if s < ASKED / 2 else 0.3, 0.1),
    "much slower at once": (lambda s: 0.1 if s < 20 else 1.0, 0.1),
    "much faster at once": (lambda s: 1.0 if s < 20 else 0.1, 0.1),
    "late": (lambda s: 0.2 if s < 0.9 * ASKED else 0.4, 0.1),
    "the calibration was lucky": (lambda s: 0.1 if s < 3 else 0.4, 0.05),
    "uneven": (lambda s: random.Random(int(10 * s)).uniform(0.1, 0.5), 0.05),
}


LIKE_OTHERS = {"a neighbor leaves", "late", "uneven"}  # by the same code; the sweeps try them


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=[pytest.mark.sweep] * (each in LIKE_OTHERS)) for each in PACES],
)
def test_training_ends_when_it_was_asked_to(
    name: str, simulated: Simulated, tmp_path: Path
) -> None:
    pace, most_off = PACES[name]
    record = run(simulated, pace, tmp_path / "run")
    assert abs(record.train_seconds / ASKED - 1) < most_off
    points = record.plan
    assert points[0] == (0, 0.0) and points[-1] == (record.images_seen, 1.0)
    assert 2 < len(points) <= 2 + len(MOMENTS)  # revised, ten times at most


@pytest.mark.parametrize("name", ["quiet", "a neighbor comes", "a neighbor leaves"])
def test_later_phases_are_inside_the_asked_seconds(
    name: str, simulated: Simulated, tmp_path: Path
) -> None:
    """The GAN's encoder, which is trained after its players."""
    pace, most_off = PACES[name]
    record = run(simulated, pace, tmp_path / "run", "gan:hinge")
    assert abs(record.train_seconds / ASKED - 1) < most_off
    [encoder] = record.later_plans
    assert 0.02 < encoder[-1][0] / record.images_seen < 0.12  # a twentieth, as planned


@pytest.mark.parametrize("model", ["vae:sigma", pytest.param("gan:hinge", marks=pytest.mark.sweep)])
def test_a_run_is_repeated_bit_by_bit(model: str, simulated: Simulated, tmp_path: Path) -> None:
    """On a machine of another speed, and after an interruption under the new pace."""
    pace, _ = PACES["a neighbor comes"]
    run(simulated, pace, tmp_path / "run", model)
    first = RunFolder(tmp_path / "run")
    simulated.pace = lambda now: 0.01
    wanted, machine = request_to_repeat(first, DATA, MACHINE)
    again = training.train(wanted, tmp_path / "again", machine, QUIET)
    assert digest(first) == digest(again)
    assert first.read().plan == again.read().plan
    # It hangs on the plan: as many images without revisions give other weights.
    images = first.read().images_seen / 1000
    straight = train(request(model, f"{images!r}kimg", *SMALL[model]), tmp_path / "straight")
    assert digest(straight) != digest(first)


def test_an_interrupted_run_goes_on_under_its_checkpoint_s_plan(
    simulated: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The breakpoints before the interruption stay; what then happened can be repeated as well."""
    agree = loop.TrainingLoop.agree

    def stop(self: loop.TrainingLoop, *rest: Any) -> tuple[int, bool, bool]:
        return (15, *agree(self, *rest)[1:]) if simulated.now > ASKED / 2 else agree(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop.TrainingLoop, "agree", stop)
        with pytest.raises(InterruptedRunError):
            run(simulated, lambda s: 0.3, tmp_path / "run")
    [last] = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1:]
    plan = json.loads((last / "progress.json").read_text())["plans"][0]
    plan = tuple(map(tuple, plan))
    assert len(plan) > 3
    simulated.pace = lambda now: 0.7
    folder = train(request("vae:sigma", f"{ASKED:g}s", *SMALL["vae:sigma"]), tmp_path / "run")
    record = folder.read()
    assert record.plan[: len(plan) - 1] == plan[:-1] and len(record.plan) > len(plan)
    assert abs(record.train_seconds / ASKED - 1) < 0.1
    wanted, machine = request_to_repeat(folder, DATA, MACHINE)
    again = training.train(wanted, tmp_path / "again", machine, QUIET)
    assert digest(folder) == digest(again)


def test_progress_is_the_same_from_the_breakpoints_alone() -> None:
    """What was a line to a far end is cut by the next revision: to the last bit the same."""
    chance = random.Random(0)
    for _ in range(50):
        plan = Plan.straight(32 * chance.randrange(50, 5000), timed=True)
        seen, images, live = [], 0, []
        while images < plan.end and len(live) < 20_000:
            live.append(plan.progress(images))
            seen.append(images)
            images += 32
            if chance.random() < 0.01 and len(plan.points) < 12 and images < plan.end:
                plan.revise(images, images + 32 * chance.randrange(1, 3000))
        recorded = Plan.read(tuple(plan.points), plan.planned, timed=True)
        assert [recorded.progress(n) for n in seen] == live
        assert live == sorted(live) and plan.progress(plan.end) == 1.0


def test_going_back_drops_what_was_planned_beyond() -> None:
    """After trouble the plan is revised at an image that it had passed long ago."""
    plan = Plan.straight(1000, timed=True)
    for images, end in ((320, 1300), (640, 1200), (960, 1100)):
        plan.revise(images, end)
    early = plan.progress(400)
    plan.revise(400, 1000)
    assert [images for images, _ in plan.points] == [0, 320, 400, 1000]
    assert plan.progress(400) == early and plan.progress(700) == pytest.approx((1 + early) / 2)
    Plan.read(tuple(plan.points), 1000, timed=True)


def test_progress_is_piecewise_linear() -> None:
    """Against exact fractions."""
    plan = Plan.read(((0, 0.0), (320, 0.25), (960, 0.5), (1000, 1.0)), 1000, timed=True)
    expected = {160: 0.125, 320: 0.25, 640: 0.375, 980: 0.75, 1000: 1.0, 5000: 1.0}
    for images, value in expected.items():
        assert plan.progress(images) == pytest.approx(value, abs=1e-12)
    straight = Plan.straight(1001)
    assert all(straight.progress(n) == float(Fraction(n, 1001)) for n in range(1002))


def test_parts_end_with_the_round_that_reaches_them() -> None:
    """Against exact fractions, whose products binary numbers may miss from below."""
    for images in (100, 1280, 3333):
        plan = Plan.straight(images)
        for times in (7, 10, 20, 100):
            exact = [Fraction(seen * times, images) for seen in range(images + 1)]
            assert [plan.part(seen, times) for seen in range(images + 1)] == list(map(int, exact))
            assert plan.ended(images - 1, images, times)


def test_positions_of_averages_follow_progress() -> None:
    """Images where nothing is revised, as ever; else progress, whatever the images."""
    assert Plan.straight(100).position(7) == 7.0
    plan = Plan.read(((0, 0.0), (10, 0.5), (1000, 1.0)), 1000, timed=True)
    assert plan.position(10) == 5e8 and plan.position(505) == pytest.approx(7.5e8)


@pytest.mark.parametrize(
    "wrong",
    [
        (),
        ((0, 0.0),),
        ((0, 0.0), (10, 0.9)),
        ((1, 0.0), (10, 1.0)),
        ((0, 0.0), (10, 0.5), (10, 1.0)),
        ((0, 0.0), (10, 0.5), (20, 0.4), (30, 1.0)),
    ],
)
def test_what_is_no_plan_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="plan"):
        Plan.read(wrong, 10, timed=True)


@pytest.mark.parametrize(
    "wrong",
    [
        5,
        [[0, 0.0], [10, "1"]],
        [[0, 0.0], [10.5, 1.0]],
        [[0, 0.0], ["10", 1.0]],
        [[0, 0.0, 1], [10, 1.0, 1]],
    ],
)
def test_a_record_of_no_plan_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^plan"):
        RunRecord.read(FACTS | {"plan": wrong})


def test_moments_are_ten_at_most_and_grow_dense() -> None:
    assert len(MOMENTS) < 10 and list(MOMENTS) == sorted(MOMENTS)
    assert next_moment(0.0) == MOMENTS[0] and next_moment(MOMENTS[-1]) == float("inf")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rewinds": 1}, "went back on its way"),
        ({"processes": 2}, "2 processes"),
        ({"precision": "bf16"}, "go on with --precision bf16"),
        ({"plan": [[0, 0.0], [7, 0.5]]}, "cannot be followed"),
        ({"threads_along": [[0, 5, 1]]}, "cannot be followed"),
        ({"later_plans": [[[0, 0.0], [7, 1.0]]]}, "cannot be followed"),
    ],
)
def test_what_cannot_be_repeated_is_refused(
    change: dict[str, Any], words: str, tmp_path: Path, simulated: Simulated
) -> None:
    run(simulated, lambda s: 1.0, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    folder.run_json.write_text(json.dumps(folder.read().to_json() | change))
    with pytest.raises(InputError, match=words):
        wanted, machine = request_to_repeat(folder, DATA, MACHINE)
        training.train(wanted, tmp_path / "again", machine, QUIET)
    assert not (tmp_path / "again").exists()


def test_other_data_are_not_repeated_on(tmp_path: Path) -> None:
    folder = train(request(), tmp_path / "run")
    with pytest.raises(InputError, match="not what"):
        request_to_repeat(folder, replace(DATA, fingerprint="f" * 16), MACHINE)


def test_turns_share_what_happens_to_the_machine(
    simulated: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy half hits both models alike, and both end together."""
    clock = simulated
    clock.pace = lambda now: 0.3 if now < ASKED else 0.9
    requests = [request("vae:sigma", "60s", "widths=8,8"), request("gan:hinge", "60s", "width=8")]
    turned: list[str] = []
    advance = training.Training.advance

    def noting(self: training.Training, *rest: Any) -> bool:
        turned.append(self.folder.path.name)
        return advance(self, *rest)

    monkeypatch.setattr(training.Training, "advance", noting)
    folders = comparing.train_all(requests, tmp_path, MACHINE, QUIET)
    seconds = [folder.read().train_seconds for folder in folders]
    assert max(seconds) / min(seconds) < 1.03 and abs(seconds[0] / ASKED - 1) < 0.1
    images = [folder.read().images_seen for folder in folders]
    assert images[0] / images[1] == pytest.approx(1.0, rel=0.15)  # one pace for both
    changes = sum(a != b for a, b in pairwise(turned))
    assert changes > 20
    assert {folder.read().peak_memory_of for folder in folders} == {2}


def test_turns_change_no_weights(tmp_path: Path) -> None:
    """Under budgets in images: as if each had been trained alone."""
    requests = [request("vae:sigma"), request("vae:course")]
    turns_of = comparing.train_all(requests, tmp_path / "turns", MACHINE, QUIET)
    for wanted, folder in zip(requests, turns_of, strict=True):
        alone = train(wanted, tmp_path / "alone" / folder.path.name)
        assert digest(alone) == digest(folder)


@pytest.mark.sweep
def test_an_interruption_within_a_turn_saves_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The paused ones too; going on gives the weights of never having stopped."""
    monkeypatch.setattr(turns, "TURN", 0.02)
    requests = [request("vae:sigma"), request("vae:course")]
    whole = [digest(f) for f in comparing.train_all(requests, tmp_path / "whole", MACHINE, QUIET)]
    agree, count = loop.TrainingLoop.agree, [0]

    def stop(self: loop.TrainingLoop, *rest: Any) -> tuple[int, bool, bool]:
        count[0] += 1
        return (2, False, False) if count[0] == 31 else agree(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop.TrainingLoop, "agree", stop)
        with pytest.raises(InterruptedRunError):
            comparing.train_all(requests, tmp_path / "parts", MACHINE, QUIET)
    seen = [
        max(int(p.name.split("-")[1]) for p in (folder / "checkpoints").iterdir())
        for folder in sorted((tmp_path / "parts").iterdir())
    ]
    assert sum(seen) == 31 * 32  # not a step is lost
    parts = [digest(f) for f in comparing.train_all(requests, tmp_path / "parts", MACHINE, QUIET)]
    assert parts == whole


def test_models_that_do_not_fit_together_train_one_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triptych.hardware.free_memory_bytes", lambda device: 40_000_000)
    requests = [request("vae:sigma"), request("vae:course")]
    open_now: list[int] = []
    advance = training.Training.advance

    def noting(self: training.Training, *rest: Any) -> bool:
        open_now.append(self.together)
        return advance(self, *rest)

    monkeypatch.setattr(training.Training, "advance", noting)
    monkeypatch.setattr(turns, "USABLE", 0.0)
    comparing.train_all(requests, tmp_path, MACHINE, QUIET)
    assert open_now == [1, 1]


def test_the_fit_after_training_has_the_threads_of_its_last_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was fastest at first may be many times slower by then."""
    used: list[int] = []
    monkeypatch.setattr(hardware.Machine, "own_threads", noting_threads(used))
    wanted = request("vae:sigma")
    with opened(wanted, tmp_path) as one:
        one.loop.job.threads.record(0, 640, 3)
        one.advance()
    assert used[-1] == 3


def noting_threads(used: list[int]) -> Callable[[hardware.Machine], Any]:
    @contextmanager
    def own_threads(self: hardware.Machine) -> Iterator[None]:
        used.append(self.threads)
        yield

    return own_threads


def test_the_recorded_command_of_a_repeated_run_repeats_it(tmp_path: Path) -> None:
    """Also of one whose budget was in images, which `repeat` takes no --budget for."""
    first = train(request(), tmp_path / "run")
    wanted, machine = request_to_repeat(first, DATA, MACHINE)
    again = training.train(wanted, tmp_path / "again", machine, QUIET)
    assert digest(first) == digest(again)
    assert again.read().command == f"triptych repeat {again.path} --out NEW"


@pytest.mark.parametrize(
    "deadline",
    [
        5,
        {"seconds": 5.0},
        {"seconds": -1, "per_image": [0.1], "finishing": 0.0},
        {"seconds": 5.0, "per_image": 0.1, "finishing": 0.0},
        {"seconds": 5.0, "per_image": [0.0], "finishing": 0.0},
        {"seconds": 5.0, "per_image": [0.1], "finishing": None},
    ],
)
def test_a_deadline_that_is_none_is_refused_in_words(deadline: Any, tmp_path: Path) -> None:
    folder = train(request(), tmp_path / "run")
    folder.run_json.write_text(json.dumps(folder.read().to_json() | {"deadline": deadline}))
    with pytest.raises(InputError, match="deadline"):
        folder.read()


def test_a_later_phase_is_planned_by_the_latest_pace(simulated: Simulated, tmp_path: Path) -> None:
    """All became four times slower after the last moment of the first phase: the encoder's share
    of the time was foretold by the old pace.
    """
    pace = lambda s: 0.2 if s < 0.925 * ASKED else 0.8  # noqa: E731
    record = run(simulated, pace, tmp_path / "run", "gan:hinge")
    assert abs(record.train_seconds / ASKED - 1) < 0.08


def opened(wanted: training.ResolvedRequest, out: Path, machine: hardware.Machine = MACHINE) -> Any:
    """A training that is begun, and not advanced."""
    return training.training_in(wanted, out, machine, QUIET)


def test_what_is_no_step_is_planned_for(simulated: Simulated, tmp_path: Path) -> None:
    """Of the 60 seconds some are not for steps, of 0.3 s each.

    Of pictures of 5 s the last one alone is ahead, for 1.5 % of the time pays for none before; of
    those of 0.2 s there are four more.
    """
    ends = []
    for cost in (0.0, 5.0, 0.2):
        with opened(request("vae:sigma", "60s", *SMALL["vae:sigma"]), tmp_path / f"{cost}") as one:
            one.loop.clock.costs = {"picture": cost}
            one.loop.replan()
            ends.append(one.loop.plan.end / 8)
    assert ends[0] - ends[1] == pytest.approx(5 / 0.3, abs=2)
    assert ends[0] - ends[2] == pytest.approx(1 / 0.3, abs=1.5)


def test_repeating_follows_the_recorded_threads(tmp_path: Path) -> None:
    folder = train(request(), tmp_path / "run")
    changes = [[0, 0, 1], [0, 320, 2], [0, 640, 1]]
    folder.run_json.write_text(json.dumps(folder.read().to_json() | {"threads_along": changes}))
    wanted, machine = request_to_repeat(folder, DATA, MACHINE)
    with opened(wanted, tmp_path / "again", machine) as again:
        assert again.loop.job.threads.changes == [tuple(change) for change in changes]
        again.advance()
    along = RunFolder(tmp_path / "again").read().threads_along
    assert [list(change) for change in along] == changes


def test_every_step_has_its_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count, used = [1], []
    torch = SimpleNamespace(
        get_num_threads=lambda: count[0], set_num_threads=lambda n: count.__setitem__(0, n)
    )
    monkeypatch.setattr(loop, "torch", torch)
    whole = TrainingState.step

    def noting(state: TrainingState, *rest: Any) -> None:
        used.append(count[0])
        whole(state, *rest)

    with opened(request(), tmp_path) as one:
        one.loop.job.threads.changes = [(0, 0, 1), (0, 320, 2), (0, 640, 3)]
        monkeypatch.setattr(TrainingState, "step", noting)
        one.advance()
    assert used == [1] * 10 + [2] * 10 + [3] * 20


def test_going_on_follows_the_checkpoint_s_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the count is ours; a user's own --threads holds from there on."""
    agree = loop.TrainingLoop.agree

    def stop(self: loop.TrainingLoop, *rest: Any) -> tuple[int, bool, bool]:
        return (15, False, False) if self.state.seen == 320 else agree(self, *rest)

    ours = replace(MACHINE, choices={"threads": Note("own_cores")})
    with monkeypatch.context() as patch:
        patch.setattr(loop.TrainingLoop, "agree", stop)
        with pytest.raises(InterruptedRunError), opened(request(), tmp_path, ours) as one:
            one.loop.job.threads.record(0, 160, 2)
            one.advance()
    with opened(request(), tmp_path, ours) as one:
        assert one.loop.state.seen == 320
        assert one.loop.job.threads.changes == [(0, 0, 1), (0, 160, 2)]
    with opened(request(), tmp_path, replace(MACHINE, threads=3)) as one:
        assert one.loop.job.threads.at(0, 320) == 3


def test_moments_try_threads_and_trials_say_nothing_of_the_pace(
    simulated: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One count is ten times slower: with its steps in the pace, plans would go up and down."""
    monkeypatch.setattr(training, "usable_cores", lambda: 2)
    tried: list[int] = []
    again = Threads.try_again

    def noting(self: Threads) -> None:
        again(self)
        tried.append(self.trying)

    monkeypatch.setattr(Threads, "try_again", noting)
    whole = TrainingState.step
    where: list[loop.TrainingLoop] = []

    def slow(state: TrainingState, *rest: Any) -> None:
        whole(state, *rest)
        if where and where[0].job.threads.at(state.phase, state.seen - 32) == 2:
            simulated.now += 3.0

    monkeypatch.setattr(TrainingState, "step", slow)
    monkeypatch.setattr(threads_module, "WORTH", 0.0)  # however dear the last trial was
    ours = replace(MACHINE, choices={"threads": Note("own_cores")})
    paces: list[float] = []
    take = loop.TrainingLoop.take_pace

    def watching(self: loop.TrainingLoop) -> None:
        take(self)
        paces.append(self.slowdown)

    monkeypatch.setattr(loop.TrainingLoop, "take_pace", watching)
    with opened(request("vae:sigma", "60s", "widths=8,8"), tmp_path, ours) as one:
        where.append(one.loop)
        one.advance()
    assert sum(tried) >= len(MOMENTS) - 2
    assert max(paces) < 1.3
    assert {change[2] for change in one.record.threads_along} == {1, 2}


def test_measuring_takes_the_fastest_threads_but_for_the_user_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    used: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    monkeypatch.setattr(hardware, "time_threads", lambda most: {1: 0.1, 2: 3.0})
    with replace(MACHINE, threads=2, choices={"threads": Note("own_cores")}).fastest_threads():
        assert used[-1] == 1
    with replace(MACHINE, threads=2, choices={}).fastest_threads():
        assert used[-1] == 2


def test_memory_of_a_process_with_several_models_has_a_name_of_its_own() -> None:
    alone = {"peak_memory_bytes": 5.0, "peak_memory_of": 1.0}
    assert own_costs(dict(alone)) == {"peak_memory_bytes": 5.0}
    assert own_costs(alone | {"peak_memory_of": 3.0}) == {"process_memory_bytes": 5.0}
    assert own_costs({"peak_memory_bytes": 5.0}) == {"peak_memory_bytes": 5.0}  # earlier versions


def test_the_encoder_begins_with_the_pace_of_the_last_steps(
    simulated: Simulated, tmp_path: Path
) -> None:
    """What happened since the last moment is known, and is not thrown away."""
    with opened(request("gan:hinge", f"{ASKED:g}s", "width=8"), tmp_path) as one:
        state, job = one.loop.state, one.loop.job
        state.seen = one.loop.plan.end
        one.loop.clock.before = 0.9 * ASKED
        per_image = job.deadline.per_image
        one.loop.paced = loop.Paced(steps=10, seconds=10 * 32 * per_image[0] * 1.5)
        one.loop.next_phase()
        assert one.loop.slowdown == pytest.approx(1.5)
        left = 0.1 * ASKED - 1.5 * job.deadline.finishing
        assert one.loop.plan.end == pytest.approx(left / (1.5 * per_image[1]), abs=32)


def test_a_resumed_training_knows_what_its_pictures_took(tmp_path: Path) -> None:
    """Else every interruption would give pictures their whole share of the time again."""
    wanted, out = request("vae:sigma"), tmp_path / "run"
    with opened(wanted, out) as one:
        one.advance(0.0)
        one.save()
    folder = RunFolder(out)
    for images in (1, 2, 3):  # as if three more had been drawn on the way
        shutil.copy(folder.samples / "000000000.png", folder.samples / f"{images:09d}.png")
    drawn = len(list(folder.samples.glob("*.png")))
    with opened(wanted, out) as again:
        assert again.loop.clock.pictures == drawn - 1 >= 3


def test_a_resumed_training_takes_no_pace_from_its_first_rounds(
    simulated: Simulated, tmp_path: Path
) -> None:
    """They load kernels, capture graphs and compile: by their pace hardly a round would be left."""
    wanted, out = request("vae:sigma", f"{ASKED:g}s", *SMALL["vae:sigma"]), tmp_path / "run"
    with opened(wanted, out) as one:
        assert not one.advance(0.3 * ASKED)
        one.save()
    slow = iter([ASKED / 3])
    simulated.pace = lambda now: next(slow, 0.3)
    with opened(wanted, out) as again:
        assert again.advance()
    assert RunFolder(out).read().train_seconds == pytest.approx(ASKED, rel=0.05)
