"""Pools put together, and written: their rows one behind the other, each part with its own origin."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from gan_augment.artifacts import new_folder, storing, write_json, write_tensors
from gan_augment.errors import ArtifactError, ConfigError, DataMismatchWarning
from gan_augment.fingerprint import FittedOn
from gan_augment.images import batch_rows
from gan_augment.pool.columns import COLUMNS, MASK_DTYPE, Columns
from gan_augment.pool.document import appended, with_part
from gan_augment.pool.layout import FITTED_ON, MOST_PARTS, POOL, column_file, part_name, shard_file, shards_of
from gan_augment.pool.plan import as_json, shard_rows_of
from gan_augment.pool.read import check_document
from gan_augment.pool.shards import npy_writer
from gan_augment.pool.store import Store

__all__ = ["joined", "write_stores"]

_BLOCK_BYTES = 2**25


def joined(stores: Sequence[Store]) -> Store:
    """Returns the rows of several pools as one store in memory; images that are mapped stay so.

    Raises:
        DataError: Their images are of other types or sizes.
        ConfigError: There are none, or they have too many parts.
    """
    document, columns = _joined(stores)
    images = [shard for store in stores for shard in store.images]
    masks = [shard for store in stores for shard in store.masks or ()]
    fitted_on = FittedOn.union(*[store.fitted_on for store in stores])
    return Store(images, Columns.concatenate(columns), document, fitted_on, masks=masks or None)


def _joined(stores: Sequence[Store]) -> tuple[dict[str, Any], list[Columns]]:
    if not stores:
        raise ConfigError("expected pools to put together, found none")
    if (parts := sum(len(store.document["parts"]) for store in stores)) > MOST_PARTS:
        raise ConfigError(f"expected pools of at most {MOST_PARTS} parts together, found {parts}; build larger ones")
    document, columns = dict(stores[0].document), [stores[0].columns]
    for store in stores[1:]:
        document, recoded = appended(document, store.document)
        columns.append(recoded(store.columns))
        for part in store.document["parts"]:
            document = with_part(document, {**part, "folder": part_name(len(document["parts"]))})
    _warn_of_twins(document, columns)
    return document, columns


def write_stores(stores: Sequence[Store], out: str | os.PathLike[str], *, progress: bool) -> Path:
    """Writes pools, one behind the other, as one new folder.

    Raises:
        DataError: Their images are of other types or sizes.
        ArtifactError: The folder exists, or a file of a pool is not what it was written as.
        StorageError: The disk refused; nothing is left.
    """
    document, columns = _joined(stores)
    out = Path(out)
    written: list[dict[str, Any]] = []
    total = sum(len(store) for store in stores)
    with (
        new_folder(out, "pool") as work,
        tqdm(total=total, desc="writing", unit="img", disable=None if progress else True, leave=False) as bar,
    ):
        for store, own in zip(stores, columns, strict=True):
            first = 0
            for part in store.document["parts"]:
                folder = work / part_name(len(written))
                rows = slice(first, first + part["rows"])
                written.append(_write_part(store, rows, own[rows], part, folder, bar))
                first += part["rows"]
        whole = as_json({**document, "parts": written})
        check_document(whole)
        with storing(out):
            write_json(work / POOL, whole)
    return out


def _warn_of_twins(document: Mapping[str, Any], columns: Sequence[Columns]) -> None:
    """Warns where rows of one class have one seed and come from one synthesizer: they are one image, twice."""
    drew = [str(part.get("fingerprint", {}).get("synthesizer")) for part in document["parts"]]
    if len(columns) < 2 or len(set(drew)) == len(drew):
        return
    labels, seeds = (np.concatenate([getattr(own, name) for own in columns]) for name in ("label", "seed"))
    drawn = seeds >= 0
    once = len(np.unique(np.stack([labels[drawn], seeds[drawn]]), axis=1).T)
    if once < drawn.sum():
        warnings.warn(
            f"{int(drawn.sum()) - once} of {int(drawn.sum())} rows have the class and the seed of another row: pools "
            "that one synthesizer drew with one seed hold the same images; build with other seeds",
            DataMismatchWarning,
            stacklevel=5,
        )


def _write_part(
    store: Store, rows: slice, columns: Columns, part: Mapping[str, Any], folder: Path, bar: "tqdm[Any]"
) -> dict[str, Any]:
    """Writes rows of a store as a part, and returns its record."""
    shape, dtype = store.images[0].shape[1:], str(store.images[0].dtype)
    chunk = part.get("chunk") or batch_rows(tuple(shape[1:]))
    count = rows.stop - rows.start
    shard_rows = part.get("shard_rows") or shard_rows_of(count, chunk)
    kinds = [("images", shape, dtype, store.block)]
    if store.masks is not None:
        kinds.append(("masks", (1, *shape[1:]), MASK_DTYPE, store.mask_block))
    step = max(1, _BLOCK_BYTES // max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize))
    files: dict[str, str] = {}
    with storing(folder):
        folder.mkdir()
        for number, size in enumerate(shards_of(count, shard_rows)):
            start = rows.start + number * shard_rows
            for what, one, kind, read in kinds:
                name = shard_file(what, number)
                with npy_writer(folder / name, (size, *one), kind) as writer:
                    for at in range(start, start + size, step):
                        writer.append(read(at, min(at + step, start + size)))
                    files[name] = writer.close()
                if store.folder is not None and part.get("files", {}).get(name, files[name]) != files[name]:
                    raise ArtifactError(
                        f"expected {store.folder}/{part['folder']}/{name} as it was written, found it changed; check "
                        "that pool with its check(), and take the file from a copy"
                    )
            bar.update(size)
        for name, (kind, _) in COLUMNS.items():
            with npy_writer(folder / column_file(name), (count,), kind) as writer:
                writer.append(getattr(columns, name))
                files[column_file(name)] = writer.close()
        files[FITTED_ON] = write_tensors(folder / FITTED_ON, store.fitted_on.tensors())
    own = {"folder": folder.name, "rows": count, "chunk": chunk, "shard_rows": shard_rows}
    return {**part, **own, "masks": store.masks is not None, "files": files}
