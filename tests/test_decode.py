"""Every allowed format gives the pixels it holds; everything else is a bad image, at once."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, JpegImagePlugin, MpoImagePlugin

from tests.making import encode, make_images, read_first, write_folder
from triptych.data.decode import count_scans, deep, fit_square, quietly, to_picture
from triptych.data.open import open_images
from triptych.data.sources import BadImageError
from triptych.errors import InputError
from triptych.options import DataOptions, Fit
from triptych.records import Note
from triptych.words import english


def decode(content: bytes) -> np.ndarray:
    """The first image's pixels, as the file has them."""
    return read_first(content).pixels


def to_pixels(image: Image.Image) -> np.ndarray:
    return to_picture(image).pixels


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


def chunk(kind: bytes, body: bytes) -> bytes:
    """A piece of a PNG file."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, rows: bytes, bits: int = 8, colour: int = 0, extra: bytes = b""
) -> bytes:
    """A PNG file from its raw rows; extra chunks come before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + header + extra + pixels + chunk(b"IEND", b"")


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
    """Each pixel is a number of the palette's rows."""
    picture = Image.fromarray(smooth()).quantize(16)
    palette = np.array(picture.getpalette(), dtype=np.uint8).reshape(-1, 3)
    expected = palette[np.asarray(picture)]
    assert len(np.unique(expected.reshape(-1, 3), axis=0)) == 16
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


def test_transparent_images_are_counted(tmp_path: Path) -> None:
    """Of 8 and of 16 bits; those without any pixel that shows are counted apart."""
    rng = np.random.default_rng(0)
    for number in range(30):
        image = rng.integers(256, size=(8, 8, 4), dtype=np.uint8)
        image[..., 3] = 255
        if number < 9:
            image[0, 0, 3] = 254
        if number < 2:
            image[..., 3] = 0
        picture = Image.fromarray(image).convert("LA") if number % 2 else Image.fromarray(image)
        picture.save(tmp_path / f"{number}.png")
    data = open_images(str(tmp_path), DataOptions(resolution=16))
    assert Note("transparent", {"n": 9}) in data.notes
    assert Note("transparent_wholly", {"n": 2}) in data.notes
    assert deep(np.zeros((2, 1)), np.array([[0.5], [0]]), None).alpha == (0, 0.5)
    assert deep(np.zeros((2, 1)), np.ones((2, 1)), None).alpha == (1, 1)


def test_a_transparent_palette_entry_lies_over_white() -> None:
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((0, 0), 0)
    found = decode(saved(picture, "PNG", transparency=1))
    assert found[0, 0].tolist() == [10, 20, 30]
    assert (found[1:] == 255).all()


def test_sixteen_bits_keep_both_bytes() -> None:
    wide = np.array([[0, 255, 256], [32768, 65280, 65535]], dtype=np.uint16)
    for format in ("PNG", "TIFF"):
        found = decode(encode(wide, format))
        assert found.dtype == np.uint16
        np.testing.assert_array_equal(found, wide)


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


@pytest.mark.parametrize("pixels", [smooth(), smooth()[..., 0]], ids=["colour", "grey"])
@pytest.mark.parametrize("format", ["JPEG", "TIFF", "WEBP"])
def test_orientation_is_applied_in_every_format(format: str, pixels: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = decode(encode(pixels, format, exif=exif, quality=95))
    expected = np.rot90(pixels, 3)
    if found.ndim > expected.ndim:  # WebP knows no grey
        found = found[..., 0]
    assert found.shape == expected.shape
    assert np.abs(found - 1.0 * expected).mean() < 5


def test_damaged_metadata_leave_the_picture_as_it_is() -> None:
    for exif in (b"no", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff"):
        found = decode(encode(COLOUR, "PNG", exif=b"Exif\0\0" + exif))
        np.testing.assert_array_equal(found, COLOUR)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_every_kind_of_transparency_is_arithmetic(mode: str) -> None:
    """Over white: alpha times the colour, the rest white."""
    layers = np.random.default_rng(5).integers(256, size=(32, 32, 4), dtype=np.uint8)
    if mode.startswith("RGB"):
        picture = Image.fromarray(layers)
    else:
        layers[..., 1] = layers[..., 2] = layers[..., 0]
        kind = "PA" if mode == "PA" else "LA"
        picture = Image.frombytes(kind, (32, 32), layers[..., [0, 3]].tobytes())
    if mode == "PA":
        picture.putpalette(np.arange(256).repeat(3).tolist())
    elif mode.endswith("a"):
        picture = picture.convert(mode)
    alpha = layers[..., 3:] / 255
    expected = layers[..., :3] * alpha + 255 * (1 - alpha)
    found = to_pixels(picture)
    assert found.ndim == (2 if mode in ("LA", "La") else 3)
    error = np.abs(found.reshape(32, 32, -1) - expected[..., : 1 if found.ndim == 2 else 3])
    assert error.max() <= (2 if mode in ("RGBa", "La") else 0.51)


def test_many_transparent_entries_lie_over_white() -> None:
    picture = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3), "P")
    picture.putpalette([0, 0, 0] * 3 + [200, 100, 0] * 3)
    found = decode(saved(picture, "PNG", transparency=bytes([0, 128, 255, 0, 128, 255])))
    assert found[0].tolist() == [[255] * 3, [127] * 3, [0] * 3]
    assert np.abs(found[1] - [[255, 255, 255], [227.4, 177.2, 127], [200, 100, 0]]).max() <= 1


def test_transparent_colours_and_greys_lie_over_white() -> None:
    grey = decode(saved(Image.fromarray(np.uint8([[7, 8]])), "PNG", transparency=8))
    assert grey.tolist() == [[7, 255]]
    colour = Image.fromarray(np.uint8([[[1, 2, 3], [4, 5, 6]]]))
    found = decode(saved(colour, "PNG", transparency=(4, 5, 6)))
    assert found.tolist() == [[[1, 2, 3], [255, 255, 255]]]
    bits = Image.fromarray(np.array([[True, False]]))
    assert decode(saved(bits, "PNG", transparency=0)).tolist() == [[255, 255]]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_of_grey_are_spread(bits: int) -> None:
    """2 bits: 0, 85, 170, 255."""
    top = 2**bits - 1
    levels = np.arange(top + 1)
    packed = np.packbits(np.unpackbits(levels[:, None].astype(np.uint8), axis=1)[:, -bits:])
    found = decode(png(len(levels), 1, b"\0" + packed.tobytes(), bits))
    assert found.tolist() == [(levels * 255 // top).tolist()]


def test_sixteen_bit_colours_keep_both_bytes() -> None:
    wide = (np.arange(24).reshape(2, 4, 3) * 2000).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    np.testing.assert_array_equal(decode(png(4, 2, rows, 16, 2)), wide)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N", "I"])
def test_integers_of_every_order_are_as_they_are(mode: str) -> None:
    kind = {"I;16B": ">u2", "I": "<i4"}.get(mode, "<u2")
    values = np.array([[0, 255, 256, 65535]], dtype=kind)
    found = to_pixels(Image.frombytes(mode, (4, 1), values.tobytes()))
    assert found.tolist() == [[0, 255, 256, 65535]]
    assert found.dtype == (np.int32 if mode == "I" else np.uint16) and found.dtype.isnative


def test_floats_are_as_they_are() -> None:
    values = np.array([[-0.1, 0, 0.5, 300, np.nan, np.inf]], dtype=np.float32)
    found = decode(encode(values, "TIFF"))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "LAB", "CMYK", "RGBX"])
def test_other_colour_spaces_become_rgb(mode: str) -> None:
    colours = Image.fromarray(np.uint8([[[200, 30, 40], [20, 180, 60], [90, 90, 90]]]))
    if mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        other = ImageCms.profileToProfile(colours, srgb, lab, outputMode="LAB")
        assert other is not None
    else:
        other = colours.convert(mode)
    near = 10 if mode == "LAB" else 4  # 8 bits are few in these
    assert np.abs(to_pixels(other) - 1.0 * np.asarray(colours)).max() <= near
    if mode in ("LAB", "YCbCr"):
        content = saved(other, "TIFF")
        try:
            Image.open(io.BytesIO(content)).load()
        except OSError as error:  # Pillow 11.0 and YCbCr
            pytest.skip(f"this Pillow cannot read the TIFF that it wrote ({error})")
        assert np.abs(decode(content) - 1.0 * np.asarray(colours)).max() <= near


def test_the_first_frame_counts() -> None:
    frames = [Image.new("L", (5, 5), value) for value in (50, 200)]
    found = decode(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert (found == 50).all()


# Bad files


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


def test_only_the_decoders_of_the_allowed_formats_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the one for several pictures in one JPEG, which Pillow itself would choose."""
    others = {
        format: saved(Image.fromarray(smooth()), format)
        for format in ("PPM", "TGA", "PCX", "ICO", "SGI", "DIB", "JPEG2000", "TIFF")
    }
    others["PSD"] = b"8BPS" + bytes(100)
    decode(others.pop("TIFF"))
    phone = saved(
        Image.fromarray(smooth()), "MPO", save_all=True, append_images=[Image.fromarray(smooth())]
    )
    with Image.open(io.BytesIO(phone)) as chosen:
        assert isinstance(chosen, MpoImagePlugin.MpoImageFile)

    def never(*arguments: object) -> None:
        raise AssertionError("another decoder runs")

    monkeypatch.setattr(Image, "open", never)
    monkeypatch.setattr(Image, "init", never)
    monkeypatch.setattr(MpoImagePlugin.MpoImageFile, "adopt", never)
    monkeypatch.setattr(JpegImagePlugin, "jpeg_factory", never)
    assert decode(phone).shape == (24, 32, 3)
    for content in others.values():
        with pytest.raises(BadImageError, match="not an image format we read"):
            decode(content)


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
    note = english(next(note for note in data.notes if note.code == "many_bad_images"))
    for words in ("4.8 %", "empty.png: empty", "text.jpg: not an image", "torn.png: damaged"):
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


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_fine_board_is_grey_from_afar_however_it_is_fitted(fit: Fit, channels: int) -> None:
    """Half of the pixels are white, so the mean of any area is 127.5; only `pad` adds white."""
    y, x = np.mgrid[:64, :128]
    board = np.repeat((((x + y) % 2) * 255).astype(np.uint8)[..., None], channels, axis=2)
    found = fit_square(board if channels == 3 else board[..., 0], 16, fit).astype(int)
    inside = found[5:-5] if fit == "pad" else found  # the middle 8 rows are the picture's
    assert np.abs(inside - 127).max() < 8


def oracle(pixels: np.ndarray, resolution: int) -> np.ndarray:
    """Another library's bicubic resizing, which averages over areas when shrinking."""
    planes = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)[None].double()
    size = (resolution, resolution)
    resized = torch.nn.functional.interpolate(planes, size, mode="bicubic", antialias=True)
    return resized[0].permute(1, 2, 0).clamp(0, 255).numpy()


SHAPES = [(28, 28), (28, 28, 3), (300, 200, 3), (97, 33), (5, 7, 3), (16, 65)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("resolution", [16, 32, 64])
def test_resizing_agrees_with_another_library(shape: tuple[int, ...], resolution: int) -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(64, 192, size=shape, dtype=np.uint8)  # no overshoot is cut off
    found = fit_square(pixels, resolution, "stretch")
    assert found.shape == (resolution, resolution, *shape[2:])
    error = np.abs(found.reshape(resolution, resolution, -1) - oracle(pixels, resolution))
    assert error.max() <= 2 and error.mean() < 0.5


def test_shrinking_by_a_whole_number_keeps_the_mean() -> None:
    pixels = np.random.default_rng(4).integers(256, size=(512, 512), dtype=np.uint8)
    assert abs(fit_square(pixels, 16, "stretch").mean() - pixels.mean()) < 0.6


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5000, 3), (5000, 1), (2, 3, 3)])
def test_extreme_shapes_fit(fit: Fit, shape: tuple[int, ...]) -> None:
    black = np.zeros(shape, dtype=np.uint8)
    found = fit_square(black, 16, fit)
    assert found.shape == (16, 16, *shape[2:]) and found.dtype == np.uint8
    assert (found == 0).any()


def test_padding_is_even_and_keeps_the_shape() -> None:
    found = fit_square(np.zeros((30, 60), dtype=np.uint8), 32, "pad")
    np.testing.assert_array_equal(found.min(axis=1) == 0, [8 <= row < 24 for row in range(32)])
    tall = fit_square(np.zeros((60, 30), dtype=np.uint8), 32, "pad")
    np.testing.assert_array_equal(tall, found.T)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_film_behind_a_photo_is_none_of_its_scans(progressive: bool) -> None:
    """Phones append some megabytes, in which the mark of a scan stands by chance."""
    noise = np.random.default_rng(0).integers(256, size=(400, 300, 3), dtype=np.uint8)
    photo = saved(Image.fromarray(noise), "JPEG", progressive=progressive, exif=b"Exif" + bytes(99))
    scans = count_scans(photo)
    assert scans == photo.count(b"\xff\xda") == (10 if progressive else 1)
    film = np.random.default_rng(1).bytes(1 << 20) + b"\xff\xda\x00\x02" * 50_000
    assert count_scans(photo + film) == scans
    assert read_first(photo + film).pixels.shape == (400, 300, 3)


def test_scans_are_counted_whatever_stands_between_them() -> None:
    """An end inside of a comment, or more segments than anybody writes, hides none."""
    scan = b"\xff\xda\x00\x02" + b"\x11\xff\x00\xff\xd3"
    hidden = b"\xff\xfe\x00\x06\xff\xd9\xff\xd9"
    assert count_scans(b"\xff\xd8" + (hidden + scan) * 7 + b"\xff\xd9") == 7
    many = b"\xff\xfe\x00\x02" * 5000
    assert count_scans(b"\xff\xd8" + many + scan * 9 + b"\xff\xd9") == 9
    assert count_scans(b"\xff\xd8") == 0
