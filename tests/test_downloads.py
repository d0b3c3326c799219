"""Downloads against a server on this machine that cuts, lies, redirects and stalls."""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.serving import CONTENT, OTHER, SIZE, FileServer, serve
from triptych.data import downloads
from triptych.data.downloads import CHUNK, RemoteFile, fetch
from triptych.errors import InputError

CUTS = (0, 1, 1000, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 7, SIZE // 2, 5 * CHUNK, SIZE - 1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PAUSE", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(data=CONTENT) as told:
        yield told


def described(server: FileServer, content: bytes = CONTENT, name: str = "data") -> RemoteFile:
    """The file as its publisher would describe it."""
    md5, sha256 = hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest()
    return RemoteFile(name, f"{server.url}/{name}", md5, sha256, len(content))


def silent(done: int, total: int) -> None:
    """No progress."""


def visible(folder: Path) -> list[str]:
    """What is there but for locks."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_a_file_comes_once_with_progress_in_bytes(server: FileServer, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = fetch(described(server), tmp_path / "new", lambda *pair: seen.append(pair))
    assert path == tmp_path / "new" / "data"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (SIZE, SIZE)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    fetch(described(server), tmp_path / "new", silent)
    assert len(server.asked) == 1
    assert visible(tmp_path / "new") == ["data"]


@pytest.mark.parametrize("cut", CUTS)
def test_goes_on_where_it_was_cut(server: FileServer, tmp_path: Path, cut: int) -> None:
    server.cuts = [cut]
    assert fetch(described(server), tmp_path, silent).read_bytes() == CONTENT
    assert len(server.asked) == 2
    assert cut - CHUNK < server.starts[1] <= cut
    assert server.sent == cut + SIZE - server.starts[1]


@pytest.mark.parametrize("cut", CUTS)
def test_without_ranges_starts_anew(server: FileServer, tmp_path: Path, cut: int) -> None:
    server.cuts, server.ranges = [cut], False
    assert fetch(described(server), tmp_path, silent).read_bytes() == CONTENT
    assert server.sent == cut + SIZE


def test_cut_many_times(server: FileServer, tmp_path: Path) -> None:
    server.cuts = [CHUNK + 5] * 5
    assert fetch(described(server), tmp_path, silent).read_bytes() == CONTENT
    assert server.sent < 2 * SIZE
    server.cuts = [CHUNK] * 50
    server.ranges = False
    with pytest.raises(InputError, match="cannot fetch"):
        fetch(described(server), tmp_path / "whole", silent)
    assert 40 < len(server.cuts) < 50  # given up: no byte beyond the first CHUNK


def test_cut_without_a_length_is_noticed(server: FileServer, tmp_path: Path) -> None:
    server.cuts, server.lengths = [2 * CHUNK], False
    assert fetch(described(server), tmp_path, silent).read_bytes() == CONTENT
    assert server.starts[1] > 0


def test_tries_again_when_the_server_is_busy(server: FileServer, tmp_path: Path) -> None:
    server.status = [503, 429]
    assert fetch(described(server), tmp_path, silent).read_bytes() == CONTENT
    server.status = [503] * 9
    with pytest.raises(InputError, match="503 Service Unavailable"):
        fetch(described(server), tmp_path / "new", silent)
    assert visible(tmp_path / "new") == []


def test_wrong_content_is_named_and_nothing_stays(server: FileServer, tmp_path: Path) -> None:
    server.files["data"] = OTHER
    wrong, right = hashlib.md5(OTHER).hexdigest(), hashlib.md5(CONTENT).hexdigest()
    with pytest.raises(InputError, match=f"{wrong} instead of {right}") as caught:
        fetch(described(server), tmp_path, silent)
    assert str(tmp_path / "data") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert visible(tmp_path) == []
    assert server.starts == [0, 0]


def test_both_digests_count(server: FileServer, tmp_path: Path) -> None:
    wrong = hashlib.sha256(OTHER).hexdigest()
    with pytest.raises(InputError, match=f"sha256 .* instead of {wrong}"):
        fetch(replace(described(server), sha256=wrong), tmp_path, silent)
    only_md5 = replace(described(server), sha256=None, size=None)
    assert fetch(only_md5, tmp_path, silent).read_bytes() == CONTENT


@pytest.mark.parametrize("content", [OTHER, OTHER[:-9], OTHER + b"more", OTHER[: 2 * CHUNK]])
def test_changed_between_cut_and_resuming(
    server: FileServer, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "data.part").write_bytes(CONTENT[: 2 * CHUNK + 1])
    server.files["data"] = content
    assert fetch(described(server, content), tmp_path, silent).read_bytes() == content
    assert server.starts[-1] == 0
    assert visible(tmp_path) == ["data"]


def test_part_beyond_the_end_starts_anew(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "data.part").write_bytes(OTHER)
    unsized = replace(described(server), size=None)
    assert fetch(unsized, tmp_path, silent).read_bytes() == CONTENT
    assert server.starts == [SIZE, 0]


def test_answer_that_starts_elsewhere_is_not_appended(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "data.part").write_bytes(CONTENT[:CHUNK])
    server.shift = 7
    seen: list[int] = []
    fetched = fetch(described(server), tmp_path, lambda done, _: seen.append(done))
    assert fetched.read_bytes() == CONTENT
    assert server.starts == [CHUNK, 0]
    assert seen[0] <= CHUNK


def test_stalled_server(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT", (5.0, 0.2))
    server.stall_after = 4 * CHUNK
    assert fetch(described(server), tmp_path, silent).read_bytes() == CONTENT
    assert len(server.asked) == 2
    server.stall_after = 0
    with pytest.raises(InputError, match=r"\(timed out\)"):
        fetch(described(server), tmp_path / "never", silent)


def test_packed_files_stay_packed(server: FileServer, tmp_path: Path) -> None:
    server.files["data"], server.encoding = (packed := gzip.compress(CONTENT)), "gzip"
    assert fetch(described(server, packed), tmp_path, silent).read_bytes() == packed
    assert server.encodings_asked == ["identity"]


def test_complete_part_is_only_verified(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "data.part").write_bytes(CONTENT)
    assert fetch(described(server), tmp_path, silent).read_bytes() == CONTENT
    assert server.asked == []


def test_other_size_is_refused_before_it_is_fetched(server: FileServer, tmp_path: Path) -> None:
    server.files["data"] = CONTENT * 100
    with pytest.raises(InputError, match=f"{100 * SIZE:,} bytes instead of {SIZE:,}"):
        fetch(described(server), tmp_path, silent)
    server.lengths = False  # an endless body may not fill the disk
    most = 0

    def watch(done: int, total: int) -> None:
        nonlocal most
        most = max(most, done)

    with pytest.raises(InputError, match="more than"):
        fetch(described(server), tmp_path, watch)
    assert most <= SIZE
    assert visible(tmp_path) == []


def test_put_there_by_hand(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(CONTENT)
    assert fetch(described(server), tmp_path, silent).read_bytes() == CONTENT
    assert server.asked == []
    (tmp_path / "data").write_bytes(OTHER)
    assert fetch(described(server), tmp_path, silent).read_bytes() == CONTENT
    assert len(server.asked) == 1


def test_no_network(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/data"
    file = RemoteFile("data", url, hashlib.md5(CONTENT).hexdigest(), None, SIZE)
    with pytest.raises(InputError) as caught:
        fetch(file, tmp_path / "cache", silent)
    place = tmp_path / "cache" / "data"
    assert str(caught.value) == (
        f"cannot fetch {url} (Connection refused): download it yourself and put it at {place}"
    )
    place.write_bytes(b"half a file")
    with pytest.raises(InputError, match=r"is another file \(11 bytes instead of"):
        fetch(file, tmp_path / "cache", silent)
    assert place.read_bytes() == b"half a file"
    place.write_bytes(CONTENT)
    assert fetch(file, tmp_path / "cache", silent) == place


def test_unknown_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    file = RemoteFile("data", "http://nowhere.invalid/data", "0" * 32)
    with pytest.raises(
        InputError, match=r"cannot fetch .*invalid/data \(Name or service not known\):"
    ):
        fetch(file, tmp_path, silent)


def test_not_found(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"/absent \(404 Not Found\): download it yourself"):
        fetch(described(server, name="absent"), tmp_path, silent)
    assert len(server.asked) == 1
    assert visible(tmp_path) == []


@pytest.mark.parametrize("scheme", ["file", "ftp"])
def test_redirects_lead_to_http_only(server: FileServer, tmp_path: Path, scheme: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    server.redirect = f"{scheme}://{secret}"
    with pytest.raises(InputError, match="cannot fetch"):
        fetch(described(server), tmp_path / "cache", silent)
    assert visible(tmp_path / "cache") == []
    server.redirect = "/there"
    assert fetch(described(server), tmp_path / "cache", silent).read_bytes() == CONTENT
    server.redirect = "/here"
    with pytest.raises(InputError, match="redirects"):
        fetch(described(server), tmp_path / "circle", silent)


def test_addresses_are_http_and_digests_given() -> None:
    with pytest.raises(ValueError, match="no http address"):
        RemoteFile("data", "file:///etc/hosts", "0" * 32)
    with pytest.raises(ValueError, match="no digest"):
        RemoteFile("data", "http://127.0.0.1/data")


def test_full_disk_is_said_beforehand(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(SIZE, 1, SIZE - 1))
    with pytest.raises(InputError, match=f"{SIZE:,} bytes needed, {SIZE - 1:,} free"):
        fetch(described(server), tmp_path, silent)
    assert server.asked == []
    (tmp_path / "data.part").write_bytes(CONTENT[:1])
    assert fetch(described(server), tmp_path, silent).read_bytes() == CONTENT


def test_full_device(server: FileServer, tmp_path: Path) -> None:
    """Writing to /dev/full fails as on a full disk."""
    (tmp_path / "data.part").symlink_to("/dev/full")
    with pytest.raises(InputError, match=f"No space left on device; it takes {SIZE:,} bytes"):
        fetch(described(server), tmp_path, silent)
    assert visible(tmp_path) == []


def test_folder_that_cannot_be_made(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'file' / 'data'} (File exists")):
        fetch(described(server), tmp_path / "file", silent)


SCRIPT = """
import sys
from pathlib import Path
from tests.serving import CONTENT, OTHER, SIZE, FileServer, serve
from triptych.data import downloads
from triptych.errors import InputError
downloads.PAUSE = 0.02
url, md5, size, folder, limit = sys.argv[1:]
if int(limit):
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
file = downloads.RemoteFile("data", url, md5, None, int(size))
try:
    downloads.fetch(file, Path(folder), lambda done, total: print(done, total, flush=True))
except InputError as error:
    sys.exit(f"refused: {error}")
"""


def start(server: FileServer, folder: Path, limit: int = 0) -> subprocess.Popen[str]:
    """Fetch in a process of its own; `limit`: bytes it may write to a file."""
    md5 = hashlib.md5(CONTENT).hexdigest()
    arguments = [f"{server.url}/data", md5, str(SIZE), str(folder), str(limit)]
    command = [sys.executable, "-c", SCRIPT, *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )


def wait_for(condition: object, seconds: float = 20.0) -> None:
    """Until it holds."""
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_disk_filled_meanwhile(server: FileServer, tmp_path: Path) -> None:
    """A process that may write only so much, then one that may write all."""
    process = start(server, tmp_path, 3 * CHUNK)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 1
    assert complaint.count("\n") == 1
    assert f"refused: cannot read or write {tmp_path / 'data'} (File too large" in complaint
    assert f"{SIZE:,} bytes" in complaint
    assert (tmp_path / "data.part").read_bytes() == CONTENT[: 3 * CHUNK]
    assert fetch(described(server), tmp_path, silent).read_bytes() == CONTENT
    assert server.starts == [0, 3 * CHUNK]


def test_two_processes_fetch_once(server: FileServer, tmp_path: Path) -> None:
    server.hold = True
    first = start(server, tmp_path)
    wait_for(lambda: server.asked)
    second = start(server, tmp_path)
    assert second.stdout is not None
    assert second.stdout.readline() == f"0 {SIZE}\n"  # it waits, and shows how far the first is
    server.held.set()
    for process in (first, second):
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert len(server.asked) == 1
    assert (tmp_path / "data").read_bytes() == CONTENT
    assert visible(tmp_path) == ["data"]


def test_killed_and_taken_up_by_another(server: FileServer, tmp_path: Path) -> None:
    server.stall_after = 3 * CHUNK
    process = start(server, tmp_path)
    part = tmp_path / "data.part"
    wait_for(lambda: part.exists() and part.stat().st_size >= 2 * CHUNK)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    have = part.stat().st_size
    server.stall_after = None
    assert fetch(described(server), tmp_path, silent).read_bytes() == CONTENT
    assert server.starts == [0, have]
    assert visible(tmp_path) == ["data"]


def test_a_page_in_place_of_the_rest_leaves_the_part(server: FileServer, tmp_path: Path) -> None:
    """As a hotel's network gives one to everybody who has not logged in."""
    part = tmp_path / "data.part"
    part.write_bytes(CONTENT[:900])
    server.ranges = False
    server.files["data"] = b"<html>log in</html>"
    with pytest.raises(InputError, match="19 bytes instead of"):
        fetch(described(server), tmp_path, silent)
    assert part.read_bytes() == CONTENT[:900]
