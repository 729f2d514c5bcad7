"""Instance selection: the real images that a GAN is trained on, chosen by the selectors that choose synthetic ones.

After DeVries, Drozdzal and Taylor (2020, "Instance selection for GANs", arXiv 2007.15255): a GAN that is not made to
cover the sparsest part of the data draws better images of the rest. It trades diversity for quality, and rare classes
have none to spare, so they stay whole.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_augment.errors import ConfigError, whole
from gan_augment.selection.base import ScoreSelector
from gan_augment.selection.centroid import CentroidSelector
from gan_augment.selection.eyes import see_reals
from gan_augment.selection.tables import Table
from gan_augment.selection.thresholds import check_share
from gan_augment.source import RawView
from gan_augment.types import Extractor, FloatArray, IntArray

__all__ = ["SelectedReals", "choose_rows", "select_reals"]


@dataclass(frozen=True)
class SelectedReals:
    """Which real images are kept, and which are left out.

    Attributes:
        rows: `(n,)` indices of the dataset that are kept, in its order; for `torch.utils.data.Subset`.
        dropped: `(N - n,)` indices left out, the farthest first: look at them.
        scores: `(N,)` of all images, lower is better; NaN of those that could not be scored, which are kept.
        table: Of each class `images`, `kept`, `dropped`, `unscored`, and `limit`, the highest score that was kept where
            any were left out.
        settings: What they were chosen with.
    """

    rows: IntArray
    dropped: IntArray
    scores: FloatArray
    table: Table
    settings: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Returns the choice as JSON values."""
        return {
            "rows": self.rows.tolist(),
            "dropped": [{"row": row, "score": float(self.scores[row])} for row in self.dropped.tolist()],
            "table": self.table.to_json(),
            "settings": self.settings,
        }

    def __str__(self) -> str:
        return f"{len(self.rows)} of {len(self.scores)} real images are kept.\n{self.table}"


def select_reals(
    dataset: Any,
    extractor: Extractor | None = None,
    selector: ScoreSelector | None = None,
    *,
    keep_share: float = 0.8,
    min_images: int = 100,
    targets: npt.ArrayLike | None = None,
    groups: Sequence[Any] | npt.NDArray[Any] | None = None,
    progress: bool = True,
) -> SelectedReals:
    """Returns the real images of each class that lie best among the others of it.

    Each image is scored by what was learned of others: of other folds, which hold none of its own group, and by the
    judge that has not seen it where the extractor is cross-fitted. With a judge that has seen all, the images that it
    learned by heart score too well; a network that was trained on something else, or `CrossFittedExtractor`, is better.

    The paper scores by the log likelihood under a Gaussian. The default here is the Mahalanobis distance to the mean of
    the class, which orders images as a Gaussian likelihood does, with one shrunk covariance for all classes.

    Example:
        >>> import gan_augment as ga
        >>> from torch.utils.data import Subset
        >>> chosen = ga.select_reals(train_set, judges, keep_share=0.8)  # doctest: +SKIP
        >>> gan = ga.fit(Subset(train_set, chosen.rows.tolist()), out="runs/gan")  # doctest: +SKIP

    Args:
        dataset: The training split, or a RawView of it.
        extractor: Gives features; None for the selector's.
        selector: Any that gives each row a score; its own shares do not matter, nor whether a judge would admit the
            image.
        keep_share: Share of the images of each class that is kept, in (0, 1].
        min_images: No class is left with fewer, and one that has no more stays whole.
        targets: One class for each item, where the dataset does not say.
        groups: One group (patient) for each item.
        progress: Whether to show a bar.

    Raises:
        ConfigError: A parameter has a value that cannot work, or the selector gives no scores.
        DataError: A feature is NaN or infinite.
    """
    if selector is not None and not isinstance(selector, ScoreSelector):
        raise ConfigError(
            f"expected a selector that gives each image a score, such as CentroidSelector, found {selector!r:.80}"
        )
    extractor = extractor if extractor is not None or selector is None else selector.extractor
    if extractor is None:
        raise ConfigError("expected an extractor to see real images by, found none; give a judge")
    chosen_by = CentroidSelector(extractor, metric="mahalanobis", agreement=None) if selector is None else selector
    view = RawView.of(dataset, targets, groups, progress=progress)
    scores = chosen_by.real_scores(see_reals(view, extractor))
    keep = choose_rows(scores, view.targets, keep_share, min_images)
    rows = []
    for label, name in enumerate(view.classes):
        own = view.targets == label
        kept = scores[own & keep & ~np.isnan(scores)]
        left_out = int((own & ~keep).sum())
        rows.append(
            {
                "class": name,
                "images": int(own.sum()),
                "kept": int((own & keep).sum()),
                "dropped": left_out,
                "unscored": int(np.isnan(scores[own]).sum()),
                "limit": float(kept.max()) if left_out else None,
            }
        )
    dropped = np.flatnonzero(~keep)
    settings = {"keep_share": float(keep_share), "min_images": int(min_images), "selector": chosen_by.settings()}
    worst_first = dropped[np.argsort(-scores[dropped], kind="stable")]
    return SelectedReals(np.flatnonzero(keep), worst_first, scores, Table(rows), settings)


def choose_rows(
    scores: FloatArray, labels: IntArray, keep_share: float = 0.8, min_images: int = 100
) -> npt.NDArray[np.bool_]:
    """Returns which rows are kept `(N,)`: of each class the lowest scores, and all that have none.

    Of n scored rows the ceil(keep_share n) lowest are kept, of equal scores the first, and more where fewer than
    `min_images` rows of the class would be left.

    Args:
        scores: `(N,)`, lower is better; NaN for none.
        labels: `(N,)` classes.
        keep_share: In (0, 1].
        min_images: Rows of a class that stay at least.

    Raises:
        ConfigError: A parameter has a value that cannot work.
    """
    share, least = check_share("keep_share", keep_share), whole("min_images", min_images, 0)
    if not isinstance(share, float):
        raise ConfigError(f"expected keep_share in (0, 1], found {keep_share!r}")
    keep = np.isnan(scores)
    for label in np.unique(labels):
        scored = np.flatnonzero((labels == label) & ~np.isnan(scores))
        unscored = int((labels == label).sum()) - len(scored)
        count = min(len(scored), max(math.ceil(share * len(scored) - 1e-9), least - unscored))
        keep[scored[np.argsort(scores[scored], kind="stable")[: max(0, count)]]] = True
    return keep
