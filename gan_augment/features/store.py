"""A store of named arrays by key: one SQLite file that survives kills, other processes and damage.

It keeps what can be computed again. So nothing that happens to the file is an error: what cannot be read is missing,
what cannot be written is not kept, and a file that is no database any more is begun anew. Each row has a checksum over
its key and its content, so that a row that is found is the row that was written.
"""

import contextlib
import hashlib
import math
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_bytes
from safetensors.numpy import save as save_bytes

from gan_augment.locks import try_lock

__all__ = ["Row", "Store"]

T = TypeVar("T")

Row = dict[str, npt.NDArray[Any]]
"""Named arrays of one image."""

_PATIENCE = 60.0
"""Seconds to wait for another process that writes."""

_TABLE = "CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, value BLOB NOT NULL, checksum BLOB NOT NULL)"
_TOGETHER = 500
_PASSING = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_AUTH,
}
"""What says nothing against the file's content."""


class Store:
    """Rows in one file.

    A connection is opened for each call and closed after it: none lives on in a forked process or another thread.

    Args:
        path: The file; made where it does not exist, in a folder that does.
        max_bytes: What its rows may take; above it the oldest are dropped.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path, self.max_bytes = path, max_bytes
        self._warned = False

    def read(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        """Returns the rows that are there, whole, by key."""
        if not keys:
            return {}

        def work(connection: sqlite3.Connection) -> dict[bytes, Row]:
            found: dict[bytes, Row] = {}
            for start in range(0, len(keys), _TOGETHER):
                part = keys[start : start + _TOGETHER]
                which = f"SELECT key, value, checksum FROM rows WHERE key IN ({','.join('?' * len(part))})"
                for key, value, checksum in connection.execute(which, part):
                    row = _decoded(key, value, checksum)
                    if row is not None:
                        found[key] = row
            return found

        return self._asked(work, {})

    def write(self, rows: Mapping[bytes, Row]) -> None:
        """Keeps rows; one that is there and whole stays as it is."""

        def work(connection: sqlite3.Connection) -> None:
            with _transaction(connection):
                for key, row in rows.items():
                    there = connection.execute("SELECT value, checksum FROM rows WHERE key = ?", (key,)).fetchone()
                    if there is None or _decoded(key, *there) is None:
                        value = save_bytes(row)
                        new = (key, value, _checksum(key, value))
                        connection.execute("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", new)
                _trim(connection, self.max_bytes)

        self._asked(work, None)

    def clear(self) -> None:
        """Drops all rows and gives the space back."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM rows")
            connection.execute("VACUUM")

        self._asked(work, None)

    def __len__(self) -> int:
        return self._asked(lambda c: int(c.execute("SELECT count(*) FROM rows").fetchone()[0]), 0)

    def _asked(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """Returns what `work` gives; `otherwise` where the file cannot be used, and mends it where it is damaged."""
        inode = None
        try:
            with contextlib.suppress(OSError):
                inode = self.path.stat().st_ino
            with contextlib.closing(sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)) as connection:
                connection.execute("PRAGMA synchronous = NORMAL")
                connection.execute(_TABLE)
                return work(connection)
        except (sqlite3.DatabaseError, sqlite3.Warning, UnicodeDecodeError) as error:
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _PASSING:
                self._warn(f"could not use the cache of features {self.path} ({error}): they are computed each time")
            else:
                self._warn(f"the cache of features {self.path} was damaged ({error}): it is begun anew")
                self._discard(inode)
            return otherwise

    def _warn(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(text, RuntimeWarning, stacklevel=5)

    def _discard(self, inode: int | None) -> None:
        """Removes the file that was found damaged, but not one that another process has begun since."""
        with contextlib.suppress(OSError), open(f"{self.path}.lock", "ab") as lock:
            if try_lock(lock) is not False and self.path.stat().st_ino == inode:
                for suffix in ("-journal", "-wal", "-shm", ""):  # a journal must not outlive its database
                    Path(f"{self.path}{suffix}").unlink(missing_ok=True)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _trim(connection: sqlite3.Connection, max_bytes: int) -> None:
    """Drops the rows written first; the pages they leave are used again, so the file stops growing."""
    page, pages, free = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_size", "page_count", "freelist_count")
    )
    taken = page * (pages - free)
    if taken > max_bytes:
        count = int(connection.execute("SELECT count(*) FROM rows").fetchone()[0])
        dropped = math.ceil(count * (1 - 0.9 * max_bytes / taken))
        oldest = "SELECT rowid FROM rows ORDER BY rowid LIMIT ?"
        connection.execute(f"DELETE FROM rows WHERE rowid IN ({oldest})", (dropped,))


def _checksum(key: bytes, value: bytes) -> bytes:
    return hashlib.blake2b(key + value, digest_size=16).digest()


def _decoded(key: bytes, value: Any, checksum: Any) -> Row | None:
    """Returns a row, or None where it is not what was written."""
    if not isinstance(value, bytes) or checksum != _checksum(key, value):
        return None
    try:
        row: Row = load_bytes(value)
    except (SafetensorError, ValueError, KeyError):
        return None
    return row
