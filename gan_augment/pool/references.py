"""A row of a pool as text, for hosts whose lists hold names of files: FOLDER/ROW-HASH.synthetic."""

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from gan_augment.errors import ConfigError, DataError
from gan_augment.fingerprint import hash_json
from gan_augment.pool.layout import POOL
from gan_augment.pool.pool import SyntheticPool

__all__ = ["Pools", "is_reference", "references"]

_NAME = re.compile(r"(\d{1,18})-([0-9a-f]{16})\.synthetic(-mask)?", re.ASCII)


def references(pool: SyntheticPool, rows: Sequence[int], *, masks: bool = False) -> list[str]:
    """Returns the reference to each of some rows of a pool in a folder, or to its mask.

    The hash is that of the images of the row's part: a pool that grows keeps its references, one that is built anew
    in the same folder has others, so that nobody's cache takes a new image for an old one.

    Raises:
        ConfigError: The pool is in memory, or has no masks.
    """
    if pool.folder is None:
        raise ConfigError("expected a pool in a folder, found one in memory; save it first: pool.save(folder)")
    if masks and not pool.has_masks:
        raise ConfigError(f"expected a pool with masks, found {pool!r}; leave the masks out, or draw with masks")
    parts, suffix = _parts(pool), "synthetic-mask" if masks else "synthetic"
    return [str(pool.folder / f"{row:06d}-{_hash(parts, row)}.{suffix}") for row in rows]


def is_reference(name: Any) -> bool:
    """Tells whether a path is named like a reference to a row; nothing is looked up."""
    return isinstance(name, str | os.PathLike) and _NAME.fullmatch(PurePath(name).name) is not None


class Pools:
    """Finds the rows that references stand for; each pool is opened once, and again where its folder has changed."""

    def __init__(self) -> None:
        self._opened: dict[Path, tuple[Any, SyntheticPool, list[tuple[int, str]]]] = {}

    def find(self, name: Any) -> tuple[SyntheticPool, int, bool]:
        """Returns the pool and the row that a reference stands for, and whether for its mask.

        Nothing but the folder of a pool is opened, and no folder that the reference names by way of another ("..").

        Raises:
            DataError: It is no reference, or the pool has no such row (any more).
            ArtifactError: Its folder is no pool.
        """
        path = Path(name if isinstance(name, str | os.PathLike) else "")
        match = _NAME.fullmatch(path.name)
        if match is None or ".." in path.parts:
            raise DataError(
                f"expected a reference to a row of a pool, FOLDER/ROW-HASH.synthetic, found {str(name)!r:.200}; take "
                "those that this library writes"
            )
        (pool, parts), row, is_mask = self._pool(path.parent), int(match[1]), match[3] is not None
        if _hash(parts, row) != match[2] or (is_mask and not pool.has_masks):
            raise DataError(
                f"expected in {path.parent} the pool that the reference {path.name} was made for, found another; make "
                "the list again, from the pool that is there now"
            )
        return pool, row, is_mask

    def _pool(self, folder: Path) -> tuple[SyntheticPool, list[tuple[int, str]]]:
        try:
            told = (folder / POOL).stat()
            state: Any = told.st_mtime_ns, told.st_size, told.st_ino
        except (OSError, ValueError):
            state = None  # opening it tells what is wrong
        kept = self._opened.get(folder)
        if kept is None or kept[0] != state:
            pool = SyntheticPool.open(folder)
            kept = self._opened[folder] = state, pool, _parts(pool)
        return kept[1:]


def _parts(pool: SyntheticPool) -> list[tuple[int, str]]:
    """Returns for each part the row behind its last one, and the hash of its images and masks."""
    parts: list[tuple[int, str]] = []
    for part in pool.about["parts"]:
        kept = {name: told for name, told in part["files"].items() if name.startswith(("images", "masks"))}
        parts.append(((parts[-1][0] if parts else 0) + part["rows"], hash_json(kept)))
    return parts


def _hash(parts: Sequence[tuple[int, str]], row: int) -> str:
    """Returns the hash of the part that a row is in; empty where there is no such row."""
    return next((told for end, told in parts if row < end), "")
