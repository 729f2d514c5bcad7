"""One image as the page shows it."""

import base64
import io

import numpy as np
from torch import Tensor

from gan_augment.images import picture, resize

__all__ = ["data_uri"]


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
