"""Training a run again, exactly: the recorded command, and what `triptych repeat` follows."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from triptych import config, hardware
from triptych.config import Budget, Size
from triptych.data.dataset import ImageData
from triptych.data.open import DataOptions
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.registry import ModelName
from triptych.hardware import MOST_THREADS, Machine, usable_cores
from triptych.training.checking import check_machine
from triptych.training.plan import Plan
from triptych.training.request import Recorded, Request
from triptych.training.run_folder import RunFolder, labels_of
from triptych.training.threads import Threads


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


def request_to_repeat(
    folder: RunFolder, data: ImageData, machine: Machine
) -> tuple[Request, Machine]:
    """What trains a finished run again, and the machine as it was then.

    InputError where the data differ, or the run was written in a way that cannot be followed.
    """
    facts = folder.read()
    mend = f"train it anew: {facts.get('command', 'triptych train')}"
    if data.fingerprint != facts["data"]["fingerprint"]:
        raise InputError(f"{data.source} is not what {folder.path} was trained on", "give --data")
    if facts.get("rewinds") and facts.get("timed"):
        raise InputError(f"{folder.path} went back on its way, which cannot be followed", mend)
    if facts.get("processes", 1) != machine.group.size:
        raise InputError(
            f"{folder.path} was trained by {facts.get('processes', 1)} processes",
            "start as many with torchrun",
        )
    own = facts["data"]
    augment = replace(data.augment, flip=own.get("flip", False), crop=own.get("crop", 0))
    name = ModelName.parse(facts["model"])
    teacher = facts.get("teacher")
    if teacher is None and registry.recipe(name).take_over is not None:
        raise InputError(f"{folder.path} does not say what its teacher was", mend)
    try:
        follow = recorded(folder, facts)
        request = Request(
            name=name,
            size=facts["size"],
            settings=config.from_json(registry.recipe(name).settings, facts["settings"]),
            data=replace(data, augment=augment),
            budget=config.from_json(Budget, facts["budget"]),
            seed=facts["seed"],
            command=f"triptych repeat {shlex.quote(str(folder.path))} --out NEW",
            labels=labels_of(facts),
            teacher=None if teacher is None else RunFolder(Path(teacher)),
            follow=follow,
            variant=facts.get("variant", ""),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{folder.path} cannot be followed ({error})", mend) from error
    check_machine(folder, facts, machine)
    threads, microbatch = follow.threads[0][2], facts.get("microbatch")
    return request, replace(machine, threads=threads, microbatch=microbatch)


def recorded(folder: RunFolder, facts: dict[str, Any]) -> Recorded:
    """The plan and threads of a run; those of earlier versions went straight through their images.

    ValueError where they make none.
    """
    planned, threads = facts["planned_images"], facts.get("threads_along")
    points = [facts["plan"], *facts["later_plans"]] if "plan" in facts else []
    most = max(MOST_THREADS, usable_cores())
    for phase in points:
        Plan.read(phase, planned, timed=True)
    return Recorded(
        run=str(folder.path),
        planned=planned,
        timed=bool(facts.get("timed", False)),
        points=points,
        threads=Threads.read(threads or [[0, 0, facts["threads"]]], most),
    )


def differing_versions(facts: dict[str, Any]) -> list[str]:
    """What may make a repeated run differ, in sentences."""
    ours = hardware.versions()
    theirs = facts["versions"]
    changed = [f"{name} {theirs.get(name)} then, {ours[name]} now" for name in ours
               if theirs.get(name) != ours[name]]  # fmt: skip
    if facts["hardware"].get("processor") != hardware.describe()["processor"]:
        changed.append("another processor")
    return [f"the weights may differ ({'; '.join(changed)})"] if changed else []
