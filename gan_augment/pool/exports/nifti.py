"""The format "nifti": volumes as compressed NIfTI-1 files, a folder a class."""

import gzip
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from gan_augment.errors import ConfigError, DataError
from gan_augment.pool.exports.encoding import mask_dtype
from gan_augment.pool.exports.job import Job, Written, needed
from gan_augment.pool.exports.tree import growing_tree

__all__ = ["write_volumes"]

Axes = Literal["xyz", "zyx"]

_STORED = {"float16": "float32"}
_LEVEL = 6


def write_volumes(
    job: Job, *, spacing: Sequence[float] | None = None, affine: npt.ArrayLike | None = None, axes: Axes = "xyz"
) -> Written:
    """Writes `<class>/<row>.nii.gz` and `metadata.csv`; several channels become the fourth dimension.

    A pool does not know where its volumes lie in space: without `spacing` or `affine` voxels are 1 mm wide and the
    affine is the identity.

    Args:
        job: What to write.
        spacing: Width of a voxel in mm along x, y and z.
        affine: `(4, 4)` from voxels to mm (RAS+) instead.
        axes: What the spatial axes of the arrays are. "xyz" for arrays as nibabel, torchio and MONAI read them: they
            are written as they are. "zyx" for `(D, H, W)` as SimpleITK and stacks of slices have them: they are
            reversed.

    Raises:
        ConfigError: nibabel is not installed, or a setting has a value that cannot work.
        DataError: The images are no volumes.
    """
    pool, matrix = job.pool, _affine(spacing, affine)
    if axes not in get_args(Axes):
        raise ConfigError(f"expected axes= of {', '.join(get_args(Axes))}, found {axes!r}")
    first = pool.array(int(pool.rows[0]))
    if first.ndim != 4:
        raise DataError(
            f"expected volumes for format='nifti', found images of {'x'.join(map(str, first.shape[1:]))}; "
            "use format='folder', 'huggingface' or 'webdataset'"
        )
    nibabel = needed("nibabel", "nifti")
    stored = mask_dtype(pool) if pool.has_masks else ""
    with growing_tree(job) as tree:
        for record in job.records():
            told, drawn = job.mark.descrip(record.seed), pool.mask(record.row)
            image = _volume(nibabel, pool.array(record.row), matrix, axes, told)
            mask = b"" if drawn is None else _volume(nibabel, drawn.astype(stored), matrix, axes, told)
            tree.write(record, "nii.gz", image, "nii.gz", mask)
    known = spacing is not None or affine is not None
    given = "as given" if known else "the identity (1 mm voxels), as the pool knows none"
    return Written(
        data_files=["metadata.csv", "**/*.nii.gz"],
        reading='import torchio\n\nimage = torchio.ScalarImage("CLASS/ROW.nii.gz")',
        notes=[f"The affine is {given}.", "`metadata.csv` has a line for each volume."],
        facts={**tree.facts, "affine": matrix.tolist(), "axes": axes},
    )


def _affine(spacing: Sequence[float] | None, affine: npt.ArrayLike | None) -> npt.NDArray[np.float64]:
    if spacing is not None and affine is not None:
        raise ConfigError("expected spacing= or affine=, found both; the affine has the spacing")
    try:
        given = np.asarray([1, 1, 1] if spacing is None else spacing, np.float64)
        matrix = np.diag([*given, 1]) if affine is None else np.asarray(affine, np.float64)
    except (TypeError, ValueError):
        given = matrix = np.empty(0)
    if affine is None and (given.shape != (3,) or not (np.isfinite(given).all() and (given > 0).all())):
        raise ConfigError(f"expected spacing= of three widths above 0 in mm, found {spacing!r:.80}")
    sound = matrix.shape == (4, 4) and np.isfinite(matrix).all() and (matrix[3] == [0, 0, 0, 1]).all()
    if not sound or abs(np.linalg.det(matrix)) < np.finfo(np.float32).tiny:
        raise ConfigError(f"expected affine= of (4, 4), finite and invertible, last row 0 0 0 1, found {affine!r:.200}")
    return matrix


def _volume(nibabel: Any, array: npt.NDArray[Any], affine: npt.NDArray[Any], axes: Axes, told: bytes) -> bytes:
    """Returns `(C, *spatial)` as a compressed file; the same volume gives the same bytes."""
    if axes == "zyx":
        array = array.transpose(0, 3, 2, 1)
    array = array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)
    image = nibabel.Nifti1Image(array.astype(_STORED.get(str(array.dtype), array.dtype)), affine)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = told
    return gzip.compress(image.to_bytes(), compresslevel=_LEVEL, mtime=0)
