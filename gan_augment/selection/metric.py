"""Mahalanobis distances within classes, with a shrunk covariance; a rare class has too few images for its own."""

from typing import Any

import numpy as np
import numpy.typing as npt

from gan_augment.selection.rows import group_means
from gan_augment.types import Candidates, FloatArray

__all__ = ["class_means", "pooled_precision", "squared_mahalanobis"]

_MOST_ROWS = 20_000


def class_means(features: FloatArray, labels: npt.NDArray[np.int64], classes: int) -> FloatArray:
    """Returns the mean of each class `(classes, D)`, in float64 inside; NaN for a class without rows."""
    there = np.bincount(labels, minlength=classes) > 0
    means: FloatArray = np.where(there[:, None], group_means(features, labels, classes), np.nan).astype(np.float32)
    return means


def pooled_precision(real: Candidates) -> dict[str, npt.NDArray[Any]]:
    """Returns `means` `(classes, D)` and a `whitener` W `(D, D)` with W W' = S^-1.

    S is the covariance of rows about their class means, shrunk by Ledoit and Wolf (2004), of at most 20,000 rows.
    """
    from sklearn.covariance import ledoit_wolf

    features, labels = real.features, real.labels
    means = class_means(features, labels, int(labels.max()) + 1)
    rows = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), _MOST_ROWS)).astype(np.int64))
    left = (features[rows] - means[labels[rows]]).astype(np.float64)
    counts = np.bincount(labels)[labels[rows]]
    left = left[counts > 1]  # the one image of a class lies on its mean
    dimensions = features.shape[1]
    if len(left) < 2 or not left.any():
        return {"means": means, "whitener": np.eye(dimensions, dtype=np.float32)}
    covariance, _ = ledoit_wolf(left, assume_centered=True)
    values, vectors = np.linalg.eigh(covariance)
    floor = max(float(values.max()) * 1e-6, 1e-12)
    whitener = vectors / np.sqrt(np.maximum(values, floor))
    return {"means": means, "whitener": whitener.astype(np.float32)}


def squared_mahalanobis(difference: FloatArray, whitener: FloatArray) -> npt.NDArray[np.float64]:
    """Returns |d W|^2 `(N,)` of differences `(N, D)`."""
    squared: npt.NDArray[np.float64] = ((difference @ whitener).astype(np.float64) ** 2).sum(axis=1)
    return squared
