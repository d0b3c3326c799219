"""A live page in a thread, and what tests ask of it as a browser would."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
import uvicorn
from filelock import FileLock

import triptych
from tests.making import make_images, write_npz
from triptych.console import Console
from triptych.web.jobs import Job, Jobs, is_alive
from triptych.web.library import Library
from triptych.web.server import Guard, bind, make_app

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("vae:sigma", "gan:r1", "diffusion:x0")


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


def briefly_trained(factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, one of each family, on small labelled images: a copy of one's own.

    They are trained once, whichever process of the tests needs them first.
    """
    own = factory.mktemp("live")
    shared = own.parent.parent if "PYTEST_XDIST_WORKER" in os.environ else own.parent
    trained = shared / "live-runs"
    with FileLock(shared / "live-runs.lock"):
        if not trained.is_dir():
            draft = shared / "live-runs.part"
            pixels, labels = make_images(700)
            data = write_npz(shared / "bars.npz", pixels, labels)
            for model in MODELS:
                options: dict[str, Any] = {"conditional": True} if model == MODELS[2] else {}
                triptych.train(
                    model, data, budget="0.5kimg", size="tiny", resolution=16, threads=1,
                    out=draft / model.split(":")[0], **options,
                )  # fmt: skip
            draft.rename(trained)
    shutil.copytree(trained, own / "runs")
    shutil.copy(shared / "bars.npz", own)
    return own / "runs"


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


class ServerProcess:
    """`triptych serve` as a process of its own, which may be killed and begun again at its port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.folder, self.client = folder, Client(port, Recording())
        self.begin()

    def begin(self) -> None:
        """Start it, and wait for its first answer."""
        words = ["serve", str(self.folder), "--port", str(self.client.port)]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "triptych", *words],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 120
        while True:
            try:
                self.client.get("/")
                return
            except requests.ConnectionError:
                assert self.process.poll() is None and time.monotonic() < end
                time.sleep(0.1)

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        self.process.wait()

    def job(self) -> Job:
        """The newest training, by the files that the page keeps."""
        return Jobs(Library(self.folder)).all()[0]

    def end(self) -> None:
        """Leave no process behind, whatever went wrong before."""
        self.kill()
        for job in Jobs(Library(self.folder)).all():
            if is_alive(job):
                psutil.Process(job.process).kill()
