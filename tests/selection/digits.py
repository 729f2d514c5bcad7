"""Scikit-learn's digits with a long tail, as a cross-fitted judge sees them: pixels, and logistic regression."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from gan_augment.folds import folds
from gan_augment.types import Candidates

COUNTS = (110, 90, 70, 55, 40, 30, 20, 12, 6, 2)


class Digits(NamedTuple):
    """Real images, unseen ones, and the judges that saw all folds but one."""

    real: Candidates
    unseen: Candidates
    judges: list[LogisticRegression]

    def see(
        self,
        pixels: npt.NDArray[np.float32],
        labels: npt.NDArray[np.int64],
        parents: npt.NDArray[np.int64] | None = None,
    ) -> Candidates:
        """Returns candidates of pixels `(N, 64)` in [0, 1], their probabilities the mean of the judges'."""
        probs = np.mean([judge.predict_proba(pixels) for judge in self.judges], axis=0).astype(np.float32)
        return Candidates(pixels, labels, probs, seeds=np.arange(len(labels)), parents=parents)

    def wrong(self, seed: int = 0) -> Candidates:
        """Returns the unseen images under another class."""
        moved = np.random.default_rng(seed).integers(1, 10, len(self.unseen))
        return self.see(self.unseen.features, (self.unseen.labels + moved) % 10)

    def noise(self, count: int = 200, seed: int = 0) -> Candidates:
        rng = np.random.default_rng(seed)
        return self.see(rng.random((count, 64), np.float32), np.arange(count) % 10)


def load() -> Digits:
    pixels, labels = load_digits(return_X_y=True)
    pixels, labels = (pixels / 16).astype(np.float32), labels.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(labels))
    rows = [order[labels[order] == label] for label in range(10)]
    train = np.concatenate([own[:count] for own, count in zip(rows, COUNTS, strict=True)])
    test = np.concatenate([own[-50:] for own in rows])
    fold = folds(labels[train])
    judges = []
    probs = np.zeros((len(train), 10), np.float32)
    for number in range(3):
        judge = LogisticRegression(max_iter=1000).fit(pixels[train[fold != number]], labels[train[fold != number]])
        judges.append(judge)
        probs[fold == number] = judge.predict_proba(pixels[train[fold == number]])
    probs[fold < 0] = np.mean([judge.predict_proba(pixels[train[fold < 0]]) for judge in judges], axis=0)
    real = Candidates(pixels[train], labels[train], probs, fold=fold)
    digits = Digits(real, real, judges)
    return digits._replace(unseen=digits.see(pixels[test], labels[test]))
