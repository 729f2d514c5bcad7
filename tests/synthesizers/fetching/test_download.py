"""Downloads: from servers that do all that servers do wrong, by processes that are killed, and what the cache keeps."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request

import numpy as np
import pytest

from gan_augment.errors import ArtifactError, ConfigError, StorageError
from gan_augment.synthesizers.fetching import web_cache
from gan_augment.synthesizers.fetching.download import fetch
from gan_augment.synthesizers.fetching.web import name_of, open_address
from tests.helpers import ROOT, files_of
from tests.synthesizers.fetching.loopback_files import LoopbackFiles, Served, serving
from tests.synthesizers.loopback_hub import LoopbackHub, commit_of, running

CACHE = "gan_augment.synthesizers.fetching.web_cache"

BYTES = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)
SHA256 = hashlib.sha256(BYTES).hexdigest()

FORK = """
import os, signal, sys, traceback
from gan_augment.synthesizers.fetching.download import fetch
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
for line in sys.stdin:
    address, cache = line.split()
    child = os.fork()
    if not child:
        try:
            path = fetch(address, cache_dir=cache, timeout=20)
            told = str(path)
        except BaseException as error:
            told = repr(error)
        os.write(1, f"{os.getpid()} {told}\\n".encode())  # at once, as others write too
        os._exit(0)
    os.write(1, f"started {child}\\n".encode())
"""


class Downloaders:
    """Downloads in processes of their own, forked off one that has imported all."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORK],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.results: dict[int, str] = {}

    def _read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "the process that forks has ended"
        return line

    def start(self, address: str, cache: Path) -> int:
        if not hasattr(self, "ready"):
            self.ready = self._read()
        assert self.process.stdin is not None
        print(address, cache, file=self.process.stdin, flush=True)
        while not (line := self._read()).startswith("started "):
            self._keep(line)
        return int(line.split()[1])

    def _keep(self, line: str) -> None:
        pid, _, result = line.partition(" ")
        self.results[int(pid)] = result

    def result(self, pid: int) -> str:
        while pid not in self.results:
            self._keep(self._read())
        return self.results[pid]


@pytest.fixture(scope="module")
def downloaders() -> Iterator[Downloaders]:
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    made = Downloaders()
    yield made
    assert made.process.stdin is not None
    assert made.process.stdout is not None
    made.process.stdin.close()
    made.process.wait(20)
    made.process.stdout.close()


@pytest.fixture
def server() -> Iterator[LoopbackFiles]:
    with serving() as server:
        yield server


def wait_for(true: Any, what: str) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.005)


def starts(server: LoopbackFiles) -> list[int | None]:
    return [asked.start for asked in server.asked]


def partial(cache: Path) -> Path:
    (found,) = cache.glob("*/.partial")
    return found


def wait_for_part(cache: Path, size: int) -> None:
    wait_for(lambda: any(part.stat().st_size >= size for part in cache.glob("*/.partial")), "a part")


def fetched(server: LoopbackFiles, cache: Path, path: str = "/w.pkl", **settings: Any) -> Path:
    return fetch(server.url(path), cache_dir=cache, **{"timeout": 5.0, **settings})


# -- paths ------------------------------------------------------------------------------------------------------------


def test_a_path_is_returned_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "w.pkl"
    file.write_bytes(BYTES)
    assert fetch(file) == fetch(str(file)) == fetch(file, sha256=SHA256.upper()) == file
    assert fetch(tmp_path) == tmp_path
    with pytest.raises(ArtifactError, match=rf"expected a file of SHA-256 {'0' * 64} at .*, found {SHA256}"):
        fetch(file, sha256="0" * 64)
    with pytest.raises(ConfigError, match="sha256= with a file, found the folder"):
        fetch(tmp_path, sha256=SHA256)


@pytest.mark.parametrize("address", ["/no/such", "me/gan", "a\0b", "x" * 5000, ""])
def test_nothing_at_a_path(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if address == "":
        assert fetch(address) == Path()
        return
    with pytest.raises(ArtifactError, match=r"expected a path, hf://user/name.*nothing is there") as caught:
        fetch(address)
    assert ("did you mean hf://me/gan?" in str(caught.value)) == (address == "me/gan")


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        *("ftp://host/w.pkl", "file:///etc/passwd", "s3://bucket/w", "data://x", "http://host/w.pkl"),
        *("http://127.0.0.1.evil.org/w", "http://10.0.0.1/w", "https:///w", "https://[::1/w", "https://h:x/w"),
        *("http://localhost@evil.org/w", "http://[fe80::1]/w"),
    ],
)
def test_addresses_that_are_not_taken(address: str) -> None:
    with pytest.raises(ConfigError, match=r"https://host/file"):
        fetch(address)


def test_secrets_in_an_address_are_not_told() -> None:
    with pytest.raises(ConfigError, match="without a user and a password") as caught:
        fetch("https://me:geheim@host/w.pkl?token=geheim")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"sha256": "abc"}, "64 hexadecimal digits"),
        ({"max_bytes": 0}, "max_bytes="),
        ({"timeout": 0}, "timeout="),
        ({"revision": "main"}, "revision= with a repository"),
        ({"files": ["*.pkl"]}, "files= with a repository"),
    ],
)
def test_parameters_that_cannot_work(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        fetch("https://host/w.pkl", **settings)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/w.pkl?download=1", "w.pkl"),
        ("https://h/..%2F..%2Fetc%5Cpass%00wd.pkl", "pass_wd.pkl"),
        ("https://h/a/..", "file"),
        ("https://h", "file"),
        ("https://h/.partial", "partial"),
        ("https://h/" + "x" * 300 + ".pth", "x" * 96 + ".pth"),
        ("https://h/%E2%80%AEa%20b.pt", "a_b.pt"),
    ],
)
def test_names_are_safe(url: str, name: str) -> None:
    assert name_of(url) == name


# -- a download and the cache -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sha256", [None, SHA256])
@pytest.mark.parametrize("promised", [None, -1])
def test_a_file_is_downloaded_once(
    server: LoopbackFiles, tmp_path: Path, sha256: str | None, promised: int | None
) -> None:
    server.files["/a%20b/w.pkl"] = Served(BYTES, promised=promised)
    path = fetched(server, tmp_path, "/a b/w.pkl?v=1#part", sha256=sha256)
    assert path.name == "w.pkl"
    assert path.read_bytes() == BYTES
    assert fetched(server, tmp_path, "/a b/w.pkl?v=1", sha256=sha256) == path
    assert fetched(server, tmp_path, "/a b/w.pkl?v=1", local_files_only=True) == path
    assert [asked.path for asked in server.asked] == ["/a%20b/w.pkl?v=1"]
    assert sorted(files_of(tmp_path)) == sorted(f"{path.parent.name}/{name}" for name in ("w.pkl", "w.pkl.json"))
    record = json.loads((path.parent / "w.pkl.json").read_text())
    assert record["sha256"] == SHA256
    assert record["bytes"] == len(BYTES)
    assert fetched(server, tmp_path, "/a b/w.pkl?v=2") != path, "another address is another file"


def test_an_empty_file(server: LoopbackFiles, tmp_path: Path) -> None:
    server.files["/w.pkl"] = Served(b"")
    assert fetched(server, tmp_path).read_bytes() == b""


def test_where_the_cache_is(server: LoopbackFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/w.pkl"] = Served(b"abc")
    monkeypatch.setenv("GAN_AUGMENT_CACHE", str(tmp_path / "own"))
    assert fetch(server.url("/w.pkl")).is_relative_to(tmp_path / "own" / "downloads")
    monkeypatch.delenv("GAN_AUGMENT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert fetch(server.url("/w.pkl")).is_relative_to(tmp_path / "xdg" / "gan_augment" / "downloads")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert fetch(server.url("/w.pkl")).is_relative_to(tmp_path / "home" / ".cache" / "gan_augment" / "downloads")


def test_offline_only_what_is_whole_is_found(server: LoopbackFiles, tmp_path: Path) -> None:
    server.files["/w.pkl"] = Served(BYTES, ends_after=1000, ranges=False)
    with pytest.raises(ArtifactError, match="leave out local_files_only=True"):
        fetched(server, tmp_path, local_files_only=True)
    assert server.asked == []
    with pytest.raises(ArtifactError):
        fetched(server, tmp_path)
    with pytest.raises(ArtifactError, match="leave out local_files_only=True"):
        fetched(server, tmp_path, local_files_only=True)


def test_without_a_connection(server: LoopbackFiles, tmp_path: Path) -> None:
    server.files["/w.pkl"] = Served(BYTES)
    path = fetched(server, tmp_path)
    server.shutdown()
    server.server_close()
    assert fetched(server, tmp_path) == fetched(server, tmp_path, sha256=SHA256) == path
    with pytest.raises(ArtifactError, match=r"no connection \(ConnectionRefusedError.*check the connection"):
        fetched(server, tmp_path, "/other.pkl")


def test_a_wrong_hash_keeps_nothing(server: LoopbackFiles, tmp_path: Path) -> None:
    server.files["/w.pkl"] = Served(BYTES)
    with pytest.raises(ArtifactError, match=rf"SHA-256 {'0' * 64} at .*, found {SHA256}; nothing was kept"):
        fetched(server, tmp_path, sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []
    assert fetched(server, tmp_path, sha256=SHA256).read_bytes() == BYTES
    with pytest.raises(ArtifactError, match=r"(?s)found .* in the cache, as it was downloaded; check sha256="):
        fetched(server, tmp_path, sha256="0" * 64)
    assert len(server.asked) == 2


@pytest.mark.parametrize("sha256", [None, SHA256])
@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b[:9] + b"x" + b[10:]])
def test_a_file_that_changed_in_the_cache(
    server: LoopbackFiles, tmp_path: Path, sha256: str | None, change: Any
) -> None:
    server.files["/w.pkl"] = Served(BYTES)
    path = fetched(server, tmp_path)
    path.write_bytes(change(BYTES))
    with pytest.raises(
        ArtifactError, match=rf"expected a file of SHA-256 {SHA256}.*changed after the download: delete"
    ):
        fetched(server, tmp_path, sha256=sha256)


@pytest.mark.parametrize("record", [None, b"", b"{}", b"[" * 10**5, b'{"kind": "gan_augment download", "version": 1}'])
def test_a_file_without_its_record(server: LoopbackFiles, tmp_path: Path, record: bytes | None) -> None:
    server.files["/w.pkl"] = Served(BYTES)
    path = fetched(server, tmp_path)
    beside = path.with_name("w.pkl.json")
    beside.unlink() if record is None else beside.write_bytes(record)
    with pytest.raises(ArtifactError, match=r"found none, so that nobody can tell.*give sha256=, or delete the folder"):
        fetched(server, tmp_path)
    assert fetched(server, tmp_path, sha256=SHA256) == path


def test_a_cache_that_cannot_be_written(server: LoopbackFiles, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="could not write"):
        fetched(server, tmp_path / "file")


def test_a_full_disk_keeps_what_came(server: LoopbackFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/w.pkl"] = Served(BYTES)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("gan_augment.synthesizers.fetching.web_cache.os.fsync", full)
        with pytest.raises(StorageError, match="No space left on device; what came so far is kept"):
            fetched(server, tmp_path)
    assert fetched(server, tmp_path).read_bytes() == BYTES


# -- going on ---------------------------------------------------------------------------------------------------------


def break_off(server: LoopbackFiles, cache: Path, at: int = 100_000, **settings: Any) -> None:
    """Leaves the first `at` bytes of the file in the cache."""
    server.files["/w.pkl"] = Served(BYTES, ends_after=at, **{"ranges": False, **settings})
    with pytest.raises(ArtifactError, match=rf"what came so far \({at:,} bytes\) is kept"):
        fetched(server, cache)
    assert partial(cache).read_bytes() == BYTES[:at]
    assert not list(cache.glob("*/w*"))
    server.asked.clear()


@pytest.mark.parametrize("version", [{}, {"etag": None, "modified": "Wed, 21 Oct 2015 07:28:00 GMT"}, {"promised": -1}])
def test_what_broke_off_is_gone_on_with(server: LoopbackFiles, tmp_path: Path, version: dict[str, Any]) -> None:
    break_off(server, tmp_path, **version)
    server.files["/w.pkl"] = Served(BYTES, **version)
    assert fetched(server, tmp_path).read_bytes() == BYTES
    assert fetched(server, tmp_path).read_bytes() == BYTES, "the hash of the whole is what was recorded"
    assert starts(server) == [100_000]
    validator = version.get("modified", '"v1"')
    assert server.asked[0].headers["if-range"] == validator


def test_a_connection_that_breaks_now_and_then(server: LoopbackFiles, tmp_path: Path) -> None:
    server.files["/w.pkl"] = Served(BYTES, ends_after=110_000)
    assert fetched(server, tmp_path).read_bytes() == BYTES
    assert starts(server) == [None, 110_000, 220_000]


@pytest.mark.parametrize(
    ("served", "asked"),
    [
        ({"content": BYTES, "ranges": False}, [100_000]),
        ({"content": OTHER, "etag": '"v2"'}, [100_000]),
        ({"content": OTHER, "etag": '"v2"', "heeds_if_range": False}, [100_000, None]),
        ({"content": OTHER[:50_000], "etag": '"v2"', "heeds_if_range": False}, [100_000, None]),
        ({"content": OTHER + OTHER, "heeds_if_range": False}, [100_000, None]),
        ({"content": BYTES, "headers": {"Content-Range": "bytes 0-9/10"}}, [100_000, None]),
        ({"content": BYTES, "headers": {"Content-Range": "nonsense"}}, [100_000, None]),
    ],
    ids=["no ranges", "new version", "no If-Range", "shorter", "another length", "another part", "nonsense"],
)
def test_what_cannot_be_gone_on_with_begins_again(
    server: LoopbackFiles, tmp_path: Path, served: dict[str, Any], asked: list[int | None]
) -> None:
    break_off(server, tmp_path)
    server.files["/w.pkl"] = Served(**served)
    assert fetched(server, tmp_path).read_bytes() == served["content"]
    assert starts(server) == asked


def test_a_part_that_begins_elsewhere(server: LoopbackFiles, tmp_path: Path) -> None:
    break_off(server, tmp_path, promised=-1)
    server.files["/w.pkl"] = Served(BYTES, headers={"Content-Range": "bytes 100001-300000/300001"})
    assert fetched(server, tmp_path).read_bytes() == BYTES
    assert starts(server) == [100_000, None]


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_without_a_strong_version_only_a_hash_lets_it_go_on(
    server: LoopbackFiles, tmp_path: Path, etag: str | None
) -> None:
    for sha256, asked in ((None, [None]), (SHA256, [100_000])):
        cache = tmp_path / str(sha256)
        break_off(server, cache, etag=etag)
        server.files["/w.pkl"] = Served(BYTES, etag=etag)
        assert fetched(server, cache, sha256=sha256).read_bytes() == BYTES
        assert starts(server) == asked
    break_off(server, tmp_path / "new", etag=etag)
    server.files["/w.pkl"] = Served(OTHER, etag=etag)
    sha256 = hashlib.sha256(OTHER).hexdigest()
    assert fetched(server, tmp_path / "new", sha256=sha256).read_bytes() == OTHER
    assert starts(server) == [100_000, None], "what did not fit was thrown away"


@pytest.mark.parametrize("state", [None, b"", b"{", b"[]", b'{"etag": 3, "modified": null, "length": 9}', b"{}"])
def test_a_part_whose_version_is_not_known_begins_again(
    server: LoopbackFiles, tmp_path: Path, state: bytes | None
) -> None:
    break_off(server, tmp_path)
    beside = partial(tmp_path).with_name(".partial.json")
    beside.unlink() if state is None else beside.write_bytes(state)
    server.files["/w.pkl"] = Served(BYTES)
    assert fetched(server, tmp_path).read_bytes() == BYTES
    assert starts(server) == [None]


def test_what_a_kill_left_of_a_description_is_removed(server: LoopbackFiles, tmp_path: Path) -> None:
    break_off(server, tmp_path)
    (partial(tmp_path).parent / ".partial.json.1.partial").write_bytes(b"{")
    server.files["/w.pkl"] = Served(BYTES)
    fetched(server, tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["w.pkl", "w.pkl.json"]


def test_a_part_that_was_damaged_is_found_by_its_hash(server: LoopbackFiles, tmp_path: Path) -> None:
    break_off(server, tmp_path)
    partial(tmp_path).write_bytes(bytes(100_000))
    server.files["/w.pkl"] = Served(BYTES)
    assert fetched(server, tmp_path, sha256=SHA256).read_bytes() == BYTES
    assert starts(server) == [100_000, None]


def test_what_is_whole_but_not_in_its_place_is_not_downloaded_again(
    server: LoopbackFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/w.pkl"] = Served(BYTES)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    for name in ("write_json", "os.replace"):
        calls: list[Any] = []
        real = web_cache.write_json

        def once(path: Path, value: Any, real: Any = real, calls: list[Any] = calls) -> None:
            calls.append(path)
            real(path, value) if len(calls) == 1 else killed()

        cache = tmp_path / name
        with monkeypatch.context() as patch:
            patch.setattr(
                f"gan_augment.synthesizers.fetching.web_cache.{name}", once if name == "write_json" else killed
            )
            if name == "os.replace":
                patch.setattr(
                    "gan_augment.synthesizers.fetching.web_cache.write_json", lambda p, v: p.write_text(json.dumps(v))
                )
            with pytest.raises(KeyboardInterrupt):
                fetched(server, cache)
        assert not list(cache.glob("*/w.pkl"))
        server.asked.clear()
        assert fetched(server, cache).read_bytes() == BYTES
        assert server.asked == []


# -- servers that do wrong --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (404, "404 .*check the address"),
        (403, "403 .*download it by hand"),
        (401, "401 .*needs an account"),
        (410, "410 .*taken away"),
        (429, "429 .*try again later"),
        (500, "500 .*the server has trouble"),
        (503, "503 .*the server has trouble"),
        (304, "304"),
        (204, "sends something else"),
        (206, "sends something else"),
    ],
)
def test_statuses(server: LoopbackFiles, tmp_path: Path, status: int, told: str) -> None:
    server.files["/w.pkl"] = Served(b"", status=status)
    with pytest.raises(ArtifactError, match=told):
        fetched(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_trouble_of_the_server_keeps_what_came(server: LoopbackFiles, tmp_path: Path) -> None:
    break_off(server, tmp_path)
    server.files["/w.pkl"] = Served(b"", status=503, ranges=False)
    with pytest.raises(ArtifactError, match="503"):
        fetched(server, tmp_path)
    server.files["/w.pkl"] = Served(BYTES)
    assert fetched(server, tmp_path).read_bytes() == BYTES
    assert starts(server) == [100_000, 100_000]


@pytest.mark.parametrize("promised", [len(BYTES) + 1, 10**9])
def test_a_server_that_promises_more_than_it_sends(server: LoopbackFiles, tmp_path: Path, promised: int) -> None:
    server.files["/w.pkl"] = Served(BYTES, promised=promised)
    with pytest.raises(ArtifactError, match=rf"ended after 300,000 of {promised:,} bytes"):
        fetched(server, tmp_path)
    assert not list(tmp_path.glob("*/w*"))
    assert len(server.asked) <= 3


def test_a_server_that_sends_more_than_it_promises(server: LoopbackFiles, tmp_path: Path) -> None:
    server.files["/w.pkl"] = Served(BYTES, promised=1000)
    assert fetched(server, tmp_path).read_bytes() == BYTES[:1000], "by HTTP the file ends there"
    with pytest.raises(ArtifactError, match="nothing was kept"):
        fetched(server, tmp_path / "b", sha256=SHA256)


def test_a_length_that_is_not_told(server: LoopbackFiles, tmp_path: Path) -> None:
    server.files["/w.pkl"] = Served(BYTES, promised=0)
    with pytest.raises(ArtifactError, match=r"expected the length of .* give sha256="):
        fetched(server, tmp_path)
    assert fetched(server, tmp_path, sha256=SHA256).read_bytes() == BYTES
    server.files["/two.pkl"] = Served(BYTES, headers={"Content-Length": "7"})  # beside the true one
    with pytest.raises(ArtifactError, match="expected the length of"):
        fetched(server, tmp_path, "/two.pkl")


@pytest.mark.parametrize("promised", [None, -1])
def test_files_that_are_too_large(server: LoopbackFiles, tmp_path: Path, promised: int | None) -> None:
    server.files["/w.pkl"] = Served(BYTES, promised=promised)
    with pytest.raises(ArtifactError, match=r"at most 299,999 bytes at .*, found .* or more; give max_bytes="):
        fetched(server, tmp_path, max_bytes=299_999)
    assert list(tmp_path.iterdir()) == []
    assert fetched(server, tmp_path, max_bytes=300_000).read_bytes() == BYTES


@pytest.mark.parametrize("at", [0, 70_000])
def test_a_server_that_falls_silent(server: LoopbackFiles, tmp_path: Path, at: int) -> None:
    server.files["/w.pkl"] = Served(BYTES, holds_after=max(at, 1), ranges=False)
    begin = time.monotonic()
    with pytest.raises(ArtifactError, match=r"broke off \(TimeoutError"):
        fetched(server, tmp_path, timeout=0.2)
    assert time.monotonic() - begin < 5
    server.files["/w.pkl"] = Served(BYTES)
    assert fetched(server, tmp_path).read_bytes() == BYTES
    assert starts(server)[-1] == max(at, 1)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"Content-Encoding": "gzip"}, "packed as 'gzip'"),
        ({"Content-Type": "text/html; charset=utf-8"}, "found a web page"),
    ],
)
def test_what_is_not_the_file(server: LoopbackFiles, tmp_path: Path, headers: dict[str, str], told: str) -> None:
    server.files["/w.pkl"] = Served(b"<html>", headers=headers)
    with pytest.raises(ArtifactError, match=told):
        fetched(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_is_no_http(server: LoopbackFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        server.RequestHandlerClass, "do_GET", lambda handler: handler.wfile.write(b"220 ftp\r\n\x1b[2J")
    )
    with pytest.raises(ArtifactError, match="check the connection") as caught:
        fetched(server, tmp_path)
    assert "\x1b" not in str(caught.value)


# -- redirects --------------------------------------------------------------------------------------------------------


def redirect(to: str, status: int = 302) -> Served:
    return Served(b"moved", status=status, ranges=False, headers={"Location": to})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(server: LoopbackFiles, tmp_path: Path, status: int) -> None:
    server.files.update(
        {
            "/w.pkl": redirect("/b/c.bin?x=" + "ä".encode().decode("latin-1"), status),
            "/b/c.bin": Served(BYTES, ends_after=200_000),
        }
    )
    path = fetched(server, tmp_path)
    assert path.name == "w.pkl"
    assert path.read_bytes() == BYTES
    assert [(asked.path, asked.start) for asked in server.asked] == [
        *(("/w.pkl", None), ("/b/c.bin?x=%C3%A4", None)),
        *(("/w.pkl", 200_000), ("/b/c.bin?x=%C3%A4", 200_000)),
    ]


@pytest.mark.parametrize(
    "to", ["http://host/w", "file:///etc/passwd", "ftp://h/w", "//10.1.1.1/w", "data:,x", "https:"]
)
def test_redirects_that_are_not_followed(server: LoopbackFiles, tmp_path: Path, to: str) -> None:
    server.files["/w.pkl"] = redirect(to)
    with pytest.raises(ArtifactError, match="to lead to an address https://"):
        fetched(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("to", "followed"), [("https://b/w", True), ("http://127.0.0.1:1/w", False)])
def test_no_other_machine_leads_to_this_one(monkeypatch: pytest.MonkeyPatch, to: str, followed: bool) -> None:
    asked: list[str] = []

    class Opener:
        def open(self, request: Request, timeout: float) -> Any:
            asked.append(request.full_url)
            headers = Message()
            headers["Location"] = to
            raise HTTPError(request.full_url, 302 if len(asked) == 1 else 404, "moved", headers, None)

    monkeypatch.setattr("gan_augment.synthesizers.fetching.web.build_opener", lambda *_: Opener())
    with pytest.raises(HTTPError if followed else ArtifactError):
        open_address("https://a/w", {}, 1)
    assert asked == ["https://a/w", to][: 1 + followed]


def test_a_redirect_in_circles(server: LoopbackFiles, tmp_path: Path) -> None:
    server.files["/w.pkl"] = redirect("/w.pkl")
    with pytest.raises(ArtifactError, match="more than 10 redirects"):
        fetched(server, tmp_path)
    assert len(server.asked) == 11


def test_no_proxy_is_asked_for_this_machine(
    server: LoopbackFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", server.url(""))
    server.files["/w.pkl"] = Served(BYTES)
    assert fetched(server, tmp_path).read_bytes() == BYTES
    monkeypatch.setattr(
        server.RequestHandlerClass, "do_CONNECT", lambda handler: handler.send_error(502), raising=False
    )
    with pytest.raises(ArtifactError, match="502"):
        fetch("https://example.invalid/w.pkl", cache_dir=tmp_path)


# -- processes --------------------------------------------------------------------------------------------------------


def test_killed_and_gone_on_with(server: LoopbackFiles, tmp_path: Path, downloaders: Downloaders) -> None:
    server.files["/w.pkl"] = served = Served(BYTES)
    had = 0
    for held in (70_000, 50_000, 90_000):  # bytes of each answer, of which the server sends no more
        served.holds_after = held
        pid = downloaders.start(server.url("/w.pkl"), tmp_path)
        had += held
        wait_for_part(tmp_path, had - 8192)
        os.kill(pid, signal.SIGKILL)
        had = partial(tmp_path).stat().st_size
        assert partial(tmp_path).read_bytes() == BYTES[:had]
        assert not list(tmp_path.glob("*/w*"))
    served.holds_after = None
    assert fetched(server, tmp_path).read_bytes() == BYTES
    found = starts(server)
    assert found[0] is None
    assert all(start is not None and start > 0 for start in found[1:])
    assert found[1:] == sorted(found[1:], key=lambda start: start or 0)
    assert found[-1] == had
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["w.pkl", "w.pkl.json"]


def test_killed_at_any_time(server: LoopbackFiles, tmp_path: Path, downloaders: Downloaders) -> None:
    server.files["/w.pkl"] = Served(BYTES, pause=0.0005)
    for number in range(12):
        cache = tmp_path / str(number)
        pid = downloaders.start(server.url("/w.pkl"), cache)
        time.sleep(0.002 * number)
        os.kill(pid, signal.SIGKILL)
        whole = list(cache.glob("*/w.pkl"))
        assert all(path.read_bytes() == BYTES for path in whole)
        assert fetched(server, cache).read_bytes() == BYTES
        left = {path.name for path in cache.rglob("*") if path.is_file()}
        assert left - {".partial.json"} == {"w.pkl", "w.pkl.json"}


def test_several_processes_download_once(server: LoopbackFiles, tmp_path: Path, downloaders: Downloaders) -> None:
    server.files["/w.pkl"] = served = Served(BYTES, holds_after=100_000)
    pids = [downloaders.start(server.url("/w.pkl"), tmp_path) for _ in range(4)]
    wait_for(lambda: server.asked, "the first request")
    time.sleep(0.2)
    served.go.set()
    paths = {downloaders.result(pid) for pid in pids}
    assert len(paths) == 1
    assert Path(paths.pop()).read_bytes() == BYTES
    assert starts(server) == [None]


def test_one_goes_on_where_another_was_killed(server: LoopbackFiles, tmp_path: Path, downloaders: Downloaders) -> None:
    server.files["/w.pkl"] = served = Served(BYTES, holds_after=100_000)
    first, second = [downloaders.start(server.url("/w.pkl"), tmp_path) for _ in range(2)]
    wait_for_part(tmp_path, 90_000)
    served.holds_after = None
    os.kill(first, signal.SIGKILL)
    os.kill(second, 0)
    other = downloaders.start(server.url("/w.pkl"), tmp_path)
    served.go.set()
    for pid in {second, other}:
        assert Path(downloaders.result(pid)).read_bytes() == BYTES
    assert len(server.asked) <= 2


def test_threads_download_once(server: LoopbackFiles, tmp_path: Path) -> None:
    server.files["/w.pkl"] = Served(BYTES, pause=0.002)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(fetched(server, tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 4
    assert starts(server) == [None]


# -- the Hugging Face Hub ---------------------------------------------------------------------------------------------

REPO = {
    "gan.safetensors": b"s" * 100,
    "sub/config.json": b"{}",
    "sub/net.pth": BYTES,
    "run.py": b"raise SystemExit",
    "sub/evil.py": b"raise SystemExit",
    "lib.so": b"\x7fELF",
    "samples.png": b"png",
    "README.md": b"---\nlicense: mit\n---\n",
    "LICENSE.txt": b"MIT",
}
TAKEN = {"gan.safetensors", "sub/config.json", "sub/net.pth", "README.md", "LICENSE.txt"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with running() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        hub.branches["me/gan"] = {"main": REPO, "trial": {"net.pkl": b"trial"}}
        yield hub


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("address", ["hf://me/gan", "hf://me/gan/", "HF://me/gan@main"])
def test_a_repository_is_a_folder_without_programs(
    hub: LoopbackHub, tmp_path: Path, address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = fetch(address, cache_dir=tmp_path)
    assert names(folder) == TAKEN
    assert all((folder / name).read_bytes() == REPO[name] for name in TAKEN)
    assert capfd.readouterr().err == "", "no bar but on a terminal"
    downloaded = {line.partition("/resolve/")[2].partition("/")[2] for line in hub.log if "/resolve/" in line}
    assert downloaded == TAKEN, "nothing else was asked for"


def test_chosen_files(hub: LoopbackHub, tmp_path: Path) -> None:
    assert names(fetch("hf://me/gan", cache_dir=tmp_path / "a", files=["sub/"])) == {"sub/config.json", "sub/net.pth"}
    everything = names(fetch("hf://me/gan", cache_dir=tmp_path / "b", files=["*"], progress=False))
    assert everything == TAKEN | {"samples.png"}
    with pytest.raises(ArtifactError, match=r"expected \*\.h5 in me/gan, found LICENSE\.txt, README\.md"):
        fetch("hf://me/gan", cache_dir=tmp_path / "c", files=["*.h5"])


def test_one_file_of_a_repository(hub: LoopbackHub, tmp_path: Path) -> None:
    path = fetch("hf://me/gan/sub/net.pth", cache_dir=tmp_path, sha256=SHA256)
    assert path.read_bytes() == BYTES
    assert names(path.parents[1]) == {"sub/net.pth"}
    with pytest.raises(ArtifactError, match=rf"SHA-256 {'0' * 64} at hf://me/gan/sub/net.pth, found {SHA256}"):
        fetch("hf://me/gan/sub/net.pth", cache_dir=tmp_path, sha256="0" * 64)
    with pytest.raises(ArtifactError, match=r"expected sub/no\.pth in me/gan, found LICENSE"):
        fetch("hf://me/gan/sub/no.pth", cache_dir=tmp_path)
    with pytest.raises(ArtifactError, match=r"expected sub in me/gan"):
        fetch("hf://me/gan/sub", cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("address", "revision"),
    [("hf://me/gan@trial/net.pkl", None), ("hf://me/gan/net.pkl", "trial"), ("hf://me/gan@trial/net.pkl", "trial")],
)
def test_a_revision(hub: LoopbackHub, tmp_path: Path, address: str, revision: str | None) -> None:
    assert fetch(address, cache_dir=tmp_path, revision=revision).read_bytes() == b"trial"
    commit = commit_of(hub.branches["me/gan"]["trial"])
    assert fetch(f"hf://me/gan@{commit}/net.pkl", cache_dir=tmp_path).read_bytes() == b"trial"


@pytest.mark.parametrize("offline", ["local_files_only", "HF_HUB_OFFLINE"])
def test_offline_the_hub_is_not_asked(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: str
) -> None:
    fetch("hf://me/gan", cache_dir=tmp_path)
    asked = len(hub.log)
    settings = {"local_files_only": True} if offline == "local_files_only" else {}
    if not settings:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert names(fetch("hf://me/gan", cache_dir=tmp_path, **settings)) == TAKEN
    assert fetch("hf://me/gan/sub/net.pth", cache_dir=tmp_path, **settings).read_bytes() == BYTES
    for missing in ("hf://me/other", "hf://me/gan@trial", "hf://me/gan/samples.png"):
        with pytest.raises(ArtifactError):
            fetch(missing, cache_dir=tmp_path, **settings)
    assert len(hub.log) == asked


def test_without_a_connection_the_cache_of_the_hub_is_used(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch("hf://me/gan", cache_dir=tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert names(fetch("hf://me/gan", cache_dir=tmp_path)) == TAKEN
    with pytest.raises(ArtifactError, match=r"(?s)expected weights at hf://me/other, found .*check the connection"):
        fetch("hf://me/other", cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("hf://no/body", "check the name; a private one needs token="),
        ("hf://me/gan@v9", "check revision="),
        ("hf://me/gan@v9/net.pkl", "check revision="),
    ],
)
def test_what_the_hub_has_not(hub: LoopbackHub, tmp_path: Path, address: str, told: str) -> None:
    with pytest.raises(ArtifactError, match=f"(?s)expected weights at {address}, found .*{told}"):
        fetch(address, cache_dir=tmp_path)


def test_a_repository_that_is_too_large(hub: LoopbackHub, tmp_path: Path) -> None:
    with pytest.raises(
        ArtifactError, match=r"at most 300,000 bytes in the wanted files of me/gan, found 300,\d+; choose"
    ):
        fetch("hf://me/gan", cache_dir=tmp_path, max_bytes=300_000)
    assert not any("/resolve/" in line for line in hub.log)
    assert names(fetch("hf://me/gan", cache_dir=tmp_path, max_bytes=300_000, files=["*.json"])) == {"sub/config.json"}


def test_names_in_a_repository_that_lead_out_of_it(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.branches["me/bad"] = {"main": {"../../../../evil.json": b"{}", "a.json": b"{}"}}
    with pytest.raises(ArtifactError):
        fetch("hf://me/bad", cache_dir=tmp_path / "a" / "b" / "c")
    assert not list(tmp_path.rglob("evil.json"))


def test_a_full_disk_is_told_of_the_hub_too(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    with pytest.raises(StorageError, match="No space left on device; free some space"):
        fetch("hf://me/gan", cache_dir=tmp_path)


@pytest.mark.parametrize(
    "address",
    [
        *("hf://gan", "hf://", "hf:///me/gan", "hf://datasets/me/gan", "hf://me/gan@/x", "hf://me/gan/../x.pkl"),
        *("hf://me/gan/a//b.pkl", "hf://me/gan/a\\b.pkl", "hf://me/gan/a\nb", "hf://me/gan/run.py", "hf://me/gan/X.PY"),
    ],
)
def test_addresses_that_no_repository_has(address: str) -> None:
    with pytest.raises(ConfigError):
        fetch(address)


@pytest.mark.parametrize(
    ("address", "settings", "told"),
    [
        ("hf://me/gan", {"sha256": SHA256}, "sha256= with one file"),
        ("hf://me/gan/a.pkl", {"files": ["*.pkl"]}, "files= with a repository"),
        ("hf://me/gan@a", {"revision": "b"}, "expected one revision"),
    ],
)
def test_parameters_that_cannot_work_with_the_hub(address: str, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        fetch(address, **settings)
