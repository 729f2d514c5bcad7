"""Centroids by k-means."""

from typing import Any

import numpy as np
import numpy.typing as npt

from gan_augment.errors import ConfigError, whole
from gan_augment.types import FloatArray

__all__ = ["kmeans"]

_ITERATIONS = 25
_MOST_ROWS = 256
"""Rows a centroid that are looked at, at most; FAISS's own number."""
_LEAST_ROWS = 39
"""Rows a centroid below which FAISS warns."""
_BYTES = 2**27


def kmeans(features: FloatArray, k: int, *, seed: int = 0, spherical: bool = False) -> FloatArray:
    """Returns centroids `(k, D)` float32 of features `(N, D)`: k-means by FAISS from a k-means++ start.

    The same features, k and seed give the same centroids. Of more than 256 rows a centroid, or more than 128 MB of
    rows, a random sample is looked at (of 39 rows a centroid at least), as FAISS does; features may be memory-mapped.

    Args:
        features: `(N, D)`.
        k: How many centroids, N at most.
        seed: Of the sample and the start.
        spherical: Whether rows are compared by direction only, for cosine distances; centroids then have length 1.

    Raises:
        ConfigError: `k` is not from 1 to N.
    """
    k = whole("k", k)
    if k > len(features):
        raise ConfigError(f"expected k from 1 to the number of rows, {len(features)}, found {k}")
    rng = np.random.default_rng(seed)
    count = min(len(features), _MOST_ROWS * k, max(_LEAST_ROWS * k, _BYTES // (4 * features.shape[1])))
    rows = features if count == len(features) else features[np.sort(rng.choice(len(features), count, replace=False))]
    center = np.zeros(features.shape[1], np.float64) if spherical else rows.mean(axis=0, dtype=np.float64)
    moved = np.ascontiguousarray(rows - center.astype(np.float32), dtype=np.float32)
    if spherical:
        moved /= np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), np.float32(1e-12))
    centroids = _faiss_kmeans(moved, _start(moved, k, rng), spherical)
    return (centroids + center).astype(np.float32)


def _faiss_kmeans(rows: FloatArray, start: FloatArray, spherical: bool) -> FloatArray:
    import faiss

    means: Any = faiss.Kmeans(
        rows.shape[1],
        len(start),
        niter=_ITERATIONS,
        spherical=spherical,
        min_points_per_centroid=1,
        max_points_per_centroid=len(rows),
    )
    means.train(rows, init_centroids=start)
    found: FloatArray = means.centroids
    return found


def _start(rows: FloatArray, k: int, rng: np.random.Generator) -> FloatArray:
    """Returns k rows as a start, each drawn in proportion to its squared distance from those before (k-means++)."""
    chosen: list[int] = [int(rng.integers(len(rows)))]
    squares: npt.NDArray[np.float32] = (rows**2).sum(axis=1)
    near = np.full(len(rows), np.inf, np.float32)
    for _ in range(k - 1):
        last = chosen[-1]
        near = np.minimum(near, np.maximum(squares - 2 * rows @ rows[last] + squares[last], 0))
        near[chosen] = 0
        total = np.cumsum(near, dtype=np.float64)
        if total[-1] > 0:
            chosen.append(int(np.searchsorted(total, rng.uniform(0, total[-1]), side="right").clip(max=len(rows) - 1)))
        else:  # fewer different rows than centroids
            chosen.append(int(rng.choice(np.setdiff1d(np.arange(len(rows)), chosen))))
    return rows[chosen]
