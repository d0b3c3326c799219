"""Quality against network calls, measured on a model whose every sample is known to be right."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.test_conditioning import model_of
from tests.test_conformance import fresh
from tests.test_flow import ideal_model
from tests.truths import MACHINE, normal, random_pixels
from triptych import images
from triptych.config import ImageShape
from triptych.console import QUIET
from triptych.data.dataset import ImageData, Part
from triptych.evaluation.extractors import LeadingPatches
from triptych.evaluation.outputs import CHAINS, EVALUATION_SEED, quality_by_calls
from triptych.evaluation.reference import Reference
from triptych.metrics.kernel_distance import kernel_distance
from triptych.nn.patch_features import Patches
from triptych.pages.charts import across_axis, curve_series
from triptych.pages.load import Curve as Drawn
from triptych.tasks import sample


class Standing(LeadingPatches):
    """Patches as they are, without a choice of directions."""

    def __init__(self, pixels: Tensor) -> None:
        self.patches = Patches(pixels)
        self.directions = torch.eye(self.patches.mean.numel())


def real(pixels: Tensor, count: int = 100) -> Reference:
    extractor = Standing(pixels)
    features = dict.fromkeys(("test", "train", "other"), extractor(pixels, MACHINE))
    part = Part(pixels, None)
    data = ImageData(
        name="a", source="a", fingerprint="a", fit="stretch", classes=None, notes=(),
        train=part, validation=part, test=part,
    )  # fmt: skip
    return Reference(
        data=data, count=count, test=pixels, train=pixels, other=pixels, extractor=extractor,
        features=features, labels=None, readings={}, accuracy=None, machine=MACHINE,
    )  # fmt: skip


def gaussian_pixels(count: int = 300) -> Tensor:
    """Of the model's own distribution: N(0, 1/4)."""
    return images.to_uint8(0.5 * normal(count, 1, 16, 16).float())


def test_each_place_is_the_distance_of_samples_of_so_many_calls() -> None:
    model, test = ideal_model(7), gaussian_pixels()
    found = quality_by_calls(model, real(test), None, QUIET)
    assert found is not None
    assert found.across == [5.0, 9.0, 15.0, 25.0]
    assert list(found.lines) == ["heun", "dpm-solver++"]
    assert found.mark == 13.0  # Heun in 7 steps
    describe = Patches(test)
    for name, steps, place in (("heun", 5, 1), ("dpm-solver++", 25, 3)):
        kind = model.with_sampler(name, steps)
        drawn = sample.sample(kind, 100, EVALUATION_SEED, MACHINE)
        exact = kernel_distance(describe(drawn), describe(test)).value
        assert found.lines[name][place] == pytest.approx(exact)


def test_a_line_whose_samplers_meet_more_guided_levels_has_places_of_its_own() -> None:
    model = model_of(random_pixels(80, 1, 16, 16), groups=2, guided=(0.3, 3.0))
    model = model.with_sampler("heun", 5, guidance=2.0)
    found = quality_by_calls(model, real(random_pixels(20, 1, 16, 16), 8), None, QUIET)
    assert found is not None
    calls = {
        name: [float(model.with_sampler(name, n).network_calls) for n in steps]
        for name, steps in CHAINS.items()
        if name != "consistency"
    }
    assert found.across == calls["heun"]
    assert found.places == {"dpm-solver++": calls["dpm-solver++"]}
    assert calls["heun"] != calls["dpm-solver++"]
    assert found.mark == calls["heun"][1]


def test_more_calls_come_nearer_to_what_the_model_learned() -> None:
    found = quality_by_calls(ideal_model(7), real(gaussian_pixels()), None, QUIET)
    assert found is not None
    for line in found.lines.values():
        assert line[0] > 5 * abs(line[-1])


def test_a_longer_chain_than_those_shown_has_no_mark() -> None:
    found = quality_by_calls(ideal_model(200), real(gaussian_pixels()), None, QUIET)
    assert found is not None and found.mark is None


def test_models_of_few_calls_have_a_line_of_their_own() -> None:
    model = fresh("diffusion:consistency", ImageShape(channels=1, resolution=16))
    found = quality_by_calls(model, real(random_pixels(20, 1, 16, 16), 8), None, QUIET)
    assert found is not None
    assert found.across == [1.0, 2.0, 3.0, 4.0]
    assert list(found.lines) == ["consistency"]


def test_what_takes_one_call_is_left_out() -> None:
    small = ImageShape(channels=1, resolution=16)
    vae = fresh("vae:sigma", small)
    pixels = random_pixels(20, 1, 16, 16)
    assert quality_by_calls(vae, real(pixels), None, QUIET) is None


def test_the_chart_s_axis_holds_every_place() -> None:
    drawn = Drawn(name="quality_by_calls", across=(5, 9, 15, 25), lines={"heun": (4, 3, 2, 1)})
    axis = across_axis(curve_series(drawn), log=False)
    assert axis.high == 25.0
    assert torch.tensor([axis.position(v) for v in (5, 9, 15, 25)]).diff().min() > 0
