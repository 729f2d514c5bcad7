"""DuplicateGuard: of synthetic images that repeat each other, one is kept."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from gan_augment.errors import ConfigError
from gan_augment.search import squared_distances
from gan_augment.selection.base import SetSelector, joined, member, members
from gan_augment.selection.copies import searched, twin_distance
from gan_augment.types import Candidates, FloatArray, IntArray

__all__ = ["DuplicateGuard", "first_of_each"]

_FEW = 10
_BLOCK = 1024
_EXACT = 1e-6


@dataclass(eq=False, kw_only=True)
class DuplicateGuard(SetSelector):
    """Drops candidates that repeat another of their class: of such as lie closer than `ratio` allows, one is left.

    Distances are measured in the median one between a real image of the class and its nearest other of it; of all
    classes where it has fewer than ten. Rows are taken in the order of their seeds (of their features, where there are
    none), and one is dropped if an earlier kept one is too close. So no two that are kept are too close, and each that
    is dropped has one that is kept beside it. The spaces of several judges are joined, each in units of its own median.

    Args:
        ratio: Limit as a part of that median, above 0.

    Raises:
        ConfigError: `ratio` is not above 0.
    """

    ratio: float = 0.25

    name: ClassVar[str] = "duplicate"
    reason: ClassVar[str] = "repeats another"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.ratio < np.inf:
            raise ConfigError(f"expected ratio above 0, found {self.ratio!r}")

    def _fit(self, real: Candidates) -> None:
        known = np.bincount(real.labels) > 0
        spaces = [_spacing(member(real, judge).features, real.labels) for judge in range(members(real))]
        units = np.array([_median(space, 1.0) for space in spaces], np.float32)
        if len(spaces) == 1:
            units[:] = 1
            spacing = spaces[0]
        else:
            spacing = _spacing(_scaled(joined(real), units), real.labels)
        usual = _median(spacing, 0.0)
        scales = np.full(len(known), usual, np.float32)
        for label in np.flatnonzero(np.bincount(real.labels) >= _FEW):
            scales[label] = _median(spacing[real.labels == label], usual)
        # Images that are the same differ by the rounding of whoever saw them: the limit is never quite nothing.
        scales = np.maximum(scales, _EXACT * usual)
        self.state_ |= {"known": known, "units": units, "scales": scales}
        few = np.flatnonzero(known & (np.bincount(real.labels) < _FEW)).tolist()
        if not usual:
            told = "duplicate: too few real images that differ to say how near is too near, all candidates pass"
            self.notes_.append((told, []))
        elif few:
            self.notes_.append((f"duplicate: fewer than {_FEW} real images, distances are those of all classes: ", few))

    def _choose(self, label: int, features: FloatArray) -> tuple[npt.NDArray[np.bool_], FloatArray]:
        limit = self.ratio * float(self.state_["scales"][label])
        if limit <= 0:
            return np.ones(len(features), bool), np.zeros(len(features), np.float32)
        finite = np.isfinite(features).all(axis=1)
        keep, score = np.zeros(len(features), bool), np.full(len(features), np.inf, np.float32)
        kept, distance = first_of_each(_scaled(features[finite], self.state_["units"]), limit)
        keep[finite], score[finite] = kept, limit / np.maximum(distance, _EXACT * limit)
        return keep, score

    def _check_state(self) -> None:
        known, units, scales = (self.state_[name] for name in ("known", "units", "scales"))
        if known.ndim != 1 or scales.shape != known.shape or units.ndim != 1 or not len(units):
            raise ValueError(f"scales {scales.shape} of {known.shape} classes, {units.shape} judges")


def first_of_each(features: FloatArray, limit: float) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Returns which rows are no repetition of an earlier kept one, and how far each is from the nearest of those.

    A row is dropped if it lies within `limit` of an earlier row that is kept; those before it decide, so rows added at
    the end change nothing. Distances are in float64 about the mean, which is exact enough for the nearest of them.

    Args:
        features: `(n, D)`, in the order in which rows are taken.
        limit: Above 0.

    Returns:
        `(n,)` each; the distance is infinity where no row is kept before.
    """
    keep, distance = np.zeros(len(features), bool), np.full(len(features), np.inf)
    if not len(features):
        return keep, distance
    center = features.mean(axis=0, dtype=np.float64)
    for start in range(0, len(features), _BLOCK):
        rows = slice(start, min(len(features), start + _BLOCK))
        block = features[rows]
        nearest_kept = distance[rows]
        kept = np.flatnonzero(keep[:start])
        for first in range(0, len(kept), _BLOCK):
            others = features[kept[first : first + _BLOCK]]
            apart = squared_distances(block, others, center).min(axis=1)
            np.minimum(nearest_kept, np.sqrt(apart), out=nearest_kept)
        within = np.sqrt(squared_distances(block, block, center))
        for row in range(len(block)):
            if nearest_kept[row] > limit:
                keep[start + row] = True
                np.minimum(nearest_kept[row + 1 :], within[row, row + 1 :], out=nearest_kept[row + 1 :])
    return keep, distance


def _spacing(features: FloatArray, labels: IntArray) -> FloatArray:
    """Returns the distance of each row to the nearest other of its class that is no twin; NaN where there is none."""
    spacing, twin = np.full(len(features), np.nan, np.float32), twin_distance(features)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        own = np.ascontiguousarray(features[rows])
        for part, distances, _ in searched(own, own, 2):
            beyond = distances > twin
            first = distances[np.arange(len(distances)), beyond.argmax(axis=1)]
            spacing[rows[part]] = np.where(beyond.any(axis=1), first, np.nan)
    return spacing


def _median(values: FloatArray, otherwise: float) -> float:
    there = values[~np.isnan(values) & (values > 0)]
    return float(np.median(there)) if len(there) else otherwise


def _scaled(features: FloatArray, units: FloatArray) -> FloatArray:
    """Returns the joined features `(n, K D)` of K judges, each in its unit; as they are where there is one judge."""
    if len(units) == 1:
        return features
    return (features / np.repeat(units, features.shape[1] // len(units))).astype(np.float32)
