"""Labels in files beside the images, and archives in a folder: as their makers write them."""

from __future__ import annotations

import io
import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.test_archive import pack
from tests.test_folder import fill, listed, told
from triptych.data.sources import BadImageError, Columns, Source
from triptych.data.sources.archive import read_archive
from triptych.data.sources.find import find_path
from triptych.data.sources.folder import read_folder
from triptych.data.sources.metadata import parquet_records
from triptych.errors import InputError
from triptych.records import Note


def read(path: Path, **columns: str) -> Source:
    """As the command line finds it."""
    return find_path(path, Columns(**columns)).read(lambda done, total: None)


def codes(source: Source) -> list[str]:
    return [note.code for note in source.notes]


def labels(source: Source) -> dict[str, str | int | None]:
    return {name: label for name, (_, label) in told(source).items()}


# dataset.json of StyleGAN's and EDM's tools

STORED = ["00000/img00000000.png", "00000/img00000001.png", "00001/img00000002.png"]


@pytest.mark.parametrize("suffix", ["", ".zip", ".tar"])
@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ([[name, number] for name, number in zip(STORED, (6, 0, 6), strict=True)], [6, 0, 6]),
        ([[n, row] for n, row in zip(STORED, ([0, 1], [1, 0], [0, 1.0]), strict=True)], [1, 0, 1]),
        (dict(zip(STORED, (1, 2, 3), strict=True)), [1, 2, 3]),
        (None, [None] * 3),
        ([], [None] * 3),
    ],
    ids=["numbers", "one-hot", "object", "null", "empty"],
)
def test_dataset_json(tmp_path: Path, suffix: str, given: Any, meant: list[Any]) -> None:
    document = json.dumps({"labels": given}).encode()
    files = {**dict.fromkeys(STORED, b"x"), "dataset.json": document}
    if suffix:
        source = read(pack(tmp_path / f"a{suffix}", files))
    else:
        source = read(listed(fill(tmp_path, *STORED), document, "dataset.json"))
    assert labels(source) == dict(zip(STORED, meant, strict=True))
    assert ("labels_from_column" if given else "storage_folders") in codes(source)


def test_another_dataset_json_is_an_ordinary_file(tmp_path: Path) -> None:
    for content in (
        "[1]",
        '{"images": []}',
        '{"labels": {"0": "cat"}}',
        '{"labels": ["ab"]}',
        '{"labels": 3}',
        '{"labels": ["a"]}',
        "{",
        "\udcff",
    ):
        folder = fill(tmp_path / "x", "a/1.png", "b/2.png")
        (folder / "dataset.json").write_text(content, errors="surrogateescape")
        assert labels(read(folder)) == {"a/1.png": "a", "b/2.png": "b"}, content


# metadata.parquet


def table(metadata: Mapping[str, Any] | None = None, **columns: Any) -> bytes:
    made = pa.table(columns)
    if metadata:
        written = json.dumps({"info": {"features": metadata}}).encode()
        made = made.replace_schema_metadata({b"huggingface": written})
    buffer = io.BytesIO()
    pq.write_table(made, buffer)
    return buffer.getvalue()


def test_metadata_parquet(tmp_path: Path) -> None:
    names = [f"{n}.png" for n in range(3)]
    declared = {"label": {"_type": "ClassLabel", "names": ["cat", "d\x1bg"]}}
    for cells, metadata, meant in (
        ([1, 0, 1], None, [1, 0, 1]),
        ([1, 0, -1], declared, ["d\\x1bg", "cat", None]),
        (["a", "b", None], None, ["a", "b", None]),
        ([1.0, 2.0, 0.0], None, [1, 2, 0]),
        (pa.array(["a", "b", "a"]).dictionary_encode(), None, ["a", "b", "a"]),
    ):
        content = table(metadata, file_name=names, label=cells, boxes=[[1, 2]] * 3)
        folder = listed(fill(tmp_path, *names), content, "metadata.parquet")
        assert labels(read(folder)) == dict(zip(names, meant, strict=True))
        packed = {**dict.fromkeys(names, b"x"), "metadata.parquet": content}
        zipped = read(pack(tmp_path / "packed.zip", packed))
        assert labels(zipped) == labels(read(folder))
        (tmp_path / "packed.zip").unlink()
    listed(folder, b"no table", "metadata.parquet")
    with pytest.raises(InputError, match=r"metadata.parquet is no readable parquet"):
        read(folder)


def test_whole_floats_are_whole_numbers_and_others_no_classes(tmp_path: Path) -> None:
    folder = listed(fill(tmp_path, "1.png", "2.png"), "file_name,label\n1.png,3.0\n2.png,10.00\n")
    assert labels(read(folder)) == {"1.png": 3, "2.png": 10}
    listed(folder, "file_name,label\n1.png,3.0\n2.png,10.5\n")
    assert labels(read(folder)) == {"1.png": None, "2.png": None}
    assert "labels_left_out" in codes(read(folder))
    with pytest.raises(InputError, match="holds numbers that are not whole"):
        read(folder, label="label")
    listed(folder, "file_name,label\n1.png,3.5\n2.png,cat\n")
    assert labels(read(folder)) == {"1.png": "3.5", "2.png": "cat"}


def test_a_column_may_name_the_part(tmp_path: Path) -> None:
    folder = fill(tmp_path, "1.png", "2.png", "3.png")
    listed(folder, "file_name,label,split\n1.png,a,train\n2.png,b,Test\n3.png,a,val\n")
    assert told(read(folder)) == {
        "1.png": ("train", "a"),
        "2.png": ("test", "b"),
        "3.png": ("validation", "a"),
    }
    assert codes(read(folder)) == ["labels_from_column", "parts_from_column"]
    listed(folder, "file_name,label,split\n1.png,a,train\n2.png,b,unused\n3.png,a,val\n")
    assert told(read(folder)) == {"1.png": ("train", "a"), "3.png": ("validation", "a")}
    assert "parts_from_column_some" in codes(read(folder))
    listed(folder, "file_name,label,split\n1.png,a,fold1\n2.png,b,fold2\n3.png,a,test\n")
    assert [part for part, _ in told(read(folder)).values()] == [None, None, "test"]
    listed(folder, "file_name,label,is_train\n1.png,a,True\n2.png,b,0\n3.png,a,1\n")
    assert [part for part, _ in told(read(folder)).values()] == ["train", "test", "train"]
    listed(folder, "file_name,label,split\n1.png,a,0\n2.png,b,1\n3.png,a,2\n")
    assert {part for part, _ in told(read(folder)).values()} == {None}
    (note,) = [note for note in read(folder).notes if note.code == "parts_column_not_read"]
    assert note.values["values"] == "0, 1, 2"


def test_tables_as_spreadsheets_write_them(tmp_path: Path) -> None:
    folder = fill(tmp_path, "1.png", "2.png", "3.png")
    listed(folder, "sep=;\nfile_name;label\n1.png;1,0\n2.png;10,0\n3.png;nan\n;\n")
    assert labels(read(folder)) == {"1.png": 1, "2.png": 10, "3.png": None}
    listed(folder, "file_name,label\n1.png,01\n2.png,02\n3.png,10\n")
    assert labels(read(folder)) == {"1.png": "01", "2.png": "02", "3.png": "10"}


def test_columns_that_could_be_labels_are_named(tmp_path: Path) -> None:
    folder = fill(tmp_path, *(f"{n}.png" for n in range(4)))
    rows = "".join(f"{n}.png,{'pug' if n % 2 else 'lab'},text {n}\n" for n in range(4))
    listed(folder, f"file_name,breed,caption\n{rows}")
    values = [note.values for note in read(folder).notes if note.code == "labels_not_chosen"]
    assert values == [{"columns": "breed"}]


def test_one_hot_lists_in_metadata_parquet(tmp_path: Path) -> None:
    names = ["1.png", "2.png", "3.png"]
    content = table(file_name=names, label=[[0, 1], [1, 0], [0, 1]])
    assert labels(read(listed(fill(tmp_path, *names), content, "metadata.parquet"))) == dict(
        zip(names, [1, 0, 1], strict=True)
    )


def test_embeddings_in_metadata_parquet_are_not_read(tmp_path: Path) -> None:
    """As numbers of Python they would take many times the file's size."""
    vectors = pa.array([[0.5, 0.25]] * 2, pa.list_(pa.float32(), 2))
    content = table(file_name=["1.png", "2.png"], vector=vectors, kind=["a", "b"], label=["x", "y"])
    assert list(parquet_records(content, "metadata.parquet", Columns())[0]) == [
        "file_name", "kind", "label",
    ]  # fmt: skip
    asked = parquet_records(content, "metadata.parquet", Columns(label="vector"))
    assert asked[0]["vector"] == [0.5, 0.25]


def test_a_stray_class_file_changes_nothing(tmp_path: Path) -> None:
    folder = fill(tmp_path, *(f"{kind}/{n}.png" for kind in "ab" for n in range(3)))
    listed(folder, "7", "a/0.cls")
    assert set(labels(read(folder)).values()) == {"a", "b"}
    assert "label_files_few" in codes(read(folder))


# WebDataset


def shard(path: Path, first: int, count: int = 2, **classes: bytes) -> Path:
    files = {}
    for number in range(first, first + count):
        files[f"{number:06}.jpg"] = b"%d" % number
        files[f"{number:06}.cls"] = classes.get("text", b"%d\n" % (number % 3))
        files[f"{number:06}.json"] = b"{}"
    return pack(path, files)


def test_cls_files_give_labels(tmp_path: Path) -> None:
    meant = {"000004.jpg": 1, "000005.jpg": 2}
    assert labels(read_archive(shard(tmp_path / "a.tar", 4), Columns())) == meant
    folder = fill(tmp_path / "b", *meant)
    for name, number in meant.items():
        listed(folder, str(number), name.replace(".jpg", ".cls"))
    source = read_folder(folder, Columns())
    assert labels(source) == meant and codes(source) == ["labels_from_files"]
    assert labels(read_folder(folder, Columns(label="none"))) == dict.fromkeys(meant)
    named = read_archive(shard(tmp_path / "c.tar", 0, text=b" tabby \n"), Columns())
    assert set(labels(named).values()) == {"tabby"}


def test_a_folder_of_shards_is_one_set(tmp_path: Path) -> None:
    for number in range(3):
        shard(tmp_path / f"pets-{number:06}.tar", 2 * number)
    source = read(tmp_path)
    found = list(source.items())
    assert source.count == 6 and [item.content for item in found] == [b"%d" % n for n in range(6)]
    assert [(item.part, item.label) for item in found] == [(None, n % 3) for n in range(6)]
    assert len({item.name for item in found}) == 6
    assert codes(source)[-2:] == ["archives_as_one", "files_passed_over"]


def test_shards_of_the_same_names_and_of_parts(tmp_path: Path) -> None:
    """Each shard may begin again at 000000; its name tells the part."""
    shard(tmp_path / "train-0000.tar", 0)
    shard(tmp_path / "train-0001.tar", 0, text=b"7")
    shard(tmp_path / "val-0000.tar", 0, text=b"8")
    found = list(read(tmp_path).items())
    assert [(item.part, item.label) for item in found] == [
        ("train", 0),
        ("train", 1),
        ("train", 7),
        ("train", 7),
        ("validation", 8),
        ("validation", 8),
    ]


def test_numbered_archives_keep_their_tables(tmp_path: Path) -> None:
    """Each names files as they are called in its own archive; one without lists nothing."""
    for number, kind in enumerate("ab"):
        text = f"file_name,label\n0.png,{kind}\nsub/1.png,c\n"
        files = {f"{name}.png": f"{kind}{name}".encode() for name in ("0", "sub/1", "2")}
        pack(tmp_path / f"train-{number}.zip", {**files, "metadata.csv": text.encode()})
    pack(tmp_path / "train-2.zip", {"0.png": b"c0"})
    source = read(tmp_path)
    found = {item.content: item.label for item in source.items()}
    assert found == {b"a0": "a", b"asub/1": "c", b"b0": "b", b"bsub/1": "c", b"c0": None}
    values = {"name": "label", "table": "train/metadata.csv"}
    assert Note("labels_from_column", {**values}) in source.notes
    assert Note("images_not_listed", {"n": 2}) in source.notes
    dataset = {"labels": [["0.png", 1]]}
    (tmp_path / "json").mkdir()
    for number in range(2):
        files = {"0.png": b"%d" % number, "dataset.json": json.dumps(dataset).encode()}
        pack(tmp_path / "json" / f"a-{number}.zip", files)
    assert [item.label for item in read(tmp_path / "json").items()] == [1, 1]


def test_archives_of_one_number_and_two_suffixes_keep_their_images(tmp_path: Path) -> None:
    for suffix in ("zip", "tar", "tar.gz"):
        pack(tmp_path / f"train-1.{suffix}", {"0.png": suffix.encode()})
    found = {item.content for item in read(tmp_path).items()}
    assert found == {b"zip", b"tar", b"tar.gz"}


def test_archives_named_by_class_and_by_part(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("n01440764", "n01443537"):
        pack(tmp_path / f"a/{name}.tar", {f"{name}_1.png": name.encode()})
    found = list(read(tmp_path / "a").items())
    assert [(item.label, item.content) for item in found] == [
        ("n01440764", b"n01440764"),
        ("n01443537", b"n01443537"),
    ]
    (tmp_path / "b").mkdir()
    pack(tmp_path / "b/train.zip", {"cat/1.png": b"1", "dog/2.png": b"2"})
    pack(tmp_path / "b/test.zip", {"cat/1.png": b"3"})
    assert [(i.part, i.label, i.content) for i in read(tmp_path / "b").items()] == [
        ("test", "cat", b"3"),
        ("train", "cat", b"1"),
        ("train", "dog", b"2"),
    ]


def test_tables_of_other_names_are_mentioned(tmp_path: Path) -> None:
    folder = listed(fill(tmp_path, "1.png"), "id,label\n1,cat\n", "labels.csv")
    assert codes(read(folder)) == ["files_passed_over", "tables_passed_over"]
    listed(folder, "file_name,label\n1.png,cat\n")
    assert "tables_passed_over" not in codes(read(folder))


def test_names_in_other_letters_are_found(tmp_path: Path) -> None:
    """As on systems that do not tell 1.PNG from 1.png; where both are there, each is itself."""
    folder = listed(fill(tmp_path, "a/1.png", "2.JPG"), "file_name,label\nA/1.PNG,x\n2.jpg,y\n")
    assert labels(read(folder)) == {"2.JPG": "y", "a/1.png": "x"}
    listed(fill(tmp_path, "2.jpg"), "file_name,label\na/1.png,x\n2.jpg,y\n2.JPG,z\n")
    assert labels(read(folder)) == {"2.JPG": "z", "2.jpg": "y", "a/1.png": "x"}


def test_a_table_may_list_files_that_are_called_masks(tmp_path: Path) -> None:
    """Without it `1_mask.png` beside `1.png` is one, and is left out."""
    folder = fill(tmp_path, "1.png", "1_mask.png")
    assert set(labels(read(folder))) == {"1.png"}
    listed(folder, "file_name,label\n1.png,face\n1_mask.png,mask\n")
    assert labels(read(folder)) == {"1.png": "face", "1_mask.png": "mask"}
    assert all(not isinstance(item.content, BadImageError) for item in read(folder).items())


def test_a_split_of_training_rows_alone_is_no_trouble(tmp_path: Path) -> None:
    folder = listed(fill(tmp_path, "1.png", "2.png"), "file_name,split\n1.png,train\n2.png,train\n")
    assert {part for part, _ in told(read(folder)).values()} == {"train"}
    assert codes(read(folder)) == ["parts_from_column"]


def test_a_table_s_names_may_have_other_accents_than_the_files(tmp_path: Path) -> None:
    """The table by a program, the files from a Mac."""
    names = [f"\u00e9t\u00e9{number}.png" for number in range(3)]
    fill(tmp_path, *(unicodedata.normalize("NFD", name) for name in names))
    rows = [f"{name},{label}" for name, label in zip(names, "aab", strict=True)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,label", *rows]) + "\n")
    assert list(labels(read(tmp_path)).values()) == ["a", "a", "b"]


def test_rows_of_an_unknown_part_beside_training_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path, *(f"{number}.png" for number in range(4)))
    rows = [f"{n}.png,{part}" for n, part in enumerate(("train", "train", "holdout", "train"))]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,split", *rows]) + "\n")
    assert list(labels(read(tmp_path))) == ["0.png", "1.png", "3.png"]
