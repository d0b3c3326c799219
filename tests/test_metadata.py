"""Metadata beside images: what they list, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_folder import fill, items, listed, problems, read, told
from triptych.data.sources import NO_LABELS
from triptych.errors import InputError
from triptych.records import Note


def test_metadata_on_top_speak_of_what_lies_beside_train(tmp_path: Path) -> None:
    fill(tmp_path, "train/1.png", "test/1.png", "more/2.png")
    listed(tmp_path, "file_name,label\n2.png,x\n", "more/metadata.csv")
    assert told(read(tmp_path)) == {"train/1.png": ("train", None), "test/1.png": ("test", None)}
    with pytest.raises(InputError, match="has no columns"):
        read(tmp_path, label="label")
    listed(tmp_path, "file_name,label\ntrain/1.png,x\nmore/2.png,y\ntest/1.png,x\n")
    assert told(read(tmp_path)) == {
        "more/2.png": (None, "y"),
        "test/1.png": ("test", "x"),
        "train/1.png": ("train", "x"),
    }
    assert problems(read(tmp_path)) == {}


def test_metadata_give_labels(tmp_path: Path) -> None:
    fill(tmp_path, "1.png", "2.png", "deep/3.png", "unlisted.png")
    listed(tmp_path, "file_name,label\n2.png,dog\n1.png,cat\ndeep/3.png,cat\n")
    source = read(tmp_path)
    assert told(source) == {
        "1.png": (None, "cat"),
        "2.png": (None, "dog"),
        "deep/3.png": (None, "cat"),
    }
    labels = Note("labels_from_column", {"name": "label", "table": "metadata.csv"})
    assert source.notes == (labels, Note("images_not_listed", {"n": 1}))
    assert {label for _, label in told(read(tmp_path, label=NO_LABELS)).values()} == {None}


@pytest.mark.parametrize(
    "text",
    [
        "file_name,text,label\n1.png,one,3\n",
        '"file_name","text","label"\r\n"1.png","one, and ""more""\r\nlines","3"\r\n',
        "\ufefffile_name;text;label\n1.png;a,b;3\n\n",
        "text\tlabel\tfile_name\na;b,c\t3\t./1.png\n",
        "file_name,text,label\n1.png,one,3\n".encode("utf-16"),
    ],
    ids=["plain", "quoted", "semicolons", "tabs", "utf-16"],
)
def test_tables_of_every_dialect(tmp_path: Path, text: str | bytes) -> None:
    listed(fill(tmp_path, "1.png"), text)
    assert told(read(tmp_path)) == {"1.png": (None, 3)}


def test_json_lines(tmp_path: Path) -> None:
    fill(tmp_path, "1.png", "2.png")
    text = (
        '{"file_name": "1.png", "label": 4, "more": [1]}\r\n\n{"label": 5.0, "file_name": "2.png"}'
    )
    listed(tmp_path, text, "metadata.jsonl")
    assert told(read(tmp_path)) == {"1.png": (None, 4), "2.png": (None, 5)}


def test_metadata_in_each_part(tmp_path: Path) -> None:
    fill(tmp_path, "train/1.png", "train/2.png", "test/1.png")
    listed(tmp_path, "file_name,class\n1.png,a\n2.png,b\n", "train/metadata.csv")
    listed(tmp_path, "file_name,class\n1.png,b\n", "test/metadata.csv")
    assert told(read(tmp_path)) == {
        "train/1.png": ("train", "a"),
        "train/2.png": ("train", "b"),
        "test/1.png": ("test", "b"),
    }


def test_without_labels_in_the_metadata_the_folders_speak(tmp_path: Path) -> None:
    fill(tmp_path, "train/a/1.png", "train/b/2.png", "test/a/3.png")
    listed(tmp_path, "file_name,text\na/1.png,x\nb/2.png,y\n", "train/metadata.csv")
    assert told(read(tmp_path)) == {
        "train/a/1.png": ("train", "a"),
        "train/b/2.png": ("train", "b"),
        "test/a/3.png": ("test", "a"),
    }


def test_columns_can_be_named(tmp_path: Path) -> None:
    fill(tmp_path, "1.png")
    listed(tmp_path, "path,label,kind\n1.png,3,moth\n")
    assert told(read(tmp_path, image="path", label="kind")) == {"1.png": (None, "moth")}
    with pytest.raises(InputError, match=r"no column 'sort' in metadata\.csv: there are path, lab"):
        read(tmp_path, image="path", label="sort")


@pytest.mark.parametrize("column", ["label", "target", "digit", "Y"])
def test_usual_label_columns(tmp_path: Path, column: str) -> None:
    listed(fill(tmp_path, "1.png"), f"file_name,{column}\n1.png,3\n")
    assert told(read(tmp_path)) == {"1.png": (None, 3)}


def test_numbers_and_names_are_not_mixed(tmp_path: Path) -> None:
    listed(fill(tmp_path, "1.png", "2.png"), "file_name,label\n1.png,07\n2.png,x\n")
    assert {label for _, label in told(read(tmp_path)).values()} == {"07", "x"}


def test_an_empty_label_is_none(tmp_path: Path) -> None:
    listed(fill(tmp_path, "1.png", "2.png"), "file_name,label\n1.png,a\n2.png,\n")
    assert told(read(tmp_path)) == {"1.png": (None, "a"), "2.png": (None, None)}


def test_listed_files_that_are_not_there_are_bad(tmp_path: Path) -> None:
    fill(tmp_path / "secret", "s.png")
    root = fill(tmp_path / "root", "a.png", "b/b.png", "notes.txt")
    rows = ["a.png", "gone.png", "notes.txt", "../secret/s.png", "/etc/passwd", "C:\\x.png"]
    rows += ["b/../../secret/s.png", "b\\b.png"]
    listed(root, "file_name,label\n" + "".join(f"{row},x\n" for row in rows) + "a.png,y\n")
    source = read(root)
    assert problems(source) == {
        "gone.png": "listed in metadata.csv but not there",
        "notes.txt": "listed in metadata.csv but not named as an image",
        "../secret/s.png": "outside the folder",
        "b/../../secret/s.png": "outside the folder",
        "/etc/passwd": "outside the folder",
        "C:\\\\x.png": "outside the folder",
    }
    good = {item.name for item in items(source)} - problems(source).keys()
    assert good == {"a.png", "b/b.png"}
    assert told(source)["a.png"] == (None, "x")
    assert Note("images_listed_again", {"n": 1}) in source.notes


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        (
            "metadata.csv",
            "name,label\n1.png,a\n",
            "no column file_name: add it to its header .name,",
        ),
        ("metadata.csv", "", "no column file_name"),
        ("metadata.csv", 'file_name,label\n"1.png,a\n', "malformed .unexpected end"),
        (
            "metadata.csv",
            "file_name,label\n1.png,a,b\n",
            "row 1 of metadata.csv has 3 fields under 2",
        ),
        ("metadata.csv", "file_name,label\n,a\n", "row 1 of metadata.csv has no file_name"),
        ("metadata.csv", b"file_name,label\n\xff.png,a\n", "not UTF-8"),
        ("metadata.csv", "file_name,x\n1.png," + 200_000 * "x", "malformed .field larger"),
        ("metadata.jsonl", '{"file_name": "1.png"}\n{"file', "line 2 of metadata.jsonl is no JSON"),
        ("metadata.jsonl", "[1]", "line 1 of metadata.jsonl is no object"),
        ("metadata.jsonl", "[" * 100_000, "line 1 of metadata.jsonl is no JSON"),
        ("metadata.jsonl", '{"name": "1.png"}', "no column file_name: it has name"),
        ("metadata.jsonl", '{"file_name": "1.png"}\n{"label": 3}', "row 2 .* has no file_name"),
        ("metadata.jsonl", '{"file_name": "1.png", "label": [1]}', "label in row 1 .* neither"),
    ],
)
def test_malformed_metadata_are_refused(
    tmp_path: Path, name: str, text: str | bytes, wrong: str
) -> None:
    listed(fill(tmp_path, "1.png"), text, name)
    with pytest.raises(InputError, match=wrong):
        read(tmp_path)
