"""The tests that need an NVIDIA GPU, on one that is imitated: tests/imitated_gpu."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.imitated_gpu import ROOT, compiled, environment

pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler"),
    pytest.mark.skipif(
        torch.__version__.split("+")[0] != "2.13.0", reason="is written for PyTorch 2.13.0"
    ),
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux"),
    pytest.mark.timeout(500),
]


@pytest.fixture(scope="module")
def library() -> Path:
    return compiled()


def run(library: Path, *words: str) -> str:
    process = subprocess.run(
        [sys.executable, *words], env=environment(library), cwd=ROOT, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
    return process.stdout


def test_it_refuses_what_a_gpu_refuses(library: Path) -> None:
    """Else the other tests would prove nothing."""
    run(
        library,
        "-c",
        """
import pytest, torch
from torch.nn import functional as F
here, there = torch.ones(3, 4), torch.ones(3, 4, device="cuda")
assert there.is_cuda and float(there.sum()) == 12 and (there + 1.0).device.type == "cuda"
for mixed in (lambda: here + there, lambda: torch.cat([here, there]), lambda: there @ here.T):
    with pytest.raises(RuntimeError, match="same device"):
        mixed()
with pytest.raises(TypeError, match="cuda"):
    there.numpy()
with torch.autocast("cuda", torch.bfloat16):
    assert F.linear(there, there).dtype == torch.bfloat16
    assert F.linear(there, there).softmax(1).dtype == torch.float32
torch.cuda.set_sync_debug_mode("error")
for waiting in (lambda: float(there.sum()), lambda: there[there > 0], lambda: here.to("cuda")):
    with pytest.raises(RuntimeError, match="synchronizing"):
        waiting()
here.to("cuda", non_blocking=True)
torch.cuda.set_sync_debug_mode("default")
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    there.mul_(2)
assert there.sum() == 12
graph.replay()
graph.replay()
assert there.sum() == 48
""",
    )


def test_what_needs_a_gpu_passes_on_it(library: Path) -> None:
    files = ["tests/test_other_device.py", "tests/test_graph.py", "tests/test_batches.py"]
    wanted = "other_device or gpu or host or regime"
    printed = run(library, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", wanted)
    assert "skipped" not in printed
