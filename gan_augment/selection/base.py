"""What selectors share: settings, saving, notes, and per-class limits of a score, so that each holds its score only.

A selector is a dataclass: its fields are its settings, and what it learns are named arrays. `FittedSelector` is the
base of all; `ScoreSelector` of those that give each row a score and keep a share of each class; `SetSelector` of those
that decide over a closed set.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.artifacts import new_folder, read_json, read_tensors, versions, write_json, write_tensors
from gan_augment.errors import ArtifactError, ConfigError, DataError
from gan_augment.folds import folds
from gan_augment.selection.thresholds import Share, check_share, drawn_limits, images_for, real_limits
from gan_augment.types import Candidates, Decision, Extractor, FloatArray, IntArray

__all__ = ["KEPT", "UNKNOWN", "FittedSelector", "ScoreSelector", "SetSelector", "State", "blocks"]

State = Mapping[str, npt.NDArray[Any]]
"""What a selector learned, by name."""

KEPT, UNKNOWN = "", "class unknown"
KIND, VERSION = "gan_augment selector", 2
_BLOCK_BYTES = 64 * 2**20
_FOLDS = 5

Arrays = TypeVar("Arrays", npt.NDArray[Any], Tensor)


def blocks(candidates: Candidates) -> Iterator[slice]:
    """Yields slices of rows whose features take at most 64 MiB, so that memory-mapped features stay on disk."""
    width = int(np.prod(candidates.features.shape[1:])) * 4
    rows = max(1, _BLOCK_BYTES // max(1, width))
    for start in range(0, max(1, len(candidates)), rows):
        yield slice(start, start + rows)


def member(candidates: Candidates, number: int) -> Candidates:
    """Returns rows as one judge of a cross-fitted extractor sees them; as they are where there is one judge."""
    if candidates.features.ndim == 2:
        return candidates
    return dataclasses.replace(candidates, features=candidates.features[:, number])


def members(candidates: Candidates) -> int:
    """Returns the number of judges that saw the rows."""
    return 1 if candidates.features.ndim == 2 else candidates.features.shape[1]


@dataclass(eq=False)
class FittedSelector(ABC):
    """A selector whose fields are its settings.

    Args:
        extractor: Gives features when a pool is built; None on arrays.
    """

    extractor: Extractor | None = None

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    """Columns of `Candidates` without which it cannot decide."""

    whole_set: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.state_: dict[str, npt.NDArray[Any]] = {}
        self.notes_: list[tuple[str, list[int]]] = []

    # -- what a selector adds -------------------------------------------------------------------------------------

    @abstractmethod
    def _fit(self, real: Candidates) -> None:
        """Fills `state_` from real images whose features are finite."""

    def _calibrate(self, drawn: Candidates) -> None:
        """Adds what depends on a draw to `state_`; nothing by default."""
        return

    @abstractmethod
    def _decide(self, candidates: Candidates) -> Decision:
        """Decides about rows whose columns are there."""

    # -- the contract ---------------------------------------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        """Returns name and settings as JSON values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "extractor"}
        return {"name": self.name, **{k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}}

    def notes(self, classes: Sequence[str] | None = None) -> list[str]:
        """Returns what a user should know of the fit, such as classes too small to decide about."""
        return [f"{text}{_told(which, classes)}" for text, which in self.notes_]

    def fit(self, real: Candidates) -> Self:
        """Learns where real images of each class lie.

        Raises:
            DataError: There is no image, or a feature is NaN or infinite.
            ConfigError: A column that this selector needs is missing.
        """
        self._check(real, "real images")
        if not len(real):
            raise DataError("expected real images to fit a selector on, found none")
        self.state_, self.notes_ = {}, []
        self._fit(real)
        return self

    def calibrate(self, drawn: Candidates) -> Self:
        """Freezes limits that are a share of what the synthesizer draws.

        Raises:
            ConfigError: `fit` has not been called.
            DataError: A feature is NaN or infinite.
        """
        self._fitted("calibrate")
        self._check(drawn, "drawn images")
        self._calibrate(drawn)
        return self

    def decide(self, candidates: Candidates) -> Decision:
        """Decides about each row.

        Raises:
            ConfigError: `fit` or `calibrate` has not been called, or a column that this selector needs is missing.
        """
        self._fitted("decide")
        for column in self.needs:
            self._there(candidates, column)
        return self._decide(candidates)

    def keep(self, features: Arrays, labels: Arrays) -> Arrays:
        """Returns which rows are kept `(N,)`; without an earlier `calibrate`, a share is of these very rows.

        Args:
            features: `(N, D)`, an array or a tensor.
            labels: `(N,)` classes.
        """
        candidates = _from_arrays(features, labels)
        kept = dict(self.state_), list(self.notes_)
        try:
            if not self.calibrated:
                self.calibrate(candidates)
            return _like(self.decide(candidates).keep, features)
        finally:
            self.state_, self.notes_ = kept

    def scores(self, features: Arrays, labels: Arrays) -> Arrays:
        """Returns the score `(N,)` of each row, lower is better.

        Args:
            features: `(N, D)`, an array or a tensor.
            labels: `(N,)` classes.
        """
        return _like(self.decide(_from_arrays(features, labels)).score, features)

    @property
    def calibrated(self) -> bool:
        """Whether `decide` has all that it needs."""
        return bool(self.state_)

    def _fitted(self, verb: str) -> None:
        if not self.state_:
            raise ConfigError(f"expected fit() before {verb}(), found a selector that has seen no real images")

    def _there(self, candidates: Candidates, column: str) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] | None = getattr(candidates, column)
        if found is None:
            raise ConfigError(
                f"expected candidates with {column} for the selector {self.name!r}, found none; give an extractor that "
                f"has them"
            )
        return found

    def _check(self, candidates: Candidates, what: str) -> None:
        for column in self.needs:
            self._there(candidates, column)
        for rows in blocks(candidates):
            if not np.isfinite(candidates.features[rows]).all():
                raise DataError(
                    f"expected finite features of {what}, found NaN or infinity; look at the images and the extractor"
                )

    # -- on disk --------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Writes settings and what was learned into a new folder; the extractor is saved apart.

        Raises:
            ConfigError: `fit` or `calibrate` has not been called.
            ArtifactError: The folder exists.
            StorageError: The disk refused.
        """
        if not self.calibrated:
            raise ConfigError("expected fit() and calibrate() before save(), found nothing to save")
        with new_folder(folder, "selector") as work:
            tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in self.state_.items()}
            write_tensors(work / "fitted.safetensors", tensors)
            about = {"settings": self.settings(), "notes": self.notes_}
            write_json(work / "selector.json", {"kind": KIND, "version": VERSION, **about, "versions": versions()})
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path, extractor: Extractor | None = None) -> Self:
        """Reads what `save` wrote.

        Args:
            folder: The selector's folder.
            extractor: The one that it was fitted with.

        Raises:
            ArtifactError: It is missing, damaged, of another selector or of a newer version.
        """
        about = read_json(Path(folder) / "selector.json", KIND, VERSION)
        try:
            settings = dict(about["settings"])
            name = settings.pop("name")
            if name != cls.name:
                raise ArtifactError(f"expected the selector {cls.name!r} in {folder}, found {name!r}")
            selector = cls(extractor, **{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()})
            selector.notes_ = [(str(text), [int(label) for label in which]) for text, which in about["notes"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(f"expected a whole selector in {folder}, found {error!r}; it is damaged") from None
        selector.state_ = {k: v.numpy() for k, v in read_tensors(Path(folder) / "fitted.safetensors").items()}
        try:
            selector._check_state()
        except (KeyError, IndexError, ValueError) as error:
            raise ArtifactError(f"expected what {name!r} learned in {folder}, found {error!r}; it is damaged") from None
        return selector

    def _check_state(self) -> None:
        """Raises KeyError or ValueError where `state_`, out of a file, cannot be what this selector learned."""
        return


@dataclass(eq=False, kw_only=True)
class ScoreSelector(FittedSelector):
    """Gives each row a score of its own, and keeps of each class those with the lowest.

    Limits are frozen, so that each row's decision is its own: streaming, order and resuming do not matter. They are a
    share of what the synthesizer draws (`keep_share`), or such that a share of new real images of the class would pass
    (`real_share`), which is found on real images that the score was not fitted on. A pair (low, high) keeps a band: the
    best-scored are dropped too.

    Under a cross-fitted extractor each judge has a space of its own. A real image is scored by the judge that has not
    seen it, a candidate by all: each score is divided by the median of that judge's unseen reals, and the mean counts.

    Args:
        extractor: Gives features when a pool is built; None on arrays.
        keep_share: Share of the candidates of a class that is kept, in (0, 1], or a band (low, high).
        real_share: Share of new real images of a class that would be kept, instead; 0.9 to 0.95 are usual.
    """

    keep_share: Share | None = None
    real_share: Share | None = None

    too_high: ClassVar[str]
    """Why a row is dropped whose score is above the limit."""

    too_low: ClassVar[str] = "too near"
    """Why one is dropped that lies below a band."""

    default: ClassVar[dict[str, Share]] = {"keep_share": 0.5}
    """What is taken where neither share is given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep_share is None and self.real_share is None:
            for name, share in self.default.items():
                setattr(self, name, share)
        self.keep_share = check_share("keep_share", self.keep_share)
        self.real_share = check_share("real_share", self.real_share)
        if (self.keep_share is None) == (self.real_share is None):
            raise ConfigError(
                f"expected keep_share or real_share, found both ({self.keep_share} and {self.real_share}); compose two "
                "selectors to have both"
            )

    # -- what a score selector adds -------------------------------------------------------------------------------

    @abstractmethod
    def _learn(self, real: Candidates) -> dict[str, npt.NDArray[Any]]:
        """Returns what is learned of real rows seen by one judge, features `(N, D)`; may be of no row of a class."""

    @abstractmethod
    def _score(self, state: State, candidates: Candidates) -> FloatArray:
        """Returns the scores `(n,)`, at least 0, lower is better, of a block of rows seen by one judge.

        What is returned for rows of unknown classes does not count.
        """

    def _admit(self, candidates: Candidates) -> npt.NDArray[np.str_]:
        """Returns why each row `(n,)` of known class is dropped whatever its score; empty where it is not."""
        return np.full(len(candidates), KEPT)

    # -- fitted on reals ------------------------------------------------------------------------------------------

    def _fit(self, real: Candidates) -> None:
        counts = np.bincount(real.labels)
        self.state_["known"] = counts > 0
        number = members(real)
        held_out = self._held_out(real) if self.real_share is not None or number > 1 else None
        for judge in range(number):
            seen = member(real, judge)
            if number > 1 and real.fold is not None:
                seen = seen[real.fold != judge]
            self.state_ |= {f"{judge}/{name}": array for name, array in self._learn(seen).items()}
        self.state_["scales"] = np.ones(number, np.float32) if held_out is None else held_out[1]
        if self.real_share is not None and held_out is not None:
            self.state_["limits"] = real_limits(held_out[0], real.labels, self.real_share, len(counts))
            self._note_small(held_out[0], real.labels)

    def real_scores(self, real: Candidates) -> FloatArray:
        """Returns the score `(N,)` of each real image by what was learned of the others; NaN where that cannot be.

        Args:
            real: All real images; by groups, where there are `groups`, no image is scored by those of its own group.
        """
        self._check(real, "real images")
        return self._held_out(real)[0]

    def _held_out(self, real: Candidates) -> tuple[FloatArray, FloatArray]:
        """Returns scores of real rows under what was learned of others, and the median of each judge's, (K,)."""
        number = members(real)
        fold = real.fold if number > 1 and real.fold is not None else folds(real.labels, real.groups, count=_FOLDS)
        scores = np.full(len(real), np.nan, np.float32)
        scales = np.ones(number, np.float32)
        for unseen in np.unique(fold[fold >= 0]):
            judge = int(unseen) if number > 1 else 0
            rows = np.flatnonzero(fold == unseen)
            seen = member(real, judge)
            learned = self._learn(seen[fold != unseen])
            scores[rows] = self._score(learned, seen[rows])
            if number > 1:
                scales[judge] = max(float(np.median(scores[rows])), 1e-12)
                scores[rows] /= scales[judge]
        return scores, scales

    def _note_small(self, scores: FloatArray, labels: IntArray) -> None:
        assert self.real_share is not None
        wanted = images_for(self.real_share)
        held = np.bincount(labels[~np.isnan(scores)], minlength=int(labels.max()) + 1)
        there = np.bincount(labels) > 0
        few = np.flatnonzero(there & (held > 0) & (held < wanted)).tolist()
        none = np.flatnonzero(there & (held == 0)).tolist()
        if few:
            text = f"{self.name}: real_share={self.real_share} takes {wanted} real images of a class to be promised; "
            self.notes_.append((text + "with fewer, the limit is that of its farthest image: ", few))
        if none:
            self.notes_.append((f"{self.name}: too few real images to decide, all candidates pass: ", none))

    # -- frozen on a draw -----------------------------------------------------------------------------------------

    @property
    def calibrated(self) -> bool:
        """Whether `decide` has all that it needs."""
        return "limits" in self.state_

    def _calibrate(self, drawn: Candidates) -> None:
        """Freezes each class's limits so that `keep_share` of the admitted rows of `drawn` pass.

        A class without admitted rows gets no limit, and none of it is kept.
        """
        if self.keep_share is None:
            return
        measured = [self._measured(drawn[rows]) for rows in blocks(drawn)]
        scores, reason = (np.concatenate(parts) for parts in zip(*measured, strict=True))
        admitted = reason == KEPT
        classes = len(self.state_["known"])
        self.state_["limits"] = drawn_limits(scores[admitted], drawn.labels[admitted], self.keep_share, classes)

    def _decide(self, candidates: Candidates) -> Decision:
        if not self.calibrated:
            raise ConfigError("expected fit() and calibrate() before decide(), found limits that are not set")
        return Decision.concatenate([self._decide_block(candidates[rows]) for rows in blocks(candidates)])

    def _decide_block(self, candidates: Candidates) -> Decision:
        scores, reason = self._measured(candidates)
        limits = self.state_["limits"][np.where(reason == UNKNOWN, 0, candidates.labels)]
        reason = np.select(
            [reason != KEPT, ~(scores <= limits[:, 1]), scores < limits[:, 0]],
            [reason, self.too_high, self.too_low],
            KEPT,
        )
        return Decision(reason == KEPT, scores, reason)

    def scores(self, features: Arrays, labels: Arrays) -> Arrays:
        """Returns the score `(N,)` of each row, lower is better; infinity for a class without real images.

        Args:
            features: `(N, D)`, an array or a tensor.
            labels: `(N,)` classes.
        """
        self._fitted("scores")
        candidates = _from_arrays(features, labels)
        return _like(np.concatenate([self._measured(candidates[rows])[0] for rows in blocks(candidates)]), features)

    def _measured(self, candidates: Candidates) -> tuple[FloatArray, npt.NDArray[np.str_]]:
        """Returns scores, infinite for unknown classes, and why each row is dropped whatever its score."""
        known = self._is_known(candidates.labels)
        inside = candidates if known.all() else candidates[known]
        found = np.zeros(len(inside), np.float64)
        for judge, scale in enumerate(self.state_["scales"]):
            found += self._score(self._of(judge), member(inside, judge)) / scale
        if known.all():
            return (found / len(self.state_["scales"])).astype(np.float32), self._admit(inside)
        scores, reason = np.full(len(known), np.inf, np.float32), np.full(len(known), UNKNOWN, object)
        scores[known] = found / len(self.state_["scales"])
        reason[known] = self._admit(inside)
        return scores, reason.astype(np.str_)

    def _of(self, judge: int) -> State:
        start = f"{judge}/"
        return {name.removeprefix(start): array for name, array in self.state_.items() if name.startswith(start)}

    def _is_known(self, labels: IntArray) -> npt.NDArray[np.bool_]:
        known = self.state_["known"]
        inside = (labels >= 0) & (labels < len(known))
        result: npt.NDArray[np.bool_] = inside & known[np.where(inside, labels, 0)]
        return result

    def _check_state(self) -> None:
        known, limits, scales = (self.state_[name] for name in ("known", "limits", "scales"))
        if known.ndim != 1 or limits.shape != (len(known), 2) or scales.ndim != 1 or not len(scales):
            raise ValueError(f"limits {limits.shape} of {known.shape} classes, {scales.shape} judges")
        self.state_["known"] = known.astype(bool)


@dataclass(eq=False)
class SetSelector(FittedSelector):
    """Decides over a closed set: which rows of a class together stand for it best, or repeat each other.

    The answer for a row depends on the others of the set; their order does not matter.
    """

    whole_set: ClassVar[bool] = True


def _from_arrays(features: Any, labels: Any) -> Candidates:
    def plain(values: Any) -> npt.NDArray[Any]:
        return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)

    rows = plain(features)
    if rows.ndim < 2 or len(rows) != len(labels):
        raise ConfigError(f"expected features (N, D) and N labels, found {rows.shape} and {len(labels)} labels")
    return Candidates(rows.astype(np.float32, copy=False), plain(labels).astype(np.int64, copy=False).reshape(-1))


def _like(values: npt.NDArray[Any], given: Arrays) -> Arrays:
    if isinstance(given, Tensor):
        return torch.from_numpy(np.ascontiguousarray(values)).to(given.device)
    return values


def _told(which: list[int], classes: Sequence[str] | None) -> str:
    names = [str(label) if classes is None else classes[label] for label in which]
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
