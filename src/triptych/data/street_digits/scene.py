"""Scenes of street-digits: digits on a wall or a plate, under some light, and their photograph.

A scene is a float32 array [3, SCENE, SCENE] on the [0, 1] scale; a colour is [3, 1, 1]. Colours,
plates, textures and light are drawn from one random generator, so a scene is a function of that
generator alone.

SVHN was cropped from street photographs: each digit covered few camera pixels, was blurred, noisy,
sharpened and compressed at that size, then resized to 32x32. `photograph` does it in that order.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from itertools import accumulate

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from triptych.data.street_digits.glyphs import (
    CAP,
    FRAME,
    SCENE,
    STRIP,
    View,
    face_thresholds,
    faces,
    project,
    write_line,
)

Pixels = NDArray[np.float32]
Color = NDArray[np.float32]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]

# Share of the images, then red, green and blue.
SURFACES = (
    (3.0, 0.50, 0.48, 0.47),  # warm grey
    (3.5, 0.47, 0.49, 0.55),  # cool grey
    (3.0, 0.56, 0.55, 0.60),  # lilac grey
    (3.3, 0.77, 0.79, 0.81),  # off-white
    (1.5, 0.62, 0.57, 0.48),  # beige
    (1.5, 0.36, 0.29, 0.25),  # brown
    (1.0, 0.45, 0.22, 0.19),  # brick
    (3.0, 0.16, 0.20, 0.37),  # navy
    (1.0, 0.30, 0.39, 0.60),  # cobalt
    (1.5, 0.12, 0.12, 0.15),  # black
    (0.8, 0.14, 0.33, 0.22),  # green
    (0.3, 0.78, 0.64, 0.18),  # yellow
    (2.0, 0.30, 0.36, 0.43),  # slate
    (1.0, 0.55, 0.66, 0.72),  # pale blue
)
DARK_INKS = (
    (4.0, 0.10, 0.10, 0.12),  # black
    (2.0, 0.18, 0.20, 0.38),  # navy
    (1.5, 0.26, 0.20, 0.18),  # brown
    (1.5, 0.34, 0.34, 0.38),  # iron
    (0.5, 0.22, 0.34, 0.55),  # blue
    (0.2, 0.45, 0.16, 0.16),  # red
)
LIGHT_INKS = (
    (5.0, 0.90, 0.91, 0.94),  # white
    (1.5, 0.80, 0.77, 0.66),  # cream
    (1.5, 0.68, 0.68, 0.72),  # aluminium
    (0.5, 0.72, 0.60, 0.32),  # brass
)
BRIGHTEST = 0.93  # of a surface: dark ink on it must not be washed out
LEAST_CONTRAST = 0.22  # between ink and surface, in luminance
GRID = np.linspace(-1, 1, SCENE, dtype=np.float32)
ACROSS, DOWN = GRID[None, :], GRID[:, None]
SIDE = 32  # pixels of the final picture


@cache
def running_total(table: tuple[tuple[float, ...], ...]) -> tuple[float, ...]:
    """Shares of a table, added up: a uniform number picks a row by bisection."""
    return tuple(accumulate(row[0] for row in table))


def pick_color(rng: Generator, table: tuple[tuple[float, ...], ...], light: float) -> Color:
    """A colour of the table under some light, moved a little: more in brightness than in hue."""
    shares = running_total(table)
    row = table[bisect(shares, rng.random() * shares[-1])]
    moved = np.array(row[1:]) * light * math.exp(0.2 * rng.normal()) + 0.015 * rng.normal(size=3)
    return moved.astype(np.float32)[:, None, None]


def luminance(color: Color) -> float:
    """How bright a colour looks, on [0, 1]."""
    return float((LUMA * color).sum())


def pick_ink(rng: Generator, surface: Color, light: float) -> Color:
    """An ink that can be read on the surface, from poor to good contrast."""
    brightness = luminance(surface)
    chance = 1 / (1 + math.exp(14 * (brightness - 0.34)))
    lighter = rng.random() < chance or brightness < LEAST_CONTRAST  # nothing is blacker than black
    ink = pick_color(rng, LIGHT_INKS if lighter else DARK_INKS, light)
    ink = surface + np.float32(rng.uniform(0.65, 1.10)) * (ink - surface)
    gap = luminance(ink) - luminance(surface)
    least = LEAST_CONTRAST if lighter else -LEAST_CONTRAST
    if gap / least < 1:
        ink = ink + np.float32(least - gap)
    return ink.astype(np.float32)


def smooth_noise(rng: Generator, rows: int, columns: int) -> Pixels:
    """Noise of about rows x columns blobs over the scene, about in [-1, 1]: [SCENE, SCENE]."""
    coarse = Image.fromarray(rng.random((rows, columns), dtype=np.float32) * 2 - 1)
    fine = coarse.resize((SCENE, SCENE), Image.Resampling.BICUBIC)
    return np.asarray(fine)


def texture(rng: Generator) -> Pixels:
    """Brightness added to a wall: stains, plaster, wood, boards or bricks: [SCENE, SCENE]."""
    kind = rng.random()
    if kind < 0.45:
        return 0.05 * smooth_noise(rng, 4, 4)
    if kind < 0.70:
        return rng.uniform(0.02, 0.07) * smooth_noise(rng, 30, 30)
    if kind < 0.80:
        return 0.08 * smooth_noise(rng, 40, 3)
    spacing, offset = rng.uniform(14, 40), rng.uniform(0, 40)
    rows = (np.arange(SCENE, dtype=np.float32) + offset) / spacing
    joint = (rows % 1 < 2.5 / spacing)[:, None]
    if kind > 0.92:  # bricks: every second course is moved by half a brick
        columns = np.arange(SCENE, dtype=np.float32)[None] / (2.2 * spacing)
        joint = joint | ((columns + 0.5 * (rows // 1 % 2)[:, None]) % 1 < 1.2 / spacing)
    depth = rng.uniform(-0.14, 0.06)
    return (depth * joint).astype(np.float32) + 0.03 * smooth_noise(rng, 20, 20)


def over(scene: Pixels, mask: Pixels, color: Color) -> Pixels:
    """Paint a colour through a mask [SCENE, SCENE] in [0, 1]."""
    return scene + mask * (color - scene)


def unit_mask(image: Image.Image) -> Pixels:
    """An "L" image as numbers in [0, 1]."""
    return np.asarray(image, np.float32) * np.float32(1 / 255)


def soft_edge(position: Pixels, softness: float) -> Pixels:
    """0 well before the edge, 1 well after it."""
    mask: Pixels = np.clip(position / np.float32(softness) + np.float32(0.5), 0, 1)
    return mask


def add_neighbor_surface(rng: Generator, scene: Pixels, light: float) -> Pixels:
    """A door frame, a gutter or the end of the wall at one side of the scene."""
    upright = rng.random() < 0.75
    lean = rng.uniform(-0.12, 0.12)
    along, other = (ACROSS, DOWN) if upright else (DOWN, ACROSS)
    side = 1.0 if rng.random() < 0.5 else -1.0
    start = rng.uniform(0.42, 0.85) if upright else rng.uniform(0.60, 0.90)
    mask = soft_edge(np.float32(side) * along + np.float32(lean) * other - np.float32(start), 0.06)
    return over(scene, mask, pick_color(rng, SURFACES, light))


def add_plate(
    rng: Generator,
    scene: Pixels,
    ends: tuple[float, float],
    view: Sequence[float],
    ink: Color,
    surface: Color,
) -> Pixels:
    """A plate behind the digits, perhaps with a border of the ink's colour and with screws."""
    side, above = rng.uniform(10, 40), rng.uniform(10, 34)
    middle = STRIP[1] / 2
    box = (ends[0] - side, middle - CAP / 2 - above, ends[1] + side, middle + CAP / 2 + above)
    radius = rng.uniform(0, 20)
    plate = Image.new("L", STRIP)
    ImageDraw.Draw(plate).rounded_rectangle(box, radius, fill=255)
    scene = over(scene, unit_mask(project(plate, view)), surface)
    details = rng.random()
    if details < 0.4:
        inset = rng.uniform(2, 7)
        inner = (box[0] + inset, box[1] + inset, box[2] - inset, box[3] - inset)
        border = Image.new("L", STRIP)
        ImageDraw.Draw(border).rounded_rectangle(inner, radius, outline=255, width=3)
        scene = over(scene, unit_mask(project(border, view)), ink)
    elif details < 0.6:
        screws = Image.new("L", STRIP)
        pen = ImageDraw.Draw(screws)
        for x in (box[0] + 7, box[2] - 7):
            pen.ellipse((x - 3, middle - 3, x + 3, middle + 3), fill=200)
        scene = over(scene, unit_mask(project(screws, view)), np.float32(0.3) * surface)
    return scene


def lighting(rng: Generator) -> Pixels:
    """Factor of the light over the scene: a slope, and sometimes the edge of a shadow."""
    slope = rng.normal(size=2) * 0.10
    light = 1 + np.float32(slope[0]) * ACROSS + np.float32(slope[1]) * DOWN
    if rng.random() < 0.15:
        angle = rng.uniform(0, 2 * math.pi)
        position = np.float32(math.cos(angle)) * ACROSS + np.float32(math.sin(angle)) * DOWN
        shadow = soft_edge(position - np.float32(rng.uniform(-0.5, 0.8)), rng.uniform(0.05, 0.5))
        light = light * (1 - np.float32(rng.uniform(0.15, 0.4)) * shadow)
    return light


def draw_view(rng: Generator) -> View:
    """Position of the centre digit: legible, never far from upright."""
    return View(
        height=rng.uniform(0.62, 0.88),
        stretch=math.exp(rng.normal() * 0.18 - 0.35),
        angle=math.radians(float(np.clip(rng.normal() * 3.5, -8, 8))),
        shear=float(np.clip(rng.normal() * 0.08 + 0.02, -0.2, 0.25)),
        shift=(rng.uniform(-0.05, 0.05), rng.uniform(-0.05, 0.05)),
        tilt=(rng.normal() * 0.04, rng.normal() * 0.03),
    )


def draw_digits(rng: Generator, label: int) -> tuple[Image.Image, tuple[float, float]]:
    """The flat strip with the number that `label` is part of, and the number's two ends."""
    face = faces()[bisect(face_thresholds(), rng.random())]
    length = 1 + bisect((0.07, 0.48, 0.86), rng.random())
    position = int(rng.random() * length)
    others = [int(10 * value) for value in rng.random(length)]
    gap = rng.uniform(1, 14)
    return write_line(face, others[:position], label, others[position + 1 :], gap)


def draw_scene(rng: Generator, label: int) -> Pixels:
    """A lit scene around one digit: float32 [3, SCENE, SCENE], about in [0, 1]."""
    strip, ends = draw_digits(rng, label)
    view = draw_view(rng).coefficients()
    digits = project(strip, view)
    light = math.exp(0.28 * rng.normal())
    surface = pick_color(rng, SURFACES, light)
    surface = surface * np.float32(min(1.0, BRIGHTEST / luminance(surface)))
    ink = pick_ink(rng, surface, light)

    plated = rng.random() < 0.35
    wall = pick_color(rng, SURFACES, light) if plated else surface
    scene = wall + texture(rng)
    stain = 0.027 * rng.normal(size=(3, 1, 1))  # walls are never of one hue
    scene = scene + smooth_noise(rng, 4, 4) * stain.astype(np.float32)
    if rng.random() < 0.25:
        scene = add_neighbor_surface(rng, scene, light)
    if plated:
        scene = add_plate(rng, scene, ends, view, ink, surface)

    if rng.random() < 0.3:  # raised digits throw a shadow
        offset = (int(rng.integers(-4, 5)), int(rng.integers(0, 5)))
        moved = Image.new("L", digits.size)
        moved.paste(digits.filter(ImageFilter.BoxBlur(1)), offset)
        scene = over(scene, rng.uniform(0.2, 0.6) * unit_mask(moved), np.float32(0.25) * surface)
    scene = over(scene, unit_mask(digits), ink)
    return scene * lighting(rng)


def expose(rng: Generator, scene: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Haze and tint of one photograph: 8 bits, of the scene's shape."""
    haze = rng.uniform(0.0, 0.10)
    veil = np.array([0.46, 0.47, 0.50])[:, None, None] + 0.03 * rng.normal(size=(3, 1, 1))
    tint = np.array([1.015, 1.025, 1.015])[:, None, None] + 0.03 * rng.normal(size=(3, 1, 1))
    scale = (255 * (1 - haze) * tint).astype(np.float32)
    offset = (255 * haze * veil + 0.5).astype(np.float32)
    exposed: NDArray[np.float32] = np.clip(scene * scale + offset, 0, 255)
    return exposed.astype(np.uint8)


def through_lens(rng: Generator, scene: NDArray[np.uint8], size: int) -> Image.Image:
    """Reduce to size x size; red and blue land a little beside green, which fringes edges."""
    moved = rng.normal(size=2) * 0.6  # scene pixels
    edge = 4
    bands = []
    for band, share in zip(scene, (1.0, 0.0, -1.0), strict=True):
        x, y = np.clip(share * moved, -edge, edge)
        box = (edge + x, edge + y, SCENE - edge + x, SCENE - edge + y)
        bands.append(Image.fromarray(band).resize((size, size), Image.Resampling.BOX, box=box))
    return Image.merge("RGB", bands)


def add_noise(rng: Generator, photo: Image.Image) -> Image.Image:
    """Sensor noise, partly common to the three channels."""
    strength = min(4.0, math.exp(rng.normal() * 0.6 + 0.25))  # grey levels
    pixels = np.asarray(photo, np.float32)
    noise = rng.standard_normal((*pixels.shape[:2], 1), dtype=np.float32)
    color = rng.standard_normal(pixels.shape, dtype=np.float32)
    noisy = pixels + (noise + 1.5 * color) * strength
    return Image.fromarray(np.clip(noisy + 0.5, 0, 255).astype(np.uint8))


def compress(rng: Generator, photo: Image.Image) -> Image.Image:
    """Through JPEG and back, with halved colour resolution as in street photographs."""
    file = BytesIO()
    photo.save(file, "JPEG", quality=int(rng.integers(45, 93)), subsampling=2)
    return Image.open(file)


def photograph(rng: Generator, scene: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Picture of the middle of a scene: uint8 [3, 32, 32]."""
    exposed = expose(rng, scene)
    # Camera pixels across the frame: from a digit far away to one close by.
    across = math.exp(rng.uniform(math.log(14), math.log(52)))
    size = math.ceil(across * SCENE / FRAME)
    photo = through_lens(rng, exposed, size)
    blur = across / SIDE * rng.uniform(0.3, 1.3) + rng.uniform(0, 0.3)
    photo = photo.filter(ImageFilter.GaussianBlur(blur))
    photo = add_noise(rng, photo)
    if rng.random() < 0.3:
        photo = photo.filter(ImageFilter.UnsharpMask(1, int(rng.uniform(40, 120)), 0))
    photo = compress(rng, photo)
    frame = size * FRAME / SCENE
    left, top = rng.uniform(0.4, 0.6, size=2) * (size - frame)
    box = (left, top, left + frame, top + frame)
    photo = photo.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)
    return np.ascontiguousarray(np.asarray(photo).transpose(2, 0, 1))
