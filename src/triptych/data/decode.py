"""One image file of an allowed format -> pixels at full size -> uint8 of the size for models.

Pixels are decoded as the file has them, as bytes or as deeper numbers; which numbers become black
and white is decided for the whole source (`ranges`).

Files come from anywhere, so none is trusted. The first bytes tell the format, and only Pillow's
decoder of that format reads the file. Files that would take long are refused unread. The limits
count pixels, bytes and pieces, not seconds, so that a file is good or bad alike on every machine.
"""

from __future__ import annotations

import io
import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from triptych.data import profiles, tiff
from triptych.data.ranges import Bounds, to_uint8
from triptych.data.sources import BadImageError as BadImageError
from triptych.data.sources import UnreadableError
from triptych.data.sources.layout import SUFFIXES as SUFFIXES
from triptych.options import Fit

try:
    from PIL.AvifImagePlugin import SUPPORTED as AVIF_IS_READ
    from PIL.AvifImagePlugin import AvifImageFile
except ImportError:  # Pillow before 11.3
    AVIF_IS_READ = False

# What is read takes less than a second of one core, read and shrunk, whatever it holds. Measured on
# noise at the limits, where photographs take half: JPEG 0.95 s, progressive 0.75; PNG 0.87,
# TIFF 0.83, BMP 0.6, GIF 0.34; with transparency PNG and TIFF 0.6, 16 bits 0.54, four inks 0.64,
# floats 0.47; WebP 0.65 to 0.8; BMP run lengths 0.41. Endless headers are refused after 0.1 to
# 0.35 s. Deep colours, decoded and converted: PNG 0.86 s, with transparency 0.98; TIFF 0.5 to 0.9.
# AVIF 0.15 s as a photograph, 0.9 as noise. A stack of 10,000 pages takes 2.7 s, others up to 6.
# Without the limits single files took 3 (16 bits) to 17 s (colour profiles).
PIXEL_CAP = 51_000_000  # the largest picture read: JPEG; phones make 50 million, cameras 24 to 60
PLAIN_CAP = 48_000_000  # other formats
HEAVY_CAP = 24_000_000  # four channels, transparency, or more than 8 bits a channel
DEEP_CAP = 12_000_000  # more than 8 bits a channel with transparency
DEEP_BYTES = 160_000_000  # of a deep page of TIFF
WEBP_CAP = 16_000_000  # and AVIF
RARE_CAP = 8_000_000  # BMP run lengths, which Pillow reads in Python, and rare codecs in TIFF
USUAL_CODECS = ("raw", "tiff_ccitt", "group3", "group4", "tiff_lzw", "jpeg", "packbits",
                "tiff_adobe_deflate", "tiff_deflate", "tiff_raw_16")  # fmt: skip
FILE_CAP = 256_000_000  # bytes of any file
CODED_CAP = 25_000_000  # bytes of JPEG and WebP, where bytes are slower than pixels
AVIF_BYTES = 12_000_000
HEAD_CAP = 8_000_000  # bytes of a JPEG, PNG, GIF or BMP before its pixels
READ_CAP = 400_000  # calls with which a decoder reads; PNG pieces may be as small as 8 KB
SCAN_CAP, SCANNED_CAP = 1_000, 320_000_000  # scans of a JPEG; pixels times scans
STACK_CAP = 6  # pages of a TIFF together: so many times the largest of their kind
PAGE_PIXELS = 20_000  # that a page costs besides its own
PAGE_CALLS, PAGE_BYTES = 400, 1 << 18  # reads of a page, besides those of its file
BLOCK_CAP = 16  # colour profiles of a PNG, each unpacked; blocks of EXIF, joined one by one
JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # other than those in coded pixels
SEGMENT_CAP = 4096  # of a JPEG; cameras write tens
SMALL = 1 << 16  # bytes; in so small a file nothing can be many
# of TIFF, by number: none, fax, LZW, JPEG, Deflate, PackBits
USUAL_PACKINGS = (1, 2, 3, 4, 5, 7, 8, 32773, 32946)
HEIF = {b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}
CONTAINERS = (b"mif1", b"msf1", b"miaf")  # of AVIF, where that is among the compatible brands
AVIF_BRANDS = {b"avif", b"avis"}
TO_PNG = "convert it, for example by: magick mogrify -format png FILE"
RAW_FILE = f"a camera's raw file is not read: {TO_PNG}"
READ_ONLY = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

ORIENTED = {"exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp"}
GREY_MODES = ("1", "L", "LA", "La")
PLAIN_MODES = ("1", "L", "P", "RGB", "YCbCr")
# How Pillow is told to unpack 16 bits a channel of a PNG: the high bytes, and the low ones
HALVES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
GREY_AND_OPACITY = "LA;16B"
DEEP_PACKINGS = (*HALVES, GREY_AND_OPACITY)


@contextmanager
def quietly() -> Iterator[None]:
    """Inside, Pillow's warnings (its own bomb warning, odd metadata) are not shown.

    The filters are the whole process's: enter it once, not in every thread that decodes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Picture(NamedTuple):
    """One decoded image at full size.

    pixels:   of any number type, (H,W) for grey or (H,W,3) for colour, transparency over white
    opacity:  0 to 1, float32 (H,W); only of deep pixels, whose white is not known yet
    profile:  the ICC profile that the pixels are of
    inks:     the four inks (CMYK) whose colours the profile tells, where `pixels` estimate them
    animated: whether frames follow that are not read
    alpha:    least and greatest opacity of its pixels, 0 to 1
    """

    pixels: np.ndarray
    opacity: np.ndarray | None = None
    profile: bytes | None = None
    inks: Image.Image | None = None
    animated: bool = False
    alpha: tuple[float, float] = (1, 1)

    @property
    def profile_state(self) -> profiles.State | None:
        """What becomes of its profile; None where it has none."""
        if self.profile is None:
            return None
        mode = "CMYK" if self.inks is not None else "L" if self.pixels.ndim == 2 else "RGB"
        return profiles.state(self.profile, mode)

    @property
    def seen(self) -> np.ndarray | None:
        """Which pixels are not wholly transparent, bool (H,W); None for all."""
        return None if self.opacity is None else self.opacity > 0

    def square(self, bounds: Bounds, resolution: int, fit: Fit) -> np.ndarray:
        """In sRGB, fitted: uint8 (resolution,resolution[,3]).

        bounds: the numbers that become black and white
        """
        if self.profile is None and self.opacity is None:
            return fit_square(to_uint8(self.pixels, bounds), resolution, fit)
        if self.inks is not None and self.profile is not None:
            shrunk = fit_image(self.inks, resolution, fit)
            return np.asarray(profiles.to_srgb(shrunk, self.profile).convert("RGB"))
        levels = to_uint8(self.pixels, bounds)
        if self.opacity is not None:
            levels = over_white(levels, self.opacity)
        fitted = fit_square(levels, resolution, fit)
        if self.profile is None or self.profile_state != "converted":
            return fitted
        return np.asarray(profiles.to_srgb(Image.fromarray(fitted), self.profile))


class Pictures(NamedTuple):
    """The images of one file: a TIFF has one a page.

    total:       how many there are, bad ones included
    passed_over: pages that are smaller copies of others, or masks
    each:        every image, or why it is bad
    """

    total: int
    passed_over: int
    each: Iterator[Picture | BadImageError]


def read_pictures(content: bytes | Path | np.ndarray | Image.Image | BadImageError) -> Pictures:
    """The images of an item's content; BadImageError where it holds none."""
    if isinstance(content, BadImageError):
        raise content
    if isinstance(content, np.ndarray):
        if content.dtype.kind not in "iuf" or content.shape[2:] not in ((), (3,)):
            raise BadImageError(f"pixels {content.dtype} {content.shape} are no image")
        if content.ndim < 2 or content.size == 0:
            raise BadImageError("empty")
        return Pictures(1, 0, iter([Picture(content)]))
    if isinstance(content, Image.Image):
        return Pictures(1, 0, iter([loaded(content)]))
    return decode_all(read_file(content) if isinstance(content, Path) else content)


def loaded(image: Image.Image) -> Picture:
    """A Pillow image as Python holds it; BadImageError where it is too large or odd."""
    if image.width * image.height > PLAIN_CAP:
        raise too_large(image.width, image.height, PLAIN_CAP)
    try:
        return to_picture(upright(image))
    except Exception as error:
        raise as_bad_image(error) from error


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


def decode_all(data: bytes) -> Pictures:
    """The images of a file's contents."""
    try:
        kind = kind_of(data)
        if kind is tiff.PageFile:
            return decode_pages(data)
        return Pictures(1, 0, iter((decode(data, kind),)))
    except Exception as error:
        raise as_bad_image(error) from error


def decode(data: bytes, kind: type[ImageFile] | None) -> Picture:
    """A file's image, or its first frame."""
    image = open_image(data, kind)
    check_size(image, data)
    packing = image.tile[0][3] if kind is PngImageFile else None
    if packing in DEEP_PACKINGS:
        return decode_wide(image, data, packing)._replace(animated=is_animated(image))
    image.load()
    return to_picture(upright(image), is_animated(image))


def is_animated(image: ImageFile) -> bool:
    """Whether frames follow the first; damage after it does not matter."""
    if image.format != "GIF":
        return getattr(image, "is_animated", False) is True
    with suppress(Exception):  # a GIF is asked for its next frame
        return bool(image.is_animated)  # type: ignore[attr-defined]
    return False


def decode_pages(data: bytes) -> Pictures:
    """The pages of a TIFF file but for small copies and masks; all where nothing else is there.

    BadImageError for a camera's raw file, whose pages are previews.
    """
    if len(data) > FILE_CAP:
        raise BadImageError(f"{len(data)} bytes are too many")
    every = tiff.directories(data)
    if tiff.is_raw(every):
        raise BadImageError(RAW_FILE)
    pages = [page for page in every if not page.passed_over] or every
    if len(pages) > 1 and sum(cost(page) for page in pages) > STACK_CAP:
        pixels = sum(page.pixels for page in pages) // 10**6
        raise BadImageError(f"{len(pages)} pages of {pixels} million pixels: save fewer in a file")
    return Pictures(len(pages), len(every) - len(pages), decoded(pages, data))


def cost(page: tiff.Directory) -> float:
    """The pixels of a page over the most that are read of its kind."""
    most = HEAVY_CAP if page.deep or page.number_of(tiff.SAMPLES, 1) > 3 else PLAIN_CAP
    if page.number_of(tiff.COMPRESSION, 1) not in USUAL_PACKINGS:
        most = RARE_CAP
    return (page.pixels + PAGE_PIXELS) / most


def decoded(pages: list[tiff.Directory], data: bytes) -> Iterator[Picture | BadImageError]:
    """Each page, or why it is bad."""
    file: tiff.PageFile | None = None
    for page in pages:
        try:
            if page.deep:
                picture = deep_picture(page)
            else:
                file = file or tiff.PageFile(rationed(data, len(pages)))
                file.choose(page.number)
                check_size(file, data)
                file.load()
                picture = to_picture(file)
        except Exception as error:
            yield as_bad_image(error)
        else:
            yield picture


def deep_picture(page: tiff.Directory) -> Picture:
    """A page of deep numbers."""
    most = min(HEAVY_CAP, DEEP_BYTES // page.pixel_bytes)
    most = min(most, DEEP_CAP) if page.transparent else most
    if page.pixels > most:
        raise too_large(page.number_of(tiff.WIDTH), page.number_of(tiff.LENGTH), most)
    read = tiff.read_deep(page)
    return deep(read.pixels, read.opacity, page.blob(tiff.PROFILE))


def decode_wide(image: ImageFile, data: bytes, packing: str) -> Picture:
    """A PNG of 16 bits a channel, of which Pillow unpacks a byte at a time."""
    profile = profile_of(image)
    if packing == GREY_AND_OPACITY:
        grey_bytes = unpacked(image, "RGBA")  # high and low byte of each
        values = np.ascontiguousarray(grey_bytes).view(">u2").astype(np.uint16)
    else:
        high = unpacked(image, packing).astype(np.uint16)
        values = high << 8 | unpacked(open_image(data, kind_of(data)), HALVES[packing])
    colours = 1 if packing == GREY_AND_OPACITY else 3
    colour = values[..., 0] if colours == 1 else values[..., :3]
    opacity = values[..., -1] if values.shape[2] > colours else None
    key = image.info.get("transparency")
    if key is not None:
        opacity = np.where((colour == np.array(key)).all(-1), 0, 65535)
    if opacity is not None:
        opacity = np.divide(opacity, 65535, dtype=np.float32)
    return deep(np.ascontiguousarray(colour), opacity, profile)


def unpacked(image: ImageFile, packing: str) -> np.ndarray:
    """The upright pixels, loaded with another packing."""
    image.tile = [image.tile[0]._replace(args=packing)]
    image.load()
    return np.asarray(upright(image))


def deep(pixels: np.ndarray, opacity: np.ndarray | None, profile: bytes | None) -> Picture:
    """A picture of deep numbers; opacity that hides nothing is dropped."""
    if opacity is None or bool((opacity == 1).all()):
        return Picture(pixels, None, profile)
    return Picture(pixels, opacity, profile, alpha=(float(opacity.min()), float(opacity.max())))


def as_bad_image(error: Exception) -> BadImageError:
    """The reason why a file is bad; Pillow raises many kinds of errors on damaged ones."""
    if isinstance(error, BadImageError):
        return error
    if isinstance(error, MemoryError):
        return UnreadableError("not enough memory")
    reason = f"{type(error).__name__}: {error}".rstrip(": ")
    return BadImageError(f"damaged ({reason})")


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


def open_image(data: bytes, kind: type[ImageFile] | None) -> ImageFile:
    """The image with its header read, by the decoder of the format that the first bytes tell."""
    if not data:
        raise BadImageError("empty")
    if kind is None:
        raise BadImageError(foreign(data))
    if len(data) <= SMALL:
        return kind(io.BytesIO(data))
    read_at_once = kind not in (JpegImageFile, PngImageFile, GifImageFile, BmpImageFile)
    most = CODED_CAP if read_at_once or kind is JpegImageFile else FILE_CAP
    if len(data) > (AVIF_BYTES if is_avif(data) else most):
        raise BadImageError(f"{len(data)} bytes are too many")
    unpacked, joined = data.count(b"iCCP"), data.count(b"Exif\0\0", 0, HEAD_CAP)
    if (unpacked if kind is PngImageFile else joined) > BLOCK_CAP:
        raise BadImageError("too much metadata")
    file = rationed(data)
    file.bytes_left = file.bytes_left if read_at_once else HEAD_CAP
    image = kind(file)
    file.bytes_left = 8 * len(data)
    return image


def rationed(data: bytes, pages: int = 0) -> Rationed:
    """A file of which each byte may be read eight times, with more for pages."""
    file = Rationed(data)
    file.calls += PAGE_CALLS * pages
    file.bytes_left = 8 * len(data) + PAGE_BYTES * pages
    return file


def foreign(data: bytes) -> str:
    """Why a file of a format without decoder is bad."""
    if is_avif(data):
        return f"AVIF is not read by this version of Pillow: {TO_PNG}"
    if data[4:8] == b"ftyp" and data[8:12] in HEIF:
        name = HEIF[data[8:12]]
        return f"{name} is not read: {TO_PNG}"
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
        return tiff.PageFile
    if AVIF_IS_READ and is_avif(data):
        return AvifImageFile
    return BmpImageFile if data.startswith(b"BM") else None


def reads_avif() -> bool:
    """Whether this Pillow reads AVIF; those before 11.3 do not."""
    return bool(AVIF_IS_READ)


def is_avif(data: bytes) -> bool:
    """Whether the first box of the file says AVIF, itself or among the compatible brands."""
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[start : start + 4] for start in range(16, end, 4)}
    return data[8:12] in AVIF_BRANDS or (data[8:12] in CONTAINERS and bool(brands & AVIF_BRANDS))


def check_size(image: ImageFile, data: bytes) -> None:
    """BadImageError when decoding the picture could take more than a second."""
    pixels = image.width * image.height
    if pixels > pixel_cap(image):
        raise too_large(image.width, image.height, pixel_cap(image))
    if image.info.get("compression") == "jpeg" and len(data) > CODED_CAP:
        raise BadImageError(f"{len(data)} bytes are too many")
    if image.format == "JPEG" and (len(data) > SMALL or pixels > SMALL):
        scans = count_scans(data)
        if scans > SCAN_CAP or scans * pixels > SCANNED_CAP:
            raise BadImageError(f"too large for {scans} scans: shrink it or save it as baseline")


def count_scans(data: bytes) -> int:
    """How often a JPEG goes over its pixels (ITU-T T.81, annex B).

    What lies behind the picture does not count: phones append films, in which any bytes may be.
    """
    at, scans = 2, 0
    for _ in range(SEGMENT_CAP):
        found = JPEG_MARKER.search(data, at)
        if found is None or found[0] == b"\xff\xd9":  # the end of the picture
            return scans
        scans += found[0] == b"\xff\xda"
        at = found.end()
        if found[0] not in (b"\xff\x01", b"\xff\xd8"):  # which have no length
            at += int.from_bytes(data[at : at + 2], "big")
    return max(scans, data.count(b"\xff\xda"))  # nobody's camera writes so many segments


def too_large(width: int, height: int, most: int) -> BadImageError:
    """The error for a picture of too many pixels."""
    return BadImageError(f"{width}x{height} pixels, at most {most // 10**6} million are read")


def pixel_cap(image: ImageFile) -> int:
    """The most pixels that this kind of file may hold."""
    if image.format in ("WEBP", "AVIF"):
        return WEBP_CAP
    codec, layout = image.tile[0][0], image.tile[0][3]
    if image.format == "TIFF":
        codec = image.info["compression"]
    if codec == "bmp_rle" or (image.format == "TIFF" and codec not in USUAL_CODECS):
        return RARE_CAP
    packing = layout[0] if isinstance(layout, tuple) else layout  # such as "RGB;16B"
    wide = "16" in str(packing)
    if packing == "RGBA;16B" or (packing in HALVES and "transparency" in image.info):
        return DEEP_CAP
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


def to_picture(image: Image.Image, animated: bool = False) -> Picture:
    """A Pillow image of any mode, loaded and upright."""
    profile = profile_of(image)
    if image.mode[0] in "IF":
        values = np.asarray(image)
        values = values.astype(values.dtype.newbyteorder("="), copy=False)
        key = image.info.get("transparency")
        if not isinstance(key, int):
            return Picture(values, profile=profile, animated=animated)
        return deep(values, (values != key).astype(np.float32), profile)
    inks = image.copy() if image.mode == "CMYK" and profile is not None else None
    pixels, alpha = to_pixels(image)
    return Picture(pixels, profile=profile, inks=inks, animated=animated, alpha=alpha)


def profile_of(image: Image.Image) -> bytes | None:
    """The ICC profile of a Pillow image, if it has one and is of a mode that takes it."""
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and profile and image.mode != "LAB" else None


def to_pixels(image: Image.Image) -> tuple[np.ndarray, tuple[float, float]]:
    """A Pillow image of 8 bits -> uint8 (H,W) or (H,W,3), and its least and greatest opacity.

    Transparency goes over white.
    """
    target = "L" if image.mode in GREY_MODES else "RGB"
    if image.has_transparency_data:
        alpha = "LA" if target == "L" else "RGBA"
        layered = image if image.mode == alpha else image.convert(alpha)
        flat = Image.new(target, image.size, "white")
        flat.paste(layered.convert(target), mask=layered)
        opacity = np.asarray(layered.getchannel("A"))
        return np.asarray(flat), (int(opacity.min()) / 255, int(opacity.max()) / 255)
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB") or image
    image = image if image.mode == target else image.convert(target)
    shape = (image.height, image.width) if target == "L" else (image.height, image.width, 3)
    # as asarray, but sooner
    return np.frombuffer(image.tobytes(), np.uint8).reshape(shape), (1, 1)


def over_white(levels: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """uint8 (H,W[,3]) of which only `opacity`, 0 to 1 (H,W), hides the white behind."""
    share = opacity[..., None] if levels.ndim == 3 else opacity
    mixed = np.subtract(255, levels, dtype=np.float32)
    mixed *= share
    return np.asarray(np.subtract(255, mixed, out=mixed).round(out=mixed).astype(np.uint8))


def fit_square(pixels: np.ndarray, resolution: int, fit: Fit) -> np.ndarray:
    """uint8 (H,W[,3]) -> uint8 (resolution,resolution[,3]), bicubic, averaging when shrinking.

    stretch ignores the shape, crop keeps the middle square, pad adds white.
    """
    if pixels.shape[:2] == (resolution, resolution):
        return pixels
    return np.asarray(fit_image(Image.fromarray(pixels), resolution, fit))


def fit_image(image: Image.Image, resolution: int, fit: Fit) -> Image.Image:
    """The same of a Pillow image of mode L, RGB or CMYK."""
    size, how = (resolution, resolution), Image.Resampling.BICUBIC
    if fit == "crop":
        return ImageOps.fit(image, size, how)
    if fit == "stretch":
        return image.resize(size, how)
    longest = max(image.size)
    width, height = (max(1, round(side / longest * resolution)) for side in image.size)
    square = Image.new(image.mode, size, (0,) * 4 if image.mode == "CMYK" else "white")
    square.paste(
        image.resize((width, height), how), ((resolution - width) // 2, (resolution - height) // 2)
    )
    return square
