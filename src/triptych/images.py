"""Pixels: the only place where their range changes; grids, films and the files that hold them.

Outside the networks an image is uint8 [C,H,W]; inside it is float on [-1, 1].
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from triptych import files
from triptych.config import POINT
from triptych.errors import InputError
from triptych.options import FILMS, FPS, check_fps, check_scale

LEVELS = 256  # values an 8-bit pixel can take
BIN_WIDTH = 2 / (LEVELS - 1)  # distance between neighbouring values on [-1, 1]
INK = 0.45  # share of the light that is left where a point lies
FLOAT64_DEVICES = ("cpu", "cuda")
COLUMNS = 8  # of a grid
SEEN = 96  # pixels of a screen that an image takes about, in a notebook
SEEN_PIXELS = 4_000_000  # of a picture that is enlarged to be seen
MOST_PIXELS = 2**27  # of a written picture: 11,585 x 11,585
MOST_IN_FILM = 2**27  # of all frames of a film, which are in memory at once
MOST_SIDE = {".gif": 65_535, ".webp": 16_383}  # pixels, as the formats count them
# Of 72,000 colors a palette takes 0.6 s; of these, 32 values a channel, a tenth, and is as near.
COARSER = [value & 0xF8 | 0x04 for value in range(LEVELS)]
REST = 1.0  # seconds that a film which does not go back stays at its end
SHOWN_SIDE = 384  # pixels: least height of a film in a notebook


def to_float(pixels: Tensor) -> Tensor:
    """uint8 -> float32 on [-1, 1], same shape."""
    return pixels.to(torch.float32).mul_(BIN_WIDTH).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """Float on [-1, 1] -> uint8, rounded to nearest and clamped, same shape."""
    scaled = images.detach().to(torch.float32).add(1).div_(BIN_WIDTH)
    return scaled.round_().clamp_(0, LEVELS - 1).to(torch.uint8)


def to_float64(x: Tensor) -> Tensor:
    """x in float64, same shape; on the processor where the device may have none.

    Apple's GPUs have none, Intel's not all.
    """
    return (x if x.device.type in FLOAT64_DEVICES else x.cpu()).double()


@dataclass(frozen=True)
class Grid:
    """Images laid out in rows; shows itself in a notebook, small images enlarged.

    pixels: uint8 [C,H,W]
    side:   of one image, the longer one, in pixels
    """

    pixels: Tensor
    side: int = SEEN

    def save(self, path: str | os.PathLike[str], scale: int = 1) -> Path:
        """Write a PNG; parents are made.

        scale: how many times it is enlarged, each pixel becoming a square of so many
        InputError on another ending, and where it would be too large to be enlarged.
        """
        path = files.as_path(path, "path")
        if path.suffix.lower() not in ("", ".png"):
            raise InputError(f"a grid is no {path.suffix.lower()} file", "end the path in .png")
        check_scale(scale)
        if scale > 1:
            height, width = self.pixels.shape[-2:]
            check_size(height, width, scale)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, as_png(enlarge(self.pixels, scale)))
        return path

    def _repr_png_(self) -> bytes:
        return as_png(enlarge(self.pixels, times_to_be_seen(self.side, *self.pixels.shape[1:])))


def as_png(pixels: Tensor, compression: int = 6) -> bytes:
    """uint8 [C,H,W] as a PNG file.

    compression: 0 for none and quick, to 9 for small and slow; 6 as Pillow has it
    """
    buffer = io.BytesIO()
    to_pil(pixels).save(buffer, format="PNG", compress_level=compression)
    return buffer.getvalue()


def enlarge(pixels: Tensor, scale: int) -> Tensor:
    """Each pixel as a square of scale x scale: [...,H,W] -> [...,H*scale,W*scale]."""
    if scale == 1:
        return pixels
    return pixels.repeat_interleave(scale, -2).repeat_interleave(scale, -1)


def check_size(height: int, width: int, scale: int = 1, frames: int = 1, kind: str = "") -> None:
    """InputError on a picture, or a film of so many frames, that is too large to be written."""
    height, width = height * scale, width * scale
    mend = "give a smaller --scale, or fewer images"
    if max(height, width) > MOST_SIDE.get(kind, MOST_PIXELS) or height * width > MOST_PIXELS:
        raise InputError(f"a picture of {width:,} x {height:,} pixels is too large", mend)
    if frames * height * width > MOST_IN_FILM:
        wrong = f"a film of {frames:,} frames of {width:,} x {height:,} pixels is too large"
        raise InputError(wrong, f"{mend}, or fewer frames")


@dataclass(frozen=True)
class Film:
    """Pictures of one size, one after another; shows itself in a notebook.

    frames: uint8 [F,C,H,W]
    back:   whether it returns the way it came, so that it has no end; others rest at theirs
    """

    frames: Tensor
    back: bool = True

    def __len__(self) -> int:
        """Frames until it begins anew."""
        return len(self.order())

    def order(self) -> list[int]:
        """The frames as they are played."""
        forth = list(range(len(self.frames)))
        return forth + forth[-2:0:-1] if self.back else forth

    def save(
        self,
        path: str | os.PathLike[str],
        scale: int = 1,
        fps: float = FPS,
        report: Callable[[int], None] = lambda done: None,
    ) -> Path:
        """Write a .gif or .webp that plays for ever, or a folder of numbered PNGs.

        A .webp has the very pixels. A .gif has 256 colors a frame, undithered: the same pixels
        where a frame has no more. Parents are made.
        scale:  how many times it is enlarged, each pixel becoming a square of so many
        fps:    frames a second, up to 50; a .gif counts in hundredths of a second
        report: called with the number of frames done
        InputError on another ending, and where it would be too large.
        """
        path = files.as_path(path, "path")
        kind = path.suffix.lower()
        if kind and kind not in FILMS:
            mend = f"end the path in {' or '.join(FILMS)}, or name a folder without an ending"
            raise InputError(f"a film is no {kind} file", mend)
        if not kind:
            return self.save_frames(path, scale)
        data = self.encoded(kind, scale, fps, report)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, data)
        return path

    def save_frames(self, folder: Path, scale: int = 1) -> Path:
        """Write frame-00000.png and so on, forth alone, into a folder that is made."""
        for index, pixels in enumerate(self.frames):
            Grid(pixels).save(folder / f"frame-{index:05d}.png", scale)
        return folder

    def encoded(
        self,
        kind: str,
        scale: int = 1,
        fps: float = FPS,
        report: Callable[[int], None] = lambda done: None,
    ) -> bytes:
        """As the file of a kind, ".gif" or ".webp"; the rest as in `save`."""
        check_scale(scale)
        check_fps(fps)
        order = self.order()
        height, width = self.frames.shape[-2:]
        check_size(height, width, scale, len(order), kind)

        prepared = [self.prepared(pixels, kind) for pixels in self.frames]

        def pictures() -> Iterator[Image.Image]:
            for done, index in enumerate(order):
                report(done)
                picture = prepared[index]
                size = (picture.width * scale, picture.height * scale)
                yield picture.resize(size, Image.Resampling.NEAREST)

        unit = 10 if kind == ".gif" else 1  # milliseconds
        durations = [max(1, round(1000 / fps / unit)) * unit] * len(order)
        if not self.back:
            durations[-1] += round(1000 * REST)
        each, buffer = pictures(), io.BytesIO()
        next(each).save(
            buffer,
            format=kind.removeprefix(".").upper(),
            save_all=True,
            append_images=each,
            duration=durations,
            loop=0,
            **({"lossless": True} if kind == ".webp" else {}),
        )
        return buffer.getvalue()

    @staticmethod
    def prepared(pixels: Tensor, kind: str) -> Image.Image:
        """A frame as its format holds it: of a .gif with a palette of its own."""
        picture = to_pil(pixels)
        if kind != ".gif" or picture.mode == "L":
            return picture
        if picture.getcolors(LEVELS) is None:  # more than a palette has
            picture = picture.point(COARSER * 3)
        return picture.quantize(LEVELS, dither=Image.Dither.NONE)

    def _repr_html_(self) -> str:
        height = self.frames.shape[-2]
        height *= max(1, -(-SHOWN_SIDE // height))
        source = base64.b64encode(self.encoded(".webp")).decode()
        return (
            f'<img src="data:image/webp;base64,{source}" height="{height}" '
            f'style="image-rendering: pixelated" alt="{len(self.frames)} pictures, moving">'
        )


def film(images: Tensor, columns: int | None = None, gap: int = 2, back: bool = True) -> Film:
    """Moments of images, uint8 [N,F,C,H,W] -> a film whose frame shows all N at one moment.

    Pictures that are whole already, [F,C,H,W], are its frames. Points of the plane are shown in it,
    all together.
    columns: images side by side; 8 by default, 16 of more than 64
    back:    whether it returns the way it came
    InputError on what are no such images.
    """
    if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.ndim not in (4, 5):
        raise InputError("a film is made of uint8 (N,F,C,H,W) or (F,C,H,W)", "convert the images")
    paths = images if images.ndim == 5 else images[None]
    if not paths.numel():
        raise InputError("there are no images to make a film of", "give 1 or more")
    columns = columns_for(len(paths)) if columns is None else columns
    return Film(torch.stack([grid(each, columns, gap).pixels for each in paths.unbind(1)]), back)


def columns_for(count: int) -> int:
    """Images side by side in a grid of so many."""
    return 8 if count <= 64 else 16


def grid_size(shape: Sequence[int], columns: int, gap: int = 2) -> tuple[int, int]:
    """Height and width of the grid of images of a shape (N,C,H,W)."""
    if tuple(shape[1:]) == POINT.size:
        return LEVELS, LEVELS
    count, _, height, width = shape
    columns = min(columns, count)
    rows = -(-count // columns)
    return rows * (height + gap) - gap, columns * (width + gap) - gap


def times_to_be_seen(side: int, height: int, width: int) -> int:
    """How many times a picture of images of that side is enlarged on a screen.

    >>> [times_to_be_seen(side, 64, 64) for side in (8, 16, 32, 64, 128)]
    [12, 6, 3, 2, 1]
    >>> times_to_be_seen(32, 8498, 272)  # two thousand images
    1
    """
    times = max(1, round(SEEN / side))
    return min(times, max(1, int((SEEN_PIXELS / (height * width)) ** 0.5)))


def grid(images: Tensor | np.ndarray, columns: int | None = None, gap: int = 2) -> Grid:
    """uint8 [N,C,H,W] -> one picture, row by row, white between the images.

    Rows of images [N,points,C,H,W], as `Run.interpolate` gives them, are its rows. Points of the
    plane, [N,2,1,1], are shown in it, all together.
    columns: images in a row, 8 by default, or as many as there are in a row already
    InputError on what are no such images, as floats on [0, 1] are.
    """
    if isinstance(images, np.ndarray) and images.dtype == np.uint8:
        images = torch.from_numpy(np.ascontiguousarray(images))
    if not isinstance(images, Tensor) or images.dtype != torch.uint8 or images.ndim not in (4, 5):
        raise InputError("a grid is made of uint8 (N,C,H,W) or (N,points,C,H,W)", "convert them")
    if not images.numel():
        raise InputError("there are no images to make a grid of", "give 1 or more")
    if images.ndim == 5:
        columns = columns or images.shape[1]
        images = images.flatten(0, 1)
    count, channels, height, width = images.shape
    if is_points(images):
        return Grid(scatter(images))
    columns = min(columns or COLUMNS, count)
    size = grid_size(images.shape, columns, gap)
    pixels = torch.full((channels, *size), LEVELS - 1, dtype=torch.uint8)
    for index, image in enumerate(images.cpu()):
        top = index // columns * (height + gap)
        left = index % columns * (width + gap)
        pixels[:, top : top + height, left : left + width] = image
    return Grid(pixels, max(height, width))


def is_points(images: Tensor) -> bool:
    """Whether these [...,C,H,W] are points of the plane: one pixel, whose channels are x and y."""
    return tuple(images.shape[-3:]) == POINT.size


def scatter(points: Tensor) -> Tensor:
    """Points uint8 [N,2,1,1] as dots of the plane, y upwards: uint8 grey [1,256,256].

    A dot is a square of three pixels, and the darker the more points it is of.
    """
    x, y = points.flatten(1).long().cpu().T
    cells = (LEVELS - 1 - y) * LEVELS + x
    counts = torch.bincount(cells, minlength=LEVELS**2).view(1, 1, LEVELS, LEVELS).float()
    near = functional.max_pool2d(counts, 3, stride=1, padding=1)[0]
    return ((LEVELS - 1) * INK ** near.clamp(max=8)).round().to(torch.uint8)


def interleave(*bands: Tensor, columns: int) -> Tensor:
    """Rows of the first images, each above those of the others; rows filled with white.

    uint8 [N,C,H,W] each -> [M,C,H,W] for a grid of that many columns; points of the plane, which
    lie in one picture, are joined alone
    """
    if is_points(bands[0]):
        return torch.cat(bands)
    rows = zip(*(torch.split(band, columns) for band in bands), strict=True)
    return torch.cat([fill_row(row, columns) for together in rows for row in together])


def fill_row(row: Tensor, columns: int) -> Tensor:
    """A row of images filled with white ones to its full length."""
    white = row.new_full((columns - len(row), *row.shape[1:]), LEVELS - 1)
    return torch.cat([row, white])


def read_png(path: Path) -> Tensor:
    """A PNG file, perhaps a stranger's: uint8 [C,H,W], grey or in color; InputError if damaged."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            check_size(picture.height, picture.width)
            mode = "L" if picture.mode == "L" else "RGB"
            array = np.asarray(picture.convert(mode))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is damaged ({error})", "remove it") from error
    return from_array(array.reshape(1, *array.shape[:2], -1))[0]


def to_pil(pixels: Tensor) -> Image.Image:
    """uint8 [C,H,W] with one or three channels -> a Pillow image."""
    array = pixels.cpu().numpy()
    return Image.fromarray(array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1))


def from_array(array: np.ndarray) -> Tensor:
    """uint8 (N,H,W,C), as files hold it -> uint8 [N,C,H,W]."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 1)))


def to_array(images: Tensor) -> np.ndarray:
    """uint8 [...,C,H,W] -> uint8 (...,H,W,C), as files hold it."""
    return np.ascontiguousarray(np.moveaxis(images.cpu().numpy(), -3, -1))
