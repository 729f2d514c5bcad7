"""References to sources: what hosts store with each item they made, a few bytes in place of a pool or a synthesizer."""

import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from gan_augment.artifacts import exists
from gan_augment.errors import DataError
from gan_augment.fingerprint import hash_array, hash_json
from gan_augment.transforms.source import ByLabel

__all__ = ["SourceReference"]

_KNOWN: WeakValueDictionary[str, ByLabel] = WeakValueDictionary()
"""The sources of this process, and the copies in a worker of those of its parent."""


class SourceReference:
    """Leads to a source, and says how it travels to other processes: whole, or as a name by which it is found there.

    A transform holds it whole. In what the host stores of an item (TorchIO's history) it is `brief`: pickled, a few
    hundred bytes, where a pool in memory may be gigabytes. A brief one finds its source in the process that it comes
    back to; elsewhere, and later, by the path of the pool or the synthesizer.

    Args:
        source: The source.
        path: Where it lies; None for the folder of a pool, and for what is in memory.
    """

    def __init__(self, source: ByLabel, path: str | None = None) -> None:
        folder = None if source.pool is None or source.pool.folder is None else str(source.pool.folder.absolute())
        path, state = folder or path, _state(source)
        key = uuid.uuid4().hex if path is None else f"{path} {state} {source.classes}"
        self._set(source, key, True, (path, source.classes, state, repr(source)))

    def _set(self, source: ByLabel | None, key: str, whole: bool, told: tuple[Any, ...]) -> None:
        self._source, self._key, self._is_whole, self._told = source, key, whole, told
        if source is not None:
            _KNOWN.setdefault(key, source)

    @classmethod
    def of(cls, source: Any, classes: Sequence[str] | None = None) -> "SourceReference":
        """Returns a reference to a pool, a synthesizer or the path of one; a reference as it is.

        Args:
            source: One of these.
            classes: Names of the dataset's classes by label; see `ByLabel`.

        Raises:
            ConfigError: It is none of these, or `classes` has a value that cannot work.
            ArtifactError: It is a path at which neither lies.
        """
        if isinstance(source, cls):
            return source
        path = os.fspath(source) if isinstance(source, str | os.PathLike) else None
        if path is not None and exists(path):  # and not the address of one
            path = str(Path(path).absolute())
        return cls(ByLabel(source, classes), path)

    @property
    def brief(self) -> "SourceReference":
        """The same, which travels as a name."""
        return _made(self._source, self._key, False, self._told)

    def found(self) -> ByLabel:
        """Returns the source.

        Raises:
            DataError: It is not in this process, and has no path or has changed there.
        """
        if self._source is None:
            self._source = _KNOWN.get(self._key)
        if self._source is None:
            path, classes, state, shown = self._told
            if path is None:
                raise DataError(
                    f"expected {self!r} in this process, which stored items only name, found that it is gone; save the "
                    "pool, SyntheticPool.save(folder), and use it from there, where it is found again"
                )
            source = ByLabel(path, classes)
            if _state(source) != state:
                raise DataError(
                    f"expected {shown} at {path} as it was when items were made of it, found other rows or weights; "
                    "make a transform of the same view of it first, or make the items anew"
                )
            self._source = _KNOWN.setdefault(self._key, source)
        return self._source

    def __repr__(self) -> str:
        path, _, _, shown = self._told
        return str(shown) if path is None else f"'{path}'"

    def __deepcopy__(self, memo: Any) -> "SourceReference":
        """Returns itself: hosts copy transforms and items, and what it leads to does not change."""
        return self

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _made, (self._source if self._is_whole else None, self._key, self._is_whole, self._told)


def _made(source: ByLabel | None, key: str, whole: bool, told: tuple[Any, ...]) -> SourceReference:
    new = SourceReference.__new__(SourceReference)
    new._set(source, key, whole, told)
    return new


def _state(source: ByLabel) -> str:
    """Returns what must be the same for a seed to stand for the same image."""
    if source.pool is not None:
        files = [part.get("files", {}) for part in source.pool.about["parts"]]
        images = [{name: told for name, told in own.items() if name.startswith(("images", "masks"))} for own in files]
        return f"{hash_json(images)}-{hash_array(source.pool.rows):016x}"
    return str(getattr(source.synthesizer, "fingerprint", None))
