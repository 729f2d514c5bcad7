"""Folds of a training split: classes spread evenly, groups kept whole."""

from typing import Any

import numpy as np
import numpy.typing as npt

from gan_augment.seeds import derive
from gan_augment.types import IntArray

__all__ = ["FOLDS", "folds"]

FOLDS = 3


def folds(
    targets: npt.NDArray[np.int64], groups: npt.NDArray[Any] | None = None, *, seed: int = 0, count: int = FOLDS
) -> IntArray:
    """Returns the fold `(N,)` of each image, classes spread evenly and groups kept whole; -1 for no fold.

    A class of which a fold would leave fewer than two images to train on is in no fold: every judge trains on it, and
    none may be asked about its real images.

    Args:
        targets: `(N,)` classes.
        groups: `(N,)` groups (patients); None where there are none.
        seed: Of the assignment.
        count: Number of folds.
    """
    rng = np.random.Generator(np.random.Philox(derive(seed, "folds")))
    result = np.full(len(targets), -1, np.int64)
    if groups is None:
        start = 0
        for label in np.unique(targets):
            rows = rng.permutation(np.flatnonzero(targets == label))
            result[rows] = (np.arange(len(rows)) + start) % count
            start += len(rows)
    else:
        names, whole = np.unique(np.array([str(group) for group in groups]), return_inverse=True)
        table = np.zeros((len(names), int(targets.max()) + 1))
        np.add.at(table, (whole, targets), 1)
        result = _grouped(table / table.sum(0).clip(1), rng, count)[whole]
    for label in np.unique(targets):
        own = targets == label
        if own.sum() - np.bincount(result[own], minlength=count).max() < 2:
            result[own] = -1
    return result


def _grouped(shares: npt.NDArray[np.float64], rng: np.random.Generator, count: int) -> IntArray:
    """Returns the fold of each group: the largest first, each where its classes are rarest so far."""
    order = rng.permutation(len(shares))
    order = order[np.argsort(-shares[order].sum(1), kind="stable")]
    held, result = np.zeros((count, shares.shape[1])), np.empty(len(shares), np.int64)
    for group in order:
        result[group] = fold = int((held * shares[group]).sum(1).argmin()) if held.any() else 0
        held[fold] += shares[group]
    return result
