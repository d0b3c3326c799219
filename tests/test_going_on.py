"""Going on from a finished run: what is taken over, what begins anew, and what both cost."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import triptych
from tests.making import one_thread, open_tiny, progress_at
from tests.test_training import DATA, MACHINE, part, request, train
from triptych import api
from triptych.comparison import contract
from triptych.console import QUIET
from triptych.data.augment import Augment
from triptych.data.dataset import ImageData
from triptych.errors import InputError, InterruptedRunError
from triptych.options import TrainRequest
from triptych.records import Note, OriginRecord, RunRecord
from triptych.run import Run
from triptych.training import checkpoint, posthoc_ema, resolve
from triptych.training import train as training
from triptych.training.origin import Origin
from triptych.training.plan import Plan
from triptych.training.run_folder import RunFolder
from triptych.training.state import TrainingState

# Nothing in these follows progress, so that two brief trainings can equal one long one.
CONSTANT = ("ema=0.1", "ema_wide=0.15", "optimizer.decay=constant", "optimizer.warmup=0.0")
HALF = "0.32kimg"  # 10 steps of 32 images
OTHER = replace(
    DATA,
    name="others",
    fingerprint="1" * 16,
    train=part(200, "other-train"),
    test=part(20, "other-test"),
)
SMALL = {
    "vae:sigma": CONSTANT,
    "gan:hinge": ("width=8", "latent=8", "groups=4"),
    "diffusion:x0": ("widths=8,16,16", "steps=2", "groups=4", "mppca_rank=4"),
}


def going_on(
    origin: Path, budget: str = HALF, *overrides: str, data: ImageData = DATA, **others: Any
) -> resolve.ResolvedRequest:
    """As `request`, but with the settings of the run at `origin`."""
    model, named = RunFolder(origin).read().model, others.pop("data_named", None)
    asked = TrainRequest(
        model=model, data=named, budget=budget, set=overrides, origin=origin, **others
    )
    return resolve.resolve(asked, data=data)


def last_state(folder: Path) -> dict[str, dict[str, Tensor]]:
    """All tensors of a finished run's last checkpoint, by file."""
    path = checkpoint.end_of_first_phase(folder / "checkpoints")
    assert path is not None
    return checkpoint.load(path, 10**9)[0]


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def assert_equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


@pytest.fixture(scope="module")
def origins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished run of each family."""
    folder, runs = tmp_path_factory.mktemp("origins"), {}
    for name, settings in SMALL.items():
        runs[name] = folder / name.partition(":")[0]
        train(request(name, HALF, *settings), runs[name])
    return runs


@pytest.fixture(scope="module")
def vae(origins: dict[str, Path]) -> Path:
    return origins["vae:sigma"]


@pytest.fixture(scope="module")
def longer(vae: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The VAE gone on with for as many images again."""
    folder = tmp_path_factory.mktemp("longer") / "longer"
    train(going_on(vae), folder)
    return folder


def test_the_seed_of_the_origin_is_gone_on_with(vae: Path, tmp_path: Path) -> None:
    other = shutil.copytree(vae, tmp_path / "other")
    record = json.loads((other / "run.json").read_text(encoding="utf-8")) | {"seed": 3}
    (other / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert going_on(other).seed == 3 and going_on(other, seed=0).seed == 0
    assert request("vae:sigma", HALF).seed == 0


def test_trackers_are_told_and_are_no_part_of_the_command(vae: Path, tmp_path: Path) -> None:
    asked = going_on(vae, log_to=("csv",))
    assert "log-to" not in asked.command and asked.identity() == going_on(vae).identity()
    train(asked, tmp_path / "watched")
    assert (tmp_path / "watched" / "log.csv").stat().st_size > 100


def test_named_images_are_read_again_as_they_were(vae: Path) -> None:
    """The command of a run says how images were read that are not the origin's own."""
    cropped = replace(OTHER, fit="crop", augment=Augment(flip=True))
    command = going_on(vae, data=cropped, data_named="others").command
    assert "--fit crop" in command and "--flip" in command
    assert "--fit" not in going_on(vae).command


def test_images_that_python_holds_are_read_as_those_of_the_origin(
    vae: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(api, "run_data", lambda run, data, *rest: seen.append(data) or OTHER)
    monkeypatch.setattr(
        api, "train_request", lambda asked, *rest: seen.append(asked) or RunFolder(vae)
    )
    held = DATA.train.images.numpy()
    triptych.train("vae:sigma", held, origin=vae, budget=HALF, flip=True, machine=MACHINE)
    assert seen[0] is held
    assert seen[1].data.fingerprint == OTHER.fingerprint and seen[1].data.augment.flip


def test_a_finished_run_keeps_the_end_of_its_first_phase(origins: dict[str, Path]) -> None:
    """A GAN's encoder learns after that, over checkpoints of its own."""
    for folder in origins.values():
        assert [path.name for path in (folder / "checkpoints").iterdir()] == ["0-000000000320"]


def test_no_further_images_give_the_origin(origins: dict[str, Path], tmp_path: Path) -> None:
    for name, origin in origins.items():
        folder = tmp_path / origin.name
        train(going_on(origin, "0kimg"), folder)
        assert_equal(weights(folder), weights(origin))
        ours, theirs = Run(folder, MACHINE), Run(origin, MACHINE)
        assert torch.equal(ours.sample(4, seed=3), theirs.sample(4, seed=3)), name
        assert ours.record.images_seen == 0 and ours.record.total_images == 320
        for part_name, tensors in last_state(origin).items():
            assert_equal(last_state(folder)[part_name], tensors)


def test_going_on_after_no_images_is_going_on(vae: Path, longer: Path, tmp_path: Path) -> None:
    train(going_on(vae, "0kimg"), tmp_path / "same")
    train(going_on(tmp_path / "same"), tmp_path / "longer")
    assert_equal(
        weights(tmp_path / "longer"),
        weights(longer),
    )
    chain = RunFolder(tmp_path / "longer").read().origins
    assert [origin.images_seen for origin in chain] == [0, 320]


def test_a_training_begins_at_all_that_its_origin_had(origins: dict[str, Path]) -> None:
    """Weights, averages and moments; those of a later phase are fresh."""
    for origin in origins.values():
        theirs = last_state(origin)
        state = training.fresh_state(going_on(origin), MACHINE)
        ours = state.tensors()
        assert ours.keys() == theirs.keys() and not state.anew
        for part_name in set(theirs) - {"tally"}:
            assert_equal(ours[part_name], theirs[part_name])
        first = [o for o in state.optimizers if o.objective.phase == 0]
        assert all(optimizer.tensors() for optimizer in first)


def test_two_halves_are_one_whole(longer: Path, tmp_path: Path) -> None:
    """Order of images, noise, moments and both averages, bit by bit, where nothing is scheduled."""
    train(request("vae:sigma", "0.64kimg", *CONSTANT), tmp_path / "whole")
    whole = last_state(tmp_path / "whole")
    for part_name in set(whole) - {"tally"}:
        assert_equal(last_state(longer)[part_name], whole[part_name])
    assert len(whole) == 5  # model, two averages, moments, tally


def test_averages_saved_on_the_way_count_the_origin_s_images(vae: Path, longer: Path) -> None:
    """After the first round of 32 images beyond each eighth of 320, and after 320 before those."""
    positions = [one.position for one in posthoc_ema.saved_averages(RunFolder(longer))]
    assert positions == [320 + 32 * -(-40 * k // 32) for k in range(1, 9) for _ in range(2)]


def test_an_origin_counts_in_averages_for_no_more_than_what_follows(vae: Path) -> None:
    origin = Origin.open(vae, resolve.ModelName.parse("vae:sigma"))
    settings = going_on(vae).settings
    assert [origin.carried(settings, n) for n in (160, 320, 6400)] == [160, 320, 320]
    assert origin.carried(replace(settings, ema=0.05), 320) == 0
    assert replace(origin, state=None).carried(settings, 320) == 0


def test_under_a_budget_in_seconds_the_origin_counts_in_the_plan_s_own_unit() -> None:
    """A third of what was planned before, then half of the plan: in billionths of it."""
    plan = Plan.straight(960, timed=True)
    plan.carried = 320
    assert plan.position(0) == pytest.approx(1e9 / 3)
    assert plan.position(480) == pytest.approx(1e9 * (1 / 3 + 1 / 2))
    plan.revise(480, 2000)
    assert plan.position(2000) == pytest.approx(1e9 * (1 / 3 + 1))


def test_run_json_tells_the_origin(vae: Path, longer: Path) -> None:
    theirs, record = RunFolder(vae).read(), RunFolder(longer).read()
    [origin] = record.origins
    assert (origin.run, origin.digests) == (str(vae.resolve()), theirs.digests)
    assert (origin.images_seen, origin.train_seconds) == (320, theirs.train_seconds)
    assert (origin.data, origin.fingerprint) == ("noise", DATA.fingerprint)
    assert (record.images_seen, record.total_images, record.carried) == (320, 640, 320)
    assert record.total_seconds == pytest.approx(
        (theirs.train_seconds or 0) + (record.train_seconds or 0)
    )
    assert f"--from {vae}" in record.command and "--budget 0.32kimg" in record.command
    assert "origins" not in theirs.to_json() and "carried" not in theirs.to_json()
    assert RunRecord.read(record.to_json()) == record


def test_settings_are_the_origin_s_but_for_those_that_are_asked_for(vae: Path) -> None:
    theirs = RunFolder(vae).read().settings
    wanted = going_on(vae, HALF, "optimizer.learning_rate=1e-4", "batch_size=20")
    assert wanted.settings.widths == (8, 16) and wanted.size == "tiny"
    changed = {"batch_size": 20, "optimizer": theirs["optimizer"] | {"learning_rate": 1e-4}}
    assert resolve.config.to_json(wanted.settings) == theirs | changed


def test_other_data_are_learned_from_the_origin_s_weights(
    origins: dict[str, Path], tmp_path: Path
) -> None:
    """What was fitted before the origin's training is not fitted anew; all else moves."""
    origin = origins["diffusion:x0"]
    before = last_state(origin)["model"]
    train(going_on(origin, "0.16kimg", data=OTHER), tmp_path / "tuned")
    after = last_state(tmp_path / "tuned")["model"]
    fitted = [name for name in before if "mixture" in name or name.startswith("kinds.")]
    assert len(fitted) > 5
    assert_equal({n: after[n] for n in fitted}, {n: before[n] for n in fitted})
    moved = [name for name, tensor in before.items() if not torch.equal(tensor, after[name])]
    assert len(moved) > 20
    record = RunFolder(tmp_path / "tuned").read()
    assert (record.data.name, record.origins[0].data) == ("others", "noise")


def test_other_widths_begin_their_averages_anew(vae: Path) -> None:
    state = training.fresh_state(going_on(vae, HALF, "ema=0.05"), MACHINE)
    assert state.anew == (Note("averages_anew"),)
    for average in state.averages.values():
        assert_equal(average.state, last_state(vae)["model"])


def test_another_optimizer_begins_its_moments_anew(origins: dict[str, Path]) -> None:
    """Without Muon, AdamW moves other parameters than those that it has moments of."""
    wanted = going_on(origins["diffusion:x0"], HALF, "optimizer.muon_lr=none")
    state = training.fresh_state(wanted, MACHINE)
    [optimizer] = state.optimizers
    assert state.anew == (Note("moments_anew", {"objective": optimizer.objective.name}),)
    assert not optimizer.tensors()
    assert_equal(state.model.state_dict(), last_state(origins["diffusion:x0"])["model"])


def test_without_its_last_checkpoint_the_weights_to_use_are_gone_on_with(
    origins: dict[str, Path], tmp_path: Path
) -> None:
    for name, origin in origins.items():
        bare = tmp_path / origin.name
        shutil.copytree(origin, bare, ignore=shutil.ignore_patterns("checkpoints"))
        state = training.fresh_state(going_on(bare), MACHINE)
        used = weights(bare)
        assert_equal(state.model.state_dict(), used)
        assert all(torch.equal(a.state[n], used[n]) for a in state.averages.values() for n in used)
        assert not any(optimizer.tensors() for optimizer in state.optimizers), name
        assert [note.code for note in state.anew] == ["origin_without_state"]
    folder = train(going_on(tmp_path / "vae"), tmp_path / "more")
    [origin_record] = folder.read().origins
    why = Note("origin_without_state", {"run": "vae"})
    assert origin_record.state is None and origin_record.notes == (why,)


def test_trouble_leads_back_to_the_origin(vae: Path) -> None:
    wanted = going_on(vae)
    state = training.fresh_state(wanted, MACHINE)
    batches = training.share_batches(wanted, MACHINE)
    state.step(batches, 0, Plan.straight(320), MACHINE)
    begun = last_state(vae)["model"]
    assert any(not torch.equal(state.model.state_dict()[n], t) for n, t in begun.items())
    training.begin_again(state, wanted, MACHINE)
    assert_equal(state.model.state_dict(), begun)
    assert state.seen == 0 and state.images_before == 320


def test_a_killed_training_goes_on_from_where_it_was(
    vae: Path, longer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_round = TrainingState.step

    def stop(state: TrainingState, *arguments: Any) -> None:
        one_round(state, *arguments)
        if state.seen == 6 * 32:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "step", stop)
        with pytest.raises(InterruptedRunError):
            train(going_on(vae), tmp_path / "run")
    train(going_on(vae), tmp_path / "run")
    assert_equal(weights(tmp_path / "run"), weights(longer))
    with pytest.raises(InputError, match="holds a run of another origin: name another --out"):
        train(request("vae:sigma", HALF, *CONSTANT), tmp_path / "run")


def test_a_run_with_an_origin_is_repeated_from_it(vae: Path, longer: Path, tmp_path: Path) -> None:
    wanted, machine = resolve.request_to_repeat(RunFolder(longer), DATA, MACHINE)
    again = training.train(wanted, tmp_path / "again", machine, QUIET)
    assert again.read().digests == RunFolder(longer).read().digests
    moved = tmp_path / "moved"
    shutil.copytree(longer, moved)
    values = json.loads((moved / "run.json").read_text())
    values["origins"][0]["digests"] = {"model.safetensors": "of another"}
    (moved / "run.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"vae is not what .* went on from: bring back"):
        resolve.request_to_repeat(RunFolder(moved), DATA, MACHINE)
    values["origins"][0]["run"] = str(tmp_path / "gone")
    (moved / "run.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="no run folder"):
        resolve.request_to_repeat(RunFolder(moved), DATA, MACHINE)


def grey(count: int, side: int) -> Any:
    return replace(part(count, "size"), images=torch.zeros(count, 1, side, side, dtype=torch.uint8))


REFUSED: dict[str, tuple[Callable[[dict[str, Path]], object], str]] = {
    "other family": (
        lambda runs: resolve.resolve(
            TrainRequest(model="gan:hinge", origin=runs["vae:sigma"]), data=DATA
        ),
        "is vae:sigma, not gan:hinge: train vae:sigma, or name another run",
    ),
    "other recipe": (
        lambda runs: resolve.resolve(
            TrainRequest(model="gan:r3", origin=runs["gan:hinge"]), data=DATA
        ),
        "is gan:hinge, not gan:r3",
    ),
    "a width": (
        lambda runs: going_on(runs["vae:sigma"], HALF, "widths=8,32"),
        r"are made with widths=\(8, 16\): leave it as it is, or train without --from",
    ),
    "one of two settings": (
        lambda runs: going_on(runs["gan:hinge"], HALF, "generator.learning_rate=1", "latent=9"),
        "are made with latent=8",
    ),
    "a setting of the first weights": (
        lambda runs: going_on(runs["vae:sigma"], HALF, "first_std=0.5"),
        "are made with first_std=0.14",
    ),
    "labels": (
        lambda runs: going_on(runs["diffusion:x0"], conditional=True),
        "was trained without labels, which its networks are made for, not with 4 classes: leave",
    ),
    "shape": (
        lambda runs: going_on(
            runs["vae:sigma"],
            data=replace(OTHER, train=grey(200, 32), validation=grey(9, 32), test=grey(9, 32)),
        ),
        r"makes images of \(1, 16, 16\), the data have \(1, 32, 32\): .* use --resolution 16",
    ),
    "size": (
        lambda runs: going_on(runs["vae:sigma"], size="base"),
        "is of size tiny, not base: leave out --size",
    ),
    "teacher": (
        lambda runs: going_on(runs["vae:sigma"], teacher=runs["diffusion:x0"]),
        "--teacher begins a training, --from goes on with one: leave one out",
    ),
    "no run": (
        lambda runs: resolve.resolve(
            TrainRequest(model="vae:sigma", origin=runs["vae:sigma"] / "nowhere"), data=DATA
        ),
        "no run folder",
    ),
    "budget of nothing": (lambda runs: request("vae:sigma", "0kimg"), "no budget '0kimg'"),
    "too brief a budget": (
        lambda runs: train(going_on(runs["vae:sigma"], "0.1kimg"), runs["vae:sigma"].parent / "no"),
        "pays for 3 steps of 32 images, too few",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_gone_on_with(origins: dict[str, Path], what: str) -> None:
    ask, line = REFUSED[what]
    with pytest.raises(InputError, match=line):
        ask(origins)


def test_too_little_memory_is_no_damage_of_an_origin(
    vae: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is told of damage would train it again."""
    error = torch.OutOfMemoryError("CUDA out of memory")

    def load(state: TrainingState, *found: Any) -> None:
        raise error

    monkeypatch.setattr(TrainingState, "load", load)
    with pytest.raises(torch.OutOfMemoryError) as raised:
        train(going_on(vae), tmp_path / "out")
    assert raised.value is error


def test_unfinished_and_damaged_origins(vae: Path, tmp_path: Path) -> None:
    shutil.copytree(vae, tmp_path / "run")
    [state] = (tmp_path / "run" / "checkpoints").iterdir()
    with (state / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    with pytest.raises(InputError, match=r"320 is damaged \(model.safetensors differs .*: remove"):
        train(going_on(tmp_path / "run"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    values = json.loads((tmp_path / "run" / "run.json").read_text())
    values["status"] = "running"
    (tmp_path / "run" / "run.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="run is not trained to its end: finish it with the same"):
        going_on(tmp_path / "run")


def test_labels_may_be_left_as_they_were(tmp_path: Path) -> None:
    """A conditional run goes on with labels unasked, on data of as many classes alone."""
    small = ("widths=8,16,16", "steps=2")
    train(request("diffusion:edm", "0.16kimg", *small, conditional=True), tmp_path / "run")
    wanted = going_on(tmp_path / "run", data=replace(OTHER, classes=("e", "f", "g", "h")))
    assert wanted.labels is not None and wanted.labels.names == ("e", "f", "g", "h")
    with pytest.raises(InputError, match=r"was trained with 4 classes, .* not with 5 classes"):
        going_on(tmp_path / "run", data=replace(OTHER, classes=("e", "f", "g", "h", "i")))


def test_a_mixture_is_not_gone_on_with(tmp_path: Path) -> None:
    train(
        resolve.resolve(TrainRequest(model="mixture", set=("groups=2",)), data=DATA), tmp_path / "m"
    )
    with pytest.raises(
        InputError, match="is mixture:mppca, which is not trained: leave out --from"
    ):
        resolve.resolve(TrainRequest(model="mixture", origin=tmp_path / "m"), data=DATA)


# What both cost, and whether they may be compared


def record_of(folder: Path, budget: str, *origins: tuple[str, str, int]) -> RunRecord:
    """run.json of a VAE as if it had such origins, the first one first: budget, data, images."""
    made = tuple(
        OriginRecord(
            run="/a",
            digests={},
            state=None,
            images_seen=images,
            train_seconds=10.0,
            budget=triptych.config.Budget.parse(asked),
            data=f"set-{fingerprint}",
            fingerprint=fingerprint,
        )
        for asked, fingerprint, images in reversed(origins)
    )
    record = replace(RunFolder(folder).read(), budget=triptych.config.Budget.parse(budget))
    return replace(record, origins=made)


def differing(*runs: RunRecord) -> list[str]:
    named = {f"run{i}": contract.Conditions.of_run(run) for i, run in enumerate(runs)}
    return [note.code for note in contract.differences(named)]


def test_budgets_count_both(vae: Path) -> None:
    own = DATA.fingerprint
    plain = {budget: record_of(vae, budget) for budget in ("1kimg", "3kimg", "30s", "3epochs")}
    both = record_of(vae, "1kimg", ("1kimg", own, 1000), ("1000img", own, 1000))
    assert differing(plain["3kimg"], both) == []
    assert differing(plain["1kimg"], both) == ["budget_differs"]
    assert differing(plain["30s"], record_of(vae, "10s", ("20s", own, 5))) == []
    assert differing(plain["3epochs"], record_of(vae, "1epochs", ("2epochs", own, 5))) == []
    mixed = record_of(vae, "10s", ("2kimg", own, 2000))
    assert differing(plain["30s"], mixed) == ["budget_unit_differs", "budget_differs"]
    assert contract.Spent.by(mixed).asked == "2kimg + 10s"
    assert contract.whole_budget(both).amount == 3000


def test_earlier_data_are_no_secret(vae: Path) -> None:
    """Who has seen other images before is not compared unmarked with who has not."""
    tuned = record_of(vae, "1kimg", ("2kimg", "f" * 16, 2000))
    assert differing(record_of(vae, "3kimg"), tuned) == ["earlier_data_differ"]
    assert differing(tuned, tuned) == []
    epochs = record_of(vae, "1epochs", ("2epochs", "f" * 16, 2000))
    assert "budget_differs" in differing(record_of(vae, "3epochs"), epochs)


def test_marks_name_runs_with_an_origin_and_count_their_seconds(vae: Path) -> None:
    plain = replace(record_of(vae, "30s"), train_seconds=30.0)
    both = record_of(vae, "20s", ("10s", DATA.fingerprint, 5))
    alike = contract.marks({"plain": plain, "both": replace(both, train_seconds=20.0)})
    assert alike == [Note("went_on", {"runs": "both"})]
    slow = contract.marks({"plain": plain, "both": replace(both, train_seconds=30.0)})
    assert [note.code for note in slow] == ["went_on", "training_times_differ"]
    assert contract.marks({"plain": plain}) == []


# From the front door, on files


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    return open_tiny(tmp_path_factory.mktemp("bars"), labeled=False)


@pytest.fixture(scope="module")
def of_bars(bars: ImageData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run on mirrored images in a file, the same gone on with, and one as long as both."""
    folder, machine = tmp_path_factory.mktemp("of-bars"), one_thread()
    options: dict[str, Any] = {
        "machine": machine,
        "set": (*CONSTANT, "widths=8,16", "batch_size=32"),
    }
    flipped = replace(bars, augment=Augment(flip=True))
    triptych.train("vae:sigma", flipped, budget="0.32kimg", out=folder / "first", **options)
    triptych.train("vae:sigma", flipped, budget="0.64kimg", out=folder / "long", **options)
    triptych.train(
        "vae:sigma", origin=folder / "first", budget="0.32kimg", out=folder / "both",
        machine=machine,
    )  # fmt: skip
    return {name: folder / name for name in ("first", "long", "both")}


def test_the_origin_s_images_are_gone_on_with(bars: ImageData, of_bars: dict[str, Path]) -> None:
    record = RunFolder(of_bars["both"]).read()
    assert record.data.fingerprint == bars.fingerprint and record.data.flip
    again = api.resolve_training(
        TrainRequest(model="vae:sigma", origin=of_bars["first"], data=bars.source),
        None,
        one_thread(),
        QUIET,
    )
    assert again.data.fingerprint == bars.fingerprint and not again.data.augment.flip


def test_a_run_with_an_origin_enters_a_comparison(
    bars: ImageData, of_bars: dict[str, Path], tmp_path: Path
) -> None:
    """Beside one as long as both; never beside one as long as its own part."""
    options: dict[str, Any] = {"count": 30, "no_baseline": True, "machine": one_thread()}
    with pytest.raises(InputError, match=r"the budget differs: first 320\.0, both 640\.0"):
        triptych.compare([of_bars["first"], of_bars["both"]], bars, out=tmp_path / "a", **options)
    page = triptych.compare(
        [of_bars["long"], of_bars["both"]], bars, out=tmp_path / "c", **options
    ).read_text()
    written = json.loads((tmp_path / "c" / "contract.json").read_text())
    assert written["differences"] == [{"code": "went_on", "values": {"runs": "both"}}]
    assert not written["forced"]
    results = json.loads((of_bars["both"] / "results.json").read_text())
    record = RunFolder(of_bars["both"]).read()
    assert results["cost"]["images_seen"] == 640
    assert results["cost"]["train_seconds"] == record.total_seconds
    assert "goes_on_from" in [note["code"] for note in results["warnings"]]
    assert "ent on from a finished run, whose images" in page
    assert "oes on from first: 320 images seen there" in page


def test_only_the_first_phase_s_end_is_kept_beside_later_checkpoints(tmp_path: Path) -> None:
    """While a GAN's encoder learns; and alone once all is done."""
    folder = tmp_path / "checkpoints"
    for seen in (320, 640):
        checkpoint.save(folder, {}, progress_at(seen))
    for seen in (64, 128, 192):
        checkpoint.save(folder, {}, replace(progress_at(seen), phase=1))
    names = [path.name for path in checkpoint.complete(folder)]
    assert names == ["0-000000000640", "1-000000000128", "1-000000000192"]
    checkpoint.keep_end_of_first_phase(folder)
    assert [path.name for path in checkpoint.complete(folder)] == names[:1]
