"""Where the voxels of a volume lie: affines from voxel indices to millimetres, and the spacing that they hold."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_augment.errors import ConfigError, DataError

__all__ = ["Affine", "affine_from", "as_affine", "check_affine", "common_affine", "same_spacing", "spacing_of"]

Affine = tuple[tuple[float, ...], ...]
"""`(4, 4)` from voxel indices to mm (RAS+), its last row 0 0 0 1, as rows."""

_CLOSE = 1e-3
"""Relative difference up to which two spacings are the same: headers hold float32."""

_LARGEST = 1e9
"""Above which no entry in mm is: a thousand kilometres."""


def affine_from(spacing: Sequence[float] | None, affine: npt.ArrayLike | None) -> npt.NDArray[np.float64]:
    """Returns the affine `(4, 4)` that a user gave, or that of a spacing in mm; the identity where neither is given.

    Raises:
        ConfigError: Both are given, or one has a value that cannot work.
    """
    if spacing is not None and affine is not None:
        raise ConfigError("expected spacing= or affine=, found both; the affine has the spacing")
    try:
        given = np.asarray([1, 1, 1] if spacing is None else spacing, np.float64)
        matrix = np.diag([*given, 1]) if affine is None else np.asarray(affine, np.float64)
    except (TypeError, ValueError):
        given = matrix = np.empty(0)
    if affine is None and (given.shape != (3,) or not (np.isfinite(given).all() and (given > 0).all())):
        raise ConfigError(f"expected spacing= of three widths above 0 in mm, found {spacing!r:.80}")
    if not _is_sound(matrix):
        raise ConfigError(f"expected affine= of (4, 4), invertible, below 1e9, last row 0 0 0 1, found {affine!r:.200}")
    return matrix


def as_affine(value: Any) -> Affine | None:
    """Returns an affine as rows of floats; None for None.

    Raises:
        TypeError, ValueError: It is no affine.
    """
    if value is None:
        return None
    matrix = np.asarray(value, np.float64)
    if not _is_sound(matrix):
        raise ValueError("affine")
    return tuple(tuple(row) for row in matrix.tolist())


def spacing_of(affine: npt.ArrayLike) -> tuple[float, float, float]:
    """Returns the width of a voxel in mm along each axis of the array: the lengths of the affine's columns."""
    first, second, third = np.linalg.norm(np.asarray(affine, np.float64)[:3, :3], axis=0).tolist()
    return first, second, third


def same_spacing(one: Sequence[float], other: Sequence[float]) -> bool:
    """Tells whether two spacings are the same, to a thousandth."""
    return bool(np.allclose(one, other, rtol=_CLOSE, atol=0))


def common_affine(affines: Sequence[Affine | None]) -> Affine | None:
    """Returns what several affines have in common, of which places may differ.

    That is the first one; its spacing alone, on a diagonal, where they lie several ways; None where one is missing or
    has another spacing.
    """
    known = [affine for affine in affines if affine is not None]
    alike = all(same_spacing(spacing_of(known[0]), spacing_of(affine)) for affine in known)
    if not known or len(known) < len(affines) or not alike:
        return None
    if len({_axes(affine) for affine in known}) == 1:
        return known[0]
    return as_affine(np.diag([*spacing_of(known[0]), 1]))


def check_affine(drawn: Affine | None, item: npt.ArrayLike | None, place: str) -> None:
    """Raises where voxels of synthetic volumes are of another size, or lie another way, than an item's.

    An affine of a spacing alone (diagonal, its origin 0) says nothing of orientation.

    Args:
        drawn: Of the synthetic volumes; None where it is not known.
        item: `(4, 4)` of the item's image; None where it is not known.
        place: Where the transform belongs among the host's, for the message.

    Raises:
        DataError: Both are known and differ.
    """
    if drawn is None or item is None:
        return
    theirs, own = np.asarray(drawn, np.float64), np.asarray(item, np.float64)
    spacings = spacing_of(theirs), spacing_of(own)
    if not same_spacing(*spacings):
        raise DataError(
            f"expected items with the voxels of the synthetic volumes, {_told(spacings[0])} mm, found "
            f"{_told(spacings[1])} mm; {place}"
        )
    if (theirs == np.diag([*spacings[0], 1])).all():
        return
    axes = _axes(theirs), _axes(own)
    if axes[0] != axes[1]:
        raise DataError(
            f"expected items that lie as the synthetic volumes do, axes {axes[0]}, found {axes[1]}: a synthetic one "
            f"would be mirrored or turned; {place}"
        )


def _told(spacing: Sequence[float]) -> str:
    return " x ".join(f"{width:.4g}" for width in spacing)


def _axes(affine: npt.ArrayLike) -> str:
    """Returns where each axis of an array leads, nearest to Right, Anterior and Superior or their opposites."""
    matrix = np.asarray(affine, np.float64)[:3, :3]
    nearest = np.abs(matrix / np.linalg.norm(matrix, axis=0)).argmax(axis=0)
    return "".join(("LPS", "RAS")[int(matrix[world, axis] > 0)][world] for axis, world in enumerate(nearest.tolist()))


def _is_sound(matrix: npt.NDArray[np.float64]) -> bool:
    sound = matrix.shape == (4, 4) and (np.abs(matrix) <= _LARGEST).all() and (matrix[3] == [0, 0, 0, 1]).all()
    return bool(sound and abs(np.linalg.det(matrix)) >= np.finfo(np.float32).tiny)
