"""Insertion of a lesion patch into a volume: its size in mm, a place where it fits, and a border that does not show."""

import sys
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg

from gan_augment.errors import ConfigError, DataError
from gan_augment.types import IntArray

__all__ = [
    "Blending",
    "blend",
    "checked_border",
    "clipped",
    "feathered",
    "find_place",
    "insert",
    "membrane",
    "resampled",
    "windows",
]

Blending = Literal["alpha", "offset", "poisson"]
"""How a lesion meets its surroundings; see `blend`."""

Center = tuple[int, int, int]
BoolArray = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]
Windows = tuple[tuple[slice, ...], tuple[slice, ...]]

_TRIES = 64
"""Places tried at random before all are looked at: enough where a lesion fits at one place in twenty."""

_AT_ONCE = 2**22
"""Voxels looked up in one step of that search."""

_MOST_VOXELS = 2**26
"""Those of a patch after resampling, over all channels: 400 a side, half a gigabyte."""


# -- the patch --------------------------------------------------------------------------------------------------------


def resampled(
    image: npt.NDArray[Any], mask: npt.NDArray[Any], spacing: Sequence[float], wanted: Sequence[float]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Returns a patch at another spacing, of the same size in mm about the same middle.

    The image is interpolated linearly, the mask by the nearest voxel; neither is smoothed before.

    Args:
        image: `(C, w, h, d)`.
        mask: `(w, h, d)`.
        spacing: Widths of its voxels in mm.
        wanted: Widths that they shall have.

    Returns:
        The image in float64, and the mask in its dtype.

    Raises:
        DataError: A width is not above 0, or there would be far more voxels than a lesion has.
    """
    with np.errstate(all="ignore"):
        steps = np.asarray(wanted, np.float64) / np.asarray(spacing, np.float64)
        voxels = len(image) * np.prod(np.maximum(1, mask.shape / steps))
    if not (np.isfinite(steps).all() and (steps > 0).all() and voxels <= _MOST_VOXELS):
        raise DataError(
            f"expected voxels of a width at which a patch of {mask.shape} has at most {_MOST_VOXELS} of them, found "
            f"{tuple(spacing)} mm in the pool and {tuple(wanted)} mm in the volume; correct the affine that is wrong"
        )
    shape = tuple(max(1, round(side / step)) for side, step in zip(mask.shape, steps.tolist(), strict=True))
    first = (np.array(mask.shape) - 1) / 2 - steps * (np.array(shape) - 1) / 2
    settings = {"offset": first, "output_shape": shape}
    channels = [ndimage.affine_transform(one, steps, order=1, mode="nearest", **settings) for one in _double(image)]
    nearest = ndimage.affine_transform(mask, steps, order=0, mode="nearest", **settings)
    return np.stack(channels), nearest


# -- the place --------------------------------------------------------------------------------------------------------


def find_place(allowed: BoolArray, lesion: BoolArray, rng: np.random.Generator) -> Center | None:
    """Returns a place, uniform among all at which each voxel of a lesion is allowed.

    Args:
        allowed: `(W, H, D)`, where a lesion may be.
        lesion: `(w, h, d)`, the voxels of the patch that are lesion; the rest of the patch may lie anywhere.
        rng: What chance comes from.

    Returns:
        The voxel of the volume at which the patch's middle, voxel `(w // 2, h // 2, d // 2)`, lies; it may be outside
        the volume, where the lesion is far from the middle. None where there is no such place.
    """
    sides = [np.flatnonzero(lesion.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    if any(not len(own) or own[-1] - own[0] >= most for own, most in zip(sides, allowed.shape, strict=True)):
        return None
    voxels = np.argwhere(lesion)
    anchor = voxels[((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    offsets = voxels - anchor
    offsets = offsets[(-(offsets**2).sum(axis=1)).argsort(kind="stable")]  # the outermost soonest say that it fits not
    least, most = -offsets.min(axis=0), np.array(allowed.shape) - offsets.max(axis=0)
    inner = allowed[tuple(slice(low, high) for low, high in zip(least, most, strict=True))]
    inside = np.flatnonzero(inner)
    if not len(inside):
        return None
    flat, steps = allowed.ravel(), np.cumprod([1, *allowed.shape[:0:-1]])[::-1]
    moves = offsets @ steps

    def place_of(places: IntArray) -> IntArray:
        found: IntArray = (np.stack(np.unravel_index(places, inner.shape), axis=1) + least) @ steps
        return found

    fitting = _fitting(flat, place_of(rng.choice(inside, _TRIES)), moves)
    if not len(fitting):
        fitting = rng.permuted(_fitting(flat, place_of(inside), moves))
    if not len(fitting):
        return None
    center = np.array(np.unravel_index(fitting[0], allowed.shape)) - anchor + np.array(lesion.shape) // 2
    i, j, k = center.tolist()
    return i, j, k


def _fitting(allowed: BoolArray, places: IntArray, moves: IntArray) -> IntArray:
    """Returns the places, in their order, from which all moves lead to allowed voxels; all of them flat indices."""
    start = 0
    while start < len(moves) and len(places):
        stop = start + max(1, _AT_ONCE // len(places))
        places = places[allowed[places[:, None] + moves[start:stop]].all(axis=1)]
        start = stop
    return places


def windows(lesion: BoolArray, shape: Sequence[int], center: Sequence[int]) -> Windows:
    """Returns the parts of a volume and of a patch that meet at a place: the lesion and a voxel around it.

    Args:
        lesion: `(w, h, d)`, at least one voxel.
        shape: That of the volume.
        center: Where the patch's middle lies, as `find_place` tells it.

    Raises:
        DataError: The lesion is not all inside the volume.
    """
    there, here = [], []
    for axis, (side, full, middle) in enumerate(zip(lesion.shape, shape, center, strict=True)):
        own = np.flatnonzero(lesion.any(axis=tuple(other for other in range(3) if other != axis)))
        start, first, last = middle - side // 2, int(own[0]), int(own[-1])
        if start + first < 0 or start + last >= full:
            raise DataError(
                f"expected a lesion inside the volume of {tuple(shape)} voxels, found one from voxel {start + first} "
                f"to {start + last} of axis {axis}; choose another center"
            )
        low, high = max(0, first - 1, -start), min(side, last + 2, full - start)
        there.append(slice(start + low, start + high))
        here.append(slice(low, high))
    return tuple(there), tuple(here)


def insert(
    volumes: Sequence[npt.NDArray[Any]],
    labels: npt.NDArray[Any],
    patch: npt.NDArray[Any],
    mask: npt.NDArray[Any],
    center: Sequence[int],
    *,
    spacing: Sequence[float],
    label_value: int | None = None,
    blending: Blending = "offset",
    feather: float = 1.0,
) -> None:
    """Inserts a lesion into volumes and their label map, in place: the voxels of the lesion, and no others.

    Args:
        volumes: Each `(C_i, W, H, D)`, of any dtypes; the channels of the patch go to them one after the other.
        labels: `(W, H, D)`.
        patch: `(C, w, h, d)`, C the sum of all C_i.
        mask: `(w, h, d)` of whole numbers, above 0 in the lesion; where it has none nothing is done.
        center: Where the patch's middle lies, as `find_place` tells it.
        spacing: Widths of the voxels in mm.
        label_value: What the label map gets; None for the mask's values.
        blending: See `blend`.
        feather: See `blend`.

    Raises:
        DataError: The lesion is not all inside the volumes, or the label map cannot hold its value.
    """
    if not (mask > 0).any():
        return
    there, here = windows(mask > 0, labels.shape, center)
    patch, mask = patch[(slice(None), *here)], mask[here]
    lesion, first = mask > 0, 0
    most = int(mask.max()) if label_value is None else label_value
    values = mask[lesion] if label_value is None else np.full(int(lesion.sum()), label_value)
    if most > _greatest(labels.dtype) or (values.astype(labels.dtype) != values).any():
        raise DataError(
            f"expected a label map that can hold {most}, found one of {labels.dtype}; give it another dtype, "
            "or give label_value="
        )
    for volume in volumes:
        part = volume[(slice(None), *there)]
        own = patch[first : first + len(part)]
        first += len(part)
        part[:, lesion] = clipped(blend(part, own, lesion, spacing, blending=blending, feather=feather), part.dtype)
    labels[there][lesion] = values


# -- the border -------------------------------------------------------------------------------------------------------


def blend(
    background: npt.NDArray[Any],
    patch: npt.NDArray[Any],
    lesion: BoolArray,
    spacing: Sequence[float],
    *,
    blending: Blending = "offset",
    feather: float = 1.0,
) -> Doubles:
    """Returns what the voxels of a lesion become.

    - "alpha": the patch's values, mixed with the background's below the lesion's border (`feathered`).
    - "offset": the same, after the patch was shifted, channel by channel, so that the voxels next to the lesion have on
      average the background's value.
    - "poisson": the patch's gradients, with the background's values at the border (Pérez et al. 2003, "Poisson Image
      Editing", eq. 4 and 5): the patch plus the `membrane` of the difference next to the lesion.

    The last two need tissue around the lesion in the patch; without any they leave the patch's values as they are.

    Args:
        background: `(C, w, h, d)`, the volume where the patch comes to lie.
        patch: `(C, w, h, d)`.
        lesion: `(w, h, d)`.
        spacing: Widths of the voxels in mm.
        blending: One of the above.
        feather: Depth in mm from which on the patch alone is seen (`feathered`); of no use for "poisson".

    Returns:
        `(C, n)` float64, the values of the voxels of the lesion, in the order of `background[:, lesion]`.
    """
    background, patch = _double(background), _double(patch)
    below, values = background[:, lesion], patch[:, lesion]
    if blending == "poisson":
        return values + membrane(background - patch, lesion, spacing)
    if blending == "offset":
        ring = _ring(lesion)
        if ring.any():
            values = values + (background - patch)[:, ring].mean(axis=1, keepdims=True)
    alpha = feathered(lesion, spacing, feather)[lesion]
    return (1 - alpha) * below + alpha * values


def checked_border(blending: Any, feather: Any) -> tuple[Blending, float]:
    """Returns the two parameters of `blend`.

    Raises:
        ConfigError: One has a value that cannot work.
    """
    if blending not in get_args(Blending):
        raise ConfigError(f"expected blending= of {', '.join(get_args(Blending))}, found {blending!r}")
    if isinstance(feather, bool) or not isinstance(feather, int | float) or not 0 <= feather <= sys.float_info.max:
        raise ConfigError(f"expected feather= of at least 0 mm, found {feather!r}")
    return blending, float(feather)


def feathered(lesion: BoolArray, spacing: Sequence[float], width: float) -> Doubles:
    """Returns how much of the patch is seen: 0 outside the lesion, above 0 in it, 1 from some depth on.

    It rises with the distance to the nearest voxel outside; beyond the array is outside.

    Args:
        lesion: `(w, h, d)`.
        spacing: Widths of the voxels in mm.
        width: That depth in mm, counted from the lesion's outermost voxels; 0 for a hard border.
    """
    distance = ndimage.distance_transform_edt(np.pad(lesion, 1), sampling=tuple(spacing))[1:-1, 1:-1, 1:-1]
    alpha: Doubles = np.minimum(distance / (min(spacing) + width), 1)
    return alpha


def membrane(known: npt.NDArray[Any], lesion: BoolArray, spacing: Sequence[float]) -> Doubles:
    """Solves Laplace's equation in a lesion: the smoothest surface over what is known next to it.

    Seven-point differences, weighted by 1 / spacing². At the border of the array nothing is known and the surface ends
    level; where nothing is known next to a lesion at all it is 0.

    Args:
        known: `(C, w, h, d)`, of which voxels next to the lesion are used.
        lesion: `(w, h, d)`.
        spacing: Widths of the voxels in mm.

    Returns:
        `(C, n)`, the values of the voxels of the lesion, in the order of `known[:, lesion]`.
    """
    known, count, ring = _double(known), int(lesion.sum()), _ring(lesion)
    if not ring.any():
        return np.zeros((len(known), count))
    level = known[:, ring].mean(axis=1)  # exact, where the rest is solved to five digits
    known = known - level[:, None, None, None]
    number = np.full(lesion.shape, -1, np.int64)
    number[lesion] = np.arange(count)
    total, force = np.zeros(count), np.zeros((len(known), count))
    rows, columns, weights = [], [], []
    forward, back = slice(None, -1), slice(1, None)
    for axis, width in enumerate(spacing):
        numbers, values, weight = np.moveaxis(number, axis, 0), np.moveaxis(known, axis + 1, 1), 1 / width**2
        for here, there in ((forward, back), (back, forward)):
            own, next_to = numbers[here], numbers[there]
            inside, border = (own >= 0) & (next_to >= 0), (own >= 0) & (next_to < 0)
            total[own[own >= 0]] += weight
            force[:, own[border]] += weight * values[:, there][:, border]
            rows.append(own[inside])
            columns.append(next_to[inside])
            weights.append(np.full(int(inside.sum()), -weight))
    every = np.arange(count)
    entries = np.concatenate([*weights, total])
    places = np.concatenate([*rows, every]), np.concatenate([*columns, every])
    laplacian = sparse.csr_matrix((entries, places), shape=(count, count))
    return np.stack([cg(laplacian, one, atol=0.0)[0] + own for one, own in zip(force, level, strict=True)])


def _ring(lesion: BoolArray) -> BoolArray:
    """Returns the voxels that share a face with a lesion."""
    ring: BoolArray = ndimage.binary_dilation(lesion) & ~lesion
    return ring


def _greatest(dtype: np.dtype[Any]) -> float:
    """Returns the greatest value that a label map can hold, of floats the greatest finite one."""
    if dtype.kind == "b":
        return 1
    return int(np.iinfo(dtype).max) if dtype.kind in "iu" else float(np.finfo(dtype).max)


def clipped(values: Doubles, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Returns values in a dtype: rounded where it is of whole numbers, and kept within what it can hold."""
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        return np.clip(np.rint(values), limits.min, limits.max).astype(kind)
    most = float(np.finfo(kind).max)
    return np.clip(values, -most, most).astype(kind)


def _double(array: npt.NDArray[Any]) -> Doubles:
    return np.asarray(array, np.float64)
