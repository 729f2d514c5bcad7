"""DiscriminatorSelector: rejection sampling by the GAN's own discriminator, or its highest logits."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from gan_augment.errors import ConfigError, DataError
from gan_augment.seeds import derive, uniforms
from gan_augment.selection.base import ScoreSelector, State
from gan_augment.types import Candidates, Decision, FloatArray, IntArray

__all__ = ["Calibration", "DiscriminatorSelector", "calibrate_logits", "log_acceptance", "shift_for"]

_DIE = derive(0, "rejection sampling")
_EPSILON = 1e-6
_NEWTON_STEPS = 100
_HALVINGS = 60

Array = npt.NDArray[np.float64]


@dataclass(eq=False, kw_only=True)
class DiscriminatorSelector(ScoreSelector):
    """Keeps each candidate with a probability that rises with the discriminator's logit.

    Discriminator rejection sampling (Azadi et al. 2019, arXiv 1810.06758): where d is the log of how much more likely
    a candidate is among reals than among draws, less its maximum over the draws of the class, a candidate passes with
    probability sigmoid(F), F = d - log(1 - exp(d - eps)) - gamma. At gamma = 0 that is exp(d), exact rejection: what
    passes is distributed as the reals are. To keep a larger share of a class, gamma is lowered until it passes, which
    moves the samples only part of the way; `notes` says so. To keep a smaller one, gamma stays 0 and what exact
    rejection keeps is thinned at random, where theirs is raised, which prefers the highest logits.

    That takes logits which are log-odds. Those of a hinge, a Wasserstein or a relativistic loss are not, so they are
    calibrated by a logistic regression of real against drawn images (Platt 1999), as Turner et al. 2019 (arXiv
    1811.11357) do: with one slope for all classes, for a rare one has too few images for its own, and an
    intercept for each, which drops out of d. Theirs is fitted on reals that the discriminator has not seen. Here it has
    seen all, so that slope and rejection are too sharp where it knows them by heart.

    The die of each row is thrown by the row's seed, so a row gets the same answer in any order and batch.

    Args:
        extractor: A `DiscriminatorExtractor` when a pool is built; None on candidates that have `d_logits`.
        keep_share: Share of the candidates of a class that is kept, in (0, 1]; without `sampling` a band (low, high)
            may be given.
        real_share: Must be None: the discriminator has seen every real image, so nothing can be promised for new ones.
        sampling: Whether to throw dice; otherwise the candidates of the highest logits are kept, which needs no
            calibration and no seeds, and narrows the samples to what the discriminator likes most.

    Raises:
        ConfigError: `real_share` is given, or a band where dice are thrown.
    """

    sampling: bool = True

    name: ClassVar[str] = "discriminator"
    needs: ClassVar[tuple[str, ...]] = ("d_logits",)
    too_high: ClassVar[str] = "rejected by the discriminator"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.sampling, bool):
            raise ConfigError(f"expected sampling True or False, found {self.sampling!r}")
        if self.real_share is not None:
            raise ConfigError(
                f"expected keep_share= for the selector {self.name!r}, found real_share={self.real_share}: the "
                "discriminator has seen every real image, so what share of new ones passes cannot be known"
            )
        if self.sampling and isinstance(self.keep_share, tuple):
            raise ConfigError(
                f"expected keep_share in (0, 1] where dice are thrown, found the band {self.keep_share}; give "
                "sampling=False for a band of logits"
            )

    def _fit(self, real: Candidates) -> None:
        super()._fit(_bare(real))
        self.state_["real_logits"], self.state_["real_labels"] = _finite(real, "real images"), real.labels

    def _learn(self, real: Candidates) -> dict[str, npt.NDArray[Any]]:
        return {}

    def _score(self, state: State, candidates: Candidates) -> FloatArray:
        """Returns -log of the probability to pass, without dice -log sigmoid(logit); NaN and infinity never pass."""
        given, labels = self._there(candidates, "d_logits").astype(np.float64), candidates.labels
        finite = np.isfinite(given)
        logits = np.where(finite, given, 0.0)
        if not self.sampling or "gamma" not in self.state_:
            costs = np.logaddexp(0, -logits)
        else:
            likelier = self.state_["slope"] * (logits - self.state_["top"][labels])
            costs = -log_acceptance(likelier, self.state_["gamma"][labels]) - np.log(self.state_["thinned"][labels])
        return np.where(finite, costs, np.inf).astype(np.float32)

    def _calibrate(self, drawn: Candidates) -> None:
        self.notes_ = []
        self.state_.pop("gamma", None)
        drawn = _bare(drawn)[self._is_known(drawn.labels)]
        logits = _finite(drawn, "drawn images")
        calibration = calibrate_logits(
            np.concatenate([self.state_["real_logits"], logits]),
            np.concatenate([self.state_["real_labels"], drawn.labels]),
            np.arange(len(self.state_["real_logits"]) + len(logits)) < len(self.state_["real_logits"]),
        )
        if calibration.slope <= 0:
            self.notes_.append((f"{self.name}: real images have no higher logits than drawn ones{self._then}", []))
        if not self.sampling:
            super()._calibrate(drawn)
            return
        self.state_["slope"] = np.array([max(calibration.slope, 0.0)])
        self.notes_.append((f"{self.name}: {calibration}", []))
        self._freeze(logits, drawn.labels)

    @property
    def _then(self) -> str:
        return ", so candidates are kept by chance" if self.sampling else "; the highest are no better than others"

    def _freeze(self, logits: FloatArray, labels: IntArray) -> None:
        """Sets each class's highest logit and its gamma; a class that was not drawn has limits that nothing meets."""
        assert isinstance(self.keep_share, float)
        classes, partly = len(self.state_["known"]), []
        top, gamma, thinned = np.zeros(classes), np.zeros(classes), np.ones(classes)
        limits = np.tile(np.array([np.inf, -np.inf], np.float32), (classes, 1))
        for label in np.unique(labels):
            own = np.sort(logits[labels == label].astype(np.float64))
            likelier = self.state_["slope"] * (own - own[-1])
            exact = float(np.exp(log_acceptance(likelier, 0.0)).mean())
            top[label], limits[label] = own[-1], (-np.inf, np.inf)
            if self.keep_share <= exact:
                thinned[label] = self.keep_share / exact
            else:
                gamma[label] = shift_for(likelier, self.keep_share)
                partly.append(int(label))
        self.state_ |= {"top": top, "gamma": gamma, "thinned": thinned, "limits": limits}
        if partly:
            text = (
                f"{self.name}: exact rejection would keep less than keep_share={self.keep_share:g}, so candidates move "
            )
            self.notes_.append((text + "only part of the way towards the reals: ", partly))

    def _decide_block(self, candidates: Candidates) -> Decision:
        decision = super()._decide_block(candidates)
        if not self.sampling:
            return decision
        if candidates.seeds is None:
            raise ConfigError(
                f"expected candidates with seeds for the selector {self.name!r}, which throws each row's die by its "
                "seed, found none; give seeds, or sampling=False"
            )
        if not decision.keep.any():
            return decision
        die = -np.log(uniforms(candidates.seeds, 1, _DIE)[:, 0])
        lost = decision.keep & (decision.score > die)
        reason = np.where(lost, self.too_high, decision.reason)
        return Decision(decision.keep & ~lost, decision.score, reason)

    def _check_state(self) -> None:
        super()._check_state()
        names = ["real_logits", *(["slope", "top", "thinned"] if self.sampling else [])]
        if not all(np.isfinite(self.state_[name]).all() for name in names):
            raise ValueError(f"{' or '.join(names)} that are not finite")
        if self.sampling and not ((self.state_["thinned"] > 0) & (self.state_["thinned"] <= 1)).all():
            raise ValueError("shares that are not in (0, 1]")
        shapes = [self.state_["real_logits"].shape, self.state_["real_labels"].shape]
        wanted: list[tuple[int, ...]] = [(len(self.state_["real_logits"]),)] * 2
        if self.sampling:
            shapes += [self.state_[name].shape for name in ("slope", "top", "gamma", "thinned")]
            wanted += [(1,), *[self.state_["known"].shape] * 3]
        if shapes != wanted or np.isnan(self.state_.get("gamma", 0.0)).any():
            raise ValueError(f"logits and labels of real images, slope, top, gamma and share of shapes {shapes}")


def log_acceptance(likelier: Array, gamma: Array | float) -> Array:
    """Returns log sigmoid(F), F = d - log(1 - exp(d - eps)) - gamma (Azadi et al. 2019), `(N,)`, at most 0.

    Args:
        likelier: d, `(N,)`: a candidate's log density ratio less the highest; what is above 0 counts as 0.
        gamma: Minus infinity lets all pass.
    """
    return -np.logaddexp(0, gamma - _log_odds(likelier))


def _log_odds(likelier: Array) -> Array:
    """Returns F at gamma = 0."""
    below = np.minimum(likelier, 0.0)
    odds: Array = below - np.log1p(-np.exp(below - _EPSILON))
    return odds


def shift_for(likelier: Array, share: float) -> float:
    """Returns the gamma at which a share of candidates passes on average, by bisection.

    Args:
        likelier: d, `(N,)`, see `log_acceptance`.
        share: In (0, 1].
    """
    if share == 1:
        return -np.inf
    odds = _log_odds(likelier)
    low, high = odds.min() - 50, odds.max() + 50  # where all but e-22 pass, and but e-22
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        passing = _sigmoid(odds - middle).mean()
        low, high = (middle, high) if passing > share else (low, middle)
    return float((low + high) / 2)


class Calibration(NamedTuple):
    """How far a discriminator's logits are from log-odds of real against drawn.

    Attributes:
        slope: By which logits are multiplied to be log-odds, but for an intercept.
        error: Its standard error.
        z: Turner et al.'s statistic of the logits as they are, standard normal where they are log-odds.
    """

    slope: float
    error: float
    z: float

    def __str__(self) -> str:
        return (
            f"its logits, which as log-odds would have z = {self.z:.1f} (calibrated within 2), are multiplied by "
            f"{self.slope:.2g} (standard error {self.error:.1g}) by a logistic regression on real images that the "
            "discriminator was trained on; rejection is too sharp where it knows those by heart"
        )


def calibrate_logits(logits: npt.NDArray[Any], labels: IntArray, real: npt.NDArray[np.bool_]) -> Calibration:
    """Fits P(real) = sigmoid(slope * logit + intercept of the class) to real and drawn images.

    Targets are Platt's (1999): (n + 1) / (n + 2) and 1 / (n + 2) instead of 1 and 0, n the number of a class's real or
    drawn images, so that logits which part the two have a finite slope. z is
    sum(y - p) / sqrt(sum p (1 - p)) (Turner et al. 2019), p = sigmoid(logit + log(reals / draws)) by class.
    Classes without reals or without draws say nothing; where no class has both, or no logits differ, the slope is 0.

    Args:
        logits: `(N,)`.
        labels: `(N,)` classes.
        real: `(N,)`, whether each is of a real image.
    """
    counts = np.stack([np.bincount(labels[real == kind], minlength=int(labels.max(initial=0)) + 1) for kind in (0, 1)])
    both: npt.NDArray[np.bool_] = (counts > 0).min(0)
    told = both[labels]
    logits, labels, real = logits[told].astype(np.float64), labels[told], real[told]
    order = np.lexsort((logits, real, labels))  # so that sums do not depend on the rows' order
    logits, real = logits[order], real[order]
    if not len(logits):
        return Calibration(0.0, np.inf, 0.0)
    groups = np.unique(labels[order], return_inverse=True)[1]
    drawn, reals = counts[:, both].astype(np.float64)
    raw = _sigmoid(logits + np.log(reals / drawn)[groups])
    z = (real - raw).sum() / np.sqrt(max((raw * (1 - raw)).sum(), 1e-12))
    targets = np.where(real, ((reals + 1) / (reals + 2))[groups], (1 / (drawn + 2))[groups])
    return Calibration(*_logistic(logits, targets, groups), float(z))


def _logistic(values: Array, targets: Array, groups: IntArray) -> tuple[float, float]:
    """Returns slope and standard error of a logistic regression with an intercept for each group, by Newton's method.

    The intercepts are eliminated from each step, which costs O(N) however many there are.
    """
    scale = max(values.std(), 1e-12)
    values = (values - values.mean()) / scale
    mean = np.bincount(groups, targets) / np.bincount(groups)
    slope, shift = 0.0, np.log(mean / (1 - mean))

    def loss(slope: float, shift: Array) -> float:
        fitted = slope * values + shift[groups]
        return float((np.logaddexp(0, fitted) - targets * fitted).sum())

    now, information = loss(slope, shift), 0.0
    for _ in range(_NEWTON_STEPS):
        fitted = _sigmoid(slope * values + shift[groups])
        weights, left = fitted * (1 - fitted), targets - fitted
        total = np.bincount(groups, weights)
        centre = np.bincount(groups, weights * values) / total
        away = values - centre[groups]
        information = float((weights * away**2).sum())
        if information < 1e-12:
            return 0.0, np.inf
        step = float((left * away).sum()) / information
        shifts = np.bincount(groups, left) / total - centre * step
        size = 1.0
        while size > 1e-4 and loss(slope + size * step, shift + size * shifts) > now:
            size /= 2
        slope, shift = slope + size * step, shift + size * shifts
        now, before = loss(slope, shift), now
        if before - now <= 1e-12 * abs(now):
            break
    return slope / scale, information**-0.5 / scale


def _sigmoid(values: Array) -> Array:
    result: Array = np.exp(-np.logaddexp(0, -values))
    return result


def _bare(candidates: Candidates) -> Candidates:
    """Returns rows without features, which play no part here, nor which judge gave them."""
    return replace(candidates, features=np.empty((len(candidates), 0), np.float32), fold=None, also={})


def _finite(candidates: Candidates, what: str) -> FloatArray:
    assert candidates.d_logits is not None
    if not np.isfinite(candidates.d_logits).all():
        raise DataError(f"expected finite d_logits of {what}, found NaN or infinity; look at the images and the GAN")
    return candidates.d_logits.astype(np.float32)
