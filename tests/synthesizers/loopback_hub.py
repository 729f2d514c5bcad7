"""Enough of the Hugging Face Hub's HTTP interface, on the loopback address, to push a model and to download it."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class LoopbackHub(ThreadingHTTPServer):
    """Keeps the files of each branch; `uploaded` and `log` tell what was asked of it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.branches: dict[str, dict[str, dict[str, bytes]]] = {}
        self.created: list[dict[str, Any]] = []
        self.uploaded: list[list[str]] = []
        self.log: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def files(self, repo: str, revision: str) -> dict[str, bytes] | None:
        """Returns the files at a branch or commit."""
        branches = self.branches.get(repo, {})
        return next((files for name, files in branches.items() if revision in (name, commit_of(files))), None)


def commit_of(files: dict[str, bytes]) -> str:
    return hashlib.sha1(b"".join(name.encode() + files[name] for name in sorted(files))).hexdigest()


@contextmanager
def running() -> Iterator[LoopbackHub]:
    hub = LoopbackHub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        self.server.log.append(f"{self.command} {self.path}")

    def answer(self, content: Any, status: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            repo = "{organization}/{name}".format(**self.server.created[-1])
            self.server.branches.setdefault(repo, {"main": {}})
            return self.answer({"url": f"{self.server.url}/{repo}"})
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        repo, verb, revision = re.fullmatch(r"/api/models/(\w+/\w+)/(\w+)/(\w+)", self.path).groups()  # type: ignore[union-attr]
        if verb == "preupload":
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return self.answer({"files": files})
        if verb == "branch":
            self.server.branches[repo][revision] = {}
            return self.answer({})
        if self.headers["Authorization"] != "Bearer secret":
            return self.answer({"error": "no"}, 403)
        lines = [json.loads(line) for line in body.splitlines()]
        sent = {v["path"]: base64.b64decode(v["content"]) for v in (x["value"] for x in lines if x["key"] == "file")}
        self.server.uploaded.append(sorted(sent))
        self.server.branches[repo][revision].update(sent)
        commit = commit_of(self.server.branches[repo][revision])
        return self.answer({"commitUrl": f"{self.server.url}/{repo}/commit/{commit}", "commitOid": commit})

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].removeprefix("/api/models")
        asked = re.fullmatch(r"/(\w+/\w+)/(revision|tree|resolve)/(\w+)/?(.*)", path)
        if asked is None:
            return self.answer({"error": "not known here"}, 404)
        repo, verb, revision, name = asked.groups()
        files = self.server.files(repo, revision)
        if files is None or (verb == "resolve" and name not in files):
            code = "RepoNotFound" if repo not in self.server.branches else "RevisionNotFound"
            return self.answer({"error": code}, 404, X_Error_Code=code)
        commit = commit_of(files)
        if verb == "revision":
            siblings = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
            return self.answer({"id": repo, "sha": commit, "siblings": siblings})
        if verb == "tree":
            return self.answer(
                [
                    {"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                    for n, c in files.items()
                ]
            )
        tag = f'"{hashlib.sha1(files[name]).hexdigest()}"'
        return self.answer(files[name], X_Repo_Commit=commit, ETag=tag, Accept_Ranges="bytes")

    do_HEAD = do_GET
