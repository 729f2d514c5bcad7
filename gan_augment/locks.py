"""Locks between processes: files that their holder's end, however sudden, sets free."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from gan_augment.errors import ArtifactError

__all__ = ["exclusive", "try_lock"]


def try_lock(file: IO[bytes], *, wait: bool = False) -> bool | None:
    """Locks a file until it is closed or its process ends.

    Args:
        file: The file.
        wait: Whether to wait for who holds it.

    Returns:
        True where it is now held, False where somebody else holds it, None where there are no such locks (Windows,
        some network file systems).
    """
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextlib.contextmanager
def exclusive(path: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Holds a lock file while something is worked on, and removes it afterwards.

    Args:
        path: The lock file; its folder must be there.
        what: What is worked on, for the message.
        wait: Whether to wait for who holds it.

    Raises:
        ArtifactError: Another process, or another thread of this one, holds it, and `wait` is false.
        OSError: It cannot be written.
    """
    while True:
        with _opened(path, what) as file:
            held = try_lock(file, wait=wait)
            if held is False:
                raise ArtifactError(
                    f"expected nobody else to work on {what}, found that another process does (it holds {path}); "
                    "wait for it to end, or give another out="
                )
            if held and not _is_at(file, path):
                continue  # its holder removed it between our opening and our locking it
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    path.unlink()
            return


def _opened(path: Path, what: str) -> IO[bytes]:
    """Opens a lock file, or makes it; what is no plain file would be followed, or waited for."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ArtifactError(f"expected a plain file as the lock of {what} in {path}, found something else; remove it")
    return os.fdopen(os.open(path, flags, 0o666), "ab")


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
