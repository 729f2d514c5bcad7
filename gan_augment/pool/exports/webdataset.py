"""The format "webdataset": numbered tar files of bounded size, for reading in sequence."""

import io
import json
import tarfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from gan_augment.errors import whole
from gan_augment.pool.exports.columns import Record, records
from gan_augment.pool.exports.encoding import mask_dtype, npy_bytes, picture_bytes, picture_format
from gan_augment.pool.exports.job import Job, Written
from gan_augment.seeds import derive

__all__ = ["write_shards"]

_NAME = "synthetic"
_BLOCK = 512
_BYTE = "uint8"


def write_shards(job: Job, *, shard_bytes: int = 2**30, seed: int | None = 0) -> Written:
    """Writes `synthetic-000000.tar`, ...: each sample an image, its `.cls`, `.json` and, if any, mask.

    uint8 images of one to four channels are `.png`; all others, which readers would spoil, are `.npy` of
    `(C, *spatial)`. The same view gives the same bytes.

    Args:
        job: What to write.
        shard_bytes: A shard is closed before it would grow beyond this; a sample that is larger has its own.
        seed: Of the order of samples: classes are mixed, as shards are read in sequence. None keeps the view's order.

    Raises:
        ConfigError: `shard_bytes` is no whole number.
    """
    whole("shard_bytes", shard_bytes)
    stored = mask_dtype(job.pool) if job.pool.has_masks else ""
    number, tar = 0, _open(job, 0)
    try:
        for record in _ordered(job, seed):
            files = _sample(job, record, stored)
            size = sum(_BLOCK + -(-len(content) // _BLOCK) * _BLOCK for content in files.values())
            if tar.offset and tar.offset + size > shard_bytes:
                tar.close()
                number += 1
                tar = _open(job, number)
            for suffix, content in files.items():
                _add(tar, f"{record.key}.{suffix}", content)
    finally:
        tar.close()
    braces = f"{_NAME}-{{000000..{number:06d}}}.tar" if number else f"{_NAME}-000000.tar"
    reading = f'import webdataset\n\nsamples = webdataset.WebDataset("{braces}", shardshuffle=False).decode()'
    order = "in the order of the pool" if seed is None else "in a random order that mixes the classes"
    notes = [f"Samples stand {order}; `.npy` holds `(channels, *spatial)`."]
    return Written(data_files=[f"{_NAME}-*.tar"], reading=reading, notes=notes, facts={"shards": number + 1})


def _open(job: Job, number: int) -> tarfile.TarFile:
    return tarfile.open(job.work / f"{_NAME}-{number:06d}.tar", "w", format=tarfile.USTAR_FORMAT)


def _ordered(job: Job, seed: int | None) -> Iterator[Record]:
    """Gives the rows of a job, mixed by a seed."""
    if seed is None:
        yield from job.records()
        return
    held = list(records(job.pool))
    order = np.random.Generator(np.random.Philox(derive(seed, _NAME))).permutation(len(held))
    for record, place in zip(job.records(), order.tolist(), strict=True):
        del record  # only the bar is wanted
        yield held[place]


def _sample(job: Job, record: Record, stored: str) -> dict[str, bytes]:
    """Returns the files of a sample by suffix."""
    texts = job.texts(record)
    files = dict([_image(job.pool.array(record.row), texts)])
    if (mask := job.pool.mask(record.row)) is not None:
        suffix, content = _image(mask.astype(stored), texts)
        files[f"mask.{suffix}"] = content
    told = record.values() | {"description": texts["Description"], "software": texts["Software"], "pool": texts["Pool"]}
    return files | {"cls": str(record.label).encode(), "json": json.dumps(told, allow_nan=False).encode()}


def _image(array: npt.NDArray[Any], texts: dict[str, str]) -> tuple[str, bytes]:
    if array.dtype == _BYTE and picture_format(array) == "png":
        return "png", picture_bytes(array, texts)
    return "npy", npy_bytes(array)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Adds a file without time and owner, so that the same samples give the same bytes."""
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = len(content), 0, 0o644
    tar.addfile(member, io.BytesIO(content))
