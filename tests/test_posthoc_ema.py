"""Averages of the weights of any width, made afterwards from two that were kept."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import nn

from tests.test_training import DATA, MACHINE, request, train
from tests.truths import normal
from triptych import api
from triptych.errors import InputError
from triptych.run import Run
from triptych.training import posthoc_ema
from triptych.training.ema import EMA, power_exponent
from triptych.training.run_folder import RunFolder, save_weights


def test_inner_products_are_integrals() -> None:
    """Of (g + 1) t^g / T^(g+1) and (h + 1) t^h / S^(h+1) up to the earlier end."""
    times, exponents = np.array([3.0, 8.0]), np.array([5.0, 17.0])
    found = posthoc_ema.inner_products(times, exponents, times, exponents)

    def product(t: float, a: float, g: float, b: float, h: float) -> float:
        return (g + 1) * t**g / a ** (g + 1) * (h + 1) * t**h / b ** (h + 1)

    for (i, a), (j, b) in itertools.product(enumerate(times), repeat=2):
        powers = (a, exponents[i], b, exponents[j])
        assert found[i, j] == pytest.approx(quad(product, 0, min(a, b), powers)[0], rel=1e-9)


def test_another_width_is_nearly_the_average_that_would_have_been_kept() -> None:
    """A random walk of 200 weights over 800 rounds; errors in units of how far widths differ."""
    model = nn.Linear(200, 1, bias=False)
    kept = {width: EMA(model, width) for width in (0.05, 0.1, 0.07, 0.16)}
    steps, saved = 0.1 * normal(800, 1, 200).float(), []
    for number, step in enumerate(steps, start=1):
        model.weight.data += step
        for average in kept.values():
            average.update(average.keep(number - 1, number))
        if number % 100 == 0:
            saved += [(number, w, kept[w].state["weight"].clone()) for w in (0.05, 0.1)]
    rounds, widths = (np.array([one[i] for one in saved], dtype=float) for i in (0, 1))
    apart = (kept[0.07].state["weight"] - kept[0.16].state["weight"]).norm()
    for width, most in ((0.05, 1e-4), (0.07, 0.03), (0.16, 0.06)):
        factors, off = posthoc_ema.coefficients(rounds, widths, width)
        assert factors.sum() == pytest.approx(1, abs=1e-9) and off < 0.1
        mixed = sum(f * one[2] for f, one in zip(factors, saved, strict=True))
        assert ((mixed - kept[width].state["weight"]).norm() / apart).item() < most


def test_no_other_factors_that_sum_to_one_come_nearer() -> None:
    """Any step along the plane of such factors moves the weighting away from the wanted one."""
    rounds = np.repeat(np.arange(100.0, 900, 100), 2)
    widths = np.tile([0.05, 0.1], 8)
    exponents = np.array([power_exponent(width) for width in widths])
    end, exponent = np.array([800.0]), np.array([power_exponent(0.08)])
    among = posthoc_ema.inner_products(rounds, exponents, rounds, exponents)
    wanted = posthoc_ema.inner_products(rounds, exponents, end, exponent)[:, 0]
    own = posthoc_ema.inner_products(end, exponent, end, exponent).item()

    def distance(factors: np.ndarray) -> float:
        return float(own - 2 * factors @ wanted + factors @ among @ factors)

    factors, off = posthoc_ema.coefficients(rounds, widths, 0.08)
    assert off == pytest.approx((distance(factors) / own) ** 0.5, rel=1e-6)
    for step in normal(40, 16).numpy():
        moved = factors + 0.01 * (step - step.mean())
        assert distance(moved) > distance(factors)


def test_how_far_off_a_mixture_is_by_integrals() -> None:
    """Two averages at one moment: the norm of what is missing, over the norm of what is wanted."""
    end = 100.0
    rounds, widths = np.array([end, end]), np.array([0.05, 0.1])
    factors, off = posthoc_ema.coefficients(rounds, widths, 0.2)
    exponents = [power_exponent(width) for width in (*widths, 0.2)]

    def weighting(t: float, g: float) -> float:
        return (g + 1) * t**g / end ** (g + 1)

    def missing(t: float) -> float:
        made = sum(f * weighting(t, g) for f, g in zip(factors, exponents[:2], strict=True))
        return (made - weighting(t, exponents[2])) ** 2

    wanted = quad(lambda t: weighting(t, exponents[2]) ** 2, 0, end)[0]
    assert off == pytest.approx(np.sqrt(quad(missing, 0, end)[0] / wanted), rel=1e-6)
    assert 0.05 < off < 1


def test_saved_averages_are_halved_where_that_holds_them() -> None:
    """Half precision ends at 65,504 and is for numbers with fractions."""
    small, large, counts = torch.tensor([1.5]), torch.tensor([1e5]), torch.tensor([3])
    assert posthoc_ema.halved(small).dtype == torch.float16
    assert posthoc_ema.halved(large).tolist() == [1e5]
    assert posthoc_ema.halved(counts).dtype == torch.int64


def test_a_width_far_from_both_is_not_made() -> None:
    rounds, widths = np.array([100.0, 100.0, 50.0, 50.0]), np.array([0.05, 0.1, 0.05, 0.1])
    assert posthoc_ema.coefficients(rounds, widths, 0.005)[1] > posthoc_ema.MOST_OFF
    assert power_exponent(0.005) > 150


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("averaged") / "run"
    train(request("diffusion:x0", "3.2kimg", "widths=8,16,16", "steps=2"), folder)
    return folder


def test_the_width_in_use_gives_the_run_s_own_weights(trained: Path, tmp_path: Path) -> None:
    found = api.average(trained, tmp_path / "same", 0.05, machine=MACHINE)
    own, again = Run(trained, MACHINE), Run(found.run, MACHINE)
    for name, tensor in own.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], tensor, rtol=2e-3, atol=1e-4)
    assert len(list(RunFolder(trained).averages.iterdir())) == 2 * posthoc_ema.TIMES


def test_averages_are_saved_under_the_images_that_they_hold(trained: Path) -> None:
    """After the first round of 32 images beyond each eighth of 3,200, both of them."""
    found = [one.position for one in posthoc_ema.saved_averages(RunFolder(trained))]
    assert found == [32 * -(-400 * part // 32) for part in range(1, 9) for _ in range(2)]


def test_another_width_is_a_run_of_its_own(trained: Path, tmp_path: Path) -> None:
    before = RunFolder(trained).weights.read_bytes()
    found = api.average(trained, tmp_path / "wide", 0.15, machine=MACHINE)
    run = Run(found.run, MACHINE)
    assert run.record.settings["ema"] == 0.15
    assert run.record.averaged_from.run == "run"
    assert run.sample(2).shape == (2, 1, 16, 16)
    assert RunFolder(trained).weights.read_bytes() == before
    with pytest.raises(InputError, match="is there already"):
        api.average(trained, tmp_path / "wide", 0.1, machine=MACHINE)
    with pytest.raises(InputError, match="kept no averages"):
        api.average(found.run, tmp_path / "more", 0.1, machine=MACHINE)


def test_the_best_of_some_widths_is_used(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "SCORED", 20)
    found = api.average(trained, tmp_path / "best", data=DATA, machine=MACHINE)
    assert found.width == min(found.scores, key=found.scores.__getitem__)
    assert set(found.scores) == set(api.WIDTHS) and len(set(found.scores.values())) > 1
    exact = api.average(trained, tmp_path / "exact", found.width, machine=MACHINE)
    assert RunFolder(exact.run).weights.read_bytes() == RunFolder(found.run).weights.read_bytes()


@pytest.mark.parametrize("width", [0.0, -1.0, 0.3, float("nan")])
def test_widths_that_there_are_not(trained: Path, tmp_path: Path, width: float) -> None:
    with pytest.raises(InputError, match="no share of a training"):
        api.average(trained, tmp_path / "none", width, machine=MACHINE)
    assert not (tmp_path / "none").exists()


def test_damaged_averages_are_named(trained: Path, tmp_path: Path) -> None:
    victim = next(RunFolder(trained).averages.iterdir())
    content = victim.read_bytes()
    victim.write_bytes(content[:100])
    try:
        with pytest.raises(InputError, match=f"{victim.name} is damaged"):
            api.average(trained, tmp_path / "none", 0.1, machine=MACHINE)
    finally:
        victim.write_bytes(content)


def test_what_an_abandoned_branch_saved_is_removed(tmp_path: Path) -> None:
    """After a return to a checkpoint its later averages are of another training."""
    folder = RunFolder(tmp_path)
    folder.averages.mkdir(parents=True)
    for name in ("000000100-0.05", "000000150-0.2", "000000151-0.2"):
        (folder.averages / f"{name}.safetensors").touch()
    state: Any = SimpleNamespace(phase=0, seen=150)
    plan: Any = SimpleNamespace(position=float)
    posthoc_ema.Keeper(state, folder, plan, writes=False).forget_later()
    assert len(list(folder.averages.iterdir())) == 3  # another process's to remove
    posthoc_ema.Keeper(state, folder, plan, writes=True).forget_later()
    left = sorted(path.stem for path in folder.averages.iterdir())
    assert left == ["000000100-0.05", "000000150-0.2"]


def test_what_did_not_move_while_averages_were_saved_is_the_run_s_own(tmp_path: Path) -> None:
    """A buffer of the data in full precision, and what is trained after the averages."""
    folder = RunFolder(tmp_path)
    folder.averages.mkdir(parents=True)
    for moment in (1, 2, 3, 4):
        for width in (0.05, 0.1):
            saved = {"weight": torch.tensor([2.0]), "fixed": torch.tensor([0.3]).half()}
            saved |= {"later": torch.zeros(1), "count": torch.tensor([moment])}
            saved["weight"] += moment
            path = folder.averages / f"{moment:09d}-{width:g}.safetensors"
            save_weights(path, saved, {})
    own = {"weight": torch.tensor([9.0]), "fixed": torch.tensor([0.3])}
    own |= {"later": torch.tensor([5.0]), "count": torch.tensor([4])}
    found = posthoc_ema.averaged(folder, 0.1, own)
    assert found["fixed"].item() == own["fixed"].item()
    assert found["later"].item() == 5 and found["count"].item() == 4
    assert 3 < found["weight"].item() < 6.1 and found["weight"].item() != 9
