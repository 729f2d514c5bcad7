"""Where the voxels of a volume lie: affines from voxel indices to millimetres, and the spacing that they hold."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_augment.errors import ConfigError

__all__ = ["Affine", "affine_from", "as_affine", "same_spacing", "spacing_of"]

Affine = tuple[tuple[float, ...], ...]
"""`(4, 4)` from voxel indices to mm (RAS+), its last row 0 0 0 1, as rows."""

_CLOSE = 1e-3
"""Relative difference up to which two spacings are the same: headers hold float32."""


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
        raise ConfigError(f"expected affine= of (4, 4), finite and invertible, last row 0 0 0 1, found {affine!r:.200}")
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


def _is_sound(matrix: npt.NDArray[np.float64]) -> bool:
    sound = matrix.shape == (4, 4) and np.isfinite(matrix).all() and (matrix[3] == [0, 0, 0, 1]).all()
    return bool(sound and abs(np.linalg.det(matrix)) >= np.finfo(np.float32).tiny)
