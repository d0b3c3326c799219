"""Every source gives the same images with the right labels, and the parts never mix."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.making import (
    CLASSES,
    encode,
    labels_in,
    make_images,
    numbers_in,
    write_folder,
    write_npz,
    write_parquet,
)
from triptych.data import ingest, street_digits
from triptych.data.dataset import ImageData, Part
from triptych.data.describe import contact_sheet, contact_sheet_path, summarize
from triptych.data.open import open_images
from triptych.errors import InputError
from triptych.options import DataOptions
from triptych.records import Note

SMALL = DataOptions(resolution=16)
PARTS = ("train", "validation", "test")


def opened(path: Path, **options: Any) -> ImageData:
    return open_images(str(path), DataOptions(resolution=16, **options))


def parts_of(data: ImageData) -> dict[str, Part]:
    return {name: getattr(data, name) for name in PARTS}


def members(data: ImageData) -> dict[str, set[int]]:
    """The numbers of the images in each part."""
    return {name: set(numbers_in(part.images)) for name, part in parts_of(data).items()}


def check_whole(data: ImageData, images: np.ndarray, labels: np.ndarray | None) -> None:
    """Every image is there once, unchanged, with its own label."""
    expected = images if images.ndim == 4 else images[..., None]
    found = torch.cat([part.images for part in parts_of(data).values()])
    numbers = numbers_in(found)
    assert sorted(numbers) == list(range(len(images)))
    np.testing.assert_array_equal(found.permute(0, 2, 3, 1).numpy(), expected[numbers])
    if labels is None:
        assert data.classes is None
        assert all(part.labels is None for part in parts_of(data).values())
        return
    of_parts = torch.cat([p.labels for p in parts_of(data).values() if p.labels is not None])
    assert of_parts.tolist() == labels[numbers].tolist() == labels_in(found).tolist()


# Sources


@pytest.mark.parametrize("labeled", [False, True])
def test_folder(tmp_path: Path, labeled: bool) -> None:
    images, labels = make_images(120)
    given = labels if labeled else None
    data = opened(write_folder(tmp_path / "photos.v2", images, given))
    check_whole(data, images, given)
    assert data.name == "photos.v2"
    assert data.shape.size == (3, 16, 16)
    if labeled:
        assert data.classes == tuple(f"class-{k}" for k in range(CLASSES))


def test_folder_with_parts(tmp_path: Path) -> None:
    images, labels = make_images(160)
    rows_of = {"train": range(100), "val": range(100, 120), "Test": range(120, 160)}
    for name, rows in rows_of.items():
        write_folder(tmp_path / name, images[rows], labels[rows])
    data = opened(tmp_path)
    check_whole(data, images, labels)
    assert members(data) == {
        "train": set(range(100)),
        "validation": set(range(100, 120)),
        "test": set(range(120, 160)),
    }


def test_images_beside_class_folders_mean_no_labels(tmp_path: Path) -> None:
    images, labels = make_images(60)
    write_folder(tmp_path, images[:50], labels[:50])
    write_folder(tmp_path, images[50:])
    check_whole(opened(tmp_path), images, None)


def test_labels_can_be_left_out_of_every_source(tmp_path: Path) -> None:
    images, labels = make_images(60)
    for path in (
        write_folder(tmp_path / "a", images, labels),
        write_npz(tmp_path / "a.npz", images, labels),
        write_parquet(tmp_path / "a.parquet", images, labels),
    ):
        check_whole(opened(path, label_column="none"), images, None)


def test_hidden_foreign_and_broken_files_are_passed_over(tmp_path: Path) -> None:
    images, _ = make_images(60)
    write_folder(tmp_path, images)
    (tmp_path / ".hidden.png").write_bytes(encode(images[0]))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "folder.png").mkdir()
    check_whole(opened(tmp_path), images, None)


@pytest.mark.parametrize("struct", [False, True])
def test_parquet(tmp_path: Path, struct: bool) -> None:
    images, labels = make_images(120)
    names = ["ant", "bee", "cat", "dog", "eel"]
    path = write_parquet(tmp_path / "a.parquet", images, labels, struct=struct, names=names)
    data = opened(path)
    check_whole(data, images, labels)
    assert data.classes == tuple(names)


def test_parquet_folder_with_parts(tmp_path: Path) -> None:
    images, labels = make_images(150)
    pieces = {
        "train-00000-of-00002": range(50),
        "train-00001-of-00002": range(50, 100),
        "test-00000-of-00001": range(100, 150),
    }
    for name, rows in pieces.items():
        write_parquet(tmp_path / "zoo" / f"{name}.parquet", images[rows], labels[rows])
    data = opened(tmp_path / "zoo")
    check_whole(data, images, labels)
    assert members(data)["test"] == set(range(100, 150))
    assert data.name == "zoo"
    one = opened(tmp_path / "zoo" / "train-00000-of-00002.parquet")
    assert one.name == "zoo" and len(one.test) > 0  # alone, the file is not the training part only


def test_parquet_columns_can_be_named(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    images, labels = make_images(60)
    columns = {"photo": [encode(i) for i in images], "kind": labels.tolist(), "n": [0] * 60}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    data = opened(tmp_path / "a.parquet", image_column="photo", label_column="kind")
    check_whole(data, images, labels)
    for wrong in ({"image_column": "picture"}, {"image_column": "n"}):
        with pytest.raises(InputError, match=r"column .*(photo|image-column)"):
            opened(tmp_path / "a.parquet", **wrong)


@pytest.mark.parametrize("layout", ["NHW", "NHWC", "NCHW"])
@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_arrays(tmp_path: Path, layout: str, suffix: str) -> None:
    images, labels = make_images(120, channels=1 if layout == "NHW" else 3)
    if layout == "NHW":
        images = images[..., 0]
    elif layout == "NHWC":
        images = images.copy()
        images[..., 1:, 1] //= 2  # channels that differ, so that their order shows
        images[..., 1:, 2] //= 3
    written = np.moveaxis(images, -1, 1) if layout == "NCHW" else images
    path = tmp_path / f"a{suffix}"
    if suffix == ".npz":
        write_npz(path, written, labels)
    else:
        np.save(path, written)
    check_whole(opened(path), images, labels if suffix == ".npz" else None)


def test_colours_keep_their_order(tmp_path: Path) -> None:
    images, _ = make_images(60)
    images[:, 8] = (200, 100, 50)
    stacked = write_npz(tmp_path / "a.npz", images)
    first = np.moveaxis(images, -1, 1)
    for path in (
        write_folder(tmp_path / "folder", images),
        write_parquet(tmp_path / "a.parquet", images, None),
        stacked,
        write_npz(tmp_path / "b.npz", first),
    ):
        row = opened(path).train.images[:, :, 8]
        assert (row == torch.tensor([200, 100, 50])[None, :, None]).all(), path


# Channels


def test_grey_stays_one_channel_and_mixed_becomes_three(tmp_path: Path) -> None:
    grey, _ = make_images(60, channels=1)
    as_colour = np.repeat(grey, 3, axis=-1)
    check_whole(opened(write_folder(tmp_path / "grey", grey)), grey, None)
    check_whole(opened(write_folder(tmp_path / "rgb", as_colour)), grey, None)
    mixed = as_colour.copy()
    mixed[7, 9, 9] = (1, 2, 3)
    write_folder(tmp_path / "mixed", grey[:7])
    write_folder(tmp_path / "mixed", mixed[7:], prefix="x")
    check_whole(opened(tmp_path / "mixed"), mixed, None)


# Parts


def test_parts_do_not_depend_on_names_order_or_other_files(tmp_path: Path) -> None:
    images, labels = make_images(300)
    before = opened(write_folder(tmp_path / "a", images, labels))
    turned = opened(write_folder(tmp_path / "b", images[::-1], labels[::-1], prefix="other"))
    assert members(before) == members(turned)
    assert before.fingerprint == turned.fingerprint
    more, more_labels = make_images(100, start=300)
    write_folder(tmp_path / "a", more, more_labels, prefix="added")
    after = members(opened(tmp_path / "a"))
    for name, kept in members(before).items():
        assert kept <= after[name]


def test_parts_are_the_same_at_every_resolution(tmp_path: Path) -> None:
    """Every image has a label of its own, which tells them apart at any size."""
    images, _ = make_images(120, side=40)
    path = write_npz(tmp_path / "a.npz", images, np.arange(120))

    def labels_of(resolution: int) -> list[list[int]]:
        data = open_images(str(path), DataOptions(resolution=resolution))
        parts = parts_of(data).values()
        return [part.labels.tolist() for part in parts if part.labels is not None]

    assert labels_of(16) == labels_of(32) == labels_of(64)
    assert all(map(len, labels_of(16)))


def test_no_image_is_in_two_parts(tmp_path: Path) -> None:
    images, _ = make_images(150)
    write_folder(tmp_path / "a", images)
    write_folder(tmp_path / "a", images, prefix="copy")
    data = opened(tmp_path / "a")
    found = list(members(data).values())
    assert len(set.union(*found)) == sum(map(len, found)) == 150
    assert Note("copies", {"n": 150}) in data.notes


def test_copies_that_cross_leave_the_test_side(tmp_path: Path) -> None:
    images, labels = make_images(160)
    write_folder(tmp_path / "train", images[:100], labels[:100])
    write_folder(tmp_path / "validation", images[95:120], labels[95:120])
    write_folder(tmp_path / "test", images[90:], labels[90:])
    data = opened(tmp_path)
    assert members(data) == {
        "train": set(range(100)),
        "validation": set(range(100, 120)),
        "test": set(range(120, 160)),
    }
    assert Note("copies_left_out", {"n": 35}) in data.notes


def test_the_first_images_are_of_every_class(tmp_path: Path) -> None:
    images, labels = make_images(300)
    data = opened(write_folder(tmp_path, images, labels))
    assert data.train.labels is not None
    assert len(data.train.labels[:40].unique()) == CLASSES


# Fingerprint and store


def test_the_fingerprint_follows_what_is_in_the_set(tmp_path: Path) -> None:
    images, labels = make_images(100)
    first = opened(write_npz(tmp_path / "a.npz", images, labels)).fingerprint
    assert opened(write_npz(tmp_path / "b.npz", images, labels)).fingerprint == first
    assert opened(write_npz(tmp_path / "c.npz", images, labels[::-1])).fingerprint != first
    images[50, 9, 9, 1] ^= 1
    assert opened(write_npz(tmp_path / "d.npz", images, labels)).fingerprint != first


def test_the_second_opening_decodes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = make_images(100)
    path = write_folder(tmp_path / "a", images, labels)
    first = opened(path)

    def refuse(content: object) -> np.ndarray:
        raise AssertionError("decoded again")

    monkeypatch.setattr(ingest, "read_pictures", refuse)
    second = opened(path)
    assert second.fingerprint == first.fingerprint
    check_whole(second, images, labels)
    with pytest.raises(AssertionError, match="decoded again"):
        opened(path, fit="crop")  # other settings are another entry
    monkeypatch.undo()
    changed = images[3].copy()
    changed[5, 5] ^= 255
    file = path / f"class-{labels[3]}" / "0003.png"
    before = file.stat().st_mtime_ns
    file.write_bytes(encode(changed))
    os.utime(file, ns=(before + 10**9, before + 10**9))
    third = opened(path)
    assert third.fingerprint != first.fingerprint
    images[3] = changed
    check_whole(third, images, labels)


# Facts


def test_summary_counts_and_averages(tmp_path: Path) -> None:
    images, labels = make_images(200)
    data = opened(write_npz(tmp_path / "a.npz", images, labels))
    found = summarize(data).to_json()
    assert found["histogram"] == {str(k): int((labels == k).sum()) for k in range(CLASSES)}
    pixels = data.train.images.double() / 255
    np.testing.assert_allclose(found["mean"], pixels.mean((0, 2, 3)), atol=1e-4)
    np.testing.assert_allclose(found["deviation"], pixels.std((0, 2, 3)), atol=1e-3)
    assert found["train"] + found["validation"] + found["test"] == 200
    assert found["measured"] == len(data.train)
    assert (found["files"], found["bad"], found["copies"]) == (200, (), 0)


def test_the_contact_sheet_has_a_row_a_class(tmp_path: Path) -> None:
    images, labels = make_images(200)
    sheet = contact_sheet(opened(write_npz(tmp_path / "a.npz", images, labels))).pixels
    assert sheet.shape == (3, CLASSES * 66 - 2, 12 * 66 - 2)  # four times as large, for the eye
    for label in range(CLASSES):
        corners = sheet[0, label * 66, ::66]
        assert corners.tolist() == [40 * label] * 12
    unlabeled = contact_sheet(opened(write_npz(tmp_path / "b.npz", images))).pixels
    assert unlabeled.shape == (3, 12 * 66 - 2, 12 * 66 - 2)


def test_what_we_wrote_ourselves_is_no_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    """Who stands in the folder of images and trains there gets runs among the images."""
    images, labels = make_images(100)
    write_folder(tmp_path, images, labels)
    before = opened(tmp_path)
    for name, mark in (("run", "run.json"), ("comparison", "contract.json")):
        write_folder(tmp_path / "runs" / name / "samples", images[:9] // 2)
        (tmp_path / "runs" / name / mark).touch()
    assert opened(tmp_path).fingerprint == before.fingerprint
    assert contact_sheet_path(before) == Path("runs") / f"data-{tmp_path.name}.png"
    monkeypatch.chdir(tmp_path / "class-1")
    assert contact_sheet_path(before).is_relative_to(own_cache)


def test_street_digits_have_parts_of_their_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(street_digits, "COUNTS", {"train": 60, "test": 30})
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))  # others are to find the whole set
    data = open_images("street-digits", SMALL)
    assert data.shape.size == (3, 16, 16)
    assert len(data.test) == 30
    assert len(data.train) + len(data.validation) == 60
    assert data.classes == tuple("0123456789")
    assert data.name == "street-digits"
    without = open_images("street-digits", dataclasses.replace(SMALL, label_column="none"))
    assert without.classes is None


def test_real_meter_digits(shared_data: Path) -> None:
    source = shared_data / "meterdigits" / "train-00000-of-00001.parquet"
    if not source.is_file():
        pytest.skip("the meter digits are not present")
    data = opened(source)
    assert data.name == "meterdigits"
    assert sum(map(len, parts_of(data).values())) == 5590
    assert data.classes is not None and len(data.classes) == 10
    assert data.shape.channels == 3
