"""Sets of the Hub: fetched once from a stub of it, pinned, and every failure in one line."""

from __future__ import annotations

import builtins
import errno
import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.hub_server import StubHub
from tests.making import beyond_the_usual, encode, make_images, write_parquet
from triptych.data.sources import Columns, Item, Source, hub
from triptych.errors import InputError
from triptych.records import Note

huggingface_hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")
utils = pytest.importorskip("huggingface_hub.utils")

NAMES = ["ant", "bee", "cat", "dog", "eel"]
CONVERTED = "refs/convert/parquet"
ANY = Columns()


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StubHub]:
    """A Hub of our own, with caches of its own; the library reads its settings when loaded."""
    server = StubHub()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "triptych"))
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
    utils.close_session()


def parquet(images: np.ndarray, labels: np.ndarray, folder: Path) -> bytes:
    path = write_parquet(folder / "made.parquet", images, labels, names=NAMES)
    return path.read_bytes()


def give(stub: StubHub, folder: Path, repo: str, layout: dict[str, int], branch: str) -> None:
    """Files of so many images each; image i of the set is number i of make_images."""
    start, files = 0, {"README.md": b"# read me"}
    for name, count in layout.items():
        images, labels = make_images(count, start=start)
        files[name] = parquet(images, labels, folder)
        start += count
    stub.files[repo, branch] = files


def read(name: str, columns: Columns = ANY) -> Source:
    return hub.find(name, columns).read(lambda done, total: None)


def numbers(items: list[Item]) -> list[int]:
    """The numbers that the images' pixels tell."""
    found = []
    for item in items:
        assert isinstance(item.content, bytes)
        pixels = np.asarray(Image.open(io.BytesIO(item.content)))
        found.append(int(pixels[0, 1, 0]) * 256 + int(pixels[0, 2, 0]))
    return found


USUAL = {"default/train/0000.parquet": 6, "default/train/0001.parquet": 4}
BOTH = {**USUAL, "default/test/0000.parquet": 5}


def test_images_labels_names_and_parts(stub: StubHub, tmp_path: Path) -> None:
    give(stub, tmp_path, "us/zoo", BOTH, CONVERTED)
    source = read("hf:us/zoo")
    items = list(source.items())
    assert source.count == len(items) == 15
    assert source.classes == tuple(NAMES)
    expected = [*range(10, 15), *range(10)]  # the files' order is that of their names
    assert numbers(items) == expected
    labels = np.concatenate([make_images(n, start=s)[1] for n, s in ((5, 10), (6, 0), (4, 6))])
    assert [item.label for item in items] == labels.tolist()
    assert [item.part for item in items] == ["test"] * 5 + ["train"] * 10
    assert items[0].name == "default/test/0000.parquet[0]"
    bare = read("hf:us/zoo", Columns(label="none"))
    assert {item.label for item in bare.items()} == {None}


def test_progress_is_in_bytes(stub: StubHub, tmp_path: Path) -> None:
    give(stub, tmp_path, "us/zoo", BOTH, CONVERTED)
    seen: list[tuple[int, int]] = []
    hub.find("hf:us/zoo", ANY).read(lambda done, total: seen.append((done, total)))
    sizes = [len(body) for name, body in stub.files["us/zoo", CONVERTED].items() if name in BOTH]
    assert {total for _, total in seen} == {sum(sizes)}
    assert seen == sorted(seen) and seen[-1][0] == sum(sizes)
    assert len({done for done, _ in seen}) >= 3


def test_finding_downloads_nothing_and_the_second_time_asks_nothing(
    stub: StubHub, tmp_path: Path
) -> None:
    give(stub, tmp_path, "us/zoo", BOTH, CONVERTED)
    origin = hub.find("hf:us/zoo", ANY)
    assert not [line for line in stub.log if "resolve" in line]
    assert origin.name == "us/zoo"
    first = [item.content for item in origin.read(lambda d, t: None).items()]
    stub.log.clear()
    give(stub, tmp_path, "us/zoo", USUAL, CONVERTED)  # the Hub's set changes
    again = hub.find("hf:us/zoo", ANY)
    assert again.identity == origin.identity
    assert [item.content for item in again.read(lambda d, t: None).items()] == first
    assert stub.log == []
    json.dumps(origin.identity)
    assert hub.find("hf:us/zoo", Columns(label="none")).identity != origin.identity


def test_removing_the_record_fetches_anew(stub: StubHub, tmp_path: Path) -> None:
    give(stub, tmp_path, "us/zoo", BOTH, CONVERTED)
    before = hub.find("hf:us/zoo", ANY)
    give(stub, tmp_path, "us/zoo", USUAL, CONVERTED)
    record = hub.record_path("us/zoo", None)
    record.unlink()
    after = hub.find("hf:us/zoo", ANY)
    assert after.identity != before.identity
    assert after.read(lambda d, t: None).count == 10


@pytest.mark.parametrize("harm", ["cut", "list", "outside", "commit", "other"])
def test_a_record_that_cannot_be_trusted_is_asked_for_again(
    stub: StubHub, tmp_path: Path, harm: str
) -> None:
    give(stub, tmp_path, "us/zoo", USUAL, CONVERTED)
    origin = hub.find("hf:us/zoo", ANY)
    place = hub.record_path("us/zoo", None)
    record = json.loads(place.read_text())
    if harm == "outside":
        record["files"][0]["name"] = "../../secret.parquet"
    if harm == "commit":
        record["commit"] = "main"
    if harm == "other":
        record["repo"] = "them/zoo"
    text = "[1]" if harm == "list" else json.dumps(record)
    place.write_text(text[:50] if harm == "cut" else text)
    stub.log.clear()
    assert hub.find("hf:us/zoo", ANY).identity == origin.identity
    assert len(stub.log) == 1


def test_files_that_left_the_cache_come_again_from_the_same_commit(
    stub: StubHub, tmp_path: Path
) -> None:
    give(stub, tmp_path, "us/zoo", USUAL, CONVERTED)
    first = [item.content for item in read("hf:us/zoo").items()]
    for file in (tmp_path / "hf").rglob("*"):
        if file.is_file() and not file.is_symlink() and file.stat().st_size > 1000:
            file.write_bytes(b"cut")
    assert [item.content for item in read("hf:us/zoo").items()] == first
    for file in sorted((tmp_path / "hf").rglob("*"), reverse=True):
        file.unlink() if file.is_file() or file.is_symlink() else file.rmdir()
    assert [item.content for item in read("hf:us/zoo").items()] == first
    give(stub, tmp_path, "us/zoo", BOTH, CONVERTED)  # the pinned commit is gone
    for file in sorted((tmp_path / "hf").rglob("*"), reverse=True):
        file.unlink() if file.is_file() or file.is_symlink() else file.rmdir()
    with pytest.raises(InputError, match=r"no longer has us/zoo.*run it again"):
        read("hf:us/zoo")
    assert read("hf:us/zoo").count == 15


def test_configs(stub: StubHub, tmp_path: Path) -> None:
    layout = {"big/train/0000.parquet": 3, "small/train/0000.parquet": 4}
    give(stub, tmp_path, "us/two", layout, CONVERTED)
    with pytest.raises(InputError, match="several configs: name one of hf:us/two:big, hf:us/two:s"):
        hub.find("hf:us/two", ANY)
    with pytest.raises(InputError, match="no config 'huge' in us/two: name one of hf:us/two:big"):
        hub.find("hf:us/two:huge", ANY)
    assert read("hf:us/two:big").count == 3
    assert numbers(list(read("hf:us/two:small").items())) == [3, 4, 5, 6]
    one, other = hub.find("hf:us/two:big", ANY), hub.find("hf:us/two:small", ANY)
    assert one.identity != other.identity
    assert one.name == "us/two:big"
    for usual in ("default", "plain_text"):
        give(stub, tmp_path, f"us/{usual}", {**layout, f"{usual}/train/0.parquet": 2}, CONVERTED)
        assert read(f"hf:us/{usual}").count == 2


def test_other_splits_are_left_out_and_said(stub: StubHub, tmp_path: Path) -> None:
    extra = {**BOTH, "default/extra/0000.parquet": 7, "default/unsupervised/0000.parquet": 1}
    give(stub, tmp_path, "us/more", extra, CONVERTED)
    source = read("hf:us/more")
    assert source.count == 15
    assert Note("splits_left_out", {"splits": "extra, unsupervised"}) in source.notes
    give(stub, tmp_path, "us/whole", {"default/full/0000.parquet": 7}, CONVERTED)
    source = read("hf:us/whole")
    assert source.count == 7 and not beyond_the_usual(source)
    assert {item.part for item in source.items()} == {None}


MAIN = {"data/train-00000-of-00001.parquet": 5, "data/test-00000-of-00001.parquet": 3}


def test_without_the_converted_branch_the_set_itself_is_read(stub: StubHub, tmp_path: Path) -> None:
    give(stub, tmp_path, "us/own", MAIN, "main")
    source = read("hf:us/own")
    assert [item.part for item in source.items()] == ["test"] * 3 + ["train"] * 5
    two = {f"{config}/{name}": 2 for config in ("a", "b") for name in ("train-0.parquet",)}
    give(stub, tmp_path, "us/own2", two, "main")
    assert read("hf:us/own2:b").count == 2
    with pytest.raises(InputError, match="several configs"):
        hub.find("hf:us/own2", ANY)


def test_a_partial_conversion_gives_way_to_the_whole(stub: StubHub, tmp_path: Path) -> None:
    part = {"default/partial-train/0000.parquet": 2, "default/partial-test/0000.parquet": 1}
    give(stub, tmp_path, "us/part", part, CONVERTED)
    source = read("hf:us/part")
    assert "partly_converted" in {note.code for note in source.notes}
    assert [item.part for item in source.items()] == ["test"] + ["train"] * 2
    give(stub, tmp_path, "us/vast", part, CONVERTED)
    give(stub, tmp_path, "us/vast", MAIN, "main")
    source = read("hf:us/vast")
    assert source.count == 8 and not beyond_the_usual(source)


def test_a_cut_download_goes_on(
    stub: StubHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1_000)  # what is kept at once
    give(stub, tmp_path, "us/zoo", {"default/train/0000.parquet": 30}, CONVERTED)
    stub.cut_at = 5_000
    seen: list[int] = []
    told: list[logging.LogRecord] = []
    listener = logging.Handler()
    monkeypatch.setattr(listener, "emit", told.append)
    logger = logging.getLogger("huggingface_hub")
    logger.addHandler(listener)
    source = hub.find("hf:us/zoo", ANY).read(lambda done, total: seen.append(done))
    logger.removeHandler(listener)
    assert told == []  # the library does not speak over us
    assert numbers(list(source.items())) == list(range(30))
    assert 1_000 in seen
    assert [line for line in stub.log if line.endswith("bytes=5000-")]
    assert seen == sorted(seen)


# What goes wrong


def test_unknown_gated_and_without_parquet(stub: StubHub, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no data set us/nothing on the Hub: check the name"):
        hub.find("hf:us/nothing", ANY)
    give(stub, tmp_path, "us/closed", USUAL, CONVERTED)
    stub.gated.add("us/closed")
    with pytest.raises(InputError, match=r"us/closed is gated: accept .* http.*us/closed"):
        read("hf:us/closed")
    give(stub, tmp_path, "us/barred", USUAL, CONVERTED)
    stub.forbidden.add("us/barred")
    with pytest.raises(InputError, match="us/barred is gated"):
        read("hf:us/barred")
    give(stub, tmp_path, "us/text", {}, "main")
    with pytest.raises(InputError, match="us/text has no parquet files"):
        hub.find("hf:us/text", ANY)


@pytest.mark.parametrize("name", ["hf:", "hf:a/b/c", "hf:a b/c", "hf:a/b:", "hf:../x"])
def test_names_that_no_set_has(stub: StubHub, name: str) -> None:
    with pytest.raises(InputError, match="no data"):
        hub.find(name, ANY)
    assert stub.log == []


def test_no_network(
    stub: StubHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    give(stub, tmp_path, "us/zoo", USUAL, CONVERTED)
    read("hf:us/zoo")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert read("hf:us/zoo").count == 10  # what was fetched needs none
    with pytest.raises(InputError, match="us/new is not in the Hub's cache: unset HF_HUB_OFFLINE"):
        hub.find("hf:us/new", ANY)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"cannot reach the Hub for us/new .*: check the network"):
        hub.find("hf:us/new", ANY)
    monkeypatch.setenv("HF_ENDPOINT", stub.address)
    stub.down = True
    with pytest.raises(InputError, match=r"cannot reach the Hub for us/new .*500"):
        hub.find("hf:us/new", ANY)
    assert capfd.readouterr() == ("", "")


def test_no_room(stub: StubHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give(stub, tmp_path, "us/zoo", USUAL, CONVERTED)
    origin = hub.find("hf:us/zoo", ANY)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(huggingface_hub.HfApi, "hf_hub_download", full)
    with pytest.raises(InputError, match=r"cannot keep .*No space left.*HF_HOME"):
        origin.read(lambda d, t: None)
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="TRIPTYCH_CACHE"):
        hub.find("hf:us/zoo", ANY)


def test_the_record_is_complete_or_absent_and_others_may_read_it(
    stub: StubHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(stub, tmp_path, "us/zoo", USUAL, CONVERTED)
    place = hub.record_path("us/zoo", None)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(InputError, match=r"cannot remember us/zoo in .* \(No space left"):
            hub.find("hf:us/zoo", ANY)
    assert list(place.parent.iterdir()) == []
    before = os.umask(0o022)
    hub.find("hf:us/zoo", ANY)
    os.umask(before)
    assert place.stat().st_mode & 0o777 == 0o644


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))
    before = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return before(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"needs huggingface_hub .*: pip install 'triptych\[hf\]'"):
        hub.find("hf:us/zoo", ANY)


def test_settings_come_from_the_environment_and_nothing_is_printed(
    stub: StubHub, tmp_path: Path
) -> None:
    """As a user runs it: a process of its own."""
    give(stub, tmp_path, "us/zoo", BOTH, CONVERTED)
    code = (
        "from triptych.data.sources import hub\n"
        "from triptych.data.sources import Columns\n"
        "source = hub.find('hf:us/zoo', Columns()).read(lambda done, total: None)\n"
        "assert sum(1 for _ in source.items()) == 15\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list((tmp_path / "home").rglob("*.parquet"))


def test_rows_name_no_files_of_the_cache(stub: StubHub, tmp_path: Path) -> None:
    """Whether they lie there is chance, and not in the record."""
    name = "default/train/0000.parquet"
    give(stub, tmp_path, "us/zoo", {name: 3}, CONVERTED)
    bare = pa.array([{"bytes": None, "path": "0000.parquet"}] * 3)
    pq.write_table(pa.table({"image": bare}), tmp_path / "made.parquet")
    stub.files["us/zoo", CONVERTED][name] = (tmp_path / "made.parquet").read_bytes()
    for item in read("hf:us/zoo").items():
        assert "no bytes; name the folder" in str(item.content)


def test_images_are_those_of_the_hub(stub: StubHub, tmp_path: Path) -> None:
    give(stub, tmp_path, "us/one", {"default/train/0000.parquet": 3}, CONVERTED)
    images, _ = make_images(3)
    assert [item.content for item in read("hf:us/one").items()] == [encode(i) for i in images]


def test_the_library_has_what_is_used_of_it_in_a_process_of_its_own() -> None:
    """It loads its parts as they are asked for, and not all of them by name."""
    code = (
        "from triptych.data.sources.hub import library; hub = library();"
        "hub.utils.validate_repo_id, hub.errors.HFValidationError, hub.HfApi"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
