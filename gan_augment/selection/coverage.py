"""Selectors that choose a set: one whose moments are those of the real images, or that leaves nothing uncovered."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from gan_augment.errors import ConfigError
from gan_augment.selection.base import SetSelector, joined
from gan_augment.selection.metric import pooled_precision
from gan_augment.types import Candidates, FloatArray

__all__ = ["HerdingSelector", "KCenterSelector"]

_PRIOR = 20.0
"""Images of its own at which a class's moments count as much as the pooled ones."""

_MOST_POOLED = 2000


@dataclass(eq=False, kw_only=True)
class _Subset(SetSelector):
    """Keeps ceil(keep_share n) of the n candidates of a class, picked one after the other.

    Args:
        keep_share: Share of the candidates of each class that is kept, in (0, 1]. What a smaller share keeps, a larger
            one keeps too.
    """

    keep_share: float = 0.5
    reason: ClassVar[str] = "adds little to the others"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.keep_share <= 1:
            raise ConfigError(f"expected keep_share in (0, 1], found {self.keep_share!r}")

    def _picks(self, label: int, features: FloatArray, count: int) -> list[int]:
        """Returns the rows that are picked, in their order."""
        raise NotImplementedError

    def _choose(self, label: int, features: FloatArray) -> tuple[npt.NDArray[np.bool_], FloatArray]:
        total = len(features)
        picked = self._picks(label, features, math.ceil(self.keep_share * total - 1e-9))
        score = np.full(total, total, np.float32)
        score[picked] = np.arange(len(picked))
        return score < total, score


@dataclass(eq=False, kw_only=True)
class HerdingSelector(_Subset):
    """Keeps of each class a subset with the mean and the covariance of the real images: herding on second moments.

    Rows are picked one by one, each the one after which |mean of phi over the picked - mean of phi over the reals| is
    least (herding, Chen et al. 2010, "Super-samples from kernel herding", made greedy), where phi(x) holds x and all
    its products: <phi(x), phi(y)> = (1 + x.y)^2. Matching covariances did better than other selectors in
    arXiv 2510.08123. Features are centred on the real mean of the class and whitened by the shrunk covariance within
    classes. Of a class with n images the moments are n / (n + 20) its own, the rest those of all classes about their
    means: six images say little of a covariance. Costs O(n m D) for m of n candidates.
    """

    name: ClassVar[str] = "herding"

    def _fit(self, real: Candidates) -> None:
        features, labels = joined(real), real.labels
        learned = pooled_precision(Candidates(features, labels))
        left = (features - learned["means"][labels]) @ learned["whitener"]
        own = np.bincount(labels)[labels] > 1
        order = np.argsort(labels, kind="stable")
        pooled = (
            left[own][np.unique(np.linspace(0, max(0, own.sum() - 1), _MOST_POOLED).astype(int))] if own.any() else left
        )
        self.state_ = {
            "known": np.bincount(labels) > 0,
            "means": learned["means"],
            "whitener": learned["whitener"],
            "labels": labels[order],
            "reals": np.ascontiguousarray(left[order], dtype=np.float32),
            "pooled": np.ascontiguousarray(pooled, dtype=np.float32),
        }

    def _picks(self, label: int, features: FloatArray, count: int) -> list[int]:
        state = self.state_
        rows = ((features - state["means"][label]) @ state["whitener"]).astype(np.float32) / math.sqrt(
            features.shape[1]
        )
        own = slice(*np.searchsorted(state["labels"], [label, label + 1]))
        number = own.stop - own.start
        weight = number / (number + _PRIOR)
        wanted = weight * _mean_kernel(rows, state["reals"][own]) + (1 - weight) * _mean_kernel(rows, state["pooled"])
        itself = (1 + (rows**2).sum(1, dtype=np.float64)) ** 2
        to_picked, free, picked = np.zeros(len(rows)), np.ones(len(rows), bool), []
        for step in range(1, count + 1):
            # |(sum of phi over the picked + phi(g)) / step - mean phi of reals|^2 but for what is the same for all g
            cost = (2 * to_picked + itself) / step**2 - 2 * wanted / step
            best = int(np.where(free, cost, np.inf).argmin())
            picked.append(best)
            free[best] = False
            to_picked += (1 + (rows @ rows[best]).astype(np.float64)) ** 2
        return picked

    def _check_state(self) -> None:
        state = self.state_
        if state["reals"].ndim != 2 or state["labels"].shape != (len(state["reals"]),):
            raise ValueError(f"labels {state['labels'].shape} of reals {state['reals'].shape}")
        if state["means"].shape[0] != len(state["known"]):
            raise ValueError(f"means {state['means'].shape} of {len(state['known'])} classes")


def _mean_kernel(rows: FloatArray, others: FloatArray) -> npt.NDArray[np.float64]:
    """Returns the mean of (1 + x.y)^2 over whitened rows y of others, in which x is scaled by 1 / sqrt(D) already."""
    scaled = others / math.sqrt(rows.shape[1])
    found = np.zeros(len(rows))
    for start in range(0, len(scaled), 1024):
        found += ((1 + (rows @ scaled[start : start + 1024].T).astype(np.float64)) ** 2).sum(1)
    return found / max(1, len(scaled))


@dataclass(eq=False, kw_only=True)
class KCenterSelector(_Subset):
    """Keeps of each class the candidates that leave the others the least distance to a kept one.

    Greedy k-centre (Gonzalez 1985; Sener and Savarese 2018): each pick is the candidate farthest from all that is
    picked, whose covering radius is at most twice the best. It seeks outliers: put guards before it.

    Args:
        from_reals: Whether the real images of the class count as picked from the start, so that what they do not cover
            comes first.
    """

    from_reals: bool = True

    name: ClassVar[str] = "k-center"

    def _fit(self, real: Candidates) -> None:
        order = np.argsort(real.labels, kind="stable")
        self.state_ = {
            "known": np.bincount(real.labels) > 0,
            "labels": real.labels[order],
            "reals": joined(real[order]),
        }

    def _picks(self, label: int, features: FloatArray, count: int) -> list[int]:
        rows = features.astype(np.float64)
        own = slice(*np.searchsorted(self.state_["labels"], [label, label + 1]))
        reals = self.state_["reals"][own].astype(np.float64)
        start = reals if self.from_reals else rows.mean(0, keepdims=True)
        far = np.full(len(rows), np.inf)
        for one in start:
            far = np.minimum(far, ((rows - one) ** 2).sum(1))
        picked: list[int] = []
        if not self.from_reals:  # the first is the one in the middle, and the mean itself covers nothing
            picked = [int(far.argmin())]
            far = ((rows - rows[picked[0]]) ** 2).sum(1)
        free = np.ones(len(rows), bool)
        free[picked] = False
        while len(picked) < count:
            best = int(np.where(free, far, -1).argmax())
            picked.append(best)
            free[best] = False
            far = np.minimum(far, ((rows - rows[best]) ** 2).sum(1))
        return picked

    def _check_state(self) -> None:
        if self.state_["labels"].shape != (len(self.state_["reals"]),) or self.state_["reals"].ndim != 2:
            raise ValueError(f"labels {self.state_['labels'].shape} of reals {self.state_['reals'].shape}")
