"""The package under the rules of Windows and the Mac, as far as Linux can imitate them.

`other_systems.py` has the rules, `tour.py` the commands that are given under them. What was tried
on the real systems, and what was not, is told in docs/systems.md.
"""

from __future__ import annotations

import ast
import errno
import json
import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tests.other_systems import ROOT, SYSTEM, SYSTEMS
from triptych import files, hardware
from triptych.web import jobs

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "triptych"
MODULES = sorted(PACKAGE.rglob("*.py"))
SITE = "from tests.other_systems import impose\n\nimpose()\n"  # which Python runs as it begins
# What may name things that Windows lacks: it asks for the system before.
ASKS_FIRST = {"data/store.py", "comparison/engines.py"}
IN_USE = 32  # ERROR_SHARING_VIOLATION of winerror.h


def environment(folder: Path, system: str) -> dict[str, str]:
    """Of a process that begins under the rules of a system, which count below a folder."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SITE, encoding="utf-8")
    (folder / "work").mkdir()
    paths = [folder / "site", REPOSITORY, REPOSITORY / "src"]
    return os.environ | {
        SYSTEM: system,
        ROOT: str((folder / "work").resolve()),
        "TRIPTYCH_CACHE": str(folder / "work" / "cache"),
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTHONIOENCODING": "cp1252",  # of a terminal in western Europe
        "PYTHONWARNDEFAULTENCODING": "1",
        "OMP_NUM_THREADS": "1",
    }


def tour(folder: Path, system: str, *more: str) -> tuple[dict[str, Any], Path]:
    """What came of each command, and the folder in which they were given."""
    own, work = environment(folder, system), folder / "work"
    subprocess.run([sys.executable, "-m", "tests.tour", str(work), *more], env=own, check=True)
    stops = json.loads((work / "tour.json").read_text(encoding="utf-8"))
    commands = {name: stop for name, stop in stops.items() if isinstance(stop, dict)}
    wrong = {name: stop["code"] for name, stop in commands.items() if stop["code"]}
    assert wrong == {"stopped": 130}, commands
    return stops, work


def record(run: Path) -> dict[str, Any]:
    """run.json."""
    content: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return content


@pytest.mark.sweep
@pytest.mark.timeout(240)
def test_everything_is_done_under_the_rules_of_windows(tmp_path: Path) -> None:
    """All modules are imported; every family is trained, one of them stopped and taken up."""
    stops, work = tour(tmp_path, "win32")
    runs = work / "runs"
    assert "triptych.web.server" in stops["modules"] and len(stops["modules"]) > 150
    assert "3 classes: café, naïve \\u2192, plain" in stops["data"]["out"]
    assert len(stops["checkpoints"]) == 2 and "going on from image" in stops["vae"]["err"]
    for family in ("vae", "gan", "diffusion"):
        told = record(runs / family)
        assert (told["status"], told["images_seen"]) == ("done", 320)
        assert told["versions"]["platform"] == "win32"
        assert told["hardware"]["memory_bytes"] == psutil.virtual_memory().total
        peak = told["peak_memory_bytes"]
        assert peak is None or peak > 10**8  # torch alone takes as much
        assert len(list((runs / family / "checkpoints").iterdir())) == 1
    assert list(runs.rglob(".*")) == []  # locks, holders and half-written files
    (comparison,) = runs.glob("compare-*")
    contract = json.loads((comparison / "contract.json").read_text(encoding="utf-8"))
    assert contract["runs"] == ["../vae", "../twin"]
    assert (comparison / "report.html").is_file() and (work / "joined_figures").is_dir()
    assert json.loads(stops["doctor"]["out"])["versions"]["platform"] == "win32"


@pytest.mark.sweep
@pytest.mark.timeout(240)
@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_a_training_goes_on_under_the_rules_of_others(system: str, tmp_path: Path) -> None:
    stops, work = tour(tmp_path, system, "--brief")
    assert "going on from image" in stops["vae"]["err"]
    told = record(work / "runs" / "vae")
    assert (told["status"], told["versions"]["platform"]) == ("done", system)
    assert json.loads(stops["doctor"]["out"])["hardware"]["cores"] >= 1


REFUSED = """
import os, sys
from pathlib import Path
import numpy as np
folder = Path(sys.argv[1])
for name in ("a", "b"):
    (folder / name).mkdir()
    (folder / name / "1.npy").touch()
(folder / "old").touch(), (folder / "new").touch()
np.save(folder / "mapped.npy", np.zeros(9))
mapped = np.load(folder / "mapped.npy", mmap_mode="r")
opened = (folder / "b" / "1.npy").open("rb")
namespace = {"__name__": "triptych.probe"}
def package(words): exec(words, namespace)
for words in (
    'lambda: (folder / "old").rename(folder / "new")',
    'lambda: os.open(folder / "a", os.O_RDONLY)',
    'lambda: (folder / "mapped.npy").unlink()',
    'lambda: (folder / "mapped.npy").open("wb")',
    'lambda: (folder / "b").rename(folder / "c")',
    'lambda: (folder / "gan:r1").mkdir()',
    'lambda: (folder / "aux.txt").touch()',
    'lambda: (folder / "OLD").touch()',
    'lambda: os.kill(os.getpid(), 0)',
    'lambda: os.fsync(opened.fileno())',
    'lambda: package("import resource")',
    'lambda: package("import os; os.getloadavg()")',
    'lambda: package("import signal; signal.SIGHUP")',
    'lambda: package("import ctypes; ctypes.CDLL(\\'libc.so.6\\')")',
    'lambda: package("open(\\'/proc/self/status\\', encoding=\\'utf-8\\')")',
    'lambda: package(f"open({str(folder / \\'new\\')!r})")',
    'lambda: (folder / "old").replace(folder / "new")',
    'lambda: (folder / "a").rename(folder / "c")',
    'lambda: package("import sys; assert sys.platform == \\'win32\\'")',
):
    try:
        eval(words)()
        print("done")
    except Exception as error:
        print(type(error).__name__)
"""


def test_the_rules_refuse_what_windows_refuses(tmp_path: Path) -> None:
    """Else the tour would show nothing; the last three are allowed."""
    own, work = environment(tmp_path, "win32"), tmp_path / "work"
    asked = subprocess.run(
        [sys.executable, "-c", REFUSED, str(work)], env=own, capture_output=True, text=True
    )
    expected = ["FileExistsError", "PermissionError", "PermissionError", "OSError"]
    expected += ["PermissionError", "OSError", "OSError", "FileExistsError", "AssertionError"]
    expected += ["OSError", "ModuleNotFoundError", "AttributeError", "AttributeError"]
    expected += ["OSError", "FileNotFoundError", "EncodingWarning", "done", "done", "done"]
    assert asked.stdout.split() == expected, asked.stderr


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def is_text(call: ast.Call) -> bool:
    """Whether a call opens a file as text, reads or writes one."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name in ("read_text", "write_text"):
        return not call.args or name == "write_text"
    if name != "open" or not isinstance(call.func, ast.Name | ast.Attribute):
        return False
    words = [
        a.value for a in [*call.args, *(k.value for k in call.keywords)] if type(a) is ast.Constant
    ]
    modes = [w for w in words if isinstance(w, str) and w and set(w) <= set("rwaxbt+:|")]
    of_path = isinstance(call.func, ast.Name) or not call.args or bool(modes)
    return of_path and not any("b" in mode or ":" in mode or "|" in mode for mode in modes)


def test_text_is_opened_with_its_encoding() -> None:
    """Windows' own is another in each part of the world."""
    bare = [
        f"{path.relative_to(PACKAGE)}:{call.lineno}"
        for path in MODULES
        for call in nodes_of(path)
        if isinstance(call, ast.Call)
        and is_text(call)
        and "encoding" not in {k.arg for k in call.keywords}
    ]
    assert bare == []


def test_nothing_is_named_that_windows_lacks() -> None:
    """Also where no tour comes by; `make other-systems` has mypy look for more."""
    lacking = SYSTEMS["win32"]
    for path in MODULES:
        own = str(path.relative_to(PACKAGE))
        names = [
            f"{node.value.id}.{node.attr}"
            for node in nodes_of(path)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            and node.attr in lacking.names.get(node.value.id, ())
        ]  # fmt: skip
        assert not names or own in ASKS_FIRST, f"{own}: {names}"
        (module,) = (node for node in nodes_of(path) if isinstance(node, ast.Module))
        first = {a.name for n in module.body if isinstance(n, ast.Import) for a in n.names}
        assert not first & lacking.modules, own


# Files


def refuse(times: int, winerror: int | None, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Renaming fails so many times; the list takes the seconds that are waited."""
    plain, waited = Path.replace, list[float]()

    def replace(source: Path, target: Path) -> Path:
        if len(waited) < times:
            error = PermissionError(errno.EACCES, "in use")
            if winerror is not None:
                error.winerror = winerror  # type: ignore[attr-defined]
            raise error
        return plain(source, target)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr("triptych.files.time.sleep", waited.append)
    return waited


def test_a_file_that_is_being_read_is_replaced_a_moment_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = refuse(3, IN_USE, monkeypatch)
    files.write_json(tmp_path / "a.json", {"b": 1})
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"b": 1}
    assert len(waited) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(("winerror", "pauses"), [(None, 0), (IN_USE, len(files.PAUSES))])
def test_what_stays_refused_is_an_error(
    winerror: int | None, pauses: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once where it is no other process that is in the way; the old file is whole."""
    (tmp_path / "a.json").write_bytes(b"old")
    waited = refuse(99, winerror, monkeypatch)
    with pytest.raises(PermissionError, match="in use"):
        files.write_json(tmp_path / "a.json", {})
    assert len(waited) == pauses
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_path_on_another_drive_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.relative_path(tmp_path / "runs" / "a", tmp_path / "b") == "../runs/a"

    def no_way(path: Path, start: Path) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", no_way)
    assert files.relative_path(tmp_path / "a", tmp_path / "b") == str(tmp_path / "a")


# Memory


def uses(monkeypatch: pytest.MonkeyPatch, **memory: int) -> None:
    """The system has no files that tell of memory, but psutil tells this."""
    monkeypatch.setattr(hardware, "_lines", lambda path: [])
    monkeypatch.setattr(psutil.Process, "memory_info", lambda process: SimpleNamespace(**memory))


def test_a_peak_that_windows_keeps_is_told_where_it_has_grown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A lower one than before is not known: that of another training is none of this one's."""
    monkeypatch.setattr("triptych.hardware.sys.platform", "win32")
    uses(monkeypatch, peak_wset=5000)
    hardware.forget_peak_memory()
    assert hardware.peak_memory_bytes("cpu") is None
    uses(monkeypatch, peak_wset=7000)
    assert hardware.peak_memory_bytes("cpu") == 7000


@pytest.mark.parametrize(("platform", "unit"), [("darwin", 1), ("freebsd14", 1024)])
def test_a_mac_counts_its_peak_in_bytes(
    platform: str, unit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """getrusage(2) of macOS: "the maximum resident set size utilized (in bytes)"."""
    uses(monkeypatch, rss=1)
    monkeypatch.setattr(hardware, "_PEAK_BEFORE", [0])
    monkeypatch.setattr("triptych.hardware.sys.platform", platform)
    monkeypatch.setattr("resource.getrusage", lambda who: SimpleNamespace(ru_maxrss=3000))
    assert hardware.peak_memory_bytes("cpu") == 3000 * unit


# Processes


def test_a_training_is_asked_to_end_as_its_system_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here by SIGTERM; where that fails as it does on Windows for another console, it is ended."""
    asked: list[Any] = []
    monkeypatch.setattr(os, "kill", lambda *given: asked.append(given))
    jobs.ask_to_end(5)
    assert asked == [(5, signal.SIGTERM)]

    def not_ours(*given: Any) -> None:
        raise OSError(errno.EINVAL, "the parameter is incorrect")

    monkeypatch.setattr(os, "kill", not_ours)
    process = SimpleNamespace(terminate=lambda: asked.append("ended"))
    monkeypatch.setattr(psutil, "Process", lambda number: process)
    jobs.ask_to_end(6)
    assert asked[1:] == ["ended"]


def test_a_way_through_a_link_leads_where_the_link_leads(tmp_path: Path) -> None:
    """A Mac's folder for temporary files is a link, and so are large disks of clusters."""
    (tmp_path / "far" / "away" / "runs" / "old").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    linked = tmp_path / "here" / "linked"
    linked.symlink_to(tmp_path / "far" / "away")
    inside, out = tmp_path / "here" / "run", linked / "comparison"
    inside.mkdir()
    out.mkdir()
    for run in (inside, linked / "runs" / "old", tmp_path / "far" / "away" / "runs" / "old"):
        assert (out / files.relative_path(run, out)).samefile(run)
    assert files.relative_path(linked / "comparison" / "gan", out) == "gan"
    (out / "gan").symlink_to(inside)
    assert files.relative_path(out / "gan", out) == "gan"  # a run keeps the name that it has here
