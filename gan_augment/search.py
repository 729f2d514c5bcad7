"""How a block of rows is searched: by FAISS, by torch where FAISS cannot be imported, or on a GPU by torch.

OpenMP's threads do not survive a fork: a worker that was forked after its parent had searched waits for them for
ever. Three rules follow, and each has a test that hangs without it:

- torch is imported before faiss. They then share one OpenMP, and whoever sets it to one thread (torch's DataLoader does
  in its workers) has set it for both. Where a user imported faiss first there are two, and the second rule holds.
- In a forked process the search sets the threads of what it uses to one first, whatever was imported first.
- Products and sums are numpy's, whose threads do survive a fork.

On macOS two copies of libomp can end a process ("OMP: Error #15"). KMP_DUPLICATE_LIB_OK=TRUE silences that at the price
of wrong results, so it is never set here (scikit-learn sets it where it is imported): set GAN_AUGMENT_NO_FAISS=1
instead, and torch searches.
"""

import contextlib
import functools
import multiprocessing
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch  # before faiss

from gan_augment.errors import DataError
from gan_augment.types import FloatArray, IntArray

__all__ = [
    "Device",
    "blocks_of",
    "faiss_module",
    "mean_of",
    "measured_again",
    "merged",
    "moved",
    "squared_distances",
    "top_k",
]

Device = torch.device | str | None
_BLOCK_BYTES = 2**26
_RECHECK_BYTES = 2**25
_NOT_FINITE = "expected finite features, found NaN or infinity: look at the extractor and at its images"

_forked = [False]
os.register_at_fork(after_in_child=lambda: _forked.__setitem__(0, True))


def faiss_module() -> Any | None:
    """Returns faiss, with one thread in a worker process; None where it cannot be imported or is switched off."""
    faiss = _imported()
    if faiss is not None and _is_worker():
        faiss.omp_set_num_threads(1)
    return faiss


def top_k(queries: FloatArray, base: FloatArray, k: int, device: Device = None) -> tuple[FloatArray, IntArray]:
    """Returns squared distances and rows, both `(N, k)`, of the k nearest rows of a block, in float32.

    Args:
        queries: `(N, D)` float32, contiguous, near zero: see `moved`.
        base: `(M, D)` likewise, M at least k.
        k: How many.
        device: Where torch searches; None for FAISS, or torch on the CPU without it.
    """
    faiss = faiss_module() if device is None else None
    if faiss is not None:
        squares, rows = faiss.knn(queries, base, k)
        return squares, rows
    return _torch_top_k(queries, base, k, torch.device(device or "cpu"))


def blocks_of(count: int, dim: int, size: int = _BLOCK_BYTES) -> Iterator[slice]:
    """Yields slices of `count` rows of `dim` float32 numbers, each of 64 MB at most."""
    step = max(1, size // (4 * max(dim, 1)))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def mean_of(features: FloatArray, rows: IntArray | None = None) -> FloatArray:
    """Returns the mean row `(D,)` of all or some rows, block by block.

    Raises:
        DataError: A number is not finite.
    """
    total = np.zeros(features.shape[1], np.float64)
    count = len(features) if rows is None else len(rows)
    for block in blocks_of(count, features.shape[1]):
        some = features[block] if rows is None else features[rows[block]]
        total += np.einsum("nd->d", some, dtype=np.float64)
    mean = (total / max(count, 1)).astype(np.float32)
    if not np.isfinite(mean).all():
        raise DataError(_NOT_FINITE)
    return mean


def moved(rows: FloatArray, center: FloatArray) -> FloatArray:
    """Returns rows less a center, float32 and contiguous: near zero, float32 products cancel little."""
    return np.ascontiguousarray(rows - center, dtype=np.float32)


def squared_distances(
    first: npt.NDArray[np.floating], second: npt.NDArray[np.floating], center: npt.NDArray[np.floating] | None = None
) -> npt.NDArray[np.float64]:
    """Returns squared distances `(N, M)` of all pairs by a product, in float64, at least 0.

    They are far from exact only where they are about nothing: search with `nearest` for neighbours.

    Args:
        first: `(N, D)`.
        second: `(M, D)`.
        center: `(D,)`, about which products cancel little; None for the mean of `second`.
    """
    about = second.mean(axis=0, dtype=np.float64) if center is None else center.astype(np.float64)
    one, other = first - about, second - about
    squared: npt.NDArray[np.float64] = one @ (-2 * other.T)
    squared += (other**2).sum(1)
    squared += (one**2).sum(1)[:, None]
    return np.maximum(squared, 0, out=squared)


def merged(one: tuple[FloatArray, IntArray], other: tuple[FloatArray, IntArray], k: int) -> tuple[FloatArray, IntArray]:
    """Returns the k nearest, in no order, of two sets of neighbours of the same queries."""
    squares, rows = np.concatenate([one[0], other[0]], axis=1), np.concatenate([one[1], other[1]], axis=1)
    if squares.shape[1] <= k:
        return squares, rows
    best = np.argpartition(squares, k - 1, axis=1)[:, :k]
    return np.take_along_axis(squares, best, 1), np.take_along_axis(rows, best, 1)


def measured_again(queries: FloatArray, base: FloatArray, found: IntArray, k: int) -> tuple[FloatArray, IntArray]:
    """Returns distances in order and rows `(N, k)` of the k nearest among candidates `found` `(N, K)`, by float64.

    float32 squares are off by up to 4e-3 far from zero. Of equal distances the lower row comes first; a candidate of
    -1 is none, at infinite distance.

    Raises:
        DataError: A query is not finite.
    """
    distances = np.empty((len(queries), k), np.float32)
    rows = np.empty((len(queries), k), np.int64)
    for block in blocks_of(len(queries), queries.shape[1] * found.shape[1] * 2, _RECHECK_BYTES):
        difference = queries[block, None, :].astype(np.float64) - base[found[block]]
        exact = np.sqrt(np.einsum("nkd,nkd->nk", difference, difference))
        if not np.isfinite(exact).all():
            raise DataError(_NOT_FINITE)
        exact[found[block] < 0] = np.inf
        order = np.lexsort((found[block], exact), axis=1)[:, :k]
        distances[block] = np.take_along_axis(exact, order, 1)
        rows[block] = np.take_along_axis(found[block], order, 1)
    return distances, rows


def _is_worker() -> bool:
    return _forked[0] or multiprocessing.parent_process() is not None


@functools.cache
def _imported() -> Any | None:
    if os.environ.get("GAN_AUGMENT_NO_FAISS", "") not in {"", "0"}:
        return None
    try:
        import faiss
    except ImportError:
        return None
    return faiss


def _torch_top_k(queries: FloatArray, base: FloatArray, k: int, device: torch.device) -> tuple[FloatArray, IntArray]:
    if _is_worker() and device.type == "cpu":
        torch.set_num_threads(1)
    squares = np.empty((len(queries), k), np.float32)
    rows = np.empty((len(queries), k), np.int64)
    with torch.inference_mode(), _full_precision():
        other = torch.from_numpy(base).to(device)
        lengths = (other**2).sum(1)
        for block in blocks_of(len(queries), len(base)):
            asked = torch.from_numpy(queries[block]).to(device)
            near, which = torch.addmm(lengths, asked, other.T, alpha=-2).topk(k, dim=1, largest=False)
            squares[block] = (near + (asked**2).sum(1, keepdim=True)).cpu().numpy()
            rows[block] = which.cpu().numpy()
    return squares, rows


@contextlib.contextmanager
def _full_precision() -> Iterator[None]:
    """Keeps products in float32 where a training has allowed TF32: its 10 bits are too few to tell neighbours by."""
    before = torch.get_float32_matmul_precision()
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
