"""Python imports this where its folder is in PYTHONPATH: PyTorch then begins with the device."""

from __future__ import annotations

import ctypes
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for `tests`


class TorchFinder:
    """Finds torch as usual, and wraps how it is loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        load = spec.loader.exec_module

        def with_device(module: ModuleType) -> None:
            # First, for PyTorch asks once whether there is a GPU.
            ctypes.CDLL(os.environ["TRIPTYCH_IMITATED_GPU"], ctypes.RTLD_GLOBAL)
            load(module)
            from tests.imitated_gpu.cuda import put_in_place

            put_in_place()

        spec.loader.exec_module = with_device
        return spec


if "TRIPTYCH_IMITATED_GPU" in os.environ:
    sys.meta_path.insert(0, TorchFinder())
