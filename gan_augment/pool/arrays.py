"""Images that a user already has, as a pool's store."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gan_augment.errors import DataError
from gan_augment.fingerprint import FittedOn, hash_image
from gan_augment.forms import RawForm
from gan_augment.geometry import Affine
from gan_augment.images import batch_rows
from gan_augment.items import label_value
from gan_augment.pool.columns import MASK_DTYPE, Columns
from gan_augment.pool.document import new_document
from gan_augment.pool.layout import part_name
from gan_augment.pool.store import Store

__all__ = ["store_of_arrays"]


def store_of_arrays(
    images: npt.ArrayLike,
    labels: npt.ArrayLike,
    classes: Sequence[str] | None,
    masks: npt.ArrayLike | None,
    known: Mapping[str, npt.NDArray[Any]] | None = None,
    reasons: Sequence[str] = ("",),
    form: RawForm | None = None,
    affine: Affine | None = None,
) -> Store:
    """Returns a store of images, all kept where nothing else is known; as `SyntheticPool.from_arrays`, which says more.

    Args:
        images: `(N, H, W)`, `(N, C, H, W)`, `(N, H, W, C)` or volumes.
        labels: `(N,)`.
        classes: Class names; None where labels stand for themselves.
        masks: `(N, 1, *spatial)`, or without the 1; None where there are none.
        known: Further columns `(N,)`, such as seeds.
        reasons: What the column of reasons indexes.
        form: The raw form of the images; None for that of plain arrays, or tensors.
        affine: From voxels to mm; None where that is not known.

    Raises:
        DataError: The lengths or sizes differ, or a label is none of the classes.
    """
    tensors = isinstance(images, Tensor)
    if isinstance(images, Tensor) and images.dtype == torch.bfloat16:
        raise DataError("expected images of a type that numpy has, found bfloat16; give images.float()")
    images = np.asarray(images.detach().cpu() if isinstance(images, Tensor) else images)
    values = [label_value(value) for value in np.asarray(labels).tolist()]
    if len(images) != len(values) or not len(images):
        raise DataError(f"expected one label for each image, found {len(images)} images and {len(values)} labels")
    own = RawForm.of(images[0])
    own = replace(own, kind="tensor") if tensors else own
    if images.dtype.kind == "f" and not np.isfinite(images).all():
        raise DataError("expected finite values, found NaN or infinity among the images; repair or remove them")
    if classes is None:
        names = sorted({str(value) for value in values})
        index = [names.index(str(value)) for value in values]
    else:
        names = list(classes)
        unknown = {value for value in values if (value >= len(names) if isinstance(value, int) else value not in names)}
        if unknown:
            raise DataError(
                f"expected labels from 0 to {len(names) - 1}, or names among {', '.join(names)}, found "
                f"{', '.join(sorted(map(str, unknown)))}"
            )
        index = [names.index(value) if isinstance(value, str) else value for value in values]
    count, numbered = len(images), classes is None and all(isinstance(value, int) for value in values)
    arrays = np.stack([own.array(image) for image in images])
    fitted_on = FittedOn(np.unique(np.array([hash_image(array) for array in arrays], np.int64)))
    shards = None if masks is None else [_masks(masks, (count, 1, *arrays.shape[2:]))]
    chunk = batch_rows(tuple(arrays.shape[2:]))
    document = new_document(
        classes=names,
        named=classes is not None or all(isinstance(value, str) for value in values),
        values=[int(name) if numbered else place for place, name in enumerate(names)],
        form=vars(own if form is None else form),
        image_spec=None,
        reasons=reasons,
        parts=[{"folder": part_name(0), "rows": count, "chunk": chunk, "masks": masks is not None}],
        affine=affine,
    )
    columns = Columns.of(np.array(index, np.int64), **(known or {}))
    return Store([arrays], columns, document, fitted_on, masks=shards)


def _masks(masks: npt.ArrayLike, shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """Returns the masks of a pool of arrays as int32 of `shape`, `(N, 1, *spatial)`."""
    found = np.asarray(masks.detach().cpu() if isinstance(masks, Tensor) else masks)
    count, spatial = shape[0], shape[2:]
    forms = {(count, *spatial), shape, (count, *spatial, 1)}
    if found.dtype.kind not in "uib" or found.shape not in forms:
        raise DataError(f"expected masks= of whole numbers and shape {shape}, found {found.dtype} of {found.shape}")
    limits = np.iinfo(MASK_DTYPE)
    if found.dtype.kind != "b" and not (limits.min <= found.min() and found.max() <= limits.max):
        raise DataError(f"expected masks= from {limits.min} to {limits.max}, found {found.min()} to {found.max()}")
    return found.reshape(shape).astype(MASK_DTYPE)
