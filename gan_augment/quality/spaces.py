"""Spaces to measure in: judges that have not seen the real images they are used on."""

from typing import Any

import numpy as np

from gan_augment.errors import ConfigError
from gan_augment.features import CrossFittedExtractor
from gan_augment.fingerprint import FittedOn
from gan_augment.quality.material import Features, Material, Space, judged
from gan_augment.seeds import derive

__all__ = ["agreement", "cross_fitted", "given_space"]


def cross_fitted(material: Material, *, steps: int, seed: int, device: str, progress: bool) -> list[Space]:
    """Trains a judge on all folds but one for each fold, and returns what it sees in the pool and in that fold.

    Real images of a fold are unseen by its judge, as the pool's are: what differs is then not the training.

    Raises:
        DataError: A class has fewer than two images.
    """
    view, pool = material.view, np.arange(len(material.pool))
    fitted = CrossFittedExtractor.fit(
        view,
        image_size=None if material.spec.fit == "pad" else material.spec.grid,
        steps=steps,
        seed=derive(seed, "audit"),
        device=device,
        progress=progress,
    )
    fold = fitted.fold_of(view.hashes)
    return [
        Space(
            judged(judge.extract, material.pool, pool, None, view.classes),
            judged(judge.extract, material.train, np.flatnonzero(fold == number), None, view.classes),
        )
        for number, judge in enumerate(fitted.judges)
    ]


def given_space(material: Material, extractor: Any) -> list[Space]:
    """Returns what the user's extractor sees in the pool and in the held-out images, or the training split's.

    Raises:
        ConfigError: It is no extractor, or takes other images.
    """
    if not hasattr(extractor, "extract") or isinstance(extractor, type):
        raise ConfigError(f"expected an extractor, fitted, found {extractor!r:.80}")
    side = material.train if material.holdout is None else material.holdout
    known = np.isin(material.view.hashes, FittedOn.of(extractor).images).sum()
    seen = material.holdout is None and bool(known)
    if seen:
        material.warnings.append(
            f"the extractor was trained on {known} of the {len(material.view)} training images and sees them otherwise "
            "than new ones: give holdout=, or extractor=None to have judges that have not seen the images they judge"
        )
    classes = getattr(extractor, "classes", None)
    pool, reals = (
        judged(extractor.extract, part, np.arange(len(part)), classes, material.classes)
        for part in (material.pool, side)
    )
    if pool.predicted is None:
        material.warnings.append("the extractor names no classes of this dataset: labels were not checked")
    return [Space(pool, reals, seen, of_train=material.holdout is None)]


def agreement(spaces: list[Space], of: str, label: int | None) -> tuple[float, int] | None:
    """Returns how many images of "pool" or "reals" the judges take for what they should be, and of how many.

    The pool's images are judged by every judge, and count by the share of judges that agree.
    """
    right, number = 0.0, 0
    for space in spaces:
        side: Features = getattr(space, of)
        if side.predicted is None:
            return None
        own = np.ones(len(side.labels), bool) if label is None else side.labels == label
        right += float((side.predicted[own] == side.labels[own]).sum())
        number += int(own.sum())
    return (right / len(spaces), number // len(spaces)) if of == "pool" else (right, number)
