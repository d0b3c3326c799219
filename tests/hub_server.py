"""As much of the Hugging Face Hub as fetching needs, on this machine."""

from __future__ import annotations

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class StubHub(ThreadingHTTPServer):
    """As much of the Hub as fetching needs."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[tuple[str, str], dict[str, bytes]] = {}  # by set and branch
        self.gated: set[str] = set()
        self.forbidden: set[str] = set()
        self.cut_at: int | None = None  # the next download ends there
        self.down = False
        self.log: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def commit(self, repo: str, branch: str) -> str:
        files = self.files[repo, branch]
        text = json.dumps([branch, [(name, sha(files[name])) for name in sorted(files)]])
        return hashlib.sha1(text.encode()).hexdigest()

    def at(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        for (owner, branch), files in self.files.items():
            commit = self.commit(owner, branch)
            if owner == repo and revision in (branch, commit):
                return commit, files
        return None


class Handler(BaseHTTPRequestHandler):
    server: StubHub

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(self.path.split("?")[0])
        if path == "/api/agent-harnesses":
            return self.answer(200, b'{"standardEnvVars": [], "harnesses": {}}')
        span = self.headers.get("Range", "")
        self.server.log.append(f"{self.command} {path} {span}".strip())
        if self.server.down:
            return self.answer(500)
        if path.startswith("/api/datasets/"):
            repo, revision = path.removeprefix("/api/datasets/").split("/revision/")
            return self.answer_listing(repo, revision)
        repo, rest = path.removeprefix("/datasets/").split("/resolve/")
        if repo in self.server.gated:
            return self.answer(403, X_Error_Code="GatedRepo")
        if repo in self.server.forbidden:
            return self.answer(403)
        revision, name = rest.split("/", 1)
        return self.answer_file(repo, revision, name)

    def answer_listing(self, repo: str, revision: str) -> None:
        if not any(owner == repo for owner, _ in self.server.files):
            return self.answer(404, X_Error_Code="RepoNotFound")
        found = self.server.at(repo, revision)
        if found is None:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        commit, files = found
        siblings = [
            {
                "rfilename": name,
                "size": len(body),
                "blobId": "0" * 40,
                "lfs": {"size": len(body), "sha256": sha(body), "pointerSize": 1},
            }
            for name, body in files.items()
        ]
        facts = {"id": repo, "sha": commit, "siblings": siblings}
        return self.answer(200, json.dumps(facts).encode())

    def answer_file(self, repo: str, revision: str, name: str) -> None:
        found = self.server.at(repo, revision)
        if found is None:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        commit, files = found
        body = files[name]
        headers = {"X_Repo_Commit": commit, "ETag": f'"{sha(body)}"', "Accept_Ranges": "bytes"}
        if span := self.headers.get("Range"):
            first = int(span.removeprefix("bytes=").split("-")[0])
            headers["Content_Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
            return self.answer(206, body[first:], **headers)
        cut = self.server.cut_at
        if cut is None or self.command == "HEAD":
            return self.answer(200, body, **headers)
        self.server.cut_at = None
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])  # and the line is cut
        return None
