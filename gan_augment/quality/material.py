"""What an audit looks at: synthetic and real images in one form, with classes, parents and groups."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_augment.errors import ConfigError, DataError
from gan_augment.fingerprint import check_disjoint
from gan_augment.images import ImageSpec
from gan_augment.metrics.copies import shrunk
from gan_augment.pool import SyntheticPool
from gan_augment.pool.matching import check_form, labels_in
from gan_augment.source import RawView
from gan_augment.types import FloatArray, IntArray, side_by_side

__all__ = ["Features", "Material", "Side", "Space", "judged"]


@dataclass(frozen=True)
class Side:
    """One set of images: the pool, the training split or the held-out one.

    Attributes:
        images: `(N, C, *grid)` in [-1, 1], as a judge sees them.
        pixels: `(N, C, *spatial)` in [-1, 1] without padding, as they are compared.
        labels: `(N,)` classes of the training split.
    """

    images: Tensor
    pixels: Tensor
    labels: IntArray

    def __len__(self) -> int:
        return len(self.labels)

    def of_class(self, label: int | None) -> IntArray:
        """Returns the rows of a class; of all for None."""
        return np.arange(len(self)) if label is None else np.flatnonzero(self.labels == label)


@dataclass(frozen=True)
class Features:
    """Features and predictions of one set in one space, for the rows that may be used there.

    Attributes:
        rows: `(n,)` rows of the set.
        features: `(n, D)`.
        predicted: `(n,)` class that the judge takes each for; None where it names none.
        labels: `(n,)` classes that they should be.
    """

    rows: IntArray
    features: FloatArray
    predicted: IntArray | None
    labels: IntArray

    def of_class(self, label: int | None) -> FloatArray:
        """Returns the features of a class; of all for None."""
        return self.features if label is None else self.features[self.labels == label]


@dataclass(frozen=True)
class Space:
    """What one judge sees.

    Attributes:
        pool: The synthetic images.
        reals: Real images.
        seen: Whether the judge was trained on those.
        of_train: Whether they are of the training split, not held out.
    """

    pool: Features
    reals: Features
    seen: bool = False
    of_train: bool = True


@dataclass
class Material:
    """Everything the checks read.

    Attributes:
        classes: Class names.
        pool: The synthetic images.
        train: The real ones.
        holdout: Real ones that nothing was fitted on; None where there are none.
        parents: `(n,)` training image that each synthetic one was made from; -1 where there is none.
        spaces: Filled once judges are there.
        warnings: What the reader should know first.
    """

    view: RawView
    spec: ImageSpec
    pool: Side
    train: Side
    holdout: Side | None
    parents: IntArray
    spaces: list[Space] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        """Class names of the training split."""
        return self.view.classes

    @classmethod
    def of(cls, pool: Any, train: Any, holdout: Any, *, progress: bool) -> "Material":
        """Decodes pool, train and holdout with the training split's spec.

        Raises:
            ConfigError: `pool` is no pool.
            DataError: It is empty or has other images or classes than `train`, or the splits share images.
        """
        if not isinstance(pool, SyntheticPool):
            raise ConfigError(
                f"expected a SyntheticPool, found {type(pool).__name__}; make one of your images with "
                "ga.SyntheticPool.from_arrays(images, labels)"
            )
        if not len(pool):
            raise DataError("expected a pool with images, found an empty one; audit pool.candidates() instead")
        view = RawView.of(train, progress=progress)
        shape = pool.form.shape if pool.image_spec is None else pool.image_spec.grid
        spec = view.spec(shape if view.full_form.shape is None else None)
        check_form(pool, view, spec)
        labels = labels_in(pool, view)
        arrays = np.stack([pool.array(int(row)) for row in pool.rows])
        if arrays.shape[1] != spec.channels:
            arrays = np.broadcast_to(arrays, (len(arrays), spec.channels, *arrays.shape[2:]))
        warned: list[str] = []
        held = None if holdout is None else _holdout(holdout, view, spec, pool, warned, progress)
        return cls(
            view,
            spec,
            Side(spec.decode(arrays), shrunk(_unpadded(spec).decode(arrays)), labels),
            _side(view, spec, view.targets),
            held,
            _parents(pool, view),
            warnings=warned,
        )


def _unpadded(spec: ImageSpec) -> ImageSpec:
    """Padding repeats the border: a shifted copy would differ there more than by the shift."""
    return replace(spec, grid=spec.raw_shape) if spec.fit == "pad" else spec


def _side(view: RawView, spec: ImageSpec, labels: IntArray) -> Side:
    return Side(view.images(spec=spec), shrunk(view.images(spec=_unpadded(spec))), labels)


def _holdout(
    holdout: Any, view: RawView, spec: ImageSpec, pool: SyntheticPool, warned: list[str], progress: bool
) -> Side:
    held = RawView.of(holdout, progress=progress)
    check_disjoint(view.hashes, held.hashes, "images", "holdout=")
    if different := view.form.differences(held.form, ("dtype", "channels")):
        raise DataError(f"expected holdout= like the training split, found others: {different} (train against holdout)")
    if shared := len(np.intersect1d(pool.fitted_on.images, held.hashes)):
        warned.append(
            f"{shared} images of holdout= are in the pool, or its synthesizer or judge was fitted on them: they are "
            "not held out, and the copy check may miss copies of them"
        )
    if unknown := sorted({held.classes[label] for label in held.targets} - set(view.classes)):
        raise DataError(f"expected holdout= of the classes {', '.join(view.classes)}, found {', '.join(unknown)}")
    labels = np.array([view.classes.index(held.classes[label]) for label in held.targets.tolist()], np.int64)
    return _side(held, spec, labels)


def _parents(pool: SyntheticPool, view: RawView) -> IntArray:
    like = pool.about.get("like")
    same = isinstance(like, dict) and like.get("identity") == view.identity
    return pool.parents if same else np.full(len(pool), -1, np.int64)


def judged(extract: Any, side: Side, rows: IntArray, classes: list[str] | None, names: list[str]) -> Features:
    """Returns what an extractor's `extract` sees in rows of a side."""
    found = extract(side.images[torch.from_numpy(rows)])
    fits = found.probs is not None and (classes is None or list(classes) == list(names))
    fits = fits and found.probs.shape[1] == len(names)
    predicted = found.probs.argmax(1).astype(np.int64) if fits else None
    return Features(rows, side_by_side(found.features), predicted, side.labels[rows])
