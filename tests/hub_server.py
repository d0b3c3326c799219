"""As much of the Hugging Face Hub as fetching data sets, and models both ways, needs."""

from __future__ import annotations

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def way_up(file: dict[str, Any]) -> dict[str, Any]:
    """How a file goes up: weights and pictures apart, all else within the commit."""
    large = file["path"].endswith((".safetensors", ".png"))
    mode = "lfs" if large else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}


class StubHub(ThreadingHTTPServer):
    """Sets by name and branch, which are only read, and models, which are written too."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[tuple[str, str], dict[str, bytes]] = {}  # by set and branch
        self.gated: set[str] = set()
        self.forbidden: set[str] = set()
        self.cut_at: int | None = None  # the next download ends there
        self.down = False
        self.log: list[str] = []
        self.models: dict[str, dict[str, bytes]] = {}
        self.private: set[str] = set()
        self.refusals: dict[str, int] = {}  # the status of the next request whose path ends so
        self.token = "hf_right"
        self.large: dict[str, bytes] = {}  # what was uploaded, by its digest
        self.announced: dict[str, int] = {}  # sizes that are announced in place of the right ones
        self.altered: dict[str, bytes] = {}  # what is given in place of a model's file

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def commit(self, repo: str, branch: str) -> str:
        files = self.files[repo, branch]
        text = json.dumps([branch, [(name, sha(files[name])) for name in sorted(files)]])
        return hashlib.sha1(text.encode()).hexdigest()

    def commit_of_model(self, repo: str) -> str:
        text = json.dumps(sorted((name, sha(body)) for name, body in self.models[repo].items()))
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
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def refused(self, path: str) -> bool:
        """Whether the request was answered by a status that a test asked for, or for its token."""
        for ending, status in self.server.refusals.items():
            if path.endswith(ending):
                self.answer(status)
                return True
        if (
            self.command == "POST"
            and self.headers["Authorization"] != f"Bearer {self.server.token}"
        ):
            self.answer(401)
            return True
        return False

    def do_PUT(self) -> None:
        body = self.body()
        self.server.log.append(f"PUT {self.path}")
        self.server.large[sha(body)] = body
        self.answer(200)

    def do_POST(self) -> None:
        path, body = unquote(self.path.split("?")[0]), self.body()
        self.server.log.append(f"POST {path}")
        if path == "/api/validate-yaml":
            self.answer_json({"errors": [], "warnings": []})
        elif self.refused(path):
            pass
        elif path == "/api/repos/create":
            self.create(json.loads(body))
        elif path.endswith("/info/lfs/objects/batch"):
            self.answer_json({"objects": list(map(self.where_to, json.loads(body)["objects"]))})
        elif "/preupload/" in path:
            self.answer_json({"files": list(map(way_up, json.loads(body)["files"]))})
        else:
            repo = path.removeprefix("/api/models/").removesuffix("/commit/main")
            self.commit(repo, [json.loads(line) for line in body.splitlines()])

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"] or 0))

    def answer_json(self, value: Any) -> None:
        self.answer(200, json.dumps(value).encode())

    def create(self, asked: dict[str, Any]) -> None:
        repo = f"{asked['organization']}/{asked['name']}"
        if repo in self.server.models:
            return self.answer(409, json.dumps({"url": f"{self.server.address}/{repo}"}).encode())
        self.server.models[repo] = {".gitattributes": b"*.safetensors filter=lfs"}
        if asked.get("visibility") == "private":
            self.server.private.add(repo)
        return self.answer_json({"url": f"{self.server.address}/{repo}"})

    def where_to(self, file: dict[str, Any]) -> dict[str, Any]:
        href = f"{self.server.address}/large/{file['oid']}"
        return {**file, "actions": {"upload": {"href": href}}}

    def commit(self, repo: str, lines: list[dict[str, Any]]) -> None:
        files = self.server.models[repo]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        commit = self.server.commit_of_model(repo)
        address = f"{self.server.address}/{repo}/commit/{commit}"
        self.answer_json({"commitUrl": address, "commitOid": commit})

    def answer_model(self, repo: str) -> None:
        if repo not in self.server.models:
            return self.answer(404, X_Error_Code="RepoNotFound")
        files = self.server.models[repo]
        siblings = [
            {
                "rfilename": name,
                "size": self.server.announced.get(name, len(body)),
                "blobId": hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest(),
            }
            | (
                {"lfs": {"sha256": sha(body), "size": len(body), "pointerSize": 1}}
                if way_up({"path": name})["uploadMode"] == "lfs"
                else {}
            )
            for name, body in files.items()
        ]
        commit, private = self.server.commit_of_model(repo), repo in self.server.private
        return self.answer_json(
            {"id": repo, "sha": commit, "private": private, "siblings": siblings}
        )

    def do_GET(self) -> None:
        path = unquote(self.path.split("?")[0])
        if path == "/api/agent-harnesses":
            return self.answer(200, b'{"standardEnvVars": [], "harnesses": {}}')
        span = self.headers.get("Range", "")
        self.server.log.append(f"{self.command} {path} {span}".strip())
        if self.server.down:
            return self.answer(500)
        if self.refused(path):
            return None
        if path.startswith("/api/models/"):
            return self.answer_model(path.removeprefix("/api/models/").split("/revision/")[0])
        if "/resolve/" in path and not path.startswith("/datasets/"):
            repo, rest = path.lstrip("/").split("/resolve/")
            name = rest.split("/", 1)[1]
            files, commit = self.server.models[repo], self.server.commit_of_model(repo)
            return self.answer_body(self.server.altered.get(name, files[name]), commit)
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
        return self.answer_body(files[name], commit)

    def answer_body(self, body: bytes, commit: str) -> None:
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
