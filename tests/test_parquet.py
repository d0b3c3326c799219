"""Parquet of every form gives the same images, labels and parts, or one line that says why not."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.making import encode, make_images, write_parquet
from triptych.data.sources import parquet
from triptych.data.sources.base import BadImageError, Columns, Item, Source
from triptych.data.sources.parquet import read_parquet
from triptych.errors import InputError

ANY = Columns()
IMAGES, LABELS = make_images(12)
FILES = [encode(image) for image in IMAGES]


def write(path: Path, features: dict[str, Any] | None = None, **columns: Any) -> Path:
    """A table of these columns, with the Hub's descriptions if given."""
    table = pa.table(columns)
    if features is not None:
        written = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({b"huggingface": written.encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def contents(source: Source) -> list[Any]:
    items = list(source.items())
    assert len(items) == source.count
    return [item.content for item in items]


def labels(source: Source) -> list[Any]:
    return [item.label for item in source.items()]


def reasons(source: Source) -> list[str]:
    return [str(content) for content in contents(source) if isinstance(content, BadImageError)]


def structs(cells: list[bytes | None], names: list[str | None]) -> pa.Array:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array(
        [{"bytes": cell, "path": name} for cell, name in zip(cells, names, strict=True)], kind
    )


@pytest.mark.parametrize(
    "cells",
    [
        pa.array(FILES, pa.binary()),
        pa.array(FILES, pa.large_binary()),
        pa.array(FILES, pa.binary()).dictionary_encode(),
        structs(list(FILES), [None] * 12),
        pa.array([{"bytes": file} for file in FILES]),
    ],
    ids=["binary", "large", "dictionary", "struct", "bytes-only"],
)
def test_images_of_every_type(tmp_path: Path, cells: pa.Array) -> None:
    source = read_parquet(write(tmp_path / "a.parquet", image=cells, label=LABELS), ANY)
    assert contents(source) == FILES
    assert labels(source) == LABELS.tolist()
    assert [item.name for item in source.items()][:2] == ["a.parquet[0]", "a.parquet[1]"]
    assert {item.part for item in source.items()} == {None}
    assert source.notes == ()


def test_rows_without_an_image_are_bad_images(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": FILES[0], "path": "x"}, None, {"bytes": None, "path": None}]
    source = read_parquet(write(tmp_path / "a.parquet", image=pa.array(rows, kind)), ANY)
    assert contents(source)[0] == FILES[0]
    assert reasons(source) == ["empty", "empty"]
    raw = read_parquet(write(tmp_path / "b.parquet", image=pa.array([None, FILES[1]])), ANY)
    assert contents(raw)[1] == FILES[1]
    assert reasons(raw) == ["empty"]


def test_rows_may_name_files_inside_the_folder_only(tmp_path: Path) -> None:
    place = tmp_path / "set"
    (place / "photos").mkdir(parents=True)
    (place / "photos" / "a.png").write_bytes(FILES[0])
    (tmp_path / "secret.png").write_bytes(FILES[1])
    (place / "link.png").symlink_to(tmp_path / "secret.png")
    (place / "loop.png").symlink_to(place / "loop.png")
    names: list[str | None] = [
        "photos/a.png",
        "../secret.png",
        str(tmp_path / "secret.png"),
        "link.png",
        "photos/none.png",
        "photos",
        "loop.png",
        "a\0b",
        "n" * 5000,
        "../set/photos/a.png",
    ]
    path = write(place / "a.parquet", image=structs([None] * 10, names))
    found = contents(read_parquet(path, ANY))
    assert found[0] == found[9] == (place / "photos" / "a.png").resolve()
    told = [str(content) for content in found[1:9]]
    assert all("is outside the folder" in line for line in told[:3])
    assert all("no bytes, and no file" in line for line in told[3:])
    assert all(isinstance(content, BadImageError) for content in found[1:9])
    assert contents(read_parquet(path, ANY, tmp_path))[1] == (tmp_path / "secret.png").resolve()
    nothing = pa.array([{"bytes": None, "path": "photos/a.png"}])  # the bytes are of type null
    assert isinstance(contents(read_parquet(write(path, image=nothing), ANY))[0], Path)


# Columns


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
    with pytest.raises(InputError, match=r"no column 'x' in .*: there are left, right, n"):
        read_parquet(two, Columns(image="x"))
    with pytest.raises(InputError, match=r"column 'n' of .* holds no images"):
        read_parquet(two, Columns(image="n"))
    with pytest.raises(InputError, match=r"no image column in .*--image-column: n$"):
        read_parquet(write(tmp_path / "none.parquet", n=list(range(12))), ANY)
    fixed = pa.array(lists, pa.list_(pa.uint8(), 3))
    tensor = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.uint8(), (3,)), fixed)
    for cells in (pa.array(lists), fixed, tensor):
        path = write(tmp_path / "lists.parquet", image=cells)
        for columns in (ANY, Columns(image="image")):
            with pytest.raises(InputError, match=r"'image' of .* holds lists of numbers.*\.npz"):
                read_parquet(path, columns)
    odd = pa.array([{"bytes": {"bytes": b"x"}}])
    with pytest.raises(InputError, match="no image column"):
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
    assert any("smiling, young" in note for note in source.notes)
    lonely = write(path, image=FILES, count=LABELS, caption=["x"] * 12)
    assert labels(read_parquet(lonely, ANY)) == [None] * 12


def test_labels_that_are_no_classes_are_ignored_unless_asked_for(tmp_path: Path) -> None:
    for cells in (LABELS / 2, [[1]] * 12, [{"a": 1}] * 12, FILES, pa.nulls(12)):
        path = write(tmp_path / "a.parquet", image=FILES, label=cells)
        assert labels(read_parquet(path, ANY)) == [None] * 12
        with pytest.raises(InputError, match=r"column 'label' of .* holds no labels"):
            read_parquet(path, Columns(label="label"))


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


# Several files


def parts_of(folder: Path) -> dict[str, Any]:
    return {item.name.split("[")[0]: item.part for item in read_parquet(folder, ANY).items()}


def test_parts_from_files_and_folders(tmp_path: Path) -> None:
    expected = {
        "a/train-00000-of-00002.parquet": "train",
        "a/train-00001-of-00002.parquet": "train",
        "a/test-00000-of-00001.parquet": "test",
        "b/default/train/0000.parquet": "train",
        "b/default/partial-validation/0000.parquet": "validation",
        "c/data/validation-00000-of-00001.parquet": "validation",
        "c/data/train/x.parquet": "train",
        "d/Test/train.parquet": "train",  # the nearest counts
        "d/Test/0.parquet": "test",
        "e/digits-test.parquet": "test",
        "e/digits_train.parquet": "train",
        "e/trains.parquet": None,
        "e/train_small-0.parquet": None,
    }
    for name in expected:
        write_parquet(tmp_path / name, IMAGES[:2], LABELS[:2])
    for folder in "abcde":
        names = {name[2:]: part for name, part in expected.items() if name[0] == folder}
        assert parts_of(tmp_path / folder) == names


def test_one_part_alone_is_no_part(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002", "train-00001-of-00002"):
        write_parquet(tmp_path / f"{name}.parquet", IMAGES[:2], LABELS[:2])
    assert set(parts_of(tmp_path).values()) == {None}
    write_parquet(tmp_path / "test/0.parquet", IMAGES[:2], LABELS[:2])
    assert set(parts_of(tmp_path / "test/0.parquet").values()) == {None}
    assert set(parts_of(tmp_path).values()) == {"train", "test"}


def test_hidden_and_foreign_files_are_passed_over(tmp_path: Path) -> None:
    write_parquet(tmp_path / "b.PARQUET", IMAGES[2:4], LABELS[2:4])
    write_parquet(tmp_path / "a.parquet", IMAGES[:2], LABELS[:2])
    write_parquet(tmp_path / "table.parquet" / "part-0.parquet", IMAGES[4:6], LABELS[4:6])
    (tmp_path / ".hidden.parquet").write_bytes(b"not parquet")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "c.parquet").write_bytes(b"not parquet")
    (tmp_path / "gone.parquet").symlink_to(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("not parquet")
    source = read_parquet(tmp_path, ANY)
    assert contents(source) == FILES[:6]
    assert list(parts_of(tmp_path)) == ["a.parquet", "b.PARQUET", "table.parquet/part-0.parquet"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no parquet files in"):
        read_parquet(tmp_path / "empty", ANY)


def test_a_file_without_rows_is_none_among_others(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", IMAGES, LABELS)
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(table.slice(0, 0), tmp_path / "b.parquet")
    assert contents(read_parquet(tmp_path, ANY)) == FILES


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


# Memory and damage


def test_large_images_come_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [bytes([i]) * 1_000_000 for i in range(40)]
    table = pa.table({"image": cells})
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=False, compression="none")
    sizes: list[int] = []
    before = parquet.image_cells

    def watched(column: Any, *rest: Any) -> list[Any]:
        sizes.append(column.nbytes)
        return before(column, *rest)

    monkeypatch.setattr(parquet, "image_cells", watched)
    assert contents(read_parquet(tmp_path / "a.parquet", ANY)) == cells
    assert max(sizes) < 9_000_000
    assert len(sizes) >= 5


def test_a_source_starts_again_and_can_be_left(tmp_path: Path) -> None:
    source = read_parquet(write_parquet(tmp_path / "a.parquet", IMAGES, LABELS), ANY)
    first = source.items()
    assert next(first).content == FILES[0]
    first.close()  # type: ignore[attr-defined]
    assert contents(source) == contents(source) == FILES


def test_damage_is_named(tmp_path: Path) -> None:
    whole = write_parquet(tmp_path / "whole.parquet", IMAGES, LABELS).read_bytes()
    bad = tmp_path / "bad.parquet"
    for content in (b"", b"PAR1 but not for long", whole[:-5], whole[:-1] + b"2"):
        bad.write_bytes(content)
        with pytest.raises(InputError, match=r"bad\.parquet is no readable parquet"):
            read_parquet(bad, ANY)
    bad.write_bytes(whole[:4] + bytes(600) + whole[604:])
    with pytest.raises(InputError, match=r"bad\.parquet is damaged"):
        contents(read_parquet(bad, ANY))
    fine = parquet.open_table(tmp_path / "whole.parquet", tmp_path)
    for rows in (11, 13):
        announced = dataclasses.replace(fine, rows=rows)
        with pytest.raises(InputError, match=r"is damaged \(.*1[123] rows"):
            list(parquet.batches(announced, ["image"], len))
    none = write(bad, image=pa.array([], pa.binary()))
    with pytest.raises(InputError, match="no images in"):
        read_parquet(none, ANY)
    text = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")]
    )
    with pytest.raises(InputError, match=r"bad\.parquet is damaged"):
        list(read_parquet(write(bad, image=FILES[:1], label=text), ANY).items())
    twice = pa.table([pa.array(FILES), pa.array(FILES)], names=["image", "image"])
    pq.write_table(twice, bad)
    with pytest.raises(InputError, match="two columns have one name"):
        read_parquet(bad, ANY)


def test_mutated_files_neither_crash_nor_hang(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = write_parquet(tmp_path / "a.parquet", IMAGES, LABELS, names=list("abcde")).read_bytes()
    refused = 0
    for turn in range(200):
        content = bytearray(whole)
        if turn % 4 == 0:
            content = content[: rng.integers(len(content))]
        else:
            # half of them in the footer, where the structure is
            first = 0 if turn % 2 else len(content) - 1500
            for place in rng.integers(first, len(content), size=1 + turn % 5):
                content[place] = rng.integers(256)
        (tmp_path / "a.parquet").write_bytes(content)
        start = time.perf_counter()
        try:
            items: list[Item] = list(read_parquet(tmp_path / "a.parquet", ANY).items())
            assert all(isinstance(i.content, bytes | Path | BadImageError) for i in items)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
        assert time.perf_counter() - start < 1
    assert refused > 50
