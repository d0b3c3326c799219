"""`mixture:mppca`: probabilistic PCA of each group of images; what no training gives."""

from __future__ import annotations

from dataclasses import dataclass

from triptych.config import ImageShape, Settings, Size
from triptych.families.conditioning import make_conditioning, make_mixture
from triptych.families.grouped_exemplars import EXEMPLARS, check_exemplars
from triptych.families.mixture.model import Mixture
from triptych.families.protocol import Recipe

MOST_NUMBERS = 2**28  # in the axes of all groups: a gigabyte


@dataclass(frozen=True, kw_only=True)
class MixtureSettings(Settings):
    """The same at every size; what settings of all recipes say of training does nothing here."""

    rank: int = 128  # directions that are kept, at most as many as an image has numbers
    groups: int = 100  # at most; the classes in their place for a conditional model
    exemplars: int = 0  # training images that draws begin at; 0: none

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rank", "groups"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        check_exemplars(self.exemplars)
        if self.groups * self.rank**2 > MOST_NUMBERS:
            raise ValueError(f"groups * rank^2 must be at most {MOST_NUMBERS:,}")


def build(settings: MixtureSettings, shape: ImageShape) -> Mixture:
    """A mixture that is still to be fitted."""
    conditioning = make_conditioning(shape, settings.groups)
    assert conditioning is not None  # there is at least one group
    mixture = make_mixture(shape, conditioning, settings.rank)
    return Mixture(mixture, conditioning, shape, settings.exemplars)


def defaults(size: Size, shape: ImageShape) -> MixtureSettings:
    """The same at every size. Draws begin where those of the trained models at `tiny` do."""
    return MixtureSettings(exemplars=EXEMPLARS)


RECIPE = Recipe(
    summary="probabilistic PCA of each group of images, in closed form: nothing is trained",
    settings=MixtureSettings,
    defaults=defaults,
    build=build,
    conditional=True,
)
