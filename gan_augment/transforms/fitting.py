"""A synthetic image in the place of an item's own: whether size, dtype and scale agree, for any host."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_augment.errors import DataError
from gan_augment.images import ImageSpec, far_apart
from gan_augment.items import label_value

__all__ = ["check_scale", "class_label", "matched", "own_image"]


def matched(
    array: npt.NDArray[Any], dtype: npt.DTypeLike, shape: Sequence[int], place: str, *, grey: bool = True
) -> npt.NDArray[Any]:
    """Returns `(C, *spatial)`, channels repeated where it takes that, after asserting that an item's image can hold it.

    Nothing is copied or converted: each host has its own, fastest way.

    Args:
        array: What was drawn.
        dtype: Of the item's image.
        shape: `(C, *spatial)` of the item's image.
        place: Where the transform belongs among the host's, for the message.
        grey: Whether a grey image may go into an item of three channels, repeated over them.

    Raises:
        DataError: It is of another shape, or the item's dtype cannot hold its values.
    """
    shape = tuple(shape)
    if grey and (len(array), *shape[:1]) == (1, 3) and array.ndim == len(shape):
        array = np.broadcast_to(array, (3, *array.shape[1:]))
    if array.shape != shape:
        raise DataError(
            f"expected synthetic images of the item's shape, channel first, {shape}, found {array.shape}; {place}, or "
            "build the pool like=the dataset"
        )
    wanted = np.dtype(dtype)
    if not _holds(array, wanted):
        kind = "fractions" if array.dtype.kind == "f" else f"values from {array.min()} to {array.max()}"
        raise DataError(
            f"expected synthetic images that {wanted} items can hold, found {array.dtype} ones with {kind}; make the "
            "item's dtype float32 first, or build the pool like=the dataset"
        )
    return array


def _holds(array: npt.NDArray[Any], wanted: np.dtype[Any]) -> bool:
    if np.can_cast(array.dtype, wanted, "safe"):
        return True
    if array.dtype.kind == "f":
        return wanted.kind == "f"
    limits = np.finfo(wanted) if wanted.kind == "f" else None if wanted.kind == "b" else np.iinfo(wanted)
    least, most = (0, 1) if limits is None else (limits.min, limits.max)
    return bool(least <= array.min() and array.max() <= most)


def check_scale(array: npt.NDArray[Any], spec: ImageSpec | None, extent: float, place: str) -> None:
    """Raises where an item's image is plainly in other units than synthetic ones; blank images tell nothing.

    Args:
        array: A synthetic image in raw units.
        spec: What its raw values range over; None where that is not known.
        extent: Greatest less least value of the item's image.
        place: Where the transform belongs among the host's, for the message.

    Raises:
        DataError: One range is a hundred times the other.
    """
    low, high = (array.min(), array.max()) if spec is None else (min(spec.low), max(spec.high))
    drawn = float(high) - float(low)
    if far_apart(drawn, extent):
        raise DataError(
            f"expected items in the raw units of the synthetic images, which range over {drawn:.4g}, found an item "
            f"that ranges over {extent:.4g}; {place}"
        )


def own_image(image: npt.NDArray[Any], dtype: str, place: str) -> npt.NDArray[Any]:
    """Returns an item's own image `(C, *spatial)` in a raw dtype, for a synthesizer that makes its image from it.

    Raises:
        DataError: Its values are none of that dtype.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        raw = image.astype(dtype)
    if np.dtype(dtype).kind != "f" and not np.array_equal(raw, image):
        raise DataError(
            f"expected items that hold raw {dtype} values, which the synthesizer was fitted on, found others, from "
            f"{image.min():.4g} to {image.max():.4g}; {place}"
        )
    return raw


def class_label(label: Any, place: str) -> int | str:
    """Returns an item's label as a plain int or str.

    Args:
        label: What the item holds.
        place: What to do where it is none, for the message.

    Raises:
        DataError: It is multi-label, a fraction, negative, a segmentation, or no label at all.
    """
    try:
        return label_value(label)
    except DataError as error:
        found = str(error).partition("found ")[2].partition("; ")[0]
        raise DataError(
            f"expected one class an item, a whole number from 0 or a name, found {found}; {place}"
        ) from None
