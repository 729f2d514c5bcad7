"""Lesion patches of a pool, by label and seed, at the spacing of the volumes that they are inserted into."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from gan_augment.errors import ConfigError
from gan_augment.geometry import same_spacing
from gan_augment.insertion import resampled
from gan_augment.transforms.source import ByLabel

__all__ = ["checked_patches", "patch_at", "patch_weights"]

_HEAVIEST = 1e30
"""Of weights by class, which hosts have in float32."""


def checked_patches(source: ByLabel) -> ByLabel:
    """Returns a source of lesion patches: a pool of volumes `(C, w, h, d)` whose masks tell what of each is lesion.

    Raises:
        ConfigError: It is none.
    """
    if source.pool is None or not source.has_masks:
        raise ConfigError(
            f"expected a pool with masks, which tell what of a patch is lesion, found {source!r} without; give "
            "SyntheticPool.from_arrays(..., masks=)"
        )
    shape = source.require_form().shape
    if shape is None or len(shape) != 3:
        raise ConfigError(f"expected a pool of volumes (C, w, h, d), found images of {shape}; make patches of depth 1")
    if not len(source.pool):
        raise ConfigError(f"expected a pool with a patch in it, found {source!r}; use pool.candidates()")
    return source


def patch_at(
    source: ByLabel, label: int | str, seed: int, spacing: Sequence[float]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Returns the patch that a label and a seed stand for; resampled where the pool's spacing is known and another.

    Args:
        source: Lesion patches.
        label: A label or class name of the pool.
        seed: From 0 to 2**63 - 1.
        spacing: Widths of voxels in mm.

    Returns:
        The image `(C, w, h, d)` and the mask `(w, h, d)`, not to be written to.

    Raises:
        ConfigError: The pool has no patch of the class.
        DataError: The pool has no such class, the patch values that are not finite, or it would be resampled to a size
            that no lesion has.

    Example:
        >>> import numpy as np
        >>> from gan_augment.pool import SyntheticPool
        >>> masks = np.zeros((2, 5, 5, 5), np.uint8)
        >>> masks[:, 1:4, 1:4, 1:4] = 1
        >>> images = np.ones((2, 1, 5, 5, 5), np.float32)
        >>> pool = SyntheticPool.from_arrays(images, [0, 0], masks=masks, spacing=(1, 1, 1))
        >>> image, mask = patch_at(ByLabel(pool), 0, seed=7, spacing=(1, 1, 2.5))
        >>> image.shape, mask.shape
        ((1, 5, 5, 2), (5, 5, 2))
    """
    if (index := source.class_of(label, warn=False)) < 0:
        raise ConfigError(f"expected label= of a class that the pool has patches of, found {label!r:.200}")
    image, masks = source.made(index, seed)
    assert masks is not None
    if source.spacing is None or same_spacing(source.spacing, spacing):
        return image, masks[0]
    return resampled(image, masks[0], source.spacing, spacing)


def patch_weights(
    source: ByLabel, label: int | str | Mapping[int | str, float] | None
) -> tuple[list[int | str], list[float]]:
    """Returns the classes that patches are drawn of, and their weights.

    Args:
        source: Lesion patches.
        label: A class; or classes and their weights; or None for all classes alike.

    Raises:
        ConfigError: The pool has no patch of a class, or a weight has a value that cannot work.
        DataError: The pool has no such class.
    """
    assert source.pool is not None
    if not isinstance(label, int | str | Mapping | None):
        raise ConfigError(f"expected label= a class, weights by class or None, found {label!r:.200}")
    names: Sequence[int | str] = source.pool.classes if source.pool.named else source.pool.values
    known = [names[index] for index in sorted(source.pool.counts)]
    found = label if isinstance(label, Mapping) else dict.fromkeys(known if label is None else [label], 1.0)
    if not found or any(source.class_of(one, warn=False) < 0 for one in found):
        raise ConfigError(f"expected label= of classes that the pool has patches of, {known}, found {label!r}")
    numbers = all(isinstance(weight, int | float) and 0 <= weight <= _HEAVIEST for weight in found.values())
    if not numbers or max(found.values()) < 1 / _HEAVIEST:
        raise ConfigError(
            f"expected weights of at least 0, at most {_HEAVIEST:g}, in label=, and not all 0, found {label!r:.200}"
        )
    return list(found), [float(weight) for weight in found.values()]
