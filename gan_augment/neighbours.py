"""The nearest rows of features: exact, and in blocks, so that features may be memory-mapped.

Distances to a few centroids are a product and live in `gan_augment.clusters`; an approximate search among very many
rows in `gan_augment.index`; which library searches a block, and the care that forked workers need, in
`gan_augment.search`. What each costs beside its alternatives is measured by `benchmarks/selection.py`.
"""

import numpy as np
import numpy.typing as npt

from gan_augment.clusters import centroid_distances, kmeans, nearest_centroid
from gan_augment.errors import ConfigError
from gan_augment.search import Device, blocks_of, mean_of, measured_again, merged, moved, top_k
from gan_augment.types import FloatArray, IntArray

__all__ = ["centroid_distances", "kmeans", "nearest", "nearest_centroid", "nearest_of_class", "nearest_other"]

_SPARE = 4
"""Candidates beyond k that are measured in float64 too: float32 may swap neighbours at nearly one distance."""


def nearest(
    queries: FloatArray,
    base: FloatArray,
    k: int = 1,
    *,
    query_rows: IntArray | None = None,
    base_rows: IntArray | None = None,
    device: Device = None,
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Returns Euclidean distances and rows, both `(N, k)`, of the k nearest rows of `base` `(M, D)`; exact.

    Candidates are found in float32 around a common center and measured again in float64; of equal distances the lower
    row comes first. Beyond the features themselves and what is returned, it needs less than 400 MB, however many rows
    there are: both arrays may be memory-mapped.

    Args:
        queries: `(N, D)`.
        base: `(M, D)`.
        k: How many, M at most.
        query_rows: Rows of `queries` that are asked for, in place of all; N is their number.
        base_rows: Rows of `base` that are searched, in place of all; M is their number. What is returned are still rows
            of `base`.
        device: Where torch searches, "cuda" for a GPU; None for FAISS, or torch on the CPU where there is no FAISS.

    Raises:
        ConfigError: `k` is not from 1 to the number of rows, or the dimensions differ.
        DataError: Features are not finite.
    """
    asked = np.arange(len(queries)) if query_rows is None else query_rows
    among = np.arange(len(base)) if base_rows is None else base_rows
    _check(queries, base, k, len(among))
    dim = base.shape[1]
    parts = list(blocks_of(len(among), dim))
    center = mean_of(base, base_rows)
    kept = moved(_taken(base, base_rows, parts[0]), center) if len(parts) == 1 else None
    wanted = min(len(among), k + _SPARE)
    distances = np.empty((len(asked), k), np.float32)
    rows = np.empty((len(asked), k), np.int64)
    for block in blocks_of(len(asked), dim):
        some = _taken(queries, query_rows, block)
        ready = moved(some, center)
        best: tuple[FloatArray, IntArray] | None = None
        for part in parts:
            against = moved(_taken(base, base_rows, part), center) if kept is None else kept
            squares, found = top_k(ready, against, min(wanted, len(against)), device)
            new = squares, among[part][found]
            best = new if best is None else merged(best, new, wanted)
        assert best is not None
        distances[block], rows[block] = measured_again(some, base, best[1], k)
    return distances, rows


def nearest_other(queries: FloatArray, base: FloatArray, left_out: npt.NDArray[np.int64]) -> FloatArray:
    """Returns the distance `(N,)` of each query to the nearest row of `base`, one row of it left out.

    Args:
        queries: `(N, D)`.
        base: `(M, D)`, M at least 2.
        left_out: `(N,)` row of `base` that does not count for each query (its parent, itself); -1 for none.
    """
    distances, rows = nearest(queries, base, k=2)
    return np.where(rows[:, 0] == left_out, distances[:, 1], distances[:, 0])


def nearest_of_class(
    features: FloatArray, targets: npt.NDArray[np.int64], k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Returns for each row its nearest other rows of the same class, and how many there are of them.

    Args:
        features: `(N, D)`; may be memory-mapped.
        targets: `(N,)` classes.
        k: Neighbours of each row; a class of n rows gives n - 1 at most.

    Returns:
        Rows `(N, k)`, the nearest first and -1 where a class has no more, and their numbers `(N,)`.
    """
    rows = np.full((len(features), k), -1, np.int64)
    counts = np.minimum(k, np.bincount(targets) - 1)[targets]
    for label in np.unique(targets):
        members = np.flatnonzero(targets == label)
        most = min(k, len(members) - 1)
        if most < 1:
            continue
        _, found = nearest(features, features, most + 1, query_rows=members, base_rows=members)
        others = found != members[:, None]
        others[others.all(axis=1), -1] = False  # itself is not among its nearest where there are many copies of it
        rows[members, :most] = found[others].reshape(len(members), most)
    return rows, counts


def _taken(features: FloatArray, rows: IntArray | None, block: slice) -> FloatArray:
    return features[block] if rows is None else features[rows[block]]


def _check(queries: FloatArray, base: FloatArray, k: int, among: int) -> None:
    if not 1 <= k <= among:
        raise ConfigError(f"expected k from 1 to the number of rows, {among}, found {k}")
    if queries.ndim != 2 or base.ndim != 2 or queries.shape[1] != base.shape[1]:
        raise ConfigError(f"expected queries (N, D) and base (M, D), found {queries.shape} and {base.shape}")
