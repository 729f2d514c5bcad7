"""How far images lie outside of a set, whatever their class, where a rare class's few images would be far from all.

The distance to the nearest real image grows where reals are rare, and would call new images of a rare class outliers.
Both scores here ask for what all classes share. They are cross-fitted: a real image is scored by what was fitted on
the others.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_augment.types import FloatArray

__all__ = ["mahalanobis", "residuals"]

_MOST_DIMENSIONS = 64
_MOST_ROWS = 4000
_FOLDS = 3

Scores = npt.NDArray[np.float64]
Score = Callable[[FloatArray], Scores]


def residuals(real: FloatArray, fake: FloatArray, seed: int = 0) -> tuple[Scores, Scores]:
    """Returns of real `(N,)` and of synthetic images `(M,)` the root mean square that principal components leave over.

    There are at most 64 components, and at most half as many as pixels or a third as many as images.

    Args:
        real: Pixels `(N, D)`, N at least 6.
        fake: Pixels `(M, D)`.
        seed: Of the folds and the components.
    """
    from sklearn.decomposition import PCA

    def fit(rows: FloatArray) -> Score:
        count = max(1, min(_MOST_DIMENSIONS, rows.shape[1] // 2, len(rows) // 3))
        with np.errstate(invalid="ignore"):  # where all images are one, the share of its variance is 0 / 0
            pca = PCA(count, svd_solver="randomized", random_state=seed % 2**32).fit(rows)

        def score(images: FloatArray) -> Scores:
            left = images - pca.inverse_transform(pca.transform(images))
            result: Scores = np.sqrt((left**2).mean(1))
            return result

        return score

    return _cross_fitted(real, fake, fit, seed)


def mahalanobis(real: FloatArray, fake: FloatArray, seed: int = 0) -> tuple[Scores, Scores]:
    """Returns of real `(N,)` and of synthetic images `(M,)` the Mahalanobis distance from all reals.

    The covariance is shrunk (Ledoit and Wolf 2004).

    Args:
        real: Features `(N, D)`, N at least 6.
        fake: Features `(M, D)`.
        seed: Of the folds.
    """
    from sklearn.covariance import LedoitWolf

    def fit(rows: FloatArray) -> Score:
        scatter: Any = LedoitWolf().fit(rows)
        return lambda features: np.sqrt(np.maximum(scatter.mahalanobis(features), 0))

    return _cross_fitted(real, fake, fit, seed)


def _cross_fitted(
    real: FloatArray, fake: FloatArray, fit: Callable[[FloatArray], Score], seed: int
) -> tuple[Scores, Scores]:
    """Returns what a fit to the other folds says of each real row, and the mean of the fits of each synthetic one."""
    rng = np.random.Generator(np.random.Philox(seed))
    fold = rng.permutation(len(real)) % _FOLDS
    own, others = np.empty(len(real)), np.zeros(len(fake))
    for number in range(_FOLDS):
        score = fit(real[rng.permutation(np.flatnonzero(fold != number))[:_MOST_ROWS]])
        own[fold == number] = score(real[fold == number])
        others += score(fake) / _FOLDS
    return own, others
