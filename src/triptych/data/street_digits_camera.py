"""Camera of street-digits: from a scene to the 32x32 picture that a data set would hold.

SVHN was cropped from street photographs: each digit covered few camera pixels, was blurred, noisy,
sharpened and compressed at that size, then resized to 32x32. The same happens here, in that order.
"""

import math
from io import BytesIO

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from triptych.data.street_digits_glyphs import FRAME, SCENE

SIDE = 32  # pixels of the final picture


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
    colour = rng.standard_normal(pixels.shape, dtype=np.float32)
    noisy = pixels + (noise + 1.5 * colour) * strength
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
