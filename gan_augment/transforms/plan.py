"""Whole numbers nearest to wanted shares: which classes of a batch lose images to which, or get some on top."""

import numpy as np
import numpy.typing as npt

from gan_augment.types import FloatArray, IntArray

__all__ = ["added_counts", "wanted_counts"]

_DIGITS = 9
_TINY = 1e-9


def wanted_counts(
    counts: IntArray, shares: npt.NDArray[np.float64], can_grow: npt.NDArray[np.bool_], order: IntArray
) -> IntArray:
    """Returns the counts of a batch of the same size that are nearest to the wanted shares.

    Of several that are equally near, one that changes the fewest items; of these the one that `order` prefers. A class
    that cannot grow and is short of its share stays as it is, and the others share the rest in their proportions.

    Args:
        counts: `(K,)` items of each class.
        shares: `(K,)`, at least 0, of sum 1.
        can_grow: `(K,)`, of which classes there are synthetic images.
        order: `(K,)`, a permutation.
    """
    free = np.ones(len(counts), bool)
    while True:
        rest, weight = counts[free].sum(), shares[free].sum()
        if weight <= 0:
            return counts.copy()
        exact = np.where(free, shares * (rest / weight), counts)
        short = free & ~can_grow & (counts < exact - _TINY)
        if not short.any():
            break
        free &= ~short
    wanted: IntArray = np.floor(exact + _TINY).astype(np.int64)
    remainder = np.round(exact - wanted, _DIGITS)
    ranked = np.lexsort((order, counts <= wanted, -remainder))
    wanted[ranked[: counts.sum() - wanted.sum()]] += 1
    return wanted


def added_counts(
    counts: IntArray, shares: npt.NDArray[np.float64], can_grow: npt.NDArray[np.bool_], most: int, order: IntArray
) -> IntArray:
    """Returns how many images of each class, `most` in all, bring the shares nearest to the wanted ones.

    Near is the sum of the absolute differences; of several numbers that are equally near, the least.

    Args:
        counts: `(K,)` items of each class.
        shares: `(K,)`, at least 0, of sum 1.
        can_grow: `(K,)`, of which classes there are synthetic images.
        most: Images that may be added.
        order: `(K,)`, a permutation; the earlier class wins where two need an image alike.
    """
    able = order[can_grow[order] & (shares[order] > 0)]
    if not most or not len(able):
        return np.zeros_like(counts)
    totals = counts.sum() + np.arange(most + 1)
    added = np.zeros((most + 1, len(counts)), np.int64)  # row a: the best addition of a images
    missing = totals[:, None] * shares[able] - counts[able]
    for step in range(most):
        rows = np.arange(step + 1, most + 1)
        best = np.round(missing[rows], _DIGITS).argmax(axis=1)
        added[rows, able[best]] += 1
        missing[rows, best] -= 1
    distance: FloatArray = np.abs((counts + added) / totals[:, None] - shares).sum(axis=1)
    found: IntArray = added[np.round(distance, _DIGITS).argmin()]
    return found
