"""Opens files that may be anything, and reads from them no more than is there."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from gan_augment.errors import ArtifactError, GanAugmentError

__all__ = ["DamagedError", "Source", "described", "opened", "small", "telling"]

_HINT = "The file is truncated, damaged or made to mislead: fetch it again, and compare its sha256 with its authors'"
_BEGIN = "could not read"
_MOST = 16 * 2**30


class DamagedError(ArtifactError):
    """What was found cannot be in a file that is whole; `telling` adds what to do."""


class Source:
    """Bytes that are read from front to back.

    Args:
        file: Where they come from.
        size: How many there are.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.left = file, size, size

    def read(self, count: int) -> bytes:
        """Returns exactly `count` bytes.

        Raises:
            ArtifactError: There are fewer.
        """
        self.take(count)
        data = self.file.read(count)
        if len(data) != count:
            raise DamagedError(f"expected {count} bytes, found {len(data)}")
        return data

    def start(self) -> bytes:
        """Returns the first bytes, and stays before them."""
        data = self.file.read(1024)
        self.file.seek(0)
        return data

    def fill(self, buffer: memoryview) -> None:
        """Reads exactly as many bytes as `buffer` holds into it.

        Raises:
            ArtifactError: There are fewer.
        """
        self.take(len(buffer))
        while len(buffer):
            count = self.file.readinto(buffer)  # type: ignore[attr-defined]
            if not count:
                raise DamagedError(f"expected {len(buffer)} bytes more, found none")
            buffer = buffer[count:]

    def line(self, most: int = 1000) -> bytes:
        """Returns the bytes before the next line feed, at most `most`.

        Raises:
            ArtifactError: There are more, or there is no line feed.
        """
        data = self.file.readline(min(most + 1, self.left))
        self.left -= len(data)
        if not data.endswith(b"\n"):
            raise DamagedError(f"expected a line of at most {most} bytes, found none")
        return data[:-1]

    def take(self, count: int) -> None:
        """Raises an ArtifactError where fewer than `count` bytes are left."""
        if not 0 <= count <= self.left:
            raise DamagedError(f"expected {count} bytes more, found {self.left}")
        self.left -= count


def described(start: bytes) -> str | None:
    """Returns what a file is that begins so, and what to do about it; None for what may be a pickle."""
    known = {
        b"\x1f\x8b": "a gzip file; unpack it first",
        b"<": "a web page; the link leads to no file, or asks for a login",
        b"version https://git-lfs": "a pointer of Git LFS; fetch the file itself with `git lfs pull`",
    }
    for beginning, what in known.items():
        if start.startswith(beginning):
            return what
    if start[257:262] == b"ustar":
        return "a tar archive, which torch before 0.1.10 wrote; load and save it with a newer one in a sandbox"
    return None


@contextlib.contextmanager
def telling(path: str | Path) -> Iterator[None]:
    """Turns what goes wrong while a file is read into an ArtifactError that names it, once; a ConfigError stays one."""
    try:
        yield
    except DamagedError as error:
        raise ArtifactError(f"{_BEGIN} {path}: {error}. {_HINT}") from None
    except ArtifactError as error:
        if str(error).startswith(_BEGIN):
            raise
        raise ArtifactError(f"{_BEGIN} {path}: {error}") from None
    except GanAugmentError:
        raise
    except MemoryError:
        raise ArtifactError(
            f"{_BEGIN} {path}: expected enough memory to hold it, found less; close something, or use a machine "
            "with more"
        ) from None
    except Exception as error:
        told = f"{type(error).__name__}: {error}"[:200]
        raise ArtifactError(
            f"{_BEGIN} {path}: expected contents that fit together, found others ({told}). {_HINT}"
        ) from error


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[Source]:
    """Opens a regular file. Whatever goes wrong with it, inside the block as well, becomes an ArtifactError.

    Raises:
        ArtifactError: There is none, it is empty, too large, a folder, a pipe or a device.
    """
    with telling(path):
        path = Path(path)
        try:
            _check(path.stat())  # a device may do something when it is opened
            handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ArtifactError(f"expected a file that can be opened, found {reason}; check the path") from None
        with open(handle, "rb") as file:
            found = os.fstat(file.fileno())
            _check(found)
            yield Source(file, found.st_size)


def small(path: str | Path, most: int) -> bytes:
    """Returns the content of a regular file of at most `most` bytes, such as settings beside weights.

    Raises:
        ArtifactError: It cannot be opened, is empty, or is larger.
    """
    with opened(path) as source:
        if source.size > most:
            raise ArtifactError(f"expected a small file of settings, found one of more than {most} bytes; give another")
        return source.read(source.size)


def _check(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe, socket or device"
        raise ArtifactError(f"expected a regular file, found {kind}; give the path of a file")
    if not found.st_size:
        raise ArtifactError("expected a file with something in it, found an empty one; fetch it again")
    if found.st_size > _MOST:
        raise ArtifactError(
            f"expected at most {_MOST >> 30} GiB, found {found.st_size} bytes; export the weights alone"
        )
