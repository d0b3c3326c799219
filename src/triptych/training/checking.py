"""What must hold before a run is begun or gone on with; nothing is made or changed here."""

from __future__ import annotations

from typing import Any

from triptych import files
from triptych.errors import InputError
from triptych.hardware import Machine
from triptych.training.request import Request
from triptych.training.run_folder import RunFolder


def check_output(folder: RunFolder, request: Request) -> None:
    """InputError unless the folder is absent, empty, or this very run."""
    path = folder.path
    for place in (path, folder.checkpoints, folder.samples):
        if place.is_symlink() and place != path:
            raise InputError(f"{place} is a link", "remove it, or name another --out")
        if place.exists() and not place.is_dir():
            raise InputError(f"{place} is a file", "name a folder with --out")
    if folder.is_run():
        facts = folder.read()
        for what, ours in request.identity().items():
            theirs = facts["identity"].get(what)
            if theirs != ours:
                shown = "" if isinstance(ours, dict | list) else f" ({theirs}, not {ours})"
                raise InputError(
                    f"{path} holds a run of another {what}{shown}", "name another --out"
                )
    elif path.exists() and files.visible(path):
        raise InputError(f"{path} exists and is not a run of ours", "name another --out")


def check_machine(folder: RunFolder, facts: dict[str, Any], machine: Machine) -> None:
    """InputError where a run would go on with other arithmetic than it began with."""
    asked = {"device": machine.device, "precision": machine.precision, "compile": machine.compile}
    if machine.microbatch is not None:
        asked["microbatch"] = machine.microbatch
    for what, ours in asked.items():
        theirs = facts.get(what)
        if theirs != ours:
            option = f"--{what}" if what == "compile" else f"--{what} {theirs}"
            raise InputError(
                f"{folder.path} was begun with {what} {theirs}, not {ours}",
                f"go on with {option}" if theirs else f"leave --{what} out",
            )
