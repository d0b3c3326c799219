"""A file server on this machine that cuts, lies, redirects and stalls as it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from triptych.data.downloads import CHUNK

SIZE = 5 * CHUNK + 123
CONTENT = np.random.default_rng(0).bytes(SIZE)
OTHER = np.random.default_rng(1).bytes(SIZE)


@dataclass
class FileServer:
    """What a test tells the server, and what the server was asked.

    cuts:        bytes of the body after which each coming answer ends; None: whole
    shift:       how much later than asked an answer starts
    stall_after: bytes of the body after which nothing comes until `stalled` is set
    hold:        nothing at all comes until `held` is set
    asked:       path and Range header of every request
    """

    url: str
    files: dict[str, bytes]
    ranges: bool = True
    lengths: bool = True
    shift: int = 0
    encoding: str | None = None
    redirect: str | None = None
    status: list[int] = field(default_factory=list)
    cuts: list[int | None] = field(default_factory=list)
    stall_after: int | None = None
    stalled: threading.Event = field(default_factory=threading.Event)
    held: threading.Event = field(default_factory=threading.Event)
    hold: bool = False
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    encodings_asked: list[str | None] = field(default_factory=list)
    sent: int = 0

    @property
    def starts(self) -> list[int]:
        """The first byte that each request asked for."""
        return [int(wanted[6:-1]) if wanted else 0 for _, wanted in self.asked]


class Handler(BaseHTTPRequestHandler):
    told: FileServer

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        told, wanted = self.told, self.headers["Range"]
        told.asked.append((self.path, wanted))
        told.encodings_asked.append(self.headers["Accept-Encoding"])
        if told.hold:
            told.held.wait(20)
        if told.redirect and self.path != "/there":
            self.send_response(302)
            self.send_header("Location", told.redirect)
            self.end_headers()
            return
        body = told.files.get(self.path.lstrip("/"), CONTENT if self.path == "/there" else None)
        status = told.status.pop(0) if told.status else 200 if body is not None else 404
        start = 0
        if status == 200 and wanted and told.ranges and body is not None:
            start, status = int(wanted[6:-1]) + told.shift, 206
            if start >= len(body):
                status = 416
        self.send_response(status)
        if status not in (200, 206) or body is None:
            self.end_headers()
            return
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_body(body[start:])

    def send_body(self, body: bytes) -> None:
        told = self.told
        if told.lengths:
            self.send_header("Content-Length", str(len(body)))
        if told.encoding:
            self.send_header("Content-Encoding", told.encoding)
        self.end_headers()
        cut = told.cuts.pop(0) if told.cuts else None
        body = body[:cut]
        if told.stall_after is not None:
            self.wfile.write(body[: told.stall_after])
            told.stalled.wait(20)
            return
        told.sent += len(body)  # before, since the client may be done first
        self.wfile.write(body)


@contextmanager
def serve(**files: bytes) -> Iterator[FileServer]:
    """A server of some files on this machine."""
    told = FileServer("", files)
    handler = type("Told", (Handler,), {"told": told})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        told.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield told
        finally:
            told.stalled.set()
            told.held.set()
            server.shutdown()
            thread.join()
