"""What users write after `--data`: the right reader, or one line that says what is wrong."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.making import beyond_the_usual
from triptych.data.sources import Columns, Origin, Source
from triptych.data.sources.find import READERS, find_origin, find_path, name_of
from triptych.data.sources.layout import KINDS
from triptych.errors import InputError
from triptych.records import Note


def find(data: str | Path, **columns: str) -> Origin:
    return find_origin(str(data), Columns(**columns))


def read(data: str | Path) -> Source:
    return find(data).read(lambda done, count: None)


def refused(data: str | Path) -> str:
    """The message, which has to be one line."""
    with pytest.raises(InputError) as caught:
        read(data)
    message = str(caught.value)
    assert message.isprintable()
    message.encode()
    return message


def table(path: Path, rows: int = 3) -> Path:
    """A parquet file with so many images, which nobody decodes here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": [b"x"] * rows, "label": list(range(rows))}), path)
    return path


def images(folder: Path, count: int) -> Path:
    """A folder with so many empty image files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.png").touch()
    return folder


# Folders with tables


@pytest.mark.parametrize(("count", "rows"), [(0, 5), (19, 5), (20, None), (30, None)])
def test_images_beside_tables(tmp_path: Path, count: int, rows: int | None) -> None:
    """A few pictures beside tables are decoration; tables beside many images are passed over."""
    table(images(tmp_path, count) / "a.parquet", 3)
    table(tmp_path / "b.PARQUET", 2)
    source = read(tmp_path)
    assert source.count == (rows or count)
    notes = beyond_the_usual(source)
    if rows is None:
        assert notes == (Note("parquet_passed_over", {"n": 2}),)
    elif count:
        values = {"n": count, "suffixes": f".png {count}"}
        assert notes == (Note("files_beside_tables", {**values}),)
    else:
        assert notes == ()


def archive(path: Path, count: int) -> Path:
    """A .tar with so many empty image files."""
    with tarfile.open(path, "w") as tar:
        for number in range(count):
            tar.addfile(tarfile.TarInfo(f"{path.stem}{number:04d}.jpg"))
    return path


def test_tables_of_texts_beside_archives(tmp_path: Path) -> None:
    """As img2dataset writes them: a table without images beside each archive is no reason."""
    for shard in ("00000", "00001"):
        archive(tmp_path / f"{shard}.tar", 12)
        texts = pa.table({"url": ["https://a/1.jpg"] * 12, "key": list(map(str, range(12)))})
        pq.write_table(texts, tmp_path / f"{shard}.parquet")
        (tmp_path / f"{shard}_stats.json").write_text("{}")
    source = read(tmp_path)
    assert source.count == 24
    values = {"n": 4, "suffixes": ".json 2, .parquet 2"}
    assert Note("files_beside_archives", {**values}) in source.notes


def test_archives_beside_tables_are_told(tmp_path: Path) -> None:
    """Where tables hold images they are read, and a note says that the archives are not."""
    table(tmp_path / "train.parquet", 5)
    archive(tmp_path / "test.tar", 4)
    (tmp_path / "1.png").touch()
    source = read(tmp_path)
    assert source.count == 5
    values = {"n": 2, "suffixes": ".png 1, .tar 1"}
    assert beyond_the_usual(source) == (Note("files_beside_tables", {**values}),)


def test_a_linked_folder_of_tables_is_read(tmp_path: Path) -> None:
    """One walk tells what there is and what is read: it follows links and hides the hidden."""
    table(tmp_path / "away" / "train-0.parquet", 3)
    table(tmp_path / "away" / "test.Parquet", 2)
    table(tmp_path / "here" / ".cache" / "old.parquet")
    (tmp_path / "here" / "data").symlink_to(tmp_path / "away")
    source = read(tmp_path / "here")
    assert source.count == 5
    assert [(item.name, item.part) for item in source.items()] == [
        ("data/test.Parquet[0]", "test"),
        ("data/test.Parquet[1]", "test"),
        ("data/train-0.parquet[0]", "train"),
        ("data/train-0.parquet[1]", "train"),
        ("data/train-0.parquet[2]", "train"),
    ]
    (tmp_path / "link").symlink_to("here")
    assert read(tmp_path / "link").count == 5


def test_every_change_of_a_folder_changes_its_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [find(images(tmp_path, 3)).identity]
    (tmp_path / "0.png").write_bytes(b"1")
    seen.append(find(tmp_path).identity)
    os.utime(tmp_path / "0.png", ns=(1, 1))
    seen.append(find(tmp_path).identity)
    (tmp_path / "0.png").rename(tmp_path / "9.png")
    seen.append(find(tmp_path).identity)
    (tmp_path / "closed").mkdir()
    assert find(tmp_path).identity == seen[-1]  # an empty folder is nothing
    opened = os.open

    def refuse(path: Path, *rest: int) -> int:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest)

    monkeypatch.setattr(os, "open", refuse)
    seen.append(find(tmp_path).identity)
    (tmp_path / "nohup.out").write_text("a line")
    seen.append(find(tmp_path).identity)  # a note counts it
    (tmp_path / "nohup.out").write_text("a line and another")
    assert find(tmp_path).identity == seen[-1]  # nobody reads it
    for name, text in (("metadata.csv", "a"), ("1.cls", "7"), ("a.zip", "b"), ("names.csv", "c")):
        (tmp_path / name).write_text(text)
        seen.append(find(tmp_path).identity)
        (tmp_path / name).write_text(text + text)
        seen.append(find(tmp_path).identity)
    table(tmp_path / "tables" / "a.parquet")
    for text in ("image", "other image"):  # which a row may name
        (tmp_path / "tables" / "bare").write_text(text)
        seen.append(find(tmp_path / "tables").identity)
    assert len({str(identity) for identity in seen}) == len(seen)
    assert find(tmp_path, label="none").identity != seen[-1]


# What is no data


@pytest.mark.parametrize(
    "data", ["", " ", "nowhere", "~nosuchuser/x", "a\0b", "no\nwhere", "\udcff\x1b[31m", "x.zip/y"]
)
def test_what_is_not_there(tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.zip").touch()
    assert refused(data).startswith("no data '")
    assert ": name street-digits, svhn" in refused(data)


def test_a_name_that_is_too_long() -> None:
    message = refused("x" * 5000)
    assert message.startswith("cannot read xxx") and "File name too long" in message
    assert len(message) < 500


def test_a_folder_that_hides_what_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    assert refused("secret/a.zip") == "cannot read secret/a.zip (Permission denied): check it"


@pytest.mark.parametrize("suffix", ["", *READERS])
def test_pipes_and_devices_are_not_opened(tmp_path: Path, suffix: str) -> None:
    """To open one would be to wait for ever."""
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"null{suffix}").symlink_to("/dev/null")
    for name in ("pipe", "null"):
        assert f"{name}{suffix} is a pipe or a device" in refused(tmp_path / f"{name}{suffix}")


def test_files_of_other_kinds(tmp_path: Path) -> None:
    (tmp_path / "a\n.doc").touch()
    assert refused(tmp_path / "a\n.doc").startswith("cannot read a\\n.doc: give a folder of images")


@pytest.mark.parametrize(
    ("data", "meant"),
    [
        ("MNIST", "mnist"),
        ("cifar-10", "cifar10"),
        ("CIFAR10", "cifar10"),
        ("fashion_mnist", "fashion-mnist"),
        ("Fashion MNIST", "fashion-mnist"),
        ("svhn_extra", "svhn+extra"),
        ("street_digits", "street-digits"),
        ("minst", "mnist"),
    ],
)
def test_names_that_are_nearly_right(
    tmp_path: Path, data: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    beginning = f"no data '{data}': did you mean {meant}? name street-digits, svhn, "
    assert refused(data).startswith(beginning)
    (tmp_path / data).mkdir()
    assert "no images in" in refused(data)  # what is there is meant


@pytest.mark.parametrize("data", ["photos", "data/mnist", "hf", "owner/name", "a.zip"])
def test_other_names_are_not_guessed(
    tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "did you mean" not in refused(data)


# Names


def test_names_of_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = tmp_path / "digits"
    digits.mkdir()
    monkeypatch.chdir(digits)
    found = {
        Path(): "digits",
        Path("/"): "images",
        digits / "a.tar.gz": "a",
        digits / "A.ZIP": "A",
        digits / ".zip": "images",
        digits / "train-00000-of-00001.parquet": "digits",
        digits / "TEST.Parquet": "digits",
        digits / "birds.parquet": "birds",
        digits / "train.zip": "train",
        digits / "b\n\x1b[31m.npz": "b\\n\\x1b[31m",
        digits / os.fsdecode(b"caf\xff.mat"): "caf\\xff",
        digits / " .npz": "images",
    }
    for path in found:
        if not path.is_dir():
            path.touch()
    assert {path: name_of(path) for path in found} == found


def test_an_origin_has_a_name_that_can_be_shown(tmp_path: Path) -> None:
    odd = images(tmp_path / os.fsdecode(b"od\xffd\n"), 1)
    assert find_path(odd, Columns()).name == "od\\xffd\\n"


def test_what_an_empty_folder_suggests_is_what_is_read() -> None:
    assert set(KINDS) == set(READERS)
