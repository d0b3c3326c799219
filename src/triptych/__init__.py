"""Triptych trains, samples, measures and fairly compares VAEs, GANs and diffusion models.

The public names load on first use, so importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triptych.api import (
        compare,
        evaluate,
        export_run,
        load,
        measure,
        pull,
        push,
        repeat,
        report,
        save_reference,
        train,
    )
    from triptych.data.open import open_images
    from triptych.errors import InputError
    from triptych.images import grid
    from triptych.options import DataOptions
    from triptych.run import Run

__all__ = [
    "DataOptions",
    "InputError",
    "Run",
    "compare",
    "evaluate",
    "export_run",
    "grid",
    "load",
    "measure",
    "open_images",
    "pull",
    "push",
    "repeat",
    "report",
    "save_reference",
    "train",
]

_HOMES = {
    "DataOptions": "triptych.data.open",
    "InputError": "triptych.errors",
    "Run": "triptych.run",
    "grid": "triptych.images",
    "open_images": "triptych.data.open",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version(__name__)
    if name not in __all__:
        raise AttributeError(f"module 'triptych' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES.get(name, "triptych.api")), name)
