"""The store: arrays that are complete or absent, made once, shared, and found again."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.making import ingested
from triptych import files
from triptych.data import splits, store
from triptych.data.ingest import Bad, Prepared, Reading, Spool, is_grey, prepare, write_arrays
from triptych.data.open import make_entry
from triptych.data.sources import BadImageError, Item, Origin, Progress, Source
from triptych.errors import InputError
from triptych.records import Note

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


def random_images(count: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """uint8 (N,H,W[,3])."""
    shape = (count, 16, 16, 3) if channels == 3 else (count, 16, 16)
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def prepared(images: Any) -> Prepared:
    items = [Item(str(i), image, None, None) for i, image in enumerate(images)]
    return prepare((items, Reading(16, "pad")))


def make(key: str, count: int = 30, seed: int = 0) -> str:
    """An entry of `count` images; returns its content's name."""
    with store.preparing(key) as aside:
        spool = Spool(aside / "spool", 16)
        spool.append(prepared(random_images(count, seed=seed)))
        zeros = np.zeros(count, dtype=np.int64)
        content = write_arrays(aside, spool, np.arange(count), zeros, zeros.astype(np.int8))
        spool.close()
        store.publish(key, aside, ingested(name=key, content=content))
    return content


# Blocks and the spool


def test_a_block_packs_what_is_good_and_names_what_is_bad() -> None:
    colour, grey = random_images(2), random_images(1, channels=1)[0]
    agreeing = np.repeat(grey[..., None], 3, axis=2)
    block = prepared([colour[0], BadImageError("no reason"), grey, agreeing, colour[1]])
    assert block.bad == (Bad(1, "", "no reason"),)
    assert block.channels.tolist() == [3, 1, 1, 3]
    assert block.owners.tolist() == [0, 2, 3, 4]
    assert block.sizes.tolist() == [[16, 16]] * 4
    expected = [colour[0].transpose(2, 0, 1), grey, grey, colour[1].transpose(2, 0, 1)]
    np.testing.assert_array_equal(block.pixels, np.concatenate([e.ravel() for e in expected]))
    digest = splits.pixel_digest(colour[1])
    assert block.digests[3].tobytes() == digest


def test_digests_and_sizes_are_of_the_full_image() -> None:
    large = random_images(1)[0].repeat(3, axis=0)
    block = prepared([large])
    assert block.digests[0].tobytes() == splits.pixel_digest(large)
    assert block.sizes.tolist() == [[48, 16]]
    assert block.pixels.size == 16 * 16 * 3


@pytest.mark.parametrize("chunk_bytes", [1, 3000, 1 << 24])
def test_the_spool_gives_images_in_any_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    monkeypatch.setattr("triptych.data.ingest.CHUNK_BYTES", chunk_bytes)
    grey, colour = random_images(5, channels=1), random_images(4)
    as_colour = [np.repeat(image[None], 3, axis=0) for image in grey]
    expected = np.stack(as_colour + [image.transpose(2, 0, 1) for image in colour])
    spool = Spool(tmp_path / "spool", 16)
    spool.append(prepared(grey))
    spool.append(prepared([BadImageError("bad")]))
    spool.append(prepared(colour))
    order = np.random.default_rng(1).permutation(9)[:7]
    np.testing.assert_array_equal(np.concatenate(list(spool.chunks(order))), expected[order])
    only_grey = np.array([3, 0, 4])
    found = np.concatenate(list(spool.chunks(only_grey)))
    np.testing.assert_array_equal(found, grey[only_grey][:, None])
    spool.close()
    assert not (tmp_path / "spool").exists()


@pytest.mark.parametrize("cut", ["write", "read"])
def test_a_spool_that_is_cut_is_told(tmp_path: Path, cut: str) -> None:
    """The system may take a part of what is written and say so only by its size."""
    spool = Spool(tmp_path / "spool", 16)
    if cut == "write":

        class Full(io.FileIO):
            def write(self, data: Any, /) -> int:
                return super().write(bytes(data)[:100])

        spool._file.close()
        spool._file = Full(tmp_path / "spool", "w+")  # type: ignore[assignment]
        with pytest.raises(InputError, match=r"cannot keep images in .*No space left"):
            spool.append(prepared(random_images(3)))
    else:
        spool.append(prepared(random_images(3)))
        os.truncate(tmp_path / "spool", 1000)
        with pytest.raises(OSError, match="ends too early"):
            list(spool.chunks(np.arange(3)))
    spool.close()


def test_one_coloured_pixel_anywhere_is_no_grey() -> None:
    grey = np.repeat(random_images(1, channels=1)[0][..., None], 3, axis=2)
    assert is_grey(grey)
    for row, channel in ((0, 1), (0, 2), (15, 1), (15, 2), (7, 0)):
        speck = grey.copy()
        speck[row, 9, channel] ^= 1
        assert not is_grey(speck)


# Entries


def test_an_entry_of_the_version_before_is_read(empty_cache: Path) -> None:
    """Its JSON, written out by hand: lists where the record has tuples."""
    content = make("a")
    text = """{"name": "b", "classes": ["0", "1"], "files": 9, "bad": [["x.png", "empty"]],
        "copies": 1, "crossing": 2, "faint": 3, "unread": 4, "sizes": {"different": 2,
        "smallest": [1, 2], "largest": [3, 4], "usual": [3, 4], "of_usual_size": 5,
        "narrowest": 0.5, "widest": 0.75}, "given_parts": [], "notes": ["n"],
        "ranges": {"uint8": [0, 255]}, "content": "X"}"""
    (empty_cache / "b.json").write_text(text.replace("X", content))
    entry = store.load("b")
    assert entry is not None
    sizes = store.ImageSizes(
        different=2,
        smallest=(1, 2),
        largest=(3, 4),
        usual=(3, 4),
        of_usual_size=5,
        narrowest=0.5,
        widest=0.75,
    )
    assert entry[1] == store.Ingested(
        name="b",
        classes=("0", "1"),
        files=9,
        bad=(("x.png", "empty"),),
        copies=1,
        crossing=2,
        faint=3,
        unread=4,
        sizes=sizes,
        given_parts=(),
        notes=(Note("text", {"text": "n"}),),
        ranges={"uint8": (0, 255)},
        content=content,
    )


def test_an_entry_is_found_again_mapped_and_writable_without_harm() -> None:
    make("a")
    entry = store.load("a")
    assert entry is not None
    arrays, record = entry
    assert record == ingested(name="a", content=record.content)
    before = arrays["images"][0, 0, 0, 0].item()
    arrays["images"][0] = 255 - before  # a copy of the page: the file stays
    again = store.load("a")
    assert again is not None and again[0]["images"][0, 0, 0, 0] == before
    assert store.load("b") is None


def test_the_same_images_are_kept_once(empty_cache: Path) -> None:
    assert make("a") == make("b") != make("c", seed=1)
    assert len([path for path in empty_cache.iterdir() if path.is_dir()]) == 2
    names = [entry[1].name for entry in map(store.load, "abc") if entry is not None]
    assert names == ["a", "b", "c"]


def test_the_same_images_from_two_sources_at_once_do_not_collide(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process publishes while ours is between its look and its rename."""
    content = make("a")
    (empty_cache / content).rename(empty_cache / "theirs")
    sync = files.sync

    def publish_theirs(path: Path) -> None:
        sync(path)
        if (empty_cache / "theirs").exists():
            (empty_cache / "theirs").rename(empty_cache / content)

    monkeypatch.setattr(files, "sync", publish_theirs)
    assert make("b") == content
    assert store.load("a") is not None and store.load("b") is not None
    assert not list(empty_cache.glob(".*"))


def test_what_others_left_is_removed_unless_they_still_work(empty_cache: Path) -> None:
    with store.preparing("busy") as theirs:
        (empty_cache / ".dead.123").mkdir()
        make("a")
        assert theirs.exists()
        assert not (empty_cache / ".dead.123").exists()


def test_fingerprints_follow_pixels_labels_and_parts(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 16)
    spool.append(prepared(random_images(12)))
    order, labels, parts = np.arange(12), np.zeros(12, np.int64), np.zeros(12, np.int8)
    first = write_arrays(tmp_path, spool, order, labels, parts)
    assert write_arrays(tmp_path, spool, order, labels, parts) == first
    for place in (0, 11):
        changed = np.zeros(12, np.int64)
        changed[place] = 1
        assert write_arrays(tmp_path, spool, order, changed, parts) != first
        assert write_arrays(tmp_path, spool, order, labels, changed.astype(np.int8)) != first
    assert write_arrays(tmp_path, spool, order[::-1].copy(), labels, parts) != first
    spool.close()


@pytest.mark.parametrize("file", ["images.npy", "labels.npy", "parts.npy"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_cut_arrays_are_no_entry_and_are_made_again(
    empty_cache: Path, file: str, share: float
) -> None:
    content = make("a")
    damaged = empty_cache / content / file
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: int(share * len(whole))])
    assert store.load("a") is None
    assert make("a") == content
    assert damaged.read_bytes() == whole
    assert store.load("a") is not None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"content": 3}', '{"content": "..", "sizes": {}}', '{"sizes": []}'],
)
def test_damaged_records_are_no_entry(empty_cache: Path, text: str) -> None:
    make("a")
    (empty_cache / "a.json").write_text(text)
    assert store.load("a") is None


def test_what_a_killed_process_left_is_removed(empty_cache: Path) -> None:
    left = empty_cache / ".a.xyz"
    left.mkdir(parents=True)
    (left / "spool").write_bytes(b"half")
    make("a")
    assert not list(empty_cache.glob(".*"))


def test_nothing_stays_when_preparing_fails(empty_cache: Path) -> None:
    with pytest.raises(InputError, match="too few"), store.preparing("a") as aside:
        (aside / "spool").touch()
        raise InputError("too few", "give more")
    assert not list(empty_cache.iterdir())


def test_one_process_at_a_time_prepares_an_entry() -> None:
    inside: list[str] = []

    def wait_for_the_other() -> None:
        with store.preparing("a"):
            inside.append("second")

    with store.preparing("a"):
        second = threading.Thread(target=wait_for_the_other)
        second.start()
        time.sleep(0.3)
        inside.append("first")
    second.join(timeout=20)
    assert inside == ["first", "second"]


def test_another_entry_need_not_wait() -> None:
    with store.preparing("a"), store.preparing("b"):
        pass


def test_two_processes_decode_once(tmp_path: Path) -> None:
    """Both get the images; one of them found them ready."""
    np.save(tmp_path / "images.npy", random_images(40))
    code = (
        "import sys, json, time; from triptych.data import ingest\n"
        "from triptych.data.open import DataOptions, open_images\n"
        "made, gather = [], ingest.gather\n"
        "def counted(*a): made.append(1); time.sleep(0.5); return gather(*a)\n"
        "ingest.gather = counted\n"
        "data = open_images(sys.argv[1], DataOptions(resolution=16))\n"
        "print(json.dumps([len(made), data.fingerprint]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "images.npy")],
            stdout=subprocess.PIPE,
            env=environment,
        )
        for _ in range(2)
    ]
    found = [json.loads(process.communicate(timeout=100)[0]) for process in processes]
    assert sum(made for made, _ in found) == 1
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("how", ["a file", "full"])
def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "a file":
        (tmp_path / "file").touch()
        monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "file"))
        with pytest.raises(InputError, match="TRIPTYCH_CACHE"):
            make("a")
        return
    # No room after 20 kB, by the kernel: a limit on the size of files.
    code = (
        "import resource, signal; from tests.test_store import make;"
        "from triptych.errors import InputError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "try: make('a')\n"
        "except InputError as error: print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert "cannot keep images in" in found.stdout
    assert not list(store.data_folder().iterdir())


@pytest.mark.parametrize("at", ["first", "last"])
def test_a_fault_of_the_source_is_none_of_the_cache(empty_cache: Path, at: str) -> None:
    """As a data set of the user's own raises it, before the first image or after the last."""

    def read(progress: Progress) -> Source:
        if at == "first":
            raise FileNotFoundError(2, "No such file or directory", "photos/7.mine")

        def items() -> Iterator[Item]:
            for number, image in enumerate(random_images(30)):
                yield Item(str(number), image, None, None)
            raise OSError(5, "Input/output error")

        return Source(items, 30)

    message = {
        "first": r"^cannot read photos/7\.mine \(No such file or directory\): check it$",
        "last": r"^cannot read mine \(Input/output error\): check it$",
    }
    origin = Origin("mine", {"source": "mine"}, read)
    with pytest.raises(InputError, match=message[at]):
        make_entry("a", origin, Reading(16, "pad"), lambda done, total: None)
    assert not list(store.data_folder().iterdir())


def test_entries_are_named_by_every_setting_and_not_by_their_order() -> None:
    key = store.entry_key({"resolution": 16, "fit": "pad"})
    assert key == store.entry_key({"fit": "pad", "resolution": 16})
    others = ({"resolution": "pad", "fit": 16}, {"resolution": 32, "fit": "pad"}, {"fit": "pad"})
    assert key not in {store.entry_key(other) for other in others}


def digest_of(array: np.ndarray) -> str:
    fingerprint = store.Fingerprint()
    fingerprint.begin("images", array.dtype, array.shape)
    fingerprint.add(array)
    return fingerprint.hexdigest()


def test_equal_bytes_of_another_shape_or_type_have_another_fingerprint() -> None:
    array = np.arange(12, dtype=np.uint8)
    shapes = [array, array.reshape(3, 4), array.reshape(4, 3), array.view(np.int8)]
    assert len({digest_of(each) for each in shapes}) == 4
    assert digest_of(array) == digest_of(array.copy())


def test_arrays_of_unlike_length_are_no_entry(tmp_path: Path) -> None:
    for name in store.ARRAYS:
        np.save(tmp_path / f"{name}.npy", np.zeros(5, dtype=np.uint8))
    assert store.load_arrays(tmp_path) is not None
    np.save(tmp_path / "labels.npy", np.zeros(4, dtype=np.uint8))
    assert store.load_arrays(tmp_path) is None
