"""What is to be trained, all of it checked and resolved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from triptych import config
from triptych.config import Budget, ImageShape, Size
from triptych.data.dataset import ImageData
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.labels import Labels
from triptych.families.registry import ModelName
from triptych.training.loop import OnTrouble
from triptych.training.plan import Plan
from triptych.training.run_folder import RunFolder
from triptych.training.teaching import check_teacher
from triptych.training.threads import Changes


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a finished run recorded of its way, for a training that follows it.

    run:    its folder
    points: breakpoints of each phase's plan; none of a plan that goes straight
    """

    run: str
    planned: int
    timed: bool
    points: list[Any]
    threads: Changes

    def plans(self, lengths: list[int]) -> list[Plan]:
        """Of each phase; InputError where they are not of this model.

        lengths: images that had been planned for each
        """
        if not self.points:
            return [Plan.straight(length, self.timed) for length in lengths]
        if len(self.points) != len(lengths):
            raise InputError(
                f"{self.run} cannot be followed: it has {len(self.points)} phases", "train it anew"
            )
        return [
            Plan.read(points, length, self.timed)
            for points, length in zip(self.points, lengths, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be trained."""

    name: ModelName
    size: Size
    settings: Any
    data: ImageData
    budget: Budget
    seed: int
    command: str  # as it could be typed again, without budget and output folder
    on_trouble: OnTrouble = "rewind"  # when steps stay without finite losses or gradients
    labels: Labels | None = None  # that the model is told in training, where it is conditional
    teacher: RunFolder | None = None  # the finished run that training starts from
    follow: Recorded | None = None  # the plan to follow instead of making one
    variant: str = ""  # what sets it apart from the plain recipe, in the user's words

    def __post_init__(self) -> None:
        images, batch_size = len(self.data.train), self.settings.batch_size
        if batch_size > images:
            raise InputError(
                f"{images:,} training images do not fill a batch of {batch_size:,}",
                f"give more, or use --set batch_size={images}",
            )
        if self.teacher is not None:
            check_teacher(self.shape, self.teacher)

    @property
    def shape(self) -> ImageShape:
        """What the model must know of the data."""
        classes = None if self.labels is None else len(self.labels.names)
        return replace(self.data.shape, classes=classes)

    def identity(self) -> dict[str, Any]:
        """What must agree for a run to be resumed."""
        taught = {} if self.teacher is None else {"teacher": self.teacher.read()["digests"]}
        followed = {} if self.follow is None else {"plan": self.follow.points}
        return (
            taught
            | followed
            | {
                "model": str(self.name),
                "settings": config.to_json(self.settings),
                "data fingerprint": self.data.fingerprint,
                "resolution": self.data.shape.resolution,
                "flips": self.data.augment.flip,
                "crops": self.data.augment.crop,
                "seed": self.seed,
                "use of labels": "none" if self.labels is None else "conditional",
                "budget": self.budget.asked,
            }
        )


def note_augmented(request: Request) -> str | None:
    """What to say where the critic is shown changed images because there are few."""
    count = len(request.data.train)
    if not registry.recipe(request.name).augments_few or not request.settings.augment:
        return None
    return (
        f"the critic is shown changed images, as {count:,} are few: --set augment=false leaves "
        "them as they are"
    )
