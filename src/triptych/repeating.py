"""The command that trains a run again, exactly: it is recorded in run.json and on the report."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from triptych.config import Size
from triptych.data.dataset import ImageData
from triptych.data.opening import DataOptions
from triptych.families.registry import ModelName
from triptych.hardware import Machine


def command_of(
    name: ModelName,
    size: Size,
    seed: int,
    overrides: Sequence[str],
    data: ImageData,
    conditional: bool = False,
    teacher: Path | str | None = None,
) -> str:
    """The train command that does the same again, less its budget and machine.

    The size is always named, for its default depends on the hardware.
    """
    usual = DataOptions()
    words = ["triptych", "train", str(name), "--data", data.source, "--size", size]
    given: dict[str, tuple[Any, Any]] = {
        "--seed": (seed, 0),
        "--resolution": (data.shape.resolution, usual.resolution),
        "--fit": (data.fit, usual.fit),
        "--image-column": (data.image_column, usual.image_column),
        "--label-column": (data.label_column, usual.label_column),
        "--crop": (data.augment.crop, usual.crop),
    }
    if data.augment.flip:
        words.append("--flip")
    if conditional:
        words.append("--conditional")
    if teacher is not None:
        words += ["--teacher", str(teacher)]
    for option, (value, default) in given.items():
        if value != default:
            words += [option, str(value)]
    for assignment in overrides:
        words += ["--set", assignment]
    return shlex.join(words)


def machine_options(machine: Machine) -> str:
    """What the user asked of the machine, as options; what was picked is left to be picked."""
    asked = {
        "device": machine.device,
        "precision": machine.precision,
        "threads": machine.threads,
    }
    words = "".join(f" --{k} {v}" for k, v in asked.items() if k not in machine.choices)
    if machine.microbatch is not None:
        words += f" --microbatch {machine.microbatch}"
    return words + (" --compile" if machine.compile else "")
