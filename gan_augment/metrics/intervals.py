"""Means of repeated measurements with their intervals."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

__all__ = ["Interval", "interval", "paired_difference"]


@dataclass(frozen=True)
class Interval:
    """A mean over replicates and its 95% interval.

    Attributes:
        mean: The mean.
        low: Lower end; NaN for a single value.
        high: Upper end; NaN for a single value.
        values: The values.
    """

    mean: float
    low: float
    high: float
    values: tuple[float, ...]

    @property
    def verdict(self) -> int:
        """1 if the whole interval lies above zero, -1 if below, 0 if it holds zero or is not known."""
        return int(self.low > 0) - int(self.high < 0)

    def to_json(self) -> dict[str, Any]:
        """Returns the interval as JSON values."""
        return asdict(self)


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Returns the mean and its interval by Student's t over the values."""
    from scipy import stats

    array = np.asarray(values, dtype=np.float64)
    mean = float(array.mean())
    if len(array) < 2:
        return Interval(mean, float("nan"), float("nan"), tuple(map(float, array)))
    error = float(array.std(ddof=1) / np.sqrt(len(array)))
    half = float(stats.t.ppf(0.5 + confidence / 2, len(array) - 1)) * error
    return Interval(mean, mean - half, mean + half, tuple(map(float, array)))


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Returns the mean of first minus second, pair by pair, and its interval."""
    return interval([a - b for a, b in zip(first, second, strict=True)])
