"""One image file of an allowed format -> uint8 pixels at full size -> the size for models.

Files come from anywhere, so none is trusted. The first bytes tell the format, and only Pillow's
decoder of that format reads the file. Files that would take long are refused unread. The limits
count pixels, bytes and pieces, not seconds, so that a file is good or bad alike on every machine.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from triptych.data.sources import BadImageError as BadImageError
from triptych.data.sources import UnreadableError
from triptych.data.sources.layout import SUFFIXES as SUFFIXES
from triptych.options import Fit

# What is read takes less than a second of one core, read and shrunk, whatever it holds. Measured on
# noise at the limits, where photographs take half: JPEG 0.95 s, progressive 0.75; PNG 0.87,
# TIFF 0.83, BMP 0.6, GIF 0.34; with transparency PNG and TIFF 0.6, 16 bits 0.54, four inks 0.64,
# floats 0.47; WebP 0.65 to 0.8; BMP run lengths 0.41. Endless headers are refused after 0.1 to
# 0.35 s. Without the limits single files took 3 (16 bits) to 17 s (colour profiles).
PIXEL_CAP = 51_000_000  # the largest picture read: JPEG; phones make 50 million, cameras 24 to 60
PLAIN_CAP = 48_000_000  # other formats
HEAVY_CAP = 24_000_000  # four channels, transparency, or more than 8 bits a channel
WEBP_CAP = 16_000_000
RARE_CAP = 8_000_000  # BMP run lengths, which Pillow reads in Python, and rare codecs in TIFF
USUAL_CODECS = ("raw", "tiff_ccitt", "group3", "group4", "tiff_lzw", "jpeg", "packbits",
                "tiff_adobe_deflate", "tiff_deflate", "tiff_raw_16")  # fmt: skip
FILE_CAP = 256_000_000  # bytes of any file
CODED_CAP = 25_000_000  # bytes of JPEG and WebP, where bytes are slower than pixels
HEAD_CAP = 8_000_000  # bytes of a JPEG, PNG, GIF or BMP before its pixels
READ_CAP = 400_000  # calls with which a decoder reads; PNG pieces may be as small as 8 KB
SCAN_CAP, SCANNED_CAP = 1_000, 320_000_000  # scans of a JPEG; pixels times scans
PIECE_CAP = 100_000  # strips or tiles of a TIFF
BLOCK_CAP = 16  # colour profiles of a PNG, each unpacked; blocks of EXIF, joined one by one
SMALL = 1 << 16  # bytes; in so small a file nothing can be many
FOREIGN = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF", b"avif": "AVIF"}
READ_ONLY = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

ORIENTED = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}
GREY_MODES = ("1", "L", "LA", "La")
PLAIN_MODES = ("1", "L", "P", "RGB", "YCbCr")


@contextmanager
def quietly() -> Iterator[None]:
    """Inside, Pillow's warnings (its own bomb warning, odd metadata) are not shown.

    The filters are the whole process's: enter it once, not in every thread that decodes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_pixels(content: bytes | Path | np.ndarray | BadImageError) -> np.ndarray:
    """An item's content -> uint8 (H,W) for grey or (H,W,3) for colour; or BadImageError."""
    if isinstance(content, BadImageError):
        raise content
    if isinstance(content, np.ndarray):
        if content.dtype != np.uint8 or content.shape[2:] not in ((), (3,)):
            raise BadImageError(f"pixels {content.dtype} {content.shape} are no image")
        if content.ndim < 2 or content.size == 0:
            raise BadImageError("empty")
        return content
    return decode(read_file(content) if isinstance(content, Path) else content)


def read_file(path: Path) -> bytes:
    """A regular file's bytes; BadImageError for anything else, such as a pipe, which would hang."""
    try:
        handle = os.open(path, READ_ONLY)
        with io.FileIO(handle) as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise BadImageError("not a regular file")
            if status.st_size > FILE_CAP:
                raise BadImageError(f"{status.st_size} bytes are too many")
            return file.readall()
    except OSError as error:
        raise UnreadableError(f"cannot be read ({error.strerror or error})") from error


def decode(data: bytes) -> np.ndarray:
    """File contents -> uint8 (H,W) for grey or (H,W,3) for colour; BadImageError otherwise."""
    try:
        image = open_image(data)
        check_size(image, data)
        image.load()
        return to_pixels(upright(image))
    except BadImageError:
        raise
    except MemoryError as error:
        raise UnreadableError("not enough memory") from error
    except Exception as error:  # Pillow raises many kinds on damaged files
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        raise BadImageError(f"damaged ({reason})") from error


class Rationed(io.BytesIO):
    """A file that limits the calls and bytes of a decoder, against endless headers."""

    calls = READ_CAP
    bytes_left = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """As BytesIO; BadImageError beyond the limits."""
        content = super().read(size)
        self.calls -= 1
        self.bytes_left -= len(content)
        if self.calls < 0 or self.bytes_left < 0:
            raise BadImageError("too many pieces" if self.calls < 0 else "its header is too long")
        return content


def open_image(data: bytes) -> ImageFile:
    """The image with its header read, by the decoder of the format that the first bytes tell."""
    if not data:
        raise BadImageError("empty")
    kind = kind_of(data)
    if kind is None:
        raise BadImageError(foreign(data))
    if len(data) <= SMALL:
        return kind(io.BytesIO(data))
    coded = kind in (JpegImageFile, WebPImageFile)
    if len(data) > (CODED_CAP if coded else FILE_CAP):
        raise BadImageError(f"{len(data)} bytes are too many")
    unpacked, joined = data.count(b"iCCP"), data.count(b"Exif\0\0", 0, HEAD_CAP)
    if (unpacked if kind is PngImageFile else joined) > BLOCK_CAP:
        raise BadImageError("too much metadata")
    if kind is TiffImageFile and most_pieces(data) > PIECE_CAP:
        raise BadImageError("too many pieces")
    whole = 8 * len(data)  # WebP is read at once, TIFF in any order
    file = Rationed(data)
    file.bytes_left = whole if kind in (WebPImageFile, TiffImageFile) else HEAD_CAP
    image = kind(file)
    file.bytes_left = whole
    return image


def foreign(data: bytes) -> str:
    """Why a file of a format without decoder is bad."""
    if data[4:8] == b"ftyp" and data[8:12] in FOREIGN:
        return f"{FOREIGN[data[8:12]]} is not read: convert it to JPEG or PNG"
    return "not an image format we read"


def kind_of(data: bytes) -> type[ImageFile] | None:
    """The decoder for files that start like this."""
    if data.startswith(b"\xff\xd8\xff"):
        return JpegImageFile
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WebPImageFile
    if data.startswith((b"GIF87a", b"GIF89a")):
        return GifImageFile
    if data.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return TiffImageFile
    return BmpImageFile if data.startswith(b"BM") else None


def most_pieces(data: bytes) -> int:
    """The largest count of numbers in one tag of a TIFF's first directory, such as its strips."""
    order = "<" if data.startswith(b"II") else ">"
    if data[2:4].strip(b"\0") == b"+":  # BigTIFF
        counts, entry, size = "Q", "HHQQ", 20
        (start,) = struct.unpack_from(order + "Q", data, 8)
    else:
        counts, entry, size = "H", "HHLL", 12
        (start,) = struct.unpack_from(order + "L", data, 4)
    (entries,) = struct.unpack_from(order + counts, data, start)
    first = start + struct.calcsize(order + counts)
    offsets = range(first, min(first + size * entries, len(data) - size + 1), size)
    tags = (struct.unpack_from(order + entry, data, offset) for offset in offsets)
    blobs = (1, 2, 6, 7)  # bytes and text are read whole, whatever their length
    return max((count for _, kind, count, _ in tags if kind not in blobs), default=0)


def check_size(image: ImageFile, data: bytes) -> None:
    """BadImageError when decoding the picture could take more than a second."""
    pixels = image.width * image.height
    if pixels > pixel_cap(image):
        most = pixel_cap(image) // 10**6
        raise BadImageError(f"{image.width}x{image.height} pixels, at most {most} million are read")
    if image.info.get("compression") == "jpeg" and len(data) > CODED_CAP:
        raise BadImageError(f"{len(data)} bytes are too many")
    if image.format == "JPEG" and (len(data) > SMALL or pixels > SMALL):
        scans = data.count(b"\xff\xda")  # coded pixels never hold this pair, metadata seldom
        if scans > SCAN_CAP or scans * pixels > SCANNED_CAP:
            raise BadImageError(f"too large for {scans} scans: shrink it or save it as baseline")


def pixel_cap(image: ImageFile) -> int:
    """The most pixels that this kind of file may hold."""
    if image.format == "WEBP":
        return WEBP_CAP
    codec, layout = image.tile[0][0], image.tile[0][3]
    if image.format == "TIFF":
        codec = image.info["compression"]
    if codec == "bmp_rle" or (image.format == "TIFF" and codec not in USUAL_CODECS):
        return RARE_CAP
    packing = layout[0] if isinstance(layout, tuple) else layout  # such as "RGB;16B"
    wide = "16" in str(packing)
    if wide or image.mode not in PLAIN_MODES or "transparency" in image.info:
        return HEAVY_CAP
    return PIXEL_CAP if image.format == "JPEG" else PLAIN_CAP


def upright(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation says; damaged metadata are ignored."""
    if not image.info.keys() & ORIENTED or image.format == "TIFF":  # TIFF is turned by Pillow
        return image
    with suppress(Exception):  # Pillow raises many kinds; the pixels are whole
        ImageOps.exif_transpose(image, in_place=True)
    return image


def to_pixels(image: Image.Image) -> np.ndarray:
    """A Pillow image of any mode -> uint8 (H,W) or (H,W,3); transparency goes over white."""
    if image.mode.startswith("I"):
        return from_integers(np.asarray(image))
    if image.mode == "F":
        return from_floats(np.asarray(image))
    target = "L" if image.mode in GREY_MODES else "RGB"
    if image.has_transparency_data:
        alpha = "LA" if target == "L" else "RGBA"
        layered = image if image.mode == alpha else image.convert(alpha)
        flat = Image.new(target, image.size, "white")
        flat.paste(layered.convert(target), mask=layered)
        return np.asarray(flat)
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB") or image
    return np.asarray(image if image.mode == target else image.convert(target))


def from_integers(values: np.ndarray) -> np.ndarray:
    """16 or 32 bits -> uint8: the high byte of 16, or the values where all fit in 8."""
    if values.max(initial=0) > 255:
        values = values >> 8
    return values.clip(0, 255).astype(np.uint8)


def from_floats(values: np.ndarray) -> np.ndarray:
    """Grey levels as floats -> uint8: on [0,1] where none is above 1, else on [0,255]."""
    scale = 255 if np.nanmax(values, initial=0) <= 1 else 1
    levels = np.nan_to_num(values, nan=0.0) * scale
    return levels.clip(0, 255, out=levels).round(out=levels).astype(np.uint8)


def fit_square(pixels: np.ndarray, resolution: int, fit: Fit) -> np.ndarray:
    """uint8 (H,W[,3]) -> uint8 (resolution,resolution[,3]), bicubic, averaging when shrinking.

    stretch ignores the shape, crop keeps the middle square, pad adds white.
    """
    if pixels.shape[:2] == (resolution, resolution):
        return pixels
    image = Image.fromarray(pixels)
    size, how = (resolution, resolution), Image.Resampling.BICUBIC
    if fit == "crop":
        return np.asarray(ImageOps.fit(image, size, how))
    if fit == "stretch":
        return np.asarray(image.resize(size, how))
    longest = max(image.size)
    width, height = (max(1, round(side / longest * resolution)) for side in image.size)
    square = Image.new(image.mode, size, "white")
    square.paste(
        image.resize((width, height), how), ((resolution - width) // 2, (resolution - height) // 2)
    )
    return np.asarray(square)
