"""The columns of images and labels that are asked for, declared or guessed, and their labels."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.making import beyond_the_usual
from tests.tables import ANY, FILES, LABELS, contents, labels, structs, write
from triptych.data.sources import Columns
from triptych.data.sources.parquet import read_parquet
from triptych.errors import InputError
from triptych.records import Note


@pytest.mark.parametrize("name", ["image", "img", "images", "bytes", "photo", "Image", "pixels"])
def test_usual_image_columns(tmp_path: Path, name: str) -> None:
    others = {"mask": FILES[::-1], "thumb": FILES[::-1], "id": list(range(12))}
    path = write(tmp_path / "a.parquet", **others, **{name: FILES})
    assert contents(read_parquet(path, ANY)) == FILES


def test_declared_image_column_beats_the_usual_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", {"x": {"_type": "Image"}}, image=FILES[::-1], x=FILES)
    assert contents(read_parquet(path, ANY)) == FILES
    assert contents(read_parquet(path, Columns(image="image"))) == FILES[::-1]


def test_the_first_usual_name_counts(tmp_path: Path) -> None:
    other = LABELS[::-1].tolist()
    path = write(
        tmp_path / "a.parquet", bytes=FILES[::-1], image=FILES, **{"class": other}, label=LABELS
    )
    source = read_parquet(path, ANY)
    assert contents(source) == FILES
    assert labels(source) == LABELS.tolist()


def test_the_only_column_of_bytes_is_the_image(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", thing=FILES, image=list(range(12)), label=["a"] * 12)
    assert contents(read_parquet(path, ANY)) == FILES


def test_image_columns_that_are_refused(tmp_path: Path) -> None:
    lists = [[1, 2, 3]] * 12
    two = write(tmp_path / "two.parquet", left=FILES, right=FILES, n=list(range(12)))
    with pytest.raises(InputError, match=r"several image columns.*--image-column: left, right$"):
        read_parquet(two, ANY)
    assert contents(read_parquet(two, Columns(image="right"))) == FILES
    with pytest.raises(InputError, match=r"no column 'x' in .*: there are left, right$"):
        read_parquet(two, Columns(image="x"))
    with pytest.raises(InputError, match=r"column 'n' of .* holds no images"):
        read_parquet(two, Columns(image="n"))
    with pytest.raises(InputError, match=r"no column of .* could hold images \(n\): save"):
        read_parquet(write(tmp_path / "none.parquet", n=list(range(12))), ANY)
    fixed = pa.array(lists, pa.list_(pa.uint8(), 3))
    tensor = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.uint8(), (3,)), fixed)
    for cells in (pa.array(lists), fixed, tensor):
        path = write(tmp_path / "lists.parquet", image=cells)
        for columns in (ANY, Columns(image="image")):
            with pytest.raises(InputError, match=r"'image' of .* holds lists of numbers.*\.npz"):
                read_parquet(path, columns)
    odd = pa.array([{"bytes": {"bytes": b"x"}}])
    with pytest.raises(InputError, match=r"'image' of .* holds no images but struct<bytes"):
        read_parquet(write(tmp_path / "odd.parquet", image=odd), ANY)


def test_labels_of_every_type(tmp_path: Path) -> None:
    names = [f"kind {label}" for label in LABELS]
    for cells, expected in (
        (pa.array(LABELS, pa.int8()), LABELS.tolist()),
        (pa.array(LABELS, pa.uint64()), LABELS.tolist()),
        (pa.array(LABELS > 2), [int(label > 2) for label in LABELS]),
        (pa.array(names), names),
        (pa.array(names, pa.large_string()), names),
        (pa.array(names).dictionary_encode(), names),
    ):
        path = write(tmp_path / "a.parquet", image=FILES, label=cells)
        found = labels(read_parquet(path, ANY))
        assert found == expected
        assert not any(isinstance(label, bool) for label in found)


def test_label_columns_are_asked_declared_or_usual(tmp_path: Path) -> None:
    classes = {"_type": "ClassLabel", "names": ["a", "b", "c", "d", "e"]}
    other = (4 - LABELS).tolist()
    path = write(tmp_path / "a.parquet", {"z": classes}, image=FILES, z=LABELS, label=other)
    source = read_parquet(path, ANY)
    assert labels(source) == LABELS.tolist()
    assert source.classes == ("a", "b", "c", "d", "e")
    asked = read_parquet(path, Columns(label="label"))
    assert labels(asked) == other and asked.classes is None
    bare = read_parquet(path, Columns(label="none"))
    assert labels(bare) == [None] * 12 and bare.classes is None
    with pytest.raises(InputError, match=r"no column 'kind' in .*: there are image, z, label"):
        read_parquet(path, Columns(label="kind"))
    two = {"coarse_label": classes, "fine_label": classes}
    path = write(path, two, image=FILES, coarse_label=other, fine_label=LABELS)
    assert labels(read_parquet(path, ANY)) == LABELS.tolist()
    two = {"smiling": classes, "young": classes}
    source = read_parquet(write(path, two, image=FILES, smiling=other, young=LABELS), ANY)
    assert labels(source) == [None] * 12
    assert beyond_the_usual(source) == (Note("labels_not_chosen", {"columns": "smiling, young"}),)
    lonely = write(path, image=FILES, count=LABELS, caption=["x"] * 12)
    assert labels(read_parquet(lonely, ANY)) == [None] * 12


def test_labels_that_are_no_classes_are_ignored_unless_asked_for(tmp_path: Path) -> None:
    nan, infinite = ([*LABELS[:11].astype(float), odd] for odd in (np.nan, np.inf))
    for cells in (
        LABELS / 2,
        nan,
        infinite,
        [[1]] * 12,
        [[1, 1]] * 12,
        [{"a": 1}] * 12,
        FILES,
        pa.nulls(12),
    ):
        path = write(tmp_path / "a.parquet", image=FILES, label=cells)
        source = read_parquet(path, ANY)
        assert labels(source) == [None] * 12
        kind = pq.read_schema(path).field("label").type
        values = {"name": "label", "type": str(kind)}
        assert beyond_the_usual(source) == (Note("labels_left_out", {**values}),)
        assert beyond_the_usual(read_parquet(path, Columns(label="none"))) == ()
        with pytest.raises(InputError, match=r"column 'label' of .* holds no labels"):
            read_parquet(path, Columns(label="label"))


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_whole_numbers_may_be_kept_as_fractions(tmp_path: Path, kind: pa.DataType) -> None:
    cells = [None, *LABELS[1:].tolist()]
    column = pa.array([None if cell is None else np.float16(cell) for cell in cells], pa.float16())
    path = write(tmp_path / "a.parquet", image=FILES, label=column.cast(kind))
    for source in (read_parquet(path, ANY), read_parquet(path, Columns(label="label"))):
        assert labels(source) == cells
        assert {type(label) for label in labels(source)} == {int, type(None)}
        assert beyond_the_usual(source) == ()
    write(tmp_path / "b.parquet", image=FILES, label=LABELS)  # elsewhere none is missing
    assert labels(read_parquet(tmp_path, ANY)) == cells + LABELS.tolist()
    write(tmp_path / "b.parquet", image=FILES, label=LABELS + 0.5)
    source = read_parquet(tmp_path, ANY)
    assert set(labels(source)) == {None} and len(source.notes) == 1


def test_whole_types_come_before_fractions(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", image=FILES, label=LABELS / 2, digit=LABELS)
    source = read_parquet(path, ANY)
    assert labels(source) == LABELS.tolist() and beyond_the_usual(source) == ()


def test_text_labels_are_tidy(tmp_path: Path) -> None:
    given = [" cat", "e\u0301", "a\nb", "", "  ", None, *["dog "] * 6]
    tidy = ["cat", "\u00e9", "a\\nb", None, None, None, *["dog"] * 6]
    for cells in (pa.array(given), pa.array(given).dictionary_encode()):
        path = write(tmp_path / "a.parquet", image=FILES, label=cells)
        assert labels(read_parquet(path, ANY)) == tidy


def test_missing_labels_are_none(tmp_path: Path) -> None:
    cells = [None, *LABELS.tolist()[1:10], None, -1]
    source = read_parquet(write(tmp_path / "a.parquet", image=FILES, label=cells), ANY)
    assert labels(source) == cells
    names = {"label": {"_type": "ClassLabel", "names": ["a", "b", "c", "d", "e"]}}
    source = read_parquet(write(tmp_path / "a.parquet", names, image=FILES, label=cells), ANY)
    assert labels(source) == [*cells[:11], None]  # the Hub writes -1 where a label is missing


@pytest.mark.parametrize("written", [b"no json", b"[]", b"{}", b'{"info": {"features": 3}}'])
def test_metadata_of_another_form_is_passed_over(tmp_path: Path, written: bytes) -> None:
    table = pa.table({"image": FILES, "label": LABELS})
    pq.write_table(table.replace_schema_metadata({b"huggingface": written}), tmp_path / "a.parquet")
    source = read_parquet(tmp_path / "a.parquet", ANY)
    assert source.classes is None and labels(source) == LABELS.tolist()


def test_columns_may_have_dots_and_row_groups_any_size(tmp_path: Path) -> None:
    table = pa.table({"a.image": FILES, "a": LABELS, "b.c": LABELS})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=5)
    source = read_parquet(tmp_path / "a.parquet", Columns(label="b.c"))
    assert contents(source) == FILES
    assert labels(source) == LABELS.tolist()


def test_files_of_other_columns_are_named(tmp_path: Path) -> None:
    def classes(*names: str) -> dict[str, Any]:
        return {"label": {"_type": "ClassLabel", "names": list(names)}}

    write(tmp_path / "a.parquet", classes("x", "y"), image=FILES, label=LABELS)
    odd = tmp_path / "b.parquet"
    write(odd, classes("x", "y"), image=structs(list(FILES), [None] * 12), label=LABELS)
    assert contents(read_parquet(tmp_path, ANY)) == FILES * 2  # bytes, if in another form
    write(odd, photo=FILES, label=LABELS)
    with pytest.raises(InputError, match=r"b\.parquet has no images in column 'image'"):
        read_parquet(tmp_path, ANY)
    for cells in ({"label": ["x"] * 12}, {}):
        write(odd, classes("x", "y"), image=FILES, **cells)
        with pytest.raises(InputError, match=r"b\.parquet has no numbers in column 'label'"):
            read_parquet(tmp_path, ANY)
        assert contents(read_parquet(tmp_path, Columns(label="none"))) == FILES * 2
    write(odd, classes("y", "x"), image=FILES, label=LABELS)
    with pytest.raises(InputError, match=r"b\.parquet has other class names"):
        read_parquet(tmp_path, ANY)


def test_columns_of_texts_are_named_as_what_they_are(tmp_path: Path) -> None:
    encoded = [base64.b64encode(each * 20).decode() for each in FILES]
    cases = {
        "addresses, which are never fetched: fetch the images": ["https://a.b/c.png"] * 12,
        "images as base64 texts, not as bytes: decode them": encoded,
        "images as base64 texts, not as bytes: decode": [f"data:image/png;base64,{encoded[0]}"]
        * 12,
        "names of image files: call it file_name": [None, *["a/b.JPG"] * 11],
        "texts, not image files: save the bytes": ["a nice picture"] * 12,
    }
    for wrong, cells in cases.items():
        numbers = list(range(len(cells)))
        path = write(tmp_path / "a.parquet", label=numbers, n=numbers, image=cells)
        for columns in (ANY, Columns(image="image")):
            with pytest.raises(InputError, match=f"column 'image' of .* holds {wrong}"):
                read_parquet(path, columns)
    path = write(tmp_path / "b.parquet", caption=encoded, url=["https://a.b"] * 12, photo=FILES)
    with pytest.raises(
        InputError, match=r"'url' of .* addresses.*another with --image-column: photo$"
    ):
        read_parquet(path, Columns(image="url"))


def test_one_hot_lists_are_labels(tmp_path: Path) -> None:
    rows = np.eye(5)[LABELS].tolist()
    for kind in (pa.list_(pa.int64()), pa.list_(pa.float32(), 5), pa.list_(pa.bool_())):
        cells = pa.array([[bool(x) for x in r] if "bool" in str(kind) else r for r in rows], kind)
        path = write(tmp_path / "a.parquet", image=FILES, label=cells)
        assert labels(read_parquet(path, ANY)) == LABELS.tolist()


@pytest.mark.parametrize("kind", ["category", "boolean"])
def test_parts_may_be_categories_or_yes_and_no(tmp_path: Path, kind: str) -> None:
    """As pandas writes them; rows of the test part are never trained on."""
    if kind == "category":
        column = {"split": pa.array(["train", "test"] * 6).dictionary_encode()}
    else:
        column = {"is_train": pa.array([True, False] * 6)}
    source = read_parquet(write(tmp_path / "a.parquet", image=FILES, **column), ANY)
    assert [item.part for item in source.items()] == ["train", "test"] * 6


def test_files_are_parts_by_the_words_that_folders_are(tmp_path: Path) -> None:
    for name in ("train_set", "test_set"):
        write(tmp_path / f"{name}.parquet", image=FILES)
    parts = [item.part for item in read_parquet(tmp_path, ANY).items()]
    assert sorted(map(str, parts)) == ["test"] * 12 + ["train"] * 12
