"""What a part of a pool is to hold: which row is of which class and seed, and what it is drawn with."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gan_augment.errors import ArtifactError, ConfigError
from gan_augment.pool.layout import MOST_SHARDS, shards_of
from gan_augment.seeds import derive, row_seeds
from gan_augment.types import IntArray

__all__ = ["Plan", "as_json", "check_settings", "differences", "shard_rows_of"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The rows of a part, ordered by class; row i of a class has a seed that depends on `seed`, the class and i.

    Attributes:
        counts: Rows of each class, by its index among the dataset's classes.
        seed: Of all draws.
        chunk: Rows that are drawn together.
    """

    counts: Mapping[int, int]
    seed: int = 0
    chunk: int

    @cached_property
    def _ends(self) -> IntArray:
        return np.cumsum([number for _, number in sorted(self.counts.items())], dtype=np.int64)

    @property
    def rows(self) -> int:
        """Rows of the part."""
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def shard_rows(self) -> int:
        """Rows of a shard, whole chunks; the same whoever draws it, so that the files are."""
        return shard_rows_of(self.rows, self.chunk)

    @property
    def shards(self) -> list[int]:
        """Rows of each shard."""
        return shards_of(self.rows, self.shard_rows)

    def columns(self, start: int, stop: int) -> tuple[IntArray, IntArray]:
        """Returns labels and seeds of rows `start` to `stop`, each `(stop - start,)`."""
        draws = derive(self.seed, "candidates")
        labels, seeds = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for label, end in zip(sorted(self.counts), self._ends.tolist(), strict=True):
            begin = end - self.counts[label]
            first, last = max(start, begin), min(stop, end)
            if first < last:
                labels.append(np.full(last - first, label, np.int64))
                seeds.append(row_seeds(draws, label, last - first, first - begin))
        return np.concatenate(labels), np.concatenate(seeds)

    def chunks(self, shard: int) -> Iterator[tuple[int, int]]:
        """Returns first row and row behind the last of each chunk of a shard."""
        first = shard * self.shard_rows
        last = min(first + self.shard_rows, self.rows)
        for start in range(first, last, self.chunk):
            yield start, min(start + self.chunk, last)


def shard_rows_of(rows: int, chunk: int) -> int:
    """Returns how many rows of a part go into a shard: whole chunks, and so many that there are few files."""
    chunks = -(-rows // chunk)
    return chunk * max(1, -(-chunks // MOST_SHARDS))


def differences(settings: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Returns where two sets of settings differ, for a message: `seed 0 against 1; counts of cat 40 against 60`."""
    told = []
    for name in sorted(settings.keys() | found.keys()):
        one, other = settings.get(name), found.get(name)
        if _same(one, other):
            continue
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            inner = [key for key in sorted(one.keys() | other.keys()) if not _same(one.get(key), other.get(key))]
            told += [f"{name} of {key} {one.get(key)!s:.60} against {other.get(key)!s:.60}" for key in inner[:5]]
        else:
            told.append(f"{name} {one!s:.60} against {other!s:.60}")
    return "; ".join(told)


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True, default=str) == json.dumps(other, sort_keys=True, default=str)


def as_json(value: Any) -> Any:
    """Returns a value as it comes back from a JSON file; numpy's numbers and arrays become plain ones.

    Raises:
        ConfigError: It holds something that JSON cannot.
    """
    try:
        return json.loads(json.dumps(value, default=_plain))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"expected settings of JSON values (numbers, texts, lists, dicts), found {error}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r:.60}")


def check_settings(wanted: Mapping[str, Any], found: Any, what: str, remedy: str) -> None:
    """Raises unless something was begun with the settings that are now given; `remedy` is what else can be done.

    Raises:
        ArtifactError: It was begun with others; shows which.
    """
    if not isinstance(found, Mapping):
        raise ArtifactError(f"expected the settings of {what}, found none; it is damaged: delete it")
    if told := differences(wanted, found):
        raise ArtifactError(
            f"expected {what} to be of the settings that are given now, found others (now against then): {told}; "
            f"give those again, give another out=, or {remedy}"
        )
