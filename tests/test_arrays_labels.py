"""The labels of NumPy's files: whole numbers or names, by name or by part, and what is told."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.making import make_images
from triptych.data.sources import Columns, Source, arrays
from triptych.data.sources.arrays import read_arrays
from triptych.data.sources.metadata import labels_from
from triptych.errors import InputError
from triptych.records import Note

ANY = Columns()
IMAGES, LABELS = make_images(20, side=12)
GREY = IMAGES[..., 0]


def save(path: Path, **columns: Any) -> Path:
    np.savez(path, **columns)
    return path


def labels(source: Source) -> list[Any]:
    return [item.label for item in source.items()]


@pytest.mark.parametrize("key", ["labels", "label", "y", "targets", "Y", "Class", "digit"])
def test_labels(tmp_path: Path, key: str) -> None:
    path = tmp_path / "a.npz"
    names = [f"kind {label}" for label in LABELS]
    for cells, expected in (
        (LABELS.astype(np.uint8), LABELS.tolist()),
        (LABELS.astype(">i4")[:, None], LABELS.tolist()),
        (np.asfortranarray(LABELS[:, None]), LABELS.tolist()),
        (LABELS.astype(np.float32), LABELS.tolist()),
        (LABELS.astype(np.float64)[:, None], LABELS.tolist()),
        (LABELS > 2, [int(label > 2) for label in LABELS]),
        (np.array(names), names),
        (np.array([name.encode() for name in names]), names),
    ):
        found = labels(read_arrays(save(path, images=GREY, **{key: cells}), ANY))
        assert found == expected
        assert {type(label) for label in found} <= {int, str}
    assert labels(read_arrays(path, Columns(label="none"))) == [None] * 20


def test_label_columns_can_be_named(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", images=GREY, labels=LABELS, kind=LABELS[::-1])
    assert labels(read_arrays(path, Columns(label="kind"))) == LABELS[::-1].tolist()
    with pytest.raises(InputError, match=r"no array 'sort' in .*: there are images, labels, kind"):
        read_arrays(path, Columns(label="sort"))
    assert labels(read_arrays(save(path, images=GREY), ANY)) == [None] * 20


def test_labels_that_are_no_classes_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    broken = np.append(LABELS[:19].astype(float), np.inf)
    for cells in (
        LABELS / 2,
        broken,
        np.array(["a", None] * 10, dtype=object),
        np.full((20, 2), 0.5),
    ):
        path = save(tmp_path / "a.npz", images=GREY, y=cells)
        source = read_arrays(path, ANY)
        assert labels(source) == [None] * 20
        values = {"name": "y", "type": str(cells.dtype)}
        assert source.notes == (Note("labels_left_out", {**values}),)
        with pytest.raises(InputError, match=f"the labels 'y' of .* are {cells.dtype}"):
            read_arrays(path, Columns(label="y"))


def test_text_labels_are_tidy(tmp_path: Path) -> None:
    given = [" cat", "e\u0301", "a\nb", "", "  ", *["dog "] * 15]
    tidy = ["cat", "\u00e9", "a\\nb", None, None, *["dog"] * 15]
    for cells in (np.array(given), np.array([name.encode() for name in given])):
        path = save(tmp_path / "a.npz", images=GREY, labels=cells)
        assert labels(read_arrays(path, ANY)) == tidy
    path = save(
        path, x_train=GREY, y_train=np.array(given[3:] + ["x"] * 3), x_test=GREY[:1], y_test=["b"]
    )
    assert labels(read_arrays(path, ANY))[-2:] == ["x", "b"]  # names in both, the first is missing


def test_arrays_that_could_be_labels_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, GREY, LABELS, np.arange(3), LABELS / 2)
    assert read_arrays(path, ANY).notes == (Note("arrays_passed_over", {"arrays": "arr_1"}),)
    assert read_arrays(path, Columns(label="none")).notes == ()
    named = read_arrays(path, Columns(label="arr_1"))
    assert labels(named) == LABELS.tolist() and named.notes == (labels_from("arr_1", "a.npz"),)
    save(path, images=GREY, kind=LABELS[:, None].astype(str), sort=LABELS)
    assert read_arrays(path, ANY).notes == (Note("arrays_passed_over", {"arrays": "kind, sort"}),)
    read = read_arrays(save(path, images=GREY, ids=LABELS, y=LABELS), ANY)
    assert read.notes == (labels_from("y", "a.npz"),)
    halves = {"x_train": GREY[:10], "x_test": GREY[10:], "y_train": LABELS[:10]}
    codes = [note.code for note in read_arrays(save(path, **halves), ANY).notes]
    assert "arrays_passed_over" not in codes  # y_train is as long, but in use


def test_labels_that_fit_come_before_others_of_usual_names(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", images=GREY, label=np.array(["a", "b"]), y=LABELS)
    assert labels(read_arrays(path, ANY)) == LABELS.tolist()


def test_labels_saved_behind_the_images_of_a_npy(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for second, found, notes in (
        (LABELS, LABELS.tolist(), (labels_from("labels", "a.npy"),)),
        (GREY[:9], [None] * 20, (Note("stacks_passed_over", {"arrays": "second"}),)),
        (LABELS[:9], [None] * 20, (Note("stacks_passed_over", {"arrays": "second"}),)),
    ):
        with path.open("wb") as file:
            np.save(file, IMAGES)
            np.save(file, second)
        source = read_arrays(path, ANY)
        items = list(source.items())
        np.testing.assert_array_equal(np.stack([item.content for item in items]), IMAGES)
        assert [item.label for item in items] == found and source.notes == notes


def test_names_of_classes_can_be_shown_and_are_one_each(tmp_path: Path) -> None:
    """A stranger's may steer the terminal."""
    names = np.array(["a\x1b[2J", "b\nc", "d", "e", "f"])
    source = read_arrays(save(tmp_path / "a.npz", x=GREY, y=LABELS, classes=names), ANY)
    assert source.classes == ("a\\x1b[2J", "b\\nc", "d", "e", "f")


def test_many_arrays_are_read_and_named_in_reasonable_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive is opened once, and a message does not list an array for each image."""
    opened: list[Path] = []

    class Counted(zipfile.ZipFile):
        def __init__(self, path: Path) -> None:
            opened.append(path)
            super().__init__(path)

    path = save(tmp_path / "a.npz", **{f"img{n:03}": GREY for n in range(99)})
    monkeypatch.setattr(arrays.zipfile, "ZipFile", Counted)
    with pytest.raises(InputError, match=r"img000, .*, img019, \+79$"):
        read_arrays(path, ANY)
    assert len(opened) == 1


def test_parts_without_labels_are_said(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", x_train=GREY[:9], y_train=LABELS[:9], x_test=GREY[9:])
    source = read_arrays(path, ANY)
    assert labels(source) == LABELS[:9].tolist() + [None] * 11
    assert Note("stacks_without_labels", {"arrays": "x_test"}) in source.notes
    assert labels_from("y_train", "a.npz") in source.notes
    names = np.array(["a"] * 11)
    path = save(path, x_train=GREY[:9], y_train=LABELS[:9], x_test=GREY[9:], y_test=names)
    with pytest.raises(InputError, match="labels of several kinds"):
        read_arrays(path, ANY)


@pytest.mark.parametrize("shape", [(19,), (20, 3), (1, 20), ()])
def test_labels_of_another_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = save(tmp_path / "a.npz", images=GREY, labels=np.zeros(shape, int))
    with pytest.raises(InputError, match=r"20 images and labels of shape .*--label-column none"):
        read_arrays(path, ANY)
    assert labels(read_arrays(path, Columns(label="none"))) == [None] * 20
