"""What others can use without us: a trained model in the formats of their tools.

Each format is a file with `write(run, out, console)`, which fills the existing empty folder `out`.
"""

from __future__ import annotations

FORMATS = {  # of each its module, which loads torch
    "diffusers": "triptych.export.diffusers",
    "hub": "triptych.export.hub_folder",
}
