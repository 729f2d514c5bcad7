"""Kinds of score selectors: those that go by class probabilities, and those whose limit is one for all classes."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gan_augment.errors import ConfigError, DataError
from gan_augment.selection.base import ScoreSelector, blocks, members
from gan_augment.selection.thresholds import Share, images_for, real_limits
from gan_augment.types import Candidates, FloatArray, IntArray

__all__ = ["OneLimitSelector", "ProbabilitySelector", "probs_of"]


def probs_of(candidates: Candidates, name: str) -> FloatArray:
    """Returns the class probabilities `(N, num_classes)` of rows, in which every label has a column.

    Raises:
        ConfigError: There are none, or fewer columns than classes.
    """
    probs = candidates.probs
    if probs is None:
        raise ConfigError(f"expected candidates with probs for the selector {name!r}, found none")
    if len(candidates) and candidates.labels.max() >= probs.shape[1]:
        raise ConfigError(
            f"expected probabilities of {int(candidates.labels.max()) + 1} classes for the selector {name!r}, found "
            f"{probs.shape[1]}; give an extractor that was fitted on these classes"
        )
    return probs


@dataclass(eq=False, kw_only=True)
class ProbabilitySelector(ScoreSelector):
    """Goes by class probabilities alone.

    There is nothing to learn, and nothing to scale: the probabilities of a real image are those of the judge that has
    not seen it, a candidate's the mean over the judges, and both are of one kind. Dividing by each judge's median, as
    for distances, would weigh judges by how sure they are.
    """

    needs: ClassVar[tuple[str, ...]] = ("probs",)

    def _fit(self, real: Candidates) -> None:
        probs = probs_of(real, self.name)
        if not np.isfinite(probs).all():
            raise DataError("expected finite probabilities of real images, found NaN or infinity")
        super()._fit(real)
        if real.fold is None and self.real_share is not None:
            told = (
                f"{self.name}: if the extractor was trained on these real images, it is surer of them than of new ones "
                "and the limits are too strict; give a CrossFittedExtractor"
            )
            self.notes_.append((told, []))

    def _learn(self, real: Candidates) -> dict[str, npt.NDArray[Any]]:
        return {}

    def _held_out(self, real: Candidates) -> tuple[FloatArray, FloatArray]:
        """Returns the score of each real image, NaN for those that every judge has seen, and no scales."""
        scores = np.concatenate([self._score({}, real[rows]) for rows in blocks(real)])
        if real.fold is not None:
            scores[real.fold < 0] = np.nan
        return scores, np.ones(members(real), np.float32)


@dataclass(eq=False, kw_only=True)
class OneLimitSelector(ScoreSelector):
    """Has one limit for all classes where `real_share` is given: so that this share of all new real images pass.

    Its score must mean the same in every class. A class of few images, which cannot set a limit, has one then.
    """

    def _limits(self, scores: FloatArray, labels: IntArray, share: Share, classes: int) -> npt.NDArray[np.float32]:
        return np.repeat(real_limits(scores, np.zeros_like(labels), share, 1), classes, axis=0)

    def _note_small(self, scores: FloatArray, labels: IntArray) -> None:
        assert self.real_share is not None
        held, wanted = int((~np.isnan(scores)).sum()), images_for(self.real_share)
        if not held:
            self.notes_.append((f"{self.name}: too few real images to decide, all candidates pass", []))
        elif held < wanted:
            told = (
                f"{self.name}: real_share={self.real_share} takes {wanted} real images to be promised, found {held}; "
            )
            self.notes_.append((told + "the limit is that of the farthest one", []))
