"""How close synthetic images are to training images and to each other, against real images in their place."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.metrics.copies import ShiftIndex, authentic
from gan_augment.metrics.outliers import mahalanobis, residuals
from gan_augment.quality.material import Material, Side
from gan_augment.types import FloatArray, IntArray

__all__ = ["COPY_RATIO", "Closeness", "Near", "closeness"]

COPY_RATIO = 0.3
"""A distance below this part of that between neighbours makes a near-copy."""

DUPLICATE_RATIO = 0.25
"""The same for a duplicate inside a class of the pool, where there may be more images than reals."""

FAR_QUANTILE, FAR_SLACK = 0.99, 1.2
"""Beyond so many times what 99% of the reals keep below, an image is far from the real ones."""

_FEW = 10
_FLOOR = 0.1


@dataclass(frozen=True)
class Near:
    """Images against the training split.

    Attributes:
        distance: `(n,)` shift-tolerant distance to the nearest training image, itself or its parent left out.
        ratio: `(n,)` that distance over the one from there to the nearest other training image.
        labels: `(n,)` their classes.
    """

    distance: FloatArray
    ratio: FloatArray
    labels: IntArray

    @property
    def copies(self) -> npt.NDArray[np.bool_]:
        """Whether each is a near-copy of a training image."""
        return self.ratio < COPY_RATIO

    @property
    def authentic(self) -> npt.NDArray[np.bool_]:
        """Whether each is authentic."""
        return authentic(self.ratio, np.ones_like(self.ratio))


@dataclass(frozen=True)
class Closeness:
    """Near-copies, duplicates and outliers.

    Attributes:
        pool: The pool against the training split.
        train: Each training image against the others.
        holdout: The held-out images against the training split; None where there are none.
        duplicates: `(n,)` whether a near-duplicate of each synthetic image is in its class of the pool.
        duplicates_real: `(N,)` the same of training images in theirs.
        far: `(n,)` whether each synthetic image lies outside of where real images of any class lie.
        far_real: `(N,)` the same of training images.
        parent_copies: Share of images with a parent that are near-copies of it; None where there are none.
    """

    pool: Near
    train: Near
    holdout: Near | None
    duplicates: npt.NDArray[np.bool_]
    duplicates_real: npt.NDArray[np.bool_]
    far: npt.NDArray[np.bool_]
    far_real: npt.NDArray[np.bool_]
    parent_copies: float | None

    @property
    def reference(self) -> Near:
        """Real images in the pool's place: the held-out ones, else each training image against the others."""
        return self.train if self.holdout is None else self.holdout


def closeness(material: Material, seed: int) -> Closeness:
    """Measures all that is measured in pixels, and which images are far in pixels or in features."""
    index = ShiftIndex(material.train.pixels, seed)
    own, rows = index.search(material.train.pixels, 2, left_out=np.arange(len(material.train)))
    neighbours = own, rows
    pool = _near(index, material.pool, neighbours, material.parents)
    train = _train_near(index, material, neighbours)
    holdout = None if material.holdout is None else _near(index, material.holdout, neighbours, None)
    scale = _scales(material.train, own[:, 0], seed)
    far, far_real = _far(material, seed)
    return Closeness(
        pool,
        train,
        holdout,
        _duplicates(material.pool, scale, seed),
        _duplicates(material.train, scale, seed),
        far,
        far_real,
        _parent_copies(material, own[:, 0]),
    )


def _near(index: ShiftIndex, side: Side, neighbours: tuple[FloatArray, IntArray], left_out: IntArray | None) -> Near:
    found, which = index.search(side.pixels, left_out=left_out)
    distance, rows, nobody = found[:, 0], which[:, 0], np.full(len(side), -2)
    return Near(distance, _ratio(distance, rows, neighbours, nobody), side.labels)


def _train_near(index: ShiftIndex, material: Material, neighbours: tuple[FloatArray, IntArray]) -> Near:
    """Each training image against the others; of other groups, as new images come from other patients."""
    everyone = np.arange(len(material.train))
    own, rows = neighbours
    if material.view.groups is not None:
        groups = np.unique(np.array([str(group) for group in material.view.groups]), return_inverse=True)[1]
        own, rows = index.search(material.train.pixels, left_out=everyone, groups=(groups, groups))
    return Near(own[:, 0], _ratio(own[:, 0], rows[:, 0], neighbours, everyone), material.train.labels)


def _ratio(
    distance: FloatArray, rows: IntArray, neighbours: tuple[FloatArray, IntArray], queries: IntArray
) -> FloatArray:
    """Returns distance over that of the image found to its nearest other, the query left out.

    The latter is at least a tenth of the usual, so that the twin of a training image that has one is no exception.
    """
    own, others = neighbours
    beyond = np.where(others[rows, 0] == queries, own[rows, 1], own[rows, 0])
    known = own[:, 0][np.isfinite(own[:, 0])]
    usual = float(np.median(known)) if len(known) else 1.0
    beyond = np.where(np.isfinite(beyond), np.maximum(beyond, _FLOOR * usual), usual)
    return (distance / np.maximum(beyond, 1e-12)).astype(np.float32)


def _within(pixels: Tensor, seed: int) -> FloatArray:
    """Returns the distance of each image to the nearest other one of the set; inf where it is alone."""
    if len(pixels) < 2:
        return np.full(len(pixels), np.inf, np.float32)
    return ShiftIndex(pixels, seed).search(pixels, left_out=np.arange(len(pixels)))[0][:, 0]


def _scales(train: Side, own: FloatArray, seed: int) -> dict[int, float]:
    """Returns for each class the median distance of its reals to the nearest of the class; of few, that of all."""
    usual = float(np.median(own[np.isfinite(own)])) if np.isfinite(own).any() else 0.0
    scales = {}
    for label in np.unique(train.labels):
        members = train.of_class(int(label))
        inside = _within(train.pixels[torch.from_numpy(members)], seed) if len(members) >= _FEW else np.empty(0)
        scales[int(label)] = float(np.median(inside)) if len(inside) else usual
    return scales


def _duplicates(side: Side, scales: dict[int, float], seed: int) -> npt.NDArray[np.bool_]:
    found = np.zeros(len(side), bool)
    for label in np.unique(side.labels):
        members = side.of_class(int(label))
        distance = _within(side.pixels[torch.from_numpy(members)], seed)
        found[members] = distance <= DUPLICATE_RATIO * scales.get(int(label), 0.0)
    return found


def _far(material: Material, seed: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """An image is far if pixels or features are so far from what all classes share as hardly any real image's."""
    reals, pool = (side.pixels.flatten(1).numpy() for side in (material.train, material.pool))
    far, far_real = np.zeros(len(pool), bool), np.zeros(len(reals), bool)
    if len(reals) >= _FEW:
        own, drawn = residuals(reals, pool, seed)
        limit = _limit(own)
        far, far_real = drawn > limit, own > limit
    over = []
    for space in material.spaces:
        if space.seen or len(space.reals.features) < 2 * _FEW:
            continue
        own, drawn = mahalanobis(space.reals.features, space.pool.features, seed)
        over.append(drawn / _limit(own))
        if space.of_train:
            far_real[space.reals.rows] |= own > _limit(own)
    if over:
        far = far | (np.mean(over, axis=0) > 1)
    return far, far_real


def _limit(scores: npt.NDArray[np.float64]) -> float:
    return max(FAR_SLACK * float(np.quantile(scores, FAR_QUANTILE)), 1e-12)


def _parent_copies(material: Material, own: FloatArray) -> float | None:
    """Returns the share of rows so near to their own parent as copies are to their original."""
    rows = np.flatnonzero(material.parents >= 0)
    if not len(rows):
        return None
    parents = material.parents[rows]
    difference = material.pool.pixels[torch.from_numpy(rows)] - material.train.pixels[torch.from_numpy(parents)]
    distance = difference.flatten(1).pow(2).mean(1).sqrt().numpy()
    return float((distance < COPY_RATIO * own[parents]).mean())
