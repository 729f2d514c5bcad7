"""Seeing a pool as a dataset does: its labels by the dataset's classes, its form by the dataset's."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_augment.errors import DataError
from gan_augment.forms import RawForm
from gan_augment.images import ImageSpec
from gan_augment.pool.pool import SyntheticPool
from gan_augment.source import RawView
from gan_augment.types import IntArray

__all__ = ["check_form", "labels_in", "names_in", "raw_mask", "twin_form"]


def raw_mask(mask: npt.NDArray[Any], form: RawForm) -> Any:
    """Returns the mask `(1, *spatial)` of a row as a mask of a dataset's form.

    Raises:
        DataError: A value of it does not fit the dataset's type.
    """
    dtype = np.dtype(form.dtype)
    limits = np.iinfo(dtype) if dtype.kind in "ui" else np.iinfo(np.int32)
    least, most = (0, 1) if dtype.kind == "b" else (limits.min, limits.max)
    if not (least <= mask.min() and mask.max() <= most):
        raise DataError(
            f"expected masks with values from {least} to {most}, as {form.dtype} ones of the dataset can hold, found "
            f"{mask.min()} to {mask.max()} in the pool; give masks with the dataset's own values"
        )
    return form.raw(mask.astype(dtype))


def twin_form(form: RawForm, drawn: RawForm, whose: str = "the dataset's own") -> RawForm:
    """Returns the form in which drawn images are twins of images of `form`: its type and layout, their size.

    Grey images go into a set of RGB ones, as a loader that converts grey files to RGB would have them.

    Args:
        form: Of the real images.
        drawn: Of the synthetic ones.
        whose: Whose images the real ones are, for the message.

    Raises:
        DataError: They are of another dtype or number of channels, or of other dimensions.
    """
    names = ("dtype",) if (drawn.channels, form.channels) == (1, 3) else ("dtype", "channels")
    different = form.differences(drawn, names)
    if not different and len(form.shape or drawn.shape or ()) != len(drawn.shape or ()):
        different = form.differences(drawn, ("shape",))
    if different:
        raise DataError(
            f"expected synthetic images like {whose}, found others: {different} (dataset against pool); "
            "build the pool with like=the dataset, or give arrays of its type, size and channels"
        )
    return replace(form, shape=drawn.shape)


def check_form(pool: SyntheticPool, view: RawView, spec: ImageSpec) -> None:
    """Raises unless `spec`, a dataset's, can decode the images of a pool; grey ones count as RGB.

    Raises:
        DataError: They are of another type, number of channels or size.
    """
    grey = (pool.form.channels, view.form.channels) == (1, 3)
    names = ("dtype",) if grey else ("dtype", "channels")
    names = names if spec.fit == "resize" else (*names, "shape")
    if different := view.full_form.differences(pool.form, names):
        raise DataError(
            f"expected synthetic images like the training split's, found others: {different} (dataset against pool); "
            "give the training split that the pool was built for, or arrays of its type, size and channels"
        )


def names_in(pool: SyntheticPool, classes: Sequence[str], values: Sequence[int | str]) -> list[str]:
    """Returns what a pool calls each class of a dataset: its name, or for a pool of arrays without names its label."""
    return list(classes) if pool.named else [str(value) for value in values]


def labels_in(pool: SyntheticPool, view: RawView) -> IntArray:
    """Returns the class of each row of a pool, `(n,)`, as a dataset counts its classes.

    Raises:
        DataError: The dataset lacks a class of the pool.
    """
    names = names_in(pool, view.classes, view.values)
    if unknown := sorted({pool.classes[label] for label in pool.counts} - set(names)):
        raise DataError(
            f"expected a pool of the classes {', '.join(names)}, found {', '.join(unknown)}; give the training split "
            "that the pool was built for, or class names"
        )
    index = {name: label for label, name in enumerate(names)}
    return np.array([index[pool.classes[label]] for label in pool.labels.tolist()], np.int64)
