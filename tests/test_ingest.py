"""Decoding with worker processes: culprits are found, memory is bounded, nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.making import encode, heed_interrupts, make_images, write_folder, write_npz
from triptych.data import ingest, open, sources, store
from triptych.data.dataset import ImageData
from triptych.data.ingest import Reading, in_blocks, prepare_all
from triptych.data.open import open_images
from triptych.data.sources import Item
from triptych.options import DataOptions

ROOT = Path(__file__).resolve().parents[1]
POISON = """
import os, time
import triptych.data.decode as decode
real = decode.read_pictures
def read_pictures(content):
    if content == b"kill":
        os._exit(9)
    if content == b"hang":
        time.sleep(99)
    return real(content)
decode.read_pictures = read_pictures
"""


def opened(path: Path, **options: Any) -> ImageData:
    return open_images(str(path), DataOptions(resolution=16, **options))


def items_of(contents: list[bytes]) -> list[Item]:
    return [Item(str(number), content, None, None) for number, content in enumerate(contents)]


@pytest.mark.parametrize("poison", [b"kill", b"hang"])
def test_a_file_that_ends_or_holds_its_process_is_one_bad_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, poison: bytes
) -> None:
    (tmp_path / "sitecustomize.py").write_text(POISON)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT / 'src'}")
    monkeypatch.setattr(ingest, "WORTH_WORKERS", 10)
    monkeypatch.setattr(ingest, "BLOCK", 4)
    monkeypatch.setattr(ingest, "BLOCK_SECONDS", 4)
    monkeypatch.setattr(ingest, "SECONDS", 4)
    images, _ = make_images(14)
    contents = [encode(image) for image in images]
    contents[6] = poison
    found = list(prepare_all(iter(items_of(contents)), len(contents), Reading(16, "stretch")))
    names = [item.name for block, _ in found for item in block]
    assert names == [str(number) for number in range(14)]
    bad = [(block[each.owner].name, each.reason) for block, p in found for each in p.bad]
    assert [name for name, _ in bad] == ["6"]
    assert bad[0][1].startswith("ended the process that read it")
    pixels = np.concatenate([p.pixels for _, p in found]).reshape(13, 3, 16, 16)
    np.testing.assert_array_equal(pixels, np.delete(images, 6, axis=0).transpose(0, 3, 1, 2))


def test_without_processes_this_one_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "no-such-program")
    monkeypatch.setattr(ingest, "WORTH_WORKERS", 10)
    images, _ = make_images(20)
    items = items_of([encode(image) for image in images])
    found = list(prepare_all(iter(items), 20, Reading(16, "stretch")))
    assert sum(len(p.channels) for _, p in found) == 20


def test_blocks_hold_few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "BLOCK", 5)
    monkeypatch.setattr(ingest, "BLOCK_BYTES", 1000)
    small = items_of([bytes(10)] * 12)
    assert [len(block) for block in in_blocks(iter(small))] == [5, 5, 2]
    large = items_of([bytes(600)] * 5)
    assert [len(block) for block in in_blocks(iter(large))] == [2, 2, 1]
    arrays = [Item("a", np.zeros((20, 30), np.uint8), None, None)] * 5
    assert [len(block) for block in in_blocks(iter(arrays))] == [2, 2, 1]


def test_files_that_could_not_be_read_are_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, _ = make_images(40)
    write_folder(tmp_path, images)
    read = os.open

    def refuse(path: Any, *rest: Any) -> int:
        if str(path).endswith(("0003.png", "0005.png")):
            raise PermissionError(13, os.strerror(13))
        return read(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        note = next(n for n in opened(tmp_path).notes if n.code == "many_bad_images")
    assert (note.values["n"], note.values["files"], note.values["share"]) == (2, 40, 0.05)
    assert "0003.png: cannot be read (Permission denied)" in str(note.values["images"])
    again = opened(tmp_path)  # nothing of the files has changed
    assert again.ingested and (again.ingested.bad, again.ingested.files) == ((), 40)


def test_a_file_that_stays_unreadable_has_nothing_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what could not be read is tried at the next opening."""
    write_folder(tmp_path, make_images(40)[0])
    read, prepared, tried = os.open, ingest.prepare, []

    def refuse(path: Any, *rest: Any) -> int:
        if str(path).endswith("0003.png"):
            raise OSError(5, os.strerror(5))
        return read(path, *rest)

    def here(block: list[Item], reading: Reading) -> Any:
        tried.append([item.name for item in block])
        yield block, prepared((block, reading))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        patch.setattr(ingest, "prepare_singly", here)
        first = opened(tmp_path)
        gathered = ingest.gather
        patch.setattr(ingest, "gather", lambda *a: pytest.fail("everything is decoded again"))
        assert opened(tmp_path).fingerprint == first.fingerprint
        patch.setattr(os, "open", read)
        patch.setattr(ingest, "gather", gathered)
        again = opened(tmp_path)
    assert tried[:2] == [["0003.png"]] * 2 and again.ingested and again.ingested.bad == ()


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.sweep)]
)
def test_an_interruption_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    content = encode(np.random.default_rng(0).integers(256, size=(200, 200, 3), dtype=np.uint8))
    (tmp_path / "photos").mkdir()
    for index in range(6000):
        (tmp_path / "photos" / f"{index}.png").write_bytes(content)
    cache = tmp_path / "cache"
    environment = {**os.environ, "TRIPTYCH_CACHE": str(cache), "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(
        [sys.executable, "-m", "triptych", "data", str(tmp_path / "photos")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        preexec_fn=heed_interrupts,
    )
    deadline = time.monotonic() + 60
    while not any(spool.stat().st_size for spool in cache.glob("data/.*/spool")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    workers = children.read_text().split() if children.exists() else []
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (128 + number, "", "")
    assert list((cache / "data").iterdir()) == []
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


# What is said


def notes_of(folder: Path, images: list[np.ndarray], bad: int = 0) -> dict[str, dict[str, Any]]:
    """What is noted, by code."""
    folder.mkdir()
    for index, image in enumerate(images):
        (folder / f"{index:04d}.png").write_bytes(encode(image))
    for index in range(bad):
        (folder / f"bad-{index}.png").touch()
    return {note.code: note.values for note in opened(folder).notes}


def test_shapes_that_vary_or_are_not_square_are_told(tmp_path: Path) -> None:
    square = list(make_images(60, side=16)[0])
    wide = [image[:10] for image in square]
    distorted = {"shapes_distorted", "made_square"}
    assert not distorted & notes_of(tmp_path / "square", square).keys()
    varied = notes_of(tmp_path / "varied", square[:30] + wide[30:])
    assert varied["shapes_distorted"] == {"narrowest": 1, "widest": 1.6}
    assert notes_of(tmp_path / "wide", wide)["made_square"] == {"shape": 1.6}
    cropped = opened(tmp_path / "wide", fit="crop").notes
    assert not distorted & {note.code for note in cropped}


def test_more_than_one_per_cent_of_bad_images_is_a_warning(tmp_path: Path) -> None:
    images = list(make_images(200)[0])
    few, many = notes_of(tmp_path / "few", images, 2), notes_of(tmp_path / "many", images, 3)
    assert "bad_images" in few and "many_bad_images" not in few
    assert "many_bad_images" in many


def test_copies_and_what_left_a_part_are_counted_apart(tmp_path: Path) -> None:
    images, labels = make_images(120)
    write_folder(tmp_path / "train", images[:80], labels[:80])
    write_folder(tmp_path / "train", images[:5], labels[:5], prefix="again")
    write_folder(tmp_path / "test", images[78:], labels[78:])
    ingested = opened(tmp_path).ingested
    assert ingested and (ingested.copies, ingested.crossing) == (7, 2)


def test_sizes_are_width_before_height() -> None:
    sizes = ingest.describe_sizes(Counter({(2, 3): 5, (4, 8): 1, (4, 4): 2}))  # (height, width)
    assert sizes == store.ImageSizes(
        different=3,
        smallest=(3, 2),
        largest=(8, 4),
        usual=(3, 2),
        of_usual_size=5,
        narrowest=1.0,
        widest=2.0,
    )


def test_grey_and_colour_copies_are_the_same_image(tmp_path: Path) -> None:
    grey, labels = make_images(80, channels=1)
    write_folder(tmp_path / "train", grey[:60], labels[:60])
    write_folder(tmp_path / "test", np.repeat(grey[50:], 3, axis=-1), labels[50:])
    ingested = opened(tmp_path).ingested
    assert ingested and ingested.crossing == 10


@pytest.mark.parametrize(("coloured", "told"), [(0, False), (1, True), (2, True), (3, False)])
def test_few_coloured_images_among_grey_ones_are_told(
    tmp_path: Path, coloured: int, told: bool
) -> None:
    images = np.random.default_rng(3).integers(256, size=(40, 16, 16, 3), dtype=np.uint8)
    images[: 40 - coloured] = images[: 40 - coloured, ..., :1]
    data = opened(write_folder(tmp_path, images))
    notes = [dict(note.values) for note in data.notes if note.code == "few_coloured"]
    first = f"{40 - coloured:04}.png"
    assert notes == ([{"n": coloured, "images": 40, "first": first}] if told else [])


def test_images_without_contrast_are_a_warning(tmp_path: Path) -> None:
    images = [image // 30 for image in make_images(60)[0]]
    assert notes_of(tmp_path / "dark", images)["little_contrast"] == {
        "n": 60, "files": 60, "most": 0.5,
    }  # fmt: skip


# What an entry depends on


def test_an_entry_depends_on_time_and_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, _ = make_images(60)
    path = write_npz(tmp_path / "a.npz", images)
    made = []
    make = open.make_entry
    monkeypatch.setattr(open, "make_entry", lambda *a: (made.append(1), make(*a))[1])
    opened(path)
    opened(path)
    assert len(made) == 1
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    opened(path)
    assert len(made) == 2
    monkeypatch.setattr(open, "VERSION", open.VERSION + 1)
    opened(path)
    assert len(made) == 3


def test_labels_of_two_kinds_are_one_set_of_names(tmp_path: Path) -> None:
    images, labels = make_images(100)
    names = [int(label) if number % 2 else str(label) for number, label in enumerate(labels)]
    found = sources.Source(
        lambda: (Item(str(i), image, name, None) for i, (image, name) in enumerate(
            zip(images, names, strict=True))), 100)  # fmt: skip
    from triptych.data.ingest import gather

    ingested = gather(found, "mixed", Reading(16, "stretch"), tmp_path, lambda done, count: None)
    assert ingested.classes == tuple(sorted({str(label) for label in labels}))


def test_few_heavy_files_are_decoded_by_workers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some tens of photos take longer than processes take to start."""
    images, _ = make_images(12)
    items = items_of([encode(image) for image in images])
    given: list[int] = []

    def note(function: Any, blocks: Any, *rest: Any, **options: Any) -> Any:
        for block in blocks:
            given.append(len(block[0]))
            yield function(block)

    monkeypatch.setattr(ingest.workers, "in_order", note)
    for bound, by_workers in ((1 << 30, []), (1, [12])):
        monkeypatch.setattr(ingest, "WORTH_BYTES", bound)
        found = list(prepare_all(iter(items), 12, Reading(16, "stretch")))
        assert given == by_workers and sum(len(p.channels) for _, p in found) == 12
