"""Every allowed format gives the pixels it holds; everything else is a bad image, at once."""

from __future__ import annotations

import io
import struct
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.making import encode, make_images, write_folder
from triptych.data.decode import BadImageError, decode, fit_square, quietly
from triptych.data.opening import DataOptions, open_images
from triptych.errors import InputError

COLOUR = np.random.default_rng(0).integers(256, size=(13, 17, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]


def smooth(height: int = 24, width: int = 32) -> np.ndarray:
    """A gentle ramp in each channel, which lossy formats keep nearly: uint8 (H,W,3)."""
    y, x = np.mgrid[:height, :width]
    ramp = np.stack([4 * x + 40, 4 * y + 60, 3 * (x + y) + 20], axis=-1)
    return ramp.astype(np.uint8)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


# Formats and modes


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("pixels", [COLOUR, GREY], ids=["colour", "grey"])
def test_lossless_formats_are_exact(format: str, pixels: np.ndarray) -> None:
    np.testing.assert_array_equal(decode(encode(pixels, format)), pixels)


def test_lossless_webp_and_gif_are_exact() -> None:
    np.testing.assert_array_equal(decode(encode(COLOUR, "WEBP", lossless=True)), COLOUR)
    few = np.zeros((9, 9, 3), dtype=np.uint8)
    few[2:5, 1:7] = (255, 0, 128)
    found = decode(saved(Image.fromarray(few).convert("P", palette=Image.Palette.ADAPTIVE), "GIF"))
    np.testing.assert_array_equal(found, few)


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_lossy_formats_are_near(format: str) -> None:
    found = decode(encode(smooth(), format, quality=95))
    assert found.shape == (24, 32, 3)
    assert np.abs(found.astype(int) - smooth()).mean() < 3


def test_palettes_become_their_colours() -> None:
    picture = Image.fromarray(smooth()).quantize(16)
    expected = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(decode(saved(picture, "PNG")), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_over_white(mode: str) -> None:
    pixels = np.zeros((4, 6, 4 if mode == "RGBA" else 2), dtype=np.uint8)
    pixels[:, :2, -1] = 255  # opaque black; then half; then nothing
    pixels[:, 2:4, -1] = 128
    found = decode(encode(pixels))
    assert found.ndim == (3 if mode == "RGBA" else 2)
    assert (found[:, :2] == 0).all()
    assert (found[:, 2:4] == 127).all()
    assert (found[:, 4:] == 255).all()


def test_a_transparent_palette_entry_lies_over_white() -> None:
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((0, 0), 0)
    found = decode(saved(picture, "PNG", transparency=1))
    assert found[0, 0].tolist() == [10, 20, 30]
    assert (found[1:] == 255).all()


def test_sixteen_bits_keep_the_high_byte() -> None:
    wide = np.array([[0, 255, 256], [32768, 65280, 65535]], dtype=np.uint16)
    np.testing.assert_array_equal(decode(encode(wide)), [[0, 0, 1], [128, 255, 255]])
    np.testing.assert_array_equal(decode(encode(wide, "TIFF")), [[0, 0, 1], [128, 255, 255]])


def test_one_bit_is_black_and_white() -> None:
    bits = np.random.default_rng(1).random((7, 9)) > 0.5
    found = decode(saved(Image.fromarray(bits), "PNG"))
    np.testing.assert_array_equal(found, bits * np.uint8(255))


def test_four_inks_become_colours() -> None:
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow: red
    for format in ("JPEG", "TIFF"):
        red, green, blue = decode(saved(inks, format)).reshape(-1, 3).mean(0)
        assert red > 240 and green < 15 and blue < 15, format


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_orientation_is_applied(orientation: int, turns: int) -> None:
    """6 says that the camera lay on its side: turn the picture clockwise."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = decode(saved(Image.fromarray(COLOUR), "PNG", exif=exif))
    np.testing.assert_array_equal(found, np.rot90(COLOUR, turns))


def test_the_first_frame_counts() -> None:
    frames = [Image.new("L", (5, 5), value) for value in (50, 200)]
    found = decode(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert (found == 50).all()


# Bad files


def bomb(width: int, height: int) -> bytes:
    """A small PNG of so many black pixels, one bit each; cut short where it would be large."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = zlib.compress(bytes(min(height * (1 + -(-width // 8)), 10_000_000)), 9)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
BAD = {
    "empty": (b"", "^empty$"),
    "text": (b"This is no image at all.\n", "not an image format we read"),
    "postscript": (POSTSCRIPT, "not an image format we read"),
    "half a PNG": (encode(COLOUR)[: len(encode(COLOUR)) // 2], "damaged"),
    "half a JPEG": (encode(smooth(), "JPEG")[:400], "damaged|not an image"),
    "only a header": (encode(COLOUR)[:33], "damaged|not an image"),
    "another format": (saved(Image.fromarray(COLOUR), "PPM"), "not an image format we read"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_say_why(name: str) -> None:
    content, reason = BAD[name]
    with pytest.raises(BadImageError, match=reason):
        decode(content)


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((8001, 8001), "8001x8001 pixels are too many"),  # a whole image that Pillow would read
        ((50_000, 50_000), "too many|damaged"),
        ((2**31 - 1, 1), "too many|damaged"),
    ],
)
def test_bombs_are_refused_unread(size: tuple[int, int], reason: str) -> None:
    content = bomb(*size)
    started = time.process_time()
    with pytest.raises(BadImageError, match=reason):
        decode(content)
    assert time.process_time() - started < 0.2


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
def test_mutated_files_are_images_or_bad_images(format: str) -> None:
    """Nothing else may be raised, whatever the bytes are."""
    rng = np.random.default_rng(17)
    whole = bytearray(encode(smooth(), format))
    outcomes = set()
    for _ in range(120):
        mutated = bytearray(whole)
        for place in rng.integers(len(whole), size=rng.integers(1, 12)):
            mutated[place] = rng.integers(256)
        if rng.random() < 0.3:
            mutated = mutated[: rng.integers(len(mutated))]
        try:
            found = decode(bytes(mutated))
        except BadImageError as error:
            assert str(error)
            outcomes.add("bad")
        else:
            assert found.dtype == np.uint8
            assert found.ndim == 2 or found.shape[2] == 3
            outcomes.add("image")
    assert "bad" in outcomes


def test_warnings_are_silenced_and_their_filters_restored(tmp_path: Path) -> None:
    """Many threads decode at once: none may leave its filters behind."""
    images, _ = make_images(200)
    before = list(warnings.filters)
    open_images(str(write_folder(tmp_path, images)), DataOptions(resolution=16))
    assert list(warnings.filters) == before
    with quietly():
        warnings.warn("not shown", stacklevel=1)


# A folder with bad files


def test_bad_files_are_listed_and_skipped_or_refused(tmp_path: Path) -> None:
    images, _ = make_images(60)
    write_folder(tmp_path, images)
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "torn.png").write_bytes(encode(images[0])[:200])
    data = open_images(str(tmp_path), DataOptions(resolution=16))
    assert len(data.train) + len(data.validation) + len(data.test) == 60
    note = next(note for note in data.notes if "bad" in note)
    assert note.startswith("skipped 3 bad images (4.8%)")
    for words in ("empty.png: empty", "text.jpg: not an image format we read", "torn.png: damaged"):
        assert words in note
    with pytest.raises(InputError, match=r"3 bad images, first empty\.png: empty"):
        open_images(str(tmp_path), DataOptions(resolution=16, strict=True))


def test_a_folder_of_bad_files_is_refused_with_the_first(tmp_path: Path) -> None:
    for index in range(30):
        (tmp_path / f"{index:02d}.png").touch()
    with pytest.raises(InputError, match=r"30 bad, first 00\.png: empty"):
        open_images(str(tmp_path), DataOptions(resolution=16))


# Sizes


def test_images_of_the_size_are_left_alone() -> None:
    image = COLOUR[:13, :13]
    assert fit_square(image, 13, "stretch") is image


def test_fits() -> None:
    """A black picture twice as wide as high, white at its left and right ends."""
    wide = np.zeros((32, 64, 3), dtype=np.uint8)
    wide[:, :12] = wide[:, -12:] = 255
    assert fit_square(wide, 16, "crop").max() == 0
    padded = fit_square(wide, 16, "pad")
    assert (padded[:4] == 255).all() and (padded[-4:] == 255).all()
    assert (padded[6:-6, 6:10] == 0).all()
    stretched = fit_square(wide, 16, "stretch")
    assert (stretched[:, 6:10] == 0).all() and (stretched[:, :2] == 255).all()
    assert fit_square(wide[..., 0], 16, "pad").shape == (16, 16)


def test_shrinking_does_not_alias() -> None:
    """A board of single black and white pixels is grey from afar."""
    y, x = np.mgrid[:64, :64]
    board = ((x + y) % 2 * 255).astype(np.uint8)
    assert np.abs(fit_square(board, 16, "stretch").astype(int) - 127).max() < 8
