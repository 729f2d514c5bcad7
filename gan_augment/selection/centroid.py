"""CentroidSelector, after Xue et al. 2021 ("Selective synthetic augmentation with HistoGAN").

Two steps: the judge must hold the intended class; then the candidates closer to the centroid of the real training
features of their class are kept. The paper's layer, number of dropout passes and thresholds are not published, so
this follows its idea and does not replicate it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from gan_augment.clusters import kmeans
from gan_augment.errors import ConfigError, whole
from gan_augment.selection.base import KEPT, ScoreSelector, State, member
from gan_augment.selection.guards import LabelGuard
from gan_augment.selection.kinds import ProbabilitySelector
from gan_augment.selection.metric import pooled_precision
from gan_augment.selection.rows import group_means, to_centroids
from gan_augment.selection.thresholds import check_share
from gan_augment.types import Candidates, FloatArray, IntArray

__all__ = ["CentroidSelector"]

Metric = Literal["l2", "cosine", "mahalanobis"]
Agreement = Literal["argmax", "centroid", "calibrated"]

DISAGREES = "judge disagrees"

_IMAGES = 39
"""Images that FAISS asks for, for each centroid of k-means."""

_MOST_IMAGES = 256
"""Images for each centroid that k-means looks at, at most."""

_ROWS = 4096


@dataclass(eq=False, kw_only=True)
class CentroidSelector(ScoreSelector):
    """Keeps candidates whose class the judge confirms and that lie close to real images of it.

    The score is the distance to the nearest centroid of real images of the class. `keep_share` and `real_share` are
    shares of what the judge admits; with `real_share` the judge's refusals come on top.

    Args:
        agreement: How the judge must confirm the intended class: "argmax" (or True): it is the most probable one, or
            that of the nearest centroid where there are no probabilities; "centroid": it is that of the nearest
            centroid; "calibrated": it is at least as probable as `agreement_share` of unseen real images of the class
            find theirs (`LabelGuard`), which keeps the hard images of confusable classes; None (or False): not at all.
        agreement_share: Share of new real images of a class that would pass "calibrated", in (0, 1].
        entropy_share: Share of new real images of a class that are at least as uncertain as a candidate may be, by the
            predictive entropy (of Monte-Carlo dropout, where the judge has it), in (0, 1]; None for no such limit.
        centroids: Centroids of a class, by k-means; a class has one for each 39 images at most.
        metric: "l2"; "cosine", 1 - cos, from 0 to 2; or "mahalanobis", with the covariance within classes, shrunk
            (Ledoit and Wolf 2004). One class has too few images for a covariance of its own: it is that of all.

    Raises:
        ConfigError: A setting has a value that cannot work.
    """

    agreement: Agreement | bool | None = "argmax"
    agreement_share: float = 0.95
    entropy_share: float | None = None
    centroids: int = 1
    metric: Metric = "l2"

    name: ClassVar[str] = "centroid"
    too_high: ClassVar[str] = "far from its class"
    too_low: ClassVar[str] = "near its centroid"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.agreement, bool):
            self.agreement = "argmax" if self.agreement else None
        if self.agreement not in (*get_args(Agreement), None):
            raise ConfigError(
                f"expected agreement among {', '.join(get_args(Agreement))} and None, found {self.agreement!r}"
            )
        if self.metric not in get_args(Metric):
            raise ConfigError(f"expected metric among {', '.join(get_args(Metric))}, found {self.metric!r}")
        self.centroids = whole("centroids", self.centroids)
        for name in ("agreement_share", "entropy_share"):
            share = check_share(name, getattr(self, name))
            if isinstance(share, tuple) or (share is None and name == "agreement_share"):
                raise ConfigError(f"expected {name} in (0, 1], found {share!r}")
            setattr(self, name, share)

    @property
    def centroids_(self) -> dict[int, FloatArray]:
        """Centroids `(k, D)` of each class with real images; of the first judge, where there are several.

        Those of the metric "cosine" have length 1.
        """
        self._fitted("centroids_")
        state = self._of(0)
        found = state["centroids"]
        if "whitener" in state:
            found = found @ np.linalg.inv(state["whitener"].astype(np.float64)) + state["center"]
        return {int(label): found[state["owners"] == label].astype(np.float32) for label in np.unique(state["owners"])}

    # -- learned --------------------------------------------------------------------------------------------------

    def _fit(self, real: Candidates) -> None:
        super()._fit(real)
        for name, guard in self._guards():
            guard.fit(real)
            self.state_ |= {f"{name}/{key}": array for key, array in guard.state_.items() if key != "shape"}
            for text, which in guard.notes_:
                note = f"{self.name}: {text.partition(': ')[2].replace('real_share', f'{name}_share')}", which
                self.notes_ += [note] if note not in self.notes_ else []
        counts = np.bincount(real.labels)
        few = np.flatnonzero((counts > 0) & (counts < self.centroids * _IMAGES)).tolist()
        if self.centroids > 1 and few:
            told = f"{self.name}: {self.centroids} centroids take {self.centroids * _IMAGES} real images of a class; "
            self.notes_.append((told + f"with fewer there is one for each {_IMAGES}: ", few))
        if self.metric == "mahalanobis" and counts.max() < 2:
            told = f"{self.name}: no class has two real images to measure a covariance on, so the metric is l2"
            self.notes_.append((told, []))

    def _guards(self) -> "list[tuple[str, ScoreSelector]]":
        """Returns what admits candidates by limits of real images, with the names that their states go by."""
        found: list[tuple[str, ScoreSelector]] = []
        if self.agreement == "calibrated":
            found.append(("agreement", LabelGuard(real_share=self.agreement_share)))
        if self.entropy_share is not None:
            found.append(("entropy", _EntropyGuard(real_share=self.entropy_share)))
        for name, guard in found:
            guard.state_ = dict(self._of(name))
        return found

    def _learn(self, real: Candidates) -> dict[str, npt.NDArray[Any]]:
        space = self._space(real)
        counts = np.bincount(real.labels)
        means = self._means(space, real, len(counts))
        centroids, owners = [], []
        for label in np.flatnonzero(counts).tolist():
            wanted = min(self.centroids, max(1, int(counts[label]) // _IMAGES))
            own = means[label : label + 1] if wanted == 1 else self._clusters(space, real, label, wanted)
            centroids.append(own)
            owners += [label] * len(own)
        return {**space, "centroids": np.concatenate(centroids), "owners": np.array(owners, np.int64)}

    def _space(self, real: Candidates) -> dict[str, npt.NDArray[Any]]:
        if self.metric != "mahalanobis":
            return {}
        learned = pooled_precision(real)
        return {"center": np.nanmean(learned["means"], axis=0), "whitener": learned["whitener"]}

    def _means(self, space: State, real: Candidates, classes: int) -> FloatArray:
        means = group_means(real.features, real.labels, classes, lambda block, _: self._seen(space, block))
        return (_unit(means) if self.metric == "cosine" else means).astype(np.float32)

    def _clusters(self, space: State, real: Candidates, label: int, count: int) -> FloatArray:
        rows = np.flatnonzero(real.labels == label)
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), count * _MOST_IMAGES)).astype(np.int64))]
        seen = self._seen(space, real.features[rows]).astype(np.float32)
        return kmeans(seen, count, spherical=self.metric == "cosine")

    # -- measured -------------------------------------------------------------------------------------------------

    def _seen(self, state: State, features: FloatArray) -> npt.NDArray[Any]:
        """Returns features in the space where the metric is a Euclidean distance."""
        if self.metric == "cosine":
            return _unit(features.astype(np.float64))
        if self.metric == "mahalanobis":
            whitened: npt.NDArray[Any] = (features - state["center"]).astype(np.float64) @ state["whitener"]
            return whitened
        return features

    def _score(self, state: State, candidates: Candidates) -> FloatArray:
        scores = np.empty(len(candidates), np.float32)
        for rows in _pieces(len(candidates)):
            part = candidates[rows]
            scores[rows] = self._distances(state, self._seen(state, part.features), part.labels)
        return scores

    def _distances(self, state: State, seen: npt.NDArray[Any], labels: IntArray) -> npt.NDArray[np.float64]:
        """Returns the distance of each row to the nearest centroid of its class; row by row, whatever the batch."""
        first, last = (np.searchsorted(state["owners"], labels, side) for side in ("left", "right"))
        nearest = np.full(len(labels), np.inf)
        for number in range(int((last - first).max(initial=0))):
            rows = np.flatnonzero(first + number < last)
            own = state["centroids"][first[rows] + number]
            if self.metric == "cosine":
                found = np.maximum(1 - (seen[rows] * own).sum(axis=1), 0)
            else:
                found = np.sqrt(((seen[rows] - own).astype(np.float64) ** 2).sum(axis=1))
            nearest[rows] = np.minimum(nearest[rows], found)
        return nearest

    def _nearest_class(self, candidates: Candidates) -> IntArray:
        """Returns the class of the nearest centroid, `(n,)`; by the mean of the judges, where there are several."""
        held = np.empty(len(candidates), np.int64)
        states = [self._of(judge) for judge in range(len(self.state_["scales"]))]
        for rows in _pieces(len(candidates)):
            part = candidates[rows]
            total = np.zeros((len(part), len(self.state_["known"])), np.float32)
            for judge, (state, scale) in enumerate(zip(states, self.state_["scales"], strict=True)):
                apart = to_centroids(self._seen(state, member(part, judge).features), state["centroids"])
                classes, first = np.unique(state["owners"], return_index=True)
                to_class = np.full(total.shape, np.inf, np.float32)
                to_class[:, classes] = np.minimum.reduceat(apart, first, axis=1)
                total += (to_class**2 / 2 if self.metric == "cosine" else to_class) / scale
            held[rows] = total.argmin(axis=1)
        return held

    def _admit(self, candidates: Candidates) -> npt.NDArray[np.str_]:
        reason = super()._admit(candidates)
        if self.agreement == "centroid" or (self.agreement == "argmax" and candidates.probs is None):
            reason = np.where(self._nearest_class(candidates) == candidates.labels, KEPT, DISAGREES)
        elif self.agreement == "argmax" and candidates.probs is not None:
            reason = np.where(candidates.probs.argmax(axis=1) == candidates.labels, KEPT, DISAGREES)
        for _, guard in self._guards():
            reason = np.where(reason == KEPT, guard.decide(candidates).reason, reason)
        return reason

    def _check_state(self) -> None:
        super()._check_state()
        known = np.flatnonzero(self.state_["known"])
        width = int(self.state_["shape"][-1])
        for judge in range(len(self.state_["scales"])):
            state = self._of(judge)
            owners, centroids = state["owners"], state["centroids"]
            if owners.dtype != np.int64 or (np.diff(owners) < 0).any() or not np.array_equal(np.unique(owners), known):
                raise ValueError(f"centroids of classes {owners!r:.80}, real images of {known!r:.80}")
            if centroids.shape != (len(owners), width) or not np.isfinite(centroids).all():
                raise ValueError(f"centroids {centroids.shape} of {owners.shape} classes")
            if self.metric == "mahalanobis":
                shapes = state["center"].shape, state["whitener"].shape
                if shapes != ((width,), (width, width)):
                    raise ValueError(f"a whitener {shapes}")
        for name, guard in self._guards():
            guard._check_state()
            if not np.array_equal(guard.state_["known"], self.state_["known"]):
                raise ValueError(f"limits of {name} of other classes")


@dataclass(eq=False, kw_only=True)
class _EntropyGuard(ProbabilitySelector):
    """Drops candidates about which the judge is more uncertain than about most real images of the class."""

    name: ClassVar[str] = "entropy"
    needs: ClassVar[tuple[str, ...]] = ("probs", "entropy")
    too_high: ClassVar[str] = "judge unsure"

    def _score(self, state: State, candidates: Candidates) -> FloatArray:
        assert candidates.entropy is not None
        return candidates.entropy.astype(np.float32)


def _pieces(count: int) -> Iterator[slice]:
    for start in range(0, count, _ROWS):
        yield slice(start, start + _ROWS)


def _unit(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns rows of length 1; of length 0 where they had it."""
    lengths = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    unit: npt.NDArray[np.float64] = rows / np.maximum(lengths, np.finfo(np.float64).tiny)
    return unit
