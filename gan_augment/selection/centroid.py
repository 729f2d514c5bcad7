"""CentroidSelector, after Xue et al. 2021 ("Selective synthetic augmentation with HistoGAN").

Two steps: the judge must hold the intended class; then the candidates closer to the centroid of the real training
features of their class are kept. The paper's layer, number of dropout passes and thresholds are not published, so
this follows its idea and does not replicate it.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gan_augment.neighbours import centroid_distances
from gan_augment.selection.base import KEPT, ScoreSelector, State, member
from gan_augment.types import Candidates, FloatArray

__all__ = ["CentroidSelector"]

DISAGREES = "judge disagrees"


@dataclass(eq=False, kw_only=True)
class CentroidSelector(ScoreSelector):
    """Keeps candidates whose class the judge confirms and that lie close to their class.

    Args:
        agreement: Whether the most probable class must be the intended one: by the judge's probabilities averaged
            over its dropout passes, or by the nearest centroid where there are none.
    """

    agreement: bool = True

    name: ClassVar[str] = "centroid"
    too_high: ClassVar[str] = "far from its class"

    def _learn(self, real: Candidates) -> dict[str, npt.NDArray[Any]]:
        classes = int(real.labels.max()) + 1
        counts = np.bincount(real.labels, minlength=classes)
        sums = np.zeros((classes, real.features.shape[1]))
        np.add.at(sums, real.labels, real.features.astype(np.float64))
        return {"centroids": (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)}

    def _score(self, state: State, candidates: Candidates) -> FloatArray:
        own = candidates.features - state["centroids"][candidates.labels]
        distances: FloatArray = np.sqrt((own.astype(np.float64) ** 2).sum(axis=1)).astype(np.float32)
        return distances

    def _admit(self, candidates: Candidates) -> npt.NDArray[np.str_]:
        if not self.agreement:
            return super()._admit(candidates)
        if candidates.probs is not None:
            held = candidates.probs.argmax(axis=1)
        else:
            to_all = centroid_distances(member(candidates, 0).features, self._of(0)["centroids"])
            held = np.where(self.state_["known"], to_all, np.inf).argmin(axis=1)
        return np.where(held == candidates.labels, KEPT, DISAGREES)
