"""Files from the web: one checked copy of each in a cache, and a download that broke off is gone on with."""

import contextlib
import hashlib
import http.client
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from urllib.error import HTTPError

from gan_augment.artifacts import read_json, storing, sync_folder, write_json
from gan_augment.errors import ArtifactError
from gan_augment.locks import exclusive
from gan_augment.synthesizers.fetching.provenance import SHA256, counting, file_sha256, plain, source_of
from gan_augment.synthesizers.fetching.web import Version, checked_address, length_of, name_of, open_address, rest_of

__all__ = ["downloads_folder", "fetch_from_web"]

_KIND, _VERSION = "gan_augment download", 1
_CHUNK = 2**18
_BLOCK = 2**20
_TRIES = 10
_MOST_STATE = 2**16


def downloads_folder() -> Path:
    """Returns where downloads are kept: under $GAN_AUGMENT_CACHE, else under gan_augment in the user's cache."""
    given = os.environ.get("GAN_AUGMENT_CACHE")
    root = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gan_augment"
    return root / "downloads"


def fetch_from_web(
    address: str,
    *,
    sha256: str | None,
    cache_dir: Path | None,
    local_files_only: bool,
    progress: bool,
    max_bytes: int,
    timeout: float,
) -> Path:
    """Returns the copy of a file in the cache, downloaded now or before: see `fetch` of `download`.

    A file that is there is used without reaching for the network, and is checked each time against its hash. What a
    broken or killed download left is gone on with, if the server can send a part of a file and still has that version
    of it. Processes that ask for the same file at once wait for the first to download it.

    Raises:
        ArtifactError: The file is not to be had, is another than `sha256` says, or was changed in the cache.
        ConfigError: The address cannot be one.
        StorageError: The disk refused.
    """
    url = checked_address(address)
    cache = downloads_folder() if cache_dir is None else cache_dir
    place = _Place(cache / hashlib.sha256(url.encode()).hexdigest()[:32], name_of(url))
    if place.holds(sha256, progress):
        return place.file
    if local_files_only:
        raise ArtifactError(
            f"expected {source_of(url)} in the cache {cache}, found that it was not downloaded before; leave out "
            "local_files_only=True to download it"
        )
    with storing(cache):
        cache.mkdir(parents=True, exist_ok=True)
    lock = cache / f".{place.folder.name}.lock"
    with storing(place.file, "what came so far is kept"), exclusive(lock, source_of(url), wait=True):
        if not place.holds(sha256, progress):
            _Download(url, place, sha256, max_bytes, timeout, progress).run()
    return place.file


class _Place:
    """Where a file lies in the cache, with its record; and what is there of it before it is whole."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.file, self.record = folder / name, folder / f"{name}.json"
        self.partial, self.state = folder / ".partial", folder / ".partial.json"

    def holds(self, sha256: str | None, progress: bool) -> bool:
        """Tells whether the file is there, and raises if it is not what was downloaded, or not what is wanted."""
        if not self.file.is_file():
            return False
        try:
            recorded = read_json(self.record, _KIND, _VERSION).get("sha256")
        except ArtifactError:
            recorded = None
        wanted = recorded if sha256 is None else sha256
        again = f"delete the folder {self.folder} to download it again"
        if not isinstance(wanted, str) or not SHA256.fullmatch(wanted):
            raise ArtifactError(
                f"expected the hash of {self.file} in {self.record}, found none, so that nobody can tell whether the "
                f"file is whole; give sha256=, or {again}"
            )
        found = file_sha256(self.file, progress)
        if found == wanted:
            return True
        if found == recorded:
            raise ArtifactError(
                f"expected a file of SHA-256 {wanted}, found {found} in the cache, as it was downloaded; check "
                f"sha256=, or, if there is a newer file at the address by now, {again}"
            )
        raise ArtifactError(
            f"expected a file of SHA-256 {wanted} at {self.file}, found {found}; it was changed after the download: "
            f"{again}"
        )

    def forget(self) -> None:
        """Removes what is there of a file that is not whole."""
        with contextlib.suppress(OSError):
            self.partial.unlink(missing_ok=True)
            self.state.unlink(missing_ok=True)
            self.folder.rmdir()


class _Broken(Exception):  # noqa: N818  (no error by itself: it is tried again)
    """A connection that broke off, or hangs."""


class _Download:
    """One download into a place of the cache, by a process that holds its lock."""

    def __init__(
        self, url: str, place: _Place, sha256: str | None, max_bytes: int, timeout: float, progress: bool
    ) -> None:
        self.url, self.place, self.sha256 = url, place, sha256
        self.max_bytes, self.timeout, self.progress = max_bytes, timeout, progress
        self.source = source_of(url)
        self._from_zero()

    def _from_zero(self) -> None:
        self.size, self.digest = 0, hashlib.sha256()
        self.version: Version | None = None

    def run(self) -> None:
        self._pick_up()
        picked_up = self.size > 0
        self._bring()
        if picked_up and self._is_wrong():
            self._from_zero()  # what was left may have been damaged, as by a power cut
            self._bring()
        self._put_in_place()

    def _is_wrong(self) -> bool:
        return self.sha256 not in (None, self.digest.hexdigest())

    def _pick_up(self) -> None:
        """Takes up what an earlier download left, if the rest can be told to belong to it."""
        for left in self.place.folder.glob(".*.partial"):  # by a kill between writing a JSON and renaming it
            left.unlink(missing_ok=True)
        self.version = _read_version(self.place.state)
        known = self.version is not None and (self.version.validator or self.sha256)
        if not known or not self.place.partial.is_file():
            return
        with open(self.place.partial, "rb") as file:
            while block := file.read(_BLOCK):
                self.digest.update(block)
                self.size += len(block)

    def _bring(self) -> None:
        """Downloads what is missing, and goes on for as long as each connection brings something."""
        told = ""
        for _ in range(_TRIES):
            before = self.size
            try:
                if self.version is None or self.size != self.version.length or not self.size:
                    self._go_on()
                return
            except _Broken as broken:
                told = str(broken)
                if self.size <= before:
                    break
        kept = f"; what came so far ({self.size:,} bytes) is kept, and the next call goes on from there"
        raise ArtifactError(
            f"expected to download {self.source}, found {told}; check the connection and try again"
            f"{kept if self.size else ''}"
        )

    def _go_on(self) -> None:
        if self.size:
            with self._asked() as response:
                if response is not None and response.status == 206 and self._continues(response):
                    return self._receive(response)
                if response is not None and response.status == 200:
                    return self._start(response)
            self._from_zero()  # the server cannot go on from there
        with self._asked() as response:
            if response is None or response.status != 200:
                raise ArtifactError(f"expected {self.source} as a whole, found that the server sends something else")
            return self._start(response)

    @contextlib.contextmanager
    def _asked(self) -> Iterator[http.client.HTTPResponse | None]:
        """Asks for what is missing; gives None where the server has no such part."""
        headers = {"User-Agent": "gan_augment", "Accept-Encoding": "identity"}
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
            if self.version is not None and self.version.validator:
                headers["If-Range"] = self.version.validator
        response: http.client.HTTPResponse | None = None
        try:
            response = open_address(self.url, headers, self.timeout)
        except HTTPError as error:
            error.close()
            if error.code != 416 or not self.size:
                raise _refused(self.source, error) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _Broken(f"no connection ({_reason(error)})") from error
        with response or contextlib.nullcontext():
            yield response

    def _continues(self, response: http.client.HTTPResponse) -> bool:
        """Tells whether a part is the rest of what is there, of the same version of the file."""
        total = rest_of(response, self.size)
        if total is None or self.version is None or not Version.of(response, total).may_be(self.version):
            return False
        self._check_length(total)
        self.version = replace(self.version, length=total)
        return True

    def _start(self, response: http.client.HTTPResponse) -> None:
        """Receives a file from its first byte on."""
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding != "identity":
            raise ArtifactError(f"expected {self.source} as it is, found it packed as {encoding!r:.40} by the server")
        if response.headers.get_content_type() == "text/html" and not self.place.file.name.endswith((".html", ".htm")):
            raise ArtifactError(
                f"expected a file at {self.source}, found a web page, perhaps one that asks for a login or a "
                "confirmation; look for the address of the file itself, or download it by hand and give its path"
            )
        length, chunked = length_of(response), response.headers.get("Transfer-Encoding", "").lower() == "chunked"
        if length is None and not chunked and self.sha256 is None:
            raise ArtifactError(
                f"expected the length of {self.source} from its server, found none, so that nobody can tell whether "
                "the file is whole; give sha256="
            )
        self._check_length(length or 0)
        self._from_zero()
        self.version = Version.of(response, length)
        self.place.folder.mkdir(exist_ok=True)
        self.place.partial.write_bytes(b"")  # before its version is: never old bytes under a new version
        write_json(self.place.state, asdict(self.version))
        self._receive(response)

    def _check_length(self, length: int) -> None:
        if length > self.max_bytes:
            self.place.forget()
            raise ArtifactError(
                f"expected at most {self.max_bytes:,} bytes at {self.source}, found {length:,} or more; give "
                "max_bytes= to allow it"
            )

    def _receive(self, response: http.client.HTTPResponse) -> None:
        total = None if self.version is None else self.version.length
        what = f"downloading {self.place.file.name}"
        with open(self.place.partial, "ab") as file, counting(what, total, self.progress, self.size) as count:
            while total is None or self.size < total:
                try:
                    chunk = response.read1(_CHUNK if total is None else min(_CHUNK, total - self.size))
                except (OSError, http.client.HTTPException) as error:
                    raise _Broken(f"that the connection broke off ({_reason(error)})") from error
                if not chunk:
                    break
                self._check_length(self.size + len(chunk))
                file.write(chunk)
                self.digest.update(chunk)
                self.size += len(chunk)
                count(len(chunk))
        if total is not None and self.size < total:
            raise _Broken(f"that the connection ended after {self.size:,} of {total:,} bytes")

    def _put_in_place(self) -> None:
        """Puts a whole file in its place; its record goes first, so that no file is there without one."""
        found = self.digest.hexdigest()
        if self._is_wrong():
            self.place.forget()
            raise ArtifactError(
                f"expected a file of SHA-256 {self.sha256} at {self.source}, found {found}; nothing was kept of it. "
                "Check sha256=, and whether there is another file at the address by now"
            )
        with open(self.place.partial, "rb+") as file:
            os.fsync(file.fileno())
            written = os.fstat(file.fileno()).st_size
        if written != self.size:  # where there are no locks, another process may write as well
            self.place.forget()
            raise ArtifactError(
                f"expected {self.size:,} bytes in {self.place.partial}, found {written:,}; does another process "
                "download it as well? Try again"
            )
        about = {"kind": _KIND, "version": _VERSION, "source": self.source, "sha256": found, "bytes": self.size}
        write_json(self.place.record, about)
        os.replace(self.place.partial, self.place.file)
        self.place.state.unlink(missing_ok=True)
        sync_folder(self.place.folder)


def _read_version(path: Path) -> Version | None:
    """Reads what was kept beside a part of a file; None where that is missing or damaged."""
    try:
        if path.stat().st_size > _MOST_STATE:
            return None
        found = Version(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    texts = all(text is None or isinstance(text, str) for text in (found.etag, found.modified))
    return found if texts and (found.length is None or type(found.length) is int) else None


def _refused(source: str, error: HTTPError) -> ArtifactError:
    advice = {
        401: "it needs an account: download it by hand and give its path",
        403: "it needs an account, or its address has run out: download it by hand and give its path",
        410: "it was taken away: look for another address",
        429: "too many ask for it: try again later",
    }
    other = "the server has trouble: try again later" if error.code >= 500 else "check the address"
    return ArtifactError(
        f"expected a file at {source}, found HTTP status {error.code} ({plain(str(error.reason), 80)}); "
        f"{advice.get(error.code, other)}"
    )


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", error)
    return f"{type(inner).__name__}: {plain(str(inner), 200)}"
