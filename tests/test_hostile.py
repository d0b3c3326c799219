"""Two thousand files that are damaged, mislabelled or made to harm: images or reasons, soon."""

from __future__ import annotations

import io
import os
import random
import struct
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.making import read_first
from triptych.data import decode as decoding
from triptych.data.decode import quietly, read_pictures
from triptych.data.sources import BadImageError, Columns
from triptych.data.sources.folder import read_folder, walk

COUNT = 2000
SUFFIXES = (".png", ".jpg", ".webp", ".gif", ".tif", ".bmp", ".JPEG", ".jfif")

# Whole files


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def whole_files() -> list[bytes]:
    """Every format in many modes, small, and a few which are not."""
    y, x = np.mgrid[:24, :32]
    colour = Image.fromarray(np.stack([4 * x + 40, 4 * y + 60, 3 * (x + y)], -1).astype(np.uint8))
    noise = Image.fromarray(np.random.default_rng(0).integers(256, size=(180, 200, 3), dtype="u1"))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a picture"
    modes = {
        "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
        "JPEG": ("L", "RGB", "CMYK"),
        "WEBP": ("RGB", "RGBA"),
        "GIF": ("L", "P"),
        "BMP": ("1", "L", "P", "RGB"),
        "TIFF": ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F"),
    }
    files = [saved(to(colour, m), format) for format, some in modes.items() for m in some]
    packings = ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    files += [saved(colour, "TIFF", compression=packing) for packing in packings]
    files.append(saved(to(colour, "1"), "TIFF", compression="group4"))
    files += [saved(colour, format, exif=exif) for format in ("PNG", "JPEG", "WEBP", "TIFF")]
    files.append(saved(colour, "JPEG", progressive=True))
    files.append(saved(colour, "WEBP", lossless=True))
    frames = {"save_all": True, "append_images": [colour.rotate(90 * k) for k in (1, 2, 3)]}
    files += [saved(colour, format, **frames) for format in ("PNG", "GIF", "TIFF", "WEBP", "MPO")]
    files += [saved(noise, format) for format in ("PNG", "BMP", "TIFF", "GIF")]
    files += [saved(noise, "JPEG", quality=100), saved(noise, "WEBP", lossless=True)]
    files += [saved(colour, format) for format in ("PPM", "TGA", "ICO", "PDF", "PCX", "SGI")]
    return files


def to(colour: Image.Image, mode: str) -> Image.Image:
    if mode == "I;16":
        return Image.fromarray(np.asarray(colour.convert("L")).astype(np.uint16) * 257)
    return colour.convert(mode)


# Mutations


def flipped(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 20)):
        data[rng.randrange(len(data))] = rng.randrange(256)


def flipped_head(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(min(len(data), 64))] = rng.choice([0, 1, 127, 128, 255])


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def holed(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.randint(1, 200)]


def stretched(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    filling = rng.choice([b"\0", b"\xff", data[start : start + 40], rng.randbytes(9)])
    data[start:start] = filling * rng.randint(1, 300)


def zeroed(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start : start + 100] = bytes(len(data[start : start + 100]))


def enlarged(data: bytearray, rng: random.Random) -> None:
    """Large numbers where sizes, counts and offsets are."""
    value = rng.choice([0x7FFFFFFF, 0xFFFFFFFF, 0xFFFF, 60_000, 0x10000000, 0])
    start = rng.randrange(max(1, min(len(data), 120) - 4))
    packed = struct.pack(rng.choice("<>") + "I", value)
    data[start : start + 4] = packed if rng.random() < 0.5 else packed[:2] + packed[:2]


def shuffled(data: bytearray, rng: random.Random) -> None:
    a, b, c = sorted(rng.randrange(len(data) + 1) for _ in range(3))
    data[a:c] = data[b:c] + data[a:b]


def replaced(data: bytearray, rng: random.Random) -> None:
    """The head of an image, then anything."""
    data[rng.randint(2, 40) :] = rng.randbytes(rng.choice([0, 10, 1000, 100_000]))


MUTATIONS: list[Callable[[bytearray, random.Random], None]] = [
    flipped, flipped_head, cut, holed, stretched, zeroed, enlarged, shuffled, replaced,
]  # fmt: skip


def hostile_files(count: int, seed: int) -> Iterator[bytes]:
    """So many files; always the same."""
    rng = random.Random(seed)
    wholes = whole_files()
    special = [b"", b"\0", bytes(5000), b"\xff" * 5000, b"hello\n"]
    yield from special
    yield from wholes
    for index in range(count - len(special) - len(wholes)):
        data = bytearray(wholes[index % len(wholes)])
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            if data:
                rng.choice(MUTATIONS)(data, rng)
        yield bytes(data)


# Bombs


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, colour: int = 0, extra: bytes = b"", bits: int = 8) -> bytes:
    """Black, whatever its size; longer than 20 MB it is cut."""
    size = height * (1 + width * {0: 1, 2: 3, 6: 4}[colour] * bits // 8)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(min(size, 20_000_000)), 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + pixels + chunk(b"IEND")


def with_segments(kind: int, body: bytes, times: int) -> bytes:
    """A JPEG that begins with a segment, many times."""
    whole = saved(Image.new("RGB", (16, 16)), "JPEG")
    segment = bytes([255, kind]) + struct.pack(">H", len(body) + 2) + body
    return whole[:2] + segment * times + whole[2:]


def many_scans(side: int, times: int) -> bytes:
    """A JPEG whose last scan comes again and again."""
    whole = saved(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    return whole[:-2] + whole[whole.rfind(b"\xff\xda") : -2] * times + b"\xff\xd9"


def tiff(tags: dict[int, tuple[int, int, int]], body: bytes = b"", after: int = 0) -> bytes:
    """From tag -> (type, count, value); `after` is where the next directory would be."""
    entries = b"".join(struct.pack("<HHII", tag, *tags[tag]) for tag in sorted(tags))
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", after)
    return b"II*\0" + struct.pack("<I", 8) + directory + body


def tiled(tiles: int) -> bytes:
    """Each pixel a tile of its own, all the same one."""
    side = int(tiles**0.5)
    end = 8 + 2 + 12 * 9 + 4
    tags = {256: (4, 1, side), 257: (4, 1, side), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1)}
    tags |= {322: (4, 1, 1), 323: (4, 1, 1), 324: (4, tiles, end), 325: (4, tiles, end)}
    return tiff(tags, struct.pack("<I", end) * tiles)


def bmp_runs(side: int, row: bytes) -> bytes:
    """Four bits a pixel in run lengths, which Pillow reads in Python."""
    data = row * side + b"\0\1"
    header = (40, side, side, 1, 4, 2, len(data), 0, 0, 16, 0)
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 118, *header) + bytes(64) + data


@cache
def bombs() -> dict[str, bytes]:
    """Small files that are large or slow to read."""
    mega = zlib.compress(bytes(1 << 20), 9)
    line = {256: (4, 1, 1), 257: (4, 1, 40_000_000), 258: (3, 1, 8), 262: (3, 1, 1)}
    gif = saved(Image.new("L", (8, 8)), "GIF")
    start = 13 + (3 << ((gif[10] & 7) + 1) if gif[10] & 128 else 0)
    return {
        "wide": png(50_000, 50_000),
        "line": png(2**31 - 1, 1),
        "no size": png(0, 0),
        "large and cut": png(6900, 6900, 2),
        "large": png(4000, 4000),
        "too large": png(8001, 8001),
        "too large with alpha": png(5000, 5000, 6),
        "too large with 16 bits": png(7000, 7000, 6, bits=16),
        "profiles": png(8, 8, extra=chunk(b"iCCP", b"k\0\0" + mega) * 3000),
        "texts": png(8, 8, extra=chunk(b"zTXt", b"k\0\0" + mega) * 3000),
        "few profiles": png(8, 8, extra=chunk(b"iCCP", b"k\0\0" + mega) * 60),
        "empty texts": png(8, 8, extra=chunk(b"tEXt", b"k\0v") * 400_000),
        "empty chunks": png(8, 8, extra=chunk(b"IDAT") * 400_000),
        "long exif": with_segments(0xE1, b"Exif\0\0" + bytes(65_000), 300),
        "comments": with_segments(0xFE, b"", 400_000),
        "filling": b"\xff\xd8" + b"\xff" * 3_000_000,
        "scans": many_scans(5000, 60),
        "small scans": many_scans(200, 30_000),
        "comment": gif[:start] + b"!\xfe" + (b"\xff" + b"a" * 255) * 20_000 + b"\0" + gif[start:],
        "extensions": gif[:start] + b"!\x01\x01a\0" * 500_000 + gif[start:],
        "screen": gif[:6] + b"\xff\xff\xff\xff" + gif[10:],
        "tiles": tiled(250_000),
        "long comments": with_segments(0xFE, bytes(65_000), 300),
        "many directories": tiff({256: (3, 1, 4)}, b"", 8),
        "strips": tiff({**line, 273: (4, 90_000, 200), 278: (4, 1, 1)}, bytes(400_000)),
        "shared data": tiff({40_000 + k: (7, 900_000, 8) for k in range(2000)}, bytes(900_000)),
        "runs": bmp_runs(2600, b"\xfe\x12" * 11 + b"\0\0"),
        "too many runs": bmp_runs(4000, b"\xfe\x12" * 16 + b"\0\0"),
        "ends of lines": bmp_runs(2600, b"\1\x12\0\0"),
        "webp canvas": b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff" * 6 + bytes(12),
    }


# Checks


def outcome(content: bytes | Path) -> str:
    """`image`, or why it is bad; anything else fails."""
    started = time.process_time()
    try:
        found = list(read_pictures(content).each)
    except BadImageError as error:
        found = [error]
    for each in found:
        if isinstance(each, BadImageError):
            reason = str(each)
            assert reason and reason.isprintable(), reason
        else:
            assert each.pixels.dtype.kind in "uif" and each.pixels.size
            assert each.pixels.ndim == 2 or each.pixels.shape[2:] == (3,)
            small = each.square((0, 255), 16, "stretch")
            assert small.dtype == np.uint8 and small.shape[:2] == (16, 16)
            reason = "image"
    assert time.process_time() - started < 3, reason  # a busy neighbour takes its share
    return reason


def test_hostile_files_are_images_or_say_why(tmp_path: Path) -> None:
    rng = random.Random(1)
    for index, content in enumerate(hostile_files(COUNT, seed=0)):
        (tmp_path / f"{index:04d}{rng.choice(SUFFIXES)}").write_bytes(content)
    files = walk(tmp_path)
    assert len(files) == COUNT
    with quietly():
        reasons = Counter(outcome(tmp_path / file.name) for file in files)
    assert 200 < reasons["image"] < COUNT - 800
    assert reasons["empty"] >= 1
    assert reasons["not an image format we read"] > 50
    assert sum(count for reason, count in reasons.items() if reason.startswith("damaged")) > 300


READ = ("large", "few profiles", "runs", "ends of lines", "comment")
REASONS = {
    "wide": "50000x50000 pixels, at most ",
    "too large": "8001x8001 pixels, at most ",
    "too large with alpha": "5000x5000 pixels, at most ",
    "too large with 16 bits": "7000x7000 pixels, at most ",
    "large and cut": "damaged",
    "profiles": "too much metadata",
    "empty texts": "too many pieces",
    "empty chunks": "too many pieces",
    "long exif": "too much metadata",
    "long comments": "its header is too long",
    "comments": "too many pieces",
    "filling": "too many pieces",
    "scans": "too large for 66 scans",
    "small scans": "too large for 30006 scans",
    "extensions": "too many pieces",
    "screen": "65535x65535 pixels, at most ",
    "tiles": "too many pieces",
    "too many runs": "4000x4000 pixels, at most ",
    "line": "2147483647x1 pixels, at most ",
    "no size": "damaged",
    "texts": "damaged (ValueError: Too much memory",
    "many directories": "damaged",
    "strips": "its header is too long",
    "shared data": "damaged",
    "webp canvas": "damaged (DecompressionBombError",
}


@pytest.mark.parametrize("name", bombs())
def test_bombs_are_refused_for_what_they_are(name: str) -> None:
    with quietly():
        found = outcome(bombs()[name])
    assert found == "image" if name in READ else found.startswith(REASONS[name])


# Contents

COLOUR = np.random.default_rng(0).integers(256, size=(13, 17, 3), dtype=np.uint8)
FILE = saved(Image.fromarray(COLOUR), "PNG")


def test_a_wrong_suffix_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(FILE)
    np.testing.assert_array_equal(read_first(tmp_path / "a.jpg").pixels, COLOUR)


def test_contents_of_every_kind_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(FILE)
    for content in (FILE, tmp_path / "a.png", COLOUR):
        np.testing.assert_array_equal(read_first(content).pixels, COLOUR)
    with pytest.raises(BadImageError, match="encrypted"):
        read_first(BadImageError("encrypted"))


def test_pixels_that_are_none_are_bad() -> None:
    for wrong in (
        COLOUR.astype(complex),
        COLOUR > 3,
        COLOUR[..., :2],
        COLOUR[None],
        COLOUR[0, 0],
        COLOUR[:0],
    ):
        with pytest.raises(BadImageError):
            read_first(wrong)


def test_files_that_cannot_be_opened_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    reasons = {"pipe.png": "not a regular", "gone.png": "No such file", ".": "directory|regular"}
    for name, reason in reasons.items():
        with pytest.raises(BadImageError, match=reason):
            read_first(tmp_path / name)
    (tmp_path / "a.png").write_bytes(FILE)
    monkeypatch.setattr(decoding, "FILE_CAP", 100)
    with pytest.raises(BadImageError, match="bytes are too many"):
        read_first(tmp_path / "a.png")


# Folders

NAMES = [
    b"new\nline.png", b"tab\t.png", b"bad-\xff\xfe.png", "图片.png".encode(),
    "\u202egnp.png".encode(), "été.PNG".encode(), "e\u0301.png".encode(), b"--help.png",
    b"$(reboot).png", b"a" * 240 + b".png", b" .png", b'quote".png', b"back\\slash.png",
    b"\x1b[31m.png", b"%s%n.png", b"*.png",
]  # fmt: skip


def test_a_hostile_folder_is_read_to_its_end(tmp_path: Path) -> None:
    """Odd names, loops, pipes and links to nowhere, four folders deep."""
    good = saved(Image.new("L", (8, 8), 7), "PNG")
    place = os.fsencode(tmp_path)
    for level in range(4):
        for name in NAMES:
            Path(os.fsdecode(place + b"/" + name)).write_bytes(good if level % 2 else b"")
        here = Path(os.fsdecode(place))
        (here / "up.png").symlink_to(tmp_path)
        (here / "self.png").symlink_to("self.png")
        (here / "gone.png").symlink_to("nowhere")
        (here / "zero.png").symlink_to("/dev/zero")
        os.mkfifo(here / "pipe.png")
        place += b"/" + [b"train", b"cl\xffass", b"in\nner", b"last"][level]
        Path(os.fsdecode(place)).mkdir()
    started = time.process_time()
    source = read_folder(tmp_path, Columns())
    found = list(source.items())
    assert len(found) == source.count == 3 * len(NAMES)  # those beside the folder train are not
    assert len({item.name for item in found}) == len(found)
    for item in found:
        item.name.encode()
        assert item.name.isprintable()
    reasons = Counter(outcome(item.content) for item in found)  # type: ignore[arg-type]
    assert reasons == {"image": 2 * len(NAMES), "empty": len(NAMES)}
    assert time.process_time() - started < 1


def test_a_deep_folder_is_walked(tmp_path: Path) -> None:
    place = tmp_path.joinpath(*["d"] * 300)
    place.mkdir(parents=True)
    (place / "1.png").touch()
    assert [Path(file.name).name for file in walk(tmp_path)] == ["1.png"]
