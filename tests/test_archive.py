"""Archives give the same images as the folder they were packed from, and none is trusted."""

from __future__ import annotations

import gzip
import io
import random
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from triptych.data.sources import NO_LABELS, BadImageError, Columns, Item, Source
from triptych.data.sources import archive as archives
from triptych.data.sources.archive import SUFFIXES, read_archive
from triptych.errors import InputError
from triptych.records import Note

TARS = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}
FILES = {
    "train/b/2.png": b"two" * 100,
    "train/a/1.JPG": b"one",
    "test/a/3.webp": b"",
    "test/b/4.png": random.Random(0).randbytes(70_000),  # which no packing makes smaller
}


def pack(path: Path, files: dict[str, bytes]) -> Path:
    """The files in this order, as the suffix says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    suffix = next(s for s in sorted(TARS, key=len, reverse=True) if path.name.endswith(s))
    with tarfile.open(path, TARS[suffix]) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            archive.addfile(member(name, len(content)), io.BytesIO(content))
    return path


def member(
    name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def read(path: Path, **columns: str) -> Source:
    return read_archive(path, Columns(**columns))


def items(source: Source) -> list[Item]:
    found = list(source.items())
    assert len(found) == source.count
    assert [item.name for item in source.items()] == [item.name for item in found]
    return found


def contents(source: Source) -> dict[str, object]:
    """What each name holds: bytes, or the reason why it is bad."""
    return {
        item.name: str(item.content) if isinstance(item.content, BadImageError) else item.content
        for item in items(source)
    }


# What they hold


@pytest.mark.parametrize("top", ["", "zoo/", "./"])
@pytest.mark.parametrize("suffix", [".zip", *TARS])
def test_every_kind_gives_bytes_parts_and_classes(tmp_path: Path, suffix: str, top: str) -> None:
    path = pack(tmp_path / f"a{suffix}", {top + name: body for name, body in FILES.items()})
    source = read(path)
    assert contents(source) == FILES
    told = {item.name: (item.part, item.label) for item in items(source)}
    assert told == {name: (name.split("/")[0], name.split("/")[1]) for name in FILES}
    assert [note.code for note in source.notes] == ["parts_from_names", "classes_from_folders"]
    names = [item.name for item in items(source)]
    assert names == (sorted(FILES) if suffix == ".zip" else list(FILES))


def test_the_content_tells_the_kind(tmp_path: Path) -> None:
    for index, suffix in enumerate([".zip", *TARS]):
        packed = pack(tmp_path / f"{index}{suffix}", FILES)
        for other in SUFFIXES:
            mislabelled = packed.rename(tmp_path / f"{index}{other}")
            assert contents(read(mislabelled)) == FILES
            packed = mislabelled
    pack(tmp_path / "a.zip", FILES)
    (tmp_path / "prefixed.zip").write_bytes(b"#!/bin/sh\n" * 60 + (tmp_path / "a.zip").read_bytes())
    assert contents(read(tmp_path / "prefixed.zip")) == FILES


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_what_lies_above_and_beside_the_parts(tmp_path: Path, suffix: str) -> None:
    """The same rule as for folders, which are tested in detail."""
    files = {
        "zoo/in/extra/1.png": b"1",
        "zoo/in/test/b/2.png": b"2",
        "zoo/in/train/a/3.heic": b"3",
        "zoo/in/train/b/4.png": b"4",
    }
    source = read(pack(tmp_path / f"a{suffix}", files))
    told = {item.name: (item.part, item.label, item.content) for item in items(source)}
    assert told == {
        "test/b/2.png": ("test", "b", b"2"),
        "train/a/3.heic": ("train", "a", b"3"),
        "train/b/4.png": ("train", "b", b"4"),
    }
    assert Note("folders_beside_train", {"folders": "extra (1)"}) in source.notes
    heap = read(pack(tmp_path / f"b{suffix}", {"x/img/1.png": b"1", "x/img/2.png": b"2"}))
    assert [(item.name, item.label) for item in items(heap)] == [("1.png", None), ("2.png", None)]


def test_columns_are_refused_where_there_are_none(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", FILES)
    with pytest.raises(InputError, match=r"a\.zip has no columns: leave out --label-column"):
        read(path, label="kind")
    with pytest.raises(InputError, match=r"a\.zip has no columns: leave out --image-column"):
        read(path, image="path")


def test_messages_are_one_line_whatever_the_archive_is_called(tmp_path: Path) -> None:
    for name, files in {"a\n.zip": {"../1.png": b""}, "b\n.zip": {}}.items():
        with pytest.raises(InputError) as refused:
            read(pack(tmp_path / name, files))
        assert "\n" not in str(refused.value)
    (tmp_path / "c\n.zip").write_bytes(b"x")
    with pytest.raises(InputError, match=r"c\\n\.zip is damaged"):
        read(tmp_path / "c\n.zip")


def test_labels_can_be_left_out(tmp_path: Path) -> None:
    source = read(pack(tmp_path / "a.tar", FILES), label=NO_LABELS)
    assert {item.label for item in items(source)} == {None}


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_hidden_members_and_others_are_passed_over(tmp_path: Path, suffix: str) -> None:
    files = {"1.png": b"x", "__MACOSX/._1.png": b"", ".a.png": b"", "notes.txt": b"", "d/x": b""}
    source = read(pack(tmp_path / f"a{suffix}", files))
    assert contents(source) == {"1.png": b"x"}
    assert source.notes == (Note("files_passed_over", {"n": 2, "suffixes": ".txt 1, - 1"}),)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.xz"])
def test_metadata_in_archives(tmp_path: Path, suffix: str) -> None:
    table = b"file_name,label\n1.png,cat\n2.png,dog\ngone.png,cat\n../../../x.png,cat\n"
    files = {"zoo/train/2.png": b"2", "zoo/train/metadata.csv": table, "zoo/train/1.png": b"1"}
    source = read(pack(tmp_path / f"a{suffix}", files))
    assert contents(source) == {
        "../../../x.png": "outside the folder",
        "train/gone.png": "listed in metadata.csv but not there",
        "train/1.png": b"1",
        "train/2.png": b"2",
    }
    labels = {item.name: item.label for item in items(source)}
    assert (labels["train/1.png"], labels["train/2.png"]) == ("cat", "dog")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_of_one_name_the_last_counts(tmp_path: Path, suffix: str) -> None:
    path = pack(tmp_path / f"a{suffix}", {"1.png": b"old", "2.png": b"2"})
    if suffix == ".zip":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("1.png", b"new")
    else:
        with tarfile.open(path, "a") as tar:
            tar.addfile(member("1.png", 3), io.BytesIO(b"new"))
    assert contents(read(path)) == {"1.png": b"new", "2.png": b"2"}


def test_names_of_every_kind(tmp_path: Path) -> None:
    files = {"图/new\nline.png": b"1", "图/\udcff.png": b"2", "图\\3.png": b"3"}
    source = read(pack(tmp_path / "a.tar", files))
    assert contents(source) == {"new\\nline.png": b"1", "\\xff.png": b"2", "3.png": b"3"}


# Climbing out


CLIMBING = [
    "../x.png",
    "a/../../x.png",
    "/etc/x.png",
    "C:/x.png",
    "..\\x.png",
    "\\x.png",
    "c:x.txt",
]


@pytest.mark.parametrize("name", [*CLIMBING, ".."])
@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_archives_that_climb_out_are_refused(tmp_path: Path, suffix: str, name: str) -> None:
    path = pack(tmp_path / f"a{suffix}", {"1.png": b"x", name: b"y", "2.png": b"x"})
    with pytest.raises(InputError, match="member outside its folder"):
        read(path)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "in/../../../x"])
def test_links_that_climb_out_are_refused(tmp_path: Path, kind: bytes, target: str) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(member("1.png", 1), io.BytesIO(b"x"))
        archive.addfile(member("d/link.png", 0, kind, target))
    with pytest.raises(InputError, match="member outside its folder"):
        read(path)


def zip_link(path: Path, target: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.png", b"x")
        info = zipfile.ZipInfo("d/link.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, target)
    return path


def test_links_and_devices_are_passed_over(tmp_path: Path) -> None:
    assert contents(read(zip_link(tmp_path / "a.zip", "../1.png"))) == {"1.png": b"x"}
    with pytest.raises(InputError, match="member outside its folder"):
        read(zip_link(tmp_path / "b.zip", "../../1.png"))
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(member("1.png", 1), io.BytesIO(b"x"))
        archive.addfile(member("2.png", 0, tarfile.LNKTYPE, "1.png"))
        archive.addfile(member("d/3.png", 0, tarfile.SYMTYPE, "../1.png"))
        archive.addfile(member("pipe.png", 0, tarfile.FIFOTYPE))
        archive.addfile(member("device.png", 0, tarfile.CHRTYPE))
    source = read(path)
    assert contents(source) == {"1.png": b"x"}
    assert source.notes == (Note("links_passed_over", {"n": 4}),)


# Damage


@pytest.mark.parametrize("suffix", [".zip", *TARS])
def test_torn_archives_are_refused(tmp_path: Path, suffix: str) -> None:
    """Cut anywhere: never a part of the images without a word."""
    path = pack(tmp_path / f"a{suffix}", FILES)
    whole = path.read_bytes()
    end = len(whole) - 10_240 if suffix == ".tar" else len(whole)  # a .tar ends in zeros
    for length in [0, 1, 4, 100, 511, 700, *range(1024, end, max(1, end // 23))]:
        path.write_bytes(whole[:length])
        try:
            source = read(path)
            found = items(source)
        except InputError as error:
            assert "a" + suffix in str(error)
        else:
            assert len(found) < len(FILES)
            assert Note("archive_cut_short", {"name": "a.tar"}) in source.notes, length


def test_damage_in_the_middle_of_a_tar_is_no_end(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar", FILES)
    whole = bytearray(path.read_bytes())
    at = whole.find(b"test/a/3.webp")
    whole[at + 3] ^= 1
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"a\.tar is damaged .a header is damaged"):
        read(path)


def test_damage_in_one_member_of_a_zip_is_one_bad_image(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", FILES)
    whole = bytearray(path.read_bytes())
    whole[whole.find(FILES["test/b/4.png"][:50]) + 9] ^= 1
    path.write_bytes(whole)
    found = contents(read(path))
    assert str(found.pop("test/b/4.png")).startswith("damaged (Bad CRC-32")
    assert found == {name: FILES[name] for name in found} and len(found) == 3


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\3\4 no", b"\x1f\x8b no", b"BZh9", bytes(5)]
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip"):
        read(tmp_path / "a.zip")


def test_an_archive_without_images_is_refused(tmp_path: Path) -> None:
    for suffix in (".zip", ".tar", ".tgz"):
        with pytest.raises(InputError, match=r"no images in .* \(there is 1 \.txt\): put"):
            read(pack(tmp_path / f"a{suffix}", {"notes.txt": b"x"}))
        with pytest.raises(InputError, match=r"there is 1 \.npz\): unpack it and name one"):
            read(pack(tmp_path / f"c{suffix}", {"a.npz": b"x"}))
        with pytest.raises(InputError, match="no images in"):
            read(pack(tmp_path / f"b{suffix}", {}))
    (tmp_path / "one.gz").write_bytes(gzip.compress(b"no tar inside" * 100))
    with pytest.raises(InputError, match="damaged"):
        read(tmp_path / "one.gz")


# Hostile


def test_encrypted_members_are_bad(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"1.png": b"x", "2.png": b"y"})
    whole = bytearray(path.read_bytes())
    whole[whole.find(b"PK\1\2") + 8] |= 1
    path.write_bytes(whole)
    assert contents(read(path)) == {"1.png": "encrypted", "2.png": b"y"}


def test_members_larger_than_the_limit_are_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MEMBER_CAP", 1000)
    for suffix in (".zip", ".tar", ".tgz"):
        path = pack(tmp_path / f"a{suffix}", {"1.png": bytes(1001), "2.png": bytes(1000)})
        assert contents(read(path)) == {"1.png": "1001 bytes are too many", "2.png": bytes(1000)}


def test_a_member_that_says_less_than_it_holds_is_cut_and_bad(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"1.png": bytes(30_000_000)})
    whole = bytearray(path.read_bytes())
    directory = whole.find(b"PK\1\2")
    whole[22:26] = whole[directory + 24 : directory + 28] = struct.pack("<I", 1000)
    path.write_bytes(whole)
    assert str(contents(read(path))["1.png"]).startswith("damaged")


def test_giants_in_a_compressed_tar_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To get past them they have to be unpacked; in a plain .tar they are skipped."""
    monkeypatch.setattr(archives, "OTHER_CAP", 1000)
    files = {"1.png": b"x", "film.mp4": bytes(1001)}
    with pytest.raises(InputError, match=r"member of 1001 bytes, film\.mp4"):
        read(pack(tmp_path / "a.tgz", files))
    assert contents(read(pack(tmp_path / "a.tar", files))) == {"1.png": b"x"}
    with tarfile.open(tmp_path / "b.tar", "w") as archive:
        archive.addfile(member("1.png", 1), io.BytesIO(b"x"))
        info = member("2.png", 10**12)
        archive.fileobj.write(info.tobuf())  # type: ignore[union-attr]
    with pytest.raises(InputError, match="damaged"):
        read(tmp_path / "b.tar")


def test_a_name_of_a_gigabyte_is_refused(tmp_path: Path) -> None:
    """The header of a long name may claim any length; a stream of zeros is small when packed."""
    long = member("././@LongLink", 1 << 30, tarfile.GNUTYPE_LONGNAME)
    (tmp_path / "a.tgz").write_bytes(gzip.compress(long.tobuf() + bytes(1 << 20)))
    with pytest.raises(InputError, match="header of 1073741824 bytes"):
        read(tmp_path / "a.tgz")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("suffix", [".zip", *TARS])
def test_mutated_archives_are_read_or_refused(tmp_path: Path, suffix: str, seed: int) -> None:
    """Whatever the bytes are, nothing but InputError is raised."""
    rng = random.Random(seed)
    path = pack(tmp_path / f"a{suffix}", FILES)
    whole = path.read_bytes()
    outcomes = set()
    for _ in range(40):
        mutated = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            place = rng.choice(
                [rng.randrange(len(whole)), rng.randrange(600), -1 - rng.randrange(300)]
            )
            mutated[place % len(whole)] = rng.randrange(256)
        path.write_bytes(mutated)
        try:
            found = [item.content for item in items(read(path))]
            outcomes.add(all(isinstance(content, bytes | BadImageError) for content in found))
        except InputError:
            outcomes.add(None)
    assert False not in outcomes


def test_a_mac_s_names_are_read_as_they_were_written(tmp_path: Path) -> None:
    """It writes UTF-8 and does not say so; names of DOS stay what they are."""
    from triptych.data.sources.archive import name_in

    said, silent, dos = (zipfile.ZipInfo("a") for _ in range(3))
    said.filename, said.flag_bits = "\u00e9l\u00e9phant/1.png", 0x800
    silent.filename = "\u00e9l\u00e9phant/1.png".encode().decode("cp437")
    dos.filename = b"\x82l\x82phant/1.png".decode("cp437")
    assert {name_in(each) for each in (said, silent, dos)} == {"\u00e9l\u00e9phant/1.png"}
