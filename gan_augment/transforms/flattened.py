"""Images as rows of a table: how a row flattens an image, and rows of a pool or a synthesizer by label and seed."""

import math
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_augment.errors import ConfigError, DataError
from gan_augment.forms import RawForm
from gan_augment.pool import SyntheticPool
from gan_augment.seeds import derive, row_seeds
from gan_augment.synthesizers.checks import from_items
from gan_augment.transforms.fitting import own_image
from gan_augment.transforms.source import ByLabel, finite
from gan_augment.types import IntArray

__all__ = ["FlatSource", "as_label", "check_image_shape", "flattened", "pool_rows", "seeds_of_rows"]

Rows = npt.NDArray[Any]

_UNITS = "put scalers behind the sampler in the pipeline"


class FlatSource:
    """A pool or a synthesizer whose images are given as rows.

    Args:
        source: The pool, the synthesizer, or the path of one.
        shape: Shape of the image that a row flattens in C order: the source's own with the channel first, last, or
            left out where it is one; None for the layout of its raw images.
        columns: Of the table.

    Attributes:
        opened: The pool or the synthesizer.

    Raises:
        ConfigError: There is no such layout, or nobody knows what the synthesizer's raw images are.
        DataError: The images have another number of values than a row, or mixed sizes.
    """

    def __init__(self, source: Any, shape: Sequence[int] | None, columns: int) -> None:
        self._by = ByLabel(source)
        self._form = _laid_out(self._by.require_form(), shape)
        check_image_shape(_full(self._form), columns)
        pool, synthesizer = self._by.pool, self._by.synthesizer
        self.opened = synthesizer if pool is None else pool
        names = pool.classes if pool is not None else synthesizer.class_names if synthesizer is not None else None
        self._names = set(names or ())

    def rows(self, labels: Rows, seed: int, *, like: tuple[Rows, Rows]) -> Rows:
        """Returns a row for each label `(n,)`: `(n, D)` in raw dtype and units.

        Args:
            labels: Of any type; see `as_label`.
            seed: Of the choice of rows, or of what is drawn.
            like: Real rows `(N, D)` and their labels `(N,)`: a synthesizer that changes real images is given some of
                the same class.

        Raises:
            DataError: The source has no image of a label, or real rows are not in raw units.
        """
        values, places = np.unique(labels, return_inverse=True)
        indices = np.array([self._class_of(value) for value in values], np.int64)[places]
        if self._by.pool is not None:
            return flattened(pool_rows(self._by.pool, indices, seed), self._form)
        if from_items(self._by.synthesizer):
            return flattened(self._changed(labels, indices, seed, *like), self._form)
        spec = self._by.synthesizer.image_spec if self._by.synthesizer else None
        assert spec is not None
        return flattened(spec.encode(self._by.draw(indices, seeds_of_rows(indices, seed))), self._form)

    def _class_of(self, value: Any) -> int:
        label = as_label(value)
        name = str(label) if str(label) in self._names else label  # -1 is a label, not a place
        found = self._by.class_of(name, warn=False)
        if found < 0:
            raise DataError(
                f"expected a source with images of each class that gets rows, found none of {value!s}; leave the class "
                "out with sampling_strategy=, or add images of it"
            )
        return found

    def _changed(self, labels: Rows, indices: IntArray, seed: int, rows: Rows, targets: Rows) -> Rows:
        rng, seeds = np.random.default_rng(derive(seed, "items")), seeds_of_rows(indices, seed)
        made = []
        for label, index, own in zip(labels, indices.tolist(), seeds.tolist(), strict=True):
            real = rows[rng.choice(np.flatnonzero(targets == label))].reshape(_full(self._form))
            made.append(self._by.made(index, own, own_image(self._form.array(real), self._form.dtype, _UNITS))[0])
        return np.stack(made)


def as_label(value: Any) -> int | str:
    """Returns a label as datasets of this library have them: a number as an int, all else as text.

    Example:
        >>> as_label(np.float64(2)), as_label(np.str_("cat"))
        (2, 'cat')
    """
    return int(value) if isinstance(value, int | float | np.number | np.bool_) else str(value)


def seeds_of_rows(indices: IntArray, seed: int) -> IntArray:
    """Returns seeds `(n,)` for class indices `(n,)`: that of the k-th row of a class depends on the class and k."""
    seeds = np.empty(len(indices), np.int64)
    for index, number in zip(*np.unique(indices, return_counts=True), strict=True):
        seeds[indices == index] = row_seeds(seed, int(index), int(number))
    return seeds


def pool_rows(pool: SyntheticPool, indices: IntArray, seed: int) -> Rows:
    """Returns images `(n, C, *spatial)` of a pool for classes `(n,)`: none twice before all of a class were taken.

    Raises:
        DataError: The pool's view has no image of a class, or one that is not finite.
    """
    labels, picked = pool.labels, np.empty(len(indices), np.int64)
    for index in np.unique(indices).tolist():
        own, places = pool.rows[labels == index], np.flatnonzero(indices == index)
        if not len(own):
            raise DataError(
                f"expected kept images of {pool.classes[index]} in the pool, found none; take a milder selector"
            )
        rng = np.random.default_rng(derive(seed, "rows", index))
        rounds = [rng.permutation(own) for _ in range(-(-len(places) // len(own)))]
        picked[places] = np.concatenate(rounds)[: len(places)]
    return np.stack([finite(pool.array(row)) for row in picked.tolist()])


def flattened(arrays: Rows, form: RawForm) -> Rows:
    """Returns images `(n, C, *spatial)` as rows `(n, D)`: the form's layout in C order."""
    return (np.moveaxis(arrays, 1, -1) if form.layout == "channels_last" else arrays).reshape(len(arrays), -1)


def check_image_shape(shape: tuple[int, ...], columns: int, least: int = 1) -> None:
    """Checks that a shape is that of images, and that a row of so many columns flattens one.

    Args:
        shape: With or without channels.
        columns: Of the table.
        least: Pixels of the shorter sides, at least.

    Raises:
        ConfigError: It is not that of an image.
        DataError: It has another number of values.
    """
    whole = all(isinstance(side, Integral) and side > 0 for side in shape)
    if not whole or len(shape) not in (2, 3, 4) or sum(side >= least for side in shape) < 2:
        raise ConfigError(
            f"expected image_shape= of 2 to 4 whole numbers, sides of at least {least}, such as (28, 28) or "
            f"(28, 28, 3), found {shape}; leave it out to have the columns taken for features"
        )
    if math.prod(shape) != columns:
        raise DataError(
            f"expected X of {math.prod(shape)} columns, images of {'x'.join(map(str, shape))} flattened, found "
            f"{columns}; correct image_shape="
        )


def _laid_out(form: RawForm, shape: Sequence[int] | None) -> RawForm:
    """Returns the form of arrays in a raw form's own layout, or in the one that has a given shape."""
    if form.shape is None:
        raise DataError("expected a source of images of one size, found mixed sizes; export and resize them first")
    plain = RawForm(kind="array", layout=form.layout, dtype=form.dtype, channels=form.channels, shape=form.shape)
    possible = [plain, replace(plain, layout="channels_first"), replace(plain, layout="channels_last")]
    if form.channels == 1:
        possible.append(replace(plain, layout="no_channel"))
    fitting = [one for one in possible if shape is None or _full(one) == tuple(shape)]
    if not fitting:
        told = ", ".join(dict.fromkeys(str(_full(one)) for one in possible))
        raise ConfigError(
            f"expected image_shape= one of {told}, as images of the source can lie, found {tuple(shape or ())}"
        )
    return fitting[0]


def _full(form: RawForm) -> tuple[int, ...]:
    spatial: tuple[int, ...] = form.shape or ()
    if form.layout == "no_channel":
        return spatial
    return (form.channels, *spatial) if form.layout == "channels_first" else (*spatial, form.channels)
