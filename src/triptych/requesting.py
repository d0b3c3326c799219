"""From what a user asks to be trained to a request, of which everything is checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from triptych import config
from triptych.config import Budget, Size
from triptych.console import QUIET, Console
from triptych.data.dataset import ImageData
from triptych.data.open import DataOptions
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.registry import ModelName
from triptych.reading import labels_to_tell, open_images
from triptych.repeating import command_of
from triptych.training import teaching
from triptych.training.request import Request
from triptych.training.run_folder import RunFolder

DEFAULT_BUDGETS: dict[Size, str] = {"tiny": "75s", "small": "10m", "base": "10m"}
COURSE_BUDGET = "30epochs"


@dataclass(frozen=True)
class Variant:
    """A model with what sets it apart from its plain recipe.

    Written MODEL[,KEY=VALUE ...], as in `gan:r1,average=0.1`; `size=small` and `conditional` stand
    for those options.
    """

    name: ModelName
    told: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Variant:
        """InputError on an unknown model."""
        model, *told = text.split(",")
        return cls(ModelName.parse(model), tuple(told))

    def __str__(self) -> str:
        return ",".join([str(self.name), *self.told])

    @property
    def overrides(self) -> tuple[str, ...]:
        """Its settings."""
        return tuple(t for t in self.told if not t.startswith("size=") and t != "conditional")

    @property
    def size(self) -> str | None:
        """Its size, where it has one of its own."""
        return next((t.removeprefix("size=") for t in self.told if t.startswith("size=")), None)

    @property
    def conditional(self) -> bool:
        """Whether it is told the labels though the others may not be."""
        return "conditional" in self.told


def pick_size(size: str | None, device: str | None = None) -> Size:
    """The size asked for, else by hardware: tiny on CPUs, small or base by the GPU's memory."""
    if size is None:
        if device == "cpu" or not torch.cuda.is_available():
            return "tiny"
        memory = torch.cuda.get_device_properties(0).total_memory
        return "base" if memory > 30e9 else "small"
    if size not in config.SIZES:
        raise InputError(f"no size '{size}'", f"choose from {', '.join(config.SIZES)}")
    return size


def make_request(
    model: str,
    data: str | ImageData,
    budget: str | None,
    size: str | None,
    seed: int,
    overrides: Sequence[str],
    options: DataOptions | None,
    console: Console = QUIET,
    command: str | None = None,
    on_trouble: str = "rewind",
    conditional: bool = False,
    teacher: Path | str | None = None,
    variant: str = "",
) -> Request:
    """Everything checked that can be checked before anything is made.

    variant: what sets it apart among others of its recipe, in the user's words
    command: as it is recorded, without budget and machine; worked out unless given
    """
    if on_trouble not in ("rewind", "stop"):
        raise InputError(f"no --on-trouble '{on_trouble}'", "choose rewind or stop")
    name = ModelName.parse(model)
    chosen_size = pick_size(size)
    usual = COURSE_BUDGET if name.recipe == "course" else DEFAULT_BUDGETS[chosen_size]
    parsed = Budget.parse(budget or usual)
    opened = data if isinstance(data, ImageData) else open_images(data, options, console)
    labels = labels_to_tell(name, opened) if conditional else None
    usual_settings = registry.defaults(name, chosen_size, opened.shape, len(opened.train))
    run = None if teacher is None else RunFolder(Path(teacher))
    usual_settings = teaching.settings_of_student(name, usual_settings, run)
    settings = config.override(usual_settings, overrides)
    return Request(
        name=name,
        size=chosen_size,
        settings=settings,
        data=opened,
        budget=parsed,
        seed=seed,
        command=command
        or command_of(name, chosen_size, seed, overrides, opened, conditional, teacher),
        on_trouble=on_trouble,  # type: ignore[arg-type] # checked above
        labels=labels,
        teacher=run,
        variant=variant,
    )


def run_name(request: Request) -> str:
    """What a run is called where the user named no folder."""
    safe = re.sub(r"[^A-Za-z0-9._=+-]", "-", request.variant)
    parts = (request.name.family, request.name.recipe, safe, f"s{request.seed}")
    return "-".join(part for part in parts if part)
