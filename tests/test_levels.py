"""Which level of folders is the part and which the class: folders as their owners mean them."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path
from types import FrameType

import pytest

from tests.test_folder import fill, told
from triptych.data.sources import NO_LABELS, Columns, Source
from triptych.data.sources.folder import read_folder
from triptych.data.sources.levels import common_top, find_levels, part_word

TRAIN, TEST, VALIDATION = "train", "test", "validation"
Told = tuple[str | None, str | None]  # part, class
LEFT_OUT: Told = ("", "")

# What a folder holds, and what its owner means by it
LAYOUTS: dict[str, dict[str, Told]] = {
    "as ImageFolder has it": {
        "cat/batch1/1.png": (None, "cat"),
        "cat/batch2/1.png": (None, "cat"),
        "dog/batch1/1.png": (None, "dog"),
        "dog/batch2/1.png": (None, "dog"),
    },
    "pictures at several depths": {
        "cat/1.png": (None, "cat"),
        "cat/more/2.png": (None, "cat"),
        "dog/a/b/c/3.png": (None, "dog"),
    },
    "valid is a class": {"valid/1.png": (None, "valid"), "invalid/2.png": (None, "invalid")},
    "test is a class": {"control/1.png": (None, "control"), "test/2.png": (None, "test")},
    "train is a class": {
        "train/1.png": (None, "train"),
        "bus/2.png": (None, "bus"),
        "car/3.png": (None, "car"),
    },
    "classes named like parts inside parts": {
        "train/train/1.png": (TRAIN, "train"),
        "train/bus/2.png": (TRAIN, "bus"),
        "test/train/3.png": (TEST, "train"),
        "test/bus/4.png": (TEST, "bus"),
    },
    "control and test inside parts": {
        "train/control/1.png": (TRAIN, "control"),
        "train/test/2.png": (TRAIN, "test"),
        "val/control/3.png": (VALIDATION, "control"),
        "val/test/4.png": (VALIDATION, "test"),
    },
    "parts below the class": {
        "cat/train/1.png": (TRAIN, "cat"),
        "cat/test/2.png": (TEST, "cat"),
        "dog/train/3.png": (TRAIN, "dog"),
        "dog/test/4.png": (TEST, "dog"),
    },
    "a class with one of the parts below it": {
        "cat/train/1.png": (TRAIN, "cat"),
        "cat/test/2.png": (TEST, "cat"),
        "dog/train/3.png": (TRAIN, "dog"),
        "owl/Test/4.png": (TEST, "owl"),
    },
    "no class with both parts": {
        "cat/train/1.png": (TRAIN, "cat"),
        "dog/test/2.png": (TEST, None),  # a class that no training image has
        "owl/train/3.png": (TRAIN, "owl"),
    },
    "training_set": {
        "training_set/cats/1.png": (TRAIN, "cats"),
        "training_set/dogs/2.png": (TRAIN, "dogs"),
        "test_set/cats/3.png": (TEST, "cats"),
    },
    "trainset, TestSet, val2": {
        "trainset/cats/1.png": (TRAIN, "cats"),
        "trainset/dogs/1.png": (TRAIN, "dogs"),
        "TestSet/cats/1.png": (TEST, "cats"),
        "val2/dogs/1.png": (VALIDATION, "dogs"),
    },
    "digits-train": {
        "digits-train/1/1.png": (TRAIN, "1"),
        "digits-train/2/1.png": (TRAIN, "2"),
        "digits-test/1/1.png": (TEST, "1"),
    },
    "train_cleaned beside test": {
        "train_cleaned/1/1.png": (TRAIN, "1"),
        "train_cleaned/2/1.png": (TRAIN, "2"),
        "test/1/1.png": (TEST, "1"),
    },
    "words that hold a part's name": {
        "train_station/1.png": (None, "train_station"),
        "test_tube/2.png": (None, "test_tube"),
        "trains/3.png": (None, "trains"),
        "contest/4.png": (None, "contest"),
    },
    "a valid beside a test, with no train": {
        "control_test/1.png": (None, "control_test"),
        "valid/2.png": (None, "valid"),
    },
    "Carvana's masks": {
        "train/1.png": (TRAIN, None),
        "train_masks/1.png": LEFT_OUT,
        "test/2.png": (TEST, None),
    },
    "masks of each part": {
        "TrainImages/1.png": (TRAIN, None),
        "TrainMasks/1.png": LEFT_OUT,
        "TestImages/2.png": (TEST, None),
        "TestMasks/2.png": LEFT_OUT,
    },
    "parts of other names each": {
        "clean_train/cat/1.png": (TRAIN, "cat"),
        "clean_train/dog/2.png": (TRAIN, "dog"),
        "noisy_test/cat/3.png": (TEST, "cat"),
    },
    "words glued together": {
        "Xtrain/cat/1.png": (TRAIN, "cat"),
        "Xtrain/dog/2.png": (TRAIN, "dog"),
        "Xtest/cat/3.png": (TEST, "cat"),
    },
    "one class with parts, one without": {
        "cat/train/1.png": (TRAIN, "cat"),
        "cat/test/2.png": (TEST, "cat"),
        "dog/3.png": (None, "dog"),
    },
    "a class whose test part is missing": {
        "cat_train/1.png": (TRAIN, "cat"),
        "cat_test/2.png": (TEST, "cat"),
        "dog_train/3.png": (TRAIN, "dog"),
    },
    "classes for training, a heap to test": {
        "cat_train/1.png": (TRAIN, "cat"),
        "dog_train/2.png": (TRAIN, "dog"),
        "test/3.png": (TEST, None),
    },
    "a test folder with its neighbours' names": {
        "cat/1.png": (None, "cat"),
        "dog/2.png": (None, "dog"),
        "test/cat/3.png": (TEST, "cat"),
        "test/dog/4.png": (TEST, "dog"),
    },
    "a test folder inside of train": {
        "train/cat/1.png": (None, "cat"),
        "train/dog/2.png": (None, "dog"),
        "train/test/cat/3.png": (TEST, "cat"),
        "train/test/dog/4.png": (TEST, "dog"),
    },
    "images beside test": {"images/1.png": (None, None), "test/2.png": (TEST, None)},
    "masks and more beside images": {
        "training/images/1.png": (TRAIN, None),
        "training/mask/1.png": LEFT_OUT,
        "training/1st_manual/1.png": LEFT_OUT,
        "test/images/2.png": (TEST, None),
        "test/mask/2.png": LEFT_OUT,
    },
    "masks below their images": {"1.png": (None, None), "masks/1.png": LEFT_OUT},
    "FFHQ's folders": {
        **{f"00000/{n:05}.png": (None, None) for n in range(3)},
        **{f"01000/{n:05}.png": (None, None) for n in range(1000, 1003)},
        **{f"02000/{n:05}.png": (None, None) for n in range(2000, 2003)},
    },
    "two domains, as CycleGAN has them": {
        "trainA/1.png": (TRAIN, "a"),
        "trainB/2.png": (TRAIN, "b"),
        "testA/3.png": (TEST, "a"),
        "testB/4.png": (TEST, "b"),
    },
    "Intel's scenes": {
        "seg_train/seg_train/sea/1.png": (TRAIN, "sea"),
        "seg_train/seg_train/street/1.png": (TRAIN, "street"),
        "seg_test/seg_test/sea/2.png": (TEST, "sea"),
        "seg_pred/seg_pred/3.png": LEFT_OUT,
    },
    "Tiny ImageNet": {
        "train/n01/images/1.png": (TRAIN, "n01"),
        "train/n02/images/2.png": (TRAIN, "n02"),
        "val/images/3.png": (VALIDATION, None),
        "test/images/4.png": (TEST, None),
    },
    "birds with segmentations": {
        "images/001.Albatross/1.png": (None, "001.Albatross"),
        "images/002.Auklet/2.png": (None, "002.Auklet"),
        "segmentations/001.Albatross/1.png": LEFT_OUT,
        "segmentations/002.Auklet/2.png": LEFT_OUT,
    },
    "images and masks above the parts": {
        "images/train/1.png": (TRAIN, None),
        "masks/train/1.png": LEFT_OUT,
        "images/test/2.png": (TEST, None),
        "masks/test/2.png": LEFT_OUT,
    },
    "X-rays packed twice": {
        "train/NORMAL/1.png": (TRAIN, "NORMAL"),
        "train/PNEUMONIA/2.png": (TRAIN, "PNEUMONIA"),
        "test/NORMAL/3.png": (TEST, "NORMAL"),
        "chest_xray/train/NORMAL/1.png": LEFT_OUT,
    },
    "parts doubled": {
        "x_train/x_train/cat/1.png": (TRAIN, "cat"),
        "x_train/x_train/dog/2.png": (TRAIN, "dog"),
        "x_test/x_test/cat/3.png": (TEST, "cat"),
    },
    "parts doubled, without classes": {
        "x_train/x_train/1.png": (TRAIN, None),
        "x_test/x_test/3.png": (TEST, None),
    },
    "parts inside of parts": {
        "data/train/train/a/1.png": (TRAIN, "a"),
        "data/train/val/a/2.png": (VALIDATION, "a"),
        "data/train/train/b/3.png": (TRAIN, "b"),
        "data/test/a/4.png": (TEST, "a"),
    },
    "Kaggle's heap of test images": {
        "train/cat/1.png": (TRAIN, "cat"),
        "train/dog/2.png": (TRAIN, "dog"),
        "test/1.png": (TEST, None),
        "test/2.png": (TEST, None),
    },
    "Kaggle's heap in a folder of its own": {
        "train/cat/1.png": (TRAIN, "cat"),
        "train/dog/2.png": (TRAIN, "dog"),
        "test/unknown/1.png": (TEST, None),
    },
    "test images in folders that are no classes": {
        "train/cat/1.png": (TRAIN, "cat"),
        "train/dog/2.png": (TRAIN, "dog"),
        "test/001/1.png": (TEST, None),
        "test/002/1.png": (TEST, None),
    },
    "a heap of test images beside the classes": {
        "cat/a/1.png": (None, "cat"),
        "dog/a/2.png": (None, "dog"),
        "test/1.png": (TEST, None),
    },
    "captions": {"images/1.png": (None, None), "images/2.png": (None, None)},
    "YOLO": {
        "train/images/1.png": (TRAIN, None),
        "valid/images/2.png": (VALIDATION, None),
        "test/images/3.png": (TEST, None),
    },
    "YOLO, the other way": {
        "images/train/1.png": (TRAIN, None),
        "images/val/2.png": (VALIDATION, None),
    },
    "a folder of classes in each part": {
        "train/images/cat/1.png": (TRAIN, "cat"),
        "train/images/dog/1.png": (TRAIN, "dog"),
        "test/cat/1.png": (TEST, "cat"),
    },
    "a part with one of the classes": {
        "train/cat/1.png": (TRAIN, "cat"),
        "train/dog/1.png": (TRAIN, "dog"),
        "val/cat/1.png": (VALIDATION, "cat"),
    },
    "masks": {
        "images/1.png": (None, None),
        "masks/1.png": LEFT_OUT,
    },
    "masks in parts": {
        "train/images/1.png": (TRAIN, None),
        "train/labels/1.png": LEFT_OUT,
        "test/images/2.png": (TEST, None),
        "test/labels/2.png": LEFT_OUT,
    },
    "storage of StyleGAN's tools": {
        **{f"00000/img{n:08}.png": (None, None) for n in range(3)},
        **{f"00001/img{n:08}.png": (None, None) for n in range(3, 6)},
        "00002/img00000006.png": (None, None),
    },
    "traffic signs, of unequal sizes": {
        **{f"00000/{n}.png": (None, "00000") for n in range(3)},
        **{f"00001/{n}.png": (None, "00001") for n in range(5)},
        "00002/1.png": (None, "00002"),
    },
    "years": {"2019/1.png": (None, "2019"), "2020/1.png": (None, "2020")},
    "digits of equal sizes": {f"{n}/1.png": (None, str(n)) for n in range(10)},
    "extra images beside the parts": {
        "train/a/1.png": (TRAIN, "a"),
        "train/b/1.png": (TRAIN, "b"),
        "test/a/1.png": (TEST, "a"),
        "extra/a/1.png": LEFT_OUT,
        "unlabeled/1.png": LEFT_OUT,
        "1.png": LEFT_OUT,
    },
    "train alone beside a heap": {
        "train/a/1.png": (TRAIN, "a"),
        "train/b/1.png": (TRAIN, "b"),
        "unlabeled/1.png": LEFT_OUT,
    },
    "train alone beside pictures": {
        "train/a/1.png": (TRAIN, "a"),
        "train/b/1.png": (TRAIN, "b"),
        "cover.png": LEFT_OUT,
    },
    "test alone beside pictures": {"test/1.png": (TEST, None), "2.png": (None, None)},
    "train beside a part of another name": {
        "train/a/1.png": (TRAIN, "a"),
        "train/b/1.png": (TRAIN, "b"),
        "holdout/a/1.png": LEFT_OUT,
    },
    "parts by the names of files": {
        "train_001.png": (TRAIN, None),
        "train_002.png": (TRAIN, None),
        "test_001.png": (TEST, None),
    },
    "parts by the names of files in classes": {
        "cat/train1.png": (TRAIN, "cat"),
        "cat/val1.png": (VALIDATION, "cat"),
        "dog/train1.png": (TRAIN, "dog"),
    },
    "parts and classes by the names of files": {
        "cat_train_001.png": (TRAIN, None),
        "dog_train_001.png": (TRAIN, None),
        "cat_test_001.png": (TEST, None),
        "dog_test_001.png": (TEST, None),
    },
    "a stray among the names of files": {
        **{f"train_{n}.png": (TRAIN, None) for n in range(20)},
        **{f"test_{n}.png": (TEST, None) for n in range(10)},
        "cover.png": LEFT_OUT,
    },
    "masks by the names of files": {
        "a (1).png": (None, None),
        "a (1)_mask.png": LEFT_OUT,
        "a (1)_mask_1.png": LEFT_OUT,
        "2_sat.png": (None, None),
        "2_mask.png": LEFT_OUT,
        "3.input.png": (None, None),
        "3.seg.png": LEFT_OUT,
        "iron_mask.png": (None, None),
    },
    "names of files that tell more": {
        "train_station_001.png": (None, None),
        "test_tube_002.png": (None, None),
    },
    "a held-out part is all there is": {
        "test/a/1.png": (TEST, "a"),
        "test/b/1.png": (TEST, "b"),
    },
}


def read(folder: Path, **columns: str) -> Source:
    return read_folder(folder, Columns(**columns))


@pytest.mark.parametrize("top", ["", "wrap/more/"])
@pytest.mark.parametrize("case", LAYOUTS)
def test_folders_are_read_as_meant(tmp_path: Path, case: str, top: str) -> None:
    meant = LAYOUTS[case]
    fill(tmp_path, *(top + name for name in meant))
    found = told(read(tmp_path))
    by_place = {name: found.get(name, LEFT_OUT) for name in meant}
    if not by_place.keys() & found.keys():  # one folder that holds everything is cut off
        by_place = {n: found.get(n.partition("/")[2], LEFT_OUT) for n in meant}
    assert by_place == meant


def test_names_of_parts() -> None:
    names = ("Test", "x_train", "val2", "test2017", "trainset", "dev images", "TrainingSet")
    bare = [word.part for name in names if (word := part_word(name)) and not word.rest]
    assert bare == [TEST, TRAIN, VALIDATION, TEST, TRAIN, VALIDATION, TRAIN]
    for name in ("trains", "contest", "invalid", "train_and_test", "device", "42", ""):
        assert part_word(name) is None, name
    assert part_word("mnist-test") == (TEST, ("mnist",)) == part_word("mnist_testing_02")


def test_one_folder_above_all_is_no_class() -> None:
    assert common_top(["zoo/cat/1.png", "zoo/dog/1.png"]) == "zoo/"
    assert common_top(["test/cat/1.png", "test/dog/1.png"]) == ""
    assert common_top(["a/b/c/1.png", "a/b/d/e/1.png"]) == "a/b/"
    assert common_top(["a/b.c/1.png", "a/b/1.png", "a/b d/1.png"]) == "a/"
    assert common_top(["a/val/b/1.png"]) == "a/" and common_top([]) == ""
    assert common_top(["zoo/1.png", "2.png"]) == common_top(["a/1.png", "b/1.png"]) == ""


def notes(folder: Path, *names: str, **columns: str) -> dict[str, dict[str, object]]:
    source = read(fill(folder, *names), **columns)
    return {note.code: dict(note.values) for note in source.notes}


def test_what_was_taken_for_what_is_said(tmp_path: Path) -> None:
    """Nothing about somebody's images is decided silently."""
    assert notes(tmp_path / "1", "cat/a/1.png", "dog/b/1.png") == {
        "classes_from_folders": {"n": 2, "classes": "cat, dog"},
        "folders_below_classes": {"folders": "a, b"},
    }
    assert notes(tmp_path / "2", "valid/1.png", "invalid/1.png") == {
        "classes_from_folders": {"n": 2, "classes": "invalid, valid"},
        "parts_as_classes": {"n": 1, "folders": "valid"},
    }
    assert notes(tmp_path / "3", "Train/9/1.png", "Train/10/1.png", "test_set/9/1.png") == {
        "parts_from_names": {"parts": "train: Train; test: test_set"},
        "classes_from_folders": {"n": 2, "classes": "9, 10"},
    }
    assert notes(tmp_path / "4", "images/1.png", "masks/1.png", "masks/2.png") == {
        "masks_left_out": {"folders": "masks (2)"},
        "one_folder": {"name": "images"},
    }
    assert notes(tmp_path / "5", *(f"0000{n}/{n}.png" for n in range(3))) == {
        "storage_folders": {"n": 3, "first": "00000", "last": "00002"}
    }
    assert notes(tmp_path / "6", "1.png", "2.png") == {}
    assert notes(tmp_path / "7", "photos/1.png", "photos/2.png") == {
        "one_folder": {"name": "photos"}
    }
    for number in range(1, 8):
        left = notes(tmp_path / str(number), label=NO_LABELS)
        assert left.keys() <= {"parts_from_names", "masks_left_out"}


def test_the_level_of_the_class_can_be_asked_for(tmp_path: Path) -> None:
    fill(tmp_path / "a", "train/cat/x/1.png", "train/dog/y/2.png", "test/cat/y/3.png")
    first, last = (told(read(tmp_path / "a", label=label)) for label in ("first", "last"))
    assert first == told(read(tmp_path / "a"))
    assert [label for _, label in first.values()] == ["cat", "cat", "dog"]
    assert [label for _, label in last.values()] == ["y", "x", "y"]
    assert notes(tmp_path / "a", label="last")["folders_above_classes"] == {"folders": "cat, dog"}
    fill(tmp_path / "b", *(f"0000{n}/{n}.png" for n in range(3)))
    asked = told(read(tmp_path / "b", label="last"))
    assert [label for _, label in asked.values()] == ["00000", "00001", "00002"]


def work_of(classes: int, images: int) -> int:
    """Calls of functions, Python's own counted, that finding the levels of many folders takes."""
    folders = {("train", f"class {n}", f"{m}"): images for n in range(classes) for m in range(10)}
    folders |= {("test", f"class {n}"): 1 for n in range(classes)}
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        levels = find_levels(folders)
    finally:
        sys.setprofile(before)
    assert levels.classes["train", "class 7", "3"] == ("class 7", "3")
    assert levels.parts["test", "class 7"] == "test"
    return calls


def test_looking_costs_by_the_folder_and_not_by_the_image() -> None:
    """Ten times the folders, ten times the work; to look at all of them for each was 34 times."""
    work_of(classes=200, images=3)  # what names tell is remembered
    few = work_of(classes=20, images=3)
    assert work_of(classes=200, images=3) < 12 * few
    assert work_of(classes=20, images=3000) == few


def test_accents_may_be_letters_of_their_own() -> None:
    """As a Mac writes them: no folder is a class for that."""
    name = unicodedata.normalize("NFD", "entra\u00eenement")
    assert part_word(name) is not None and part_word(name) == part_word("entra\u00eenement")
