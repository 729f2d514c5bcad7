"""Picture files as one array: all of one size and type, decoded one after the other, never more than was allowed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from gan_augment.errors import DataError
from gan_augment.folders import open_image
from gan_augment.forms import RawForm
from gan_augment.pool.exports.encoding import STORED

__all__ = ["Pixels", "read_masks", "read_pictures"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """Decoded files.

    Attributes:
        arrays: `(N, H, W)` or `(N, H, W, C)`.
        form: The raw form of each.
    """

    arrays: npt.NDArray[Any]
    form: RawForm


def read_pictures(
    folder: Path, files: Sequence[str], recorded: RawForm | None, most_bytes: int, progress: bool
) -> Pixels:
    """Reads files that hold images of one size and mode.

    Args:
        folder: Where the files lie.
        files: Paths from it.
        recorded: The form that the images had before they were exported, if that is known.
        most_bytes: Refuse to hold more.
        progress: Whether to show a bar on a terminal.

    Raises:
        DataError: A file is damaged or unlike the first, a value is not finite, or there is too much.
    """
    found = RawForm.of(_opened(folder, files[0]))
    form = _restored(found, recorded)
    assert form.shape is not None
    shape = form.shape if form.channels == 1 else (*form.shape, form.channels)
    _check_bytes(folder, len(files), shape, form.dtype, most_bytes)
    arrays = np.empty((len(files), *shape), form.dtype)
    for place, file in enumerate(tqdm(files, desc="reading", disable=None if progress else True, leave=False)):
        image = _opened(folder, file)
        if (image.mode, image.size[::-1]) != (found.mode, found.shape):
            raise DataError(
                f"expected images like {files[0]} ({_told(found.mode, found.shape)}) in {folder}, found {file} "
                f"({_told(image.mode, image.size[::-1])}); convert them to one size and mode"
            )
        array = np.asarray(image)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"expected finite values, found NaN or infinity in {folder / file}; repair or remove it")
        arrays[place] = array.astype(form.dtype)
        if form.dtype != found.dtype and not np.array_equal(arrays[place], array):
            raise DataError(
                f"expected values of {form.dtype}, as gan_augment.json tells, found {array.min()} to {array.max()} in "
                f"{folder / file}; remove gan_augment.json to have the files read as they are"
            )
    return Pixels(arrays=arrays, form=form)


def read_masks(folder: Path, files: Sequence[str], shape: tuple[int, int], most_bytes: int) -> npt.NDArray[np.int32]:
    """Reads files of segmentation masks of whole numbers as `(N, H, W)`.

    Raises:
        DataError: A file is damaged, of another size, or no mask.
    """
    _check_bytes(folder, len(files), shape, "int32", most_bytes)
    masks = np.empty((len(files), *shape), np.int32)
    for place, file in enumerate(files):
        image = _opened(folder, file)
        if image.mode not in ("L", "I;16", "I") or image.size[::-1] != shape:
            raise DataError(
                f"expected a grey mask of whole numbers of {_told('L', shape)}, as the images are, found "
                f"{_told(image.mode, image.size[::-1])} in {folder / file}"
            )
        masks[place] = np.asarray(image)
    return masks


def _opened(folder: Path, file: str) -> Image.Image:
    try:
        return open_image(str(folder / file))
    except DataError:
        raise
    except Exception as error:  # Pillow raises many kinds on files that are made to hurt
        raise DataError(
            f"expected an image in {str(folder / file)!r}, found a file that cannot be read ({str(error)[:200]}); "
            "remove it"
        ) from None


def _restored(found: RawForm, recorded: RawForm | None) -> RawForm:
    """Returns the form that images had before they were exported, where files of the form `found` can be those."""
    if recorded is None:
        return found
    stored = STORED.get(recorded.dtype, recorded.dtype)
    if found.dtype != stored and (recorded.dtype, found.dtype) != ("uint16", "int32"):  # as Pillow 10 reads PNG
        return found
    if (found.shape, found.channels) == (recorded.shape, recorded.channels):
        return recorded
    if recorded.dtype == found.dtype:
        return found
    return replace(found, kind="array", mode=None, dtype=recorded.dtype)


def _check_bytes(folder: Path, count: int, shape: tuple[int, ...], dtype: str, most: int) -> None:
    if (size := count * math.prod(shape) * np.dtype(dtype).itemsize) > most:
        raise DataError(
            f"expected at most {most >> 20} MiB of images in {folder}, found {size >> 20} MiB ({count} files); read it "
            "in parts, or give most_bytes="
        )


def _told(mode: str | None, shape: tuple[int, ...] | None) -> str:
    return f"{'x'.join(map(str, shape or ()))}, mode {mode}"
