"""Arrays as files that hold them exactly: PNG where it can, else TIFF, else numpy's own."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin, TiffImagePlugin

from gan_augment.errors import DataError
from gan_augment.pool.exports.marking import XMP
from gan_augment.pool.pool import SyntheticPool

__all__ = ["STORED", "check_pictures", "mask_dtype", "npy_bytes", "picture_bytes", "picture_format"]

STORED = {"int8": "int32", "int16": "int32", "float16": "float32"}
"""Types that Pillow has not, and the wider ones that hold each value of theirs."""

_PNG = {("uint8", channels) for channels in (1, 2, 3, 4)} | {("uint16", 1)}
_TIFF = {(dtype, 1) for dtype in ("int8", "int16", "int32", "float16", "float32")}
_DESCRIPTION, _SOFTWARE, _COPYRIGHT, _XMP = 270, 305, 33432, 700


def picture_format(array: npt.NDArray[Any]) -> str | None:
    """Returns "png" or "tif", whichever holds images like `array` `(C, *spatial)` exactly; None where none does."""
    if array.ndim != 3:
        return None
    kind = (str(array.dtype), len(array))
    return "png" if kind in _PNG else "tif" if kind in _TIFF else None


def picture_bytes(array: npt.NDArray[Any], texts: Mapping[str, str]) -> bytes:
    """Returns an image `(C, H, W)` as a PNG or TIFF file that says `texts` of itself."""
    channels_last = array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)
    pixels = np.ascontiguousarray(channels_last, dtype=STORED.get(str(array.dtype), array.dtype))
    image, file = Image.fromarray(pixels), io.BytesIO()
    if picture_format(array) == "png":
        chunks = PngImagePlugin.PngInfo()
        for keyword, text in texts.items():
            chunks.add_text(keyword, text)
        chunks.add_itxt("XML:com.adobe.xmp", XMP)
        image.save(file, "PNG", pnginfo=chunks)
    else:
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[_DESCRIPTION], tags[_SOFTWARE] = texts["Description"], texts["Software"]
        tags[_COPYRIGHT] = texts["Copyright"].encode("ascii", "replace").decode()
        tags[_XMP] = XMP.encode()
        image.save(file, "TIFF", tiffinfo=tags)
    return file.getvalue()


def npy_bytes(array: npt.NDArray[Any]) -> bytes:
    """Returns an array as a file of numpy's."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return file.getvalue()


def check_pictures(pool: SyntheticPool, name: str) -> None:
    """Raises unless PNG or TIFF holds the images of a pool exactly.

    Raises:
        DataError: They are volumes, or of a type that neither holds.
    """
    array = pool.array(int(pool.rows[0]))
    if array.ndim != 3:
        raise DataError(
            f"expected images of two dimensions for format={name!r}, found volumes of "
            f"{'x'.join(map(str, array.shape[1:]))}; use format='nifti' or 'webdataset'"
        )
    if picture_format(array) is None:
        raise DataError(
            f"expected images that PNG or TIFF can hold exactly for format={name!r} (uint8 of 1 to 4 channels; uint16, "
            f"int8, int16, int32, float16 or float32 of one), found {array.dtype} of {len(array)} channels; use "
            "format='webdataset', which holds any"
        )


def mask_dtype(pool: SyntheticPool) -> str:
    """Returns the smallest of uint8, uint16 and int32 that holds the masks of all rows."""
    least = most = 0
    for row in pool.rows.tolist():
        mask = pool.mask(row)
        assert mask is not None
        least, most = min(least, int(mask.min())), max(most, int(mask.max()))
    fitting = (name for name in ("uint8", "uint16") if least >= 0 and most <= np.iinfo(name).max)
    return next(fitting, "int32")
