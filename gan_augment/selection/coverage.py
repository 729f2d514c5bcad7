"""Selectors that choose a set: one whose moments are those of the real images, or that leaves nothing uncovered."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from gan_augment.errors import ConfigError, whole
from gan_augment.neighbours import nearest
from gan_augment.selection.base import SetSelector, blocks, joined, member, members
from gan_augment.selection.manifold import note_pictures
from gan_augment.selection.metric import class_means
from gan_augment.selection.rows import unseen_by
from gan_augment.selection.thresholds import check_share
from gan_augment.types import Candidates, FloatArray, IntArray

__all__ = ["HerdingSelector", "KCenterSelector"]

_LEAST = 1e-12
_MOST_ROWS, _MOST_NUMBERS = 20_000, 2**26

Scores = npt.NDArray[np.float64]


@dataclass(eq=False, kw_only=True)
class _Subset(SetSelector):
    """Keeps ceil(keep_share n) of the n candidates of a class, picked one after the other.

    What a smaller share keeps, a larger one keeps too. The score is the place at which a candidate was picked, from 0,
    over n; 1 where it was not. Candidates whose features are not finite do not count and are dropped.

    Args:
        keep_share: Share of the candidates of each class that is kept, in (0, 1].
    """

    keep_share: float = 0.5
    reason: ClassVar[str] = "adds little to the others"

    def __post_init__(self) -> None:
        super().__post_init__()
        share = check_share("keep_share", self.keep_share)
        if not isinstance(share, float):
            raise ConfigError(f"expected keep_share in (0, 1], found {self.keep_share!r}")
        self.keep_share = share

    def _picks(self, label: int, features: FloatArray, count: int) -> list[int]:
        """Returns the `count` rows `(n, K D)` that are picked, in their order."""
        raise NotImplementedError

    def _choose(self, label: int, features: FloatArray) -> tuple[npt.NDArray[np.bool_], FloatArray]:
        finite = np.isfinite(features).all(axis=1)
        rows = np.flatnonzero(finite)
        count = math.ceil(self.keep_share * len(rows) - 1e-9)
        picked = rows[self._picks(label, features[rows], count)] if count else rows
        keep, score = np.zeros(len(features), bool), np.where(finite, np.float32(1), np.float32(np.inf))
        keep[picked] = True
        score[picked] = np.arange(count) / max(1, len(rows))
        return keep, score


class _Moments(NamedTuple):
    """What is matched in the space of one judge: deviations from the mean of the reals, their covariance wanted."""

    rows: Scores
    covariance: Scores
    scale: float
    """Expected squared error of the second moments of one normal row: tr(C)^2 + tr(C^2)."""
    mean_scale: float
    """Expected squared error of its mean, tr(C), over the weight of the mean."""


@dataclass(eq=False, kw_only=True)
class HerdingSelector(_Subset):
    """Keeps of each class a subset with the mean and the covariance of the class's real images.

    After covariance matching (arXiv 2510.08123, "High-dimensional analysis of synthetic data selection"): per class, in
    the first 32 principal components, each pick is the candidate after which the covariance of what is picked is
    closest to that of the reals. Here with z a candidate's deviation from the reals' mean and C their covariance, a
    set S minimises

        |mean_S z z' - C|^2 / (tr(C)^2 + tr(C^2)) + mean_weight |mean_S z|^2 / tr(C),

    so that at a weight of 1 both parts count alike for rows drawn at random from a normal distribution. Both are means
    of features of z, whose kernel is k(y, z) = (y'z)^2 / (tr(C)^2 + tr(C^2)) + mean_weight y'z / tr(C): this is kernel
    herding without replacement (Chen et al. 2010), and after m picks the next one is the argmin over z of

        k(z, z) / 2 + sum over picked y of k(y, z) - (m + 1) z'Cz / (tr(C)^2 + tr(C^2)),

    at a cost of n `dimensions` for each of n candidates.

    Few images say little of a covariance. C is (1 - l) S + l T, of the class's own S and of T within all classes, with
    the weight l that is best for normal features (Schaefer and Strimmer 2005, equation 8): 1 for a single image. The
    principal components are those of all reals, every class counting alike, so that they show what tells classes apart.

    Under a cross-fitted extractor the moments of each judge are matched at once; those of its reals are of the images
    that it has not seen, as it has not seen a candidate either.

    Args:
        mean_weight: How much the mean counts, at least 0.
        dimensions: Principal components in which moments are compared.
    """

    mean_weight: float = 1.0
    dimensions: int = 32

    name: ClassVar[str] = "herding"
    reason: ClassVar[str] = "does not bring the set nearer to the reals"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.dimensions = whole("dimensions", self.dimensions)
        if not 0 <= self.mean_weight < math.inf:
            raise ConfigError(f"expected mean_weight of at least 0, found {self.mean_weight!r}")

    def _fit(self, real: Candidates) -> None:
        learned = [self._learn(real, judge) for judge in range(members(real))]
        counts = np.bincount(real.labels)
        self.state_ = {name: np.stack([of[name] for of in learned]).astype(np.float32) for name in learned[0]}
        self.state_["known"] = counts > 0
        if (alone := np.flatnonzero(counts == 1).tolist()) and counts.sum() > 1:
            self.notes_.append(("herding: one real image, the covariance is that of other classes: ", alone))

    def _learn(self, real: Candidates, judge: int) -> dict[str, npt.NDArray[Any]]:
        rows = _unseen(real, judge)
        labels, seen = real.labels[rows], member(real, judge)
        center, basis = _principal(seen, rows, self.dimensions)
        projected = np.concatenate(
            [(seen.features[rows[part]].astype(np.float64) - center) @ basis for part in blocks(seen[: len(rows)])]
        )
        means = class_means(projected, labels, int(real.labels.max()) + 1)
        return {
            "centers": center,
            "bases": basis,
            "means": means,
            "covariances": _covariances(projected, labels, means),
        }

    def _moments(self, label: int, features: FloatArray) -> list[_Moments]:
        state, found = self.state_, []
        count = len(state["bases"])
        for judge, part in enumerate(np.split(features, count, axis=1)):
            wanted = state["covariances"][judge, label].astype(np.float64)
            trace = max(float(np.trace(wanted)), _LEAST)
            rows = (part.astype(np.float64) - state["centers"][judge]) @ state["bases"][judge]
            scale = trace**2 + float((wanted**2).sum())
            found.append(
                _Moments(rows - state["means"][judge, label], wanted, scale, trace / max(self.mean_weight, _LEAST))
            )
        return found

    def _picks(self, label: int, features: FloatArray, count: int) -> list[int]:
        moments = self._moments(label, features)
        cost, target = np.zeros(len(features)), np.zeros(len(features))
        for of in moments:
            norms = (of.rows**2).sum(axis=1)
            cost += (norms**2 / of.scale + norms / of.mean_scale) / 2
            target += ((of.rows @ of.covariance) * of.rows).sum(axis=1) / of.scale
        picked: list[int] = []
        while len(picked) < count:
            best = int((cost - (len(picked) + 1) * target).argmin())
            picked.append(best)
            for of in moments:
                products = of.rows @ of.rows[best]
                cost += products**2 / of.scale + products / of.mean_scale
            cost[best] = np.inf
        return picked

    def _check_state(self) -> None:
        bases, means = self.state_["bases"], self.state_["means"]
        judges, width, dimensions = bases.shape
        classes = len(self.state_["known"])
        wanted = {
            "centers": (judges, width), "means": (judges, classes, dimensions), "known": (classes,),
            "covariances": (judges, classes, dimensions, dimensions),
        }  # fmt: skip
        for name, shape in wanted.items():
            if self.state_[name].shape != shape:
                raise ValueError(f"{name} {self.state_[name].shape}, not {shape}")
        if np.isnan(means[:, self.state_["known"].astype(bool)]).any():
            raise ValueError("means that are NaN")


def _unseen(real: Candidates, judge: int) -> IntArray:
    """Returns the rows of real images that a judge has not seen; of a class of which it has seen all, all."""
    if members(real) == 1:
        return np.arange(len(real))
    unseen = unseen_by(real, judge)
    return np.flatnonzero(unseen | ~np.isin(real.labels, real.labels[unseen]))


def _principal(seen: Candidates, rows: IntArray, dimensions: int) -> tuple[Scores, Scores]:
    """Returns the mean `(D,)` and the first principal components `(D, dimensions)` of rows, every class counting alike.

    Components that there are none of are 0. Of many rows those of each class are taken evenly.
    """
    from sklearn.utils.extmath import randomized_svd

    width, labels = seen.features.shape[1], seen.labels[rows]
    classes = np.unique(labels)
    most = max(2, min(_MOST_ROWS, _MOST_NUMBERS // max(1, width)) // len(classes))
    taken = [rows[labels == label] for label in classes]
    taken = [own[np.linspace(0, len(own) - 1, min(len(own), most)).astype(np.int64)] for own in taken]
    parts = [seen.features[own].astype(np.float64) for own in taken]
    center = np.mean([part.mean(axis=0) for part in parts], axis=0)
    if width <= dimensions:
        return center, np.eye(width)
    weighted = np.concatenate([(part - center) / math.sqrt(len(part)) for part in parts])
    basis = np.zeros((width, dimensions))
    found = randomized_svd(weighted, min(dimensions, len(weighted)), random_state=0)[2]
    basis[:, : len(found)] = found.T
    return center, basis


def _covariances(rows: Scores, labels: IntArray, means: npt.NDArray[Any]) -> Scores:
    """Returns the covariance of each class `(classes, d, d)`, shrunk to that within all classes."""
    counts, dimensions = np.bincount(labels, minlength=len(means)), rows.shape[1]
    left = rows - means[labels]
    own = np.zeros((len(means), dimensions, dimensions))
    for label in np.flatnonzero(counts > 1):
        part = left[labels == label]
        own[label] = part.T @ part / (len(part) - 1)
    freedom = np.maximum(counts - 1, 0)
    if freedom.any():
        pooled = np.tensordot(freedom / freedom.sum(), own, 1)
    else:
        pooled = np.atleast_2d(np.cov(rows.T)) if len(rows) > 1 else np.eye(dimensions)
    # Of n normal rows the entry ij of a covariance has the variance (s_ii s_jj + s_ij^2) / (n - 1).
    variance = np.trace(pooled) ** 2 + (pooled**2).sum()
    shrunk = np.repeat(pooled[None], len(means), axis=0)
    for label in np.flatnonzero(counts > 1):
        apart = float(((own[label] - pooled) ** 2).sum())
        weight = min(1.0, variance / (counts[label] - 1) / apart) if apart > 0 else 1.0
        shrunk[label] = (1 - weight) * own[label] + weight * pooled
    return shrunk


@dataclass(eq=False, kw_only=True)
class KCenterSelector(_Subset):
    """Keeps of each class the candidates that leave no other far from all that are kept.

    Greedy k-center (Gonzalez 1985; Sener and Savarese 2018, algorithm 1): each pick is the candidate farthest from all
    centers. The greatest distance that is left is at most twice the least possible.

    It seeks outliers, and wrong labels before anything else: put guards before it. A class costs O(n m D) for m of n
    candidates. Under a cross-fitted extractor the
    distance is the root mean square of those of the judges, each over the spread of real images within classes. What
    it learns are features of real images, and a saved selector holds them.

    Args:
        from_reals: Whether the real images of the class are centers from the start, so that what they do not cover
            comes first. Without, the first pick is the candidate nearest to their mean.
    """

    from_reals: bool = True

    name: ClassVar[str] = "k-center"
    reason: ClassVar[str] = "covered by others"

    def _fit(self, real: Candidates) -> None:
        order = np.argsort(real.labels, kind="stable")
        count = members(real)
        scales = np.array([_spread(member(real, judge)) for judge in range(count)]) * math.sqrt(count)
        self.state_ = {
            "known": np.bincount(real.labels) > 0,
            "labels": real.labels[order],
            "scales": (scales if count > 1 else np.ones(1)).astype(np.float32),
        }
        self.state_["reals"] = self._scaled(joined(real[order]))
        note_pictures(self)

    def _scaled(self, features: FloatArray) -> FloatArray:
        scales = self.state_["scales"]
        scaled: FloatArray = np.ascontiguousarray(features / np.repeat(scales, features.shape[1] // len(scales)))
        return scaled

    def _picks(self, label: int, features: FloatArray, count: int) -> list[int]:
        own = slice(*np.searchsorted(self.state_["labels"], [label, label + 1]))
        reals, rows = self.state_["reals"][own], self._scaled(features)
        middle = reals.mean(axis=0, dtype=np.float64)
        centered = (rows - middle).astype(np.float32)
        norms = (centered**2).sum(axis=1)
        picked: list[int] = []
        far = nearest(rows, reals)[0][:, 0] ** 2 if self.from_reals else np.full(len(rows), np.inf, np.float32)
        while len(picked) < count:
            best = int(norms.argmin() if not picked and not self.from_reals else far.argmax())
            picked.append(best)
            np.minimum(far, norms + norms[best] - 2 * (centered @ centered[best]), out=far)
            far[best] = -np.inf
        return picked

    def _check_state(self) -> None:
        reals, labels, scales = (self.state_[name] for name in ("reals", "labels", "scales"))
        if reals.ndim != 2 or labels.shape != (len(reals),) or (np.diff(labels) < 0).any():
            raise ValueError(f"labels {labels.shape} of reals {reals.shape}")
        if scales.ndim != 1 or not len(scales) or not (scales > 0).all() or reals.shape[1] % len(scales):
            raise ValueError(f"scales {scales.shape} of reals {reals.shape}")
        if not np.isin(np.flatnonzero(self.state_["known"]), labels).all() or self.state_["known"].ndim != 1:
            raise ValueError("classes without real images")


def _spread(real: Candidates) -> float:
    """Returns the root mean square distance of real images from the mean of their class, 1 where they have none."""
    means = class_means(real.features, real.labels, int(real.labels.max()) + 1)
    total = sum(float(((real.features[part] - means[real.labels[part]]) ** 2).sum()) for part in blocks(real))
    return math.sqrt(total / len(real)) or 1.0
