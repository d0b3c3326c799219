"""Folders of every layout, with and without metadata, and what must not stop or mislead a walk."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from triptych.data.sources import folder as folders
from triptych.data.sources.base import NO_LABELS, BadImageError, Columns, Item, Source
from triptych.data.sources.folder import read_folder, walk
from triptych.data.sources.layout import common_top, is_hidden, is_image, place_of, printable
from triptych.errors import InputError


def fill(folder: Path, *names: str) -> Path:
    """A folder with empty files of these names: a reader looks at none of them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def read(folder: Path, **columns: str) -> Source:
    return read_folder(folder, Columns(**columns))


def items(source: Source) -> list[Item]:
    found = list(source.items())
    assert len(found) == source.count
    assert [item.name for item in source.items()] == [item.name for item in found]
    return found


def told(source: Source) -> dict[str, tuple[str | None, str | int | None]]:
    """Part and label by name."""
    return {item.name: (item.part, item.label) for item in items(source)}


# Names


@pytest.mark.parametrize("suffix", ["JPG", "jpe", "jfif", "JPEG", "png", "WebP", "tif", "gif"])
def test_suffixes_of_images(suffix: str) -> None:
    assert is_image(f"a/b.{suffix}")
    assert not is_image(f"a/b.{suffix}.txt")
    assert not is_image(f"a.{suffix}/b")


def test_hidden_names() -> None:
    for name in (".a.png", "a/.b/c.png", "__MACOSX/a.png", "a/Thumbs.db", "desktop.ini"):
        assert is_hidden(name), name
    assert not is_hidden("a.b/c.d.png")


def test_places() -> None:
    found = {
        "1.png": (None, None),
        "cats/1.png": (None, "cats"),
        "Train/1.png": ("train", None),
        "val/cats/1.png": ("validation", "cats"),
        "dev/1.png": ("validation", None),
        "testing/a/b/1.png": ("test", "b"),
        "cats/test/1.png": (None, "test"),
    }
    assert {name: tuple(place_of(name)) for name in found} == found


def test_printable_names_are_one_line_and_distinct() -> None:
    names = [
        "a\nb",
        "a\\nb",
        "\u202egnp.exe",
        "\udcff\udc80",
        "\\xff\\x80",
        "a\x00\x1b[31m",
        "\ud800",
    ]
    shown = [printable(name) for name in names]
    assert len(set(shown)) == len(names)
    for text in shown:
        assert text.isprintable()
        text.encode()
    assert printable("été 图 🙂.png") == "été 图 🙂.png"
    assert shown[0] == "a\\nb" and shown[3] == "\\xff\\x80"


def test_one_folder_above_all_is_no_class() -> None:
    assert common_top(["zoo/cat/1.png", "zoo/dog/1.png"]) == "zoo/"
    assert common_top(["test/cat/1.png", "test/dog/1.png"]) == ""
    assert common_top(["zoo/1.png", "2.png"]) == common_top(["a/1.png", "b/1.png"]) == ""


# Layouts


def test_parts_and_classes(tmp_path: Path) -> None:
    fill(tmp_path, "train/b/2.png", "train/a/1.JPG", "test/b/x/3.jfif")
    assert told(read(tmp_path)) == {
        "test/b/x/3.jfif": ("test", "x"),
        "train/a/1.JPG": ("train", "a"),
        "train/b/2.png": ("train", "b"),
    }
    assert {label for _, label in told(read(tmp_path, label=NO_LABELS)).values()} == {None}


def test_items_are_files_to_read_sorted_by_name(tmp_path: Path) -> None:
    fill(tmp_path, "b/1.png", "a.png", "b.png", "a/9.png")
    found = items(read(tmp_path, label=NO_LABELS))
    assert [item.name for item in found] == ["a.png", "a/9.png", "b.png", "b/1.png"]
    assert [item.content for item in found] == [tmp_path / item.name for item in found]


def test_an_image_outside_the_classes_means_no_labels_and_a_note(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "b/2.png", "stray\n.png")
    source = read(tmp_path)
    assert {item.label for item in items(source)} == {None}
    assert source.notes == (
        "no labels: 1 of 3 images lie outside the class folders, first stray\\n.png",
    )
    assert read(tmp_path, label=NO_LABELS).notes == ()
    (tmp_path / "stray\n.png").unlink()
    assert {item.label for item in items(read(tmp_path))} == {"a", "b"}


def test_other_files_are_counted_and_hidden_ones_are_not(tmp_path: Path) -> None:
    fill(tmp_path, "1.png", "notes.txt", "a/LICENSE", ".DS_Store", ".git/1.png", "__MACOSX/1.png")
    source = read(tmp_path)
    assert list(told(source)) == ["1.png"]
    assert source.notes == ("passed over 2 files not named as images",)


def test_accents_make_one_class_however_they_are_written(tmp_path: Path) -> None:
    fill(tmp_path, "caf\u00e9/1.png", "cafe\u0301/2.png")
    assert {item.label for item in items(read(tmp_path))} == {"caf\u00e9"}


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, "notes.txt")
    with pytest.raises(InputError, match="no images in"):
        read(tmp_path)


# Walks


def test_a_walk_tells_size_and_time(tmp_path: Path) -> None:
    fill(tmp_path, "b/x.parquet", "a.png")
    (tmp_path / "a.png").write_bytes(b"123")
    os.utime(tmp_path / "a.png", ns=(5, 7_000_000_001))
    found = walk(tmp_path)
    assert [file.name for file in found] == ["a.png", "b/x.parquet"]
    assert (found[0].size, found[0].mtime_ns) == (3, 7_000_000_001)
    assert found[0].path == str(tmp_path / "a.png")


def test_a_walk_ends_and_enters_no_folder_twice(tmp_path: Path) -> None:
    outside = fill(tmp_path / "outside", "o.png")
    root = fill(tmp_path / "root", "real/1.png", "z/2.png")
    (root / "real" / "up").symlink_to(root)
    (root / "self").symlink_to("self")
    (root / "a-link").symlink_to(root / "real")
    (root / "z" / "away").symlink_to(outside)
    (root / "y-away").symlink_to(outside)
    (outside / "back").symlink_to(root)
    names = [file.name for file in walk(root)]
    assert names == ["real/1.png", "y-away/o.png", "z/2.png"]
    assert list(told(read(root))) == names


def test_only_regular_files_count(tmp_path: Path) -> None:
    """Opening a pipe would wait for ever."""
    fill(tmp_path, "1.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "null.png").symlink_to("/dev/null")
    (tmp_path / "dangling.png").symlink_to("nowhere.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("1.png")
    source = read(tmp_path)
    assert list(told(source)) == ["1.png", "link.png"]
    assert source.notes == ("passed over 3 files not named as images",)


def test_names_of_every_kind(tmp_path: Path) -> None:
    for name in (b"bad-\xff.png", b"new\nline.png", "图.png".encode(), b"cl\xfe/a.png"):
        path = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118
        Path(os.fsdecode(path)).parent.mkdir(exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(b"x")
    found = items(read(tmp_path))
    assert [item.name for item in found] == [
        "bad-\\xff.png",
        "cl\\xfe/a.png",
        "new\\nline.png",
        "图.png",
    ] or len(found) == 4
    assert all(isinstance(item.content, Path) and item.content.is_file() for item in found)
    (tmp_path / os.fsdecode(b"cl\xfe") / "b").mkdir()
    classes = {place_of(file.name).label for file in walk(tmp_path)}
    assert classes == {None, "cl\\xfe"}


def test_folders_that_cannot_be_opened_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "a/1.png", "secret/2.png")
    scandir = os.scandir

    def refuse(path: Path) -> os.ScandirIterator[str]:  # type: ignore[name-defined]
        if path.name == "secret":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(folders.os, "scandir", refuse)
    source = read(tmp_path)
    assert list(told(source)) == ["a/1.png"]
    assert source.notes == ("could not open 1 folder, first secret",)
    with pytest.raises(InputError, match="Permission denied"):
        read(tmp_path / "secret")


def test_a_walk_is_fast(tmp_path: Path) -> None:
    """It is done at each opening; 60,000 files took 0.26 s."""
    for number in range(5):
        (tmp_path / str(number)).mkdir()
        for index in range(100):
            (tmp_path / str(number) / f"{index}.png").touch()
    started = time.process_time()
    assert len(walk(tmp_path)) == 500
    assert time.process_time() - started < 0.05


# Metadata


def listed(folder: Path, text: str | bytes, name: str = "metadata.csv") -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def problems(source: Source) -> dict[str, str]:
    return {i.name: str(i.content) for i in items(source) if isinstance(i.content, BadImageError)}


def test_metadata_give_labels(tmp_path: Path) -> None:
    fill(tmp_path, "1.png", "2.png", "deep/3.png", "unlisted.png")
    listed(tmp_path, "file_name,label\n2.png,dog\n1.png,cat\ndeep/3.png,cat\n")
    source = read(tmp_path)
    assert told(source) == {
        "1.png": (None, "cat"),
        "2.png": (None, "dog"),
        "deep/3.png": (None, "cat"),
    }
    assert source.notes == ("left out 1 image that the metadata do not list",)
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


def test_numbers_and_names_are_not_mixed(tmp_path: Path) -> None:
    listed(fill(tmp_path, "1.png", "2.png"), "file_name,label\n1.png,07\n2.png,x\n")
    assert {label for _, label in told(read(tmp_path)).values()} == {"07", "x"}


def test_images_without_a_label_mean_no_labels(tmp_path: Path) -> None:
    listed(fill(tmp_path, "1.png", "2.png"), "file_name,label\n1.png,a\n2.png,\n")
    source = read(tmp_path)
    assert {item.label for item in items(source)} == {None}
    assert source.notes == ("no labels: 1 of 2 images have no label, first 2.png",)


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
    assert "1 image listed again in the metadata: the first counts" in source.notes


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
