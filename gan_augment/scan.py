"""One pass over all raw images of a dataset: their form, range and hashes."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from gan_augment.errors import DataError
from gan_augment.fingerprint import hash_image
from gan_augment.forms import RawForm
from gan_augment.items import ItemStructure, same
from gan_augment.pipelines import preserved_rng

__all__ = ["Scan", "scan_images"]

_KEEP_BYTES = 2**30
_PROBED_ITEMS = 32


@dataclass(frozen=True)
class Scan:
    """What is known of a dataset's raw images once all were read.

    Attributes:
        form: Their raw form; its shape is None where sizes are mixed.
        hashes: `(N,)` int64.
        low: Least raw value of each channel.
        high: Greatest raw value of each channel; above low also where a channel is constant.
        sizes: Up to three of the spatial shapes found.
        arrays: `(C, *spatial)` of each image, where all together take at most 1 GiB; else None.
    """

    form: RawForm
    hashes: npt.NDArray[np.int64]
    low: tuple[float, ...]
    high: tuple[float, ...]
    sizes: tuple[tuple[int, ...], ...]
    arrays: list[npt.NDArray[Any]] | None


def scan_images(
    read: Callable[[int], Any],
    structure: ItemStructure,
    form: RawForm,
    count: int,
    file: Callable[[int], str],
    progress: bool,
) -> Scan:
    """Reads every image once.

    Args:
        read: Returns a raw item.
        structure: Of the items.
        form: Raw form of item 0, which all others must share but for their size.
        count: Number of items.
        file: Names the file of an item in messages.
        progress: Whether to show a bar on a terminal.

    Raises:
        DataError: Reading is random, images differ in form, or a value is NaN or infinite.
    """
    _refuse_random(read, count)
    hashes = np.empty(count, dtype=np.int64)
    low, high = np.full(form.channels, np.inf), np.full(form.channels, -np.inf)
    kept: list[npt.NDArray[Any]] | None = []
    sizes: dict[tuple[int, ...], None] = {}
    total = 0
    for i in tqdm(range(count), desc="reading images", disable=None if progress else True, leave=False):
        with preserved_rng():
            array = _checked_array(structure.split(read(i))[0], form, f"item {i}{file(i)}")
        sizes[array.shape[1:]] = None
        hashes[i] = hash_image(array)
        flat = array.reshape(form.channels, -1)
        low, high = np.minimum(low, flat.min(axis=1)), np.maximum(high, flat.max(axis=1))
        total += array.nbytes
        if kept is not None:
            kept.append(np.array(array))
            kept = kept if total <= _KEEP_BYTES else None
    high = np.where(high > low, high, low + np.maximum(1, np.abs(low) * 1e-3))  # a constant channel is all -1
    return Scan(
        form if len(sizes) == 1 else replace(form, shape=None),
        hashes,
        tuple(map(float, low)),
        tuple(map(float, high)),
        tuple(sorted(sizes)[:3]),
        kept,
    )


def _refuse_random(read: Callable[[int], Any], count: int) -> None:
    """Reads some items twice: even a flip of probability 0.1 shows in one of 32 items (to 1 in 800)."""
    with preserved_rng(seed=0):
        for index in np.unique(np.linspace(0, count - 1, _PROBED_ITEMS).astype(int)).tolist():
            if not same(read(index), read(index)):
                raise DataError(
                    f"expected the same raw image each time an item is read, found two different ones of item {index}: "
                    "this dataset augments inside __getitem__ where it cannot be taken apart. Put the augmentation "
                    "into an attribute named transform, or fit on a dataset without it"
                )


def _checked_array(image: Any, form: RawForm, name: str) -> npt.NDArray[Any]:
    found = RawForm.of(image)
    different = form.differences(found, ("kind", "layout", "dtype", "channels", "mode"))
    if not different and found.ndim != form.ndim:
        different = f"spatial dimensions {form.ndim - 1} against {found.ndim - 1}"
    if different:
        raise DataError(
            f"expected images of one form, found that {name} differs from item 0 ({different}); convert them to one "
            "form in the dataset's loader"
        )
    array = found.array(image)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise DataError(f"expected finite values, found NaN or infinity in {name}; repair or remove it")
    return array
