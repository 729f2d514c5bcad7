"""How an extractor sees images: at its own size and range, with its classes in the dataset's order."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from gan_augment.errors import ConfigError
from gan_augment.images import ImageSpec, batch_rows
from gan_augment.source import RawView
from gan_augment.types import Candidates, CrossFitted, Extractor, Features, FloatArray, HasLogits, IntArray

__all__ = ["Eye", "Seen", "group_numbers", "see_reals"]

Seen = tuple[Features, FloatArray | None]


class Eye:
    """One extractor, with its classes in the dataset's order.

    Args:
        extractor: Who sees.
        spec: How raw images map to [-1, 1], where the extractor does not say.
        classes: The dataset's class names.

    Raises:
        ConfigError: The extractor was fitted on images of another type, or lacks a class.
    """

    def __init__(self, extractor: Extractor, spec: ImageSpec, classes: Sequence[str]) -> None:
        judged = getattr(extractor, "image_spec", None)
        if judged is not None and (different := judged.form.differences(spec.form, ("dtype", "channels"))):
            raise ConfigError(
                f"expected a judge fitted on images of the dataset's own type, found another: {different}; fit one on "
                "this dataset"
            )
        self.extractor, self.spec, self.fingerprint = extractor, judged or spec, extractor.fingerprint
        self._columns = _class_columns(getattr(extractor, "classes", None), classes)

    def see(self, images: Tensor, labels: IntArray, hashes: IntArray | None = None) -> Seen:
        """Returns features, and the discriminator's logits where there is one; hashes are given of real images."""
        if hashes is not None and isinstance(self.extractor, CrossFitted):
            seen = self.extractor.extract_fitted(images, hashes)
        else:
            seen = self.extractor.extract(images)
        if seen.probs is not None and self._columns is not None:
            seen = replace(seen, probs=seen.probs[:, self._columns])
        own = labels if self._columns is None else self._columns[labels]
        found = self.extractor.logits(images, own) if isinstance(self.extractor, HasLogits) else None
        return seen, found


def _class_columns(judged: Sequence[str] | None, classes: Sequence[str]) -> IntArray | None:
    """Returns the order that puts a judge's classes into the dataset's, by name, those of the judge alone last."""
    if judged is None or list(judged) == list(classes):
        return None
    if missing := [name for name in classes if name not in judged]:
        raise ConfigError(
            f"expected a judge of the dataset's classes, found that it lacks {', '.join(missing)} (it has "
            f"{', '.join(judged)}); fit one on this dataset"
        )
    names = [*classes, *[name for name in judged if name not in classes]]
    return np.array([list(judged).index(name) for name in names], np.int64)


def group_numbers(view: RawView) -> IntArray | None:
    """Returns groups (patients) numbered from 0, `(N,)`; None where there are none."""
    return None if view.groups is None else np.unique([str(g) for g in view.groups], return_inverse=True)[1]


def see_reals(view: RawView, extractor: Extractor) -> Candidates:
    """Returns the columns of a dataset's real images, as one extractor sees them.

    Raises:
        ConfigError: The extractor was fitted on images of another type, or lacks a class.
    """
    own: ImageSpec | None = getattr(extractor, "image_spec", None)
    eye = Eye(extractor, own or view.spec(), view.classes)
    parts, rows_together = [], batch_rows(eye.spec.grid)
    for start in range(0, len(view), rows_together):
        rows = np.arange(start, min(start + rows_together, len(view)))
        labels = view.targets[rows]
        seen, logits = eye.see(view.images(rows, spec=eye.spec), labels, view.hashes[rows])
        parts.append(Candidates(seen.features, labels, seen.probs, seen.entropy, logits, fold=seen.fold))
    return replace(Candidates.concatenate(parts), groups=group_numbers(view))
