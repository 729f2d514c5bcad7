"""The format "nifti": volumes as compressed NIfTI-1 files, a folder a class."""

import gzip
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from gan_augment.errors import ConfigError, DataError
from gan_augment.geometry import affine_from
from gan_augment.optional import needed
from gan_augment.pool.exports.encoding import mask_dtype
from gan_augment.pool.exports.job import Job, Written
from gan_augment.pool.exports.tree import growing_tree

__all__ = ["write_volumes"]

Axes = Literal["xyz", "zyx"]

_STORED = {"float16": "float32"}
_LEVEL = 6


def write_volumes(
    job: Job, *, spacing: Sequence[float] | None = None, affine: npt.ArrayLike | None = None, axes: Axes = "xyz"
) -> Written:
    """Writes `<class>/<row>.nii.gz` and `metadata.csv`; several channels become the fourth dimension.

    Without `spacing` or `affine` the affine is the pool's; one that knows none is written with voxels of 1 mm and the
    identity.

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
    pool, known = job.pool, spacing is not None or affine is not None
    matrix = affine_from(spacing, affine if known else job.pool.affine)
    if axes not in get_args(Axes):
        raise ConfigError(f"expected axes= of {', '.join(get_args(Axes))}, found {axes!r}")
    first = pool.array(int(pool.rows[0]))
    if first.ndim != 4:
        raise DataError(
            f"expected volumes for format='nifti', found images of {'x'.join(map(str, first.shape[1:]))}; "
            "use format='folder', 'huggingface' or 'webdataset'"
        )
    nibabel = needed("nibabel", "nifti", "format='nifti'")
    stored = mask_dtype(pool) if pool.has_masks else ""
    with growing_tree(job) as tree:
        for record in job.records():
            told, drawn = job.mark.descrip(record.seed), pool.mask(record.row)
            image = _volume(nibabel, pool.array(record.row), matrix, axes, told)
            mask = b"" if drawn is None else _volume(nibabel, drawn.astype(stored), matrix, axes, told)
            tree.write(record, "nii.gz", image, "nii.gz", mask)
    own = "the identity (1 mm voxels), as the pool knows none" if pool.affine is None else "the pool's"
    given = "as given" if known else own
    return Written(
        data_files=["metadata.csv", "**/*.nii.gz"],
        reading='import torchio\n\nimage = torchio.ScalarImage("CLASS/ROW.nii.gz")',
        notes=[f"The affine is {given}.", "`metadata.csv` has a line for each volume."],
        facts={**tree.facts, "affine": matrix.tolist(), "axes": axes},
    )


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
