"""The pages of a TIFF file, and the pixels of those whose numbers have more than 8 bits.

A TIFF is a chain of directories of tags, a page each. Pillow reads pages of 8 bits. Of deeper ones
it keeps a byte, reads signs wrongly or reads nothing; so their strips or tiles are given to it as
grey pictures of bytes, which only unpacks them, and the numbers are put together here.
Source: TIFF 6.0 (Adobe, 1992), with its Technical Note 3 on floating-point prediction.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import IO

import numpy as np
from PIL.TiffImagePlugin import TiffImageFile

from triptych.data.sources import BadImageError

PAGE_CAP = 10_000  # directories of a file,
ENTRY_CAP = 400_000  # and tags in all of them
PIECE_CAP = 100_000  # strips or tiles of a page
SAMPLES_CAP = 16  # numbers of a pixel
SMALL = 1 << 16  # bytes; in so small a file nothing can be many
BLOBS = (1, 2, 6, 7)  # types of tags, bytes and text, which are read whole whatever their length
TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q"}  # of whole numbers
SUBFILE, OLD_SUBFILE, WIDTH, LENGTH, BITS, COMPRESSION = 254, 255, 256, 257, 258, 259
PHOTOMETRIC, FILL_ORDER, STRIPS, ORIENTATION, SAMPLES, ROWS = 262, 266, 273, 274, 277, 278
STRIP_BYTES, PLANAR, PREDICTOR, TILE_WIDTH, TILE_LENGTH, TILES = 279, 284, 317, 322, 323, 324
TILE_BYTES, SUB_PAGES, EXTRA, FORMAT, PROFILE, DNG = 325, 330, 338, 339, 34675, 50706
REDUCED, MASK = 1, 4  # bits of SUBFILE
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
SENSOR = (32803, 34892)  # kinds of PHOTOMETRIC: a colour filter array, and linear raw values
ASSOCIATED, UNASSOCIATED = 1, 2  # kinds of EXTRA that are opacity
# lossless: none, LZW, Deflate (two numbers), PackBits, LZMA, Zstandard
PACKINGS = (1, 5, 8, 32946, 32773, 34925, 50000)
DENSEST = {1: 1, 5: 2000, 8: 2000, 32946: 2000, 32773: 200}  # bytes that one may become
KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}  # of FORMAT
DEEP = {"u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"}
TURNS = {  # of ORIENTATION: whether to transpose, then turn upside down, then mirror
    2: (False, False, True), 3: (False, True, True), 4: (False, True, False),
    5: (True, False, False), 6: (True, False, True), 7: (True, True, True), 8: (True, True, False),
}  # fmt: skip


@dataclass(frozen=True)
class Directory:
    """The tags of one page.

    number:  its place in the file
    entries: of each tag the type, the count, and where its values are
    """

    data: bytes
    order: str  # < or >
    number: int
    entries: dict[int, tuple[int, int, int]]

    def numbers(self, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """The whole numbers of a tag; `default` where it is missing or holds others."""
        kind, count, start = self.entries.get(tag, (0, 0, 0))
        if kind not in TYPES or count == 0 or count > PIECE_CAP:
            return default
        try:
            return struct.unpack_from(f"{self.order}{count}{TYPES[kind]}", self.data, start)
        except struct.error:
            return default

    def number_of(self, tag: int, default: int = 0) -> int:
        """The first of a tag's numbers."""
        return self.numbers(tag, (default,))[0]

    def blob(self, tag: int) -> bytes | None:
        """A tag's bytes, if it has any."""
        _, count, start = self.entries.get(tag, (0, 0, 0))
        return self.data[start : start + count] or None

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.number_of(WIDTH) * self.number_of(LENGTH)

    @property
    def pixel_bytes(self) -> int:
        """Of all samples of a pixel."""
        bits = self.numbers(BITS, (1,))[0]
        return max(1, bits // 8) * max(1, self.number_of(SAMPLES, 1))

    @property
    def transparent(self) -> bool:
        """Whether some samples may be opacity."""
        colours = 3 if self.number_of(PHOTOMETRIC, BLACK_IS_ZERO) == RGB else 1
        return self.number_of(SAMPLES, 1) > colours

    @property
    def passed_over(self) -> bool:
        """Whether it is marked as a smaller copy of another page, or as a mask."""
        marks = self.number_of(SUBFILE) & (REDUCED | MASK)
        return bool(marks) or self.number_of(OLD_SUBFILE) == 2

    @property
    def dtype(self) -> np.dtype[np.generic] | None:
        """The type of its numbers in the file's order of bytes; None where they differ."""
        bits, formats = set(self.numbers(BITS, (1,))), set(self.numbers(FORMAT, (1,)))
        if len(bits) != 1 or len(formats) != 1 or formats.isdisjoint(KINDS):
            return None
        name = f"{KINDS[formats.pop()]}{bits.pop() // 8}"
        return np.dtype(self.order + name) if name in DEEP or name == "u1" else None

    @property
    def deep(self) -> bool:
        """Whether its numbers are for `read_deep`, and not for Pillow.

        Bytes are where several of them are a grey pixel: Pillow takes one, and one of opacity.
        """
        samples = self.number_of(SAMPLES, 1)
        several = samples > 2 or (samples == 2 and not self.numbers(EXTRA))
        grey = self.number_of(PHOTOMETRIC, BLACK_IS_ZERO) in (WHITE_IS_ZERO, BLACK_IS_ZERO)
        return (
            self.dtype is not None
            and (self.dtype != np.uint8 or (grey and several))
            and self.number_of(PHOTOMETRIC, BLACK_IS_ZERO) in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB)
            and self.number_of(COMPRESSION, 1) in PACKINGS
        )


def is_raw(pages: list[Directory]) -> bool:
    """Whether a file's pages are a camera's raw one: what its sensor measured, and previews of it.

    DNG says so. Others hold nothing but smaller copies, with the raw page below one of them; Canon
    has a mark of its own behind the file's head.
    """
    canon = pages[0].data[8:10] == b"CR"
    sensor = any(
        DNG in page.entries or page.number_of(PHOTOMETRIC, BLACK_IS_ZERO) in SENSOR
        for page in pages
    )
    copies = all(page.passed_over for page in pages)
    return canon or sensor or (copies and any(SUB_PAGES in page.entries for page in pages))


def directories(data: bytes) -> list[Directory]:
    """All pages of a file, in order; BadImageError where they are too many.

    Where the chain leads to no directory there is one without tags, which is a damaged page.
    """
    order = "<" if data.startswith(b"II") else ">"
    big = data[2:4].strip(b"\0") == b"+"
    counts, entry, word, inline = ("Q", "HHQ", "Q", 8) if big else ("H", "HHL", "L", 4)
    size, head = struct.calcsize("<" + entry) + inline, struct.calcsize("<" + counts)
    found: list[Directory] = []
    starts: set[int] = set()
    entries_left = ENTRY_CAP
    try:
        (start,) = struct.unpack_from(order + word, data, 8 if big else 4)
    except struct.error:
        start = len(data)
    while start and start not in starts:
        if len(found) == PAGE_CAP:
            raise BadImageError(f"more than {PAGE_CAP} pages: save fewer in a file")
        starts.add(start)
        entries: dict[int, tuple[int, int, int]] = {}
        try:
            (count,) = struct.unpack_from(order + counts, data, start)
            entries_left -= count
            if entries_left < 0:
                raise BadImageError("too many tags")
            first = start + head
            for at in range(first, min(first + size * count, len(data) - size + 1), size):
                tag, kind, values = struct.unpack_from(order + entry, data, at)
                if len(data) > SMALL and kind not in BLOBS and values > PIECE_CAP:
                    raise BadImageError("too many pieces")
                here = at + size - inline
                if values * struct.calcsize("<" + TYPES.get(kind, "B")) > inline:
                    (here,) = struct.unpack_from(order + word, data, here)
                entries.setdefault(tag, (kind, values, here))
            (start,) = struct.unpack_from(order + word, data, first + size * count)
        except struct.error:
            start = 0
        found.append(Directory(data, order, len(found), entries))
    return found or [Directory(data, order, 0, {})]


class PageFile(TiffImageFile):
    """Pillow's reader of a TIFF, which here is set to the page that it is asked for.

    Pillow's own reads the first page when it opens a file, and fails where it cannot.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._chosen = False
        super().__init__(file)

    def _setup(self) -> None:
        if self._chosen:
            super()._setup()  # type: ignore[no-untyped-call, unused-ignore]
        else:
            self._mode, self._size, self._tile_size = "L", (1, 1), (1, 1)

    def choose(self, number: int) -> None:
        """Set it to this page, whose pixels can then be loaded."""
        self._chosen = False
        if number != self.tell():
            self.info = {}
            self.seek(number)
        self._im = None
        self._chosen = True
        self._setup()


@dataclass(frozen=True)
class DeepPage:
    """A page of deep numbers, (H,W) or (H,W,3), and the opacity 0 to 1 of its pixels if any."""

    pixels: np.ndarray
    opacity: np.ndarray | None


def read_deep(page: Directory) -> DeepPage:
    """The numbers of a deep page, as the file has them."""
    dtype = page.dtype
    assert dtype is not None
    photometric = page.number_of(PHOTOMETRIC, BLACK_IS_ZERO)
    samples = page.number_of(SAMPLES, 1)
    extra = page.numbers(EXTRA)
    three = photometric == BLACK_IS_ZERO and samples == 3 and not extra  # as tifffile saves colours
    colours = 3 if photometric == RGB or three else 1
    surplus = samples - colours
    declared = surplus == 0 or ASSOCIATED in extra or UNASSOCIATED in extra
    if not 0 <= surplus <= SAMPLES_CAP or not declared:
        raise BadImageError(f"it has {samples} channels, none said to be opacity: save 1 or 3")
    values = upright(planes(page, samples, dtype), page.number_of(ORIENTATION, 1))
    values = values.astype(dtype.newbyteorder("="), copy=False)
    kind = np.dtype(values.dtype)
    colour = values[..., :colours] if colours > 1 else values[..., 0]
    if photometric == WHITE_IS_ZERO and kind.kind == "u":
        colour = np.iinfo(kind).max - colour
    opaque = next((k for k, each in enumerate(extra) if each in (1, 2)), None)
    opacity = None
    if opaque is not None:
        full = 1 if kind.kind == "f" else np.iinfo(kind).max
        opacity = (values[..., colours + opaque] / full).clip(0, 1).astype(np.float32)
        if extra[opaque] == ASSOCIATED:
            colour = divided(colour, opacity)
    return DeepPage(np.ascontiguousarray(colour), opacity)


def divided(colour: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Colours without the opacity that they were multiplied by."""
    share = np.where(opacity > 0, opacity, 1).astype(np.float64)
    plain = colour / (share[..., None] if colour.ndim == 3 else share)
    if colour.dtype.kind == "f":
        return np.asarray(plain.astype(colour.dtype))
    limits = np.iinfo(colour.dtype)
    return np.asarray(plain.round().clip(limits.min, limits.max).astype(colour.dtype))


def upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (H,W,C) turned as the tag says."""
    transpose, flip, mirror = TURNS.get(orientation, (False, False, False))
    values = values.swapaxes(0, 1) if transpose else values
    return values[:: -1 if flip else 1, :: -1 if mirror else 1]


def planes(page: Directory, samples: int, dtype: np.dtype[np.generic]) -> np.ndarray:
    """All samples of all pixels, (H,W,samples), in the file's order of bytes."""
    width, length = page.number_of(WIDTH), page.number_of(LENGTH)
    tiled = TILES in page.entries
    offsets = page.numbers(TILES if tiled else STRIPS)
    if width < 1 or length < 1 or not offsets:
        raise BadImageError("damaged (a page without pixels)")
    across = page.number_of(TILE_WIDTH) if tiled else width
    down = page.number_of(TILE_LENGTH) if tiled else min(page.number_of(ROWS, length), length)
    if across < 1 or down < 1 or across > 2 * width + 1024 or down > 2 * length + 1024:
        raise BadImageError("damaged (tiles that do not fit)")
    columns, rows = -(-width // across), -(-length // down)
    separate = page.number_of(PLANAR, 1) == 2 and samples > 1
    count = columns * rows
    if len(offsets) < count * (samples if separate else 1):
        raise BadImageError("damaged (pieces are missing)")
    sizes = page.numbers(TILE_BYTES if tiled else STRIP_BYTES)
    each = 1 if separate else samples  # samples beside each other
    whole = across * down * each * dtype.itemsize
    if len(sizes) < len(offsets):
        sizes = (whole,) * len(offsets)
    pieces = [
        page.data[offset : offset + size] for offset, size in zip(offsets, sizes, strict=False)
    ]
    densest = DENSEST.get(page.number_of(COMPRESSION, 1))
    if densest and sum(map(len, pieces)) * densest < width * length * samples * dtype.itemsize:
        raise BadImageError("damaged (it ends too early)")
    found = []
    for start in range(0, len(offsets) if separate else 1, count):
        row = across * each * dtype.itemsize  # bytes of a piece
        grey = unpacked(page, pieces[start : start + count], row, (columns, rows), down, tiled)
        grey = grey[:length] if not tiled else grey
        parts = [
            predicted(page, grey[:, x : x + row], each, dtype) for x in range(0, columns * row, row)
        ]
        found.append(np.concatenate(parts, axis=1)[:length, :width])
        if len(found) == samples:
            break
    return np.concatenate(found, axis=2) if separate else found[0]


def unpacked(
    page: Directory, pieces: list[bytes], row: int, grid: tuple[int, int], down: int, tiled: bool
) -> np.ndarray:
    """The bytes of pieces in a grid (columns, rows), by Pillow: uint8 (rows*down,columns*row)."""
    columns, rows = grid
    height = rows * down if tiled else page.number_of(LENGTH)
    file = io.BytesIO(
        as_bytes(page, pieces, (columns * row, height), (row, down) if tiled else down)
    )
    image = PageFile(file)
    image.choose(0)
    image.load()
    return np.asarray(image)


def as_bytes(
    page: Directory, pieces: list[bytes], size: tuple[int, int], piece: tuple[int, int] | int
) -> bytes:
    """A TIFF of one grey page of bytes with these packed pieces.

    piece: width and height of a tile, or the rows of a strip
    """
    tags: dict[int, tuple[int, ...]] = {
        WIDTH: (size[0],), LENGTH: (size[1],), BITS: (8,), SAMPLES: (1,),
        COMPRESSION: (page.number_of(COMPRESSION, 1),), PHOTOMETRIC: (BLACK_IS_ZERO,),
        FILL_ORDER: (page.number_of(FILL_ORDER, 1),),
    }  # fmt: skip
    names = (STRIPS, STRIP_BYTES)
    if isinstance(piece, tuple):
        names, tags[TILE_WIDTH], tags[TILE_LENGTH] = (TILES, TILE_BYTES), piece[:1], piece[1:]
    else:
        tags[ROWS] = (piece,)
    many = 4 * len(pieces) if len(pieces) > 1 else 0  # bytes of a list that stands apart
    lists = 8 + 2 + 12 * (len(tags) + 2) + 4
    ends = [lists + 2 * many]
    for content in pieces:
        ends.append(ends[-1] + len(content))
    tags[names[0]] = tuple(start for start, _ in pairwise(ends))
    tags[names[1]] = tuple(map(len, pieces))
    entries, apart = b"", b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            packed, apart = struct.pack("<I", lists + len(apart)), apart + packed
        entries += struct.pack("<HHI", tag, 4, len(values)) + packed
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return b"".join([head, entries, bytes(4), apart, *pieces])


def predicted(
    page: Directory, packed: np.ndarray, each: int, dtype: np.dtype[np.generic]
) -> np.ndarray:
    """Numbers (H,W,each) of the bytes of a column of pieces, whose differences are summed."""
    height, row = packed.shape
    size, predictor = dtype.itemsize, page.number_of(PREDICTOR, 1)
    packed = np.ascontiguousarray(packed)
    if predictor == 3 and dtype.kind == "f":  # bytes apart by their weight, highest first
        steps = packed.reshape(height, row // each, each).cumsum(axis=1, dtype=np.uint8)
        weights = steps.reshape(height, size, row // size).swapaxes(1, 2)
        values = np.ascontiguousarray(weights).view(f">f{size}").astype(dtype)
        return values.reshape(height, -1, each)
    unsigned = packed.view(f"{page.order}u{size}").reshape(height, -1, each)
    if predictor == 2:
        own = unsigned.astype(f"u{size}").cumsum(axis=1, dtype=f"u{size}")
        unsigned = own.astype(unsigned.dtype)
    return unsigned.view(dtype)
