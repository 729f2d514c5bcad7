"""Guards of content: drop candidates of another class than intended, and such as are unlike all real images.

Their limits are lenient and come from real images: what hardly any real image exceeds. Where there are too few real
images to set one, a guard lets candidates pass and says so in its notes. `copies` and `duplicates` hold the guards
against repetition.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gan_augment.selection.base import ScoreSelector, State
from gan_augment.selection.kinds import OneLimitSelector, ProbabilitySelector, probs_of
from gan_augment.selection.metric import pooled_precision, squared_mahalanobis
from gan_augment.selection.thresholds import Share
from gan_augment.types import Candidates, FloatArray, IntArray

__all__ = ["LabelGuard", "OutlierGuard"]

_LEAST = 1e-12


@dataclass(eq=False, kw_only=True)
class LabelGuard(ProbabilitySelector):
    """Drops candidates whose intended class a judge finds less probable than it finds most real images' own.

    The score is -log p(intended class). The limit of a class is such that `real_share` of its unseen real images pass
    (class-conditional conformal prediction, Sadinle et al. 2019), so the class need not be the most probable one: a
    judge of six shirts is unsure of shirts, and of real ones too. The judge must not be the network that is trained on
    the result, or it confirms its own errors, and should be cross-fitted: one that has seen the real images is surer
    of them than of any new one.
    """

    name: ClassVar[str] = "label"
    too_high: ClassVar[str] = "judge disagrees"
    default: ClassVar[dict[str, Share]] = {"real_share": 0.95}

    def _score(self, state: State, candidates: Candidates) -> FloatArray:
        own = probs_of(candidates, self.name)[np.arange(len(candidates)), candidates.labels]
        # A probability of a hair above 1 would make the score a hair below 0.
        score: FloatArray = -np.log(np.clip(own.astype(np.float64), _LEAST, 1)).astype(np.float32)
        return score


@dataclass(eq=False, kw_only=True)
class OutlierGuard(OneLimitSelector):
    """Drops candidates that lie outside of where real images lie, of whatever class.

    The score is the Mahalanobis distance to the nearest class mean, with the shrunk covariance within classes (Lee et
    al. 2018, "A simple unified framework for detecting out-of-distribution samples", equation 2); its square counts
    n / (n + 1) for a mean of n images, as that is off itself. Distances to single real images would call every new
    image of a rare class an outlier.

    The limit is one that `real_share` of all unseen real images keep; for a class that lies further out it is that of
    its own unseen images, so that a whole class is never unlike the others.
    """

    name: ClassVar[str] = "outlier"
    too_high: ClassVar[str] = "unlike real images"
    default: ClassVar[dict[str, Share]] = {"real_share": 0.99}

    def _learn(self, real: Candidates) -> dict[str, npt.NDArray[Any]]:
        learned, counts = pooled_precision(real), np.bincount(real.labels)
        return {**learned, "means": learned["means"][counts > 0], "counts": counts[counts > 0]}

    def _score(self, state: State, candidates: Candidates) -> FloatArray:
        best, features = np.full(len(candidates), np.inf), candidates.features.astype(np.float64)
        for mean, count in zip(state["means"], state["counts"], strict=True):
            squared = squared_mahalanobis(features - mean, state["whitener"])
            best = np.minimum(best, squared * (count / (count + 1)))
        score: FloatArray = np.sqrt(best).astype(np.float32)
        return score

    def _limits(self, scores: FloatArray, labels: IntArray, share: Share, classes: int) -> npt.NDArray[np.float32]:
        pooled = super()._limits(scores, labels, share, classes)
        own = ScoreSelector._limits(self, scores, labels, share, classes)
        pooled[:, 1] = np.where(np.isfinite(own[:, 1]), np.maximum(own[:, 1], pooled[:, 1]), pooled[:, 1])
        return pooled

    def _check_state(self) -> None:
        super()._check_state()
        for judge in range(len(self.state_["scales"])):
            means, whitener, counts = (self.state_[f"{judge}/{name}"] for name in ("means", "whitener", "counts"))
            if means.ndim != 2 or whitener.shape != (means.shape[1],) * 2 or counts.shape != (len(means),):
                raise ValueError(f"whitener {whitener.shape} of means {means.shape} of {counts.shape} classes")
