"""What a GPU gives is what a processor gives; without one these are skipped.

`test_imitated_gpu.py` runs them on a GPU that is imitated, where PyTorch has none.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

import triptych
from tests.making import open_tiny
from tests.truths import MACHINE, normal
from triptych.hardware import Machine
from triptych.metrics import Metric, own_metrics
from triptych.metrics.memorised import nearest
from triptych.nn.blocks import GroupNorm
from triptych.run import Run

CPU, GPU = MACHINE, replace(MACHINE, device="cuda")
MODELS = ("vae:ladder", "gan:r1", "diffusion:x0", "mixture:mppca")

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def apart(a: Tensor, b: Tensor) -> float:
    """The mean distance of two sets of uint8 images, in grey levels."""
    return (a.float() - b.float()).abs().mean().item()


@pytest.mark.parametrize(("here", "there"), [(CPU, GPU), (GPU, CPU)], ids=["on a GPU", "and back"])
@pytest.mark.parametrize("name", MODELS)
def test_a_run_gives_the_same_on_the_other_device(
    name: str, here: Machine, there: Machine, tmp_path: Path
) -> None:
    """Samples and reconstructions differ by rounding, weights not at all."""
    data, out = open_tiny(tmp_path), tmp_path / "run"
    own = triptych.train(name, data, budget="0.5kimg", size="tiny", out=out, machine=here)
    other = Run(out, there)
    assert all(tensor.device.type == there.device for tensor in other.model.state_dict().values())
    for key, tensor in own.model.state_dict().items():
        assert torch.equal(other.model.state_dict()[key].cpu(), tensor.cpu())
    assert apart(own.sample(16), other.sample(16)) < 1
    images = data.test.images[:8]
    assert apart(own.reconstruct(images), other.reconstruct(images)) < 1
    both = [run.log_likelihood(images) for run in (own, other)]
    if both[0].value is not None:
        assert both[0].value == pytest.approx(both[1].value, abs=0.01)


@pytest.mark.parametrize("name", MODELS[:3])
def test_half_precision_is_captured(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As users train: bfloat16, rounds as graphs, few images augmented."""
    data, out, machine = open_tiny(tmp_path), tmp_path / "run", replace(GPU, precision="bf16")
    run = triptych.train(name, data, budget="1kimg", size="tiny", out=out, machine=machine)
    assert "no CUDA graph" not in capsys.readouterr().err
    assert run.record.precision == "bf16" and len(run.sample(3)) == 3


def test_measurements_of_a_run_are_those_of_a_processor(tmp_path: Path) -> None:
    data, out = open_tiny(tmp_path), tmp_path / "run"
    triptych.train("vae:sigma", data, budget="1kimg", size="tiny", out=out, machine=CPU)
    (here,), (there,) = (
        triptych.evaluate(out, data, count=40, machine=machine) for machine in (CPU, GPU)
    )
    for mine, theirs in zip(here.metrics, there.metrics, strict=True):
        assert (mine.name, mine.kind) == (theirs.name, theirs.kind)
        if mine.value is not None and mine.name != "real_or_fake":  # it grows rounding
            assert theirs.value == pytest.approx(mine.value, rel=0.05, abs=0.02), mine.name


def features(count: int, shift: float, device: str) -> Tensor:
    return (normal(count, 24, seed=count) + shift).to(device)


@pytest.mark.parametrize("metric", [m for m in own_metrics() if m.on_gpu], ids=lambda m: m.name)
def test_metrics_on_a_gpu_are_those_on_a_processor(metric: Metric) -> None:
    found = []
    for device in ("cpu", "cuda"):
        ours = {"features": features(300, 0.2, device)}
        theirs = {f"{part}_features": features(400, 0.0, device) for part in ("test", "train")}
        theirs["matched_test_features"] = theirs["test_features"][:300]
        assert callable(metric.floor)
        found.append((metric.compute(ours, theirs), metric.floor(ours, theirs)))
    here, there = (tree_leaves([asdict(estimate), floor]) for estimate, floor in found)
    assert there == [x if x is None else pytest.approx(x, rel=1e-6, abs=1e-9) for x in here]


def test_nearest_images_found_on_a_gpu_are_those_of_a_processor() -> None:
    devices = "cpu", "cuda"
    here, there = (nearest(features(700, 0.3, on), features(300, 0.0, on)) for on in devices)
    assert torch.equal(here.index, there.index) and there.distance.device.type == "cpu"
    torch.testing.assert_close(there.distance, here.distance)
    torch.testing.assert_close(there.second, here.second)


def test_norms_on_a_gpu_stay_in_the_activations_precision() -> None:
    norm = GroupNorm(4, 16).float().cuda()
    torch.nn.init.normal_(norm.weight)
    x = (3 * normal(5, 16, 8, 8) + 1).float().cuda()
    exact = norm(x)
    with torch.autocast("cuda", torch.bfloat16):
        found = norm(x.bfloat16())
    assert exact.dtype == torch.float32 and found.dtype == torch.bfloat16
    assert (found.float() - exact).abs().max() < 0.02 * exact.abs().max()
