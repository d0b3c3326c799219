"""Models that start from a trained one: which may teach which, and what is taken over."""

from __future__ import annotations

from typing import Any

from triptych import config
from triptych.config import ImageShape
from triptych.errors import InputError
from triptych.families import registry
from triptych.families.base import GenerativeModel, Learns
from triptych.families.registry import ModelName
from triptych.training.run_folder import RunFolder, labels_of, load_model


def settings_of_student(name: ModelName, usual: Any, teacher: RunFolder | None) -> Any:
    """The recipe's usual settings, with the teacher's sizes where there is one.

    InputError where one is missing, not wanted, or of another kind.
    """
    take_over = registry.recipe(name).take_over
    if teacher is None:
        if take_over is not None:
            raise InputError(f"{name} starts from a trained model", "name it: --teacher RUN")
        return usual
    if take_over is None:
        raise InputError(f"{name} starts from no trained model", "leave out --teacher")
    facts = teacher.read()
    theirs = ModelName.parse(facts["model"])
    settings = config.from_json(registry.recipe(theirs).settings, facts["settings"])
    try:
        return take_over(usual, str(theirs), settings)
    except ValueError as error:
        raise InputError(
            f"{teacher.path} cannot teach {name}: {error}", "name another run"
        ) from error


def check_teacher(shape: ImageShape, teacher: RunFolder) -> None:
    """InputError unless the teacher makes images of this shape and was told as much of labels."""
    facts = teacher.read()
    labels = labels_of(facts)
    told = None if labels is None else len(labels.names)
    theirs = ImageShape(
        channels=facts["data"]["channels"], resolution=facts["data"]["resolution"], classes=told
    )
    if theirs.size != shape.size:
        raise InputError(
            f"{teacher.path} makes images of {theirs.size}, the data have {shape.size}",
            "name a run on these data",
        )
    if theirs.classes != shape.classes:
        was = "without labels" if told is None else f"with {told} classes"
        raise InputError(
            f"{teacher.path} was trained {was}",
            "leave out --conditional" if told is None else "use --conditional on the same data",
        )


def start_from(model: GenerativeModel, teacher: RunFolder) -> None:
    """Give a fresh model its teacher."""
    trained, _ = load_model(teacher)
    assert isinstance(model, Learns)  # what `take_over` stands for
    model.learn_from(trained)
