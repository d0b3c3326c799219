"""Checkpoints are whole or absent; whatever is wrong with one, it is said and not used."""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.making import progress_at
from triptych import files
from triptych.training import checkpoint, tensorfile
from triptych.words import english

MOST = 10**6
FLIPS, CUTS = 200, 20


def tensors_at(seen: int) -> checkpoint.Tensors:
    numbers = torch.arange(200.0) + seen
    return {
        "model": {"w": numbers, "b": numbers[:3].clone()},
        "tally": {"images": torch.tensor(seen)},
    }


def write(folder: Path, *moments: int, **more: Any) -> None:
    for seen in moments:
        checkpoint.save(folder, tensors_at(seen), progress_at(seen, **more))


def newest(folder: Path) -> tuple[int | None, list[str]]:
    """Images seen by what is taken up, which must be what was written; what was said."""
    taken: list[tuple[checkpoint.Tensors, checkpoint.Progress]] = []
    progress, said = checkpoint.newest(folder, lambda *found: taken.append(found), MOST)
    if progress is None:
        assert not taken
        return None, said
    [(tensors, accepted)] = taken
    wanted = tensors_at(progress.seen)
    assert accepted == progress and tensors.keys() == wanted.keys()
    for part, named in wanted.items():
        assert tensors[part].keys() == named.keys()
        assert all(torch.equal(tensors[part][n], t) for n, t in named.items())
    return progress.seen, said


def seal(path: Path) -> None:
    """Bring the manifest in line with the files, as whoever made them up would."""
    found = {f.name: files.sha256(f) for f in path.iterdir() if f.name != "manifest.json"}
    (path / "manifest.json").write_text(json.dumps(found))


def second(folder: Path) -> Path:
    return checkpoint.complete(folder)[-1]


def test_the_newest_comes_back(tmp_path: Path) -> None:
    assert newest(tmp_path) == (None, [])
    write(tmp_path, 32, 64)
    assert newest(tmp_path) == (64, [])


def test_two_are_kept_in_the_order_of_training(tmp_path: Path) -> None:
    """And the end of the first phase, from which other trainings go on."""
    for phase, seen in ((0, 64), (9, 128), (10, 32)):
        checkpoint.save(tmp_path, tensors_at(seen), progress_at(seen, phase=phase))
    kept = [path.name for path in checkpoint.complete(tmp_path)]
    assert kept == ["0-000000000064", "9-000000000128", "10-000000000032"]
    assert newest(tmp_path) == (32, [])


def test_what_others_put_there_is_left_alone(tmp_path: Path) -> None:
    for name in ("notes", "0-12", "a-000000000032"):
        (tmp_path / name).mkdir()
    (tmp_path / "0-000000000900").write_text("no folder")
    write(tmp_path, 32, 64, 96)
    assert newest(tmp_path) == (96, [])
    assert len(list(tmp_path.iterdir())) == 4 + checkpoint.KEPT


def test_litter_is_removed(tmp_path: Path) -> None:
    write(tmp_path, 32)
    for name in (".0-000000000064.17.tmp", ".0-000000000032.17.old.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".run.json.17.tmp").write_text("{")
    (tmp_path / ".link.tmp").symlink_to(tmp_path / "0-000000000032")
    (tmp_path / ".nfs01").touch()  # a file system's own
    files.clean(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"0-000000000032", ".nfs01"}
    assert newest(tmp_path) == (32, [])


def check_fallback(folder: Path) -> None:
    seen, [note] = newest(folder)
    assert seen == 32
    assert (note.code, note.values["name"]) == ("checkpoint_damaged", "0-000000000064")
    assert "\n" not in english(note)


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    write(tmp_path, 32, 64, returned=False, in_a_row={"critic": 0}, seconds=1.5)
    rng = random.Random(0)
    parts = sorted(second(tmp_path).iterdir())
    assert len(parts) == 4
    for number in range(FLIPS):
        file = parts[number % len(parts)]
        content = file.read_bytes()
        changed = bytearray(content)
        changed[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        file.write_bytes(changed)
        check_fallback(tmp_path)
        file.write_bytes(content)
    assert newest(tmp_path) == (64, [])


@pytest.mark.parametrize("part", ["model.safetensors", "progress.json", "manifest.json"])
def test_every_truncation_is_found(tmp_path: Path, part: str) -> None:
    write(tmp_path, 32, 64)
    file = second(tmp_path) / part
    content = file.read_bytes()
    for cut in range(CUTS):
        file.write_bytes(content[: cut * len(content) // CUTS])
        check_fallback(tmp_path)
    file.write_bytes(content + b"\0")
    check_fallback(tmp_path)
    file.unlink()
    check_fallback(tmp_path)


def test_when_every_checkpoint_is_damaged_it_is_said(tmp_path: Path) -> None:
    write(tmp_path, 32, 64)
    for path in checkpoint.complete(tmp_path):
        (path / "model.safetensors").write_bytes(b"")
    seen, said = newest(tmp_path)
    assert seen is None and len(said) == 2


@pytest.mark.parametrize("error", [ValueError, KeyError, TypeError, RuntimeError, OverflowError])
def test_what_does_not_fit_is_passed_over(tmp_path: Path, error: type[Exception]) -> None:
    write(tmp_path, 32, 64)

    def accept(tensors: checkpoint.Tensors, progress: checkpoint.Progress) -> None:
        if progress.seen == 64:
            raise error("w is\nF32 [3],\x1b not F32 [4]")

    progress, [note] = checkpoint.newest(tmp_path, accept, MOST)
    assert progress is not None and progress.seen == 32
    assert "w is" in english(note) and english(note).isprintable()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
    ids=["cuda", "illegal access", "mps", "cublas", "system"],
)
def test_too_little_memory_is_no_damage(tmp_path: Path, error: RuntimeError) -> None:
    """Else training would begin anew, and its checkpoints would drive out the good ones."""
    write(tmp_path, 32, 64)

    def accept(tensors: checkpoint.Tensors, progress: checkpoint.Progress) -> None:
        raise error

    with pytest.raises(RuntimeError) as raised:
        checkpoint.newest(tmp_path, accept, MOST)
    assert raised.value is error
    assert newest(tmp_path) == (64, [])


def test_a_large_one_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terabyte without blocks on the disk would take an hour to hash."""
    write(tmp_path, 32, 64)
    os.truncate(second(tmp_path) / "model.safetensors", 2**40)
    digest = files.sha256
    small = lambda path: digest(path) if path.stat().st_size < MOST else pytest.fail("read")  # noqa: E731
    monkeypatch.setattr(files, "sha256", small)
    check_fallback(tmp_path)


def told(**changes: Any) -> str:
    """The text of a progress at image 64, with changes."""
    return json.dumps(progress_at(64).to_json() | changes)


def progress(path: Path, text: str) -> None:
    (path / "progress.json").write_text(text)
    seal(path)


def header(path: Path, described: dict[str, Any] | bytes, data: bytes = b"\0" * 64) -> None:
    """A tensor file with a header of one's own."""
    text = described if isinstance(described, bytes) else json.dumps(described).encode()
    (path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    seal(path)


def raw(path: Path, file: str, content: bytes) -> None:
    (path / file).write_bytes(content)
    seal(path)


def pipe(path: Path, name: str) -> None:
    """Whoever opens it to read waits for ever."""
    (path / name).unlink(missing_ok=True)
    os.mkfifo(path / name)


def link(path: Path) -> None:
    shutil.move(path / "tally.safetensors", path.parents[1] / "outside")
    (path / "tally.safetensors").symlink_to(path.parents[1] / "outside")


def manifest(path: Path, name: str) -> None:
    """One file more than there are, in a place outside."""
    outside = path.parents[1] / "outside"
    outside.write_bytes(b"secret")
    known = json.loads((path / "manifest.json").read_bytes())
    known[name or str(outside)] = files.sha256(outside)
    (path / "manifest.json").write_text(json.dumps(known))


def entry(
    start: int, end: int, dtype: str = "F32", shape: tuple[int, ...] = (4,)
) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


HOSTILE: dict[str, Callable[[Path], object]] = {
    "deep manifest": lambda path: (path / "manifest.json").write_text("[" * 50_000),
    "manifest of a list": lambda path: (path / "manifest.json").write_text("[1]"),
    "digests of numbers": lambda path: (path / "manifest.json").write_text(
        json.dumps(dict.fromkeys(("model.safetensors", "tally.safetensors", "progress.json"), 1))
    ),
    "manifest leads up": lambda path: manifest(path, "../../outside"),
    "manifest leads to the root": lambda path: manifest(path, ""),
    "a long manifest": lambda path: (path / "manifest.json").write_text(" " * 10**5 + "{}"),
    "a link": link,
    "a folder": lambda path: (path / "more").mkdir(),
    "a pipe": lambda path: pipe(path, "pipe"),
    "manifest is a pipe": lambda path: pipe(path, "manifest.json"),
    "many files": lambda path: [(path / str(n)).touch() for n in range(70)],
    "deep progress": lambda path: progress(path, "[" * 50_000),
    "progress of a list": lambda path: progress(path, "[]"),
    "no phase": lambda path: progress(path, told(phase=None).replace('"phase": null, ', "")),
    "no rewinds": lambda path: progress(path, told(rewinds=None).replace('"rewinds": null, ', "")),
    "more than ours": lambda path: progress(path, told(place=5)),
    "phase of a truth": lambda path: progress(path, told(phase=False)),
    "text for a number": lambda path: progress(path, told(seen="64")),
    "another moment": lambda path: progress(path, told(seen=96)),
    "a negative number": lambda path: progress(path, told(seen=-64)),
    "not a number": lambda path: progress(path, told(seconds=math.nan)),
    "infinity": lambda path: progress(path, told().replace("1.0", "1e999")),
    "negative seconds": lambda path: progress(path, told(seconds=-1.0)),
    "endless": lambda path: progress(path, told().replace("64", "9" * 4000)),
    "half a rewind": lambda path: progress(path, told(rewinds=0.5)),
    "text in a row": lambda path: progress(path, told(in_a_row={"critic": "x"})),
    "a header longer than its file": lambda path: raw(
        path, "model.safetensors", (50).to_bytes(8, "little") + b"{}"
    ),
    "a huge header": lambda path: raw(
        path, "model.safetensors", (99_000_000).to_bytes(8, "little") + b"{" + b" " * 99
    ),
    "a header of text": lambda path: header(path, b"nothing"),
    "overlapping tensors": lambda path: header(path, {"w": entry(0, 16), "b": entry(8, 24)}),
    "a hole between tensors": lambda path: header(path, {"w": entry(0, 16), "b": entry(48, 64)}),
    "more than there is": lambda path: header(path, {"w": entry(0, 16)}, b"\0" * 8),
    "overflowing shape": lambda path: header(path, {"w": entry(0, 64, shape=(2**62, 2**62))}),
    "huge shape": lambda path: header(path, {"w": entry(0, 64, shape=(10**12,))}),
    "unknown dtype": lambda path: header(path, {"w": entry(0, 64, "Q7", (64,))}),
    "empty": lambda path: raw(path, "model.safetensors", b""),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_checkpoints_are_passed_over(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    write(folder, 32, 64)
    HOSTILE[what](second(folder))
    started = time.process_time()  # what waits for ever is ended by the test's time-out
    check_fallback(folder)
    assert time.process_time() - started < 2


class Canary:
    """A pickle that tells when it is opened."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.place,)


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "optimiser.pkl", "model.safetensors"])
@pytest.mark.parametrize("sealed", [False, True])
def test_no_pickle_is_opened(tmp_path: Path, name: str, sealed: bool) -> None:
    folder, canary = tmp_path / "checkpoints", tmp_path / "canary"
    folder.mkdir()
    write(folder, 32, 64)
    torch.save({"w": Canary(canary)}, second(folder) / name)
    if sealed:
        seal(second(folder))
    found, said = checkpoint.newest(folder, lambda *_: None, MOST)
    assert found is not None and not canary.exists()
    if name == "model.safetensors" or not sealed:
        assert found.seen == 32 and len(said) == 1


def test_those_gone_back_to_are_dropped(tmp_path: Path) -> None:
    write(tmp_path, 32, returned=False)
    write(tmp_path, 64, returned=True)
    checkpoint.drop_returned(tmp_path)
    assert newest(tmp_path) == (32, [])
    checkpoint.drop_returned(tmp_path)
    assert newest(tmp_path) == (32, [])
    write(tmp_path, 64, returned=True)
    (second(tmp_path) / "progress.json").write_text("{")
    checkpoint.drop_returned(tmp_path)
    check_fallback(tmp_path)


def failing(original: Callable[..., Any], number: int, at: int) -> Callable[..., Any]:
    """A call that the system refuses at its so-many-th use."""
    uses = itertools.count(1)

    def call(*arguments: Any, **options: Any) -> Any:
        if next(uses) == at:
            raise OSError(number, os.strerror(number))
        return original(*arguments, **options)

    return call


PLACES: list[tuple[Any, str, int]] = [
    (tensorfile, "save_file", 2),
    (Path, "mkdir", 1),
    (Path, "write_text", 2),
    (Path, "replace", 1),
    (files, "sync", 4),
    (files, "sync_folder", 2),
]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize(
    ("place", "name", "at"),
    [(place, name, at + 1) for place, name, most in PLACES for at in range(most)],
)
def test_a_save_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any, name: str, at: int, number: int
) -> None:
    write(tmp_path, 32, 64)
    with monkeypatch.context() as patch:
        patch.setattr(place, name, failing(getattr(place, name), number, at))
        with pytest.raises(OSError, match="bytes are needed") as failed:
            write(tmp_path, 96)
    assert failed.value.errno == number and failed.value.filename == str(tmp_path)
    assert str(os.strerror(number)) in str(failed.value)
    visible = {path.name for path in checkpoint.complete(tmp_path)}
    assert {path.name for path in tmp_path.iterdir()} == visible
    assert newest(tmp_path)[0] in ({64, 96} if name == "sync_folder" and at == 2 else {64})
    write(tmp_path, 96)
    assert newest(tmp_path) == (96, [])


def test_too_little_room_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, 32)
    needed = checkpoint.size(tensors_at(64))
    usage = shutil.disk_usage(tmp_path)._replace(free=needed - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(checkpoint, "write", lambda *_: pytest.fail("written"))
    with pytest.raises(OSError, match=f"No space left on device; {needed:,} bytes are needed"):
        write(tmp_path, 64)
    assert newest(tmp_path) == (32, [])


def test_the_bytes_needed_are_no_fewer_than_are_written(tmp_path: Path) -> None:
    large: dict[str, Tensor] = {f"optimiser/{n}/exp_avg": torch.zeros(n, 7) for n in range(300)}
    path = checkpoint.save(tmp_path, {"model": large}, progress_at(32))
    written = sum(file.stat().st_size for file in path.iterdir())
    needed = checkpoint.size({"model": large})
    assert written <= needed <= 2 * written + checkpoint.EXTRA


def test_a_vanished_run_is_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="bytes are needed"):
        write(tmp_path / "run" / "checkpoints", 32)
    assert list(tmp_path.iterdir()) == []


def test_a_network_disk_that_tells_nothing_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(total=0, free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    write(tmp_path, 32)
    assert newest(tmp_path) == (32, [])


def test_files_of_others_cost_no_memory(tmp_path: Path) -> None:
    """The header alone is bounded: thirty thousand empty tensors are read, a million are not."""
    write(tmp_path, 32, 64)
    many = {f"{n}": torch.empty(0) for n in range(100_000)}
    save_file(many, second(tmp_path) / "model.safetensors")
    seal(second(tmp_path))
    progress, said = checkpoint.newest(tmp_path, lambda *_: None, 10**9)
    assert progress is not None and progress.seen == 32
    assert "header" in english(said[0])


def test_what_lies_further_on_goes_with_the_next_save(tmp_path: Path) -> None:
    """Damaged ones of a future that was given up must not crowd out what is written now."""
    write(tmp_path, 640, 1280)
    for path in checkpoint.complete(tmp_path):
        (path / "manifest.json").write_text("{}")
    write(tmp_path, 64, 128, 192)
    assert [path.name[-3:] for path in checkpoint.complete(tmp_path)] == ["128", "192"]
    assert newest(tmp_path) == (192, [])


def test_what_may_be_gone_back_to_outlives_what_was(tmp_path: Path) -> None:
    """After each trouble there is still one from before it, however often it comes again."""
    folder = tmp_path / "checkpoints"

    def saved(seen: int, returned: bool = False) -> None:
        progress = replace(progress_at(seen), returned=returned)
        checkpoint.save(folder, {"model": {"w": torch.zeros(2)}}, progress)

    for seen in (100, 200, 300):
        saved(seen)
    checkpoint.drop_returned(folder)
    saved(300, returned=True)
    saved(400)
    checkpoint.drop_returned(folder)
    saved(400, returned=True)
    checkpoint.drop_returned(folder)
    assert [path.name for path in checkpoint.complete(folder)] == ["0-000000000200"]
