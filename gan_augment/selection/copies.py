"""CopyGuard: candidates that lie nearer to a real image than new real images do. A copy check, no privacy statement."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from gan_augment.errors import ConfigError
from gan_augment.metrics.copies import c_t
from gan_augment.neighbours import nearest
from gan_augment.selection.base import KEPT, State, blocks, member, members
from gan_augment.selection.kinds import OneLimitSelector
from gan_augment.selection.thresholds import Share
from gan_augment.types import Candidates, FloatArray, IntArray

__all__ = ["CopyGuard", "CopyReport", "searched", "twin_distance"]

_FLOOR = 0.1
_TWIN = 1e-3
_SAME = 1e-4
_ROWS = 4096
_MOST = 1e6
_SPARE = 4
_GROUP = 16
_BYTES = 64 * 2**20
_NUMBERS = 64
"""Bytes of what is held of each neighbour found: distance, row, and what callers make of them."""
_FEW = 3
_CELL = 20


class CopyReport(NamedTuple):
    """What a set of candidates says about copying, beside unseen real images.

    Attributes:
        candidates: How many there are.
        copies: How many are copies of a real image.
        parent_copies: How many are copies of the image they were made from.
        authentic: Share with d(g, x*) > r(x*), 0 to 1 (Alaa et al. 2022).
        authentic_real: The same of unseen real images, about a half.
        c_t: The z-score of Meehan et al. (2020) for each class that has 20 of both; below -3 a class copies.
    """

    candidates: int
    copies: int
    parent_copies: int
    authentic: float
    authentic_real: float
    c_t: dict[int, float]


@dataclass(eq=False, kw_only=True)
class CopyGuard(OneLimitSelector):
    """Drops candidates that lie nearer to a real image than unseen real images lie to theirs.

    With x* the real image nearest to a candidate g, of any class, and r(x*) the distance from x* to its nearest other
    real image, the score is r(x*) / d(g, x*). Above 1 an image is not authentic (Alaa et al. 2022, "How faithful is
    your synthetic data?"), which about half of unseen real images are not either. The limit is therefore what
    `real_share` of left-out real images keep. Images of one group (patient) are left out together, and images that are
    in the training set twice set no limit.

    That no copy is found does not show that none was learned. It holds features of real images, as a saved one does.

    Args:
        ratio: The largest d / r at which a candidate is a copy, whatever real images are like; 1 for authenticity.
        parents: "out" where the real image that a candidate was made from, and its group, do not count, so that only
            the same image again is a copy of it; "in" where it counts as any other.
        parent_ratio: With parents "out", the d / r to its parent below which a candidate is the same image again.

    Raises:
        ConfigError: A ratio is not above 0, or `parents` is neither.
    """

    ratio: float = 1.0
    parents: Literal["out", "in"] = "out"
    parent_ratio: float = 0.1

    name: ClassVar[str] = "copy"
    too_high: ClassVar[str] = "copy of a real image"
    of_parent: ClassVar[str] = "copy of its parent"
    default: ClassVar[dict[str, Share]] = {"real_share": 0.99}

    def __post_init__(self) -> None:
        super().__post_init__()
        for setting in ("ratio", "parent_ratio"):
            if not 0 < (value := getattr(self, setting)) < np.inf:
                raise ConfigError(f"expected {setting} above 0, found {value!r}")
        if self.parents not in ("out", "in"):
            raise ConfigError(f"expected parents 'out' or 'in', found {self.parents!r}")

    # -- fitted on reals ------------------------------------------------------------------------------------------

    def _fit(self, real: Candidates) -> None:
        real = _numbered(real)
        assert real.groups is not None
        assert real.parents is not None
        self.state_["groups"], self.state_["numbers"] = real.groups, real.parents
        self.state_["unseen"], self.state_["unseen_labels"] = np.empty(0, np.float32), np.empty(0, np.int64)
        super()._fit(real)
        limit = float(self.state_["limits"][0, 1]) if "limits" in self.state_ else 0.0
        if 1 / _FLOOR < limit < np.inf:
            told = f"copy: real images lie so near to each other that only copies nearer than {1 / limit:.2g} of their "
            self.notes_.append((told + "spacing are told from them", []))

    def _learn(self, real: Candidates) -> dict[str, npt.NDArray[Any]]:
        assert real.groups is not None
        assert real.parents is not None
        features = np.ascontiguousarray(real.features)
        near, near_group = _spacing(features, real.groups)
        return {
            "features": features, "rows": real.parents, "groups": real.groups, "near": near, "near_group": near_group,
        }  # fmt: skip

    def _held_out(self, real: Candidates) -> tuple[FloatArray, FloatArray]:
        """Returns the score of each real image against the others of other groups; NaN for those that are twins."""
        real = _numbered(real)
        if members(real) > 1:
            scores, scales = super()._held_out(real)
        else:
            seen = member(real, 0)
            learned = self._learn(seen)
            scores = np.concatenate([self._score(learned, seen[rows]) for rows in blocks(seen)])
            scales = np.ones(1, np.float32)
            if len(real) < _FEW:
                scores[:] = np.nan
        scores[scores > 1 / _TWIN] = np.nan
        return scores, scales

    def _limits(self, scores: FloatArray, labels: IntArray, share: Share, classes: int) -> npt.NDArray[np.float32]:
        limits = super()._limits(scores, labels, share, classes)
        limits[:, 1] = np.maximum(limits[:, 1], 1 / self.ratio)
        there = ~np.isnan(scores)
        self.state_["unseen"], self.state_["unseen_labels"] = scores[there], labels[there]
        return limits

    # -- candidates -----------------------------------------------------------------------------------------------

    def _score(self, state: State, candidates: Candidates) -> FloatArray:
        score = np.zeros(len(candidates), np.float32)
        if len(state["features"]) < _FEW or not len(candidates):
            return score
        left_out = self._left_out(candidates)
        near = 1 + (_largest(state["groups"]) if (left_out >= 0).any() else 0)
        for rows, distances, found in searched(candidates.features, state["features"], near):
            others = state["groups"][found] != left_out[rows, None]
            first = others.argmax(axis=1)
            everyone = np.arange(len(first))
            star = found[everyone, first]
            second = state["near_group"][star] == left_out[rows]
            spacing = np.where(second, state["near"][star, 1], state["near"][star, 0])
            inverse = np.minimum(spacing / np.maximum(distances[everyone, first], spacing / _MOST), _MOST)
            score[rows] = np.where(others.any(axis=1), inverse, 0)
        return score

    def _left_out(self, candidates: Candidates) -> IntArray:
        """Returns the group `(n,)` of real images that does not count for each row: its own, its parent's; or -1."""
        if candidates.groups is not None:
            return candidates.groups
        if self.parents == "in" or candidates.parents is None:
            return np.full(len(candidates), -1, np.int64)
        groups, numbers = self.state_["groups"], self.state_["numbers"]
        place = np.minimum(np.searchsorted(numbers, candidates.parents), len(numbers) - 1)
        return np.where(numbers[place] == candidates.parents, groups[place], -1)

    def _admit(self, candidates: Candidates) -> npt.NDArray[np.str_]:
        if self.parents == "in" or candidates.parents is None:
            return super()._admit(candidates)
        return np.where(self._to_parent(candidates, candidates.parents) < self.parent_ratio, self.of_parent, KEPT)

    def _to_parent(self, candidates: Candidates, parents: IntArray) -> npt.NDArray[np.float64]:
        """Returns d(g, parent) / r(parent) `(n,)`, the mean over the judges that know it; infinity where none does."""
        total, known = np.zeros(len(parents)), np.zeros(len(parents))
        for judge in range(len(self.state_["scales"])):
            state = self._of(judge)
            place = np.minimum(np.searchsorted(state["rows"], parents), len(state["rows"]) - 1)
            there = np.flatnonzero(state["rows"][place] == parents)
            place = place[there]
            apart = member(candidates, judge).features[there].astype(np.float64) - state["features"][place]
            total[there] += np.sqrt((apart**2).sum(axis=1)) / state["near"][place, 0]
            known[there] += 1
        return np.where(known > 0, total / np.maximum(known, 1), np.inf)

    def report(self, candidates: Candidates) -> CopyReport:
        """Returns what the set of candidates says about copying: counts, authenticity and C_T by class.

        C_T is taken of d(g, x*) / r(x*), which makes distances in dense and sparse classes alike.

        Raises:
            ConfigError: There are no limits of left-out real images, that is, `real_share` is None.
        """
        if self.real_share is None or not self.calibrated:
            raise ConfigError("expected a fitted copy guard with real_share for a report, found none")
        decision = self.decide(candidates)
        unseen, labels = self.state_["unseen"], self.state_["unseen_labels"]
        cells = {}
        for label in np.unique(labels):
            fake, real = -decision.score[candidates.labels == label], -unseen[labels == label]
            if min(len(fake), len(real)) >= _CELL:
                cells[int(label)] = c_t(fake, real)
        dropped = decision.dropped()
        return CopyReport(
            candidates=len(candidates),
            copies=dropped.get(self.too_high, 0),
            parent_copies=dropped.get(self.of_parent, 0),
            authentic=float((decision.score < 1).mean()) if len(candidates) else 0.0,
            authentic_real=float((unseen < 1).mean()) if len(unseen) else 0.0,
            c_t=cells,
        )

    def _check_state(self) -> None:
        super()._check_state()
        groups, unseen, labels = (self.state_[name] for name in ("groups", "unseen", "unseen_labels"))
        if (
            groups.ndim != 1
            or self.state_["numbers"].shape != groups.shape
            or unseen.ndim != 1
            or labels.shape != unseen.shape
        ):
            raise ValueError(f"groups {groups.shape}, {labels.shape} labels of {unseen.shape} scores")
        for judge in range(len(self.state_["scales"])):
            state = self._of(judge)
            count = len(state["features"])
            columns = [state[name].shape == (count,) for name in ("rows", "groups", "near_group")]
            if state["features"].ndim != 2 or not count or not all(columns) or state["near"].shape != (count, 2):
                raise ValueError(f"distances {state['near'].shape} of features {state['features'].shape}")


def _numbered(real: Candidates) -> Candidates:
    """Returns real rows each of which is its own parent, and a group of its own where there are no groups.

    Rows that are a part of all real images, as those of a domain are, have their numbers among all as parents already.
    """
    rows = np.arange(len(real))
    told = real.parents is not None and len(rows) > 0 and real.parents[0] >= 0 and (np.diff(real.parents) > 0).all()
    parents = real.parents if told else rows
    return replace(real, parents=parents, groups=rows if real.groups is None else real.groups)


def _largest(groups: IntArray) -> int:
    """Returns how many rows of one group are looked past; of larger ones the nearest."""
    return min(_GROUP, int(np.unique(groups, return_counts=True)[1].max()))


def searched(queries: FloatArray, base: FloatArray, k: int) -> Iterator[tuple[slice, FloatArray, IntArray]]:
    """Yields rows of queries, and distances and indices `(n, k)` of their nearest of base; bounded in memory.

    Four more than asked for are looked up, so that the nearest are right although FAISS rounds, and for twins.
    """
    k = min(len(base), k + _SPARE)
    step = max(1, _BYTES // (k * _NUMBERS))  # `nearest` prepares base anew at each call, and bounds all but its answer
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        yield rows, *nearest(queries[rows], base, k)


def _spacing(features: FloatArray, groups: IntArray) -> tuple[FloatArray, IntArray]:
    """Returns how far each real image is from the nearest of another group, and from the nearest of yet another.

    Twins of an image are passed over. Distances are at least a tenth of the usual, so that images that are nearly the
    same do not hide copies of each other.

    Returns:
        Distances `(n, 2)`, above 0, and the group of the first, `(n,)`.
    """
    near, near_group = np.full((len(features), 2), np.inf, np.float32), np.full(len(features), -1, np.int64)
    twin = twin_distance(features)
    if len(features) >= 2:
        for rows, distances, found in searched(features, features, 2 * _largest(groups) + 1):
            everyone, own = np.arange(len(distances)), groups[rows]
            allowed = (groups[found] != own[:, None]) & (distances > twin)
            first = allowed.argmax(axis=1)
            group = groups[found[everyone, first]]
            again = allowed & (groups[found] != group[:, None])
            near[rows, 0] = np.where(allowed.any(axis=1), distances[everyone, first], np.inf)
            near[rows, 1] = np.where(again.any(axis=1), distances[everyone, again.argmax(axis=1)], np.inf)
            near_group[rows] = np.where(allowed.any(axis=1), group, -1)
    known = near[:, 0][np.isfinite(near[:, 0])]
    usual = float(np.median(known)) if len(known) else 1.0
    floor = max(_FLOOR * usual, 1e-12)
    return np.where(np.isfinite(near), np.maximum(near, floor), max(usual, floor)).astype(np.float32), near_group


def twin_distance(features: FloatArray) -> float:
    """Returns the distance up to which two images are the same but for rounding: a part of the features' spread."""
    center = features.mean(axis=0, dtype=np.float64)
    spread = 0.0
    for start in range(0, len(features), _ROWS):
        spread += float(((features[start : start + _ROWS] - center) ** 2).sum())
    return float(_SAME * np.sqrt(spread / max(1, len(features))))
