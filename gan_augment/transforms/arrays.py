"""Synthetic arrays in the form of an item's: its layout, channels, type and size, for hosts whose items are arrays."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from gan_augment.errors import ConfigError, DataError
from gan_augment.forms import RawForm
from gan_augment.images import resize, resize_masks
from gan_augment.pool.matching import raw_mask

__all__ = ["Fit", "channels_first", "fitted", "like_image", "like_mask", "of_type"]

Array = npt.NDArray[Any]
Fit = Literal["exact", "resize"]
_EXCHANGED = (("uint8", "float32"), ("float32", "uint8"))


def channels_first(image: Array, ndim: int) -> Array:
    """Returns an item's image `(*spatial)` or `(*spatial, C)` as `(C, *spatial)`, a view.

    Args:
        image: The image.
        ndim: Its spatial dimensions.
    """
    return image[None] if image.ndim == ndim else image.transpose(ndim, *range(ndim))


def like_image(array: Array, image: Array, ndim: int) -> Array:
    """Returns a synthetic image in the layout and type of an item's, at its own size, as an array of its own.

    Args:
        array: `(C, *spatial)`; a grey one is repeated for an item of three channels.
        image: The item's, `(*spatial)` or `(*spatial, C)`.
        ndim: Spatial dimensions of the item.

    Raises:
        DataError: They are of other channels, or of types that are not made of each other; see `of_type`.
    """
    channels = 1 if image.ndim == ndim else image.shape[ndim]
    if len(array) != channels and (len(array), channels) != (1, 3):
        raise DataError(
            f"expected synthetic images of {channels} channels, as the item's, found {len(array)}; build the pool with "
            "like=the dataset, or put the transform where images have the channels of the pool"
        )
    view = array[0] if image.ndim == ndim else array.transpose(*range(1, ndim + 1), 0)
    if image.ndim > ndim and len(array) != channels:
        view = np.broadcast_to(view, (*view.shape[:-1], channels))
    made = of_type(view, image.dtype, image)
    return np.array(made, order="C") if made is view else made


def of_type(array: Array, dtype: npt.DTypeLike, item: Array) -> Array:
    """Returns values of uint8 as float32 from 0 to 1, or the other way round; others must be of the type already.

    Args:
        array: The values.
        dtype: The wanted type.
        item: The image that is on the float32 side where `array` is not: it must be from 0 to 1 too.

    Raises:
        DataError: The types are others, or floats are not from 0 to 1.
    """
    if array.dtype == (dtype := np.dtype(dtype)):
        return array
    if (array.dtype.name, dtype.name) not in _EXCHANGED:
        raise DataError(
            f"expected synthetic images of {dtype}, as the item's, found {array.dtype}, and only uint8 and float32 are "
            "made of each other; put the transform where images are as the pool has them, or build the pool with "
            "like=the dataset"
        )
    floats = item[::8] if dtype.kind == "f" else array  # of the item's a part will do, to see that it is normalised
    least, most = float(floats.min()), float(floats.max())
    if not (least >= 0 and most <= 1):
        raise DataError(
            f"expected float32 images from 0 to 1 beside uint8 ones, found values from {least:.3g} to {most:.3g}; put "
            "the transform before normalisation, or build the pool with like=the dataset"
        )
    if dtype.kind == "f":
        made: Array = np.divide(array, 255, dtype=np.float32, order="C")
        return made
    return np.asarray(np.rint(array * 255), np.uint8, order="C")


def like_mask(array: Array, mask: Array, ndim: int) -> Any:
    """Returns a mask `(1, *spatial)` in the layout and type of an item's, as an array of its own.

    Raises:
        ConfigError: The item's has several channels.
        DataError: A value does not fit the item's type.
    """
    if mask.ndim > ndim and mask.shape[ndim] != 1:
        raise ConfigError(
            f"expected a mask of one channel, found {mask.shape}: a synthetic image has one mask of whole numbers; "
            "leave the mask out of the item"
        )
    layout: Any = "no_channel" if mask.ndim == ndim else "channels_last"
    form = RawForm(kind="array", layout=layout, dtype=mask.dtype.name, channels=1, shape=array.shape[1:])
    return raw_mask(array, form)


def fitted(array: Array, shape: tuple[int, ...], fit: Fit, *, mask: bool = False) -> Array:
    """Returns a synthetic image or mask `(C, *spatial)` at the size of an item.

    Args:
        array: Image or mask.
        shape: Spatial shape of the item.
        fit: "exact" to demand that it has this size, or "resize".
        mask: Whether its values are names, which are not averaged.

    Raises:
        DataError: It has other dimensions, or, for "exact", another size.
    """
    found = array.shape[1:]
    if found == shape:
        return array
    if len(found) != len(shape):
        raise DataError(
            f"expected synthetic images of {len(shape)} dimensions, as the item's {shape}, found {found}; give a pool "
            "of volumes for volumes, and one of images for images or single slices"
        )
    if fit == "exact":
        raise DataError(
            f"expected synthetic images of the item's size {shape}, found {found}; put the transform first, before "
            "those that change the size, or give fit='resize'"
        )
    tensor = torch.from_numpy(array.astype(np.float32))[None]
    made: Array = (resize_masks if mask else resize)(tensor, shape)[0].numpy()
    return (made if array.dtype.kind == "f" else np.rint(made)).astype(array.dtype)
