"""Limits of scores, class by class: a share of what is drawn, or a share of real images that were not fitted on."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gan_augment.errors import ConfigError
from gan_augment.types import FloatArray, IntArray

__all__ = ["Share", "check_share", "drawn_limits", "images_for", "real_limits"]

Share = float | tuple[float, float]
"""The share of scores to keep, the lowest; or a band, from one share of them to another."""


def check_share(name: str, share: "Share | Sequence[float] | None") -> Share | None:
    """Returns a share in (0, 1], or a band (low, high) with 0 <= low < high <= 1, as numbers.

    Raises:
        ConfigError: It is neither.
    """
    if share is None:
        return None
    pair = isinstance(share, Sequence)
    try:
        if isinstance(share, (bool, str)):
            raise TypeError(share)
        low, high = (float(value) for value in share) if pair else (0.0, float(share))  # type: ignore[union-attr, arg-type]
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not (0 <= low < high <= 1):
        raise ConfigError(f"expected {name} in (0, 1], or a band (low, high) from 0 to 1, found {share!r}")
    return (low, high) if pair else high


def drawn_limits(scores: FloatArray, labels: IntArray, share: Share, classes: int) -> npt.NDArray[np.float32]:
    """Returns for each class the lowest and highest score `(classes, 2)` that keep a share of its scores.

    A class without scores gets limits that nothing meets.

    Args:
        scores: `(N,)`, lower is better.
        labels: `(N,)` classes.
        share: Of each class.
        classes: Number of classes.
    """
    low, high = share if isinstance(share, tuple) else (0.0, share)
    limits = np.tile(np.array([np.inf, -np.inf], np.float32), (classes, 1))
    for label in np.unique(labels):
        own = scores[labels == label]
        limits[label, 0] = -np.inf if low == 0 else np.quantile(own, low, method="inverted_cdf")
        # All of them: also those beyond what the draw held, but for what is no number.
        limits[label, 1] = np.finfo(np.float32).max if high == 1 else np.quantile(own, high, method="inverted_cdf")
    return limits


def images_for(share: Share) -> int:
    """Returns how many real images of a class it takes to promise that a share of new ones pass.

    n images order a line into n + 1 parts, and a new one falls into each alike; see `real_limits`.
    """
    low, high = share if isinstance(share, tuple) else (0.0, share)
    parts = [1 / (1 - high) if high < 1 else 1, 1 / low if low > 0 else 1]
    return max(1, math.ceil(max(parts) - 1 - 1e-9))


def real_limits(scores: FloatArray, labels: IntArray, share: Share, classes: int) -> npt.NDArray[np.float32]:
    """Returns for each class the limits `(classes, 2)` within which a share of *new* real images of it lies.

    The limit is the ceil((n + 1) share)-th of a class's n scores in order, as in split conformal prediction by class
    (Vovk et al. 2005; Sadinle et al. 2019): a new image that is exchangeable with those passes with at least that
    probability, on average over what could have been drawn. A class with fewer than `images_for(share)` scores cannot
    promise so much, and takes its farthest one, as does a share of 1, which no number of images can promise; a class
    without any takes no limit at all.

    Args:
        scores: `(N,)` of real images that were not fitted on; NaN for those that were.
        labels: `(N,)` their classes.
        share: Of each class.
        classes: Number of classes.
    """
    low, high = share if isinstance(share, tuple) else (0.0, share)
    limits = np.tile(np.array([-np.inf, np.inf], np.float32), (classes, 1))
    for label in np.unique(labels):
        own = np.sort(scores[(labels == label) & ~np.isnan(scores)])
        count = len(own)
        if not count:
            continue
        limits[label, 1] = own[min(count, math.ceil((count + 1) * high - 1e-9)) - 1]
        below = math.floor((count + 1) * low + 1e-9)
        limits[label, 0] = -np.inf if below < 1 else own[below - 1]
    return limits
