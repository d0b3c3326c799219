"""A full disk, a read-only folder, a vanished one: one line, nothing lost, never "saved"."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.making import make_images, write_npz
from tests.test_training import digest, request, train
from triptych import files
from triptych.cli import main
from triptych.training import checkpoint
from triptych.training.state import TrainingState

ROOT = Path(__file__).resolve().parents[1]
CHILD = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
PRIVATE = ["unshare", "--map-root-user", "--mount"]  # mounts that nobody else sees
LINE = re.compile(r"triptych: cannot read or write (\S+) \((.+); [\d,]+ bytes are needed\)")


def may_mount() -> bool:
    """Whether this machine lets anybody have mounts of one's own."""
    if shutil.which("unshare") is None:
        return False
    tried = ["sh", "-c", "mkdir -p $0 && mount -t tmpfs none $0", "/tmp/triptych-mount"]
    return subprocess.run([*PRIVATE, *tried], capture_output=True).returncode == 0


mounts = pytest.mark.skipif(not may_mount(), reason="no mounts of one's own on this machine")

# Trains on a disk in memory that is filled but for so many pages, so that every write in turn is
# the first without room; then makes room and goes on. Prints what happened, one line for each.
SWEEP = """
import contextlib, io, json, os, shutil, subprocess, sys
from pathlib import Path
from tests.test_training import digest, request, train
from triptych import files
from triptych.cli import main
from triptych.training import calibration, checkpoint, loop
place, pages = Path(sys.argv[1]), [int(n) for n in sys.argv[2].split(",")]
told = sys.argv[3] == "True"
calibration.MOST_CHECKPOINTS, loop.LOG_POINTS = 3, 4
wanted = request("vae:course", "0.19kimg", "widths=8,8", "latent=4")
expected = digest(train(wanted, place / "whole"))
disk, run = place / "disk", place / "disk" / "run"
disk.mkdir()
usage = shutil.disk_usage
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(disk)], check=True)
def life():
    (place / "said").write_text("")
    said = io.StringIO()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 0
    try:
        train(wanted, run)
    except OSError as error:
        with contextlib.redirect_stderr(said):
            code = main.complain(main.refusal(error), 1)
    (place / "said").write_text(said.getvalue())
    os._exit(code)
if not told:
    shutil.disk_usage = lambda path: usage(path)._replace(total=0)
for free in pages:
    filler = disk / "filler"
    filler.write_bytes(bytes((512 - free) * 4096))
    code = life()
    for path in checkpoint.complete(run / "checkpoints"):
        checkpoint.load(path, 10**7)
    litter = [p.name for p in disk.rglob("*.tmp")]
    filler.unlink()
    said = (place / "said").read_text()
    same = life() == 0 and digest(train(wanted, run)) == expected
    print(json.dumps([free, code, said, litter, same]), flush=True)
    shutil.rmtree(run)
"""


@mounts
@pytest.mark.sweep
@pytest.mark.parametrize("told", [True, False])
def test_every_write_in_turn_finds_no_room(tmp_path: Path, told: bool) -> None:
    """Whether the system tells of it beforehand or, as with quotas, only while writing."""
    pages = [0, 20, 400] if told else [*range(0, 40, 4), 400]
    words = [sys.executable, "-c", SWEEP, str(tmp_path), ",".join(map(str, pages)), str(told)]
    done = subprocess.run(
        [*PRIVATE, *words], capture_output=True, text=True, env=CHILD, timeout=280
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    refused = set()
    for free, code, said, litter, same in found:
        where = f"{free} pages: {said}"
        assert same and litter == [], where
        if code == 0:
            assert said == "", where
            continue
        assert code == 1 and said.count("\n") == 1 and "saved" not in said, where
        line = LINE.match(said)
        assert line is not None and "No space left on device" in said, where
        refused.add(Path(line[1]).name)
    assert [code for _, code, *_ in found] == sorted((code for _, code, *_ in found), reverse=True)
    assert found[0][1] == 1 and found[-1][1] == 0
    assert "checkpoints" in refused and len(refused) > 1  # and smaller files


# As somebody whom permissions bind: root writes wherever it likes.
LOCKED = """
import os, sys
from pathlib import Path
from tests.test_training import request, train
from triptych.cli import main
from triptych.training import checkpoint
from triptych.training.state import TrainingState
place = Path(sys.argv[1])
os.chdir(place)
place.chmod(0o777)
train(request(), place / "first")  # imports all there is to import
if os.geteuid() == 0:
    os.setegid(65534)
    os.seteuid(65534)
run = Path("run")
one_round = TrainingState.step
def turn(state, *rest):
    one_round(state, *rest)
    if state.seen == 19 * 32:
        (run / "checkpoints").chmod(0o500)
TrainingState.step = turn
code = 0
try:
    train(request(), run)
except OSError as error:
    code = main.complain(main.refusal(error), 1)
kept = checkpoint.complete(run / "checkpoints")
print(code, [checkpoint.load(path, 10**9)[1].seen for path in kept])
"""


@pytest.mark.sweep
def test_a_folder_that_turns_read_only() -> None:
    with tempfile.TemporaryDirectory() as place:  # whose parents everybody may enter
        words = [sys.executable, "-c", LOCKED, place]
        found = subprocess.run(words, capture_output=True, text=True, env=CHILD, timeout=200)
    line = LINE.match(found.stderr)
    assert line is not None and "Permission denied" in line[2], found.stderr
    assert found.stderr.count("\n") == 1
    assert found.stdout == "1 [512, 576]\n"


def vanish(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Something happens to the folder after nineteen rounds."""
    one_round = TrainingState.step

    def after(state: TrainingState, *arguments: Any) -> None:
        one_round(state, *arguments)
        if state.seen == 19 * 32:
            act()

    monkeypatch.setattr(TrainingState, "step", after)


def test_a_run_removed_while_training_stays_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    vanish(monkeypatch, lambda: shutil.rmtree(run))
    with pytest.raises(FileNotFoundError) as gone:
        train(request(), run)
    assert LINE.match(f"triptych: {main.refusal(gone.value)}") is not None
    assert not run.exists()


def test_a_run_renamed_while_training_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(request(), tmp_path / "whole")
    run, moved = tmp_path / "run", tmp_path / "moved"
    with monkeypatch.context() as patch:
        vanish(patch, lambda: run.rename(moved))
        with pytest.raises(FileNotFoundError, match="bytes are needed"):
            train(request(), run)
    assert not run.exists()
    assert [path.name for path in checkpoint.complete(moved / "checkpoints")] == [
        "0-000000000512",
        "0-000000000576",
    ]
    assert digest(train(request(), moved)) == digest(whole)


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    files.write_json(path, {"old": 1})
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda place: usage)
        with pytest.raises(
            OSError, match=r"No space left.*; 15 bytes are needed: .*run.json"
        ) as no:
            files.write_bytes(path, b'{"new": 12345}\n')
    assert no.value.errno == errno.ENOSPC

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match=r"Input/output error; 15 bytes"):
            files.write_bytes(path, b'{"new": 12345}\n')
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    assert files.read_json(path, "") == {"old": 1}


def test_a_line_that_does_not_fit_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit on the size of files stops a write in its middle, as a full disk does."""
    code = (
        "import resource, sys; from pathlib import Path; from triptych.cli import main\n"
        "from triptych.records import Done, Note, Warned\n"
        "from triptych.training.log import RunLog\n"
        "log = RunLog(Path(sys.argv[1]))\n"
        "log.write(Done(images=0))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60, 60))\n"
        "try: log.write(Warned(images=0, note=Note('x' * 100)))\n"
        "except OSError as error: main.complain(main.refusal(error), 1)\n"
    )
    log = tmp_path / "log.jsonl"
    words = [sys.executable, "-c", code, str(log)]
    found = subprocess.run(words, capture_output=True, text=True, env=CHILD, timeout=60)
    line = LINE.match(found.stderr)
    assert line is not None and line[1] == str(log), found.stderr
    assert log.read_text() == '{"event": "done", "images": 0}\n'


@mounts
def test_the_command_on_a_full_disk(tmp_path: Path) -> None:
    """From the outside: exit code 1, one line, and the same command goes on with room."""
    images, labels = make_images(300)
    data = write_npz(tmp_path / "bars.npz", images, labels)
    disk = tmp_path / "disk"
    disk.mkdir()
    command = (
        f"'{sys.executable}' -m triptych train vae:course --data {data} --budget 1.28kimg "
        f"--resolution 16 --set batch_size=32 --threads 1 --out {disk}/run"
    )
    script = f"mount -t tmpfs -o size=4m none {disk} && {command}; echo code $?; ls -A {disk}/run"
    found = subprocess.run(
        [*PRIVATE, "sh", "-c", script], capture_output=True, text=True, env=CHILD, timeout=200
    )
    assert "code 1\n" in found.stdout, found.stderr
    last = found.stderr.splitlines()[-1]
    line = LINE.match(last)
    assert line is not None and line[1] == f"{disk}/run/checkpoints", found.stderr
    assert "Traceback" not in found.stderr and "saved" not in found.stderr
    left = found.stdout.split("\n", 1)[1].split()
    assert set(left) <= {"run.json", "log.jsonl", "samples", "checkpoints"}


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And its name before the call returns: a power cut leaves the old file or the new one."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def syncing(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def renaming(self: Path, target: Path) -> Path:
        done.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Path, "replace", renaming)
    files.write_bytes(tmp_path / "a", b"new")
    assert done == ["file", "rename", "folder"]


def test_a_taken_name_is_followed_by_its_second(tmp_path: Path) -> None:
    taken = {tmp_path / "run", tmp_path / "run-2"}
    assert files.first_free(tmp_path / "run", lambda path: path not in taken) == tmp_path / "run-3"
    assert files.first_free(tmp_path / "b", lambda path: True) == tmp_path / "b"
