"""A live page in a thread, and what tests ask of it as a browser would."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import uvicorn

from triptych.console import Console
from triptych.web.library import Library
from triptych.web.server import Guard, bind, make_app


class Recording(Console):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


class Client:
    """Asks as the page's own scripts do."""

    def __init__(self, port: int, console: Recording) -> None:
        self.port, self.console = port, console
        self.address = f"http://127.0.0.1:{port}"

    def get(self, path: str, **headers: str) -> requests.Response:
        return requests.get(self.address + path, headers=headers, timeout=60)

    def post(self, path: str, body: Any = None, **headers: str) -> requests.Response:
        data = body if isinstance(body, bytes) else json.dumps(body)
        sent = {"origin": self.address, **headers}
        return requests.post(self.address + path, data=data, headers=sent, timeout=60)

    def events(self, path: str, until: Any, seconds: float = 60.0) -> list[dict[str, Any]]:
        """What the stream of a folder tells until one of its events satisfies `until`."""
        told: list[dict[str, Any]] = []
        end = time.monotonic() + seconds
        with requests.get(
            f"{self.address}/api/watch", {"path": path}, stream=True, timeout=seconds
        ) as answer:
            for line in answer.iter_lines():
                if line.startswith(b"data: "):
                    told.append(json.loads(line[6:]))
                    if until(told[-1]):
                        return told
                assert time.monotonic() < end, told[-3:]
        raise AssertionError("the stream ended")


@contextmanager
def serving(folder: Path, token: str | None = None) -> Iterator[Client]:
    """The page of a folder at a free port."""
    bound = bind("127.0.0.1", 0)
    port = bound.getsockname()[1]
    console = Recording()
    app = make_app(Library(folder), Guard("127.0.0.1", port, token), "en", console)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="critical", lifespan="on", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=lambda: server.run(sockets=[bound]), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Client(port, console)
    finally:
        server.should_exit = True
        thread.join(20)
        bound.close()
