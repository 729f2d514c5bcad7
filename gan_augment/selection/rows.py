"""Rows of candidates: in blocks, by one judge or all, picked without filling the memory, and compared to centroids."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_augment.artifacts import storing
from gan_augment.clusters import centroid_distances
from gan_augment.search import blocks_of
from gan_augment.types import Candidates, FloatArray, IntArray, side_by_side

__all__ = [
    "blocks",
    "canonical_order",
    "group_means",
    "joined",
    "member",
    "members",
    "parts_of",
    "taken",
    "to_centroids",
    "unseen_by",
]

_BLOCK_BYTES = 64 * 2**20
_COPIED_BYTES = 256 * 2**20


def blocks(candidates: Candidates) -> Iterator[slice]:
    """Yields slices of rows whose features take at most 64 MiB, so that memory-mapped features stay on disk."""
    width = int(np.prod(candidates.features.shape[1:])) * candidates.features.itemsize
    rows = max(1, _BLOCK_BYTES // max(1, width))
    for start in range(0, max(1, len(candidates)), rows):
        yield slice(start, start + rows)


def parts_of(candidates: Candidates, rows: IntArray) -> Iterator[IntArray]:
    """Yields rows in parts whose features take at most 64 MiB."""
    for part in blocks(candidates):
        if part.start < len(rows):
            yield rows[part]


@contextlib.contextmanager
def taken(candidates: Candidates, rows: npt.NDArray[np.bool_]) -> Iterator[Candidates]:
    """Gives the rows that a mask picks; features that would take over 256 MiB are copied to disk, not to memory."""
    shape = (int(rows.sum()), *candidates.features.shape[1:])
    if int(np.prod(shape)) * candidates.features.itemsize <= _COPIED_BYTES:
        yield candidates[rows]
        return
    with tempfile.TemporaryDirectory(prefix="gan_augment-") as folder:
        path = Path(folder) / "features"
        with storing(path):
            features = np.memmap(path, candidates.features.dtype, "w+", shape=shape)
            start = 0
            for part in blocks(candidates):
                picked = candidates.features[part][rows[part]]
                features[start : start + len(picked)] = picked
                start += len(picked)
        narrow = dataclasses.replace(candidates, features=candidates.features[:, :0], also={})[rows]
        yield dataclasses.replace(narrow, features=features)


def member(candidates: Candidates, number: int) -> Candidates:
    """Returns rows as one judge of a cross-fitted extractor sees them; as they are where there is one judge."""
    if candidates.features.ndim == 2:
        return candidates
    return dataclasses.replace(candidates, features=candidates.features[:, number])


def members(candidates: Candidates) -> int:
    """Returns the number of judges that saw the rows."""
    return 1 if candidates.features.ndim == 2 else candidates.features.shape[1]


def joined(candidates: Candidates) -> FloatArray:
    """Returns features `(N, D)`; those of several judges side by side, `(N, K D)`."""
    return np.ascontiguousarray(side_by_side(candidates.features))


def group_means(
    features: FloatArray,
    groups: IntArray,
    count: int,
    seen: Callable[[FloatArray, slice], npt.NDArray[Any]] | None = None,
) -> npt.NDArray[np.float64]:
    """Returns the mean `(count, D)` of the rows of each group, block by block; zero for a group without rows.

    Args:
        features: `(N, D)` or `(N, K, D)`, whose K spaces stand side by side; may be memory-mapped.
        groups: `(N,)` from 0 to `count - 1`.
        count: Number of groups.
        seen: What is averaged in place of a block of features `(n, K D)`, given it and its rows; None for itself.
    """
    width = int(np.prod(features.shape[1:]))
    sums = np.zeros((count, width))
    for rows in blocks_of(len(features), width):
        order = np.argsort(groups[rows], kind="stable")
        there, first = np.unique(groups[rows][order], return_index=True)
        block = features[rows].reshape(-1, width)
        shown = block if seen is None else seen(block, rows)
        sums[there] += np.add.reduceat(shown[order].astype(np.float64, copy=False), first, axis=0)
    means: npt.NDArray[np.float64] = sums / np.maximum(np.bincount(groups, minlength=count), 1)[:, None]
    return means


def unseen_by(real: Candidates, judge: int) -> npt.NDArray[np.bool_]:
    """Returns which real images `(N,)` a judge has not seen; all where that is not known."""
    if real.fold is None:
        return np.ones(len(real), bool)
    unseen: npt.NDArray[np.bool_] = real.fold == judge if members(real) > 1 else real.fold >= 0
    return unseen


def canonical_order(candidates: Candidates, rows: IntArray) -> IntArray:
    """Returns rows in an order that does not depend on theirs: of their seeds, or else of their features."""
    if candidates.seeds is not None:
        return rows[np.argsort(candidates.seeds[rows], kind="stable")]
    return rows[np.lexsort(candidates.features[rows].reshape(len(rows), -1).T[::-1])]


def to_centroids(features: npt.NDArray[np.floating], centroids: FloatArray) -> FloatArray:
    """Returns Euclidean distances `(n, K)` of a block of rows to centroids, the same whatever rows stand beside each.

    A product in float32 rounds a row differently in blocks of different sizes, which turns ties. In float64, about the
    mean of the centroids, what is rounded to float32 is the same but for one time in a hundred million.
    """
    center = centroids.mean(axis=0, dtype=np.float64)
    moved = features.astype(np.float64) - center
    return centroid_distances(moved, (centroids - center).astype(np.float32))
