"""Centroids: distances to them, which is nearest, and k-means.

To 10, 100 and 1000 centroids a blocked product is faster than a flat index (`benchmarks/selection.py` measures it).
product costs, `benchmarks/selection.py` measures.
"""

from collections.abc import Iterator
from typing import Any, cast

import numpy as np

from gan_augment.errors import ConfigError, whole
from gan_augment.search import faiss_module, mean_of
from gan_augment.types import FloatArray, IntArray

__all__ = ["centroid_distances", "kmeans", "nearest_centroid"]

_BLOCK = 1024
_STEPS = 5
_GAIN = 1e-5
"""k-means ends where an iteration lessens the sum of squares by less than this part."""
_MOST_ROWS = 256
"""Rows a centroid that are looked at, at most; FAISS's own number."""
_ROWS = 65536
"""So many rows are looked at where there are few centroids: it costs little."""
_LEAST_ROWS = 39
"""Rows a centroid below which FAISS warns."""
_START_ROWS = 16
_BYTES = 2**27


def centroid_distances(features: FloatArray, centroids: FloatArray) -> FloatArray:
    """Returns Euclidean distances `(N, K)` of features `(N, D)` to centroids `(K, D)`.

    Both are centred first, which keeps the product's cancellation small. Beyond what is returned it needs a few MB;
    features may be memory-mapped. Where only the nearest counts, `nearest_centroid` keeps no `(N, K)`.
    """
    distances = np.empty((len(features), len(centroids)), np.float32)
    for _ in _distances(features, centroids, distances):
        pass
    return distances


def nearest_centroid(features: FloatArray, centroids: FloatArray) -> tuple[FloatArray, IntArray]:
    """Returns the Euclidean distance `(N,)` of each of features `(N, D)` to its nearest centroid, and which it is.

    It needs a few MB beyond what is returned, however many rows and centroids there are.
    """
    distances = np.empty(len(features), np.float32)
    rows = np.empty(len(features), np.int64)
    for block, found in _distances(features, centroids):
        rows[block] = found.argmin(axis=1)
        difference = features[block] - centroids[rows[block]]
        distances[block] = np.sqrt(np.einsum("nd,nd->n", difference, difference))
    return distances, rows


def kmeans(features: FloatArray, k: int, *, seed: int = 0, spherical: bool = False, iterations: int = 25) -> FloatArray:
    """Returns centroids `(k, D)` float32 of features `(N, D)`: k-means by FAISS from a k-means++ start.

    The same features, k and seed give the same centroids. Of more than 65536 rows and 256 a centroid, or more than
    128 MB of rows, a random sample is looked at (39 rows a centroid at least), so that it needs less than 512 MB up to
    4000 centroids of 512 dimensions; features may be memory-mapped. Without FAISS, and beside SimpleITK, the same
    iterations run in numpy.

    Args:
        features: `(N, D)`.
        k: How many centroids, N at most.
        seed: Of the sample and the start.
        spherical: Whether rows are compared by direction only, for cosine distances; centroids then have length 1.
        iterations: At most so many, in fives; fewer where the sum of squares no longer falls.

    Raises:
        ConfigError: `k` is not from 1 to N, or `iterations` is no whole number from 1 on.
        DataError: Features are not finite.
    """
    k = whole("k", k)
    if k > len(features):
        raise ConfigError(f"expected k from 1 to the number of rows, {len(features)}, found {k}")
    rng = np.random.default_rng(seed)
    count = min(len(features), max(_MOST_ROWS * k, _ROWS), max(_LEAST_ROWS * k, _BYTES // (4 * features.shape[1])))
    if count == len(features):
        rows = np.array(features, np.float32)
    else:
        rows = features[np.sort(rng.choice(len(features), count, replace=False))].astype(np.float32, copy=False)
    center = mean_of(rows)
    if spherical:
        center[:] = 0
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
    rows -= center
    centroids = _start(rows, k, rng)
    best = np.inf
    for _ in range(-(-whole("iterations", iterations) // _STEPS)):
        centroids, (before, now) = _iterations(rows, centroids, spherical)
        if min(best, before) - now <= _GAIN * now:
            break
        best = now
    found: FloatArray = centroids + center
    return found


def _iterations(rows: FloatArray, centroids: FloatArray, spherical: bool) -> tuple[FloatArray, tuple[float, float]]:
    """Returns centroids after some iterations, and the sums of squares of the last two."""
    faiss = faiss_module()
    if faiss is None or not _takes_vectors(faiss):
        return _numpy_iterations(rows, centroids, spherical)
    means: Any = faiss.Kmeans(
        rows.shape[1],
        len(centroids),
        niter=_STEPS,
        spherical=spherical,
        min_points_per_centroid=1,
        max_points_per_centroid=len(rows),
    )
    means.train(rows, init_centroids=centroids)
    if len(means.obj) < 2:  # nothing moves any more
        return means.centroids, (0.0, 0.0)
    # Spherical sums are of cosines: they grow to the number of rows.
    before, now = (2 * (len(rows) - means.obj[-2:]) if spherical else means.obj[-2:]).tolist()
    return means.centroids, (before, now)


def _takes_vectors(faiss: Any) -> bool:
    """Tells whether FAISS knows its own C++ vectors in Python.

    Where SimpleITK was imported before (torchio does it), both libraries' wrappers share a table of types, vectors are
    SimpleITK's, and `faiss.Kmeans` refuses them.
    """
    return type(faiss.Clustering(1, 1).centroids).__name__.endswith("Vector")


def _numpy_iterations(
    rows: FloatArray, centroids: FloatArray, spherical: bool
) -> tuple[FloatArray, tuple[float, float]]:
    sums = []
    for _ in range(_STEPS):
        distances, nearest = nearest_centroid(rows, centroids)
        sums.append(float((distances.astype(np.float64) ** 2).sum()))
        order = np.argsort(nearest, kind="stable")
        counts = np.bincount(nearest, minlength=len(centroids))
        filled = np.flatnonzero(counts)
        centroids = np.zeros_like(centroids)
        ends = np.cumsum(counts)
        for label in filled:
            centroids[label] = rows[order[ends[label] - counts[label] : ends[label]]].mean(axis=0, dtype=np.float64)
        empty = np.flatnonzero(counts == 0)
        centroids[empty] = rows[np.argsort(-distances, kind="stable")[: len(empty)]]  # the rows worst served
        if spherical:
            centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), np.float32(1e-12))
    return centroids, (sums[-2], sums[-1])


def _start(rows: FloatArray, k: int, rng: np.random.Generator) -> FloatArray:
    """Returns k rows by greedy k-means++ (Arthur and Vassilvitskii 2007).

    Each is the best of 2 + log k that are drawn in proportion to their squared distance from those before. All are
    drawn from a sample of 16 rows a centroid, 4096 at least: k-means++ goes through its rows k times.
    """
    count = min(len(rows), max(_START_ROWS * k, 4096))
    if count < len(rows):
        rows = rows[np.sort(rng.choice(len(rows), count, replace=False))]
    lengths: FloatArray = np.einsum("nd,nd->n", rows, rows)
    chosen = [int(rng.integers(count))]
    near = np.full(count, np.inf, np.float32)
    trials = 2 + int(np.log(k))
    best = _squares_to(rows, lengths, rows[chosen])[0]
    while True:
        near = np.minimum(near, best)
        near[chosen] = 0
        if len(chosen) == k:
            return rows[chosen]
        total = np.cumsum(near, dtype=np.float64)
        if total[-1] > 0:
            drawn = np.searchsorted(total, rng.uniform(0, total[-1], trials), side="right").clip(max=count - 1)
        else:  # fewer different rows than centroids
            drawn = rng.choice(np.setdiff1d(np.arange(count), chosen), 1)
        squares = _squares_to(rows, lengths, rows[drawn])
        pick = int(np.minimum(squares, near).sum(axis=1, dtype=np.float64).argmin())
        chosen.append(int(drawn[pick]))
        best = squares[pick]


def _squares_to(rows: FloatArray, lengths: FloatArray, others: FloatArray) -> FloatArray:
    products = others @ rows.T
    squares: FloatArray = np.maximum(lengths - 2 * products + np.einsum("nd,nd->n", others, others)[:, None], 0)
    return squares


def _distances(
    features: FloatArray, centroids: FloatArray, out: FloatArray | None = None
) -> Iterator[tuple[slice, FloatArray]]:
    """Yields blocks of rows and their distances to centroids, in `out` where it is given.

    Both are moved so that the mean centroid is zero. A block is small enough to stay in the cache meanwhile: with
    larger ones that pass adds a third to the time where there are few centroids.
    """
    center = centroids.mean(axis=0, dtype=np.float64).astype(np.float32)
    other = centroids - center
    lengths = np.einsum("kd,kd->k", other, other)
    other = np.ascontiguousarray((-2 * other).T, np.float32)
    most = min(_BLOCK, len(features))
    room = np.empty((most, len(center)), np.float32)
    results = np.empty((most, len(centroids)), np.float32) if out is None else None
    for start in range(0, len(features), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(features)))
        rows = np.subtract(features[block], center, out=room[: block.stop - start], casting="same_kind")
        found = results[: len(rows)] if results is not None else cast(FloatArray, out)[block]
        np.matmul(rows, other, out=found)
        found += lengths
        found += np.einsum("nd,nd->n", rows, rows)[:, None]
        np.maximum(found, 0, out=found)
        np.sqrt(found, out=found)
        yield block, found
