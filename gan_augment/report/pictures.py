"""One image as a picture: what the grid, the page and the samples' PNG share."""

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from gan_augment.images import resize

__all__ = ["data_uri", "picture"]


def picture(image: Tensor) -> npt.NDArray[Any]:
    """Returns `(H, W)` or `(H, W, 3)` from 0 to 1 of an image `(C, *spatial)` in [-1, 1]; of a volume the middle slice.

    Of an image with other than one or three channels the mean of the channels is shown.
    """
    if image.ndim == 4:
        image = image[:, image.shape[1] // 2]
    array: npt.NDArray[Any] = ((image.numpy() + 1) / 2).clip(0, 1)
    return np.moveaxis(array, 0, -1) if len(array) == 3 else array.mean(axis=0)


def data_uri(image: Tensor, side: int) -> str:
    """Returns an image `(C, *spatial)` in [-1, 1] as a PNG in a data URI, at most `side` pixels wide and high."""
    from PIL import Image

    if image.ndim == 4:
        image = image[:, image.shape[1] // 2]
    if (longest := max(image.shape[1:])) > side:
        image = resize(image[None], tuple(max(1, round(s * side / longest)) for s in image.shape[1:]))[0]
    buffer = io.BytesIO()
    Image.fromarray(np.round(picture(image) * 255).astype(np.uint8)).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
