"""What a page shows images of: the training split and every candidate of a pool, in one form."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.images import ImageSpec
from gan_augment.metrics.copies import shrunk
from gan_augment.neighbours import nearest
from gan_augment.pool import SyntheticPool
from gan_augment.pool.matching import check_form, labels_in
from gan_augment.source import RawView
from gan_augment.types import FloatArray, IntArray

__all__ = ["Nearest", "Shown"]

_MOST_REALS = 20_000
_PER_CLASS = 100
_BLOCK = 512


@dataclass(frozen=True)
class Shown:
    """A training split and a pool whose classes are the split's.

    Attributes:
        view: The training split.
        pool: All candidates; None where there is no pool.
        spec: How both are decoded to [-1, 1], without padding.
        labels: `(n,)` class of the training split for each candidate.
        parents: `(n,)` training image that each was made from; -1 where there is none or it is not known.
        foreign: Whether the pool was built like another dataset.
    """

    view: RawView
    pool: SyntheticPool | None
    spec: ImageSpec | None
    labels: IntArray
    parents: IntArray
    foreign: bool = False

    @classmethod
    def of(cls, view: RawView, pool: SyntheticPool | None) -> "Shown":
        """Matches a pool's classes and form with those of a training split.

        Raises:
            DataError: They do not match.
        """
        nothing = np.empty(0, np.int64)
        if pool is None:
            return cls(view, None, None, nothing, nothing)
        every = pool.candidates()
        spec = _spec(view, every)
        like = every.about.get("like")
        own = isinstance(like, dict) and like.get("identity") == view.identity
        parents = every.parents if own else np.full(len(every), -1, np.int64)
        return cls(view, every, spec, labels_in(every, view), parents, like is not None and not own)

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        """Which candidates were kept."""
        return np.empty(0, bool) if self.pool is None else self.pool.kept

    def real(self, rows: IntArray) -> Tensor:
        """Returns training images as `(n, C, *spatial)` in [-1, 1]."""
        assert self.spec is not None
        return self.view.images(rows, spec=self.spec)

    def synthetic(self, rows: IntArray) -> Tensor:
        """Returns candidates as `(n, C, *spatial)` in [-1, 1], in as many channels as the reals."""
        assert self.spec is not None
        assert self.pool is not None
        if not len(rows):
            return torch.empty(0, self.spec.channels, *self.spec.grid)
        arrays = np.stack([self.pool.array(int(row)) for row in rows])
        return self.spec.decode(np.broadcast_to(arrays, (len(arrays), self.spec.channels, *arrays.shape[2:])))

    def pixels(self, rows: IntArray, *, real: bool) -> FloatArray:
        """Returns images as rows of pixels, made smaller as copies are told by, read block by block."""
        read = self.real if real else self.synthetic
        blocks = [shrunk(read(rows[i : i + _BLOCK])).flatten(1) for i in range(0, len(rows), _BLOCK)]
        return torch.cat(blocks).numpy() if blocks else np.empty((0, 1), np.float32)

    def per_class(self, rows: IntArray, labels: IntArray, most: int = _PER_CLASS) -> IntArray:
        """Returns at most so many of `rows` of each class, spread evenly."""
        return np.sort(np.concatenate([_spread(rows[labels == label], most) for label in np.unique(labels)]))


@dataclass(frozen=True)
class Nearest:
    """The nearest training image of each candidate that is shown, its parent left out.

    Attributes:
        row: Candidate to training image.
        relative: Candidate to its distance over what is usual in its class.
        parent: Candidate to the distance to its parent over what is usual in its class.
        searched: How many training images were searched.
    """

    row: dict[int, int]
    relative: dict[int, float]
    parent: dict[int, float]
    searched: int

    @classmethod
    def of(cls, shown: Shown, rows: IntArray) -> "Nearest":
        """Finds them by Euclidean distance of pixels.

        Usual in a class is the median distance of its real images to the nearest other training image.
        """
        reals = _spread(np.arange(len(shown.view)), _MOST_REALS)
        base = shown.pixels(reals, real=True)
        if len(base) < 2 or not len(rows):
            return cls({}, {}, {}, len(reals))
        usual = _usual(shown, base, shown.view.targets[reals])
        drawn, parents = shown.pixels(rows, real=False), shown.parents[rows]
        distances, found = nearest(drawn, base, k=2)
        second = (reals[found[:, 0]] == parents).astype(int)
        every = np.arange(len(rows))
        scale = usual[shown.labels[rows]]
        relative = distances[every, second] / scale
        born = np.flatnonzero(parents >= 0)
        away = np.linalg.norm(drawn[born] - shown.pixels(parents[born], real=True), axis=1) if len(born) else []
        return cls(
            row=dict(zip(rows.tolist(), reals[found[every, second]].tolist(), strict=True)),
            relative=dict(zip(rows.tolist(), relative.tolist(), strict=True)),
            parent={int(rows[i]): float(distance / scale[i]) for i, distance in zip(born, away, strict=True)},
            searched=len(reals),
        )


def _usual(shown: Shown, base: FloatArray, labels: IntArray) -> FloatArray:
    """Returns for each class the median distance of its reals to the nearest other one; NaN where it has none."""
    picked = shown.per_class(np.arange(len(base)), labels)
    distances, found = nearest(base[picked], base, k=2)
    other = np.where(found[:, 0] == picked, distances[:, 1], distances[:, 0])
    usual = np.full(shown.view.num_classes, np.nan, np.float32)
    for label in np.unique(labels[picked]):
        median = np.median(other[labels[picked] == label])
        usual[label] = median if median > 0 else np.nan  # a class of copies has no usual distance
    return usual


def _spread(rows: IntArray, most: int) -> IntArray:
    if len(rows) <= most:
        return rows
    return rows[np.unique(np.linspace(0, len(rows) - 1, most).astype(np.int64))]


def _spec(view: RawView, pool: SyntheticPool) -> ImageSpec:
    size = pool.form.shape if pool.image_spec is None else pool.image_spec.grid
    spec = view.spec(size if view.full_form.shape is None else None)
    check_form(pool, view, spec)
    return replace(spec, grid=spec.raw_shape) if spec.fit == "pad" else spec
