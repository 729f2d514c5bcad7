"""What teaches: candidates that a classifier is unsure of, or whose gradient points where that of real images does."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from gan_augment.errors import ConfigError
from gan_augment.selection.base import KEPT, UNKNOWN, ScoreSelector, State, blocks, member, members
from gan_augment.selection.kinds import ProbabilitySelector, probs_of
from gan_augment.selection.rows import unseen_by
from gan_augment.selection.thresholds import Share
from gan_augment.types import Candidates, Decision, FloatArray, IntArray

__all__ = ["GradientSelector", "InformativenessSelector", "uncertainty"]

_LEAST = 1e-12
_CRITERIA = ("entropy", "margin", "loss")


def uncertainty(probs: FloatArray, labels: IntArray, criterion: str) -> npt.NDArray[np.float64]:
    """Returns how unsure a classifier is of each row, from 0, sure, to 1.

    Args:
        probs: `(N, num_classes)`.
        labels: `(N,)`, the intended classes.
        criterion: "entropy", -sum_c p_c log p_c over log(num_classes); "margin", 1 less the difference of the two
            largest; "loss", 1 - p(intended class), which has the order of -log p.
    """
    probs = probs.astype(np.float64)
    classes = probs.shape[1]
    if criterion == "margin":
        top = np.sort(probs, axis=1)
        unsure = 1 - (top[:, -1] - top[:, -2]) if classes > 1 else 1 - top[:, -1]
    elif criterion == "entropy":
        unsure = -(probs * np.log(np.maximum(probs, _LEAST))).sum(axis=1) / np.log(max(2, classes))
    else:
        unsure = 1 - probs[np.arange(len(probs)), labels]
    return np.clip(unsure, 0, 1)


@dataclass(eq=False, kw_only=True)
class InformativenessSelector(ProbabilitySelector):
    """Keeps the candidates that a classifier is least sure of.

    With a judge under Monte-Carlo dropout this is the informativeness of Mahapatra et al. (2018, "Efficient active
    learning for image classification and segmentation using a sample selection and conditional GAN"). With the network
    that is being trained as the extractor it is the feedback of Askari Hemmat et al. (2023, "Feedback-guided data
    synthesis for imbalanced classification") by loss or entropy; there it guides the drawing, here it chooses among
    what was drawn. Their third criterion, hardness (Sehwag et al. 2022), is half the squared Mahalanobis distance to
    the class mean, up to a constant of the class: a `CentroidSelector` with `metric="mahalanobis"` and the far band
    `keep_share=(0.5, 1)`.

    The least sure are often the wrongly labelled ones: put a `LabelGuard` before it, or keep a band.

    Args:
        criterion: "entropy" of the predicted classes; "margin" between the two most probable, small is unsure; or
            "loss", -log p(intended class).

    Raises:
        ConfigError: `criterion` is none of these.
    """

    criterion: Literal["entropy", "margin", "loss"] = "entropy"

    name: ClassVar[str] = "informative"
    too_high: ClassVar[str] = "teaches little"
    too_low: ClassVar[str] = "too unsure"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.criterion not in _CRITERIA:
            raise ConfigError(f"expected criterion among {', '.join(_CRITERIA)}, found {self.criterion!r}")

    def _score(self, state: State, candidates: Candidates) -> FloatArray:
        probs = probs_of(candidates, self.name)
        return (1 - uncertainty(probs, candidates.labels, self.criterion)).astype(np.float32)


@dataclass(eq=False, kw_only=True)
class GradientSelector(ScoreSelector):
    """Keeps, and weighs, candidates whose gradient reduces the loss of real images too.

    After Ren et al. (2018, "Learning to reweight examples for robust deep learning", equations 4 to 7), with the
    gradient of the cross-entropy in the last linear layer alone: of row j it is (p_j - y_j) [h_j, 1]', of features h,
    one-hot label y and the bias. Its product with the mean gradient G of real images, every class counting alike, is
    a_j = (p_j - y_j)' G [h_j, 1]. Rows with a_j of at most 0 are dropped, as training on them raises the loss of real
    images; the weight of the others is a_j over the mean of what is kept of their class in a calibration draw. The
    score is 1 - a / (1 + |a|), from 0 to 2, with a in units of the real images' own gradients.

    G must be of real images that the judge has not seen (a `CrossFittedExtractor`): of those it was trained on the
    gradient is about nothing. A class without unseen images has no say in G.

    Wrong labels have large gradients, which point along G as often as against it: put a `LabelGuard` before it.

    Args:
        keep_share: Share of the aligned candidates of a class that is kept, the best aligned first.

    Raises:
        ConfigError: `real_share` is given.
    """

    name: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("probs",)
    too_high: ClassVar[str] = "hardly aligned"
    too_low: ClassVar[str] = "aligned too well"
    against: ClassVar[str] = "against the reals' gradient"
    default: ClassVar[dict[str, Share]] = {"keep_share": 1.0}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.real_share is not None:
            raise ConfigError("expected keep_share for the selector 'gradient', found real_share: reals set its G")

    def _fit(self, real: Candidates) -> None:
        counts, number = np.bincount(real.labels), members(real)
        probs_of(real, self.name)
        told: npt.NDArray[np.int64] = np.zeros(len(counts), np.int64)
        for judge in range(number):
            unseen, seen = unseen_by(real, judge), member(real, judge)
            learned = self._learn(seen if unseen.all() else seen[unseen])
            self.state_ |= {f"{judge}/{name}": array for name, array in learned.items()}
            told += np.bincount(real.labels[unseen], minlength=len(counts))
        self.state_ |= {"known": counts > 0, "scales": np.ones(number, np.float32)}
        if real.fold is None:
            text = "gradient: if the extractor was trained on these real images, their gradients are small and say "
            self.notes_.append((text + "little; give a CrossFittedExtractor", []))
        if silent := np.flatnonzero((counts > 0) & (told == 0)).tolist():
            self.notes_.append(("gradient: no real image unseen by a judge, so no say in the gradient: ", silent))

    def _learn(self, real: Candidates) -> dict[str, npt.NDArray[Any]]:
        """Returns G `(num_classes, D + 1)` over its norm and the usual norm of a row's gradient."""
        probs = probs_of(real, self.name)
        total, squares = np.zeros((probs.shape[1], real.features.shape[1] + 1)), 0.0
        counts = np.maximum(np.bincount(real.labels), 1)
        for rows in blocks(real):
            part = real[rows]
            errors = _errors(part, self.name)
            weighted = errors / counts[part.labels][:, None]
            hidden = part.features.astype(np.float64)
            total[:, :-1] += weighted.T @ hidden
            total[:, -1] += weighted.sum(axis=0)
            squares += float(((errors**2).sum(axis=1) * ((hidden**2).sum(axis=1) + 1)).sum())
        size = np.linalg.norm(total) * np.sqrt(squares / max(1, len(real)))
        return {"gradient": (total / max(float(size), _LEAST)).astype(np.float32)}

    def _calibrate(self, drawn: Candidates) -> None:
        super()._calibrate(drawn)
        classes = len(self.state_["known"])
        total, count = np.zeros(classes), np.zeros(classes)
        for rows in blocks(drawn):
            part = drawn[rows]
            keep = super()._decide_block(part).keep
            total += np.bincount(part.labels[keep], self.aligned(part[keep]), minlength=classes)
            count += np.bincount(part.labels[keep], minlength=classes)
        usual = total.sum() / count.sum() if count.sum() else 1.0
        self.state_["means"] = np.where(count > 0, total / np.maximum(count, 1), usual).astype(np.float32)

    @property
    def calibrated(self) -> bool:
        """Whether `decide` has all that it needs."""
        return super().calibrated and "means" in self.state_

    def aligned(self, candidates: Candidates) -> npt.NDArray[np.float64]:
        """Returns a_j `(N,)` of rows, in units of the real images' gradients, the mean over the judges.

        Raises:
            ConfigError: `fit` has not been called, or there are no probabilities.
        """
        self._fitted("aligned")
        found = [self._aligned(candidates[rows]) for rows in blocks(candidates)]
        return np.concatenate(found)

    def _aligned(self, block: Candidates) -> npt.NDArray[np.float64]:
        judges = range(len(self.state_["scales"]))
        each = [self._along(self._of(judge), member(block, judge)) for judge in judges]
        return np.asarray(np.mean(each, axis=0), np.float64)

    def _along(self, state: State, candidates: Candidates) -> npt.NDArray[np.float64]:
        gradient = state["gradient"].astype(np.float64)
        along = candidates.features.astype(np.float64) @ gradient[:, :-1].T + gradient[:, -1]
        aligned: npt.NDArray[np.float64] = (_errors(candidates, self.name) * along).sum(axis=1)
        return aligned

    def _score(self, state: State, candidates: Candidates) -> FloatArray:
        return _bounded(self._along(state, candidates))

    def _measured(self, candidates: Candidates) -> tuple[FloatArray, npt.NDArray[np.str_]]:
        known = self._is_known(candidates.labels)
        scores, reason = np.full(len(known), np.inf, np.float32), np.full(len(known), UNKNOWN, object)
        aligned = self._aligned(candidates[known])
        scores[known], reason[known] = _bounded(aligned), np.where(aligned > 0, KEPT, self.against)
        return scores, reason.astype(np.str_)

    def _decide_block(self, candidates: Candidates) -> Decision:
        decision = super()._decide_block(candidates)
        weight = np.zeros(len(candidates), np.float32)
        kept = candidates[decision.keep]
        weight[decision.keep] = self._aligned(kept) / np.maximum(self.state_["means"][kept.labels], _LEAST)
        return Decision(decision.keep, decision.score, decision.reason, weight)

    def _check_state(self) -> None:
        super()._check_state()
        if self.state_["means"].shape != self.state_["known"].shape:
            raise ValueError(f"means {self.state_['means'].shape} of {self.state_['known'].shape} classes")
        for judge in range(len(self.state_["scales"])):
            if self.state_[f"{judge}/gradient"].ndim != 2:
                raise ValueError(f"gradient {self.state_[f'{judge}/gradient'].shape}")


def _bounded(aligned: npt.NDArray[np.float64]) -> FloatArray:
    bounded: FloatArray = (1 - aligned / (1 + np.abs(aligned))).astype(np.float32)
    return bounded


def _errors(candidates: Candidates, name: str) -> npt.NDArray[np.float64]:
    """Returns p - y, `(N, num_classes)`."""
    errors = probs_of(candidates, name).astype(np.float64)
    errors[np.arange(len(errors)), candidates.labels] -= 1
    return errors
