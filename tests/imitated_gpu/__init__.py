"""An NVIDIA GPU that is not there, as far as a processor can imitate one.

What would only fail on a card fails here: tensors of two devices in one operation, types as CUDA's
autocast chooses them, waiting for the GPU where a round must not, and what CUDA graphs refuse. It
tells nothing of speed, of memory and of rounding. `device.cpp` is the device; `sitecustomize.py`
brings it into every Python that has its folder in PYTHONPATH:

    python -m tests.imitated_gpu triptych train vae --budget 1kimg --out run
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LIBRARY = "TRIPTYCH_IMITATED_GPU"  # the environment's name for the compiled device


def compiled(folder: Path = ROOT / "build") -> Path:
    """The device as a shared library for the PyTorch that is installed; compiled where it lacks.

    Raises subprocess.CalledProcessError where the compiler cannot.
    """
    source = HERE / "device.cpp"
    mark = hashlib.sha256(source.read_bytes() + version("torch").encode()).hexdigest()[:12]
    library = folder / f"imitated-gpu-{mark}.so"
    if library.exists():
        return library
    folder.mkdir(exist_ok=True)
    spec = find_spec("torch")
    assert spec is not None and spec.origin is not None
    torch = Path(spec.origin).parent
    made = library.with_suffix(f".{os.getpid()}")  # others may be compiling it too
    command = [shutil.which(os.environ.get("CXX", "g++")) or "g++", "-std=c++20", "-O1"]
    command += ["-shared", "-fPIC", f"-I{torch / 'include'}"]
    command += [f"-I{torch / 'include' / 'torch' / 'csrc' / 'api' / 'include'}", str(source)]
    command += [f"-L{torch / 'lib'}", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{torch / 'lib'}"]
    subprocess.run([*command, "-o", str(made)], check=True, capture_output=True, text=True)
    made.replace(library)
    return library


def environment(library: Path) -> dict[str, str]:
    """The environment of processes that have the device."""
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {LIBRARY: str(library), "PYTHONPATH": os.pathsep.join(paths)}
