"""A learned pixel deviation ends at its closed-form optimum, and nothing else moves."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.optimize import minimize_scalar
from scipy.stats import norm
from torch import Tensor

from tests.test_monitor import DATA, fresh, request
from tests.test_vae_monitor import LATENT, SHAPE, line_vae, pixels
from tests.truths import MACHINE, FixedStreams, NoStreams, normal
from triptych import files, images
from triptych.console import QUIET
from triptych.data.dataset import Part
from triptych.errors import InterruptedRunError
from triptych.families.protocol import Batch
from triptych.families.vae.gaussian import CHUNK, ROUNDING, GaussianVAE
from triptych.images import BIN_WIDTH
from triptych.seeding import ImageStreams
from triptych.training import train
from triptych.training.state import TrainingState
from triptych.training.train import fit_after_training

COUNT = 2 * CHUNK + 3


def squared_errors(model: GaussianVAE, x: Tensor, noise: Tensor) -> np.ndarray:
    """Of every pixel, by NumPy from the matrices of `line_vae`."""
    A, B = model.encoder.weight.detach().numpy(), model.decoder.weight.detach().numpy()
    flat = x.flatten(1).numpy()
    z = flat @ A + np.exp(model.encoder.log_variance.detach().numpy() / 2) * noise.numpy()
    return (flat - z @ B) ** 2


def test_the_deviation_is_the_root_of_the_mean_squared_error() -> None:
    """In several chunks, the last one shorter."""
    model, x, noise = line_vae(), pixels(COUNT), normal(COUNT, LATENT, seed=5)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    model.fit_after_training(x, FixedStreams(noise))
    expected = math.sqrt(squared_errors(model, x, noise).mean())
    assert model.log_std.exp().item() == pytest.approx(expected, rel=1e-6)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name != "log_std")
    assert model.log_std.requires_grad and model.log_std.grad is None


def test_it_is_where_scipy_finds_the_likelihood_highest() -> None:
    model, x, noise = line_vae(), pixels(40), normal(40, LATENT, seed=5)
    errors = np.sqrt(squared_errors(model, x, noise))
    found = minimize_scalar(
        lambda log_std: -norm.logpdf(errors, 0, math.exp(log_std)).sum(), bounds=(-5, 5)
    )
    model.fit_after_training(x, FixedStreams(noise))
    assert model.log_std.item() == pytest.approx(found.x, abs=1e-4)


@pytest.mark.parametrize("std", [0.1, 0.4, 0.8, 3.0])
def test_the_bound_on_those_images_does_not_get_worse(std: float) -> None:
    """The training loss, of densities, falls to its least; so does the bound on 8-bit images."""
    model, x, noise = line_vae(std), pixels(40), normal(40, LATENT, seed=5)

    def bounds() -> list[float]:
        with torch.no_grad():
            loss = model.objectives()[0](Batch(x, None, {"z": noise}))["total"].item()
            terms = model.negative_bound(x, FixedStreams(noise), "elbo")
        return [loss, torch.stack(list(terms.values())).sum(0).mean().item()]

    before = bounds()
    model.fit_after_training(x, FixedStreams(noise))
    best = bounds()
    assert all(after < earlier for after, earlier in zip(best, before, strict=True))
    for shift in (-0.02, 0.02):
        with torch.no_grad():
            model.log_std.add_(shift)
        assert all(other > least for other, least in zip(bounds(), best, strict=True))
        with torch.no_grad():
            model.log_std.sub_(shift)


def test_a_fixed_deviation_stays() -> None:
    model = line_vae(1.0, learn_std=False)
    model.fit_after_training(pixels(4), NoStreams())
    assert model.log_std.item() == 0


def test_a_perfect_decoder_s_deviation_is_that_of_rounding() -> None:
    """No pixel is known better than its bin; the logarithm of 0 is never met."""
    model = line_vae()
    with torch.no_grad():
        model.decoder.weight.zero_()
    model.fit_after_training(
        torch.zeros(4, *SHAPE.size, dtype=torch.float64), FixedStreams(normal(4, LATENT))
    )
    assert model.log_std.exp().item() == pytest.approx(ROUNDING)
    values = np.linspace(-BIN_WIDTH / 2, BIN_WIDTH / 2, 100_001)
    assert pytest.approx(values.std(), rel=1e-4) == ROUNDING


# At the end of training


def saved_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> tuple[dict[str, Tensor], dict[str, Tensor], TrainingState]:
    """The weights of a run, those of the same run without settling, its state at the end."""
    states: list[TrainingState] = []
    monkeypatch.setattr(
        "triptych.training.train.fit_after_training",
        lambda state, *rest: (states.append(state), fit_after_training(state, *rest)),
    )
    settled = train.train(request(model), tmp_path / "settled", MACHINE, QUIET)
    monkeypatch.setattr("triptych.training.train.fit_after_training", lambda *rest: None)
    plain = train.train(request(model), tmp_path / "plain", MACHINE, QUIET)
    return load_file(settled.weights), load_file(plain.weights), states[0]


def test_training_ends_with_the_optimum_of_the_averaged_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worked out here from the file: the mean squared error of 20 training images."""
    found, plain, state = saved_by(tmp_path, monkeypatch, "vae:sigma")
    assert [name for name in found if not torch.equal(found[name], plain[name])] == ["log_std"]
    assert state.ema is None  # it became the model when the last phase ended
    assert all(torch.equal(t, found[name]) for name, t in state.model.state_dict().items())
    count = 1280 // 64
    x = images.to_float(DATA.train.choose(count, "settled").images)
    model = fresh().model.eval()
    model.load_state_dict(found)
    noise = ImageStreams(0, "settle", range(count)).normal(4)
    with torch.no_grad():
        mean, log_variance = model.encoder(x)  # type: ignore[operator]
        decoded = model.decoder(mean + (log_variance / 2).exp() * noise)  # type: ignore[operator]
    expected = ((x - decoded) ** 2).mean().sqrt().item()
    assert found["log_std"].exp().item() == pytest.approx(expected, rel=1e-5)


def test_the_course_s_weights_are_the_last_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, plain, state = saved_by(tmp_path, monkeypatch, "vae:course")
    assert all(torch.equal(found[name], plain[name]) for name in plain)
    assert all(torch.equal(t, found[name]) for name, t in state.model.state_dict().items())
    assert found["log_std"] == 0


def test_a_resumed_run_settles_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that was stopped when all its rounds were done."""
    whole = train.train(request(), tmp_path / "whole", MACHINE, QUIET)
    for stopped_at in (640, 1280):
        one_round = TrainingState.step

        def stop(
            state: TrainingState,
            *arguments: Any,
            one_round: Any = one_round,
            stopped_at: int = stopped_at,
        ) -> None:
            one_round(state, *arguments)
            if state.seen == stopped_at:
                os.kill(os.getpid(), signal.SIGTERM)

        with monkeypatch.context() as patch:
            patch.setattr(TrainingState, "step", stop)
            with pytest.raises(InterruptedRunError):
                train.train(request(), tmp_path / f"{stopped_at}", MACHINE, QUIET)
        parts = train.train(request(), tmp_path / f"{stopped_at}", MACHINE, QUIET)
        assert files.sha256(parts.weights) == files.sha256(whole.weights)
        assert parts.read().advice == whole.read().advice


def test_how_many_images_settle_follows_from_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 64th of the planned ones, 2,048 at most, 16 at least, fewer of large ones."""
    asked: list[int] = []

    def note(part: Part, count: int, *rest: Any) -> Part:
        asked.append(count)
        return Part(part.images[:1], None)

    monkeypatch.setattr(Part, "choose", note)
    for planned in (320, 6400, 10**6):
        fit_after_training(fresh(), DATA.train, planned, 0, MACHINE)
    monkeypatch.setattr(train, "SETTLED_NUMBERS", 256 * 50)
    fit_after_training(fresh(), DATA.train, 10**6, 0, MACHINE)
    assert asked == [16, 100, 2048, 50]


def test_every_seed_settles_on_images_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the spread over trainings holds what their choice does."""
    asked: list[int] = []

    def note(part: Part, count: int, purpose: str, seed: int = 0) -> Part:
        asked.append(seed)
        return Part(part.images[:1], None)

    monkeypatch.setattr(Part, "choose", note)
    for seed in (0, 7):
        fit_after_training(fresh(), DATA.train, 320, seed, MACHINE)
    assert asked == [0, 7]
