"""Parquet of every form gives the same images, labels and parts, or one line that says why not."""

from __future__ import annotations

import dataclasses
import errno
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.making import beyond_the_usual, write_parquet
from tests.tables import ANY, FILES, IMAGES, LABELS, contents, labels, reasons, structs, write
from triptych.data.sources import BadImageError, Item, parquet
from triptych.data.sources.parquet import read_parquet
from triptych.errors import InputError
from triptych.records import Note


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
    assert beyond_the_usual(source) == ()


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
    (place / ".kept").mkdir()
    (place / ".kept" / "a.png").write_bytes(FILES[0])
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
        ".kept/a.png",
    ]
    path = write(place / "a.parquet", image=structs([None] * 11, names))
    found = contents(read_parquet(place, ANY))
    assert found[0] == found[9] == (place / "photos" / "a.png").resolve()
    told = [str(content) for content in found[1:9]]
    assert all("is outside the folder" in line for line in told[:3])
    assert all("no bytes, and no file" in line for line in told[3:])
    assert all(isinstance(content, BadImageError) for content in found[1:9])
    assert str(found[10]) == "no bytes, and '.kept/a.png' is hidden"
    assert contents(read_parquet(tmp_path, ANY))[1] == (tmp_path / "secret.png").resolve()
    nothing = pa.array([{"bytes": None, "path": "photos/a.png"}])  # the bytes are of type null
    write(path, image=nothing)
    assert isinstance(contents(read_parquet(place, ANY))[0], Path)


def test_a_single_file_names_no_others(tmp_path: Path) -> None:
    """Its identity is its own: it would not tell that they have changed."""
    (tmp_path / "x.png").write_bytes(FILES[0])
    cells: list[bytes | None] = [None, FILES[1], None]
    path = write(tmp_path / "a.parquet", image=structs(cells, ["x.png", "x.png", None]))
    found = contents(read_parquet(path, ANY))
    assert str(found[0]) == "no bytes; name the folder to read the file 'x.png'"
    assert found[1] == FILES[1]
    assert str(found[2]) == "empty"
    assert contents(read_parquet(tmp_path, ANY))[0] == (tmp_path / "x.png").resolve()


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
        "f/tests.parquet": None,
        "f/test_small-0.parquet": None,
        "f/test-0.parquet": "test",
    }
    for name in expected:
        write_parquet(tmp_path / name, IMAGES[:2], LABELS[:2])
    for folder in "abcdef":
        names = {name[2:]: part for name, part in expected.items() if name[0] == folder}
        assert parts_of(tmp_path / folder) == names


def test_one_part_alone_is_no_part(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002", "train-00001-of-00002"):
        write_parquet(tmp_path / f"{name}.parquet", IMAGES[:2], LABELS[:2])
    assert set(parts_of(tmp_path).values()) == {None}
    write_parquet(tmp_path / "test/0.parquet", IMAGES[:2], LABELS[:2])
    assert set(parts_of(tmp_path / "test/0.parquet").values()) == {None}
    assert set(parts_of(tmp_path).values()) == {"train", "test"}


def test_files_of_no_part_beside_train_are_left_out(tmp_path: Path) -> None:
    rolling = "rolling-00000-of-00001"
    for start, name in enumerate(("train-00000-of-00001", rolling)):
        write_parquet(tmp_path / f"{name}.parquet", IMAGES[start:3], LABELS[start:3])
    empty = pq.read_table(tmp_path / f"{rolling}.parquet").slice(0, 0)
    pq.write_table(empty, tmp_path / "empty.parquet")
    source = read_parquet(tmp_path, ANY)
    assert source.count == len(list(source.items())) == 3
    assert beyond_the_usual(source) == (
        Note("files_left_out", {"files": f"{rolling}.parquet (2)"}),
    )
    assert set(parts_of(tmp_path).values()) == {None}  # one part alone is none
    write_parquet(tmp_path / "test.parquet", IMAGES[:2], LABELS[:2])
    assert set(parts_of(tmp_path).values()) == {"train", "test"}
    for number in range(6):
        write_parquet(tmp_path / f"more/{number}.parquet", IMAGES[:1], LABELS[:1])
    (note,) = beyond_the_usual(read_parquet(tmp_path, ANY))
    listed = str(note.values["files"])
    assert "more/3.parquet (1), " in listed and listed.endswith("(1), +2")
    assert "rolling" not in listed  # the sixth and seventh are only counted


def test_files_of_no_part_are_one_set_without_train(tmp_path: Path) -> None:
    for name in ("rolling", "standing"):
        write_parquet(tmp_path / f"{name}.parquet", IMAGES[:2], LABELS[:2])
    assert parts_of(tmp_path) == {"rolling.parquet": None, "standing.parquet": None}
    pq.write_table(
        pq.read_table(tmp_path / "rolling.parquet").slice(0, 0), tmp_path / "train.parquet"
    )
    source = read_parquet(tmp_path, ANY)  # nothing to train on is there
    assert source.count == 4 and beyond_the_usual(source) == ()


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
    (tmp_path / "b.parquet").unlink()
    (tmp_path / "a.parquet").rename(tmp_path / "train.parquet")
    for name in ("other", "test"):  # of no part, then of one
        pq.write_table(table.slice(0, 0), tmp_path / f"{name}.parquet")
        source = read_parquet(tmp_path, ANY)
        assert {item.part for item in source.items()} == {None} and beyond_the_usual(source) == ()


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


def test_what_the_system_refuses_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_parquet(tmp_path / "a.parquet", IMAGES, LABELS)
    source = read_parquet(path, ANY)
    told = rf"^cannot read {path} \({{}}\): check it$"

    def barred(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, f"Failed to open local file '{path}'. Detail: no")

    with monkeypatch.context() as patched:
        patched.setattr(pq, "ParquetFile", barred)
        with pytest.raises(InputError, match=told.format("Permission denied")):
            read_parquet(path, ANY)
    path.unlink()
    for read in (lambda: list(source.items()), lambda: read_parquet(path, ANY)):
        with pytest.raises(InputError, match=told.format("No such file or directory")):
            read()


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
        start = time.process_time()  # a busy neighbour does not count
        try:
            items: list[Item] = list(read_parquet(tmp_path / "a.parquet", ANY).items())
            assert all(isinstance(i.content, bytes | Path | BadImageError) for i in items)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
        assert time.process_time() - start < 1
    assert refused > 50


def test_declared_names_can_be_shown(tmp_path: Path) -> None:
    """A stranger's may steer the terminal."""
    path = write_parquet(tmp_path / "a.parquet", IMAGES, LABELS, names=["a\x1b[2J", *"bcde"])
    assert read_parquet(path, ANY).classes == ("a\\x1b[2J", *"bcde")
