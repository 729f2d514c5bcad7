"""Files of a pool as they are written: beside their place, hashed on the way, synced, renamed."""

import contextlib
import hashlib
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gan_augment.artifacts import sync_folder
from gan_augment.pool.columns import COLUMNS

__all__ = ["Background", "NpyWriter", "file_hash", "is_partial", "npy_writer", "remove_partial"]

_BLOCK = 2**22
_PARTIAL = ".partial"
_UNFINISHED = re.compile(
    rf"\.(?:(?:images|masks|shard)-\d{{5}}|pool|build|fitted_on|{'|'.join(COLUMNS)})"
    r"\.(?:npy|json|safetensors)(?:\.\d+)?\.partial"
)


def is_partial(name: str) -> bool:
    """Tells whether a file is one that this library had not finished."""
    return bool(_UNFINISHED.fullmatch(name))


def remove_partial(folder: Path) -> None:
    """Removes what processes that were killed had not finished.

    Raises:
        OSError: It cannot be removed.
    """
    for path in folder.iterdir():
        if is_partial(path.name) and not path.is_dir():
            path.unlink(missing_ok=True)


def file_hash(path: Path, tell: Callable[[int], Any] = lambda size: None) -> str:
    """Returns the SHA-256 of a file, in hexadecimal digits; `tell` is called with the bytes of each block.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            tell(len(block))
    return digest.hexdigest()


class NpyWriter:
    """Writes one `.npy` file of a known number of rows.

    Plain writes rather than a writable map: on a full disk a map ends the process with a bus error.

    Args:
        path: The file; until `close` it lies beside under a hidden name.
        shape: `(rows, ...)` of the whole.
        dtype: numpy's name of the type.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str) -> None:
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)
        self._beside = path.with_name(f".{path.name}{_PARTIAL}")
        self._digest, self._rows = hashlib.sha256(), 0
        self._file = open(self._beside, "wb")  # noqa: SIM115  (closed by close and drop)
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self, header)

    def write(self, content: Any) -> None:
        """Writes bytes."""
        self._file.write(content)
        self._digest.update(content)

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Writes rows `(n, ...)`.

        Raises:
            OSError: The disk refused.
        """
        if rows.shape[1:] != self.shape[1:]:
            raise ValueError(f"rows of {rows.shape[1:]} for {self.path}, which has {self.shape[1:]}")
        self.write(np.ascontiguousarray(rows, dtype=self.dtype).reshape(-1).view(np.uint8).data)
        self._rows += len(rows)

    def close(self) -> str:
        """Syncs the file, puts it in its place and returns its SHA-256.

        Raises:
            OSError: The disk refused.
        """
        if self._rows != self.shape[0]:
            raise ValueError(f"{self._rows} rows of the {self.shape[0]} of {self.path}")
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        os.replace(self._beside, self.path)
        sync_folder(self.path.parent)
        return self._digest.hexdigest()

    def drop(self) -> None:
        """Removes what was written so far."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._beside.unlink()


class Background:
    """Runs writes in a thread, in their order, at most a few ahead of the disk; their errors come out here.

    Args:
        ahead: Writes that may wait.
    """

    def __init__(self, ahead: int = 2) -> None:
        self._ahead, self._refused = ahead, False
        self._thread = ThreadPoolExecutor(1, "pool-writer")
        self._waiting: deque[Future[Any]] = deque()

    def submit(self, write: Callable[..., Any], *args: Any) -> None:
        """Has `write(*args)` run; waits where too many writes wait already.

        Raises:
            OSError: An earlier write was refused.
        """
        while len(self._waiting) > self._ahead:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._run, write, *args))

    def _run(self, write: Callable[..., Any], *args: Any) -> None:
        """Writes nothing more after a write that was refused: what comes later may tell that it was not."""
        if self._refused:
            return
        try:
            write(*args)
        except BaseException:
            self._refused = True
            raise

    def wait(self) -> None:
        """Waits until all is written.

        Raises:
            OSError: A write was refused.
        """
        while self._waiting:
            self._waiting.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Has what was drawn before a failure be written, if it is not the disk that failed."""
        self._thread.shutdown(wait=True)


@contextlib.contextmanager
def npy_writer(path: Path, shape: tuple[int, ...], dtype: str) -> Iterator[NpyWriter]:
    """Gives a writer whose file is dropped where it was not closed."""
    writer = NpyWriter(path, shape, dtype)
    try:
        yield writer
    finally:
        writer.drop()
