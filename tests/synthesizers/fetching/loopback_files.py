"""A web server of files on the loopback address, which can do all that servers do wrong."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Served:
    """A file, and how it is served.

    Attributes:
        content: Its bytes.
        etag: With quotes; None for none.
        modified: Last-Modified.
        ranges: Whether parts can be asked for.
        heeds_if_range: Whether a part of another version than the one asked for is refused.
        promised: Length that is told instead of the true one; 0 for none at all, -1 for none but chunks.
        ends_after: Bytes after which each answer ends.
        holds_after: Bytes after which an answer waits for `go`.
        pause: Seconds between two pieces.
        status: Instead of 200.
        headers: Further ones.
    """

    content: bytes
    etag: str | None = '"v1"'
    modified: str | None = None
    ranges: bool = True
    heeds_if_range: bool = True
    promised: int | None = None
    ends_after: int | None = None
    holds_after: int | None = None
    pause: float = 0.0
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    go: threading.Event = field(default_factory=threading.Event)


@dataclass
class Asked:
    """A request."""

    path: str
    headers: dict[str, str]

    @property
    def start(self) -> int | None:
        """The first byte asked for; None where the whole was."""
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        return None if found is None else int(found[1])


class LoopbackFiles(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, Served] = {}
        self.asked: list[Asked] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def handle_error(self, *_: Any) -> None:
        """A client that is killed is what is tested here."""


@contextmanager
def serving() -> Iterator[LoopbackFiles]:
    server = LoopbackFiles()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        for served in server.files.values():
            served.go.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackFiles
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()})
        self.server.asked.append(asked)
        served = self.server.files.get(self.path.partition("?")[0])
        if served is None:
            return self.send_error(404)
        start, total = asked.start if served.ranges else None, len(served.content)
        condition = asked.headers.get("if-range")
        if served.heeds_if_range and condition not in (None, served.etag, served.modified):
            start = None
        if start is not None and start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(served.status if start is None else 206)
        body = served.content[start or 0 :]
        chunked = served.promised == -1
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif served.promised != 0:
            length = len(body) if served.promised is None else served.promised - (start or 0)
            self.send_header("Content-Length", str(length))
        told = {"ETag": served.etag, "Last-Modified": served.modified}
        if start is not None:
            told["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        for name, value in {**told, **served.headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        return self._send(served, body, chunked)

    def _send(self, served: Served, body: bytes, chunked: bool) -> None:
        end = len(body) if served.ends_after is None else served.ends_after
        held = served.holds_after
        at, step = 0, 1 << 14
        while at < min(end, len(body)):
            stop = min(at + step, end, len(body), held if held is not None and at < held else len(body))
            part = body[at:stop]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
            self.wfile.flush()
            at = stop
            if at == held:
                served.go.wait(30)
            time.sleep(served.pause)
        if chunked and end >= len(body):
            self.wfile.write(b"0\r\n\r\n")
