"""What users may ask for, with its defaults: plain frozen fields, for commands and Python alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from triptych.config import Size
from triptych.errors import InputError

RESOLUTIONS = (16, 32, 64, 128)
DEFAULT_DATA = "street-digits"
Fit = Literal["stretch", "crop", "pad"]
FITS: tuple[Fit, ...] = ("stretch", "crop", "pad")
DEFAULT_BUDGETS: dict[Size, str] = {"tiny": "75s", "small": "10m", "base": "10m"}
COURSE_BUDGET = "30epochs"
DEFAULT_COUNTS = {"cpu": 2_000, "cuda": 10_000}  # samples measured: --count
OnTrouble = Literal["rewind", "stop"]


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How to read a source, and how training may vary its images.

    flip: half of the training images are mirrored left to right
    crop: training images are moved by up to so many pixels
    """

    resolution: int = 32
    fit: Fit = "stretch"
    strict: bool = False
    image_column: str | None = None
    label_column: str | None = None
    flip: bool = False
    crop: int = 0

    def __post_init__(self) -> None:
        if self.resolution not in RESOLUTIONS:
            known = ", ".join(map(str, RESOLUTIONS))
            raise InputError(f"no resolution {self.resolution}", f"choose from {known}")
        if self.fit not in FITS:
            raise InputError(f"no fit '{self.fit}'", f"choose from {', '.join(FITS)}")
        check_crop(self.crop, self.resolution)


def check_crop(crop: int, resolution: int) -> None:
    """InputError on pixels that images cannot be moved by: a border has no more to reflect."""
    if crop < 0:
        raise InputError(f"no crop of {crop} pixels", "give 0 or more")
    if crop >= resolution:
        raise InputError(
            f"a crop of {crop} pixels is too large for images of {resolution}",
            f"give {resolution - 1} or less",
        )
