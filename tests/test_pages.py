"""Nothing of a file is lost: every page of a TIFF, both bytes, its colours, what lies behind."""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin, features

from tests.making import encode, labels_in, make_images, read_first, write_folder
from tests.test_ranges import assert_same_images, in_order, pixels_of, tiff_of
from triptych.data import decode, ingest, tiff
from triptych.data.dataset import ImageData
from triptych.data.decode import quietly, read_pictures
from triptych.data.open import open_images
from triptych.data.sources import BadImageError, Item, Source
from triptych.options import DataOptions
from triptych.words import LOCALES, Words

GREYS = np.random.default_rng(0).integers(256, size=(6, 16, 16), dtype=np.uint8)


def opened(path: Path, **options: Any) -> ImageData:
    return open_images(str(path), DataOptions(resolution=16, **options))


def noted(data: ImageData) -> dict[str, dict[str, Any]]:
    return {note.code: note.values for note in data.notes}


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=format, **options)
    return buffer.getvalue()


def stack(images: np.ndarray, **options: Any) -> bytes:
    """A TIFF of many pages, by Pillow."""
    first, *others = map(Image.fromarray, images)
    return saved(first, "TIFF", save_all=True, append_images=others, **options)


def contents(data: bytes) -> list[np.ndarray | str]:
    with quietly():
        each = list(read_pictures(data).each)
    return [str(page) if isinstance(page, BadImageError) else page.pixels for page in each]


# Pages


@pytest.mark.parametrize("packing", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "i4"])
def test_every_page_is_an_image(packing: str, dtype: str) -> None:
    pages = GREYS.astype(dtype) * (200 if dtype == "u2" else 1)
    found = contents(stack(pages, compression=packing))
    np.testing.assert_array_equal(np.stack(found), pages)  # type: ignore[arg-type]


def test_pages_of_different_kinds() -> None:
    colour = np.stack([GREYS[0][:9], GREYS[1][:9], GREYS[2][:9]], -1)
    pages = [
        Image.fromarray(GREYS[0]), Image.fromarray(colour), Image.fromarray(GREYS[1] > 99),
        Image.fromarray(GREYS[2].astype("f4")), Image.fromarray(GREYS[3][:4]),
    ]  # fmt: skip
    found = contents(saved(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    expected = [GREYS[0], colour, (GREYS[1] > 99) * np.uint8(255), GREYS[2], GREYS[3][:4]]
    assert len(found) == 5
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_pages_have_the_label_and_the_part_of_their_file(tmp_path: Path) -> None:
    images, labels = make_images(200, channels=1)
    for part, rows in (("train", range(150)), ("test", range(150, 200))):
        for label in range(5):
            chosen = [images[row][..., 0] for row in rows if labels[row] == label]
            (tmp_path / part / f"class-{label}").mkdir(parents=True)
            (tmp_path / part / f"class-{label}" / "s.tif").write_bytes(stack(np.stack(chosen)))
    progress: list[tuple[int, int]] = []
    data = opened(tmp_path)
    assert data.ingested and data.ingested.files == 200
    assert len(data.train) + len(data.validation) == 150 and len(data.test) == 50
    assert_same_images(data, images[..., 0])
    for part_data in (data.train, data.test):
        assert part_data.labels is not None
        assert part_data.labels.tolist() == labels_in(part_data.images).tolist()
    source = Source(lambda: iter([Item("s.tif", stack(images[:100, ..., 0]), None, None)]), 1)
    (tmp_path / "aside").mkdir()
    reading = ingest.Reading(16, "stretch")
    ingest.gather(source, "s", reading, tmp_path / "aside", lambda *at: progress.append(at))
    assert progress == [(1, 1)]


@pytest.mark.parametrize(("files", "code"), [(25, "pages_together"), (3, "pages_apart")])
def test_pages_that_are_images_are_told(tmp_path: Path, files: int, code: str) -> None:
    """And all of a file are in one part where there are files enough."""
    images = np.random.default_rng(2).integers(256, size=(files, 20, 16, 16), dtype=np.uint8)
    images[:, :, 0, 0] = np.arange(files)[:, None]  # tells the file
    for number, pages in enumerate(images):
        (tmp_path / f"{number}.tif").write_bytes(stack(pages))
    Image.fromarray(255 - images[0, 0]).save(tmp_path / "single.png")
    data = opened(tmp_path)
    values = {"n": 20 * files, "files": files}
    assert noted(data)[code] == values | ({} if code == "pages_together" else {"least": 20})
    parts = (data.train, data.validation, data.test)
    held = [set(part.images[:, 0, 0, 0].tolist()) for part in parts]
    assert (sum(map(len, held)) == len(set.union(*held))) is (code == "pages_together")


def test_a_damaged_page_is_one_bad_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    (tmp_path / "a").mkdir()
    images = rng.integers(256, size=(70, 16, 16), dtype=np.uint8)
    data = bytearray(stack(images, compression="tiff_adobe_deflate"))
    page = tiff.directories(bytes(data))[66]
    start, size = page.number_of(tiff.STRIPS), page.number_of(tiff.STRIP_BYTES)
    data[start : start + size] = b"\xff" * size
    (tmp_path / "a" / "s.tif").write_bytes(data)
    found = opened(tmp_path / "a")
    assert found.ingested and found.ingested.files == 70
    [(name, reason)] = found.ingested.bad
    assert name == "s.tif[66]" and reason.startswith("damaged")
    assert_same_images(found, np.delete(images, 66, 0))


def test_a_page_with_tags_that_make_no_sense_is_one_bad_image() -> None:
    data = bytearray(stack(GREYS))
    _, _, at = tiff.directories(bytes(data))[2].entries[tiff.PHOTOMETRIC]
    data[at : at + 2] = b"\x77\x77"
    found = contents(bytes(data))
    assert [isinstance(page, str) for page in found] == [False, False, True, False, False, False]
    np.testing.assert_array_equal(found[3], GREYS[3])


def test_a_chain_that_leads_nowhere_is_a_bad_page() -> None:
    data = stack(GREYS)[:-40]
    found = contents(data)
    assert [isinstance(page, str) for page in found[:5]] == [False] * 5
    assert isinstance(found[-1], str)


def test_one_page_keeps_the_name_of_its_file(tmp_path: Path) -> None:
    write_folder(tmp_path, make_images(60)[0])
    (tmp_path / "x.tif").write_bytes(stack(GREYS[:1])[:60])
    found = opened(tmp_path)
    assert found.ingested and [name for name, _ in found.ingested.bad] == ["x.tif"]


@pytest.mark.parametrize("mark", [1, 4, 5])
def test_small_copies_and_masks_are_no_images(tmp_path: Path, mark: int) -> None:
    rng = np.random.default_rng(1)
    frames = []
    for index, image in enumerate(rng.integers(256, size=(100, 16, 16), dtype=np.uint8)):
        picture = Image.fromarray(image if index % 3 else image[:8, :8])
        picture.encoderinfo = {"tiffinfo": {254: 0 if index % 3 else mark}}
        frames.append(picture)
    with io.BytesIO() as buffer:
        with TiffImagePlugin.AppendingTiffWriter(buffer) as writer:
            for picture in frames:
                picture.save(writer, format="TIFF", **picture.encoderinfo)
                writer.newFrame()
        (tmp_path / "s.tif").write_bytes(buffer.getvalue())
    data = opened(tmp_path)
    assert data.ingested and (data.ingested.files, data.ingested.bad) == (66, ())
    assert noted(data)["pages_passed_over"] == {"n": 34}
    assert_same_images(data, np.stack([np.asarray(f) for i, f in enumerate(frames) if i % 3]))


def test_a_file_of_nothing_but_marked_pages_is_read() -> None:
    [page] = contents(saved(Image.fromarray(GREYS[0]), "TIFF", tiffinfo={254: 1}))
    np.testing.assert_array_equal(page, GREYS[0])


@pytest.mark.parametrize(
    "tags",
    [
        {50706: b"\1\4\0\0"},  # DNG's version, also beside full pages
        {262: 32803},  # a colour filter array
        {254: 1, 330: 8},  # a thumbnail, with the raw page below it
    ],
)
def test_raw_files_of_cameras_are_bad(tags: dict[int, Any]) -> None:
    """What could be read of them are previews, or what the sensor measured."""
    reason = f"a camera's raw file is not read: {decode.TO_PNG}"
    ifd = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        ifd[tag] = value
        ifd.tagtype[tag] = 1 if isinstance(value, bytes) else 4
    content = saved(Image.fromarray(GREYS[0]), "TIFF", tiffinfo=ifd)
    with pytest.raises(BadImageError) as caught:
        read_pictures(content)
    assert str(caught.value) == reason
    for name, found in (("a.CR2", [(0, reason)]), ("a.tif", [])):  # of Canon, by its name
        prepared = ingest.prepare(
            ([Item(name, stack(GREYS), None, None)], ingest.Reading(16, "crop"))
        )
        assert [(bad.owner, bad.reason) for bad in prepared.bad] == found


def test_small_pages_below_full_ones_are_no_raw_file() -> None:
    """Pyramids of microscopes keep smaller copies there."""
    [page] = contents(saved(Image.fromarray(GREYS[0]), "TIFF", tiffinfo={330: 8}))
    np.testing.assert_array_equal(page, GREYS[0])


def test_too_many_pages_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff, "PAGE_CAP", 5)
    with pytest.raises(BadImageError, match="more than 5 pages"):
        read_pictures(stack(GREYS))
    monkeypatch.setattr(tiff, "PAGE_CAP", 10)
    monkeypatch.setattr(decode, "PLAIN_CAP", 5000)
    with pytest.raises(BadImageError, match="6 pages of 0 million pixels: save fewer in a file"):
        read_pictures(stack(GREYS))


def test_pages_have_their_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [Image.fromarray(GREYS[0]), Image.fromarray(np.tile(GREYS[0], (9, 9)))]
    data = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    monkeypatch.setattr(decode, "PLAIN_CAP", 16 * 16)
    monkeypatch.setattr(decode, "STACK_CAP", 1000)
    first, second = contents(data)
    np.testing.assert_array_equal(first, GREYS[0])
    assert second == "144x144 pixels, at most 0 million are read"


def test_blocks_hold_few_stacks() -> None:
    items = [Item(f"{k}.TIFF", Path("x"), None, None) for k in range(20)]
    assert max(map(len, ingest.in_blocks(iter(items)))) <= ingest.STACKS_A_BLOCK


# Deep numbers of TIFF


def tiff_with(values: np.ndarray, packing: int, order: str, **how: Any) -> bytes:
    """Strips or tiles of deep numbers by hand: planes apart, predictors, every order of bytes."""
    rows, tile, separate = how.get("rows", 5), how.get("tile"), how.get("separate", False)
    predictor, photometric = how.get("predictor", 1), how.get("photometric")
    values = values if values.ndim == 3 else values[..., None]
    height, width, samples = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    planes = [values[..., k : k + 1] for k in range(samples)] if separate else [values]
    pieces = []
    for plane in planes:
        down, across = tile or (rows, width)
        for y in range(0, height, down):
            for x in range(0, width, across):
                piece = plane[y : y + down, x : x + across]
                if tile:
                    room = [(0, down - piece.shape[0]), (0, across - piece.shape[1]), (0, 0)]
                    piece = np.pad(piece, room)
                pieces.append(packed(piece, packing, order, predictor))
    tags: dict[int, list[int]] = {
        256: [width], 257: [height], 258: [8 * values.itemsize] * samples, 259: [packing],
        262: [photometric if photometric is not None else 2 if samples >= 3 else 1],
        277: [samples], 284: [2 if separate else 1], 317: [predictor], 339: [kind] * samples,
    }  # fmt: skip
    if "extra" in how:
        tags[338] = [how["extra"]]
    if tile:
        tags |= {322: [tile[1]], 323: [tile[0]], 324: [], 325: [len(p) for p in pieces]}
    else:
        tags |= {278: [rows], 273: [], 279: [len(p) for p in pieces]}
    offsets = 324 if tile else 273
    tags[offsets] = [0] * len(pieces)
    apart = sum(4 * len(v) for v in tags.values() if len(v) > 1)
    start = 8 + 2 + 12 * len(tags) + 4
    tags[offsets] = (start + apart + np.cumsum([0, *map(len, pieces[:-1])])).tolist()
    entries, lists = b"", b""
    for tag in sorted(tags):
        body = struct.pack(f"{order}{len(tags[tag])}I", *tags[tag])
        if len(body) > 4:
            body, lists = struct.pack(order + "I", start + len(lists)), lists + body
        entries += struct.pack(order + "HHI", tag, 4, len(tags[tag])) + body
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    return head + entries + bytes(4) + lists + b"".join(pieces)


def packed(piece: np.ndarray, packing: int, order: str, predictor: int) -> bytes:
    import zlib

    if predictor == 2:  # each less the one before it
        unsigned = piece.view(f"u{piece.itemsize}")
        piece = np.diff(unsigned, axis=1, prepend=unsigned[:, :1] * 0)
    if predictor == 3:
        height, width, samples = piece.shape
        weights = piece.astype(f">f{piece.itemsize}").view(np.uint8)
        weights = weights.reshape(height, width * samples, piece.itemsize).swapaxes(1, 2)
        flat = weights.reshape(height, -1, samples)
        body = np.diff(flat, axis=1, prepend=flat[:, :1] * 0).astype(np.uint8).tobytes()
    else:
        body = piece.astype(piece.dtype.newbyteorder(order)).tobytes()
    return zlib.compress(body) if packing == 8 else body


DTYPES = ["u2", "i2", "u4", "i4", "f2", "f4", "f8", "i1"]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("packing", [1, 8])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(21, 37), (21, 37, 3)])
def test_deep_pages_keep_every_number(
    dtype: str, packing: int, order: str, shape: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(1)
    values = (rng.normal(size=shape) * 1e4).astype("i4" if dtype[0] != "f" else dtype).astype(dtype)
    for how in (
        {}, {"separate": True}, {"tile": (16, 32)}, {"tile": (16, 16), "separate": True},
        {"predictor": 2, "tile": (16, 16)}, {"predictor": 2}, {"predictor": 2, "separate": True},
        {"predictor": 3}, {"predictor": 3, "tile": (16, 32)},
    ):  # fmt: skip
        if packing == 1 and "predictor" in how:
            continue  # only with compression
        if how.get("predictor") == 3 and dtype[0] != "f":
            continue
        [found] = contents(tiff_with(values, packing, order, **how))
        assert isinstance(found, np.ndarray), (how, found)
        assert found.dtype == values.dtype and found.dtype.isnative
        np.testing.assert_array_equal(found, values, err_msg=str(how))


def test_white_is_zero_is_turned_round() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(65536, size=(9, 9)).astype("u2")
    [found] = contents(tiff_with(values, 1, ">", photometric=0))
    np.testing.assert_array_equal(found, 65535 - values)


@pytest.mark.parametrize("kind", [1, 2])
@pytest.mark.parametrize("channels", [2, 4])
def test_opacity_of_deep_pages(kind: int, channels: int) -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(65536, size=(16, 16, channels)).astype("u2")
    straight = values.copy()
    if kind == 1:  # colours multiplied by their opacity
        values[..., :-1] = np.rint(values[..., :-1] * (values[..., -1:] / 65535))
    picture = read_first(tiff_with(values, 8, "<", extra=kind))
    share = straight[..., -1:] / 65535
    expected = straight[..., :-1] / 65535 * 255 * share + 255 * (1 - share)
    found = picture.square((0, 65535), 16, "stretch").reshape(16, 16, -1)
    assert np.abs(found - expected).max() <= 1.01


def test_channels_that_are_no_image_are_refused() -> None:
    cases = ((2, "u2", {"extra": 0}), (5, "u2", {"extra": 0}), (2, "u1", {}), (4, "u1", {}))
    for channels, dtype, extra in (*cases, (5, "u1", {"extra": 0})):
        values = np.zeros((8, 8, channels), dtype)
        [reason] = contents(tiff_with(values, 1, "<", photometric=1, **extra))
        assert reason == f"it has {channels} channels, none said to be opacity: save 1 or 3"


UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # where the first row and column lie
    1: lambda stored: stored,  # above, left
    2: np.fliplr,  # above, right
    3: lambda stored: stored[::-1, ::-1],  # below, right
    4: np.flipud,  # below, left
    5: np.transpose,  # left, above
    6: lambda stored: np.fliplr(stored.T),  # right, above
    7: lambda stored: stored.T[::-1, ::-1],  # right, below
    8: lambda stored: np.flipud(stored.T),  # left, below
}


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_pages_are_upright(orientation: int, dtype: str) -> None:
    """TIFF 6.0, section 8, Orientation: where the stored rows and columns begin in the picture."""
    stored = GREYS[0][:5].astype(dtype)
    content = saved(Image.fromarray(stored), "TIFF", tiffinfo={274: orientation})
    [found] = contents(content)
    np.testing.assert_array_equal(found, UPRIGHT[orientation](stored))


def test_mutated_deep_pages_are_images_or_reasons() -> None:
    rng = np.random.default_rng(1)
    whole = tiff_with(rng.integers(999, size=(40, 40, 3)).astype("u2"), 8, "<", tile=(16, 16))
    for turn in range(400):
        content = bytearray(whole)
        for place in rng.integers(0, 300 if turn % 2 else len(content), size=1 + turn % 5):
            content[place] = rng.integers(256)
        started = time.process_time()
        try:
            assert contents(bytes(content))
        except BadImageError as error:
            assert str(error).isprintable()
        assert time.process_time() - started < 1


# Frames


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF"])
def test_the_first_frame_of_a_photograph_s_format_is_read_and_said(
    tmp_path: Path, format: str
) -> None:
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    images = make_images(80)[0]
    write_folder(tmp_path, images, prefix="still")
    frames = [Image.fromarray(np.full((16, 16, 3), value, np.uint8)) for value in (50, 200)]
    for index in range(3):
        frames[0].putpixel((index, 0), (0, 0, 0))
        content = saved(frames[0], format, save_all=True, append_images=frames[1:])
        (tmp_path / f"moving{index}.{format.lower()}").write_bytes(content)
    data = opened(tmp_path)
    expected = {"n": 3, "first": f"moving0.{format.lower()}"}
    assert noted(data)["first_frames"] == expected
    picture = read_first(tmp_path / f"moving0.{format.lower()}")
    assert picture.animated and abs(float(picture.pixels[2:].mean()) - 50) < 3


def test_still_files_are_not_called_animated() -> None:
    for format in ("GIF", "WEBP", "PNG"):
        assert not read_first(encode(np.stack([GREYS[0]] * 3, -1), format)).animated


# AVIF and HEIC


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_read(tmp_path: Path) -> None:
    y, x = np.mgrid[:16, :16]
    smooth = np.stack([8 * x + 40, 6 * y + 60, 4 * (x + y) + 20], -1).astype(np.uint8)
    write_folder(tmp_path, make_images(80)[0])
    (tmp_path / "a.avif").write_bytes(saved(Image.fromarray(smooth), "AVIF", quality=95))
    data = opened(tmp_path)
    assert data.ingested and data.ingested.bad == () and data.ingested.files == 81
    content = (tmp_path / "a.avif").read_bytes()
    assert np.abs(read_first(content).pixels - 1.0 * smooth).mean() < 3
    renamed = content.replace(b"ftypavif", b"ftypmif1", 1)  # the brand is among the compatible
    np.testing.assert_array_equal(read_first(renamed).pixels, read_first(content).pixels)
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    assert (read_first(saved(clear, "AVIF")).pixels == 255).all()


def test_without_the_codec_avif_is_bad_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "AVIF_IS_READ", False)
    with pytest.raises(BadImageError, match=r"AVIF is not read by this version of Pillow: convert"):
        read_pictures(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(99))


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_heic_is_bad_with_the_command_that_converts_it(brand: bytes) -> None:
    content = b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(99)
    with pytest.raises(
        BadImageError, match=r"HEI[CF] is not read: .*magick mogrify -format png FILE"
    ):
        read_pictures(content)


# Colour profiles


def swapped_profile() -> bytes:
    """sRGB's profile with red and green exchanged: plain to see in any picture."""
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", made, 128)
    at = {made[k : k + 4].decode(): struct.unpack_from(">I", made, k + 4)[0]
          for k in range(132, 132 + 12 * count, 12)}  # fmt: skip
    red, green = made[at["rXYZ"] :][:20], made[at["gXYZ"] :][:20]
    made[at["rXYZ"] : at["rXYZ"] + 20], made[at["gXYZ"] : at["gXYZ"] + 20] = green, red
    return bytes(made)


SWAPPED = swapped_profile()
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
def test_profiles_are_brought_to_srgb(tmp_path: Path, format: str) -> None:
    rng = np.random.default_rng(1)
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    images = rng.integers(256, size=(90, 1, 1, 3)).repeat(16, 1).repeat(16, 2).astype(np.uint8)
    images[..., 0], images[..., 1] = images[..., 0] // 3 + 170, images[..., 1] // 3  # no greys
    images[:, 0, 0] = np.arange(90)[:, None]
    exact = {"lossless": True} if format == "WEBP" else {}
    for index, image in enumerate(images):
        profile = SWAPPED if index < 80 else SRGB
        content = saved(Image.fromarray(image), format, icc_profile=profile, **exact)
        (tmp_path / f"{index}.{format.lower()}").write_bytes(content)
    data = opened(tmp_path)
    assert noted(data)["profiles_converted"] == {"n": 80}
    assert "profiles_broken" not in noted(data)
    if format in ("PNG", "TIFF", "WEBP"):
        expected = images.copy()
        expected[:80] = images[:80][..., [1, 0, 2]]
        found = pixels_of(data).transpose(0, 2, 3, 1)
        found = found[np.argsort(found[:, 0, 0, 2])]
        assert np.abs(found - expected.astype(int))[:, 1:].max() <= 2
    for path in LOCALES.glob("*.toml"):
        assert all(note.code not in Words(path.stem).note(note) for note in data.notes)


def expected_by_littlecms(image: Image.Image, profile: bytes) -> np.ndarray:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    made = ImageCms.profileToProfile(
        image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert made is not None
    return np.asarray(made)


def test_pictures_are_converted_whatever_their_mode() -> None:
    rng = np.random.default_rng(1)
    colour = rng.integers(256, size=(16, 16, 3), dtype=np.uint8)
    expected = expected_by_littlecms(Image.fromarray(colour), SWAPPED)
    few = Image.fromarray(colour).quantize(8)
    deep = tiff_of(colour.astype("u2") * 257)
    assert np.abs(expected.astype(int) - colour[..., [1, 0, 2]]).max() <= 2
    for content, wanted in (
        (saved(Image.fromarray(colour), "PNG", icc_profile=SWAPPED), expected),
        (
            saved(few, "PNG", icc_profile=SWAPPED),
            expected_by_littlecms(few.convert("RGB"), SWAPPED),
        ),
    ):
        found = read_first(content).square((0, 255), 16, "stretch")
        np.testing.assert_array_equal(found, wanted)
    picture = read_first(deep)._replace(profile=SWAPPED)
    np.testing.assert_array_equal(picture.square((0, 65535), 16, "stretch"), expected)


def test_deep_png_and_tiff_tell_their_profile() -> None:
    assert read_first(saved(Image.fromarray(GREYS[0].astype("u2")), "TIFF", icc_profile=SWAPPED))\
        .profile == SWAPPED  # fmt: skip
    assert read_first(saved(Image.fromarray(GREYS[0].astype("u2")), "PNG", icc_profile=SWAPPED))\
        .profile == SWAPPED  # fmt: skip


def grey_profile(gamma: float) -> bytes:
    """A grey profile of one power, by hand (ICC.1:2001-04)."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    text = b"desc" + bytes(4) + struct.pack(">I", 2) + b"g\0" + bytes(78 + 2)
    tags = {b"desc": text, b"wtpt": white, b"kTRC": curve}
    start, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    size = start + len(body)
    illuminant = struct.pack(">3i", 63190, 65536, 54061)
    head = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02100000, b"mntr", b"GRAY", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + illuminant
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


@pytest.mark.parametrize("gamma", [1.0, 1.8])
def test_grey_profiles_change_the_greys(gamma: float) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    light = (ramp / 255.0) ** gamma
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    for format in ("PNG", "TIFF"):
        content = saved(Image.fromarray(ramp), format, icc_profile=grey_profile(gamma))
        picture = read_first(content)
        assert picture.profile_state == "converted"
        found = picture.square((0, 255), 16, "stretch")
        assert found.shape == (16, 16)
        assert np.abs(found - 255 * srgb).max() <= 2


def test_grey_pictures_with_a_colour_profile_stay_grey() -> None:
    content = saved(Image.fromarray(GREYS[0]), "PNG", icc_profile=SRGB)
    picture = read_first(content)
    assert picture.profile_state == "srgb"
    np.testing.assert_array_equal(picture.square((0, 255), 16, "stretch"), GREYS[0])


def test_inks_follow_their_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """No CMYK profile is at hand: the one of the test turns every ink into one colour."""
    inks = Image.new("CMYK", (32, 32), (10, 20, 30, 40))
    content = saved(inks, "TIFF", icc_profile=SRGB)  # of another space: broken
    picture = read_first(content)
    assert picture.profile_state == "broken"
    naive = (255 - np.array([10, 20, 30])) * (255 - 40) / 255  # each ink and black take their share
    assert np.abs(picture.pixels - naive).max() <= 1
    assert np.abs(picture.square((0, 255), 16, "pad") - naive).max() <= 1
    monkeypatch.setattr(
        decode.profiles, "to_srgb", lambda image, _: Image.new("RGB", image.size, 9)
    )
    assert (picture.square((0, 255), 16, "stretch") == [9, 0, 0]).all()


@pytest.mark.parametrize("profile", [b"no profile at all", SWAPPED[:300], SWAPPED[:130]])
def test_broken_profiles_leave_the_pixels(tmp_path: Path, profile: bytes) -> None:
    images = make_images(80)[0]
    for index, image in enumerate(images):
        content = saved(Image.fromarray(image), "PNG", icc_profile=profile if index < 5 else None)
        (tmp_path / f"{index}.png").write_bytes(content)
    data = opened(tmp_path)
    assert noted(data)["profiles_broken"] == {"n": 5} and data.ingested and not data.ingested.bad
    found = in_order(pixels_of(data).transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(found, in_order(images))


def test_a_huge_profile_is_not_read() -> None:
    content = saved(Image.fromarray(GREYS[0]), "TIFF", icc_profile=SWAPPED + bytes(5_000_000))
    assert read_first(content).profile_state == "broken"


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_three_channels_are_colours_as_tifffile_saves_them(dtype: str) -> None:
    """Its default calls them shades of grey: photometric 1, three samples."""
    rng = np.random.default_rng(1)
    values = rng.integers(0, np.iinfo(dtype).max + 1, (16, 16, 3), dtype=dtype)
    picture = read_first(tiff_with(values, 1, "<", photometric=1))
    np.testing.assert_array_equal(picture.pixels, values)
    four = np.concatenate([values, values[..., :1]], 2)
    if dtype == "u1":  # Pillow takes the fourth for opacity
        assert read_first(tiff_with(four, 1, "<", photometric=2)).pixels.shape == (16, 16, 3)
        return
    with pytest.raises(BadImageError, match="it has 4 channels, none said to be opacity"):
        read_first(tiff_with(four, 1, "<", photometric=2))
