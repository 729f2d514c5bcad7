"""What selectors share: settings, saving, notes, and per-class limits of a score, so that each holds its score only.

A selector is a dataclass: its fields are its settings, and what it learns are named arrays. `FittedSelector` is the
base of all; `ScoreSelector` of those that give each row a score and keep a share of each class; `SetSelector` of those
that decide over a closed set.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.artifacts import new_folder, read_json, read_tensors, versions, write_json, write_tensors
from gan_augment.errors import ArtifactError, ConfigError, DataError
from gan_augment.fingerprint import hash_tensors
from gan_augment.folds import folds
from gan_augment.selection.rows import blocks, canonical_order, joined, member, members, parts_of, taken
from gan_augment.selection.thresholds import Share, check_share, drawn_limits, images_for, real_limits
from gan_augment.types import Candidates, Decision, Extractor, FloatArray, IntArray, Selector, as_labels

__all__ = [
    "KEPT",
    "UNKNOWN",
    "FittedSelector",
    "ScoreSelector",
    "SetSelector",
    "State",
    "blocks",
    "canonical_order",
    "class_list",
    "joined",
    "member",
    "members",
    "write_about",
]

State = Mapping[str, npt.NDArray[Any]]
"""What a selector learned, by name."""

KEPT, UNKNOWN = "", "class unknown"
KIND, VERSION = "gan_augment selector", 2
_FOLDS = 5

Arrays = TypeVar("Arrays", npt.NDArray[Any], Tensor)


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
        return [f"{text}{class_list(which, classes)}" if which else text for text, which in self.notes_]

    def fit(self, real: Candidates) -> Self:
        """Learns where real images of each class lie.

        Raises:
            DataError: There is no image, a feature is NaN or infinite, or a label or fold is none.
            ConfigError: A column that this selector needs is missing.
        """
        self._check_real(real)
        self.state_, self.notes_ = {}, []
        self._fit(real)
        self.state_["shape"] = np.array(real.features.shape[1:], np.int64)
        return self

    def calibrate(self, drawn: Candidates) -> Self:
        """Freezes limits that are a share of what the synthesizer draws.

        Raises:
            ConfigError: `fit` has not been called.
            DataError: A feature is NaN or infinite.
        """
        self._fitted("calibrate")
        self._check_form(drawn)
        self._check_finite(drawn, "drawn images")
        self._calibrate(drawn)
        return self

    def decide(self, candidates: Candidates) -> Decision:
        """Decides about each row.

        Raises:
            ConfigError: `fit` or `calibrate` has not been called, or a column that this selector needs is missing.
        """
        self._fitted("decide")
        self._check_form(candidates)
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

    def _check_form(self, candidates: Candidates) -> None:
        for column in self.needs:
            self._there(candidates, column)
        found, wanted = candidates.features.shape[1:], tuple(self.state_.get("shape", candidates.features.shape[1:]))
        if found != wanted:
            raise ConfigError(
                f"expected features of the shape (N, {', '.join(map(str, wanted))}) that {self.name!r} was fitted on, "
                f"found (N, {', '.join(map(str, found))}); give those of the same extractor"
            )

    def _check_real(self, real: Candidates) -> None:
        """Raises where real images cannot be learned from."""
        for column in self.needs:
            self._there(real, column)
        if not len(real):
            raise DataError("expected real images to fit a selector on, found none")
        if real.features.ndim not in (2, 3) or len(real.features) != len(real):
            raise DataError(
                f"expected features (N, D), or (N, K, D) of judges, of {len(real)} images, found {real.features.shape}"
            )
        if real.labels.min() < 0:
            raise DataError(f"expected labels of real images from 0, found {real.labels.min()}")
        number = members(real)
        if number > 1 and real.fold is not None and not -1 <= real.fold.min() <= real.fold.max() < number:
            raise DataError(
                f"expected folds from -1 to {number - 1} beside features of {number} judges, found "
                f"{real.fold.min()} to {real.fold.max()}"
            )
        self._check_finite(real, "real images")

    def _check_finite(self, candidates: Candidates, what: str) -> None:
        for rows in blocks(candidates):
            if not np.isfinite(candidates.features[rows]).all():
                raise DataError(
                    f"expected finite features of {what}, found NaN or infinity; look at the images and the extractor"
                )

    def _is_known(self, labels: IntArray) -> npt.NDArray[np.bool_]:
        """Returns which labels are of classes with real images, `known` in `state_`."""
        known = self.state_["known"].astype(bool)
        inside = (labels >= 0) & (labels < len(known))
        result: npt.NDArray[np.bool_] = inside & known[np.where(inside, labels, 0)]
        return result

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
            tensors = {name: torch.from_numpy(np.array(array, order="C")) for name, array in self.state_.items()}
            write_tensors(work / "fitted.safetensors", tensors)
            write_about(work, self, notes=self.notes_, fingerprint=hash_tensors(tensors))
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
        tensors = read_tensors(Path(folder) / "fitted.safetensors")
        if hash_tensors(tensors) != about.get("fingerprint"):
            raise ArtifactError(f"expected what was saved in {folder}, found other values; it is damaged")
        try:
            selector.state_ = {name: tensor.numpy() for name, tensor in tensors.items()}
            if not all(array.dtype.kind in "biuf" for array in selector.state_.values()):
                raise ValueError("numbers that are not real")
            shape = selector.state_["shape"]
            if shape.dtype != np.int64 or shape.shape not in ((1,), (2,)) or (shape < 0).any():
                raise ValueError(f"features of shape {shape!r:.80}")
            selector._check_state()
        except (KeyError, IndexError, TypeError, ValueError) as error:
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

    def _limits(self, scores: FloatArray, labels: IntArray, share: Share, classes: int) -> FloatArray:
        """Returns the limits `(classes, 2)` within which a share of new real images lies; of each class by default."""
        return real_limits(scores, labels, share, classes)

    # -- fitted on reals ------------------------------------------------------------------------------------------

    def _fit(self, real: Candidates) -> None:
        counts = np.bincount(real.labels)
        self.state_["known"] = counts > 0
        number = members(real)
        held_out = self._held_out(real) if self.real_share is not None or number > 1 else None
        for judge in range(number):
            seen = member(real, judge)
            if number > 1 and real.fold is not None:
                others = real.fold != judge
                alone = ~np.isin(real.labels, real.labels[others])  # a class that lies in this fold alone
                with taken(seen, others | alone) as part:
                    learned = self._learn(part)
            else:
                learned = self._learn(seen)
            self.state_ |= {f"{judge}/{name}": array for name, array in learned.items()}
        self.state_["scales"] = np.ones(number, np.float32) if held_out is None else held_out[1]
        if self.real_share is not None and held_out is not None:
            self.state_["limits"] = self._limits(held_out[0], real.labels, self.real_share, len(counts))
            self._note_small(held_out[0], real.labels)

    def real_scores(self, real: Candidates) -> FloatArray:
        """Returns the score `(N,)` of each real image by what was learned of the others; NaN where that cannot be.

        Args:
            real: All real images; by groups, where there are `groups`, no image is scored by those of its own group.
        """
        self._check_real(real)
        return self._held_out(real)[0]

    def _held_out(self, real: Candidates) -> tuple[FloatArray, FloatArray]:
        """Returns scores of real rows under what was learned of others, and the median of each judge's, (K,)."""
        number = members(real)
        fold = real.fold
        if fold is None or number == 1:
            fold = folds(real.labels, real.groups, count=number if number > 1 else _FOLDS)
        scores = np.full(len(real), np.nan, np.float32)
        scales = np.full(number, np.nan, np.float32)
        for unseen in np.unique(fold[fold >= 0]):
            judge = int(unseen) if number > 1 else 0
            seen, others = member(real, judge), fold != unseen
            if real.groups is not None:  # a class in no fold may share a group with this one
                others &= ~np.isin(real.groups, real.groups[fold == unseen])
            rows = np.flatnonzero((fold == unseen) & np.isin(real.labels, real.labels[others]))
            if not len(rows):
                continue
            with taken(seen, others) as learned_from:
                learned = self._learn(learned_from)
            scores[rows] = np.concatenate([self._score(learned, seen[part]) for part in parts_of(seen, rows)])
            finite = scores[rows][np.isfinite(scores[rows])]
            if number > 1 and len(finite):
                scales[judge] = max(float(np.median(finite)), 1e-12)
                scores[rows] /= scales[judge]
        usual = np.nanmedian(scales) if np.isfinite(scales).any() else np.float32(1)
        return scores, np.where(np.isnan(scales), usual, scales).astype(np.float32)

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
        self._check_form(candidates)
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

    def _of(self, judge: int | str) -> State:
        start = f"{judge}/"
        return {name.removeprefix(start): array for name, array in self.state_.items() if name.startswith(start)}

    def _check_state(self) -> None:
        known, limits, scales = (self.state_[name] for name in ("known", "limits", "scales"))
        if known.ndim != 1 or limits.shape != (len(known), 2) or scales.ndim != 1 or not len(scales):
            raise ValueError(f"limits {limits.shape} of {known.shape} classes, {scales.shape} judges")
        if not known.any() or np.isnan(limits).any() or not (np.isfinite(scales) & (scales > 0)).all():
            raise ValueError("limits that are NaN, or scales that are not above 0")
        self.state_["known"] = known.astype(bool)


@dataclass(eq=False)
class SetSelector(FittedSelector):
    """Decides over a closed set, class by class: which rows together stand for it best, or repeat each other.

    The answer for a row depends on the others of the set; their order does not matter.
    """

    whole_set: ClassVar[bool] = True
    reason: ClassVar[str]
    """Why a row of a known class is dropped."""

    @abstractmethod
    def _choose(self, label: int, features: FloatArray) -> tuple[npt.NDArray[np.bool_], FloatArray]:
        """Returns which candidates `(n, D)` of a class are kept, and their scores, `(n,)` each.

        They come in an order that does not depend on the one they were given in.
        """

    def _decide(self, candidates: Candidates) -> Decision:
        inside = self._is_known(candidates.labels)
        keep, score = np.zeros(len(inside), bool), np.full(len(inside), np.inf, np.float32)
        for label in np.unique(candidates.labels[inside]):
            rows = canonical_order(candidates, np.flatnonzero(candidates.labels == label))
            keep[rows], score[rows] = self._choose(int(label), joined(candidates[rows]))
        return Decision(keep, score, np.select([~inside, ~keep], [UNKNOWN, self.reason], KEPT))


def _from_arrays(features: Any, labels: Any) -> Candidates:
    if isinstance(features, Tensor):
        features = features.detach().float().cpu().numpy()  # float() because numpy knows no bfloat16
    rows, classes = np.asarray(features), as_labels(labels)
    if rows.ndim not in (2, 3) or len(rows) != len(classes):
        raise ConfigError(f"expected features (N, D) and N labels, found {rows.shape} and {len(classes)} labels")
    return Candidates(rows.astype(np.float32, copy=False), classes)


def _like(values: npt.NDArray[Any], given: Arrays) -> Arrays:
    if isinstance(given, Tensor):
        return torch.from_numpy(np.ascontiguousarray(values)).to(given.device)
    return values


def write_about(work: Path, selector: Selector, **more: Any) -> None:
    """Writes `selector.json` of any selector into a folder that is being written."""
    about = {"kind": KIND, "version": VERSION, "settings": selector.settings(), **more, "versions": versions()}
    write_json(work / "selector.json", about)


def class_list(which: Sequence[int], classes: Sequence[str] | None) -> str:
    """Returns the names of classes, ten at most, or their numbers where they have none."""
    names = [classes[label] if classes is not None and 0 <= label < len(classes) else str(label) for label in which]
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
