"""A run that was trained on a CPU, used on a GPU, and the other way round. Without one: skipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import triptych
from tests.making import open_tiny
from tests.truths import MACHINE
from triptych.hardware import Machine
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
    own = triptych.train(name, data, budget="1kimg", size="tiny", out=out, machine=here)
    other = Run(out, there)
    assert all(tensor.device.type == there.device for tensor in other.model.state_dict().values())
    for key, tensor in own.model.state_dict().items():
        assert torch.equal(other.model.state_dict()[key].cpu(), tensor.cpu())
    assert apart(own.sample(16), other.sample(16)) < 1
    images = data.test.images[:8]
    assert apart(own.reconstruct(images), other.reconstruct(images)) < 1
