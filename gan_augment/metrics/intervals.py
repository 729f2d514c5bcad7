"""Means of repeated measurements with their intervals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

__all__ = ["Interval", "holm", "interval", "paired_difference"]


@dataclass(frozen=True)
class Interval:
    """A mean over replicates and its 95% interval.

    Attributes:
        mean: The mean.
        low: Lower end; NaN for a single value.
        high: Upper end; NaN for a single value.
        values: The values.
        p: Two-sided p-value of a mean of zero, the least level at which the interval leaves it out; NaN for a single
            value.
    """

    mean: float
    low: float
    high: float
    values: tuple[float, ...]
    p: float = math.nan

    @property
    def verdict(self) -> int:
        """1 if the whole interval lies above zero, -1 if below, 0 if it holds zero or is not known."""
        return int(self.low > 0) - int(self.high < 0)

    def to_json(self) -> dict[str, Any]:
        """Returns the interval as JSON values; what is not known is None."""
        values = asdict(self)
        numbers = {name: None if math.isnan(values[name]) else values[name] for name in ("mean", "low", "high", "p")}
        return {**values, **numbers, "values": [None if math.isnan(value) else value for value in self.values]}


def interval(
    values: Sequence[float], confidence: float = 0.95, *, overlap: float = 0.0, test_error: float = 0.0
) -> Interval:
    """Returns the mean and its interval by Student's t over the values.

    Args:
        values: One for each replicate.
        confidence: Of the interval.
        overlap: n_test / n_train where the replicates are splits of one set, which share training items: the variance
            of the mean is then (1 / n + overlap) s^2 (Nadeau and Bengio 2003, equation 9). 0 for replicates that are
            independent.
        test_error: Standard error from the test items, where the replicates share them; added in quadrature.
    """
    from scipy import stats

    array = np.asarray(values, dtype=np.float64)
    mean, count = float(array.mean()), len(array)
    if count < 2 or not np.isfinite(mean):
        return Interval(mean, math.nan, math.nan, tuple(map(float, array)))
    error = float(array.std(ddof=1) * np.sqrt(1 / count + overlap))
    quantile = float(stats.t.ppf(0.5 + confidence / 2, count - 1))
    normal = float(stats.norm.ppf(0.5 + confidence / 2))
    half = math.hypot(quantile * error, normal * test_error)
    p = _p_value(abs(mean), error, test_error, count - 1)
    return Interval(mean, mean - half, mean + half, tuple(map(float, array)), p)


def _p_value(mean: float, error: float, test_error: float, freedom: int) -> float:
    """Returns the level at which hypot(t error, z test_error) reaches the mean."""
    from scipy import optimize, stats

    if test_error == 0 or error == 0:
        if error == test_error:
            return 0.0 if mean > 0 else 1.0
        return float(2 * (stats.t.sf(mean / error, freedom) if error > 0 else stats.norm.sf(mean / test_error)))

    def beyond(log_p: float) -> float:
        half = math.exp(log_p) / 2
        return math.hypot(stats.t.isf(half, freedom) * error, stats.norm.isf(half) * test_error) - mean

    least = math.log(1e-300)
    return 0.0 if beyond(least) < 0 else math.exp(optimize.brentq(beyond, least, 0.0, xtol=1e-9))


def paired_difference(
    first: Sequence[float], second: Sequence[float], *, overlap: float = 0.0, test_error: float = 0.0
) -> Interval:
    """Returns the mean of first minus second, pair by pair, and its interval; `overlap`, `test_error` as there."""
    values = [a - b for a, b in zip(first, second, strict=True)]
    return interval(values, overlap=overlap, test_error=test_error)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Returns p-values corrected for their number (Holm 1979): reject where below 0.05 and one in 20 families errs."""
    known = {name: p for name, p in p_values.items() if not math.isnan(p)}
    corrected, largest = dict.fromkeys(p_values, math.nan), 0.0
    for place, name in enumerate(sorted(known, key=lambda name: known[name])):
        largest = max(largest, min(1.0, (len(known) - place) * known[name]))
        corrected[name] = largest
    return corrected
