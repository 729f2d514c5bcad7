"""export: a view of a pool in the format of another tool, as a new folder."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gan_augment.artifacts import new_folder, storing, write_bytes, write_json
from gan_augment.errors import ConfigError, DataError
from gan_augment.pool.exports.about import ABOUT, KIND, VERSION
from gan_augment.pool.exports.card import card
from gan_augment.pool.exports.folder import write_pictures
from gan_augment.pool.exports.huggingface import write_parquet
from gan_augment.pool.exports.job import Job, Written
from gan_augment.pool.exports.marking import Mark
from gan_augment.pool.exports.nifti import write_volumes
from gan_augment.pool.exports.webdataset import write_shards
from gan_augment.pool.pool import SyntheticPool

if TYPE_CHECKING:
    import os

__all__ = ["FORMATS", "export"]

FORMATS: dict[str, Callable[..., Written]] = {
    "folder": write_pictures,
    "webdataset": write_shards,
    "huggingface": write_parquet,
    "nifti": write_volumes,
}
"""Writers of the formats, by name."""


def export(
    pool: SyntheticPool,
    out: "str | os.PathLike[str]",
    format: str = "folder",  # noqa: A002  (what users call it)
    *,
    progress: bool = True,
    **settings: Any,
) -> Path:
    """Writes the rows of a view as a new folder that other tools read; every image says that it is synthetic.

    Values are kept exactly, or it raises. Beside the data lie README.md, a card that says what they are, and
    gan_augment.json, from which `read_folder` restores types and classes.

    - "folder": images, a folder a class, for ImageFolder. No settings.
    - "webdataset": anything, in tar files, for reading in sequence. `shard_bytes` (2**30), `seed` of the order (0; None
      for that of the view).
    - "huggingface": images in parquet files, for `datasets.load_dataset` and the Hub. `shard_bytes` (500 MiB).
    - "nifti": volumes, for nibabel, torchio and MONAI. `spacing` in mm or `affine` (the pool's, else the
      identity), `axes` ("xyz" as these read them, or "zyx" for `(D, H, W)`).

    Args:
        pool: The view: `pool` for the kept rows, `pool.candidates()` for all.
        out: The new folder.
        format: One of these names.
        progress: Whether to show a bar on a terminal.
        **settings: Of the format.

    Returns:
        The folder.

    Raises:
        ConfigError: There is no such format or setting, or a library for it is not installed.
        DataError: The view is empty, or the format cannot hold its images exactly.
        ArtifactError: `out` exists.
        StorageError: The disk refused; nothing half-written is left.
    """
    write = FORMATS.get(format)
    if write is None:
        raise ConfigError(f"expected format= of {', '.join(FORMATS)}, found {format!r}")
    known = [name for name in inspect.signature(write).parameters if name != "job"]
    if unknown := sorted(settings.keys() - set(known)):
        raise ConfigError(
            f"expected settings of format={format!r} ({', '.join(known) or 'none'}), found {', '.join(unknown)}"
        )
    if not len(pool):
        raise DataError("expected rows to export, found an empty view; use pool.candidates() for those not kept")
    out = Path(out)
    with new_folder(out, "export") as work, storing(out):
        job = Job(pool=pool, work=work, mark=Mark.of(pool), progress=progress)
        _finish(job, format, write(job, **settings))
    return out


def _finish(job: Job, name: str, written: Written) -> None:
    """Writes the card and what is needed to read the folder back."""
    text = card(job.pool, job.mark, data_files=written.data_files, reading=written.reading, notes=written.notes)
    write_bytes(job.work / "README.md", text.encode("utf-8", "backslashreplace"))
    about = {
        "kind": KIND,
        "version": VERSION,
        "format": name,
        **job.mark.facts(),
        "rows": len(job.pool),
        "classes": list(job.pool.classes),
        "values": list(job.pool.values),
        "form": vars(job.pool.form),
        **written.facts,
    }
    write_json(job.work / ABOUT, about)
