"""CentroidSelector, after Xue et al. 2021 ("Selective synthetic augmentation with HistoGAN").

Two steps: the judge must hold the intended class; then the candidates closer to the centroid of the real training
features of their class are kept. The paper's layer, number of dropout passes and thresholds are not published, so
this follows its idea and does not replicate it.
"""

from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from gan_augment.artifacts import new_folder, read_json, read_tensors, versions, write_json, write_tensors
from gan_augment.errors import ArtifactError, ConfigError, DataError
from gan_augment.neighbours import centroid_distances
from gan_augment.types import Candidates, Decision, Extractor, FloatArray, IntArray

__all__ = ["CentroidSelector"]

_KIND = "gan_augment selector"
_VERSION = 1

KEPT, DISAGREES, FAR, UNKNOWN = "", "judge disagrees", "far from its class", "class unknown"


class CentroidSelector:
    """Keeps candidates whose class the judge confirms and that lie close to their class.

    Thresholds are frozen by `calibrate` on a draw of its own, so that each row's decision is its own: streaming,
    order and resuming do not matter.

    Args:
        extractor: Gives features and class probabilities when a pool is built; None on arrays.
        keep_share: Share of the confirmed candidates of a class that is kept, the closest ones, in (0, 1].
        agreement: Whether the most probable class must be the intended one: by the judge's probabilities averaged
            over its dropout passes, or by the nearest centroid where there are none.
    """

    def __init__(self, extractor: Extractor | None = None, *, keep_share: float = 0.5, agreement: bool = True) -> None:
        if not 0 < keep_share <= 1:
            raise ConfigError(f"expected keep_share in (0, 1], found {keep_share}")
        self.extractor = extractor
        self.keep_share = float(keep_share)
        self.agreement = bool(agreement)
        self.centroids_: FloatArray | None = None
        self.known_: npt.NDArray[np.bool_] | None = None
        self.thresholds_: FloatArray | None = None

    def settings(self) -> dict[str, Any]:
        """Returns the settings as JSON values."""
        return {"name": "centroid", "keep_share": self.keep_share, "agreement": self.agreement}

    def save(self, folder: str | Path) -> Path:
        """Writes settings, centroids and thresholds into a new folder; the extractor is saved apart.

        Raises:
            ConfigError: `calibrate` has not been called.
            ArtifactError: The folder exists.
            StorageError: The disk refused.
        """
        if self.centroids_ is None or self.known_ is None or self.thresholds_ is None:
            raise ConfigError("expected fit() and calibrate() before save(), found nothing to save")
        fitted = {"centroids": self.centroids_, "known": self.known_, "thresholds": self.thresholds_}
        with new_folder(folder, "selector") as work:
            write_tensors(work / "fitted.safetensors", {name: torch.from_numpy(a) for name, a in fitted.items()})
            about = {"kind": _KIND, "version": _VERSION, "settings": self.settings(), "versions": versions()}
            write_json(work / "selector.json", about)
        return Path(folder)

    @classmethod
    def load(cls, folder: str | Path, extractor: Extractor | None = None) -> Self:
        """Reads what `save` wrote.

        Args:
            folder: The selector's folder.
            extractor: The one that it was fitted with.

        Raises:
            ArtifactError: It is missing, damaged or of a newer version.
        """
        about = read_json(Path(folder) / "selector.json", _KIND, _VERSION)
        fitted = read_tensors(Path(folder) / "fitted.safetensors")
        try:
            settings = about["settings"]
            selector = cls(extractor, keep_share=float(settings["keep_share"]), agreement=settings["agreement"])
            arrays = [fitted[name].numpy() for name in ("centroids", "known", "thresholds")]
            lengths, widths = {len(array) for array in arrays}, [array.ndim for array in arrays]
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"expected a whole selector in {folder}, found {error!r}; it is damaged") from None
        if len(lengths) != 1 or widths != [2, 1, 1]:
            raise ArtifactError(f"expected a centroid and a threshold for each class in {folder}, found others")
        selector.centroids_, selector.known_, selector.thresholds_ = arrays[0], arrays[1].astype(bool), arrays[2]
        return selector

    def fit(self, real: Candidates) -> Self:
        """Takes the mean of each class's real features `(N, D)`.

        Raises:
            DataError: There is no image, or a feature is NaN or infinite.
        """
        if not len(real) or not np.isfinite(real.features).all():
            raise DataError(f"expected finite features of real images, found {len(real)} rows, or NaN among them")
        classes = int(real.labels.max()) + 1
        counts = np.bincount(real.labels, minlength=classes)
        sums = np.zeros((classes, real.features.shape[1]))
        np.add.at(sums, real.labels, real.features.astype(np.float64))
        self.known_ = counts > 0
        self.centroids_ = (sums / np.maximum(counts, 1)[:, None]).astype(np.float32)
        self.thresholds_ = None
        return self

    def calibrate(self, drawn: Candidates) -> Self:
        """Freezes each class's largest distance so that `keep_share` of the confirmed rows of `drawn` pass.

        A class without confirmed rows gets no threshold, and none of it is kept.

        Raises:
            ConfigError: `fit` has not been called.
            DataError: A feature is NaN or infinite.
        """
        if not np.isfinite(drawn.features).all():
            raise DataError("expected finite features of drawn images, found NaN or infinity; look at the synthesizer")
        distances, confirmed = self._measure(drawn)
        assert self.centroids_ is not None
        thresholds = np.full(len(self.centroids_), -np.inf, np.float32)
        for label in np.unique(drawn.labels[confirmed]):
            own = distances[confirmed & (drawn.labels == label)]
            thresholds[label] = np.quantile(own, self.keep_share, method="inverted_cdf")
        self.thresholds_ = thresholds
        return self

    def decide(self, candidates: Candidates) -> Decision:
        """Decides row by row; the score is the distance to the class's centroid.

        Raises:
            ConfigError: `fit` or `calibrate` has not been called.
        """
        if self.thresholds_ is None:
            raise ConfigError("expected fit() and calibrate() before decide(), found thresholds that are not set")
        distances, confirmed = self._measure(candidates)
        known = self._is_known(candidates.labels)
        limits = np.where(known, self.thresholds_[np.where(known, candidates.labels, 0)], -np.inf)
        close = distances <= limits
        reason = np.select([~known, ~confirmed, ~close], [UNKNOWN, DISAGREES, FAR], KEPT)
        return Decision(known & confirmed & close, distances, reason)

    def scores(self, features: FloatArray, labels: IntArray) -> FloatArray:
        """Returns the distance `(N,)` of each row of `features` `(N, D)` to the centroid of its class."""
        return self._measure(Candidates(np.asarray(features, np.float32), np.asarray(labels, np.int64)))[0]

    def keep(self, features: FloatArray, labels: IntArray) -> npt.NDArray[np.bool_]:
        """Returns which rows are kept `(N,)`; without an earlier `calibrate`, the share is of these very rows."""
        candidates = Candidates(np.asarray(features, np.float32), np.asarray(labels, np.int64))
        frozen = self.thresholds_
        try:
            if frozen is None:
                self.calibrate(candidates)
            return self.decide(candidates).keep
        finally:
            self.thresholds_ = frozen

    def _is_known(self, labels: IntArray) -> npt.NDArray[np.bool_]:
        assert self.known_ is not None
        inside = (labels >= 0) & (labels < len(self.known_))
        return inside & self.known_[np.where(inside, labels, 0)]

    def _measure(self, candidates: Candidates) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
        """Returns the distance of each row to its class's centroid, and whether its class is confirmed."""
        if self.centroids_ is None or self.known_ is None:
            raise ConfigError("expected fit() first, found a selector without centroids")
        labels, known = candidates.labels, self._is_known(candidates.labels)
        safe = np.where(known, labels, 0)
        own = candidates.features - self.centroids_[safe]
        distances = np.sqrt((own.astype(np.float64) ** 2).sum(axis=1)).astype(np.float32)
        distances[~known] = np.inf
        if not self.agreement:
            return distances, known
        if candidates.probs is not None:
            held = candidates.probs.argmax(axis=1)
        else:
            to_all = centroid_distances(candidates.features, self.centroids_)
            held = np.where(self.known_, to_all, np.inf).argmin(axis=1)
        return distances, known & (held == labels)
