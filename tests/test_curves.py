"""What a denoiser does at each noise level, as the report draws it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from tests.test_flow import ideal_model
from tests.truths import MACHINE, random_pixels
from triptych import images
from triptych.families.diffusion.model import Diffusion
from triptych.families.diffusion.schedule import power_sigmas
from triptych.pages.charts import across_axis, curve_series
from triptych.pages.load import load_curves
from triptych.tasks import figures


def test_the_schedule_is_the_sampler_s() -> None:
    curve = figures.schedule(ideal_model(7))
    assert curve.across == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert curve.lines["sigma"] == pytest.approx(power_sigmas(7, 0.002, 80.0, 7.0)[:-1].tolist())


def test_errors_are_those_of_the_ideal_denoiser() -> None:
    """x s^2 / (s^2 + sigma^2): for images of second moment m the mean squared error is

    (m sigma^4 + s^4 sigma^2) / (s^2 + sigma^2)^2; 256 x 256 pixels.
    """
    model, pixels = ideal_model(7), random_pixels(256, 1, 16, 16)
    curve = figures.error_by_level(model, pixels, 0, MACHINE)
    assert curve.log and curve.across[0] == pytest.approx(0.01)
    assert curve.across[-1] == pytest.approx(80.0)
    assert curve.lines["noise"] == curve.across
    m = images.to_float(pixels).double().square().mean().item()
    for sigma, error in zip(curve.across, curve.lines["denoised"], strict=True):
        exact = (m * sigma**4 + 0.25**2 * sigma**2) / (0.25 + sigma**2) ** 2
        assert error == pytest.approx(math.sqrt(exact), rel=0.02)


def test_all_curves_are_over_the_same_model() -> None:
    curves = figures.curves_of(ideal_model(3), random_pixels(2, 1, 16, 16), 0, MACHINE)
    assert list(curves) == ["schedule", "error_by_level"]
    for curve in curves.values():
        assert all(len(values) == len(curve.across) for values in curve.lines.values())


def test_a_label_is_not_told_when_the_error_is_measured() -> None:
    seen = []
    model = ideal_model(3)
    model.null_labels = lambda x: seen.append(len(x))  # type: ignore[method-assign, assignment]
    assert isinstance(model, Diffusion)
    model.denoised(torch.zeros(4, 1, 16, 16), 1.0)
    assert seen == [4]


def test_the_report_reads_curves_and_passes_over_others(tmp_path: Path) -> None:
    good = {"across": [0.1, 1, 10], "lines": {"a": [1, 2, 3]}, "log": True, "mark": 1.0}
    own = {"across": [1, 2], "lines": {"a": [5, 6], "b": [7, 8]}, "places": {"b": [1, 3]}}
    bad = {
        "few places": own | {"places": {"b": [1]}},
        "short": {"across": [1, 2], "lines": {"a": [1]}},
        "text": {"across": [1, "x"], "lines": {"a": [1, 2]}},
        "none": {"across": [], "lines": {}},
        "list": [1, 2],
    }
    path = tmp_path / "curves.json"
    path.write_text(json.dumps({"good": good, "own": own} | bad))
    curve, placed = load_curves(path)
    assert (curve.name, curve.across, curve.mark) == ("good", (0.1, 1.0, 10.0), 1.0)
    assert [line.points for line in curve_series(placed)] == [
        ((1.0, 5.0), (2.0, 6.0)),
        ((1.0, 7.0), (3.0, 8.0)),
    ]
    [series] = curve_series(curve)
    assert series.points == ((0.1, 1.0), (1.0, 2.0), (10.0, 3.0))
    axis = across_axis([series], log=True)
    assert axis.position(1.0) == pytest.approx(0.5)
    assert across_axis([series], log=False).position(10.0) == 1.0
    assert load_curves(tmp_path / "nowhere.json") == ()
