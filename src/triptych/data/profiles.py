"""Colour profiles (ICC) -> sRGB, by LittleCMS.

A transform is made once for each profile and mode. Pictures of 8 bits are converted after they
were shrunk: on 51 million pixels LittleCMS takes another 0.7 to 1.5 s, on the small ones nothing,
and the order changes no pixel of flat areas. A profile that cannot be used leaves the pixels as
they are.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

LARGEST = 4_000_000  # bytes of a profile; those of printers have 0.5 to 2 million
LATTICE = 9  # values on each axis of the colours on which a profile is compared with sRGB
NEAR = 1  # levels by which sRGB profiles of different makers differ
NEUTRAL = 3  # levels between the channels of a grey that stays one
State = Literal["converted", "srgb", "broken"]
SPACES = {"RGB": ("RGB ",), "CMYK": ("CMYK",), "L": ("GRAY", "RGB ")}  # of profiles, by mode


@lru_cache(maxsize=64)
def transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile's colours in a mode to sRGB's; None where it cannot be made."""
    if len(profile) > LARGEST:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space
        if space not in SPACES[mode]:
            return None
        own = "RGB" if space == "RGB " else mode
        # LittleCMS' shortcut for greys is 10 levels wrong; 256 of them need none
        flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
        return ImageCms.ImageCmsTransform(source, srgb(), own, "RGB", flags=flags)
    except Exception:  # LittleCMS and Pillow raise several kinds on damaged profiles
        return None


@lru_cache(maxsize=1)
def srgb() -> ImageCms.ImageCmsProfile:
    """The profile of sRGB."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@lru_cache(maxsize=64)
def state(profile: bytes, mode: str) -> State:
    """Whether pixels of this profile are converted, are sRGB already, or cannot be."""
    made = transform(profile, mode)
    if made is None:
        return "broken"
    if mode == "CMYK":
        return "converted"
    if mode == "L":
        levels = grey_levels(profile)
        if levels is None:
            return "converted"
        change = np.abs(levels - np.arange(256))
    else:
        axis = np.linspace(0, 255, LATTICE).round().astype(np.uint8)
        colours = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(LATTICE, -1, 3)
        change = np.abs(np.asarray(made.apply(Image.fromarray(colours))).astype(int) - colours)
    return "srgb" if change.max() <= NEAR else "converted"


@lru_cache(maxsize=64)
def grey_levels(profile: bytes) -> np.ndarray | None:
    """What each of the 256 greys becomes, int (256,); None where the profile tints them."""
    made = transform(profile, "L")
    if made is None:
        return None
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    colours = np.asarray(made.apply(ramp.convert(made.input_mode))).astype(int)[0]
    if (colours.max(1) - colours.min(1)).max() > NEUTRAL:
        return None
    return np.asarray(colours[:, 1])


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """An image of mode L, RGB or CMYK in sRGB: L or RGB; as it is where there is no need."""
    if state(profile, image.mode) != "converted":
        return image
    levels = grey_levels(profile) if image.mode == "L" else None
    if levels is not None:
        return image.point(levels.tolist())
    made = transform(profile, image.mode)
    assert made is not None
    return made.apply(image.convert(made.input_mode))
