"""Scores of a classifier on an imbalanced problem."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["classification_scores"]


def classification_scores(
    labels: npt.NDArray[np.int64], probs: npt.NDArray[np.float32], rare: Sequence[int]
) -> dict[str, float]:
    """Returns balanced accuracy, macro F1 and the mean recall of the rare classes, each 0 to 1.

    Args:
        labels: `(N,)` true classes.
        probs: `(N, num_classes)`.
        rare: The rare classes; NaN is returned for their recall where there are none.
    """
    from sklearn.metrics import f1_score, recall_score

    predicted = probs.argmax(axis=1)
    present = np.unique(labels)
    recalls = recall_score(labels, predicted, labels=present, average=None, zero_division=0)
    of_rare = recalls[np.isin(present, list(rare))]
    return {
        "balanced_accuracy": float(recalls.mean()),
        "macro_f1": float(f1_score(labels, predicted, labels=present, average="macro", zero_division=0)),
        "rare_recall": float(of_rare.mean()) if len(of_rare) else float("nan"),
    }
