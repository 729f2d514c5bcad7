"""Selectors by neighbours: is a candidate where real images of its class are dense, and nearer to them than to others?

What they learn are features of real images, and a saved selector holds them. Where features are pixels those are the
images themselves: do not pass such a folder on if the images may not be.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gan_augment.errors import whole
from gan_augment.neighbours import nearest_of_class
from gan_augment.search import squared_distances
from gan_augment.selection.base import FittedSelector, ScoreSelector, State
from gan_augment.selection.thresholds import Share
from gan_augment.types import Candidates, FloatArray, IntArray

__all__ = ["ManifoldSelector", "NeighbourSelector", "RealismSelector", "note_pictures"]

_LEAST = 1e-12
_ROWS, _REALS = 512, 8192
_MOST_OF_CLASS = 16_384


@dataclass(eq=False, kw_only=True)
class _OnReals(ScoreSelector):
    """A selector that learns the features of the real images, in the order of their classes.

    Of a class with one real image nothing can be said: all its candidates have the score 0 and pass.

    Args:
        k: Neighbours that count.
    """

    k: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.k = whole("k", self.k)

    def _fit(self, real: Candidates) -> None:
        super()._fit(real)
        note_pictures(self)
        alone = np.flatnonzero(np.bincount(real.labels) == 1).tolist()
        if alone and self.real_share is None:  # with real_share, it is said of them already
            self.notes_.append((f"{self.name}: one real image, too few to decide, all candidates pass: ", alone))

    def _learn(self, real: Candidates) -> dict[str, npt.NDArray[Any]]:
        order = np.argsort(real.labels, kind="stable")
        return {"features": np.ascontiguousarray(real.features[order]), "labels": real.labels[order]}

    def _score(self, state: State, candidates: Candidates) -> FloatArray:
        score = np.zeros(len(candidates), np.float32)
        for label in np.unique(candidates.labels):
            own = _rows_of(state, label)
            rows = np.flatnonzero(candidates.labels == label)
            if own.stop - own.start < 2:
                score[rows] = np.where(np.isfinite(candidates.features[rows]).all(axis=1), 0, np.nan)
                continue
            for start in range(0, len(rows), _ROWS):
                part = rows[start : start + _ROWS]
                score[part] = self._of_class(state, own, candidates.features[part])
        return score

    def _of_class(self, state: State, own: slice, features: FloatArray) -> FloatArray:
        """Returns the scores of at most `_ROWS` candidates of one class, whose real images are the rows `own`."""
        raise NotImplementedError

    def _check_state(self) -> None:
        super()._check_state()
        for judge in range(len(self.state_["scales"])):
            self._check_judge(self._of(judge))

    def _check_judge(self, state: State) -> None:
        if state["features"].ndim != 2 or state["labels"].shape != (len(state["features"]),):
            raise ValueError(f"labels {state['labels'].shape} of features {state['features'].shape}")
        if (np.diff(state["labels"]) < 0).any():
            raise ValueError("labels that are not in order")


@dataclass(eq=False, kw_only=True)
class _InBalls(_OnReals):
    """One that also learns the radius r_k of each real image: the distance to the k-th nearest other of its class.

    In a class of n images that is the (n - 1)-th where k is more.
    """

    def _learn(self, real: Candidates) -> dict[str, npt.NDArray[Any]]:
        learned = super()._learn(real)
        return {**learned, "radii": _radii(learned["features"], learned["labels"], self.k)}

    def _check_judge(self, state: State) -> None:
        super()._check_judge(state)
        if state["radii"].shape != state["labels"].shape:
            raise ValueError(f"radii {state['radii'].shape} of {state['labels'].shape}")


@dataclass(eq=False, kw_only=True)
class RealismSelector(_InBalls):
    """Keeps the most realistic candidates of each class.

    Realism is max r_k(x) / d(x, g) over the real images x of the class, of which the half with the greatest radii does
    not count (Kynkaanniemi et al. 2019, equation 3). The score is one over it: 1 or less is as real as the reals.

    Args:
        k: Neighbours that make a ball; in a class of n images, n - 1 at most.
    """

    name: ClassVar[str] = "realism"
    too_high: ClassVar[str] = "not realistic"
    too_low: ClassVar[str] = "too near to a real image"

    def _of_class(self, state: State, own: slice, features: FloatArray) -> FloatArray:
        radii = state["radii"][own]
        trusted = radii <= np.median(radii)
        return _least_ratio(state["features"][own][trusted], radii[trusted], features)


@dataclass(eq=False, kw_only=True)
class ManifoldSelector(_InBalls):
    """Keeps candidates on the manifold of their class: in or near to the ball of radius r_k of one of its real images.

    The score is the least d(x, g) / r_k(x) over the real images x of the class: 1 or less is what precision counts as
    inside (Kynkaanniemi et al. 2019, equation 1). How many unseen real images lie inside depends on how many the class
    has and on how they lie, so the limit is by default such that 95% of them pass.

    Args:
        k: Neighbours that make a ball; in a class of n images, n - 1 at most.
    """

    name: ClassVar[str] = "manifold"
    too_high: ClassVar[str] = "outside of its class"
    too_low: ClassVar[str] = "too near to a real image"
    default: ClassVar[dict[str, Share]] = {"real_share": 0.95}

    def _of_class(self, state: State, own: slice, features: FloatArray) -> FloatArray:
        return _least_ratio(state["features"][own], state["radii"][own], features)


@dataclass(eq=False, kw_only=True)
class NeighbourSelector(_OnReals):
    """Keeps candidates whose neighbours are of their class, whatever the numbers of images of the classes.

    A vote of neighbours would never let a rare class win: among the nearest images are more of a class that has more.
    So densities are compared, as by nearest neighbours (Loftsgaarden and Quesenberry 1965), at equal mass: the ball
    around g to the j-th nearest of n images of a class holds the share j / (n + 1) of the class on average. For the
    intended class a and another b, with n_a and n_b images, q = k' / (min(n_a, n_b) + 1) is a share that both resolve,
    k' being k and at most the root of the smaller number. With R_c(g) the distance to the q (n_c + 1)-th nearest of
    class c, rounded, the score is the greatest R_a(g) / R_b(g) over all b: below 1, no class is denser at g.

    At most 16,384 images of a class count, evenly taken. With one class only, the score is the distance to the k-th.

    Args:
        k: Neighbours in the smaller class.
    """

    name: ClassVar[str] = "neighbour"
    too_high: ClassVar[str] = "nearer to another class"
    too_low: ClassVar[str] = "too near to its class"

    def _learn(self, real: Candidates) -> dict[str, npt.NDArray[Any]]:
        counts = np.bincount(real.labels)
        if counts.max() > _MOST_OF_CLASS:
            own = [np.flatnonzero(real.labels == label) for label in np.flatnonzero(counts)]
            taken = [np.linspace(0, len(rows) - 1, min(len(rows), _MOST_OF_CLASS)).astype(np.int64) for rows in own]
            real = real[np.sort(np.concatenate([rows[part] for rows, part in zip(own, taken, strict=True)]))]
        return super()._learn(real)

    def _of_class(self, state: State, own: slice, features: FloatArray) -> FloatArray:
        mine, row = own.stop - own.start, np.arange(len(features))
        others = [_rows_of(state, label) for label in np.unique(state["labels"])]
        others = [other for other in others if other != own]
        places = [self._places(mine, other.stop - other.start) for other in others]
        ranks = sorted({place for place, _ in places}) or [min(self.k, mine) - 1]
        to_own = squared_distances(features, state["features"][own])
        ranked = np.argpartition(to_own, ranks, axis=1)
        if not others:
            return _exact(features, state["features"][own.start + ranked[:, ranks[0]]])
        worst, pair = np.full(len(features), -np.inf), np.zeros((2, len(features)), np.int64)
        for other, (place, far) in zip(others, places, strict=True):
            squared = squared_distances(features, state["features"][other])
            ours, theirs = ranked[:, place], np.argpartition(squared, far, axis=1)[:, far]
            ratio = to_own[row, ours] / np.maximum(squared[row, theirs], _LEAST**2)
            better = ratio > worst
            worst = np.where(better, ratio, worst)
            pair = np.where(better, [own.start + ours, other.start + theirs], pair)
        near, away = (_exact(features, state["features"][rows]) for rows in pair)
        return _over(near, away, 1.0)

    def _places(self, mine: int, theirs: int) -> tuple[int, int]:
        """Returns which neighbour counts, from 0, in a class of `mine` images and in one of `theirs`."""
        least = min(mine, theirs)
        share = min(self.k, math.isqrt(least)) / (least + 1)
        first, second = (min(count, max(1, round(share * (count + 1)))) - 1 for count in (mine, theirs))
        return first, second


def note_pictures(selector: FittedSelector) -> None:
    """Adds to the notes of a selector that holds features of real images that they are pictures, where they are."""
    if getattr(selector.extractor, "stores_images", False):
        told = (
            f"{selector.name}: a saved selector holds the real images, of which the extractor's features are pictures"
        )
        selector.notes_.append((told, []))


def _rows_of(state: State, label: int) -> slice:
    start, stop = np.searchsorted(state["labels"], [label, label + 1]).tolist()
    return slice(start, stop)


def _radii(features: FloatArray, labels: IntArray, k: int) -> FloatArray:
    """Returns the distance of each row to its k-th nearest other of its class, to the farthest where there are fewer.

    A row that is alone in its class has a radius of 0.
    """
    rows, counts = nearest_of_class(features, labels, k)
    last = rows[np.arange(len(rows)), np.maximum(counts - 1, 0)]
    radii = np.zeros(len(rows), np.float32)
    for start in range(0, len(rows), _REALS):
        part = slice(start, start + _REALS)
        radii[part] = _exact(features[part], features[np.maximum(last[part], 0)])
    return np.where(counts > 0, radii, np.float32(0))


def _exact(features: FloatArray, others: FloatArray) -> FloatArray:
    """Returns the distance `(n,)` of each row to the one beside it, to which no other row of the batch matters."""
    difference = features.astype(np.float64) - others.astype(np.float64)
    distances: FloatArray = np.sqrt((difference**2).sum(axis=1)).astype(np.float32)
    return distances


def _least_ratio(real: FloatArray, radii: FloatArray, features: FloatArray) -> FloatArray:
    """Returns min over x of d(x, g) / r(x) for each g, `(n,)`; all x count, as the nearest may have a small ball."""
    best, winner = np.full(len(features), np.inf), np.zeros(len(features), np.int64)
    size = np.maximum(radii.astype(np.float64), _LEAST)
    for start in range(0, len(real), _REALS):
        part = slice(start, start + _REALS)
        ratio = squared_distances(features, real[part]) / size[part] ** 2
        place = ratio.argmin(axis=1)
        found = ratio[np.arange(len(place)), place]
        winner = np.where(found < best, start + place, winner)
        best = np.minimum(best, found)
    return _over(_exact(features, real[winner]), radii[winner], 0.0)


def _over(distances: FloatArray, others: FloatArray, both_zero: float) -> FloatArray:
    """Returns distances over others, at most 1e12; so much where only the other is 0, as among images that repeat."""
    ratio = np.where(distances > 0, 1 / _LEAST, distances + both_zero)
    np.divide(distances, others, out=ratio, where=others > 0)
    return np.minimum(ratio, 1 / _LEAST).astype(np.float32)
