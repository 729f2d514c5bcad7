"""Distances: to a few centroids by a blocked product, to many neighbours by FAISS.

To 10, 100 and 1000 centroids a blocked product is faster than FAISS's flat index, and FAISS for nearest neighbours
among many images (`benchmarks/results/distances.md`). torch is imported
before faiss: the other order deadlocks in forked workers on Linux (faiss issue 5206).
"""

import multiprocessing
from typing import Any

import numpy as np
import numpy.typing as npt
import torch  # noqa: F401  (before faiss)

from gan_augment.clusters import kmeans
from gan_augment.errors import ConfigError
from gan_augment.types import FloatArray

__all__ = ["centroid_distances", "kmeans", "nearest", "nearest_of_class", "nearest_other"]

_BLOCK = 8192


def centroid_distances(features: FloatArray, centroids: FloatArray) -> FloatArray:
    """Returns Euclidean distances `(N, K)` of features `(N, D)` to centroids `(K, D)`.

    Both are centred first, which keeps the product's cancellation small.
    """
    center = centroids.mean(axis=0)
    moved = (centroids - center).astype(np.float32)
    squares = (moved**2).sum(axis=1)
    distances = np.empty((len(features), len(centroids)), np.float32)
    for start in range(0, len(features), _BLOCK):
        block = features[start : start + _BLOCK] - center
        products = block @ moved.T
        squared = (block**2).sum(axis=1)[:, None] - 2 * products + squares
        distances[start : start + _BLOCK] = np.sqrt(np.maximum(squared, 0))
    return distances


def nearest(queries: FloatArray, base: FloatArray, k: int = 1) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Returns Euclidean distances and indices, both `(N, k)`, of the k nearest rows of `base` `(M, D)`; exact.

    Distances are computed again in float64 for the neighbours found: FAISS's own squared ones are off by up to
    4e-3 where features are far from zero.

    Raises:
        ConfigError: `k` is more than the rows of `base`.
    """
    if not 1 <= k <= len(base):
        raise ConfigError(f"expected k from 1 to the number of rows, {len(base)}, found {k}")
    center = base.mean(axis=0)
    index = _flat_index(base.shape[1])
    index.add(np.ascontiguousarray(base - center, dtype=np.float32))
    _, found = index.search(np.ascontiguousarray(queries - center, dtype=np.float32), k)
    exact = np.empty(found.shape, np.float32)
    for start in range(0, len(queries), _BLOCK):
        rows = slice(start, start + _BLOCK)
        difference = queries[rows, None, :].astype(np.float64) - base[found[rows]].astype(np.float64)
        exact[rows] = np.sqrt((difference**2).sum(axis=2))
    order = np.argsort(exact, axis=1, kind="stable")
    return np.take_along_axis(exact, order, 1), np.take_along_axis(found, order, 1).astype(np.int64)


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
        features: `(N, D)`.
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
        _, found = nearest(features[members], features[members], most + 1)
        others = found != np.arange(len(members))[:, None]
        others[others.all(axis=1), -1] = False  # itself is not among its nearest where there are many copies of it
        rows[members, :most] = members[found[others].reshape(len(members), most)]
    return rows, counts


def _flat_index(dim: int) -> Any:
    import faiss

    if multiprocessing.parent_process() is not None:
        faiss.omp_set_num_threads(1)
    return faiss.IndexFlatL2(dim)
