"""Scores of a classifier on an imbalanced problem."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["FEW", "MANY", "calibration_error", "classification_scores", "recalls", "shots"]

MANY, FEW = 100, 20
"""Many-image classes have more than MANY training images, few-image ones fewer than FEW (Liu et al. 2019)."""


def shots(counts: npt.NDArray[np.int64]) -> Mapping[str, npt.NDArray[np.int64]]:
    """Returns the classes with many, medium and few training images, from the counts `(num_classes,)`."""
    return {
        "many": np.flatnonzero(counts > MANY),
        "medium": np.flatnonzero((counts >= FEW) & (counts <= MANY)),
        "few": np.flatnonzero(counts < FEW),
    }


def recalls(labels: npt.NDArray[np.int64], predicted: npt.NDArray[np.int64], classes: int) -> npt.NDArray[np.float64]:
    """Returns the recall of each class `(classes,)`; NaN for a class without test images."""
    held = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[labels == predicted], minlength=classes)
    share: npt.NDArray[np.float64] = np.where(held > 0, right / np.maximum(held, 1), np.nan)
    return share


def calibration_error(labels: npt.NDArray[np.int64], probs: npt.NDArray[np.floating[Any]], bins: int = 15) -> float:
    """Returns the expected calibration error, 0 to 1, with every class counting alike (Guo et al. 2017, equation 3).

    Items are weighted by one over the number of test images of their class, as balanced accuracy does.

    Args:
        labels: `(N,)` true classes.
        probs: `(N, num_classes)`.
        bins: Number of bins of equal width of the confidence.
    """
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    weights = 1.0 / np.bincount(labels)[labels]
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(place, weights * (right - confidence), minlength=bins)
    return float(np.abs(gaps).sum() / weights.sum())


def classification_scores(
    labels: npt.NDArray[np.int64], probs: npt.NDArray[np.floating[Any]], counts: npt.NDArray[np.int64]
) -> dict[str, float]:
    """Returns the scores of a classifier on a test set, each 0 to 1; NaN where there is nothing to measure.

    `balanced_accuracy` (mean recall), `macro_f1`, `macro_auroc` (one against the rest), `many_recall`,
    `medium_recall`, `few_recall` (mean recall of the classes with more than 100, 20 to 100, fewer than 20 training
    images), and `calibration_error`. Classes without test images are left out of all means.

    Args:
        labels: `(N,)` true classes.
        probs: `(N, num_classes)`.
        counts: `(num_classes,)` training images of each class.
    """
    from sklearn.metrics import f1_score

    predicted, classes = probs.argmax(axis=1), probs.shape[1]
    present = np.unique(labels)
    of_class = recalls(labels, predicted, classes)
    scores = {
        "balanced_accuracy": float(of_class[present].mean()),
        "macro_f1": float(f1_score(labels, predicted, labels=present, average="macro", zero_division=0)),
        "macro_auroc": _macro_auroc(labels, probs, present),
        "calibration_error": calibration_error(labels, probs),
    }
    for name, members in shots(counts).items():
        held = np.intersect1d(members, present)
        scores[f"{name}_recall"] = float(of_class[held].mean()) if len(held) else float("nan")
    return scores


def _macro_auroc(
    labels: npt.NDArray[np.int64], probs: npt.NDArray[np.floating[Any]], present: npt.NDArray[np.int64]
) -> float:
    from sklearn.metrics import roc_auc_score

    if len(present) < 2:
        return float("nan")
    return float(np.mean([roc_auc_score(labels == label, probs[:, label]) for label in present]))
