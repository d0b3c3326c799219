"""All models: every file `families/<family>/recipes/<recipe>.py` is one.

To add a family, add its folder with a `FAMILY` in its `__init__.py`; to add a recipe, its file with
a `RECIPE` in it, or announce one from another package. Names are found without importing torch, so
`--help` stays fast.
"""

from __future__ import annotations

import importlib
import pkgutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from triptych import families, plugins
from triptych.config import Budget, ImageShape, Size
from triptych.errors import InputError
from triptych.families import Family

if TYPE_CHECKING:
    from triptych.families.protocol import GenerativeModel, Recipe

FEW_IMAGES = 10_000  # with fewer, a discriminator memorizes its training images
POINTS = "points"  # a family's recipe for points of the plane
PLUGINS = "triptych.recipes"  # the entry points by which other packages add some


def find_families() -> dict[str, Family]:
    """Of every folder beside this file, in their order."""
    folders = [folder.name for folder in pkgutil.iter_modules(families.__path__) if folder.ispkg]
    named = {name: folder_of(name).FAMILY for name in folders}
    return dict(sorted(named.items(), key=lambda item: item[1].order))


def folder_of(family: str) -> ModuleType:
    """The package of a family, which loads nothing of its models."""
    return importlib.import_module(f"triptych.families.{family}")


FAMILIES = find_families()


@dataclass(frozen=True)
class ModelName:
    """`family:recipe`; the family alone means its default recipe.

    >>> str(ModelName.parse("gan"))
    'gan:r1'
    """

    family: str
    recipe: str

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """Parse a name; InputError, with all names, where there is no such model."""
        family, _, recipe = text.partition(":")
        if family not in FAMILIES:
            raise InputError(f"no model '{text}'", f"choose from {', '.join(known_models())}")
        recipe = recipe or FAMILIES[family].default
        if recipe not in recipe_names(family):
            names = ", ".join(f"{family}:{name}" for name in recipe_names(family))
            raise InputError(f"no model '{text}'", f"choose from {names}")
        return cls(family, recipe)

    def __str__(self) -> str:
        return f"{self.family}:{self.recipe}"


def is_trained(family: str) -> bool:
    """Whether the models of a family are trained, as those of one that is not ours were."""
    return family not in FAMILIES or FAMILIES[family].trained


def trained_families() -> list[str]:
    """Those whose models are trained, in their order."""
    return [name for name, family in FAMILIES.items() if family.trained]


def recipe_names(family: str) -> list[str]:
    """The recipes of a family, sorted: its files, and what other packages announce."""
    announced = (name.partition(":") for name in plugins.announced(PLUGINS))
    return sorted({*own_recipes(family), *(n for f, _, n in announced if f == family)})


def own_recipes(family: str) -> list[str]:
    """The recipes of a family that are files of this package."""
    folders = [str(Path(path) / "recipes") for path in folder_of(family).__path__]
    return [m.name.replace("_", "-") for m in pkgutil.iter_modules(folders)]


def known_models() -> list[str]:
    """Every `family:recipe`."""
    return [f"{family}:{recipe}" for family in FAMILIES for recipe in recipe_names(family)]


def recipe(name: ModelName) -> Recipe[Any]:
    """The recipe of that name; ours goes before another package's."""
    if name.recipe not in own_recipes(name.family):
        from triptych.families.protocol import Recipe as Kind

        announced = plugins.load(PLUGINS, str(name))
        if not isinstance(announced, Kind):
            raise InputError(f"'{name}' of another package is no recipe", "mend or remove it")
        return announced
    path = f"triptych.families.{name.family}.recipes.{name.recipe.replace('-', '_')}"
    own: Recipe[Any] = importlib.import_module(path).RECIPE
    return own


def fitting(name: ModelName, shape: ImageShape) -> ModelName:
    """The model itself, or its family's for points in the place of the family's usual one.

    InputError on another model of images for points, and on one of points for images.
    """
    if recipe(name).points == shape.is_point:
        return name
    if not shape.is_point:
        raise InputError(f"{name} is for points of the plane", "give a .csv file as --data")
    if name.recipe != FAMILIES[name.family].default or POINTS not in own_recipes(name.family):
        able = ", ".join(f"{f}:{POINTS}" for f in FAMILIES if POINTS in own_recipes(f))
        raise InputError(f"{name} is for images, not for points", f"choose from {able}")
    return ModelName(name.family, POINTS)


def require_conditional(name: ModelName) -> None:
    """InputError where the model cannot be conditional; it lists those that can."""
    if not recipe(name).conditional:
        able = filter(may_be_conditional, known_models())
        raise InputError(f"{name} cannot be told the labels", f"choose from {', '.join(able)}")


def may_be_conditional(model: str) -> bool:
    """Whether a model can be conditional; False where its package cannot be imported."""
    with suppress(InputError):
        return recipe(ModelName.parse(model)).conditional
    return False


def defaults(
    name: ModelName,
    size: Size,
    shape: ImageShape,
    images: int | None = None,
    budget: Budget | None = None,
    fast: bool = False,
) -> Any:
    """The recipe's settings for a size, a shape of data and a length of training.

    images: number of training images; None where it is not known
    budget: None where it is not known: as for a long one
    fast:   it is trained in half precision, by hardware that has it
    """
    chosen = recipe(name)
    settings = chosen.defaults(size, shape)
    few = [b for b in chosen.brief if budget is not None and b.holds(budget, images or 0, fast)]
    if few:
        settings = few[0].settings(settings, size, shape, images)
    if images is None:
        return settings
    while settings.batch_size > max(images, 1):
        settings = replace(settings, batch_size=settings.batch_size // 2)
    if chosen.augments_few and images < FEW_IMAGES:
        settings = replace(settings, augment=True)
    return settings


def build(name: ModelName, settings: Any, shape: ImageShape, seed: int) -> GenerativeModel:
    """A fresh model, in its fastest layout, whose first weights depend on the seed alone."""
    import torch

    from triptych.seeding import initializing

    chosen = recipe(name)
    with initializing(seed):
        model = chosen.build(settings, shape)
    if chosen.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def place(model: GenerativeModel, device: str) -> GenerativeModel:
    """The model itself, on a device, in the layout that is fast there.

    GPUs convolve with the channels of a pixel next to each other: else each convolution would
    bring images and weights into that order and back. Not Apple's, whose BatchNorm and pooling
    fail there or give wrong gradients (issues 175189 and 175190 of PyTorch).
    """
    import torch

    model.to(device)
    if device != "cpu":
        layout = torch.contiguous_format if device == "mps" else torch.channels_last
        model.to(memory_format=layout)  # type: ignore[call-overload]
    return model
