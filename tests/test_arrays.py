"""Stacks of images in NumPy's files: every layout, labels, parts, and what is refused."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.making import make_images
from triptych.data.sources import Columns, Source, arrays
from triptych.data.sources.arrays import read_arrays
from triptych.errors import InputError
from triptych.records import Note

ANY = Columns()
IMAGES, LABELS = make_images(20, side=12)
IMAGES[..., 1:, 1] //= 2  # channels that differ, so that their order shows
GREY = IMAGES[..., 0]


def save(path: Path, **columns: Any) -> Path:
    np.savez(path, **columns)
    return path


def pixels(source: Source) -> np.ndarray:
    items = list(source.items())
    assert len(items) == source.count
    found = [item.content for item in items]
    assert all(isinstance(content, np.ndarray) for content in found)
    stacked = np.stack(found)  # type: ignore[arg-type]
    assert stacked.dtype == np.uint8
    return stacked


def labels(source: Source) -> list[Any]:
    return [item.label for item in source.items()]


LAYOUTS = {
    "NHW": (GREY, GREY),
    "NHW1": (GREY[..., None], GREY),
    "N1HW": (GREY[:, None], GREY),
    "NHW3": (IMAGES, IMAGES),
    "N3HW": (np.moveaxis(IMAGES, -1, 1), IMAGES),
    "bool": (GREY > 80, (GREY > 80) * np.uint8(255)),
    "bool3": (np.moveaxis(IMAGES, -1, 1) > 80, (IMAGES > 80) * np.uint8(255)),
    "N3H3": (IMAGES[:, :3, :, :], IMAGES[:, :3]),  # the last axis fits, so it is the channels
}


@pytest.mark.parametrize("how", ["npy", "npz", "compressed"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, order: str, how: str
) -> None:
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 3000)  # several blocks
    given, expected = LAYOUTS[layout]
    written = np.asarray(given, order=order)  # type: ignore[call-overload]
    path = tmp_path / ("a.npy" if how == "npy" else "a.npz")
    if how == "npy":
        np.save(path, written)
    else:
        (np.savez if how == "npz" else np.savez_compressed)(path, images=written)
    source = read_arrays(path, ANY)
    np.testing.assert_array_equal(pixels(source), expected)
    np.testing.assert_array_equal(pixels(source), expected)  # and again
    assert next(iter(source.items())).name == f"{path.name}[0]"


def test_nothing_is_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 5 * GREY[0].size)
    sizes: list[int] = []
    before = np.empty

    def watched(shape: Any, *rest: Any, **more: Any) -> np.ndarray:
        made = before(shape, *rest, **more)
        sizes.append(made.nbytes)
        return made

    monkeypatch.setattr(arrays.np, "empty", watched)
    np.save(tmp_path / "a.npy", GREY)
    np.savez_compressed(tmp_path / "a.npz", GREY)
    for name in ("a.npy", "a.npz"):
        np.testing.assert_array_equal(pixels(read_arrays(tmp_path / name, ANY)), GREY)
    assert sizes == [5 * GREY[0].size] * 8


SCRIPT = """
import sys
from pathlib import Path
from triptych.data.sources import arrays
from triptych.data.sources import Columns
arrays.BLOCK_BYTES = 1
path = Path(sys.argv[1])
items = arrays.read_arrays(path, Columns()).items()
first = next(items)
path.write_bytes(path.read_bytes()[:200])
assert [first.content.sum(), *(item.content.sum() for item in items)] == [64 * 64] * 100
"""


def test_a_file_cut_while_it_is_read_ends_no_process(tmp_path: Path) -> None:
    """In a process of its own, which reading a mapping of the file would kill."""
    np.save(tmp_path / "a.npy", np.asarray(np.ones((100, 64, 64), np.uint8), order="F"))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "a.npy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


# Keys


def test_which_array_holds_the_images(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    other = GREY[::-1]
    np.testing.assert_array_equal(
        pixels(read_arrays(save(path, masks=other, images=GREY), ANY)), GREY
    )
    facts = {"ids": np.arange(20), "weights": np.ones((20, 4)), "floats": GREY / 255}
    np.testing.assert_array_equal(pixels(read_arrays(save(path, a=GREY, **facts), ANY)), GREY)
    both = save(path, a=GREY, b=other, n=np.arange(20))
    with pytest.raises(InputError, match=r"several arrays of images .*--image-column: a, b$"):
        read_arrays(both, ANY)
    np.testing.assert_array_equal(pixels(read_arrays(both, Columns(image="b"))), other)
    with pytest.raises(InputError, match=r"no array 'c' in .*: there are a, b, n"):
        read_arrays(both, Columns(image="c"))
    with pytest.raises(InputError, match=r"no images in .*'n' is int64"):
        read_arrays(both, Columns(image="n"))


def test_images_are_for_training_beside_held_out_stacks(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    held_out = {"test_images": IMAGES[12:], "test_labels": LABELS[12:]}
    save(path, images=IMAGES[:12], labels=LABELS[:12], **held_out)
    items = list(read_arrays(path, ANY).items())
    assert [item.part for item in items] == ["train"] * 12 + ["test"] * 8
    assert [item.label for item in items] == LABELS.tolist()
    held_out.pop("test_labels")  # then those of the others are not taken for theirs
    source = read_arrays(save(path, images=IMAGES[:12], labels=LABELS[:12], **held_out), ANY)
    assert [item.label for item in source.items()] == [*LABELS[:12], *[None] * 8]
    assert Note("stacks_without_labels", {"arrays": "test_images"}) in source.notes


def test_stacks_that_are_not_read_are_told(tmp_path: Path) -> None:
    """Also beside `images`, and where `images` may be all that the parts are of."""
    path, none = tmp_path / "a.npz", Columns(label="none")
    source = read_arrays(save(path, images=IMAGES, masks=GREY, ids=LABELS), none)
    assert source.count == 20
    assert source.notes == (Note("stacks_passed_over", {"arrays": "masks"}),)
    assert read_arrays(path, Columns(image="masks", label="none")).notes == ()  # as asked
    halves = {"x_train": IMAGES[:10], "x_test": IMAGES[10:]}
    source = read_arrays(save(path, **halves, x_extra=IMAGES), none)
    assert source.count == 20
    assert Note("stacks_passed_over", {"arrays": "x_extra"}) in source.notes
    source = read_arrays(save(path, images=IMAGES, **halves), none)
    assert [item.part for item in source.items()] == [None] * 20
    assert source.notes == (Note("stacks_passed_over", {"arrays": "x_train, x_test"}),)


@pytest.mark.parametrize(
    "names",
    [
        ("x_{}", "y_{}", "train", "test"),
        ("X_{}", "Y_{}", "train", "val"),
        ("{}_images", "{}_labels", "train", "val"),
        ("images-{}", "targets-{}", "training", "testing"),
        ("{}", "{}_label", "train", "validation"),
    ],
)
def test_parts_of_their_own(tmp_path: Path, names: tuple[str, str, str, str]) -> None:
    """As Keras writes them, and MedMNIST, whose labels are (N,1)."""
    image, label, first, second = names
    columns = {
        image.format(first): IMAGES[:14],
        label.format(first): LABELS[:14, None],
        image.format(second): IMAGES[14:, :8],
        label.format(second): LABELS[14:, None],
        "n_train": np.arange(3),
    }
    path = save(tmp_path / "a.npz", **columns)
    source = read_arrays(path, ANY)
    items = list(source.items())
    assert source.count == len(items) == 20
    expected = arrays.PART_NAMES[second]
    assert [item.part for item in items] == ["train"] * 14 + [expected] * 6
    assert [item.label for item in items] == LABELS.tolist()
    np.testing.assert_array_equal(items[3].content, IMAGES[3])  # type: ignore[arg-type]
    np.testing.assert_array_equal(items[14].content, IMAGES[14, :8])  # type: ignore[arg-type]
    assert items[14].name == f"a.npz:{image.format(second)}[0]"
    assert [note.code for note in source.notes] == ["parts_from_names", *2 * ["labels_from_column"]]
    assert f"train: {image.format(first)}; " in str(source.notes[0].values["parts"])
    one = read_arrays(path, Columns(image=image.format(second)))
    assert {item.part for item in one.items()} == {None}  # alone it is not a part
    assert labels(one) == LABELS[14:].tolist()


# Refusals


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (GREY.astype(complex), "no images in"),
        (GREY.astype(np.longdouble), r"no images in .*float64: x\.astype\(float\)"),
        (np.zeros((30, 0, 0), np.uint8), "no images in"),
        (np.zeros((0, 8, 8), np.uint8), "no images in"),
        (np.zeros((30, 64), np.uint8), r"no images in .*\(N,H,W\)"),
        (np.zeros((48, 64, 3), np.uint8), "a single picture"),
        (np.zeros((30, 8, 8, 5), np.uint8), "5 channels: save one or three"),
        (np.zeros((30, 8, 8, 4), np.uint8), "4 channels: put them over white"),
        (np.zeros((30, 4, 8, 8), np.uint8), "4 channels: put them over white"),
        (np.zeros((30, 2, 8, 8), np.uint8), "2 channels"),
        (np.array([{}] * 4), "no images in .*pickled objects are never read"),
    ],
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_what_is_no_image(tmp_path: Path, cells: np.ndarray, message: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, cells)
    else:
        save(path, images=cells)
    with pytest.raises(InputError, match=message):
        read_arrays(path, ANY)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_what_the_system_refuses_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    with path.open("wb") as file:
        np.save(file, GREY) if suffix == "npy" else np.savez(file, GREY)
    source = read_arrays(path, ANY)
    told = rf"^cannot read {path} \({{}}\): check it$"

    def barred(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", barred)
        with pytest.raises(InputError, match=told.format("Permission denied")):
            read_arrays(path, ANY)
    path.unlink()
    with pytest.raises(InputError, match=told.format("No such file or directory")):
        list(source.items())
    path.mkdir()
    with pytest.raises(InputError, match=told.format("Is a directory")):
        read_arrays(path, ANY)


def header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    facts = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, facts)
    return file.getvalue()


def test_damage_is_named(tmp_path: Path) -> None:
    whole = io.BytesIO()
    np.savez_compressed(whole, images=GREY)
    stack = io.BytesIO()
    np.save(stack, GREY)
    contents = [
        b"",
        b"PK\3\4 no",
        b"hello",
        whole.getvalue()[:-30],
        stack.getvalue()[:-1],
        stack.getvalue()[:40],
        header((10**12, 8, 8)),
        header((-1, 8, 8)) + bytes(64),
    ]
    for content in contents:
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.npz is damaged"):
            read_arrays(tmp_path / "bad.npz", ANY)
    with zipfile.ZipFile(tmp_path / "huge.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", header((1, 20_000, 20_000)) + bytes(20_000**2))
    with pytest.raises(InputError, match=r"of shape \(20000, 20000\): make them smaller"):
        read_arrays(tmp_path / "huge.npz", ANY)


def test_mutated_files_neither_crash_nor_hang(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    save(tmp_path / "a.npz", images=GREY[:3], labels=LABELS[:3])
    np.save(tmp_path / "a.npy", GREY[:3])
    refused = 0
    for turn in range(300):
        path = tmp_path / ("a.npz" if turn % 2 else "a.npy")
        whole = path.read_bytes()
        content = bytearray(whole)
        if turn % 5 == 0:
            content = content[: rng.integers(len(content))]
        first = len(content) * (turn % 3) // 3
        for place in rng.integers(first, len(content), size=1 + turn % 7) if content else ():
            content[place] = rng.integers(256)
        path.write_bytes(content)
        start = time.process_time()  # a busy neighbour does not count
        try:
            source = read_arrays(path, ANY)
            assert sum(1 for _ in source.items()) == source.count
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
        assert time.process_time() - start < 1
        path.write_bytes(whole)
    assert refused > 50
