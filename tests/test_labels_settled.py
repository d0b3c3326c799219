"""Missing and useless labels, the order of classes, and parts of small sets, from file to set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.making import (
    encode,
    make_images,
    numbers_in,
    write_folder,
    write_npz,
    write_parquet,
)
from triptych.data import street_digits
from triptych.data.dataset import ImageData
from triptych.data.open import open_images
from triptych.errors import InputError
from triptych.options import DataOptions


def opened(path: Path, **options: Any) -> ImageData:
    return open_images(str(path), DataOptions(resolution=16, **options))


def codes(data: ImageData) -> dict[str, dict[str, Any]]:
    return {note.code: dict(note.values) for note in data.notes}


def write(folder: Path, images: np.ndarray, start: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images, start):
        (folder / f"{number}.png").write_bytes(encode(image))
    return folder


def sizes(data: ImageData) -> tuple[int, int, int]:
    return len(data.train), len(data.validation), len(data.test)


# Missing labels


def test_unlabelled_test_images_leave_the_labels_and_are_not_trained_on(tmp_path: Path) -> None:
    """Kaggle's sets: classes in train, a heap of test images."""
    images, _ = make_images(90)
    write(tmp_path / "train/cat", images[:30])
    write(tmp_path / "train/dog", images[30:60])
    heap = write(tmp_path / "test", images[60:])
    data = opened(tmp_path)
    assert data.classes == ("cat", "dog") and sum(sizes(data)) == 60
    assert codes(data)["unlabeled_part_left_out"] == {"part": "test", "n": 30}
    assert data.ingested and data.ingested.given_parts == ("train",)  # test is picked
    bare = opened(tmp_path, label_column="none")
    assert bare.classes is None and len(bare.test) == 30
    assert {image.numpy().tobytes() for image in bare.test.images} == {
        image.numpy().tobytes() for image in opened(heap.parent, label_column="none").test.images
    }
    assert not {i.numpy().tobytes() for i in data.train.images} & {
        i.numpy().tobytes() for i in bare.test.images
    }


def test_unlabelled_rows_of_a_test_file_are_the_same(tmp_path: Path) -> None:
    images, labels = make_images(90)
    names = ["ant", "bee", "cat", "dog", "eel"]
    write_parquet(tmp_path / "train.parquet", images[:60], labels[:60], names=names)
    write_parquet(tmp_path / "test.parquet", images[60:], np.full(30, -1), names=names)
    data = opened(tmp_path)
    assert data.classes == tuple(names) and sum(sizes(data)) == 60
    assert data.train.labels is not None and int(data.train.labels.min()) == 0


def test_a_few_images_without_a_label_are_left_out_and_many_drop_all(tmp_path: Path) -> None:
    images, _ = make_images(100)
    write(tmp_path / "cat", images[:48])
    write(tmp_path / "dog", images[48:96])
    write(tmp_path, images[96:99])
    data = opened(tmp_path)
    assert data.classes == ("cat", "dog") and sum(sizes(data)) == 96
    values = {"n": 3, "images": 99, "first": "0.png"}
    assert codes(data)["unlabeled_left_out"] == values
    write(tmp_path, images[96:], start=50)
    write(tmp_path, images[:3] // 2, start=60)
    many = opened(tmp_path)
    assert many.classes is None
    assert codes(many)["images_without_label"] == {"n": 10, "images": 106, "first": "0.png"}


def test_one_class_is_no_label(tmp_path: Path) -> None:
    images, _ = make_images(40)
    write(tmp_path / "train/images", images[:30])
    write(tmp_path / "valid/images", images[30:])
    data = opened(tmp_path)
    assert data.classes is None and sizes(data)[1] == 10
    assert codes(data)["one_folder"] == {"name": "images"}
    same = opened(write_npz(tmp_path / "a.npz", images, np.full(40, 7)))
    assert same.classes is None and codes(same)["one_class"] == {"name": "7"}
    names = ["ant", "bee"]
    path = write_parquet_of(tmp_path / "b.parquet", images, np.ones(40, int), names)
    assert codes(opened(path))["one_class"] == {"name": "bee"}


def write_parquet_of(path: Path, images: np.ndarray, labels: Any, names: list[str]) -> Path:
    write_parquet(path, images, labels, names=names)
    return path


def test_a_column_of_a_table_may_name_the_part(tmp_path: Path) -> None:
    images, labels = make_images(60)
    parts = np.array(["train"] * 40 + ["test"] * 15 + ["unused"] * 5)
    cells = [encode(image) for image in images]
    split = pa.table({"image": cells, "label": labels, "split": parts.tolist()})
    pq.write_table(split, tmp_path / "a.parquet")
    table = opened(tmp_path / "a.parquet")
    assert len(table.train) + len(table.validation) == 40 and len(table.test) == 15
    assert codes(table)["parts_from_column_some"]["n"] == 5
    assert set(numbers_in(table.test.images)) == set(range(40, 55))
    np.savez(tmp_path / "b.npz", images=images, labels=labels, split=parts[:55].repeat(1))
    with_fewer = opened(tmp_path / "b.npz")  # one too few for the images: it is another thing
    assert "parts_from_column" not in codes(with_fewer)
    np.savez(tmp_path / "c.npz", images=images[:55], labels=labels[:55], split=parts[:55])
    arrays = opened(tmp_path / "c.npz")
    assert set(numbers_in(arrays.test.images)) == set(range(40, 55))
    assert codes(arrays)["parts_from_column"] == {"name": "split", "table": "c.npz"}


def test_what_was_left_out_is_told_where_too_little_is_left(tmp_path: Path) -> None:
    images, _ = make_images(60)
    write(tmp_path / "train", images[:10])
    write(tmp_path / "test", images[10:15])
    write(tmp_path / "extra", images[15:])
    with pytest.raises(InputError, match=r"15 readable images in .* \(.*extra \(45\)\): give at"):
        opened(tmp_path)


# The order of classes


def test_class_names_that_are_numbers_come_in_their_order(tmp_path: Path) -> None:
    images, _ = make_images(60)
    for number, name in enumerate(("10", "9", "1", "100", "other")):
        write(tmp_path / name, images[12 * number : 12 * number + 12])
    assert opened(tmp_path).classes == ("1", "9", "10", "100", "other")


def test_classes_of_samples_come_back(tmp_path: Path) -> None:
    images, labels = make_images(60)
    names = np.array(["ant", "bee", "cat", "dog", "eel", "fly"])
    np.savez(tmp_path / "a.npz", images=images, labels=labels, classes=names)
    data = opened(tmp_path / "a.npz")
    assert data.classes == tuple(names) and data.train.labels is not None
    for image, label in zip(data.train.images, data.train.labels, strict=True):
        assert int(image[0, 0, 0]) // 40 == int(label)
    twice = np.array(["ant", "bee", "bee", "dog", "eel"])
    np.savez(tmp_path / "c.npz", images=images, labels=labels, classes=twice)
    with pytest.raises(InputError, match="two classes of c are called 'bee': give each a name"):
        opened(tmp_path / "c.npz")
    np.savez(tmp_path / "b.npz", images=images, labels=labels, classes=names[:3])  # too few
    assert opened(tmp_path / "b.npz").classes == ("0", "1", "2", "3", "4")


def test_one_hot_matrices_are_labels(tmp_path: Path) -> None:
    images, labels = make_images(60)
    for kind in (np.uint8, np.float32, bool):
        for order in "CF":
            hot = np.asarray(np.eye(5, dtype=kind)[labels], order=order)
            np.savez(tmp_path / "a.npz", x=images, y=hot)
            data = opened(tmp_path / "a.npz")
            assert data.train.labels is not None
            for image, label in zip(data.train.images, data.train.labels, strict=True):
                assert int(image[0, 0, 0]) // 40 == int(label)


# Small sets


@pytest.mark.parametrize("seed", range(40))
def test_twenty_images_are_always_enough(tmp_path: Path, seed: int) -> None:
    """Whatever their digests are, each part has images, and three to be measured on."""
    images, labels = make_images(20, seed=seed)
    data = opened(write_npz(tmp_path / "a.npz", images, labels))
    train, validation, test = sizes(data)
    assert validation >= 3 and test >= 3 and train >= 10 and train + validation + test == 20


def test_messages_count_different_images(tmp_path: Path) -> None:
    images, _ = make_images(20)
    many = np.concatenate([images[:19]] * 4 + [images[:4]])
    wrong = r"19 different among 80 readable images in .* are too few: give at least 20 that differ"
    with pytest.raises(InputError, match=wrong):
        opened(write_npz(tmp_path / "a.npz", many))
    assert sum(sizes(opened(write_npz(tmp_path / "b.npz", np.concatenate([images] * 4))))) == 80
    with pytest.raises(InputError, match=r"19 readable images in .*are too few: give at least 20$"):
        opened(write_npz(tmp_path / "c.npz", images[:19]))


def test_a_small_given_training_part_gives_a_validation_part(tmp_path: Path) -> None:
    images, _ = make_images(60)
    write_folder(tmp_path / "train", images[:8])
    write_folder(tmp_path / "test", images[8:])
    assert sizes(opened(tmp_path)) == (7, 1, 52)


def test_a_folder_called_like_a_named_set_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(street_digits, "COUNTS", {"train": 60, "test": 30})
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))  # others find the whole set
    monkeypatch.chdir(tmp_path)
    (tmp_path / "street-digits").mkdir()
    data = open_images("street-digits")
    values = {"name": "street-digits", "path": "./street-digits"}
    assert codes(data)["folder_named_alike"] == values
    (tmp_path / "street-digits").rmdir()
    again = open_images("street-digits")
    assert "folder_named_alike" not in codes(again)
