"""Batches that are split: the same gradients, by hand or where memory asks for it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests import together
from tests.test_training import DATA, MACHINE, digest, request, train
from triptych import hardware
from triptych.console import QUIET
from triptych.data.batches import Batches
from triptych.errors import InputError
from triptych.families import registry
from triptych.options import TrainRequest
from triptych.training import calibration, resolve
from triptych.training import train as training
from triptych.training.graph import Graphs
from triptych.training.plan import Plan


@pytest.mark.parametrize("model", together.SMALL)
def test_a_split_batch_moves_the_weights_alike(model: str, tmp_path: Path) -> None:
    """20 rounds in float64, parts of 8 and 8, or of 5, 5, 5 and 1: only rounding differs."""
    together.steps(model, tmp_path / "whole")
    whole = load_file(tmp_path / "whole")
    for microbatch in (5, 8):
        together.steps(model, tmp_path / "parts", microbatch)
        parts = load_file(tmp_path / "parts")
        for name, expected in whole.items():
            torch.testing.assert_close(parts[name], expected, rtol=1e-9, atol=1e-11, msg=name)


def test_batch_statistics_refuse_to_be_split(tmp_path: Path) -> None:
    for model in ("gan:course", "vae:course"):
        with pytest.raises(InputError, match="normalises over its whole batch"):
            training.train(request(model), tmp_path / "run", replace(MACHINE, microbatch=8), QUIET)
    train(request("gan:course"), tmp_path / "whole")


def test_a_batch_that_does_not_fit_is_split_and_that_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorded command gives the same weights where there is memory enough."""
    wanted = request("vae", "0.32kimg", "widths=8,8,8,8")
    whole = request("gan:course")

    def room_for(asked: training.ResolvedRequest, count: float) -> int:
        """Free memory that lets so many images in."""
        state = training.fresh_state(asked, MACHINE)
        batches = training.share_batches(asked, MACHINE)
        kept, held = calibration.bytes_per_image(state, batches.images.shape[1:], 0, MACHINE)
        needed = calibration.bytes_of_moving(state) + 32 * held + count * calibration.MARGIN * kept
        return int(needed / calibration.USABLE)

    rooms = {"split": room_for(wanted, 10.5), "whole": room_for(whole, 10.5), "nothing": 1000}
    room = "split"
    with monkeypatch.context() as patch:
        patch.setattr(hardware, "free_memory_bytes", lambda device: rooms[room])
        split = train(wanted, tmp_path / "split")
        record = split.read()
        assert record.microbatch == 10
        assert record.command.endswith(" --microbatch 10")
        assert record.choices["microbatch"].code == "batch_split"
        room = "whole"
        with pytest.raises(InputError, match=r"32 images of gan:course do not fit .* 10 would"):
            train(whole, tmp_path / "whole")
        room = "nothing"
        with pytest.raises(InputError, match="choose a smaller --size"):
            train(wanted, tmp_path / "nothing")
    again = training.train(wanted, tmp_path / "again", replace(MACHINE, microbatch=10), QUIET)
    assert digest(again) == digest(split)
    assert train(wanted, tmp_path / "plenty").read().microbatch is None


def test_with_graphs_a_step_may_take_half_of_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Theirs keep its memory while a round of another kind, not captured yet, wants as much."""
    wanted = request("gan:r1", "0.32kimg", "width=8")
    state = training.fresh_state(wanted, MACHINE)
    batches = training.share_batches(wanted, MACHINE)
    kept, held = calibration.bytes_per_image(state, batches.images.shape[1:], 0, MACHINE)
    room = calibration.bytes_of_moving(state) + 32 * held + 20.5 * calibration.MARGIN * kept
    free = int(room / calibration.USABLE)
    monkeypatch.setattr(hardware, "free_memory_bytes", lambda device: free)
    assert calibration.images_at_once(state, batches, 0, MACHINE) == 20
    state.graphs = Graphs()
    assert calibration.images_at_once(state, batches, 0, MACHINE) == 10


def test_a_run_goes_on_with_the_microbatch_it_began_with(tmp_path: Path) -> None:
    run = tmp_path / "run"
    wanted = request("vae", "0.32kimg", "widths=8,8,8,8")
    done = training.train(wanted, run, replace(MACHINE, microbatch=8), QUIET)
    record = replace(done.read(), status="running")
    training.check_machine(done, record, MACHINE)
    with pytest.raises(InputError, match="begun with microbatch 8, not 4"):
        training.check_machine(done, record, replace(MACHINE, microbatch=4))


PEAK = """
import sys
from tests.test_fitting import peak_and_foretold
print(*peak_and_foretold(sys.argv[1]))
"""


def peak_and_foretold(model: str) -> tuple[int, float]:
    """Bytes by which the memory of this process grew in a step of 64 images, and the forecast."""
    name = registry.ModelName.parse(model)
    asked = TrainRequest(model=model, budget="6.4kimg", size="tiny", set=("batch_size=64",))
    wanted = resolve.resolve(asked, data=DATA)
    batches = training.share_batches(wanted, MACHINE)
    state = training.fresh_state(wanted, MACHINE)
    kept, held = calibration.bytes_per_image(state, batches.images.shape[1:], 0, MACHINE)
    foretold = 64 * (kept + held) + calibration.bytes_of_moving(state)
    small = training.fresh_state(wanted, replace(MACHINE, microbatch=1))
    assert not registry.recipe(name).batch_statistics
    plan = Plan.straight(10**6)
    small.step(batches, 0, plan, replace(MACHINE, microbatch=1))  # kernels and their scratch
    hardware.forget_peak_memory()
    before = hardware.peak_memory_bytes("cpu")
    state.step(batches, 0, plan, MACHINE)
    return hardware.peak_memory_bytes("cpu") - before, foretold


@pytest.mark.sweep
@pytest.mark.parametrize("model", ["diffusion:x0", "diffusion:course"])
def test_the_forecast_of_memory_is_near_the_truth(model: str) -> None:
    """In a process of its own, whose peak is measured."""
    found = subprocess.run(
        [sys.executable, "-c", PEAK, model], capture_output=True, text=True, check=True
    )
    grown, foretold = map(float, found.stdout.split())
    assert foretold / calibration.MARGIN < grown < foretold * calibration.MARGIN


def test_the_forecast_does_not_depend_on_the_share() -> None:
    """Of a process that has one row of a batch as of one that has all."""
    wanted = request("vae")
    state = training.fresh_state(wanted, MACHINE)
    found = {
        calibration.bytes_per_image(state, batches.images.shape[1:], 0, MACHINE)
        for batches in (Batches(DATA.train, 32, 0, rank=0, ranks=ranks) for ranks in (1, 8, 32))
    }
    assert len(found) == 1 and min(found)[0] > 1000


def test_finding_what_fits_leaves_the_model_as_it_was() -> None:
    """Batch statistics too: a run that begins is one that was begun before."""
    state = training.fresh_state(request("vae:course"), MACHINE)
    before = {name: tensor.clone() for name, tensor in state.model.state_dict().items()}
    calibration.bytes_per_image(state, torch.Size(DATA.shape.size), 0, MACHINE)
    assert all(torch.equal(before[name], t) for name, t in state.model.state_dict().items())
