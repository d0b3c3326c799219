"""Triptych trains, samples, measures and fairly compares VAEs, GANs and diffusion models.

The public names load on first use, so importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triptych.api import (
        Averaged,
        average,
        compare,
        evaluate,
        export_run,
        load,
        measure,
        open_images,
        pull,
        push,
        repeat,
        report,
        save_reference,
        train,
    )
    from triptych.errors import InputError
    from triptych.families.latent import Latent
    from triptych.images import film, grid
    from triptych.options import DataOptions
    from triptych.run import Run
    from triptych.training.callbacks import Callback

__version__ = "0.1.0"

__all__ = [
    "Averaged",
    "Callback",
    "DataOptions",
    "InputError",
    "Latent",
    "Run",
    "average",
    "compare",
    "evaluate",
    "export_run",
    "film",
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
    "Callback": "triptych.training.callbacks",
    "DataOptions": "triptych.data.open",
    "InputError": "triptych.errors",
    "Latent": "triptych.families.latent",
    "Run": "triptych.run",
    "film": "triptych.images",
    "grid": "triptych.images",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'triptych' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES.get(name, "triptych.api")), name)
