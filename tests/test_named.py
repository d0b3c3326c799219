"""Named sets, from small files of the real formats on a server of this machine."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.published import (
    array,
    assert_same,
    cifar_bytes,
    idx_bytes,
    labels_for,
    listed,
    pixels,
    svhn_bytes,
    write,
)
from tests.serving import FileServer, serve
from triptych.data import downloads
from triptych.data.open import open_images
from triptych.data.sources import Columns, Item, matlab, named
from triptych.data.sources.matlab import read_matlab
from triptych.data.sources.named import read_cifar, read_idx
from triptych.errors import InputError
from triptych.options import DataOptions

UNLABELED = Columns(label="none")


def publish(monkeypatch: pytest.MonkeyPatch, server: FileServer, name: str, **there: bytes) -> None:
    """Let a named set be these files on the server."""
    files = []
    for file in named.SETS[name].files:
        content = there[file.name.replace(".", "_").replace("-", "_")]
        server.files[file.name] = content
        files.append(
            replace(
                file,
                url=f"{server.url}/{file.name}",
                md5=hashlib.md5(content).hexdigest(),
                sha256=hashlib.sha256(content).hexdigest(),
                size=len(content),
            )
        )
    monkeypatch.setitem(named.SETS, name, replace(named.SETS[name], files=tuple(files)))


def silent(done: int, total: int) -> None:
    """No progress."""


@pytest.fixture(autouse=True)
def own_downloads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(downloads, "PAUSE", 0.0)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve() as told:
        yield told


SVHN_COUNTS = {"train": 300, "test": 20, "extra": 40}


def publish_svhn(
    monkeypatch: pytest.MonkeyPatch, server: FileServer, name: str
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Random images in the three files of SVHN."""
    made = {
        part: (pixels(count, 32, 32, 3, seed=count), labels_for(count, seed=count))
        for part, count in SVHN_COUNTS.items()
    }
    made["test"] = (made["test"][0], made["test"][1] // 5 * 5)  # not every digit need be there
    files = {f"{part}_32x32_mat": svhn_bytes(*pair) for part, pair in made.items()}
    publish(monkeypatch, server, name, **files)
    return made


def test_svhn(monkeypatch: pytest.MonkeyPatch, server: FileServer, tmp_path: Path) -> None:
    made = publish_svhn(monkeypatch, server, "svhn")
    source = named.find("svhn", Columns()).read(silent)
    assert source.classes == tuple("0123456789")
    items = listed(source)
    assert_same(items[:300], *made["train"], "train")
    assert_same(items[300:], *made["test"], "test")
    assert items[17].name == "train_32x32.mat[17]"
    assert items[301].name == "test_32x32.mat[1]"
    assert {item.label for item in items} == set(range(10))
    kept = tmp_path / "cache" / "downloads" / "svhn"
    assert {path.name for path in kept.glob("*.mat")} == {"train_32x32.mat", "test_32x32.mat"}


def test_svhn_extra_is_more_to_train_on(
    monkeypatch: pytest.MonkeyPatch, server: FileServer
) -> None:
    made = publish_svhn(monkeypatch, server, "svhn+extra")
    publish_svhn(monkeypatch, server, "svhn")
    named.find("svhn", Columns()).read(silent)
    items = listed(named.find("svhn+extra", Columns()).read(silent))
    assert_same(items[320:], *made["extra"], "train")
    assert items[320].name == "extra_32x32.mat[0]"
    assert len(server.asked) == 3  # the two files that both sets have came once


def test_cifar10(monkeypatch: pytest.MonkeyPatch, server: FileServer) -> None:
    names = ["data_batch_2.bin", "test_batch.bin", "data_batch_1.bin"]  # no order is promised
    made = {
        name: (pixels(12, 32, 32, 3, seed=seed), labels_for(12, seed))
        for seed, name in enumerate(names)
    }
    publish(monkeypatch, server, "cifar10", cifar_10_binary_tar_gz=cifar_bytes(made))
    source = named.find("cifar10", Columns()).read(silent)
    assert source.classes is not None
    assert source.classes[:4] == ("airplane", "automobile", "bird", "cat")
    assert len(source.classes) == 10
    items = listed(source)
    assert_same(items[:12], *made["data_batch_2.bin"], "train")
    assert_same(items[12:24], *made["test_batch.bin"], "test")
    assert_same(items[24:], *made["data_batch_1.bin"], "train")
    assert items[13].name == "test_batch.bin[1]"


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_mnist(monkeypatch: pytest.MonkeyPatch, server: FileServer, name: str) -> None:
    monkeypatch.setattr(named, "BLOCK", 7)
    train, test = pixels(30, 28, 28), pixels(14, 28, 28, seed=1)
    publish(
        monkeypatch,
        server,
        name,
        train_images_idx3_ubyte_gz=idx_bytes(train),
        train_labels_idx1_ubyte_gz=idx_bytes(labels_for(30)),
        t10k_images_idx3_ubyte_gz=idx_bytes(test),
        t10k_labels_idx1_ubyte_gz=idx_bytes(labels_for(14, 1)),
    )
    source = named.find(name, Columns()).read(silent)
    assert source.classes is not None
    assert source.classes[1] == ("Trouser" if name == "fashion-mnist" else "1")
    items = listed(source)
    assert_same(items[:30], train, labels_for(30), "train")
    assert_same(items[30:], test, labels_for(14, 1), "test")
    assert items[31].name == "t10k-images-idx3-ubyte.gz[1]"
    unlabelled = named.find(name, UNLABELED).read(silent)
    assert unlabelled.classes is None
    assert_same(listed(unlabelled)[:30], train, None, "train")


def test_progress_covers_all_files(monkeypatch: pytest.MonkeyPatch, server: FileServer) -> None:
    publish_svhn(monkeypatch, server, "svhn+extra")
    seen: list[tuple[int, int]] = []
    named.find("svhn+extra", Columns()).read(lambda *pair: seen.append(pair))
    total = sum(len(content) for content in server.files.values())
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {of for _, of in seen} == {total}


def test_finding_touches_neither_network_nor_disk(tmp_path: Path) -> None:
    identities = [named.find(name, Columns()).identity for name in named.NAMES]
    identities += [named.find(name, UNLABELED).identity for name in named.NAMES]
    assert len({str(identity) for identity in identities}) == 2 * len(named.NAMES) == 10
    assert not (tmp_path / "cache").exists()
    assert [named.find(name, Columns()).name for name in named.NAMES] == list(named.NAMES)


def test_identity_follows_the_checksums(
    monkeypatch: pytest.MonkeyPatch, server: FileServer
) -> None:
    before = named.find("svhn", Columns()).identity
    publish_svhn(monkeypatch, server, "svhn")
    assert named.find("svhn", Columns()).identity != before


def test_every_published_file_is_known_by_two_digests() -> None:
    files = {file.url: file for chosen in named.SETS.values() for file in chosen.files}
    assert len(files) == 12
    assert len({file.sha256 for file in files.values()}) == 12
    for file in files.values():
        assert file.md5 is not None
        assert file.sha256 is not None
        assert (len(file.md5), len(file.sha256)) == (32, 64)
        assert int(file.md5 + file.sha256, 16) > 0
        assert file.size


def test_there_are_no_columns_to_name() -> None:
    for columns in (Columns(image="img"), Columns(label="fine")):
        with pytest.raises(InputError, match="no columns"):
            named.find("mnist", columns)


def test_no_network_names_address_and_place(
    monkeypatch: pytest.MonkeyPatch, server: FileServer, tmp_path: Path
) -> None:
    publish_svhn(monkeypatch, server, "svhn")
    server.files.clear()
    place = tmp_path / "cache" / "downloads" / "svhn" / "train_32x32.mat"
    with pytest.raises(InputError, match=f"{server.url}/train_32x32.mat .*put it at {place}"):
        named.find("svhn", Columns()).read(silent)


def open_and_read(kind: str, path: Path) -> list[Item]:
    if kind == "mat":
        return list(read_matlab(path, Columns()).items())
    if kind == "tar":
        return list(read_cifar(path, labeled=True).items())
    return list(read_idx(path, None).items())


@pytest.mark.parametrize("kind", ["mat", "tar", "idx"])
def test_damage_is_told_with_the_files_name(tmp_path: Path, kind: str) -> None:
    """Cut anywhere, zeroed or with a byte changed: the same images or InputError."""
    content = {
        "mat": svhn_bytes(pixels(20, 8, 8, 3), labels_for(20)),
        "tar": cifar_bytes({"data_batch_1.bin": (pixels(20, 32, 32, 3) // 64, labels_for(20))}),
        "idx": idx_bytes(pixels(20, 30, 20) // 64),  # packed, where noise would not be
    }[kind]
    path = tmp_path / f"file.{kind}"
    whole = [array(item) for item in open_and_read(kind, write(path, content))]
    rng = np.random.default_rng(0)
    spoiled = [content[: int(cut)] for cut in rng.integers(0, len(content) - 20, 20)]
    spoiled += [b"", b"\x00" * 500, b"GIF89a" * 100, rng.bytes(4000)]
    for place in rng.integers(0, len(content), 60):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        spoiled.append(bytes(changed))
    refused = 0
    for bad in spoiled:
        write(path, bad)
        try:
            found = [array(item) for item in open_and_read(kind, path)]
        except InputError as error:
            assert str(path) in str(error)
            assert "\n" not in str(error)
            refused += 1
        else:  # what changed was no pixel: a name, a date, or the label
            assert len(found) == len(whole)
            assert all(np.array_equal(*pair) for pair in zip(found, whole, strict=True))
    assert refused >= 40


def test_wrong_idx_contents(tmp_path: Path) -> None:
    images, path = pixels(6, 5, 4), tmp_path / "images.gz"
    whole = gzip.decompress(idx_bytes(images))
    labels = write(tmp_path / "labels.gz", idx_bytes(np.arange(5)))
    assert_same(listed(read_idx(write(path, idx_bytes(images)), None)), images, None, None)
    with pytest.raises(InputError, match=r"6 images and .* 5 labels"):
        read_idx(write(path, idx_bytes(images)), labels)
    with pytest.raises(InputError, match="no IDX file of 3 axes"):
        read_idx(labels, None)
    with pytest.raises(InputError, match="no images"):
        read_idx(write(path, idx_bytes(images[:0])), None)
    for content, message in ((whole + b"1", "longer"), (whole[:-1], "shorter")):
        source = read_idx(write(path, gzip.compress(content)), None)
        with pytest.raises(InputError, match=message):
            list(source.items())


def test_wrong_cifar_contents(tmp_path: Path) -> None:
    images, path = pixels(2, 32, 32, 3), tmp_path / "cifar.tar.gz"
    write(path, cifar_bytes({"data_batch_1.bin": (images, np.array([3, 10]))}))
    with pytest.raises(InputError, match="label above 9"):
        list(read_cifar(path, labeled=True).items())
    write(path, cifar_bytes({"data_batch_6.bin": (images, np.array([3, 1]))}))
    with pytest.raises(InputError, match="no images"):
        read_cifar(path, labeled=True)
    write(path, cifar_bytes({"test_batch.bin": (images[:, :31], np.array([3, 1]))}))
    with pytest.raises(InputError, match="half a record"):
        read_cifar(path, labeled=True)
    write(path, cifar_bytes({"test_batch.bin": (images, np.array([3, 1]))}))
    assert_same(listed(read_cifar(path, labeled=False)), images, None, "test")


def test_pixels_can_be_written_to(tmp_path: Path) -> None:
    """Consumers hand them to torch, which warns of read-only memory."""
    for kind, content in (
        ("mat", svhn_bytes(pixels(1, 8, 8, 3), np.array([1]))),
        ("tar", cifar_bytes({"test_batch.bin": (pixels(1, 32, 32, 3), np.array([1]))})),
        ("idx", idx_bytes(pixels(1, 8, 8))),
    ):
        path = write(tmp_path / f"file.{kind}", content)
        for item in open_and_read(kind, path):
            assert array(item).flags.writeable
            assert array(item).flags.c_contiguous


def test_readers_hold_what_they_read_of_the_sets() -> None:
    assert (named.CLASSES, len(matlab.DIGITS), len(named.FASHION_CLASSES)) == (10, 10, 10)


def test_stored_sets_open_without_network(
    monkeypatch: pytest.MonkeyPatch, server: FileServer, tmp_path: Path
) -> None:
    made = publish_svhn(monkeypatch, server, "svhn")
    first = open_images("svhn", DataOptions(resolution=32))
    server.files.clear()
    for path in (tmp_path / "cache" / "downloads" / "svhn").iterdir():
        path.unlink()
    again = open_images("svhn", DataOptions(resolution=32))
    assert len(server.asked) == 2
    assert again.fingerprint == first.fingerprint
    assert len(again.test) == len(made["test"][0])
    found = {image.tobytes() for image in again.test.images.numpy()}
    assert found == {image.transpose(2, 0, 1).tobytes() for image in made["test"][0]}
