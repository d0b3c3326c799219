"""What is asked of samples, by the command line or in Python, reaches the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.test_cli import Call, call
from tests.test_training import Toy, request, train
from tests.truths import MACHINE, grey_levels_apart
from triptych.errors import InputError
from triptych.run import Run
from triptych.tasks import sample

__all__ = ["call"]  # a fixture


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("eta") / "run"
    train(request("diffusion:x0", "0.32kimg", "widths=8,16,16", "groups=0", "steps=4"), folder)
    return Run(folder, MACHINE)


def test_the_share_of_fresh_noise_makes_ddim_anything_from_euler_to_ancestral(run: Run) -> None:
    """eta = 0 takes no fresh noise, eta = 1 is DDPM's own (arXiv:2010.02502, section 4.1)."""

    def drawn(sampler: str, eta: float | None = None) -> Tensor:
        return run.sample(8, seed=3, sampler=sampler, eta=eta)

    still, half, fresh = (drawn("ddim", eta) for eta in (0.0, 0.5, 1.0))
    assert torch.equal(still, drawn("euler")) and torch.equal(still, drawn("ddim"))
    assert torch.equal(fresh, drawn("ancestral"))
    assert not torch.equal(half, still) and not torch.equal(half, fresh)


def test_the_command_s_eta_is_python_s(run: Run, call: Call, tmp_path: Path) -> None:
    words = ["sample", run.folder.path, "--count", "8", "--seed", "3", "--sampler", "ddim"]
    words += ["--precision", "fp32", "--threads", "1"]
    assert call(*words, "--eta", "0.5", "--out", tmp_path / "a.npz").code == 0
    with np.load(tmp_path / "a.npz") as content:
        found = torch.from_numpy(content["images"]).permute(0, 3, 1, 2)
    half, still = (run.sample(8, seed=3, sampler="ddim", eta=eta) for eta in (0.5, 0.0))
    assert grey_levels_apart(found, half) <= 1 < grey_levels_apart(found, still)


def test_states_are_counted_as_they_come(run: Run) -> None:
    """The noise is one more where the path begins at a closed form; there are 61 at most."""
    assert run.model.process.start is not None  # type: ignore[attr-defined]
    for steps, states in ((None, 6), (3, 5), (59, 61), (60, 61)):
        assert run.trajectory(1, steps=steps).shape[1] == states == run.count_states(steps=steps)


def test_what_no_sampler_takes_is_refused_in_one_line(run: Run) -> None:
    for wrong in ({"steps": 2.5}, {"steps": "3"}, {"guidance": "2"}, {"eta": "1"}, {"name": 3}):
        with pytest.raises(InputError, match=r" takes (a whole number|a number|text), not"):
            run.with_sampler(**wrong)  # type: ignore[arg-type]


def test_the_temperature_is_the_latent_s_deviation() -> None:
    """Toys whose images are their one latent: half of it, at half the temperature."""
    toy = Toy([])
    whole, half, none = (
        sample.sample(toy, 50, 0, MACHINE, temperature=temperature)[:, 0, 0, 0].double()
        for temperature in (0.2, 0.1, 0.0)
    )
    grey = 127.5
    assert whole.std() > 15
    assert ((half - grey) - (whole - grey) / 2).abs().max() <= 1
    assert (none - grey).abs().max() <= 1
