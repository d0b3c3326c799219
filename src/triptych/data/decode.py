"""One image of any allowed format -> uint8 pixels, full size, then the size models use."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

Fit = Literal["stretch", "crop", "pad"]
FITS: tuple[Fit, ...] = ("stretch", "crop", "pad")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
PIXEL_CAP = 64_000_000  # a larger picture is refused unread: it may be a bomb
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F")


class BadImageError(Exception):
    """This file is not an image we read; the message is the reason."""


@contextmanager
def quietly() -> Iterator[None]:
    """Inside, Pillow's warnings (its own bomb warning, odd metadata) are not shown.

    The filters are the whole process's: enter it once, not in every thread that decodes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def decode(data: bytes) -> np.ndarray:
    """File contents -> uint8 (H,W) for grey or (H,W,3) for colour; BadImageError otherwise."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > PIXEL_CAP:
                raise BadImageError(f"{image.width}x{image.height} pixels are too many")
            return to_pixels(ImageOps.exif_transpose(image))
    except BadImageError:
        raise
    except UnidentifiedImageError:
        raise BadImageError("empty" if not data else "not an image format we read") from None
    except Exception as error:  # Pillow raises many kinds on damaged files
        raise BadImageError(f"damaged ({type(error).__name__}: {error})") from error


def to_pixels(image: Image.Image) -> np.ndarray:
    """A Pillow image of any mode -> uint8 (H,W) or (H,W,3); transparency goes over white."""
    if image.mode.startswith("I"):  # 16 or 32 bits: keep the high byte
        values = np.asarray(image).astype(np.int64)
        return (values >> 8 if values.max(initial=0) > 255 else values).clip(0, 255).astype("u1")
    if image.mode == "F":
        return np.asarray(image).clip(0, 255).astype("u1")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        flat = Image.alpha_composite(white, layered)
        return np.asarray(flat.convert("L" if image.mode in GREY_MODES else "RGB"))
    return np.asarray(image.convert("L" if image.mode in GREY_MODES else "RGB"))


def fit_square(pixels: np.ndarray, resolution: int, fit: Fit) -> np.ndarray:
    """uint8 (H,W[,3]) -> uint8 (resolution,resolution[,3]), antialiased.

    stretch ignores the shape, crop keeps the middle square, pad adds white.
    """
    if pixels.shape[:2] == (resolution, resolution):
        return pixels
    image = Image.fromarray(pixels)
    size, how = (resolution, resolution), Image.Resampling.BICUBIC
    if fit == "crop":
        return np.asarray(ImageOps.fit(image, size, how))
    if fit == "pad":
        return np.asarray(ImageOps.pad(image, size, how, color="white"))
    return np.asarray(image.resize(size, how))
