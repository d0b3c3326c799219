"""Which numbers become black and white: decided once for a source, told, and the user's to set."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.making import encode, write_folder
from tests.published import matlab_bytes
from triptych.cli.parser import parse
from triptych.config import ImageShape
from triptych.data import ingest, ranges
from triptych.data.dataset import ImageData
from triptych.data.image_files import read_image_files
from triptych.data.open import open_images
from triptych.data.ranges import NumberSummary, decide, summarize, to_uint8
from triptych.errors import InputError
from triptych.options import DataOptions, ReadingOptions, parse_range
from triptych.run import own_options, reading_of
from triptych.words import LOCALES, Words, english

SIDE, COUNT = 16, 100
UNIT = np.random.default_rng(0).random((COUNT, SIDE, SIDE))  # on [0, 1)
UNIT[0, 0, :2] = 0, 1


def opened(path: Path, **options: Any) -> ImageData:
    return open_images(str(path), DataOptions(resolution=SIDE, **options))


def pixels_of(data: ImageData) -> np.ndarray:
    """All images, uint8 (N,C,H,W), in an order of their own."""
    parts = [part.images.numpy() for part in (data.train, data.validation, data.test)]
    return np.concatenate(parts)


def assert_same_images(data: ImageData, expected: np.ndarray) -> None:
    """Whatever their order: expected uint8 (N,H,W)."""
    found = pixels_of(data)
    assert found.shape == (len(expected), 1, SIDE, SIDE)
    np.testing.assert_array_equal(in_order(found[:, 0]), in_order(expected))


def in_order(images: np.ndarray) -> np.ndarray:
    return np.stack(sorted(images, key=lambda image: image.tobytes()))


def linear(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """The expected levels, in the longest floats there are."""
    exact = (values.astype(np.longdouble) - low) / (np.longdouble(high) - low) * 255
    return np.rint(exact.clip(0, 255)).astype(np.uint8)


def codes(data: ImageData) -> dict[str, dict[str, Any]]:
    names = ("range_", "cut_", "not_finite")
    return {note.code: note.values for note in data.notes if note.code.startswith(names)}


# Files of every kind


def as_png(image: np.ndarray) -> bytes:
    return encode(image, "PNG")


def as_tiff(image: np.ndarray) -> bytes:
    return tiff_of(image)


def tiff_of(image: np.ndarray) -> bytes:
    """A TIFF page of any type of numbers, (H,W) or (H,W,3), written by hand."""
    kind = {"u": 1, "i": 2, "f": 3}[image.dtype.kind]
    channels = 1 if image.ndim == 2 else image.shape[2]
    body = image.astype(image.dtype.newbyteorder("<")).tobytes()
    tags: dict[int, Sequence[int]] = {
        256: [image.shape[1]], 257: [image.shape[0]], 258: [8 * image.itemsize] * channels,
        259: [1], 262: [1 if channels == 1 else 2], 277: [channels], 278: [image.shape[0]],
        279: [len(body)], 339: [kind] * channels, 273: [0],
    }  # fmt: skip
    end = 8 + 2 + 12 * len(tags) + 4
    apart, entries = b"", b""
    lists = sum(4 * len(values) for values in tags.values() if len(values) > 1)
    tags[273] = [end + lists]
    for tag in sorted(tags):
        packed = struct.pack(f"<{len(tags[tag])}I", *tags[tag])
        if len(packed) > 4:
            packed, apart = struct.pack("<I", end + len(apart)), apart + packed
        entries += struct.pack("<HHI", tag, 4, len(tags[tag])) + packed
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return head + entries + bytes(4) + apart + body


Write = Callable[[Path, np.ndarray], Path]


def as_npy(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    np.save(folder / "a.npy", images)
    return folder / "a.npy"


def as_mat(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "a.mat").write_bytes(matlab_bytes(X=np.moveaxis(images, 0, -1)))
    return folder / "a.mat"


def as_files(encoded: Callable[[np.ndarray], bytes], suffix: str) -> Write:
    def write(folder: Path, images: np.ndarray) -> Path:
        folder.mkdir(exist_ok=True)
        for index, image in enumerate(images):
            (folder / f"{index:03d}.{suffix}").write_bytes(encoded(image))
        return folder

    return write


TIFFS, PNGS = as_files(as_tiff, "tif"), as_files(as_png, "png")


def whole(top: int, dtype: str, low: int = 0) -> np.ndarray:
    return (low + np.rint(UNIT * (top - low))).astype(dtype)


CASES: dict[str, tuple[np.ndarray, tuple[float, float]]] = {
    "floats on 0..1": (UNIT.astype("f4"), (0, 1)),
    "floats that ring": ((UNIT * 1.06 - 0.03).astype("f4"), (0, 1)),
    "floats on -1..1": ((UNIT * 2 - 1).astype("f4"), (-1, 1)),
    "floats on -0.5..0.5": ((UNIT - 0.5).astype("f8"), (-0.5, 0.5)),
    "floats of 16 bits": (UNIT.astype("f2"), (0, 1)),
    "floats on 0..255": ((UNIT * 255).astype("f4"), (0, 255)),
    "whole floats above 255": (whole(4000, "f4"), (0, 4095)),
    "floats of their own": ((UNIT * 700 - 100).astype("f8"), (-100, 600)),
    "8 bits in 16": (whole(250, "u2"), (0, 255)),
    "10 bits in 16": (whole(1000, "u2"), (0, 1023)),
    "12 bits in 16": (whole(4000, "u2"), (0, 4095)),
    "12 bits in 32": (whole(4095, "u4"), (0, 4095)),
    "12 bits in signed 16": (whole(4095, "i2"), (0, 4095)),
    "16 bits": (whole(65535, "u2"), (0, 65535)),
    "20 bits": (whole(2**20 - 1, "u4"), (0, 2**20 - 1)),
    "32 bits": (whole(2**32 - 1, "u4"), (0, 2**32 - 1)),
    "64 bits that are few": (whole(900, "i8"), (0, 1023)),
    "signed 16 bits": (whole(32767, "i2", -32768), (-32768, 32767)),
    "Hounsfield": (whole(3071, "i2", -1024), (-1024, 3071)),
    "signed bytes": (whole(127, "i1", -128), (-128, 127)),
    "bytes": (whole(255, "u1"), (0, 255)),
    "bytes of zeros and ones": (whole(1, "u1"), (0, 1)),
    "zeros and ones in 16": (whole(1, "u2"), (0, 1)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("source", ["npy", "mat", "tif"])
def test_the_range_is_what_the_numbers_mean(tmp_path: Path, case: str, source: str) -> None:
    values, (low, high) = CASES[case]
    write = {"npy": as_npy, "mat": as_mat, "tif": TIFFS}[source]
    if source == "mat" and values.dtype == np.float16:
        pytest.skip("MATLAB has none")
    data = opened(write(tmp_path / "a", values))
    assert_same_images(data, linear(values, low, high))
    plain = case == "bytes"
    kind = next(iter(data.ranges))
    assert data.ranges == {kind: (pytest.approx(low), pytest.approx(high))}
    said = codes(data)
    assert ("range_of_bits" in said) + ("range_taken" in said) == (not plain)
    assert not {"cut_to_black", "cut_to_white"} & said.keys() or case == "floats that ring"
    assert data.describe().ranges == ({} if plain else data.ranges)


@pytest.mark.parametrize("case", ["10 bits in 16", "12 bits in 16", "16 bits", "8 bits in 16"])
def test_png_of_deep_greys(tmp_path: Path, case: str) -> None:
    values, (low, high) = CASES[case]
    assert_same_images(opened(PNGS(tmp_path / "a", values)), linear(values, low, high))


def wide_png(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel: (H,W,C) of 2, 3 or 4 channels, by hand."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    height, width, channels = values.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize("format", ["png", "tif"])
@pytest.mark.parametrize("top", [4095, 65535])
def test_deep_colours_keep_their_lower_byte(tmp_path: Path, format: str, top: int) -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(top + 1, size=(COUNT, SIDE, SIDE, 3)).astype(np.uint16)
    values[0, 0, 0] = top
    data = opened(
        as_files(wide_png if format == "png" else tiff_of, format)(tmp_path / "a", values)
    )
    found = in_order(pixels_of(data).transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(found, in_order(linear(values, 0, top)))


@pytest.mark.parametrize("channels", [2, 4])
def test_deep_transparency_lies_over_white(tmp_path: Path, channels: int) -> None:
    """Of 12 bits white is 4095, which only the range of the colours tells."""
    rng = np.random.default_rng(2)
    values = rng.integers(4096, size=(COUNT, SIDE, SIDE, channels)).astype(np.uint16)
    values[..., -1] = rng.choice([0, 30000, 65535], size=(COUNT, SIDE, SIDE))
    values[0, 0, 0] = 4095, *[0] * (channels - 2), 65535
    values[:, 0, 1, :-1] = 40 * np.arange(COUNT)[:, None]  # which tells them apart
    values[:, 0, 1, -1] = 65535
    data = opened(as_files(wide_png, "png")(tmp_path / "a", values))
    assert data.ranges == {"uint16": (0, 4095)}
    share = values[..., -1:] / 65535
    expected = values[..., :-1] / 4095 * 255 * share + 255 * (1 - share)
    found = pixels_of(data).transpose(0, 2, 3, 1)
    error = np.abs(found[np.argsort(found[:, 0, 1, 0])] - expected)
    assert error.max() <= 1.01


# One decision for the whole source


@pytest.mark.parametrize("write", [PNGS, TIFFS, as_npy])
def test_dark_frames_stay_dark_among_bright_ones(tmp_path: Path, write: Write) -> None:
    values = whole(60000, "u2")
    values[10:20] //= 300  # these alone would fit into a byte
    values[20:30] //= 60_000  # and these into a bit
    values[20:30, 0, :8] = np.arange(10 * 8).reshape(10, 8) % 2  # all different
    values[20:30, 1, 0] = np.arange(10)
    assert_same_images(opened(write(tmp_path / "a", values)), linear(values, 0, 65535))


def test_floats_of_one_dark_image_do_not_change_the_range(tmp_path: Path) -> None:
    values = (UNIT * 200).astype("f4")
    values[3] /= 200
    assert_same_images(opened(TIFFS(tmp_path / "a", values)), linear(values, 0, 255))


def test_types_have_each_their_range(tmp_path: Path) -> None:
    deep, plain = whole(1000, "u2")[:20], whole(255, "u1")[20:]
    PNGS(tmp_path / "a", deep)
    write_folder(tmp_path / "a", plain, prefix="plain")
    data = opened(tmp_path / "a")
    assert data.ranges == {"uint16": (0, 1023), "uint8": (0, 255)}
    assert_same_images(data, np.concatenate([linear(deep, 0, 1023), plain]))
    assert [note.values["type"] for note in data.notes if note.code.startswith("range")] == [
        "uint16"
    ]


def test_a_source_of_bytes_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[object] = []
    read = ingest.read_pictures
    monkeypatch.setattr(ingest, "read_pictures", lambda c: (reads.append(c), read(c))[1])
    opened(PNGS(tmp_path / "bytes", whole(255, "u1")))
    opened(PNGS(tmp_path / "deep", whole(65535, "u2")))
    opened(as_npy(tmp_path / "floats", UNIT.astype("f4")))
    assert len(reads) == 3 * COUNT
    opened(PNGS(tmp_path / "12 bits", whole(4095, "u2")))
    assert len(reads) == 5 * COUNT


def test_the_parts_do_not_depend_on_the_range(tmp_path: Path) -> None:
    """Two ranges differ by a factor that keeps most images apart: their order tells who is who."""
    values = whole(4095, "u2")
    path = as_npy(tmp_path / "a", values)
    usual, other = opened(path), opened(path, range="0,8190")
    for name in ("train", "validation", "test"):
        own, their = (getattr(data, name).images.numpy().astype(int) for data in (usual, other))
        assert own.shape == their.shape and np.abs(own - 2 * their).max() <= 2


# What is said


def test_notes_say_type_range_and_bits(tmp_path: Path) -> None:
    data = opened(as_npy(tmp_path / "a", whole(3000, "u2")))
    [said] = [english(note) for note in data.notes if note.code == "range_of_bits"]
    assert said == (
        "uint16 numbers: 0 to 4,095 become black to white (12 bits are used); "
        "another by --range LOW,HIGH"
    )
    data = opened(as_npy(tmp_path / "b", (UNIT * 2 - 1).astype("f4")))
    [said] = [english(note) for note in data.notes if note.code == "range_taken"]
    assert said.startswith("float32 numbers: -1 to 1 become black to white (they run from -1 to 1)")


def test_more_than_one_per_cent_beyond_an_end_is_a_warning(tmp_path: Path) -> None:
    values = whole(255, "u1")
    path = as_npy(tmp_path / "a", values)
    data = opened(path, range="3,200")
    above = float((values > 200).mean())
    assert codes(data)["cut_to_white"] == {
        "share": pytest.approx(above),
        "most": 0.01,
        "end": 200,
        "type": "uint8",
    }
    below = float((values < 3).mean())
    assert ("cut_to_black" in codes(data)) == (below > 0.01)
    text = english(next(note for note in data.notes if note.code == "cut_to_white"))
    assert text.startswith("WARNING, 21") and "above 200" in text
    few = opened(path, range="0,254")
    assert float((values > 254).mean()) < 0.01 and "cut_to_white" not in codes(few)


def test_numbers_that_are_not_finite_are_black_and_counted(tmp_path: Path) -> None:
    values = UNIT.astype("f4")
    values[0, 3, 3:6] = np.nan, np.inf, -np.inf
    values[5] = np.nan
    data = opened(TIFFS(tmp_path / "a", values))
    assert codes(data)["not_finite_values"] == {"n": 3 + SIDE * SIDE, "type": "float32"}
    assert_same_images(data, linear(np.where(np.isfinite(values), values, 0), 0, 1))


def test_nothing_but_nan_is_black(tmp_path: Path) -> None:
    values = np.full((COUNT, SIDE, SIDE), np.nan, "f4")
    with pytest.raises(InputError):  # all are copies of one image
        opened(as_npy(tmp_path / "a", values))
    assert decide("float32", summarize(values, (0, 1))) == (0, 1)
    assert to_uint8(values[0], (0, 1)).max() == 0


def test_every_language_says_it() -> None:
    found = ranges.notes(
        {
            "float32": NumberSummary(
                minimum=-3.5, maximum=9.25, whole=False, values=100, not_finite=1, below=2, above=3
            ),
            "uint8": NumberSummary(minimum=0, maximum=1, values=9),
        },
        {"float32": (-1, 1), "uint8": (0, 1)},
        given=False,
    )
    assert [note.code for note in found] == [
        "range_taken", "cut_to_black", "cut_to_white", "not_finite_values", "range_of_bits",
    ]  # fmt: skip
    for path in LOCALES.glob("*.toml"):
        for note in found:
            assert note.code not in Words(path.stem).note(note)


# The user's own range


def test_a_range_of_the_user_stands_above_all(tmp_path: Path) -> None:
    values = whole(255, "u1")
    path = as_npy(tmp_path / "a", values)
    for given in ("0,128", (0, 128)):
        data = opened(path, range=given)
        assert_same_images(data, linear(values, 0, 128))
        assert data.range == data.describe().range == "0,128"
        assert codes(data)["range_given"] == {"type": "uint8", "low": 0, "high": 128}
    assert_same_images(opened(path), values)  # another entry
    floats = as_npy(tmp_path / "b", (UNIT * 2 - 1).astype("f4"))
    assert_same_images(
        opened(floats, range="-0.25,0.5"), linear((UNIT * 2 - 1).astype("f4"), -0.25, 0.5)
    )


def test_a_run_reads_pictures_as_its_data_were_read(tmp_path: Path) -> None:
    deep = opened(as_npy(tmp_path / "a", whole(3000, "u2"))).describe()
    again = type(deep).read(deep.to_json())
    assert again.ranges == {"uint16": (0, 4095)} and again == deep
    assert reading_of(deep).bounds_of("uint16") == (0, 4095)
    assert reading_of(deep).bounds_of("uint8") == (0, 255)
    given = opened(as_npy(tmp_path / "b", whole(255, "u1")), range="0,128").describe()
    assert reading_of(given).bounds_of("uint16") == (0, 128)
    assert own_options(given, given.source).range == "0,128"
    assert own_options(given, "another").range is None
    plain = opened(as_npy(tmp_path / "c", whole(255, "u1"))).describe().to_json()
    assert not {"range", "ranges"} & plain.keys()  # as earlier versions wrote it
    grey, bytes_ = ImageShape(channels=1, resolution=SIDE), reading_of(deep.read(plain))
    for number, level in enumerate((0, 7, 700)):
        Image.fromarray(np.full((SIDE, SIDE), level, "u2")).save(tmp_path / f"{number}.png")
    three = read_image_files([tmp_path / f"{number}.png" for number in range(3)], grey, bytes_)
    assert three.images[:, 0, 0, 0].tolist() == [0, 2, 174]  # of 10 bits, as all of them show
    assert [note.code for note in three.notes] == ["range_of_bits"]
    as_trained = read_image_files([tmp_path / "2.png"], grey, reading_of(deep))
    assert as_trained.images[0, 0, 0, 0] == 44  # of 12, as the run's data have it


@pytest.mark.parametrize(
    "wrong", ["", "1", "1,2,3", "a,b", "2,1", "1,1", "0,inf", "nan,1", (3, 2), 7]
)
def test_no_range(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"^--range .*: give "):
        ReadingOptions(range=wrong)


def test_ranges_are_written_as_they_are_typed() -> None:
    assert ReadingOptions(range=" 0, 4095.0").range == "0,4095"
    assert ReadingOptions(range=(-0.5, 1e-7)).range == "-0.5,1e-07"  # type: ignore[arg-type]
    assert parse_range("-0.5,1e-07") == (-0.5, 1e-7)


def test_the_command_line_takes_a_range(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[data]\nrange = "-1,1"\n')
    for words in (["--range", "-1,1"], ["--range=-1,1"], ["--config", str(config)]):
        assert parse(["data", "x", *words]).range == "-1,1"  # type: ignore[attr-defined]
    asked = parse(["train", "vae", "--range", "-1,1"])
    assert "--range -1,1" in asked.command()
    with pytest.raises(InputError, match="--range 3,1 does not rise"):
        parse(["data", "x", "--range", "3,1"])
    for words in (["--range"], ["--range", "--resolution", "16"]):
        with pytest.raises(InputError, match="--range has no value"):
            parse(["data", "x", *words])


# Arithmetic


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "i8", "f2", "f4", "f8"])
def test_conversion_is_linear_and_cut(kind: str) -> None:
    values = np.arange(-120, 120) if kind[0] != "u" else np.arange(240)
    for bounds in ((-100, 100), (3, 77), (0.5, 99.25)):
        found = to_uint8(values.astype(kind).reshape(12, 20), bounds)
        np.testing.assert_array_equal(found.ravel(), linear(values, *bounds))


def test_summaries_add_up() -> None:
    values = np.random.default_rng(3).normal(size=(6, 50)).astype("f4")
    values[2, 3] = np.inf
    pieces = [summarize(part, (-1, 1)) for part in values]
    total = sum(pieces, NumberSummary())
    assert total == summarize(values, (-1, 1))
    finite = values[np.isfinite(values)]
    assert (total.below, total.above) == ((finite < -1).sum(), (finite > 1).sum())
    assert total.not_finite == 1 and not total.whole


def test_a_constant_source_has_a_range() -> None:
    assert decide("float32", summarize(np.full((2, 2), 7.5, "f4"), (0, 1))) == (7.5, 8.5)
    assert decide("int16", summarize(np.full((2, 2), -5, "i2"), (0, 1))) == (-5, -4)
    assert decide("uint8", summarize(np.zeros((2, 2), "u1"), (0, 255))) == (0, 1)


def test_a_constant_beyond_the_whole_numbers_of_floats_has_a_range() -> None:
    """One more than 2^53 is 2^53 again."""
    for value in (-(2.0**53), -3e38):
        low, high = decide("float64", summarize(np.full((2, 2), value), (0, 1)))
        assert low == value < high
        assert (to_uint8(np.full((2, 2), value), (low, high)) == 0).all()


def test_the_table_of_a_range_is_made_once() -> None:
    """Not for each image: of 16 bits it has 65,536 entries."""
    ranges.table.cache_clear()
    for dtype in ("u2", "u2", "i2", "u2"):
        levels = to_uint8(np.array([[0, 4095, 2048, 99]], dtype), (0, 4095))
        assert levels.tolist() == [[0, 255, 128, 6]]
    assert ranges.table.cache_info().misses == 2


def test_a_pillow_image_in_a_stack_of_deep_pages(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(whole(4000, "u2")[0]).save(buffer, "TIFF", compression="tiff_lzw")
    values = whole(4000, "u2")
    folder = TIFFS(tmp_path / "a", values)
    (folder / "000.tif").write_bytes(buffer.getvalue())
    assert_same_images(opened(folder), linear(values, 0, 4095))


@pytest.mark.parametrize(
    ("low", "high", "meant"),
    [
        (-0.9, 0.8, (-1, 1)),
        (-0.4, 0.45, (-0.5, 0.5)),
        (0.1, 0.7, (0, 1)),
        (-0.02, 1.03, (0, 1)),  # as resampling leaves it
        (3.5, 190.0, (0, 255)),
        (-2.1, 2.6, (-2.1, 2.6)),
        (271.5, 310.2, (271.5, 310.2)),
    ],
)
def test_floats_that_do_not_reach_the_ends_are_of_a_usual_range(
    low: float, high: float, meant: tuple[float, float]
) -> None:
    """A set of images seldom holds its very black and its very white."""
    summary = NumberSummary(minimum=low, maximum=high, whole=False, values=100)
    assert decide("float32", summary) == meant
