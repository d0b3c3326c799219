"""Folders of every layout, with and without metadata, and what must not stop or mislead a walk."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from triptych.data.sources import NO_LABELS, BadImageError, Columns, Item, Source, printable
from triptych.data.sources import folder as folders
from triptych.data.sources.folder import read_folder, walk
from triptych.data.sources.layout import is_hidden, is_image
from triptych.errors import InputError
from triptych.files import write_json
from triptych.records import Note


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


def listed(folder: Path, text: str | bytes, name: str = "metadata.csv") -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def problems(source: Source) -> dict[str, str]:
    return {i.name: str(i.content) for i in items(source) if isinstance(i.content, BadImageError)}


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


# Layouts


def test_parts_and_classes(tmp_path: Path) -> None:
    fill(tmp_path, "train/b/2.png", "train/a/1.JPG", "test/b/x/3.jfif")
    assert told(read(tmp_path)) == {
        "test/b/x/3.jfif": ("test", "b"),
        "train/a/1.JPG": ("train", "a"),
        "train/b/2.png": ("train", "b"),
    }
    assert {label for _, label in told(read(tmp_path, label=NO_LABELS)).values()} == {None}


def test_items_are_files_to_read_sorted_by_name(tmp_path: Path) -> None:
    fill(tmp_path, "b/1.png", "a.png", "b.png", "a/9.png")
    found = items(read(tmp_path, label=NO_LABELS))
    assert [item.name for item in found] == ["a.png", "a/9.png", "b.png", "b/1.png"]
    assert [item.content for item in found] == [tmp_path / item.name for item in found]


def test_an_image_outside_the_classes_has_no_label(tmp_path: Path) -> None:
    """What becomes of it is decided where all labels are known."""
    fill(tmp_path, "a/1.png", "b/2.png", "stray\n.png")
    found = {item.name: item.label for item in items(read(tmp_path))}
    assert found == {"a/1.png": "a", "b/2.png": "b", "stray\\n.png": None}


def test_other_files_are_counted_and_hidden_ones_are_not(tmp_path: Path) -> None:
    fill(tmp_path, "1.png", "notes.txt", "a/LICENSE", ".DS_Store", ".git/1.png", "__MACOSX/1.png")
    source = read(tmp_path)
    assert list(told(source)) == ["1.png"]
    values = {"n": 2, "suffixes": ".txt 1, - 1"}
    assert source.notes == (Note("files_passed_over", {**values}),)
    fill(tmp_path, "2.TXT", "3.tar.gz", *(f"x.s{number}" for number in range(5)))
    values = {"n": 9, "suffixes": ".txt 2, .s0 1, .s1 1, .s2 1, .s3 1, +3"}
    assert read(tmp_path).notes == (Note("files_passed_over", {**values}),)


def test_accents_make_one_class_however_they_are_written(tmp_path: Path) -> None:
    fill(tmp_path, "caf\u00e9/1.png", "cafe\u0301/2.png")
    assert {item.label for item in items(read(tmp_path))} == {"caf\u00e9"}


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no images in [^(]*: put \.png, \.jpg, "):
        read(tmp_path)
    fill(tmp_path, "notes.txt")
    with pytest.raises(InputError, match=r"no images in .* \(there is 1 \.txt\): put \.png"):
        read(tmp_path)
    fill(tmp_path, "a.npz", "b.npz", "c.tar.gz")
    wrong = r"\(there are 2 \.npz, 1 \.tar\.gz, 1 \.txt\): name one of those files$"
    with pytest.raises(InputError, match=wrong):
        read(tmp_path)


def test_images_of_formats_that_are_not_read_come_too(tmp_path: Path) -> None:
    """So that they are listed as bad, and do not vanish among the files passed over."""
    names = [f"a/{n}.{s}" for n, s in enumerate(("HEIC", "avif", "svg", "nef", "ppm", "ico"))]
    source = read(fill(tmp_path, *names, "b/1.png"))
    assert list(told(source)) == [*names, "b/1.png"]
    assert [note.code for note in source.notes] == ["classes_from_folders"]


def test_columns_are_refused_where_there_are_none(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "b/2.png")
    with pytest.raises(InputError, match="has no columns: leave out --label-column, or give first"):
        read(tmp_path, label="kind")
    with pytest.raises(InputError, match="has no columns: leave out --image-column"):
        read(tmp_path, image="path")
    listed(tmp_path, "path,kind\na/1.png,3\n")
    assert told(read(tmp_path, image="path", label="kind")) == {"a/1.png": (None, 3)}


# What lies above, and beside, the parts


def test_names_are_below_the_folder_that_holds_all(tmp_path: Path) -> None:
    fill(tmp_path / "one", "img_align/1.png", "img_align/2.png", "readme.txt")
    assert told(read(tmp_path / "one")) == {"1.png": (None, None), "2.png": (None, None)}
    two = fill(tmp_path / "two", "wrap/set/train/a/1.png", "wrap/set/Test/b/2.png")
    assert list(told(read(two))) == ["Test/b/2.png", "train/a/1.png"]
    assert [i.content for i in items(read(two))] == [
        two / "wrap/set/Test/b/2.png",
        two / "wrap/set/train/a/1.png",
    ]
    four = fill(tmp_path / "four", "wrap/pictures/1.png")
    listed(four, "file_name,label\npictures/1.png,x\n", "wrap/metadata.csv")
    assert told(read(four)) == {"pictures/1.png": (None, "x")}


def test_what_lies_beside_train_is_left_out(tmp_path: Path) -> None:
    kept = ("Train/a/1.png", "Train/b/2.png", "test/b/2.png")
    fill(tmp_path, *kept, "extra/a/3.png", "extra/b/4.png", "eval/5.png")
    source = read(tmp_path)
    assert list(told(source)) == list(kept)
    folders = Note("folders_beside_train", {"folders": "eval (1), extra (2)"})
    assert folders in source.notes
    fill(tmp_path, "0.png")
    assert told(read(tmp_path)) == told(source)
    more = [note for note in read(tmp_path).notes if note not in source.notes]
    assert more == [Note("images_beside_train", {"n": 1})]


def test_without_train_nothing_is_beside_it(tmp_path: Path) -> None:
    fill(tmp_path, "test/a/1.png", "more/a/2.png", "more/b/3.png")
    assert told(read(tmp_path)) == {
        "more/a/2.png": (None, "a"),
        "more/b/3.png": (None, "b"),
        "test/a/1.png": ("test", "a"),
    }


# Walks


def test_a_walk_tells_size_and_time(tmp_path: Path) -> None:
    fill(tmp_path, "b/x.parquet", "a.png")
    (tmp_path / "a.png").write_bytes(b"123")
    os.utime(tmp_path / "a.png", ns=(5, 7_000_000_001))
    found = walk(tmp_path)
    assert [file.name for file in found] == ["a.png", "b/x.parquet"]
    assert (found[0].size, found[0].mtime_ns) == (3, 7_000_000_001)


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
    assert source.notes == (Note("links_passed_over", {"n": 3}),)


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
    ]
    assert all(isinstance(item.content, Path) and item.content.is_file() for item in found)
    (tmp_path / os.fsdecode(b"cl\xfe") / "b").mkdir()
    fill(tmp_path, "more/a.png")
    assert {item.label for item in items(read(tmp_path))} == {None, "cl\\xfe", "more"}


def test_folders_that_cannot_be_opened_are_bad_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "a/1.png", "b/1.png", "secret/2.png")
    opened = os.open

    def refuse(path: Path, *rest: int) -> int:
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest)

    monkeypatch.setattr(folders.os, "open", refuse)
    source = read(tmp_path)
    assert told(source) == {"a/1.png": (None, "a"), "b/1.png": (None, "b"), "secret": (None, None)}
    assert problems(source) == {"secret": "cannot be opened (Permission denied)"}
    with pytest.raises(InputError, match="Permission denied"):
        read(tmp_path / "secret")


def test_a_walk_looks_up_paths_by_the_folder_and_not_by_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is done at each opening, and paths are what takes time: 60,000 files took 0.21 s."""
    looked_up: list[str] = []

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *rest, **more: (looked_up.append(name), call(*rest, **more))[1]

    for place, name in ((os, "open"), (os, "scandir"), (os, "stat"), (os, "lstat")):
        monkeypatch.setattr(place, name, counted(name, getattr(place, name)))
    asked = []
    for files in (1, 100):
        root = fill(
            tmp_path / str(files), *(f"{n}/{k}.png" for n in range(5) for k in range(files))
        )
        looked_up.clear()
        assert len(walk(root)) == 5 * files
        asked.append(Counter(looked_up))
    assert asked[0] == asked[1] and asked[0]["scandir"] == 6  # the top and five below it


def test_a_folder_of_ours_says_what_makes_it_one(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "below/b.png", "torn/contract.json", "torn/c.png")
    write_json(tmp_path / "below/run.json", {"schema": 1, "triptych": "0.1", "model": "vae"})
    source = read(tmp_path)
    assert [item.name for item in items(source)] == ["a.png"]
    values = {"n": 2, "folders": "below, torn"}
    assert source.notes == (Note("own_folders_passed_over", {**values}),)
    write_json(tmp_path / "run.json", {"schema": 1, "triptych": "0.1"})
    with pytest.raises(InputError, match=r"holds run\.json, as folders do that triptych made"):
        read(tmp_path)


def test_other_programs_write_such_files_too(tmp_path: Path) -> None:
    fill(tmp_path, "cat/1.png", "dog/2.png")
    write_json(tmp_path / "cat/run.json", {"schema": 1, "experiment": "camera 3"})
    write_json(tmp_path / "run.json", [])
    assert [item.label for item in items(read(tmp_path))] == ["cat", "dog"]


def test_contact_sheets_lie_beside_runs(tmp_path: Path) -> None:
    """Elsewhere files of such names are images."""
    fill(tmp_path, "jumps/data-1.png", "runs/data-1.png", "runs/vae/grid.png")
    names = [item.name for item in items(read(tmp_path))]
    assert names == ["jumps/data-1.png", "runs/data-1.png", "runs/vae/grid.png"]
    write_json(tmp_path / "runs/vae/run.json", {"schema": 1, "triptych": "0.1"})
    assert [item.name for item in items(read(tmp_path))] == ["data-1.png"]  # of jumps
