"""A user's MATLAB files: which arrays are read, what labels they hold, what is refused."""

from __future__ import annotations

import builtins
import errno
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from tests.published import assert_same, labels_for, listed, matlab_bytes, pixels, svhn_bytes, write
from triptych.data.sources import Columns
from triptych.data.sources.matlab import read_matlab
from triptych.data.sources.metadata import labels_from
from triptych.errors import InputError
from triptych.records import Note

UNLABELED = Columns(label="none")


def test_a_users_matlab_file(tmp_path: Path) -> None:
    images, labels = pixels(30, 8, 9, 3), labels_for(30)
    source = read_matlab(write(tmp_path / "own.mat", svhn_bytes(images, labels)), Columns())
    assert source.classes == tuple("0123456789")
    assert source.notes == (labels_from("y", "own.mat"), Note("read_as_svhn"))
    assert_same(listed(source), images, labels, None)
    bare = read_matlab(tmp_path / "own.mat", UNLABELED)
    assert (bare.classes, bare.notes) == (None, ())
    assert_same(listed(bare), images, None, None)


@pytest.mark.parametrize("low", [0, 1, 5, -3])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float64])
def test_other_label_ranges_are_kept(tmp_path: Path, low: int, kind: type) -> None:
    if low < 0 and kind is np.uint8:
        pytest.skip("no negative numbers")
    images, labels = pixels(6, 5, 4), np.arange(6) + low
    content = matlab_bytes(X=np.moveaxis(images, 0, -1), y=labels.astype(kind)[None])
    source = read_matlab(write(tmp_path / "own.mat", content), Columns())
    assert source.classes is None
    assert_same(listed(source), images, labels, None)


def test_other_arrays_of_a_matlab_file(tmp_path: Path) -> None:
    images, labels = pixels(6, 5, 4, 1), np.arange(6)
    path = write(
        tmp_path / "own.mat",
        matlab_bytes(photos=np.moveaxis(images, 0, -1), kinds=labels, X=np.zeros(3), y=np.ones(2)),
    )
    items = listed(read_matlab(path, Columns(image="photos", label="kinds")))
    assert_same(items, images[..., 0], labels, None)
    with pytest.raises(InputError, match=r"no array 'absent' .*: there are .*photos"):
        read_matlab(path, Columns(image="absent"))
    with pytest.raises(InputError, match=r"shape \(1, 2\)"):
        read_matlab(path, Columns(image="photos"))


def test_names_of_classes(tmp_path: Path) -> None:
    """Cells keep their spaces; rows of letters are filled up with them."""
    images, names = pixels(4, 5, 4), [" cat", "", "e\u0301", "a\nb"]
    cells: list[tuple[np.ndarray, list[str | None]]] = [
        (np.array(names, object), ["cat", None, "\u00e9", "a\\nb"]),
        (np.array(["cat", "", "dog", "owl"]), ["cat", None, "dog", "owl"]),
    ]
    for labels, expected in cells:
        content = matlab_bytes(images=np.moveaxis(images, 0, -1), Label=labels)
        source = read_matlab(write(tmp_path / "own.mat", content), Columns())
        assert [item.label for item in source.items()] == expected
        assert source.classes is None


def test_arrays_of_usual_names_that_fit_come_first(tmp_path: Path) -> None:
    images, labels = pixels(6, 5, 4), np.arange(6)
    stack = np.moveaxis(images, 0, -1)
    content = matlab_bytes(image=np.zeros(3), X=stack, label=np.zeros(2), Class=labels)
    source = read_matlab(write(tmp_path / "own.mat", content), Columns())
    assert_same(listed(source), images, labels, None)


def test_images_are_no_labels_whatever_their_name(tmp_path: Path) -> None:
    images = pixels(6, 5, 4)
    path = write(tmp_path / "own.mat", matlab_bytes(y=np.moveaxis(images, 0, -1)))
    assert_same(listed(read_matlab(path, Columns(image="y"))), images, None, None)


def test_what_the_system_refuses_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "own.mat", svhn_bytes(pixels(6, 8, 9, 3), labels_for(6)))
    source = read_matlab(path, Columns())
    told = rf"^cannot read {path} \({{}}\): check it$"

    def barred(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(builtins, "open", barred)
        with pytest.raises(InputError, match=told.format("Permission denied")):
            read_matlab(path, Columns())
    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", barred)  # once the headers are read
        with pytest.raises(InputError, match=told.format("Permission denied")):
            read_matlab(path, Columns())
    path.unlink()
    with pytest.raises(InputError, match=told.format("No such file or directory")):
        list(source.items())
    path.mkdir()
    with pytest.raises(InputError, match=told.format("Is a directory")):
        read_matlab(path, Columns())


def test_wrong_matlab_contents(tmp_path: Path) -> None:
    images = np.moveaxis(pixels(6, 5, 4, 3), 0, -1)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"Z": images, "W": images}, "no images"),
        ({"X": images.astype(object)}, "is cell of shape"),
        ({"X": np.moveaxis(images, -1, 0)}, r"shape \(6, 5, 4, 3\)"),
        ({"X": images[..., :0]}, "no images|shape"),
        ({"X": images, "y": np.arange(5)}, "6 images and y"),
        ({"X": images, "y": np.arange(6) + 0.5}, "no whole numbers"),
        ({"X": images, "y": np.full(6, np.nan)}, "no whole numbers"),
        ({"X": images, "y": np.full(6, np.inf)}, "no whole numbers"),
        ({"X": images, "y": np.array(["a", "b", "c", "d", "e", 6], object)}, "no whole"),
    ]
    for arrays, message in wrong:
        path = write(tmp_path / "own.mat", matlab_bytes(**arrays))
        with pytest.raises(InputError, match=message):
            read_matlab(path, Columns())


def test_matlab_7_3_says_how_to_save(tmp_path: Path) -> None:
    start = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    path = write(tmp_path / "own.mat", start + b"\x00" * 384 + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InputError, match=r"^\S+own\.mat is in MATLAB's format 7\.3: save it again"):
        read_matlab(path, Columns())


def test_a_header_that_promises_too_much(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    savemat(buffer, {"X": pixels(5, 4, 3, 2)}, do_compression=False)
    content = buffer.getvalue()
    shape = struct.pack("<4i", 5, 4, 3, 2)
    assert shape in content
    path = tmp_path / "own.mat"
    write(path, content.replace(shape, struct.pack("<4i", 30000, 30000, 3, 30000)))
    with pytest.raises(InputError, match="cannot have shape"):
        read_matlab(path, Columns())


@pytest.mark.parametrize("kind", [np.uint8, np.float64])
def test_one_hot_matrices_are_labels(tmp_path: Path, kind: type) -> None:
    """MATLAB's own tools keep a column an image."""
    images, labels = pixels(6, 5, 4), np.array([2, 0, 1, 2, 1, 0])
    for matrix in (np.eye(3, dtype=kind)[labels], np.eye(3, dtype=kind)[labels].T):
        content = matlab_bytes(X=np.moveaxis(images, 0, -1), y=matrix)
        source = read_matlab(write(tmp_path / "own.mat", content), Columns())
        assert_same(listed(source), images, labels, None)


def test_an_only_stack_may_have_any_name(tmp_path: Path) -> None:
    images = pixels(6, 5, 4)
    content = matlab_bytes(faces=np.moveaxis(images, 0, -1), ids=np.arange(3))
    source = read_matlab(write(tmp_path / "own.mat", content), Columns())
    assert_same(listed(source), images, None, None)


@pytest.mark.parametrize(
    ("shape", "labels", "count"),
    [((30, 8, 8), 0, 30), ((30, 8, 8), 30, 30), ((30, 8, 8), 8, 8), ((8, 8, 30), 0, 30),
     ((8, 8, 8), 0, 8), ((30, 8, 9), 0, 9)],
)  # fmt: skip
def test_images_first_as_users_of_scipy_save_them(
    tmp_path: Path, shape: tuple[int, ...], labels: int, count: int
) -> None:
    """Told by the two axes that are equal, unless labels are as many as the last one."""
    values = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    savemat(tmp_path / "a.mat", {"X": values} | ({"y": np.arange(labels) % 3} if labels else {}))
    source = read_matlab(tmp_path / "a.mat", Columns())
    found = np.stack([np.asarray(item.content) for item in source.items()])
    first = shape == (30, 8, 8) and count == 30
    np.testing.assert_array_equal(found, values if first else np.moveaxis(values, -1, 0))
    note = Note("images_first", {"name": "X", "shape": "30 × 8 × 8", "n": 30})
    assert source.count == count and (note in source.notes) is first
