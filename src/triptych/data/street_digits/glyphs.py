"""Glyphs of street-digits: digit shapes, and the line of digits seen through a tilted camera.

A face is ten masks, one per digit, all CAP pixels high, 0 where empty and 255 where inked. Faces
come from the fonts that matplotlib ships and from heavier and lighter copies of them, because
house numbers are mostly bold. A line of digits is laid out flat on a strip, then projected into
the scene.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFilter, ImageFont

CAP = 64  # height of a digit on the strip, pixels
STRIP = (448, 160)  # width and height of the strip, pixels
SCENE = 80  # side of the square scene, pixels: the frame and a margin for JPEG blocks
FRAME = 64  # side, in scene pixels, of what becomes the final image

# File, share of the images, pixels added around every stroke, whether "1" may lose its foot.
FONTS = (
    ("DejaVuSans-Bold", 6.0, (-1, 0, 1), True),
    ("DejaVuSans", 6.0, (1, 2, 3), True),
    ("cmss10", 3.0, (1, 2, 3), True),
    ("DejaVuSans-Oblique", 1.0, (1, 2), True),
    ("DejaVuSerif-Bold", 1.5, (-1, 0), False),
    ("DejaVuSerif", 1.0, (0, 1), False),
    ("STIXGeneralBol", 3.0, (0, 1), False),
    ("STIXGeneral", 1.0, (1, 2), False),
    ("STIXGeneralBolIta", 0.7, (0,), False),
    ("STIXGeneralItalic", 0.5, (2,), False),
    ("cmr10", 1.0, (1, 2), False),
    ("cmb10", 1.0, (0, 1), False),
    ("cmtt10", 0.7, (1, 3), False),
    ("cmti10", 0.5, (2,), False),
)
DRAWN = 96  # font size, pixels, before the reduction to CAP


@dataclass(frozen=True)
class Face:
    """Ten digits of one typeface at one boldness."""

    share: float  # how often it is drawn, relative to the others
    digits: tuple[Image.Image, ...]  # "L" masks, each CAP pixels high


def draw_glyph(font: ImageFont.FreeTypeFont, digit: int, added: int) -> Image.Image:
    """One digit, cropped to its ink, `added` pixels bolder (or thinner) all round its strokes."""
    glyph = Image.new("L", (2 * DRAWN, 2 * DRAWN))
    ImageDraw.Draw(glyph).text((DRAWN // 2, DRAWN // 3), str(digit), fill=255, font=font)
    left, top, right, bottom = glyph.getbbox() or (0, 0, *glyph.size)
    glyph = glyph.crop((left - 8, top - 8, right + 8, bottom + 8))
    if added:
        extreme = ImageFilter.MaxFilter if added > 0 else ImageFilter.MinFilter
        glyph = glyph.filter(ImageFilter.GaussianBlur(1)).filter(extreme(2 * abs(added) + 1))
    return glyph.crop(glyph.getbbox())


def without_foot(one: Image.Image) -> Image.Image:
    """Continue the stem of a "1" down to the baseline, as on most house numbers."""
    pixels = np.array(one)
    row = int(0.6 * len(pixels))
    pixels[row:] = pixels[row]
    trimmed = Image.fromarray(pixels)
    return trimmed.crop(trimmed.getbbox())


def build_face(name: str, share: float, added: int, footless: bool) -> Face:
    """Draw the ten digits of one font file at one boldness."""
    path = Path(get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    font = ImageFont.truetype(str(path), DRAWN, layout_engine=ImageFont.Layout.BASIC)
    digits = [draw_glyph(font, digit, added) for digit in range(10)]
    if footless:
        digits[1] = without_foot(digits[1])
    sized = [
        glyph.resize((max(6, round(glyph.width * CAP / glyph.height)), CAP), Image.Resampling.BOX)
        for glyph in digits
    ]
    return Face(share, tuple(sized))


@lru_cache(maxsize=1)
def faces() -> tuple[Face, ...]:
    """All faces, built once per process (a fraction of a second)."""
    # Whether "1" has a foot, and how often: a plain stem is commoner on houses.
    feet = {True: ((True, 0.75), (False, 0.25)), False: ((False, 1.0),)}
    return tuple(
        build_face(name, part * share / len(additions), added, footless)
        for name, share, additions, may_lose_foot in FONTS
        for added in additions
        for footless, part in feet[may_lose_foot]
    )


@lru_cache(maxsize=1)
def face_thresholds() -> tuple[float, ...]:
    """Running total of the shares, ending in 1: a uniform number picks a face by bisection."""
    total = np.cumsum([face.share for face in faces()])
    return tuple(float(value) for value in total / total[-1])


def write_line(
    face: Face, before: Sequence[int], digit: int, after: Sequence[int], gap: float
) -> tuple[Image.Image, tuple[float, float]]:
    """Lay digits on a flat strip with `digit` at its middle; `gap` is in strip pixels.

    Returns the "L" strip and the left and right ends of the line, in strip pixels.
    """
    strip = Image.new("L", STRIP)
    top = (STRIP[1] - CAP) // 2
    center = face.digits[digit]
    left = (STRIP[0] - center.width) / 2
    right = left + center.width
    strip.paste(center, (round(left), top))
    for other in before:  # nearest first
        glyph = face.digits[other]
        left -= gap + glyph.width
        strip.paste(glyph, (round(left), top), glyph)
    for other in after:
        glyph = face.digits[other]
        strip.paste(glyph, (round(right + gap), top), glyph)
        right += gap + glyph.width
    return strip, (left, right)


@dataclass(frozen=True)
class View:
    """How the strip is seen; lengths are shares of the frame's side, angles in radians."""

    height: float  # of a digit
    stretch: float  # width of a digit relative to the font's own
    angle: float
    shear: float
    shift: tuple[float, float]  # of the digit's centre, right and down
    tilt: tuple[float, float]  # perspective, relative change of scale across half a frame

    def coefficients(self) -> tuple[float, ...]:
        """The eight numbers with which Pillow maps scene pixels to strip pixels."""
        to_frame = np.array(
            [
                [1 / FRAME, 0, -SCENE / 2 / FRAME - self.shift[0]],
                [0, 1 / FRAME, -SCENE / 2 / FRAME - self.shift[1]],
                [0, 0, 1],
            ]
        )
        tilt = np.array([[1, 0, 0], [0, 1, 0], [self.tilt[0], self.tilt[1], 1]])
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        shear = np.array([[1, self.shear, 0], [0, 1, 0], [0, 0, 1]])
        scale = CAP / self.height
        to_strip = np.array(
            [[scale / self.stretch, 0, STRIP[0] / 2], [0, scale, STRIP[1] / 2], [0, 0, 1]]
        )
        matrix = to_strip @ shear @ turn @ tilt @ to_frame
        return tuple((matrix / matrix[2, 2]).flatten()[:8].tolist())


def project(strip: Image.Image, coefficients: Sequence[float]) -> Image.Image:
    """See a strip in the scene: "L" image of SCENE x SCENE pixels."""
    return strip.transform(
        (SCENE, SCENE), Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR
    )
